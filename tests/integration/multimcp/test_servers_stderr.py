"""What servers say on stderr: under their name, in the answers of the admin API, and never in anybody's way."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import (
    ROOT,
    TIMEOUT,
    RawClient,
    program,
    proxy,
    raw,
    stdio_client,
    until,
    within,
    write_config,
)

SECRET = "sesame-open-up"


def test_under_its_name_and_in_the_answers(tmp_path: Path) -> None:
    good = raw("says:start=up with \x1b[1m" + SECRET, "says:tools/call=called", env={"KEY": SECRET})
    bad = raw(
        "says:start=Traceback (most recent call last):\n  File x\nOSError: no " + SECRET, "exit:start", env=good["env"]
    )
    with proxy(tmp_path, {"good": good}) as running:
        running.expect(r"INFO good: stderr: up with \*\*\*$")
        running.expect("good: ready")
        with RawClient(running.url, "legacy") as client:
            client.call("tools/call", {"name": "good::echo"})
        running.expect(r"INFO good: stderr: called$")
        assert running.status()["good"]["stderr"] == ["up with ***", "called"]
        answer = running.add(bad=bad, late=raw("says:start=waiting for a door", "hang:initialize"))
        assert running.status().keys() == {"good"}
        body = answer.json()
        said = ["Traceback (most recent call last):", "  File x", "OSError: no ***", "raw_server: no licence"]
        assert body["stderr"] == {"bad": said, "late": ["waiting for a door"]}
        assert body["failed"]["bad"] == (
            "closed the connection during the handshake; its last words: OSError: no *** | raw_server: no licence"
        )
        assert body["failed"]["late"].endswith("(--startup-timeout); its last words: waiting for a door")
        assert SECRET not in answer.text
        assert SECRET not in running.stderr


def test_it_can_be_opened_by_name(tmp_path: Path) -> None:
    server = raw()
    script = f"echo up > /dev/stderr; exec {shlex.join([server['command'], *server['args']])}"
    with proxy(tmp_path, {"wrapped": {"command": "sh", "args": ["-c", script]}}) as running:
        running.expect(r"INFO wrapped: stderr: up$")
        running.expect("wrapped: ready")


def test_a_retry_that_fails_in_the_same_way_is_one_short_line(tmp_path: Path) -> None:
    with proxy(tmp_path, {"bad": raw("says:start=pid and time", "exit:start")}) as running:
        until(lambda: running.stderr.count("bad: failed again, in the same way; next try in ") >= 2)
        lines = [re.sub(r"^\S+ |\d+ s$", "", line) for line in running.lines if " bad: " in line]
    again = "INFO bad: failed again, in the same way; next try in "
    assert lines == [
        "INFO bad: stderr: pid and time",
        "INFO bad: stderr: raw_server: no licence",
        "WARNING bad: failed: closed the connection during the handshake; its last words: pid and time | raw_server: "
        "no licence; trying again",
        *[again] * (len(lines) - 3),
    ]


def test_a_server_that_dies_of_a_missing_module_names_its_python(tmp_path: Path) -> None:
    bad = {"command": sys.executable, "args": ["-S", str(ROOT / "fixtures" / "servers" / "calculator.py")]}
    with proxy(tmp_path, {}) as running:
        reason = running.add(bad=bad).json()["failed"]["bad"]
    assert re.fullmatch(
        "closed the connection during the handshake; its last words: ModuleNotFoundError: No module named '[a-z]+'; "
        f"it ran with {re.escape(sys.executable)}: install the module there, or give the path of another Python as "
        '"command"',
        reason,
    )


async def test_a_server_that_says_a_lot_is_not_made_to_wait(tmp_path: Path) -> None:
    """20 MB, of which the log gets a few lines."""
    servers = {"loud": raw("floods:tools/call=20000"), "good": raw()}
    with proxy(tmp_path, servers) as running:
        running.wait_ready()
        async with within(TIMEOUT), running.client(mode="legacy") as client:
            await client.call_tool("loud::echo", {})
            await client.call_tool("good::echo", {})
        running.expect(r"loud: stderr: \(\d+ lines left out: more than 20 a second\)")
        assert len(running.lines) < 2000
        assert len(json.dumps(running.status()["loud"]["stderr"])) < 5000


async def test_nobody_reads_the_stderr_of_the_proxy(tmp_path: Path) -> None:
    """A desktop client that opens the pipe and forgets it: all that the proxy logs would fill it in time."""
    config = write_config(tmp_path / "mcp.json", {"loud": raw("floods:tools/call=100")})
    read, write = os.pipe()
    with open(write, "w") as unread:
        async with within(TIMEOUT), stdio_client(config, errlog=unread) as client:
            for _ in range(10):
                await client.call_tool("loud::echo", {})
    os.close(read)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """A pipe that takes nothing more."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with suppress(BlockingIOError):
        while os.write(writes, b"x" * 4096):
            pass
    os.set_blocking(writes, True)
    yield writes
    os.close(reads)
    os.close(writes)


async def test_nobody_has_ever_read_the_stderr_of_the_proxy(tmp_path: Path, full_pipe: int) -> None:
    config = write_config(tmp_path / "mcp.json", {"loud": raw("floods:tools/call=100"), "absent": {"command": "/none"}})
    with open(full_pipe, "w", closefd=False) as unread:
        async with within(TIMEOUT), stdio_client(config, errlog=unread) as client:
            assert (await client.call_tool("loud::echo", {})).content


def test_nor_is_one_over_http_held_up_by_that(tmp_path: Path, full_pipe: int) -> None:
    config = write_config(tmp_path / "mcp.json", {"loud": raw("floods:tools/call=100")})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *program(), "--config", str(config), "--transport", "http", "--port", str(port)]
    with subprocess.Popen(command, stderr=full_pipe, stdin=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            until(lambda: is_open(port))
            with RawClient(f"http://127.0.0.1:{port}", "legacy") as client:
                assert client.call("tools/list", {})["tools"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()


def test_the_proxy_is_started_without_stderr(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {"loud": raw("says:start=hello")})
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, *program(), "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"] == {}
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Path]:
    """A file with the pids of processes to be ended."""
    yield (tmp_path / "daemons")
    for pid in (tmp_path / "daemons").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_what_holds_the_pipe_open_holds_up_nothing(tmp_path: Path, daemons: Path) -> None:
    """A daemon that a server has started, in a session of its own."""
    with proxy(tmp_path, {"a": raw(f"daemon={daemons}")}) as running:
        running.wait_ready()
        before = descriptors(running.popen.pid)
        begun = time.monotonic()
        running.add(b=raw(f"daemon={daemons}", "exit:initialize"))
        running.add(c=raw(f"daemon={daemons}"))
        running.remove("c")
        assert time.monotonic() - begun < TIMEOUT / 2
        # No pipe is kept, whoever holds its other end.
        until(lambda: descriptors(running.popen.pid) <= before)
        for pid in daemons.read_text().split():  # which `stop` would call left behind
            os.kill(int(pid), signal.SIGKILL)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def descriptors(pid: int) -> int:
    return sum(os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:") for fd in os.listdir(f"/proc/{pid}/fd"))
