"""Verdicts: what a run of a scenario came to, and what the runs of a requirement come to together.

Rules:
- Severity only rises: the verdict of a requirement is the worst of its runs.
- The target's faults (`Failure`) and the harness's own (`HarnessError`) are told apart. What the target does or leaves
  undone is its own fault, a connection that ends or an answer that does not come included.
- An unexpected exception is the harness's fault until shown otherwise.
- What fails is played again in fresh worlds. What fails there, too, has failed; what passes in all of them is unsteady:
  it came of what was played before, or of a race.
- What is missing on this machine (`Missing`) is nobody's fault: the target is skipped, and that is no verdict.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from .case import Case

E = TypeVar("E", bound=BaseException)


class Verdict(StrEnum):
    """In the order of severity, mildest first."""

    NOT_CHECKED = "not checked"
    NOT_APPLICABLE = "not applicable"
    NOT_OFFERED = "not offered"
    PASS = "pass"
    NOT_SUPPORTED = "not supported"
    UNSTEADY = "unsteady"
    FAIL = "fail"
    HARNESS_ERROR = "harness error"


_SEVERITY = list(Verdict)


def worst(verdicts: Iterable[Verdict], default: Verdict) -> Verdict:
    """The most severe of `verdicts`; `default` when there is none."""
    return max(verdicts, key=_SEVERITY.index, default=default)


class LeftOut(NamedTuple):
    """Why a requirement has no run: the verdict that it gets instead, and the reason.

    `selected` is False if nobody asked for it (`--only`); the terminal then leaves it out of its sums.
    """

    verdict: Verdict
    why: str
    selected: bool = True


class Failure(Exception):
    """The target does not keep a requirement.

    Args:
        message: what is wrong, in one line.
        expected, actual: what was compared, as readable text.
        diff: the difference, where the two are long.
        cause: what it comes from, in one line, where failures of other requirements may come from the same.
    """

    def __init__(self, message: str, expected: str = "", actual: str = "", diff: str = "", *, cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.actual = actual
        self.diff = diff
        self.cause = cause


class Silence(Failure):
    """The target does not answer: nothing came in time, or its connection is gone."""


class NotOffered(Exception):
    """The target does not declare what the requirement is about, and need not. The text says in one line what."""


class NotApplicable(Exception):
    """This run cannot show what the requirement is about. The text says in one line why."""


@contextmanager
def told_by(requirement: str) -> Generator[None, None, None]:
    """What goes wrong inside is for another requirement to tell: one that is about how something is done says nothing
    of a target that does not do it.

    Raises:
        NotApplicable: something went wrong.
    """
    try:
        yield
    except Failure as failure:
        raise NotApplicable(f"{failure.message}: see {requirement}") from None


class HarnessError(Exception):
    """The harness could not do its work: a fixture that does not start, a golden that is not there."""


class Missing(Exception):
    """The target cannot be run on this machine. The text says in one line what is missing, and how to get it."""


@dataclass(frozen=True)
class Again:
    """How often a run that failed was played again in fresh worlds, how often of these it failed, and how many runs
    there were before it in its own world."""

    played: int
    failed: int
    before: int


@dataclass
class RunResult:
    """One run of one scenario in one case."""

    requirement: str
    scenario: str
    case: Case
    verdict: Verdict
    seconds: float
    revision: str = ""
    """The revision that was spoken with the client."""
    message: str = ""
    expected: str = ""
    actual: str = ""
    diff: str = ""
    wire: list[dict[str, Any]] = field(default_factory=list)
    cause: str = ""
    again: Again | None = None
    behind: list[dict[str, Any]] = field(default_factory=list)
    """What the fixture servers received, did and sent: more entries of the wire log, on the same clock."""
    stderr: str = ""
    """The end of what the target logged meanwhile."""


def first_of(exc: BaseException, kind: type[E]) -> E | None:
    """The first exception of a kind in a group, or the exception itself."""
    if isinstance(exc, BaseExceptionGroup):
        found = (first_of(part, kind) for part in exc.exceptions)
        return next((part for part in found if part is not None), None)
    return exc if isinstance(exc, kind) else None
