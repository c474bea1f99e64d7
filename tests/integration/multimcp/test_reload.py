"""The configuration file of a running proxy: followed when it changes, read again on SIGHUP, and written back."""

import fcntl
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.support.processes import (
    ROOT,
    TIMEOUT,
    Proxy,
    RawClient,
    alive,
    descendants,
    fixture,
    proxy,
    raw,
    stdio_client,
    text,
    until,
    whole_lines,
    within,
    write_config,
)

SECRET = "s3cr3t-t0ken"
ABLE = 'able={"resources": {"subscribe": true}}'


def edit(running: Proxy, servers: dict[str, Any]) -> None:
    """Write the file of a running proxy as an editor does: a new one takes the place of the old one."""
    command: Any = running.popen.args
    path = Path(command[command.index("--config") + 1])
    write_config(path.with_name("mcp.json~"), servers).replace(path)


def names(running: Proxy) -> list[str]:
    return list(running.status())


def states(running: Proxy) -> dict[str, str]:
    return {name: server["state"] for name, server in running.status().items()}


def has_states(running: Proxy, expected: dict[str, str]) -> bool:
    return states(running) == expected


def tools(running: Proxy) -> list[str]:
    with RawClient(running.url, "modern") as client:
        return [tool["name"] for tool in client.call("tools/list")["tools"]]


def process_of(running: Proxy, mark: str) -> int:
    """The process of the server that has `mark` in its command line."""
    [pid] = [
        pid for pid in descendants(running.popen.pid) if mark in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    ]
    return pid


def marked(mark: str, **more: Any) -> dict[str, Any]:
    """A server with a mark in its command line."""
    return raw(mark, **more)


def test_only_what_changed_is_touched(tmp_path: Path) -> None:
    before = {"stays": marked("m=1"), "goes": marked("m=2"), "changes": marked("m=3")}
    with proxy(tmp_path, before) as running:
        running.wait_ready()
        pids = {mark: process_of(running, mark) for mark in ("m=1", "m=2", "m=3")}
        edit(running, {"new": marked("m=4"), "stays": before["stays"], "changes": marked("m=3", env={"X": "1"})})
        ready = {"new": "ready", "stays": "ready", "changes": "ready"}
        until(lambda: states(running) == ready)
        until(lambda: not alive(pids["m=2"]) and not alive(pids["m=3"]))
        assert process_of(running, "m=1") == pids["m=1"]
        assert process_of(running, "m=3") != pids["m=3"]
        assert names(running) == list(ready)  # in the file's order
        assert tools(running) == ["new::echo", "stays::echo", "changes::echo"]
        assert running.stderr.count("restarted") == 1


@pytest.mark.parametrize(("transport", "mode"), [("sse", "legacy"), ("http", "legacy"), ("http", "auto")])
async def test_clients_hear_of_it(tmp_path: Path, transport: str, mode: str) -> None:
    news = anyio.Event()

    async def hear(message: Any) -> None:
        if type(message).__name__ == "ToolListChangedNotification":
            news.set()

    with proxy(tmp_path, {"a": raw()}) as running:
        running.wait_ready()
        async with (
            within(TIMEOUT),
            running.client(transport, mode, message_handler=hear) as client,
            AsyncExitStack() as stack,
        ):
            if mode == "auto":
                await stack.enter_async_context(client.listen(tools_list_changed=True))
            edit(running, {"a": raw(), "b": raw()})
            while "b::echo" not in [tool.name for tool in (await client.list_tools()).tools]:
                await news.wait()
                news = anyio.Event()


async def test_a_client_over_stdio_hears_of_it(tmp_path: Path) -> None:
    news = anyio.Event()

    async def hear(message: Any) -> None:
        news.set()

    config = write_config(tmp_path / "mcp.json", {"a": raw()})
    async with within(TIMEOUT), stdio_client(config, mode="legacy", message_handler=hear) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["a::echo"]
        write_config(config, {"a": raw(), "b": raw()})
        while len((await client.list_tools()).tools) < 2:
            await news.wait()
            news = anyio.Event()
        assert '"echo"' in text(await client.call_tool("b::echo", {}))


