"""The harness as its users run it: exit codes, what it refuses, what it writes, and a target that runs already."""

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.plugin import GOLDENS
from conformance.target import SHIPPED
from tests.support.documentation import documented
from tests.support.processes import ROOT, alive, commands, descendants, proxy, until

TIMEOUT = 120
SCORES = ROOT / "docs" / "scoreboard"
FORKS = ROOT / "conformance" / "forks.py"
TOOLS = "--only=tools:call:text"


def harness(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", *arguments]
    env = {**os.environ, **environ}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def stranger(path: Path, *, command: str = "", more: str = "", over: str = "http") -> Path:
    """A target file of someone's own: Multi-MCP, or whatever `command` is."""
    text = (SHIPPED / f"multimcp-{over}.toml").read_text().replace(f'"multimcp-{over}"', '"stranger"')
    text = re.sub(r"^version = .*\n", "", text, flags=re.MULTILINE)  # Multi-MCP's
    path.write_text((text.replace('"$python", "-m", "multimcp"', command) if command else text) + more)
    return path


def test_a_run_tells_writes_and_leaves_nothing_running(tmp_path: Path) -> None:
    before = orphans()
    outputs = [f"--json={tmp_path}", f"--junit={tmp_path / 'junit.xml'}", f"--html={tmp_path / 'report.html'}"]
    done = harness("run", "--target=multimcp", "--target=direct", "--only=tools:call:*", *outputs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^✓ tools +[\d.]+ s  \d+ kept$", done.stdout, re.MULTILINE), done.stdout
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {suite.get("name") for suite in suites} == {"multimcp", "direct"}
    assert int(suites.get("tests", "0")) > 0
    assert suites.get("failures") == "0"
    merged = tmp_path / "merged.html"
    assert harness("report", str(tmp_path), f"--html={merged}").returncode == 0
    assert "tools:call:text" in merged.read_text()
    assert orphans() <= before


def orphans() -> set[str]:
    """The processes that fork servers, and servers, whose parent has ended."""
    found = subprocess.run(["pgrep", "-P", "1", "-f", str(FORKS)], capture_output=True, text=True, check=False)
    return set(found.stdout.split())


def test_a_harness_that_is_killed_leaves_nothing_running() -> None:
    before = orphans()
    command = [sys.executable, "-m", "conformance", "run", "--target=direct", "--only=tools:*", "--only=progress:*"]
    with (
        tempfile.TemporaryDirectory() as folder,  # for what it cannot delete any more
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as killed,
    ):
        assert killed.stdout is not None
        while "✓ tools " not in killed.stdout.readline():
            assert killed.poll() is None
        os.killpg(killed.pid, signal.SIGKILL)
        until(lambda: orphans() <= before, TIMEOUT, "the servers of a killed harness end")


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Path]:
    """The socket of a process that forks a server which writes `hello`; it leads its session, as in a container."""
    (tmp_path / "_serving.py").write_text("")
    (tmp_path / "hello.py").write_text("print('hello')")
    command = [sys.executable, str(FORKS), "serve", str(tmp_path / "socket"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        until(lambda: (tmp_path / "socket").exists() or process.poll() is not None, TIMEOUT, "it listens")
        assert process.poll() is None
        yield tmp_path / "socket"
        process.communicate(timeout=TIMEOUT)


def test_a_server_starts_though_its_folder_is_in_another_container(forks: Path) -> None:
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX) as connection, open(read, "rb") as said, open(os.devnull, "rb") as nothing:
        connection.settimeout(TIMEOUT)
        connection.connect(str(forks))
        asked = {"argv": [str(forks.with_name("hello.py"))], "env": {}, "cwd": "/there/is/no/such/folder"}
        socket.send_fds(connection, [json.dumps(asked).encode()], [nothing.fileno(), write, write])
        os.close(write)
        assert connection.recv(1) == b"\0"
        assert said.read() == b"hello\n"


def test_a_stub_of_any_user_can_ask_for_a_server(forks: Path) -> None:
    assert stat.S_IMODE(forks.stat().st_mode) == 0o777


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "Ctrl-C"])
def test_a_harness_that_is_told_to_end_stops_the_target(way: str) -> None:
    command = [sys.executable, "-m", "conformance", "run", "--target=multimcp-http"]
    # Else SIGINT stays ignored where it is, as in a job of a shell in the background.
    command = [
        sys.executable,
        "-c",
        f"import os, signal; signal.signal(2, lambda *_: None); os.execv({command[0]!r}, {command})",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as told:
        assert told.stdout is not None
        while "✓" not in told.stdout.readline():
            assert told.poll() is None
        family = commands(descendants(told.pid))
        targets = [pid for pid, command in family.items() if "multimcp --transport http" in command]
        assert targets
        if way == "Ctrl-C":
            os.killpg(told.pid, signal.SIGINT)
        else:
            told.send_signal(signal.Signals[way])
        said, _ = told.communicate(timeout=TIMEOUT)
    assert told.returncode == 2
    assert "Traceback" not in said
    assert "exit 2" in said
    assert not any(map(alive, targets))
    until(lambda: not any(map(alive, family)), TIMEOUT, "the fixture servers end")


MUTE = """
import json, pathlib, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Mute(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if message["method"] == "tools/list":
            pathlib.Path(sys.argv[2]).touch()
            print("looking for", "the tools; token=s3cr3t", file=sys.stderr, flush=True)
            time.sleep(3600)
        info = {"name": "mute", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
        self.send_response(200 if "id" in message else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Mute).serve_forever()
"""
"""A target that is greeted, and then never says what tools it has."""


def test_a_harness_that_is_told_to_end_does_not_wait_for_answers(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text(MUTE)
    asked = tmp_path / "asked"
    target = stranger(tmp_path / "mute.toml", command=f'"$python", "$here/mute.py", "$port", "{asked}"')
    text = target.read_text()
    assert "patience = 6.0" in text
    target.write_text(text.replace("patience = 6.0", "patience = 60.0"))  # a response may take 20 minutes
    command = [sys.executable, "-m", "conformance", "run", f"--target={target}", "--only=tools:list:whole"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as told:
        try:
            until(asked.exists, TIMEOUT, "the harness asks for the tools")
            family = descendants(told.pid)
            told.terminate()
            told.communicate(timeout=TIMEOUT)
        finally:
            for pid in descendants(told.pid):
                os.kill(pid, signal.SIGKILL)
            told.kill()
    assert told.returncode == 2
    until(lambda: not any(map(alive, family)), TIMEOUT, "all that it started ends")


def test_a_failure_shows_where_the_client_gave_up_and_what_the_target_said(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text(MUTE)
    target = stranger(tmp_path / "mute.toml", command=f'"$python", "$here/mute.py", "$port", "{tmp_path / "asked"}"')
    target.write_text(
        re.sub(r"patience = [\d.]+", 'patience = 0.01\neras = ["legacy"]', target.read_text()).replace(
            "[names]", '[backends]\ntransports = ["http"]\n\n[names]'
        )
    )
    done = harness("run", f"--target={target}", "--only=tools:list:whole", f"--json={tmp_path}")
    assert done.returncode == 1, done.stdout + done.stderr
    results = json.loads((tmp_path / "stranger.json").read_text())
    [run] = [run for each in results["requirements"] for run in each["runs"]]
    assert "looking for the tools; token=[redacted]" in run["stderr"]
    notes = [str(entry["message"]) for entry in run["wire"] if entry["way"] == "note"]
    assert re.search(
        r"gave up after 0\.2 s: no response to tools/list \(\d\); the request is sent, and no resp", "\n".join(notes)
    ), notes
    [asked] = [entry for entry in run["wire"] if "tools/list" in str(entry["message"]) and entry["way"] == "sent"]
    assert asked["stream"] == "POST"
    assert [entry["at"] for entry in run["wire"]] == sorted(entry["at"] for entry in run["wire"])


OWN = """
def test_right():
    pass

def test_wrong():
    assert "{outcome}" == "right"
"""


@pytest.mark.parametrize(("outcome", "code"), [("right", 0), ("wrong", 1)])
def test_the_plugin_beside_tests_of_ones_own(tmp_path: Path, outcome: str, code: int) -> None:
    """As its authors would use it: in their folder, with their options, and a part of it deselected."""
    (tmp_path / "test_own.py").write_text(OWN.format(outcome=outcome))
    command = shlex.split(documented("python -m pytest -p conformance.plugin"))
    command[command.index("target.toml")] = "direct"
    command[command.index("tools:*")] = "tools:call:text"
    results = tmp_path / "results.json"
    command += ["-k", "http or own", f"--results={results}", "test_own.py", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, *command[1:], "-p", "syrupy"]
    done = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    played = [run["name"] for each in json.loads(results.read_text())["requirements"] for run in each["runs"]]
    assert played
    assert all("http" in name for name in played)


def test_the_scoreboard_is_made_of_its_results(tmp_path: Path) -> None:
    command = shlex.split(documented("uv run python -m conformance scoreboard"))
    done = harness(*command[command.index("conformance") + 1 : -1], str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for file in ("index.html", *(str(path.relative_to(SCORES)) for path in SCORES.glob("logs/*.html"))):
        assert (tmp_path / file).read_text() == (SCORES / file).read_text(), f"{command} makes another {file}"


def test_recording_directly_gives_the_same_goldens() -> None:
    before = {path: path.read_bytes() for path in GOLDENS.glob("tools.*")}
    assert before
    done = harness("run", "--target=direct", "--only=tools:call:*", "--snapshot-update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in GOLDENS.glob("tools.*")} == before


def test_goldens_are_recorded_from_nothing_but_direct() -> None:
    done = harness("run", "--target=multimcp", TOOLS, "--snapshot-update")
    assert done.returncode == 2
    assert "from the target 'direct' only" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target=nothing"], "no target 'nothing'"),
        (["--target=direct", "--only=nothing:*"], "no requirement is called nothing:*"),
        (["--target=direct", "--baseline=README.md", TOOLS], "README.md"),
        (["--target=direct", "--baseline=none.toml", TOOLS], "none.toml: there is no such baseline"),
    ],
)
def test_what_cannot_be_run_is_exit_code_2(arguments: list[str], said: str) -> None:
    done = harness("run", *arguments)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr


def test_a_wrong_target_file_names_the_key(tmp_path: Path) -> None:
    done = harness("run", f"--target={stranger(tmp_path / 't.toml', more='[lunch]')}")
    assert done.returncode == 2
    assert "lunch: there is no such key" in done.stderr


def test_a_stale_baseline_entry_fails_and_a_true_one_does_not(tmp_path: Path) -> None:
    target = stranger(tmp_path / "t.toml")
    # What Multi-MCP does not keep, and then does not say so: `::` in its names.
    target.write_text(target.read_text().partition("[unsupported]")[0])
    baseline = tmp_path / "stranger.baseline.toml"
    for requirement, code, told in (("tools:call:text", 1, "stale"), ("naming:charset:legal", 0, "known")):
        baseline.write_text(f'[[known]]\nrequirement = "{requirement}"\nreason = "r"\nlink = "l"\n')
        done = harness("run", f"--target={target}", f"--only={requirement}")
        assert done.returncode == code, done.stdout
        assert told in done.stdout
    baseline.unlink()
    assert harness("run", f"--target={target}", "--only=naming:charset:legal").returncode == 1


def test_a_target_of_one_era_is_told_what_to_write(tmp_path: Path) -> None:
    mux = ROOT / "tests" / "integration" / "conformance" / "broken"
    text = (mux / "mux.toml").read_text().replace("$here", str(mux))
    target = tmp_path / "t.toml"
    target.write_text(text.replace('"$config"', '"$config", "--modest", "aged"'))
    done = harness("run", f"--target={target}", TOOLS)
    assert re.search(
        r'no client of 2026-07-28 is served \(.+\); eras = \["legacy"\] under \[target\] says', done.stdout
    )
    target.write_text(target.read_text().replace("[target]\n", '[target]\neras = ["legacy"]\n'))
    done = harness("run", f"--target={target}", TOOLS)
    assert done.returncode == 0, done.stdout
    assert "is served" not in done.stdout


@pytest.mark.parametrize("only", [(), (TOOLS,)])
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_a_target_that_does_not_start_fails_with_its_last_words(
    tmp_path: Path, transport: str, only: tuple[str, ...]
) -> None:
    words = '"$python", "-c", "import sys; sys.exit(\'no licence\')"'
    target = stranger(tmp_path / "t.toml", command=words, over=transport)
    done = harness("run", f"--target={target}", *only, f"--json={tmp_path}", f"--junit={tmp_path / 'junit.xml'}")
    assert done.returncode == 1, done.stdout
    assert "no licence" in done.stdout
    results = json.loads((tmp_path / "stranger.json").read_text())
    assert (results["summary"]["fail"], results["summary"]["harness error"]) == (1, 0)
    assert "no licence" in results["ended"]
    assert "the target ended while starting" in done.stdout or transport == "stdio"
    (finding,) = results["findings"]
    assert finding["text"] == "the target does not start"
    assert len(finding["requirements"]) == 1 if only else len(finding["requirements"]) > 100
    unplayed = [entry for entry in results["requirements"] if entry["why"].startswith("it was not played: the target")]
    assert len(unplayed) == len(finding["requirements"]) - 1
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")


CAREFUL = """
import os, pathlib, runpy, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Lost(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(200 if self.path == "/healthz" else 404)
    do_POST = do_GET

name, _, state = sys.argv.pop(1).partition("=")
lives = pathlib.Path(state)
life = len(lives.read_text()) if lives.exists() else 0
lives.write_text("." * (life + 1))
if life in {"order": (0,), "race": (0, 2), "always": range(99)}[name]:
    HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Lost).serve_forever()
sys.path.insert(0, os.getcwd())
runpy.run_module("multimcp", run_name="__main__", alter_sys=True)
"""
"""Multi-MCP, which in some of its lives knows no address. It counts them in the file: `order=FILE`, `race=FILE` or
`always=FILE`."""


@pytest.mark.parametrize(
    ("when", "verdict", "again", "code"),
    [
        ("order", "unsteady", {"played": 3, "failed": 0, "before": 0}, 0),
        ("race", "fail", {"played": 2, "failed": 1, "before": 0}, 1),
        ("always", "fail", {"played": 1, "failed": 1, "before": 0}, 1),
    ],
)
def test_what_failed_is_played_again_in_fresh_worlds_before_it_counts(
    tmp_path: Path, when: str, verdict: str, again: dict[str, int], code: int
) -> None:
    (tmp_path / "careful.py").write_text(CAREFUL)
    command = f'"$python", "$here/careful.py", "{when}={tmp_path / "lives"}"'
    target = stranger(tmp_path / "t.toml", command=command, more='\n[backends]\ntransports = ["http"]\n')
    target.write_text(target.read_text().replace("title =", 'eras = ["legacy"]\ntitle ='))  # so there is one run
    done = harness("run", f"--target={target}", TOOLS, f"--json={tmp_path}")
    assert done.returncode == code, done.stdout
    results = json.loads((tmp_path / "stranger.json").read_text())
    (outcome,) = [entry for entry in results["requirements"] if entry["id"] == "tools:call:text"]
    assert outcome["verdict"] == verdict
    assert outcome["runs"][0]["again"] == again
    assert ("a race" in outcome["runs"][0]["message"]) == (verdict == "unsteady")


def test_a_harness_that_is_told_to_end_while_it_plays_again_leaves_nothing(tmp_path: Path) -> None:
    hanging = CAREFUL.replace("if life in", "if life:\n    import signal; signal.pause()\nif life in")
    (tmp_path / "careful.py").write_text(hanging)
    command = f'"$python", "$here/careful.py", "always={tmp_path / "lives"}"'
    target = stranger(tmp_path / "t.toml", command=command, more='\n[backends]\ntransports = ["http"]\n')
    asked = [sys.executable, "-m", "conformance", "run", f"--target={target}", TOOLS, f"--json={tmp_path}"]
    with subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as told:
        until(
            lambda: (tmp_path / "lives").exists() and len((tmp_path / "lives").read_text()) > 1, TIMEOUT, "it replays"
        )
        family = descendants(told.pid)
        told.terminate()
        said, _ = told.communicate(timeout=TIMEOUT)
    assert told.returncode == 2, said
    until(lambda: not any(map(alive, family)), TIMEOUT, "all that it started ends")
    results = json.loads((tmp_path / "stranger.json").read_text())
    (outcome,) = [entry for entry in results["requirements"] if entry["id"] == "tools:call:text"]
    assert {(run["verdict"], run["again"]["played"]) for run in outcome["runs"]} == {("unsteady", 0)}


def test_a_run_ends_when_its_time_is_over_and_says_so(tmp_path: Path) -> None:
    done = harness("run", "--target=direct", "--only=tools:*", "--timeout=0.01", f"--json={tmp_path}")
    assert done.returncode == 2
    results = json.loads((tmp_path / "direct.json").read_text())
    assert results["ended"] == "the 0.01 s of --timeout were over"
    assert {entry["why"] for entry in results["requirements"] if entry["id"].startswith("tools:call:")} == {
        "it was not played: the 0.01 s of --timeout were over"
    }
    assert harness("run", "--target=direct", TOOLS, "--timeout=0").returncode == 2


def test_a_target_that_runs_already(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:
        url = running.url
        target = tmp_path / "t.toml"
        target.write_text(
            f"""
            [target]
            name = "running"
            [launch]
            kind = "url"
            ready = "{url}/healthz"
            [endpoints]
            http = "{url}/mcp"
            [names]
            tool = "$server::$name"
            prompt = "$server::$name"
            [admin]
            add = "{url}/mcp_servers"
            remove = "{url}/mcp_servers/$server"
            """
        )
        done = harness("run", f"--target={target}", "--only=tools:call:*", f"--json={tmp_path}")
        assert done.returncode == 0, done.stdout
        assert running.status() == {}
    results = json.loads((tmp_path / "running.json").read_text())
    assert results["summary"]["pass"] > 10


def program(folder: Path, name: str, text: str) -> str:
    """A PATH on which there is only this shell script."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("target", "kubectl", "environ", "lacks"),
    [
        ("multimcp-docker", "", {"DOCKER_HOST": "unix:///there/is/none"}, "a Docker engine ("),
        ("multimcp-kubernetes", "", {}, "the command kubectl; https://"),
        ("multimcp-kubernetes", "exit 0", {"KUBECONFIG": ""}, "a cluster; install kind ("),
        (
            "multimcp-kubernetes",
            "echo refused; exit 1",
            {"KUBECONFIG": "k"},
            "a cluster that answers: refused (KUBECONFIG",
        ),
    ],
)
def test_a_target_that_this_machine_cannot_run_is_skipped_unless_required(
    tmp_path: Path, target: str, kubectl: str, environ: dict[str, str], lacks: str
) -> None:
    path = program(tmp_path, "kubectl" if kubectl else "other", kubectl)
    environ = {"PATH": path, "CONFORMANCE_IMAGE_LOAD": "", "CONFORMANCE_REQUIRE": "", **environ}
    outputs = [f"--json={tmp_path}", f"--junit={tmp_path / 'junit.xml'}", f"--html={tmp_path / 'report.html'}"]
    done = harness("run", f"--target={target}", TOOLS, *outputs, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{target}: skipped: it lacks {lacks}" in done.stdout
    found = json.loads((tmp_path / f"{target}.json").read_text())
    assert found["skipped"].startswith(lacks)
    assert found["summary"]["pass"] == 0
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("skipped") == suite.get("tests") != "0"
    assert "Skipped: it lacks" in (tmp_path / "report.html").read_text()
    environ["CONFORMANCE_REQUIRE"] = "docker, kubernetes"
    done = harness("run", f"--target={target}", TOOLS, *outputs, **environ)
    assert done.returncode == 2
    assert f"CONFORMANCE_REQUIRE names {target.removeprefix('multimcp-')}, so this is an error" in done.stdout
    assert json.loads((tmp_path / f"{target}.json").read_text())["exit"] == 2
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("errors") == "1"


def test_what_cannot_be_required_is_told() -> None:
    done = harness("run", "--target=direct", TOOLS, CONFORMANCE_REQUIRE="docker,kubernets")
    assert done.returncode == 2
    assert "CONFORMANCE_REQUIRE names 'kubernets'; what can be required is docker and kubernetes" in done.stderr
