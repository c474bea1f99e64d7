"""A pod of a Kubernetes cluster on this machine: with kind, of one made for the run; else of that which KUBECONFIG
names, in a namespace made for the run.

Rules:
- The configuration is a ConfigMap, the port a NodePort Service: clients connect to the node's InternalIP.
- kubectl does all there is to logging in: the API is spoken to through `kubectl proxy`, on a socket of our own. So a
  world costs a few requests, and no process.
- Nothing runs any more when the block is left. What was made is deleted by a shell, too, that waits for its stdin to
  end: so nothing is left even of a harness that was killed.
- Nobody connects to a node port before it leads to the pod. The kernel remembers of a connection that it went nowhere
  else; the next one from the same port would go there, too, be accepted by kube-proxy, and never be answered.
- CONFORMANCE_IMAGE_LOAD is a command that brings an archive made by `docker save`, its last argument, to the node.
  Where it is set, the cluster of KUBECONFIG is meant, kind or not. What Docker does not have, the node has or pulls.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

import anyio
import httpx2

from conformance.fixtures import Forks
from conformance.tables import IMAGE
from conformance.target import Target
from conformance.verdict import HarnessError, Missing

from .base import Ground, LaunchError, Running, Site, ready, served
from .containers import LABEL, LOOK, WORDS, elsewhere, forking_begun, forking_command, not_begun, share

KUBECONFIG = "KUBECONFIG"
IMAGE_LOAD = "CONFORMANCE_IMAGE_LOAD"

TOOL_WAIT = 600.0
"""Seconds that kind, Docker or the command that loads images may take: kind may have to pull an image."""

ANSWER_WAIT = 30.0
"""Seconds that the cluster's API may take to answer."""

END_WAIT = 120.0
"""Seconds in which all has to be deleted."""

LOG_LINES = 100

NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
STARTING = frozenset({"", "ContainerCreating", "PodInitializing", *NO_IMAGE})

Manifest = dict[str, Any]


class Refused(Exception):
    """The cluster does not do what it is asked to; the text says why."""


@asynccontextmanager
async def ground(target: Target, folder: Path) -> AsyncGenerator[Ground, None]:
    """As `Open`; missing may be kubectl, a cluster on this machine, or an image."""
    if shutil.which("kubectl") is None:
        raise Missing("the command kubectl; https://kubernetes.io/docs/tasks/tools/ has it")
    image = target.launch.fixtures
    async with _cluster(folder) as cluster:
        await _load(cluster, dict.fromkeys((image, str(target.launch.image))), folder)
        async with _namespace(cluster, target.name, folder) as namespace:
            forks = share(folder, target)
            pod = Pod(namespace, "fixtures", image)
            await namespace.create("pods", fixtures_pod(image, forks))
            with anyio.move_on_after(target.launch.startup):
                while not (await pod.status()).running and await pod.alive():
                    if "hostPath type check failed" in await pod.warnings():
                        raise elsewhere(forks.folder)
                    await anyio.sleep(LOOK)
            if not (status := await pod.status()).running:
                raise not_begun(image, await pod.log())
            await forking_begun(forks, image, pod.alive, pod.log)
            host = await namespace.address(status.node)
            yield Ground(replace(forks, address=status.address), partial(_launch, namespace, forks, status.node, host))


@asynccontextmanager
async def _launch(
    namespace: "Namespace", forks: Forks, node: str, host: str, site: Site
) -> AsyncGenerator[Running, None]:
    name = site.folder.name
    pod = Pod(namespace, name, str(site.target.launch.image))
    try:
        try:
            made = await namespace.create("services", service(name, site.target))
            site = site.at(host=host, port=str(made["spec"]["ports"][0]["nodePort"]))
            await namespace.create("configmaps", config_map(name, site))
            await namespace.create("pods", target_pod(name, site, forks, node))
        except Refused as exc:
            raise LaunchError("Kubernetes does not take the target", "a pod that runs", str(exc)) from None
        await ready(site, pod.alive, pod.log, partial(namespace.leads, name, site.target.launch.port))
        yield served(site, pod.alive, pod.log)
    finally:
        with anyio.CancelScope(shield=True):
            for kind in ("pods", "services", "configmaps"):
                await namespace.delete(kind, name)


# What is made


