"""SIGTERM ends the proxy within five seconds and with code 0, whatever clients and servers do meanwhile.

`Proxy.stop` checks the code, that no process is left, and that nothing is called a fault.
"""

import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.processes import (
    MAIN,
    TIMEOUT,
    Proxy,
    RawClient,
    alive,
    descendants,
    proxy,
    quick,
    raw,
    until,
    write_config,
)

SHUTDOWN = 5.0

State = Callable[[Proxy, ExitStack], None]

SERVERS = {
    "s": raw("big=2000000", "modern"),
    "hangs": raw("hang:tools/call"),
    "loud": raw("floods:tools/call=100000"),
    "deaf": raw("deaf:prompts/get", "stubborn"),
}


def wire(running: Proxy, stack: ExitStack, *sent: bytes) -> socket.socket:
    address = urlsplit(running.url)
    connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=TIMEOUT))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for each in sent:
        connection.sendall(each)
    return connection


def written(client: RawClient, tool: str, **more: Any) -> bytes:
    """A call as it is on the wire."""
    request = client.request("tools/call", {"name": tool, "arguments": {"text": "a"}, **more})
    body = json.dumps(request["json"]).encode()
    lines = {**request["headers"], "Host": "localhost", "Content-Length": str(len(body))}
    return b"POST /mcp HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n" + body


def silent(running: Proxy, stack: ExitStack) -> None:
    for _ in range(50):
        wire(running, stack)


