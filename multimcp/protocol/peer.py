"""A client, from its first message to its end: over one stream of messages (stdio, SSE), or as a session over HTTP.

Rules:
- A message that cannot be read is answered with an error where it can be, and costs nothing else.
- A client that does not read, or has too many calls in flight, harms itself only: its session ends, its further calls
  are refused.
- A session over HTTP ends with DELETE, when its client was silent for `IDLE`, or when there are too many: the one that
  was silent longest goes first. A client whose connection is gone is silent, whatever it has in flight.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import UNSET, Raw

from multimcp.errors import Fault

from .calls import CANCELLED, Call, Clients, Clock, Origin, Session, place_of
from .eras import CAPABILITIES_KEY, CLIENT_KEY, ONLY_MODERN, VERSION_KEY, check_envelope, end_to_end
from .framing import Oversized, as_event
from .http import Head, Refusal, refusal
from .message import (
    EMPTY,
    INVALID_REQUEST,
    Era,
    Fields,
    Id,
    Message,
    answer,
    batch,
    failed,
    key,
    opened,
    pack,
    read,
    salvage,
    value,
)
from .outbox import Outbox, Replay, Response

RESUMABLE = 16
"""How many streams of one client's requests may be resumed."""

AWAY = 64 * 1024
"""Bytes of notifications that are kept for a client without a stream to send them on; many have none, ever."""

IDLE = 1800.0
"""Seconds after which a session ends whose client asks nothing, waits for no answer and has no stream open."""


class Front(Protocol):
    """Who takes the messages of clients."""

    clients: Clients
    clock: Clock
    implementation: Raw

    def accept(
        self, call: Call, params: Fields, meta: Fields, headers: Mapping[bytes, bytes] | None = None
    ) -> None: ...
    def notified(self, era: Era, session: Session | None, method: str, params: Fields) -> None: ...


class _Line:
    """Where a call came from, and its answer goes."""

    __slots__ = ("_id", "_peer", "place")

    def __init__(self, peer: "Peer", number: Id) -> None:
        self._peer = peer
        self._id = number
        self.place = place_of(peer.calls, number)

    def tell(self, data: bytes) -> None:
        self._peer.write(data)

    def done(self, message: Message | None) -> None:
        self._peer.calls.pop(self.place, None)
        if message is not None:
            self._peer.write(answer(self._id, message))


