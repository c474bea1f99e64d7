"""The backends by name: adding, removing, waiting for them, and the catalog they make together.

Rules:
- Backends start concurrently, and none waits for another.
- The catalog follows the offers; a client is told of a change once, bursts folded, unless it has read the lists since.
- No client waits long for servers that are starting: it would give up, and have none.
- A name belongs to one server at a time: the next one starts when the processes of the last one are gone.
- Servers of the configuration file come first, in its order; then those that were added at run time, as they came.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from .backend import Backend, State
from .calls import Client, Session
from .catalog import Catalog, Names, build
from .chain import Chain, behind
from .config import ServerConfig
from .errors import NameInUseError, UnknownServerError
from .naming import LLM_NAMES, Spelling
from .offer import KINDS, TOOLS, Era, Kind, Listing, Offer
from .relay import Listener, Relay
from .seen import Seen

logger = logging.getLogger(__name__)

FOLD = 0.05
"""Seconds in which further changes are told together with the first."""

FIRST_UP = 0.3
"""Seconds in which the other backends may catch up with the first that is ready, before a client is greeted."""

CLIENT_WAIT = 3.0
"""Seconds from its first request in which a client waits for backends that are starting: for its greeting, while none
is ready, and for its first lists. Many clients give up after 5 s; what is late is announced."""

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
        relay: tells the clients of changes.
        startup_timeout: seconds that a backend has to get ready which is added at run time.
        chain: leads to the backends; where it is refused, the configuration file's are not started.
    """

    def __init__(self, names: Names, relay: Relay, startup_timeout: float, chain: Chain) -> None:
        self._names = names
        self.chain = chain
        self._relay = relay
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
        self._catalogs: dict[tuple[Era, Session | None], Catalog] = {}
        self._apart: set[Session] = set()
        """The clients that are offered what others are not: some backend has a connection for them alone."""
        self._before: dict[tuple[Era, Session | None], Catalog] = {}
        """The catalogs before the last change."""
        self._version = 0
        self._flushed = 0
        self._changed = anyio.Event()
        self._reported: set[str] = set()

    @asynccontextmanager
    async def running(self, servers: Mapping[str, ServerConfig]) -> AsyncGenerator[None, None]:
        """Start these servers, keep all servers connected, and stop them all on leaving."""
        self._deadline = anyio.current_time() + START_WAIT
        async with self._relay.running(), anyio.create_task_group() as self._group:
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
        return not self._has_started and self._any("starting") and anyio.current_time() < self._deadline

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
        backend = Backend(name, config, self._note_change, self._relay, self.chain)
        self._backends[name] = self._last[name] = backend
        if replaced:
            logger.info("%s: restarted, as its configuration changed", name)
            backend.succeed(replaced)

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
        with anyio.move_on_after(self._startup_timeout):
            for backend in added:
                await backend.settled.wait()
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

    async def ready(self, since: float, found: Callable[[], bool] = lambda: False) -> None:
        """Wait until something is `found` or no backend is starting any more, at most `CLIENT_WAIT` from `since`."""
        with anyio.move_on_after(min(since + CLIENT_WAIT, self._deadline) - anyio.current_time()):
            while not found() and self._any("starting"):
                await self._changed.wait()

    async def greeting_ready(self, since: float) -> None:
        """Wait a moment for backends still starting, so that a client can be told what they can do.

        A client that is greeted too early is told too much; one that waits for a hanging backend waits in vain.
        """
        deadline = min(since + CLIENT_WAIT, self._deadline)
        one_is_up = False
        while anyio.current_time() < deadline and self._any("starting"):
            if not one_is_up and self._any("ready"):
                one_is_up, deadline = True, min(deadline, anyio.current_time() + FIRST_UP)
            with anyio.move_on_after(deadline - anyio.current_time()):
                await self._changed.wait()

    @property
    def behind(self) -> dict[str, int]:
        """Which Multi-MCPs there are from here on, by distance; this one is the first."""
        return behind(self.chain.id, [each for backend in self._backends.values() for each in backend.behind])

    def offers(self, era: Era, session: Session | None = None) -> dict[str, Offer]:
        """What each backend offers to a client: said to itself, or in its era where that is spoken, or in the other."""
        return {
            name: backend.offers[key]
            for name, backend in self._backends.items()
            if (key := backend.offered(era, session))
        }

    def catalog(self, era: Era, session: Session | None = None, spelling: Spelling = "plain") -> Catalog:
        """What is offered now to a client, under names of this spelling."""
        key = era, session if session in self._apart else None
        if key not in self._catalogs:
            filters = {name: backend.config.tools for name, backend in self._backends.items()}
            built = build(self.offers(*key), self._names, filters)
            before = self._before[key].listings if key in self._before else {}
            # A list that did not change is the same object again: who is to be told of changes compares many.
            same = {
                kind: replace(listing, items=before[kind].items)
                for kind, listing in built.listings.items()
                if kind in before and before[kind].items == listing.items
            }
            self._catalogs[key] = replace(built, listings={**built.listings, **same})
        return self._catalogs[key].spelled(spelling)

    def greet(self, era: Era) -> Seen:
        """What a client has seen that is greeted now."""
        return Seen(self.catalog(era).listings, self._version)

    async def wait_for_lists(self, client: Client) -> None:
        """Wait before a client's first lists, as `ready` does."""
        if client.seen is None or not self._any("starting"):
            return await self.ready(client.since)
        client.seen.asking += 1
        try:
            await self.ready(client.since)
        finally:
            client.seen.asking -= 1
            self._wake()

    def hand_out(self, client: Client, kind: Kind) -> Listing:
        """A list for a client, which has seen it from now on."""
        if client.seen is not None:
            # Names in another spelling change with the plain ones.
            client.seen.hand_out(kind, self.catalog(client.era, client.session).listings, self._version)
        elif self._flushed != self._version:
            # Which of the listening streams is this client's, nobody knows. What is told now, it is told before it has
            # the list, and not once more after it.
            self._flushed = self._version
            for listener in self._relay.listeners():
                if listener.era == "modern":
                    self._tell_listener(listener)
        listing = self.catalog(client.era, client.session, client.names).listings[kind]
        return replace(listing, ttl_ms=0) if self._any("starting") else listing  # a part of it must not be kept

    async def settle(self, seen: Seen) -> None:
        """A client is there now: it is told of changes when it has its first list, or does not ask for one."""
        await anyio.sleep(CALM)
        if not seen.is_settled:
            seen.is_settled = True
            self._wake()

    def capabilities(self, era: Era) -> dict[str, Any]:
        """The union of what the backends can do and the proxy relays.

        A backend that has not been ready yet may turn out to be able to do anything, and so may one that is added where
        there is none. What it lists is announced when it arrives; what it can do, a legacy client is told only once.
        """
        offers = self.offers(era)
        declared = {key for offer in offers.values() for key in offer.capabilities}
        resources = [offer.capabilities.get("resources") for offer in offers.values()]
        subscribe = any(isinstance(capability, dict) and capability.get("subscribe") for capability in resources)
        if not offers or any(not backend.offers and not backend.is_idle for backend in self._backends.values()):
            declared |= {"completions", "logging"} | {kind.capability for kind in KINDS}
            subscribe = True
        capabilities: dict[str, Any] = {
            kind.capability: {"listChanged": True} for kind in KINDS if kind.capability in declared
        }
        if subscribe:
            capabilities["resources"]["subscribe"] = True
        capabilities |= {key: {} for key in ("completions", "logging") if key in declared}
        if self._names.namespace == "never" and len(offers) == len(self._backends) == 1:
            # Nobody else is meant: what else it says of itself (experimental, extensions, tasks) holds here, too.
            [only] = offers.values()
            capabilities = {**only.capabilities, **capabilities}
        return capabilities

    def refresh(self, era: Era, session: Session | None) -> None:
        """Have a client's lists read again that may have changed unnoticed. Does not wait for that."""
        for backend in self._backends.values():
            backend.refresh(era, session)

    async def set_level(self) -> None:
        """Have the backends send the log messages that are wanted by now."""
        async with anyio.create_task_group() as group:
            for backend in self._backends.values():
                group.start_soon(backend.set_level)

    def forget(self, session: Session) -> None:
        """A client is gone: what backends did for it alone ends."""
        for backend in self._backends.values():
            backend.unwatch(session)

    def instructions(self, era: Era) -> str | None:
        """The backends' instructions, each under its backend's name."""
        parts = [f"# {name}\n\n{offer.instructions}" for name, offer in self.offers(era).items() if offer.instructions]
        return "\n\n".join(parts) or None

    def _any(self, state: State) -> bool:
        return any(backend.state == state for backend in self._backends.values())

    def _note_change(self) -> None:
        self._has_started |= not self._any("starting")
        self._version += 1
        backends = self._backends.values()
        self._apart = {key for backend in backends for key in backend.offers if isinstance(key, Session)}
        catalogs = {**self._before, **self._catalogs}
        self._before = {key: catalogs[key] for key in catalogs if key[1] is None or key[1] in self._apart}
        self._catalogs.clear()
        for backend in backends:
            if backend.announced:
                for listener in self._relay.listeners():
                    key = backend.offered(listener.era, listener.session)
                    for announced, capability in backend.announced:
                        if announced == key:
                            listener.seen.hear(capability, self._version)
                backend.announced.clear()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _report_refused(self) -> None:
        """Say once that LLM APIs would refuse names, when the first servers are there."""
        await self.ready(self._deadline)
        while not (refused := self.catalog("legacy").refused):
            await self._changed.wait()
        logger.info(
            "LLM APIs would refuse %d of %d tool names, such as '%s', as they take %s only; for names that they take, "
            "connect to /mcp?names=llm or /sse?names=llm, or start with --names llm (MULTI_MCP_NAMES=llm)",
            len(refused),
            len(self.catalog("legacy").routes[TOOLS]),
            refused[0],
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
        for listener in self._relay.listeners():
            self._tell_listener(listener)
        collisions = {text for era in _ERAS for text in self.catalog(era).collisions}
        for text in sorted(collisions - self._reported):
            logger.error("name collision: %s", text)
        self._reported = collisions

    def _tell_listener(self, listener: Listener) -> None:
        if listener.is_ready and listener.seen.is_settled and not listener.seen.asking:
            lists = self.catalog(listener.era, listener.session).listings
            for capability in listener.seen.news(lists, self._version):
                listener.tell(capability)
