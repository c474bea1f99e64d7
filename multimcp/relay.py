"""Backend -> client traffic that belongs to no call: who is connected, and what they are told.

Rules:
- A legacy client is told from its `notifications/initialized` until its connection ends, on its standalone stream.
- A modern client hears of changes on the `subscriptions/listen` streams it opened, and nowhere else.
- Telling never waits for a client: what it does not read waits for it, up to a bound.
- That a URL was visited is told to the client that was sent there, and to no other.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
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
from .offer import Era

SINGLE_WAIT = 10.0
"""Seconds in which a client over stdio, which starts the proxy, greets it."""

_EVENTS: Final[dict[str, ServerEvent]] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Relay:
    """The connected clients. `listen` serves `subscriptions/listen`. Use within `running`."""

    def __init__(self, is_single: bool = False) -> None:
        """With `is_single` there is one client, ever: what is asked during nobody's call is for that."""
        self._is_single = is_single
        self._came = anyio.Event()
        self._sessions: dict[Connection, Session] = {}
        self._bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self._bus)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Deliver what there is to tell."""
        async with anyio.create_task_group() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    def join(self, context: ServerRequestContext[Any, Any], on_gone: Callable[[Session], None]) -> None:
        """A legacy client has come, with its `initialize`; `on_gone` is told when its connection ends."""
        # The SDK makes a session for each message. It has no public way from there to the connection, whose exit
        # stack is the public way to learn that a client is gone.
        connection: Connection = context.session._connection
        capabilities = (context.params or {}).get("capabilities")
        session = Session(connection, capabilities if isinstance(capabilities, dict) else {})
        self._sessions[connection] = session
        self._came.set()

        def leave() -> None:
            self._sessions.pop(connection, None)
            session.gone.set()
            on_gone(session)

        connection.exit_stack.callback(leave)

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
                self._tasks.start_soon(self._bus.publish, ResourceUpdated(uri=uri))
            else:
                self._tell(session, UPDATED, {**params, "uri": uri})

    async def list_changed(
        self, era: Era, capabilities: Collection[str], changed: float, only: Session | None, but: Collection[Session]
    ) -> None:
        """Tell clients of `era`, one or all but some, that the lists of these capabilities (`tools`, ...) changed.

        A legacy client that came after they `changed` (by the clock of the event loop) has not seen them otherwise.
        """
        for capability in _EVENTS.keys() & capabilities:
            if era == "modern":
                await self._bus.publish(_EVENTS[capability])
            else:
                self.broadcast(
                    f"notifications/{capability}/list_changed",
                    {},
                    lambda each: each.since <= changed and (each is only if only else each not in but),
                )

    def _tell(self, session: Session, method: str, params: Mapping[str, Any]) -> None:
        if session.connection.initialized.is_set():
            session.outbox.put(method, params or None, self._tasks)
