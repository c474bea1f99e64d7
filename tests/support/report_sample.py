"""Results files as the harness would write them, for the tests of the reports. Made up, and the same every time."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from conformance.requirements import REQUIREMENTS
from conformance.requirements.model import Requirement, Spec

CASES = [
    ("stdio", "legacy", "stdio"),
    ("http", "legacy", "http"),
    ("http", "modern", "stdio"),
    ("sse", "legacy", "sse"),
]
ACTUAL = '{\n  "content": [{"type": "text", "text": "7"}]\n}'
EXPECTED = '{\n  "content": [{"type": "text", "text": "7"}],\n  "vendor": {"kept": true}\n}'
DIFF = "\n".join(
    [
        "--- expected",
        "+++ actual",
        "@@ -1,4 +1,3 @@",
        " {",
        '-  "content": [{"type": "text", "text": "7"}],',
        '-  "vendor": {"kept": true}',
        '+  "content": [{"type": "text", "text": "7"}]',
        " }",
    ]
)
CALL = {
    "jsonrpc": "2.0",
    "id": 3,
    "method": "tools/call",
    "params": {"name": "everything::add", "arguments": {"a": 3, "b": 4}, "_meta": {"progressToken": "token-1"}},
}


def results(
    name: str, title: str, verdicts: Mapping[str, str], only: Collection[str] = REQUIREMENTS, **changes: Any
) -> dict[str, Any]:
    """A results file of one target.

    Args:
        name, title: of the target.
        verdicts: by requirement id; `known` and `stale` bring their baseline entry along, what is not named passes.
        only: the requirements to be in it.
        changes: other values of top-level fields.
    """
    requirements = [_entry(REQUIREMENTS[each], verdicts.get(each, "pass")) for each in only]
    summary = Counter(entry["verdict"] for entry in requirements)
    known = sum(entry["verdict"] == "fail" and entry["baseline"] is not None for entry in requirements)
    stale = sum(entry["stale"] for entry in requirements)
    regressions = sum(
        entry["verdict"] == "fail" and entry["baseline"] is None and entry["level"] in ("MUST", "SHOULD")
        for entry in requirements
    )
    verdict_names = ("pass", "fail", "not offered", "not supported", "not applicable", "harness error", "not checked")
    return {
        "format": 1,
        "harness": "0.1.0",
        "target": {"name": name, "title": title, "launch": "command"},
        "started": "2026-11-22T10:00:00Z",
        "seconds": 93.1,
        "matrix": "default",
        "strict": False,
        "exit": 2 if summary["harness error"] else 1 if stale or regressions else 0,
        "summary": {
            **{verdict: summary[verdict] for verdict in verdict_names},
            "baselined": known,
            "stale": stale,
            "regressions": regressions,
        },
        "requirements": requirements,
        **changes,
    }


def three() -> list[dict[str, Any]]:
    """Three targets: one that keeps nearly all, one with a baseline, one stranger with much to do."""
    ids = list(REQUIREMENTS)
    good = {ids[number]: "not checked" for number in (40, 90)} | {ids[21]: "not supported", ids[22]: "not offered"}
    some = {ids[5]: "known", ids[33]: "known", ids[70]: "known", ids[101]: "stale"}
    poor = {each: _POOR[number % len(_POOR)] for number, each in enumerate(ids)}
    return [
        results("multimcp-http", "Multi-MCP over streamable HTTP", good),
        results("multimcp-stdio", "Multi-MCP over stdio", good | some, matrix="full"),
        results("fastmcp", "FastMCP proxy", good | poor | {ids[60]: "harness error"}),
    ]


_POOR = ["pass", "pass", "fail", "pass", "not applicable", "pass", "known", "pass", "pass", "pass", "fail"]


def _entry(requirement: Requirement, state: str) -> dict[str, Any]:
    verdict = {"known": "fail", "stale": "pass"}.get(state, state)
    played = verdict in ("pass", "fail", "unsteady", "harness error")
    source = requirement.source
    runs = [_run(requirement, number, case, verdict) for number, case in enumerate(CASES)] if played else []
    return {
        "id": requirement.id,
        "area": requirement.area,
        "text": requirement.text,
        "level": requirement.level,
        "source": {"revision": source.revision, "url": source.url, "quote": source.quote}
        if isinstance(source, Spec)
        else {"reason": source},
        "since": requirement.since,
        "until": requirement.until,
        "verdict": verdict,
        "why": "" if played else "The target file says so: it has no admin API.",
        "baseline": {"reason": "The SDK drops it.", "link": "https://example.com/issues/12"}
        if state in ("known", "stale")
        else None,
        "stale": state == "stale",
        "runs": runs,
    }


def _run(requirement: Requirement, number: int, case: tuple[str, str, str], verdict: str) -> dict[str, Any]:
    client, era, backend = case
    wrong = verdict != "pass" and number != 1
    answer = {"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "7"}]}}
    wire = [
        {"at": 0.4, "channel": "client 1", "way": "note", "message": "connects over http"},
        {"at": 12.3, "channel": "client 1", "way": "sent", "message": CALL},
        {"at": 19.8, "channel": "client 1", "way": "received", "message": answer},
    ]
    return {
        "scenario": f"{requirement.area}.{requirement.id.rpartition(':')[2].replace('-', '_')}",
        "case": {"client": client, "era": era, "backend": backend},
        "name": f"{client}-{era}>{backend}",
        "verdict": verdict if wrong else "pass",
        "seconds": 0.02 * (number + 1),
        "message": "the result of tools/call is not what the backend sent" if wrong else "",
        "expected": EXPECTED if wrong else "",
        "actual": ACTUAL if wrong else "",
        "diff": DIFF if wrong else "",
        "wire": wire if wrong or number == 1 else [],
    }
