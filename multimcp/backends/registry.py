"""The backends by name: adding, removing, waiting for them, and the catalog they make together.

Rules:
- Backends start concurrently, and none waits for another.
- The catalog follows the offers; a client is told of a change once, bursts folded, unless it has read the lists since.
- A name belongs to one server at a time: the next one starts when the processes of the last one are gone.
- Servers of the configuration file come first, in its order; then those that were added at run time, as they came.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

import anyio

from multimcp.errors import NameInUseError, UnknownServerError
from multimcp.protocol.calls import Call, Clients, Listener, Session
from multimcp.protocol.catalog import Catalog, Names, build, capabilities, instructions
from multimcp.protocol.chain import Chain, behind
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.extensions import united
from multimcp.protocol.lifecycle import State
from multimcp.protocol.limits import LIST_LINES, Allowance
from multimcp.protocol.message import Era, Fields, fields
from multimcp.protocol.names import LLM_NAMES, Spelling
from multimcp.protocol.offer import TOOLS, Kind, Offer
from multimcp.protocol.routing import View
from multimcp.protocol.seen import Seen
from multimcp.protocol.waiting import Purpose, Standing, waits_until

from .backend import Backend
from .connection import CLOCK

logger = logging.getLogger(__name__)

FOLD = 0.05
"""Seconds in which further changes are told together with the first."""

START_WAIT = 10.0
"""Seconds from the start after which no client waits any more, and `/readyz` answers 200 whatever is still starting."""

CALM = 1.0
"""Seconds from its greeting in which a client that has asked for no list is not told of changes: it is about to ask."""


@dataclass(frozen=True)
class Failure:
    """Why a server could not be added, and the last lines of its stderr."""

    reason: str
    stderr: tuple[str, ...]


_ERAS: tuple[Era, Era] = ("legacy", "modern")


class Registry:
    """All backends. Use within `running`.

    Args:
        names: how tools and prompts are named.
        clients: are told of changes.
        startup_timeout: seconds that a backend has to get ready which is added at run time, unless it is configured.
        chain: leads to the backends; where it is refused, the configuration file's are not started.
    """

    def __init__(self, names: Names, clients: Clients, startup_timeout: float, chain: Chain) -> None:
        self._names = names
        self.chain = chain
        self.clients = clients
        self._startup_timeout = startup_timeout
        self._deadline = 0.0
        self._has_started = False
        self._backends: dict[str, Backend] = {}
        self.written: Mapping[str, ServerConfig] = {}
        """The servers of the configuration file, as far as it was read or written."""
        self._added: set[str] = set()
        """The servers that were added beside it."""
        self._last: dict[str, Backend] = {}
        """The last server of each name, for as long as something of it is left."""
        self._views: dict[tuple[Era, Session | None, Spelling], View] = {}
        self._introductions: dict[Era, tuple[Fields, str | None]] = {}
        self._apart: set[Session] = set()
        """The clients that are offered what others are not: some backend has a connection for them alone."""
        self._before: dict[tuple[Era, Session | None], Catalog] = {}
        """The catalogs before the last change."""
        self._version = 0
        self._flushed = 0
        self._changed = anyio.Event()
        self._reported: set[str] = set()
        self._lines = Allowance(LIST_LINES, CLOCK.now())

    @asynccontextmanager
    async def running(self, servers: Mapping[str, ServerConfig]) -> AsyncGenerator[None, None]:
        """Start these servers, keep all servers connected, and stop them all on leaving."""
        self._deadline = CLOCK.now() + START_WAIT
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._tell)
            if self._names.spelling != "llm":
                self._group.start_soon(self._report_refused)
            try:
                self.configure(servers)
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self.stop_all()
                self._group.cancel_scope.cancel()

    async def stop_all(self) -> None:
        """Stop all backends, side by side; when this returns their processes are gone."""
        async with anyio.create_task_group() as group:
            for backend in self._backends.values():
                group.start_soon(backend.stop)

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by name, in order."""
        return self._backends

    @property
    def is_starting(self) -> bool:
        """Whether some backend is still at its first attempt, within `START_WAIT`; never again once none was.

        All replicas follow a change of the configuration at once: none may be taken out of service for it.
        """
        return not self._has_started and self._any("starting") and CLOCK.now() < self._deadline

    @property
    def spelling(self) -> Spelling:
        """How names are spelled for clients that ask for nothing."""
        return self._names.spelling

    def configure(self, servers: Mapping[str, ServerConfig]) -> None:
        """Follow the configuration file: stop, start or restart what changed in it since it was read last.

        What did not change goes on as it is, and so do servers that were added beside the file, unless it has their
        name now. Does not wait: servers become ready, or are gone, in their own time.
        """
        if self.chain.refusal:
            return
        before, self.written = self.written, servers
        for name in [name for name in before if name not in servers and name not in self._added]:
            if backend := self._backends.pop(name, None):
                logger.info("%s: removed, as it is in the configuration file no more", name)
                self._group.start_soon(backend.stop)
        for name, config in servers.items():
            if before.get(name) == config:
                continue
            backend = self._backends.get(name)
            if name in self._added:
                self._added.discard(name)
                logger.info("%s: was added over HTTP, and is the configuration file's now", name)
                if backend and backend.config == config:
                    continue
            self._start(name, config)
        order = [*servers, *self._backends]
        self._backends = {name: self._backends[name] for name in order if name in self._backends}
        self._note_change()

    def note_written(self, put: Mapping[str, ServerConfig], drop: Collection[str] = ()) -> None:
        """What was added, or is to be removed, has been written to the configuration file: it is the file's now."""
        self.written = {**{name: config for name, config in self.written.items() if name not in drop}, **put}
        self._added -= put.keys()

    def _start(self, name: str, config: ServerConfig) -> Backend:
        """Start a server; if there is one of this name, in its place."""
        replaced, last = self._backends.get(name), self._last.get(name)
        backend = self._backends[name] = self._last[name] = Backend(
            name, config, self._note_change, self.clients, self.chain
        )
        if replaced:
            logger.info("%s: restarted, as its configuration changed", name)
            backend.take_over(replaced)

        async def run() -> None:
            await backend.run(last)
            if self._last.get(name) is backend:
                del self._last[name]

        self._group.start_soon(run)
        return backend

    async def add_and_wait(self, servers: Mapping[str, ServerConfig]) -> dict[str, Failure]:
        """Start servers beside the configuration file's, and remove those that are not ready in the startup timeout.

        Returns:
            the servers that failed, by name.

        Raises:
            NameInUseError: the caller's: a name is taken; nothing was added.
        """
        if taken := [name for name in servers if name in self._backends]:
            raise NameInUseError(f"in use: {', '.join(taken)}; remove first, or choose another name")
        added = [self._start(name, config) for name, config in servers.items()]
        self._added |= servers.keys()
        self._note_change()
        async with anyio.create_task_group() as group:
            for backend in added:
                # One that says how long it may take ends its attempt itself.
                group.start_soon(backend.settled, inf if backend.config.startup_timeout else self._startup_timeout)
        late = f"was not ready within {self._startup_timeout:g} s (--startup-timeout)"
        failed = {
            backend.name: backend.error or (late + backend.last_words if backend.state == "starting" else "was removed")
            for backend in added
            if backend.state not in ("ready", "disabled")
        }
        for name in failed.keys() & self.written.keys() - self._added:
            failed[name] += "; it stays, as the configuration file has it by now"
        await self.take_back([backend for backend in added if backend.name in failed])
        gone = [backend.name for backend in added if self._backends.get(backend.name) is not backend]
        said = {backend.name: tuple(backend.stderr.lines) for backend in added}
        return {
            name: Failure(reason, said[name]) for name, reason in (dict.fromkeys(gone, "was removed") | failed).items()
        }

    async def take_back(self, added: Iterable[Backend]) -> None:
        """Remove servers that were added, unless they are the configuration file's by now."""
        async with anyio.create_task_group() as group:
            for backend in added:
                if backend.name in self._added:
                    group.start_soon(self.remove, backend)

    def find(self, name: str) -> Backend:
        """The server of this name.

        Raises:
            UnknownServerError: the caller's: there is none.
        """
        if name not in self._backends:
            raise UnknownServerError(f"there is no server '{name}'")
        return self._backends[name]

    async def remove(self, backend: Backend) -> None:
        """Take a server away; when this returns its processes are gone."""
        if self._backends.get(backend.name) is backend:
            del self._backends[backend.name]
            self._added.discard(backend.name)
            self._note_change()
            logger.info("%s: removed", backend.name)
        await backend.stop()

    def is_awaited(self, purpose: Purpose, era: Era, since: float) -> bool:
        """Whether a request that comes now has to wait for backends; those of its era are connected from now on."""
        return self._waits_until(purpose, era, since, CLOCK.now()) > CLOCK.now()

    async def wait(self, purpose: Purpose, era: Era, since: float, found: Callable[[], bool] = lambda: False) -> None:
        """Wait for backends, for as long as a request may whose client was first heard of at `since`.

        `found` says that what it waits for is there.
        """
        asked = CLOCK.now()
        while not found() and (seconds := self._waits_until(purpose, era, since, asked) - CLOCK.now()) > 0:
            with anyio.move_on_after(seconds):
                await self._changed.wait()

    def _waits_until(self, purpose: Purpose, era: Era, since: float, asked: float) -> float:
        backends = self._backends.values()
        up = [backend.up_at for backend in backends if backend.up_at is not None]
        opening = [backend.want(era) for backend in backends]
        standing = Standing(self._any("starting"), min(up, default=None), any(opening))
        return waits_until(purpose, since, asked, self._deadline, standing)

    @property
    def behind(self) -> dict[str, int]:
        """Which Multi-MCPs there are from here on, by distance; this one is the first."""
        return behind(self.chain.id, [each for backend in self._backends.values() for each in backend.behind])

    def offers(self, era: Era, session: Session | None = None) -> dict[str, Offer]:
        """What each backend offers to a client: said to itself, or in its era where that is spoken, or in the other."""
        return {
            name: backend.offers[key]
            for name, backend in self._backends.items()
            if (key := backend.offer_key(era, session))
        }

    def catalog(self, era: Era, session: Session | None = None, spelling: Spelling = "plain") -> Catalog:
        """What is offered now to a client, under names of this spelling."""
        return self.view(era, session, spelling).catalog

    def view(self, era: Era, session: Session | None = None, spelling: Spelling = "plain") -> View:
        """What there is now for a client, under names of this spelling."""
        session = session if session in self._apart else None
        if (view := self._views.get((era, session, spelling))) is None:
            view = self._plain_view(era, session) if spelling == "plain" else self.view(era, session).spelled(spelling)
            self._views[era, session, spelling] = view
        return view

    def _plain_view(self, era: Era, session: Session | None) -> View:
        offers, is_starting = self.offers(era, session), self._any("starting")
        filters = {name: backend.config.tools.admits for name, backend in self._backends.items()}
        before = self._before.get((era, session))
        catalog = build(offers, self._names, filters, before, is_partial=is_starting)
        able = tuple(name for name, backend in self._backends.items() if not backend.is_idle)
        return View(catalog, offers, able, is_starting)

    def introduction(self, era: Era) -> tuple[Fields, str | None]:
        """The capabilities and instructions that `initialize` and `server/discover` declare."""
        if (known := self._introductions.get(era)) is not None:
            return known
        offers = self.offers(era)
        may_be_more = any(not backend.offers and not backend.is_idle for backend in self._backends.values())
        is_only = self._names.namespace == "never" and len(offers) == len(self._backends) == 1
        declared = capabilities(offers, may_be_more=may_be_more, is_only=is_only)
        if era == "modern":
            declared.pop("tasks", None)  # of 2025-11-25; what there is since is an extension
        self._introductions[era] = told = declared, instructions(offers)
        return told

    def extensions(self, era: Era) -> Fields:
        """The extensions that are declared now."""
        return fields(self.introduction(era)[0].get("extensions"))

    def greet(self, era: Era) -> Seen:
        """What a client has seen that is greeted now."""
        return Seen(self.catalog(era).listings, self._version)

    async def wait_for_lists(self, call: Call, since: float) -> None:
        """Wait before a client's lists: for backends that are starting, and those being connected in its era."""
        if call.seen is not None:
            call.seen.asking += 1
        try:
            await self.wait("a list", call.era, since)
        finally:
            if call.seen is not None:
                call.seen.asking -= 1
            self._wake()

    def hand_out(self, call: Call, kind: Kind) -> Catalog:
        """The catalog with a list for a client, which has seen that list from now on."""
        if call.seen is not None:
            # Names in another spelling change with the plain ones.
            call.seen.hand_out(kind, self.catalog(call.era, call.session).listings, self._version)
        elif self._flushed != self._version:
            # Which of the listening streams is this client's, nobody knows. What is told now, it is told before it has
            # the list, and not once more after it.
            self._flushed = self._version
            self._tell_all(self.clients.listeners)
        catalog = self.catalog(call.era, call.session, call.names)
        self._report(logging.ERROR, "name collision: %s", catalog.collisions)  # before anybody sees what they led to
        return catalog

    async def settle(self, seen: Seen) -> None:
        """A client is there now: it is told of changes when it has its first list, or does not ask for one."""
        await anyio.sleep(CALM)
        if not seen.is_settled:
            seen.is_settled = True
            self._wake()

    def refresh(self, kind: Kind, era: Era, session: Session | None) -> None:
        """Have a client's lists read again that may have changed unnoticed, as it asks for one. Does not wait."""
        for backend in self._backends.values():
            backend.refresh(kind, era, session)

    async def set_level(self) -> None:
        """Have the backends send the log messages that are wanted by now."""
        async with anyio.create_task_group() as group:
            for backend in self._backends.values():
                group.start_soon(backend.set_level)

    def forget(self, session: Session | Listener) -> None:
        """A client, or its stream, is gone: what backends did for it alone ends."""
        for backend in self._backends.values():
            backend.forget(session)

    def _any(self, state: State) -> bool:
        return any(backend.state == state for backend in self._backends.values())

    def _note_change(self) -> None:
        self._has_started |= not self._any("starting")
        self._version += 1
        backends = self._backends.values()
        self._apart = {key for backend in backends for key in backend.offers if isinstance(key, Session)}
        plain = {(era, who): view.catalog for (era, who, spelling), view in self._views.items() if spelling == "plain"}
        catalogs = {**self._before, **plain}
        self._before = {key: catalogs[key] for key in catalogs if key[1] is None or key[1] in self._apart}
        self._views.clear()
        self._introductions.clear()
        for backend in backends:
            for heard, capability in backend.take_announced():
                for listener in self.clients.audience():
                    if heard == backend.offer_key(listener.era, listener.session):
                        listener.seen.hear(capability, self._version)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _report_refused(self) -> None:
        """Say once that LLM APIs would refuse names, when the first servers are there."""
        while self.is_starting or not (refused := self.catalog("legacy").refused):
            await self._changed.wait()
        logger.info(
            "LLM APIs would refuse %d of %d tool names, such as '%s', as they take %s only; for names that they take, "
            "connect to /mcp?names=llm or /sse?names=llm, or start with --names llm (MULTI_MCP_NAMES=llm)",
            len(refused),
            len(self.catalog("legacy").routes[TOOLS]),
            self.blank(refused[0]),
            LLM_NAMES,
        )

    async def _tell(self) -> None:
        while True:
            changed_again = self._changed  # held before looking: what changes while telling is not missed
            try:
                self._tell_once()
            except Exception:
                logger.exception("clients could not be told of a change; this is a fault of Multi-MCP")
            await changed_again.wait()
            await anyio.sleep(FOLD)

    def _tell_once(self) -> None:
        self._flushed = self._version
        self._tell_all(self.clients.audience())
        offers = [self.offers(era) for era in _ERAS]
        left_out = {text for each in offers for text in united({name: each[name].extensions for name in each})[1]}
        collisions = {text for era in _ERAS for text in self.catalog(era).collisions}
        self._report(logging.ERROR, "name collision: %s", collisions)
        self._report(logging.WARNING, "%s", left_out)
        self._reported &= collisions | left_out

    def blank(self, text: str) -> str:
        """A text without what is surely a secret of some server."""
        for backend in self._backends.values():
            text = backend.blank(text)
        return text

    def _report(self, level: int, line: str, texts: Iterable[str]) -> None:
        for text in sorted({*texts} - self._reported):
            if self._lines.take(CLOCK.now(), 0):
                logger.log(level, line, self.blank(text))
            self._reported.add(text)

    def _tell_all(self, listeners: Iterable[Session | Listener]) -> None:
        """Tell listeners of the changes that they have not seen; the streams of one client share what it has seen."""
        by_seen: dict[Seen, list[Session | Listener]] = {}
        for listener in listeners:
            if listener.is_ready and listener.seen.is_settled and not listener.seen.asking:
                by_seen.setdefault(listener.seen, []).append(listener)
        for seen, streams in by_seen.items():
            lists = self.catalog(streams[0].era, streams[0].session).listings
            for capability in seen.news(lists, self._version):
                for stream in streams:
                    stream.tell_changed(capability)