class Peer:
    """A client on one stream of messages, in either era.

    Args:
        front: takes its requests.
        name: its session's id.
        origin: over which transport it came, and how it wants names spelled.
        write: sends one message.
    """

    def __init__(self, front: Front, name: str, origin: Origin, write: Callable[[bytes], None]) -> None:
        self.write = write
        self.session: Session | None = None
        self.calls: dict[object, Call] = {}
        self.key = origin.key
        """With which its session is used."""
        self._front = front
        self._name = name
        self._origin = origin

    def take(self, data: bytes | Oversized) -> None:
        """Take a line: what is wrong with it is said on the same stream, also where no id is known."""
        fault = self.receive(data)
        if fault is not None and (isinstance(data, Oversized) or data.strip()):
            self.write(answer(None, failed(fault)))

    def receive(self, data: bytes | Oversized) -> Fault | None:
        """Take a message of the client, or a batch of them; returns what is wrong where no id is known for that."""
        try:
            message = self._read(data)
        except Fault as fault:
            return self._refuse(data, fault)
        try:
            params = {} if message.is_answer else opened(message.params)
            meta = opened(params.pop("_meta", UNSET), "_meta")
        except Fault as fault:
            if message.is_request:
                self.write(answer(message.id, failed(fault)))  # type: ignore[arg-type]
            return None
        if message.is_request:
            self._request(message, params, meta)
        elif message.method == CANCELLED:
            if (call := self.calls.get(key(value(params.get("requestId"))))) is not None:
                call.cancel(params.get("reason"))
        else:
            take_note(self._front, "legacy", self.session, message, params, meta)
        return None

    def leave(self) -> None:
        """The client is gone: so are its calls, and the questions to it."""
        for call in list(self.calls.values()):
            call.cancel()
        if self.session is not None:
            self._front.clients.leave(self.session)

    def _request(self, message: Message, params: Fields, meta: Fields) -> None:
        number, method = message.id, str(message.method)
        assert isinstance(number, int | float | str)
        front, port = self._front, _Line(self, number)
        is_modern = method in ONLY_MODERN or not meta.keys().isdisjoint((VERSION_KEY, CAPABILITIES_KEY, CLIENT_KEY))
        try:
            front.clients.check_calls(self.calls)
            if is_modern and method != "initialize":
                check_envelope(method, params, meta, None)
        except Fault as fault:
            self.write(answer(number, failed(fault)))
            return
        if is_modern and method != "initialize":
            abilities = meta.get(CAPABILITIES_KEY, EMPTY)
            call = Call(port, "modern", number, method, meta, None, abilities, front.implementation, self._origin)
        else:
            if method == "initialize":
                if self.session is not None:
                    front.clients.leave(self.session)
                self.session = Session(self._name, params.get("capabilities", EMPTY), self.write, front.clock.now())
            call = Call(port, "legacy", number, method, meta, self.session, origin=self._origin)
        self.calls[port.place] = call
        front.accept(call, params, meta)

    def _read(self, data: bytes | Oversized) -> Message:
        if isinstance(data, Oversized):
            limit = self._front.clients.limits.message
            self._front.clients.warn("client: a message of %d bytes is refused, %d are taken", data.size, limit)
            raise Fault(INVALID_REQUEST, f"A message of {data.size:,} bytes is too large, {limit:,} are taken")
        return read(data, opens=True)

    def _refuse(self, data: bytes | Oversized, fault: Fault) -> Fault | None:
        """Take what is no message: a batch, or one that cannot be read; returns as `receive` does."""
        try:
            messages = [] if isinstance(data, Oversized) else batch(data)
        except Fault as problem:
            return problem
        for message in messages:
            if message.startswith(b"{"):
                self.take(message)
            else:
                self.write(answer(None, failed(fault)))
        found = data.salvage() if isinstance(data, Oversized) else salvage(data)
        if messages or found is None:
            return None if messages else fault
        if not found.is_answer:
            self.write(answer(found.id, failed(fault)))
        elif self.session is not None:  # an answer that cannot be read is one all the same
            self.session.answer(Message("2.0", id=found.id, error=failed(fault).error))
        return None


def take_note(
    front: Front, era: Era, session: Session | None, message: Message, params: Fields, meta: Fields | None
) -> None:
    """Take what a client does not want an answer to: a notification, or its answer to a question."""
    if not message.is_answer:
        if meta:
            params = end_to_end({**params, "_meta": pack(meta)})
        if message.method == CANCELLED and session is not None:
            session.cancel(params)
        else:
            front.notified(era, session, str(message.method), params)
    elif session is not None:
        session.answer(message)


class Client:
    """A legacy client over HTTP: its session, and its streams: one for what belongs to no call, and by their names
    those of requests that may be resumed."""

    def __init__(
        self,
        front: Front,
        number: str,
        params: Fields,
        overflowed: Callable[["Client"], None],
        heard: Callable[["Client"], None],
        key: bytes | None = None,
    ) -> None:
        """`overflowed` is called when too much waits for it, `heard` when it is there no more; `key` opens its session,
        which is used with no other."""
        self.key = key
        self._hear = heard
        self._limit = front.clients.limits.unread
        self._overflowed = lambda: overflowed(self)
        self.outbox = Outbox(self._limit, self._overflowed)
        self.outbox.notices = AWAY
        self.requests = 0
        """How many of its requests are being answered, a stream being one: so many times it is there."""
        self.heard = front.clock.now()
        """When it was there last."""
        self.streams: OrderedDict[str, Response] = OrderedDict()
        self.session = Session(
            number,
            params.get("capabilities", EMPTY),
            self.tell,
            front.clock.now(),
        )

    def come(self) -> None:
        """A request of it is being answered."""
        self.requests += 1

    def go(self) -> None:
        """One is no more: answered, or given up."""
        self.requests -= 1
        self._hear(self)

    def tell(self, data: bytes) -> None:
        """Send what belongs to no call, or to one whose response cannot be a stream."""
        self.outbox.put(as_event(data))

    def open_stream(self) -> Outbox:
        """The outbox of a stream for what belongs to no call; it takes over from one that is open."""
        before, self.outbox = self.outbox, Outbox(self._limit, self._overflowed)
        if before:
            self.outbox.put(before.take())
        before.end()
        return self.outbox

    def close_stream(self, outbox: Outbox) -> None:
        """A stream ended, unless another one has taken over."""
        if self.outbox is outbox:
            outbox.notices = AWAY

    def keep(self, response: Response) -> None:
        """This one may be resumed from now on, also when it was sent to its end: that may never have arrived."""
        if response.stream:
            self.streams[response.stream] = response
            if len(self.streams) > RESUMABLE:
                order = ("nothing", "its answer", "all that comes")  # the oldest of those that are missed least
                least = min(self.streams, key=lambda name: order.index(self.streams[name].misses))
                self.streams.pop(least).forget()