def test_the_last_of_several_that_replaced_it_is_unsubscribed_from(tmp_path: Path) -> None:
    def server(number: int) -> dict[str, Any]:
        return {"s": raw(ABLE, f"log={tmp_path / str(number)}")}

    def is_told(number: int, expected: list[str]) -> bool:
        methods = [json.loads(line).get("method", "") for line in whole_lines(tmp_path / str(number))]
        return [method for method in methods if method.endswith("subscribe")] == expected

    with proxy(tmp_path, server(0)) as running, RawClient(running.wait_ready().url, "modern") as client:
        wanted = client.request("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["x://a"]}})
        with httpx2.stream("POST", f"{running.url}/mcp", **wanted, timeout=TIMEOUT, trust_env=False) as stream:
            lines = stream.iter_lines()  # without which the stream would end
            next(line for line in lines if "acknowledged" in line)
            for number in (1, 2):
                edit(running, server(number))
                until(partial(is_told, number, ["resources/subscribe"]))
        until(partial(is_told, 2, ["resources/subscribe", "resources/unsubscribe"]))


def test_a_configmap_is_swapped_by_its_link(tmp_path: Path) -> None:
    """As the kubelet does it: mcp.json -> ..data/mcp.json, ..data -> a folder with a new name each time."""
    for number, servers in enumerate(({"a": raw()}, {"b": raw()}), 1):
        (tmp_path / f"..{number}").mkdir()
        write_config(tmp_path / f"..{number}" / "mcp.json", servers)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "mcp.json").symlink_to("..data/mcp.json")
    process = Proxy(tmp_path / "mcp.json", "--transport", "http", "--port", "0")
    try:
        process.listening().wait_ready()
        assert states(process) == {"a": "ready"}
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        until(lambda: states(process) == {"b": "ready"})
        process.stop()
    finally:
        process.kill()


def test_a_broken_file_is_reported_once_and_changes_nothing(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}) as running:
        running.wait_ready()
        pid = process_of(running, str(ROOT / "tests" / "support" / "raw_server.py"))
        config = tmp_path / "mcp.json"
        config.write_text('{"mcpServers": {"a": {"command": 5}}}')
        running.expect(r"ERROR .*mcp\.json: mcpServers\.a\.command: .*until then all stays as it is")
        running.popen.send_signal(signal.SIGHUP)
        config.write_text("{")
        running.expect(r"ERROR .*mcp\.json: is not valid JSON at line 1, column 2")
        config.unlink()
        running.expect(r"ERROR .*mcp\.json: cannot be read")
        assert states(running) == {"a": "ready"}
        assert running.stderr.count("mcpServers.a.command") == 1
        edit(running, {"a": raw(), "b": raw()})
        until(lambda: states(running) == {"a": "ready", "b": "ready"})
        assert alive(pid)


def test_sighup_and_no_watch(tmp_path: Path) -> None:
    """Another proxy on the same file follows it: until then this one had the same time to."""
    with proxy(tmp_path, {"a": raw()}, "--no-watch") as deaf, proxy(tmp_path, {"a": raw()}) as running:
        edit(running, {"b": raw()})
        until(lambda: names(running) == ["b"])
        assert names(deaf) == ["a"]
        deaf.popen.send_signal(signal.SIGHUP)
        until(lambda: states(deaf) == {"b": "ready"})


def test_no_watch_in_the_environment(tmp_path: Path) -> None:
    with (
        proxy(tmp_path, {"a": raw()}, env={"MULTI_MCP_NO_WATCH": "true"}) as deaf,
        proxy(tmp_path, {"a": raw()}, env={"MULTI_MCP_NO_WATCH": "0"}) as running,
    ):
        edit(running, {"b": raw()})
        until(lambda: names(running) == ["b"])
        assert names(deaf) == ["a"]


