"""What a launcher is given and what it gives."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import httpx2
from anyio.abc import Process

from conformance.admin import Admin
from conformance.case import Transport
from conformance.client import EXIT_WAIT, Endpoint, http_client
from conformance.config import config_files
from conformance.filling import fill
from conformance.fixtures import Backend, Forks, forker
from conformance.target import Target, placeholders
from conformance.verdict import Silence

LOOK = 0.02
"""Seconds between two looks at whether a target is ready: it does not announce it."""

SAID = 8000
"""Bytes of a target's log that are kept of a run."""


async def _at_once(server: str) -> None:
    """Nothing to wait for."""


class LaunchError(Silence):
    """The target's: it does not start, or does not get ready."""


@dataclass
class Ending:
    """How long a target may take to end when it was told to, in all its worlds together."""

    seconds: float = EXIT_WAIT


@dataclass(frozen=True)
class Site:
    """Where a target is started: what is to be put behind it, a folder for its files, and its placeholders' values."""

    target: Target
    backends: Mapping[str, Backend]
    folder: Path
    values: Mapping[str, str]
    log: Path
    """Collects what the target writes on stderr; it is appended to."""
    ending: Ending

    @property
    def files(self) -> dict[str, str]:
        """The texts of the target's configuration file, and of those beside it, by name."""
        entries = {name: backend.entry for name, backend in self.backends.items()}
        return config_files(self.target, entries, self.values)

    def write_files(self, folder: Path) -> None:
        """Write the target's configuration file, and those beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")

    async def words(self) -> str:
        """What is in the log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def at(self, **values: str) -> "Site":
        """The same with other values for some placeholders."""
        return replace(self, values={**self.values, **values})


@dataclass(frozen=True)
class Running:
    """A target that is ready.

    Args:
        site: where it is.
        endpoint: where a client connects, by its transport and the server it wants to reach.
        alive: whether it still runs.
        log: its last words, where they are not in a file of its own (`Site.log`).
        admin: where servers are added and removed at run time, if it can.
        begun: waits until what leads to a server is ready, where that may be later than the rest.
            Raises `LaunchError`: it does not start.
        process: the program that was started, where it is one for all clients.
    """

    site: Site
    endpoint: Callable[[Transport, str], Endpoint]
    alive: Callable[[], Awaitable[bool]]
    log: Callable[[], Awaitable[str]]
    admin: Admin | None = None
    begun: Callable[[str], Awaitable[object]] = _at_once
    process: Process | None = None

    @property
    def logged(self) -> int:
        """How much it has written to its log so far, in bytes; 0 where that is no file."""
        return self.site.log.stat().st_size if self.site.log.exists() else 0

    async def said(self, since: int) -> str:
        """The end of what it has logged since its log had so many bytes; its last words where that is no file."""
        if not self.site.log.exists():
            return (await self.log())[-SAID:]
        begin = max(since, self.logged - SAID)
        with self.site.log.open("rb") as file:
            file.seek(begin)
            text = file.read(SAID).decode(errors="replace")
        # Half a line may be half a secret, which nobody would recognise.
        return text if begin == since else text.partition("\n")[2]


Launch = Callable[[Site], AbstractAsyncContextManager[Running]]
"""Starts a target; leaving the block ends it, and nothing it started is left.

Raises:
    LaunchError: the target's: it does not start or does not get ready in time.
    Missing: this machine's: it lacks something without which the target cannot be started.
"""


@dataclass(frozen=True)
class Ground:
    """What a run stands on: a process that forks fixture servers, and what launches targets beside it."""

    forks: Forks
    launch: Launch


Open = Callable[[Target, Path], AbstractAsyncContextManager[Ground]]
"""Opens the ground for a target, its files in a folder that nobody else can enter; leaving the block clears it.

Raises:
    Missing: this machine's: it lacks something without which the target cannot be started.
    HarnessError: the fixture servers cannot be started.
"""


def here(launch: Launch) -> Open:
    """The ground of targets that run on this machine as they are."""

    @asynccontextmanager
    async def ground(target: Target, folder: Path) -> AsyncGenerator[Ground, None]:
        async with forker(folder) as forks:
            yield Ground(forks, launch)

    return ground


def site(target: Target, backends: Mapping[str, Backend], folder: Path, ending: Ending) -> Site:
    """A place for a target in `folder`, with a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    # (In a container the configuration has an absolute path, which stays as it is.)
    values = placeholders(port, folder / target.config.file, target)
    return Site(target, backends, folder, values, folder / "target.log", ending)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as probes:
        ports = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports


async def always() -> bool:
    """Of what is not ours to watch."""
    return True


async def nothing() -> str:
    """The last words of what is not ours to listen to."""
    return ""


def served(
    site: Site,
    alive: Callable[[], Awaitable[bool]] = always,
    log: Callable[[], Awaitable[str]] = nothing,
) -> Running:
    """A target whose endpoints are as its file says."""
    return Running(site, lambda transport, server: site.target.endpoint(transport, server, site.values), alive, log)


async def ready(
    site: Site,
    alive: Callable[[], Awaitable[bool]],
    log: Callable[[], Awaitable[str]],
    reachable: Callable[[], Awaitable[bool]] = always,
) -> None:
    """Wait until the target is ready: its `ready` URL answers 200; without one, its port accepts connections, or, as
    somebody else accepts them for a container, answers HTTP.

    Args:
        site: where it is.
        alive: whether it runs, or may yet.
        log: its last words.
        reachable: whether it may be tried to reach it already.

    Raises:
        LaunchError: it ended, or took longer than `launch.startup`.
    """
    launch, values = site.target.launch, site.values
    ended = False
    with anyio.move_on_after(launch.startup):
        while not ended:
            if not await reachable():
                there = False
            elif launch.ready:
                there = await _answers(fill(launch.ready, values), 200)
            elif launch.in_container:
                there = await _answers(f"http://{values['host']}:{values['port']}", None)
            else:
                there = await _accepts(values["host"], int(values["port"]))
            ended = not await alive()  # (or somebody else answers where it could not listen)
            if there and not ended:
                return
            await anyio.sleep(LOOK)
    how = "ended while starting" if ended else f"was not ready within {launch.startup:g} s"
    raise LaunchError(
        f"the target {how}",
        "a target that is ready; one that is slow has more time with [launch] startup",
        f"its last words: {(await log())[-2000:] or 'none'}",
    )


async def _answers(url: str, status: int | None) -> bool:
    """Whether a GET is answered, with this status if one is given."""
    async with http_client(timeout=5) as http:
        try:
            async with http.stream("GET", url) as response:
                return status in (response.status_code, None)
        except httpx2.TransportError:
            return False


async def _accepts(host: str, port: int) -> bool:
    try:
        stream = await anyio.connect_tcp(host, port)
    except OSError:
        return False
    await stream.aclose()
    return True
