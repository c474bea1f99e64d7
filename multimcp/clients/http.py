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
from contextlib import suppress
from functools import partial

from multimcp.errors import Fault
from multimcp.protocol.calls import Call
from multimcp.protocol.eras import CAPABILITIES_KEY
from multimcp.protocol.http import Head, Header, Refusal, read_head, read_post
from multimcp.protocol.message import EMPTY
from multimcp.protocol.outbox import Response, place
from multimcp.protocol.peer import Client, Front, Sessions, take_note

from .asgi import EVENTS, JSON, PING, Receive, Scope, Send, end, gone, news, quiet, read_body, refuse, reply, stream

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = read_head(scope["method"], scope["headers"], scope.get("query_string", b""))
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
            body = await read_body(receive, head.headers, front.clients)
        except ConnectionError:
            return
        arrived = read_post(head, body)
        message, meta, method = arrived.message, arrived.meta or {}, str(arrived.message.method)
        is_first = head.era == "legacy" and message.is_request and method == "initialize"
        client = None
        if is_first:
            client = self._sessions.new(secrets.token_hex(16), arrived.params)
        elif head.era == "legacy":
            client = self._sessions.find(head)
        session = client.session if client is not None else None
        number = message.id
        if not message.is_request or not isinstance(number, int | float | str):
            take_note(front, head.era, session, message, arrived.params)
            await reply(send, 202)
            return
        if session is not None:
            self._check_calls(session.calls, number)
        name = _new_name if client is not None and head.is_resumable else None
        response = Response(number, front.clients.limits.unread, self._sessions.replay, name)
        abilities = meta.get(CAPABILITIES_KEY, EMPTY)
        call = Call(response, head.era, number, method, meta, session, abilities, front.implementation, head.origin)
        call.on_break = response.break_off
        response.overflowed = partial(self._overflow, call, client)
        more: tuple[Header, ...] = ()
        if is_first and client is not None:
            more = ((b"mcp-session-id", client.session.id.encode()),)
            self._sessions.begin(client)
        front.accept(call, arrived.params, meta, head.headers if session is None else None)
        await _Exchange(call, response, client, receive, send).respond(head.prefers_stream, more)

    def _overflow(self, call: Call, client: Client | None) -> None:
        if client is not None:
            self._sessions.overflow(client)
        else:
            self._front.clients.warn("a client does not read its stream: its call is ended")
            call.cancel()

    def _check_calls(self, calls: dict[object, Call], number: int | float | str) -> None:
        try:
            self._front.clients.check_calls(calls)
        except Fault as fault:
            raise Refusal(200, fault, number) from None

    async def _get(self, head: Head, receive: Receive, send: Send) -> None:
        """Open a session's stream, or go on with one that broke off."""
        client = self._sessions.find(head)
        name, number = place(head.headers.get(b"last-event-id", b"").decode("latin-1"))
        try:
            with self._front.clients.streaming():
                if (response := client.streams.get(name)) is not None:
                    outbox = response.resume(number)
                    await stream(outbox, receive, send, b"")
                    if response.answer is not None and outbox.is_over and not outbox:
                        response.sent()
                    return
                if client.has_stream:
                    raise Refusal(409, Fault(-32600, "this session's stream is open already"))
                client.has_stream = True
                try:
                    await stream(client.outbox, receive, send)
                finally:
                    client.has_stream = False
        except Fault as fault:
            raise Refusal(503, fault) from None


def _new_name() -> str:
    return secrets.token_hex(8)


class _Exchange:
    """A request whose answer, a JSON document or a stream, goes to this client.

    Whether the client is still there is watched once that takes long enough to be worth a task.
    """

    def __init__(self, call: Call, response: Response, client: Client | None, receive: Receive, send: Send) -> None:
        self._call = call
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
        try:
            if not self._outbox and not self._outbox.is_over:
                await self._wait()
            if self._response.is_document(prefers_stream):
                status, body = self._response.document(self._call.era)
                with suppress(OSError):
                    await reply(self._send, status, body, JSON, *more)
            elif not self._is_gone:
                await self._stream(more)
        finally:
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
        self._timer = asyncio.get_running_loop().call_later(LONG - SOON, self._outbox.wake)
        self._watch()

    def _watch(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._notice())

    async def _notice(self) -> None:
        await gone(self._receive)
        self._is_gone = True
        if self._call.era == "modern":
            self._call.cancel()
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
                outbox.end()  # what comes now is kept, if it can be resumed
                return
            if is_over:
                if outbox is response.outbox and response.answer is not None:
                    response.sent()
                return
            if await quiet(outbox):
                outbox.put(PING)