def test_what_was_added_over_http_lives_beside_the_file(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}) as running:
        running.wait_ready()
        answer = running.add(guest=marked("m=1"), both=marked("m=2"), same=marked("m=3")).json()
        assert answer["added"] == ["guest", "both", "same"]
        pids = {mark: process_of(running, mark) for mark in ("m=1", "m=2", "m=3")}
        edit(running, {"both": marked("m=2", timeout=5), "same": marked("m=3")})
        until(lambda: not alive(pids["m=2"]) and set(states(running).values()) == {"ready"})
        assert names(running) == ["both", "same", "guest"]
        assert process_of(running, "m=1") == pids["m=1"]
        assert process_of(running, "m=3") == pids["m=3"]  # it is what the file says already
        for name in ("both", "same"):
            running.expect(f"{name}: was added over HTTP, and is the configuration file's now")
        edit(running, {})
        until(lambda: names(running) == ["guest"])
        assert alive(pids["m=1"])
        running.remove("guest")
        edit(running, {"guest": raw()})
        until(lambda: states(running) == {"guest": "ready"})
        assert "guest: was added" not in running.stderr  # not any more


def test_a_server_that_the_file_has_by_now_is_not_taken_back(tmp_path: Path) -> None:
    """It was added over HTTP, too, and is not ready in time."""
    late = raw("slow:initialize=6")
    with proxy(tmp_path, {}, "--startup-timeout", "4") as running, ThreadPoolExecutor(1) as pool:
        adding = pool.submit(lambda: running.add(x=late))
        until(lambda: names(running) == ["x"])
        edit(running, {"x": late})
        running.expect("x: was added over HTTP, and is the configuration file's now")
        assert adding.result(TIMEOUT).json()["failed"] == {
            "x": "was not ready within 4 s (--startup-timeout); it stays, as the configuration file has it by now"
        }
        until(lambda: states(running) == {"x": "ready"})


def test_what_was_removed_over_http_stays_away_until_its_entry_changes(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw(), "b": raw()}) as running:
        running.wait_ready()
        assert "in this process only" in running.remove("a").json()["message"]
        edit(running, {"a": raw(), "b": raw(), "c": raw()})
        until(lambda: names(running) == ["b", "c"])
        edit(running, {"a": raw(timeout=9), "b": raw(), "c": raw()})
        until(lambda: states(running) == {"a": "ready", "b": "ready", "c": "ready"})
        # Whoever takes a free name over HTTP keeps it for as long as the file does not change in this.
        running.remove("a")
        assert running.add(a=marked("m=1")).json()["added"] == ["a"]
        edit(running, {"b": raw(), "c": raw()})
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: names(running) == ["b", "c", "a"])


def test_the_order_decides_who_keeps_a_name(tmp_path: Path) -> None:
    servers = {"a": raw(), "b": raw()}
    with proxy(tmp_path, servers) as running:
        running.wait_ready()
        before = descendants(running.popen.pid)

        def uris() -> list[str]:
            with RawClient(running.url, "legacy") as client:
                return [resource["uri"] for resource in client.call("resources/list")["resources"]]

        assert uris() == ["raw://one", "raw://b/one"]
        edit(running, dict(reversed(servers.items())))
        until(lambda: uris() == ["raw://one", "raw://a/one"])
        assert descendants(running.popen.pid) == before


def test_disabling_and_enabling(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw(disabled=True)}) as running:
        edit(running, {"a": raw()})
        until(lambda: states(running) == {"a": "ready"})
        edit(running, {"a": raw(disabled=True)})
        until(lambda: states(running) == {"a": "disabled"} and not descendants(running.popen.pid))


def test_a_server_is_gone_before_its_successor_starts(tmp_path: Path) -> None:
    """It may hold a port, a lock, a database."""
    server = raw("stubborn")
    with proxy(tmp_path, {"a": server}) as running:
        running.wait_ready()
        for between in ({"a": raw("stubborn", disabled=True)}, {}):
            [before] = descendants(running.popen.pid)
            edit(running, between)
            disabled = dict.fromkeys(between, "disabled")
            until(partial(has_states, running, disabled))
            assert alive(before)
            edit(running, {"a": server})
            until(lambda: states(running) == {"a": "ready"})
            assert not alive(before)
        edit(running, {"a": raw("stubborn", disabled=True)})
        until(lambda: states(running) == {"a": "disabled"})
        assert running.remove("a").status_code == 200
        assert not descendants(running.popen.pid)


