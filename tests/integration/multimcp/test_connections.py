"""How long a client's HTTP connection lasts, and the order of what comes on it."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.support.processes import TIMEOUT, Proxy

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}


def connect(running: Proxy) -> socket.socket:
    address = urlsplit(running.url)
    return socket.create_connection((address.hostname, address.port), timeout=TIMEOUT)


def request(number: int, version: str = "1.1", more: str = "") -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "initialize", "params": HELLO})
    lines = [f"POST /mcp HTTP/{version}", "host: localhost", "content-type: application/json", more]
    return "\r\n".join([*filter(None, lines), f"content-length: {len(body)}", "", body]).encode()


def response(wire: socket.socket) -> tuple[bytes, int]:
    """The head of the next response, in lower case, and the id of its answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += wire.recv(1)
    size = int(data.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return data.lower(), json.loads(wire.recv(size, socket.MSG_WAITALL))["id"]


@pytest.mark.parametrize(
    ("version", "more", "is_kept"), [("1.1", "", True), ("1.1", "connection: close", False), ("1.0", "", False)]
)
def test_a_connection_is_kept_unless_its_client_does_not_want_that(
    shared: Proxy, version: str, more: str, is_kept: bool
) -> None:
    with connect(shared) as wire:
        wire.sendall(request(1, version, more))
        head, number = response(wire)
        assert (number, head.count(b"connection: close\r\n")) == (1, 0 if is_kept else 1)
        if is_kept:
            wire.sendall(request(2))
            assert response(wire)[1] == 2
        else:
            assert wire.recv(1) == b""


def test_requests_that_are_sent_at_once_are_answered_in_their_order(shared: Proxy) -> None:
    with connect(shared) as wire:
        wire.sendall(b"".join(request(number) for number in range(1, 6)))
        assert [response(wire)[1] for _ in range(5)] == [1, 2, 3, 4, 5]
