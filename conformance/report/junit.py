"""JUnit XML, for CI: a suite for each target, a test case for each requirement in each case.

Rules:
- A failure is what makes the run fail: not kept, not in the baseline, of a level that counts; and a stale entry of
  the baseline. The harness's own fault is an error.
- What is unsteady does not count, and is skipped.
- What else is not kept is skipped, and says why it does not count.
- Whatever comes from a results file is text, without the characters that XML does not have.
"""

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from conformance.verdict import Verdict

from .results import LONGEST, Outcome, Results, Run, Spec, cut
from .summary import replayed

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(results: Sequence[Results]) -> str:
    """The document.

    Args:
        results: one for each target, in the order of the suites.
    """
    root = Element("testsuites", name="MCP proxy conformance")
    root.extend(_suite(one) for one in results)
    _count(root)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(results: Results) -> Element:
    suite = Element("testsuite", name=_xml(results.target.name), timestamp=results.started.isoformat())
    for outcome in results.requirements:
        for run in outcome.runs:
            _judge(_case(suite, results, outcome, run.name, run.seconds), results, outcome, run)
        if not outcome.runs:
            _judge_unplayed(_case(suite, results, outcome, "", 0), outcome)
        if outcome.stale:
            _add(_case(suite, results, outcome, "baseline", 0), "failure", "stale baseline entry: it is kept", outcome)
    _count(suite)
    suite.set("time", f"{results.seconds:.3f}")
    return suite


def _case(suite: Element, results: Results, outcome: Outcome, case: str, seconds: float) -> Element:
    name = f"{outcome.id} [{case}]" if case else outcome.id
    classname = f"{results.target.name}.{outcome.area}"
    return SubElement(suite, "testcase", classname=_xml(classname), name=_xml(name), time=f"{seconds:.3f}")


def _judge(case: Element, results: Results, outcome: Outcome, run: Run) -> None:
    if run.verdict == Verdict.PASS:
        return
    if run.verdict == Verdict.HARNESS_ERROR:
        _add(case, "error", run.message, outcome, run)
    elif run.verdict != Verdict.FAIL:
        _skip(case, f"{run.verdict}: {run.message}")
    elif outcome.baseline:
        _skip(case, f"known: {outcome.baseline.reason} ({outcome.baseline.link})")
    elif results.counts(outcome):
        _add(case, "failure", run.message, outcome, run)
    else:
        _skip(case, f"{outcome.level}, which does not count: {run.message}")


def _judge_unplayed(case: Element, outcome: Outcome) -> None:
    if outcome.verdict == Verdict.HARNESS_ERROR:
        _add(case, "error", outcome.why, outcome)
    else:
        _skip(case, f"{outcome.verdict}: {outcome.why}")


def _skip(case: Element, message: str) -> None:
    SubElement(case, "skipped", message=_xml(message))


def _add(case: Element, tag: str, message: str, outcome: Outcome, run: Run | None = None) -> None:
    """A failure or an error, with all there is to understand it."""
    element = SubElement(case, tag, message=_xml(message), type=outcome.level)
    parts = [f"{outcome.level}: {outcome.text}", _source(outcome)]
    if run:
        texts = {"expected": run.expected, "actual": run.actual, "difference": run.diff}
        parts += [f"{label}:\n{cut(text)}" for label, text in texts.items() if text]
        parts += [replayed(run.again)] if run.again else []
        parts += [f"what the target wrote to its log:\n{run.stderr[-LONGEST:]}"] if run.stderr else []
    element.text = _xml("\n\n".join(parts))


def _source(outcome: Outcome) -> str:
    source = outcome.source
    return f"“{source.quote}”\n{source.url}" if isinstance(source, Spec) else source.reason


def _count(suite: Element) -> None:
    """The figures that readers of JUnit files expect of a suite, and of all suites."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(1 for _ in suite.iter(tag))))


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
