"""Streamable HTTP toward clients, in both eras, as a raw ASGI application. What it decides is in `protocol.http`,
`protocol.outbox` and `protocol.peer`.

Rules:
- In the modern era a client that disconnects cancels its request; in the legacy era it does not.
- `?names=` asks for a spelling of names: for the session that a request opens, or for that one request.
- A request that is answered at once costs no task; one that takes long gets one, which watches for the client to leave.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from multimcp.errors import Fault
from multimcp.protocol.calls import Call, Port
from multimcp.protocol.eras import CAPABILITIES_KEY
from multimcp.protocol.http import Arrived, Head, Header, Refusal, read_head, read_post, refusal
from multimcp.protocol.message import EMPTY, INVALID_REQUEST, Message, batch, failed, salvage
from multimcp.protocol.outbox import Batch, Part, Response, place
from multimcp.protocol.peer import Client, Front, Sessions, take_note

from .asgi import (
    EVENTS,
    JSON,
    PING,
    Receive,
    Scope,
    Send,
    end,
    gone,
    news,
    quiet,
    read_body,
    refuse,
    reply,
    stream,
)

SOON = 0.05
"""Seconds after which a request has taken long enough to watch whether its client is still there."""

LONG = 5.0
"""Seconds after which the answer to a request becomes an event stream, so that proxies in between see that it lives."""


class StreamableHttp:
    """The endpoint `/mcp`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sessions = Sessions(front)
        self.close_streams = self._sessions.close_streams
        self.check_keys = self._sessions.check_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = read_head(scope["method"], scope["headers"], scope.get("query_string", b""), scope.get("key"))
            if head.method == "POST":
                await self._post(head, receive, send)
            elif head.method == "GET":
                await self._get(head, receive, send)
            else:
                self._sessions.end(self._sessions.find(head))
                await reply(send, 200)
        except Refusal as refused:
            await refuse(send, refused)

    async def _post(self, head: Head, receive: Receive, send: Send) -> None:
        """Take a message of a client."""
        front = self._front
        try:
            body = await read_body(receive, head.headers, front.clients, partial(self._sessions.named, head))
        except ConnectionError:
            return
        try:
            arrived = read_post(head, body)
        except Refusal as refused:
            await self._refused(head, body, refused, receive, send)
            return
        message, client = arrived.message, None
        is_first = head.era == "legacy" and message.is_request and message.method == "initialize"
        if is_first:
            client = self._sessions.new(secrets.token_hex(16), arrived.params, head.origin.key)
        elif head.era == "legacy":
            client = self._sessions.find(head, arrived.id if message.is_request else None)
        if not message.is_request:
            take_note(front, head.era, client.session if client else None, message, arrived.params, arrived.meta)
            await reply(send, 202)
            return
        response = Response(arrived.id, front.clients.limits.unread, self._sessions.replay, _naming(head, client))
        call = self._call(head, arrived, client, response, response)
        more: tuple[Header, ...] = ()
        if is_first and client is not None:
            more = ((b"mcp-session-id", client.session.id.encode()),)
            self._sessions.begin(client)
        front.accept(call, arrived.params, arrived.meta or {}, head.headers if client is None else None)
        modern = call if client is None else None
        await _Exchange(response, client, modern, receive, send).respond(head.prefers_stream, more)

    def _call(self, head: Head, arrived: Arrived, client: Client | None, response: Response, port: Port) -> Call:
        """The call that a request is; `port` takes its answer to the response.

        Raises:
            Refusal: the client's: it has too many.
        """
        front, meta = self._front, arrived.meta or {}
        session, abilities = client.session if client is not None else None, meta.get(CAPABILITIES_KEY, EMPTY)
        try:
            front.clients.check_calls(session.calls if session is not None else {})
        except Fault as fault:
            raise Refusal(200, fault, arrived.id) from None
        method = str(arrived.message.method)
        call = Call(port, head.era, arrived.id, method, meta, session, abilities, front.implementation, head.origin)
        call.on_break = response.break_off
        response.overflowed = partial(self._overflow, call, client)
        if not head.takes_events:
            response.aside = client.tell if client is not None else lambda data: None
        return call

    async def _refused(self, head: Head, body: bytes, refused: Refusal, receive: Receive, send: Send) -> None:
        """Take what is no message: a batch of them, or an answer that cannot be read, which is one all the same.

        Raises:
            Refusal: the client's: it is neither.
        """
        try:
            messages, found = batch(body) if head.era == "legacy" else [], salvage(body)
        except Fault as fault:
            raise Refusal(400, fault) from None
        if head.era == "modern" or not (messages or (found is not None and found.is_answer)):
            raise refused
        client = self._sessions.find(head)
        if found is not None:
            client.session.answer(Message("2.0", id=found.id, error=failed(refused.fault).error))
            raise refused
        limit = self._front.clients.limits.unread
        response = Batch(len(messages), limit, self._sessions.replay, _naming(head, client))
        for message in messages:
            self._take_part(head, client, response, message)
        if response.is_silent:
            await reply(send, 202)
        else:
            await _Exchange(response, client, None, receive, send).respond(head.prefers_stream, ())

    def _take_part(self, head: Head, client: Client, response: Batch, data: bytes) -> None:
        """Take one message of a batch."""
        try:
            arrived = read_post(head, data)
            if not arrived.message.is_request:
                take_note(self._front, head.era, client.session, arrived.message, arrived.params, arrived.meta)
                response.close()
                return
            if arrived.message.method == "initialize":
                raise Refusal(400, Fault(INVALID_REQUEST, "initialize must not be in a batch"), arrived.id)
            call = self._call(head, arrived, client, response, Part(response, arrived.id))
        except Refusal as refused:
            response.close(refused.number, failed(refused.fault))
        else:
            self._front.accept(call, arrived.params, arrived.meta or {}, None)

    def _overflow(self, call: Call, client: Client | None) -> None:
        if client is not None:
            self._sessions.overflow(client)
        else:
            self._front.clients.warn("a client does not read its stream: its call is ended")
            call.cancel()

    async def _get(self, head: Head, receive: Receive, send: Send) -> None:
        """Open a session's stream, or go on with one that broke off."""
        client = self._sessions.find(head)
        last = head.headers.get(b"last-event-id", b"").decode("latin-1")
        name, number = place(last)
        response = client.streams.get(name)
        if last and response is None:
            # Not 404, by which a client would take its session for lost.
            raise refusal(400, "the Last-Event-ID is of no stream of this session that can be resumed")
        client.come()
        try:
            with self._front.clients.streaming():
                if response is not None:
                    outbox = response.resume(number)
                    try:
                        await stream(outbox, receive, send, b"")
                        if outbox is response.outbox and response.answer is not None and not outbox:
                            response.sent()
                    finally:
                        outbox.drop()  # what comes now is kept, for whoever resumes it again
                    return
                outbox = client.open_stream()
                try:
                    await stream(outbox, receive, send)
                finally:
                    client.close_stream(outbox)
        except Fault as fault:
            raise Refusal(503, fault) from None
        finally:
            client.go()


