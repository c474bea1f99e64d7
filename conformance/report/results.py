"""Results files: what one run of the harness on one target came to, as JSON.

Rules:
- A file is of one target and one run. Several are merged; the latest run of a target counts, one that was skipped only
  where there is no other.
- The models are the format. `results.schema.json` is made from them, for whoever reads or writes such files.
- Fields that are not known here are ignored: a later harness may add some.
- What is read is redacted: no secret gets from a file into a report or another file, whoever wrote it. What the
  requirements themselves say stays as it is.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from conformance.case import Transport
from conformance.requirements.model import GATING, Era, Level
from conformance.verdict import Verdict

from .redact import legible, redact

FORMAT: Literal[1] = 1
LONGEST = 4000
"""Characters of a text that reports show."""


class ResultsError(Exception):
    """Whoever names the file: it holds no results. The text names the file and the place in it."""


def _legible(value: object) -> object:
    return legible(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(redact)]
Quoted = Annotated[str, BeforeValidator(_legible)]
Count = Annotated[int, Field(ge=0)]
State = Literal[
    "pass",
    "fail",
    "unsteady",
    "known",
    "stale",
    "not offered",
    "not supported",
    "not applicable",
    "not checked",
    "harness error",
    "no result",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)


class Target(_Part):
    """The proxy under test."""

    name: Text
    """Its short name, which tells targets apart."""
    title: Text
    """Its name for people."""
    version: Text = ""
    """Its version; empty where its file says none."""
    launch: Text
    """How the harness launches it, such as `command` or `url`."""


class Summary(_Part):
    """How many requirements came to what."""

    passed: Count = Field(alias="pass")
    """Kept in every run."""
    failed: Count = Field(alias="fail")
    """Not kept, the baselined ones included."""
    unsteady: Count = 0
    """Failed, and then passed in all fresh worlds in which it was played again."""
    not_supported: Count = Field(alias="not supported")
    """The target declares that it does not support what is needed."""
    not_offered: Count = Field(0, alias="not offered")
    """Optional, and the target does not declare it."""
    not_applicable: Count = Field(alias="not applicable")
    """Nothing that the target offers is meant."""
    harness_error: Count = Field(alias="harness error")
    """The harness could not find out; its own fault, or that of the configuration."""
    not_checked: Count = Field(alias="not checked")
    """Listed, with the reason why no scenario checks it."""
    baselined: Count
    """Not kept, and known not to be."""
    stale: Count
    """In the baseline, and kept: the entry has to go."""
    regressions: Count
    """Nonconformances: not kept, not in the baseline, and of a level that counts."""


class Spec(_Part):
    """The sentence of the specification that requires it."""

    revision: Quoted
    """The revision of MCP, or of an extension, that is quoted."""
    url: Quoted
    """The section."""
    quote: Quoted
    """The sentence, word for word."""


class Reason(_Part):
    """What speaks for a convention: something that no specification requires."""

    reason: Quoted
    """Why a proxy should do so all the same."""


class Known(_Part):
    """An entry of the baseline."""

    reason: Text
    """Why the requirement is not kept yet."""
    link: Text
    """Where that is worked on."""


class Case(_Part):
    """How client, proxy and backend were connected."""

    client: Transport
    """The transport of the client."""
    era: Era
    """How the client speaks: `legacy` up to revision 2025-11-25, `modern` from 2026-07-28."""
    backend: Transport
    """The transport of the backends."""

    @property
    def name(self) -> str:
        return f"{self.client}-{self.era}>{self.backend}"


class Entry(_Part):
    """One line of a wire log."""

    at: float
    """Milliseconds since the run began."""
    channel: Text
    """The connection, such as `client 1`; the harness's server, such as `server everything (pid 7)`; or `harness`."""
    way: Literal["sent", "received", "note"]
    """As the client or the server of the harness sees it; `note` is a remark."""
    stream: Text = ""
    """What carried it: `stdio`, `SSE`, `GET`, or `POST`, with the id of the request in whose response it came."""
    message: Annotated[Any, BeforeValidator(redact)]
    """The message as JSON; as text where it was cut, is none, or is a remark."""


