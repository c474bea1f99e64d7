"""Streamable HTTP toward clients, in both eras, as a raw ASGI application.

Rules:
- A response is one JSON document, unless something has to be sent before it, it takes long, or the client would rather
  have a stream: then it is one.
- In the modern era a client that disconnects cancels its request; in the legacy era it does not.
- The stream of a legacy request that breaks off can be resumed with `Last-Event-ID`: its call goes on meanwhile.
- A legacy session ends with DELETE, or when there are too many: the one that was silent longest goes first.
- `?names=` asks for a spelling of names: for the session that a request opens, or for that one request.
- A request that is answered at once costs no task; one that takes long gets one, which watches for the client to leave.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from contextlib import suppress

from msgspec import UNSET

from multimcp.backends.connection import CLOCK, IMPLEMENTATION
from multimcp.errors import Fault
from multimcp.protocol.calls import Call, Origin, Session
from multimcp.protocol.chain import HEADER
from multimcp.protocol.eras import (
    CAPABILITIES_KEY,
    LATEST_LEGACY,
    LEGACY_VERSIONS,
    MODERN_VERSIONS,
    check_envelope,
    http_status,
    unsupported,
)
from multimcp.protocol.framing import as_event
from multimcp.protocol.message import (
    EMPTY,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Era,
    Fields,
    Id,
    Message,
    answer,
    error_of,
    failed,
    opened,
    read,
    salvage,
)
from multimcp.proxy import Proxy

from .asgi import (
    EVENTS,
    JSON,
    PING,
    Header,
    Headers,
    Receive,
    Scope,
    Send,
    asked_spelling,
    fault,
    gone,
    quiet,
    read_body,
    refuse,
    reply,
)
from .journal import Journal, place
from .peer import Outbox, refusal

logger = logging.getLogger(__name__)

SESSIONS = 10_000
"""How many legacy sessions there are at once."""

RESUMABLE = 16
"""How many streams of one client's requests may be resumed."""

SOON = 0.05
"""Seconds after which a request has taken long enough to watch whether its client is still there."""

LONG = 5.0
"""Seconds after which the answer to a request becomes an event stream, so that proxies in between see that it lives."""

_ROUTING = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
CHAIN = HEADER.lower().encode()
_JSON = b"application/json"
_EVENT_STREAM = b"text/event-stream"
_USUAL = _JSON + b", " + _EVENT_STREAM
"""What clients accept as a rule."""

_CANCELLED = Fault(INVALID_REQUEST, "Request cancelled")


class _Client:
    """A legacy client: its session, and the stream for what belongs to no call."""

    def __init__(self, number: str, capabilities: Fields) -> None:
        self.outbox = Outbox()
        self.has_stream = False
        self.streams: OrderedDict[str, _Post] = OrderedDict()
        """The streams of requests, by name, which may be resumed."""
        self.session = Session(
            number, capabilities.get("capabilities", EMPTY), lambda data: self.outbox.put(as_event(data)), CLOCK.now()
        )


