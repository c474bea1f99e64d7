"""The world around `protocol`, played by a test: a clock that is moved by hand, a wire and a port that write down."""

import json
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw

from multimcp.protocol.calls import Call, Clients, Session
from multimcp.protocol.link import Event, Link
from multimcp.protocol.message import EMPTY, Fields, Message, answer, opened, pack, read

PROXY = pack({"name": "proxy"})


class Timer:
    def __init__(self, at: float, do: Callable[[], None]) -> None:
        self.at, self.do, self.is_on = at, do, True

    def cancel(self) -> None:
        self.is_on = False


class Clock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers: list[Timer] = []

    def now(self) -> float:
        return self.time

    def later(self, seconds: float, do: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(self.time + seconds, do))
        return timer

    def move(self, seconds: float) -> None:
        end = self.time + seconds
        while due := sorted((t for t in self.timers if t.is_on and t.at <= end), key=lambda t: t.at):
            self.timers.remove(due[0])
            self.time = max(self.time, due[0].at)
            due[0].do()
        self.time = end


class Wire:
    """What is written to a backend."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.cancelled: list[int] = []

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        self.sent.append(json.loads(data))

    def write(self, data: bytes) -> None:
        self.sent.append(json.loads(data))

    def cancel(self, number: int, data: bytes) -> None:
        self.cancelled.append(number)

    def take(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return sent


class Port:
    """What a client gets: its messages, then `None` (no answer) or the answer."""

    def __init__(self, number: Any = "c") -> None:
        self.number = number
        self.got: list[Any] = []
        self.raw: list[bytes] = []

    def tell(self, data: bytes) -> None:
        self.raw.append(data)
        self.got.append(json.loads(data))

    def done(self, message: Message | None) -> None:
        self.raw.append(b"" if message is None else answer(self.number, message))
        self.got.append(None if message is None else json.loads(self.raw[-1]))


class World:
    """A backend's connection, and the clients that use it."""

    def __init__(self, era: Any = "legacy", *, owner: Session | None = None, is_single: bool = False, **options: Any):
        self.clock = Clock()
        self.wire = Wire()
        self.events: list[Event] = []
        self.clients = Clients(is_single)
        self.link = Link("srv", era, self.clients, self.clock, self._hear, implementation=PROXY, owner=owner, **options)
        self.link.use(self.wire)

    def _hear(self, link: Link, event: Event) -> None:
        self.events.append(event)

    def session(self, name: str = "s", **capabilities: Any) -> tuple[Session, list[Any]]:
        told: list[Any] = []
        session = Session(name, pack(capabilities), lambda data: told.append(json.loads(data)), self.clock.now())
        self.clients.join(session)
        self.clients.initialized(session)
        return session, told

    def call(
        self, session: Session | None = None, number: Any = "c", method: str = "tools/call", **params: Any
    ) -> tuple[Call, Port]:
        """A client's request, not sent yet."""
        era: Any = "legacy" if session else "modern"
        port = Port(number)
        meta = opened(pack(params.pop("meta", {})))
        capabilities = meta.get("io.modelcontextprotocol/clientCapabilities", EMPTY)
        return Call(port, era, number, method, meta, session, capabilities, PROXY), port

    def send(self, session: Session | None = None, number: Any = "c", **params: Any) -> tuple[Call, Port, int]:
        """A client's request on its way; the number that it has at the backend."""
        meta = params.get("meta", {})
        call, port = self.call(session, number, **params)
        params.pop("meta", None)
        return call, port, self.link.request(call, opened(pack(params)), opened(pack(meta)))

    def hear(self, message: Any, via: int | None = None) -> None:
        """The backend sends something."""
        data = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.link.receive(data, via)


def message(**parts: Any) -> Message:
    return read(json.dumps({"jsonrpc": "2.0", **parts}).encode())


def raw(text: str) -> Raw:
    return Raw(text.encode())


def is_set(value: Any) -> bool:
    return value is not UNSET
