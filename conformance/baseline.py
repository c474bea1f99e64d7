"""Baselines: what a target is known not to keep yet. `<target>.baseline.toml`, beside the target file.

Rules:
- Every entry names a requirement, the reason and a link to what is missing; a wrong one is a `BaselineError`.
- An entry that has become untrue is stale, and a stale entry fails the run.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .requirements import REQUIREMENTS


class BaselineError(Exception):
    """The author's of a baseline: it cannot be used. The text names the place."""


@dataclass(frozen=True)
class Known:
    """Why a requirement is known not to be kept, and where that is worked on."""

    reason: str
    link: str


def beside(target_file: Path, name: str) -> Path:
    """Where the baseline of a target is: beside its file, as `<name>.baseline.toml`."""
    return target_file.with_name(f"{name}.baseline.toml")


def load(path: Path) -> dict[str, Known]:
    """The entries of a baseline file by requirement; none when there is no file.

    Raises:
        BaselineError: the file is no baseline.
    """
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BaselineError(f"{path}: {exc}") from None
    entries: dict[str, Known] = {}
    for number, entry in enumerate(_entries(data, path), 1):
        place = f"{path}: known[{number}]"
        if not isinstance(entry, dict) or set(entry) != {"requirement", "reason", "link"}:
            raise BaselineError(f"{place}: an entry has exactly requirement, reason and link")
        if not all(isinstance(value, str) and value for value in entry.values()):
            raise BaselineError(f"{place}: requirement, reason and link are text and not empty")
        if entry["requirement"] not in REQUIREMENTS:
            raise BaselineError(f"{place}: there is no requirement '{entry['requirement']}'; `list` shows them")
        if entry["requirement"] in entries:
            raise BaselineError(f"{place}: '{entry['requirement']}' stands there twice")
        entries[entry["requirement"]] = Known(entry["reason"], entry["link"])
    return entries


def _entries(data: dict[str, object], path: Path) -> list[object]:
    entries = data.get("known", [])
    if set(data) - {"known"} or not isinstance(entries, list):
        raise BaselineError(f"{path}: a baseline has [[known]] entries and nothing else")
    return entries
