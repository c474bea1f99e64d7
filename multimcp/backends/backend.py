"""One backend: its connections by era and client, and what it offers.

Rules:
- Over stdio the first connection is opened with `initialize`, which every server but a modern-only one answers; over
  HTTP, where nothing has to be started, the modern era is tried first, as the specification asks.
- The connection in the other era is opened when the first client of that era asks for anything. Over stdio it has a
  process of its own, so that a server which chokes on `server/discover` chokes there.
- The backend lives and dies with the connection that was opened first. It is opened again, with backoff, for as long as
  the backend is wanted. What was offered stays offered meanwhile; subscriptions and the log level are restored. A call
  in flight fails with an error that names the backend; it is never sent twice.
- With `"scope": "session"` each legacy client that calls gets a connection of its own, which ends with the client.
- `_key` is the one rule for which connection serves a client.
- A server whose configuration has variables that are not set is never started: it has failed until that changes.
- One log line per change of state, and a short one for each attempt that fails as the last one did. What a server says
  on stderr is logged under its name. No secret is in a log line or in `error`.
"""

import logging
import math
import os
import random
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from multimcp.errors import BackendError, ChainError, Fault, backend_failure, describe, unwrap
from multimcp.protocol.bridge import Converse, HeldCalls
from multimcp.protocol.calls import Call, Clients, Listener, Session, most_verbose
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.greeting import WAYS, Transport, Unreachable, Way, leads_on
from multimcp.protocol.lifecycle import BACKOFF, Happening, Lifecycle, State
from multimcp.protocol.link import Doubt, Event, Excess, Link, ListsChanged, Lost, Noise, Said, Updated
from multimcp.protocol.message import REQUEST_TIMEOUT, Era, Fields, pack, text
from multimcp.protocol.offer import KINDS, Offer
from multimcp.protocol.stderr import Stderr, last_words
from multimcp.protocol.watching import Watcher, Watchers, to_settle

from . import launch
from .connection import (
    CLOCK,
    ERA_PROBE,
    IMPLEMENTATION,
    LOST,
    Attempt,
    Connection,
    Context,
    open_connection,
)

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 60.0
"""Seconds a backend has from being started to having told its lists: a first `npx` downloads before it starts."""

ERA_RETRY = 60.0
"""Seconds before a backend that was not to be reached in an era is tried in it again."""

LIST_PAUSE = 0.2
"""Seconds between two readings of the lists of a backend that keeps changing them."""

ECHO = 0.02
"""A list_changed this soon, in seconds, after we read the lists was probably caused by that; it is not forwarded."""

FRESH = 2.0
"""Seconds after which the lists of a backend that does not announce changes are read again when asked for."""

OUTAGE_WAIT = 5.0
"""Seconds after a connection was lost in which a call waits for the next one."""

SETTLE_TIMEOUT = 10.0
"""Seconds a backend has to subscribe to a resource, or to unsubscribe."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the connections of a backend have to end politely, before it is ended."""

EXCESS_PAUSE = 60.0
"""Seconds before a server that goes over a bound again has another line for that bound."""

Key = Era | Session
"""A connection of a backend: in an era, for all clients; or for one legacy client alone."""


@dataclass
class _Opening:
    """A connection that is being opened, or why there is none, when it is `over`."""

    over: anyio.Event = field(default_factory=anyio.Event)
    connection: Connection | None = None
    problem: str = LOST


