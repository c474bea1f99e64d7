"""The terminal: a tree of areas and requirements while a target runs, then what failed.

Rules:
- A requirement's line is printed when its last run is over; on a terminal, a line below says what is being done.
- What failed is told with expected, actual, the sentence of the specification and the wire log.
"""

import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import TextIO

from conformance.baseline import Known
from conformance.requirements.model import Requirement
from conformance.target import Target
from conformance.verdict import RunResult, Verdict, worst

from .results import Outcome, Results, Run, Spec

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
COLOURS: Mapping[str, str] = {Verdict.PASS: "32", Verdict.FAIL: "31", Verdict.HARNESS_ERROR: "35"}
KNOWN = "33"
WIRE_LINES = 40
TEXT_LINES = 30


class Tree:
    """Writes to `out` as results come.

    Args:
        target: what is run.
        total: how many runs there will be.
        out: stdout, unless a test wants another.
    """

    def __init__(self, target: Target, total: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._total = total
        self._done = 0
        self._area = ""
        self._current: tuple[Requirement, Known | None] | None = None
        self._runs: list[RunResult] = []
        self._title = target.title
        legend = "a sign for each case: · kept, ✗ not, ! harness error"
        self.say(f"{self._paint(self._title, '1')}  {total} runs; {legend}")

    def say(self, text: str) -> None:
        """Print whole lines."""
        self._clear()
        print(text, file=self._out, flush=True)

    def ran(self, requirement: Requirement, result: RunResult, known: Known | None) -> None:
        """A run is over."""
        if self._current is not None and self._current[0] is not requirement:
            self._close()
        self._current = requirement, known
        self._runs.append(result)
        self._done += 1
        if self._live:
            self._clear()
            print(f"[{self._done}/{self._total}] {requirement.id}  {result.case}", end="", file=self._out, flush=True)

    def finish(self, results: Results) -> None:
        """Everything is over: what failed, and the sum."""
        self._close()
        if results.skipped:
            return
        for outcome in results.requirements:
            self._explain(outcome)
        selected = [outcome for outcome in results.requirements if outcome.selected]
        verdicts, summary = Counter(outcome.verdict for outcome in selected), results.summary
        parts = [f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict]]
        self.say(f"\n{self._paint(self._title, '1')}: {', '.join(parts)} of {len(selected)} requirements")
        self.say(
            f"of those that fail, {summary.baselined} are known (baseline), {summary.regressions} count; "
            f"{summary.stale} entries of the baseline are stale; {results.seconds:.0f} s; exit {results.exit}"
        )

    def _close(self) -> None:
        """The current requirement is over."""
        if self._current is None:
            return
        requirement, known = self._current
        if requirement.area != self._area:
            self._area = requirement.area
            self.say(self._area)
        verdict = worst((run.verdict for run in self._runs), Verdict.NOT_CHECKED)
        is_known = verdict == Verdict.FAIL and known is not None
        sign = self._paint(SIGNS[verdict], KNOWN if is_known else COLOURS.get(verdict, ""))
        marks = "".join("·" if run.verdict == Verdict.PASS else SIGNS[run.verdict] for run in self._runs)
        took = sum(run.seconds for run in self._runs)
        self.say(f"  {sign} {requirement.id:<42} {marks:<8} {took:5.1f} s{'  known' if is_known else ''}")
        self._current, self._runs = None, []

    def _explain(self, outcome: Outcome) -> None:
        if outcome.stale:
            self.say(f"\n{outcome.id}: stale: it is in the baseline, but it is kept now; take it out")
        if outcome.state == "known":
            return
        runs = [run for run in outcome.runs if run.verdict in (Verdict.FAIL, Verdict.HARNESS_ERROR)]
        if not runs:
            return
        source = outcome.source
        self.say(f"\n{self._paint(outcome.id, '1')}  {outcome.level}: {outcome.text}")
        self.say(_quoted(source) if isinstance(source, Spec) else f"  {source.reason}")
        self.say(f"  in {', '.join(run.name for run in runs)}")
        for run in {run.message: run for run in reversed(runs)}.values():
            if run.source and run.source != source:
                self.say(_quoted(run.source))
            self._detail(run)

    def _detail(self, run: Run) -> None:
        self.say(f"  {run.name} ({run.scenario}): {run.verdict}: {run.message}")
        if run.diff:
            self.say(_block("difference", run.diff))
        else:
            for label, text in (("expected", run.expected), ("actual", run.actual)):
                if text:
                    self.say(_block(label, text))
        wire = "\n".join(
            f"{entry.at:8.1f} {entry.channel} {_ARROWS[entry.way]} {_text(entry.message)}"
            for entry in run.wire[-WIRE_LINES:]
        )
        if wire:
            self.say(_block("wire", wire))

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=self._out)


_ARROWS = {"sent": "→", "received": "←", "note": "·"}


def _quoted(source: Spec) -> str:
    return f"  “{source.quote}”\n  {source.url}"


def _text(message: object) -> str:
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + " …"


def _block(label: str, text: str) -> str:
    lines = text.splitlines()
    cut = [*lines[:TEXT_LINES], f"… {len(lines) - TEXT_LINES} lines more"] if len(lines) > TEXT_LINES + 1 else lines
    shown = cut if label != "wire" else lines
    return f"    {label}:\n" + textwrap.indent("\n".join(shown), "      ")