class Again(_Part):
    """How a run that failed went when it was played again, each time in a fresh world, until it failed again."""

    played: Count
    """How often it was played again; 0 if the run of the harness was broken off before."""
    failed: Count
    """How often of these it failed."""
    before: Count
    """How many runs had been played in its world before it failed first. If it was the first one, and passes in fresh
    worlds, then there is a race; else it may depend on their order as well."""


class Run(_Part):
    """One run of a scenario, in one case."""

    scenario: Text
    """The scenario, as `module.function`."""
    case: Case
    """How everything was connected."""
    name: Text
    """The case in short, such as `http-modern>stdio`."""
    verdict: Verdict
    """What it came to."""
    revision: Text = ""
    """The revision of MCP that was spoken with the client."""
    source: Spec | None = None
    """Of a failing run: what that revision says, in its own words."""
    seconds: float
    """How long it took."""
    message: Text
    """What was wrong, in one line; empty for a pass."""
    expected: Text
    """What should have been seen, as text."""
    actual: Text
    """What was seen, as text."""
    diff: Text
    """The unified diff of the two, where they are long."""
    again: Again | None = None
    """What came of it in fresh worlds. None if it did not fail, or if the same requirement failed there in another
    case."""
    cause: Text = ""
    """The finding that it belongs to; empty where it stands for itself."""
    wire: list[Entry] = []
    """All messages of the run; where it went wrong, those of the servers behind the target, too. In the order of time;
    given for failing runs and for one passing run of each requirement."""
    stderr: Text = ""
    """The end of what the target wrote to its stderr, or to its log, during the run; given for failing runs."""


def _source(value: object) -> str:
    reason = "reason" in value if isinstance(value, dict) else isinstance(value, Reason)
    return "Reason" if reason else "Spec"


class Outcome(_Part):
    """A requirement, and what all its runs came to together."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+(:[a-z0-9-]+){2}$")]
    """`area:feature:variant`; never changes."""
    area: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    """The first part of the id."""
    text: Quoted
    """What is required, in one sentence."""
    level: Level
    """As the source says it; with `source`, of the revision that was spoken in the run that decided. A convention is
    shown and never counted as nonconformance."""
    source: Annotated[Annotated[Spec, Tag("Spec")] | Annotated[Reason, Tag("Reason")], Discriminator(_source)]
    """Where it is written, or, for a convention, what speaks for it."""
    since: Text
    """The first revision of MCP that it holds for."""
    until: Text
    """The last one."""
    verdict: Verdict
    """The worst of all runs."""
    why: Text
    """Why it is not offered, not supported, not applicable or not checked; else empty."""
    selected: bool = True
    """Whether it was asked for, as `--only` does; what was not selected is not checked."""
    baseline: Known | None
    """The entry of the target's baseline, if it has one."""
    stale: bool
    """Whether that entry has become untrue."""
    runs: list[Run]
    """None where it is not supported, not applicable or not checked."""

    @property
    def state(self) -> State:
        """The verdict, seen together with the baseline."""
        if self.stale:
            return "stale"
        if self.verdict == Verdict.FAIL and self.baseline:
            return "known"
        return self.verdict.value

    def counts(self, strict: bool) -> bool:
        """Whether not keeping it, unless it is in the baseline, makes the run fail."""
        return strict or self.level in GATING


class Finding(_Part):
    """One thing that is wrong with the target, and all that it took down."""

    id: Text
    """As the runs name it as their cause."""
    text: Text
    """What is wrong, in one line."""
    requirements: list[Text]
    """The ids of the requirements that it took down, those that were not played because of it included."""