class Sessions:
    """The legacy clients over HTTP, by the ids of their sessions; the one that was silent longest comes first."""

    def __init__(self, front: Front) -> None:
        self.replay = Replay(front.clients.limits.replay)
        self._front = front
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._new: dict[str, None] = {}
        """Those that have asked for nothing but their session yet: where they are many, they are missed least."""
        self._is_timed = False

    def new(self, number: str, params: Fields, key: bytes | None = None) -> Client:
        """A client that begins with `initialize`; it is not there before `begin`."""
        return Client(self._front, number, params, self.overflow, self._hear, key)

    def begin(self, client: Client) -> None:
        """A session begins; where there are too many, another one ends.

        Raises:
            Refusal: the client's: all others wait for an answer, or have a stream open.
        """
        limit = self._front.clients.limits.sessions
        if len(self._clients) >= limit:
            self._front.clients.warn("more than %d sessions: the one that was silent longest is ended", limit)
            # New ones may have half of the places: so they do not end one another when many come, and a flood of them
            # does not end those that are used.
            order = (*self._new, *self._clients) if 2 * len(self._new) >= limit else (*self._clients,)
            idle = (each for each in map(self._clients.get, order) if each and not each.requests)
            if (least := next(idle, None)) is None:
                raise refusal(503, "too many sessions are open, and none is idle: try again later")
            self.end(least)
        self._clients[client.session.id] = client
        self._new[client.session.id] = None
        self._time()

    def find(self, head: Head, asked: Id | None = None) -> Client:
        """The client whose session a request belongs to, which is not silent; `asked` is the id of its message.

        Raises:
            Refusal: the client's: it belongs to none.
        """
        if b"mcp-session-id" not in head.headers:
            raise Refusal(400, Fault(INVALID_REQUEST, "the Mcp-Session-Id header is missing"), asked)
        client = self.named(head)
        if client is None:
            raise Refusal(404, Fault(INVALID_REQUEST, "there is no such session: begin anew with initialize"), asked)
        self._hear(client)
        if client.session.id in self._new:
            del self._new[client.session.id]
            if asked is None:
                self._new[client.session.id] = None
        return client

    def named(self, head: Head) -> Client | None:
        """The client whose session the head of a request names, and whose key it has."""
        client = self._clients.get(head.headers.get(b"mcp-session-id", b"").decode("latin-1"))
        return client if client is not None and client.key == head.origin.key else None

    def _hear(self, client: Client) -> None:
        client.heard = self._front.clock.now()
        if client.session.id in self._clients:
            self._clients.move_to_end(client.session.id)

    def _time(self) -> None:
        """One timer is enough: for the client that was silent longest."""
        if self._clients and not self._is_timed:
            self._is_timed = True
            longest = next(iter(self._clients.values()))
            self._front.clock.later(longest.heard + IDLE - self._front.clock.now(), self._end_silent)

    def _end_silent(self) -> None:
        self._is_timed = False
        for client in list(self._clients.values()):
            if client.heard + IDLE > self._front.clock.now():
                break
            if client.requests:
                self._hear(client)
            else:
                self.end(client)
        self._time()

    def overflow(self, client: Client) -> None:
        """The client does not read."""
        self._front.clients.warn("a client does not read its stream: its session is ended")
        self.end(client)

    def end(self, client: Client) -> None:
        """Its session is over."""
        self._new.pop(client.session.id, None)
        if self._clients.pop(client.session.id, None) is not None:
            for response in client.streams.values():
                response.forget()
            client.streams.clear()
        self._front.clients.leave(client.session)
        client.outbox.end()

    def check_keys(self, is_good: Callable[[bytes | None], bool]) -> None:
        """End the sessions whose key is good no more."""
        for client in [each for each in self._clients.values() if not is_good(each.key)]:
            self.end(client)

    def close_streams(self) -> None:
        """End the streams that are open for what belongs to no call."""
        for client in self._clients.values():
            client.outbox.end()
