"""Two servers with Apps, from npm, behind the proxy: their tools, what these do, and every page are as directly.

Rules:
- The same is asked directly and through one proxy in front of both, whose servers are over stdio or over HTTP.
- The servers are legacy. Through the proxy, clients of both eras see what a legacy client sees directly.
- Every `ui://` URI is read that a tool names or a list has, under the very name that it has there.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from conformance.client import Client, Command, Endpoint, Url, connect
from conformance.normalize import Binder
from conformance.requirements.model import Era
from tests.npm import node
from tests.support.processes import Process, proxy

UI = {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
SHADER = "void mainImage(out vec4 fragColor, in vec2 fragCoord) { fragColor = vec4(1.0); }"
SERVERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "shaders": ("mcp-shadertoy-server", "render-shadertoy", {"fragmentShader": SHADER}),
    "speech": ("mcp-transcript-server", "transcribe", {}),
}
"""By name: the program, its tool, and the arguments to call it with."""


@contextmanager
def over_http(program: str) -> Iterator[str]:
    """The server over streamable HTTP; yields its URL. It says on stdout when it listens, and takes no port 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    redirected = ("sh", "-c", 'exec "$@" >&2', "sh", *node.command(program))
    process = Process(*redirected, env={**os.environ, "PORT": str(port)})
    try:
        process.expect("listening on")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()


@dataclass(frozen=True)
class Ways:
    """How the two servers are reached directly, and the URL of the proxy in front of both."""

    transport: Any
    direct: dict[str, Endpoint]
    proxied: Url


@pytest.fixture(scope="module", params=["stdio", "http"])
def ways(npm: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Ways]:
    commands = {name: [*node.command(program), "--stdio"] for name, (program, *_) in SERVERS.items()}
    direct: dict[str, Endpoint] = {name: Command(tuple(command)) for name, command in commands.items()}
    entries: dict[str, Any] = {name: {"command": first, "args": more} for name, (first, *more) in commands.items()}
    with ExitStack() as stack:
        if request.param == "http":
            urls = {name: stack.enter_context(over_http(program)) for name, (program, *_) in SERVERS.items()}
            direct, entries = {name: Url(url) for name, url in urls.items()}, {n: {"url": u} for n, u in urls.items()}
        running = stack.enter_context(proxy(tmp_path_factory.mktemp("apps"), entries)).wait_ready()
        yield Ways(request.param, direct, Url(f"{running.url}/mcp"))


def pages_of(tools: list[dict[str, Any]], resources: list[dict[str, Any]]) -> list[str]:
    """Every `ui://` URI that a tool names, under either key, or a list has."""
    named = [meta.get("ui/resourceUri") or meta["ui"]["resourceUri"] for meta in (tool["_meta"] for tool in tools)]
    named += [tool["_meta"]["ui"]["resourceUri"] for tool in tools]
    return list(dict.fromkeys([*named, *(each["uri"] for each in resources if each["uri"].startswith("ui://"))]))


async def seen(client: Client, tool: str, arguments: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """What a client sees of one server, whose tools have this prefix."""
    tools = [each for each in (await client.ask("tools/list"))["tools"] if each["name"].startswith(prefix)]
    resources = (await client.ask("resources/list"))["resources"]
    called = await client.ask("tools/call", {"name": prefix + tool, "arguments": arguments})
    called.pop("resultType", None)  # of the modern era
    pages = {}
    for uri in pages_of(tools, resources):
        pages[uri] = (await client.ask("resources/read", {"uri": uri}))["contents"]
        assert pages[uri][0]["text"].lstrip().lower().startswith("<!doctype html>")
    named = [{**each, "name": each["name"].removeprefix(prefix)} for each in tools]
    found: dict[str, Any] = Binder().normal({"tools": named, "resources": resources, "called": called, "pages": pages})
    return found


async def compare(ways: Ways, era: Era) -> None:
    async with connect(ways.proxied, "http", era, capabilities=UI) as through:
        for name, (_, tool, arguments) in SERVERS.items():
            async with connect(ways.direct[name], ways.transport, "legacy", capabilities=UI) as directly:
                want = await seen(directly, tool, arguments)
            got = await seen(through, tool, arguments, f"{name}::")
            assert want["pages"]
            assert got["tools"] == want["tools"]
            assert got["called"] == want["called"]
            assert want["pages"].items() <= got["pages"].items()
            assert all(entry in got["resources"] for entry in want["resources"])


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_apps_are_as_directly(ways: Ways, era: Era) -> None:
    anyio.run(compare, ways, era)
