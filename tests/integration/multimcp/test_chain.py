"""A proxy behind itself ends: over every transport, at any distance, and without harm to the other servers."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from multimcp.protocol.chain import BEHIND_ITSELF, HEADER, MAX, SAME_FILE, TOO_LONG, VARIABLE
from multimcp.protocol.eras import CHAIN_KEY
from tests.support.processes import (
    MAIN,
    TIMEOUT,
    Proxy,
    RawClient,
    descendants,
    fixture,
    proxy,
    raw,
    text,
    until,
    within,
    write_config,
)
from tests.support.scripted import Scripted

HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "probe", "version": "0"},
}


def test_a_configuration_that_starts_itself(tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    itself = {"command": sys.executable, "args": [str(MAIN), "--config", str(config)]}
    with proxy(tmp_path, {"one": raw(), "itself": itself, "again": itself}) as running:
        for name in ("itself", "again"):
            assert SAME_FILE in running.expect(rf"{name}: failed: ").string
        running.expect("one: ready")
        # Each that was started has started nothing: at most one of each is there, and the one server.
        assert len(descendants(running.popen.pid)) <= 3
        status = running.status()
        assert SAME_FILE in status["itself"]["error"]
        assert status["one"]["state"] == "ready"
        answer = running.add(more=itself)
        assert SAME_FILE in answer.json()["failed"]["more"]


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("names", ["", "?names=llm"])
def test_a_url_that_leads_back(tmp_path: Path, path: str, names: str) -> None:
    with proxy(tmp_path, {"one": raw()}) as running:
        running.expect("one: ready")
        failed = running.add(itself={"url": running.url + path + names}).json()["failed"]
        assert failed == {"itself": BEHIND_ITSELF}


def folders(tmp_path: Path, count: int) -> list[Path]:
    found = [tmp_path / str(number) for number in range(count)]
    for folder in found:
        folder.mkdir()
    return found


def shows_two_away(running: Proxy) -> bool:
    return "next::next::one" in running.http("GET", "/mcp_tools").text


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_a_ring_of_three(tmp_path: Path, order: tuple[int, ...]) -> None:
    with ExitStack() as stack:
        ring = [stack.enter_context(proxy(folder, {"one": raw()})) for folder in folders(tmp_path, 3)]
        for number, place in enumerate(order, 1):
            ring[place].expect("one: ready")
            following = ring[(place + 1) % 3]
            if number == 3:  # it has heard of the other two
                until(partial(shows_two_away, following))
            failed = ring[place].add(next={"url": following.url + "/mcp"}).json()["failed"]
            assert failed == ({"next": BEHIND_ITSELF} if number == 3 else {})


def test_two_that_point_at_each_other_from_the_start(tmp_path: Path) -> None:
    ports = []
    with ExitStack() as stack:
        for _ in range(2):
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            ports.append(held.getsockname()[1])
    with ExitStack() as stack:
        pair = []
        for number, folder in enumerate(folders(tmp_path, 2)):
            other = {"url": f"http://127.0.0.1:{ports[1 - number]}/mcp"}
            config = write_config(folder / "mcp.json", {"one": raw(), "other": other})
            running = Proxy(config, "--transport", "http", "--port", str(ports[number]))
            stack.callback(running.kill)
            pair.append(running)
        for running in pair:
            running.listening()
        until(lambda: any(BEHIND_ITSELF in line for running in pair for line in running.lines))

        def settled() -> bool:
            states = [running.status()["other"]["state"] for running in pair]
            lists = [running.http("GET", "/mcp_tools").text for running in pair]
            return sorted(states) == ["failed", "ready"] and not any("other::other" in names for names in lists)

        until(settled)
        for running in reversed(pair):
            running.stop()


def test_too_many_started_one_another(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {"one": raw()})
    env = {**os.environ, VARIABLE: ",".join(f"id{number}@file{number}" for number in range(MAX))}
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO})
    command = [sys.executable, str(MAIN), "--config", str(config)]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(hello + "\n")
        process.stdin.flush()
        error = json.loads(process.stdout.readline())["error"]
        assert not descendants(process.pid)
        process.stdin.close()
        assert TOO_LONG in process.stderr.read()
        assert process.wait(TIMEOUT) == 0
    assert (error["code"], error["message"]) == (-32600, TOO_LONG)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_chain_that_is_too_long_over_http(tmp_path: Path, era: str) -> None:
    ids = [f"id{number}" for number in range(MAX)]
    method, params = ("initialize", HELLO) if era == "legacy" else ("server/discover", {})
    with proxy(tmp_path, {}) as running:
        for headers, meta in (({HEADER: ",".join(ids)}, {}), ({}, {"_meta": {CHAIN_KEY: ids}})):
            client = RawClient(running.url, era, headers)
            error = client.error(method, {**params, **meta})
            assert (error["code"], error["message"]) == (-32600, TOO_LONG)
            client.__exit__()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_one_proxy_behind_another_is_fine_and_servers_see_no_chain(tmp_path: Path, mode: str) -> None:
    front, back = folders(tmp_path, 2)
    server = Scripted(back, "one")
    servers = {"one": server.config, "calculator": fixture("calculator")}
    with proxy(back, servers) as behind, proxy(front, {"behind": {"url": behind.url + "/mcp"}}) as running:
        behind.expect("calculator: ready")
        behind.expect("one: ready")
        running.expect("behind: ready")
        async with within(TIMEOUT), running.client(mode=mode) as client:
            assert text(await client.call_tool("behind::calculator::add", {"a": 2, "b": 3})) == "5"
            await client.call_tool("behind::one::say", {})
        with_chain = {message["method"] for message in server.heard() if CHAIN_KEY in json.dumps(message)}
        assert with_chain in ({"initialize"}, {"initialize", "server/discover"})
        for era in ("legacy", "modern"):  # a client that is no Multi-MCP is told nothing either
            with RawClient(running.url, era) as other:
                assert CHAIN_KEY not in json.dumps([other.hello, other.call("tools/list")])
