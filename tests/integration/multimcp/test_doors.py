"""What comes over a client's connection that no client means: requests that contradict themselves, and what never ends.

- Who sends it gets an error, or is closed; the log has a line; a neighbour is served meanwhile (`running.http`).
- The bounds are small here, and everything is played over bare sockets.
"""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import TIMEOUT, Proxy, RawClient, proxy, quick, raw

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
CHUNKED = b"Transfer-Encoding: chunked"
SUBSCRIBES = 'able={"resources": {"subscribe": true}}'
SHORT = "from multimcp.clients import connection; connection.LINGER = 0.2"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    bounds = [
        "--max-subscriptions=3",
        "--max-body-time=0.4",
        "--max-unread-time=0.4",
        "--max-bodies=400000",
        "--max-all-unread=8MiB",
    ]
    with proxy(
        tmp_path_factory.mktemp("doors"), {"s": raw("big=6000000"), "t": raw(SUBSCRIBES)}, *bounds, first=SHORT
    ) as running:
        yield running.wait_ready()


@contextmanager
def wire(running: Proxy, *sent: bytes) -> Iterator[socket.socket]:
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        for each in sent:
            connection.sendall(each)
        yield connection


def to_end(connection: socket.socket) -> bytes:
    """What comes until it is closed."""
    got = b""
    try:
        while piece := connection.recv(1 << 16):
            got += piece
    except ConnectionResetError:
        pass
    return got


