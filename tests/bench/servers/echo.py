"""The server of the benchmark, on the official SDK: its tool `echo` returns its argument.

python echo.py [--transport stdio|http] [--port N] [--tools N]

It is what is called directly, over streamable HTTP, and what stands behind each proxy, over stdio or HTTP.
"""

import argparse
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def make_server(tools: int) -> Server[Any]:
    """A server with so many tools, the first of which is `echo`; all do the same."""
    names = ["echo", *(f"tool_{number}" for number in range(1, tools))]
    listed = ListToolsResult(
        tools=[Tool(name=name, description="Returns its argument.", input_schema=SCHEMA) for name in names]
    )

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        return listed

    async def call_tool(ctx: Any, params: Any) -> CallToolResult:
        return CallToolResult(content=[TextContent(text=params.arguments["text"])])

    return Server("echo", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def serve_http(server: Server[Any], port: int) -> None:
    config = uvicorn.Config(server.streamable_http_app(), port=port, log_level="warning")
    with config.bind_socket() as sock:
        sock.listen()
        print(f"listening on http://127.0.0.1:{sock.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
        uvicorn.Server(config).run(sockets=[sock])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", choices=["stdio", "http"], default="stdio")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and says which")
    parser.add_argument("--tools", type=int, default=1)
    args = parser.parse_args()
    server = make_server(args.tools)
    if args.transport == "stdio":
        anyio.run(serve_stdio, server)
    else:
        serve_http(server, args.port)


if __name__ == "__main__":
    main()
