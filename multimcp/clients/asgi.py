"""What the HTTP endpoints have in common: reading a body, answering, streaming, and noticing that a client is gone."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from multimcp.protocol.calls import Clients
from multimcp.protocol.http import Header, Headers, Refusal, refusal
from multimcp.protocol.message import answer, failed
from multimcp.protocol.outbox import Outbox
from multimcp.protocol.peer import Client

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SILENCE = 15.0
"""Seconds after which a silent stream carries a comment, so that nobody takes it for dead."""

JSON: Final[Header] = (b"content-type", b"application/json")
EVENTS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
PING: Final = b": ping\r\n\r\n"


class _Body:
    """What has come of a body; it may have to be let go."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.is_lost = False

    def let_go(self) -> None:
        self.parts, self.is_lost = [], True


async def read_body(
    receive: Receive, headers: Headers, clients: Clients, sender: Callable[[], Client | None] = lambda: None
) -> bytes:
    """The body of a request.

    Args:
        receive: takes what comes.
        headers: of the request.
        clients: all of them, and how much they may cost.
        sender: finds the client who sends it, if it has a session: it is there while a body comes in pieces.

    Raises:
        Refusal: the client's: it is too large.
        ConnectionError: the client's: it broke off.
    """
    length, limit, body = headers.get(b"content-length", b"0"), clients.limits.message, _Body()
    declared, there = int(length) if length.isdigit() else 0, None
    try:
        while max(declared, body.size) <= limit:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionError
            if body.is_lost:
                clients.warn("client: a body that comes slowly is refused, as those of all are too large together")
                raise refusal(503, "too many large messages are on their way: try again later")
            body.parts.append(message.get("body", b""))
            body.size += len(body.parts[-1])
            if not message.get("more_body") and body.size <= limit:
                return body.parts[0] if len(body.parts) == 1 else b"".join(body.parts)
            clients.bodies.hold(body, body.size)
            if there is None and (there := sender()) is not None:
                there.come()
    finally:
        clients.bodies.drop(body)
        if there is not None:
            there.go()
    clients.warn("client: a message of %d bytes or more is refused, %d are taken", max(declared, body.size), limit)
    raise refusal(413, f"the message is too large, {limit:,} bytes are taken")


async def reply(send: Send, status: int, body: bytes = b"", *headers: Header) -> None:
    """Answer a request whole: at once, where `send` can."""
    whole = getattr(send, "whole", None)
    if whole is not None and whole(status, headers, body):
        return
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refused: Refusal) -> None:
    """Answer with an error of HTTP, which is one of JSON-RPC, too."""
    await reply(send, refused.status, answer(refused.number, failed(refused.fault)), JSON, *refused.headers)


async def gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def news(outbox: Outbox) -> None:
    """Wait until something is in it, or it is over. For one task at a time."""
    if outbox or outbox.is_over:
        return
    future = asyncio.get_running_loop().create_future()
    outbox.on_news = lambda: None if future.done() else future.set_result(None)
    await future


async def quiet(outbox: Outbox) -> bool:
    """Wait for news, as long as a stream may be silent; returns whether it was silent all the time."""
    try:
        async with asyncio.timeout(SILENCE):
            await news(outbox)
    except TimeoutError:
        return True
    return False


async def stream(outbox: Outbox, receive: Receive, send: Send, first: bytes = b": open\r\n\r\n") -> None:
    """Send what comes to an outbox as an event stream, until it is over or the client is gone."""
    watcher = asyncio.get_running_loop().create_task(gone(receive))
    watcher.add_done_callback(lambda _: outbox.wake())
    try:
        await send({"type": "http.response.start", "status": 200, "headers": list(EVENTS)})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        while not watcher.done():
            if outbox:
                await send({"type": "http.response.body", "body": outbox.take(), "more_body": True})
            elif outbox.is_over:
                break
            elif await quiet(outbox):
                await send({"type": "http.response.body", "body": PING, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await end(watcher)


async def end(task: "asyncio.Task[None]") -> None:
    """End a task, and wait for that."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
