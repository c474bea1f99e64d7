"""The terminal: a line for each area while a target runs, then what failed and what it comes to.

Rules:
- An area's line is printed when its last run is over, with the requirements in it that were not kept; on a terminal, a
  line below says what is being done.
- A few failures are told whole: expected, actual, the sentence of the specification and the wire log. Of more, a line
  each: nobody reads thousands of lines, and the page has them all. `verbose` tells everything whole.
- The last lines are the ones that a vendor reads first: causes that repeat, what took longest, the sum by area.
"""

import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from conformance.baseline import Known
from conformance.requirements.model import Requirement
from conformance.target import Target
from conformance.verdict import RunResult, Verdict, worst

from . import summary
from .results import Outcome, Results, Run, Spec, State

SIGNS: Mapping[str, str] = {
    Verdict.PASS: "✓",
    Verdict.UNSTEADY: "~",
    Verdict.FAIL: "✗",
    Verdict.HARNESS_ERROR: "!",
    Verdict.NOT_OFFERED: "o",
    Verdict.NOT_SUPPORTED: "-",
    Verdict.NOT_APPLICABLE: " ",
    Verdict.NOT_CHECKED: "?",
}
COLOURS: Mapping[str, str] = {"pass": "32", "fail": "31", "harness error": "35", "unsteady": "33", "known": "33"}
STATES: tuple[State, ...] = (
    *("pass", "fail", "unsteady", "known", "stale", "harness error"),
    *("not offered", "not supported", "not applicable", "not checked"),
)
TOLD: tuple[State, ...] = ("harness error", "fail", "unsteady", "known")
"""States of which a requirement has its line; the gravest first."""
WHOLE = 5
"""Failures that are told whole; of more, each has its line."""
CAUSES = 6
NAMED = 3
SLOWEST = 5
STDERR_LINES = 15
WIRE_LINES = 40
TEXT_LINES = 30


