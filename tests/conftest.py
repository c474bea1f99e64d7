"""A test that fails while others have the machine is run again; no other is.

The host of a virtual machine gives its processors to others now and then, at times for minutes nearly all of them. What
then takes too long says nothing, neither for nor against the proxy. So what fails while at least a tenth of the
processor time that was wanted went to others (`steal` in /proc/stat) is run again, up to three times, and the summary
tells of it with its traceback. What fails on a machine of its own has failed.

CI plays two environments side by side (`.ci/run` says so in the environment). What fails there while for half of the
time somebody waited for a processor (/proc/pressure/cpu) is run again likewise.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

STAT = Path("/proc/stat")
"""Only Linux tells how much it was given; elsewhere nothing is run again."""

PRESSURE = Path("/proc/pressure/cpu")

SHARE = 0.1

BESIDE, HALF = "TESTS_SIDE_BY_SIDE", 0.5

DELAY = 30.0
"""Seconds from a failure to the next try, in which the others may have done."""


@dataclass(frozen=True)
class Times:
    """Processor time since the machine started, in ticks: what it used, and what it wanted while others had it; and in
    seconds, for how long somebody waited for a processor, and when that was."""

    used: int = 0
    stolen: int = 0
    waited: float = 0.0
    at: float = 0.0

    @classmethod
    def now(cls) -> "Times":
        used = stolen = 0
        if STAT.exists():
            user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, STAT.read_text().split()[1:9])
            used = user + nice + system + irq + softirq
        told = re.search(r"some .*total=(\d+)", PRESSURE.read_text()) if PRESSURE.exists() else None
        return cls(used, stolen, int(told[1]) / 1e6 if told else 0.0, time.monotonic())

    def starved(self, later: "Times") -> bool:
        """Whether others had their `SHARE` from here to `later`, or those beside it in CI."""
        stolen, waited = later.stolen - self.stolen, later.waited - self.waited
        if BESIDE in os.environ and waited > HALF * (later.at - self.at):
            return True
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
