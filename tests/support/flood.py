"""Pushing past a bound: what becomes of the proxy's memory, of its log, and of its neighbours meanwhile."""

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .processes import Proxy, RawClient, until

WITHIN = 2.5 if "coverage" in sys.modules else 0.5
"""Seconds in which a neighbour has to be answered. Coverage, which the proxy inherits, makes a callback for each chunk
of six bytes cost more than ten times as much: 39 ms become 0.6 s on a quiet machine."""

MEMORY = 96
"""MiB that a proxy may grow by, whose bounds are some MiB."""


def resident(pid: int) -> int:
    """The memory of a process, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


class Watch:
    """Looks at a proxy until it is stopped: its memory, and how long `/healthz` and a call to `ok::echo` take."""

    def __init__(self, here: Proxy) -> None:
        self._here = here
        self._done = threading.Event()
        self.before = self.peak = resident(here.popen.pid)
        self.slowest = 0.0
        self.errors: list[object] = []
        self._threads = [threading.Thread(target=look) for look in (self._look, self._ask)]
        for thread in self._threads:
            thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, resident(self._here.popen.pid))

    def _ask(self) -> None:
        with RawClient(self._here.url, "modern") as client:
            while not self._done.wait(0.02):
                begun = time.monotonic()
                if self._here.http("GET", "/healthz").status_code != 200:
                    self.errors.append("/healthz")
                between = time.monotonic()
                answer = client.exchange("tools/call", {"name": "ok::echo", "arguments": {}})
                if "result" not in answer:
                    self.errors.append(answer)
                self.slowest = max(self.slowest, between - begun, time.monotonic() - between)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def push(row: str, here: Proxy, act: Callable[[], object], line: str | None, *, memory: int = MEMORY) -> None:
    """Push past a bound by `act`, and check what its `row` in docs/operations.md promises to all others.

    Args:
        row: how the row begins.
        here: the proxy, as it was started for this bound alone, or for several that have lines of their own.
        act: returns when the bound is crossed.
        line: the line of the log that tells of it, at most once a minute; None where that is no news for a log.
        memory: MiB that the proxy may grow by.
    """
    slowest, tries = 2 * WITHIN, 3
    while slowest >= WITHIN:  # how long something takes says as much of the machine as of the proxy
        assert tries, f"{row}: a neighbour waited for {slowest:.2f} s"
        tries -= 1
        watch = Watch(here)
        try:
            act()
        finally:
            watch.stop()
        slowest = watch.slowest
        assert not watch.errors, watch.errors[:3]
        assert watch.peak - watch.before <= memory, f"{row}: {watch.before} -> {watch.peak} MiB"
        print(f"{row}: +{watch.peak - watch.before} MiB, {1000 * slowest:.0f} ms")
    if line is not None:
        begun = here.begun
        until(lambda: told(here, line), what=line)
        minutes = (time.monotonic() - begun) // 60
        assert len(told(here, line)) <= 1 + minutes, told(here, line)


def told(here: Proxy, line: str) -> list[str]:
    """The lines of the log that are like this."""
    return [each for each in here.lines if re.search(line, each)]
