"""A test that fails while others have the machine is run again; no other is.

The host of a virtual machine gives its processors to others now and then, at times for minutes nearly all of them. What
then takes too long says nothing, neither for nor against the proxy. So what fails while at least a tenth of the
processor time that was wanted went to others (`steal` in /proc/stat) is run again, up to three times, and the summary
tells of it with its traceback. What fails on a machine of its own has failed.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

STAT = Path("/proc/stat")
"""Only Linux tells how much it was given; elsewhere nothing is run again."""

SHARE = 0.1

DELAY = 30.0
"""Seconds from a failure to the next try, in which the others may have done."""


@dataclass(frozen=True)
class Times:
    """Processor time since the machine started, in ticks: what it used, and what it wanted while others had it."""

    used: int = 0
    stolen: int = 0

    @classmethod
    def now(cls) -> "Times":
        if not STAT.exists():
            return cls()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, STAT.read_text().split()[1:9])
        return cls(user + nice + system + irq + softirq, steal)

    def starved(self, later: "Times") -> bool:
        """Whether others had their `SHARE` from here to `later`."""
        stolen = later.stolen - self.stolen
        return stolen > 0 and stolen >= SHARE * (later.used - self.used + stolen)


begun = Times()
"""At the start of the running test, its fixtures included."""


def pytest_runtest_logstart() -> None:
    global begun
    begun = Times.now()


def starved() -> bool:
    return begun.starved(Times.now())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    again = pytest.mark.flaky(reruns=3, reruns_delay=DELAY, condition=starved)
    for item in items:
        item.add_marker(again)
