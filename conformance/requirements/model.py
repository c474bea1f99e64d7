"""What a requirement is.

Rules:
- One sentence, one source. What the specification says is quoted; what no specification says is a `convention` and
  gives its reason instead: it is shown in every report and is no nonconformance; only a strict run asks for it, too.
- Ids are `area:feature:variant` and do not change.
- A requirement checks itself when it is made.
"""

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["MUST", "SHOULD", "MAY", "convention"]
GATING: tuple[Level, ...] = ("MUST", "SHOULD")
"""What is nonconformance when it is not kept; the rest counts in a strict run only."""
Era = Literal["legacy", "modern"]

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
"""The revisions of MCP, oldest first."""
LEGACY = REVISIONS[-2]
MODERN = REVISIONS[-1]


@dataclass(frozen=True)
class Spec:
    """A sentence of the specification.

    Args:
        revision: the revision it is quoted from.
        page: path of the page and anchor of the section, such as `server/tools#calling-tools`.
        quote: the sentence, word for word.
    """

    revision: str
    page: str
    quote: str

    @property
    def url(self) -> str:
        return f"https://modelcontextprotocol.io/specification/{self.revision}/{self.page}"

    @property
    def edition(self) -> str:
        """What is quoted, in a few words."""
        return self.revision


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+(:[a-z][a-z-]*){2}", self.id):
            raise ValueError(f"{self.id}: an id is area:feature:variant")
        if not re.fullmatch(r"[A-Z`].*\.", self.text):
            raise ValueError(f"{self.id}: the text is one sentence with a full stop")
        if isinstance(self.source, str) != (self.level == "convention"):
            raise ValueError(f"{self.id}: a convention gives a reason, any other level a Spec")
        source = self.source
        if isinstance(source, Spec) and not isinstance(source, Extension) and source.revision not in REVISIONS:
            raise ValueError(f"{self.id}: there is no revision {source.revision}")
        if self.since not in REVISIONS or self.until not in REVISIONS or self.since > self.until:
            raise ValueError(f"{self.id}: since and until are revisions, in this order")

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
