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

PUSH_TIMEOUT = 1.0

_EVENTS: Final[dict[str, ServerEvent]] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Relay:
    """The connected clients. `listen` serves `subscriptions/listen`."""

    def __init__(self) -> None:
        self._sessions: dict[Connection, ServerSession] = {}
        self._bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self._bus)

    def join(self, context: ServerRequestContext[Any, Any]) -> None:
        """Push to the legacy client of this message from now on, until its connection ends."""
        # The SDK makes a session for each message. It has no public way from there to the connection, whose exit
        # stack is the public way to learn that a client is gone.
        connection: Connection = context.session._connection
        if connection not in self._sessions:
            self._sessions[connection] = context.session
            connection.exit_stack.callback(self._sessions.pop, connection)

    async def list_changed(self, era: Era, capabilities: Collection[str]) -> None:
        """Tell every client of `era` that the lists of these capabilities (`tools`, ...) changed."""
        if era == "modern":
            for capability in capabilities:
                await self._bus.publish(_EVENTS[capability])
            return
        async with anyio.create_task_group() as group:
            for session in list(self._sessions.values()):
                group.start_soon(self._push, session, capabilities)

    async def _push(self, session: ServerSession, capabilities: Collection[str]) -> None:
        with anyio.move_on_after(PUSH_TIMEOUT):
            if "tools" in capabilities:
                await session.send_tool_list_changed()
            if "prompts" in capabilities:
                await session.send_prompt_list_changed()
            if "resources" in capabilities:
                await session.send_resource_list_changed()
