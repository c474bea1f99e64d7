"""From the runs of one target to its results: a verdict for every requirement, and the exit code. Pure.

Rules:
- Every requirement is in the results: what was not played says why.
- What a target is known not to keep (its baseline) does not count; an entry that is not true any more is stale.
- What is unsteady never counts: of some thousand runs one may fail for what the machine does. What failed and was not
  played again is unsteady, unless its requirement failed again in another case.
- Failures that come from one thing are one finding, with the list of what it took down.
- Exit code 0: conforms, or baselined; 1: a nonconformance or a stale entry, or a target that does not start or answers
  nothing; 2: a fault of the harness or the configuration, or not enough time.
- A target that was skipped has passed nothing. That is exit code 0, unless it is required.
- MUST and SHOULD count as nonconformance. What may be, and conventions, are shown; they count when `strict` says so.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from .baseline import Known
from .case import Case
from .report import results as report
from .report.redact import redact
from .report.results import FORMAT, Entry, Finding, Outcome, Reason, Results, Run, Summary
from .requirements import REQUIREMENTS, release
from .requirements.model import Requirement, Spec
from .scenarios import Scenario
from .scenarios.registry import Needs
from .target import Target
from .verdict import Again, LeftOut, RunResult, Verdict, worst

SHOWN = 2000
"""Characters of a message of the wire log that are kept."""

UNTOLD = (Verdict.NOT_APPLICABLE, Verdict.NOT_OFFERED)
"""Verdicts of runs that tell nothing about whether a requirement is kept."""

UNPLAYED = LeftOut(Verdict.NOT_CHECKED, "it was not played")
"""For requirements whose scenarios were still to be played when the run broke off."""

REQUIRE = "CONFORMANCE_REQUIRE"
"""Environment variable with the kinds of targets, separated by commas, that must not be skipped."""

CAN_BE_SKIPPED = frozenset({"docker", "kubernetes"})


BROKEN_OFF = Again(0, 0, 0)
"""What came of playing a run again for which there was no time."""


@dataclass(frozen=True)
class Ended:
    """Why a run of the harness ended before everything was played.

    Args:
        why: in one line.
        cause: what of the target it comes from, as its failures name it; empty if it is not the target's.
    """

    why: str
    cause: str = ""


class RequireError(Exception):
    """Whoever sets CONFORMANCE_REQUIRE: it names what there is not."""


def required(environ: Mapping[str, str]) -> set[str]:
    """The kinds of targets that must not be skipped.

    Raises:
        RequireError: there is no such kind.
    """
    named = {kind.strip() for kind in environ.get(REQUIRE, "").split(",")} - {""}
    if unknown := named - CAN_BE_SKIPPED:
        known = " and ".join(sorted(CAN_BE_SKIPPED))
        raise RequireError(f"{REQUIRE} names '{min(unknown)}'; what can be required is {known}")
    return named


def plan(
    target: Target, scenarios: Iterable[Scenario], full: bool, globs: Sequence[str] = ()
) -> tuple[list[tuple[Scenario, Case]], dict[str, LeftOut]]:
    """What is to be played, in the order of the requirements, and why the rest is not: verdict and reason by id.

    Args:
        globs: of the requirements by which the scenarios were selected; none if all are.
    """
    by_requirement: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        by_requirement.setdefault(scenario.requirement.id, []).append(scenario)
    runs: list[tuple[Scenario, Case]] = []
    left_out: dict[str, LeftOut] = {}
    for requirement in REQUIREMENTS.values():
        mine = by_requirement.get(requirement.id, [])
        if requirement.unchecked:
            left_out[requirement.id] = LeftOut(
                Verdict.NOT_CHECKED, requirement.unchecked, selected=selects(globs, requirement.id)
            )
        elif not mine:
            left_out[requirement.id] = LeftOut(Verdict.NOT_CHECKED, "it was not selected", selected=False)
        elif reason := target.declines(requirement.id):
            left_out[requirement.id] = LeftOut(Verdict.NOT_SUPPORTED, reason)
        elif lacking := _lacking(target, mine):
            left_out[requirement.id] = lacking
        elif played := [(scenario, case) for scenario in mine for case in scenario.cases(target, full)]:
            runs += played
        else:
            left_out[requirement.id] = LeftOut(Verdict.NOT_APPLICABLE, "no case of this target can show it")
    return runs, left_out


def selects(globs: Sequence[str], requirement: str) -> bool:
    """Whether a requirement is among those that globs of ids select; without any all are."""
    return not globs or any(fnmatchcase(requirement, glob) for glob in globs)


def _lacking(target: Target, scenarios: Iterable[Scenario]) -> LeftOut | None:
    """Why a target cannot play these, if so."""
    for scenario in scenarios:
        if scenario.proxy_only and not target.is_proxy:
            return LeftOut(Verdict.NOT_APPLICABLE, "there is no proxy")
        if "shared endpoint" in scenario.needs and not target.shared_endpoint:
            return LeftOut(Verdict.NOT_APPLICABLE, "every server has an endpoint of its own")
        if "admin" in scenario.needs and target.admin is None:
            return LeftOut(Verdict.NOT_SUPPORTED, "the target file has no [admin]: servers cannot be added at run time")
        for need, is_there, why in _needs(target):
            if need in scenario.needs and not is_there:
                return LeftOut(Verdict.NOT_APPLICABLE, why)
    return None


def _needs(target: Target) -> Iterable[tuple[Needs, bool, str]]:
    """What of a target a scenario may need, whether this one has it, and why it cannot be judged if not."""
    launch = target.launch
    yield "start", launch.kind != "url", "it runs already: how it starts is not the harness's to say"
    alone = launch.kind == "command" and not (target.endpoints.stdio or launch.single)
    yield "process", alone, "it is no process that the harness starts for all clients, and could tell to end"
    yield "processes", not launch.in_container, "the processes of its servers cannot be seen from outside a container"
    yield "env", target.configures("env"), "its configuration file has no place for a server's environment"
    yield "headers", target.configures("headers"), "its configuration file has no place for a server's headers"


def results(
    target: Target,
    runs: Iterable[RunResult],
    left_out: Mapping[str, LeftOut],
    baseline: Mapping[str, Known],
    *,
    strict: bool,
    matrix: Literal["default", "full"],
    started: datetime,
    seconds: float,
    version: str,
    of_target: str = "",
    unplayed: LeftOut = UNPLAYED,
    skipped: str = "",
    faulty: bool = False,
    ended: Ended | None = None,
) -> Results:
    """The results of a target.

    Args:
        version: of the harness.
        of_target: the version of the target, if it is known.
        unplayed: verdict and reason for requirements that were planned but not played.
        skipped: why the target was not run at all, if so.
        faulty: whether the harness failed outside of a run, or broke off. The exit code is 2 then.
        ended: why it broke off, if that is no fault. What was not played says so, and nothing conforms.
    """
    if ended:
        unplayed = LeftOut(Verdict.NOT_CHECKED, f"it was not played: {ended.why}")
    by_requirement: dict[str, list[RunResult]] = {name: [] for name in REQUIREMENTS}
    played = list(runs)
    for run in played:
        by_requirement[run.requirement].append(run)
    found = findings(played, ended, (name for name, its in by_requirement.items() if not its and name not in left_out))
    causes = {finding.id for finding in found}
    outcomes = [
        _outcome(requirement, by_requirement[requirement.id], causes, left_out.get(requirement.id, unplayed), baseline)
        for requirement in REQUIREMENTS.values()
    ]
    summary = {str(verdict): sum(outcome.verdict == verdict for outcome in outcomes) for verdict in Verdict}
    failing = [outcome for outcome in outcomes if outcome.verdict == Verdict.FAIL]
    summary["baselined"] = sum(outcome.baseline is not None for outcome in failing)
    summary["stale"] = sum(outcome.stale for outcome in outcomes)
    summary["regressions"] = sum(outcome.baseline is None and outcome.counts(strict) for outcome in failing)
    fault = faulty or summary[Verdict.HARNESS_ERROR]
    wrong = summary["regressions"] or summary["stale"] or (ended and ended.cause)
    return Results(
        format=FORMAT,
        harness=version,
        requirement_set=release.version(),
        target=report.Target(name=target.name, title=target.title, version=of_target, launch=target.launch.kind),
        started=started,
        seconds=round(seconds, 1),
        matrix=matrix,
        strict=strict,
        skipped=skipped,
        ended=ended.why if ended else "",
        exit=2 if fault else 1 if wrong else 2 if ended else 0,
        summary=Summary.model_validate(summary),
        findings=found,
        requirements=outcomes,
    )


def confirmed(runs: Sequence[RunResult]) -> list[RunResult]:
    """The runs; what failed and was not played again, in no case of its requirement, as unsteady."""
    real = {run.requirement for run in runs if run.verdict == Verdict.FAIL and run.again and run.again.failed}
    return [
        replace(run, verdict=Verdict.UNSTEADY, again=BROKEN_OFF)
        if run.verdict == Verdict.FAIL and run.again is None and run.requirement not in real
        else run
        for run in runs
    ]


def findings(runs: Iterable[RunResult], ended: Ended | None, unplayed: Iterable[str]) -> list[Finding]:
    """What took down several requirements, or ended the run; what took down most comes first.

    Args:
        unplayed: the ids of requirements that were to be played when the run ended.
    """
    took: dict[str, dict[str, None]] = {}  # in order, and each once
    for run in runs:
        if run.cause and run.verdict == Verdict.FAIL:
            took.setdefault(run.cause, {})[run.requirement] = None
    if ended and ended.cause:
        took.setdefault(ended.cause, {}).update(dict.fromkeys(unplayed))
    found = [
        Finding(id=slug(cause), text=cause, requirements=list(ids))
        for cause, ids in took.items()
        if len(ids) > 1 or (ended and cause == ended.cause)
    ]
    return sorted(found, key=lambda finding: -len(finding.requirements))


def slug(cause: str) -> str:
    """The id of the finding of a cause."""
    return re.sub(r"[^a-z0-9/]+", "-", cause.lower()).strip("-")


def _outcome(
    requirement: Requirement,
    runs: list[RunResult],
    causes: Collection[str],
    left_out: LeftOut,
    baseline: Mapping[str, Known],
) -> Outcome:
    verdict, why, selected = left_out
    if runs:
        verdict = worst((run.verdict for run in runs), verdict)
        why = next((run.message for run in runs if run.verdict == verdict), "") if verdict in UNTOLD else ""
    known = baseline.get(requirement.id)
    spoken = next((run.revision for run in runs if run.verdict == verdict and run.revision), requirement.until)
    return Outcome(
        id=requirement.id,
        area=requirement.area,
        text=requirement.text,
        level=requirement.level_in(spoken),
        source=_source(requirement.said(spoken)),
        since=requirement.since,
        until=requirement.until,
        verdict=verdict,
        why=why,
        selected=selected,
        baseline=report.Known(reason=known.reason, link=known.link) if known else None,
        stale=known is not None and verdict == Verdict.PASS,
        runs=_runs(requirement, runs, causes),
    )


def _source(said: Spec | str) -> report.Spec | Reason:
    if isinstance(said, str):
        return Reason(reason=said)
    return report.Spec(revision=said.edition, url=said.url, quote=said.quote)


def _quote(requirement: Requirement, run: RunResult) -> report.Spec | None:
    source = _source(requirement.said(run.revision or requirement.until))
    return source if run.verdict == Verdict.FAIL and isinstance(source, report.Spec) else None


def _runs(requirement: Requirement, runs: list[RunResult], causes: Collection[str]) -> list[Run]:
    """The wire log, and the target's own, stay with what went wrong, and with the first run that went well."""
    shown = next((run for run in runs if run.verdict == Verdict.PASS), None)
    return [
        Run(
            scenario=run.scenario,
            case=report.Case(client=run.case.client, era=run.case.era, backend=run.case.backend),
            name=str(run.case),
            verdict=run.verdict,
            revision=run.revision,
            source=_quote(requirement, run),
            seconds=run.seconds,
            message=run.message,
            expected=run.expected,
            actual=run.actual,
            diff=run.diff,
            again=report.Again(**asdict(run.again)) if run.again else None,
            cause=slug(run.cause) if run.verdict == Verdict.FAIL and slug(run.cause) in causes else "",
            wire=[_entry(entry) for entry in _log(run)] if run is shown or run.verdict != Verdict.PASS else [],
            stderr="" if run.verdict == Verdict.PASS else run.stderr,
        )
        for run in runs
    ]


def _log(run: RunResult) -> list[dict[str, Any]]:
    """The wire log, with what happened at the servers where something went wrong."""
    if run.verdict == Verdict.PASS:
        return run.wire
    return sorted([*run.wire, *run.behind], key=lambda entry: float(entry["at"]))


def _entry(entry: Mapping[str, object]) -> Entry:
    message = redact(entry["message"])  # before it is cut: half a secret is not recognised
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    cut = f"{text[:SHOWN]} … ({len(text):,} characters)" if len(text) > SHOWN else message
    return Entry.model_validate({**entry, "message": cut})
