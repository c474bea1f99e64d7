"""Normalising a transcript, so that it does not depend on where and when it was made. Pure.

Rules:
- Ids are bound, not erased: the first one seen becomes `<id:1>`, equal values stay equal, different ones different.
  Erasing would hide mixed-up ids, the classic bug of proxies.
- What belongs to one hop is left out: the envelope in `_meta`, cache hints.
- Ports and points in time are erased.
"""

import re
from collections.abc import Mapping
from typing import Any

HOP_META = frozenset(
    f"io.modelcontextprotocol/{key}"
    for key in ("protocolVersion", "clientInfo", "clientCapabilities", "serverInfo", "subscriptionId")
)
HOP_FIELDS = frozenset({"ttlMs", "cacheScope"})
BOUND: Mapping[str, str] = {
    "progressToken": "token",
    "requestState": "state",
    "requestId": "id",
    "elicitationId": "elicitation",
}

NEWER: Mapping[str, str] = {
    "title": "2025-06-18",
    "outputSchema": "2025-06-18",
    "lastModified": "2025-06-18",
    "icons": "2025-11-25",
    "mode": "2025-11-25",
}
"""Fields that are compared, and not in every revision, with the first one that has them."""
HINTS = "2025-03-26"
"""The first revision with annotations of tools; those of content are older."""

_PORT = re.compile(r"\b(127\.0\.0\.1|localhost):\d+")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


class Binder:
    """Remembers what was seen in one transcript."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], str] = {}
        self._count: dict[str, int] = {}

    def bind(self, kind: str, value: object) -> str:
        """The placeholder of a value."""
        key = (kind, repr(value))
        if key not in self._seen:
            self._count[kind] = self._count.get(kind, 0) + 1
            self._seen[key] = f"<{kind}:{self._count[kind]}>"
        return self._seen[key]

    def normal(self, value: Any) -> Any:
        """A JSON value as it stands in the transcript."""
        if isinstance(value, dict):
            return {key: part for key, part in ((k, self._field(k, v)) for k, v in value.items()) if part is not _OUT}
        if isinstance(value, list):
            return [self.normal(part) for part in value]
        if isinstance(value, str):
            return _TIME.sub("<time>", _PORT.sub(r"\1:<port>", value))
        return value

    def _field(self, key: str, value: Any) -> Any:
        if key in HOP_FIELDS:
            return _OUT
        if key in BOUND and isinstance(value, str | int):
            return self.bind(BOUND[key], value)
        if key == "_meta" and isinstance(value, dict):
            kept = {name: part for name, part in value.items() if name not in HOP_META}
            return self.normal(kept) if kept or not value else _OUT
        return self.normal(value)


_OUT = object()


def known_in(value: Any, revision: str) -> Any:
    """A transcript, or a part of one, without the fields that are newer than a revision."""
    if isinstance(value, dict):
        return {key: known_in(part, revision) for key, part in value.items() if not _newer(key, part, revision)}
    return [known_in(part, revision) for part in value] if isinstance(value, list | tuple) else value


def _newer(key: str, value: Any, revision: str) -> bool:
    if key == "annotations" and isinstance(value, dict) and "readOnlyHint" in value:
        return revision < HINTS
    return revision < NEWER.get(key, "")
