"""The processes of fixture servers: their ids are in the servers' journals.

Rules:
- They can be seen where the harness and the process that forks them have one list of processes: not with containers.
- What a target leaves running is killed once it has been told.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from conformance.fixtures import Journal
from conformance.session import Session

END_WAIT = 8.0
"""Seconds in which a server has to be ended: longer than clients wait before they use force, twice."""


def processes(*journals: Journal) -> set[int]:
    """Those that served so far."""
    return {entry["pid"] for journal in journals for entry in journal.entries}


def running(*journals: Journal) -> set[int]:
    """Those of them that still run."""
    return set(filter(runs, processes(*journals)))


async def require_gone(s: Session, pids: Iterable[int], what: str, wait: float = END_WAIT) -> None:
    """None of these processes is left, at the latest some time later; `what` says what is wrong if one is.

    Raises:
        Failure: one is left. It is killed then.
    """
    pids = set(pids)

    async def gone() -> bool:
        return not any(map(runs, pids))

    try:
        await s.until(gone, what, wait)
    finally:
        kill(pids)


def kill(pids: Iterable[int]) -> None:
    """Those that still run."""
    for pid in filter(runs, pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for (a zombie) does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return status.parent.parent.exists() is False
