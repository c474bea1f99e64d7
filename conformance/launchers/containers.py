"""What targets in containers have in common, whatever runs the containers.

Rules:
- The fixture servers run in a container of their own, forked as everywhere. Its folder is shared by the harness, by
  that container and, where the target starts servers over stdio, by the target's, under one path: so journals are plain
  files, a server is asked for through one socket, and its standard streams are handed over, pipes of the target's own.
- That takes one kernel: the engine or the node has to run on this machine. Where it does not, the target is skipped.
- The folder holds copies of the fixture servers, so that nothing else has to be mounted. Anyone may write in it, for a
  container's user is anyone; the folder around it is the harness's alone.
"""

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from conformance import forks as forking
from conformance.fixtures import SERVERS, START_WAIT, Forks
from conformance.target import Target
from conformance.verdict import HarnessError, Missing

LABEL = "mcp-proxy-conformance"
"""What is made for a run has this label, with the target's name: containers of Docker, a namespace of Kubernetes."""

LOOK = 0.05
"""Seconds between two looks at what does not announce itself."""

WORDS = 2000
"""Characters of a log that are told."""


def share(folder: Path, target: Target) -> Forks:
    """A shared folder in `folder`, with all it takes to fork fixture servers in a container; `address` is open."""
    shared = folder / "shared"
    shared.mkdir()
    shutil.copyfile(forking.__file__, shared / "forks.py")
    shutil.copytree(SERVERS, shared / "servers", ignore=shutil.ignore_patterns("__pycache__"))
    for path in shared.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shared.chmod(0o777)
    return Forks(shared / "socket", shared, shared / "servers", shared / "forks.py", target.launch.python or "")


def forking_command(forks: Forks) -> list[str]:
    """What the fixtures' container runs. Its stdin has to stay open: the process ends with it."""
    return ["python3", str(forks.stub), "serve", str(forks.socket), str(forks.servers)]


async def forking_begun(
    forks: Forks, image: str, alive: Callable[[], Awaitable[bool]], log: Callable[[], Awaitable[str]]
) -> None:
    """Wait until the container that runs `forking_command` forks.

    Raises:
        HarnessError: it does not.
        Missing: it runs, but not on this machine.
    """
    ended = False
    beginning = forks.socket.with_name(f"{forks.socket.name}.new")
    with anyio.move_on_after(START_WAIT):
        while not ended:
            if forks.socket.exists():
                await _connect(forks.socket)
                return
            ended = not await alive()
            await anyio.sleep(LOOK)
    if ended or beginning.exists():
        raise not_begun(image, await log())
    raise elsewhere(forks.folder)


def not_begun(image: str, log: str) -> HarnessError:
    """That the fixture servers do not start."""
    return HarnessError(
        f"the fixture servers do not start in the image '{image}', which needs a python3 with the MCP SDK "
        f"(launch.fixtures): {log[-WORDS:]}"
    )


async def _connect(socket: Path) -> None:
    try:
        stream = await anyio.connect_unix(os.fspath(socket))
    except OSError:
        raise elsewhere(socket.parent) from None
    await stream.aclose()


def elsewhere(folder: Path) -> Missing:
    """That the containers are not on this machine."""
    return Missing(
        f"containers that share {folder} with this machine; the engine or the cluster's node has to run on its kernel, "
        "and to see its files under the same path (TMPDIR says where they are)"
    )
