"""What a requirement is.

Rules:
- One sentence, one source. What the specification says is quoted; what no specification says is a `convention` and
  gives its reason instead: it is shown in every report and is no nonconformance; only a strict run asks for it, too.
- The words of the quote are the level: see `level_of`.
- A revision is held to what it says itself. Where revisions differ in their wording, each wording is quoted.
- Ids are `area:feature:variant` and do not change. `changes.json` tells what was added, changed and dropped when.
- A requirement checks itself when it is made.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["MUST", "SHOULD", "MAY", "convention"]
GATING: tuple[Level, ...] = ("MUST", "SHOULD")
"""What is nonconformance when it is not kept; the rest counts in a strict run only."""
Era = Literal["legacy", "modern"]

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
"""The revisions of MCP, oldest first."""
LEGACY = REVISIONS[-2]
MODERN = REVISIONS[-1]

WORDS: tuple[tuple[Level, str], ...] = (
    ("MUST", r"\b(MUST|SHALL|REQUIRED)\b"),
    ("SHOULD", r"\b(SHOULD|RECOMMENDED|should)\b"),
    ("MAY", r"\b(MAY|OPTIONAL)\b"),
)

PAGES_BEFORE: tuple[tuple[str, str], ...] = (
    ("basic/patterns/", "basic/utilities/"),
    ("basic/transports/", "basic/transports"),
    ("basic/authorization/", "basic/authorization"),
)
"""Pages that moved with the newest revision: how their paths begin, and where they were before."""

WITHOUT_SCHEMA_PAGE = REVISIONS[:2]
"""Revisions whose schema is no page of the specification, but a file beside it."""


def level_of(quote: str) -> Level:
    """The level that a sentence gives, by its strongest word.

    One without such a word says what a message or a field is. Whoever means something else by it is not understood;
    but no MUST was broken, so it is a SHOULD.
    """
    return next((level for level, word in WORDS if re.search(word, quote)), "SHOULD")


@dataclass(frozen=True)
class Spec:
    """A sentence of the specification.

    Args:
        revision: the revision it is quoted from: the newest that has this very sentence.
        page: path of the page in that revision and anchor of the section, such as `server/tools#calling-tools`.
        quote: the sentence, word for word.
        since: the oldest revision that has it, and so have all between; by default only `revision` does.
    """

    revision: str
    page: str
    quote: str
    since: str = ""

    @property
    def url(self) -> str:
        page, _, anchor = self.page.partition("#")
        if page == "schema" and self.revision in WITHOUT_SCHEMA_PAGE:
            return (
                "https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/"
                f"{self.revision}/schema.ts"
            )
        fragment = f"#{anchor}" if anchor else ""
        return f"https://modelcontextprotocol.io/specification/{self.revision}/{page}{fragment}"

    @property
    def edition(self) -> str:
        """What is quoted, in a few words."""
        return self.revision

    @property
    def level(self) -> Level:
        """What the sentence obliges to."""
        return level_of(self.quote)

    @property
    def oldest(self) -> str:
        """The oldest revision that has the sentence."""
        return self.since or self.revision

    def of(self, revision: str) -> "Spec":
        """The same sentence in another of the revisions that have it."""
        if revision == self.revision:
            return self
        page, _, anchor = self.page.partition("#")
        if self.revision == MODERN:
            moved = next(((new, old) for new, old in PAGES_BEFORE if page.startswith(new)), None)
            if moved:
                new, old = moved
                page, anchor = (old + page.removeprefix(new) if old.endswith("/") else old), ""
        return replace(self, revision=revision, page=f"{page}#{anchor}" if anchor else page)


@dataclass(frozen=True, kw_only=True)
class Extension(Spec):
    """A sentence of an extension's specification; `revision` is that specification's own.

    Args:
        repository: in which it is kept.
    """

    repository: str

    @property
    def url(self) -> str:
        return (
            f"https://github.com/modelcontextprotocol/{self.repository}/blob/main/specification/"
            f"{self.revision}/{self.page}"
        )

    @property
    def edition(self) -> str:
        return f"{self.repository} {self.revision}"


@dataclass(frozen=True)
class Requirement:
    """One sentence that a proxy must, should or may keep.

    Args:
        id: `area:feature:variant`.
        text: what is required, in one sentence.
        level: as the source says it; `convention` where no specification does.
        source: a sentence of the specification, or the reason for a convention.
        since: the first revision it holds for.
        until: the last revision it holds for.
        earlier: the wording of revisions before those that `source` is of, newest first.
        offers: the capability it is about, as a server declares it, such as `resources.subscribe`; empty where none
            has to be declared. Of a target that does not declare it nothing is asked.
        unchecked: why no scenario checks it; empty when one does.

    Raises:
        ValueError: the author's: a field is not what it has to be.
    """

    id: str
    text: str
    level: Level
    source: Spec | str
    since: str = REVISIONS[0]
    until: str = MODERN
    unchecked: str = ""
    earlier: tuple[Spec, ...] = ()
    offers: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+(:[a-z][a-z-]*){2}", self.id):
            raise ValueError(f"{self.id}: an id is area:feature:variant")
        if not re.fullmatch(r"[A-Z`].*\.", self.text):
            raise ValueError(f"{self.id}: the text is one sentence with a full stop")
        if isinstance(self.source, str) != (self.level == "convention"):
            raise ValueError(f"{self.id}: a convention gives a reason, any other level a Spec")
        if self.since not in REVISIONS or self.until not in REVISIONS or self.since > self.until:
            raise ValueError(f"{self.id}: since and until are revisions, in this order")
        if isinstance(self.source, Spec):
            self._check_quotes(self.source)

    def _check_quotes(self, source: Spec) -> None:
        if self.level != source.level:
            raise ValueError(f"{self.id}: it is a {self.level}, but by the words of its quote a {source.level}")
        if isinstance(source, Extension):
            return
        quotes = (source, *self.earlier)
        for quote in quotes:
            if unknown := {quote.revision, quote.oldest} - {*REVISIONS}:
                raise ValueError(f"{self.id}: there is no revision {min(unknown)}")
        missing = [
            revision
            for revision in REVISIONS
            if self.since <= revision <= self.until
            and not any(quote.oldest <= revision <= quote.revision for quote in quotes)
        ]
        if missing:
            raise ValueError(f"{self.id}: nothing is quoted from {', '.join(missing)}")

    def said(self, revision: str) -> Spec | str:
        """What a revision says: the sentence in its own wording, or the reason for a convention."""
        if isinstance(self.source, Extension | str):
            return self.source
        quotes = (self.source, *self.earlier)
        found = next((quote for quote in quotes if quote.oldest <= revision <= quote.revision), None)
        return found.of(revision) if found else self.source

    def level_in(self, revision: str) -> Level:
        """The level that a revision's own words give."""
        said = self.said(revision)
        return said.level if isinstance(said, Spec) else self.level

    @property
    def area(self) -> str:
        return self.id.partition(":")[0]

    @property
    def eras(self) -> tuple[Era, ...]:
        """The eras in which it holds for some revision that the harness speaks."""
        eras: list[Era] = []
        if self.since <= LEGACY:
            eras.append("legacy")
        if self.until >= MODERN:
            eras.append("modern")
        return tuple(eras)