def half_requests(running: Proxy, stack: ExitStack) -> None:
    for path in ("/mcp", "/messages/", "/mcp_servers"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
        for begun in (
            head[:20],
            head,
            head + b"Content-Length: 100\r\n\r\n{",
            head + b"Transfer-Encoding: chunked\r\n\r\n",
        ):
            for _ in range(5):
                wire(running, stack, begun)


def unread_answers(running: Proxy, stack: ExitStack) -> None:
    client = stack.enter_context(RawClient(running.url, "modern"))
    for number in range(8):
        meta = {"_meta": {"progressToken": number}} if number % 2 else {}
        connection = wire(running, stack, written(client, "s::echo", **meta))
        select.select([connection], [], [], TIMEOUT)


def unread_sse(running: Proxy, stack: ExitStack) -> None:
    stream = wire(running, stack, b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while b"session_id=" not in got:
        got += stream.recv(1000)
    path = got.partition(b"data: ")[2].split()[0].decode()
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
    running.http("POST", path, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
    for number in range(1, 9):
        params = {"name": "s::echo", "arguments": {}}
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        assert running.http("POST", path, json=call).status_code == 202


def calls_in_flight(running: Proxy, stack: ExitStack) -> None:
    for era in ("legacy", "modern"):
        client = stack.enter_context(RawClient(running.url, era))
        for _ in range(200):
            wire(running, stack, written(client, "hangs::echo"))


def pipelined(running: Proxy, stack: ExitStack) -> None:
    connection = wire(running, stack)
    connection.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            connection.sendall(b"GET /mcp_servers HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)


def flooded(running: Proxy, stack: ExitStack) -> None:
    """By requests without a pause, until it is gone."""

    def flood() -> None:
        with suppress(OSError), ExitStack() as own:
            connection = wire(running, own)
            while True:
                connection.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
                assert connection.recv(1 << 16)

    for _ in range(4):
        thread = threading.Thread(target=lambda: suppressed(flood))
        thread.start()
        stack.callback(thread.join)


def suppressed(do: Callable[[], None]) -> None:
    with suppress(AssertionError):
        do()


def servers_that_do_not_read(running: Proxy, stack: ExitStack) -> None:
    client = stack.enter_context(RawClient(running.url, "legacy"))
    assert client.call("prompts/get", {"name": "deaf::greet"})
    call = written(client, "deaf::echo", arguments={"text": "x" * 1_000_000})
    for _ in range(5):
        wire(running, stack, call)


def servers_that_start(running: Proxy, stack: ExitStack) -> None:
    body = json.dumps({"mcpServers": {"slow": raw("hang:initialize", "stubborn")}}).encode()
    head = b"POST /mcp_servers HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    before = len(descendants(running.popen.pid))
    wire(running, stack, head + body)
    until(lambda: len(descendants(running.popen.pid)) > before)


def servers_that_stop(running: Proxy, stack: ExitStack) -> None:
    wire(running, stack, b"DELETE /mcp_servers/deaf HTTP/1.1\r\nHost: localhost\r\n\r\n")


GROUPS: dict[str, tuple[State, ...]] = {
    "requests": (silent, half_requests, pipelined, flooded),
    "answers": (unread_answers, unread_sse, calls_in_flight),
    "servers": (servers_that_do_not_read, servers_that_start, servers_that_stop, calls_in_flight),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", GROUPS)
def test_it_ends(tmp_path: Path, group: str, number: signal.Signals) -> None:
    """Also when it is told twice."""

    def attempt() -> float:
        with ExitStack() as stack, proxy(tmp_path, SERVERS) as running:
            running.wait_ready()
            for state in GROUPS[group]:
                state(running, stack)
            running.popen.send_signal(number)
            return running.stop(number)

    quick(SHUTDOWN, attempt)


def test_it_ends_while_it_waits_for_a_lock(tmp_path: Path) -> None:
    with ExitStack() as stack, proxy(tmp_path, {}, "--persist") as running:
        lock = os.open(tmp_path, os.O_RDONLY)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = descendants(running.popen.pid)
        body = json.dumps({"mcpServers": {"a": raw()}}).encode()
        wire(
            running,
            stack,
            b"POST /mcp_servers HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body),
            body,
        )
        running.expect("a: ready")
        assert descendants(running.popen.pid) > before
        quick(SHUTDOWN, running.stop)


def test_answers_that_are_being_read_are_whole(tmp_path: Path) -> None:
    """As a document and as a stream, in either era."""
    with ExitStack() as stack, proxy(tmp_path, {"s": raw("big=10000000", "modern")}) as running:
        running.wait_ready()
        address = urlsplit(running.url)
        readers = []
        for era in ("legacy", "modern"):
            client = stack.enter_context(RawClient(running.url, era))
            for more in ({}, {"_meta": {"progressToken": 1}}):
                place = (address.hostname, address.port)
                connection = stack.enter_context(socket.create_connection(place, timeout=TIMEOUT))
                connection.sendall(written(client, "s::echo", **more))
                select.select([connection], [], [], TIMEOUT)
                readers.append(connection)
        running.popen.send_signal(signal.SIGTERM)
        until(lambda: "connection: close" in str(running_headers(running)))
        for connection in readers:
            got = b""
            while piece := connection.recv(1 << 20):
                got += piece
            head, _, body = got.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert len(body) > 10_000_000
            assert len(body) == int(length[1]) if length else body.endswith(b"\r\n0\r\n\r\n")
        assert running.wait(TIMEOUT) == 0


def running_headers(running: Proxy) -> str:
    """The head of an answer; that its port is closed says the same as that it keeps no connection."""
    try:
        return str(dict(running.http("GET", "/healthz").headers)).replace("'", "")
    except httpx2.HTTPError:
        return "connection: close"


@pytest.mark.parametrize("way", ["stdin", "SIGTERM", "SIGINT"])
def test_over_stdio_with_blocked_pipes(tmp_path: Path, way: str) -> None:
    """Nobody reads stdout nor stderr, and the last line on stdin is not whole."""
    config = write_config(tmp_path / "mcp.json", {"s": raw("big=100000", "floods:tools/call=3000")})

    def attempt() -> float:
        command = [sys.executable, str(MAIN), "--config", str(config), "--log-level", "DEBUG"]
        with blocked() as stderr, subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=stderr) as running:
            assert running.stdin is not None
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
            messages: list[dict[str, Any]] = [{"id": 1, "method": "initialize", "params": hello}]
            params = {"name": "s::echo", "arguments": {}}
            messages += [{"id": number, "method": "tools/call", "params": params} for number in range(2, 40)]
            for message in messages:
                running.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            running.stdin.write(b'{"jsonrpc": "2.0", "id": 99, ')
            running.stdin.flush()
            until(lambda: full(running.stdout))
            family = descendants(running.pid)
            begun = time.monotonic()
            if way == "stdin":
                running.stdin.close()
            else:
                running.send_signal(signal.Signals[way])
            assert running.wait(TIMEOUT) == 0
            took = time.monotonic() - begun
            assert not any(alive(pid) for pid in family)
            return took

    quick(SHUTDOWN, attempt)


@contextmanager
def blocked() -> Iterator[int]:
    """A pipe that takes nothing any more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 1000)
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def full(stream: Any) -> bool:
    """Whether a pipe has all that it takes in it, about."""
    size = bytearray(4)
    fcntl.ioctl(stream, termios.FIONREAD, size)
    return int.from_bytes(size, sys.byteorder) > 60_000
