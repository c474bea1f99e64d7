"""Backend -> client traffic that belongs to no call: who is connected, and what they are told.

Rules:
- A legacy client is told from its `notifications/initialized` until its connection ends, on its standalone stream.
- A modern client hears of changes on the `subscriptions/listen` streams it opened, and nowhere else.
- Telling never waits for a client: what it does not read waits for it, up to a bound.
- That a URL was visited is told to the client that was sent there, and to no other.
- The log names each legacy client when it comes and when it goes, and each kind of modern client once.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final

import anyio
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from .calls import LEVELS, LOG, UPDATED, VISITED, Session
from .errors import printable
from .offer import Era
from .seen import Seen

logger = logging.getLogger(__name__)

SINGLE_WAIT = 10.0
"""Seconds in which a client over stdio, which starts the proxy, greets it."""

_EVENTS: Final[dict[str, ServerEvent]] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}

KNOWN = 1000
"""How many modern clients, by name, version and transport, are remembered."""

_listening: ContextVar[Seen] = ContextVar("_listening")
"""What the client has seen that is opening a listening stream."""


@dataclass(frozen=True)
class Listener:
    """A client that can be told that lists changed. `tell` takes a capability (`tools`, ...).

    With `is_ready` false it must not be told yet: it has not said `notifications/initialized`.
    """

    era: Era
    session: Session | None
    seen: Seen
    tell: Callable[[str], None]
    is_ready: bool = True


class _Streams(InMemorySubscriptionBus):
    """The listening streams, each with what its client has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[Callable[[ServerEvent], None], Seen] = {}

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        self.open[listener] = _listening.get()

        def leave() -> None:
            self.open.pop(listener, None)
            unsubscribe()

        return leave


