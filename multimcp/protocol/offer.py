"""What one backend says of itself and lists, in one era. Pure data, read from raw answers.

Rules:
- Entries stay the bytes that were sent. One that cannot be addressed (no name, no URI) or comes twice cannot be
  offered; it is left out, and `problems` says so.
- A list is read to its last page. A cursor that comes again, or `MAX_PAGES` pages, is an error of the backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from multimcp.errors import BackendError

from .eras import ParamHeaders, param_headers
from .message import Fields, fields, text, value

MAX_PAGES = 1000


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
KINDS: Final = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)
BY_METHOD: Final[Mapping[str, Kind]] = {kind.method: kind for kind in KINDS}

LIST_CHANGED: Final[Mapping[str, str]] = {
    f"notifications/{kind.capability}/list_changed": kind.capability for kind in KINDS
}
"""The notification of a changed list -> the capability whose lists they are."""


@dataclass(frozen=True)
class Entry:
    """One thing that a backend lists; `headers` are those that a tool wants its arguments repeated in."""

    name: str
    raw: Raw
    headers: ParamHeaders = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """One list of one backend, whole, with the strictest cache hint of its pages (`ttl_ms` in milliseconds).

    Attributes:
        invalid: why a tool's header annotations are not valid, by its name.
    """

    entries: tuple[Entry, ...] = ()
    ttl_ms: int = 0
    is_public: bool = False
    invalid: Mapping[str, str] = field(default_factory=dict)

    def without_invalid(self) -> "Listing":
        """Without the tools that a client must leave out over HTTP (spec 2026-07-28, streamable HTTP)."""
        kept = tuple(entry for entry in self.entries if entry.name not in self.invalid)
        return self if len(kept) == len(self.entries) else replace(self, entries=kept)


@dataclass(frozen=True)
class Offer:
    """What a backend said of itself when greeted, and what it listed then."""

    protocol_version: str
    capabilities: Fields = field(default_factory=dict)
    instructions: str | None = None
    server_info: Any = None
    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def entries(self, kind: Kind) -> tuple[Entry, ...]:
        """What is listed of this kind, in the backend's order."""
        return self.listings.get(kind, Listing()).entries

    def declares(self, capability: str, flag: str) -> bool:
        """Whether a capability is declared, and a flag of it is true."""
        return declares(self.capabilities, capability, flag)


def declares(capabilities: Fields, capability: str, flag: str) -> bool:
    """Whether a capability is declared, and a flag of it is true."""
    return value(fields(capabilities.get(capability)).get(flag)) is True


class _Entry(msgspec.Struct):
    name: Raw | UnsetType = UNSET
    uri: Raw | UnsetType = UNSET
    uriTemplate: Raw | UnsetType = UNSET
    inputSchema: Raw | UnsetType = UNSET


_entries = msgspec.json.Decoder(list[Raw])
_entry = msgspec.json.Decoder(_Entry)


class Pages:
    """One list, read page by page.

    Attributes:
        problems: what had to be left out of it.
    """

    def __init__(self, kind: Kind) -> None:
        self.problems: list[str] = []
        self._kind = kind
        self._entries: dict[str, Entry] = {}
        self._invalid: dict[str, str] = {}
        self._hints: list[tuple[int, bool]] = []
        self._cursors: set[str] = set()

    def add(self, result: Raw) -> Raw | None:
        """Take the next page; returns the cursor of the one behind it, None behind the last.

        Raises:
            BackendError: the backend's: it has no list in it, or the pages never end.
        """
        page, method = fields(result), self._kind.method
        try:
            listed = _entries.decode(page[self._kind.key])
        except (KeyError, ValueError, RecursionError):
            raise BackendError(f"answers {method} without a list of {self._kind.key}") from None
        for raw in listed:
            self._take(raw)
        self._hints.append(_hint(page))
        cursor = page.get("nextCursor")
        if cursor is None or cursor == Raw(b"null"):  # any string continues, the empty one too (spec, pagination)
            return None
        spelled = text(cursor)
        if spelled is None or spelled in self._cursors:
            raise BackendError(f"answers {method} with pages that never end (a cursor came again)")
        if len(self._hints) >= MAX_PAGES:
            raise BackendError(f"answers {method} with more than {MAX_PAGES:,} pages")
        self._cursors.add(spelled)
        return cursor

    def listing(self) -> Listing:
        """What was read so far, as a list."""
        ttl_ms = min((ttl for ttl, _ in self._hints), default=0)
        is_public = bool(self._hints) and all(public for _, public in self._hints)
        return Listing(tuple(self._entries.values()), ttl_ms, is_public, self._invalid)

    def _take(self, raw: Raw) -> None:
        method, field_name = self._kind.method, self._kind.id
        try:
            entry = _entry.decode(raw)
            name = text(getattr(entry, field_name))
        except (ValueError, RecursionError):
            entry, name = _Entry(), None
        if name is None:
            self.problems.append(f"{method}: an entry without a {field_name} is left out")
        elif name in self._entries:
            self.problems.append(f"{method}: '{name}' comes twice; the first is kept")
        else:
            headers: ParamHeaders = {}
            if self._kind is TOOLS and entry.inputSchema is not UNSET:
                try:
                    headers = param_headers(entry.inputSchema)
                except ValueError as exc:
                    self._invalid[name] = str(exc)
            # A copy: `raw` would keep the whole page in memory.
            self._entries[name] = Entry(name, Raw(bytes(raw)), headers)


def _hint(page: Fields) -> tuple[int, bool]:
    """(ttlMs, may be shared) of a page; without hints nothing may be assumed (spec, caching)."""
    ttl = value(page.get("ttlMs"))
    fresh = ttl if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl > 0 else 0
    return fresh, value(page.get("cacheScope")) == "public"
