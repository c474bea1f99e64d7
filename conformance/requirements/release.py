"""The version of the requirement set, and what changed since it was last released.

Rules:
- `released.json` is the set as it was last released: id, level and text of every requirement. Nothing else writes it
  than `python -m conformance.requirements.release`.
- Whoever adds, drops or changes a requirement says so, and why, in a file in `unreleased`. A file each, so that two who
  work at once do not get into each other's way; releasing puts them together into `CHANGES.md`.
- Between two releases the version is that of the next one, with `.dev`.
"""

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from . import REQUIREMENTS

HERE = Path(__file__).parent
RELEASED = HERE / "released.json"
UNRELEASED = HERE / "unreleased"
CHANGES = HERE / "CHANGES.md"
KINDS = ("added", "dropped", "level", "text")
"""What can be said of a requirement: that it is new, that it is gone, that its level or its text is another."""

Shapes = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Change:
    """Requirements that changed for one reason.

    Args:
        why: the reason, in a sentence.
        ids: by kind of change.
    """

    why: str
    ids: Mapping[str, tuple[str, ...]]


def current() -> Shapes:
    """Level and text of every requirement, by id."""
    return {id: {"level": each.level, "text": each.text} for id, each in REQUIREMENTS.items()}


def released() -> dict[str, Any]:
    """The set as it was last released: `version`, and `requirements` in the form of `current`."""
    found: dict[str, Any] = json.loads(RELEASED.read_text(encoding="utf-8"))
    return found


def differences(before: Shapes, after: Shapes) -> dict[str, set[str]]:
    """The ids that changed, by kind of change."""
    both = before.keys() & after.keys()
    return {
        "added": {*after} - {*before},
        "dropped": {*before} - {*after},
        "level": {id for id in both if before[id]["level"] != after[id]["level"]},
        "text": {id for id in both if before[id]["text"] != after[id]["text"]},
    }


def unreleased() -> list[Change]:
    """What the files in `unreleased` say, in the order of their names.

    Raises:
        ValueError: the author's of a file: it is not of the form `[[change]]`, `why`, and lists of ids by kind.
    """
    changes = []
    for path in sorted(UNRELEASED.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("change", []):
            ids = {kind: tuple(entry.get(kind, ())) for kind in KINDS}
            if not entry.get("why") or entry.keys() - {"why", *KINDS} or not any(ids.values()):
                raise ValueError(f"{path.name}: a change is `why`, and ids under {', '.join(KINDS)}: {entry}")
            changes.append(Change(entry["why"], ids))
    return changes


@cache
def version() -> str:
    """The version of the requirement set, such as `2`, or `3.dev` where it has changed since 2."""
    last = released()
    return f"{int(last['version']) + 1}.dev" if last["requirements"] != current() else str(last["version"])


def release() -> str:
    """Make what is there now the next version of the set; returns the version."""
    number = str(int(released()["version"]) + 1)
    lines = [f"## {number} ({datetime.now(UTC):%Y-%m-%d})", ""]
    for change in unreleased():
        told = [f"{kind}: {', '.join(f'`{id}`' for id in ids)}" for kind, ids in change.ids.items() if ids]
        lines += [f"- {change.why}", *(f"  - {each}" for each in told)]
    head, _, rest = CHANGES.read_text(encoding="utf-8").partition("\n## ")
    CHANGES.write_text(f"{head}\n" + "\n".join(lines) + f"\n\n## {rest}", encoding="utf-8")
    written = {"version": number, "requirements": current()}
    RELEASED.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in UNRELEASED.glob("*.toml"):
        path.unlink()
    return number


if __name__ == "__main__":
    sys.stdout.write(f"the requirement set is now version {release()}\n")
