"""Every scenario in every case."""

from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from syrupy.assertion import SnapshotAssertion

from conformance.case import Case
from conformance.course import Course
from conformance.plugin import Conformance
from conformance.runner import Played
from conformance.scenarios import Scenario
from conformance.verdict import RunResult, Verdict


def test_scenario(
    scenario: Scenario,
    case: Case,
    course: tuple[BlockingPortal, Course],
    conformance: Conformance,
    snapshot: SnapshotAssertion,
    record_property: Any,
) -> None:
    def compare(scenario: Scenario, played: Played) -> RunResult:
        return conformance.check(scenario, played, snapshot)

    portal, plays = course
    result = portal.call(plays.first, scenario, case, compare)
    verdict = result.verdict if result else Verdict.NOT_CHECKED
    record_property("verdict", str(verdict))
    if result and verdict != Verdict.PASS:
        pytest.fail(f"{verdict}: {result.message}", pytrace=False)
