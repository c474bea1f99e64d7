"""Requirements, scenarios and goldens are kept in step, each way."""

import json

import pytest

from conformance.plugin import GOLDENS
from conformance.requirements import REQUIREMENTS
from conformance.scenarios import load_all
from conformance.target import load

SCENARIOS = load_all()


def test_every_requirement_is_checked_or_says_why_not() -> None:
    checked = {scenario.requirement.id for scenario in SCENARIOS.values()}
    unchecked = {requirement.id for requirement in REQUIREMENTS.values() if requirement.unchecked}
    assert checked | unchecked == REQUIREMENTS.keys()
    assert not checked & unchecked


def test_every_era_of_a_requirement_is_played() -> None:
    for requirement in REQUIREMENTS.values():
        if not requirement.unchecked:
            mine = [scenario for scenario in SCENARIOS.values() if scenario.requirement is requirement]
            assert {era for scenario in mine for era in scenario.eras} == set(requirement.eras), requirement.id


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_belongs_to_the_module_of_its_requirement(name: str) -> None:
    module = SCENARIOS[name].requirement.id.partition(":")[0]
    homes = {"sampling": "questions", "elicitation": "questions", "roots": "questions", "bridge": "mrtr", "sse": "http"}
    assert name.partition(".")[0] == homes.get(module, module)


def test_a_golden_is_of_a_scenario_that_is_played_directly() -> None:
    wanted = {f"{scenario.name}.json" for scenario in SCENARIOS.values() if not scenario.proxy_only}
    there = {path.name for path in GOLDENS.glob("*")}
    assert len(there) > 70
    assert not there - wanted


def test_no_golden_is_empty() -> None:
    for path in GOLDENS.glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8")), path.name


def test_a_target_that_declines_something_names_what_exists() -> None:
    for name in ("direct", "multimcp", "multimcp-stdio", "multimcp-sse", "multimcp-http", "fastmcp"):
        target = load(name)
        declined = {glob for glob in target.unsupported if any(target.declines(id) for id in REQUIREMENTS)}
        assert declined == target.unsupported.keys()