class _Post:
    """Where a call came from: its stream, and its answer, are the response to a POST."""

    def __init__(self, number: Id, client: _Client | None = None) -> None:
        """`client` may resume the stream; None where that is not known in its revision."""
        self.outbox = Outbox(self._overflowed)
        self.answer: Message | None = None
        self._id = number
        self._client = client
        self._journal = Journal() if client is not None else None
        self._is_stream = False

    def tell(self, data: bytes) -> None:
        self.outbox.put(self._event(data))

    def done(self, message: Message | None) -> None:
        self.answer = message
        is_last = self._is_stream and message is not None
        self.outbox.end(self._event(answer(self._id, message)) if is_last and message is not None else b"")

    def begin(self) -> bytes:
        """The response is a stream from now on; returns what it begins with."""
        self._is_stream = True
        beginning = b""
        if self._client is not None and self._journal is not None:
            beginning = self._journal.beginning()
            self._client.streams[self._journal.name] = self
            if len(self._client.streams) > RESUMABLE:
                self._client.streams.popitem(last=False)
        if self.outbox.is_over and self.answer is not None:
            return beginning + (self.outbox.take() if self.outbox else b"") + self._event(answer(self._id, self.answer))
        return beginning

    def resume(self, number: int) -> Outbox:
        """The client goes on behind this event; returns where the rest comes."""
        self.outbox.end()
        self.outbox = Outbox(self._overflowed)
        for event in self._journal.after(number) if self._journal is not None else ():
            self.outbox.put(event)
        if self.answer is not None:
            self.outbox.end()
        return self.outbox

    def forget(self) -> None:
        """All of it has been sent."""
        if self._client is not None and self._journal is not None:
            self._client.streams.pop(self._journal.name, None)

    def _event(self, data: bytes) -> bytes:
        return self._journal.add(data) if self._journal is not None else as_event(data)

    def _overflowed(self) -> None:
        logger.warning("a client does not read: what is sent to it during this call is dropped from here on")


