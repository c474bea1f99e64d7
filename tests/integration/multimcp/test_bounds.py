"""The bounds on clients, over real transports: the one message or its sender gets an error, one log line names it, and
others notice nothing."""

import gzip
import json
import os
import pty
import re
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from subprocess import PIPE
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.processes import PATIENT, TIMEOUT, Proxy, RawClient, program, proxy, raw, until, write_config

LARGE = "x" * 20_000
ENVELOPE = {"protocolVersion": "2026-07-28", "clientInfo": {"name": "c", "version": "0"}, "clientCapabilities": {}}


@contextmanager
def bounded(tmp_path: Path, *behaviours: str, **limits: float) -> Iterator[Proxy]:
    """A proxy with these bounds, in front of a server with these behaviours."""
    options = [f"--max-{name.replace('_', '-')}={limit}" for name, limit in limits.items()]
    with proxy(tmp_path, {"s": raw(*behaviours)}, *options) as running:
        yield running.wait_ready()


def echo(client: RawClient, text: str = "a") -> dict[str, Any]:
    return client.exchange("tools/call", {"name": "s::echo", "arguments": {"text": text}})


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_message_is_refused(tmp_path: Path, era: str, is_chunked: bool) -> None:
    with bounded(tmp_path, message=10_000) as running, RawClient(running.url, era) as client:
        request = client.request("tools/call", {"name": "s::echo", "arguments": {"text": LARGE}})
        body = json.dumps(request["json"]).encode()
        content: Any = iter([body[:5000], body[5000:]]) if is_chunked else body
        response = running.http("POST", "/mcp", content=content, headers=request["headers"])
        assert response.status_code == 413
        assert "10,000 bytes" in response.json()["error"]["message"]
        running.expect(r"client: a message of \d+ bytes or more is refused, 10000 are taken")
        assert "result" in echo(client)


@pytest.mark.parametrize("path", ["/mcp", "/messages/"])
def test_a_compressed_message_is_refused(tmp_path: Path, path: str) -> None:
    with bounded(tmp_path) as running, RawClient(running.url, "modern") as client:
        request = client.request("tools/list", {})
        headers = {**request["headers"], "Content-Encoding": "gzip"}
        body = gzip.compress(json.dumps(request["json"]).encode())
        assert running.http("POST", path, content=body, headers=headers).status_code == 415
        assert "result" in echo(client)


def over_stdio(tmp_path: Path, behaviour: str, limit: str) -> list[str]:
    """The command of a proxy with this bound that serves its streams, in front of a server with this behaviour."""
    config = write_config(tmp_path / "mcp.json", {"s": raw(behaviour)})
    return [sys.executable, *program(PATIENT), "--config", str(config), "--transport=stdio", limit]


