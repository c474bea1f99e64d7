"""Nothing holds up everybody: no file, lock, disk or long text. Measured is `/healthz`, while it happens.

A file that takes `SLOW` seconds, as at the other end of a network, is played: code before the proxy has it sleep. What
blocks at all blocks for that long; what is asked meanwhile is answered within `BOUND`, also on a busy machine.
"""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PATIENT, Proxy, proxy, raw, raw_http, write_config

SLOW, BOUND = 3.0, 1.5

SLOW_FILES = f"""
import os, shutil, stat, time
def slow(do, *names):
    def later(asked, *args, **options):
        if any(name in str(asked) for name in names) and os.path.exists({{mark!r}}):
            time.sleep({{seconds}})
        return do(asked, *args, **options)
    return later
os.open, shutil.which, os.stat = slow(os.open, {{names}}), slow(shutil.which, "no-such"), slow(os.stat, "/folder")
{PATIENT}"""


def slowed(tmp_path: Path, *names: str, seconds: float = SLOW) -> str:
    """Code that makes what is asked of such paths slow, once there is a file `mark`."""
    listed = ", ".join(map(repr, names))
    return SLOW_FILES.format(mark=str(tmp_path / "mark"), names=listed, seconds=seconds)


@contextmanager
def all_go_on(running: Proxy) -> Iterator[None]:
    """Nobody waits for what is done in the block."""
    took: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set() or not took:
            begun = time.monotonic()
            assert running.http("GET", "/healthz").status_code == 200
            took.append(time.monotonic() - begun)
            is_over.wait(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert max(took) < BOUND, sorted(took)[-5:]


def make(path: Path, kind: str) -> None:
    """Put something without an end where a file was."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 2**30)


WORDS = {"pipe": "a pipe or a device", "device": "a pipe or a device", "folder": "a folder", "file": "has more than"}


@pytest.mark.parametrize("which", ["mcp.json", "keys"])
def test_a_file_becomes_something_without_an_end(which: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one")
    with proxy(tmp_path, {"a": raw()}, "--no-watch", env={"MULTI_MCP_API_KEY_FILE": str(keys)}) as running:
        path = tmp_path / which
        text = path.read_text()
        for kind, words in WORDS.items():
            make(path, kind)
            with all_go_on(running):
                running.popen.send_signal(signal.SIGHUP)
                running.expect(f"{which}.*{words}")
            path.rmdir() if kind == "folder" else path.unlink()
            path.write_text(text)
        with all_go_on(running):
            write_config(tmp_path / "mcp.json", {"b": raw()})
            running.popen.send_signal(signal.SIGHUP)
            running.expect("b: ready")


@pytest.mark.parametrize("which", ["mcp.json", "keys", ".env"])
def test_a_file_is_slow(which: str, tmp_path: Path) -> None:
    keys, variables = tmp_path / "keys", tmp_path / ".env"
    keys.write_text("one")
    variables.write_text("A=b")
    first, env = slowed(tmp_path, f"/{which}"), {"MULTI_MCP_API_KEY_FILE": str(keys)}
    with proxy(tmp_path, {}, "--no-watch", env=env, first=first) as running:
        (tmp_path / "mark").touch()
        write_config(tmp_path / "mcp.json", {"b": raw(envFile=str(variables))})
        with all_go_on(running):
            for _ in range(3):
                running.popen.send_signal(signal.SIGHUP)
            running.expect("b: ready")


def test_a_disk_is_slow_on_which_a_program_is(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, first=slowed(tmp_path, "nothing")) as running:
        (tmp_path / "mark").touch()
        (tmp_path / "folder").mkdir()
        with all_go_on(running):
            answer = running.add(a={"command": "no-such"}, b=raw(cwd=str(tmp_path / "folder")))
        assert answer.json()["added"] == ["b"]
        assert "'no-such' was not found on PATH" in answer.json()["failed"]["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_proxy_ends_while_a_file_is_slow(number: int, tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}, "--no-watch", first=slowed(tmp_path, "/mcp.json", seconds=600)) as running:
        running.wait_ready()
        (tmp_path / "mark").touch()
        running.popen.send_signal(signal.SIGHUP)
        with all_go_on(running):
            running.expect("a: ready")
        assert running.stop(number) < 5


def test_the_authorities_are_slow_to_read(tmp_path: Path) -> None:
    """They are read when the first server over HTTP is added."""
    first = f"import ssl, time; real = ssl.create_default_context; {PATIENT}\n"
    first += f"def slow(*args, **options): time.sleep({SLOW}); return real(*args, **options)\n"
    first += "ssl.create_default_context = slow"
    with raw_http() as url, proxy(tmp_path, {}, first=first) as running, all_go_on(running):
        assert running.add(a={"url": f"{url}/mcp"}).json()["added"] == ["a"]


def test_a_lock_is_held(tmp_path: Path) -> None:
    """As long as our patience lasts, and while the proxy is told to end."""
    with proxy(tmp_path, {"a": raw()}, "--persist") as running:
        running.wait_ready()
        folder = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        with all_go_on(running):
            for answer in (running.add(b=raw()), running.remove("a")):
                assert answer.status_code == 500
                assert "another process has locked its folder" in answer.json()["error"]
        assert list(running.status()) == ["a"]
        waiting = threading.Thread(target=lambda: running.add(b=raw("count=" + str(tmp_path / "started"))))
        waiting.start()
        running.expect("b: ready")
        took = running.stop()
        waiting.join()
        os.close(folder)
        assert took < 5


LONG: dict[str, Any] = {
    "keys": {f"k{number}": {"command": "x", "disabled": True} for number in range(20_000)},
    "variables": {"x": {"command": "${A:-" * 200_000}},
    "unknown keys": {"x": {f"commando{number}": 1 for number in range(50_000)}},
    "numbers": {"x": {"args": list(range(500_000))}},
    "names": {"x" * 3_000_000: {}},
}


@pytest.mark.parametrize("kind", [*LONG, "digits", "nesting"])
def test_a_request_is_long(kind: str, shared: Proxy) -> None:
    body = json.dumps({"mcpServers": LONG.get(kind, {})})
    body = {"digits": '{"a": ' + "1" * 3_000_000 + "}", "nesting": "[" * 3_000_000}.get(kind, body)
    if kind == "keys":
        body = body.replace('"k19999"', '"k0"')
    with all_go_on(shared):
        assert shared.http("POST", "/mcp_servers", content=body).status_code in (400, 502)
