"""A client's request in flight at a backend, and what comes back to the client meanwhile.

Rules:
- Messages reach a client in the order in which the backend sent them; those of a call before its result, none after.
- Nobody waits for a client that does not read: `BACKLOG` messages wait for it, what comes then is dropped.
- A client is asked only what it declared that it can answer. Questions and answers cross as they are.
"""

import logging
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any, Final, get_args

import anyio
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.server.connection import Connection
from mcp.shared.dispatcher import Outbound
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, LOG_LEVEL_META_KEY, METHOD_NOT_FOUND, LoggingLevel

from .naming import Spelling
from .offer import Era
from .seen import Seen

logger = logging.getLogger(__name__)

Params = Mapping[str, Any] | None

UPDATED = "notifications/resources/updated"
VISITED = "notifications/elicitation/complete"
LOG = "notifications/message"

LEVELS: Final[tuple[str, ...]] = get_args(LoggingLevel)
"""The levels of log messages, from the most verbose to the most severe."""

BACKLOG = 10_000
"""How many messages wait for one client that does not read them."""

ANSWER_WAIT = 600.0
"""Seconds a backend's question waits for its answer: a person may have to be found."""

OVER = "The call that this belongs to is over"

_QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}

_ids = count(1)


class Outbox:
    """Messages on their way to one client, in order."""

    def __init__(self, channel: Outbound | None) -> None:
        self.channel = channel
        """Where they go; while it is None they wait."""
        self._waiting: deque[tuple[str, Params]] = deque()
        self._writing = anyio.Lock()

    def put(self, method: str, params: Params, tasks: TaskGroup) -> None:
        """Add a message, to be sent by a task of `tasks`."""
        is_idle = not self._waiting and not self._writing.locked()
        if len(self._waiting) < BACKLOG:
            self._waiting.append((method, params))
            if len(self._waiting) == BACKLOG:
                logger.warning("a client does not read: what is sent to it is dropped from here on")
        if is_idle:
            tasks.start_soon(self.drain)

    async def drain(self) -> None:
        """Send what is waiting; when this returns, what was put before is sent."""
        if not self._waiting and not self._writing.locked():
            return
        async with self._writing:
            while self._waiting and self.channel is not None:
                method, params = self._waiting.popleft()
                await self.channel.notify(method, params)


class Session:
    """A legacy client, from its `initialize` until its connection ends."""

    def __init__(self, connection: Connection, capabilities: Mapping[str, Any], since: float, seen: Seen) -> None:
        """`since` is when its `initialize` came, by the clock of the event loop."""
        self.capabilities = capabilities
        self.since = since
        self.seen = seen
        self.level: str | None = None
        """From which level on it wants log messages; None while it has not said."""
        self.outbox = Outbox(connection.outbound)
        self.names: Spelling = "plain"
        """The spelling of names that it is shown."""
        self.connection = connection
        self.elicitations: set[str] = set()
        """The URLs it was sent to, by `elicitationId`, and is to be told of when they were visited."""
        self.gone = anyio.Event()
        """Set when the client's connection has ended."""

    def note_elicitation(self, params: object) -> None:
        """Remember that the client is sent to a URL, if these are the params of that."""
        if isinstance(params, Mapping) and isinstance(elicitation := params.get("elicitationId"), str):
            self.elicitations.add(elicitation)

    def wants(self, level: object) -> bool:
        """Whether it is to get a log message of this level. What it has not said is left to the backend."""
        return self.level is None or level not in LEVELS or LEVELS.index(str(level)) >= LEVELS.index(self.level)


@dataclass(frozen=True, eq=False)
class Client:
    """Who sent a request, and how it is reached while that is in flight.

    `session` is the client's in the legacy era; a modern request stands for itself. `level` is the one a modern
    request asks for, `token` the client's progress token, `names` the spelling of names that it is shown. `since` is
    when the client was first heard of; `seen` is None where it is not known which lists it has (a modern request over
    HTTP says nothing of earlier ones).
    """

    era: Era
    capabilities: Mapping[str, Any]
    channel: Outbound
    session: Session | None = None
    token: str | int | None = None
    level: str | None = None
    names: Spelling = "plain"
    since: float = 0.0
    seen: Seen | None = None

    @property
    def who(self) -> object:
        """The same for two requests if they are known to be of the same client."""
        return self.session or self

    def wants(self, level: object) -> bool:
        """Whether it is to get a log message of this level."""
        if self.session:
            return self.session.wants(level)
        return self.level in LEVELS and level in LEVELS and LEVELS.index(str(level)) >= LEVELS.index(str(self.level))


