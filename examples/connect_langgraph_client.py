"""A LangGraph agent that answers a question with the tools of all servers behind Multi-MCP.

Its packages need an older MCP SDK than Multi-MCP does, so they get an environment of their own:

    python3 -m venv .venv-langgraph
    .venv-langgraph/bin/pip install -r requirements/langgraph.txt
    cp .env.example .env    # then fill in the model and its key
    make run                # in another terminal
    .venv-langgraph/bin/python examples/connect_langgraph_client.py "What is 2 + 3? How is the weather in Paris?"
"""

import asyncio
import os
import sys
from urllib.parse import parse_qs, urlsplit

from dotenv import load_dotenv
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI


def with_llm_names(url: str) -> str:
    """`url`, asking for names that LLM APIs take: they refuse `calculator::add`, and take `calculator__add`."""
    parts = urlsplit(url)
    if "names" in parse_qs(parts.query):
        return url
    return parts._replace(query=f"{parts.query}&names=llm".lstrip("&")).geturl()


def _reason(exc: BaseException) -> str:
    """The innermost error, in words."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return str(exc) or type(exc).__name__


async def main(question: str) -> None:
    if missing := [name for name in ("MODEL_NAME", "BASE_URL", "OPENAI_API_KEY") if not os.environ.get(name)]:
        sys.exit(f"{', '.join(missing)}: not set; copy .env.example to .env and fill it in")
    url = with_llm_names(os.environ.get("MULTI_MCP_URL") or "http://127.0.0.1:8080/sse")
    transport = "sse" if urlsplit(url).path.endswith("/sse") else "streamable_http"
    client = MultiServerMCPClient({"multi-mcp": {"url": url, "transport": transport}})
    try:
        tools = await client.get_tools()
    except Exception as exc:  # a group of groups, none of which names the URL
        sys.exit(f"{url}: no tools from there ({_reason(exc)}); is Multi-MCP running? `make run` starts it")
    agent = create_agent(ChatOpenAI(model=os.environ["MODEL_NAME"], base_url=os.environ["BASE_URL"]), tools)
    answer = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
    for message in answer["messages"]:
        message.pretty_print()


if __name__ == "__main__":
    load_dotenv()
    asyncio.run(main(" ".join(sys.argv[1:]) or "What is 2 + 3? How is the weather in Paris?"))
