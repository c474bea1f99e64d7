"""The scoreboard: one small page, proxies by requirements, each cell with a link to its wire log.

    FOLDER/index.html                the page
    FOLDER/logs/<target>.html        what was seen of one target: the report of its run, made smaller
    FOLDER/results/<target>.json.gz  the results of that run, made smaller; the page and the logs are made of these

Rules:
- A target is judged by a whole run. One that was skipped, broke off or met a fault of the harness is not judged: it has
  no column, and the page says why.
- Nothing on the page depends on when or where it is made: the same results make the same page.
- Columns are in the order of the names. Nobody is ranked.
- No folder of the machine on which a run was made is named.
- Made smaller: of each requirement the first of the worst cases keeps its wire log, and of that what fits.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from conformance.requirements.model import GATING
from conformance.verdict import Verdict

from . import html
from .markup import Html, el, join
from .redact import redact
from .results import Entry, Outcome, Results, Run, State, merge

TITLE = "Scoreboard of MCP proxies"
ENTRIES = {True: 30, False: 9}
"""Lines of a wire log that are kept, of a run that went wrong, and of one that went well."""
CHARACTERS = {True: 600, False: 160}
"""Characters of a message in it that are kept."""
SUFFIX = 40
"""Characters that the word on what is missing has, at most."""
STDERR = 1500
"""Characters of a target's log that are kept."""

WORDS: Mapping[State, str] = {
    "pass": "✓ kept",
    "fail": "✗ not kept",
    "known": "✗ not kept",
    "stale": "✓ kept",
    "unsteady": "~ unsteady",
    "not offered": "- not offered",
    "not supported": "- not supported",
    "not applicable": "· not applicable",
    "not checked": "· not checked",
    "harness error": "! harness error",
    "no result": "· no result",
}
MEANINGS: Mapping[State, str] = {
    "pass": "kept in every case that was tried",
    "fail": "not kept: it failed, and failed again in a fresh world",
    "unsteady": "failed once and was kept in every fresh world after that: a race, or what came before; does not count",
    "not offered": "optional, and the proxy does not declare it. It does not count",
    "not supported": "the target file says, with a reason, that the proxy does not do this. It does not count",
    "not applicable": "nothing about this proxy can show it, or the revision that it speaks does not have it",
    "not checked": "known, and no scenario of the harness checks it",
    "no result": "the run is older than the requirement",
}


