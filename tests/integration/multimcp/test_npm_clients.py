"""Clients written in TypeScript use the proxy: that of the official SDK, and the Inspector's command line.

Rules:
- The servers behind the proxy are those of fixtures/servers, so every value is known and compared exactly.
- What a server sends and asks while it is called is expected of the server itself, too: what the proxy changes shows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.npm import node
from tests.support.processes import ROOT, fixture, proxy, write_config

SCRIPT = Path(node.__file__).with_name("client.mjs")

LONGEST = 60.0
"""Seconds that one client may take, a proxy that it starts included; it takes three."""

Place = dict[str, Any]
"""Where a client connects: what it starts, or a URL; as the Inspector's configuration has it."""

SUM = {"content": [{"type": "text", "text": "15"}], "structuredContent": {"result": 15}, "isError": False}
STATIC = {
    "uri": "test://static-text",
    "mimeType": "text/plain",
    "text": "This is the content of the static text resource.",
}
PROMPT = {
    "description": "Explain a calculation step by step.",
    "messages": [
        {
            "role": "user",
            "content": {
                "type": "text",
                "text": "Explain step by step how to work out 1 + 1. Use the calculator's tools for every step.",
            },
        }
    ],
}
CALCULATOR_TOOLS = [f"calculator::{name}" for name in ("add", "subtract", "multiply", "divide")]
EVERYTHING_TOOLS = 35
PROMPTS = [
    "calculator::explain",
    "everything::test_simple_prompt",
    "everything::test_prompt_with_arguments",
    "everything::test_prompt_with_embedded_resource",
    "everything::test_prompt_with_image",
    "everything::test_input_required_result_prompt",
]
RESOURCES = [
    *("calculator://constants", "test://static-text", "test://static-binary", "test://watched-resource"),
    "skill://pdf-processing/SKILL.md",
]
TEMPLATES = ["test://template/{id}/data"]


