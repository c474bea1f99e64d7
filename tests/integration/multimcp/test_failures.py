"""A backend that cannot start, hangs, lies or dies harms no other, and says so in one line."""

import asyncio
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import mcp_types as types
import pytest
from mcp import MCPError

from tests.support.processes import (
    RAW,
    TIMEOUT,
    RawClient,
    alive,
    commands,
    descendants,
    fixture,
    proxy,
    quick,
    raw,
    server_process,
    text,
    until,
    whole_lines,
    within,
)


def test_a_healthy_server_answers_beside_a_hanging_and_a_crashing_one(tmp_path: Path) -> None:
    servers = {"hanging": raw("hang:initialize"), "crashing": raw("exit:start"), "healthy": fixture("calculator")}
    with proxy(tmp_path, servers) as running:
        running.expect("healthy: ready")

        async def call(mode: str) -> float:
            begun = time.monotonic()
            async with within(TIMEOUT), running.client(mode=mode) as client:
                assert text(await client.call_tool("healthy::add", {"a": 10, "b": 5})) == "15"
                return time.monotonic() - begun

        quick(1, lambda: asyncio.run(call("legacy")))
        # A modern client's first call finds out whether the server speaks its era, by starting it once more.
        asyncio.run(call("auto"))
        quick(1, lambda: asyncio.run(call("auto")))
        assert running.http("GET", "/readyz").status_code == 503
        status = running.status()
        assert {name: server["state"] for name, server in status.items()} == {
            "hanging": "starting",
            "crashing": "failed",
            "healthy": "ready",
        }
        assert "closed the connection" in status["crashing"]["error"]
        assert running.http("GET", "/mcp_servers").json()["active_servers"] == ["healthy"]
        # The crashing one is tried again and again; its failure is one line.
        assert len([line for line in running.lines if "crashing: failed: " in line]) == 1
        # It counts as started when the hanging one had its time.
        running.wait_ready()


def test_a_program_that_ends_at_once_says_no_more_than_that(tmp_path: Path) -> None:
    servers = {f"quick-{number}": {"command": "/bin/false"} for number in range(20)}
    with proxy(tmp_path, servers) as running:
        running.wait_ready()
        errors = {server["error"] for server in running.status().values()}
    assert errors == {"closed the connection during the handshake"}


async def test_a_call_waits_for_its_own_server_only(tmp_path: Path) -> None:
    servers = {"hanging": raw("hang:initialize"), "healthy": raw("slow:initialize=1")}
    with proxy(tmp_path, servers) as running:
        client = RawClient(running.url, "modern")  # not greeted, so that the call comes before the server is ready
        assert running.status()["healthy"]["state"] == "starting"
        assert client.call("tools/call", {"name": "healthy::echo", "arguments": {}})["content"]
        assert running.status()["hanging"]["state"] == "starting"
        client.__exit__()


