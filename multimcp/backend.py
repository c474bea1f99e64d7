"""One backend: its connections by era and client, and what it offers.

Rules:
- The first connection is opened with `initialize`, which every server but a modern-only one answers. One in the
  modern era is opened beside it when the first modern client calls: a process or session of its own, so that a
  server which chokes on `server/discover` chokes there. No call waits more than `ERA_PROBE` seconds for that.
- With `"scope": "session"` each legacy client that calls gets a connection of its own, which ends with the client.
- A connection that ends is opened again, with backoff, for as long as the backend is wanted. What was offered stays
  offered meanwhile; subscriptions and the log level are restored. A call in flight fails with an error that names the
  backend; it is never sent twice.
- A server whose configuration has variables that are not set is never started: it has failed until that changes.
- One log line per change of state, and a short one for each attempt that fails as the last one did. What a server says
  on stderr is logged under its name. No secret is in a log line or in `error`.
"""

import logging
import math
import os
import random
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import anyio
import httpx2
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp_types import INVALID_PARAMS, REQUEST_TIMEOUT

from .bridge import Held, converse
from .calls import LEVELS, UPDATED, Call, Client, Params, Session
from .chain import Chain
from .config import ServerConfig
from .connection import CLOSE_TIMEOUT, ERA_PROBE, LIST_CHANGED, LOST, MISSED, Connection
from .errors import BackendError, backend_failure, describe, unwrap
from .launch import secrets
from .offer import KINDS, Era, Offer
from .relay import Relay
from .remote import http_status, remedy
from .stderr import Stderr, last_words

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "failed", "disabled", "stopped"]

HANDSHAKE_TIMEOUT = 60.0
"""Seconds a backend has from being started to having told its lists: a first `npx` downloads before it starts."""

ERA_RETRY = 60.0
"""Seconds before a backend that was not to be reached in the modern era is tried in it again."""

LIST_PAUSE = 0.2
"""Seconds between two readings of the lists of a backend that keeps changing them."""

ECHO = 0.02
"""Seconds after a reading in which a word of changed lists may well be an answer to it."""

FRESH = 2.0
"""Seconds after which the lists of a backend that does not tell of changes are read again when asked for."""

OUTAGE_WAIT = 5.0
"""Seconds after a connection was lost in which a call waits for the next one."""

SETTLE_TIMEOUT = 10.0
"""Seconds a backend has to subscribe to a resource, or to unsubscribe."""

BACKOFF = (0.5, 30.0)
"""Seconds before the first and between the last attempts to connect again."""


@dataclass(frozen=True)
class _Watcher:
    """Who wants to know of updates of a resource, and how its URI is spelled there."""

    era: Era
    session: Session | None
    public: str


@dataclass
class _Opening:
    """A connection that is being opened, or why there is none, when it is `over`."""

    over: anyio.Event = field(default_factory=anyio.Event)
    connection: Connection | None = None
    problem: str = LOST


