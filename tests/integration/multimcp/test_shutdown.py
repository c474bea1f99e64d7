"""However it is told to end, the proxy ends with code 0 within five seconds and leaves no process behind."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial, wraps
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.processes import (
    RAW,
    ROOT,
    TIMEOUT,
    Process,
    Proxy,
    RawClient,
    alive,
    commands,
    descendants,
    proxy,
    quick,
    raw,
    until,
    write_config,
)

# A polite wrapper that leaves its child behind, one that obeys nothing, and one in a shell.
STUBBORN = {
    "plain": raw("modern"),
    "orphan": raw("orphan"),
    "stubborn": raw("stubborn"),
    "shell": {"command": "sh", "args": ["-c", f"{sys.executable} {RAW} orphan; true"]},
}


SHUTDOWN = 5.0
"""Seconds in which the proxy ends."""


def in_time(test: Callable[..., float]) -> Callable[..., None]:
    """For a test that returns the seconds the proxy took to end."""

    @wraps(test)
    def timed(**arguments: Any) -> None:
        quick(SHUTDOWN, lambda: test(**arguments))

    return timed


def end(process: Process, how: Callable[[], None]) -> float:
    """Have a proxy end; returns the seconds it took."""
    begun = time.monotonic()
    how()
    assert process.wait(TIMEOUT) == 0, process.stderr
    return time.monotonic() - begun


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@in_time
def test_signals_with_clients_connected(tmp_path: Path, number: signal.Signals) -> float:
    """`Proxy.stop` checks the exit code and the descendants."""
    with proxy(tmp_path, STUBBORN) as running:
        running.wait_ready()
        assert {name: server["state"] for name, server in running.status().items()} == dict.fromkeys(STUBBORN, "ready")
        family = commands(descendants(running.popen.pid)).values()
        assert sum("time.sleep(600)" in command for command in family) == 2  # the grandchildren are there
        with (
            RawClient(running.url, "legacy") as legacy,
            RawClient(running.url, "modern") as modern,
            httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
            http.stream("GET", running.url + "/sse") as sse,
        ):
            lines = sse.iter_lines()  # it closes the stream when it goes
            assert next(lines) == "event: endpoint"
            for client in (legacy, modern):
                assert client.call("tools/call", {"name": "plain::echo"})
            return running.stop(number)


OPEN = ["GET /mcp", "GET /sse", "subscriptions/listen"]


@contextmanager
def open_stream(running: Proxy, kind: str) -> Iterator[Iterator[str]]:
    """The lines of a stream that a client keeps open, but for the first one, which was read."""
    with ExitStack() as stack:
        http = stack.enter_context(httpx2.Client(timeout=TIMEOUT, trust_env=False))
        client = stack.enter_context(RawClient(running.url, "modern" if kind == OPEN[2] else "legacy"))
        if kind == OPEN[2]:
            request = client.request(kind, {"notifications": {"toolsListChanged": True}})
            stream = http.stream("POST", running.url + "/mcp", **request)
        else:
            headers = {**client._headers, "Accept": "text/event-stream"}
            stream = http.stream("GET", running.url + kind.removeprefix("GET "), headers=headers)
        response = stack.enter_context(stream)
        assert response.status_code == 200
        lines = response.iter_lines()
        if kind != OPEN[0]:
            assert next(lines).startswith("event: ")
        yield lines


@pytest.mark.parametrize("kind", OPEN)
@in_time
def test_open_streams_are_ended(tmp_path: Path, kind: str) -> float:
    """At once, as no call is in flight: uvicorn would give them another second, and then break them off."""
    with proxy(tmp_path, {"raw": raw("modern")}) as running:
        running.wait_ready()
        with open_stream(running, kind) as lines:
            took = running.stop()
            assert not any("error" in line for line in lines)  # which raises if the stream broke off
            return took


def test_a_call_in_flight_may_finish(tmp_path: Path) -> None:
    with proxy(tmp_path, {"slow": raw("slow:tools/call=0.4", f"log={tmp_path / 'log'}")}) as running:
        running.wait_ready()
        with RawClient(running.url, "legacy") as client:
            answers: list[Any] = []
            caller = threading.Thread(target=lambda: answers.append(client.call("tools/call", {"name": "slow::echo"})))
            caller.start()
            until(lambda: "tools/call" in (tmp_path / "log").read_text())
            running.stop()
            caller.join(10)
            assert answers[0]["content"]


def test_a_request_on_a_connection_that_is_kept(tmp_path: Path) -> None:
    """It may be on its way when the signal comes: it is answered, and the answer says that the connection is not kept.

    A rolling update would lose it otherwise.
    """
    with proxy(tmp_path, {"raw": raw("modern")}) as running:
        running.wait_ready()
        with RawClient(running.url, "modern") as client, httpx2.Client(trust_env=False) as other:
            client.call("tools/call", {"name": "raw::echo"})
            other.get(running.url + "/healthz")
            running.popen.send_signal(signal.SIGTERM)
            until(lambda: other.get(running.url + "/healthz").headers.get("connection") == "close")
            assert client.call("tools/call", {"name": "raw::echo"})["content"]
            assert running.wait(TIMEOUT) == 0


def test_a_request_on_a_connection_that_was_just_opened(tmp_path: Path) -> None:
    """It is answered: a client that posts to its SSE session has to open one for each of the last messages."""
    with proxy(tmp_path, {}) as running, ExitStack() as opened:
        address = urlsplit(running.url)

        def connect() -> socket.socket:
            wire = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT)
            return opened.enter_context(closing(wire))

        wires = [connect()]
        running.popen.send_signal(signal.SIGTERM)
        with suppress(ConnectionRefusedError):
            while select.select(wires[-1:], [], [], 0.005) == ([], [], []):
                wires.append(connect())
        wires[-1].sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert wires[-1].recv(100).startswith(b"HTTP/1.1 200")
        assert running.wait(TIMEOUT) == 0


def test_the_end_is_near(tmp_path: Path) -> None:
    """SIGUSR1, which Kubernetes sends first: no connection is kept, and all else goes on."""
    with proxy(tmp_path, {"raw": raw("modern")}) as running:
        running.wait_ready()
        with RawClient(running.url, "legacy") as client:
            for _ in range(2):
                running.popen.send_signal(signal.SIGUSR1)
                until(lambda: running.http("GET", "/healthz").headers.get_list("connection") == ["close"])
                assert client.call("tools/call", {"name": "raw::echo"})["content"]


def test_a_connection_is_not_closed_under_the_hands_of_a_client(tmp_path: Path) -> None:
    """A request that is on its way to a server that closes is lost, so it is the client that lets go first.

    Many keep a connection for five seconds.
    """
    with (
        proxy(tmp_path, {}) as running,
        closing(HTTPConnection(urlsplit(running.url).netloc, timeout=TIMEOUT)) as connection,
    ):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        assert select.select([connection.sock], [], [], 6) == ([], [], [])


def test_a_signal_while_servers_are_starting(tmp_path: Path) -> None:
    with proxy(tmp_path, {"hanging": raw("hang:initialize"), "slow": raw("slow:initialize=3")}) as running:
        until(lambda: len(descendants(running.popen.pid)) == 2)
        running.stop()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_further_signals_while_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    """As of a terminal that is closed after Ctrl-C."""
    with proxy(tmp_path, {"a": raw("stubborn")}) as running:
        running.wait_ready()
        [server] = descendants(running.popen.pid)

        def is_gone() -> bool:
            running.popen.send_signal(number)
            return not alive(server)

        running.popen.send_signal(signal.SIGTERM)
        until(is_gone)
        assert running.wait(TIMEOUT) == 0, running.stderr


def start_stdio(tmp_path: Path, servers: dict[str, Any]) -> Process:
    config = write_config(tmp_path / "mcp.json", servers)
    command = [sys.executable, "main.py", "--config", str(config)]
    return Process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ})


def say(process: Process, message: dict[str, Any]) -> None:
    stdin: Any = process.popen.stdin
    stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    stdin.flush()


def greet(process: Process) -> dict[str, Any]:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    say(process, {"id": 1, "method": "initialize", "params": params})
    stdout: Any = process.popen.stdout
    answer: dict[str, Any] = json.loads(stdout.readline())
    say(process, {"method": "notifications/initialized"})
    return answer


def test_over_stdio_there_is_nothing_to_let_go_of(tmp_path: Path) -> None:
    process = start_stdio(tmp_path, {"a": raw()})
    try:
        greet(process)
        process.popen.send_signal(signal.SIGUSR1)
        say(process, {"id": 2, "method": "ping"})
        stdout: Any = process.popen.stdout
        assert json.loads(stdout.readline())["id"] == 2
        end(process, lambda: process.popen.send_signal(signal.SIGTERM))
    finally:
        process.kill()


@pytest.mark.parametrize("way", ["stdin", "SIGTERM", "SIGINT", "stdin at once", "SIGTERM at once"])
@in_time
def test_stdio(tmp_path: Path, way: str) -> float:
    """Also when the client goes before it said anything, and while a server hangs."""
    servers = STUBBORN if "at once" not in way else {**STUBBORN, "hanging": raw("hang:initialize")}
    process = start_stdio(tmp_path, servers)
    try:
        if "at once" in way:
            process.expect("stubborn: ready")
        else:
            assert greet(process)["result"]["serverInfo"]["name"] == "multi-mcp"
            process.expect("orphan: ready")
            process.expect("stubborn: ready")
        family = descendants(process.popen.pid)
        assert len(family) >= 3
        took = end(process, ways(process)[way.split()[0]])
        assert not {pid for pid in family if alive(pid)}
        assert "Traceback" not in process.stderr
        return took
    finally:
        process.kill()


def ways(process: Process) -> dict[str, Callable[[], None]]:
    """How a client ends the proxy."""
    stdin: Any = process.popen.stdin
    signals = {each.name: partial(process.popen.send_signal, each) for each in (signal.SIGTERM, signal.SIGINT)}
    return {"stdin": stdin.close, **signals}


def fill_stdout(process: Process) -> None:
    """Ask for more than fits into the pipe, and read none of it."""
    for number in range(20):
        say(process, {"id": 100 + number, "method": "tools/call", "params": {"name": "big::echo"}})
    stdout: Any = process.popen.stdout
    until(lambda: len(select.select([stdout], [], [], 0)[0]) == 1)


@pytest.mark.parametrize("way", ["stdin", "SIGTERM"])
@in_time
def test_a_client_that_reads_nothing(tmp_path: Path, way: str) -> float:
    process = start_stdio(tmp_path, {"big": raw("big=100000")})
    try:
        greet(process)
        process.expect("big: ready")
        fill_stdout(process)
        return end(process, ways(process)[way])
    finally:
        process.kill()


@in_time
def test_a_client_that_dies_with_calls_in_flight(tmp_path: Path) -> float:
    """The ordinary end of a desktop client: both pipes break at once."""
    process = start_stdio(tmp_path, {"big": raw("big=100000")})
    try:
        greet(process)
        process.expect("big: ready")
        fill_stdout(process)
        process.popen.stdout.close()  # type: ignore[union-attr]
        took = end(process, ways(process)["stdin"])
        assert "Traceback" not in process.stderr
        return took
    finally:
        process.kill()


@in_time
def test_a_signal_after_the_end_of_stdin(tmp_path: Path) -> float:
    """As SDK clients leave: what is in flight is waited for no longer."""
    process = start_stdio(tmp_path, {"mute": raw("hang:tools/call")})
    try:
        greet(process)
        process.expect("mute: ready")
        say(process, {"id": 2, "method": "tools/call", "params": {"name": "mute::echo"}})
        say(process, {"id": 3, "method": "ping"})
        stdout: Any = process.popen.stdout
        while json.loads(stdout.readline()).get("id") != 3:
            pass
        process.popen.stdin.close()  # type: ignore[union-attr]
        took = end(process, ways(process)["SIGTERM"])
        (answer,) = [json.loads(line) for line in stdout]
        assert answer["error"]["message"] == "Multi-MCP ended before this was answered"
        return took
    finally:
        process.kill()


def test_requests_piped_in_are_answered_before_the_end(tmp_path: Path) -> None:
    process = start_stdio(tmp_path, {"slow": raw("slow:tools/call=0.3")})
    try:
        process.expect("slow: ready")
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        say(process, {"id": 1, "method": "initialize", "params": params})
        say(process, {"method": "notifications/initialized"})
        say(process, {"id": 2, "method": "tools/list"})
        say(process, {"id": 3, "method": "tools/call", "params": {"name": "slow::echo"}})
        odd: list[Any] = [{}, [], True, None, 3.5]  # which name no request
        for number in odd:
            say(process, {"method": "notifications/cancelled", "params": {"requestId": number}})
        process.popen.stdin.close()  # type: ignore[union-attr]
        stdout: Any = process.popen.stdout
        answers = [message for line in stdout if "id" in (message := json.loads(line))]
        assert [answer["id"] for answer in answers] == [1, 2, 3]
        assert all("result" in answer for answer in answers)
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("transport", ["http", "stdio"])
@in_time
def test_a_server_that_reads_nothing_with_a_call_in_flight(tmp_path: Path, transport: str) -> float:
    """The SDK holds on to a call that cannot be written for five seconds; the server goes first."""
    servers = {"deaf": raw("deaf:prompts/get", "stubborn")}
    arguments = {"text": "x" * 1_000_000}
    if transport == "stdio":
        process = start_stdio(tmp_path, servers)
        try:
            greet(process)
            process.expect("deaf: ready")
            say(process, {"id": 2, "method": "prompts/get", "params": {"name": "deaf::greet"}})
            stdout: Any = process.popen.stdout
            while json.loads(stdout.readline()).get("id") != 2:
                pass
            say(process, {"id": 3, "method": "tools/call", "params": {"name": "deaf::echo", "arguments": arguments}})
            say(process, {"id": 4, "method": "ping"})
            assert json.loads(stdout.readline())["id"] == 4  # so the call before it was read
            return end(process, process.popen.terminate)
        finally:
            process.kill()
    with proxy(tmp_path, servers) as running:
        running.wait_ready()
        with RawClient(running.url, "legacy") as client:
            assert client.call("prompts/get", {"name": "deaf::greet"})

            def call() -> None:
                with suppress(httpx2.HTTPError, StopIteration, AssertionError):
                    client.call("tools/call", {"name": "deaf::echo", "arguments": arguments})

            caller = threading.Thread(target=call)
            caller.start()
            until(lambda: running.status()["deaf"]["state"] == "ready")
            took = running.stop()
            caller.join(10)
            return took


def test_stdout_carries_nothing_but_mcp(tmp_path: Path) -> None:
    """A server's rubbish, its stderr and our own lines go elsewhere; rubbish on stdin is survived."""
    process = start_stdio(tmp_path, {"noisy": raw("noise"), "broken": raw("exit:start")})
    try:
        greet(process)
        process.popen.stdin.write("what?\n\n")  # type: ignore[union-attr]
        say(process, {"id": "two", "method": "tools/call", "params": {"name": "noisy::echo"}})
        stdout: Any = process.popen.stdout
        answer: dict[str, Any] = json.loads(stdout.readline())
        while "id" not in answer:
            answer = json.loads(stdout.readline())
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
        while answer["id"] is None:
            answer = {"id": None, **json.loads(stdout.readline())}
        assert answer["id"] == "two"
        assert json.loads(answer["result"]["content"][0]["text"])["server"] == "raw"
        process.expect("raw_server: no licence")  # a server's stderr is ours
        process.popen.stdin.close()  # type: ignore[union-attr]
        assert process.wait(TIMEOUT) == 0
        for line in stdout:
            assert json.loads(line)["jsonrpc"] == "2.0"
    finally:
        process.kill()


def test_stdin_from_a_file(tmp_path: Path) -> None:
    """Which ends as soon as it was read."""
    config = write_config(tmp_path / "mcp.json", {})
    done = subprocess.run(
        [sys.executable, "main.py", "--config", str(config)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