class Call:
    """One request of a client in flight at a backend."""

    def __init__(self, client: Client) -> None:
        self.id = f"call-{next(_ids)}"
        """The request's id there, and its progress token."""
        self.client = client
        self.who: object = client.who
        self.outbox = Outbox(client.channel)
        self.clock = anyio.CancelScope()
        """Ends the request when the backend's `timeout` is over."""
        self._asked: set[anyio.CancelScope] = set()
        self._left = inf

    def envelope(self, era: Era) -> dict[str, Any]:
        """What the client said for this hop in `_meta`, for a backend of this era."""
        meta: dict[str, Any] = {}
        if self.client.token is not None:
            meta["progressToken"] = self.id
        if era == "modern" and self.client.session and self.client.session.level:
            meta[LOG_LEVEL_META_KEY] = self.client.session.level
        return meta

    def tell(self, method: str, params: Mapping[str, Any], tasks: TaskGroup) -> None:
        """Have the client told by a task of `tasks`, before it gets the result, if it wants to be."""
        if method == "notifications/progress":
            if self.client.token is not None and self.outbox.channel is not None:
                self.outbox.put(method, {**params, "progressToken": self.client.token}, tasks)
        elif method != LOG or self.client.wants(params.get("level")):
            self.outbox.put(method, params, tasks)

    async def ask(self, method: str, params: Params) -> dict[str, Any]:
        """Ask the client what the backend asks; otherwise as the function `ask`."""
        with self.asking():
            return await ask(self.client.channel, self.client.session, method, params)
        raise MCPError(INVALID_REQUEST, OVER)

    @contextmanager
    def asking(self) -> Generator[None, None, None]:
        """While a person is asked, the backend's time does not run; when the call is over, what is inside is left."""
        if not self._asked:
            self._left = self.clock.deadline - anyio.current_time()
            self.clock.deadline = inf
            self._nobody_asked = anyio.Event()
        with anyio.CancelScope() as question:
            self._asked.add(question)
            try:
                yield
            finally:
                self._asked.remove(question)
                if not self._asked:
                    self.clock.deadline = anyio.current_time() + self._left
                    self._nobody_asked.set()

    async def end(self) -> None:
        """It is answered, or given up: nobody is asked any more, and what there is to tell is told."""
        for question in self._asked:
            question.cancel()
        if self._asked:
            await self._nobody_asked.wait()
        await self.outbox.drain()


async def ask(channel: Outbound, session: Session | None, method: str, params: Params) -> dict[str, Any]:
    """Ask a legacy client what a backend asks, and return its raw answer.

    Raises:
        MCPError: the client's own error; or what a client says to what it cannot answer.
    """
    check(session.capabilities if session else {}, method, params)
    if session:
        session.note_elicitation(params)
    return await channel.send_raw_request(method, params, {"timeout": ANSWER_WAIT})


def check(capabilities: Mapping[str, Any], method: str, params: Params) -> None:
    """Raise the error of a client that cannot answer a question, if one with these capabilities cannot.

    Spec: client/elicitation#error-handling (a mode that was not declared), JSON-RPC (an unknown method).
    """
    feature = _QUESTIONS.get(method)
    declared = capabilities.get(feature) if feature else None
    if not isinstance(declared, Mapping):
        raise MCPError(METHOD_NOT_FOUND, f"The client did not declare that it can answer {method}")
    params = params or {}
    missing = None
    if feature == "elicitation":
        mode = params.get("mode", "form")
        # No mode declared at all means forms (spec, client/elicitation#capabilities).
        missing = None if isinstance(mode, str) and mode in (declared or {"form": {}}) else mode
    elif feature == "sampling" and ("tools" in params or "toolChoice" in params):
        missing = None if "tools" in declared else "tools"
    if missing is not None:
        raise MCPError(INVALID_PARAMS, f"The client did not declare {feature}.{missing}")