def _naming(head: Head, client: Client | None) -> Callable[[], str] | None:
    """What names a response that its client knows how to resume."""
    return partial(secrets.token_hex, 8) if client is not None and head.is_resumable else None


class _Exchange:
    """A request whose answer, a JSON document or a stream, goes to this client.

    Whether the client is still there is watched once that takes long enough to be worth a task.
    """

    def __init__(
        self, response: Response, client: Client | None, modern: Call | None, receive: Receive, send: Send
    ) -> None:
        """`client` is a legacy one; a `modern` call is cancelled when its client leaves."""
        self._modern = modern
        self._response = response
        self._outbox = response.outbox
        self._client = client
        self._receive = receive
        self._send = send
        self._is_gone = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def respond(self, prefers_stream: bool, more: tuple[Header, ...]) -> None:
        """Answer, with these headers."""
        if self._client is not None:
            self._client.come()
        try:
            if not self._outbox and not self._outbox.is_over:
                await self._wait()
            if self._response.is_document(prefers_stream):
                status, body = self._response.document("legacy" if self._modern is None else "modern")
                with suppress(OSError):
                    await reply(self._send, status, body, JSON, *more)
            elif self._is_gone:
                self._response.drop()
            else:
                await self._stream(more)
        finally:
            if self._client is not None:
                self._client.go()
            if self._task is not None:
                await end(self._task)

    async def _wait(self) -> None:
        """Wait for something to send, at most until the answer has to become a stream."""
        self._timer = asyncio.get_running_loop().call_later(SOON, self._take_long)
        try:
            await news(self._outbox)
        finally:
            self._timer.cancel()

    def _take_long(self) -> None:
        if self._response.aside is None:
            self._timer = asyncio.get_running_loop().call_later(LONG - SOON, self._outbox.wake)
        self._watch()

    def _watch(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._notice())

    async def _notice(self) -> None:
        await gone(self._receive)
        self._is_gone = True
        if self._modern is not None:
            self._modern.cancel()
        self._outbox.wake()

    async def _stream(self, more: tuple[Header, ...]) -> None:
        outbox, response, client = self._outbox, self._response, self._client
        self._watch()
        await self._send({"type": "http.response.start", "status": 200, "headers": [*EVENTS, *more]})
        if client is not None:
            client.keep(response)
        first = response.begin()
        while True:
            chunk, is_over, first = first + (outbox.take() if outbox else b""), outbox.is_over, b""
            await self._send({"type": "http.response.body", "body": chunk, "more_body": not is_over})
            if self._is_gone:
                outbox.drop()  # what comes now is kept, if it can be resumed
                return
            if is_over:
                if outbox is response.outbox and response.answer is not None:
                    response.sent()
                return
            if await quiet(outbox):
                outbox.put(PING)
