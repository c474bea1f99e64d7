"""What is on its way to one client: what waits until it reads, what is kept so that it can resume, and its answer.

Rules:
- Nobody waits for a client that does not read: so many bytes wait for it, then its call or its session ends.
- A response is one JSON document, unless something has to be sent before it, it takes long, or the client would rather
  have a stream: then it is one.
- The stream of a legacy request that breaks off can be resumed with `Last-Event-ID`: its call goes on meanwhile. Where
  the server closes its own stream during a call, ours is closed as well, and the client comes back for the rest.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from msgspec import UNSET

from multimcp.errors import Fault

from .eras import http_status
from .framing import as_event
from .message import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    Era,
    Id,
    Message,
    answer,
    error_of,
    failed,
    notification,
    succeeded,
)

RETRY = 1000
"""Milliseconds that a client is asked to wait before it comes back."""

_OVERHEAD = 100
"""Bytes that a message costs besides its own, about."""

_NOTICE: Final = notification("")[:-2]
_BEGINNING = 200
"""Where a notification shows what it is, whatever it is framed by."""

_CANCELLED = failed(Fault(INVALID_REQUEST, "Request cancelled"))


_TOO_MUCH = failed(Fault(INTERNAL_ERROR, "The answers to this batch are too large together: ask one by one"))


class Outbox:
    """Bytes on their way to one client, in order.

    Args:
        limit: bytes that may wait; a message of any size may wait alone.
        overflowed: called once when more waits; nothing is taken from then on but a last word.

    Attributes:
        is_over: whether nothing comes behind what is in it.
        on_news: called when something came, or it is over.
        notices: bytes that may wait before notifications are dropped.
    """

    def __init__(self, limit: int, overflowed: Callable[[], None] | None = None) -> None:
        self.is_over = False
        self.on_news: Callable[[], None] | None = None
        self.overflowed = overflowed
        self.notices = limit // 2
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._is_full = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, data: bytes) -> None:
        """Add a message; when too much waits it is dropped; notifications sooner: no server's flood ends a client."""
        if self.is_over or self._is_full:
            return
        size = self._size + len(data) + _OVERHEAD
        if self._waiting and size > self.notices and _NOTICE in data[:_BEGINNING]:
            return
        self._size = size
        if self._waiting and self._size > self._limit:
            self._is_full = True
            if self.overflowed is not None:
                self.overflowed()
            return
        self._waiting.append(data)
        self.wake()

    def end(self, last: bytes = b"") -> None:
        """Nothing comes behind this."""
        if not self.is_over:
            self.is_over = True
            self.overflowed = None  # which leads back here, and would leave work to the garbage collector
            if last:
                self._waiting.append(last)
            self.wake()

    def drop(self) -> None:
        """Nobody reads it any more: nothing waits in it, and nothing comes."""
        self.end()
        self.take()

    def take(self) -> bytes:
        """All that waits."""
        data = self._waiting.popleft() if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return data

    def wake(self) -> None:
        """Have whoever waits for news look again."""
        if self.on_news is not None:
            self.on_news()


class Replay:
    """The last events that were sent on all streams that can be resumed, `limit` bytes of them together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._events: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def add(self, stream: str, number: int, event: bytes) -> None:
        """Keep an event; the oldest ones go for it."""
        self._events[stream, number] = event
        self._size += len(event) + _OVERHEAD
        while self._size > self._limit:
            self._size -= len(self._events.popitem(last=False)[1]) + _OVERHEAD

    def after(self, stream: str, number: int, last: int) -> list[bytes]:
        """The events of a stream behind this one, as far as they are kept."""
        return [event for each in range(number + 1, last + 1) if (event := self._events.get((stream, each)))]

    def has(self, stream: str, number: int) -> bool:
        """Whether this event is kept."""
        return (stream, number) in self._events

    def forget(self, stream: str, last: int) -> None:
        """The events of this stream are not needed any more."""
        for number in range(1, last + 1):
            if (event := self._events.pop((stream, number), None)) is not None:
                self._size -= len(event) + _OVERHEAD


def place(last_event_id: str) -> tuple[str, int]:
    """The stream and the number that an event's id says; of no stream of ours, an empty name."""
    name, _, number = last_event_id.rpartition("-")
    return (name, int(number)) if number.isascii() and number.isdecimal() and len(number) < 10 else ("", 0)


