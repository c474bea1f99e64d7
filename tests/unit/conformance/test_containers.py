"""What the launchers of containers ask for, and what they make of what they are told. Nothing is started here."""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import anyio
import httpx2
import pytest

from conformance.fixtures import SERVERS, Backend, Journal, Server
from conformance.launchers import docker, kubernetes
from conformance.launchers.base import Ending, Ground, Site, site
from conformance.launchers.containers import forking_begun, forking_command, share
from conformance.stage import Stage
from conformance.tables import IMAGE
from conformance.target import ITS_OWN, Target, load
from conformance.verdict import Failure, HarnessError, Missing

TARGET = """
[target]
name = "t"
[launch]
kind = "KIND"
image = "i:1"
port = 80
args = ["--config", "$config", "$$(HOME)"]
env = {WHERE = "$host:$port"}
MORE
[config]
file = "/etc/p/c.json"
[endpoints]
http = "http://$host:$port/mcp"
"""


def target(tmp_path: Path, kind: str, more: str = "") -> Target:
    file = tmp_path / "t.toml"
    file.write_text(TARGET.replace("KIND", kind).replace("MORE", more))
    return load(str(file))


def place(tmp_path: Path, kind: str, more: str = "") -> Site:
    url = Backend(Server("a"), "http", "http://10.0.0.2:5/mcp", Journal(tmp_path / "j"))
    return site(target(tmp_path, kind, more), {"a": url}, tmp_path / "world", Ending()).at(host="10.0.0.1", port="7")


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_anyone_can_read_what_is_shared_and_write_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A checkout of somebody who lets nobody else read.
    private = tmp_path / "private"
    shutil.copytree(SERVERS, private)
    for path in [private, *private.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setattr("conformance.launchers.containers.SERVERS", private)
    forks = share(tmp_path, target(tmp_path, "docker", 'python = "py"'))
    found = modes(forks.folder)
    assert found.pop(".") == 0o777
    assert found.pop("servers") == 0o755
    assert set(found.values()) == {0o644}
    assert {"forks.py", "servers/everything.py", "servers/_serving.py"} <= found.keys()
    assert forks.python == "py"


async def test_patience_is_for_what_servers_see_too(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        TARGET.replace("KIND", "docker").replace("MORE", 'python = "py"').replace('"t"', '"t"\npatience = 2.0')
    )
    here = load(str(tmp_path / "t.toml"))

    def launch(_: object) -> NoReturn:
        pytest.fail("nothing is launched")

    ground = Ground(share(tmp_path, here), launch=launch)
    async with anyio.create_task_group() as group:
        backend = await Stage(here, tmp_path, ground, group).backend(Server("slow"), "stdio", None)
    with pytest.raises(Failure) as caught:
        await backend.journal.wait(lambda _: False, "nothing", 0.01)
    assert "within 0.02 s" in caught.value.actual


def test_a_server_is_started_by_the_target_over_stdio_and_by_the_harness_else(tmp_path: Path) -> None:
    forks = replace(share(tmp_path, target(tmp_path, "docker", 'python = "py"')), address="10.0.0.9")
    stub = [str(forks.folder / "forks.py"), str(forks.folder / "socket"), str(forks.folder / "servers" / "slow.py")]
    journal = tmp_path / "j"
    stdio, http = (Server("slow").argv(transport, journal, forks) for transport in ("stdio", "http"))
    common = ["--journal", str(journal)]
    assert list(stdio) == ["py", "-I", "-S", *stub, "--transport", "stdio", *common]
    assert list(http) == [
        *(sys.executable, "-I", "-S", *stub, "--transport", "http", *common),
        *("--host", "10.0.0.9", "--port", "0"),
    ]
    assert forking_command(forks)[1:] == [stub[0], "serve", stub[1], str(forks.servers)]


async def log() -> str:
    return "its last words"


async def running() -> bool:
    return True


async def ended() -> bool:
    return False


async def test_a_container_that_forks_is_told_from_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.launchers.containers.START_WAIT", 0.2)
    forks = share(tmp_path, target(tmp_path, "docker"))
    with pytest.raises(HarnessError, match=r"do not start in the image 'i', .* its last words"):
        await forking_begun(forks, "i", ended, log)
    # It runs, and nothing is seen of it here: on another machine, or with files of its own.
    with pytest.raises(Missing, match="containers that share"):
        await forking_begun(forks, "i", running, log)
    # It is slow, and no more than that.
    beginning = forks.socket.with_name("socket.new")
    beginning.touch()
    with pytest.raises(HarnessError, match="do not start in the image 'i'"):
        await forking_begun(forks, "i", running, log)
    beginning.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(forks.socket))
        # The file is here, and the kernel that listens is another.
        with pytest.raises(Missing, match="has to run on its kernel"):
            await forking_begun(forks, "i", running, log)
        listener.listen()
        await forking_begun(forks, "i", ended, log)


