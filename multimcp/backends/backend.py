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
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import anyio
from anyio.abc import TaskGroup
from msgspec import Raw

from multimcp.errors import BackendError, ChainError, Fault, backend_failure, describe, printable, unwrap
from multimcp.protocol.bridge import Converse, HeldCalls
from multimcp.protocol.calls import ACKNOWLEDGED, TASKS, Call, Clients, Heard, Listener, Session, most_verbose
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.greeting import WAYS, Transport, Unreachable, Way, leads_on, telling
from multimcp.protocol.lifecycle import Happening, Lifecycle, State, first_state
from multimcp.protocol.limits import LIST_LINES, Allowance
from multimcp.protocol.link import (
    UNREACHED,
    Doubt,
    Event,
    Excess,
    Link,
    Lost,
    Missed,
    Noise,
    Said,
    Unsent,
    Updated,
)
from multimcp.protocol.lists import MAX_PAGES
from multimcp.protocol.message import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    Era,
    Fields,
    fields,
    pack,
    text,
    value,
)
from multimcp.protocol.offer import KINDS, Kind, Offer
from multimcp.protocol.roster import Key, Roster, serving
from multimcp.protocol.stderr import Stderr, last_words
from multimcp.protocol.tasks import NEWS, OVER
from multimcp.protocol.watching import Watcher, Watchers, to_settle

from . import launch
from .connection import (
    CLOCK,
    ERA_PROBE,
    IMPLEMENTATION,
    LIST_TIMEOUT,
    LISTEN_PAUSE,
    LOST,
    Attempt,
    Connection,
    Context,
    ask,
    open_connection,
)

logger = logging.getLogger(__name__)

STARTUP_TIMEOUT = 60.0
"""Seconds a backend has from being started to having told its lists, unless it is configured: a first `npx` downloads
before it starts."""

OUTAGE_WAIT = 5.0
"""Seconds after a connection was lost in which a call waits for the next one."""

OUTAGES = 3
"""How often a call waits for the next connection, at most, where servers go on dying."""

SETTLE_TIMEOUT = 10.0
"""Seconds a backend has to subscribe to a resource, or to unsubscribe."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the connections of a backend have to end politely, before it is ended."""

LONGEST = 2000
"""Characters of what a server's failure is said to be."""

Followed = dict[str, Callable[[Fields], None]]
"""Tasks, and what takes the news of each."""

EXCESS_PAUSE = 60.0
"""Seconds before a server that goes over a bound again has another line for that bound."""