@pytest.fixture(scope="module")
def places(npm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """The proxy over each transport, and one of its servers without it."""
    folder = tmp_path_factory.mktemp("clients")
    servers = {name: fixture(name) for name in ("calculator", "everything")}
    config = write_config(folder / "stdio.json", servers)
    arguments = [str(ROOT / "main.py"), "--transport", "stdio", "--config", str(config)]
    with proxy(folder, servers) as running:
        url = running.wait_ready().url
        yield {
            "direct": servers["everything"],
            "stdio": {"command": sys.executable, "args": arguments},
            "sse": {"url": f"{url}/sse"},
            "http": {"url": f"{url}/mcp", "type": "streamable-http"},
        }


# The client of the SDK


def play(session: str, place: Place, prefix: str = "everything::") -> dict[str, Any]:
    """A session of client.mjs, and what it prints."""
    command = [str(node.FOLDER / "bin" / "node"), "--input-type=module", "-"]
    options = json.dumps({"session": session, "prefix": prefix, **place})
    with SCRIPT.open() as script:
        done = subprocess.run(
            [*command, options], stdin=script, capture_output=True, text=True, cwd=node.FOLDER, timeout=LONGEST
        )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("transport", ["stdio", "sse", "http"])
def test_sdk(places: dict[str, Place], transport: str) -> None:
    got = play("offers", places[transport])
    tools = got.pop("tools")
    assert tools[:4] == CALCULATOR_TOOLS
    assert len(tools[4:]) == EVERYTHING_TOOLS
    assert all(name.startswith("everything::") for name in tools[4:])
    pixel = got["contents"]["content"][1]
    assert pixel.pop("data").startswith("iVBORw0KGgo")
    mixed = {
        "uri": "test://mixed-content-resource",
        "mimeType": "application/json",
        "text": '{"test": "data", "value": 123}',
    }
    made = {
        "uri": "test://template/7/data",
        "mimeType": "application/json",
        "text": '{"id": "7", "templateTest": true, "data": "Data for ID: 7"}',
    }
    assert got == {
        "server": "multi-mcp",
        "prompts": PROMPTS,
        "resources": RESOURCES,
        "templates": TEMPLATES,
        "sum": SUM,
        "failure": {
            "content": [{"type": "text", "text": "Error executing tool divide: Cannot divide by zero."}],
            "isError": True,
        },
        "contents": {
            "content": [
                {"type": "text", "text": "Multiple content types test:"},
                {"type": "image", "mimeType": "image/png"},
                {"type": "resource", "resource": mixed},
            ],
            "isError": False,
        },
        "unknown": {"failed": "McpError: MCP error -32602: Unknown tool: calculator::power"},
        "listed": {"contents": [STATIC]},
        "made": {"contents": [made]},
        "missing": {"failed": "McpError: MCP error -32002: Resource not found"},  # by the server that was asked last
        "prompt": PROMPT,
        "completion": {"completion": {"values": ["12", "123"], "total": 2, "hasMore": False}},
    }


@pytest.fixture(scope="module", params=["direct", "stdio", "sse", "http"])
def asked(places: dict[str, Place], request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a client gets that can be asked."""
    return play("asks", places[request.param], "" if request.param == "direct" else "everything::")


def test_sdk_progress(asked: dict[str, Any]) -> None:
    updates = [{"progress": done, "total": 100, "message": f"{done} % are done"} for done in (0, 50, 100)]
    assert asked["progress"] == {"updates": updates, "text": "Reported progress three times."}


def test_sdk_logging(asked: dict[str, Any]) -> None:
    said = ["Tool execution started", "Tool processing data", "Tool execution completed"]
    messages = [{"level": "info", "data": data} for data in said]
    assert asked["logging"] == {"messages": messages, "text": "Sent three log messages."}


def test_sdk_subscription(asked: dict[str, Any]) -> None:
    assert asked["subscription"] == [{}, {}]


def test_sdk_sampling(asked: dict[str, Any]) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}
    question = {"messages": [message], "maxTokens": 100}
    assert asked["sampling"] == {"question": question, "text": "LLM response: Paris"}


def test_sdk_elicitation(asked: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    }
    assert asked["elicitation"] == {
        "question": {"mode": "form", "message": "Who are you?", "requestedSchema": schema},
        "text": 'User response: action=accept, content={"username": "ada", "email": "ada@example.com"}',
    }


def test_sdk_roots(asked: dict[str, Any]) -> None:
    assert asked["roots"].get("text") == "Roots: file:///work", asked["roots"]


# The command line of the Inspector

Value = Callable[[dict[str, Any]], Any]

INSPECTIONS: dict[str, tuple[list[str], Value, Any]] = {
    "tools/list": (
        [],
        lambda result: [tool["name"] for tool in result["tools"]][:4],
        CALCULATOR_TOOLS,
    ),
    "tools/call": (
        ["--tool-name", "calculator::add", "--tool-args-json", '{"a": 10, "b": 5}'],
        lambda result: result,
        SUM,
    ),
    "prompts/list": ([], lambda result: [prompt["name"] for prompt in result["prompts"]], PROMPTS),
    "prompts/get": (
        ["--prompt-name", "calculator::explain", "--prompt-args", "calculation=1 + 1"],
        lambda result: result,
        PROMPT,
    ),
    "resources/list": ([], lambda result: [resource["uri"] for resource in result["resources"]], RESOURCES),
    "resources/read": (["--uri", STATIC["uri"]], lambda result: result["contents"], [STATIC]),
    "resources/templates/list": (
        [],
        lambda result: [template["uriTemplate"] for template in result["resourceTemplates"]],
        TEMPLATES,
    ),
}
"""Of each method: options, what of the result is compared, and with what."""

OVER_STDIO = ["tools/call", "resources/read"]
"""Not all: each starts a proxy of its own, which takes seconds."""


@pytest.mark.parametrize(
    ("transport", "era", "method"),
    [
        *(("http", era, method) for era in ("legacy", "modern") for method in INSPECTIONS),
        *(("stdio", "legacy", method) for method in OVER_STDIO),
    ],
)
def test_inspector(places: dict[str, Place], tmp_path: Path, transport: str, era: str, method: str) -> None:
    options, value, expected = INSPECTIONS[method]
    clients = write_config(tmp_path / "inspector.json", {"all": places[transport]})
    command = [*node.command("mcp-inspector"), "--cli", "--config", str(clients), "--server", "all"]
    done = subprocess.run(
        [*command, "--protocol-era", era, "--quiet", "--format", "json", "--method", method, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},  # where it keeps its own settings
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)["result"]
    if method == "tools/call":
        # By which the eras are told apart: modern results say who gives them.
        assert ("_meta" in result) == (era == "modern")
        # Where a server declares Tasks, the inspector shows what kind of result it is, as it does directly.
        assert result.pop("resultType", "complete") == "complete"
    result.pop("_meta", None)
    assert value(result) == expected