class Results(_Part):
    """What one run of the harness on one target came to."""

    format: Literal[1]
    """The format of this file."""
    harness: Text
    """The version of the harness."""
    requirement_set: Text = ""
    """The version of the requirement set, such as `2`, or `3.dev` between two releases of it."""
    target: Target
    """What was tested."""
    started: AwareDatetime
    """When the run began."""
    seconds: float
    """How long it took."""
    matrix: Literal["default", "full"]
    """Which cases were run: a selection, or all."""
    strict: bool
    """Whether every level counts. Otherwise MUST and SHOULD do."""
    skipped: Text = ""
    """Why the target was not run at all: what this machine lacks. Empty where it was."""
    ended: Text = ""
    """Why the run ended before everything was played; empty where it did not."""
    exit: Literal[0, 1, 2]
    """0: conforms, but for what is in the baseline. 1: a nonconformance, or a stale entry of the baseline; also if the
    target does not start, or answers nothing. 2: an error of the harness or in its configuration, or the time was too
    short to play everything."""
    summary: Summary
    """Figures over all requirements."""
    findings: list[Finding] = []
    """What took down several requirements, or ended the run."""
    requirements: list[Outcome]
    """All there are, those without a run included."""

    def counts(self, outcome: Outcome) -> bool:
        """Whether not keeping it, unless it is in the baseline, makes the run fail."""
        return outcome.counts(self.strict)


def schema() -> dict[str, Any]:
    """The JSON Schema of the format, as `results.schema.json` holds it."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema()}
    untitled = _without_titles(made)
    assert isinstance(untitled, dict)
    return {**untitled, "title": "Results of the MCP proxy conformance harness, format 1"}


def _without_titles(value: object) -> object:
    """Without the titles that pydantic makes of the names: they say nothing."""
    if isinstance(value, dict):
        return {k: _without_titles(v) for k, v in value.items() if not (k == "title" and isinstance(v, str))}
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


def parse(value: object, origin: str) -> Results:
    """Checks that a JSON value is a results file.

    Args:
        value: the decoded file.
        origin: how errors call it.

    Raises:
        ResultsError: it is not.
    """
    found = value.get("format") if isinstance(value, dict) else None
    if found is None:
        raise ResultsError(f"{origin}: not a results file of this harness: it has no `format`")
    if found != FORMAT:
        raise ResultsError(f"{origin}: its format is {found!r}; this harness reads format {FORMAT}")
    try:
        return Results.model_validate(value)
    except ValidationError as exc:
        first, *more = exc.errors(include_url=False)
        others = f" (and {len(more)} more)" if more else ""
        raise ResultsError(f"{origin}: {_place(first['loc'])}: {first['msg']}{others}") from None


def _place(location: tuple[int | str, ...]) -> str:
    """`requirements[3].runs[0].verdict`"""
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part not in ("Spec", "Reason")
    )
    return "".join(parts).removeprefix(".")


def read(path: Path) -> Results:
    """Reads a results file, compressed if its name says so (`.json.gz`).

    Raises:
        ResultsError: it cannot be read, or is something else.
    """
    try:
        data = path.read_bytes()
        value = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise ResultsError(f"{path}: not gzip: {exc}") from None
    except OSError as exc:
        raise ResultsError(f"{path}: {exc.strerror}") from None
    except (ValueError, RecursionError) as exc:
        raise ResultsError(f"{path}: not JSON: {exc}") from None
    return parse(value, str(path))


def merge(many: Iterable[Results]) -> list[Results]:
    """One for each target, in the order in which the targets first come: of those not skipped the one started last."""
    latest: dict[str, Results] = {}
    for results in many:
        known = latest.setdefault(results.target.name, results)
        if (not results.skipped, results.started) >= (not known.skipped, known.started):
            latest[results.target.name] = results
    return list(latest.values())


def cut(text: str) -> str:
    """The beginning of a long text, with a word on how much is missing."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters in the results file"
