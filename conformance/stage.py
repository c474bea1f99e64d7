"""The stage: targets and fixture servers that run, shared by scenarios that can share them.

Rules:
- A world is a target with certain fixture servers behind it over one transport. Worlds and the clients in them are
  shared by all scenarios that ask for the same, unless a scenario wants its own.
- Whatever is opened lives in a task of its own, so that one scenario may open it and another be the last to use it.
- Leaving the stage ends everything.
"""

import itertools
import logging
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .case import Transport
from .client import Command
from .fixtures import SERVERS, Backend, Journal, Server, listening
from .launchers import GROUNDS, Ground, Running, Site, launching
from .launchers.base import site
from .naming import Offered, Scheme
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

    @property
    def site(self) -> Site:
        """Where the target is."""
        return self.running.site

    async def close(self) -> None:
        """End the target and what was started for it alone."""
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
            await self._worlds.pop(key).close()
        if key not in self._worlds:
            self._worlds[key] = await self.own_world(servers, transport, shared=True)
        return self._worlds[key]

    async def own_world(self, servers: Sequence[Server], transport: Transport, shared: bool = False) -> World:
        """A world of its own, to be closed by whoever asks for it; otherwise as `world`."""
        if self.target.launch.kind == "url":  # there is but one, and names in it are taken
            while self._worlds:
                await self._worlds.popitem()[1].close()
        folder = self._folder / f"world{next(self._numbers)}"
        folder.mkdir(parents=True)
        opened: list[Held] = []
        backends = {
            server.name: await self.backend(server, transport, None if shared else opened) for server in servers
        }
        running, held = await self.hold(launching(self._ground, self.target)(site(self.target, dict(backends), folder)))
        return World(running, backends, [*opened, held], Scheme(self.target.names, self.target.shared_endpoint))

    def by_itself(self, file: str) -> Command:
        """What starts a fixture server with no target in front of it, over stdio."""
        journal = self._folder / f"{next(self._numbers)}.journal"
        if self.target.launch.in_container:  # where they are forked is in another
            path = SERVERS / f"{file}.py"
            return Command((sys.executable, str(path), "--transport", "stdio", "--journal", str(journal)))
        return Command(Server(file).argv("stdio", journal, self._ground.forks))

    async def backend(self, server: Server, transport: Transport, opened: list[Held] | None) -> Backend:
        """A fixture server ready to be put behind the target.

        Args:
            opened: takes what was started for it alone; None shares what is there.
        """
        forks = self._ground.forks
        number = next(self._numbers)
        journal = Journal(forks.folder / f"{number}.journal", self.target.patience)
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
