"""One page: requirements by targets, and behind each cell what was seen on the wire.

Rules:
- The page needs nothing else: no script, no font, no image. Its content security policy allows its own style only.
- Whatever comes from a results file is text. It has been redacted when it was read.
- A verdict is told by a sign and a word; the colour only repeats it.
- What is long is cut, with a word on how much is missing: the results file has the rest.
"""

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from conformance.requirements.model import Level
from conformance.verdict import Verdict

from . import summary
from .markup import Html, el, join
from .results import LONGEST, Entry, Outcome, Results, Run, Spec, State, cut

TITLE = "Conformance of MCP proxies"
LOGS = 3
"""Wire logs that are shown of one requirement and target, of those that failed in the same way."""
ENTRIES = 200
"""Lines of a wire log that are shown."""
ONE_LINE = 100
"""A message up to this length is not indented."""
CAUSES = 10
"""Causes that repeat of which a card tells."""
NARROW = 6
"""With more targets the matrix scrolls in a frame of its own."""

LEVELS: tuple[Level, ...] = ("MUST", "SHOULD", "MAY", "convention")
FINDINGS: frozenset[State] = frozenset({"fail", "unsteady", "known", "stale", "harness error"})
APART: frozenset[State] = frozenset({"not offered", "not supported", "not applicable", "not checked", "no result"})
"""States that tell nothing about whether a target keeps a requirement."""

MEANINGS: Mapping[State, str] = {
    "pass": "kept in every case",
    "fail": "not kept",
    "unsteady": "failed once, and then kept in every fresh world",
    "known": "not kept, and in the baseline with a reason and a link",
    "stale": "in the baseline, but kept: the entry has to go",
    "not offered": "optional, and the target does not declare it",
    "not supported": "the target declares that it does not offer what is needed",
    "not applicable": "the target has nothing that this is about",
    "not checked": "listed, with the reason why no scenario checks it",
    "harness error": "the harness could not find out; not the target's fault",
    "no result": "not in the results file of this target",
}
SIGNS: Mapping[State, Html] = {
    "pass": Html('<path d="M3 8.6l3.3 3.2L13 4.6"/>'),
    "fail": Html('<path d="M4 4l8 8M12 4l-8 8"/>'),
    "unsteady": Html('<path d="M2.4 9.4c1.6-4.4 3.6-4.4 5.6-1.2s4 3.2 5.6-1.2"/>'),
    "known": Html('<circle cx="8" cy="8" r="5.6"/><path class="solid" d="M8 2.4a5.6 5.6 0 0 0 0 11.2z"/>'),
    "stale": Html('<path d="M13.4 8a5.4 5.4 0 1 1-1.7-3.9M12.4 1.2v3.3H9.1"/>'),
    "not offered": Html('<path d="M5 8h6" stroke-dasharray="2.2 2.2"/>'),
    "not supported": Html('<circle cx="8" cy="8" r="5.6"/><path d="M4.2 11.8l7.6-7.6"/>'),
    "not applicable": Html('<path d="M4 8h8"/>'),
    "not checked": Html('<circle cx="8" cy="8" r="5.6" stroke-dasharray="2.2 2.2"/>'),
    "harness error": Html('<path d="M8 2L14.6 13.6H1.4zM8 6.4v3.4M8 11.6v.2"/>'),
    "no result": Html('<path d="M7.4 8h1.2"/>'),
}


@dataclass(frozen=True)
class _Target:
    """A column of the matrix."""

    results: Results
    slug: str
    outcomes: Mapping[str, Outcome]

    @property
    def name(self) -> str:
        return self.results.target.name

    def state(self, requirement: str) -> State:
        outcome = self.outcomes.get(requirement)
        return outcome.state if outcome else "no result"

    def anchor(self, requirement: str) -> str:
        return f"{requirement}/{self.slug}"


