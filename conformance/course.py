"""The course of a run: everything once, and then what failed again in fresh worlds, before it counts.

Rules:
- A run that failed is played again in fresh worlds, up to `TIMES` times, until it fails again. One that passes in all
  of them is unsteady. Of a requirement one case that fails again is enough.
- The second pass has several worlds at once, as most of its time is waiting, and gives the target all the time that it
  may take. So the first pass may be impatient with a target that has left requests without an answer for long: what it
  is too quick to accuse is played in full later. Of a requirement that it leaves without an answer in one case the
  other cases are played only if it turns out to be kept in that one.
- A target that leaves several runs in a row without an answer, and a list in a fresh world too, has gone deaf: the run
  ends early. It also ends when its time is over.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

import anyio

from .case import Case
from .client import ANSWER_WAIT
from .grading import Ended
from .runner import Played, Player
from .scenarios import Scenario
from .verdict import Again, Failure, RunResult, Verdict

TIMES = 3
"""How often what failed is played again, unless it fails before."""

AT_ONCE = 12
"""Runs of the second pass at once."""

DEAF = 3
"""Runs in a row without an answer after which it is looked whether the target answers at all; then twice as many."""

VAIN = 2
"""Runs that failed after a long wait after which the first pass gets impatient."""

BRISK = 1.5
"""Seconds that an impatient wait takes at least; a target that is known to be slow gets more."""

BRISK_START = 10.0
"""Seconds that the target may take to start at least, when the first pass is impatient."""

PATIENT = 0.75
"""Of the time that an answer may take, the part after which a failure has been a long wait."""

HEADROOM = 5
"""How often the longest time that is known of the target fits into an impatient wait."""

Compare = Callable[[Scenario, Played], RunResult]
"""Compares the transcript of a run with its golden; returns the run's result."""


