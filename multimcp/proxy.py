"""Client -> backend traffic: find the route, rename, forward, rename back.

Rules:
- `accept` never waits: a request is written to its backend in the turn of the event loop in which it was read. Only one
  that has to wait for something (a backend that starts, an era that is being found out) gets a task.
- The proxy answers itself what is about all backends: the greeting, lists, levels, subscriptions.
- The log names each legacy client when it comes and when it goes, and each kind of modern client once; with DEBUG each
  request has a line.
- A backend's JSON-RPC error crosses with code, message and data as they were.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from math import inf
from typing import Any

import anyio
from anyio.abc import TaskGroup
from msgspec import UNSET, Raw

from .backends.backend import Backend, Followed
from .backends.connection import CLOCK, IMPLEMENTATION, LISTEN_TIMEOUT
from .backends.registry import Registry
from .errors import Fault, backend_failure, printable
from .protocol.admission import ToldBehind, Visitors, check, check_headers, introduced, named, outcome
from .protocol.calls import Call, Clients, Clock, Listener, Session
from .protocol.chain import read_chain
from .protocol.eras import (
    CHAIN_KEY,
    CLIENT_KEY,
    GREETINGS,
    LATEST_LEGACY,
    LATEST_MODERN,
    LEGACY_VERSIONS,
    LEVELS,
    MODERN_VERSIONS,
)
from .protocol.extensions import RELATED_KEY, TASKS, WAYS, check_declared
from .protocol.limits import Seldom
from .protocol.message import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Era,
    Fields,
    Message,
    fields,
    is_object,
    opened,
    pack,
    string,
    succeeded,
    text,
    value,
)
from .protocol.names import unqualify
from .protocol.offer import BY_METHOD, SKILLS, Kind
from .protocol.routing import Router, Target, View, not_found
from .protocol.seen import Seen
from .protocol.tasks import NEWS, able, own_related, public_task
from .protocol.waiting import Purpose
from .protocol.watching import Watcher

logger = logging.getLogger(__name__)

LINES = 20
"""Lines a second at most that say who connected, disconnected, or was seen first: anybody can do that all the time."""

Later = Coroutine[Any, Any, None] | None
"""What has to be awaited before a request is answered or on its way; None if it is."""

Handler = Callable[[Call, Fields, Fields], Later]

SUBSCRIBING = 20
"""Resources that are subscribed to at a time for one listening stream: there are others whom the server serves."""

_OWN_NOTIFICATIONS = frozenset({"notifications/initialized", "notifications/progress", "notifications/cancelled"})
_ROOTS_CHANGED = "notifications/roots/list_changed"


class _Carrier:
    """Carries a call whose request is not on its way yet, or that is a listening stream."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def give_up(self, number: int, reason: Raw | None = None) -> None:
        self._end()


