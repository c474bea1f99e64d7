"""What the official suite said, and what it comes to.

Rules:
- Pure, but for reading the folder of a run.
- Nothing passes for want of an answer: a scenario that is listed must have been run, and one that passes has checks
  that passed. What cannot be read is `Unreadable`, never a pass. Every exception stands here, and fails when untrue.
- Compared is check by check, not scenario by scenario: of a scenario that fails directly, what passes must pass
  through the proxy too.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

NOT_BUILT = {
    "http-header-validation": "httptools, which parses HTTP for uvicorn, keeps blanks after a header's value",
    "tasks-status-notifications": "the suite skips it until it is rewritten for subscriptions/listen",
}
"""Scenarios that do not pass directly, and why; none is required. One that passes is to be taken out."""

EXTENSIONS = {
    "2026-07-28": ("sep-2640-skills-enumeration", "sep-2640-skills-manifest", "sep-2640-skills-directory"),
}
"""Scenarios that no revision's list names, by the revision in which they are played: of the Skills extension."""

OF_THE_HOP = {"ServerDisconnectResume (server-sse-disconnect-resume)"}
"""Checks that need not pass through the proxy. This one wants a server that closes its stream during a call: over stdio
it has none to close, so the proxy has no reason to close its own; over HTTP it passes. One that passes every way is to
be taken out."""

NOT_ASKED_OF_CLIENTS = "auth/"
"""How the client scenarios begin that are not played: OAuth toward servers is not built."""

STATUSES = {"SUCCESS", "FAILURE", "WARNING", "SKIPPED", "INFO"}


class Unreadable(Exception):
    """The suite did not run what it lists, or says what is not understood: nothing is known about the servers."""


class Listed(NamedTuple):
    """The scenarios of a revision of the specification that judge a server."""

    required: Sequence[str]
    unscored: Sequence[str]
    """Run and reported by the suite, but not required."""
    clients: Sequence[str] = ()
    """Those that judge a client, required or not; without those that are not asked of us."""


class Check(NamedTuple):
    name: str
    status: str
    message: str = ""


Run = Mapping[str, Sequence[Check]]
"""The checks made by each scenario, in order."""


class Miss(NamedTuple):
    """A check that should pass, and what it said."""

    scenario: str
    check: Check
    allowed: bool = False


def parse_list(text: str) -> Listed:
    """What `conformance list --requirements REVISION` prints."""
    head, _, tail = text.partition("Run and reported, but never scored:")
    servers, _, clients = head.partition("\nClient scenarios")
    required, required_of_clients = (re.findall(r"^  - (\S+)$", part, re.MULTILINE) for part in (servers, clients))
    total = re.match(r"Required for \S+ \((\d+) scenarios", head)
    if not required or not total or int(total[1]) != len(required) + len(required_of_clients):
        raise Unreadable(f"`conformance list` is not understood; was its format changed?\n{text}")
    unscored, unscored_of_clients = (
        re.findall(rf"^    - (\S+) \[{role}\]$", tail, re.MULTILINE) for role in ("server", "client")
    )
    of_clients = [one for one in required_of_clients + unscored_of_clients if not one.startswith(NOT_ASKED_OF_CLIENTS)]
    if not of_clients:
        raise Unreadable(f"`conformance list` names no client scenario to play:\n{text}")
    return Listed(required, unscored, of_clients)