class Relay:
    """The connected clients. `listen` serves `subscriptions/listen`. Use within `running`."""

    def __init__(self, is_single: bool = False) -> None:
        """With `is_single` there is one client, ever: what is asked during nobody's call is for that."""
        self._is_single = is_single
        self._came = anyio.Event()
        self._sessions: dict[Connection, Session] = {}
        self._numbers = count(1)
        self._known: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._single_seen: Seen | None = None
        self._streams = _Streams()
        self.listen = ListenHandler(self._streams)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Deliver what there is to tell."""
        async with anyio.create_task_group() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    def start_soon(self, task: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run a task for as long as clients are served."""
        self._tasks.start_soon(task, *args)

    def join(
        self,
        context: ServerRequestContext[Any, Any],
        revision: object,
        since: float,
        seen: Seen,
        on_gone: Callable[[Session], None],
    ) -> None:
        """A legacy client has come, with its `initialize`.

        Args:
            context: of that request.
            revision: of the protocol, as it was agreed on.
            since: when the request came.
            seen: what there is to list as it is greeted.
            on_gone: is told when its connection ends.
        """
        # The SDK makes a session for each message. It has no public way from there to the connection, whose exit
        # stack is the public way to learn that a client is gone.
        connection: Connection = context.session._connection
        params = context.params or {}
        capabilities = params.get("capabilities")
        session = Session(connection, capabilities if isinstance(capabilities, dict) else {}, since, seen)
        self._sessions[connection] = session
        self._came.set()
        name, number, transport = " ".join(_name(params.get("clientInfo"))), next(self._numbers), _transport(context)
        logger.info("client %d connected: %s (%s, %s)", number, name, transport, printable(revision, 40))

        def leave() -> None:
            self._sessions.pop(connection, None)
            session.gone.set()
            lasted = anyio.current_time() - since
            logger.info("client %d disconnected: %s, after %.1f s", number, name, lasted)
            on_gone(session)

        connection.exit_stack.callback(leave)

    def visit(self, context: ServerRequestContext[Any, Any], info: object) -> float:
        """A modern client has sent a request, and says this of itself; returns when the first such one came.

        Clients that call themselves the same, over the same transport, are not told apart.
        """
        key = (*_name(info), _transport(context))
        if key not in self._known:
            self._known[key] = anyio.current_time()
            logger.info("client seen first: %s %s (%s, %s)", *key, printable(context.protocol_version, 40))
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def seen_by_single(self, greet: Callable[[], Seen]) -> Seen | None:
        """What the only client, a modern one, has seen, by `greet` when it is new; None where there may be others."""
        if self._is_single and self._single_seen is None:
            self._single_seen = greet()
        return self._single_seen

    @contextmanager
    def listening(self, seen: Seen) -> Iterator[None]:
        """Within it a listening stream is opened whose client has seen this."""
        token = _listening.set(seen)
        try:
            yield
        finally:
            _listening.reset(token)

    def listeners(self) -> list[Listener]:
        """Who is to be told of changed lists."""
        found = []
        for session in self._sessions.values():
            tell = partial(self._tell_changed, session)
            found.append(Listener("legacy", session, session.seen, tell, session.connection.initialized.is_set()))
        streams: dict[Seen, list[Callable[[ServerEvent], None]]] = {}
        for deliver, seen in self._streams.open.items():
            streams.setdefault(seen, []).append(deliver)
        for seen, delivers in streams.items():
            found.append(Listener("modern", None, seen, partial(_deliver, delivers)))
        return found

    def _tell_changed(self, session: Session, capability: str) -> None:
        self._tell(session, f"notifications/{capability}/list_changed", {})

    def session(self, context: ServerRequestContext[Any, Any]) -> Session | None:
        """The session that a message of a legacy client belongs to; None before `initialize`."""
        return self._sessions.get(context.session._connection)

    async def single(self) -> Session | None:
        """The only client, when it has come; None where there may be others, or it does not come (a modern one)."""
        if self._is_single:
            with anyio.move_on_after(SINGLE_WAIT):
                await self._came.wait()
                for session in list(self._sessions.values()):  # it may have left
                    await session.connection.initialized.wait()
                    return session
        return None

    @property
    def level(self) -> str | None:
        """The most verbose level of log messages that a legacy client has asked for."""
        return min((s.level for s in self._sessions.values() if s.level), key=LEVELS.index, default=None)

    def broadcast(self, method: str, params: Mapping[str, Any], admits: Callable[[Session], bool]) -> None:
        """Send a notification that belongs to no call to the legacy clients that are admitted, and want it."""
        for session in list(self._sessions.values()):
            if method == VISITED and params.get("elicitationId") not in session.elicitations:
                continue
            is_wanted = method != LOG or session.wants(params.get("level"))
            if is_wanted and admits(session):
                self._tell(session, method, params)

    def updated(self, params: Mapping[str, Any], told: Collection[tuple[Session | None, str]]) -> None:
        """Tell of an updated resource: the legacy client, or whoever listens for it, under the URI it has there."""
        for session, uri in told:
            if session is None:
                self._tasks.start_soon(self._streams.publish, ResourceUpdated(uri=uri))
            else:
                self._tell(session, UPDATED, {**params, "uri": uri})

    def _tell(self, session: Session, method: str, params: Mapping[str, Any]) -> None:
        if session.connection.initialized.is_set():
            session.outbox.put(method, params or None, self._tasks)


def _deliver(streams: Collection[Callable[[ServerEvent], None]], capability: str) -> None:
    for stream in streams:
        stream(_EVENTS[capability])


def _name(info: object) -> tuple[str, str]:
    """Name and version of a client, as it introduces itself, fit for a log line."""
    info = info if isinstance(info, Mapping) else {}
    return printable(info.get("name", "unnamed"), 80), printable(info.get("version", ""), 40)


def _transport(context: ServerRequestContext[Any, Any]) -> str:
    """Over which transport a message of a client came."""
    if context.request is None:
        return "stdio"
    return "http" if context.request.url.path.rstrip("/").endswith("/mcp") else "sse"
