"""Fuzz: broken messages at each door of running proxies, of which nobody else may notice anything.

    python -m tests.fuzz.run [--inputs N] [--seed N] [--jobs N] [DOOR...]

What has to hold is in `doors.py`; at the end nothing may be left of all inputs (`MORE`): memory, descriptors,
tasks, and objects of the proxy's own classes, calls in flight among them. Inputs come in rounds of hypothesis, each
with its own seed: what fails is made as small as can be, and shown as bytes; `--seed` makes the same inputs again.

Exit status: 0 where nothing failed; else 1.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from tests.fuzz.doors import DOORS, Door
from tests.fuzz.messages import rarely
from tests.support.watched import BOUNDS

BATCH = 16
"""How many inputs come together, from one client or server."""

ROUND = 200
"""How many batches make a round; after each what the proxy holds is looked at."""

SMALLER = 60.0
"""Seconds for which what failed is made smaller."""

ENOUGH = 600
"""Inputs after which it can be said what has grown: sessions that nobody ends are as many as there may be by then."""

PATIENCE = 20
"""How many more times what the proxy holds is looked at, a second after another, before it is called a leak."""

MORE = BOUNDS | {"memory": 12.0, "tasks": 8, "descriptors": 25}
"""What may be more after all inputs: those of many sizes leave holes, and a server has a connection for each era."""


def fuzz(name: str, inputs: int, begin: int, first: str = "pass", smaller: bool = True) -> tuple[str, str]:
    """Send inputs in at a door; returns a line on how it went, and what failed.

    Args:
        begin: the seed of the first round.
        first: code that the proxy runs before it starts.
        smaller: whether what fails is made small.
    """
    inputs = max(BATCH, inputs // DOORS[name].cost)
    begun, problem = time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        door = DOORS[name](Path(folder), first)
        runner.run(door.open())
        batches = min(ROUND, 2 + inputs // BATCH // 6)  # the first of each round has nothing in it
        while door.taken < inputs and not problem:
            problem = attempt(runner, door, batches, begin + len(door.proxy.samples), smaller)
            if not problem:
                runner.run(door.proxy.sample())
        for _ in range(PATIENCE):
            if problem or not grown(door):
                break
            runner.run(asyncio.sleep(1))  # what is still under way is no leak
            runner.run(door.proxy.sample())
        problem = problem or grown(door)
        try:
            runner.run(door.close())
        except AssertionError as exc:
            problem = problem or str(exc)
    seconds = time.monotonic() - begun
    growth = ", ".join(f"{what} {more:+g}" for what, more in door.proxy.growth().items()) if door.proxy.samples else ""
    return f"{name}: {door.taken:,} inputs in {seconds:.0f} s, {door.taken / seconds:,.0f} a second; {growth}", problem


def attempt(runner: asyncio.Runner, door: Door, batches: int, number: int, smaller: bool) -> str:
    """One round of hypothesis; returns what failed, and the inputs, as small as was found."""
    failed: list[str] = []
    begun = time.monotonic()
    phases = (Phase.generate, Phase.shrink) if smaller else (Phase.generate,)

    @seed(number)
    @settings(
        max_examples=batches,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(st.lists(rarely(st.none(), door.inputs), min_size=BATCH, max_size=BATCH))
    def feed(batch: list[Any]) -> None:
        nonlocal begun
        sys.setrecursionlimit(10_000)  # answers may be nested as deep as questions, and have as long numbers
        sys.set_int_max_str_digits(0)
        batch = [each for each in batch if each is not None]
        if failed and time.monotonic() > begun + SMALLER:
            return
        try:
            runner.run(door.take(batch))
        except AssertionError as exc:
            begun = begun if failed else time.monotonic()
            failed.append(f"{exc}\n--seed {number} {door.name}, after these inputs:\n" + "\n".join(map(repr, batch)))
            raise

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # a long input has a long repr; the recursion limit
            feed()
    except Exception as exc:
        return min(failed, key=len) if failed else repr(exc)
    return ""


def grown(door: Door) -> str:
    """What is more than it may be."""
    if door.taken < ENOUGH:
        return ""
    growth = door.proxy.growth()
    more = {what: growth[what] for what, bound in MORE.items() if growth[what] > bound}
    if not more:
        return ""
    warm, last = door.proxy.looks[len(door.proxy.looks) // 4], door.proxy.looks[-1]
    types = {key: number - warm["by type"].get(key, 0) for key, number in last["by type"].items()}
    return f"grew: {more}; {sorted(types.items(), key=lambda item: -item[1])[:15]}; {last['by task']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("doors", nargs="*", metavar="DOOR", help=f"all unless given: {', '.join(DOORS)}")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each door; a tenth where each takes long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--jobs", type=int, default=1, help="how many doors are tried at once")
    options = parser.parse_args()
    if unknown := set(options.doors) - set(DOORS):
        parser.error(f"there is no door {', '.join(unknown)}")
    print(f"seed {options.seed}", flush=True)
    status = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        pending = [pool.submit(fuzz, door, options.inputs, options.seed) for door in options.doors or DOORS]
        for each in pending:
            line, problem = each.result()
            print(line, f"\nFAILED: {problem}" if problem else "", flush=True)
            status |= bool(problem)
    return status


if __name__ == "__main__":
    sys.exit(main())
