"""The fixture servers as backends: where they are, how they are started, and what they received.

Rules:
- Over stdio a fixture is started by whoever connects. Over SSE and HTTP one process serves all worlds, unless a
  scenario wants its own.
- They run where the process that forks them does (`Forks`): on this machine, or in a container of their own.
- What a fixture receives and sends it appends to its journal, a file. A journal tells of what happened since it was
  last marked.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from . import forks as forking
from .case import Transport
from .client import NOTICE_WAIT, Command, end_process
from .patience import Patience
from .verdict import Failure, HarnessError
from .wire import Message

_PACKAGED = Path(__file__).with_name("servers")
SERVERS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "fixtures" / "servers"
"""In an installed package the fixture servers are in it; in the repository they have their own place."""

LOOK = 0.01
"""Seconds between two looks at a file: nothing announces what others append to it."""

SHARED_FORKS = "CONFORMANCE_FORKS"
"""Environment variable with the socket of a process that forks servers, for many runs that share one."""

START_WAIT = 30.0
"""Seconds a fixture server has to listen."""


@dataclass(frozen=True)
class Forks:
    """A process that forks fixture servers, on this kernel, though maybe in a container.

    Args:
        socket: where it is asked for one.
        folder: where its servers can write, and the harness can read. Paths are the same wherever they are used.
        servers: the files of the servers, where it is.
        stub: forks.py, where a target is that starts a server over stdio.
        python: what runs the stub there.
        address: where a target reaches a server that listens.
    """

    socket: Path
    folder: Path
    servers: Path = SERVERS
    stub: Path = Path(forking.__file__)
    python: str = sys.executable
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A fixture server as a scenario asks for it.

    Args:
        name: under which the target knows it.
        file: which one, of fixtures/servers, without `.py`.
        args: more of its command line.
        era: which revisions it speaks.
        env: of its process, over stdio, as the target's configuration sets it.
        headers: of every HTTP request to it, as the target's configuration sets them.
    """

    name: str
    file: str = ""
    args: tuple[str, ...] = ()
    era: Literal["both", "legacy", "modern"] = "both"
    env: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How the URIs of its resources begin."""
        file = self.file or self.name
        return ("test://", "skill://pdf-processing/") if file == "everything" else (f"{file}://",)

    def argv(self, transport: Transport, journal: Path, forks: Forks) -> tuple[str, ...]:
        """Its command line, by way of the process that forks servers: the target's over stdio, else the harness's."""
        path = forks.servers / f"{self.file or self.name}.py"
        python = forks.python if transport == "stdio" else sys.executable
        more = () if transport == "stdio" else ("--host", forks.address, "--port", "0")
        era = () if self.era == "both" else ("--era", self.era)
        # Neither the environment nor installed packages concern a stub, and they would cost it time.
        stub = (python, "-I", "-S", str(forks.stub), str(forks.socket))
        return (*stub, str(path), "--transport", transport, "--journal", str(journal), *more, *era, *self.args)


@dataclass(frozen=True)
class Backend:
    """A fixture server ready to be put behind a target: how it is reached, and its journal."""

    server: Server
    transport: Transport
    reach: Command | str
    journal: "Journal"

    @property
    def entry(self) -> dict[str, Any]:
        """As in `mcpServers`."""
        if isinstance(self.reach, Command):
            entry: dict[str, Any] = {"command": self.reach.argv[0], "args": list(self.reach.argv[1:])}
            return entry | ({"env": dict(self.reach.env)} if self.reach.env else {})
        headers = dict(self.server.headers)
        return {"type": self.transport, "url": self.reach} | ({"headers": headers} if headers else {})


class Journal:
    """What a fixture server received and did, since it was last marked; `patience` is how long it waits."""

    def __init__(self, path: Path, patience: Patience | None = None) -> None:
        self.path = path
        self._patience = patience or Patience()
        self._offset = 0

    def mark(self) -> None:
        """From now on. A line that is being written now comes after the mark."""
        self._offset += len(self._lines())

    @property
    def entries(self) -> list[Message]:
        """What it received and did, without what it sent and the answers to its questions."""
        return [entry for entry in self.everything if entry["at"] not in ("sent", "answered")]

    @property
    def everything(self) -> list[Message]:
        return [json.loads(line) for line in self._lines().splitlines()]

    @property
    def whole(self) -> list[Message]:
        """The same from the very beginning, whatever was marked."""
        return [json.loads(line) for line in self._lines(0).splitlines()]

    def _lines(self, offset: int | None = None) -> bytes:
        """The whole lines since the mark: the last one may still be on its way."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(self._offset if offset is None else offset)
            text = file.read()
        return text[: text.rfind(b"\n") + 1]

    def received(self, method: str) -> list[Message]:
        """Messages that reached it, by method."""
        return [entry for entry in self.entries if entry["at"] == "received" and entry["method"] == method]

    async def wait(self, wanted: Callable[[Message], bool], what: str, wait: float = NOTICE_WAIT) -> Message:
        """The first entry that is `wanted`, now or later.

        Raises:
            Failure: it does not come within `wait` seconds, times the patience.
        """
        bound = self._patience.bound(wait)
        with anyio.move_on_after(bound):
            while True:
                if found := next((entry for entry in self.entries if wanted(entry)), None):
                    return found
                await anyio.sleep(LOOK)
        seen = ", ".join(str(entry.get("method", entry["at"])) for entry in self.entries) or "nothing"
        raise Failure(f"{what} did not happen at the backend", what, f"the backend saw, within {bound:g} s: {seen}")


@asynccontextmanager
async def forker(folder: Path) -> AsyncGenerator[Forks, None]:
    """A process on this machine that forks fixture servers. Leaving the block ends the servers that are left, too.

    Raises:
        HarnessError: it does not start.
    """
    if SHARED_FORKS in os.environ:
        yield Forks(Path(os.environ[SHARED_FORKS]), folder)
        return
    path = folder / "forks"
    process = await anyio.open_process(
        # It ends with its stdin, so that nothing is left even of a harness that was killed.
        (sys.executable, forking.__file__, "serve", str(path), str(SERVERS)),
        stdin=subprocess.PIPE,
        stdout=None,
        stderr=None,
    )
    try:
        with anyio.move_on_after(START_WAIT):
            while not path.exists() and process.returncode is None:
                await anyio.sleep(LOOK)
        if not path.exists():
            raise HarnessError("the fixture servers cannot be imported")
        yield Forks(path, folder)
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@asynccontextmanager
async def listening(command: tuple[str, ...], log: Path) -> AsyncGenerator[str, None]:
    """A fixture server over HTTP, by its command line; yields the URL without its path.

    Raises:
        HarnessError: it does not start.
    """
    with log.open("wb") as stderr:
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
    try:
        yield await _address(log, lambda: process.returncode is not None)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            await end_process(process)


async def _address(log: Path, ended: Callable[[], bool]) -> str:
    with anyio.move_on_after(START_WAIT):
        while True:
            text = log.read_text(errors="replace")
            if match := re.search(r"listening on (http://[^/\s]+)[/\s]", text):  # it may be half written
                return match[1]
            if ended():
                break
            await anyio.sleep(LOOK)
    raise HarnessError(f"a fixture server does not start: {log.read_text(errors='replace')[-2000:]}")
