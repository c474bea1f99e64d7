"""A client on one stream of messages (stdio, SSE), in either era, and what waits for one that does not read.

Rules:
- A message that cannot be read is answered with an error where it can be, and costs nothing else.
- Nobody waits for a client that does not read: so many bytes wait for it, then its session ends.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from msgspec import UNSET

from multimcp.backends.connection import CLOCK, IMPLEMENTATION
from multimcp.errors import Fault
from multimcp.protocol.calls import CANCELLED, Call, Origin, Session
from multimcp.protocol.eras import CAPABILITIES_KEY, CLIENT_KEY, ONLY_MODERN, VERSION_KEY, check_envelope
from multimcp.protocol.framing import MAX_MESSAGE, Oversized
from multimcp.protocol.message import (
    EMPTY,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNSENDABLE,
    Fields,
    Message,
    answer,
    failed,
    key,
    opened,
    read,
    salvage,
    value,
)
from multimcp.proxy import Proxy

logger = logging.getLogger(__name__)

UNREAD = MAX_MESSAGE
"""Bytes that wait for a client that does not read them."""

UNREAD_MESSAGES = 10_000
"""Messages that wait for a client that does not read them."""


class Outbox:
    """Bytes on their way to one client, in order.

    Attributes:
        is_over: whether nothing comes behind what is in it.
        overflowed: called once when too much waits; it takes nothing from then on but a last word.
    """

    def __init__(self, overflowed: Callable[[], None] | None = None) -> None:
        self.is_over = False
        self.overflowed = overflowed
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._is_full = False
        self._news: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, data: bytes) -> None:
        """Add a message; when too much waits it is dropped."""
        if self.is_over or self._is_full:
            return
        if self._waiting and (self._size + len(data) > UNREAD or len(self._waiting) >= UNREAD_MESSAGES):
            self._is_full = True
            if self.overflowed is not None:
                self.overflowed()
            return
        self._waiting.append(data)
        self._size += len(data)
        self.wake()

    def end(self, last: bytes = b"") -> None:
        """Nothing comes behind this."""
        if not self.is_over:
            self.is_over = True
            if last:
                self._waiting.append(last)
            self.wake()

    def take(self) -> bytes:
        """All that waits."""
        data = self._waiting.popleft() if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return data

    async def news(self) -> None:
        """Wait until something is in it, or it is over. For one task at a time."""
        if not self._waiting and not self.is_over:
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def wake(self) -> None:
        """Have whoever waits for news look again."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class _Line:
    """Where a call came from, and its answer goes."""

    __slots__ = ("_id", "_peer")

    def __init__(self, peer: "Peer", number: int | float | str) -> None:
        self._peer = peer
        self._id = number

    def tell(self, data: bytes) -> None:
        self._peer.write(data)

    def done(self, message: Message | None) -> None:
        self._peer.calls.pop(key(self._id), None)
        if message is not None:
            self._peer.write(answer(self._id, message))


class Peer:
    """A client on one stream of messages.

    Args:
        proxy: takes its requests.
        name: its session's id.
        origin: over which transport it came, and how it wants names spelled.
        write: sends one message.
    """

    def __init__(self, proxy: Proxy, name: str, origin: Origin, write: Callable[[bytes], None]) -> None:
        self.write = write
        self.session: Session | None = None
        self.calls: dict[object, Call] = {}
        self._proxy = proxy
        self._name = name
        self._origin = origin

    def receive(self, data: bytes | Oversized) -> None:
        """Take one message of the client."""
        try:
            if isinstance(data, Oversized):
                raise Fault(INVALID_REQUEST, f"A message of {data.size:,} bytes is too large")
            message = read(data)
            if message.is_answer:
                if self.session is not None:
                    self.session.answer(message)
                return
            params = opened(message.params)
            meta = opened(params.pop("_meta", UNSET), "_meta")
        except Fault as fault:
            self._refuse(data, fault)
            return
        if message.is_request:
            self._request(message, params, meta)
        elif message.method == CANCELLED:
            if (call := self.calls.get(key(value(params.get("requestId"))))) is not None:
                call.cancel(params.get("reason"))
        else:
            self._proxy.notified("legacy", self.session, str(message.method), params)

    def leave(self) -> None:
        """The client is gone: so are its calls, and the questions to it."""
        for call in list(self.calls.values()):
            call.cancel()
        if self.session is not None:
            self._proxy.clients.leave(self.session)

    def _request(self, message: Message, params: Fields, meta: Fields) -> None:
        number, method = message.id, str(message.method)
        assert number is not UNSET
        assert number is not None
        port = _Line(self, number)
        is_modern = method in ONLY_MODERN or not meta.keys().isdisjoint((VERSION_KEY, CAPABILITIES_KEY, CLIENT_KEY))
        if is_modern and method != "initialize":
            try:
                check_envelope(method, params, meta, None)
            except Fault as fault:
                port.done(failed(fault))
                return
            call = Call(
                port,
                "modern",
                number,
                method,
                meta,
                None,
                meta.get(CAPABILITIES_KEY, EMPTY),
                IMPLEMENTATION,
                self._origin,
            )
        else:
            if method == "initialize":
                if self.session is not None:
                    self._proxy.clients.leave(self.session)
                self.session = Session(self._name, params.get("capabilities", EMPTY), self.write, CLOCK.now())
            call = Call(port, "legacy", number, method, meta, self.session, origin=self._origin)
        self.calls[key(number)] = call
        self._proxy.accept(call, params, meta)

    def _refuse(self, data: bytes | Oversized, fault: Fault) -> None:
        found = data.salvage() if isinstance(data, Oversized) else salvage(data)
        if found is None:
            shown = data.head if isinstance(data, Oversized) else data
            if shown.strip():
                logger.warning("client: sends what is not MCP")
        elif not found.is_answer:
            self.write(answer(found.id, failed(refusal(fault))))
        elif self.session is not None:  # an answer that cannot be read is one all the same
            self.session.answer(Message("2.0", id=found.id, error=failed(refusal(fault)).error))


def refusal(fault: Fault) -> Fault:
    """What the sender of a request that has an id, but cannot be read, is told."""
    return Fault(INVALID_PARAMS, UNSENDABLE) if fault.code == PARSE_ERROR else fault
