"""What one backend offers in one era: its own words about itself and its four lists. Pure data, read from raw dicts.

Rules:
- Entries stay as they were sent. One that cannot be addressed (no name, no URI) or comes twice cannot be offered;
  it is left out, and said so.
- A list is read to its last page. A cursor that comes again, or `MAX_PAGES` pages, is an error of the backend.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BackendError

Era = Literal["legacy", "modern"]

MAX_PAGES = 1000

Request = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends (method, params) to the backend and returns the raw result."""


@dataclass(frozen=True)
class Kind:
    """One of the four things a server lists.

    `method` lists them, under `key` of its result; an entry is addressed by its field `id`; a server that has them
    declares `capability`. People call an entry a `noun`.
    """

    method: str
    key: str
    id: str
    capability: str
    noun: str


TOOLS = Kind("tools/list", "tools", "name", "tools", "tool")
PROMPTS = Kind("prompts/list", "prompts", "name", "prompts", "prompt")
RESOURCES = Kind("resources/list", "resources", "uri", "resources", "resource")
TEMPLATES = Kind("resources/templates/list", "resourceTemplates", "uriTemplate", "resources", "template")
KINDS = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)


@dataclass(frozen=True)
class Listing:
    """One list of one backend, whole, with the strictest cache hint of its pages (`ttl_ms` in milliseconds)."""

    items: tuple[Mapping[str, Any], ...] = ()
    ttl_ms: int = 0
    public: bool = False


@dataclass(frozen=True)
class Offer:
    """What a backend said of itself when greeted, and what it listed then."""

    protocol_version: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    instructions: str | None = None
    server_info: Mapping[str, Any] | None = None
    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def items(self, kind: Kind) -> tuple[Mapping[str, Any], ...]:
        """What is listed of this kind, in the backend's order."""
        return self.listings.get(kind, Listing()).items


async def read_listing(kind: Kind, request: Request) -> tuple[Listing, list[str]]:
    """Read one list to its last page; returns it with what had to be left out of it.

    Raises:
        BackendError: the backend's: the pages never end, or are not a list.
        MCPError: the backend's own error.
    """
    items: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    hints: list[tuple[int, bool]] = []
    seen: set[str] = set()
    params: dict[str, Any] = {}
    for _ in range(MAX_PAGES):
        page = await request(kind.method, params)
        entries = page.get(kind.key)
        if not isinstance(entries, list):
            raise BackendError(f"answers {kind.method} without a list of {kind.key}")
        for entry in entries:
            key = entry.get(kind.id) if isinstance(entry, dict) else None
            if not isinstance(key, str):
                problems.append(f"{kind.method}: an entry without a {kind.id} is left out")
            elif key in items:
                problems.append(f"{kind.method}: '{key}' comes twice; the first is kept")
            else:
                items[key] = entry
        hints.append(_hint(page))
        cursor = page.get("nextCursor")
        # Any string continues, the empty one too (spec, pagination).
        if cursor is None:
            ttl_ms, public = min(ttl for ttl, _ in hints), all(public for _, public in hints)
            return Listing(tuple(items.values()), ttl_ms, public), problems
        if not isinstance(cursor, str) or cursor in seen:
            raise BackendError(f"answers {kind.method} with pages that never end (a cursor came again)")
        seen.add(cursor)
        params = {"cursor": cursor}
    raise BackendError(f"answers {kind.method} with more than {MAX_PAGES:,} pages")


def _hint(page: Mapping[str, Any]) -> tuple[int, bool]:
    """(ttlMs, may be shared) of a page; without hints nothing may be assumed (spec, caching)."""
    ttl = page.get("ttlMs")
    fresh = ttl if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl > 0 else 0
    return fresh, page.get("cacheScope") == "public"
