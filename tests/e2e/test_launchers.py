"""The harness on targets in containers: ours and a stranger's, sound and broken, and what is left of them: nothing."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.launchers.containers import LABEL
from tests.e2e import cluster, engine
from tests.e2e.engine import BUILD, ROOT, docker
from tests.support.processes import until

TIMEOUT = 300.0
GONE = 120.0
"""Seconds. A node of Kubernetes 1.20 may take one minute to say that a pod is gone."""

STRANGER = """
[target]
name = "NAME"
eras = ["modern"]
[launch]
kind = "KIND"
image = "IMAGE"
port = 9000
args = ["--config", "$config", "--host", "0.0.0.0", "--port", "9000"]
python = "python3"
ready = "http://$host:$port/healthz"
[config]
file = "/etc/stranger/servers.json"
[endpoints]
http = "http://$host:$port/mcp"
[backends]
transports = ["stdio"]
[names]
tool = "${server}__$name"
prompt = "${server}__$name"
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "conformance", "run", *map(str, arguments)]


def harness(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it on images that are where they are needed."""
    env = {**os.environ, "CONFORMANCE_IMAGE_LOAD": "", **environ}
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def results(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def stranger(image: str) -> Iterator[str]:
    """The image of a proxy that is not ours: Python alone, and the correct proxy of which broken ones are made.

    `image`, which is ours, is there for the servers behind it.
    """
    name = f"localhost/{engine.new_name()}:1"
    dockerfile = f'FROM {engine.base_image()}\nCOPY broken /broken\nUSER 4711\nENTRYPOINT ["python3", "/broken"]\n'
    build = ["build", "--quiet", "--tag", name, "--file", "-", str(ROOT / "tests" / "integration")]
    subprocess.run([engine.DOCKER, *build], input=dockerfile, check=True, capture_output=True, text=True, timeout=BUILD)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def loaded(image: str, stranger: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both images are in the cluster."""
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    cluster.load(image, engine.IMAGE, archive)
    cluster.load(stranger, stranger, archive)


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of target in turn; the images are there."""
    request.getfixturevalue("loaded" if request.param == "kubernetes" else "image")
    return str(request.param)


class Target:
    """A target file of this test's own, and what runs for it."""

    def __init__(self, folder: Path, kind: str, text: str) -> None:
        self.name = engine.new_name()
        self.kind = kind
        self.file = folder / f"{self.name}.toml"
        self.file.write_text(text.replace("NAME", self.name).replace("KIND", kind))

    def running(self) -> list[str]:
        """The containers or pods that run."""
        if self.kind == "docker":
            return docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self.name}").split()
        pods = [
            pod
            for namespace in self.namespaces()
            for pod in objects("pods", "--namespace", namespace["metadata"]["name"])
        ]
        states = [status["state"] for pod in pods for status in pod["status"].get("containerStatuses", [])]
        return [str(state) for state in states if "terminated" not in state]

    def namespaces(self) -> list[dict[str, Any]]:
        """Those that were made for it and are not gone yet."""
        return objects("namespaces", "--selector", f"{LABEL}={self.name}")

    def is_gone(self) -> bool:
        """Nothing runs, and nothing is left but what the cluster is deleting."""
        if self.kind == "docker":
            return not self.running()
        return not self.running() and all("deletionTimestamp" in space["metadata"] for space in self.namespaces())


def objects(*arguments: str) -> list[dict[str, Any]]:
    """What the cluster has, as `kubectl get` names it."""
    found: list[dict[str, Any]] = json.loads(engine.run("kubectl", "get", *arguments, "--output", "json"))["items"]
    return found


def test_our_target(kind: str, tmp_path: Path) -> None:
    """A call over every transport, and a server that is added with the key."""
    only = ["--only=tools:call:text", "--only=dynamic:add:offered"]
    load = os.environ.get("CONFORMANCE_IMAGE_LOAD", "")
    done = harness(f"--target=multimcp-{kind}", *only, f"--json={tmp_path}", CONFORMANCE_IMAGE_LOAD=load)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(tmp_path, f"multimcp-{kind}")
    assert found["summary"]["pass"] == 2
    assert found["skipped"] == ""
    (call,) = [entry for entry in found["requirements"] if entry["id"] == "tools:call:text"]
    assert {run["case"]["backend"] for run in call["runs"]} == {"stdio", "sse", "http"}


