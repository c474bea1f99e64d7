"""What a client sees while servers are starting: lists in time, and word of what came later, and only of that."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from conformance.client import Client, Command, Url, connect
from tests.support.processes import (
    PATIENT,
    TIMEOUT,
    fixture,
    program,
    proxy,
    quick,
    raw,
    stdio_client,
    within,
    write_config,
)

LISTS = ("tools", "prompts", "resources")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_hanging_server_costs_no_client_the_others(tmp_path: Path, mode: str) -> None:
    # As openai-agents, Google ADK and AutoGen are by default: 5 s for each request.
    servers = {"hanging": raw("hang:initialize"), "one": raw(), "two": raw()}
    config = write_config(tmp_path / "mcp.json", servers)

    async def first_list() -> float:
        try:
            async with stdio_client(config, mode=mode, first="", read_timeout_seconds=5) as client:
                begun = time.monotonic()  # until then the machine has started three programs
                listed = [tool.name for tool in (await client.list_tools()).tools]
                took = time.monotonic() - begun
        except (MCPError, ExceptionGroup):  # it has given up
            return inf
        return took if listed == ["one::echo", "two::echo"] else inf

    quick(3.5, lambda: asyncio.run(first_list()))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_comes_late_waits_for_nobody(tmp_path: Path, mode: str) -> None:
    # Both constants are made shorter, so that it shows.
    first = "from multimcp.backends import registry; registry.START_WAIT = 1"
    with proxy(tmp_path, {"hanging": raw("hang:initialize"), "one": raw()}, first=first) as running:
        running.expect("one: ready")
        running.wait_ready()
        async with within(TIMEOUT), running.client(mode=mode) as client:
            begun = time.monotonic()
            assert [tool.name for tool in (await client.list_tools()).tools] == ["one::echo"]
            assert time.monotonic() - begun < 2
        assert running.status()["hanging"]["state"] == "starting"


def test_readyz_does_not_wait_for_a_hanging_server(tmp_path: Path) -> None:
    servers = {"hanging": raw("hang:initialize")}
    first = "from multimcp.backends import registry; registry.START_WAIT = 1"
    with proxy(tmp_path, servers, "--startup-timeout", "60", first=first) as running:
        running.wait_ready()
        assert running.status()["hanging"]["state"] == "starting"


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_list_that_is_not_whole_must_not_be_kept(tmp_path: Path, era: Any) -> None:
    with proxy(tmp_path, {"hanging": raw("hang:initialize"), "one": raw()}, first="") as running:
        async with within(TIMEOUT), connect(Url(running.url + "/mcp"), "http", era) as client:
            listed = await client.ask("tools/list")
            assert listed.get("ttlMs", 0) == 0


@asynccontextmanager
async def opened(
    tmp_path: Path, servers: dict[str, Any], transport: Any, era: Any, first: str = PATIENT
) -> AsyncIterator[Client]:
    if transport == "stdio":
        config = write_config(tmp_path / "mcp.json", servers)
        command = Command((sys.executable, *program(first), "--config", str(config)))
        async with connect(command, "stdio", era) as client:
            yield client
    else:
        with proxy(tmp_path, servers, first=first) as running:
            path = "/sse" if transport == "sse" else "/mcp"
            async with connect(Url(running.url + path), transport, era) as client:
                yield client


def changes(client: Client, since: int = 0) -> list[str]:
    """The lists that the client was told of."""
    methods = [str(message.get("method")) for message in client.inbox[since:]]
    return [method.split("/")[1] for method in methods if method.endswith("/list_changed")]


WAYS = [("stdio", "legacy"), ("sse", "legacy"), ("http", "legacy"), ("stdio", "modern"), ("http", "modern")]


@pytest.mark.parametrize(("transport", "era"), WAYS)
@pytest.mark.parametrize("listed", [LISTS, ("tools",)])
async def test_nobody_is_told_of_what_his_list_has_already(
    tmp_path: Path, transport: str, era: str, listed: tuple[str, ...]
) -> None:
    # The slow one gets ready while the first list waits for it, well after the client was greeted.
    slow = fixture("notes_home")
    slow = {"command": "sh", "args": ["-c", 'sleep 1.5; exec "$0" "$@"', slow["command"], *slow["args"]]}
    servers = {"changing": fixture("changing"), "slow": slow}
    async with within(TIMEOUT), opened(tmp_path, servers, transport, era) as client:
        if era == "modern":
            wanted = {f"{kind}ListChanged": True for kind in LISTS}
            await client.request("subscriptions/listen", {"notifications": wanted})
            await client.wait(lambda message: "acknowledged" in str(message.get("method")), "acknowledgment")
        lists = {kind: (await client.ask(f"{kind}/list"))[kind] for kind in listed}
        assert any(tool["name"].startswith("slow::") for tool in lists["tools"])
        since = len(client.inbox)
        arguments = {"kind": "tools", "name": "later"}
        await client.ask("tools/call", {"name": "changing::change", "arguments": arguments})
        await client.wait(lambda message: "list_changed" in str(message.get("method")), "list_changed", since)
        # Whose list was asked for over HTTP in the modern era, nobody knows: its streams are told right before that.
        if era == "legacy" or transport == "stdio":
            assert changes(client) == ["tools"]


@pytest.mark.parametrize(("transport", "era"), WAYS)
async def test_what_comes_after_the_first_list_is_told(tmp_path: Path, transport: str, era: str) -> None:
    servers = {"one": raw(), "late": raw("slow:initialize=4")}
    async with within(TIMEOUT), opened(tmp_path, servers, transport, era, first="") as client:
        if era == "modern":
            await client.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        if transport == "stdio":
            assert [tool["name"] for tool in (await client.ask("tools/list"))["tools"]] == ["one::echo"]
        names: list[str] = []
        since = 0
        while "late::echo" not in names:  # whoever listens before the first one is ready is told of that one, too
            await client.wait(
                lambda message: "tools/list_changed" in str(message.get("method")), "list_changed", since, wait=TIMEOUT
            )
            since = len(client.inbox)
            names = [tool["name"] for tool in (await client.ask("tools/list"))["tools"]]
        assert names == ["one::echo", "late::echo"]


async def test_a_client_that_asks_for_no_list_is_told_too(tmp_path: Path) -> None:
    with proxy(tmp_path, {"one": raw()}) as running:
        running.expect("one: ready")
        async with within(TIMEOUT), connect(Url(running.url + "/mcp"), "http", "legacy") as client:
            running.add(two=raw())
            await client.wait(
                lambda message: "tools/list_changed" in str(message.get("method")), "list_changed", wait=TIMEOUT
            )
            assert "tools" in changes(client)
