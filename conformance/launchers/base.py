"""What a launcher is given and what it gives."""

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2

from conformance.client import Endpoint, Transport
from conformance.fixtures import Backend
from conformance.target import Target, fill, placeholders, write_config
from conformance.verdict import Failure

LOOK = 0.02
"""Seconds between two looks at whether a target is ready: it does not announce it."""


class LaunchError(Failure):
    """The target's: it does not start, or does not get ready."""


@dataclass(frozen=True)
class Site:
    """Where a target is started: what is to be put behind it, a folder for its files, and its placeholders' values."""

    target: Target
    backends: Mapping[str, Backend]
    folder: Path
    values: Mapping[str, str]

    @property
    def log(self) -> Path:
        """Collects the target's stderr."""
        return self.folder / "target.log"

    def write_config(self) -> None:
        """Write the target's configuration file."""
        entries = {name: backend.entry for name, backend in self.backends.items()}
        Path(self.values["config"]).write_text(write_config(self.target, entries, self.values), encoding="utf-8")


@dataclass(frozen=True)
class Running:
    """A target that is ready.

    Args:
        endpoint: where a client connects, by its transport and the server it wants to reach.
        log: what the target has written to stderr so far.
        alive: whether it still runs.
    """

    endpoint: Callable[[Transport, str], Endpoint]
    log: Callable[[], str] = str
    alive: Callable[[], bool] = lambda: True


Launch = Callable[[Site], AbstractAsyncContextManager[Running]]
"""Starts a target; leaving the block ends it, and nothing it started is left.

Raises:
    LaunchError: the target's: it does not start or does not get ready in time.
"""


def site(target: Target, backends: Mapping[str, Backend], folder: Path) -> Site:
    """A place for a target in `folder`, with a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Site(target, backends, folder, placeholders(port, folder / target.config.file, target))


def served(site: Site, log: Callable[[], str] = str, alive: Callable[[], bool] = lambda: True) -> Running:
    """A target whose endpoints are as its file says."""
    return Running(lambda transport, server: site.target.endpoint(transport, server, site.values), log, alive)


async def ready(site: Site, alive: Callable[[], bool], log: Callable[[], str]) -> None:
    """Wait until the target is ready: its `ready` URL answers 200, or without one, its port accepts connections.

    Raises:
        LaunchError: it ended, or took longer than `launch.startup`.
    """
    launch = site.target.launch
    with anyio.move_on_after(launch.startup):
        while alive():
            if await (
                _answers(fill(launch.ready, site.values)) if launch.ready else _accepts(int(site.values["port"]))
            ):
                return
            await anyio.sleep(LOOK)
    how = "ended while starting" if not alive() else f"was not ready within {launch.startup:g} s"
    raise LaunchError(f"the target {how}", "a target that is ready", f"its last words: {log()[-2000:] or 'none'}")


async def _answers(url: str) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        try:
            return (await http.get(url)).status_code == 200
        except httpx2.TransportError:
            return False


async def _accepts(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