def render(results: Sequence[Results]) -> str:
    """The page, as a whole HTML document.

    Args:
        results: one for each target, in the order of the columns.
    """
    targets = _targets(results)
    rows = requirements(results)
    body = el(
        "body",
        el("a", "To the matrix", class_="skip", href="#matrix"),
        _signs(),
        _header(targets, rows),
        el("main", _summaries(targets), _matrix(targets, rows), _details(targets, rows)),
        el("footer", el("p", "Made by the MCP proxy conformance harness. ", _harnesses(targets))),
    )
    title = ": ".join([TITLE, ", ".join(target.name for target in targets)]) if targets else TITLE
    return document(title, Html(Path(__file__).with_name("page.css").read_text(encoding="utf-8")), body)


def document(title: str, style: Html, body: Html) -> str:
    """A whole document that needs nothing else.

    Args:
        title: of the window.
        style: CSS, the only one that the page lets in.
        body: the element.
    """
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("link", rel="icon", href="data:,"),
        el("style", style),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def requirements(results: Iterable[Results]) -> list[Outcome]:
    """Every requirement once, as the latest run has it; those that only an older one has come last in their area."""
    latest: dict[str, Outcome] = {}
    for one in sorted(results, key=lambda one: one.started, reverse=True):
        for outcome in one.requirements:
            latest.setdefault(outcome.id, outcome)
    areas = list(dict.fromkeys(outcome.area for outcome in latest.values()))
    return sorted(latest.values(), key=lambda outcome: areas.index(outcome.area))


def _targets(results: Iterable[Results]) -> list[_Target]:
    targets: list[_Target] = []
    for number, one in enumerate(results, 1):
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", one.target.name)
        if slug in {target.slug for target in targets}:
            slug = f"{slug}-{number}"
        targets.append(_Target(one, slug, {outcome.id: outcome for outcome in one.requirements}))
    return targets


# The top


def _header(targets: Sequence[_Target], requirements: Sequence[Outcome]) -> Html:
    levels = Counter(requirement.level for requirement in requirements)
    counts = ", ".join(f"{levels[level]} {level}" for level in LEVELS[:-1] if levels[level])
    conventions = count(levels["convention"], "convention")
    return el(
        "header",
        el("h1", TITLE),
        el(
            "p",
            f"{count(len(targets), 'target')}, {count(len(requirements), 'requirement')}: {counts}, {conventions}.",
        ),
    )


def _harnesses(targets: Iterable[_Target]) -> str:
    made = sorted({(target.results.harness, target.results.requirement_set) for target in targets})
    return "; ".join(f"version {harness}, requirement set {which or 'unknown'}" for harness, which in made)


def _summaries(targets: Sequence[_Target]) -> Html:
    cards = [_summary(target) for target in targets] or [el("p", "There are no results.")]
    return el(
        "section", el("h2", "Targets", id="targets"), el("div", *cards, class_="cards"), aria_labelledby="targets"
    )


def _summary(target: _Target) -> Html:
    results = target.results
    sign, words = _conclusion(results)
    tried = f"{sum(bool(outcome.runs) for outcome in results.requirements)} of {len(results.requirements)} tried"
    conclusion = [_sign(sign), el("strong", words), el("span", f"{tried}, exit {results.exit}")]
    facts = [
        el("time", f"{results.started:%Y-%m-%d %H:%M} UTC", datetime=results.started.isoformat()),
        f"{results.seconds:.0f} s",
        f"{results.matrix} matrix",
        *([f"requirement set {results.requirement_set}"] if results.requirement_set else []),
        *(["strict"] if results.strict else []),
        f"launched by {results.target.launch}",
    ]
    return el(
        "article",
        el("h3", results.target.title, id=f"target/{target.slug}"),
        el("p", el("code", target.name), f" {results.target.version}" if results.target.version else "", class_="name"),
        el("p", *conclusion, class_=f"conclusion {_class(sign)}"),
        _bar(results),
        _levels(results),
        _causes(results),
        el("ul", *(el("li", fact) for fact in facts), class_="facts"),
        class_="card",
        aria_labelledby=f"target/{target.slug}",
    )