def fixtures_pod(image: str, forks: Forks) -> Manifest:
    """The pod that forks fixture servers."""
    container = {
        "command": forking_command(forks),
        "stdin": True,
        "volumeMounts": [{"name": "shared", "mountPath": str(forks.folder)}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return _pod("fixtures", image, container, [_shared(forks)])


def target_pod(name: str, site: Site, forks: Forks, node: str) -> Manifest:
    """The target's pod, on the node that has the fixtures' folder."""
    target, values = site.target, site.values
    volumes: list[Manifest] = [{"name": "config", "configMap": {"name": name}}]
    mounts = {"config": str(PurePosixPath(values["config"]).parent)}
    if "stdio" in target.transports:
        volumes.append(_shared(forks))
        mounts["shared"] = str(forks.folder)
    container: Manifest = {
        "env": [{"name": key, "value": _literal(value)} for key, value in target.environment(values).items()],
        "ports": [{"containerPort": target.launch.port}],
        "volumeMounts": [{"name": volume, "mountPath": path, "readOnly": True} for volume, path in mounts.items()],
    }
    if target.launch.command:
        container["command"] = [_literal(part) for part in target.argv(values)]
    if target.launch.args:
        container["args"] = [_literal(part) for part in target.args(values)]
    if target.launch.hardened:
        volumes.append({"name": "tmp", "emptyDir": {}})
        container["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})
        container["securityContext"] = {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    pod = _pod(name, str(target.launch.image), container, volumes)
    pod["spec"]["nodeName"] = node
    return pod


def service(name: str, target: Target) -> Manifest:
    """Makes the target's port a port of the node, whose number the cluster chooses."""
    spec = {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": target.launch.port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, site: Site) -> Manifest:
    """The target's configuration."""
    data = site.files
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def kind_config(folder: Path) -> Manifest:
    """A kind cluster of one node, with a folder of this machine under the same path."""
    mount = {"hostPath": str(folder), "containerPath": str(folder)}
    nodes = [{"role": "control-plane", "extraMounts": [mount]}]
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}


def _pod(name: str, image: str, container: Manifest, volumes: list[Manifest]) -> Manifest:
    policy = "Never" if image == IMAGE else "IfNotPresent"
    spec = {
        "containers": [{"name": "main", "image": image, "imagePullPolicy": policy, **container}],
        "volumes": volumes,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # their variables are none that the target file names
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def _shared(forks: Forks) -> Manifest:
    return {"name": "shared", "hostPath": {"path": str(forks.folder), "type": "Directory"}}


def _literal(text: str) -> str:
    """Text in which Kubernetes replaces nothing."""
    return text.replace("$", "$$")


# The cluster


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs: the environment in which kubectl finds it, and what loads an image archive into it."""

    environ: Mapping[str, str]
    load: tuple[str, ...]


@asynccontextmanager
async def _cluster(folder: Path) -> AsyncGenerator[Cluster, None]:
    load = tuple(shlex.split(os.environ.get(IMAGE_LOAD, "")))
    if shutil.which("kind") and not load:
        name, config, kubeconfig = _new_name(), folder / "kind.json", folder / "kubeconfig"
        config.write_text(json.dumps(kind_config(folder)), encoding="utf-8")
        delete = 'cat; exec kind delete cluster --name "$1" --kubeconfig "$2"'
        async with _keeper(folder / "kind.log", os.environ, delete, name, str(kubeconfig)):
            places = ("--config", str(config), "--kubeconfig", str(kubeconfig))
            made = await _run(os.environ, "kind", "create", "cluster", "--name", name, *places, "--wait", "2m")
            if made.returncode:
                raise Missing(f"a cluster: `kind create cluster` failed: {_words(made)}")
            environ = {**os.environ, KUBECONFIG: str(kubeconfig)}
            yield Cluster(environ, ("kind", "load", "image-archive", "--name", name))
    elif os.environ.get(KUBECONFIG):
        yield Cluster(os.environ, load)
    else:
        raise Missing(
            f"a cluster; install kind (https://kind.sigs.k8s.io), or let {KUBECONFIG} name a cluster on this machine, "
            f"and {IMAGE_LOAD} a command that loads an archive made by `docker save` into its node"
        )


async def _load(cluster: Cluster, images: Iterable[str], folder: Path) -> None:
    """Bring those images that Docker has here to the node.

    Raises:
        HarnessError: they do not get there.
    """
    if not cluster.load or shutil.which("docker") is None:
        return
    known = [image for image in images if (await _run(os.environ, "docker", "image", "inspect", image)).returncode == 0]
    if not known:
        return
    archive = folder / "images.tar"
    save, load = ("docker", "save", "--output", str(archive), *known), (*cluster.load, str(archive))
    # Twice, as containerd may collect as garbage what it is unpacking ("parent snapshot does not exist").
    for command, tries in ((save, 1), (load, 2)):
        for _ in range(tries):
            if not (done := await _run(cluster.environ, *command)).returncode:
                break
        else:
            raise HarnessError(f"the images cannot be loaded into the cluster: {shlex.join(command)}: {_words(done)}")
    archive.unlink()


@asynccontextmanager
async def _namespace(cluster: Cluster, target: str, folder: Path) -> AsyncGenerator["Namespace", None]:
    asked = await _run(cluster.environ, "kubectl", "get", "--raw", "/readyz", "--request-timeout=20s")
    if asked.returncode:
        raise Missing(f"a cluster that answers: {_words(asked)} ({KUBECONFIG} says which one is meant)")
    name, socket = _new_name(), folder / "kubectl"
    serve_then_delete = (
        'kubectl proxy --unix-socket="$1" & cat; kill $!; '
        'exec kubectl delete namespace "$2" --ignore-not-found --wait=false'
    )
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with (
        _keeper(folder / "kubectl.log", cluster.environ, serve_then_delete, str(socket), name),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=ANSWER_WAIT) as http,
    ):
        namespace = Namespace(http, name)
        with anyio.move_on_after(ANSWER_WAIT):
            while not socket.exists():
                await anyio.sleep(LOOK)
        try:
            await namespace.begin({LABEL: target})
        except Refused as exc:
            raise Missing(f"a cluster in which a namespace may be made: {exc}") from None
        try:
            yield namespace
        finally:
            with anyio.CancelScope(shield=True):
                await namespace.end()


@asynccontextmanager
async def _keeper(log: Path, environ: Mapping[str, str], script: str, *arguments: str) -> AsyncGenerator[None, None]:
    """A shell script that outlives this process: its stdin ends when the block is left, however that is.

    Raises:
        HarnessError: it did not do its work.
    """
    with log.open("wb") as output:
        process = await anyio.open_process(
            ("sh", "-c", script, "sh", *arguments),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await process.stdin.aclose()
            with anyio.move_on_after(END_WAIT):
                await process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        text = log.read_text(errors="replace")[-WORDS:]
        raise HarnessError(f"what was made for the run could not be deleted: {text}")


async def _run(environ: Mapping[str, str], *command: str) -> "subprocess.CompletedProcess[bytes]":
    """Raises `HarnessError`: it takes too long."""
    with anyio.move_on_after(TOOL_WAIT):
        return await anyio.run_process(
            command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environ
        )
    raise HarnessError(f"{shlex.join(command)} was not over within {TOOL_WAIT:g} s")


def _words(done: "subprocess.CompletedProcess[bytes]") -> str:
    return done.stdout.decode(errors="replace").strip()[-WORDS:]


def _new_name() -> str:
    return f"conformance-{secrets.token_hex(4)}"


class Namespace:
    """A namespace of a cluster, and the API in it.

    Raises:
        Refused: the API does not do it.
        HarnessError: the API does not answer.
    """

    def __init__(self, http: httpx2.AsyncClient, name: str) -> None:
        self._http = http
        self._name = name

    async def begin(self, labels: Mapping[str, str]) -> None:
        """Make it."""
        metadata = {"name": self._name, "labels": dict(labels)}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await self._request("POST", "/api/v1/namespaces", json=body)
        with anyio.move_on_after(ANSWER_WAIT):
            # Until then, no pod is taken.
            while not (await self.list("serviceaccounts")):
                await anyio.sleep(LOOK)

    async def end(self) -> None:
        """Have it deleted, when nothing in it runs any more."""
        await self._request("DELETE", self._place("pods"))
        with anyio.move_on_after(END_WAIT):
            while any(Status.of(pod).running for pod in await self.list("pods")):
                await anyio.sleep(LOOK)
            # Before a node says that a pod is gone, a minute may pass, and before that its namespace does not go.
            await self._request("DELETE", self._place("pods"), params={"gracePeriodSeconds": "0"})
            await self._request("DELETE", f"/api/v1/namespaces/{self._name}")
            return
        raise HarnessError(f"pods in the namespace {self._name} do not end within {END_WAIT:g} s")

    async def create(self, kind: str, manifest: Manifest) -> Manifest:
        """Make something; returns what was made of it."""
        made: Manifest = (await self._request("POST", self._place(kind), json=manifest)).json()
        return made

    async def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = (await self._request("GET", self._place(kind, name))).json()
        return found

    async def list(self, kind: str, **query: str) -> list[Manifest]:
        found: list[Manifest] = (await self._request("GET", self._place(kind), params=query)).json()["items"]
        return found

    async def log(self, pod: str) -> str:
        """The last lines that a pod wrote."""
        place = f"{self._place('pods', pod)}/log"
        return (await self._request("GET", place, params={"tailLines": str(LOG_LINES)})).text

    async def leads(self, name: str, port: int | None) -> bool:
        """Whether the service of this name has a pod behind it, and the pod takes connections."""
        if not any(
            found.get("subsets") for found in await self.list("endpoints", fieldSelector=f"metadata.name={name}")
        ):
            return False
        try:
            async with self._http.stream("GET", self._place("pods", f"{name}:{port}", "proxy", "")) as response:
                unreached = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
                return not unreached or b"rror trying to reach service" not in await response.aread()
        except httpx2.TransportError as exc:
            raise HarnessError(f"the cluster's API does not answer: {type(exc).__name__}: {exc}") from None

    async def delete(self, kind: str, name: str) -> None:
        """Have something deleted, if it is there; what is not now, is so with the namespace."""
        with suppress(Refused, HarnessError):
            await self._request("DELETE", self._place(kind, name))

    async def address(self, node: str) -> str:
        """Where clients reach a node."""
        found = (await self._request("GET", f"/api/v1/nodes/{node}")).json()
        addresses = [entry["address"] for entry in found["status"]["addresses"] if entry["type"] == "InternalIP"]
        return f"[{addresses[0]}]" if ":" in addresses[0] else str(addresses[0])

    def _place(self, *path: str) -> str:
        return "/".join((f"/api/v1/namespaces/{self._name}", *path))

    async def _request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            response = await self._http.request(method, path, **more)
        except httpx2.TransportError as exc:
            raise HarnessError(f"the cluster's API does not answer: {type(exc).__name__}: {exc}") from None
        if response.is_error:
            try:
                raise Refused(str(response.json()["message"]))
            except (ValueError, KeyError, TypeError):
                raise Refused(f"HTTP {response.status_code}: {response.text[:WORDS]}") from None
        return response


@dataclass(frozen=True)
class Status:
    """What has become of a pod.

    Args:
        alive: whether it runs, or may yet.
        running: whether its container does.
        words: what is said of its container.
        no_image: whether it waits for an image that cannot be had.
        address, node: where it is; empty until it is known.
    """

    alive: bool
    running: bool
    words: str
    no_image: bool
    address: str
    node: str

    @classmethod
    def of(cls, pod: Manifest) -> "Status":
        """As the API tells it."""
        status = pod.get("status", {})
        state = (status.get("containerStatuses") or [{}])[0].get("state", {})
        told: Manifest = next(iter(state.values()), {}) or {}
        waits_for = state.get("waiting", {}).get("reason", "")
        parts = (status.get("message"), told.get("reason"), told.get("message"), _exit(state))
        return cls(
            alive=status.get("phase") in ("Pending", "Running") and waits_for in STARTING,
            running="running" in state,
            words=": ".join(str(part) for part in parts if part),
            no_image=waits_for in NO_IMAGE,
            address=status.get("podIP", ""),
            node=pod.get("spec", {}).get("nodeName", ""),
        )


def _exit(state: Manifest) -> str:
    return f"exit code {state['terminated'].get('exitCode')}" if "terminated" in state else ""


class Pod:
    """A pod that was made; otherwise as `Namespace`."""

    def __init__(self, namespace: Namespace, name: str, image: str) -> None:
        self._namespace = namespace
        self._name = name
        self._image = image

    async def status(self) -> Status:
        return Status.of(await self._namespace.get("pods", self._name))

    async def alive(self) -> bool:
        """Whether it runs, or may yet.

        Raises:
            Missing: its image.
        """
        status = await self.status()
        if status.no_image:
            raise Missing(
                f"the image '{self._image}' on the node ({status.words}); {IMAGE_LOAD} names a command that brings it "
                "there, once Docker has it"
            )
        return status.alive

    async def warnings(self) -> str:
        """What the cluster has to say of it."""
        query = f"involvedObject.name={self._name},type=Warning"
        events = await self._namespace.list("events", fieldSelector=query)
        return "; ".join(str(event.get("message")) for event in events)

    async def log(self) -> str:
        """What it wrote, after what is said of it."""
        parts = [(await self.status()).words, await self.warnings()]
        with suppress(Refused):
            parts.append(await self._namespace.log(self._name))
        return "\n".join(part for part in parts if part)