def test_a_strangers_target(kind: str, stranger: str, tmp_path: Path) -> None:
    """A sound one passes what the same with a defect fails for, and nothing is left of either."""
    text = STRANGER.replace("IMAGE", stranger)
    sound = Target(tmp_path, kind, text)
    broken = Target(tmp_path, kind, text.replace('args = ["', 'args = ["--defect", "tools:call:text", "'))
    done = harness("--target", sound.file, "--target", broken.file, "--only=tools:call:text", f"--json={tmp_path}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert results(tmp_path, sound.name)["exit"] == 0
    assert results(tmp_path, sound.name)["summary"]["pass"] == 1
    assert results(tmp_path, broken.name)["exit"] == 1
    assert results(tmp_path, broken.name)["summary"]["fail"] == 1
    assert sound.is_gone()
    assert broken.is_gone()


def test_a_target_that_does_not_start(kind: str, stranger: str, tmp_path: Path) -> None:
    target = Target(tmp_path, kind, STRANGER.replace("IMAGE", stranger).replace('"--host"', '"--hots"'))
    done = harness("--target", target.file, "--only=tools:call:text")
    assert done.returncode == 2
    assert "the target ended while starting" in done.stdout
    assert "unrecognized arguments: --hots" in done.stdout
    assert target.is_gone()


def test_a_program_that_is_not_in_the_image(kind: str, stranger: str, tmp_path: Path) -> None:
    text = STRANGER.replace("IMAGE", stranger).replace("port = 9000\n", 'port = 9000\ncommand = ["no-such-program"]\n')
    target = Target(tmp_path, kind, text)
    done = harness("--target", target.file, "--only=tools:call:text")
    assert done.returncode == 2
    assert "no-such-program" in done.stdout
    assert target.is_gone()


def test_an_image_that_is_not_there(kind: str, tmp_path: Path) -> None:
    target = Target(tmp_path, kind, STRANGER.replace("IMAGE", "localhost/nobody-made-this:1"))
    done = harness("--target", target.file, "--only=tools:call:text", f"--json={tmp_path}", CONFORMANCE_REQUIRE="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{target.name}: skipped: it lacks the image 'localhost/nobody-made-this:1'" in done.stdout
    assert results(tmp_path, target.name)["summary"]["pass"] == 0
    assert target.is_gone()
    done = harness("--target", target.file, "--only=tools:call:text", CONFORMANCE_REQUIRE=kind)
    assert done.returncode == 2
    assert target.is_gone()


def test_an_image_that_cannot_run_the_servers(kind: str, stranger: str, tmp_path: Path) -> None:
    text = STRANGER.replace("IMAGE", stranger).replace("port = 9000\n", f'port = 9000\nfixtures = "{stranger}"\n')
    target = Target(tmp_path, kind, text)
    done = harness("--target", target.file, "--only=tools:call:text")
    assert done.returncode == 2
    assert f"do not start in the image '{stranger}', which needs a python3 with the MCP SDK" in done.stdout
    assert "ModuleNotFoundError" in done.stdout
    assert target.is_gone()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the harness files that no container sees")
def test_an_engine_or_a_node_that_is_elsewhere(kind: str, stranger: str, tmp_path: Path) -> None:
    """As seen from there: the folder that is to be shared is not there."""
    target = Target(tmp_path, kind, STRANGER.replace("IMAGE", stranger))
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = 'mount -t tmpfs none "$TMPDIR" && exec "$@"'
    apart = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        *command("--target", target.file, "--only=tools:call:text"),
    ]
    env = {**os.environ, "TMPDIR": str(hidden), "CONFORMANCE_IMAGE_LOAD": "", "CONFORMANCE_REQUIRE": ""}
    done = subprocess.run(apart, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"skipped: it lacks containers that share {hidden}" in done.stdout
    assert target.is_gone()


def interrupt(target: Target, number: signal.Signals, folder: Path) -> int:
    """Send a signal to a harness while its target runs; returns its exit code. What it needs is in `folder`."""
    arguments = command("--target", target.file, "--only=tools:*")
    env = {**os.environ, "CONFORMANCE_IMAGE_LOAD": "", "TMPDIR": str(folder)}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": env}
    with subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, **options) as told:
        assert told.stdout is not None
        while "tools:list:whole" not in told.stdout.readline():
            assert told.poll() is None
        assert target.running()
        assert servers(folder)
        if number == signal.SIGKILL:
            os.killpg(told.pid, number)
        else:
            told.send_signal(number)
        told.communicate(timeout=TIMEOUT)
    return told.returncode


def servers(folder: Path) -> list[str]:
    """The processes of the harness's servers: those in containers are seen from here, too."""
    found = subprocess.run(["pgrep", "-f", f"{folder}/.*/forks.py"], capture_output=True, text=True, check=False)
    return found.stdout.split()


@pytest.fixture
def brief() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_harness_that_is_told_to_end_leaves_nothing(kind: str, stranger: str, tmp_path: Path, brief: Path) -> None:
    target = Target(tmp_path, kind, STRANGER.replace("IMAGE", stranger))
    assert interrupt(target, signal.SIGTERM, brief) == 2
    assert not servers(brief)
    assert target.is_gone()
    assert list(brief.iterdir()) == []


@pytest.mark.kubernetes
@pytest.mark.usefixtures("loaded")
def test_a_harness_that_is_killed_leaves_nothing_in_the_cluster(stranger: str, tmp_path: Path, brief: Path) -> None:
    """In Docker that is what testcontainers' reaper is for, if its image can be had."""
    target = Target(tmp_path, "kubernetes", STRANGER.replace("IMAGE", stranger))
    interrupt(target, signal.SIGKILL, brief)
    until(lambda: target.is_gone() and not servers(brief), GONE, "the namespace of a killed harness goes")


KIND = """#!{python}
# Stands for kind: its cluster is the one there is. Writes down what it is asked for.
import json, os, shutil, subprocess, sys
arguments = dict(zip(sys.argv[3:-1], sys.argv[4:]))
note = {{"asked": sys.argv[1:3], "name": arguments.get("--name")}}
if sys.argv[1] == "create":
    mount = json.load(open(arguments["--config"]))["nodes"][0]["extraMounts"][0]
    note["mounted"] = mount["hostPath"] == mount["containerPath"] == os.path.dirname(arguments["--config"])
    shutil.copy({kubeconfig!r}, arguments["--kubeconfig"])
with open({notes!r}, "a") as file:
    print(json.dumps(note), file=file)
if sys.argv[1] == "load":
    sys.exit(subprocess.run([*{load!r}, sys.argv[-1]]).returncode)
if sys.argv[1] == {fails!r}:
    sys.exit("ERROR: no space left")
"""


def with_kind(folder: Path, fails: str = "") -> dict[str, str]:
    """The environment of a machine with kind, where one of its commands may fail."""
    program = folder / "bin" / "kind"
    program.parent.mkdir()
    load = shlex.split(os.environ["CONFORMANCE_IMAGE_LOAD"])
    notes = str(folder / "notes")
    text = KIND.format(python=sys.executable, kubeconfig=os.environ["KUBECONFIG"], notes=notes, load=load, fails=fails)
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    return {"PATH": path, "KUBECONFIG": "", "CONFORMANCE_IMAGE_LOAD": "", "CONFORMANCE_REQUIRE": ""}


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


@pytest.mark.kubernetes
def test_a_cluster_of_kind_is_made_for_the_run(stranger: str, tmp_path: Path) -> None:
    target = Target(tmp_path, "kubernetes", STRANGER.replace("IMAGE", stranger))
    done = harness("--target", target.file, "--only=tools:call:text", **with_kind(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.is_gone()
    made, loaded, deleted = notes(tmp_path)
    assert made["asked"] == ["create", "cluster"]
    assert made["mounted"]
    assert loaded["asked"] == ["load", "image-archive"]
    assert deleted["asked"] == ["delete", "cluster"]
    assert made["name"].startswith("conformance-")
    assert made["name"] == loaded["name"] == deleted["name"]


@pytest.mark.kubernetes
def test_a_cluster_of_kind_that_cannot_be_made(tmp_path: Path) -> None:
    target = Target(tmp_path, "kubernetes", STRANGER)
    done = harness("--target", target.file, "--only=tools:call:text", **with_kind(tmp_path, fails="create"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped: it lacks a cluster: `kind create cluster` failed: ERROR: no space left" in done.stdout
    assert [note["asked"][0] for note in notes(tmp_path)] == ["create", "delete"]


@pytest.mark.kubernetes
def test_a_cluster_of_kind_that_cannot_be_deleted(stranger: str, tmp_path: Path) -> None:
    target = Target(tmp_path, "kubernetes", STRANGER.replace("IMAGE", stranger))
    done = harness("--target", target.file, "--only=tools:call:text", **with_kind(tmp_path, fails="delete"))
    assert done.returncode == 2
    assert "what was made for the run could not be deleted: ERROR: no space left" in done.stdout