class Course:
    """The runs of one target, and what came of them.

    Args:
        seconds: how long all of it may take; the time begins now.
    """

    def __init__(self, player: Player, runs: Sequence[tuple[Scenario, Case]], seconds: float | None) -> None:
        self._player = player
        self._runs = runs
        self._seconds = seconds
        self._deadline = inf if seconds is None else time.monotonic() + seconds
        self.results: list[RunResult] = []
        self.ended: Ended | None = None
        self._suspects: list[tuple[Scenario, Played]] = []
        self._real: set[str] = set()
        self._mute: set[str] = set()
        """The requirements of which a run was left without an answer."""
        self._spared: list[tuple[Scenario, Case]] = []
        self._vain = 0
        self._slowest = 0.0
        self._hurried = False
        self._deaf = 0
        self._patient = DEAF
        self._good = next((run for run in runs if not run[0].own), runs[0] if runs else None)

    async def begin(self) -> None:
        """Start the target for the first time. If it does not start, that is the first run's failure, and the end.

        Raises:
            HarnessError: a fixture server does not start.
            Missing: this machine lacks something without which the target cannot be started.
        """
        try:
            with anyio.CancelScope(deadline=self._deadline) as scope:
                await self._player.try_out(self._runs)
            self._over(scope)
        except Failure as failure:
            scenario, case = self._runs[0]
            result = RunResult(scenario.requirement.id, scenario.name, case, Verdict.FAIL, 0.0)
            result.message = failure.message
            result.expected, result.actual, result.cause = failure.expected, failure.actual, NOT_STARTING
            result.again = Again(1, 1, 0)  # it was tried in several worlds
            self.results.append(result)
            self.ended = Ended(f"{NOT_STARTING}: {failure.message}; {failure.actual}".removesuffix("; "), NOT_STARTING)

    async def first(self, scenario: Scenario, case: Case, compare: Compare) -> RunResult | None:
        """Play a run; returns its result, or None if all has ended or it is spared. What failed comes again."""
        if self.ended:
            return None
        if self._hurried and scenario.requirement.id in self._mute:
            self._spared.append((scenario, case))
            return None
        with anyio.CancelScope(deadline=self._deadline) as scope:
            played = await self._player.play(scenario, case)
        if self._over(scope) or played.result.verdict == Verdict.NOT_CHECKED:
            return None
        result = compare(scenario, played)
        self.results.append(result)
        if result.verdict == Verdict.FAIL:
            self._suspects.append((scenario, played))
            if played.silent:
                self._mute.add(result.requirement)
        with anyio.CancelScope(deadline=self._deadline) as scope:
            await self._learn(scenario, case, played)
        self._over(scope)
        return result

    def _over(self, scope: anyio.CancelScope) -> bool:
        """Whether the time is over."""
        if scope.cancelled_caught and time.monotonic() >= self._deadline:
            self.ended = self.ended or Ended(f"the {self._seconds:g} s of --timeout were over")
        return scope.cancelled_caught

    async def _learn(self, scenario: Scenario, case: Case, played: Played) -> None:
        """What a run tells of how long the target has to be waited for, and of whether it hears at all."""
        result = played.result
        if result.verdict == Verdict.PASS and not scenario.own:
            self._good = scenario, case
            self._slowest = max(self._slowest, slowest(result.wire))
        long = PATIENT * ANSWER_WAIT * self._player.stage.target.patience
        self._vain += result.verdict == Verdict.FAIL and result.seconds > long
        if self._vain >= VAIN:
            self._hurried = True
            self._player.stage.hurry(max(BRISK, HEADROOM * self._slowest), BRISK_START, HEADROOM)
        if result.verdict in (Verdict.PASS, Verdict.FAIL):
            self._deaf = self._deaf + 1 if played.silent else 0
        if self._deaf >= self._patient:
            await self._ask()

    async def _ask(self) -> None:
        """Find out whether the target answers anything, and end if not."""
        assert self._good is not None
        scenario, case = self._good
        if await self._player.answers(scenario.servers, case):
            self._deaf, self._patient = 0, 2 * self._patient
            return
        why = f"{self._deaf} runs in a row got no answer, and tools/list in a fresh world got none"
        self.ended = Ended(f"{DEAFNESS}: {why}", DEAFNESS)
        for _, played in self._suspects[-self._deaf :]:
            played.result.cause = DEAFNESS

    async def second(self, compare: Compare, told: Callable[[RunResult], None]) -> None:
        """Play again what failed, and let the results say what came of it.

        Args:
            told: hears of each result that is not simply as before.
        """
        await self._player.clear()
        limiter = anyio.CapacityLimiter(AT_ONCE if self._player.stage.many else 1)
        with anyio.CancelScope(deadline=self._deadline) as scope:
            async with anyio.create_task_group() as group:
                for scenario, played in one_of_each_first(self._suspects):
                    group.start_soon(self._again, scenario, played, limiter, compare, told)
            async with anyio.create_task_group() as group:
                for one, case in [*self._spared]:
                    group.start_soon(self._late, one, case, limiter, compare, told)
        self._over(scope)

    @property
    def spared(self) -> int:
        """How many runs were not played, as another case has shown that their requirement is not kept."""
        return len(self._spared)

    async def _late(
        self,
        scenario: Scenario,
        case: Case,
        limiter: anyio.CapacityLimiter,
        compare: Compare,
        told: Callable[[RunResult], None],
    ) -> None:
        """Play what was spared, unless its requirement is not kept."""
        async with limiter:
            if scenario.requirement.id in self._real or self.ended:
                return
            self._spared.remove((scenario, case))
            played = await self._player.play(scenario, case, fresh=True)
        if played.result.verdict == Verdict.NOT_CHECKED:
            return
        self.results.append(compare(scenario, played))
        if played.result.verdict == Verdict.FAIL:
            await self._again(scenario, played, limiter, compare, told)

    async def _again(
        self,
        scenario: Scenario,
        suspect: Played,
        limiter: anyio.CapacityLimiter,
        compare: Compare,
        told: Callable[[RunResult], None],
    ) -> None:
        result = suspect.result
        async with limiter:
            if result.requirement in self._real:
                return
            verdicts: list[Verdict] = []
            while len(verdicts) < TIMES and Verdict.FAIL not in verdicts:
                replay = await self._player.play(scenario, result.case, fresh=True)
                if replay.result.verdict == Verdict.NOT_CHECKED or self._proves_nothing(suspect, replay):
                    return
                seen = compare(scenario, replay)
                verdicts.append(seen.verdict)
                if seen.verdict == Verdict.HARNESS_ERROR or _only_slow(suspect, replay):
                    break
        if verdicts[-1] == Verdict.FAIL:
            self._real.add(result.requirement)
            _become(result, seen, cause=result.cause if result.cause == DEAFNESS else seen.cause)
            result.again = Again(len(verdicts), 1, suspect.before)
            if len(verdicts) > 1:
                result.message += f" (in the run, and in 1 of {len(verdicts)} fresh worlds)"
                told(result)
        elif seen.verdict == Verdict.HARNESS_ERROR or _only_slow(suspect, replay):
            _become(result, seen, cause="")
            told(result)
        else:
            result.verdict = Verdict.UNSTEADY
            result.again = Again(len(verdicts), 0, suspect.before)
            where = "a race, or the order of runs" if suspect.before else "a race"
            result.message = f"failed once, and in none of {len(verdicts)} fresh worlds ({where}): {result.message}"
            told(result)

    def _proves_nothing(self, suspect: Played, replay: Played) -> bool:
        """Whether a replay only says that the target is deaf by now, which is no news of what failed otherwise."""
        return self.ended is not None and replay.silent and not suspect.silent