class Backend:
    """One MCP server behind the proxy, named by its key in `mcpServers`.

    `run` keeps it connected until `stop`. `offers` is what it offers, by connection; it changes only together with a
    call of `on_change`.
    """

    def __init__(
        self, name: str, config: ServerConfig, on_change: Callable[[], None], clients: Clients, chain: Chain
    ) -> None:
        now = CLOCK.now()
        hidden = launch.secrets(os.environ)
        self.stderr = Stderr(
            lambda said: config.redact(said, hidden), lambda line: logger.info("%s: stderr: %s", name, line), CLOCK.now
        )
        self.name = name
        self.config = config
        self.since = datetime.now(UTC)
        self.offers: dict[Key, Offer] = {}
        self.settled = anyio.Event()
        """Set when the first attempt to connect has ended, well or badly."""
        state: State = "disabled" if config.disabled else "failed" if config.unset else "starting"
        self._life = Lifecycle(state, config.unset, up_at=now, down_at=now)
        if self.is_idle:
            self.settled.set()
        self._reported = ""
        self._problem: str | None = None
        self._on_change = on_change
        self._clients = clients
        self._context = Context(name, config, clients, chain, self.stderr, self._hear)
        self._connections: dict[Key, Connection] = {}
        self._transport: Transport = config.transport
        """How the backend is reached: what the first connection found out."""
        self._opening: dict[Key, _Opening] = {}
        self._not_before: dict[Era, float] = {}
        """When an era in which the backend was not reached may be tried again; never where it does not speak it."""
        self._spoken: set[Era] = set()
        self._watchers = Watchers()
        self._settling = anyio.Lock()
        self._held = HeldCalls(CLOCK, partial(secrets.token_urlsafe, 32), IMPLEMENTATION)
        self._up = anyio.Event()
        self._group: TaskGroup | None = None
        self._problems: dict[str, None] = {}
        self._warned: set[type[Event]] = set()
        self._excess: dict[str, float] = {}
        self._held_up = 0
        """Calls that wait for a connection."""
        self._outdated: set[Link] = set()
        self._list_changed = anyio.Event()
        self._is_reading = False
        self._heard: set[tuple[Key, str]] = set()
        self._announced: set[tuple[Key, str]] = set()
        self._stopping = anyio.Event()
        self._stopped = anyio.Event()

    # What is known of it

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._life.state

    @property
    def error(self) -> str | None:
        """What is wrong with it, if something is."""
        return self._life.error if self.state != "ready" else self._problem

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

    def offer_key(self, era: Era, session: Session | None = None) -> Key | None:
        """The key in `offers` of what a client is offered; None while nothing is known."""
        keys: tuple[Key | None, ...] = (session, era, *self.offers)
        return next((key for key in keys if key in self.offers), None)

    def take_announced(self) -> set[tuple[Key, str]]:
        """(key of `offers`, capability) of every list_changed received and read since: it is forwarded even if the list
        is the same again."""
        announced, self._announced = self._announced, set()
        return announced

    def take_over(self, other: "Backend") -> None:
        """Take another one's place: who watches it goes on, and what it offers is offered until this one is up."""
        self._watchers = other._watchers
        if not self.is_idle:
            self.offers = {key: offer for key, offer in other.offers.items() if not isinstance(key, Session)}

    # Its life

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
                attempt = Attempt(self.stderr)
                try:
                    reason = await self._serve(attempt)
                    leads_back = reason != LOST
                except Exception as exc:
                    reason = self._explain(exc)
                    leads_back = isinstance(unwrap(exc), ChainError)
                if leads_back:
                    self.offers = {}  # what came through ourselves must not stay offered
                self._take_down("failed", reason if leads_back else reason + attempt.last_words)
                pause = self._life.next_pause(random.random())
                self._report(pause)
                with anyio.move_on_after(pause):
                    await self._stopping.wait()
        finally:
            self._connections.clear()
            if not self.is_idle:
                self._note("stopped")
            self._stopped.set()

    async def stop(self) -> None:
        """End the backend; when this returns its processes are gone and its sessions closed."""
        self._stopping.set()
        await self._stopped.wait()

    async def _serve(self, attempt: Attempt) -> str:
        """Connect, and stay until the connection ends or the backend is stopped; returns why it ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._goodbye, group.cancel_scope)
            self._group = group
            connection = await self._open_first(group, attempt)
            try:
                self._register(connection.era, connection)
                self._publish()
                self._note("connected")
                self._up.set()
                group.start_soon(self._follow_lists)
                group.start_soon(self._restore)
                await connection.lost.wait()
                if CLOCK.now() - self._life.up_at > BACKOFF[1]:  # it was up for long: this is a new trouble
                    self._reported = ""
                    self.stderr.forget()
                self._take_down("lost", connection.end_reason)
            finally:
                await connection.close()
            group.cancel_scope.cancel()
        return connection.end_reason

    async def _goodbye(self, scope: anyio.CancelScope) -> None:
        """When the backend is stopped: let its connections end politely, side by side, then end all else."""
        await self._stopping.wait()
        with anyio.move_on_after(CLOSE_TIMEOUT):
            async with anyio.create_task_group() as group:
                for connection in list(self._connections.values()):
                    group.start_soon(connection.close)
        scope.cancel()

    async def _open_first(self, group: TaskGroup, attempt: Attempt) -> Connection:
        """Open the first connection.

        Raises:
            BackendError: the backend's, or its operator's: it cannot be opened.
        """
        try:
            with anyio.fail_after(HANDSHAKE_TIMEOUT):
                return await self._try_ways(group, attempt)
        except TimeoutError:
            raise BackendError(f"did not finish its handshake within {HANDSHAKE_TIMEOUT:g} s") from None

    async def _try_ways(self, group: TaskGroup, attempt: Attempt) -> Connection:
        is_undecided = self.config.transport == "http" and self.config.type is None
        ways = WAYS["a URL" if is_undecided else self.config.transport]
        problem: BackendError | None = None
        for way in ways:
            try:
                connection = await self._open(way, None, group, attempt)
                self._transport = way.transport
                return connection
            except BackendError as exc:
                if way is not ways[-1] or problem is None or way.transport != "sse":
                    problem = exc
                if way.era == "modern":
                    self._not_before["modern"] = math.inf
                if not leads_on(way, exc):
                    break
        assert problem is not None
        raise problem

    async def _open(self, way: Way, owner: Session | None, group: TaskGroup, attempt: Attempt) -> Connection:
        connection = await open_connection(
            self._context, way.era, owner, group, self._reread, attempt, transport=way.transport
        )
        if owner is None:
            self._spoken.add(connection.era)
        return connection

    # Connections beside the first

    def want(self, era: Era) -> anyio.Event | None:
        """Open a connection in this era, unless there is one or the backend does not speak it; what to wait for."""
        is_possible = self._up.is_set() and era not in self._connections
        if is_possible and CLOCK.now() >= self._not_before.get(era, 0.0) and self._is_worth(era):
            return self._begin(era).over
        return None

    def _is_worth(self, era: Era) -> bool:
        """Over SSE, and for a server that has refused `initialize`, there is one era only."""
        primary = self.primary
        if primary is None or era == primary.era:
            return False
        return era == "modern" or self.config.transport == "http"

    def _begin(self, key: Key) -> _Opening:
        """Open a connection beside the first one, unless that is being done."""
        if (opening := self._opening.get(key)) is None:
            opening = self._opening[key] = _Opening()
            assert self._group is not None
            self._group.start_soon(self._serve_beside, key, opening)
        return opening

    async def _serve_beside(self, key: Key, opening: _Opening) -> None:
        """Keep a connection in the other era, or one that a client has for itself, until it or the client ends."""
        session = key if isinstance(key, Session) else None
        era: Era | None = None if isinstance(key, Session) else key
        attempt = Attempt(self.stderr)
        try:
            async with anyio.create_task_group() as group:
                if session is not None:
                    session.on_gone.append(group.cancel_scope.cancel)
                with anyio.fail_after(HANDSHAKE_TIMEOUT):
                    connection = await self._open(Way(self._transport, era), session, group, attempt)
                try:
                    opening.connection = connection
                    self._register(key, connection)
                    del self._opening[key]
                    self._publish()
                    opening.over.set()
                    self._spawn(self._restore)
                    await connection.lost.wait()
                finally:
                    if self._connections.pop(key, None) is not None:
                        self._publish()
                        self._spawn(self._restore)
                    await connection.close()
                group.cancel_scope.cancel()
        except Exception as exc:
            opening.problem = self._explain(exc) + attempt.last_words
            logger.debug("%s: a further connection ended: %s", self.name, opening.problem)
            if era is not None:
                # A server that could not be reached, or has spoken this era, has not said that it does not.
                is_undecided = era in self._spoken or isinstance(unwrap(exc), OSError | Unreachable)
                self._not_before[era] = CLOCK.now() + ERA_RETRY if is_undecided else math.inf
        finally:
            # Not before it is known what became of it: else the next call would try the same at once.
            if self._opening.get(key) is opening:
                del self._opening[key]
            opening.over.set()

    def _register(self, key: Key, connection: Connection) -> None:
        self._connections[key] = connection
        if connection.is_lost:  # before anybody listened
            connection.lost.set()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._group is not None and not self._group.cancel_scope.cancel_called:
            self._group.start_soon(work)

    # Calls

    def _key(self, era: Era, session: Session | None) -> Key:
        """Which connection serves a client: its own, one in its era, or else the first."""
        if session is not None and self.config.scope == "session":
            return session
        primary = self.primary
        return era if era in self._connections or primary is None else primary.era

    def serving(self, era: Era, session: Session | None) -> Connection | None:
        """The connection, if it is there, by which a client is served."""
        return self._connections.get(self._key(era, session))

    def request(self, call: Call, params: Fields, meta: Fields) -> Coroutine[Any, Any, None] | None:
        """Make a client's request, on a connection of the client's era where the backend speaks it.

        Returns:
            None if it is on its way, or answered; else what has to be awaited for that.

        Raises:
            Fault: the client's: it continues a call that is not there.
        """
        if call.era == "modern" and "requestState" in params and self._held.resume(call, params):
            return None
        connection = self.serving(call.era, call.session) if self._up.is_set() else None
        is_missing = connection is None or (connection.era != call.era and self.want(call.era) is not None)
        if self._in_flight(connection) >= self._clients.limits.server_calls:
            problem = f"has {self._clients.limits.server_calls:,} calls in flight already (--max-server-calls)"
            self._note_excess(problem)
            raise backend_failure(self.name, problem)
        if connection is None or is_missing or connection.wants_level(self._level(connection, call.level)):
            return self._request_later(call, params, meta)
        self._send(connection, call, params, meta)
        return None

    def _in_flight(self, connection: Connection | None) -> int:
        """How many calls the server has: on all connections, or on that of a client which has a server for itself."""
        if connection is None or self.config.scope == "session":
            return self._held_up + (len(connection.link.pending) if connection is not None else 0)
        return self._held_up + sum(len(each.link.pending) for each in self._connections.values())

    async def _request_later(self, call: Call, params: Fields, meta: Fields) -> None:
        self._held_up += 1
        try:
            connection = await self._connection(call)
            if (level := self._level(connection, call.level)) is not None:
                await connection.set_level(level)
            if not call.is_over:
                self._send(connection, call, params, meta)
        except Fault as fault:
            call.fail(fault)
        finally:
            self._held_up -= 1

    def _send(self, connection: Connection, call: Call, params: Fields, meta: Fields) -> None:
        if call.era == connection.era:
            connection.link.request(call, params, meta)
        elif call.era == "legacy":
            Converse(call, connection.link, params, meta, CLOCK)
            connection.link.request(call, params, meta)
        else:
            self._held.request(call, connection.link, params, meta)

    def notify(self, era: Era, session: Session | None, method: str, params: Fields) -> None:
        """Pass on a client's notification; to a backend that is not connected it is lost."""
        connection = self.serving(era, session)
        if connection is not None and connection.era == era:
            connection.link.notify(method, params)

    async def _connection(self, call: Call | Watcher) -> Connection:
        """The connection for a client; waits for one that is being opened.

        Raises:
            Fault: there is none.
        """
        era, session = _client(call)
        if not self._up.is_set():
            with anyio.move_on_after(max(self._life.down_at + OUTAGE_WAIT - CLOCK.now(), 0.0)):
                await self._up.wait()
        if self._up.is_set() and session is not None and self.config.scope == "session":
            return self._connections.get(session) or await self._open_own(session)
        if (opening := self.want(era)) is not None:
            with anyio.move_on_after(ERA_PROBE):
                await opening.wait()
        connection = self.serving(era, session) if self._up.is_set() else None
        if connection is None:
            raise backend_failure(self.name, f"is not connected: {self.error or 'it is being started'}")
        return connection

    async def _open_own(self, session: Session) -> Connection:
        opening = self._begin(session)
        await opening.over.wait()
        if opening.connection is None:
            raise backend_failure(self.name, f"has no connection for this session: {opening.problem}")
        return opening.connection

    # Log levels and subscriptions

    async def set_level(self) -> None:
        """Have the log messages sent that the audience wants by now."""
        async with anyio.create_task_group() as group:
            for connection in list(self._connections.values()):
                if (level := self._level(connection)) is not None:
                    group.start_soon(connection.set_level, level)

    def _level(self, connection: Connection, asked: str | None = None) -> str | None:
        """The level of log messages that a connection has to have, also for a request that `asked` for one."""
        if connection.link.owner is not None:
            return connection.link.owner.level
        if asked is None:
            return self._clients.level
        return most_verbose((self._clients.level, asked))

    async def watch(self, watcher: Watcher, uri: str) -> None:
        """Have a client told of updates of a resource.

        Raises:
            Fault: the backend's: it does not tell of them; or it is not connected.
        """
        self._watchers.add(uri, watcher)
        try:
            await self._settle(await self._connection(watcher), uri)
        except BaseException:  # a client that leaves meanwhile, too
            self.unwatch(watcher.who, uri)
            raise

    def unwatch(self, who: Session | Listener, uri: str | None = None) -> None:
        """Have a client told no more of updates of a resource, or of any. Does not wait for the backend."""
        self._watchers.remove(who, uri)
        if self._up.is_set():
            self._spawn(self._restore)

    def _is_served(self, connection: Connection, watcher: Watcher) -> bool:
        return self.serving(*_client(watcher)) is connection

    async def _restore(self) -> None:
        """After a connection or a client came or went: subscribe, unsubscribe, set the level."""
        await self.set_level()
        async with anyio.create_task_group() as group:
            for connection in list(self._connections.values()):
                group.start_soon(self._settle_all, connection)

    async def _settle_all(self, connection: Connection) -> None:
        wanted = self._watchers.wanted(partial(self._is_served, connection))
        for uri in [uri for uris in to_settle(wanted, connection.subscribed) for uri in uris]:
            try:
                await self._settle(connection, uri)
            except Fault as fault:
                logger.warning("%s: %s cannot be subscribed to any more: %s", self.name, uri, fault.message)

    async def _settle(self, connection: Connection, uri: str) -> None:
        """Subscribe to a resource on a connection, or unsubscribe, as its watchers want it by now."""
        try:
            with anyio.fail_after(SETTLE_TIMEOUT):
                async with self._settling:
                    is_wanted = uri in self._watchers.wanted(partial(self._is_served, connection))
                    if is_wanted and uri not in connection.subscribed:
                        updated = partial(self._hear, connection.link, Updated({"uri": pack(uri)}))
                        await connection.subscribe(uri, updated)
                    elif not is_wanted and uri in connection.subscribed:
                        await connection.unsubscribe(uri)
        except TimeoutError:
            reason = f"did not subscribe to {uri} within {SETTLE_TIMEOUT:g} s"
            raise backend_failure(self.name, reason, REQUEST_TIMEOUT) from None

    # What comes up from a connection

    def _hear(self, link: Link, event: Event) -> None:
        """Take what a connection brings for no call in particular."""
        match event:
            case ListsChanged(capability):
                self._reread(link)
                if not self._is_reading:
                    self._heard.add((link.owner or link.era, capability))
            case Updated(params):
                connection = self._by_link(link)
                if connection is not None and (uri := text(params.get("uri"))) is not None:
                    self._watchers.updated(params, uri, partial(self._is_served, connection))
            case Said(method, params, data):
                self._clients.broadcast(method, params, data, partial(self._is_audience, link))
            case Noise(said):
                shown = self._redact(said)[:80]
                self._warn_once(event, f"sends what is not MCP (ignored from here on): {shown!r}")
            case Doubt(problem):
                self._warn_once(event, problem)
            case Excess(problem):
                self._note_excess(problem)
            case Lost():
                if (connection := self._by_link(link)) is not None:
                    connection.lost.set()

    def _warn_once(self, event: Event, text: str) -> None:
        """A program that does so usually goes on doing it: the first line says it."""
        if type(event) not in self._warned:
            self._warned.add(type(event))
            logger.warning("%s: %s", self.name, text)

    def _note_excess(self, problem: str) -> None:
        """Log what went over a bound; a server that goes on doing so gets a line a minute."""
        bound = problem.rpartition("(")[2]
        if CLOCK.now() - self._excess.get(bound, -math.inf) > EXCESS_PAUSE:
            self._excess[bound] = CLOCK.now()
            logger.warning("%s: %s", self.name, problem)

    def _redact(self, said: str) -> str:
        return self.config.redact(said)

    def _is_audience(self, link: Link, session: Session) -> bool:
        connection = self.serving("legacy", session)
        return connection is not None and connection.link is link

    def _by_link(self, link: Link) -> Connection | None:
        return next((each for each in self._connections.values() if each.link is link), None)

    # Lists

    def refresh(self, era: Era, session: Session | None) -> None:
        """Have a client's lists read again if they may have changed unnoticed. Does not wait for that."""
        own = self._connections.get(session) if session is not None else None
        connection = own or self._connections.get(era) or self.primary
        if connection is not None and connection.age > FRESH:
            self._reread(connection.link)

    def _reread(self, link: Link) -> None:
        self._outdated.add(link)
        self._list_changed.set()

    async def _follow_lists(self) -> None:
        """Read the lists again when the backend says that they changed; several words while reading are one."""
        while True:
            await self._list_changed.wait()
            self._list_changed, self._is_reading = anyio.Event(), True
            heard, self._heard = self._heard, set()
            outdated, self._outdated = self._outdated, set()
            for link in outdated:
                if (connection := self._by_link(link)) is not None:
                    with suppress(BackendError):  # it is lost, which is told elsewhere
                        await connection.read_offer()
            self._announced |= heard
            self._publish()
            await anyio.sleep(ECHO)
            self._is_reading = False
            await anyio.sleep(LIST_PAUSE)

    def _publish(self) -> None:
        # While there is no connection, what was offered stays offered.
        before: dict[Key, Offer] = {key: offer for key, offer in self.offers.items() if not isinstance(key, Session)}
        self.offers = {key: each.offer for key, each in self._connections.items()} or before
        problems = dict.fromkeys(self._redact(said) for offer in self.offers.values() for said in offer.problems)
        for problem in problems.keys() - self._problems.keys():
            logger.warning("%s: %s", self.name, problem)
        self._problems = problems
        self._problem = "; ".join(problems) or None
        self._on_change()

    # State

    def _take_down(self, happening: Happening, reason: str) -> None:
        """From now on calls wait for the next connection."""
        if self._up.is_set():
            self._up = anyio.Event()
        self._connections.clear()
        self._not_before.clear()  # what comes next may be another program
        if not self._stopping.is_set():
            self._note(happening, reason)

    def _note(self, happening: Happening, error: str | None = None) -> None:
        if self._life.on(happening, CLOCK.now(), error):
            self.since = datetime.now(UTC)
            if self.state != "failed":  # which is logged when the reason is known (`_report`)
                level = logging.DEBUG if self.state == "stopped" else logging.INFO
                logger.log(level, "%s: %s", self.name, self._news())
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
        if self.state == "ready" and (primary := self.primary) is not None:
            numbers = {kind.noun: len(primary.offer.entries(kind)) for kind in KINDS}
            counts = ", ".join(f"{n} {noun}{'s' * (n != 1)}" for noun, n in numbers.items() if n)
            return f"ready ({self.config.transport}, {primary.offer.protocol_version}): {counts or 'nothing'} offered"
        return self.state

    def _explain(self, exc: Exception) -> str:
        return self._redact(describe(exc))


def _client(call: Call | Watcher) -> tuple[Era, Session | None]:
    """Who asks: the era and, in the legacy one, the session."""
    if isinstance(call, Call):
        return call.era, call.session
    return ("legacy", call.session) if call.session is not None else ("modern", None)
