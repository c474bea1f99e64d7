"""What the log says of clients: who comes and goes, who is refused, and with DEBUG each request."""

import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import Implementation

from tests.support.processes import RawClient, proxy, raw, stdio_client, write_config

KEY = "correct-horse"


def hello(name: str = "probe") -> dict[str, Any]:
    info = {"name": name, "version": "1.2"}
    return {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}


async def ask(client: Client) -> None:
    async with client:
        await client.list_tools()


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_legacy_client_comes_and_goes(tmp_path: Path, transport: str) -> None:
    with proxy(tmp_path, {"one": raw()}) as running:
        info = Implementation(name="probe", version="1.2")
        await ask(running.client(transport, "legacy", client_info=info))
        running.expect(rf" INFO client 1 connected: probe 1\.2 \({transport}, 2025-11-25\)$")
        running.expect(r" INFO client 1 disconnected: probe 1\.2, after \d+\.\d s$")


async def test_a_modern_client_is_named_once_for_each_transport(tmp_path: Path) -> None:
    with proxy(tmp_path, {"one": raw()}) as running:
        for version in ("1", "1", "2"):
            await ask(running.client(mode="auto", client_info=Implementation(name="probe", version=version)))
        running.expect("probe 2")
        lines = [line.split("INFO ")[1] for line in running.lines if "client seen" in line]
        assert lines == [f"client seen first: probe {version} (http, 2026-07-28)" for version in ("1", "2")]


@pytest.mark.parametrize(("mode", "line"), [("legacy", r"client 1 connected"), ("auto", r"client seen first")])
async def test_the_client_over_stdio(tmp_path: Path, mode: str, line: str) -> None:
    config = write_config(tmp_path / "mcp.json", {"one": raw()})
    log = tmp_path / "log"
    with log.open("w") as errlog:
        await ask(stdio_client(config, mode=mode, errlog=errlog))
    assert re.search(rf"INFO {line}: \S+ \S+ \(stdio, 20", log.read_text())


def test_what_a_client_calls_itself_is_one_short_line(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:
        client = RawClient(running.url, "legacy")
        client.call("initialize", hello("evil\n2026 ERROR \x1b[31mforged" + "x" * 500))
        client.__exit__()
        line = running.expect("client 1 connected: ").string
        assert "connected: evil\\n2026 ERROR \\x1b[31mforgedxxx" in line
        assert len(line) < 250


def test_who_is_refused(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, env={"MULTI_MCP_API_KEY": KEY}) as running:
        tries: list[tuple[dict[str, str], str]] = [
            ({}, "no API key"),
            ({"X-API-Key": "wrong-secret"}, "a wrong API key"),
            ({"Authorization": "Bearer wrong-secret"}, ""),
            ({"Host": "evil.example"}, "an unknown Host, 'evil.example'"),
            ({"Origin": "http://evil.example"}, "a foreign Origin, 'http://evil.example'"),
        ]
        for headers, reason in tries:
            for _ in range(20):
                running.http("GET", "/mcp_servers", headers=headers)
            if reason:
                running.expect(f" WARNING refused 127.0.0.1: {reason}$")
        refused = [line for line in running.lines if " refused " in line]
        assert 4 <= len(refused) < 20, refused  # a line a second for each reason
        running.http("GET", "/mcp_servers", headers={"X-API-Key": KEY})
        assert KEY not in running.stderr
        assert "wrong-secret" not in running.stderr


def test_each_request_with_debug(tmp_path: Path) -> None:
    with proxy(tmp_path, {"one": raw()}, "--log-level", "DEBUG") as running:
        running.expect("one: ready")
        with RawClient(running.url, "legacy") as client:
            client.call("tools/list")
            client.call("tools/call", {"name": "one::echo", "arguments": {}})
            client.error("tools/call", {"name": "none\n", "arguments": {}})
        for line in (
            r"initialize: ok in [\d.]+ ms",
            r"tools/list: ok in [\d.]+ ms",
            r"tools/call one::echo \(one\): ok in [\d.]+ ms",
            r"tools/call none\\n: error -32602 in [\d.]+ ms",
        ):
            running.expect(rf" DEBUG {line}$")


async def test_no_request_without_debug(tmp_path: Path) -> None:
    with proxy(tmp_path, {"one": raw()}) as running:
        async with running.client() as client:
            with pytest.raises(MCPError):
                await client.call_tool("none", {})
        assert "tools/call" not in running.stderr