class Proxy:
    """Takes the messages of clients, whatever they came by. Use within `running`."""

    def __init__(self, registry: Registry, clients: Clients) -> None:
        self.clients = clients
        self.clock: Clock = CLOCK
        self.implementation = IMPLEMENTATION
        self._registry = registry
        self._router = Router()
        self._lists_wait = True
        self._numbers = count(1)
        self._visitors = Visitors()
        self._tell = Seldom(logger.info, CLOCK.now, LINES)
        self._single_seen: Seen | None = None
        self._in_flight: set[Call] = set()
        self._idle: anyio.Event | None = None
        """Set when none is left, for who waits for that."""
        self._tasks: TaskGroup | None = None
        self._handlers: dict[str, Handler] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "subscriptions/listen": self._listen,
            **{method: partial(self._list, kind) for method, kind in BY_METHOD.items()},
            "tasks/list": self._list_tasks,
            **{method: self._forward_of_task for method, way in WAYS.items() if way == "task"},
        }

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """While requests may have to wait."""
        async with anyio.create_task_group() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()

    def accept(self, call: Call, params: Fields, meta: Fields, headers: Mapping[bytes, bytes] | None = None) -> None:
        """Take a client's request; its answer goes to the call's port.

        Args:
            call: the request.
            params: of the request, without `_meta`.
            meta: their `_meta`.
            headers: of the HTTP request that it came by in the modern era, with lower-case names.
        """
        self._in_flight.add(call)
        call.on_over = self._over
        if logger.isEnabledFor(logging.DEBUG):
            call.on_over = partial(self._over_and_logged, named(params), CLOCK.now())
        try:
            self._check_chain(call, meta)
            if call.session is None:
                self._introduce(call, meta)
            check(call)
            if headers is not None:
                call.headers = headers
                if call.method == "tools/call":
                    check_headers(self._view(call), self._router, params, headers)
            later = self._handlers.get(call.method, self._forward)(call, params, meta)
        except Exception as exc:
            _fail(call, exc)
        else:
            self._carry(call, later)

    def _carry(self, call: Call, later: Later) -> None:
        if later is not None and self._tasks is not None:
            scope = anyio.CancelScope()
            call.carried(_Carrier(scope.cancel), 0)
            self._tasks.start_soon(_await, call, later, scope)

    def _check_chain(self, call: Call, meta: Fields) -> None:
        """Refuse a Multi-MCP that is behind this one as well; tell one that is not who is behind this one."""
        chain = self._registry.chain
        if CHAIN_KEY not in meta and call.origin.chain is None and chain.refusal is None:
            return
        given = read_chain(value(meta.get(CHAIN_KEY)), call.origin.chain)
        if given is None and chain.refusal is None:
            return
        if call.method in GREETINGS and (reason := chain.refuse(given or [], self._registry.behind)):
            raise Fault(INVALID_REQUEST, reason, {CHAIN_KEY: [chain.id]})
        if call.method in GREETINGS or call.method in BY_METHOD:
            call.port = ToldBehind(call.port, lambda: self._registry.behind)

    def _introduce(self, call: Call, meta: Fields) -> None:
        """Note which client calls that has no session, and what is known of it."""
        call.names = call.origin.names or self._registry.spelling
        if call.era == "modern":
            who = (*introduced(meta.get(CLIENT_KEY)), call.origin.transport)
            call.since, is_new = self._visitors.visit(who, CLOCK.now())
            if is_new:
                self._tell("client seen first: %s %s (%s, %s)", *who, LATEST_MODERN)
            call.seen = self._seen_by_single() if call.origin.transport == "stdio" else None

    def _seen_by_single(self) -> Seen:
        """What the only client, a modern one over stdio, has seen."""
        if self._single_seen is None:
            self.clients.come_without_session()
            self._single_seen = self._registry.greet("modern")
            self._spawn(self._registry.settle, self._single_seen)
        return self._single_seen

    def _spawn(self, task: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(task, *args)

    def _over_and_logged(self, named: str, begun: float, call: Call, answer: Message | None) -> None:
        self._over(call, answer)
        words = [printable(call.method, 80), printable(named, 200), f"({call.server})" if call.server else ""]
        shown, milliseconds = " ".join(filter(None, words)), 1000 * (CLOCK.now() - begun)
        logger.debug("%s: %s in %.1f ms", shown, outcome(answer), milliseconds)

    def _over(self, call: Call, answer: Message | None) -> None:
        self._in_flight.discard(call)
        if call.server and answer is not None and answer.result is not UNSET:
            # SDK clients re-list before they hand out the result of a call: after the first one, lists do not wait for
            # backends that are starting. Late backends are announced.
            self._lists_wait = False
        if self._idle is not None and not self._in_flight:
            self._idle.set()

    async def finish(self, patience: float) -> None:
        """Wait until every request that was read is answered, for `patience` seconds at most."""
        with anyio.move_on_after(patience):
            while self._in_flight:
                self._idle = anyio.Event()
                await self._idle.wait()

    async def drain(self, patience: float) -> None:
        """Wait until every request that was read is answered; those that are not after `patience` seconds fail."""
        await self.finish(patience)
        for call in list(self._in_flight):
            if call.carrier is not None:
                call.carrier.give_up(call.number)
            call.otherwise = None
            call.fail(Fault(INTERNAL_ERROR, "Multi-MCP ended before this was answered"))

    def _view(self, call: Call) -> View:
        return self._registry.view(call.era, call.session, call.names)

    def _after(self, purpose: Purpose, call: Call, since: float, do: Callable[[], None]) -> Later:
        """Do what has to wait for backends: at once, where none is awaited."""
        if not self._registry.is_awaited(purpose, call.era, since):
            do()
            return None

        async def later() -> None:
            if purpose == "a list":
                await self._registry.wait_for_lists(call, since)
            else:
                await self._registry.wait(purpose, call.era, since)
            do()

        return later()

    # The greeting

    def _ping(self, call: Call, params: Fields, meta: Fields) -> Later:
        call.finish(succeeded(), call.era)
        return None

    def _initialize(self, call: Call, params: Fields, meta: Fields) -> Later:
        since = CLOCK.now()
        if call.session is not None:
            call.session.on_gone.append(partial(self._registry.forget, call.session))
        # What servers can do in this era is declared only once.
        return self._after("initialize", call, since, partial(self._greet, call, params, since))

    def _greet(self, call: Call, params: Fields, since: float) -> None:
        session = call.session
        if session is None or call.is_over:
            return
        asked = text(params.get("protocolVersion"))
        version = asked if asked in LEGACY_VERSIONS else LATEST_LEGACY
        hello = {"protocolVersion": pack(version), **self._introduction("legacy"), "serverInfo": IMPLEMENTATION}
        session.since, session.seen = since, self._registry.greet("legacy")
        session.names, session.key = call.origin.names or self._registry.spelling, call.holder
        self.clients.join(session)
        name, number = " ".join(introduced(params.get("clientInfo"))), next(self._numbers)
        self._tell("client %d connected: %s (%s, %s)", number, name, call.origin.transport, version)
        session.on_gone.append(partial(self._log_leaving, number, name, since))
        call.finish(succeeded(pack(hello)), "legacy")

    def _log_leaving(self, number: int, name: str, since: float) -> None:
        self._tell("client %d disconnected: %s, after %.1f s", number, name, CLOCK.now() - since)

    def _discover(self, call: Call, params: Fields, meta: Fields) -> Later:
        # Its lists are next: backends are connected in its era from now on.
        return self._after("server/discover", call, call.since, partial(self._tell_of_us, call))

    def _tell_of_us(self, call: Call) -> None:
        hello = {"supportedVersions": pack(MODERN_VERSIONS), **self._introduction("modern")}
        call.finish(succeeded(pack(hello)), "legacy")

    def _introduction(self, era: Era) -> Fields:
        capabilities, instructions = self._registry.introduction(era)
        return {"capabilities": pack(capabilities)} | ({"instructions": pack(instructions)} if instructions else {})

    # Lists

    def _list(self, kind: Kind, call: Call, params: Fields, meta: Fields) -> Later:
        if value(params.get("cursor")) is not None:
            raise Fault(INVALID_PARAMS, "Unknown cursor: this list comes in one page")
        since = call.since if self._lists_wait else -inf
        return self._after("a list", call, since, partial(self._answer_list, kind, call))

    def _answer_list(self, kind: Kind, call: Call) -> None:
        if kind is SKILLS and not SKILLS.is_in({}, self._registry.extensions(call.era)):
            raise Fault(METHOD_NOT_FOUND, "Method not found", call.method)
        self._registry.refresh(kind, call.era, call.session)
        page = self._registry.hand_out(call, kind).page(kind, call.era, IMPLEMENTATION)
        call.conclude(succeeded(page))  # in the client's era already

    # Levels and subscriptions

    async def _set_level(self, call: Call, params: Fields, meta: Fields) -> None:
        level = text(params.get("level"))
        if level not in LEVELS:
            raise Fault(INVALID_PARAMS, f"Unknown log level: {level}")
        assert call.session is not None  # the method is legacy
        self.clients.set_level(call.session, level)
        await self._registry.set_level()
        call.finish(succeeded(), "legacy")

    async def _subscribe(self, call: Call, params: Fields, meta: Fields) -> None:
        assert call.session is not None
        uri, watched = string(params, "uri"), call.session.watched
        self.clients.check_watched(watched | {uri})
        is_new = uri not in watched
        watched.add(uri)
        try:
            await self._watch(call, call.session, uri)
        except BaseException:
            if is_new:
                watched.discard(uri)
            raise
        call.finish(succeeded(), "legacy")

    async def _watch(self, call: Call, who: Session | Listener, uri: str) -> None:
        """Subscribe to a resource, at the first server of those it may be of which has it.

        Raises:
            Fault: the client's: it leads nowhere; or the error of the last of them.
        """
        *firsts, last = (await self._find(call, {"uri": pack(uri)}, "resources/read")).ways
        for target in firsts:
            with suppress(Fault):
                await self._backend(target).watch(Watcher(who, uri), _uri(target))
                return
        await self._backend(last).watch(Watcher(who, uri), _uri(last))

    def _unsubscribe(self, call: Call, params: Fields, meta: Fields) -> Later:
        assert call.session is not None
        target = self._router.find(self._view(call), call.method, params)
        call.session.watched.discard(text(params.get("uri")) or "")
        for way in target.ways if target is not None else ():
            self._backend(way).unwatch(call.session, _uri(way))
        call.finish(succeeded(), "legacy")
        return None

    async def _listen(self, call: Call, params: Fields, meta: Fields) -> None:
        """Open a listening stream; resources and tasks that cannot be watched are left out of its acknowledgment."""
        wanted = params.get("notifications")
        if wanted is None or not is_object(wanted):
            raise Fault(INVALID_PARAMS, "notifications must be an object")
        seen = call.seen
        if seen is None:
            seen = self._registry.greet("modern")
            seen.is_settled = True  # it may have asked for lists long ago
        listener = Listener(call, opened(wanted), seen)
        self.clients.check_watched([*listener.uris, *listener.tasks])
        if listener.tasks:
            check_declared(TASKS, call.capabilities)
        uris: set[str] = set()
        tasks: set[str] = set()
        ends: list[Callable[[], None]] = [
            partial(self.clients.listeners.discard, listener),
            partial(self._registry.forget, listener),
        ]
        turns = anyio.Semaphore(SUBSCRIBING)

        async def watch(uri: str) -> None:
            async with turns:
                with suppress(Fault):
                    await self._watch(call, listener, uri)
                    uris.add(uri)

        def end() -> None:
            for each in ends:
                each()

        try:
            self.clients.listen(listener)
            async with anyio.create_task_group() as group:
                for uri in listener.uris:
                    group.start_soon(watch, uri)
                for server, wants in self._followed(call, listener).items():
                    group.start_soon(self._follow, call, server, wants, tasks, ends)
        except BaseException:
            end()
            raise
        if call.is_over:  # given up before its task ran, which nothing stopped then: nobody would call `end`
            end()
            return
        call.carried(_Carrier(end), 0)
        listener.acknowledge([uri for uri in listener.uris if uri in uris], tasks)

    def _followed(self, call: Call, listener: Listener) -> dict[str, Followed]:
        """By server, what is done with the news of each task that is listened to, by the ids that it knows."""
        followed: dict[str, Followed] = {}
        for task in listener.tasks:
            target = self._router.find(self._view(call), "tasks/get", {"taskId": pack(task)}, call.holder)
            if target is not None:
                tell = partial(self._tell_of_task, call, listener, target)
                followed.setdefault(target.server, {})[string(target.params, "taskId")] = tell
        return followed

    def _tell_of_task(self, call: Call, listener: Listener, target: Target, params: Fields) -> None:
        told = self._router.result(partial(self._view, call), "tasks/get", target, pack(params), call.holder)
        listener.tell(NEWS, fields(told))

    async def _follow(
        self, call: Call, server: str, tasks: Followed, known: set[str], ends: list[Callable[[], None]]
    ) -> None:
        """Listen to tasks of a server until `ends` are called; those that it agrees to tell of become `known`."""
        scope, is_decided = anyio.CancelScope(), anyio.Event()

        def agree(agreed: list[str]) -> None:
            known.update(public_task(server, task, call.holder) for task in agreed)
            is_decided.set()

        async def follow() -> None:
            with scope, suppress(Fault):
                await self._backend(Target(server, {})).follow_tasks(call, tasks, agree)
            is_decided.set()

        ends.append(scope.cancel)
        self._spawn(follow)
        with anyio.move_on_after(LISTEN_TIMEOUT):
            await is_decided.wait()

    # Tasks

    async def _list_tasks(self, call: Call, params: Fields, meta: Fields) -> None:
        """List the tasks of 2025-11-25 that a client has begun, of all servers that list theirs."""
        if value(params.get("cursor")) is not None:
            raise Fault(INVALID_PARAMS, "Unknown cursor: this list comes in one page")
        offers = self._view(call).offers
        lists: dict[str, list[Raw]] = {
            name: [] for name, offer in offers.items() if "list" in able([offer.capabilities])
        }
        if not lists:
            raise Fault(METHOD_NOT_FOUND, "Method not found", call.method)

        async def read(name: str) -> None:
            with suppress(Fault):
                lists[name] = await self._backend(Target(name, {})).tasks_of(call)

        async with anyio.create_task_group() as group:
            for name in lists:
                group.start_soon(read, name)
        call.finish(succeeded(pack({"tasks": [task for found in lists.values() for task in found]})), "legacy")

    def _forward_of_task(self, call: Call, params: Fields, meta: Fields) -> Later:
        """Ask a backend for a task, if it can be that this client has begun it."""
        if call.era == "modern":
            check_declared(TASKS, call.capabilities)
        target = self._router.find(self._view(call), call.method, params, call.holder)
        if target is not None:
            call.task = text(target.params["taskId"])
        if target is None or self._is_anothers(call, target):
            raise not_found(call.method, params, call.era)
        return self._send(call, target, meta)

    def _is_anothers(self, call: Call, target: Target) -> bool:
        """Whether the task that a legacy client asks for is known to be another one's."""
        if call.session is None or self._backend(target).config.scope == "session":
            return False
        return self.clients.tasks.is_anothers(target.server, call.task or "", call.session)

    # Everything else goes to a backend

    def _forward(self, call: Call, params: Fields, meta: Fields) -> Later:
        target = self._router.find(self._view(call), call.method, params, call.holder)
        return self._send(call, target, meta) if target is not None else self._forward_later(call, params, meta)

    async def _forward_later(self, call: Call, params: Fields, meta: Fields) -> None:
        later = self._send(call, await self._find(call, params), meta)
        if later is not None:
            await later

    def _send(self, call: Call, target: Target, meta: Fields) -> Later:
        call.server = target.server
        call.rewrite = partial(self._router.result, partial(self._view, call), call.method, target, key=call.holder)
        call.otherwise = partial(self._try_next, call, target, meta) if target.others else None
        if RELATED_KEY in meta:
            meta = own_related(meta, target.server, call.holder)
        return self._backend(target).request(call, target.params, meta)

    def _try_next(self, call: Call, target: Target, meta: Fields, code: int) -> bool:
        """Ask the next server that a request may be for: reading harms nobody, and an unknown method did nothing."""
        if code != METHOD_NOT_FOUND and not target.asked:
            return False
        following, *others = target.others
        named = [(unqualify(uri) or ("",))[0] for uri in target.asked.values()]
        if target.server in named and following.server != target.server and code not in _MISSING:
            return False  # what has a server's name is that server's, unless it says otherwise
        call.is_repeated = False
        try:
            self._carry(call, self._send(call, following._replace(others=tuple(others)), meta))
        except Fault as fault:
            call.fail(fault)
        return True

    async def _find(self, call: Call, params: Fields, method: str | None = None) -> Target:
        """Where a request leads. What is not there may belong to a backend that is still starting, or to an era that no
        client has asked for yet.

        Raises:
            Fault: the client's: it leads nowhere.
        """
        method = method or call.method

        def look_up() -> Target | None:
            return self._router.find(self._view(call), method, params, call.holder)

        await self._registry.wait("a name", call.era, CLOCK.now(), lambda: look_up() is not None)
        # Who is still starting is waited for no more.
        if (target := self._router.find(replace(self._view(call), is_starting=False), method, params)) is None:
            raise not_found(method, params, call.era)
        return target

    def _backend(self, target: Target) -> Backend:
        backend = self._registry.backends.get(target.server)
        if backend is None:  # removed since the catalog was asked
            raise backend_failure(target.server, "was removed")
        return backend

    # Notifications

    def notified(self, era: Era, session: Session | None, method: str, params: Fields) -> None:
        """Take a client's notification, and pass it on to the backends that it is for."""
        if method == "notifications/initialized" and session is not None:
            self.clients.initialized(session)
            self._spawn(self._registry.settle, session.seen)
        if method in _OWN_NOTIFICATIONS or (era == "legacy" and session is None):
            return
        meant: dict[str, Fields] = {}
        if method != _ROOTS_CHANGED:
            names = session.names if session is not None else self._registry.spelling
            with suppress(Fault):  # nobody waits for an answer in which it could be said
                view = self._registry.view(era, session, names)
                target = self._router.find_unknown(view, params, method, session.key if session else b"")
                if target is not None and not target.others:
                    meant = {target.server: target.params}
        elif era == "legacy":
            meant = dict.fromkeys(self._registry.backends, params)
        for name, its_params in meant.items():
            backend = self._registry.backends.get(name)
            if backend is not None and backend.state == "ready":
                backend.notify(era, session, method, its_params)


async def _await(call: Call, later: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
    with scope:
        try:
            await later
        except Exception as exc:
            _fail(call, exc)


def _fail(call: Call, exc: Exception) -> None:
    if not isinstance(exc, Fault):
        logger.error("%s failed; this is a fault of Multi-MCP", call.method, exc_info=exc)
        exc = Fault(INTERNAL_ERROR, f"Multi-MCP failed to handle {call.method}; its log says how")
    call.fail(exc)


_MISSING = (INVALID_PARAMS, RESOURCE_NOT_FOUND, METHOD_NOT_FOUND)
"""With these errors a server says that it has no such thing."""


def _uri(target: Target) -> str:
    return text(target.params.get("uri", UNSET)) or ""
