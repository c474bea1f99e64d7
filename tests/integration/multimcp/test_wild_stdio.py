"""Servers as they are: what the public reports of other proxies say that servers do, over stdio."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import RawClient, proxy, until

SERVER = '''
import json, os, sys, threading, time

capabilities = {"tools": {}}
version = "2025-06-18"
ping = {"name": "ping", "inputSchema": {"type": "object"}}

def answer(method, params):
    """The result of a request; an error is raised."""
    if method == "initialize":
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}}
    if method == "tools/list":
        return {"tools": [ping]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": "pong"}]}
    raise KeyError(method)

def after(method):
    """Called when a request has been answered."""

def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

%s

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        try:
            say(id=message["id"], result=answer(message["method"], message.get("params") or {}))
        except Exception as exc:
            say(id=message["id"], error={"code": -32603, "message": repr(exc)})
        after(message["method"])
'''


def server(code: str = "", **settings: Any) -> dict[str, Any]:
    """A decent server with one tool `ping`, changed by some code."""
    return {"command": sys.executable, "args": ["-c", SERVER % code], **settings}


def names(client: RawClient, kind: str = "tools") -> list[str]:
    return [entry["name"] for entry in client.call(f"{kind}/list")[kind]]


# Lists


FAILING = """
capabilities = {"tools": {"listChanged": %s}}
decent, asked = answer, []
def answer(method, params):
    if method == "tools/list":
        asked.append(method)
        if len(asked) <= 2:
            raise RuntimeError("the database is starting")
    return decent(method, params)
"""


@pytest.mark.parametrize("promises", [False, True])
def test_a_list_that_failed_is_read_again_and_announced(tmp_path: Path, promises: bool) -> None:
    with proxy(tmp_path, {"s": server(FAILING % promises)}) as running, RawClient(running.url, "legacy") as client:
        until(lambda: running.status()["s"]["tools"] == 1, what="the list that failed twice")
        assert running.status()["s"]["error"] is None
        assert names(client) == ["s::ping"]


PAGES = """
decent = answer
def answer(method, params):
    if method != "tools/list":
        return decent(method, params)
    if params.get("cursor") == "" and %r == "error":
        raise ValueError("Invalid cursor")
    return {"tools": [ping], "nextCursor": ""}
"""


@pytest.mark.parametrize("behind", ["the same again", "error"])
def test_an_empty_cursor_that_means_the_end(tmp_path: Path, behind: str) -> None:
    with proxy(tmp_path, {"s": server(PAGES % behind)}) as running, RawClient(running.url, "legacy") as client:
        running.wait_ready()
        assert names(client) == ["s::ping"]
        assert running.status()["s"]["error"] is None


ODD = """
capabilities = {"tools": {}, "prompts": {}, "resources": {}}
decent = answer
def answer(method, params):
    return {
        "tools/list": {"tools": [ping, {"name": "none"}, {**ping, "name": "odd", "annotations": []}]},
        "prompts/list": {"prompts": [{"name": "p"}, {"name": "odd", "arguments": {}}]},
        "resources/list": {"resources": [{"name": "r", "uri": "a:b"}, {"name": "odd"}, {"name": "odd", "uri": "x y"}]},
        "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "a:{b}"}]},
    }.get(method) or decent(method, params)
"""


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_entries_that_clients_would_refuse_are_left_out_alone(tmp_path: Path, era: str) -> None:
    with proxy(tmp_path, {"bad": server(ODD), "good": server()}) as running, RawClient(running.url, era) as client:
        running.wait_ready()
        assert names(client) == ["bad::ping", "good::ping"]
        assert names(client, "prompts") == ["bad::p"]
        assert names(client, "resources") == ["r"]
        assert client.call("resources/templates/list")["resourceTemplates"] == []
        lines = [line for line in running.lines if "is left out" in line]
    assert len(lines) == 6
    assert len(set(lines)) == 6


# Starting


@pytest.mark.parametrize("version", ["2024-10-07", "2024-11-05"])
def test_old_revisions_are_spoken_on_both_sides(tmp_path: Path, version: str) -> None:
    with proxy(tmp_path, {"s": server(f"version = {version!r}")}) as running:
        running.wait_ready()
        with RawClient(running.url, "legacy", version=version) as client:
            assert client.hello["protocolVersion"] == version
            assert client.call("tools/call", {"name": "s::ping", "arguments": {}})["content"][0]["text"] == "pong"


def test_the_time_that_a_server_has_to_start_is_its_own(tmp_path: Path) -> None:
    slow = server("time.sleep(600)", startupTimeout=0.5)
    with proxy(tmp_path, {"slow": slow}) as running:
        running.expect(r'slow: failed: did not finish its handshake within 0\.5 s.*"startupTimeout"')
        failed = running.add(slower=slow).json()["failed"]
        assert "within 0.5 s" in failed["slower"]


@pytest.mark.parametrize("where", ["command", "args", "cwd"])
def test_the_home_of_the_user(tmp_path: Path, where: str) -> None:
    (tmp_path / "server.py").write_text(f"#!{sys.executable}\n" + SERVER % "")
    (tmp_path / "server.py").chmod(0o755)
    entry = {
        "command": {"command": "~/server.py"},
        "args": {"command": sys.executable, "args": ["~/server.py"]},
        "cwd": {"command": sys.executable, "args": ["server.py"], "cwd": "~"},
    }[where]
    with proxy(tmp_path, {"s": entry}, env={"HOME": str(tmp_path)}) as running:
        until(lambda: running.status()["s"]["state"] == "ready", what=json.dumps(running.status()))


def test_a_relative_command_is_where_the_proxy_runs_whatever_its_cwd(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(f"#!{sys.executable}\n" + SERVER % "")
    script.chmod(0o755)
    entry = {"command": os.path.relpath(script), "cwd": "/"}
    with proxy(tmp_path, {"s": entry}) as running:
        until(lambda: running.status()["s"]["state"] == "ready", what=json.dumps(running.status()))


# Pipes


CLOSING = """
decent = after
def after(method):
    if method == "tools/list":
        os.close(%d)
        time.sleep(600)
"""


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("pipe", [0, 1])
def test_a_server_that_closes_a_pipe_and_lives_on_holds_up_no_call(tmp_path: Path, pipe: int, era: str) -> None:
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x')\n" + CLOSING % pipe
    with proxy(tmp_path, {"s": server(code)}) as running, RawClient(running.url, era) as client:
        until(count.exists)
        error = client.error("tools/call", {"name": "s::ping", "arguments": {}})
        assert "MCP server 's'" in error["message"]
        until(lambda: len(count.read_text()) > 1, what="the server, started again")
