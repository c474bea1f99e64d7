"""The stage: targets and fixture servers that run, shared by scenarios that can share them.

Rules:
- A world is a target with certain fixture servers behind it over one transport. Worlds and the clients in them are
  shared by all scenarios that ask for the same, unless a scenario wants its own.
- Whatever is opened lives in a task of its own, so that one scenario may open it and another be the last to use it.
- A world that is replaced, since its target is dead or stuck, comes back with fixture servers of its own.
- Leaving the stage ends everything.
"""

import itertools
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .case import Transport
from .client import Command
from .fixtures import SERVERS, Backend, Journal, Server, listening
from .launchers import GROUNDS, Ground, Running, Site, launching
from .launchers.base import Ending, LaunchError, site
from .naming import Offered, Scheme
from .patience import Patience
from .target import Target

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Held:
    """Something open in a task of its own."""

    def __init__(self) -> None:
        self._close = anyio.Event()
        self._closed = anyio.Event()

    async def run(self, manager: AbstractAsyncContextManager[T], *, task_status: TaskStatus[T]) -> None:
        started = False
        try:
            async with manager as value:
                started = True
                task_status.started(value)
                await self._close.wait()
        except Exception:
            # Whoever opens it hears of it. Later, what is wrong shows to those who use it, and harms no others.
            if not started:
                raise
            logger.exception("what was held open failed")
        finally:
            self._closed.set()

    async def close(self) -> None:
        """Close it, and wait until it is closed."""
        self._close.set()
        await self._closed.wait()


@dataclass
class World:
    """A target that runs, and what is behind it."""

    running: Running
    backends: dict[str, Backend]
    opened: list[Held]
    """What ends with it, in the order in which it was opened."""
    scheme: Scheme
    """How the target names things, and what is known of that so far."""
    patience: Patience = field(default_factory=Patience)
    """How long is waited in it."""
    runs: int = 0
    """How many were begun in it."""
    stuck: bool = False
    """Whether its target has left a request without an answer, or has ended."""

    @property
    def site(self) -> Site:
        """Where the target is."""
        return self.running.site

    async def close(self) -> None:
        """End the target and what was started for it alone. One that is stuck is killed: it would not end by itself."""
        if self.stuck and self.running.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.running.process.pid, signal.SIGKILL)
        while self.opened:
            await self.opened.pop().close()