class StreamableHttp:
    """The endpoint `/mcp`."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = {}
        twice = None
        for name, content in scope["headers"]:
            if name in headers and name in _ROUTING:
                twice = name.decode()
            headers[name] = content
        method = scope["method"]
        try:
            origin = Origin("http", asked_spelling(scope), headers.get(CHAIN, b"").decode("latin-1") or None)
        except ValueError as exc:
            await refuse(send, 400, str(exc))
            return
        if method == "POST":
            await self._post(headers, twice, origin, receive, send)
        elif method in ("GET", "DELETE"):
            await self._session_request(method, headers, receive, send)
        else:
            await refuse(send, 405, "POST, GET and DELETE are understood here", (b"allow", b"GET, POST, DELETE"))

    def close_streams(self) -> None:
        """End the streams that are open for what belongs to no call."""
        for client in self._clients.values():
            client.outbox.end()

    # POST: a message of a client

    async def _post(self, headers: Headers, twice: str | None, origin: Origin, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, headers)
        except ConnectionError:
            return None
        version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        era: Era = "modern" if version and version not in LEGACY_VERSIONS else "legacy"
        if body is None:
            return await refuse(send, 413, "the message is too large")
        if not _accepts(headers, _JSON) and not _accepts(headers, _EVENT_STREAM):
            return await refuse(send, 406, "accept application/json and text/event-stream")
        kind = headers.get(b"content-type", _JSON)
        if kind != _JSON and kind.split(b";")[0].strip().lower() != _JSON:
            return await refuse(send, 415, "the Content-Type must be application/json")
        try:
            message = read(body)
            params = opened(message.params)
            meta = opened(params.pop("_meta"), "_meta") if "_meta" in params else None
        except Fault as problem:
            return await _unreadable(send, body, problem)
        if era == "modern":
            await self._modern(message, params, meta, headers, twice, origin, receive, send)
        else:
            await self._legacy(message, params, meta or {}, headers, origin, receive, send)
        return None

    async def _modern(
        self,
        message: Message,
        params: Fields,
        meta: Fields | None,
        headers: Headers,
        twice: str | None,
        origin: Origin,
        receive: Receive,
        send: Send,
    ) -> None:
        number = message.id if message.id is not UNSET else None
        method = str(message.method)
        try:
            if message.is_answer:
                raise Fault(INVALID_REQUEST, "A client of this revision sends requests and notifications only")
            if not message.is_request:
                version = headers[b"mcp-protocol-version"].decode("latin-1")
                if version not in MODERN_VERSIONS:
                    raise unsupported(version)
                self._proxy.notified("modern", None, method, params)
                return await reply(send, 202)
            if twice is not None:
                raise Fault(HEADER_MISMATCH, f"The {twice} header comes more than once")
            check_envelope(method, params, meta, headers)
        except Fault as problem:
            return await fault(send, http_status(problem.code), number, problem)
        assert number is not None
        meta = meta or {}
        port = _Post(number)
        call = Call(
            port, "modern", number, method, meta, None, meta.get(CAPABILITIES_KEY, EMPTY), IMPLEMENTATION, origin
        )
        self._proxy.accept(call, params, meta, headers)
        await _respond(call, port, headers, receive, send)
        return None

    async def _legacy(
        self,
        message: Message,
        params: Fields,
        meta: Fields,
        headers: Headers,
        origin: Origin,
        receive: Receive,
        send: Send,
    ) -> None:
        method = str(message.method)
        is_first = message.is_request and method == "initialize"
        client = _Client(secrets.token_hex(16), params) if is_first else await self._find(headers, send)
        if client is None:
            return None
        session = client.session
        if not message.is_request:
            if message.is_answer:
                session.answer(message)
            elif method == "notifications/cancelled":
                session.cancel(params)
            else:
                self._proxy.notified("legacy", session, method, params)
            return await reply(send, 202)
        assert message.id is not UNSET
        assert message.id is not None
        is_resumable = headers.get(b"mcp-protocol-version") == LATEST_LEGACY.encode()
        port = _Post(message.id, client if is_resumable else None)
        call = Call(port, "legacy", message.id, method, meta, session, origin=origin)
        self._proxy.accept(call, params, meta)
        more: tuple[Header, ...] = ()
        if is_first:
            more = ((b"mcp-session-id", session.id.encode()),)
            self._begin(client)
        await _respond(call, port, headers, receive, send, more)
        return None

    # Sessions

    def _begin(self, client: _Client) -> None:
        client.outbox.overflowed = lambda: self._overflowed(client)
        self._clients[client.session.id] = client
        if len(self._clients) > SESSIONS:
            silent = next(iter(self._clients.values()))
            logger.warning("more than %d sessions: the one that was silent longest is ended", SESSIONS)
            self._end(silent)

    def _overflowed(self, client: _Client) -> None:
        logger.warning("a client does not read its stream: its session is ended")
        self._end(client)

    def _end(self, client: _Client) -> None:
        self._clients.pop(client.session.id, None)
        self._proxy.clients.leave(client.session)
        client.outbox.end()

    async def _find(self, headers: Headers, send: Send) -> _Client | None:
        """The client whose session a request belongs to; one that belongs to none is refused."""
        number = headers.get(b"mcp-session-id")
        if number is None:
            await refuse(send, 400, "the Mcp-Session-Id header is missing")
            return None
        client = self._clients.get(number.decode("latin-1"))
        if client is None:
            await refuse(send, 404, "there is no such session: begin anew with initialize")
            return None
        self._clients.move_to_end(client.session.id)
        return client

    async def _session_request(self, method: str, headers: Headers, receive: Receive, send: Send) -> None:
        """GET opens a session's stream, DELETE ends the session; both are legacy."""
        version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        if version in MODERN_VERSIONS:
            return await refuse(send, 405, "this revision knows POST only", (b"allow", b"POST"))
        if version and version not in LEGACY_VERSIONS:
            return await fault(send, 400, None, unsupported(version))
        if (client := await self._find(headers, send)) is None:
            return None
        if method == "DELETE":
            self._end(client)
            return await reply(send, 200)
        if not _accepts(headers, b"text/event-stream"):
            return await refuse(send, 406, "accept text/event-stream")
        name, number = place(headers.get(b"last-event-id", b"").decode("latin-1"))
        if (post := client.streams.get(name)) is not None:
            outbox = post.resume(number)
            await stream(outbox, receive, send, b"")
            if outbox.is_over and not outbox:
                post.forget()
            return None
        if client.has_stream:
            return await refuse(send, 409, "this session's stream is open already")
        client.has_stream = True
        try:
            await stream(client.outbox, receive, send)
        finally:
            client.has_stream = False
        return None


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
            elif await quiet(outbox.news()):
                await send({"type": "http.response.body", "body": PING, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await _end(watcher)


async def _respond(
    call: Call, port: _Post, headers: Headers, receive: Receive, send: Send, more: tuple[Header, ...] = ()
) -> None:
    """Answer a request: with a JSON document, or with a stream if something has to be sent before its answer."""
    outbox = port.outbox
    watch = _Watch(call, outbox, receive)
    try:
        if not outbox and not outbox.is_over:
            await watch.wait()
        is_whole = outbox.is_over and not outbox
        if is_whole and (port.answer is None or not _prefers_stream(headers)):
            await _document(call, port.answer, send, more)
        elif not watch.is_gone:
            await _events(call, port, watch, send, more)
    finally:
        await watch.close()


async def _document(call: Call, message: Message | None, send: Send, more: tuple[Header, ...]) -> None:
    if message is None:  # given up
        message = failed(_CANCELLED)
    status = 200
    if call.era == "modern":
        status = 200 if message.error is UNSET else http_status(_code(message))
    with suppress(OSError):
        await reply(send, status, answer(call.id, message), JSON, *more)


def _code(message: Message) -> int | None:
    try:
        error = error_of(message)
    except Fault:
        return None
    return error.code if error is not None else None


async def _events(call: Call, port: _Post, watch: "_Watch", send: Send, more: tuple[Header, ...]) -> None:
    outbox = port.outbox
    watch.begin()
    await send({"type": "http.response.start", "status": 200, "headers": [*EVENTS, *more]})
    first = port.begin()
    while True:
        chunk, is_over, first = first + (outbox.take() if outbox else b""), outbox.is_over, b""
        await send({"type": "http.response.body", "body": chunk, "more_body": not is_over})
        if watch.is_gone:
            outbox.end()  # what comes now waits in the journal, if there is one
            return
        if is_over:
            if outbox is port.outbox:
                port.forget()
            return
        if await quiet(outbox.news()):
            outbox.put(PING)


class _Watch:
    """Watches whether the client of a request is still there, once that takes long enough to be worth a task."""

    def __init__(self, call: Call, outbox: Outbox, receive: Receive) -> None:
        self.is_gone = False
        self._call = call
        self._outbox = outbox
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Wait for something to send, at most until the answer has to become a stream."""
        self._timer = asyncio.get_running_loop().call_later(SOON, self._began_to_wait)
        try:
            await self._outbox.news()
        finally:
            self._timer.cancel()

    def _began_to_wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LONG - SOON, self._outbox.wake)
        self.begin()

    def begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        await gone(self._receive)
        self.is_gone = True
        if self._call.era == "modern":
            self._call.cancel()
        self._outbox.wake()

    async def close(self) -> None:
        if self._task is not None:
            await _end(self._task)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _accepts(headers: Headers, kind: bytes) -> bool:
    """Whether a client takes an answer of this type; one that says nothing takes any."""
    accept = headers.get(b"accept", b"*/*").lower()
    return kind in accept or b"*/*" in accept or kind.partition(b"/")[0] + b"/*" in accept


def _prefers_stream(headers: Headers) -> bool:
    """Whether a client would rather have an event stream: it takes nothing else, or names that first."""
    accept = headers.get(b"accept", _USUAL).lower()
    if accept == _USUAL:
        return False
    if not _accepts(headers, _JSON):
        return True
    return _EVENT_STREAM in accept.partition(_JSON)[0] and _JSON in accept


async def _unreadable(send: Send, body: bytes, problem: Fault) -> None:
    """Refuse a message that cannot be read, under its id if that can be found."""
    number: Id | None = None
    if (found := salvage(body)) is not None:
        number, problem = found.id, refusal(problem)
    if problem.code not in (PARSE_ERROR, INVALID_PARAMS):
        problem = Fault(INVALID_REQUEST, problem.message)
    await fault(send, 400, number, problem)
