"""What the official suite said, as tests/official judges it.

The sample was recorded directly and through a proxy that did not relay progress: three scenarios, without what is not
looked at.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.official.results import (
    NOT_BUILT,
    OF_THE_HOP,
    Check,
    Listed,
    Miss,
    Run,
    Unreadable,
    failing,
    judge,
    lost,
    parse_list,
    read_client_run,
    read_run,
    unmet,
    unmet_by,
)

SAMPLE = json.loads(Path(__file__).with_name("official_sample.json").read_text())
LISTED = Listed(["ping", "tools-call-with-progress"], ["server-sse-polling"], ["initialize", "sse-retry"])
PROGRESS = "ToolsCallWithProgress (tools-call-with-progress)"
GOOD = Check("Ping (ping)", "SUCCESS")
Results = dict[str, Any]


def record(folder: Path, way: str, change: Callable[[Results], object] = lambda results: None) -> Path:
    """A folder of results, as the suite leaves it."""
    results = json.loads(json.dumps(SAMPLE[way]))
    change(results)
    for name, checks in results.items():
        (folder / name).mkdir(parents=True)
        if checks is not None:
            (folder / name / "checks.json").write_text(checks if isinstance(checks, str) else json.dumps(checks))
    return folder


def ping(results: Results) -> str:
    return next(name for name in results if name.startswith("server-ping-"))


@pytest.fixture
def direct(tmp_path: Path) -> Run:
    return read_run(record(tmp_path / "direct", "direct"), 0, LISTED)


@pytest.fixture
def proxied(tmp_path: Path) -> Run:
    return read_run(record(tmp_path / "proxied", "proxied"), 1, LISTED)


# What the suite lists


def test_a_list_names_what_is_required_and_what_is_not_scored() -> None:
    assert parse_list(SAMPLE["list"]) == LISTED


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Unknown revision", id="an error"),
        pytest.param(SAMPLE["list"].replace("  - ping\n", ""), id="one is not found"),
        pytest.param(SAMPLE["list"].replace("  - ", "  * "), id="another format"),
        pytest.param("Required for 2025-11-25 (0 scenarios, frozen)\n", id="none"),
        pytest.param(
            SAMPLE["list"].replace("  - initialize\n  - sse-retry\n", "").replace("(4 ", "(2 "), id="none for clients"
        ),
    ],
)
def test_a_list_that_is_not_understood_is_no_list(text: str) -> None:
    with pytest.raises(Unreadable, match="conformance list"):
        parse_list(text)


# What a run left behind


def test_a_run_is_read(direct: Run, proxied: Run) -> None:
    assert failing(direct, LISTED.required) == []
    assert failing(proxied, LISTED.required) == ["tools-call-with-progress"]
    assert proxied["tools-call-with-progress"][0] == Check(PROGRESS, "FAILURE", "No progress notifications received")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda results: results.clear(), "listed and not run", id="no scenario was run"),
        pytest.param(lambda results: results.pop(ping(results)), "ping", id="one was not run"),
        pytest.param(lambda results: results.update({"server-new-2026-01-01T00-00-00-000Z": []}), "new", id="one more"),
        pytest.param(lambda results: results.update({"server-ping": []}), "named", id="another name"),
        pytest.param(lambda results: results.update({ping(results): "[{"}), "format", id="no JSON"),
        pytest.param(lambda results: results.update({ping(results): {"checks": []}}), "format", id="no list"),
        pytest.param(lambda results: results[ping(results)][0].pop("status"), "status", id="no status"),
        pytest.param(lambda results: results[ping(results)][0].update(status="OK"), "OK", id="an unknown status"),
        pytest.param(
            lambda results: results[ping(results)][0].update(status="FAILURE"), "ended with 0", id="exit code"
        ),
    ],
)
def test_results_that_are_not_understood_are_no_results(
    tmp_path: Path, change: Callable[[Results], object], message: str
) -> None:
    with pytest.raises(Unreadable, match=message):
        read_run(record(tmp_path, "direct", change), 0, LISTED)


def test_a_run_without_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="listed and not run"):
        read_run(tmp_path / "none", 0, LISTED)


def test_an_exit_code_that_the_results_do_not_explain_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="ended with 1"):
        read_run(record(tmp_path, "direct"), 1, LISTED)


def test_a_scenario_that_broke_off_fails(tmp_path: Path) -> None:
    run = read_run(record(tmp_path, "direct", lambda results: results.update({ping(results): None})), 1, LISTED)
    assert failing(run, LISTED.required) == ["ping"]


# What must pass directly


def test_what_is_required_passes_directly(direct: Run, proxied: Run) -> None:
    assert unmet(direct, LISTED) == []
    missed = unmet(proxied, LISTED)
    assert Miss("tools-call-with-progress", proxied["tools-call-with-progress"][0]) in missed
    assert not any(one.allowed for one in missed)  # the exceptions for a proxy are not for the server


@pytest.mark.parametrize("status", ["FAILURE", "WARNING", "SKIPPED", "INFO"])
def test_what_does_not_succeed_directly_is_unmet(status: str) -> None:
    assert unmet({"ping": [Check("Ping (ping)", status)]}, Listed(["ping"], []))


def test_a_scenario_without_a_check_is_unmet() -> None:
    assert unmet({"ping": []}, Listed(["ping"], []))
    assert unmet({}, Listed(["ping"], []))


def test_an_exception_must_be_true() -> None:
    known = next(iter(NOT_BUILT))
    assert unmet({known: [Check("it", "FAILURE")]}, Listed([], [known])) == []
    assert unmet({known: [Check("it", "FAILURE")]}, Listed([known], []))  # required
    (one,) = unmet({known: [Check("it", "SUCCESS")]}, Listed([], [known]))
    assert "NOT_BUILT" in one.check.message


# What must pass through a proxy


def test_nothing_is_lost_between_equal_runs(direct: Run) -> None:
    assert lost(direct, direct) == []


def test_what_passes_directly_and_not_through_the_proxy_is_lost(direct: Run, proxied: Run) -> None:
    missed = lost(direct, proxied)
    resumable = ["ServerSendsPrimingEvent (server-sse-priming-event)", "ServerSendsRetryField (server-sse-retry-field)"]
    assert [one.check.name for one in missed if not one.allowed] == [*resumable, PROGRESS]
    assert {one.check.name for one in missed if one.allowed} == OF_THE_HOP
    assert judge(missed) == ["3 checks do not pass that must"]


def test_a_scenario_that_disappears_is_lost(direct: Run) -> None:
    missed = lost(direct, {scenario: checks for scenario, checks in direct.items() if scenario != "ping"})
    assert {(one.scenario, one.check.status) for one in missed} == {("ping", "not made")}
    assert judge(missed)
    assert lost(direct, {})


@pytest.mark.parametrize(
    "proxied",
    [
        pytest.param([GOOD], id="made once only"),
        pytest.param([GOOD, Check(GOOD.name, "WARNING")], id="warns"),
        pytest.param([GOOD, Check(GOOD.name, "SKIPPED")], id="skipped"),
        pytest.param([GOOD, GOOD, Check("wire", "FAILURE")], id="another fails"),
        pytest.param([GOOD, GOOD, Check(GOOD.name, "FAILURE")], id="fails once more"),
    ],
)
def test_each_check_counts(proxied: list[Check]) -> None:
    assert judge(lost({"ping": [GOOD, GOOD]}, {"ping": proxied}))


def test_a_scenario_that_fails_directly_must_not_fail_more() -> None:
    direct = [GOOD, Check("other", "FAILURE")]
    assert lost({"ping": direct}, {"ping": direct}) == []
    assert lost({"ping": direct}, {"ping": direct[1:]})


# The judgement


def test_an_allowed_loss_that_is_no_loss_is_a_fault(direct: Run, proxied: Run) -> None:
    allowed = [one for one in lost(direct, proxied) if one.allowed]
    assert judge(allowed) == []
    (fault,) = judge(allowed[1:])
    assert allowed[0].check.name in fault


# What the suite says of a client

RETRIED = {"id": "client-sse-retry-timing", "name": "ClientSSERetryTiming", "status": "SUCCESS"}
LATE = {**RETRIED, "status": "FAILURE", "errorMessage": "too late"}
NOT_CALLED = {**RETRIED, "status": "FAILURE", "details": {"message": "Tool was not called by client"}}
NAME = "ClientSSERetryTiming (client-sse-retry-timing)"


def client_run(folder: Path, checks: list[dict[str, Any]], scenario: str = "sse-retry") -> Path:
    """A folder of results of one client scenario, as the suite leaves it."""
    result = folder / f"{scenario}-2026-11-27T06-24-10-493Z"
    result.mkdir()
    (result / "checks.json").write_text(json.dumps(checks))
    (folder / "output.txt").touch()
    return folder


@pytest.mark.parametrize(
    ("checks", "exit_code", "missed"),
    [
        pytest.param([RETRIED], 0, [], id="passes"),
        pytest.param([LATE], 1, [(NAME, "FAILURE", "too late")], id="a check fails"),
        pytest.param([NOT_CALLED], 1, [(NAME, "FAILURE", "Tool was not called by client")], id="it says why elsewhere"),
        pytest.param([RETRIED, {**RETRIED, "status": "WARNING"}], 0, [(NAME, "WARNING", "")], id="a check warns"),
        pytest.param([], 0, [("anything", "not made", "")], id="nothing is checked"),
        pytest.param([{**RETRIED, "status": "SKIPPED"}], 0, [("anything", "not made", "")], id="all is skipped"),
    ],
)
def test_a_client_scenario_passes_only_if_all_that_it_checks_does(
    tmp_path: Path, checks: list[dict[str, Any]], exit_code: int, missed: list[tuple[str, str, str]]
) -> None:
    run = read_client_run(client_run(tmp_path, checks), exit_code, "sse-retry")
    assert unmet_by("sse-retry", run) == [Miss("sse-retry", Check(*one)) for one in missed]


def test_a_client_that_does_not_end_well_fails(tmp_path: Path) -> None:
    run = read_client_run(client_run(tmp_path, [RETRIED]), 1, "sse-retry")
    [miss] = unmet_by("sse-retry", run)
    assert miss.check.status == "FAILURE"
    assert str(tmp_path) in miss.check.message  # where what it printed is


def test_a_client_scenario_without_results_was_not_played(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="0 results of sse-retry"):  # the suite ends with 0 when it skips a scenario
        read_client_run(client_run(tmp_path, [RETRIED], "tools_call"), 0, "sse-retry")


def test_an_exit_code_that_a_client_scenario_does_not_explain_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="ended with 0"):
        read_client_run(client_run(tmp_path, [LATE]), 0, "sse-retry")
