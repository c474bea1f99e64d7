"""Bytes in, whole messages out: lines (stdio) and server-sent events (HTTP), each bounded in size.

Rules:
- JSON may hold line breaks as white space: they are made blanks before a message is written as a line or an event.
- A line or event over the limit is never kept whole: its beginning and its end are, as `Oversized`, and what follows
  it is read as if it had been of a good size. It is handed on when it goes over the limit, as it may never end; or
  at its end, where no id stands at its beginning.

Spec: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from collections.abc import Sequence
from dataclasses import dataclass

from multimcp.errors import Fault

from .message import BYTE_ORDER_MARK, Salvaged, read, salvage_ends

_TURN = 4096
"""Bytes that are looked at in one go where they may be many small messages."""

MANY = 256
"""Line ends in a piece that are few."""

NAME = 8192
"""Bytes that the id or the name of an event may have; a longer one is passed over."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes that one message may have, from either side."""

_KEPT = 512


@dataclass(frozen=True)
class Oversized:
    """A message that is larger than the limit, of `size` bytes; only its ends are kept."""

    head: bytes
    tail: bytes
    size: int

    def salvage(self) -> Salvaged | None:
        """Its id, where that stands at one of its ends, as writers do it."""
        return salvage_ends(self.head, self.tail)


@dataclass(frozen=True)
class Event:
    """One server-sent event. `id` is the last one that its stream has named, which is where to go on from."""

    kind: str
    data: bytes | Oversized
    id: str | None


def as_line(message: bytes) -> bytes:
    """A message as one line."""
    return _flat(message) + b"\n"


def as_event(message: bytes, number: str | None = None) -> bytes:
    """A message as a server-sent event; a client can go on from its `number`."""
    place = b"" if number is None else b"id: " + number.encode() + b"\r\n"
    return b"event: message\r\n" + place + b"data: " + _flat(message) + b"\r\n\r\n"


def _flat(message: bytes) -> bytes:
    if b"\n" in message or b"\r" in message:
        return message.replace(b"\n", b" ").replace(b"\r", b" ")
    return message


def _split(data: bytes, at: bytes = b"\n") -> list[bytes]:
    """Split at a byte; `bytes.split` looks at each byte by itself, which takes long where lines are."""
    parts, begin = [], 0
    while (end := data.find(at, begin)) >= 0:
        parts.append(data[begin:end])
        begin = end + 1
    return [*parts, data[begin:]]


def turns(data: bytes) -> Sequence[bytes]:
    """What came in one piece, in parts between which others have their turn: hardly ever more than one."""
    if data.count(b"\n") + data.count(b"\r") <= MANY:
        return (data,)
    return [data[begin : begin + _TURN] for begin in range(0, len(data), _TURN)]


class _Pieces:
    """What has come of a line so far; only its ends where it is too long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self.size = 0
        self._is_told = False

    def add(self, part: bytes) -> Oversized | None:
        """Take a piece; what becomes too large by it is returned at once if its id is known: it may never end."""
        if not part:
            return None
        was_fine = self.size <= self._limit
        self.size += len(part)
        self._begun += part
        if self.size > self._limit:
            if len(self._begun) > 2 * _KEPT:
                self._begun = self._begun[:_KEPT] + self._begun[-_KEPT:]
            begun = Oversized(bytes(self._begun[:_KEPT]), b"", self.size)
            if was_fine and begun.salvage() is not None:
                self._is_told = True
                return begun
        return None

    def take(self, last: bytes) -> bytes | Oversized | None:
        """The whole, which `last` completes, unless `add` has returned it; begin with the next."""
        if not self.size and len(last) <= self._limit:
            return last
        whole, size, was_told = self._begun, self.size + len(last), self._is_told
        self._begun, self.size, self._is_told = bytearray(), 0, False
        if was_told:
            return None
        whole += last
        return bytes(whole) if size <= self._limit else Oversized(bytes(whole[:_KEPT]), bytes(whole[-_KEPT:]), size)


class Lines:
    """The lines of a stream of bytes. Where that ends, feed it a line feed: its last line may have none."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._pieces = _Pieces(limit)
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """The lines that `data` completes, without their line feeds."""
        if not self._pieces.size and data.find(b"\n") == len(data) - 1 <= self._limit:  # one, whole: most of the time
            return [data[:-1]]
        *ended, begun = _split(data)
        lines = [line for each in ended if (line := self._pieces.take(each)) is not None]
        if (too_large := self._pieces.add(begun)) is not None:
            lines.append(too_large)
        return lines