def lines_of(*texts: str) -> str:
    """What a client writes that greets the proxy and then calls `echo` with each of these texts; ids count from 2."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
    messages: list[dict[str, Any]] = [{"id": 1, "method": "initialize", "params": hello}]
    for number, text in enumerate(texts, 2):
        params = {"name": "s::echo", "arguments": {"text": text}}
        messages.append({"id": number, "method": "tools/call", "params": params})
    return "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)


def test_a_large_line_is_refused(tmp_path: Path) -> None:
    command, lines = over_stdio(tmp_path, "big=1", "--max-message=10000"), lines_of(LARGE, "a")
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    answers = {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines()) if "id" in answer}
    assert answers[2]["error"]["code"] == -32600
    assert "result" in answers[3]
    assert re.search(r"client: a message of \d+ bytes is refused, 10000 are taken", done.stderr)


def connect(running: Proxy) -> socket.socket:
    address = urlsplit(running.url)
    return socket.create_connection((address.hostname, address.port), timeout=TIMEOUT)


def test_a_large_head_is_refused(tmp_path: Path) -> None:
    with bounded(tmp_path, head=4000) as running, connect(running) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 3500)
        wire.sendall(b"z" * 3500)
        assert wire.recv(100).startswith(b"HTTP/1.1 431 ")
        running.expect("client: a head of more than 4000 bytes is refused")
        fine = running.http("GET", "/healthz", headers={"x": "y" * 3000})
        assert fine.status_code == 200
        with connect(running) as second:  # what is behind a head is not the head
            body = b"b" * 9000
            second.sendall(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000\r\n\r\n" + body)
            assert second.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("begins", [b"", b"GET /healthz HTTP/1.1\r\nhost:", b"whole"])
def test_a_head_that_does_not_come_closes_its_connection(tmp_path: Path, begins: bytes) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with bounded(tmp_path, head_time=0.5) as running, connect(running) as wire:
        if begins == b"whole":  # a second one on a kept connection
            wire.sendall(whole)
            assert wire.recv(1000).startswith(b"HTTP/1.1 200 ")
            begins = whole[:20]
        wire.sendall(begins)
        while wire.recv(1000):  # ends when it is closed
            pass
        running.expect("client: no head of a request within 0.5 s: closed")
        assert running.http("GET", "/healthz").status_code == 200


def test_the_session_that_was_silent_longest_ends(tmp_path: Path) -> None:
    with (
        bounded(tmp_path, sessions=2) as running,
        RawClient(running.url, "legacy") as one,
        RawClient(running.url, "legacy") as two,
    ):
        echo(one)
        with RawClient(running.url, "legacy") as three:
            running.expect("more than 2 sessions: the one that was silent longest is ended")
            for client in (one, three):
                assert "result" in echo(client)
            assert two.post({"jsonrpc": "2.0", "id": 9, "method": "ping"}).status_code == 404


def test_the_session_of_a_client_that_is_gone_ends_before_one_that_works(tmp_path: Path) -> None:
    """Its calls keep it no longer than its connection does: else those who left could fill all that there is."""
    with (
        bounded(tmp_path, "hang:tools/call", "log=" + str(tmp_path / "log"), sessions=2) as running,
        RawClient(running.url, "legacy") as gone,
        RawClient(running.url, "legacy") as works,
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
    ):
        request = gone.request("tools/call", {"name": "s::echo", "arguments": {}})
        with http.stream("POST", f"{running.url}/mcp", **request):  # its head comes when the answer becomes a stream
            pass
        assert works.call("ping") == {}
        with RawClient(running.url, "legacy") as another:
            running.expect("more than 2 sessions: the one that was silent longest is ended")
            for client in (works, another):
                assert client.call("ping") == {}
            assert gone.post({"jsonrpc": "2.0", "id": 9, "method": "ping"}).status_code == 404
            until(lambda: "notifications/cancelled" in (tmp_path / "log").read_text())


def test_a_session_that_is_ended_while_its_greeting_waits_does_not_join_afterwards(tmp_path: Path) -> None:
    def hello(name: str) -> dict[str, Any]:
        client = {"capabilities": {}, "clientInfo": {"name": name, "version": "0"}}
        params = {"protocolVersion": "2025-11-25", **client}
        return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}

    with proxy(tmp_path, {"s": raw("hang:initialize")}, "--max-sessions=1", first="") as running:

        def is_greeted() -> bool:
            headers = {"Accept": "application/json, text/event-stream"}
            return running.http("POST", "/mcp", json=hello("patient"), headers=headers).status_code == 200

        body = json.dumps(hello("hasty")).encode()
        head = f"POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-length: {len(body)}\r\n".encode()
        with connect(running) as wire:
            wire.sendall(head + b"content-type: application/json\r\n\r\n" + body)
            assert not is_greeted()
        until(is_greeted)
    assert "connected: patient" in running.stderr
    assert "hasty" not in running.stderr


def test_a_stream_too_many_is_refused(tmp_path: Path) -> None:
    with (
        bounded(tmp_path, streams=1) as running,
        RawClient(running.url, "modern") as client,
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
        http.stream("GET", f"{running.url}/sse") as first,
    ):
        texts = first.iter_text()  # which closes the stream when it goes
        assert "endpoint" in next(texts)
        second = running.http("GET", "/sse")
        assert second.status_code == 503
        assert "Stream limit reached" in second.json()["error"]["message"]
        listen = {"notifications": {"toolsListChanged": True}}
        assert "Stream limit reached" in client.error("subscriptions/listen", listen)["message"]
        running.expect("1 streams of clients are open: another one is refused")
        assert "result" in echo(client)


def test_a_stream_that_is_given_up_as_soon_as_it_is_asked_for_leaves_its_place(tmp_path: Path) -> None:
    meta = {f"io.modelcontextprotocol/{key}": value for key, value in ENVELOPE.items()}
    listen = {"method": "subscriptions/listen", "params": {"notifications": {"toolsListChanged": True}, "_meta": meta}}
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1, "_meta": meta}}
    call = {"method": "tools/call", "params": {"name": "s::echo", "arguments": {}, "_meta": meta}}
    command = over_stdio(tmp_path, "modern", "--max-streams=1")
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None

        def write(*messages: dict[str, Any]) -> None:
            assert running.stdin is not None
            running.stdin.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
            running.stdin.flush()

        write({"id": 1, **listen}, cancel, {"id": 2, **call})
        assert "result" in json.loads(running.stdout.readline())
        write({"id": 3, **listen})
        assert "acknowledged" in running.stdout.readline()


def test_a_call_too_many_is_refused(tmp_path: Path) -> None:
    calls = {"name": "s::echo", "arguments": {"text": "a"}}
    with (
        bounded(tmp_path, "hang:tools/call", session_calls=1) as running,
        RawClient(running.url, "legacy") as client,
        RawClient(running.url, "legacy") as other,
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
    ):
        request = client.request("tools/call", calls)
        # Its answer becomes a stream after some seconds: then it is surely in flight.
        with http.stream("POST", f"{running.url}/mcp", **request):
            assert "1 calls of this client are in flight" in client.error("tools/call", calls)["message"]
            running.expect("a client has 1 calls in flight: further ones of it are refused")
            assert other.call("ping") == {}


def test_the_session_of_a_client_that_does_not_read_ends(tmp_path: Path) -> None:
    with bounded(tmp_path, "big=200000", unread=300_000) as running, connect(running) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(b"GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = b""
        while not (found := re.search(rb"data: (/messages/\S+)\r\n", head)):
            head += wire.recv(1000)
        path = found[1].decode()
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
        running.http("POST", path, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        params = {"name": "s::echo", "arguments": {"text": "a"}}
        for number in range(1, 400):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            if running.http("POST", path, json=call).status_code == 404:
                break
        else:
            pytest.fail("a session that has ended still takes calls")
        running.expect("a client does not read its stream: its session is ended")
        with RawClient(running.url, "legacy") as other:
            assert "result" in echo(other)


def test_a_client_that_does_not_read_our_stdout_is_gone(tmp_path: Path) -> None:
    command = over_stdio(tmp_path, "big=200000", "--max-unread=300000")
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(lines_of(*"abcdef"))
        running.stdin.flush()
        log = running.stderr.read()  # until it ends, of its own accord: its stdin stays open
        assert running.wait(TIMEOUT) == 0
    assert "the client does not read what is written to it: its session is ended" in log
    assert "Traceback" not in log


def test_of_a_call_whose_stream_is_not_read_progress_is_left_out(tmp_path: Path) -> None:
    """Progress makes the answer to a call over `/mcp` a stream; what waits in it is bounded, and the answer comes."""
    with (
        bounded(tmp_path, "progresses=200000", unread=300_000) as running,
        RawClient(running.url, "modern") as client,
        connect(running) as wire,
    ):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        meta = {"progressToken": "p"}
        request = client.request("tools/call", {"name": "s::echo", "arguments": {"text": "a"}, "_meta": meta})
        body = json.dumps(request["json"]).encode()
        head = {**request["headers"], "Host": "localhost", "Content-Length": str(len(body))}
        wire.sendall(b"POST /mcp HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()).encode() + b"\r\n")
        wire.sendall(body)
        until(lambda: select([wire], [], [], 0)[0])
        assert "result" in echo(client)
        read = b""
        while b'"result"' not in read:
            read += wire.recv(100_000)
        assert 0 < read.count(b"notifications/progress") < 40


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "file"])
def test_a_large_answer_is_whole_whatever_our_stdout_is(tmp_path: Path, kind: str) -> None:
    if kind == "socket":  # what Node.js gives its children
        reader, writer = socket.socketpair()
        ends = reader.detach(), writer.detach()
    elif kind == "terminal":
        ends = pty.openpty()
        tty.setraw(ends[1])
    elif kind == "pipe":
        ends = os.pipe()
    else:
        path = tmp_path / "out"
        path.write_text("before\n")
        ends = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY | os.O_APPEND)
    command = over_stdio(tmp_path, "big=300000", "--max-unread=10000000")
    with subprocess.Popen(command, stdin=PIPE, stdout=ends[1], stderr=PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(lines_of("a", "b"))
        running.stdin.flush()
        if kind == "file":
            until(lambda: path.read_text().count("\n") == 4)
        with os.fdopen(ends[0], "r") as out:
            lines = [out.readline() for _ in range(4 if kind == "file" else 3)][-3:]
            running.stdin.close()
            assert running.wait(TIMEOUT) == 0
            assert os.get_blocking(ends[1])  # as it was
            os.close(ends[1])
    answers = {answer["id"]: answer for answer in map(json.loads, lines)}
    assert all(len(answers[number]["result"]["content"][0]["text"]) > 300_000 for number in (2, 3))
