"""The order of play, on a player that plays what it is told to: no process, no network."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from conformance import grading
from conformance.case import Case
from conformance.course import DEAF, DEAFNESS, NOT_STARTING, TIMES, VAIN, Course, slowest
from conformance.requirements import REQUIREMENTS
from conformance.runner import Played, Player
from conformance.scenarios import Scenario
from conformance.verdict import Failure, RunResult, Silence, Verdict

CASES = (Case("http", "modern", "stdio"), Case("http", "legacy", "stdio"))
PASS, FAIL = Verdict.PASS, Verdict.FAIL


def scenario(requirement: str = "tools:call:text") -> Scenario:
    return cast(Scenario, SimpleNamespace(requirement=REQUIREMENTS[requirement], name="a.b", own=False, servers=()))


class Stage:
    """As much of a stage as a course knows of it."""

    many = True
    target = SimpleNamespace(patience=1.0)

    def __init__(self) -> None:
        self.hurried: list[tuple[float, float, float]] = []

    def hurry(self, wait: float, start: float, headroom: float) -> None:
        self.hurried.append((wait, start, headroom))


class Scripted:
    """A player of which all runs come to what is written: first plays in `first`, in fresh worlds in `fresh`.

    Args:
        silent: whether what fails fails by silence, but for the `spoke` first.
    """

    def __init__(
        self,
        first: Sequence[Verdict],
        fresh: Sequence[Verdict] = (),
        *,
        silent: bool = False,
        seconds: float = 0.1,
        limit: float = 99.0,
        fresh_seconds: float = 0.1,
        hears: bool = True,
        start: Failure | None = None,
        spoke: int = 0,
    ) -> None:
        self.stage = Stage()
        self._first, self._fresh = iter(first), iter(fresh)
        self._silent, self._seconds, self._limit, self._fresh_seconds = silent, seconds, limit, fresh_seconds
        self._hears, self._start, self._spoke = hears, start, spoke
        self.asked = 0
        self.words: Iterator[str] = iter(())
        """What its runs say, one after the other."""

    async def try_out(self, runs: object) -> None:
        if self._start:
            raise self._start

    async def play(self, played: Scenario, case: Case, *, fresh: bool = False) -> Played:
        await anyio.lowlevel.checkpoint()
        verdict = next(self._fresh if fresh else self._first)
        seconds = self._fresh_seconds if fresh else self._seconds
        result = RunResult(played.requirement.id, played.name, case, verdict, seconds)
        result.message = next(self.words, f"{'fresh' if fresh else 'first'} {verdict}")
        self._spoke -= not fresh
        silent = self._silent and verdict == FAIL and (fresh or self._spoke < 0)
        return Played(result, [], silent, 0 if fresh else 4, self._limit)

    async def answers(self, servers: object, case: Case) -> bool:
        self.asked += 1
        return self._hears

    async def clear(self) -> None:
        pass


def compare(played: Scenario, run: Played) -> RunResult:
    return run.result


async def played(
    player: Scripted, runs: int = 1, seconds: float | None = None, **more: Any
) -> tuple[Course, list[RunResult]]:
    """The course of so many runs, and what was told."""
    told: list[RunResult] = []
    chosen = [(scenario(**more), CASES[number % 2]) for number in range(runs)]
    course = Course(cast(Player, player), chosen, seconds)
    await course.begin()
    for one, case in chosen:
        await course.first(one, case, compare)
    await course.second(compare, told.append)
    return course, told


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fresh", "verdict", "again", "said"),
    [
        ([FAIL], FAIL, (1, 1, 4), "fresh fail; the first time: first fail"),
        (
            [PASS, FAIL],
            FAIL,
            (2, 1, 4),
            "fresh fail; the first time: first fail (in the run, and in 1 of 2 fresh worlds)",
        ),
        (
            [PASS, PASS, FAIL],
            FAIL,
            (3, 1, 4),
            "fresh fail; the first time: first fail (in the run, and in 1 of 3 fresh worlds)",
        ),
        ([PASS] * 3, Verdict.UNSTEADY, (3, 0, 4), "failed once, and in none of 3 fresh worlds (a race, or the order"),
        ([Verdict.NOT_APPLICABLE] * 3, Verdict.UNSTEADY, (3, 0, 4), "failed once"),
        ([Verdict.NOT_CHECKED], FAIL, None, "first fail"),
        ([Verdict.HARNESS_ERROR], Verdict.HARNESS_ERROR, None, "fresh harness error"),
    ],
)
async def test_what_failed_is_played_again(
    fresh: list[Verdict], verdict: Verdict, again: tuple[int, int, int] | None, said: str
) -> None:
    course, told = await played(Scripted([FAIL], fresh))
    (result,) = course.results
    assert result.verdict == verdict
    assert (result.again and (result.again.played, result.again.failed, result.again.before)) == again
    assert result.message.startswith(said)
    assert told == ([] if len(fresh) == 1 and verdict == FAIL else [result])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "again", "told"),
    [
        ("none within 3 s", "none within 20 s", "none within 20 s"),
        ("none within 3.5 s", "the list is empty", "the list is empty; the first time: none within 3.5 s"),
    ],
)
async def test_another_failure_in_a_fresh_world_leaves_the_first_to_be_read(first: str, again: str, told: str) -> None:
    player = Scripted([FAIL], [FAIL])
    player.words = iter([first, again])
    course, _ = await played(player)
    assert course.results[0].message == told


@pytest.mark.anyio
async def test_what_passed_is_not_played_again() -> None:
    course, told = await played(Scripted([PASS, Verdict.NOT_OFFERED]), runs=2)
    assert [result.again for result in course.results] == [None, None]
    assert told == []


@pytest.mark.anyio
async def test_one_case_that_fails_again_is_enough() -> None:
    course, _ = await played(Scripted([FAIL] * 20, [FAIL] * 20), runs=20)
    again = [result.again for result in course.results]
    assert again[0] is not None
    assert 0 < sum(each is not None for each in again) < 20
    assert {result.verdict for result in grading.confirmed(course.results)} == {FAIL}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("silent", "seconds", "verdict"),
    [(True, 5.0, PASS), (True, 0.5, Verdict.UNSTEADY), (False, 5.0, Verdict.UNSTEADY)],
)
async def test_what_was_only_too_slow_for_the_first_pass_has_passed(
    silent: bool, seconds: float, verdict: Verdict
) -> None:
    player = Scripted([FAIL], [PASS] * TIMES, silent=silent, limit=3.0, fresh_seconds=seconds)
    course, _ = await played(player)
    assert course.results[0].verdict == verdict


@pytest.mark.anyio
@pytest.mark.parametrize(("hears", "runs", "plays", "asked"), [(False, 10, DEAF, 1), (True, 3 * DEAF, 3 * DEAF, 2)])
async def test_a_run_ends_when_nothing_is_answered_any_more(hears: bool, runs: int, plays: int, asked: int) -> None:
    player = Scripted([FAIL] * 99, [FAIL] * 99, silent=True, hears=hears)
    course, _ = await played(player, runs)
    assert len(course.results) == plays
    assert player.asked == asked
    assert (course.ended is not None and course.ended.cause == DEAFNESS) == (not hears)
    assert {result.cause for result in course.results} == {"" if hears else DEAFNESS}


@pytest.mark.anyio
@pytest.mark.parametrize("spoke", [0, 1])
async def test_silence_of_a_deaf_target_confirms_nothing_but_silence(spoke: int) -> None:
    course, _ = await played(Scripted([FAIL] * 9, [FAIL] * 9, silent=True, hears=False, spoke=spoke), 9)
    assert course.ended is not None
    assert [result.again is not None for result in course.results[:2]] == [not spoke, True]


@pytest.mark.anyio
async def test_a_target_that_answers_between_is_not_deaf() -> None:
    player = Scripted([FAIL, FAIL, PASS] * 5, [FAIL] * 99, silent=True, hears=False)
    course, _ = await played(player, 15)
    assert (len(course.results), player.asked, course.ended) == (15, 0, None)


@pytest.mark.anyio
async def test_a_target_that_does_not_start_fails_once() -> None:
    failure = Silence("it was not ready within 60 s", "ready", "its last words: no licence")
    course, _ = await played(Scripted([], start=failure), 5)
    (result,) = course.results
    assert (result.verdict, result.message, result.cause) == (FAIL, "it was not ready within 60 s", NOT_STARTING)
    assert course.ended is not None
    assert course.ended.why == f"{NOT_STARTING}: it was not ready within 60 s; its last words: no licence"
    assert [each.verdict for each in grading.confirmed(course.results)] == [FAIL]


@pytest.mark.anyio
async def test_a_run_ends_when_its_time_is_over() -> None:
    course, _ = await played(Scripted([PASS] * 9), 9, seconds=1e-9)
    assert course.results == []
    assert course.ended == grading.Ended("the 1e-09 s of --timeout were over")


@pytest.mark.anyio
@pytest.mark.parametrize(("seconds", "hurried"), [(1.0, []), (19.0, [(1.5, 10.0, 5)])])
async def test_the_first_pass_gets_impatient_after_long_waits(seconds: float, hurried: list[object]) -> None:
    player = Scripted([FAIL] * VAIN, [FAIL] * VAIN, silent=True, seconds=seconds)
    await played(player, VAIN)
    assert player.stage.hurried == hurried


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fresh", "results", "spared"),
    [
        ([FAIL] * 9, VAIN, 3),  # it is not kept: that is enough
        ([PASS] * 99, VAIN + 3, 0),  # it is kept there, so the other cases are to be seen
        ([PASS] * TIMES * VAIN + [FAIL] * 99, VAIN + 3, 0),
    ],
)
async def test_of_what_is_left_without_an_answer_the_other_cases_may_be_spared(
    fresh: list[Verdict], results: int, spared: int
) -> None:
    course, _ = await played(Scripted([FAIL] * VAIN, fresh, silent=True, seconds=19.0), VAIN + 3)
    assert (len(course.results), course.spared) == (results, spared)
    assert {result.verdict for result in course.results[VAIN:]} <= {fresh[-1]}


@pytest.mark.anyio
async def test_what_is_answered_wrongly_is_played_in_every_case() -> None:
    course, _ = await played(Scripted([FAIL] * 9, [FAIL] * 9, seconds=19.0), VAIN + 3)
    assert (len(course.results), course.spared) == (VAIN + 3, 0)


def test_the_slowest_answer_of_a_wire_log() -> None:
    def entry(at: float, way: str, message: object, channel: str = "client 1") -> dict[str, object]:
        return {"at": at, "way": way, "message": message, "channel": channel}

    entries = [
        entry(0, "note", "connected"),
        entry(1, "sent", {"id": 1, "method": "a"}),
        entry(2, "sent", {"id": 2, "method": "a"}),
        entry(3, "received", {"id": 1, "method": "a question of the server"}),
        entry(4, "received", {"id": 1, "result": {}}, "client 2"),
        entry(502, "received", {"id": 2, "result": {}}),
        entry(601, "received", {"id": 1, "result": {}}),
        entry(9000, "sent", {"id": 3, "method": "never answered"}),
    ]
    assert slowest(entries) == 0.6
    assert slowest([]) == 0.0
