"""What results come to in a few lines: by area, by cause, and what took longest. Pure; reports show it.

Rules:
- Failures that a finding explains are told once, with the finding. Others of one message are one cause, too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from conformance.verdict import Verdict

from .results import Again, Outcome, Results, State

WRONG = frozenset({Verdict.FAIL, Verdict.UNSTEADY, Verdict.HARNESS_ERROR})
"""Verdicts with something to explain."""


class Cause(NamedTuple):
    """One thing that is wrong, and the ids of the requirements that it shows in."""

    text: str
    requirements: tuple[str, ...]


def areas(outcomes: Iterable[Outcome]) -> Mapping[str, Counter[State]]:
    """How many requirements came to what, by area, in the order of the areas; only what was selected."""
    counted: dict[str, Counter[State]] = {}
    for outcome in outcomes:
        if outcome.selected:
            counted.setdefault(outcome.area, Counter())[outcome.state] += 1
    return counted


def causes(results: Results) -> list[Cause]:
    """What shows in more than one requirement, that which shows in most first: findings, and messages that repeat.
    What is in the baseline is no news."""
    found = [Cause(finding.text, tuple(finding.requirements)) for finding in results.findings]
    explained = {requirement for cause in found for requirement in cause.requirements}
    by_message: dict[str, list[str]] = {}
    for outcome in wrong(results):
        if outcome.id not in explained:
            by_message.setdefault(message(outcome), []).append(outcome.id)
    found += [Cause(text, tuple(ids)) for text, ids in by_message.items() if len(ids) > 1]
    return sorted(found, key=lambda cause: len(cause.requirements), reverse=True)


def wrong(results: Results) -> list[Outcome]:
    """What was played and not kept, or could not be found out, and is not in the baseline."""
    return [
        outcome
        for outcome in results.requirements
        if outcome.runs and outcome.verdict in WRONG and outcome.state != "known"
    ]


def message(outcome: Outcome) -> str:
    """What was wrong in the first of the worst cases."""
    return next((run.message for run in outcome.runs if run.verdict == outcome.verdict), "")


def slowest(results: Results, most: int) -> list[tuple[str, float]]:
    """The requirements that took longest, all cases together, and their seconds; only what took a second or more."""
    took = {outcome.id: sum(run.seconds for run in outcome.runs) for outcome in results.requirements}
    return sorted(((each, s) for each, s in took.items() if s >= 1), key=lambda one: one[1], reverse=True)[:most]


def replayed(again: Again) -> str:
    """What came of a failure in fresh worlds, in words."""
    if not again.played:
        return "it was not played again: the run was broken off before"
    first = "it was the first run in its world" if not again.before else f"{_runs(again.before)} before it in its world"
    return f"played again in {again.played} fresh world{'s' * (again.played > 1)}: failed in {again.failed}; {first}"


def _runs(number: int) -> str:
    return "there was one run" if number == 1 else f"there were {number} runs"