class Events:
    """The events of a stream of bytes. CR, LF and CRLF end a line, also where they are split between two pieces.

    A byte order mark may stand at the beginning.

    Attributes:
        last_id: the id of the last event that has ended, to resume the stream by.
        retry: seconds that the server asks to wait before that, if it does.
        has_begun: whether anything came, be it a comment.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.last_id: str | None = None
        self._id: str | None = None
        self.retry: float | None = None
        self._pieces = _Pieces(limit + len(b"data: "))
        self._limit = limit
        self._kind = "message"
        self._data = bytearray()
        self._lines = 0
        self._too_large: Oversized | None = None
        self._is_told = False
        self._ends_in_cr = False
        self.has_begun = False

    def begin(self) -> None:
        """Go on with another stream, which resumes the one before; what that had begun and not ended is dropped."""
        last = self.last_id
        self._end()
        self.last_id = self._id = last
        self.has_begun = False

    def end(self) -> list[Event]:
        """The event that was not ended, when no more comes; none if it is not whole, and can be resumed."""
        last, events = self.last_id, self._end()
        if self.last_id != last and not (events and all(map(_is_whole, events))):
            self.last_id, events = last, []
        return events

    def _end(self) -> list[Event]:
        self._ends_in_cr = False
        return self.feed(b"\n\n")

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        if self._ends_in_cr and data[:1] == b"\n":
            data = data[1:]
        self._ends_in_cr = data[-1:] == b"\r"
        *ended, begun = _split(data)
        if b"\r" in data:  # `bytes.replace` takes ten times as long
            ended = [part for line in ended for part in _split(line.removesuffix(b"\r"), b"\r")]
            *more, begun = _split(begun, b"\r")
            ended += more
        events = [event for line in ended if (event := self._line(self._pieces.take(line))) is not None]
        return events + self._begun(begun)

    def _begun(self, part: bytes) -> list[Event]:
        """Take the beginning of a line; returns an event that has become too large by it."""
        too_large = self._pieces.add(part)
        if too_large is None or self._too_large is not None:
            return []
        self._too_large, self._data, self._is_told = too_large, bytearray(), True
        return [Event(self._kind, too_large, self._id)]

    def _line(self, line: bytes | Oversized | None) -> Event | None:
        if line is None:
            return None
        is_first, self.has_begun = not self.has_begun, True
        if isinstance(line, Oversized):
            if line.head.startswith(b"data:") and not self._is_told:
                self._too_large, self._data = Oversized(line.head[5:], line.tail, line.size), bytearray()
            return None
        if is_first:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        field, _, content = line.partition(b":")
        content = content.removeprefix(b" ")
        if field == b"data":
            self._add(content)
        elif len(content) > NAME:
            pass
        elif field == b"event":
            self._kind = content.decode(errors="replace")
        elif field == b"id" and b"\0" not in content:
            self._id = content.decode(errors="replace")
        elif field == b"retry" and content.isdigit():
            self.retry = int(content[:9]) / 1000
        return None

    def _add(self, content: bytes) -> None:
        """Add a line of data, unless the event is too large already."""
        if self._too_large is None:
            self._data += b"\n" + content if self._lines else content
            self._lines += 1
            if (size := len(self._data)) > self._limit:
                ends = bytes(self._data[:_KEPT]), bytes(self._data[-_KEPT:])
                self._too_large, self._data = Oversized(*ends, size), bytearray()

    def _dispatch(self) -> Event | None:
        kind, data, large, lines = self._kind, self._data, self._too_large, self._lines
        was_told, self._is_told, self.last_id = self._is_told, False, self._id
        self._kind, self._data, self._too_large, self._lines = "message", bytearray(), None, 0
        if was_told:
            return None
        if large is not None:
            return Event(kind, large, self.last_id)
        return Event(kind, bytes(data), self.last_id) if lines else None


def _is_whole(event: Event) -> bool:
    """Whether it has a whole message, or is known to be too large for one."""
    try:
        return isinstance(event.data, Oversized) or bool(read(event.data))
    except Fault:
        return False