def write(results: Sequence[Results], folder: Path) -> None:
    """Write the page, the logs and the results, and take away those of targets that are not among them any more.

    Args:
        results: one for each target.
        folder: which has all of it, and may have it already.
    """
    ordered = sorted(results, key=lambda one: one.target.title.casefold())
    for name in ("logs", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    wanted = {folder / "index.html"}
    for one in map(smaller, map(anywhere, judged(ordered))):
        log, data = folder / log_of(one), folder / "results" / f"{slug(one)}.json.gz"
        log.write_text(html.render([one]), encoding="utf-8")
        data.write_bytes(gzip.compress(json.dumps(one.model_dump(mode="json"), ensure_ascii=False).encode(), mtime=0))
        wanted |= {log, data}
    (folder / "index.html").write_text(render(ordered), encoding="utf-8")
    for file in (*folder.glob("logs/*.html"), *folder.glob("results/*.json.gz")):
        if file not in wanted:
            file.unlink()


def slug(results: Results) -> str:
    """The name of a target in links and of files."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", results.target.name)


def log_of(results: Results) -> str:
    return f"logs/{slug(results)}.html"


def judged(results: Iterable[Results]) -> list[Results]:
    """Those of whole runs."""
    return [one for one in results if not unjudged(one)]


def latest(results: Iterable[Results]) -> list[Results]:
    """One for each target: its latest whole run; where there is none, the latest."""
    everything = list(results)
    whole = merge(judged(everything))
    names = {one.target.name for one in whole}
    return [*whole, *(one for one in merge(everything) if one.target.name not in names)]


def unjudged(results: Results) -> str:
    """Why a run says nothing about its target; empty where it does."""
    if results.skipped:
        return f"it was not run: it lacks {results.skipped}"
    if results.ended:
        return f"its run ended early: {results.ended}"
    if results.exit == 2 and not results.summary.harness_error:
        return "its run broke off, by a fault of the harness or of the configuration"
    if any(not outcome.selected for outcome in results.requirements):
        return "only a part of the requirements was played"
    return ""


# Made smaller

_FOLDERS = re.compile(r"(?:(?<=\\[nt])|(?<=file://)|(?<![\w:/.~…-]))/(?:[\w.@+-]+/){2,}(?=[\w.@+-])")
"""What leads to a file from the root of a machine, through two folders at least, in JSON."""


def anywhere(results: Results) -> Results:
    """The same without the folders of the machine on which it was made."""
    return Results.model_validate_json(_FOLDERS.sub("…/", results.model_dump_json()))


def smaller(results: Results) -> Results:
    """The same without most of the wire logs."""
    return results.model_copy(update={"requirements": [_smaller(outcome) for outcome in results.requirements]})


def _smaller(outcome: Outcome) -> Outcome:
    shown = next((run for run in outcome.runs if run.verdict == outcome.verdict and run.wire), None)
    runs = [_run(run, outcome.verdict != Verdict.PASS) if run is shown else _bare(run) for run in outcome.runs]
    return outcome.model_copy(update={"runs": runs})


def _bare(run: Run) -> Run:
    return run.model_copy(update={"expected": "", "actual": "", "diff": "", "wire": [], "stderr": ""})


def _run(run: Run, wrong: bool) -> Run:
    most = ENTRIES[wrong] if len(run.wire) > ENTRIES[wrong] + 1 else len(run.wire)
    first, last = run.wire[: most // 3], run.wire[max(most // 3, len(run.wire) - most + most // 3) :]
    left_out = len(run.wire) - len(first) - len(last)
    note = f"{left_out} lines are left out here"
    between = [Entry(at=first[-1].at, channel="harness", way="note", message=note)] if left_out else []
    return run.model_copy(
        update={
            "wire": [_entry(entry, CHARACTERS[wrong]) for entry in (*first, *between, *last)],
            "stderr": run.stderr[-STDERR:],
            **({"expected": "", "actual": ""} if run.diff else {}),
        }
    )


def _entry(entry: Entry, most: int) -> Entry:
    text = entry.message if isinstance(entry.message, str) else json.dumps(entry.message, ensure_ascii=False)
    # What was cut before is a little longer, and stays as it is.
    # It is redacted as whoever reads it does: half a "[redacted]" may be left of a secret.
    cut = text if len(text) <= most + SUFFIX else redact(f"{text[:most]} … ({len(text):,} characters)")
    return entry.model_copy(update={"message": cut})


# The page


def render(results: Sequence[Results]) -> str:
    """The page, as a whole HTML document, of results in the order of the columns."""
    shown = judged(results)
    rows = html.requirements(shown)
    made = sorted({(one.harness, one.requirement_set) for one in shown})
    versions = "; ".join(f"harness {harness}, requirement set {which or 'unknown'}" for harness, which in made)
    body = el(
        "body",
        el(
            "header",
            el("h1", TITLE),
            el("p", f"{html.count(len(shown), 'target')}, {html.count(len(rows), 'requirement')}; {versions}."),
        ),
        el("main", _how(), _proxies(shown), _unjudged(results), _matrix(shown, rows)),
    )
    style = Path(__file__).with_name("scoreboard.css").read_text(encoding="utf-8")
    return html.document(TITLE, Html(style), body)


def _how() -> Html:
    meanings = [
        el("div", el("dt", WORDS[state], class_=_class(state)), el("dd", words)) for state, words in MEANINGS.items()
    ]
    return el(
        "section",
        el("h2", "How it is judged"),
        *_paragraphs(JUDGED),
        el("dl", *meanings),
        el("h2", "How to object", id="object"),
        *_paragraphs(OBJECT),
    )


JUDGED = """
The harness starts the proxy as its documentation says, puts servers of its own behind it, and plays client sessions
through it: every transport and both eras of MCP that the proxy has. What a client sees is compared with what it sees
when it is connected to the same servers directly. What exists only with a proxy (two servers with one name, a server
that crashes) is asserted.

Each requirement is one sentence, with the sentence of the specification that it comes from, word for word, in the
revision that proxy and client agreed on. MUST stands only where that sentence says so. MUST and SHOULD count. MAY, and
conventions, which no specification states, are shown and never count.

A failure is played again in a fresh world before it counts. What a proxy does not declare is not offered, which is no
failure. The figures say what was seen on one machine on one day with one version; a later version may be better. They
are no ranking, and say nothing about speed, security, or how pleasant a proxy is.

The authors of the harness are those of one of these proxies, Multi-MCP. It is judged by the same requirements; a test
breaks a proxy for each of them and sees that it fails.
"""
"""In plain words, for whoever reads the page first; backticks make code."""

OBJECT = """
Every cell leads to what was on the wire: what the client sent and received, what the servers behind the proxy received
and sent, and what the proxy wrote to its log. To see it yourself, take the proxy's target file from
`conformance/targets` and run `mcp-proxy-conformance run --target FILE --only REQUIREMENT --html report.html`.

If you think that a cell is wrong, open an issue in this repository with the id of the requirement, the version of the
proxy, and why: the sentence does not say this; the proxy does it another way, which the specification allows; the
target file uses the proxy wrongly; or you cannot reproduce it. You need not prove it: whoever keeps the harness looks
at the wire by hand, and answers in the issue.

If the harness is wrong, the requirement is mended or dropped for all proxies, which its list of changes tells, and the
page is made again. If the target file is wrong, send a better one. If a new version keeps more, say which, and it is
run.
"""


def _paragraphs(text: str) -> list[Html]:
    return [el("p", *html.prose(" ".join(part.split()))) for part in text.strip().split("\n\n")]


def _proxies(results: Sequence[Results]) -> Html:
    heads = ("Proxy", "Version", "Run on", "MUST kept", "SHOULD kept", "Unsteady", "Not offered", "Seconds", "")
    rows = [
        el(
            "tr",
            el("th", one.target.title, scope="row", id=slug(one)),
            el("td", one.target.version or "unknown"),
            el("td", f"{one.started:%Y-%m-%d}"),
            *(el("td", _kept(outcome for outcome in one.requirements if outcome.level == level)) for level in GATING),
            el("td", str(one.summary.unsteady or "")),
            el("td", str(one.summary.not_offered or "")),
            el("td", f"{one.seconds:.0f}"),
            el("td", el("a", "log", href=log_of(one)), " ", el("a", "results", href=f"results/{slug(one)}.json.gz")),
        )
        for one in results
    ]
    head = el("thead", el("tr", *(el("th", each, scope="col") for each in heads)))
    table = el("table", head, el("tbody", *rows))
    return el("section", el("h2", "The proxies"), el("div", table, class_="frame"), class_="proxies")


def _kept(outcomes: Iterable[Outcome]) -> str:
    """How many are kept, of those that say something."""
    states = Counter(outcome.state for outcome in outcomes)
    kept = states["pass"] + states["stale"]
    return f"{kept} of {kept + states['fail'] + states['known']}"


def _unjudged(results: Iterable[Results]) -> Html:
    items = [
        el("li", el("strong", one.target.title), f", {one.started:%Y-%m-%d}: {why}")
        for one in results
        if (why := unjudged(one))
    ]
    return el("section", el("h2", "Not judged"), el("ul", *items)) if items else Html()


def _matrix(results: Sequence[Results], rows: Sequence[Outcome]) -> Html:
    head = el("tr", el("th", "Requirement", scope="col"), *(el("th", _short(one), scope="col") for one in results))
    outcomes = [{outcome.id: outcome for outcome in one.requirements} for one in results]
    bodies: list[Html] = []
    for area, group in groupby(rows, key=lambda row: row.area):
        its = list(group)
        kept = (el("td", _kept(of[row.id] for row in its if row.id in of and row.level in GATING)) for of in outcomes)
        bodies.append(
            el(
                "tbody",
                el("tr", el("th", area, scope="rowgroup"), *kept, class_="area"),
                *(_row(row, results, outcomes) for row in its),
                id=f"area/{area}",
            )
        )
    table = el("table", el("thead", head), *bodies, class_="matrix")
    return el("section", el("h2", "Requirements"), el("div", table, class_="frame"))


def _short(results: Results) -> Html:
    return el("a", results.target.title, " ", el("small", results.target.version), href=f"#{slug(results)}")


def _row(row: Outcome, results: Sequence[Results], outcomes: Sequence[Mapping[str, Outcome]]) -> Html:
    cells = [_cell(one, of.get(row.id), row.id) for one, of in zip(results, outcomes, strict=True)]
    name = el("small", el("b", row.level, class_=row.level), " ", el("code", row.id))
    return el("tr", el("th", *html.prose(row.text), " ", name, scope="row"), *cells, id=row.id)


def _cell(results: Results, outcome: Outcome | None, requirement: str) -> Html:
    state: State = outcome.state if outcome else "no result"
    counts = "" if outcome is None or state != "fail" or outcome.level in GATING else " light"
    word = WORDS[state]
    link = el("a", word, href=f"{log_of(results)}#{requirement}/{slug(results)}") if outcome else join([word])
    return el("td", link, class_=_class(state) + counts)


def _class(state: State) -> str:
    return state.replace(" ", "-")