# Docker


def test_what_talks_to_docker_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.core.docker_client", None)
    with pytest.raises(Missing, match="testcontainers; pip install testcontainers"):
        docker._Engine("t")


def test_a_container_has_its_configuration_and_its_port_and_no_more(tmp_path: Path) -> None:
    running = place(tmp_path, "docker")
    forks = share(tmp_path, running.target)
    assert docker.target_options(running, tmp_path / "config", forks) == {
        "command": ["--config", "/etc/p/c.json", "$(HOME)"],
        "environment": {**ITS_OWN, "WHERE": "10.0.0.1:7"},
        "ports": {"80/tcp": ("127.0.0.1", 7)},
        "mounts": [{"Type": "bind", "Source": str(tmp_path / "config"), "Target": "/etc/p", "ReadOnly": True}],
    }


def test_a_container_that_starts_servers_has_what_they_are_asked_for_with(tmp_path: Path) -> None:
    running = place(tmp_path, "docker", 'python = "py"\nhardened = true\ncommand = ["$python", "p.py"]')
    forks = share(tmp_path, running.target)
    options = docker.target_options(running, tmp_path / "config", forks)
    shared = {"Type": "bind", "Source": str(forks.folder), "Target": str(forks.folder), "ReadOnly": True}
    assert shared in options["mounts"]
    assert options["entrypoint"] == ["py", "p.py"]
    assert options["read_only"]
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    writable = docker.fixtures_options(forks)["mounts"]
    assert writable == [{**shared, "ReadOnly": False}]
    assert docker.fixtures_options(forks)["stdin_open"]


def test_our_own_image_is_never_pulled(tmp_path: Path) -> None:
    """In a registry, its name is somebody else's."""
    engine = docker._Engine.__new__(docker._Engine)
    pulled: list[str] = []

    def absent(image: str) -> None:
        raise LookupError(image)

    images = SimpleNamespace(get=absent, pull=pulled.append)
    client: Any = SimpleNamespace(client=SimpleNamespace(images=images))
    engine._docker = client
    engine._not_found = engine._error = LookupError
    with pytest.raises(Missing, match="the image 'multi-mcp:latest'; build it with `make docker-build`"):
        engine.provide(IMAGE)
    engine.provide("somebody/else:1")
    assert pulled == ["somebody/else:1"]
    ours = kubernetes.fixtures_pod(IMAGE, share(tmp_path, target(tmp_path, "kubernetes")))
    assert ours["spec"]["containers"][0]["imagePullPolicy"] == "Never"


# Kubernetes