async def test_the_first_list_waits_and_late_servers_are_announced(tmp_path: Path) -> None:
    servers = {"slow": raw("slow:initialize=1"), "late": raw("slow:initialize=4")}
    first = "from multimcp.protocol import waiting; waiting.CLIENT_WAIT = 2.5"
    with proxy(tmp_path, servers, first=first) as running:
        changed = anyio.Event()

        async def heard(message: Any) -> None:
            if isinstance(message, types.ToolListChangedNotification):
                changed.set()

        async with within(TIMEOUT), running.client(mode="legacy", message_handler=heard) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["slow::echo"]
            assert running.status()["late"]["state"] == "starting"
            await changed.wait()
            assert [tool.name for tool in (await client.list_tools()).tools] == ["slow::echo", "late::echo"]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"command": "no-such-program-here"}, "'no-such-program-here' was not found on PATH"),
        ({"command": "/no/such/program"}, "'/no/such/program' was not found; check the path"),
        (raw(cwd="/no/such/folder"), "the folder '/no/such/folder' (its \"cwd\") does not exist"),
        (raw(cwd="/etc/passwd"), "the folder '/etc/passwd' (its \"cwd\") is a file, not a folder"),
        ({"command": str(RAW)}, "cannot be run (Permission denied); make it executable"),
        ({"command": "/etc"}, "'/etc' is a folder; name the program in it"),
        ({"command": "/etc/passwd/x"}, "(Not a directory); a part of its path is a file"),
        ({"command": "true", "args": ["x" * 200_000]}, "'true' cannot be run (Argument list too long)"),
        ({"command": "x" * 300}, "(File name too long); its name is too long"),
        ({"command": "true", "args": ["a\0b"]}, "a NUL character in"),
        (raw("exit:start"), "closed the connection during the handshake"),
        (raw("exit:initialize"), "closed the connection during the handshake"),
        (raw("error:initialize"), "refused the handshake with error -31999: as I say"),
        ({"url": "http://127.0.0.1:1/mcp"}, "http://127.0.0.1:1/mcp cannot be reached"),
        ({"url": "http://127.0.0.1:1/sse"}, "http://127.0.0.1:1/sse cannot be reached"),
    ],
)
def test_why_a_server_cannot_be_added(shared: Any, server: dict[str, Any], words: str) -> None:
    answer = shared.add(bad=server)
    assert answer.status_code == 502
    body = answer.json()
    assert (body["added"], list(body["failed"])) == ([], ["bad"])
    assert words in body["failed"]["bad"]
    assert "bad" not in shared.status()


@pytest.mark.parametrize(
    ("behaviour", "tools", "words"),
    [
        ("loop", 1, "tools/list: its pages never end; what was read is kept"),
        ("endless", 1000, "tools/list: its pages never end; what was read is kept"),
        ("error:tools/list", 0, "tools/list: answered with error -31999: as I say"),
    ],
)
def test_a_list_that_cannot_be_read_costs_that_list(shared: Any, behaviour: str, tools: int, words: str) -> None:
    assert shared.add(odd=raw(behaviour)).json()["failed"] == {}
    status = shared.status()["odd"]
    assert (status["state"], status["tools"], status["prompts"]) == ("ready", tools, 1)
    assert words in status["error"]


def test_a_list_that_is_never_told_costs_that_list(tmp_path: Path) -> None:
    with proxy(tmp_path, {"silent": raw("hang:prompts/list")}) as running:
        running.wait_ready()
        status = running.status()["silent"]
        assert (status["state"], status["tools"], status["prompts"]) == ("ready", 1, 0)
        assert status["error"] == "prompts/list: was not answered within 10 s"


async def test_all_pages_are_read_and_odd_entries_left_out(shared: Any) -> None:
    shared.add(paged=raw("pages=12"), odd=raw("odd-entries"))
    async with within(TIMEOUT), shared.client() as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert [name for name in names if name.startswith("paged")] == [f"paged::tool{i}" for i in range(12)]
        odd = [tool for tool in (await client.list_tools()).tools if tool.name.startswith("odd")]
        assert [(tool.name, tool.description) for tool in odd] == [("odd::echo", "legacy")]
    assert "an entry without a name is left out" in shared.status()["odd"]["error"]
    assert "'echo' comes twice" in shared.status()["odd"]["error"]
    shared.remove("paged")


async def test_rubbish_on_stdout_is_skipped_and_said_once(shared: Any) -> None:
    shared.add(noisy=raw("noise"))
    async with within(TIMEOUT), shared.client(mode="legacy") as client:
        for _ in range(3):
            assert await client.call_tool("noisy::echo", {})
    noise = [line for line in shared.lines if "noisy: sends what is not MCP" in line]
    assert len(noise) == 1
    assert "Welcome to the server!" in noise[0]


