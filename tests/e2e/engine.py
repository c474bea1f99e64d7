"""A Docker engine for tests: whether there is one, the image, and containers that are gone afterwards.

Rules:
- The engine is the one that the command `docker` (or what DOCKER names) reaches. It may be shared: nothing is named or
  counted on but what a test made itself.
- Where CONFORMANCE_REQUIRE (comma separated: `docker`, `kubernetes`) names what a test needs, its absence is a failure
  and no skip.
- Every command has a bound, and every container is removed on every way out.
"""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.processes import until

ROOT = Path(__file__).resolve().parents[2]
DOCKER = os.environ.get("DOCKER", "docker")
IMAGE = "multi-mcp:latest"
FULL = "multi-mcp:full"
KINDS = {"docker", "kubernetes"}

BUILD = 900.0
COMMAND = 60.0
START = 60.0
"""Seconds."""

HARDENED = ("--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def demand(kind: str, missing: str | None) -> None:
    """Skip the test when something is missing for it, or fail it where that kind is required.

    Args:
        kind: `docker` or `kubernetes`.
        missing: what is missing and how to get it; None is nothing.
    """
    required = set(filter(None, os.environ.get("CONFORMANCE_REQUIRE", "").replace(" ", "").split(",")))
    if unknown := required - KINDS:
        pytest.fail(f"CONFORMANCE_REQUIRE names {', '.join(unknown)}: it can name {' and '.join(sorted(KINDS))}")
    if missing is None:
        return
    if kind in required:
        pytest.fail(f"{missing} (CONFORMANCE_REQUIRE names {kind}, so this is no skip)")
    pytest.skip(missing)


@cache
def missing_docker() -> str | None:
    """What is missing for tests with Docker, and how to get it; None: nothing."""
    remedy = "install Docker, start its engine, and set DOCKER_HOST if the engine is not at the usual place"
    try:
        done = subprocess.run([DOCKER, "version"], capture_output=True, text=True, timeout=COMMAND, check=False)
    except FileNotFoundError:
        return f"no command {DOCKER!r}: {remedy}"
    if done.returncode:
        return f"no Docker engine ({done.stderr.strip().splitlines()[-1]}): {remedy}"
    return None


def run(*command: str, timeout: float = COMMAND, env: dict[str, str] | None = None) -> str:
    """Run a command in the checkout, which must succeed; returns its stdout."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
    return done.stdout


def docker(*args: str, timeout: float = COMMAND) -> str:
    """Run a docker command, which must succeed; returns its stdout without the last line feed."""
    return run(DOCKER, *args, timeout=timeout).rstrip("\n")


def inspect(thing: str) -> dict[str, Any]:
    """What the engine knows of an image or a container."""
    found: dict[str, Any] = json.loads(docker("inspect", thing))[0]
    return found


def base_image() -> str:
    """What the image is built on: BASE_IMAGE, or as the Dockerfile has it."""
    (default,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return os.environ.get("BASE_IMAGE") or default


def build(command: str, tag: str = IMAGE, **env: str) -> str:
    """Run a `make docker-build`; returns the id of the image, which stays what it is when somebody else takes the tag.

    A base under `localhost/` was made without a registry. Then there is no package index inside of a build either.
    """
    options = [f"DOCKER={DOCKER}", f"IMAGE={tag}"]
    if base_image().startswith("localhost/"):
        make_wheelhouse()
        options.append("PIP_NO_INDEX=1")
    run(*command.split(), *options, timeout=BUILD, env=env)
    return str(inspect(tag)["Id"])


@cache
def make_wheelhouse() -> None:
    """What a build without an index installs from."""
    run("make", "wheelhouse", timeout=BUILD)


class Container:
    """A running container of the image."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def url(self) -> str:
        """Where its port 8080 is published."""
        return f"http://{docker('port', self.name, '8080').splitlines()[0]}"

    def get(self, path: str) -> httpx2.Response:
        """Raises `httpx2.HTTPError` when nobody answers."""
        return httpx2.get(self.url + path, timeout=COMMAND, trust_env=False)

    def wait_ready(self, timeout: float = START) -> "Container":
        """Until all its servers are there. (`/readyz` is satisfied when they have had their time.)"""

        def ready() -> bool:
            assert self.state["Running"], f"it ended with code {self.state['ExitCode']}"
            try:
                status = self.get("/mcp_servers").json()
            except httpx2.TransportError:
                return False
            return set(status["active_servers"]) == set(status["servers"])

        until(ready, timeout, f"{self.name}: all servers are active")
        return self

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = inspect(self.name)["State"]
        return state

    def python(self, code: str, *args: str) -> Any:
        """What this Python code, run inside, prints as JSON."""
        return json.loads(docker("exec", self.name, "python", "-I", "-c", code, *args))

    def processes(self) -> dict[int, dict[str, str]]:
        """/proc/*/status of all processes inside, by pid, with the command line as `Command`."""
        found = self.python(PROCESSES)
        return {int(pid): status for pid, status in found.items()}


PROCESSES = """
import json, pathlib
found = {}
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdigit():
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            command = (folder / "cmdline").read_text().replace("\\0", " ").strip()
        except FileNotFoundError:
            continue
        found[folder.name] = {key: value.strip() for key, value in status.items()} | {"Command": command}
print(json.dumps(found))
"""


@contextmanager
def container(
    image: str, *options: str, command: tuple[str, ...] = (), first: tuple[str, ...] = HARDENED
) -> Iterator[Container]:
    """A container of `image` in the background, its port published; removed when the block is left.

    Args:
        image: its name or id.
        options: of `docker run`.
        command: what follows the image: options of the proxy.
        first: further options, which stand for how the image is meant to be run.
    """
    running = Container(new_name())
    try:
        docker(
            "run", "--detach", "--name", running.name, "--publish", "127.0.0.1::8080", *first, *options, image, *command
        )
        yield running
    except BaseException as exc:
        logs = subprocess.run(
            [DOCKER, "logs", running.name], capture_output=True, text=True, timeout=COMMAND, check=False
        )
        exc.add_note(f"the container's log:\n{logs.stdout}{logs.stderr}")
        raise
    finally:
        remove(running.name)


def new_name() -> str:
    """A name for a container, which nobody else uses."""
    return f"multi-mcp-test-{uuid.uuid4().hex[:12]}"


def remove(name: str) -> None:
    """Remove a container, running or not, or not there at all."""
    subprocess.run([DOCKER, "rm", "--force", "--volumes", name], capture_output=True, timeout=COMMAND, check=False)