def test_a_pod_has_its_configuration_and_its_port_and_no_more(tmp_path: Path) -> None:
    running = place(tmp_path, "kubernetes")
    forks = share(tmp_path, running.target)
    pod = kubernetes.target_pod("world1", running, forks, "node7")
    assert pod["spec"]["nodeName"] == "node7"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["volumes"] == [{"name": "config", "configMap": {"name": "world1"}}]
    assert pod["spec"]["containers"] == [
        {
            "name": "main",
            "image": "i:1",
            "imagePullPolicy": "IfNotPresent",
            "args": ["--config", "/etc/p/c.json", "$$(HOME)"],
            "env": [{"name": name, "value": value} for name, value in {**ITS_OWN, "WHERE": "10.0.0.1:7"}.items()],
            "ports": [{"containerPort": 80}],
            "volumeMounts": [{"name": "config", "mountPath": "/etc/p", "readOnly": True}],
        }
    ]
    made = kubernetes.service("world1", running.target)
    assert made["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert made["spec"] | {"selector": None} == {"type": "NodePort", "selector": None, "ports": [{"port": 80}]}
    assert kubernetes.config_map("world1", running)["data"] == running.files
    assert '"http://10.0.0.2:5/mcp"' in running.files["c.json"]


def test_a_pod_that_starts_servers_has_what_they_are_asked_for_with(tmp_path: Path) -> None:
    running = place(tmp_path, "kubernetes", 'python = "py"\nhardened = true\ncommand = ["$python", "$$HOME"]')
    forks = share(tmp_path, running.target)
    spec = kubernetes.target_pod("world1", running, forks, "node7")["spec"]
    (container,) = spec["containers"]
    assert {"name": "shared", "hostPath": {"path": str(forks.folder), "type": "Directory"}} in spec["volumes"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {"/etc/p", "/tmp", str(forks.folder)}
    assert mounts[str(forks.folder)]["readOnly"]
    assert "readOnly" not in mounts["/tmp"]
    assert container["command"] == ["py", "$$HOME"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    fixtures = kubernetes.fixtures_pod("f:1", forks)["spec"]["containers"][0]
    assert fixtures["stdin"]
    assert fixtures["image"] == "f:1"
    assert fixtures["volumeMounts"] == [{"name": "shared", "mountPath": str(forks.folder)}]


def test_a_kind_cluster_has_the_folder_of_the_run(tmp_path: Path) -> None:
    (node,) = kubernetes.kind_config(tmp_path)["nodes"]
    assert node["extraMounts"] == [{"hostPath": str(tmp_path), "containerPath": str(tmp_path)}]


def pod(phase: str, **state: Any) -> dict[str, Any]:
    status = {"phase": phase, "podIP": "10.0.0.5", "containerStatuses": [{"state": state}]}
    return {"spec": {"nodeName": "n"}, "status": status}


@pytest.mark.parametrize(
    ("told", "alive", "running", "no_image", "words"),
    [
        ({"spec": {}, "status": {"phase": "Pending"}}, True, False, False, ""),
        (pod("Pending", waiting={"reason": "ContainerCreating"}), True, False, False, "ContainerCreating"),
        (pod("Pending", waiting={"reason": "ErrImagePull", "message": "m"}), True, False, True, "ErrImagePull: m"),
        (pod("Pending", waiting={"reason": "CreateContainerError", "message": "m"}), False, False, False, "Error: m"),
        (pod("Running", running={"startedAt": "t"}), True, True, False, ""),
        (pod("Failed", terminated={"reason": "Error", "exitCode": 3}), False, False, False, "Error: exit code 3"),
        (pod("Succeeded", terminated={"reason": "Completed", "exitCode": 0}), False, False, False, "exit code 0"),
    ],
)
def test_what_has_become_of_a_pod(told: dict[str, Any], alive: bool, running: bool, no_image: bool, words: str) -> None:
    status = kubernetes.Status.of(told)
    assert (status.alive, status.running, status.no_image) == (alive, running, no_image)
    assert status.words.endswith(words)


def namespace(answer: Callable[[httpx2.Request], httpx2.Response]) -> kubernetes.Namespace:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://localhost")
    return kubernetes.Namespace(http, "n")


async def test_a_namespace_is_deleted_when_nothing_in_it_runs_any_more() -> None:
    running, gone = pod("Running", running={}), pod("Failed", terminated={"exitCode": 137})
    states = [[running, gone], [running, gone], [gone, gone]]
    asked: list[tuple[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.method, request.url.raw_path.decode()))
        return httpx2.Response(200, json={"items": states.pop(0)} if request.method == "GET" else {})

    await namespace(answer).end()
    pods = "/api/v1/namespaces/n/pods"
    assert asked == [
        ("DELETE", pods),
        *([("GET", pods)] * 3),
        ("DELETE", f"{pods}?gracePeriodSeconds=0"),
        ("DELETE", "/api/v1/namespaces/n"),
    ]


async def test_pods_that_do_not_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "END_WAIT", 0.1)
    endless = namespace(lambda request: httpx2.Response(200, json={"items": [pod("Running", running={})]}))
    with pytest.raises(HarnessError, match="pods in the namespace n do not end"):
        await endless.end()


async def test_what_the_cluster_does_not_do_is_told_in_its_words() -> None:
    refusing = namespace(lambda request: httpx2.Response(422, json={"message": "port 0 is none"}))
    with pytest.raises(kubernetes.Refused, match=r"^port 0 is none$"):
        await refusing.create("services", {})
    strange = namespace(lambda request: httpx2.Response(502, text="<html>"))
    with pytest.raises(kubernetes.Refused, match="HTTP 502: <html>"):
        await strange.get("pods", "p")
    await strange.delete("pods", "p")

    def silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("late")

    with pytest.raises(HarnessError, match="does not answer: ReadTimeout: late"):
        await namespace(silent).get("pods", "p")


async def test_an_image_that_the_node_cannot_get_is_missing() -> None:
    waiting = pod("Pending", waiting={"reason": "ErrImagePull", "message": "no such host"})
    lacking = kubernetes.Pod(namespace(lambda request: httpx2.Response(200, json=waiting)), "p", "i:1")
    with pytest.raises(Missing, match=r"the image 'i:1' on the node \(ErrImagePull: no such host\)"):
        await lacking.alive()


@pytest.mark.parametrize(
    ("endpoints", "answer", "leads"),
    [
        ([], httpx2.Response(200), False),
        ([{}], httpx2.Response(200), False),
        ([{"subsets": [{}]}], httpx2.Response(500, text="error trying to reach service: connection refused"), False),
        ([{"subsets": [{}]}], httpx2.Response(503, text="Error trying to reach service: 'connection refused'"), False),
        ([{"subsets": [{}]}], httpx2.Response(500, text="the target's own trouble"), True),
        ([{"subsets": [{}]}], httpx2.Response(404), True),
    ],
)
async def test_a_node_port_leads_somewhere(endpoints: list[Any], answer: httpx2.Response, leads: bool) -> None:
    def api(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/api/v1/namespaces/n/endpoints":
            assert request.url.params["fieldSelector"] == "metadata.name=world1"
            return httpx2.Response(200, json={"items": endpoints})
        assert request.url.path == "/api/v1/namespaces/n/pods/world1:80/proxy/"
        return answer

    assert await namespace(api).leads("world1", 80) is leads


@pytest.mark.parametrize(("fails", "problem"), [(0, ""), (1, ""), (2, "loaded into the cluster.*: no such snapshot")])
async def test_images_are_loaded_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, problem: str
) -> None:
    """Of a cluster's containerd it is known that it may fail at that, by chance."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" = save ] && touch "$3"; exit 0\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tried = tmp_path / "tried"
    counted = f'test -e "$1" || exit 9; echo >> {tried}; test $(wc -l < {tried}) -gt {fails}'
    script = f"{counted} || {{ echo no such snapshot >&2; exit 1; }}"
    cluster = kubernetes.Cluster(os.environ, ("sh", "-c", script, "load"))
    with pytest.raises(HarnessError, match=problem) if problem else nullcontext():
        await kubernetes._load(cluster, ["an-image"], tmp_path)
    assert len(tried.read_text().splitlines()) == min(fails + 1, 2)