class Response:
    """Where a call over HTTP came from: its stream, and its answer, are the response to a POST.

    Args:
        number: the request's id.
        limit: bytes that may wait for the client.
        replay: keeps what was sent.
        name: makes the name by which the stream can be resumed, which nobody can guess; None where it cannot.

    Attributes:
        answer: of the call, once it has one.
        is_broken: whether the stream was closed before the answer, for the client to come back.
        aside: takes the messages of a call whose client takes no stream.
        overflowed: called when too much waits for the client.
    """

    def __init__(self, number: Id, limit: int, replay: Replay, name: Callable[[], str] | None = None) -> None:
        self.answer: Message | None = None
        self.is_broken = False
        self.overflowed: Callable[[], None] | None = None
        self.aside: Callable[[bytes], None] | None = None
        self._name = name
        self._stream = ""
        self._id = number
        self._limit = limit
        self._replay = replay
        self._last = 0
        self._is_stream = self._is_done = False
        self.outbox = Outbox(limit, self._overflow)

    @property
    def stream(self) -> str:
        """The name of the stream, by which it can be resumed; empty where it cannot. Most never need one."""
        if self._name is not None and not self._stream:
            self._stream = self._name()
        return self._stream

    def tell(self, data: bytes) -> None:
        """Send a message that belongs to the call."""
        if self.aside is not None:
            self.aside(data)
        else:
            self.outbox.put(self._event(data))

    def done(self, message: Message | None) -> None:
        """The call is answered; None: it gets no answer."""
        self.answer, self._is_done = message, True
        is_last = message is not None and (self._is_stream or self.is_broken)
        self.outbox.end(self._event(self._body()) if is_last else b"")
        if not is_last:
            self.overflowed = None

    def break_off(self) -> None:
        """Close the stream before the answer: the client comes back for it, if it can."""
        if self.aside is None and self.stream and not self.outbox.is_over:
            self.is_broken = True
            self.outbox.end()

    def begin(self) -> bytes:
        """The response is a stream from now on; returns what it begins with, which says where to go on from."""
        self._is_stream = True
        first = f"id: {self.stream}-0\r\nretry: {RETRY}\r\ndata: \r\n\r\n".encode() if self.stream else b""
        if self.outbox.is_over and self.answer is not None:
            first += (self.outbox.take() if self.outbox else b"") + self._event(self._body())
        return first

    def resume(self, number: int) -> Outbox:
        """The client goes on behind this event; returns where the rest comes."""
        self.outbox.end()
        self.is_broken = False
        self.outbox = Outbox(self._limit, self._overflow)
        events = self._replay.after(self.stream, number, self._last)
        if self.misses == "its answer" and number < self._last and not self._replay.has(self.stream, self._last):
            events.append(self._event(self._body()))  # what others were sent has driven it out before it was sent once
        if events:  # as one, that may wait whatever its size: the client could not read it yet
            self.outbox.put(b"".join(events))
        if self._is_done:
            self.outbox.end()
        return self.outbox

    def sent(self) -> None:
        """All of it has been sent once; what may be sent again is in the replay, and no longer here."""
        self.answer, self.overflowed = _SENT, None

    @property
    def misses(self) -> Literal["nothing", "its answer", "all that comes"]:
        """What was never sent to its client: nothing also where that has cancelled it."""
        if not self._is_done:
            return "all that comes"
        return "nothing" if self.answer is None or self.answer is _SENT else "its answer"

    def drop(self) -> None:
        """Its client left before the stream began, and knows no name to resume it by: nothing is kept of what comes."""
        self.forget()
        self._name, self._stream = None, ""
        self.outbox.drop()

    def forget(self) -> None:
        """Nobody comes back for it."""
        if self._last:
            self._replay.forget(self.stream, self._last)

    def is_document(self, prefers_stream: bool) -> bool:
        """Whether it is one JSON document, as nothing has to be sent before the answer."""
        is_whole = self.outbox.is_over and not self.outbox and not self.is_broken
        return is_whole and (self.answer is None or not prefers_stream)

    def document(self, era: Era) -> tuple[int, bytes]:
        """Its status and its body."""
        return http_status(_code(self.answer or _CANCELLED)) if era == "modern" else 200, self._body()

    def _body(self) -> bytes:
        return answer(self._id, self.answer or _CANCELLED)

    def _event(self, data: bytes) -> bytes:
        if not self.stream:
            return as_event(data)
        self._last += 1
        event = as_event(data, f"{self.stream}-{self._last}")
        self._replay.add(self.stream, self._last, event)
        return event

    def _overflow(self) -> None:
        if self.overflowed is not None:
            self.overflowed()


class Batch(Response):
    """The answers to a batch (2025-03-26): one message, once the last of its `size` messages is dealt with."""

    def __init__(self, size: int, limit: int, replay: Replay, name: Callable[[], str] | None = None) -> None:
        super().__init__(0, limit, replay, name)
        self._open = size
        self._room = limit
        self._answers: list[bytes] = []

    @property
    def is_silent(self) -> bool:
        """Whether it had no message that is answered."""
        return not self._open and not self._answers

    def close(self, number: Id | None = None, message: Message | None = None) -> None:
        """One of its messages is dealt with: answered, unless `message` is None."""
        if message is not None:
            data = answer(number, message)
            self._room -= len(data)
            self._answers.append(data if self._room >= 0 else answer(number, _TOO_MUCH))
        self._open -= 1
        if not self._open:
            self.done(succeeded())

    def _body(self) -> bytes:
        return b"[" + b",".join(self._answers) + b"]"


class Part:
    """The port of a call that came in a batch."""

    def __init__(self, batch: Batch, number: Id) -> None:
        self.tell = batch.tell
        self.done: Callable[[Message | None], None] = partial(batch.close, number)


_SENT: Final = succeeded()


def _code(message: Message) -> int | None:
    if message.error is UNSET:
        return None
    try:
        error = error_of(message)
    except Fault:
        return None
    return error.code if error is not None else None
