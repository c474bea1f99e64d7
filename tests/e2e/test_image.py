"""The container image: what is in it, how it runs, how it ends, and that it needs no rights."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client

from multimcp import __version__
from tests.e2e.clients import TIMEOUT, calculate_in_all_ways
from tests.e2e.engine import (
    BUILD,
    COMMAND,
    DOCKER,
    HARDENED,
    ROOT,
    START,
    Container,
    base_image,
    build,
    container,
    demand,
    docker,
    inspect,
    new_name,
    remove,
)
from tests.support.documentation import documented
from tests.support.processes import Process, RawClient, quick, until, within

pytestmark = pytest.mark.docker

STOP = 3.0
"""Seconds that `docker stop` may take."""

LARGEST = 120e6
"""Bytes that the image may have above its base."""

DOWNLOAD = 180.0
"""Seconds that npx may take."""

NO_RIGHTS = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)


def command_lines(running: Container) -> dict[int, str]:
    return {pid: status["Command"] for pid, status in running.processes().items()}


def proxy_pid(running: Container) -> int:
    (pid,) = (pid for pid, line in command_lines(running).items() if line.startswith("python") and "multimcp" in line)
    return pid


@contextmanager
def in_foreground(name: str, command: str, cwd: Path = ROOT) -> Iterator[Container]:
    """A command that runs the container `name` until it is stopped; it must end with 0 then."""
    process = Process("sh", "-c", f"exec {command}", cwd=cwd, stdout=subprocess.DEVNULL)
    try:
        process.expect("listening on", START)
        yield Container(name).wait_ready()
        docker("stop", name)
        assert process.wait(COMMAND) == 0, process.stderr
    finally:
        remove(name)
        process.kill()


@pytest.fixture(scope="module")
def made(image: str) -> Iterator[Container]:
    """`make docker-run` as docs/operations.md says, but for the port and the name."""
    name = new_name()
    options = f"MULTI_MCP_PORT=0 CONTAINER={name} IMAGE={image} DOCKER={DOCKER}"
    with in_foreground(name, f"{documented('make docker-run')} {options}") as running:
        yield running


async def test_clients_of_all_kinds_list_and_call(made: Container) -> None:
    await calculate_in_all_ways(made.url)
    assert made.get("/mcp_tools").json()["tools"].keys() == {"calculator", "unit_converter"}


def test_it_runs_with_next_to_no_rights(made: Container) -> None:
    """The proxy, its init, its backends; whatever the engine was told, the kernel is asked."""
    host = inspect(made.name)["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    processes = made.processes()
    lines = [status["Command"] for status in processes.values()]
    for part in ("dumb-init", "-m multimcp", "calculator.py", "unit_converter.py"):
        assert any(part in line for line in lines), lines
    for status in processes.values():
        assert (status["Uid"].split(), status["Gid"].split()) == (["10001"] * 4, ["10001"] * 4), status
        assert status["NoNewPrivs"] == "1", status
        assert {key: status[key] for key in NO_RIGHTS} == NO_RIGHTS, status


def test_it_is_for_this_machine_only(made: Container) -> None:
    published = inspect(made.name)["NetworkSettings"]["Ports"]
    assert {address["HostIp"] for addresses in published.values() for address in addresses} == {"127.0.0.1"}


async def test_the_documented_docker_run(image: str, tmp_path: Path) -> None:
    """As written, but for the port, the names, and the engine's command."""
    run = documented("docker run ")
    shutil.copy(ROOT / "mcp.json", tmp_path)
    for step in (documented("mkdir my-servers"), documented("cp mcp.json my-servers")):
        subprocess.run(step.split(), cwd=tmp_path, check=True, timeout=COMMAND)
    name = new_name()
    changes = {
        "docker run ": f"{DOCKER} run ",
        "--name multi-mcp ": f"--name {name} ",
        "-p 127.0.0.1:8080:8080 ": "-p 127.0.0.1::8080 ",
        "no-new-privileges multi-mcp": f"no-new-privileges {image}",
    }
    for written, here in changes.items():
        assert run.count(written) == 1, run
        run = run.replace(written, here)
    with in_foreground(name, run, tmp_path) as running:
        assert running.get("/mcp_tools").json()["tools"].keys() == {"calculator", "weather"}
        host = inspect(name)["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])


def test_stop_with_clients_connected(image: str) -> None:
    quick(STOP, lambda: stop_with_clients(image))


def stop_with_clients(image: str) -> float:
    """Seconds that `docker stop` takes."""
    with container(image) as running:
        url = running.wait_ready().url
        with (
            RawClient(url, "legacy") as legacy,
            RawClient(url, "modern") as modern,
            httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
            http.stream("GET", url + "/sse") as sse,
        ):
            assert next(sse.iter_lines()) == "event: endpoint"
            for client in (legacy, modern):
                assert client.call("tools/call", {"name": "calculator::add", "arguments": {"a": 1, "b": 2}})
            begun = time.monotonic()
            docker("stop", running.name)
            took = time.monotonic() - begun
        assert running.state["ExitCode"] == 0, running.state
        return took


def config_folder(path: Path, servers: dict[str, object]) -> Path:
    """A folder with a configuration, to be mounted; whoever runs in the container may read it."""
    path.mkdir()
    (path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    path.chmod(0o755)
    return path


def mounted(folder: Path) -> tuple[str, str]:
    return "--volume", f"{folder}:/etc/multi-mcp:ro"


def test_orphans_are_reaped(image: str, tmp_path: Path) -> None:
    """What a backend leaves behind becomes a child of PID 1; when it ends, no zombie stays."""
    script = "(sleep 600 &); exec python fixtures/servers/calculator.py"
    folder = config_folder(tmp_path / "config", {"calculator": {"command": "sh", "args": ["-c", script]}})
    with container(image, *mounted(folder)) as running:
        processes = running.wait_ready().processes()
        (orphan,) = (pid for pid, status in processes.items() if status["Command"] == "sleep 600")
        assert processes[orphan]["PPid"] == "1"
        running.python(f"import os; os.kill({orphan}, 9); print(0)")
        until(lambda: orphan not in running.processes(), what="the orphan is gone, not a zombie")
        assert not [status for status in running.processes().values() if status["State"].startswith("Z")]


def test_health(image: str) -> None:
    """A proxy that is stopped (as a debugger does) accepts connections and answers none: unhealthy."""
    often = ("--health-interval", "500ms", "--health-retries", "1")
    with container(image, *often, "--env", "MULTI_MCP_API_KEY=k") as running:

        def health() -> str:
            return str(running.state["Health"]["Status"])

        until(lambda: health() == "healthy", START, "healthy")
        assert running.get("/mcp_servers").status_code == 401  # which the check does not need
        pid = proxy_pid(running)
        running.python(f"import os, signal; os.kill({pid}, signal.SIGSTOP); print(0)")
        until(lambda: health() == "unhealthy", START, "unhealthy")
        assert "port 8080 (MULTI_MCP_PORT) does not answer: timed out" in running.state["Health"]["Log"][-1]["Output"]
        running.python(f"import os, signal; os.kill({pid}, signal.SIGCONT); print(0)")
        until(lambda: health() == "healthy", START, "healthy again")


def test_health_on_another_port(image: str) -> None:
    with container(image, "--env", "MULTI_MCP_PORT=9090", "--health-interval", "500ms") as running:
        until(lambda: running.state["Health"]["Status"] == "healthy", START, "healthy")


def test_labels(image: str) -> None:
    labels = inspect(image)["Config"]["Labels"]
    assert {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()} == {
        "title": "Multi-MCP",
        "description": "One MCP server in front of many",
        "version": __version__,
        "licenses": "MIT",
    }


def files(image: str) -> dict[str, tarfile.TarInfo]:
    """All that is in an image, by path."""
    name = new_name()
    docker("create", "--name", name, image, "true", timeout=BUILD)
    try:
        exported = subprocess.run([DOCKER, "export", name], capture_output=True, timeout=BUILD, check=True).stdout
    finally:
        remove(name)
    with closing(tarfile.open(fileobj=io.BytesIO(exported))) as tar:
        return {member.name: member for member in tar}


def test_what_is_in_it(image: str) -> None:
    """Nothing to compile with, nothing left from making it, nothing that the proxy could write to; and it is small."""
    base, whole = files(base_image()), files(image)
    compilers = re.compile(r"(.*/)?bin/(cc|gcc|g\+\+|c\+\+|clang|ld|as|make|cargo|rustc|go)(-\d+)?")
    assert not [name for name in whole if compilers.fullmatch(name)]
    added = {name: info for name, info in whole.items() if name not in base}
    assert "app/multimcp/serving/cli.py" in added
    caches = re.compile(r"(.*/)?(.*\.whl|\.cache|wheelhouse|pip|setuptools)(/.*)?")
    assert not [name for name in added if caches.fullmatch(name)]
    ours = {name: info for name, info in added.items() if name.startswith(("app/", "opt/", "etc/multi-mcp/"))}
    assert not [name for name, info in ours.items() if info.uid or info.gid]
    assert not [name for name, info in ours.items() if info.mode & 0o022 and not info.issym()]
    above = inspect(image)["Size"] - inspect(base_image())["Size"]
    print(f"above the base: {above / 1e6:.1f} MB")
    assert above < LARGEST


@pytest.mark.parametrize(
    "command",
    ["-P -m multimcp --version", "fixtures/servers/unit_converter.py --help", "-I -S healthcheck.py"],
)
def test_the_bytecode_is_there(image: str, command: str) -> None:
    """Nobody can write it at run time, and without it each start costs half a second of CPU more."""
    done = subprocess.run(
        [DOCKER, "run", "--rm", *HARDENED, "--entrypoint", "python", image, "-v", *command.split()],
        capture_output=True,
        text=True,
        timeout=COMMAND,
        check=False,
    )
    assert "code object from '" in done.stderr
    compiled = set(re.findall(r"code object from ([^'\s]\S*)", done.stderr))
    assert compiled <= {"/app/fixtures/servers/unit_converter.py"}  # what is run is never read from bytecode


async def test_nothing_is_written(image: str) -> None:
    """Not even where it may: with a root that can be written to, but by whom?"""
    with container(image, "--tmpfs", "/tmp", first=()) as running:
        await calculate_in_all_ways(running.wait_ready().url)
        assert docker("diff", running.name) == ""


def test_a_configuration_and_options_of_ones_own(image: str, tmp_path: Path) -> None:
    """The folder is mounted, and followed as an editor saves; `python` is the one that has the dependencies."""
    server = {"command": "python", "args": ["/etc/multi-mcp/${NAME}.py"]}
    folder = config_folder(tmp_path / "config", {"sums": server})
    shutil.copy(ROOT / "fixtures" / "servers" / "calculator.py", folder / "mine.py")
    options = ("--separator", "__", "--log-level", "DEBUG")
    with container(image, *mounted(folder), "--env", "NAME=mine", command=options) as running:
        running.wait_ready()
        assert running.get("/mcp_tools").json()["names"]["sums"][0] == "sums__add"
        (folder / "new.json").write_text(json.dumps({"mcpServers": {"sums": server, "more": server}}))
        (folder / "new.json").replace(folder / "mcp.json")
        until(lambda: "more__add" in running.get("/mcp_tools").json()["names"].get("more", []), START, "more__add")


def test_a_wrong_configuration_ends_it(image: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config", {"sums": {"command": 1}})
    with container(image, *mounted(folder)) as running:
        assert docker("wait", running.name) == "2"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_both_builders(image: str, buildkit: str) -> None:
    """One of them has made the image: for that one, everything is cached."""
    tag = f"localhost/{new_name()}"
    try:
        try:
            build("make docker-build", tag, DOCKER_BUILDKIT=buildkit)
        except AssertionError as exc:
            if "buildx component is missing" in str(exc):
                demand("docker", f"{DOCKER} cannot use BuildKit: install its plugin buildx")
            raise
        assert docker("run", "--rm", tag, "--version") == f"multi-mcp {__version__}"
    finally:
        subprocess.run([DOCKER, "rmi", "--force", tag], capture_output=True, timeout=COMMAND, check=False)


async def test_npx_in_the_full_image(full_image: str, tmp_path: Path) -> None:
    """A server that npx downloads, read-only root and all. Needs npm's registry, and the certificates for it."""
    packages = json.loads((ROOT / "tests" / "npm" / "package.json").read_text())["dependencies"]
    package = "@modelcontextprotocol/server-memory"
    env = {"MEMORY_FILE_PATH": "/tmp/memory.jsonl"}
    certificates = os.environ.get("NODE_EXTRA_CA_CERTS")
    if certificates:
        env["NODE_EXTRA_CA_CERTS"] = "/etc/multi-mcp/ca.crt"
    server = {"command": "npx", "args": ["-y", f"{package}@{packages[package]}"], "env": env}
    folder = config_folder(tmp_path / "config", {"memory": server})
    if certificates:
        shutil.copy(certificates, folder / "ca.crt")
    with container(full_image, *mounted(folder)) as running:
        running.wait_ready(DOWNLOAD)
        async with within(TIMEOUT), Client(running.url + "/mcp") as client:
            entity = {"name": "Ada", "entityType": "person", "observations": []}
            result = await client.call_tool("memory::create_entities", {"entities": [entity]})
            assert not result.is_error, result
        docker("stop", running.name)
        assert running.state["ExitCode"] == 0
