"""What a new user does: a clean clone in an empty environment, and the commands of README.md and docs/.

`make test` and `uv run tox` run this very suite, so they are not run here whole: CI runs the first, and of the second
the part that is quick.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.e2e.checkout import copy, environment
from tests.e2e.clients import calculate, calculate_in_all_ways
from tests.support.documentation import documented, example
from tests.support.processes import Process, descendants, until

ROOT = Path(__file__).resolve().parents[2]
SETUP = 600.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("clone") / "multi-mcp")


def start(clone: Path, command: str, **env: str) -> Process:
    process = Process("sh", "-c", f"exec {command}", cwd=clone, env=environment(MULTI_MCP_PORT="0", **env))
    process.expect("listening on", SETUP)
    return process


def main_of(process: Process) -> int:
    """The process of main.py, which make or uv has started."""
    family = descendants(process.popen.pid) | {process.popen.pid}
    return max(pid for pid in family if b"main.py" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))


def stop(process: Process) -> None:
    """As an operator does, through make or uv."""
    os.kill(main_of(process), 15)
    assert process.wait(60) == 0, process.stderr


@pytest.fixture(scope="module")
def made(clone: Path) -> Iterator[Process]:
    """`make run`, on a free port."""
    process = start(clone, documented("make run"))
    try:
        yield process
        stop(process)
    finally:
        process.kill()


def url_of(process: Process) -> str:
    return process.expect(r"listening on (http://\S+)").group(1)


async def test_make_run_and_a_client_of_each_kind(made: Process) -> None:
    await calculate_in_all_ways(url_of(made))


def test_the_admin_commands(made: Process, clone: Path) -> None:
    """As written, but for the port."""
    for name in ("calculator", "weather"):
        made.expect(f"{name}: ready")
    answers = []
    for command in (
        documented("curl http://localhost:8080/mcp_servers"),
        documented("curl http://localhost:8080/mcp_tools"),
        documented("curl -X POST "),
        documented("curl -X DELETE "),
    ):
        here = command.replace("http://localhost:8080", url_of(made)).replace("curl ", "curl -sS --noproxy '*' ", 1)
        done = subprocess.run(["sh", "-c", here], cwd=clone, capture_output=True, text=True, timeout=SETUP, check=True)
        answers.append(json.loads(done.stdout))
    servers, tools, added, removed = answers
    assert servers["active_servers"] == ["calculator", "weather"]
    assert tools["names"]["weather"] == ["weather::get_weather"]
    assert (added["added"], added["failed"]) == (["unit_converter"], {})
    assert removed["message"].startswith("server 'unit_converter' removed, in this process only")


async def test_production_mode_sets_itself_up(clone: Path, tmp_path: Path) -> None:
    """`./start-server.sh` in a clone of its own, called from elsewhere, with a calculator in place of npx.

    tests/integration/multimcp/test_start_server.py has the real servers.
    """
    mine = tmp_path / "multi-mcp"
    shutil.copytree(clone, mine, symlinks=True, ignore=shutil.ignore_patterns(".venv", "msc"))
    npx = tmp_path / "bin" / "npx"
    npx.parent.mkdir()
    npx.write_text(f'#!/bin/sh\nexec "{mine}/.venv/bin/python" "{mine}/fixtures/servers/calculator.py"\n')
    npx.chmod(0o755)
    secrets = dict.fromkeys(re.findall(r"(\w+)=\.\.\.", documented("export ")), "a-secret")
    env = environment(MULTI_MCP_PORT="0", **secrets)
    env["PATH"] = f"{npx.parent}{os.pathsep}{env['PATH']}"
    process = Process(str(mine / documented("./start-server.sh")), cwd=tmp_path, env=env)
    try:
        process.expect("listening on", SETUP)
        async with Client(url_of(process) + "/mcp") as client:
            added = await client.call_tool("context7::add", {"a": 2, "b": 3})
        assert added.structured_content == {"result": 5}
        left = subprocess.check_output(["git", "ls-files", "--others", "--exclude-standard"], cwd=mine, text=True)
        assert left == ""
        process.popen.terminate()
        assert process.wait(60) == 0, process.stderr
    finally:
        process.kill()


async def test_uv_run(clone: Path) -> None:
    process = start(clone, f"{sys.executable} -m {documented('uv run main.py')}", UV_PYTHON=sys.executable)
    try:
        assert {"mcp", "uvicorn"} <= packages(process), "not seen: what it needs to run"
        assert packages(process).isdisjoint({"mypy", "pytest", "ruff", "tox", "uv"})
        await calculate(Client(url_of(process) + "/mcp"))
        stop(process)
    finally:
        process.kill()


def packages(process: Process) -> set[str]:
    """The top-level names that the Python of a started main.py has installed."""
    python = Path(f"/proc/{main_of(process)}/cmdline").read_bytes().split(b"\0")[0].decode()
    (folder,) = Path(python).parents[1].glob("lib/python*/site-packages")
    return {path.name for path in folder.iterdir()}


def test_uv_run_tox(clone: Path) -> None:
    assert "`uv run tox`" in (ROOT / "README.md").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "uv", "run", "tox"],
        cwd=clone,
        env=environment(TOXENV="unit", UV_PYTHON=sys.executable),
        capture_output=True,
        text=True,
        timeout=SETUP,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def uv(clone: Path, command: str) -> str:
    """Run a documented `uv run` command; returns its output."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m {command}"],
        cwd=clone,
        env=environment(UV_PYTHON=sys.executable),
        capture_output=True,
        text=True,
        timeout=SETUP,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_harness_on_a_strangers_proxy(clone: Path) -> None:
    """`list`, `init`, and the documentation's smallest target with Multi-MCP as the stranger, on a part of it all."""
    assert "tools:call:text  SHOULD" in uv(clone, documented("uv run python -m conformance list"))
    uv(clone, documented("uv run python -m conformance init"))
    assert "[launch]" in (clone / "target.toml").read_text()
    smallest = example("[target]", "toml")
    ours = '["$python", "-m", "multimcp", "--transport", "http", "--separator", "__"'
    (clone / "target.toml").write_text(smallest.replace('["my-proxy"', ours))
    told = uv(clone, f"{documented('uv run tox -e conformance -- ')} --only 'tools:call:*'")
    assert "✓ tools " in told
    assert "my-proxy" in (clone / "report.html").read_text()
    for name in ("target.toml", "report.html"):
        (clone / name).unlink()


