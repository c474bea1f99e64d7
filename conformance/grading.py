"""From the runs of one target to its results: a verdict for every requirement, and the exit code. Pure.

Rules:
- Every requirement is in the results: what was not played says why.
- What a target is known not to keep (its baseline) is no regression; an entry that is not true any more is stale.
- Exit code 0: conforms, or baselined; 1: a regression or a stale entry; 2: a fault of the harness or the configuration.
- A target that was skipped has passed nothing. That is exit code 0, unless it is required.
- MUST and SHOULD count as nonconformance. What may be, and conventions, are shown; they count when `strict` says so.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .baseline import Known
from .report.redact import redact
from .report.terminal import NOT_SELECTED
from .requirements import REQUIREMENTS
from .requirements.model import GATING, Requirement, Spec
from .scenarios import Case, Scenario, matrix
from .target import Target
from .verdict import RunResult, Verdict, worst

FORMAT = 1
SHOWN = 2000
"""Characters of a message of the wire log that are kept."""

UNPLAYED = Verdict.NOT_CHECKED, "it was not played"
"""What is said of a requirement that was to be played when the run broke off."""

REQUIRE = "CONFORMANCE_REQUIRE"
"""Environment variable with the kinds of targets, separated by commas, that must not be skipped."""

CAN_BE_SKIPPED = frozenset({"docker", "kubernetes"})


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
    target: Target, scenarios: Iterable[Scenario], full: bool
) -> tuple[list[tuple[Scenario, Case]], dict[str, tuple[Verdict, str]]]:
    """What is to be played, in the order of the requirements, and why the rest is not: verdict and reason by id."""
    cases = matrix(target, full)
    by_requirement: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        by_requirement.setdefault(scenario.requirement.id, []).append(scenario)
    runs: list[tuple[Scenario, Case]] = []
    left_out: dict[str, tuple[Verdict, str]] = {}
    for requirement in REQUIREMENTS.values():
        mine = by_requirement.get(requirement.id, [])
        if requirement.unchecked:
            left_out[requirement.id] = Verdict.NOT_CHECKED, requirement.unchecked
        elif not mine:
            left_out[requirement.id] = Verdict.NOT_CHECKED, NOT_SELECTED
        elif reason := target.declines(requirement.id):
            left_out[requirement.id] = Verdict.NOT_SUPPORTED, reason
        elif lacking := _lacking(target, mine):
            left_out[requirement.id] = lacking
        elif played := [(scenario, case) for scenario in mine for case in scenario.cases(cases, full)]:
            runs += played
        else:
            left_out[requirement.id] = Verdict.NOT_APPLICABLE, "no case of this target can show it"
    return runs, left_out


def _lacking(target: Target, scenarios: Iterable[Scenario]) -> tuple[Verdict, str] | None:
    """Why a target cannot play these, if so."""
    for scenario in scenarios:
        if scenario.proxy_only and not target.is_proxy:
            return Verdict.NOT_APPLICABLE, "there is no proxy"
        if "shared endpoint" in scenario.needs and not target.shared_endpoint:
            return Verdict.NOT_APPLICABLE, "every server has an endpoint of its own"
        if "admin" in scenario.needs and target.admin is None:
            return Verdict.NOT_SUPPORTED, "the target file has no [admin]: servers cannot be added at run time"
    return None


def results(
    target: Target,
    runs: Iterable[RunResult],
    left_out: Mapping[str, tuple[Verdict, str]],
    baseline: Mapping[str, Known],
    *,
    strict: bool,
    matrix: str,
    started: str,
    seconds: float,
    version: str,
    unplayed: tuple[Verdict, str] = UNPLAYED,
    skipped: str = "",
) -> dict[str, Any]:
    """The results of a target, as `results.schema.json` describes them.

    Args:
        unplayed: what is said of that which was to be played, and was not.
        skipped: why the target was not run at all, if so.
    """
    by_requirement: dict[str, list[RunResult]] = {}
    for run in runs:
        by_requirement.setdefault(run.requirement, []).append(run)
    requirements = [
        _requirement(
            requirement, by_requirement.get(requirement.id, []), left_out.get(requirement.id, unplayed), baseline
        )
        for requirement in REQUIREMENTS.values()
    ]
    summary = {str(verdict): 0 for verdict in Verdict}
    for entry in requirements:
        summary[entry["verdict"]] += 1
    summary["baselined"] = sum(entry["verdict"] == Verdict.FAIL and bool(entry["baseline"]) for entry in requirements)
    summary["stale"] = sum(entry["stale"] for entry in requirements)
    summary["regressions"] = sum(_regression(entry, strict) for entry in requirements)
    return {
        "format": FORMAT,
        "harness": version,
        "target": {"name": target.name, "title": target.target.title or target.name, "launch": target.launch.kind},
        "started": started,
        "seconds": round(seconds, 1),
        "matrix": matrix,
        "strict": strict,
        "skipped": redact(skipped),
        "exit": 2 if summary[Verdict.HARNESS_ERROR] else 1 if summary["regressions"] or summary["stale"] else 0,
        "summary": summary,
        "requirements": requirements,
    }


def _requirement(
    requirement: Requirement,
    runs: list[RunResult],
    left_out: tuple[Verdict, str],
    baseline: Mapping[str, Known],
) -> dict[str, Any]:
    verdict, why = left_out
    if runs:
        verdict, why = worst((run.verdict for run in runs), verdict), ""
    known = baseline.get(requirement.id)
    source = requirement.source
    quoted = {"revision": source.revision, "url": source.url, "quote": source.quote} if isinstance(source, Spec) else {}
    return {
        "id": requirement.id,
        "area": requirement.area,
        "text": requirement.text,
        "level": requirement.level,
        "source": quoted or {"reason": source},
        "since": requirement.since,
        "until": requirement.until,
        "verdict": str(verdict),
        "why": redact(why),
        "baseline": {"reason": known.reason, "link": known.link} if known else None,
        "stale": known is not None and verdict == Verdict.PASS,
        "runs": _runs(runs),
    }


def _runs(runs: list[RunResult]) -> list[dict[str, Any]]:
    """The wire log stays with what went wrong, and with the first run that went well."""
    shown = next((run for run in runs if run.verdict == Verdict.PASS), None)
    return [
        {
            "scenario": run.scenario,
            "case": run.case,
            "name": run.name,
            "verdict": str(run.verdict),
            "seconds": run.seconds,
            "message": redact(run.message),
            "expected": redact(run.expected),
            "actual": redact(run.actual),
            "diff": redact(run.diff),
            "wire": [_entry(entry) for entry in run.wire] if run is shown or run.verdict != Verdict.PASS else [],
        }
        for run in runs
    ]


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    message = redact(entry["message"])
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return {**entry, "message": f"{text[:SHOWN]} … ({len(text):,} characters)" if len(text) > SHOWN else message}


def _regression(entry: Mapping[str, Any], strict: bool) -> bool:
    counts = strict or entry["level"] in GATING
    return bool(entry["verdict"] == Verdict.FAIL and counts and not entry["baseline"])