def _causes(results: Results) -> Html:
    """What shows in more than one requirement."""
    causes = summary.causes(results)
    if not causes:
        return Html()
    items = [
        el(
            "li",
            el("strong", str(len(cause.requirements))),
            f" {cut(cause.text)} ",
            *(join([_link(f"#{each}", el("code", each)), " "]) for each in cause.requirements),
        )
        for cause in causes[:CAUSES]
    ]
    more = el("p", f"{len(causes) - CAUSES} more") if len(causes) > CAUSES else ""
    return el(
        "details",
        el("summary", count(len(causes), "cause"), " in several requirements"),
        el("ol", *items),
        more,
        class_="causes",
    )


def _conclusion(results: Results) -> tuple[State, str]:
    summary = results.summary
    if results.skipped:
        return "not checked" if results.exit == 0 else "harness error", f"Skipped: it lacks {results.skipped}"
    if results.exit == 2:
        return "harness error", results.ended or "Harness or configuration error"
    if results.exit == 1:
        findings = {"nonconformance": summary.regressions, "stale baseline entry": summary.stale}
        named = [count(number, noun) for noun, number in findings.items() if number]
        return "fail", " and ".join(named) or results.ended or "Does not conform"
    if summary.baselined:
        return "known", f"No nonconformance; {count(summary.baselined, 'known failure')}"
    return "pass", "Conforms as far as tried" if summary.not_checked else "Conforms"


