"""Verdicts, baselines, exit codes, and what the terminal says: no process, no network."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conformance import baseline, grading, runner
from conformance.baseline import BaselineError, Known
from conformance.case import Case
from conformance.normalize import Binder
from conformance.report.results import Outcome, Results, Spec, parse
from conformance.report.terminal import Tree
from conformance.requirements import REQUIREMENTS
from conformance.scenarios import load_all, matrix
from conformance.session import diff, shown_exactly
from conformance.target import SHIPPED, Target, load
from conformance.verdict import Again, Failure, LeftOut, NotApplicable, NotOffered, RunResult, Verdict, worst

ABOUT: dict[str, Any] = {
    "strict": False,
    "matrix": "default",
    "started": datetime(2026, 11, 22, tzinfo=UTC),
    "seconds": 1.0,
    "version": "1",
}
MUST, CONVENTION = "tools:call:concurrent", "lifecycle:initialize:instructions"


def result(requirement: str, verdict: Verdict, **more: Any) -> RunResult:
    return RunResult(requirement, "area.name", Case("http", "modern", "stdio"), verdict, 0.5, **more)


def graded(
    *runs: RunResult,
    known: dict[str, Known] | None = None,
    strict: bool = False,
    name: str = "multimcp",
    ended: grading.Ended | None = None,
) -> Results:
    return grading.results(load(name), runs, {}, known or {}, **{**ABOUT, "strict": strict}, ended=ended)


def entry(results: Results, requirement: str) -> Outcome:
    return next(outcome for outcome in results.requirements if outcome.id == requirement)


def test_the_levels_used_here_are_what_they_are_taken_for() -> None:
    assert REQUIREMENTS[MUST].level == "MUST"
    assert REQUIREMENTS[CONVENTION].level == "convention"


def test_severity_only_rises() -> None:
    for milder, graver in zip(list(Verdict), list(Verdict)[1:], strict=False):
        assert worst([graver, milder], Verdict.PASS) == graver
        assert worst([milder, graver], Verdict.PASS) == graver
    assert worst([], Verdict.NOT_CHECKED) == Verdict.NOT_CHECKED


KNOWN = {MUST: Known("because", "link")}


@pytest.mark.parametrize(
    ("runs", "options", "code"),
    [
        ([result(MUST, Verdict.PASS)], {}, 0),
        ([result(MUST, Verdict.PASS), result(MUST, Verdict.FAIL)], {}, 1),
        ([result(MUST, Verdict.FAIL)], {"known": KNOWN}, 0),
        ([result(MUST, Verdict.PASS)], {"known": KNOWN}, 1),
        ([], {"known": KNOWN}, 0),
        ([result(CONVENTION, Verdict.FAIL)], {}, 0),
        ([result(CONVENTION, Verdict.FAIL)], {"strict": True}, 1),
        ([result(MUST, Verdict.UNSTEADY)], {}, 0),
        ([result(MUST, Verdict.UNSTEADY)], {"strict": True}, 0),
        ([result(MUST, Verdict.UNSTEADY), result(MUST, Verdict.FAIL)], {}, 1),
        ([result(MUST, Verdict.PASS)], {"ended": grading.Ended("the time was over")}, 2),
        ([result(MUST, Verdict.FAIL)], {"ended": grading.Ended("the time was over")}, 1),
        ([result(CONVENTION, Verdict.FAIL)], {"ended": grading.Ended("it is deaf", "it is deaf")}, 1),
        ([], {"ended": grading.Ended("it is deaf", "it is deaf")}, 1),
        ([result(MUST, Verdict.HARNESS_ERROR)], {}, 2),
        ([result(MUST, Verdict.HARNESS_ERROR)], {"known": KNOWN}, 2),
    ],
)
def test_exit_codes(runs: list[RunResult], options: dict[str, Any], code: int) -> None:
    assert graded(*runs, **options).exit == code


@pytest.mark.parametrize(
    ("raised", "verdict"),
    [
        (NotOffered("no logging"), "not offered"),
        (NotApplicable("an older revision"), "not applicable"),
        (ExceptionGroup("", [Failure("wrong"), NotOffered("no logging")]), "not offered"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_not_offered_or_not_applicable_says_why_and_does_not_count(
    raised: Exception, verdict: str, strict: bool
) -> None:
    run = result(MUST, Verdict.PASS)
    runner._grade(run, raised)
    results = graded(run, strict=strict)
    assert (entry(results, MUST).verdict, entry(results, MUST).why) == (verdict, run.message)
    assert results.exit == 0
    assert results.model_dump()["summary"][verdict] == 1


def test_what_failed_counts_once_it_has_failed_again() -> None:
    failed = [result(MUST, Verdict.FAIL), result("tools:call:image", Verdict.FAIL)]
    again = result(MUST, Verdict.FAIL, again=Again(2, 1, 0))
    once = result(MUST, Verdict.UNSTEADY, again=Again(3, 0, 0))
    assert [run.verdict for run in grading.confirmed(failed)] == ["unsteady", "unsteady"]
    assert [run.verdict for run in grading.confirmed([*failed, again])] == ["fail", "unsteady", "fail"]
    assert grading.confirmed([result(MUST, Verdict.PASS)]) == [result(MUST, Verdict.PASS)]
    shown = entry(graded(again, once, *grading.confirmed(failed)), MUST).runs
    assert [run.again and (run.again.played, run.again.failed) for run in shown] == [(2, 1), (3, 0), (0, 0)]


def test_failures_that_come_from_one_thing_are_one_finding() -> None:
    images = ("tools:call:image", "tools:call:audio")
    runs = [
        *(result(name, Verdict.FAIL, cause="`tools/call` gets no answer") for name in (MUST, MUST, *images)),
        *(result(name, Verdict.FAIL, cause="there is no image") for name in images),
        result(CONVENTION, Verdict.FAIL, cause="only this"),
        result(CONVENTION, Verdict.UNSTEADY, cause="there is no image"),
    ]
    results = graded(*runs)
    found = [(finding.id, finding.text, finding.requirements) for finding in results.findings]
    assert found == [
        ("tools/call-gets-no-answer", "`tools/call` gets no answer", [MUST, *images]),
        ("there-is-no-image", "there is no image", list(images)),
    ]
    assert {run.cause for run in entry(results, MUST).runs} == {"tools/call-gets-no-answer"}
    assert [run.cause for run in entry(results, CONVENTION).runs] == ["", ""]


def test_what_ended_a_run_is_a_finding_with_all_that_was_not_played() -> None:
    deaf = grading.Ended("it answers nothing", "it answers nothing")
    results = graded(result(MUST, Verdict.FAIL, cause="it answers nothing"), ended=deaf)
    assert results.ended == "it answers nothing"
    (finding,) = results.findings
    assert set(finding.requirements) == set(REQUIREMENTS)
    why = entry(results, CONVENTION)
    assert (why.verdict, why.why) == ("not checked", "it was not played: it answers nothing")
    assert graded(result(MUST, Verdict.FAIL), ended=grading.Ended("the time is over")).findings == []


def test_every_requirement_is_in_the_results() -> None:
    results = graded(result(MUST, Verdict.PASS))
    assert [outcome.id for outcome in results.requirements] == list(REQUIREMENTS)
    assert entry(results, CONVENTION).verdict == "not checked"
    summary = results.model_dump()["summary"]
    assert sum(summary[verdict] for verdict in Verdict) == len(REQUIREMENTS)


def test_the_wire_stays_with_failures_and_one_pass_and_is_cut_and_redacted() -> None:
    long = {"jsonrpc": "2.0", "result": "x" * 5000, "authorization": "Bearer abc"}
    wire = [{"at": 1.0, "channel": "client 1", "way": "sent", "message": long}]
    runs = [result(MUST, verdict, wire=wire) for verdict in (Verdict.PASS, Verdict.PASS, Verdict.FAIL)]
    shown = [run.wire for run in entry(graded(*runs), MUST).runs]
    assert [bool(log) for log in shown] == [True, False, True]
    assert shown[0][0].message.endswith("characters)")
    assert "abc" not in str(shown)


def planned(target: Target, only: str) -> tuple[list[str], dict[str, LeftOut]]:
    scenarios = [scenario for scenario in load_all().values() if scenario.requirement.id == only]
    runs, left_out = grading.plan(target, scenarios, full=False)
    return [str(case) for _, case in runs], left_out


def test_what_is_not_played_says_why() -> None:
    multimcp, direct = load("multimcp"), load("direct")
    assert planned(multimcp, MUST)[0] == [str(case) for case in matrix(multimcp, full=False)]
    assert planned(multimcp, MUST)[1][CONVENTION] == (Verdict.NOT_CHECKED, "it was not selected", False)
    alone = "isolation:backends:crash-call"
    assert planned(direct, alone)[1][alone] == LeftOut(Verdict.NOT_APPLICABLE, "there is no proxy")
    assert planned(load("fastmcp"), "dynamic:add:offered")[1]["dynamic:add:offered"][0] == Verdict.NOT_SUPPORTED
    assert planned(multimcp, "stdio:input:eof")[1]["stdio:input:eof"][0] == Verdict.NOT_APPLICABLE
    declining = multimcp.model_copy(update={"unsupported": {"tools:*": "no tools"}})
    assert planned(declining, MUST) == ([], planned(declining, MUST)[1])
    assert planned(declining, MUST)[1][MUST] == LeftOut(Verdict.NOT_SUPPORTED, "no tools")


def test_what_no_scenario_checks_is_told_where_it_was_selected() -> None:
    unchecked = next(requirement for requirement in REQUIREMENTS.values() if requirement.unchecked)
    selected = {
        only: grading.plan(load("multimcp"), (), False, only)[1][unchecked.id].selected
        for only in ((), (MUST,), (MUST, f"{unchecked.area}:*"))
    }
    assert selected == {(): True, (MUST,): False, (MUST, f"{unchecked.area}:*"): True}


def test_the_default_cases_have_every_client_and_every_backend_transport() -> None:
    for name in ("multimcp", "multimcp-stdio", "multimcp-sse", "multimcp-http", "fastmcp"):
        target = load(name)
        default, full = matrix(target, full=False), matrix(target, full=True)
        assert set(default) <= set(full)
        assert {(case.client, case.era) for case in default} == {(case.client, case.era) for case in full}
        assert {case.backend for case in default} == set(target.transports)
    assert all(case.client == case.backend for case in matrix(load("direct"), full=True))


def test_what_only_a_few_cases_show_is_played_all_the_same() -> None:
    """A legacy client with servers over HTTP is in no default case."""
    multimcp = load("multimcp")
    assert planned(multimcp, "servers:session:lost")[0] == ["sse-legacy>http"]
    assert planned(multimcp, "servers:redirect:followed")[0] == ["http-legacy>sse", "http-modern>http"]


def test_a_baseline_is_read(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    assert baseline.load(path) == {}
    path.write_text(f'[[known]]\nrequirement = "{MUST}"\nreason = "r"\nlink = "l"\n')
    assert baseline.load(path) == {MUST: Known("r", "l")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "line"),
        ("[[other]]", "nothing else"),
        ("known = 1", "nothing else"),
        (f'[[known]]\nrequirement = "{MUST}"\nreason = "r"', "exactly requirement, reason and link"),
        (f'[[known]]\nrequirement = "{MUST}"\nreason = ""\nlink = "l"', "not empty"),
        ('[[known]]\nrequirement = "a:b:c"\nreason = "r"\nlink = "l"', "no requirement 'a:b:c'"),
        (f'[[known]]\nrequirement = "{MUST}"\nreason = "r"\nlink = "l"\n' * 2, "twice"),
    ],
)
def test_a_wrong_baseline_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text)
    with pytest.raises(BaselineError, match=said) as caught:
        baseline.load(path)
    assert str(path) in str(caught.value)


def test_our_own_proxy_has_no_baseline() -> None:
    assert list(SHIPPED.glob("*.baseline.toml")) == []


def test_a_baseline_is_beside_its_target(tmp_path: Path) -> None:
    assert baseline.beside(tmp_path / "x.toml", "mine") == tmp_path / "mine.baseline.toml"


def test_ids_are_bound_and_not_erased() -> None:
    binder = Binder()
    assert binder.normal([{"progressToken": 1}, {"progressToken": "1"}, {"progressToken": 1}]) == [
        {"progressToken": "<token:1>"},
        {"progressToken": "<token:2>"},
        {"progressToken": "<token:1>"},
    ]


def test_what_belongs_to_one_hop_is_left_out() -> None:
    hop = {"io.modelcontextprotocol/serverInfo": {"name": "n"}}
    assert Binder().normal({"a": 1, "ttlMs": 5, "cacheScope": "public", "_meta": hop}) == {"a": 1}
    assert Binder().normal({"_meta": {**hop, "mine": 1}}) == {"_meta": {"mine": 1}}
    assert Binder().normal({"_meta": {}}) == {"_meta": {}}


def test_ports_and_times_are_erased_and_nothing_else() -> None:
    text = "at 127.0.0.1:4711 and localhost:80, 2026-11-22T10:00:00.5Z; port 4711, 2026-11-22"
    assert Binder().normal(text) == "at 127.0.0.1:<port> and localhost:<port>, <time>; port 4711, 2026-11-22"


def test_values_are_the_same_to_the_digit_and_the_type() -> None:
    assert shown_exactly({"b": 1, "a": 2}) == shown_exactly({"a": 2, "b": 1})
    assert shown_exactly(1) != shown_exactly(1.0)
    assert shown_exactly(True) != shown_exactly(1)
    assert "-1" in diff("1\n", "2\n")


def test_a_target_that_was_skipped_has_passed_nothing() -> None:
    left_out = {CONVENTION: LeftOut(Verdict.NOT_SUPPORTED, "why")}
    for verdict, code in ((Verdict.NOT_CHECKED, 0), (Verdict.HARNESS_ERROR, 2)):
        skipped = grading.results(
            load("multimcp"),
            [],
            left_out,
            {MUST: Known("because", "link")},
            **ABOUT,
            unplayed=LeftOut(verdict, "no Docker"),
            skipped="Docker, password=1",
        )
        assert skipped.summary.passed == 0
        assert skipped.summary.stale == 0
        assert skipped.exit == code
        assert skipped.skipped == "Docker, password=[redacted]"
        assert (entry(skipped, MUST).verdict, entry(skipped, MUST).why) == (verdict, "no Docker")
        assert entry(skipped, CONVENTION).why == "why"


def test_what_can_be_required() -> None:
    assert grading.required({}) == grading.required({grading.REQUIRE: " , "}) == set()
    assert grading.required({grading.REQUIRE: "docker, kubernetes"}) == {"docker", "kubernetes"}
    with pytest.raises(grading.RequireError, match="names 'kind'; what can be required is docker and kubernetes"):
        grading.required({grading.REQUIRE: "docker,kind"})


def test_the_tree_tells_what_failed_and_why() -> None:
    out = io.StringIO()
    tree = Tree(load("multimcp"), 3, out)
    wire = [{"at": 1.0, "channel": "client 1", "way": "sent", "message": {"method": "tools/call"}}]
    runs = [
        result(MUST, Verdict.PASS),
        result(MUST, Verdict.FAIL, message="it came changed", expected="1", actual="2", wire=wire),
        result("tools:call:image", Verdict.FAIL, message="known to be so"),
        result("tools:call:audio", Verdict.PASS),
    ]
    known = {"tools:call:image": Known("later", "link"), "tools:call:audio": Known("later", "link")}
    for run in runs:
        tree.ran(REQUIREMENTS[run.requirement], run, known.get(run.requirement))
    results = graded(*runs, known=known)
    tree.finish(results)
    told = out.getvalue()
    source = entry(results, MUST).source
    assert isinstance(source, Spec)
    for part in (
        f"✗ {MUST}",
        "·✗",
        "it came changed",
        "expected",
        "actual",
        source.quote,
        source.url,
        "tools/call",
    ):
        assert part in told
    assert "known to be so" not in told
    assert "tools:call:audio: stale" in told
    assert "1 are known (baseline), 1 count; 1 entries of the baseline are stale" in told


def test_what_was_not_selected_is_not_in_the_sum() -> None:
    out = io.StringIO()
    tree = Tree(load("multimcp"), 1, out)
    left_out = planned(load("multimcp"), MUST)[1]
    results = grading.results(load("multimcp"), [result(MUST, Verdict.PASS)], left_out, {}, **ABOUT)
    assert [outcome.id for outcome in results.requirements if outcome.selected and not outcome.why] == [MUST]
    assert results.summary.not_checked == len(REQUIREMENTS) - 1
    tree.finish(results)
    unchecked = sum(bool(requirement.unchecked) for requirement in REQUIREMENTS.values())
    assert f"{unchecked} not checked, 1 pass of {unchecked + 1} requirements" in out.getvalue()


def test_a_fault_outside_of_a_run_is_exit_code_2() -> None:
    results = grading.results(load("multimcp"), [result(MUST, Verdict.PASS)], {}, {}, **ABOUT, faulty=True)
    assert results.exit == 2


def test_results_are_read_as_they_are_written() -> None:
    written = graded(result(MUST, Verdict.FAIL, message="password=1", wire=[WIRE]), known=KNOWN)
    assert parse(json.loads(json.dumps(written.model_dump(mode="json"))), "test") == written


WIRE = {"at": 1.0, "channel": "client 1", "way": "sent", "message": {"id": 2**70, "deep": [[["☃"]]]}}
