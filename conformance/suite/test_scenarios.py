"""Every scenario in every case."""

from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from syrupy.assertion import SnapshotAssertion

from conformance.case import Case
from conformance.plugin import Conformance
from conformance.runner import Player
from conformance.scenarios import Scenario
from conformance.verdict import Verdict


def test_scenario(
    scenario: Scenario,
    case: Case,
    player: tuple[BlockingPortal, Player],
    conformance: Conformance,
    snapshot: SnapshotAssertion,
    record_property: Any,
) -> None:
    portal, plays = player
    result = conformance.check(portal.call(plays.play, scenario, case), scenario, case, snapshot)
    record_property("verdict", str(result.verdict))
    if result.verdict != Verdict.PASS:
        pytest.fail(f"{result.verdict}: {result.message}", pytrace=False)
