"""Nothing waits for a server that is gone: it goes on with its successor, or fails at once with an error that names it.

The table is (what waits) x (what happens to its server), over each transport and in each era; to each of the servers of
one proxy something else happens, at once. Waited for is an answer, or a server that has crashed and does not come up.
"""

import os
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    Process,
    RawClient,
    commands,
    descendants,
    proxy,
    raw,
    until,
    whole_lines,
    write_config,
)

AT_ONCE = 4.0
"""Seconds: less than the five that a call waits for a server to come back, more than a process takes to be ended."""

ABLE = 'able={"resources": {"subscribe": true}}'
METHODS = ("tools/call", "prompts/get", "resources/read", "completion/complete", "resources/subscribe")
HAPPENINGS = ("removed", "dropped", "disabled", "replaced", "crashed")
"""What happens to the server of that name."""


def asked(method: str, name: str) -> dict[str, Any]:
    """What a request of this method says that goes to the server of this name."""
    prompt = {"type": "ref/prompt", "name": f"{name}::greet"}
    known: dict[str, dict[str, Any]] = {
        "tools/call": {"name": f"{name}::echo", "arguments": {}},
        "prompts/get": {"name": f"{name}::greet"},
        "completion/complete": {"ref": prompt, "argument": {"name": "a", "value": ""}},
    }
    return known.get(method, {"uri": f"raw://{name}/one"})


class Servers:
    """A server for each happening, behind one proxy."""

    def __init__(self, tmp_path: Path, transport: str, stack: ExitStack, *behaviours: str) -> None:
        self._config, self._down, self._log = tmp_path / "mcp.json", tmp_path / "down", tmp_path / "log"
        self._processes: list[Process] = []
        self._entries = {name: self._entry(transport, stack, *behaviours) for name in HAPPENINGS}
        self.running = stack.enter_context(proxy(tmp_path, self._entries, "--no-watch"))
        for name in HAPPENINGS:
            self.running.expect(f"{name}: ready")

    def _entry(self, transport: str, stack: ExitStack, *behaviours: str) -> dict[str, Any]:
        server = raw("modern", ABLE, f"log={self._log}", *behaviours)
        if transport == "stdio":
            script = f'test ! -e "{self._down}" || exec sleep 600; exec "$0" "$@"'
            return {"command": "sh", "args": ["-c", script, server["command"], *server["args"]]}
        process = Process(server["command"], server["args"][0], "http", *server["args"][1:])
        stack.callback(process.kill)
        self._processes.append(process)
        path = "sse" if transport == "sse" else "mcp"
        return {"url": process.expect(r"listening on (http://\S+)").group(1) + f"/{path}"}

    def heard(self, count: int) -> bool:
        """Whether so many requests have arrived that clients make here."""
        text = self._log.read_text()
        return (
            sum(text.count(f'"method": "{method}"') + text.count(f'"method":"{method}"') for method in METHODS) >= count
        )

    def crash(self, *names: str) -> None:
        """End the servers of these names, which do not come up any more."""
        self._down.touch()
        if self._processes:
            for name in names:
                self._processes[HAPPENINGS.index(name)].popen.kill()
        else:
            told = commands(descendants(self.running.popen.pid))
            assert names == HAPPENINGS or len(told) >= len(HAPPENINGS)
            for pid in sorted(told)[-1:] if names == ("crashed",) else told:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def happen(self) -> None:
        """To each server what its name says."""
        threading.Thread(target=self.running.remove, args=("removed",)).start()
        kept = {name: entry for name, entry in self._entries.items() if name != "dropped"}
        kept["disabled"] = {**kept["disabled"], "disabled": True}
        kept["replaced"] = raw("modern", ABLE)
        write_config(self._config, kept)
        self.running.popen.send_signal(signal.SIGHUP)


