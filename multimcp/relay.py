"""Backend -> client traffic: who is connected, and telling them that a list changed.

Rules:
- A legacy client is pushed to from its `notifications/initialized` until its connection ends.
- A modern client hears of changes on the `subscriptions/listen` streams it opened, and nowhere else.
- Telling is best effort and bounded: a client that does not read holds nobody up for longer than `PUSH_TIMEOUT`.
"""

from collections.abc import Collection
from typing import Any, Final

import anyio
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ServerEvent,
    ToolsListChanged,
)

from .offer import Era

PUSH_TIMEOUT = 5.0

_EVENTS: Final[dict[str, ServerEvent]] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Relay:
    """The connected clients. `listen` serves `subscriptions/listen`."""

    def __init__(self) -> None:
        self._sessions: set[ServerSession] = set()
        self._bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self._bus)

    def join(self, context: ServerRequestContext[Any, Any]) -> None:
        """Push to the legacy client of this message from now on, until its connection ends."""
        session = context.session
        self._sessions.add(session)
        # The SDK has no public way from a session to its connection, whose exit stack is the public way to learn
        # that a client is gone.
        connection: Connection = session._connection
        connection.exit_stack.callback(self._sessions.discard, session)

    async def list_changed(self, era: Era, capabilities: Collection[str]) -> None:
        """Tell every client of `era` that the lists of these capabilities (`tools`, ...) changed."""
        if era == "modern":
            for capability in capabilities:
                await self._bus.publish(_EVENTS[capability])
            return
        async with anyio.create_task_group() as group:
            for session in list(self._sessions):
                group.start_soon(self._push, session, capabilities)

    async def _push(self, session: ServerSession, capabilities: Collection[str]) -> None:
        with anyio.move_on_after(PUSH_TIMEOUT):
            if "tools" in capabilities:
                await session.send_tool_list_changed()
            if "prompts" in capabilities:
                await session.send_prompt_list_changed()
            if "resources" in capabilities:
                await session.send_resource_list_changed()