def statuses(got: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", got)]


def post(*lines: bytes, body: bytes = PING, target: bytes = b"/mcp", close: bool = True) -> bytes:
    """A POST with these lines in its head; all that is not theirs is right."""
    named = {line.partition(b":")[0].lower() for line in lines}
    right = {b"host": b"localhost", b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
    if named & {b"content-length", b"transfer-encoding"}:
        del right[b"content-length"]
    head = [b"%b: %b" % line for line in right.items()] + [*lines, *[b"Connection: close"] * close]
    return b"\r\n".join([b"POST %b HTTP/1.1" % target, *head, b"", b""]) + body


LIES = {
    "two hosts": post(b"Host: localhost"),
    "two hosts that differ": post(b"Host: evil.example"),
    "a host of several": post().replace(b"host: localhost", b"host: localhost evil.example"),
    "a host with a user": post().replace(b"host: localhost", b"host: evil.example@localhost"),
    "a host with a path": post().replace(b"host: localhost", b"host: localhost/evil.example"),
    "no host": post().replace(b"host: localhost\r\n", b""),
    "another host in its target": post(target=b"http://evil.example/mcp"),
    "another port in its target": post(target=b"http://localhost:99/mcp"),
    "a user in its target": post(target=b"http://evil.example@localhost/mcp"),
    "another scheme in its target": post(target=b"ftp://localhost/mcp"),
    "two origins": post(b"Origin: http://localhost", b"Origin: http://evil.example"),
    "two sessions": post(b"Mcp-Session-Id: a", b"Mcp-Session-Id: b"),
    "two types": post(b"Content-Type: text/plain"),
    "two lengths": post(b"Content-Length: 40", b"Content-Length: 40"),
    "two lengths that differ": post(b"Content-Length: 40", b"Content-Length: 5"),
    "a list of lengths": post(b"Content-Length: 40, 40"),
    "a length and chunks": post(CHUNKED, b"Content-Length: 3", body=b"2\r\n{}\r\n0\r\n\r\n"),
    **{
        f"a length of {text.decode()!r}": post(b"Content-Length: " + text)
        for text in (b"+40", b"0x28", b"-40", b"4_0", b"4 0", b"1e1", b"", b"9" * 30)
    },
    "a length that is too short": post(b"Content-Length: 10"),
    "no length": post(b"X: y").replace(b"content-length", b"x-length"),
    "packed and chunked": post(b"Transfer-Encoding: gzip, chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked last but one": post(b"Transfer-Encoding: chunked, identity", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked twice": post(CHUNKED, CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"),
    **{
        f"a chunk of {text.decode()!r}": post(CHUNKED, body=text + b"\r\n{}\r\n0\r\n\r\n")
        for text in (b"1", b"zz", b"-2", b"0x2", b"F" * 17, b"2 ", b"2\n")
    },
    "a folded header": post(b"X: a\r\n b"),
    "a folded first header": b"POST /mcp HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a name with a blank": post(b"X Y: a"),
    "a name with a blank behind it": post(b"Content-Length : 40"),
    "no name": post(b": a"),
    "no colon": post(b"abc"),
    "a line feed in a header": post(b"X: a\nY: b"),
    "a carriage return in a header": post(b"X: a\rY: b"),
    "a zero in a header": post(b"X: a\0b"),
    "a zero in a name": post(b"X\0: a"),
    "a zero in the target": post(target=b"/mcp\0"),
    "TLS": bytes.fromhex("16030100f4010000f003031234"),
    "the PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + post(),
    "the PROXY protocol, version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"a" * 12,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}


@pytest.mark.parametrize("case", LIES)
def test_a_request_that_contradicts_itself(here: Proxy, case: str) -> None:
    with wire(here, LIES[case]) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert statuses(to_end(connection)) == [400]


def test_what_is_behind_a_request_is_another_one(here: Proxy) -> None:
    """It is judged by itself, also where it came in as the body of the first."""
    inner = b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    with wire(here, post(b"Content-Length: 0", body=inner, close=False)) as connection:
        assert statuses(to_end(connection)) == [400, 421]


@pytest.mark.parametrize("asked", ["h2c", "websocket"])
def test_nothing_is_upgraded(here: Proxy, asked: str) -> None:
    """Java's client asks for HTTP/2 in its first POST, which has a body all the same."""
    upgrade = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + asked.encode(), b"HTTP2-Settings: AAMAAABk"]
    for body, framing in ((PING, b"X: y"), (b"%x\r\n%b\r\n0\r\n\r\n" % (len(PING), PING), CHUNKED)):
        first = post(*upgrade, framing, body=body, close=False)
        for pieces in ([first + post()], [first, post()], [first[:-20], first[-20:], post()]):
            with wire(here, *pieces) as connection:
                got = to_end(connection)
            assert statuses(got) == [400, 400]
            assert got.count(b'"id":1') == 2  # the body was read


def test_requests_without_end_on_one_connection(here: Proxy) -> None:
    """They are answered in their order, and read only as far as they are answered."""
    many = 20_000
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with wire(here) as connection, connection.makefile("rb") as answers:
        connection.setblocking(False)
        taken = 0
        try:
            while taken < many:
                taken += connection.send(get * 1000) // len(get)
        except BlockingIOError:
            pass
        connection.settimeout(TIMEOUT)
        for _ in range(taken):
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(15) == b'{"status":"ok"}'


@pytest.mark.parametrize("path", [b"/mcp", b"/messages/", b"/mcp_servers"])
@pytest.mark.parametrize("begun", [b"Content-Length: 40", CHUNKED])
def test_a_body_that_does_not_go_on(here: Proxy, path: bytes, begun: bytes) -> None:
    with wire(here, post(begun, body=b"2\r\n{}\r\n" if begun == CHUNKED else b"{", target=path)) as connection:
        if path == b"/messages/":  # refused before its body is looked at
            assert statuses(to_end(connection)) == [404]
        else:
            assert statuses(to_end(connection)) == [408]
            here.expect("client: a body that does not go on within 0.4 s is refused")


def test_a_body_that_comes_byte_by_byte(here: Proxy) -> None:
    with wire(here, post(CHUNKED, body=b"")) as connection:
        connection.settimeout(0.02)
        got = b""
        while not got:
            connection.sendall(b"1\r\n \r\n")
            try:
                got = connection.recv(1000)
            except TimeoutError:
                continue
        assert statuses(got) == [408]


def test_a_body_behind_its_answer(here: Proxy) -> None:
    """Nobody reads what is sent to a path that there is not: its sender has a moment to read that."""
    endless = post(CHUNKED, body=b"", target=b"/nowhere")
    with wire(here, endless) as connection, suppress(BrokenPipeError, ConnectionResetError):
        while True:
            connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")


def test_bodies_that_are_too_much_together(here: Proxy) -> None:
    """The largest is let go; a small one beside it is read."""
    with ExitStack() as stack:
        large = [
            stack.enter_context(wire(here, post(b"Content-Length: 300000", body=b" " * size)))
            for size in (150_000, 250_000, 100_000)
        ]
        assert here.http("POST", "/mcp", content=PING).status_code == 400
        large[1].sendall(b" ")
        assert statuses(to_end(large[1])) == [503]
        here.expect("client: a body that comes slowly is refused")


def calls(running: Proxy) -> bytes:
    """A call whose answer is large, as it is on the wire."""
    with RawClient(running.url, "legacy") as client:
        request = client.request("tools/call", {"name": "s::echo", "arguments": {}})
    body = json.dumps(request["json"]).encode()
    return post(*[f"{k}: {v}".encode() for k, v in request["headers"].items() if k != "Content-Type"], body=body)


def unread(running: Proxy, stack: ExitStack, number: int) -> None:
    """So many calls whose answers are not read."""
    call = calls(running)
    for _ in range(number):
        connection = stack.enter_context(wire(running))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(call)


def test_an_answer_that_is_not_read(here: Proxy) -> None:
    with ExitStack() as stack:
        unread(here, stack, 1)
        here.expect("client: nothing of its answer read for 0.4 s: closed")


def test_answers_that_are_not_read(tmp_path: Any) -> None:
    """Their connections are closed at once where it is too much for all clients together."""
    bound = "--max-all-unread=4MiB"
    with proxy(tmp_path, {"s": raw("big=6000000")}, bound, first=SHORT) as running, ExitStack() as stack:
        running.wait_ready()
        unread(running, stack, 4)
        running.expect("client: the answer that it does not read is given up, as too much waits for all")
        with RawClient(running.url, "modern") as other:
            assert other.call("tools/list")["tools"]


def test_an_answer_that_is_read_slowly_is_whole(here: Proxy) -> None:
    with wire(here) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(calls(here))
        assert to_end(connection).endswith(b"}")


def ask_health(connection: socket.socket) -> None:
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while not got.endswith(b'{"status":"ok"}'):
        piece = connection.recv(1000)
        assert piece
        got += piece


def test_connections_without_a_request(tmp_path: Any) -> None:
    """Where there are too many, one goes that never asked anything, and one that is kept only then."""
    with proxy(tmp_path, {}, "--max-connections=20", first=SHORT) as running, ExitStack() as stack:
        kept = stack.enter_context(wire(running))
        ask_health(kept)
        silent = [stack.enter_context(wire(running)) for _ in range(40)]
        quick(0.5, lambda: running.http("GET", "/healthz").elapsed.total_seconds())
        assert to_end(silent[0]) == b""
        running.expect("clients: more than 20 connections: one without a request is closed")
        ask_health(kept)


def test_connections_that_come_at_once_do_not_end_one_another(tmp_path: Any) -> None:
    """Where all places are taken, those go that were kept longest, as long as the new ones have less than half."""
    with proxy(tmp_path, {}, "--max-connections=8", first=SHORT) as running, ExitStack() as stack:
        kept = [stack.enter_context(wire(running)) for _ in range(6)]
        for each in kept:
            ask_health(each)
        new = [stack.enter_context(wire(running)) for _ in range(4)]
        assert [to_end(each) for each in kept[:2]] == [b"", b""]
        for each in (*kept[2:], *new):
            ask_health(each)


def test_connections_that_are_all_busy(tmp_path: Any) -> None:
    with proxy(tmp_path, {}, "--max-connections=4", first=SHORT) as running, ExitStack() as stack:
        for _ in range(4):
            stream = stack.enter_context(wire(running, b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            assert statuses(stream.recv(1000)) == [200]
        assert statuses(to_end(stack.enter_context(wire(running)))) == [503]


def test_subscriptions(here: Proxy) -> None:
    """So many, and no longer URIs: what cannot be subscribed to is not counted, and what is given up no more."""
    with RawClient(here.url, "legacy") as client:
        uri = {"uri": "raw://one"}
        for _ in range(5):
            assert client.call("resources/subscribe", uri) == {}
        for number in range(5):
            assert client.error("resources/subscribe", {"uri": f"none://{number}"})["code"] != -32603
        assert "Too many subscriptions" in client.error("resources/subscribe", {"uri": "x" * 4000})["message"]
        here.expect("a client subscribes to more than 3 resources, or 3 KiB of URIs: it is refused")
        assert client.call("resources/unsubscribe", uri) == {}
    with RawClient(here.url, "modern") as client:
        listen = {"notifications": {"resourceSubscriptions": ["raw://one"] * 4}}
        assert "Too many subscriptions" in client.error("subscriptions/listen", listen)["message"]


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_a_repeated_id_is_answered(tmp_path: Any, transport: str) -> None:
    """While the first is in flight. Both count, so that an id does not lead past the bound of calls."""
    with proxy(tmp_path, {"s": raw("slow:tools/call=0.3")}, "--max-session-calls=2") as running, ExitStack() as stack:
        running.wait_ready()
        call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "s::echo", "arguments": {}}}
        if transport == "http":
            client = stack.enter_context(RawClient(running.url, "legacy"))
            body = json.dumps(call).encode()
            lines = [f"{k}: {v}".encode() for k, v in client._headers.items() if k != "Content-Type"]
            wires = [stack.enter_context(wire(running, post(*lines, body=body))) for _ in range(3)]
            answers = [json.loads(to_end(each).partition(b"\r\n\r\n")[2]) for each in wires]
        else:
            stream = stack.enter_context(wire(running, b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            lines_of = stack.enter_context(stream.makefile())
            path = next(line[6:].strip() for line in lines_of if line.startswith("data: /"))
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
            first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
            for message in (first, call, call, call):
                assert running.http("POST", path, json=message).status_code == 202
            data = (json.loads(line[6:]) for line in lines_of if line.startswith("data: {"))
            answers = list(islice((each for each in data if each.get("id") == 7), 3))
        assert sorted("error" in each for each in answers) == [False, False, True]
        assert {each["id"] for each in answers} == {7}


def test_greeting_again_and_again(here: Proxy) -> None:
    """The log has so many lines a second of it, and then says how many it left out."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "again", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    for _ in range(200):
        assert here.http("POST", "/mcp", json=message).status_code == 200
    assert 0 < len([line for line in here.lines if "connected: again" in line]) < 200