class Backend:
    """One MCP server behind the proxy, named by its key in `mcpServers`.

    `run` keeps it connected until `stop`. `offers` is what it offers, by connection; it changes only together with a
    call of `on_change`, which comes with all else that somebody may wait for, too.
    """

    def __init__(
        self, name: str, config: ServerConfig, on_change: Callable[[], None], clients: Clients, chain: Chain
    ) -> None:
        now = CLOCK.now()
        hidden = launch.secrets(os.environ)
        self._blank = config.blanker(hidden)
        self.blank = config.blanker(hidden, only_sure=True)
        """Blanks its secrets where more than this server is spoken of."""
        self.stderr = Stderr(self._blank, lambda line: logger.info("%s: stderr: %s", name, line), CLOCK.now)
        self.name = name
        self.config = config
        self.since = datetime.now(UTC)
        self.offers: dict[Key, Offer] = {}
        self._life = Lifecycle(first_state(config.disabled, config.unset), config.unset, up_at=now, down_at=now)
        self._problem: str | None = None
        self._problems: dict[str, None] = {}
        self._on_change = on_change
        self._changed = anyio.Event()
        self._clients = clients
        self._context = Context(name, config, clients, chain, self.stderr, self._hear, self._clean)
        self._transport: Transport = config.transport
        """How the backend is reached: what the first connection found out."""
        self._roster: Roster[Connection] = Roster(config.scope == "session")
        self._watchers = Watchers()
        self._settling = WeakValueDictionary[tuple[Connection, str], anyio.Lock]()
        """What is subscribed to or unsubscribed from now: one after the other for each resource, and side by side."""
        self._held = HeldCalls(CLOCK, partial(secrets.token_urlsafe, 32), IMPLEMENTATION)
        self._group: TaskGroup | None = None
        self._repeats: TaskGroup
        self._warned: dict[object, float] = {}
        self._lines = Allowance(LIST_LINES, now)
        self._held_up = 0
        """Calls that wait for a connection."""
        self._announced: set[tuple[Key, str]] = set()
        self._stopping = anyio.Event()
        self._successor: Backend | None = None
        """The one that has taken its place."""
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
    def _is_gone(self) -> bool:
        """Whether nobody is to wait for it any more."""
        return self._stopping.is_set() or self.is_idle

    @property
    def last_words(self) -> str:
        """What a server that is still being started said last, for the end of a sentence."""
        words = last_words(self.stderr.lines)
        return f"; its last words: {words}" if words else ""

    @property
    def behind(self) -> list[Mapping[str, int]]:
        """Which Multi-MCPs are behind it, by distance, for each of its connections."""
        return [connection.behind for connection in self._roster.connections.values()]

    @property
    def up_at(self) -> float | None:
        """When it became ready; None while it is not."""
        return self._life.up_at if self.state == "ready" else None

    def offer_key(self, era: Era, session: Session | None = None) -> Key | None:
        """The key in `offers` of what a client is offered; None while nothing is known."""
        return serving(self.offers, era, session)

    async def settled(self, seconds: float = math.inf) -> None:
        """Wait until the first attempt to connect has ended, well or badly; at most so long."""
        await self._wait(lambda: self.state != "starting", seconds)

    async def _wait(self, until: Callable[[], bool], seconds: float = math.inf) -> None:
        with anyio.move_on_after(seconds):
            while not until():
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        self._on_change()

    def take_announced(self) -> set[tuple[Key, str]]:
        """(key of `offers`, capability) of every list_changed received and read since: it is forwarded even if the list
        is the same again."""
        announced, self._announced = self._announced, set()
        return announced

    @property
    def _latest(self) -> "Backend":
        """The one that has its place by now: itself, unless it was replaced, once or again and again."""
        latest = self
        while latest._successor is not None:
            latest = latest._successor
        return latest

    def take_over(self, other: "Backend") -> None:
        """Take another one's place: who watches it goes on, calls that are held here may come back, and what it offers
        is offered until this one is up."""
        self._watchers, self._held, other._successor = other._watchers, other._held, self
        if not self.is_idle:
            self.offers = {key: offer for key, offer in other.offers.items() if not isinstance(key, Session)}

    # Its life

    async def run(self, last: "Backend | None" = None) -> None:
        """Keep the backend connected until it is stopped or the task is cancelled. Raises nothing.

        It starts when nothing is left of the `last` one of its name. One that is never started is over then.
        """
        async with anyio.create_task_group() as self._repeats:  # those left go on with the successor, or fail
            try:
                if last:
                    await last.stop()
                if self.config.unset and not self.config.disabled:
                    logger.warning("%s: failed: %s; not tried until its configuration changes", self.name, self.error)
                while not (self.is_idle or self._stopping.is_set()):
                    await self._connect()
            finally:
                self._roster.clear()
                if not self.is_idle:
                    self._note("stopped")
                self._stopped.set()

    async def _connect(self) -> None:
        """Be connected once, if that succeeds, and then wait for the next time."""
        attempt = Attempt(self.stderr)
        try:
            reason = await self._serve(None, self._ways(), attempt)
            leads_back = reason != LOST
        except Exception as exc:
            reason = describe(exc)
            leads_back = isinstance(unwrap(exc), ChainError)
        if leads_back:
            self.offers = {}  # what came through ourselves must not stay offered
        self._take_down("failed", reason if leads_back else self._clean(reason + attempt.last_words))
        pause = self._life.next_pause(random.random())
        self._report(pause)
        with anyio.move_on_after(pause):
            await self._stopping.wait()

    async def stop(self) -> None:
        """End the backend; when this returns its processes are gone and its sessions closed."""
        self._stopping.set()
        self._wake()
        await self._stopped.wait()

    async def _serve(self, key: Key | None, ways: Sequence[Way], attempt: Attempt) -> str:
        """Keep one connection, the first or (with a `key`) one beside it, until it is lost; returns why it ended."""
        async with anyio.create_task_group() as group:
            if key is None:
                self._group = group
                group.start_soon(self._goodbye, group.cancel_scope)
            connection = await self._open(key, ways, group, attempt)
            try:
                self._add(connection.era if key is None else key, connection, is_first=key is None)
                group.start_soon(connection.follow_lists, partial(self._publish, connection))
                self._spawn(self._restore)
                await connection.lost.wait()
            finally:
                self._drop(connection)
                group.cancel_scope.cancel()
                await connection.close()
        return connection.end_reason

    def _add(self, key: Key, connection: Connection, *, is_first: bool) -> None:
        self._roster.add(key, connection.era, connection)
        self._publish()
        if is_first:
            self._note("connected")
        if connection.is_lost:  # before anybody listened
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """A connection is lost, or given up: from now on calls wait for the next one."""
        connection.lost.set()
        if connection is self._roster.first:
            self._take_down("lost", connection.end_reason)
        elif (key := self._roster.key_of(connection)) is not None:
            del self._roster.connections[key]
            self._publish()
            self._spawn(self._restore)

    async def _goodbye(self, scope: anyio.CancelScope) -> None:
        """When the backend is stopped: let its connections end politely, side by side, then end all else."""
        await self._stopping.wait()
        with anyio.move_on_after(CLOSE_TIMEOUT):
            async with anyio.create_task_group() as group:
                for connection in list(self._roster.connections.values()):
                    group.start_soon(connection.close)
        scope.cancel()

    def _ways(self) -> Sequence[Way]:
        is_undecided = self.config.transport == "http" and self.config.type is None
        return WAYS["a URL" if is_undecided else self.config.transport]

    async def _open(self, key: Key | None, ways: Sequence[Way], group: TaskGroup, attempt: Attempt) -> Connection:
        """Open a connection, by the first way that leads there.

        Raises:
            BackendError: the backend's, or its operator's: it cannot be opened.
        """
        owner = key if isinstance(key, Session) else None
        problem: BackendError | None = None
        patience = self.config.startup_timeout or STARTUP_TIMEOUT
        try:
            with anyio.fail_after(patience):
                for way in ways:
                    try:
                        connection = await open_connection(self._context, way, owner, group, attempt)
                    except BackendError as exc:
                        problem = telling(way, problem, exc)
                        if way.era == "modern":
                            self._roster.refused("modern")
                        if not leads_on(way, exc):
                            break
                    else:
                        self._transport = way.transport
                        if way.era is None and connection.era == "modern" and owner is None:
                            self._roster.refused("legacy")
                        return connection
        except TimeoutError:
            late = f'did not finish its handshake within {patience:g} s; give it more with "startupTimeout"'
            raise BackendError(late) from None
        assert problem is not None
        raise problem

    # Connections beside the first

    def want(self, era: Era, session: Session | None = None) -> Key | None:
        """Have the connection opened that a client is to be served by, unless it is there; what is being opened."""
        if self.state != "ready" or self._group is None or (session is not None and session.state == "gone"):
            return None
        key = self._roster.missing(era, session, CLOCK.now())
        if key is not None and not self._roster.is_opening(key):
            attempt = Attempt(self.stderr)
            self._roster.begin(key, attempt)
            self._group.start_soon(self._serve_beside, key, attempt)
        return key

    def _is_decided(self, key: Key) -> bool:
        return self._is_gone or self.state != "ready" or not self._roster.is_opening(key)

    async def _serve_beside(self, key: Key, attempt: Attempt) -> None:
        """Keep a connection in the other era, or one that a client has for itself, until it or the client ends."""
        try:
            if not isinstance(key, Session):
                await self._serve(key, [Way(self._transport, key)], attempt)
                return
            with anyio.CancelScope() as scope, key.while_here(scope.cancel):
                await self._serve(key, [Way(self._transport, None)], attempt)
        except Exception as exc:
            problem = self._clean(describe(exc) + attempt.last_words)
            logger.debug("%s: a further connection ended: %s", self.name, problem)
            self._roster.fail(key, problem, isinstance(unwrap(exc), OSError | Unreachable), CLOCK.now())
        finally:
            # Not before it is known what became of it: else the next call would try the same at once.
            self._roster.end(key, attempt)
            self._wake()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._group is not None and not self._group.cancel_scope.cancel_called:
            self._group.start_soon(work)

    # Calls

    def request(self, call: Call, params: Fields, meta: Fields) -> Coroutine[Any, Any, None] | None:
        """Make a client's request, on a connection of the client's era where the backend speaks it.

        Returns:
            None if it is on its way, or answered; else what has to be awaited for that.

        Raises:
            Fault: the client's: it continues a call that is not there.
        """
        if call.era == "modern" and "requestState" in params and self._held.resume(call, params):
            return None
        connection = self._roster.serving(call.era, call.session)
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
        return self._held_up + sum(len(each.link.pending) for each in self._roster.connections.values())

    async def _request_later(self, call: Call, params: Fields, meta: Fields) -> None:
        self._held_up += 1
        try:
            connection = await self._connection(call)
            if (level := self._level(connection, call.level)) is not None:
                await connection.set_level(level)
            if not call.is_over:
                self._send(connection, call, params, meta)
        except Fault as fault:
            await self._pass_on(call, params, meta, fault)
        finally:
            self._held_up -= 1

    async def _pass_on(self, call: Call, params: Fields, meta: Fields, fault: Fault) -> None:
        """Have a request that waited in vain go on with the successor, if there is one; else it fails."""
        try:
            if self._successor is None:
                raise fault
            if (later := self._successor.request(call, params, meta)) is not None:
                await later
        except Fault as its_fault:
            call.fail(its_fault)

    async def _repeat(self, era: Era, event: Unsent) -> None:
        """Make a request again that was surely not processed, as soon as there is another connection for it, or other
        headers."""
        call = event.call
        self._held_up += 1
        try:
            connection = await self._connection(call)
            if connection.era != era:
                call.fail(backend_failure(self.name, "came back in another era"))
            elif event.refusal is not None and not await self._has_other_headers(connection, event):
                call.finish(event.refusal, era)
            if not call.is_over:
                connection.link.request(call, event.params, event.meta)
        except Fault as fault:
            if self._successor is not None and event.refusal is None:
                await self._successor._repeat(era, event)
            else:
                call.fail(fault)
        except BaseException:
            call.fail(backend_failure(self.name, "was stopped"))
            raise
        finally:
            self._held_up -= 1

    async def _has_other_headers(self, connection: Connection, event: Unsent) -> bool:
        """Read the tools again; returns whether a call now has other headers than those it was refused for."""
        try:
            self._publish(connection, await connection.read_tools())
        except BackendError:
            return False
        return connection.param_headers(event.params) != {
            name: text for name, text in event.sent.items() if name.startswith("Mcp-Param-")
        }

    def _send(self, connection: Connection, call: Call, params: Fields, meta: Fields) -> None:
        if call.era == connection.era:
            connection.link.request(call, params, meta)
            return
        # What makes a task of a call up to 2025-11-25 makes none since; nor could a modern client read that one.
        params = {name: raw for name, raw in params.items() if name != "task"}
        if call.era == "legacy":
            Converse(call, connection.link, params, meta, CLOCK)
            connection.link.request(call, params, meta)
        else:
            self._held.request(call, connection.link, params, meta)

    def notify(self, era: Era, session: Session | None, method: str, params: Fields) -> None:
        """Pass on a client's notification; to a backend that is not connected it is lost."""
        connection = self._roster.serving(era, session)
        if connection is not None and connection.era == era:
            connection.link.notify(method, params)

    async def _connection(self, call: Call | Watcher) -> Connection:
        """The connection for a client; waits for one that is being opened.

        Raises:
            Fault: there is none.
        """
        era, session = _client(call)
        problem: str | None = None
        for _ in range(OUTAGES):
            left = self._life.down_at + OUTAGE_WAIT - CLOCK.now()
            await self._wait(lambda: self._is_gone or self.state == "ready", left)
            if self._is_gone or self.state != "ready":
                break
            if (key := self.want(era, session)) is not None:
                await self._wait(partial(self._is_decided, key), math.inf if isinstance(key, Session) else ERA_PROBE)
                problem = self._roster.problems.get(key)
            if self._is_gone:
                break
            if (connection := self._roster.serving(era, session)) is not None:
                return connection
            if problem is not None and isinstance(key, Session):
                raise backend_failure(self.name, f"has no connection for this session: {problem}")
        reason = "was stopped" if self._is_gone else f"is not connected: {self.error or 'it is being started'}"
        raise backend_failure(self.name, reason)

    # Log levels and subscriptions

    async def set_level(self) -> None:
        """Have the log messages sent that the audience wants by now."""
        async with anyio.create_task_group() as group:
            for connection in list(self._roster.connections.values()):
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
        is_new = self._watchers.add(uri, watcher)
        try:
            await self._settle_for(watcher, uri)
        except BaseException:  # a client that leaves meanwhile, too
            if is_new:  # else it goes on watching, as it did before
                self.unwatch(watcher.who, uri)
            raise

    async def _settle_for(self, watcher: Watcher, uri: str) -> None:
        try:
            await self._settle(await self._connection(watcher), uri)
        except Fault:
            if self._successor is None:
                raise
            await self._successor._settle_for(watcher, uri)

    async def follow_tasks(self, call: Call, tasks: Followed, agreed: Callable[[list[str]], None]) -> None:
        """Have a client told of `tasks`, by their ids here, until all are over or this is cancelled.

        Args:
            call: the client's.
            tasks: takes what is told of each.
            agreed: takes the ids of those that the backend tells of, whenever it has said so.

        Raises:
            Fault: the backend's: it tells of none; it is gone; or it is not connected, and was not before.
        """
        has_agreed = False

        def heard(method: str, params: Fields) -> None:
            nonlocal has_agreed
            task = text(params.get("taskId")) or ""
            if method == ACKNOWLEDGED:
                listed = value(fields(params.get("notifications")).get("taskIds"))
                known = {task for task in listed if isinstance(task, str)} if isinstance(listed, list) else set[str]()
                for lost in tasks.keys() - known:
                    del tasks[lost]
                agreed(list(tasks))
                if has_agreed:  # some news may have been missed
                    latest = self._latest
                    latest._spawn(partial(latest._ask_for, call, list(tasks), heard))
                has_agreed = True
            elif task in tasks:
                tasks[task](params)
                if text(params.get("status")) in OVER:
                    del tasks[task]
            if not tasks:
                scope.cancel()

        with anyio.CancelScope() as scope:
            while True:
                backend = self._latest
                try:
                    await (await backend._connection(call)).listen_to_tasks(tasks, call.capabilities, heard)
                except Fault as fault:
                    is_final = not has_agreed or backend._is_gone or fault.code in (INVALID_PARAMS, METHOD_NOT_FOUND)
                    if is_final and backend is self._latest:  # else the successor may tell of them
                        raise
                await anyio.sleep(LISTEN_PAUSE)

    async def _ask_for(self, call: Call, tasks: Iterable[str], heard: Heard) -> None:
        """Ask how it stands with tasks, for a client that listens to them."""
        with suppress(Fault):
            for task in tasks:
                link, params = (await self._connection(call)).link, {"taskId": pack(task)}
                told = await ask(link, "tasks/get", params, capabilities=call.capabilities)
                told.pop("resultType", None)
                heard(NEWS, told)

    async def tasks_of(self, call: Call) -> list[Raw]:
        """The tasks of 2025-11-25 that a client has begun here, under their public ids, as far as they can be read.

        Raises:
            Fault: the backend's: it is not connected.
        """
        connection, found = await self._connection(call), list[Raw]()
        params: Fields = {}
        try:
            with anyio.fail_after(LIST_TIMEOUT):
                for _ in range(MAX_PAGES):
                    page = await ask(connection.link, "tasks/list", params)
                    found += connection.link.begun_by(call, page.get("tasks"))
                    if text(page.get("nextCursor")) is None or len(found) >= TASKS:
                        break
                    params = {"cursor": page["nextCursor"]}
        except (TimeoutError, Fault) as exc:
            self._note_excess(f"tasks/list: {describe(exc) or 'was not answered'}")
        return found

    def unwatch(self, who: Session | Listener, uri: str | None = None) -> None:
        """Have a client told no more of updates of a resource, or of any. Does not wait for the backend."""
        self._watchers.remove(who, uri)
        latest = self._latest  # which has its watchers by now, and what is subscribed to for them
        latest._spawn(latest._restore)

    def forget(self, who: Session | Listener) -> None:
        """A client, or its stream, is gone."""
        self.unwatch(who)
        if isinstance(who, Session):
            self._roster.forget(who)

    def _is_served(self, connection: Connection, watcher: Watcher) -> bool:
        return self._roster.serving(*_client(watcher)) is connection

    async def _restore(self) -> None:
        """After a connection or a client came or went: subscribe, unsubscribe, set the level."""
        await self.set_level()
        async with anyio.create_task_group() as group:
            for connection in list(self._roster.connections.values()):
                group.start_soon(self._settle_all, connection)

    async def _settle_all(self, connection: Connection) -> None:
        wanted = self._watchers.wanted(partial(self._is_served, connection))
        for uri in [uri for uris in to_settle(wanted, connection.subscribed) for uri in uris]:
            try:
                await self._settle(connection, uri)
            except Fault as fault:
                problem = self._clean(f"{uri} cannot be subscribed to any more: {fault.message}")
                logger.warning("%s: %s", self.name, problem)

    async def _settle(self, connection: Connection, uri: str) -> None:
        """Subscribe to a resource on a connection, or unsubscribe, as its watchers want it by now."""
        lock = self._settling.setdefault((connection, uri), anyio.Lock())
        try:
            with anyio.fail_after(SETTLE_TIMEOUT):
                async with lock:
                    is_wanted = self._watchers.wants(uri, partial(self._is_served, connection))
                    if is_wanted and uri not in connection.subscribed:
                        await connection.subscribe(uri, partial(self._update, connection))
                    elif not is_wanted and uri in connection.subscribed:
                        await connection.unsubscribe(uri)
        except TimeoutError:
            reason = f"did not subscribe to {uri} within {SETTLE_TIMEOUT:g} s"
            raise backend_failure(self.name, reason, REQUEST_TIMEOUT) from None

    # What comes up from a connection

    def _hear(self, link: Link, event: Event) -> None:
        """Take what a connection brings for no call in particular."""
        match event:
            case Updated(params):
                connection = self._by_link(link)
                if connection is not None and (uri := text(params.get("uri"))) is not None:
                    self._watchers.updated(params, uri, partial(self._is_served, connection))
            case Missed():
                if (connection := self._by_link(link)) is not None:
                    for uri in list(connection.subscribed):
                        self._update(connection, uri)
            case Said(method, params, data):
                self._clients.broadcast(method, params, data, partial(self._is_audience, link))
            case Noise(said):
                shown = self._blank(said)[:80]
                self._warn(Noise, f"sends what is not MCP (ignored from here on): {shown!r}")
            case Doubt(problem):
                self._warn(Doubt, problem)
            case Excess(problem):
                self._note_excess(problem)
            case Unsent():
                self._repeats.start_soon(self._repeat, link.era, event)
            case Lost(reason):
                self._lose(link, reason)

    def _update(self, connection: Connection, uri: str) -> None:
        """A resource may have changed without a word of it."""
        self._watchers.updated({"uri": pack(uri)}, uri, partial(self._is_served, connection))

    def _lose(self, link: Link, reason: str) -> None:
        if (connection := self._by_link(link)) is not None:
            self._drop(connection)
        first = self._roster.first
        if reason == UNREACHED and first and all(call.is_ours for call in first.link.pending.values()):
            first.link.lose(reason)  # it is the same server's, and would notice when it is asked again only

    def _note_excess(self, problem: str) -> None:
        self._warn(problem.rpartition("(")[2], problem, EXCESS_PAUSE)  # what is in brackets names the bound

    def _warn(self, about: object, problem: str, pause: float = math.inf) -> None:
        """Log a line on something that a program usually goes on doing: the next one follows after so many seconds."""
        if CLOCK.now() - self._warned.get(about, -math.inf) > pause or about not in self._warned:
            self._warned[about] = CLOCK.now()
            logger.warning("%s: %s", self.name, self._clean(problem))

    def _clean(self, said: str) -> str:
        """What others say, as it may be shown: without secrets, on one line, not too long."""
        return printable(self._blank(said[: 4 * LONGEST]), LONGEST)

    def _is_audience(self, link: Link, session: Session) -> bool:
        connection = self._roster.serving("legacy", session)
        return connection is not None and connection.link is link

    def _by_link(self, link: Link) -> Connection | None:
        return next((each for each in self._roster.connections.values() if each.link is link), None)

    # Lists

    def refresh(self, kind: Kind, era: Era, session: Session | None) -> None:
        """Have a client's lists read again if they may have changed unnoticed, as it asks for one. Does not wait."""
        connections = self._roster.connections
        if (key := serving(connections, era, session)) is not None:
            connections[key].refresh(kind)

    def _publish(self, connection: Connection | None = None, announced: Collection[str] = ()) -> None:
        """Offer what was listed last; a connection's backend has `announced` changes of these capabilities."""
        if connection is not None and (key := self._roster.key_of(connection)) is not None:
            self._announced |= {(key, capability) for capability in announced}
        # While there is no connection, what was offered stays offered.
        before: dict[Key, Offer] = {key: offer for key, offer in self.offers.items() if not isinstance(key, Session)}
        offers = {key: each.offer for key, each in self._roster.connections.items()} or before
        if connection is not None and not announced and offers == self.offers:
            return  # it was read again, and is what it was
        self.offers = offers
        problems = dict.fromkeys(self._clean(said) for offer in self.offers.values() for said in offer.problems)
        for problem in problems.keys() - self._problems.keys():
            if self._lines.take(CLOCK.now(), 0):
                logger.warning("%s: %s", self.name, problem)
        self._problems = problems
        self._problem = "; ".join(problems) or None
        self._wake()

    # State

    def _take_down(self, happening: Happening, reason: str) -> None:
        """From now on calls wait for the next connection."""
        self._roster.clear()
        self._publish()
        if not self._stopping.is_set():
            self._note(happening, reason)

    def _note(self, happening: Happening, error: str | None = None) -> None:
        if self._life.on(happening, CLOCK.now(), error):
            self.since = datetime.now(UTC)
            if self.state != "failed":  # which is logged when the reason is known (`_report`)
                level = logging.DEBUG if self.state == "stopped" else logging.INFO
                logger.log(level, "%s: %s", self.name, self._news())
        if happening == "lost" and self._life.is_new_trouble:
            self.stderr.forget()
        self._wake()

    def _report(self, pause: float) -> None:
        """Log that an attempt has failed, and that the next one is made after `pause` seconds."""
        if self._stopping.is_set() or not self.error:
            return
        if self._life.is_told():
            logger.info("%s: failed again, in the same way; next try in %.0f s", self.name, max(pause, 1))
        else:
            logger.warning("%s: failed: %s; trying again", self.name, self.error)

    def _news(self) -> str:
        if self.state == "ready" and (primary := self._roster.first) is not None:
            numbers = {kind.noun: len(primary.offer.entries(kind)) for kind in KINDS}
            counts = ", ".join(f"{n} {noun}{'s' * (n != 1)}" for noun, n in numbers.items() if n)
            return f"ready ({self.config.transport}, {primary.offer.protocol_version}): {counts or 'nothing'} offered"
        return self.state


def _client(call: Call | Watcher) -> tuple[Era, Session | None]:
    """Who asks: the era and, in the legacy one, the session."""
    if isinstance(call, Call):
        return call.era, call.session
    return ("legacy", call.session) if call.session is not None else ("modern", None)
