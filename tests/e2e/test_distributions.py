"""The two distributions of this repository: what is in them, and that they run where nothing else is installed."""

import json
import re
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.e2e.checkout import ROOT, environment, files

SETUP = 600.0
NOT_IN_SDIST = {".ci/run"}


def uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", "-q", *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SETUP, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of both; each wheel is made of its sdist."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (ROOT, ROOT / "conformance"):
        uv("build", project, "--out-dir", folder)
    return folder


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def in_wheel(wheel: Path) -> set[str]:
    """The files in a wheel, but for its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if not member.isdir()}


def metadata(wheel: Path, file: str) -> str:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(f".dist-info/{file}")]
        return archive.read(name).decode()


def installed(wheel: Path, venv: Path) -> Path:
    """The folder of commands of a new environment with a wheel in it and what that depends on."""
    uv("venv", "--python", sys.executable, venv)
    uv("pip", "install", "--python", venv, wheel)
    return venv / "bin"


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=SETUP, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_proxy_brings_itself_and_no_harness(built: Path) -> None:
    wheel = only(built, "multi_mcp-*.whl")
    assert in_wheel(wheel) == {name for name in files() if name.startswith("multimcp/")}
    assert re.findall(r"^(\S+) = ", metadata(wheel, "entry_points.txt"), re.MULTILINE) == ["multi-mcp"]
    assert message_from_string(metadata(wheel, "METADATA")).get_all("Provides-Extra") is None


def test_the_harness_has_the_fixture_servers_and_nothing_for_building(built: Path) -> None:
    wheel = only(built, "mcp_proxy_conformance-*.whl")
    building = {"conformance/LICENSE", "conformance/hatch_build.py", "conformance/pyproject.toml"}
    own = {name for name in files() if name.startswith("conformance/")}
    assert building < own
    servers = {name.replace("fixtures/", "conformance/") for name in files() if name.startswith("fixtures/servers/")}
    assert in_wheel(wheel) == own - building | servers
    assert re.findall(r"^(\S+) = ", metadata(wheel, "entry_points.txt"), re.MULTILINE) == ["mcp-proxy-conformance"]
    assert not re.search(r"^Requires-Dist: multi-mcp", metadata(wheel, "METADATA"), re.MULTILINE)


def test_a_wheel_of_the_harness_needs_no_sdist(built: Path, tmp_path: Path) -> None:
    """As `pip install ./conformance` makes it."""
    uv("build", "--wheel", ROOT / "conformance", "--out-dir", tmp_path)
    assert in_wheel(only(tmp_path, "*.whl")) == in_wheel(only(built, "mcp_proxy_conformance-*.whl"))


def test_an_sdist_has_what_a_clone_has(built: Path) -> None:
    """So every command of the README that runs in a clone runs there."""
    assert in_sdist(only(built, "multi_mcp-*.tar.gz")) == set(files()) - NOT_IN_SDIST | {"PKG-INFO"}


def test_no_metadata_leads_to_a_page_that_may_not_be_there(built: Path) -> None:
    for wheel in built.glob("*.whl"):
        fields = message_from_string(metadata(wheel, "METADATA"))
        assert fields.get_all("Project-URL") is None
        assert fields.get("Home-page") is None
        assert metadata(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_the_proxy_runs_alone(built: Path, tmp_path: Path) -> None:
    commands = installed(only(built, "multi_mcp-*.whl"), tmp_path / "venv")
    assert run(commands / "multi-mcp", "--version", cwd=tmp_path).startswith("multi-mcp ")
    run(commands / "python", "-c", "import conformance", cwd=tmp_path, code=1)
    assert not (commands / "mcp-proxy-conformance").exists()


def test_the_harness_runs_alone(built: Path, tmp_path: Path) -> None:
    commands = installed(only(built, "mcp_proxy_conformance-*.whl"), tmp_path / "venv")
    run(commands / "python", "-c", "import multimcp", cwd=tmp_path, code=1)
    assert "list|run|report|scoreboard|init" in run(commands / "mcp-proxy-conformance", "--help", cwd=tmp_path)
    played = run(
        commands / "mcp-proxy-conformance",
        "run",
        "--target",
        "direct",
        "--only",
        "tools:*",
        "--html",
        "report.html",
        cwd=tmp_path,
    )
    assert "✓ tools " in played
    assert "tools:call:text" in (tmp_path / "report.html").read_text()
    ours = ("run", "--target", "multimcp", "--only", "tools:call:text")
    told = run(commands / "mcp-proxy-conformance", *ours, cwd=tmp_path, code=2)
    assert "No module named 'multimcp'; it has to be importable from where the harness runs" in told


TARGET = """
[target]
name = "outside"
version = ["$python", "-c", "print('outside 7.1')"]
eras = ["modern"]

[launch]
kind = "command"
command = [{python}, "-m", "multimcp", "--transport", "http", "--config", "$config", "--port", "$port"]
cwd = {root}
ready = "http://127.0.0.1:$port/healthz"

[endpoints]
http = "http://127.0.0.1:$port/mcp"

[backends]
transports = ["stdio"]

[names]
tool = "$server::$name"
prompt = "$server::$name"
"""
"""A proxy that has nothing to do with where the harness is installed."""


def outside(folder: Path) -> Path:
    """A target file in a folder of its own."""
    file = folder / "target.toml"
    file.write_text(TARGET.format(python=json.dumps(sys.executable), root=json.dumps(str(ROOT))))
    return file


@pytest.mark.parametrize(
    "run_from",
    [
        ("tool", "run", "--isolated", "--from"),
        ("tool", "run", "--isolated", "pipx", "run", "--no-cache", "--spec"),
    ],
    ids=["uvx", "pipx"],
)
def test_one_command_without_a_clone(built: Path, tmp_path: Path, run_from: tuple[str, ...]) -> None:
    """The wheel is all there is: fixture servers, expected values and targets are in it."""
    wheel = only(built, "mcp_proxy_conformance-*.whl")
    command = (sys.executable, "-m", "uv", "-q", *run_from, str(wheel), "mcp-proxy-conformance")
    outputs = ("--json", "results", "--html", "report.html")
    only_these = ("--only", "tools:call:text", "--only", "tools:list:whole")
    told = run(*command, "run", "--target", outside(tmp_path), *only_these, *outputs, cwd=tmp_path)
    assert "✓ tools " in told
    results = json.loads((tmp_path / "results" / "outside.json").read_text())
    assert results["target"]["version"] == "7.1"
    assert results["summary"]["pass"] == 2
    listed = run(*command, "list", cwd=tmp_path)
    assert "supergateway" in listed


def test_the_action_as_github_runs_it(tmp_path: Path) -> None:
    """But for the steps that are actions of others: they bring a Python, and keep the reports."""
    action = pytest.importorskip("yaml").safe_load((ROOT / "action.yml").read_text())
    environ = {
        **environment(),
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "PYTHON": sys.executable,
        "TARGET": str(outside(tmp_path)),
        "ARGUMENTS": "--only tools:call:text",
        "FOLDER": "results",
    }
    (tmp_path / "temp").mkdir()
    for step in action["runs"]["steps"]:
        if "run" not in step:
            continue
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=SETUP, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ tools " in (tmp_path / "summary").read_text()
    badge = json.loads((tmp_path / "results" / "badge.json").read_text())
    assert badge["message"].startswith("conforms")
    assert (tmp_path / "results" / "report.html").exists()