def _bar(results: Results) -> Html:
    """What MUST and SHOULD came to, drawn to scale; the table below it says the same in figures."""
    states = Counter(o.state for o in results.requirements if o.level in ("MUST", "SHOULD") and o.state not in APART)
    total = states.total() or 1
    rects: list[Html] = []
    at = 0.0
    for state in MEANINGS:
        width = 100 * states[state] / total
        if width:
            rects.append(el("rect", x=f"{at:.2f}", width=f"{width:.2f}", height="1", class_=_class(state)))
        at += width
    return el("svg", *rects, class_="bar", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true")


def _levels(results: Results) -> Html:
    """How many of each level came to what."""
    counts = {level: Counter(o.state for o in results.requirements if o.level == level) for level in LEVELS}
    seen = {state for counter in counts.values() for state in counter}
    shown = [state for state in MEANINGS if state in ("pass", "fail", "known", "not offered") or state in seen - APART]
    heads = [el("th", state.removeprefix("harness "), scope="col") for state in shown]
    rows = [
        el(
            "tr",
            el("th", level, scope="row"),
            *(el("td", str(count[state]), class_=_class(state) if count[state] else "none") for state in shown),
            el("td", str(sum(count[state] for state in APART - {"not offered"})), class_="other"),
            class_=level,
        )
        for level, count in counts.items()
    ]
    head = el("tr", el("th", "Level", scope="col"), *heads, el("th", "other", scope="col"))
    return el("table", el("thead", head), el("tbody", *rows), class_="levels")


# The matrix


def _matrix(targets: Sequence[_Target], requirements: Sequence[Outcome]) -> Html:
    areas = {area: list(group) for area, group in groupby(requirements, key=lambda requirement: requirement.area)}
    head = el(
        "tr",
        el("th", "Requirement", scope="col", role="columnheader"),
        *(el("th", _link(f"#target/{t.slug}", t.name), scope="col", role="columnheader") for t in targets),
        role="row",
    )
    table = el(
        "table",
        el("caption", "Requirements by target. Each cell leads to what was seen."),
        el("thead", head, role="rowgroup"),
        *(_area(area, group, targets) for area, group in areas.items()),
        class_="matrix",
        role="table",
    )
    wide = len(targets) > NARROW
    frame = el(
        "div",
        table,
        class_="frame wide" if wide else "frame",
        tabindex="0" if wide else None,
        role="group" if wide else None,
        aria_labelledby="matrix" if wide else None,
    )
    return el(
        "section",
        el("h2", "Matrix", id="matrix"),
        _legend(),
        _filters(),
        el("nav", el("ul", *(el("li", _link(f"#area/{area}", area)) for area in areas)), aria_label="Areas"),
        frame,
        aria_labelledby="matrix",
    )


def _area(area: str, requirements: Sequence[Outcome], targets: Sequence[_Target]) -> Html:
    rows = [_row(requirement, targets) for requirement in requirements]
    head = el(
        "tr",
        el("th", area, scope="rowgroup", role="rowheader"),
        *(el("td", _kept(target, requirements), data_target=target.name, role="cell") for target in targets),
        class_="area",
        role="row",
    )
    marks = {mark for requirement in requirements for mark in _marks(requirement, targets)}
    return el("tbody", head, *rows, id=f"area/{area}", class_=" ".join(sorted(marks)) or None, role="rowgroup")


def _kept(target: _Target, requirements: Iterable[Outcome]) -> str:
    """How many requirements of an area a target keeps, conventions apart."""
    states = [target.state(requirement.id) for requirement in requirements if requirement.level != "convention"]
    told = [state for state in states if state not in APART]
    return f"{sum(state in ('pass', 'stale') for state in told)} of {len(told)}" if told else ""


def _marks(requirement: Outcome, targets: Iterable[_Target]) -> set[str]:
    """What the filters look for."""
    states = {target.state(requirement.id) for target in targets}
    told = states - APART
    return ({"finding"} if states & FINDINGS else set()) | ({"differs"} if len(told) > 1 else set())


def _row(requirement: Outcome, targets: Sequence[_Target]) -> Html:
    head = el(
        "th",
        _link(f"#{requirement.id}", *prose(requirement.text)),
        el("span", _level(requirement.level), " ", el("code", requirement.id), class_="id"),
        scope="row",
        role="rowheader",
    )
    return el(
        "tr",
        head,
        *(_cell(requirement, target) for target in targets),
        id=f"matrix/{requirement.id}",
        class_=" ".join(["row", requirement.level, *sorted(_marks(requirement, targets))]),
        role="row",
    )


def _cell(requirement: Outcome, target: _Target) -> Html:
    outcome = target.outcomes.get(requirement.id)
    state = target.state(requirement.id)
    content = [_sign(state), state]
    if outcome and state in ("fail", "unsteady", "known", "harness error") and len(outcome.runs) > 1:
        worst = sum(run.verdict == outcome.verdict for run in outcome.runs)
        content.append(el("small", f"{worst}/{len(outcome.runs)}", title="cases"))
    inside = _link(f"#{target.anchor(requirement.id)}", *content) if outcome else el("span", *content)
    return el("td", inside, class_=_class(state), data_target=target.name, role="cell")


def _legend() -> Html:
    states = [
        el("div", el("dt", _sign(state), state, class_=_class(state)), el("dd", meaning))
        for state, meaning in MEANINGS.items()
    ]
    return el(
        "details",
        el("summary", "How to read it"),
        el("dl", *states),
        el(
            "p",
            el("strong", "MUST, SHOULD, MAY"),
            " are what the quoted sentence of the specification says. A ",
            el("strong", "convention"),
            " is what no specification says and users need all the same, given with its reason: it is shown, with a "
            "dashed border where it is not kept, and never counted as nonconformance. The figures beside the name of "
            "an area are requirements kept, of those that apply, without conventions.",
        ),
        el(
            "p",
            "Every requirement is tried in several cases, written ",
            el("code", "http-modern>stdio"),
            ": the client's transport and era, and the transport of the backends. Legacy are the revisions of MCP up "
            "to 2025-11-25, modern is 2026-07-28. The verdict is that of the worst case; ",
            el("q", "2/6"),
            " says that two of six cases have it.",
        ),
        class_="legend",
    )


def _filters() -> Html:
    choices = {"all": "All", "findings": "Not kept somewhere", "differences": "Targets differ"}
    radios = [
        el(
            "label",
            el("input", type="radio", name="show", id=f"show-{key}", checked="" if key == "all" else None),
            el("span", label),
        )
        for key, label in choices.items()
    ]
    conventions = el("label", el("input", type="checkbox", id="conventions", checked=""), el("span", "Conventions"))
    return el(
        "form",
        el("fieldset", el("legend", "Show"), *radios, conventions),
        class_="filters",
        autocomplete="off",
    )


# The details


def _details(targets: Sequence[_Target], requirements: Iterable[Outcome]) -> Html:
    return el(
        "section",
        el("h2", "Details", id="details"),
        *(_requirement(requirement, targets) for requirement in requirements),
        aria_labelledby="details",
    )


def _requirement(requirement: Outcome, targets: Iterable[_Target]) -> Html:
    outcomes = [(target, target.outcomes[requirement.id]) for target in targets if requirement.id in target.outcomes]
    return el(
        "section",
        el(
            "div",
            el("h3", *prose(requirement.text)),
            el("p", _level(requirement.level), " ", el("code", requirement.id), " ", _window(requirement), class_="id"),
            class_="head",
        ),
        _source(requirement),
        *(_outcome(target, outcome) for target, outcome in outcomes),
        id=requirement.id,
        class_=f"requirement {requirement.level}",
    )


def _window(requirement: Outcome) -> Html:
    return el("span", f"{requirement.since} to {requirement.until}", class_="window", title="revisions it holds for")


def _source(requirement: Outcome) -> Html:
    source = requirement.source
    if not isinstance(source, Spec):
        return el("p", el("strong", "Convention. "), *prose(source.reason), class_="reason")
    return _quote(source)


def _quote(source: Spec) -> Html:
    page = re.split(r"/specification/[^/]+/", source.url)[-1]
    cite = el("cite", _outside(source.url, f"MCP {source.revision}, {page}"))
    return el("blockquote", el("p", *prose(source.quote)), cite)


def _outcome(target: _Target, outcome: Outcome) -> Html:
    state = outcome.state
    parts = []
    if outcome.why:
        parts.append(el("p", *prose(cut(outcome.why)), class_="why"))
    if outcome.baseline:
        label = "Stale baseline entry" if outcome.stale else "In the baseline"
        link = _outside(outcome.baseline.link, outcome.baseline.link)
        parts.append(el("p", el("strong", f"{label}: "), outcome.baseline.reason, " ", link, class_="baseline"))
    return el(
        "article",
        el(
            "header",
            el("h4", target.results.target.title),
            el("span", _sign(state), state, class_=f"chip {_class(state)}"),
            _link(f"#matrix/{outcome.id}", "to the matrix"),
        ),
        *parts,
        *(_alike(runs, outcome) for runs in _grouped(outcome.runs)),
        id=target.anchor(outcome.id),
        class_=f"outcome {outcome.level}",
    )


def _grouped(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that came to the same, together; the worst first."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.verdict, run.message, run.expected, run.actual, run.diff), []).append(run)
    severity = list(Verdict)
    return sorted(groups.values(), key=lambda group: severity.index(group[0].verdict), reverse=True)


def _alike(runs: Sequence[Run], outcome: Outcome) -> Html:
    """Runs that came to the same: the cases, what was seen, and some of the wire logs."""
    run = runs[0]
    state: State = run.verdict.value
    cases = [
        el("li", _sign(state), el("span", state, class_="unseen"), el("code", one.name), f" {one.seconds:.2f} s")
        for one in runs
    ]
    logged = [one for one in runs if one.wire]
    left_out = len(logged) - LOGS
    return el(
        "div",
        el("ul", *cases, class_=f"cases {_class(state)}", aria_label="Cases"),
        el("p", cut(run.message), class_="message") if run.message else "",
        el("p", f"{summary.replayed(run.again).capitalize()}.", class_="why") if run.again else "",
        el("p", "Part of the finding ", el("code", run.cause), ".", class_="why") if run.cause else "",
        _quote(run.source) if run.source and run.source != outcome.source else "",
        _difference(run),
        *(_log(one) for one in logged[:LOGS]),
        el("p", f"{count(left_out, 'more wire log')} in the results file.", class_="why") if left_out > 0 else "",
        class_="runs",
    )


def _difference(run: Run) -> Html:
    pair = [
        el("figure", el("figcaption", label), el("pre", cut(value)))
        for label, value in (("Expected", run.expected), ("Actual", run.actual))
        if value
    ]
    both = el("div", *pair, class_="pair") if pair else Html()
    if not run.diff:
        return both
    lines = join(_diff_line(line) for line in cut(run.diff).splitlines())
    whole = el("details", el("summary", "Expected and actual"), both) if pair else Html()
    return join(
        [el("figure", el("figcaption", "Difference: - expected, + actual"), el("pre", lines, class_="diff")), whole]
    )


def _diff_line(line: str) -> Html:
    return el("span", f"{line}\n", class_={"+": "added", "-": "removed", "@": "where"}.get(line[:1]))


def _log(run: Run) -> Html:
    shown = run.wire[:ENTRIES]
    left_out = len(run.wire) - len(shown)
    more = el("p", f"{left_out} more lines in the results file.", class_="why") if left_out else ""
    return el(
        "details",
        el("summary", "Wire log ", el("code", run.name), f" {len(run.wire)} lines"),
        el("ol", *(_entry(entry) for entry in shown), class_="wire"),
        more,
        _stderr(run),
    )


def _stderr(run: Run) -> Html:
    if not run.stderr:
        return Html()
    caption = el("figcaption", "What the target wrote to its log meanwhile; the end")
    return el("figure", caption, el("pre", run.stderr[-LONGEST:]), class_="stderr")


def _entry(entry: Entry) -> Html:
    way = {"sent": "→ sent", "received": "← received", "note": "note"}[entry.way]
    stream = el("em", entry.stream, title="what carried it") if entry.stream else ""
    head = el("p", el("b", way), " ", entry.channel, " ", stream, el("i", f"{entry.at:.1f} ms"))
    side = " behind" if entry.channel.startswith("server ") else ""
    return el("li", head, el("pre", cut(_readable(entry.message))), class_=entry.way + side)


def _readable(message: object) -> str:
    if isinstance(message, str):
        return message
    line = json.dumps(message, ensure_ascii=False)
    return line if len(line) <= ONE_LINE else json.dumps(message, ensure_ascii=False, indent=2)


# Small parts


def _signs() -> Html:
    """The signs, drawn once and used everywhere."""
    symbols = [el("symbol", sign, id=f"sign-{_class(state)}", viewBox="0 0 16 16") for state, sign in SIGNS.items()]
    return el("svg", *symbols, class_="unseen", aria_hidden="true")


def _sign(state: State) -> Html:
    return el("svg", el("use", href=f"#sign-{_class(state)}"), class_="sign", aria_hidden="true")


def _class(state: State) -> str:
    return state.replace(" ", "-")


def _level(level: Level) -> Html:
    return el("span", level, class_="level")


def _link(href: str, *content: str) -> Html:
    return el("a", *content, href=href)


def _outside(url: str, label: str) -> Html:
    """A link that leaves the page; an address that is no web page's stays text."""
    if not re.match(r"https?://", url, re.IGNORECASE):
        return el("span", label)
    return el("a", label, href=url, rel="noopener noreferrer")


def prose(text: str) -> list[str]:
    """A sentence, with what stands in backticks as code."""
    return [el("code", part) if number % 2 else part for number, part in enumerate(text.split("`"))]


def count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
