"""What a fixture tells of what it sends, however it is written."""

import runpy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from conformance.fixtures import SERVERS

telling = runpy.run_path(str(SERVERS / "_telling.py"))
KEPT: int = telling["KEPT"]


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([b'{"id": 1}\n'], [{"id": 1}]),
        ([b'{"id"', b": 1}\n{", b'"id": 2}\n'], [{"id": 1}, {"id": 2}]),
        ([b"Starting up\n", b"\n", b'{"id": 1}\r\n'], ["Starting up", {"id": 1}]),
        ([b"x" * KEPT + b"\n"], ["x" * KEPT]),
        ([b"x" * KEPT, b"yz\n"], ["x" * KEPT + f" … ({KEPT + 2:,} bytes)"]),
        ([b"[" * KEPT + b"\n"], ["[" * KEPT]),
        ([b"\xff\n"], ["\N{REPLACEMENT CHARACTER}"]),
        ([b'{"id": 1}'], []),
    ],
)
def test_lines(pieces: list[bytes], told: list[Any]) -> None:
    heard: list[Any] = []
    lines = telling["Lines"](lambda message, stream: heard.append((message, stream)))
    for piece in pieces:
        lines.write(piece)
    assert heard == [(message, "stdio") for message in told]


def test_lines_keep_little() -> None:
    lines = telling["Lines"](lambda message, stream: None)
    for _ in range(100):
        lines.write(b"x" * 100_000)
    assert len(lines._line) <= KEPT


async def respond(
    path: str, status: int, kind: str, *bodies: bytes, method: str = "POST"
) -> tuple[list[Any], list[bytes]]:
    """What is told of a response, and what is sent of it."""
    heard: list[Any] = []
    sent: list[bytes] = []
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

    async def app(scope: Any, receive: Any, send: Send) -> None:
        headers = [(b"content-type", kind.encode())] if kind else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    async def send(event: Mapping[str, Any]) -> None:
        sent.append(event.get("body", b""))

    told = telling["telling"](app, lambda message, stream: heard.append((message, stream)))
    await told({"type": "http", "method": method, "path": path}, None, send)
    return heard, sent[1:]


@pytest.mark.parametrize(
    ("path", "method", "status", "kind", "bodies", "told"),
    [
        ("/mcp", "POST", 200, "application/json", [b'{\n"id": 1', b"\n}"], [({"id": 1}, "POST")]),
        (
            "/mcp",
            "POST",
            200,
            "text/event-stream; charset=utf-8",
            [b'event: message\r\ndata: {"id"', b": 1}\r\n\r\n", b": ping\r\n\r\n"],
            [({"id": 1}, "POST")],
        ),
        ("/mcp", "GET", 200, "text/event-stream", [b'data: {"method": "x"}\n\n'], [({"method": "x"}, "GET")]),
        ("/sse", "GET", 200, "text/event-stream", [b'data:{"method": "x"}\n\n'], [({"method": "x"}, "SSE")]),
        ("/mcp", "POST", 202, "", [b""], []),
        ("/mcp", "POST", 404, "text/plain", [b"gone"], [("HTTP 404", "POST"), ("gone", "POST")]),
        ("/mcp", "POST", 307, "", [b""], [("HTTP 307", "POST")]),
    ],
)
async def test_responses(path: str, method: str, status: int, kind: str, bodies: list[bytes], told: list[Any]) -> None:
    assert await respond(path, status, kind, *bodies, method=method) == (told, bodies)