def test_what_a_restarted_server_offers_stays_there(tmp_path: Path) -> None:
    """Calls wait, as they do for a server that died."""
    with proxy(tmp_path, {"a": raw("slow:initialize=0.5")}) as running:
        running.wait_ready()
        with RawClient(running.url, "legacy") as client:
            assert client.call("tools/call", {"name": "a::echo"})
            edit(running, {"a": raw("slow:initialize=0.5", timeout=9)})
            running.expect("a: restarted")
            assert [tool["name"] for tool in client.call("tools/list")["tools"]] == ["a::echo"]
            assert client.call("tools/call", {"name": "a::echo"})["content"]
            edit(running, {"a": raw("slow:initialize=0.5", disabled=True)})
            until(lambda: states(running) == {"a": "disabled"})
            assert client.call("tools/list")["tools"] == []


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_who_watches_a_restarted_server_hears_of_updates(tmp_path: Path, mode: str) -> None:
    heard = anyio.Event()

    async def hear(message: Any) -> None:
        if type(message).__name__ == "ResourceUpdatedNotification":
            heard.set()

    async def follow(subscription: Any) -> None:
        async for _ in subscription:
            heard.set()

    uri = "changing://a"
    with proxy(tmp_path, {"a": fixture("changing")}) as running:
        running.wait_ready()
        async with (
            within(60),
            running.client("http", mode, message_handler=hear) as client,
            AsyncExitStack() as stack,
            anyio.create_task_group() as group,
        ):
            if mode == "auto":
                group.start_soon(follow, await stack.enter_async_context(client.listen(resource_subscriptions=[uri])))
            else:
                with pytest.warns(MCPDeprecationWarning):
                    await client.subscribe_resource(uri)
            edit(running, {"a": fixture("changing", timeout=60)})
            running.expect("a: restarted")
            until(lambda: states(running) == {"a": "ready"})
            while not heard.is_set():  # it is subscribed to again in its own time
                await client.call_tool("a::touch", {"uri": uri})
                with anyio.move_on_after(0.1):
                    await heard.wait()
            group.cancel_scope.cancel()


def test_an_unknown_key_restarts_nothing(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}) as running:
        running.wait_ready()
        before = descendants(running.popen.pid)
        edit(running, {"a": raw(colour="blue"), "b": raw("slow:initialize=0.1")})
        running.expect("unknown key 'colour' is ignored")
        until(lambda: states(running) == {"a": "ready", "b": "ready"})
        assert before < descendants(running.popen.pid)


def test_readiness_stays_while_a_server_is_restarted(tmp_path: Path) -> None:
    """All replicas follow a change at once: none may leave the Service for it."""
    with proxy(tmp_path, {"a": raw()}) as running:
        running.wait_ready()
        edit(running, {"a": raw("hang:initialize")})
        until(lambda: states(running) == {"a": "starting"})
        assert running.http("GET", "/readyz").status_code == 200


def test_the_proxy_ends_in_the_middle_of_it(tmp_path: Path) -> None:
    """`Proxy.stop` checks that nothing is left."""
    with proxy(tmp_path, {"a": raw("stubborn"), "b": raw("stubborn")}) as running:
        running.wait_ready()
        edit(running, {"a": raw(), "c": raw("hang:initialize")})
        running.expect("a: restarted")
        running.stop()


# --- written back


@pytest.fixture
def persisting(tmp_path: Path) -> Iterator[Proxy]:
    servers = {"a": raw(env={"TOKEN": "${RELOAD_TOKEN}", "OTHER": "${RELOAD_NONE:-none}"}), "b": raw()}
    with proxy(tmp_path, servers, "--persist", env={"RELOAD_TOKEN": SECRET}) as running:
        yield running.wait_ready()


