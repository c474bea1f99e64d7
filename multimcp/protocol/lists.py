"""The lists of one connection: pages put together, what has to be read, and when it is read again. Pure.

Rules:
- A list is read to its last page. A cursor that comes again ends it, and so do `MAX_PAGES` pages.
- An entry that cannot be addressed (no name, no URI), comes twice or would be refused by clients cannot be offered: it
  is left out, and `problems` says so.
- A list is read again when the backend says that it changed; where it does not promise to, or could not keep that, when
  a client asks and it is older than `FRESH`. Nobody promises to tell that a skill's files, and so its digests, changed.
- What comes again, byte for byte and page by page, is not looked at again: it is the same entries as before.
- One that cannot be read keeps what was read of it last. It is read again soon, then after longer and longer pauses.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Raw

from multimcp.errors import BackendError, printable

from .entries import usable
from .eras import ParamHeaders, param_headers
from .extensions import SKILL, pages, respelled
from .message import EMPTY, Era, Fields, fields, text, value
from .names import qualify
from .offer import KINDS, SKILLS, TOOLS, Entry, Kind, Listing, declares

MAX_PAGES = 1000
CURSOR = 64 * 1024
"""Pages of a list, and the characters of the cursor that leads from one to the next."""

ENTRIES = 20_000
"""Entries of a list that are looked at, bytes of all that are kept, and of one."""
LIST = 16 * 1024 * 1024
ENTRY = 1024 * 1024

TURN = 500
"""How many entries are taken before others have a turn."""

MAX_PROBLEMS = 20
"""How many entries of a list that are left out are named, and how many characters of a name are shown."""
SHOWN = 80

FRESH = 2.0
"""Seconds for which a list is not read again when it is asked for."""

RETRY = (1.0, 60.0)
"""Seconds after which a list that could not be read is read again: the first time, and at most."""

_entries = msgspec.json.Decoder(list[Raw])


class Page(NamedTuple):
    """What was found on one page: its entries with their bytes, of how many that were looked at; how many problems, and
    those of them that are named."""

    entries: Sequence[Entry]
    named: Sequence[str]
    problems: int
    looked_at: int
    size: int
    is_cut: bool
    """Whether it had more than may be kept."""


class Pages:
    """One list, read page by page.

    Args:
        kind: of what.
        era: that the backend speaks.
        has_headers: whether arguments of tools are repeated in HTTP headers.
        server: whose list it is. The URIs of skills are qualified here, once: there may be many.
        known: what was `found` when it was read last on the same connection.

    Attributes:
        found: its pages, each by the digest of all up to it.
        cursor: of the page behind the one that was added last; None behind the last one.
    """

    def __init__(
        self,
        kind: Kind,
        era: Era = "legacy",
        *,
        has_headers: bool = False,
        server: str = "",
        known: Mapping[bytes, Page] = {},
    ) -> None:
        self.found: dict[bytes, Page] = {}
        self._known = known
        self._digest = blake2b()
        self._named: list[str] = []
        self._problems = 0
        self._kind = kind
        self._era = era
        self._has_headers = has_headers
        self._server = server
        self._entries: dict[str, Entry] = {}
        self._hints: list[tuple[int, bool]] = []
        self._cursors: set[str] = set()
        self.cursor: Raw | None = None
        self._count = self._size = 0

    @property
    def problems(self) -> list[str]:
        """What had to be left out of it."""
        more = self._problems - len(self._named)
        return self._named + ([f"{self._kind.method}: and {more:,} more problems like these"] if more else [])

    def _note(self, problem: str) -> None:
        self._problems += 1
        if len(self._named) < MAX_PROBLEMS:  # there may be as many as entries, and pages keep them
            self._named.append(f"{self._kind.method}: {problem}")

    @property
    def _is_full(self) -> bool:
        return self._count >= ENTRIES or self._size > LIST

    @property
    def is_whole(self) -> bool:
        """Whether the list was there before the page that could not be read: behind an empty cursor there is none."""
        return "" in self._cursors

    def add(self, result: Fields) -> Generator[None, None, None]:
        """Take the next page, piece by piece: a page may have so many entries that others must have turns in between.

        Raises:
            BackendError: the backend's: it has no list in it.
        """
        raw = result.get(self._kind.key, EMPTY)
        self._digest.update(b"%d " % memoryview(raw).nbytes)
        self._digest.update(raw)
        digest = self._digest.digest()
        if (page := self._known.get(digest)) is None:
            page = yield from self._look_at(raw)
        else:
            self._entries |= {entry.name: entry for entry in page.entries}
            self._named += page.named
            self._problems += page.problems
            self._count += page.looked_at
            self._size += page.size
        self.found[digest] = page
        self._hints.append(_hint(result))
        self.cursor = self._next(result.get("nextCursor"), page.is_cut)

    def _look_at(self, raw: Raw) -> Generator[None, None, Page]:
        try:
            listed = _entries.decode(raw)
        except (ValueError, RecursionError):
            raise BackendError(f"answers {self._kind.method} without a list of {self._kind.key}") from None
        entries, named, problems = len(self._entries), len(self._named), self._problems
        count, size, is_cut = self._count, self._size, False
        for number, each in enumerate(listed, 1):
            if is_cut := self._is_full:
                break
            self._take(each)
            if number % TURN == 0:
                yield
        new = tuple(self._entries.values())[entries:]
        told = self._named[named:], self._problems - problems
        return Page(new, *told, self._count - count, self._size - size, is_cut)

    def _next(self, cursor: Raw | None, is_cut: bool) -> Raw | None:
        """The cursor if there is a page behind it that is to be read."""
        has_more = cursor is not None and cursor != Raw(b"null")  # any string continues, also an empty one
        if is_cut or (self._is_full and has_more):
            self._note(f"of more than {ENTRIES:,} entries or {LIST:,} bytes the rest is left out")
        if self._is_full or not has_more:
            return None
        spelled = text(cursor)
        if spelled is None or len(spelled) > CURSOR or spelled in self._cursors or len(self._hints) >= MAX_PAGES:
            if spelled != "":  # many mean by that one that there is no more
                self._note("its pages never end; what was read is kept")
            return None
        self._cursors.add(spelled)
        return cursor

    @property
    def is_begun(self) -> bool:
        """Whether a page has been read."""
        return bool(self._hints)

    def listing(self) -> Listing:
        """What was read so far, as a list."""
        ttl_ms = min((ttl for ttl, _ in self._hints), default=0)
        is_public = self.is_begun and all(public for _, public in self._hints)
        return Listing(tuple(self._entries.values()), ttl_ms, is_public)

    def _take(self, raw: Raw) -> None:
        kind = self._kind
        self._count += 1
        if (size := memoryview(raw).nbytes) > ENTRY:
            self._note(f"an entry of {size:,} bytes is left out: one may have {ENTRY:,}")
            return
        name = text(fields(raw).get(kind.id))
        if name is None:
            self._note(f"an entry without a {kind.id} is left out")
            return
        try:
            raw = usable(kind, self._era, raw)
            headers = self._headers(raw) if kind is TOOLS else {}
            if kind is SKILLS:
                raw = respelled(raw, SKILL, lambda _, uri: qualify(self._server, uri)) or raw
        except ValueError as exc:
            self._note(f"'{printable(name, SHOWN)}' is left out: {exc}")
            return
        if name not in self._entries:
            self._size += size
            found = pages(raw) if kind is TOOLS else ()
            copy = Raw(bytes(raw))  # `raw` itself would keep the whole page
            self._entries[name] = Entry(name, copy, headers, found)
        elif not self.is_whole:
            self._note(f"'{printable(name, SHOWN)}' comes twice; the first is kept")

    def _headers(self, raw: Raw) -> ParamHeaders:
        """Where a tool wants its arguments repeated; raises `ValueError` where that makes it unusable."""
        try:
            return param_headers(fields(raw)["inputSchema"])
        except ValueError:
            if self._has_headers and self._era == "modern":  # spec 2026-07-28, streamable HTTP
                raise
            return {}


def _hint(page: Fields) -> tuple[int, bool]:
    """(ttlMs, may be shared) of a page; without hints nothing may be assumed (spec, caching)."""
    ttl = value(page.get("ttlMs"))
    fresh = ttl if isinstance(ttl, int) and not isinstance(ttl, bool) and ttl > 0 else 0
    return fresh, value(page.get("cacheScope")) == "public"


class Lists:
    """What is known of the lists of a connection. All times are in seconds of one clock.

    Attributes:
        listings: as they were read last.
        wake: called when one has become due.
    """

    def __init__(self) -> None:
        self.listings: dict[Kind, Listing] = {}
        self.wake: Callable[[], None] = lambda: None
        self._kinds: list[Kind] = []
        self._promised: set[str] = set()
        self._due: dict[Kind, float] = {}
        self._read_at: dict[Kind, float] = {}
        self._pause: dict[Kind, float] = {}
        self._problems: dict[Kind, tuple[str, ...]] = {}
        self._found: dict[Kind, Mapping[bytes, Page]] = {}
        self._heard: set[str] = set()
        self._is_reading = False

    @property
    def next_at(self) -> float:
        """When the next list is to be read, if nothing happens before."""
        return min(self._due.values(), default=math.inf)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, or had to be left out."""
        return tuple(problem for kind in KINDS for problem in self._problems.get(kind, ()))

    @property
    def promised(self) -> list[str]:
        """The capabilities whose changes the backend promises to tell."""
        return sorted(self._promised)

    def declare(self, capabilities: Fields, extensions: Fields, now: float) -> None:
        """The backend has these capabilities and extensions: their lists have to be read."""
        self._kinds = [kind for kind in KINDS if kind.is_in(capabilities, extensions)]
        self._due = dict.fromkeys(self._kinds, now)
        self._promised = {
            kind.capability for kind in self._kinds if declares(capabilities, kind.capability, "listChanged")
        }

    def changed(self, capability: str, now: float) -> None:
        """The backend says that its lists of this capability changed. While they are read that is no news."""
        if not self._is_reading:
            self._heard.add(capability)
        self._expire([kind for kind in KINDS if kind.capability == capability], now)

    def missed(self, now: float, kinds: Iterable[Kind] = KINDS) -> None:
        """The backend may have said something that did not reach us, or nothing though these have changed."""
        self._expire(kinds, now)

    def asked(self, kind: Kind, now: float, *, is_heard: bool) -> None:
        """A client asks for a list; `is_heard`: there is a stream on which the backend can keep its promise."""
        old = [each for each, read_at in self._read_at.items() if now - read_at > FRESH]
        heard = self._promised if is_heard else set()
        self._expire([each for each in old if (each is kind if each is SKILLS else each.capability not in heard)], now)

    def _expire(self, kinds: Iterable[Kind], now: float) -> None:
        if due := {kind: now for kind in kinds if kind in self._kinds}:
            self._due |= due
            self.wake()

    def begin(self, now: float) -> tuple[list[Kind], set[str]]:
        """What is to be read now, and the capabilities that the backend has spoken of since it was read last."""
        self._is_reading = True
        heard, self._heard = self._heard, set()
        kinds = [kind for kind in KINDS if self._due.get(kind, math.inf) <= now]
        for kind in kinds:
            del self._due[kind]
        return kinds, heard

    def found(self, kind: Kind) -> Mapping[bytes, Page]:
        """What was found when a list was read last, for `Pages`."""
        return self._found.get(kind, {})

    def end(self) -> None:
        """Lists have been read: what is said of them from now on is news."""
        self._is_reading = False

    def take(self, kind: Kind, pages: Pages, problem: str | None, now: float) -> None:
        """A list has been read, or could not be for this `problem`: then what was read of it before is kept."""
        if pages.is_begun and (problem is None or kind not in self.listings):
            found, listing = pages.found, pages.listing()
            if listing == self.listings.get(kind):  # whose entries stay: no others are kept beside them
                kept = {entry.name: entry for entry in self.listings[kind].entries}
                found = {
                    digest: page._replace(entries=tuple(kept[entry.name] for entry in page.entries))
                    for digest, page in found.items()
                }
            else:
                self.listings[kind] = listing
            self._found[kind] = found
        self._problems[kind] = (*pages.problems, *([problem] if problem else []))
        self._read_at[kind] = now
        pause = self._pause.pop(kind, RETRY[0])
        if problem:
            self._pause[kind] = min(2 * pause, RETRY[1])
            self._due.setdefault(kind, now + pause)