class Stage:
    """All that runs for one target. Use within `open_stage`."""

    def __init__(self, target: Target, folder: Path, ground: Ground, group: TaskGroup) -> None:
        self.target = target
        self._folder = folder
        self._ground = ground
        self._group = group
        self._worlds: dict[tuple[Any, ...], World] = {}
        self.offered: dict[str, Offered] = {}
        """What fixture servers offer by themselves, by file; for those who want to know."""
        self._listening: dict[Server, tuple[str, Journal]] = {}
        self._numbers = itertools.count(1)
        self._replaced: set[tuple[Any, ...]] = set()
        self.patience = Patience(target.patience)
        """How long is waited in shared worlds, and in others unless they are opened with another one."""
        self._startup = target.launch.startup
        self._longest_start = 0.0
        self._ending = Ending()
        self._starts = anyio.CapacityLimiter(os.cpu_count() or 1)

    @property
    def many(self) -> bool:
        """Whether there can be many worlds at once: not of a target that runs already, nor of one with its own port."""
        places = [url for url in (self.target.endpoints.http, self.target.endpoints.sse) if url]
        return self.target.launch.kind != "url" and all(re.search(r"\$\{?port", url) for url in places)

    def hurry(self, wait: float, start: float, headroom: float) -> None:
        """Be impatient from now on.

        Args:
            wait: seconds that a wait takes at most, before the target's factor.
            start: seconds that a start may take at least.
            headroom: how often the longest start so far has to fit into that time.
        """
        self.patience.limit = wait
        self._startup = max(start, headroom * self._longest_start)

    async def hold(self, manager: AbstractAsyncContextManager[T]) -> tuple[T, Held]:
        """Open something that stays open beyond the scenario that opens it."""
        held = Held()
        return await self._group.start(held.run, manager), held

    async def world(self, servers: Sequence[Server], transport: Transport) -> World:
        """The shared world with these servers, started when first asked for, and again if it has died.

        Raises:
            Failure: the target does not start.
            HarnessError: a fixture server does not.
            Missing: this machine lacks something without which the target cannot be started.
        """
        key = (tuple(servers), transport)
        if key in self._worlds and not await self._worlds[key].running.alive():
            await self.discard(self._worlds[key])
        if key not in self._worlds:
            begun = time.monotonic()
            self._worlds[key] = await self.own_world(servers, transport, shared=key not in self._replaced)
            self._longest_start = max(self._longest_start, time.monotonic() - begun)
        return self._worlds[key]

    async def discard(self, world: World) -> None:
        """Close a world that is of no use any more: whoever asks for one like it gets a fresh one."""
        for key in [key for key, known in self._worlds.items() if known is world]:
            self._replaced.add(key)
            del self._worlds[key]
        await world.close()

    async def clear(self) -> None:
        """Close the shared worlds, all at once: a target that does not end when it is told to takes its time each."""
        worlds = list(self._worlds.values())
        self._worlds.clear()
        async with anyio.create_task_group() as group:
            for world in worlds:
                group.start_soon(world.close)

    async def own_world(
        self, servers: Sequence[Server], transport: Transport, *, shared: bool = False, full: bool = False
    ) -> World:
        """A world of its own, to be closed by whoever asks for it; otherwise as `world`.

        Args:
            shared: its fixture servers may be shared with other worlds.
            full: waits in it have no limit, whatever limit there is for others.
        """
        if not self.many:
            await self.clear()
        folder = self._folder / f"world{next(self._numbers)}"
        folder.mkdir(parents=True)
        opened: list[Held] = []
        patience = Patience(self.target.patience) if full else self.patience
        launch = self.target.launch
        if not full:
            launch = launch.model_copy(update={"startup": min(launch.startup, self._startup)})
        target = self.target.model_copy(update={"launch": launch})
        try:
            backends = {
                server.name: await self.backend(server, transport, None if shared else opened, patience)
                for server in servers
            }
            async with self._starts:  # more at once would only make all of them slow
                running, held = await self._launched(target, dict(backends), folder)
        except BaseException as exc:
            if isinstance(exc, LaunchError):
                exc.cause = f"the target does not start with {', '.join(server.name for server in servers)} behind it"
            with anyio.CancelScope(shield=True):
                while opened:
                    await opened.pop().close()
            raise
        scheme = Scheme(self.target.names, self.target.shared_endpoint)
        return World(running, backends, [*opened, held], scheme, patience)

    def by_itself(self, file: str) -> Command:
        """What starts a fixture server with no target in front of it, over stdio."""
        journal = self._folder / f"{next(self._numbers)}.journal"
        if self.target.launch.in_container:  # where they are forked is in another
            path = SERVERS / f"{file}.py"
            return Command((sys.executable, str(path), "--transport", "stdio", "--journal", str(journal)))
        return Command(Server(file).argv("stdio", journal, self._ground.forks))

    async def _launched(self, target: Target, backends: Mapping[str, Backend], folder: Path) -> tuple[Running, Held]:
        """The target started; once more if it did not get its port, which was free when it was chosen."""
        place = site(target, backends, folder, self._ending)
        try:
            return await self.hold(launching(self._ground, target)(place))
        except LaunchError:
            if _free(int(place.values["port"])):
                raise
        return await self.hold(launching(self._ground, target)(site(target, backends, folder, self._ending)))

    async def backend(
        self, server: Server, transport: Transport, opened: list[Held] | None, patience: Patience | None = None
    ) -> Backend:
        """A fixture server ready to be put behind the target.

        Args:
            opened: takes what was started for it alone; None shares what is there.
            patience: how long its journal waits; by default as in shared worlds.
        """
        forks = self._ground.forks
        number = next(self._numbers)
        journal = Journal(forks.folder / f"{number}.journal", patience or self.patience)
        if transport == "stdio":
            return Backend(
                server, transport, Command(server.argv(transport, journal.path, forks), dict(server.env)), journal
            )
        # By name as well: two of the same file are two servers.
        if opened is not None or server not in self._listening:
            command = server.argv(transport, journal.path, forks)
            address, held = await self.hold(listening(command, self._folder / f"fixture{number}.log"))
            if opened is None:
                self._listening[server] = address, journal
            else:
                opened.append(held)
        else:
            address, journal = self._listening[server]
        return Backend(server, transport, address + ("/sse" if transport == "sse" else "/mcp"), journal)


def _free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@asynccontextmanager
async def open_stage(target: Target, folder: Path) -> AsyncGenerator[Stage, None]:
    """A stage for one target, its files in `folder`, which nobody else can enter.

    Raises:
        Missing: this machine lacks something without which the target cannot be started.
        HarnessError: the fixture servers cannot be started.
    """
    async with GROUNDS[target.launch.kind](target, folder) as ground, anyio.create_task_group() as group:
        yield Stage(target, folder, ground, group)
        # What is held ends by being cancelled, each shielding what it has to do.
        group.cancel_scope.cancel()