class Backend:
    """One MCP server behind the proxy, named by its key in `mcpServers`.

    `run` keeps it connected until `stop`. `offers` is what it offers, by the eras it is connected in and by the clients
    that have a connection of their own; it changes only together with a call of `on_change`.
    """

    def __init__(
        self, name: str, config: ServerConfig, on_change: Callable[[], None], relay: Relay, chain: Chain
    ) -> None:
        self.name = name
        self.config = config
        self.state: State = "disabled" if config.disabled else "failed" if config.unset else "starting"
        self.error: str | None = config.unset
        self.since = datetime.now(UTC)
        self.offers: dict[Era | Session, Offer] = {}
        self.settled = anyio.Event()
        """Set when the first attempt to connect has ended, well or badly."""
        if self.is_idle:
            self.settled.set()
        hidden = secrets(os.environ)
        self.stderr = Stderr(
            lambda text: config.redact(text, hidden), lambda line: logger.info("%s: stderr: %s", name, line)
        )
        self._reported = ""
        self._on_change = on_change
        self._relay = relay
        self._chain = chain
        self._connections: dict[Era | Session, Connection] = {}
        self._opening: dict[Era | Session, _Opening] = {}
        self._watchers: dict[str, dict[object, _Watcher]] = {}
        self._settling = anyio.Lock()
        self._held: dict[str, Held] = {}
        self._up = anyio.Event()
        self._up_at = self._down_at = anyio.current_time()
        self._delay = 2 * BACKOFF[0]
        self._problems: dict[str, None] = {}
        self._outdated: set[Connection] = set()
        self._list_changed = anyio.Event()
        self._reading = False
        self._heard: set[tuple[Era | Session, str]] = set()
        self.announced: set[tuple[Era | Session, str]] = set()
        """The lists, by key of `offers` and capability, whose changes were told, and have been read since. For whoever
        tells clients to clear: the backend has a reason to say so, even if a list is the same again."""
        self._speaks_modern = False
        self._no_modern_before = 0.0
        self._stopping = anyio.Event()
        self._stopped = anyio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether this server is never started with the configuration that it has."""
        return self.config.disabled or self.config.unset is not None

    @property
    def last_words(self) -> str:
        """What a server that is still being started said last, for the end of a sentence."""
        words = last_words(self.stderr.lines)
        return f"; its last words: {words}" if words else ""

    @property
    def behind(self) -> list[Mapping[str, int]]:
        """Which Multi-MCPs are behind it, by distance, for each of its connections."""
        return [connection.behind for connection in self._connections.values()]

    @property
    def primary(self) -> Connection | None:
        """The connection opened first, which the backend lives and dies with."""
        return next(iter(self._connections.values()), None)

    def offered(self, era: Era, session: Session | None = None) -> Era | Session | None:
        """The key in `offers` of what a client is offered; None while nothing is known."""
        keys = (session, era, *self.offers)
        return next((key for key in keys if key in self.offers), None)

    def succeed(self, other: "Backend") -> None:
        """Take the place of another one: who watches it goes on, and what it offers is offered until this one is up."""
        self._watchers = other._watchers
        if not self.is_idle:
            self.offers = {key: offer for key, offer in other.offers.items() if not isinstance(key, Session)}

    async def run(self, last: "Backend | None" = None) -> None:
        """Keep the backend connected until it is stopped or the task is cancelled. Raises nothing.

        It starts when nothing is left of the `last` one of its name. One that is never started is over then.
        """
        try:
            if last:
                await last.stop()
            if self.config.unset and not self.config.disabled:
                logger.warning("%s: failed: %s; not tried until its configuration changes", self.name, self.error)
            while not (self.is_idle or self._stopping.is_set()):
                connection = self._connect()
                try:
                    await self._serve(connection)
                    reason = connection.end_reason
                except Exception as exc:
                    reason = self._explain(exc)
                if connection.end_reason != LOST:
                    self.offers = {}  # what came through ourselves must not stay offered
                self._take_down(reason + connection.last_words)
                pause = random.uniform(BACKOFF[0], self._delay)
                self._report(pause)
                with anyio.move_on_after(pause):
                    await self._stopping.wait()
                self._delay = min(self._delay * 2, BACKOFF[1])
        finally:
            self._connections.clear()
            if not self.is_idle:
                self._set_state("stopped")
            self._stopped.set()

    async def stop(self) -> None:
        """End the backend; when this returns its processes are gone and its sessions closed."""
        self._stopping.set()
        await self._stopped.wait()

    async def request(self, client: Client, method: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], Era]:
        """Make a client's request, on a connection of the client's era where the backend speaks it.

        Returns:
            the raw result and the era it is in.

        Raises:
            MCPError: as `Connection.request`; or one naming the backend when it is not connected; the client's, when
                it continues a call that is not there.
        """
        state = params.get("requestState")
        if isinstance(state, str) and (held := self._held.get(state)):
            held.check(method, params)
            del self._held[state]
            return await self._continue(held, client, params), "legacy"
        connection = await self._connection(client)
        if level := self._level(connection, client.level):
            await connection.set_level(level)
        if client.era == connection.era:
            return await connection.request(method, params, Call(client)), connection.era
        if client.era == "legacy":
            result = await converse(client, params, lambda params: connection.request(method, params, Call(client)))
            return result, "modern"
        if state is not None:
            raise MCPError(INVALID_PARAMS, "This requestState is not known, or not any more: begin again without it")
        held = Held(client, method, params)
        self._group.start_soon(held.run, partial(connection.request, method, params, held))
        return await self._continue(held, client, params), "legacy"

    async def _continue(self, held: Held, client: Client, params: Mapping[str, Any]) -> dict[str, Any]:
        result = await held.turn(client, params)
        if not held.is_over:
            self._held = {state: other for state, other in self._held.items() if not other.is_forgotten}
            self._held[held.state] = held
        return result

    async def notify(self, client: Client, method: str, params: Params) -> None:
        """Pass on a client's notification; to a backend that is not connected it is lost."""
        connection = self._serving(client.era, client.session)
        if connection is not None and connection.era == client.era:
            await connection.notify(method, params)

    async def watch(self, client: Client, uri: str, public: str) -> None:
        """Have a client told of updates of a resource that it calls `public`.

        Raises:
            MCPError: the backend's: it does not tell of them; or it is not connected.
        """
        self._watchers.setdefault(uri, {})[client.who] = _Watcher(client.era, client.session, public)
        try:
            await self._settle(await self._connection(client), uri)
        except BaseException:  # a client that leaves meanwhile, too
            self.unwatch(client.who, uri)
            raise

    def unwatch(self, who: object, uri: str | None = None) -> None:
        """Have a client told no more of updates of a resource, or of any. Does not wait for the backend."""
        left = [uri] if uri is not None else list(self._watchers)
        for watched in left:
            watchers = self._watchers.get(watched, {})
            if watchers.pop(who, None) and not watchers:
                del self._watchers[watched]
        if self._up.is_set():
            self._group.start_soon(self._restore, left)

    async def set_level(self) -> None:
        """Have the log messages sent that the audience wants by now."""
        async with anyio.create_task_group() as group:
            for connection in list(self._connections.values()):
                if level := self._level(connection):
                    group.start_soon(connection.set_level, level)

    def refresh(self, era: Era, session: Session | None) -> None:
        """Have a client's lists read again if they may have changed unnoticed. Does not wait for that."""
        keys: list[Era | Session] = [era] if session is None else [session, era]
        connection = next((self._connections[key] for key in keys if key in self._connections), self.primary)
        if connection is not None and connection.age > FRESH:
            self._reread(connection)

    def _reread(self, connection: Connection) -> None:
        self._outdated.add(connection)
        self._list_changed.set()

    def _serving(self, era: Era, session: Session | None) -> Connection | None:
        """The connection, if it is there, by which clients of this era, or this one alone, are served."""
        if session is not None and self.config.scope == "session":
            return self._connections.get(session)
        return self._connections.get(era) or self.primary

    def _level(self, connection: Connection, asked: str | None = None) -> str | None:
        """The level of log messages that a connection has to have, also for a request that `asked` for one."""
        if connection.owner:
            return connection.owner.level
        return min((level for level in (self._relay.level, asked) if level), key=LEVELS.index, default=None)

    async def _connection(self, client: Client) -> Connection:
        if not self._up.is_set():
            with anyio.move_on_after(self._down_at + OUTAGE_WAIT - anyio.current_time()):
                await self._up.wait()
        if self._up.is_set() and client.session is not None and self.config.scope == "session":
            return self._connections.get(client.session) or await self._open_own(client.session)
        is_missing = self._up.is_set() and "modern" not in self._connections
        if client.era == "modern" and is_missing and anyio.current_time() >= self._no_modern_before:
            with anyio.move_on_after(ERA_PROBE):
                await self._begin("modern").over.wait()
        connection = self._serving(client.era, client.session)
        if connection is None:
            raise backend_failure(self.name, f"is not connected: {self.error or 'it is being started'}")
        return connection

    async def _open_own(self, session: Session) -> Connection:
        opening = self._begin(session)
        await opening.over.wait()
        if opening.connection is None:
            raise backend_failure(self.name, f"has no connection for this session: {opening.problem}")
        return opening.connection

    def _begin(self, key: Era | Session) -> _Opening:
        """Open a connection beside the first one, unless that is being done."""
        if (opening := self._opening.get(key)) is None:
            opening = self._opening[key] = _Opening()
            self._group.start_soon(self._serve_beside, key, opening)
        return opening

    async def _serve_beside(self, key: Era | Session, opening: _Opening) -> None:
        """Keep a connection in the other era, or one that a client has for itself, until it or the client ends."""
        session = key if isinstance(key, Session) else None
        connection = self._connect(session)
        try:
            async with anyio.create_task_group() as group:
                if session:
                    group.start_soon(self._end_with, session, connection, group.cancel_scope)
                try:
                    await _open(connection, group, None if session else "modern")
                finally:
                    del self._opening[key]
                self._connections[key] = opening.connection = connection
                self._speaks_modern |= session is None
                self._publish()
                opening.over.set()
                self._group.start_soon(self._restore)
                try:
                    await connection.lost.wait()
                finally:
                    if self._connections.pop(key, None):
                        self._publish()
                        self._group.start_soon(self._restore)
                await connection.ended.wait()
                group.cancel_scope.cancel()
        except Exception as exc:
            opening.problem = self._explain(exc) + connection.last_words
            logger.debug("%s: a further connection ended: %s", self.name, opening.problem)
            if session is None:
                # A server that could not be reached, or has spoken this era, has not said that it does not.
                undecided = self._speaks_modern or isinstance(unwrap(exc), OSError | httpx2.TransportError)
                self._no_modern_before = anyio.current_time() + ERA_RETRY if undecided else math.inf
        finally:
            opening.over.set()

    async def _end_with(self, session: Session, connection: Connection, scope: anyio.CancelScope) -> None:
        await session.gone.wait()
        if self._connections.get(session) is connection:
            connection.close()
        else:
            scope.cancel()

    def _connect(self, owner: Session | None = None) -> Connection:
        return Connection(self.name, self.config, self._relay, self._hear, self.stderr, self._chain, owner)

    async def _serve(self, connection: Connection) -> None:
        """Open the first connection, and stay until it ends or the backend is stopped."""
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._goodbye, self._group.cancel_scope)
            await _open(connection, self._group)
            self._connections[connection.era] = connection
            self._no_modern_before = 0.0  # it may be another than the one that did not speak it
            self._publish()
            self._set_state("ready")
            self._up_at = anyio.current_time()
            self._up.set()
            self._group.start_soon(self._follow_lists)
            self._group.start_soon(self._restore)
            await connection.lost.wait()
            if anyio.current_time() - self._up_at > BACKOFF[1]:
                # It was up for long: this is a new trouble.
                self._delay, self._reported = 2 * BACKOFF[0], ""
                self.stderr.forget()
            self._take_down(connection.end_reason)
            await connection.ended.wait()  # its process is gone
            self._group.cancel_scope.cancel()

    async def _goodbye(self, scope: anyio.CancelScope) -> None:
        """When the backend is stopped: let its connections end politely, then end them."""
        await self._stopping.wait()
        connections = list(self._connections.values())
        for connection in connections:
            connection.close()
        with anyio.move_on_after(CLOSE_TIMEOUT):
            for connection in connections:
                await connection.ended.wait()
        scope.cancel()

    def _hear(self, connection: Connection, method: str, params: dict[str, Any]) -> None:
        """What a connection brings for no call in particular."""
        if method in LIST_CHANGED or method == MISSED:
            self._reread(connection)
            if method != MISSED and not self._reading:
                self._heard.add((connection.owner or connection.era, method.split("/")[1]))
        elif method == UPDATED:
            uri = params.get("uri")
            told = {
                (watcher.session, watcher.public + (uri[len(watched) :] if watcher.session else ""))
                for watched, watchers in self._watchers.items()
                # It may be a part of what was subscribed to (spec, resources/updated).
                if isinstance(uri, str) and (uri == watched or uri.startswith(f"{watched.rstrip('/')}/"))
                for watcher in watchers.values()
                if self._serving(watcher.era, watcher.session) is connection
            }
            self._relay.updated(params, told)
        else:
            self._relay.broadcast(method, params, lambda session: self._serving("legacy", session) is connection)

    async def _restore(self, left: Collection[str] = ()) -> None:
        """After a connection or a client came or went: subscribe, unsubscribe, set the level."""
        await self.set_level()
        for connection in list(self._connections.values()):
            for uri in {*left, *self._watchers, *connection.subscribed}:
                try:
                    await self._settle(connection, uri)
                except MCPError as exc:
                    logger.warning("%s: %s cannot be subscribed to any more: %s", self.name, uri, exc.error.message)

    async def _settle(self, connection: Connection, uri: str) -> None:
        """Subscribe to a resource on a connection, or unsubscribe, as its watchers want it by now."""
        try:
            with anyio.fail_after(SETTLE_TIMEOUT):
                async with self._settling:
                    watchers = self._watchers.get(uri, {}).values()
                    wanted = any(self._serving(watcher.era, watcher.session) is connection for watcher in watchers)
                    if wanted and uri not in connection.subscribed:
                        await connection.subscribe(uri)
                    elif not wanted and uri in connection.subscribed:
                        await connection.unsubscribe(uri)
        except TimeoutError:
            reason = f"did not subscribe to {uri} within {SETTLE_TIMEOUT:g} s"
            raise backend_failure(self.name, reason, REQUEST_TIMEOUT) from None

    async def _follow_lists(self) -> None:
        """Read the lists again when the backend says that they changed; several words while reading are one."""
        while True:
            await self._list_changed.wait()
            self._list_changed, self._reading = anyio.Event(), True
            heard, self._heard = self._heard, set()
            outdated, self._outdated = self._outdated, set()
            for connection in outdated:
                with suppress(BackendError):  # it ends, which is told elsewhere
                    await connection.read_offer()
            self.announced |= heard
            self._publish()
            await anyio.sleep(ECHO)
            self._reading = False
            await anyio.sleep(LIST_PAUSE)

    def _publish(self) -> None:
        # While there is no connection, what was offered stays offered.
        before: dict[Era | Session, Offer] = {
            key: offer for key, offer in self.offers.items() if not isinstance(key, Session)
        }
        self.offers = {key: each.offer for key, each in self._connections.items()} or before
        problems = dict.fromkeys(self.config.redact(text) for offer in self.offers.values() for text in offer.problems)
        for problem in problems.keys() - self._problems.keys():
            logger.warning("%s: %s", self.name, problem)
        self._problems = problems
        if self._connections:  # else it says why there is none
            self.error = "; ".join(problems) or None
        self._on_change()

    def _take_down(self, reason: str) -> None:
        """From now on calls wait for the next connection."""
        if self._up.is_set():
            self._up = anyio.Event()
            self._down_at = anyio.current_time()
        self._connections.clear()
        if not self._stopping.is_set():
            self._set_state("failed", reason)

    def _set_state(self, state: State, error: str | None = None) -> None:
        if state != "ready":
            changed = (state, error) != (self.state, self.error)
            self.error = error
        else:
            changed = True
        self.state = state
        if changed:
            self.since = datetime.now(UTC)
            if state != "failed":  # which is said when it is known why (`_report`)
                logger.log(logging.DEBUG if state == "stopped" else logging.INFO, "%s: %s", self.name, self._news())
        self.settled.set()
        self._on_change()

    def _report(self, pause: float) -> None:
        """Log that an attempt has failed, and that the next one is made after `pause` seconds."""
        if self._stopping.is_set() or not self.error:
            return
        reason = re.sub(r"[0-9]+", "0", self.error)  # times and process ids are new each time
        if reason == self._reported:
            logger.info("%s: failed again, in the same way; next try in %.0f s", self.name, max(pause, 1))
        else:
            self._reported = reason
            logger.warning("%s: failed: %s; trying again", self.name, self.error)

    def _news(self) -> str:
        if self.state == "ready" and (primary := self.primary):
            numbers = {kind.noun: len(primary.offer.items(kind)) for kind in KINDS}
            counts = ", ".join(f"{n} {noun}{'s' * (n != 1)}" for noun, n in numbers.items() if n)
            return f"ready ({self.config.transport}, {primary.offer.protocol_version}): {counts or 'nothing'} offered"
        return self.state

    def _explain(self, exc: Exception) -> str:
        cause = unwrap(exc)
        if isinstance(cause, httpx2.HTTPStatusError):
            status = cause.response.status_code
            text = f"{self.config.url} answered {http_status(status)}{remedy(status)}"
        elif isinstance(cause, httpx2.TransportError):
            text = f"{self.config.url} cannot be reached ({describe(cause)}); is it running, and is its URL right?"
        else:
            text = describe(cause)
        return self.config.redact(text)


async def _open(connection: Connection, group: TaskGroup, era: Era | None = None) -> None:
    """Open a connection that runs in `group`.

    Raises:
        BackendError: the backend's: it takes too long; and as `Connection.run`.
    """
    try:
        with anyio.fail_after(HANDSHAKE_TIMEOUT):
            await group.start(connection.run, era)
    except TimeoutError:
        raise BackendError(f"did not finish its handshake within {HANDSHAKE_TIMEOUT:g} s") from None