class Asking(threading.Thread):
    """A request under way, and the message that answers it."""

    def __init__(self, client: RawClient, method: str, name: str) -> None:
        super().__init__()
        self.method, self.name = method, name
        self._client = client
        self.message: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        self.message = self._client.exchange(self.method, asked(self.method, self.name))

    def end(self, deadline: float) -> dict[str, Any]:
        """The answer, which is due now."""
        self.join(max(0.1, deadline - time.monotonic()))
        assert self.message, f"{self.method} to what was {self.name} got no answer"
        return self.message


def ask_all(servers: Servers, era: str, stack: ExitStack, names: tuple[str, ...]) -> list[Asking]:
    """A client for each request of each method to each of these servers."""
    methods = [method for method in METHODS if era == "legacy" or method != "resources/subscribe"]
    pairs = [(method, name) for method in methods for name in names]
    clients = [stack.enter_context(RawClient(servers.running.url, era)) for _ in pairs]
    return [Asking(client, *pair) for client, pair in zip(clients, pairs, strict=True)]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
def test_who_waits_for_an_answer(transport: str, era: str, tmp_path: Path) -> None:
    hangs = [f"hang:{method}" for method in METHODS]
    with ExitStack() as stack:
        servers = Servers(tmp_path, transport, stack, *hangs)
        asking = ask_all(servers, era, stack, HAPPENINGS)
        until(lambda: servers.heard(len(asking)))
        servers.happen()
        deadline = time.monotonic() + AT_ONCE
        crashed = [each for each in asking if each.name == "crashed"]
        for each in asking:
            if each not in crashed:
                message = each.end(deadline)
                if each.name == "replaced" and each.method == "resources/subscribe":
                    assert "result" in message, message  # which the successor can be asked for as well
                    continue
                assert "error" in message, (each.method, each.name, message)
                error = message["error"]
                assert error["message"].startswith(f"MCP server '{each.name}': "), error
        servers.crash("crashed") if transport != "stdio" else servers.crash(*HAPPENINGS)
        deadline = time.monotonic() + AT_ONCE
        for each in crashed:
            error = each.end(deadline)["error"]
            assert error["message"].startswith("MCP server 'crashed': "), error


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
def test_who_waits_for_the_server(transport: str, era: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = Servers(tmp_path, transport, stack)
        with RawClient(servers.running.url, era) as client:
            client.call("tools/list")
        servers.crash(*HAPPENINGS)
        if transport != "http":  # where it is noticed by who asks
            until(lambda: all(status["state"] != "ready" for status in servers.running.status().values()))
        asking = ask_all(servers, era, stack, HAPPENINGS[:-1])
        threading.Event().wait(0.3)  # they wait: nothing tells
        servers.happen()
        deadline = time.monotonic() + AT_ONCE
        for each in asking:
            message = each.end(deadline)
            # Over HTTP the modern connection is the first: with it the whole server is noticed to be away.
            if each.name == "replaced" and (transport == "stdio" or (transport, era) == ("http", "modern")):
                assert "result" in message, message
            elif each.name != "replaced" and transport != "http":
                assert message["error"]["message"].startswith(f"MCP server '{each.name}': "), message


def test_a_subscription_is_kept_that_is_asked_for_again_while_the_server_is_away(tmp_path: Path) -> None:
    down, log = tmp_path / "down", tmp_path / "log"
    server = raw(ABLE, f"log={log}", "exit:tools/call")
    script = f'test ! -e "{down}" || exit 3; exec "$0" "$@"'
    entry = {"command": "sh", "args": ["-c", script, server["command"], *server["args"]]}

    def subscriptions() -> int:
        return sum('"resources/subscribe"' in line for line in whole_lines(log))

    with proxy(tmp_path, {"s": entry}) as running, RawClient(running.wait_ready().url, "legacy") as client:
        assert client.call("resources/subscribe", {"uri": "x://a"}) == {}
        down.touch()
        assert "error" in client.exchange("tools/call", {"name": "s::echo", "arguments": {}})
        assert "error" in client.exchange("resources/subscribe", {"uri": "x://a"})
        assert subscriptions() == 1
        down.unlink()
        until(lambda: subscriptions() == 2)
