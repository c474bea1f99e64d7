"""How long a client's HTTP connection lasts, and the order of what comes on it."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.processes import TIMEOUT, Proxy, raw, until

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
ENVELOPE = {"protocolVersion": "2026-07-28", "clientInfo": HELLO["clientInfo"], "clientCapabilities": {}}


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


def test_a_client_that_leaves_with_another_request_behind_is_gone_for_the_first_one(
    shared: Proxy, tmp_path: Path
) -> None:
    log = tmp_path / "heard"
    shared.add(raw=raw("modern", "hang:tools/call", f"log={log}")).raise_for_status()
    envelope = {f"io.modelcontextprotocol/{key}": value for key, value in ENVELOPE.items()}
    params = {"name": "raw::echo", "arguments": {}, "_meta": envelope}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    head = ["POST /mcp HTTP/1.1", "host: localhost", "content-type: application/json", "mcp-method: tools/call"]
    head += ["mcp-name: raw::echo", "mcp-protocol-version: 2026-07-28", f"content-length: {len(body)}", "", body]
    with connect(shared) as wire:
        wire.sendall("\r\n".join(head).encode() + request(2))
        until(lambda: "tools/call" in log.read_text(), what="the call at its server")
    until(lambda: "notifications/cancelled" in log.read_text(), what="the call cancelled at its server")
