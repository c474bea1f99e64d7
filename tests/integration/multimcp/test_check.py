"""`multi-mcp check`: what it tells of each server, its exit code, and that nothing is left of it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    ROOT,
    TIMEOUT,
    Process,
    alive,
    descendants,
    raw,
    raw_http,
    run,
    until,
    whole_lines,
    write_config,
)

SECRET = "sesame-open-up"


def check(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return run("check", *args, cwd=cwd, **env)


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_is_well(tmp_path: Path) -> None:
    """The file is ./mcp.json, as ever; one that is disabled, or odd, is well."""
    with raw_http() as url:
        servers = {
            "a": raw(tools={"exclude": ["*"]}, colour=[]),
            "old": {"url": f"{url}/sse"},
            "web": {"url": f"{url}/mcp"},
            "off": raw(disabled=True),
        }
        write_config(tmp_path / "mcp.json", servers)
        done = check(cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    rows = [re.sub(r" +", " ", line) for line in done.stdout.splitlines()]
    assert rows[0] == "SERVER TRANSPORT REVISION TOOLS PROMPTS RESOURCES SECONDS ERROR"
    assert [re.sub(r" \d+\.\d$", " S", row) for row in rows[1:]] == [
        "a stdio 2025-11-25 0 1 1 S",
        "old sse 2025-11-25 1 1 1 S",
        "web http 2025-11-25 1 1 1 S",
        "off stdio - - - - - disabled",
        "3 of 3 servers are ready",
    ]
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("multi-mcp: mcp.json: mcpServers.a: unknown key 'colour' is ignored (line 1, column ")


def test_some_are_not(tmp_path: Path) -> None:
    count = tmp_path / "count"
    servers = {
        "good": raw(f"count={count}"),
        "bad": raw(f"count={count}", f"says:start=no \x1b[1m{SECRET}", "exit:start", env={"KEY": SECRET}),
        "hanging": raw(f"count={count}", "hang:initialize", "stubborn"),
        "missing": {"command": "no-such-program"},
        "unset": {"command": "x", "env": {"K": "${NO_SUCH_KEY}"}},
        "away": {"url": f"http://me:{SECRET}@127.0.0.1:1/mcp?key={SECRET}"},
    }
    config = write_config(tmp_path / "x.json", servers)
    done = check(str(config), "--json", "--timeout", "15")
    assert (done.returncode, done.stderr) == (1, "")
    told = results(done)
    assert (told["file"], told["ok"], told["warnings"]) == (str(config), False, [])
    states = {name: server["state"] for name, server in told["servers"].items()}
    assert states == {"good": "ready", **dict.fromkeys(list(servers)[1:], "failed")}
    errors = {name: server["error"] for name, server in told["servers"].items()}
    assert errors == {
        "good": None,
        "bad": "closed the connection during the handshake; its last words: no *** | raw_server: no licence",
        "hanging": "was not ready within 15 s; give it more with --timeout SECONDS",
        "missing": "'no-such-program' was not found on PATH; install it, or give its full path",
        "unset": "the environment variable NO_SUCH_KEY (env.K) is not set; set it before Multi-MCP starts, or write "
        "${NO_SUCH_KEY:-default}",
        "away": "http://127.0.0.1:1/mcp cannot be reached (Connection refused); is it running, and is its URL right?",
    }
    assert told["servers"]["bad"]["stderr"] == ["no ***", "raw_server: no licence"]
    assert 15 <= told["servers"]["hanging"]["seconds"] < 15 + TIMEOUT
    table = check(str(config), "--timeout", "5")
    assert table.returncode == 1
    assert "1 of 6 servers are ready" in table.stdout
    assert SECRET not in done.stdout + table.stdout + table.stderr
    pids = [int(pid) for pid in whole_lines(count)]
    assert len(pids) >= 6
    assert not any(alive(pid) for pid in pids)


def test_a_server_is_started_once(tmp_path: Path) -> None:
    """One that fails is not tried again, and one that is ready ends, while others are waited for."""
    failing, ready = tmp_path / "failing", tmp_path / "ready"
    servers = {
        "failing": raw(f"count={failing}", "exit:start"),
        "ready": raw(f"count={ready}"),
        "slow": raw("slow:initialize=4"),
    }
    process = Process(sys.executable, str(ROOT / "main.py"), "check", str(write_config(tmp_path / "x.json", servers)))
    try:
        until(lambda: ready.exists() and ready.read_text().endswith("\n"))
        pid = int(ready.read_text())
        until(lambda: not alive(pid))
        assert process.popen.poll() is None
        assert process.wait(TIMEOUT) == 1
        assert len(failing.read_text().split()) == 1
    finally:
        process.kill()


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_nobody_reads_the_result(tmp_path: Path, option: list[str]) -> None:
    config = write_config(tmp_path / "mcp.json", {"a": raw(disabled=True)})
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(ROOT / "main.py"), "check", str(config), *option]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("status", [401, 404, 405])
def test_the_remedy_for_what_a_server_answers(tmp_path: Path, status: int) -> None:
    with raw_http(f"status:initialize={status}") as url:
        config = write_config(tmp_path / "mcp.json", {"a": {"url": f"{url}/mcp"}})
        error = results(check(str(config), "--json"))["servers"]["a"]["error"]
    remedy = {401: '"headers"', 404: "check the path of its URL", 405: '"type"'}[status]
    assert f"answered HTTP {status}" in error
    assert remedy in error


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_file_that_cannot_be_used(tmp_path: Path, option: list[str]) -> None:
    config = write_config(tmp_path / "mcp.json", {"a": {"comand": "x"}, "b": {"command": "x", "args": "y"}})
    done = check(*option, MULTI_MCP_CONFIG=str(config))
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith(f"multi-mcp: {config}: mcpServers.a: give either")
    assert second.startswith(f"multi-mcp: {config}: mcpServers.b.args: expected a list")
    if option:
        told = results(done)
        assert told["ok"] is False
        assert [f"multi-mcp: {error}" for error in told["errors"]] == [first, second]
    else:
        assert done.stdout == ""


def test_wrong_options(tmp_path: Path) -> None:
    done = check("--timeout", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --timeout: 'soon' is not a number of seconds above 0" in done.stderr
    assert check(str(tmp_path / "none.json")).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    count = tmp_path / "count"
    servers = {"a": raw(f"count={count}", "hang:initialize", "stubborn", "orphan"), "b": raw(f"count={count}")}
    config = write_config(tmp_path / "mcp.json", servers)
    process = Process(sys.executable, str(ROOT / "main.py"), "check", str(config), stdout=subprocess.PIPE)
    try:
        until(lambda: len(whole_lines(count)) == 2)
        family = descendants(process.popen.pid)
        assert len(family) >= 2
        process.popen.send_signal(number)
        assert process.wait(TIMEOUT) == 128 + number
        assert not [pid for pid in family if alive(pid)]
        assert process.lines == [f"multi-mcp: check was ended by {number.name}"]
        assert process.popen.stdout is not None
        assert process.popen.stdout.read() == ""
    finally:
        process.kill()


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {"slow": raw("slow:initialize=1"), "quick": raw()})
    terminal, ours = pty.openpty()
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "check", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=ours,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    os.close(ours)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert "0 of 2 servers checked; waiting for slow, quick" in shown
    assert shown.endswith("\r\x1b[K")  # and is wiped away
    assert "\x1b" not in done.stdout


def test_a_file_without_its_option(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {})
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), str(config)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(f"unrecognized arguments: {config}; did you mean --config {config}?\n")
