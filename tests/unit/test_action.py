"""The GitHub Action and the example workflow: what can be known of them without GitHub. Their shell steps are run.

What the action installs and plays for real is in tests/e2e/test_distributions.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance.report import badge
from conformance.report.results import parse
from conformance.requirements import REQUIREMENTS
from tests.support.report_sample import results

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "conformance-workflow.yaml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
HARNESS = """#!/bin/sh
printf '%s\\n' "$@" > "$ARGUMENTS_SEEN"
touch "$BADGE_SEEN"
echo "all is well"
exit "$EXIT"
"""


def step(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    [found] = [each for each in steps if each.get("name") == name]
    return found


def shell(step: dict[str, Any], cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A step, run as GitHub runs it."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environ}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_used_is_there() -> None:
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert {each["id"] for each in STEPS if "id" in each} >= set(re.findall(r"steps\.([\w-]+)\.", text))
    assert all(each.get("shell") == "bash" for each in STEPS if "run" in each)
    [ours] = [each for each in WORKFLOW["jobs"]["conformance"]["steps"] if "with" in each]
    assert set(ours["with"]) <= set(ACTION["inputs"])
    assert ours["id"] == "conformance"
    example = (ROOT / "examples" / "conformance-workflow.yaml").read_text()
    used = re.findall(r"steps\.conformance\.outputs\.(\w+)", example)
    assert set(used) <= set(ACTION["outputs"])


def test_no_input_becomes_a_part_of_a_script() -> None:
    """What a pull request says would be run otherwise."""
    for each in [*STEPS, *WORKFLOW["jobs"]["conformance"]["steps"]]:
        assert "${{" not in each.get("run", "")


@pytest.mark.parametrize("code", [0, 1])
def test_the_harness_is_run_and_its_exit_code_is_that_of_the_step(tmp_path: Path, code: int) -> None:
    folder = tmp_path / "temp" / "mcp-proxy-conformance" / "bin"
    folder.mkdir(parents=True)
    (folder / "mcp-proxy-conformance").write_text(HARNESS)
    (folder / "mcp-proxy-conformance").chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    seen = tmp_path / "seen"
    environ = {
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "TARGET": "my target.toml",
        "ARGUMENTS": "--strict --only 'tools:*  $(touch evil)'",
        "FOLDER": "results of it",
        "ARGUMENTS_SEEN": str(seen),
        "BADGE_SEEN": str(tmp_path / "badge"),
        "EXIT": str(code),
    }
    done = shell(step(STEPS, "Run it"), tmp_path, **environ)
    assert done.returncode == code, done.stderr
    arguments = seen.read_text().splitlines()
    assert arguments[:3] == ["run", "--target", "my target.toml"]
    assert arguments[-3:] == ["--strict", "--only", "tools:*  $(touch evil)"]
    assert cli._parser().parse_args(arguments).badge == Path("results of it/badge.json")
    assert not (tmp_path / "evil").exists()
    environ["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary")
    assert shell(step(STEPS, "Show what it came to"), tmp_path, **environ).returncode == 0
    assert (tmp_path / "summary").read_text() == "```\nall is well\n```\n"
    assert shell(step(STEPS, "Run it"), tmp_path, **{**environ, "ARGUMENTS": ""}).returncode == code
    assert "" not in seen.read_text().splitlines()


def test_a_run_without_results_shows_nothing(tmp_path: Path) -> None:
    environ = {"FOLDER": "none", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    assert shell(step(STEPS, "Show what it came to"), tmp_path, **environ).returncode == 0
    assert not (tmp_path / "summary").exists()


def test_the_badge_is_published_on_a_branch_of_its_own(tmp_path: Path) -> None:
    def git(*arguments: str, cwd: Path = tmp_path) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@localhost", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=True).stdout

    git("init", "--bare", "-q", "far")
    git("clone", "-q", "far", "near")
    near = tmp_path / "near"
    git("checkout", "-q", "-B", "main", cwd=near)
    (near / "a").write_text("a")
    git("add", ".", cwd=near)
    git("commit", "-qm", "a", cwd=near)
    (near / "results").mkdir()
    (near / "results" / "badge.json").write_text("{}")
    publish = step(WORKFLOW["jobs"]["conformance"]["steps"], "Publish the badge")
    for _ in range(2):
        done = shell(publish, near, BADGE="results/badge.json")
        assert done.returncode == 0, done.stderr
        assert git("ls-tree", "--name-only", "badges", cwd=tmp_path / "far").split() == ["conformance.json"]
        git("switch", "-q", "main", cwd=near)
        git("branch", "-qD", "badges", cwd=near)
    assert shell(publish, near, BADGE="results/none.json").returncode == 0


# The badge

MUST, SHOULD, CONVENTION = (
    next(each for each, requirement in REQUIREMENTS.items() if requirement.level == level)
    for level in ("MUST", "SHOULD", "convention")
)


@pytest.mark.parametrize(
    ("verdicts", "changes", "message", "colour"),
    [
        ({}, {}, "conforms", "brightgreen"),
        ({CONVENTION: "fail"}, {}, "conforms", "brightgreen"),
        ({MUST: "fail"}, {}, "0 of 1 MUST", "red"),
        ({MUST: "known"}, {}, "0 of 1 MUST", "red"),
        ({MUST: "unsteady"}, {}, "conforms", "brightgreen"),
        ({SHOULD: "fail"}, {}, "all MUST, not all SHOULD", "yellow"),
        ({}, {"exit": 2}, "unknown", "lightgrey"),
        ({}, {"ended": "it does not start"}, "unknown", "lightgrey"),
        ({}, {"skipped": "Docker"}, "unknown", "lightgrey"),
    ],
)
def test_what_the_badge_says(verdicts: dict[str, str], changes: dict[str, Any], message: str, colour: str) -> None:
    data = results("t", "T", verdicts, [MUST, SHOULD, CONVENTION], requirement_set="7", **changes)
    made = json.loads(badge.render(parse(data, "sample")))
    assert made == {"schemaVersion": 1, "label": badge.LABEL, "message": f"{message} (set 7)", "color": colour}


def test_a_badge_is_of_one_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps(results(name, name, {}, [MUST])))
    file = tmp_path / "badges" / "a.json"
    assert cli.main(["report", str(tmp_path / "a.json"), f"--badge={file}"]) == 0
    assert json.loads(file.read_text())["message"] == "conforms"
    assert cli.main(["report", str(tmp_path), f"--badge={file}"]) == 2
    assert "a badge is of one target" in capsys.readouterr().err
    assert cli.main(["run", "--target=direct", "--target=multimcp", f"--badge={file}"]) == 2