async def test_a_call_in_flight_gets_an_error_that_names_the_dead_server(shared: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shared.add(dying=raw("hang:tools/call", f"log={log}"))
    family = descendants(shared.popen.pid)
    async with within(TIMEOUT), shared.client(mode="legacy") as client:
        error: list[MCPError] = []

        async def call() -> None:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("dying::echo", {})
            error.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.to_thread.run_sync(until, lambda: "tools/call" in log.read_text())
            (victim,) = [p for p, command in commands(family).items() if "hang:tools/call" in command]
            os.kill(victim, signal.SIGKILL)
        assert "MCP server 'dying': the connection ended before it answered tools/call" in str(error[0])
        assert error[0].data == {"server": "dying"}
        # It is started again, the call was not sent twice, and the tool stayed on the list meanwhile.
        assert "dying::echo" in [tool.name for tool in (await client.list_tools()).tools]
        await anyio.to_thread.run_sync(until, lambda: log.read_text().count('"initialize"') == 2)
        assert log.read_text().count('"tools/call"') == 1


async def test_a_server_that_dies_when_called_answers_again_later(shared: Any) -> None:
    shared.add(fragile=raw("exit:prompts/get"))
    async with within(TIMEOUT), shared.client(mode="legacy") as client:
        for _ in range(2):
            with pytest.raises(MCPError, match="fragile"):
                await client.get_prompt("fragile::greet")
            # Waits for the new connection.
            assert await client.call_tool("fragile::echo", {})


async def test_the_timeout_of_a_server(shared: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shared.add(slow=raw("hang:tools/call", f"log={log}", timeout=0.3))
    async with within(TIMEOUT), shared.client(mode="legacy") as client:
        with pytest.raises(MCPError, match=r"'slow': did not answer tools/call within 0.3 s") as caught:
            await client.call_tool("slow::echo", {})
        assert caught.value.code == types.REQUEST_TIMEOUT
        # The server is told, under its own request id.
        until(lambda: "notifications/cancelled" in "".join(whole_lines(log)))
    messages = [json.loads(line) for line in whole_lines(log)]
    called = next(message["id"] for message in messages if message["method"] == "tools/call")
    cancelled = next(m["params"]["requestId"] for m in messages if m["method"] == "notifications/cancelled")
    assert cancelled == called


@pytest.mark.parametrize("behaviour", ["hang:server/discover", "exit:server/discover"])
def test_finding_out_the_era_costs_ten_seconds_once(tmp_path: Path, behaviour: str) -> None:
    started = tmp_path / "started"
    with proxy(tmp_path, {"old": raw(behaviour, f"count={started}")}) as running:
        running.wait_ready()
        (first,) = whole_lines(started)
        with RawClient(running.url, "legacy") as legacy, RawClient(running.url, "modern") as modern:
            times = []
            for client in (modern, legacy, modern, legacy, modern):
                begun = time.monotonic()
                seen = json.loads(client.call("tools/call", {"name": "old::echo"})["content"][0]["text"])
                times.append(time.monotonic() - begun)
                assert seen["era"] == "legacy"
                # The envelope of the client's era does not reach a server that would refuse it.
                assert "_meta" not in seen["params"]
            assert times[0] < 15, times
            assert max(times[1:]) < 5, times
            # It was asked in a process of its own; the first one goes on.
            assert len(whole_lines(started)) == 2
            assert alive(int(first))
        assert running.status()["old"]["state"] == "ready"


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_modern_only_server_serves_clients_of_both_eras(shared: Any, era: str) -> None:
    shared.add(new=raw("modern-only"))
    status = shared.status()["new"]
    assert (status["state"], status["era"], status["protocolVersion"]) == ("ready", "modern", "2026-07-28")
    with RawClient(shared.url, era) as client:
        seen = client.call("tools/call", {"name": "new::echo"})
        assert json.loads(seen["content"][0]["text"])["era"] == "modern"
        read = client.call("resources/read", {"uri": "raw://one"})
        assert ("ttlMs" in read, "resultType" in read) == ((True, True) if era == "modern" else (False, False))
        assert "_meta" not in read or era == "modern"


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_remote_server_that_restarts_is_found_again(shared: Any, transport: str) -> None:
    with server_process("calculator", transport) as url:
        shared.add(remote={"url": url})
        assert shared.status()["remote"]["state"] == "ready"
    async with within(TIMEOUT), shared.client(mode="legacy") as client:
        with pytest.raises(MCPError, match="remote"):
            await client.call_tool("remote::add", {"a": 1, "b": 2})
        until(lambda: shared.status()["remote"]["state"] == "failed")
        assert "remote::add" in [tool.name for tool in (await client.list_tools()).tools]
        with server_process("calculator", transport, urlsplit(url).port or 0):
            until(lambda: shared.status()["remote"]["state"] == "ready")
            assert text(await client.call_tool("remote::add", {"a": 1, "b": 2})) == "3"
            assert shared.remove("remote").status_code == 200


def test_errors_of_a_backend_cross_as_they_were(shared: Any) -> None:
    shared.add(wrong=raw("modern", "error:tools/call"))
    for era in ("legacy", "modern"):
        with RawClient(shared.url, era) as client:
            error = client.error("tools/call", {"name": "wrong::echo"})
            assert error == {"code": -31999, "message": "as I say", "data": {"why": [1, None]}}


def test_a_server_that_dies_while_its_child_holds_its_stdout(shared: Any) -> None:
    shared.add(dying=raw("holds", "exit:prompts/get"))
    with RawClient(shared.url, "legacy") as client:
        error = client.error("prompts/get", {"name": "dying::greet"})
        assert "'dying': the connection ended before it answered prompts/get" in error["message"]
        assert client.call("tools/call", {"name": "dying::echo"})
    shared.remove("dying")
    assert descendants(shared.popen.pid) == set()


def test_a_server_that_closes_its_stdout_and_lives_on(shared: Any) -> None:
    shared.add(mute=raw("closes:prompts/get"))
    with RawClient(shared.url, "legacy") as client:
        error = client.error("prompts/get", {"name": "mute::greet"})
        assert "'mute': the connection ended before it answered prompts/get" in error["message"]
        assert client.call("tools/call", {"name": "mute::echo"})


def test_a_server_that_answers_notifications(shared: Any) -> None:
    shared.add(prim=raw("prim"))
    with RawClient(shared.url, "legacy") as client:
        assert "prim::echo" in [tool["name"] for tool in client.call("tools/list")["tools"]]


def test_the_last_words_of_a_server_need_no_line_feed(shared: Any) -> None:
    shared.add(brief=raw("unended:prompts/get"))
    with RawClient(shared.url, "legacy") as client:
        assert client.call("prompts/get", {"name": "brief::greet"})["description"] == "raw"
        assert client.call("tools/call", {"name": "brief::echo"})


def test_a_server_that_ends_while_its_child_holds_its_stdout_is_not_added(shared: Any) -> None:
    failed = shared.add(dying=raw("holds", "exit:initialize")).json()["failed"]
    assert "closed the connection during the handshake" in failed["dying"]


@pytest.mark.parametrize("behaviour", ["exit:tools/list", "error:initialize", "exit:prompts/list"])
def test_a_server_that_gives_up_in_its_handshake(shared: Any, behaviour: str) -> None:
    failed = shared.add(bad=raw(behaviour)).json()["failed"]
    method = behaviour.partition(":")[2]
    assert (f"asked for {method}" if "list" in method else "refused the handshake") in failed["bad"]


def test_a_restless_server_is_asked_now_and_then(shared: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shared.add(restless=raw("restless", "odd-entries", f"log={log}"))
    until(lambda: log.read_text().count('"tools/list"') >= 3)
    begun, before = time.monotonic(), log.read_text().count('"tools/list"')
    until(lambda: log.read_text().count('"tools/list"') >= before + 3)
    assert time.monotonic() - begun > 0.35
    # What is wrong with the list is said once.
    assert len([line for line in shared.lines if "restless: tools/list: 'echo' comes twice" in line]) == 1


def test_a_server_whose_greeting_is_no_json_is_not_added(shared: Any) -> None:
    """NaN is none, though Python writes it."""
    failed = shared.add(odd=raw("nan")).json()["failed"]
    assert "The server's answer is not one that MCP allows" in failed["odd"]


def test_an_error_code_that_the_sdk_uses_too_is_not_mistaken(shared: Any) -> None:
    shared.add(closed=raw("error:tools/call=-32000"))
    with RawClient(shared.url, "legacy") as client:

        def call() -> float:
            begun = time.monotonic()
            error = client.error("tools/call", {"name": "closed::echo"})
            assert (error["code"], error["message"]) == (-32000, "as I say")
            return time.monotonic() - begun

        quick(0.5, call)


def test_a_question_to_a_client_that_can_not_answer_is_answered_by_the_proxy(shared: Any) -> None:
    shared.add(asking=raw("asks"))
    with RawClient(shared.url, "legacy") as client:
        ping, sampling = json.loads(client.call("tools/call", {"name": "asking::echo"})["content"][0]["text"])
    assert ping["result"] == {}
    assert sampling["error"]["code"] == -32601


@pytest.mark.parametrize("behaviours", [(), ("modern-only",)])
def test_a_server_of_another_revision(shared: Any, behaviours: tuple[str, ...]) -> None:
    failed = shared.add(old=raw("version=1999-01-01", *behaviours)).json()["failed"]
    assert "speaks protocol revision" in failed["old"]
    assert "1999-01-01" in failed["old"]


def test_a_server_that_wants_input_from_a_legacy_client(shared: Any) -> None:
    shared.add(curious=raw("modern-only", "input"))
    with RawClient(shared.url, "legacy") as legacy, RawClient(shared.url, "modern") as modern:
        # It never asks anything, so that the client could not bring the call to an end.
        assert "asked more than 100 times" in legacy.error("tools/call", {"name": "curious::echo"})["message"]
        assert modern.call("tools/call", {"name": "curious::echo"})["resultType"] == "input_required"


def test_a_modern_connection_that_dies_is_opened_again(shared: Any, tmp_path: Path) -> None:
    started = tmp_path / "started"
    shared.add(dual=raw("modern", f"count={started}"))
    with RawClient(shared.url, "modern") as client:
        assert client.call("tools/call", {"name": "dual::echo"})
        first, second = map(int, whole_lines(started))
        assert client.call("tools/list")["tools"][0]["description"] == "modern"
        os.kill(second, signal.SIGKILL)
        until(lambda: not alive(second))
        until(lambda: client.call("tools/list") and len(started.read_text().split()) == 3)
        assert client.call("tools/list")["tools"][0]["description"] == "modern"
        text = client.call("tools/call", {"name": "dual::echo"})["content"][0]["text"]
        assert json.loads(text)["era"] == "modern"
        assert alive(first)
        assert len(whole_lines(started)) == 3
    assert shared.status()["dual"]["state"] == "ready"


def test_a_call_that_waits_for_its_era_while_the_server_is_lost_waits_for_the_next_one(
    shared: Any, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    shared.add(dual=raw("modern", "slow:server/discover=1", f"count={started}"))
    with RawClient(shared.url, "modern") as client, ThreadPoolExecutor(1) as pool:
        assert client.call("tools/call", {"name": "dual::echo"})
        first, second = map(int, whole_lines(started))
        os.kill(second, signal.SIGKILL)
        until(lambda: not alive(second))
        call = pool.submit(client.call, "tools/call", {"name": "dual::echo"})
        until(lambda: len(whole_lines(started)) == 3, what="the process in the era of the client")
        os.kill(first, signal.SIGKILL)
        assert json.loads(call.result(TIMEOUT)["content"][0]["text"])["era"] == "modern"


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_resource_of_a_server_that_is_starting_is_not_asked_of_another(tmp_path: Path, era: str) -> None:
    servers = {"early": raw(), "late": raw("slow:initialize=1.5", "name=late", "only:late")}
    with proxy(tmp_path, servers) as running:
        running.expect("early: ready")
        with RawClient(running.url, era) as client:
            assert running.status()["late"]["state"] == "starting"
            # Listed by neither under this spelling, so that it is a matter of who has resources.
            result = client.call("resources/read", {"uri": "raw://late/strange"})
            assert result["contents"][0]["text"] == "late: raw://late/strange"