async def test_the_installed_command_over_stdio(clone: Path, tmp_path: Path) -> None:
    """It is installed into an environment, and a client starts `multi-mcp` there."""
    env = environment()
    for step in (documented("python3 -m venv .venv"), documented(".venv/bin/pip install .")):
        here = step.replace(".venv", str(tmp_path / "venv")).replace("python3 ", f"{sys.executable} ")
        subprocess.run(here.split(), cwd=clone, env=env, check=True, timeout=SETUP, capture_output=True)
    path = f"{tmp_path / 'venv/bin'}{os.pathsep}{env['PATH']}"
    check = documented("multi-mcp check").split()
    done = subprocess.run(check, cwd=clone, env={**env, "PATH": path}, capture_output=True, text=True, timeout=SETUP)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 of 2 servers are ready"), done.stdout + done.stderr
    (tmp_path / "mcp.json").write_text((clone / "mcp.json").read_text())
    shutil.copytree(clone / "fixtures", tmp_path / "fixtures")
    command = StdioServerParameters(
        command=str(tmp_path / "venv/bin/multi-mcp"),
        args=["--config", str(tmp_path / "mcp.json")],
        env={**env, "PATH": path},
        cwd=tmp_path,
    )
    await calculate(Client(command))


def test_what_a_clone_leaves_behind_is_ignored(made: Process, clone: Path) -> None:
    until(lambda: (clone / ".venv").exists())
    left = subprocess.check_output(["git", "ls-files", "--others", "--exclude-standard"], cwd=clone, text=True)
    assert left == ""