class Tree:
    """Writes to `out` as results come.

    Args:
        target: what is run.
        total: how many runs there will be.
        out: stdout, unless a test wants another.
        verbose: whether every requirement has its line, and every failure is told whole.
    """

    def __init__(self, target: Target, total: int, out: TextIO | None = None, *, verbose: bool = False) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._verbose = verbose
        self._total = total
        self._done = 0
        self._current: tuple[Requirement, Known | None] | None = None
        self._runs: list[RunResult] = []
        self._area = ""
        self._lines: list[str] = []
        self._counted: Counter[State] = Counter()
        self._took = 0.0
        self._title = target.title
        legend = "a sign for each case: · kept, ✗ not, ~ not always, ! harness error"
        self.say(f"{self._paint(self._title, '1')}  {total} runs; {legend}")

    def say(self, text: str) -> None:
        """Print whole lines."""
        self._clear()
        print(text, file=self._out, flush=True)

    def ran(self, requirement: Requirement, result: RunResult, known: Known | None) -> None:
        """A run is over."""
        if self._current is not None and self._current[0] is not requirement:
            self._close()
        if requirement.area != self._area:
            self._close_area()
        self._area = requirement.area
        self._current = requirement, known
        self._runs.append(result)
        self._done += 1
        if self._live:
            self._clear()
            print(f"[{self._done}/{self._total}] {requirement.id}  {result.case}", end="", file=self._out, flush=True)

    def finish(self, results: Results) -> None:
        """Everything is over: what failed, and what it comes to."""
        self._close()
        self._close_area()
        if results.skipped:
            return
        for outcome in results.requirements:
            if outcome.stale:
                self.say(f"\n{outcome.id}: stale: it is in the baseline, but it is kept now; take it out")
        wrong = summary.wrong(results)
        if self._verbose or len(wrong) <= WHOLE:
            for outcome in wrong:
                self._explain(outcome)
        else:
            self.say(f"\n{len(wrong)} were not kept; --verbose tells each whole, --html FILE makes a page of them")
        self._sum_up(results)

    def _sum_up(self, results: Results) -> None:
        """The end: causes, what took longest, the areas, the verdict."""
        if causes := summary.causes(results):
            self.say("\ncauses that repeat, and how many requirements each shows in")
            lines = [f"{len(ids):>5}  {_cut(text, 100)}\n         {_some(ids)}" for text, ids in causes]
            shown = lines if self._verbose else lines[:CAUSES]
            more = [f"       and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else []
            self.say("\n".join([*shown, *more]))
        if slowest := summary.slowest(results, SLOWEST):
            self.say("\nslowest")
            self.say("\n".join(f"{took:>7.1f} s  {requirement}" for requirement, took in slowest))
        self._tell_areas(results)
        selected = [outcome for outcome in results.requirements if outcome.selected]
        verdicts, sums = Counter(outcome.verdict for outcome in selected), results.summary
        parts = [f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict]]
        self.say(f"\n{self._paint(self._title, '1')}: {', '.join(parts)} of {len(selected)} requirements")
        self.say(
            f"of those that fail, {sums.baselined} are known (baseline), {sums.regressions} count; "
            f"{sums.stale} entries of the baseline are stale; {results.seconds:.0f} s; exit {results.exit}"
        )
        which = f", requirement set {results.requirement_set}" if results.requirement_set else ""
        version = f"{results.target.name} {results.target.version}".strip()
        self.say(f"{version}; harness {results.harness}{which}")
        if results.ended:
            self.say(f"the run ended early: {results.ended}")

    def _tell_areas(self, results: Results) -> None:
        """A table: what the requirements of each area came to. Of one area, its own line has said it."""
        counted = {a: s for a, s in summary.areas(results.requirements).items() if set(s) != {"not checked"}}
        columns = [state for state in STATES if any(states[state] for states in counted.values())]
        if len(counted) < 2 or columns == ["pass"]:
            return
        widths = {state: max(5, len(_SHORT.get(state, state))) for state in columns}
        self.say(f"\n{'':<16}" + "".join(f"{_SHORT.get(state, state):>{widths[state] + 2}}" for state in columns))
        for area, states in counted.items():
            figures = (
                self._paint(f"{states[state] or '':>{widths[state] + 2}}", COLOURS.get(state, "")) for state in columns
            )
            self.say(f"{area:<16}{''.join(figures)}")

    def _close(self) -> None:
        """The current requirement is over."""
        if self._current is None:
            return
        requirement, known = self._current
        verdict = worst((run.verdict for run in self._runs), Verdict.NOT_CHECKED)
        state: State = "known" if verdict == Verdict.FAIL and known is not None else verdict.value
        took = sum(run.seconds for run in self._runs)
        self._counted[state] += 1
        self._took += took
        if self._verbose or state in TOLD:
            marks = "".join("·" if run.verdict == Verdict.PASS else SIGNS[run.verdict] for run in self._runs)
            why = next((run.message for run in self._runs if run.verdict == verdict), "")
            said = "known" if state == "known" else _cut(why, 80)
            sign = self._paint(SIGNS[verdict], COLOURS.get(state, ""))
            line = f"  {sign} {requirement.id:<42} {marks:<8} {took:5.1f} s  {said}"
            self._lines.append(line.rstrip())
        self._current, self._runs = None, []

    def _close_area(self) -> None:
        """The current area is over."""
        if not self._area:
            return
        counted = [state for state in STATES if self._counted[state]]
        worst_state = next((state for state in (*TOLD, *STATES) if state in counted), "pass")
        sign = self._paint(SIGNS["fail" if worst_state == "known" else worst_state], COLOURS.get(worst_state, ""))
        counts = ", ".join(f"{self._counted[state]} {_WORDS.get(state, state)}" for state in counted)
        self.say("\n".join([f"{sign} {self._area:<16} {self._took:6.1f} s  {counts}", *self._lines]))
        self._area, self._lines, self._took = "", [], 0.0
        self._counted.clear()

    def _explain(self, outcome: Outcome) -> None:
        source = outcome.source
        self.say(f"\n{self._paint(outcome.id, '1')}  {outcome.level}: {outcome.text}")
        self.say(_quoted(source) if isinstance(source, Spec) else f"  {source.reason}")
        runs = [run for run in outcome.runs if run.verdict in summary.WRONG]
        self.say(f"  in {', '.join(run.name for run in runs)}")
        for run in {run.message: run for run in reversed(runs)}.values():
            if run.source and run.source != source:
                self.say(_quoted(run.source))
            self._detail(run)

    def _detail(self, run: Run) -> None:
        self.say(f"  {run.name} ({run.scenario}): {run.verdict}: {run.message}")
        if run.again:
            self.say(f"  {summary.replayed(run.again)}")
        if run.diff:
            self.say(_block("difference", run.diff))
        else:
            for label, text in (("expected", run.expected), ("actual", run.actual)):
                if text:
                    self.say(_block(label, text))
        wire = [
            f"{entry.at:8.1f} {entry.channel} {_ARROWS[entry.way]} {_text(entry.message)}"
            + (f"  ({entry.stream})" if entry.stream else "")
            for entry in run.wire[-WIRE_LINES:]
        ]
        if wire:
            self.say(_block("wire", "\n".join(wire), WIRE_LINES))
        if run.stderr:
            self.say(_block("what the target wrote to its log", "\n".join(run.stderr.splitlines()[-STDERR_LINES:])))

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=self._out)


_ARROWS = {"sent": "→", "received": "←", "note": "·"}
_WORDS: Mapping[State, str] = {"pass": "kept", "fail": "not kept"}
_SHORT: Mapping[State, str] = {"pass": "kept", "fail": "not", "harness error": "error"}


def _quoted(source: Spec) -> str:
    return f"  “{source.quote}”\n  {source.url}"


def _text(message: object) -> str:
    return _cut(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False), 300)


def _cut(text: str, most: int) -> str:
    """One line, and not all of a long one."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]} …"


def _some(ids: Sequence[str]) -> str:
    more = f", and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more


def _block(label: str, text: str, most: int = TEXT_LINES) -> str:
    lines = text.splitlines()
    cut = [*lines[:most], f"… {len(lines) - most} lines more"] if len(lines) > most + 1 else lines
    return f"    {label}:\n" + textwrap.indent("\n".join(cut), "      ")