def read_run(folder: Path, exit_code: int, listed: Listed) -> Run:
    """What `conformance server --requirements REVISION -o FOLDER` left behind."""
    run = {}
    for result in sorted(folder.glob("server-*")):
        if not (match := re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", result.name)):
            raise Unreadable(f"{result} is not named as results are: was the suite's format changed?")
        run[match[1]] = _read_checks(result / "checks.json")
    if strange := {*listed.required, *listed.unscored} ^ run.keys():
        raise Unreadable(f"{folder}: listed and not run, or run and not listed: {', '.join(sorted(strange))}")
    failed = any(check.status == "FAILURE" for scenario in listed.required for check in run[scenario])
    if exit_code != int(failed):
        raise Unreadable(f"{folder}: the suite ended with {exit_code}, its results say {int(failed)}")
    return run


def read_scenario(folder: Path, scenario: str) -> list[Check]:
    """What `conformance server --scenario SCENARIO -o FOLDER` left behind."""
    return _read_checks(_result_of(folder, f"server-{scenario}") / "checks.json")


def read_client_run(folder: Path, exit_code: int, scenario: str) -> list[Check]:
    """What `conformance client --scenario SCENARIO -o FOLDER` left behind, and whether the client ended well."""
    result = _result_of(folder, scenario)
    checks = _read_checks(result / "checks.json")
    failed = any(check.status == "FAILURE" for check in checks)
    if failed and exit_code == 0:
        raise Unreadable(f"{folder}: the suite ended with 0, its results say 1")
    if exit_code and not failed:
        checks.append(Check("the client ends well", "FAILURE", f"it failed or took too long: see {result}"))
    return checks


def _result_of(folder: Path, scenario: str) -> Path:
    """The folder that a scenario has left in a folder of its own."""
    name = re.compile(rf"{re.escape(scenario)}-\d{{4}}-\d\d-\d\dT[\d-]+Z")
    found = [result for result in folder.glob("*/") if name.fullmatch(result.name)]
    if len(found) != 1:
        raise Unreadable(f"{folder}: {len(found)} results of {scenario}, not one: did the suite skip it?")
    return found[0]


def _read_checks(file: Path) -> list[Check]:
    try:
        text = file.read_text()
    except FileNotFoundError:  # the scenario raised an exception
        return [Check("the scenario ends", "FAILURE", "the suite could not play it to its end: see its output")]
    try:
        checks = [
            Check(
                f"{c['name']} ({c['id']})",
                c["status"],
                c.get("errorMessage") or c.get("details", {}).get("message", ""),
            )
            for c in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(f"{file}: {error!r}: was the suite's format changed?") from error
    if strange := {check.status for check in checks} - STATUSES:
        raise Unreadable(f"{file}: unknown status {strange}")
    return checks


def passes(checks: Sequence[Check]) -> bool:
    """Whether a scenario passes: something was checked, and nothing failed."""
    statuses = {check.status for check in checks}
    return "SUCCESS" in statuses and "FAILURE" not in statuses


def failing(run: Run, scenarios: Sequence[str]) -> list[str]:
    return [scenario for scenario in scenarios if not passes(run.get(scenario, ()))]


def unmet_by(scenario: str, checks: Sequence[Check]) -> list[Miss]:
    """What does not pass of a scenario that should. Warnings count; so does that nothing was checked."""
    wrong = [check for check in checks if check.status in ("FAILURE", "WARNING")]
    if not wrong and not passes(checks):
        wrong = [Check("anything", "not made")]
    return [Miss(scenario, check) for check in wrong]


def unmet(direct: Run, listed: Listed) -> list[Miss]:
    """What does not pass directly, and should: a check that warns asks nothing of the proxy."""
    found = []
    for scenario in (*listed.required, *listed.unscored):
        checks = direct.get(scenario, ())
        if scenario in NOT_BUILT and scenario not in listed.required:
            if passes(checks):
                found.append(Miss(scenario, Check("fails", "untrue", "take it out of NOT_BUILT in results.py")))
            continue
        found += unmet_by(scenario, checks)
    return found


def lost(direct: Run, proxied: Run) -> list[Miss]:
    """What passes directly and does not through the proxy; and what fails only through the proxy."""
    found = []
    for scenario, checks in direct.items():
        others = proxied.get(scenario, ())
        missing = _count(checks, "SUCCESS") - _count(others, "SUCCESS")
        worse = _count(others, "FAILURE") - _count(checks, "FAILURE")
        for name in missing | worse:
            seen = (other for other in others if other.name == name and other.status != "SUCCESS")
            found.append(Miss(scenario, next(seen, Check(name, "not made")), name in OF_THE_HOP))
    return found


def judge(missed: Sequence[Miss]) -> list[str]:
    """What is wrong, over all runs: nothing, if nothing is missed but what is allowed to be."""
    faults = []
    if wrong := sum(not one.allowed for one in missed):
        faults.append(f"{wrong} checks do not pass that must")
    if stale := OF_THE_HOP - {one.check.name for one in missed if one.allowed}:
        faults.append(f"passes, so take it out of OF_THE_HOP in results.py: {', '.join(sorted(stale))}")
    return faults


def _count(checks: Sequence[Check], status: str) -> Counter[str]:
    return Counter(check.name for check in checks if check.status == status)
