"""A Kubernetes cluster for tests: whether there is one, a namespace of our own in it, and the image in its nodes.

Rules:
- The cluster is the one of KUBECONFIG, and may be shared: all is in a namespace of our own, but for the port of the
  nodes that the manifest has.
- CONFORMANCE_IMAGE_LOAD is a command that brings an archive made by `docker save` into the nodes.
- Every command and every wait has a bound. When the namespace is left, no container of it runs any more.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.e2e import engine

COMMAND = 60.0
READY = 120.0
GONE = 120.0
"""Seconds. A node of 1.20 may take a minute to report that a pod is gone."""

Object = dict[str, Any]


@cache
def missing_cluster() -> str | None:
    """What is missing for tests in a cluster, and how to get it; None: nothing."""
    if shutil.which("kubectl") is None:
        return "no command 'kubectl': install it, https://kubernetes.io/docs/tasks/tools/"
    if not os.environ.get("KUBECONFIG"):
        return "no cluster: let KUBECONFIG name the file that says how to reach one (`kind create cluster` makes one)"
    try:
        done = subprocess.run(
            ["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True, timeout=COMMAND, check=False
        )
        failure = done.stderr.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"no answer in {COMMAND} s"
    if failure:
        return f"the cluster of KUBECONFIG does not answer: {failure}: start it, or name another"
    if not os.environ.get("CONFORMANCE_IMAGE_LOAD"):
        return (
            "nothing to load the image with: let CONFORMANCE_IMAGE_LOAD be the command that brings an archive made by "
            "`docker save` into the cluster's nodes (for kind: `kind load image-archive`)"
        )
    return engine.missing_docker()


def until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """The first true value of `condition`. It is looked at twice a second: each look at a cluster is a process."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.5)
    return value


def load(image: str, name: str, archive: Path) -> None:
    """Bring an image of the Docker engine into the nodes under this name, by way of a file."""
    engine.docker("tag", image, name)
    engine.docker("save", name, "--output", str(archive), timeout=engine.BUILD)
    command = (*shlex.split(os.environ["CONFORMANCE_IMAGE_LOAD"]), str(archive))
    try:
        with suppress(AssertionError):  # containerd may collect as garbage what it is unpacking
            engine.run(*command, timeout=engine.BUILD)
            return
        engine.run(*command, timeout=engine.BUILD)
    finally:
        archive.unlink()


class Namespace:
    """A namespace of the cluster, and the Deployment `multi-mcp` in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *args: str, timeout: float = COMMAND, text: str | None = None) -> str:
        """Run kubectl in this namespace, which must succeed; `text` is its stdin. Returns its stdout."""
        command = ["kubectl", "--namespace", self.name, *args]
        done = subprocess.run(
            command, cwd=engine.ROOT, capture_output=True, text=True, timeout=timeout, input=text, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
        return done.stdout

    def get(self, *what: str) -> Object:
        """What the cluster's API has, as `kubectl get` names it."""
        found: Object = json.loads(self.kubectl("get", *what, "--output", "json"))
        return found

    def pods(self) -> dict[str, Object]:
        """The pods of the proxy that nobody has told to end, by name."""
        found = self.get("pods", "--selector", "app.kubernetes.io/name=multi-mcp")["items"]
        return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def logs(self, pod: str) -> str:
        """What its container wrote, or the one before it; nothing while the kubelet has neither, as after a crash."""
        for which in ((), ("--previous",)):
            command = ["kubectl", "--namespace", self.name, "logs", pod, *which]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND, check=False)
            if done.returncode == 0 and done.stdout:
                return done.stdout
        return ""

    def ask(self, pod: str, path: str, key: str = "") -> Any:
        """The JSON that one pod answers to a GET."""
        code = (
            "import sys, urllib.error, urllib.request as http\n"
            "request = http.Request('http://127.0.0.1:8080' + sys.argv[1], headers={'X-API-Key': sys.argv[2]})\n"
            "try: answer = http.urlopen(request, timeout=20)\n"
            "except urllib.error.HTTPError as exc: answer = exc\n"
            "print(answer.read().decode())"
        )
        return json.loads(self.kubectl("exec", pod, "--", "python", "-I", "-c", code, path, key))

    def settled(self) -> set[str]:
        """Wait until the pods are as many, as new and as ready as they are to be; returns their names."""

        def there() -> set[str]:
            deployment = self.get("deployment", "multi-mcp")
            status, wanted = deployment["status"], deployment["spec"]["replicas"]
            if status.get("observedGeneration") != deployment["metadata"]["generation"]:
                return set()
            counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")}
            pods = self.pods()
            return set(pods) if counts == {wanted} and len(pods) == wanted else set()

        try:
            found: set[str] = until(there, READY, f"all pods ready in {self.name}")
        except AssertionError as exc:
            exc.add_note(self.kubectl("get", "pods") + self.kubectl("get", "events", "--sort-by", ".lastTimestamp"))
            raise
        return found

    def running(self) -> set[str]:
        """The pods that are to run, or have a container that does. One that has ended may be listed for a minute."""
        return {
            pod["metadata"]["name"]
            for pod in self.get("pods")["items"]
            if "deletionTimestamp" not in pod["metadata"]
            or any("running" in status["state"] for status in pod["status"].get("containerStatuses", []))
        }

    def ended(self, pods: set[str]) -> None:
        """Wait until no container of these pods runs any more."""
        until(lambda: not pods & self.running(), GONE, f"the end of {pods}")

    def until_mounted(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for what follows from an edited ConfigMap or Secret.

        By themselves the kubelets look once a minute whether what is mounted has changed. A changed pod makes them look
        at once; again and again, since they may look before they have heard of the edit.
        """

        def holds() -> Any:
            stamp = str(sum(int(pod["metadata"]["resourceVersion"]) for pod in self.pods().values()))
            self.kubectl("annotate", "pods", "--all", "--overwrite", f"multi-mcp-test/looked={stamp}")
            return condition()

        until(holds, READY, what)

    def address(self, port: int) -> str:
        """The URL of a port of a node."""
        addresses = self.get("nodes")["items"][0]["status"]["addresses"]
        (node,) = (address["address"] for address in addresses if address["type"] == "InternalIP")
        return f"http://{node}:{port}"


@contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    """A new namespace, which is deleted with all that is in it when the block is left."""
    made = Namespace(name)

    def delete() -> None:
        made.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
        until(lambda: not made.running(), GONE, f"no container in the namespace {name}")

    delete()
    until(lambda: not made.kubectl("get", "namespace", name, "--ignore-not-found"), GONE, f"no namespace {name}")
    made.kubectl("create", "namespace", name)
    try:
        yield made
    finally:
        delete()