NOT_STARTING = "the target does not start"
DEAFNESS = "the target answers nothing any more"


def _only_slow(suspect: Played, replay: Played) -> bool:
    """Whether it failed since the first pass was impatient: it takes longer than it was given."""
    return suspect.silent and replay.result.verdict != Verdict.FAIL and replay.result.seconds > suspect.limit


def _become(result: RunResult, seen: RunResult, cause: str) -> None:
    """Take over what was seen in a fresh world, where nothing from before can have a part in it. Another failure than
    the first confirms that the requirement is not kept; both are told."""
    first = result.message
    for name in ("verdict", "message", "expected", "actual", "diff", "wire", "behind", "stderr", "seconds", "revision"):
        setattr(result, name, getattr(seen, name))
    result.cause = cause
    if seen.verdict == Verdict.FAIL and _shape(first) != _shape(seen.message):
        result.message += f"; the first time: {first}"


def _shape(message: str) -> str:
    """A message without its numbers: the seconds of an impatient wait make no other failure."""
    return re.sub(r"\d+(\.\d+)?", "#", message)


def one_of_each_first(suspects: Iterable[tuple[Scenario, Played]]) -> list[tuple[Scenario, Played]]:
    """What failed, a case of each requirement before all others: if it fails again, they need not be played."""
    seen: set[str] = set()
    order: tuple[list[tuple[Scenario, Played]], ...] = ([], [])
    for scenario, played in suspects:
        order[scenario.requirement.id in seen].append((scenario, played))
        seen.add(scenario.requirement.id)
    return [*order[0], *order[1]]


def slowest(entries: Iterable[dict[str, Any]]) -> float:
    """The seconds of the longest time from a request to its response, of a wire log."""
    sent: dict[tuple[str, str], float] = {}
    longest = 0.0
    for entry in entries:
        message = entry["message"]
        if not isinstance(message, dict) or "id" not in message:
            continue
        key = entry["channel"], str(message["id"])
        if entry["way"] == "sent" and "method" in message:
            sent[key] = entry["at"]
        elif entry["way"] == "received" and "method" not in message and key in sent:
            longest = max(longest, entry["at"] - sent.pop(key))
    return longest / 1000
