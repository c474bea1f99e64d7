"""A badge: the JSON that shields.io reads from an endpoint (`schemaVersion`, `label`, `message`, `color`).

It says the version of the requirement set, since last year's badge tells nothing about this year's requirements.
"""

import json
from collections import Counter

from .results import Results

LABEL = "MCP proxy conformance"


def render(results: Results) -> str:
    """The badge of one target, as a JSON text."""
    message, colour = _message(results)
    which = f" (set {results.requirement_set})" if results.requirement_set else ""
    badge = {"schemaVersion": 1, "label": LABEL, "message": f"{message}{which}", "color": colour}
    return json.dumps(badge, ensure_ascii=False, indent=1) + "\n"


def _message(results: Results) -> tuple[str, str]:
    if results.skipped or results.ended or results.exit == 2:
        return "unknown", "lightgrey"
    must = Counter(outcome.state for outcome in results.requirements if outcome.level == "MUST")
    kept, broken = must["pass"] + must["stale"], must["fail"] + must["known"]
    if broken:
        return f"{kept} of {kept + broken} MUST", "red"
    if results.exit:
        return "all MUST, not all SHOULD", "yellow"
    return "conforms", "brightgreen"
