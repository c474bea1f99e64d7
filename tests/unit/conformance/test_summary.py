"""What results come to in a few lines, and how few they are on the terminal."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance.case import Case
from conformance.plugin import find_version
from conformance.report import summary
from conformance.report.results import Again, Results, parse
from conformance.report.terminal import Tree
from conformance.requirements import REQUIREMENTS
from conformance.target import Target, load
from conformance.verdict import RunResult
from tests.support.report_sample import results

IDS = list(REQUIREMENTS)


def sample(verdicts: dict[str, str], messages: dict[str, str] | None = None, **changes: Any) -> Results:
    data = results("t", "T", verdicts, **changes)
    for outcome in data["requirements"]:
        for run in outcome["runs"]:
            if run["verdict"] != "pass" and outcome["id"] in (messages or {}):
                run["message"] = (messages or {})[outcome["id"]]
    return parse(data, "sample")


def test_causes_are_findings_and_messages_that_repeat() -> None:
    a, b, c, d, e, f = IDS[:6]
    said = dict.fromkeys((a, b), "none within 20 s") | dict.fromkeys((c, d, f), "it came changed") | {e: "once"}
    finding = {"id": "wedge", "text": "it answers no more", "requirements": [a, *IDS[10:14]]}
    of = sample(dict.fromkeys((a, b, c, d, e), "fail") | {f: "known"}, said, findings=[finding])
    assert summary.causes(of) == [
        ("it answers no more", (a, *IDS[10:14])),
        ("it came changed", (c, d)),
    ]


def test_areas_count_what_was_selected() -> None:
    of = sample({IDS[0]: "fail", IDS[1]: "not offered"}, only=IDS[:3])
    assert summary.areas(of.requirements) == {
        REQUIREMENTS[IDS[0]].area: {"fail": 1, "not offered": 1, "pass": 1},
    }
    left_out = [outcome.model_copy(update={"selected": False}) for outcome in of.requirements]
    assert summary.areas(left_out) == {}


def test_the_slowest_are_those_that_take_a_second_or_more() -> None:
    data = results("t", "T", {}, only=IDS[:4])
    for number, outcome in enumerate(data["requirements"]):
        for run in outcome["runs"]:
            run["seconds"] = number * 0.2
    [(slowest, took)] = summary.slowest(parse(data, "s"), 1)
    assert (slowest, round(took, 1)) == (IDS[3], 2.4)
    assert [each for each, _ in summary.slowest(parse(data, "s"), 9)] == [IDS[3], IDS[2]]


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ((3, 0, 0), "played again in 3 fresh worlds: failed in 0; it was the first run in its world"),
        ((1, 1, 1), "played again in 1 fresh world: failed in 1; there was one run before it in its world"),
        ((3, 1, 7), "played again in 3 fresh worlds: failed in 1; there were 7 runs before it in its world"),
        ((0, 0, 7), "it was not played again: the run was broken off before"),
    ],
)
def test_replays_in_words(again: tuple[int, int, int], said: str) -> None:
    played, failed, before = again
    assert summary.replayed(Again(played=played, failed=failed, before=before)) == said


def told(of: Results, verbose: bool = False) -> list[str]:
    out = io.StringIO()
    tree = Tree(load("multimcp"), len(of.requirements), out, verbose=verbose)
    for outcome in of.requirements:
        for run in outcome.runs:
            played = RunResult(outcome.id, run.scenario, Case("http", "modern", "stdio"), run.verdict, run.seconds)
            played.message = run.message
            tree.ran(REQUIREMENTS[outcome.id], played, None)
    tree.finish(of)
    return out.getvalue().splitlines()


def test_a_bad_target_is_told_in_a_line_each() -> None:
    """A page has the rest; before, it was 2,511 lines."""
    bad = sample(dict.fromkeys(IDS, "fail"))
    lines = told(bad)
    areas = {requirement.area for requirement in REQUIREMENTS.values()}
    assert len(lines) < len(IDS) + 2 * len(areas) + 30
    assert all(len(line) < 160 for line in lines)
    assert f"{len(IDS)} were not kept; --verbose tells each whole, --html FILE makes a page of them" in "\n".join(lines)
    assert len(told(bad, verbose=True)) > 10 * len(IDS)


def test_a_good_target_is_told_in_a_line_for_each_area() -> None:
    lines = told(sample({}))
    areas = {requirement.area for requirement in REQUIREMENTS.values()}
    assert len(lines) < len(areas) + 10
    assert sum(line.startswith("✓") for line in lines) == len(areas)
    assert sum("✓" in line for line in told(sample({}), verbose=True)) == len(IDS) + len(areas)


def test_few_failures_are_told_whole() -> None:
    lines = "\n".join(told(sample({IDS[7]: "fail", IDS[9]: "unsteady"})))
    for one in (IDS[7], IDS[9]):
        assert f" {one} " in lines
        assert f"\n{one}  " in lines
    assert "difference:" in lines
    assert "~ " in lines


# What is played again


def options(*arguments: str) -> Any:
    return cli._parser().parse_args(["run", *arguments])


def test_only_what_failed_is_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {IDS[3]: "fail", IDS[8]: "harness error", IDS[11]: "known", IDS[20]: "unsteady", IDS[30]: "not offered"}
    data = sample(failed).model_dump_json()
    file = tmp_path / "multimcp.json"
    file.write_text(data.replace('"name":"t"', '"name":"multimcp"'))
    for given in (tmp_path, file):
        chosen = cli._selected(options(f"--only-failed={given}"), "multimcp") or []
        assert chosen == [IDS[3], IDS[8], IDS[11], IDS[20]]
    area = REQUIREMENTS[IDS[20]].area
    assert cli._selected(options(f"--only-failed={file}", f"--only={area}:*"), "multimcp") == [
        each for each in chosen if each.startswith(f"{area}:")
    ]
    assert cli._selected(options(f"--only-failed={file}", "--only=none:*"), "multimcp") == []
    assert f"multimcp: nothing of what is selected failed in {file}" in capsys.readouterr().err
    assert cli._selected(options("--only=tools:*"), "multimcp") == ["tools:*"]
    assert cli._selected(options(), "multimcp") is None


def test_nothing_is_played_when_nothing_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "direct.json").write_text(sample({}).model_dump_json().replace('"name":"t"', '"name":"direct"'))
    assert cli.main(["run", "--target=direct", f"--only-failed={tmp_path}"]) == 0
    assert cli.main(["run", "--target=multimcp", f"--only-failed={tmp_path}"]) == 2
    assert "there are no results of multimcp; run it once with --json FOLDER" in capsys.readouterr().err


# The target's version


def with_version(tmp_path: Path, version: str) -> Target:
    file = tmp_path / "t.toml"
    file.write_text(
        f'[target]\nname = "t"\nversion = {version}\n'
        '[launch]\nkind = "command"\ncommand = ["x"]\n[endpoints]\nstdio = true'
    )
    return load(str(file))


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ('"1.2"', "1.2"),
        ("""["$python", "-c", "print('proxy v1.2.3-rc.1 (build 7)')"]""", "1.2.3-rc.1"),
        ("""["$python", "-c", "print(); print('nightly')"]""", "nightly"),
        ("""["$python", "-c", "import sys; print('2.0', file=sys.stderr)"]""", "2.0"),
    ],
)
def test_the_version_of_a_target(tmp_path: Path, version: str, found: str) -> None:
    assert find_version(with_version(tmp_path, version)) == (found, "")


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ('["no-such-command"]', "No such file"),
        ("""["$python", "-c", "import sys; sys.exit('no licence')"]""", "ended with 1: no licence"),
        ("""["$python", "-c", ""]""", "ended with 0: it printed nothing"),
    ],
)
def test_a_version_that_cannot_be_found_stops_nothing(tmp_path: Path, version: str, why: str) -> None:
    found, said = find_version(with_version(tmp_path, version))
    assert found == ""
    assert said.startswith("target.version: ")
    assert why in said


def test_who_has_read_enough_gets_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "conformance", "list"]
    with open(write, "wb") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