def test_what_is_added_and_removed_is_written(persisting: Proxy, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    written = {"theme": "dark", **json.loads(config.read_text())}
    config.write_text(json.dumps(written))
    config.chmod(0o640)
    before = descendants(persisting.popen.pid)
    new = raw(env={"KEY": "${RELOAD_TOKEN}"}, note="ünknown")
    answer = persisting.add(c=new, bad=raw("exit:start"))
    assert answer.json()["message"] == f"1 of 2 servers added, and in {config}"
    written["mcpServers"]["c"] = new
    assert json.loads(config.read_text()) == written
    assert list(json.loads(config.read_text())) == ["theme", "mcpServers"]
    assert SECRET not in config.read_text()
    assert "ünknown" in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert before < descendants(persisting.popen.pid)  # nothing was restarted
    assert persisting.remove("a").json()["message"] == f"server 'a' removed, and in {config}"
    del written["mcpServers"]["a"]
    assert json.loads(config.read_text()) == written
    assert os.listdir(tmp_path) == ["mcp.json"]
    assert names(persisting) == ["b", "c"]
    assert "restarted" not in persisting.stderr


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    config = write_config(tmp_path / "real" / "mcp.json", {})
    (tmp_path / "mcp.json").symlink_to(config)
    process = Proxy(tmp_path / "mcp.json", "--transport", "http", "--port", "0", "--persist")
    try:
        process.listening()
        assert process.add(a=raw()).status_code == 200
        assert (tmp_path / "mcp.json").is_symlink()
        assert list(json.loads(config.read_text())["mcpServers"]) == ["a"]
        process.stop()
    finally:
        process.kill()


def test_a_file_that_cannot_be_written_back_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text('{"mcpServers": {}} // mine')
    process = Proxy(config, "--transport", "http", "--port", "0", "--persist")
    assert process.popen.wait(TIMEOUT) == 2
    assert "mcp.json: has comments, or commas before a bracket, which would be lost; take them out" in process.stderr


def test_a_file_that_cannot_be_written_now_changes_nothing(persisting: Proxy, tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text("{")
    before = descendants(persisting.popen.pid)
    answer = persisting.add(c=raw())
    assert answer.status_code == 500
    assert "mcp.json: is not valid JSON at line 1" in answer.json()["error"]
    assert persisting.remove("a").status_code == 500
    assert names(persisting) == ["a", "b"]
    assert descendants(persisting.popen.pid) == before
    assert (tmp_path / "mcp.json").read_text() == "{"


def test_a_folder_that_another_process_has_locked(persisting: Proxy, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        for answer in (persisting.add(c=raw()), persisting.remove("a")):
            assert answer.status_code == 500
            assert "another process has locked its folder" in answer.json()["error"]
    finally:
        os.close(folder)
    assert names(persisting) == ["a", "b"]
    assert persisting.remove("a").status_code == 200


def test_what_else_is_wrong_with_the_file_keeps_nothing_from_being_removed(persisting: Proxy, tmp_path: Path) -> None:
    broken = json.loads((tmp_path / "mcp.json").read_text())
    broken["mcpServers"]["new"] = {"command": 5}
    (tmp_path / "mcp.json").write_text(json.dumps(broken))
    assert persisting.remove("a").status_code == 200
    assert names(persisting) == ["b"]
    assert list(json.loads((tmp_path / "mcp.json").read_text())["mcpServers"]) == ["b", "new"]


def test_what_is_written_is_the_files_own(tmp_path: Path) -> None:
    """Nobody follows the file here, so that nothing is read back."""
    with proxy(tmp_path, {"a": raw()}, "--persist", "--no-watch") as running:
        running.wait_ready()
        assert running.add(x=raw()).status_code == 200
        edit(running, {"a": raw(), "b": raw()})
        assert running.remove("a").status_code == 200
        assert states(running) == {"x": "ready"}  # the edit waits for SIGHUP
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: states(running) == {"b": "ready"})
        running.expect("x: removed, as it is in the configuration file no more")
        edit(running, {"a": raw(), "b": raw()})
        running.popen.send_signal(signal.SIGHUP)
        until(lambda: states(running) == {"a": "ready", "b": "ready"})


def test_a_name_that_the_file_has_by_now_is_in_use(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, "--persist", "--no-watch") as running:
        edit(running, {"x": raw("name=theirs")})
        answer = running.add(x=raw("name=mine"))
        assert answer.status_code == 409
        assert "mcp.json: 'x' is there already" in answer.json()["error"]
        assert not names(running)
        assert not descendants(running.popen.pid)
        assert json.loads((tmp_path / "mcp.json").read_text())["mcpServers"] == {"x": raw("name=theirs")}


def test_what_was_removed_meanwhile_is_not_written(tmp_path: Path) -> None:
    with (
        proxy(tmp_path, {}, "--persist", "--startup-timeout", "4") as running,
        ThreadPoolExecutor(1) as pool,
    ):
        adding = pool.submit(lambda: running.add(swift=raw(), late=raw("hang:initialize", "stubborn")))
        until(lambda: states(running) == {"swift": "ready"})  # the late one is being ended
        assert running.remove("swift").status_code == 200
        answer = adding.result(TIMEOUT).json()
        assert answer["added"] == []
        assert answer["failed"]["swift"] == "was removed"
        assert json.loads((tmp_path / "mcp.json").read_text()) == {"mcpServers": {}}


def test_three_processes_on_one_folder_converge(tmp_path: Path) -> None:
    with ExitStack() as stack:
        replicas = [stack.enter_context(proxy(tmp_path, {"a": raw()}, "--persist")) for _ in range(3)]

        def everywhere(expected: dict[str, str]) -> None:
            until(lambda: all(states(one) == expected for one in replicas))

        everywhere({"a": "ready"})
        edit(replicas[0], {"a": raw(), "b": raw()})
        everywhere({"a": "ready", "b": "ready"})
        assert replicas[1].add(c=raw()).status_code == 200
        everywhere({"a": "ready", "b": "ready", "c": "ready"})
        assert replicas[2].remove("c").status_code == 200
        everywhere({"a": "ready", "b": "ready"})
        assert len({tuple(tools(one)) for one in replicas}) == 1
        assert Counter(tools(replicas[0])) == {"a::echo": 1, "b::echo": 1}


async def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        replicas = [stack.enter_context(proxy(tmp_path, {}, "--persist")) for _ in range(3)]
        async with within(60), anyio.create_task_group() as group:
            for number, replica in enumerate(replicas):
                for name in "abc":
                    add = partial(replica.add, **{f"{name}{number}": raw()})
                    group.start_soon(anyio.to_thread.run_sync, add)
        expected = {f"{name}{number}" for name in "abc" for number in range(3)}
        assert set(json.loads((tmp_path / "mcp.json").read_text())["mcpServers"]) == expected
        until(lambda: all(set(names(one)) == expected for one in replicas))


def test_without_persist_an_answer_says_how_far_it_reaches(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:
        message = running.add(a=raw()).json()["message"]
        assert message.startswith("1 of 1 servers added, in this process only")
        assert "other replicas" in message
        assert json.loads((tmp_path / "mcp.json").read_text()) == {"mcpServers": {}}
        assert running.add(b=raw("exit:start")).json()["message"] == "0 of 1 servers added"


# --- the terminal


@pytest.mark.parametrize("closing", [True, False])
def test_a_terminal_that_is_gone_ends_it(tmp_path: Path, closing: bool) -> None:
    """SIGHUP is how a kernel tells that; with the terminal there, it is an operator's."""
    config = write_config(tmp_path / "mcp.json", {"a": raw()})
    ours, theirs = pty.openpty()
    # A session of its own, with the terminal as the one that controls it.
    code = "import sys, os, fcntl; from termios import TIOCSCTTY; os.setsid(); fcntl.ioctl(2, TIOCSCTTY, 0)"
    command = [sys.executable, str(ROOT / "main.py"), "--transport", "http", "--port", "0", "--config", str(config)]
    code += "; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stderr=theirs,
    )
    os.close(theirs)
    try:
        seen = b""
        while b"listening on" not in seen or b"a: ready" not in seen:
            seen += os.read(ours, 4096)
        if closing:
            os.close(ours)
            assert process.wait(TIMEOUT) == 0
        else:
            write_config(config, {})
            process.send_signal(signal.SIGHUP)
            while b"a: removed" not in seen:
                seen += os.read(ours, 4096)
            process.terminate()
            assert process.wait(TIMEOUT) == 0
            os.close(ours)
    finally:
        for pid in {process.pid, *descendants(process.pid)}:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)
