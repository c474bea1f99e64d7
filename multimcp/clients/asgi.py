"""What the HTTP endpoints have in common: reading a body, answering, and noticing that a client is gone."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from multimcp.errors import Fault
from multimcp.protocol.framing import MAX_MESSAGE
from multimcp.protocol.message import INVALID_REQUEST, Id, answer, failed
from multimcp.protocol.names import Spelling, read_spelling, unknown_spelling

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]
Header = tuple[bytes, bytes]

SILENCE = 15.0
"""Seconds after which a silent stream carries a comment, so that nobody takes it for dead."""

JSON: Final[Header] = (b"content-type", b"application/json")
EVENTS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
PING: Final = b": ping\r\n\r\n"


def asked_spelling(scope: Scope) -> Spelling | None:
    """The spelling of names that the query of a request asks for (`?names=llm`), if it asks.

    Raises:
        ValueError: the client's: there is no such spelling; the text is for the client.
    """
    query = scope.get("query_string", b"")
    if b"names" not in query:
        return None
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("names")
    if asked is None:
        return None
    if (spelling := read_spelling(asked[-1])) is None:
        raise ValueError(unknown_spelling(asked[-1]))
    return spelling


async def read_body(receive: Receive, headers: Headers) -> bytes | None:
    """The body of a request; None where it is too large.

    Raises:
        ConnectionError: the client's: it broke off.
    """
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_MESSAGE:
        return None
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_MESSAGE:
            return None
    if message["type"] != "http.request":
        raise ConnectionError
    return b"".join(parts)


async def reply(send: Send, status: int, body: bytes = b"", *headers: Header) -> None:
    """Answer a request whole."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, status: int, text: str, *headers: Header) -> None:
    """Answer with an error of HTTP, in words for the person who has to act."""
    await fault(send, status, None, Fault(INVALID_REQUEST, text), *headers)


async def fault(send: Send, status: int, number: Id | None, error: Fault, *headers: Header) -> None:
    """Answer with a JSON-RPC error."""
    await reply(send, status, answer(number, failed(error)), JSON, *headers)


async def gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def quiet(news: Awaitable[None]) -> bool:
    """Wait for news, as long as a stream may be silent; returns whether it was silent all the time."""
    try:
        async with asyncio.timeout(SILENCE):
            await news
    except TimeoutError:
        return True
    return False
