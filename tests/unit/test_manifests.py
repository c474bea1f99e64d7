"""The manifests in k8s/: valid for each Kubernetes that is promised, and what they name is there.

`kubernetes-validate --strict` knows the fields and their types. That a selector matches nothing, a port is out of range
or a volume is missing it does not see: `faults` does, and each thing it finds is seen to be found in a manifest that is
broken in just that.
"""

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multimcp.config import understand
from multimcp.protocol.document import Document

validator = pytest.importorskip("kubernetes_validate", reason="not installed: see requirements/kubernetes.txt")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
BASE = K8S / "multi-mcp.yaml"
VERSIONS = [f"1.{minor}" for minor in range(25, 38)]
IMAGE = "multi-mcp:latest"

Manifest = dict[str, Any]


def read(*paths: Path) -> list[Manifest]:
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def high_availability() -> list[Manifest]:
    """What `kubectl apply -k k8s/ha` applies: without patches, that is what the files say."""
    (kustomization,) = read(K8S / "ha" / "kustomization.yaml")
    assert kustomization.keys() == {"apiVersion", "kind", "resources"}
    return read(*(K8S / "ha" / name for name in kustomization["resources"]))


RELEASES = {"base": read(BASE), "ha": high_availability(), "fixtures": read(K8S / "fixtures.yaml")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RELEASES)
def test_valid(name: str, version: str) -> None:
    """As `kubernetes-validate --strict` has it; a kind that it does not know, of which it only warns, raises here."""
    for document in RELEASES[name]:
        assert validator.validate(document, version, strict=True) == version


def test_what_is_not_valid() -> None:
    def broken(kind: str, **fields: Any) -> Manifest:
        return {**next(document for document in RELEASES["ha"] if document["kind"] == kind), **fields}

    for document in (
        broken("Service", spec={"type": "NodePort", "port": 8080}),
        broken("Service", spec={"ports": [{"port": "http"}]}),
        broken("Deployment", spec={}),
    ):
        with pytest.raises(validator.ValidationError):
            validator.validate(document, "1.30", strict=True)
    with pytest.raises(validator.SchemaNotFoundError):
        validator.validate(broken("PodDisruptionBudget", apiVersion="policy/v1beta1"), "1.30", strict=True)


@pytest.mark.parametrize("name", RELEASES)
def test_what_they_name_is_there(name: str) -> None:
    assert list(faults(RELEASES[name])) == []


def test_the_base_is_in_ha() -> None:
    """kustomize takes no file from outside of its folder; so it lies there, and the other is a link to it."""
    assert BASE.samefile(K8S / "ha" / "multi-mcp.yaml")
    applied = {path.name for path in (K8S / "ha").iterdir()} - {"kustomization.yaml"}
    assert set(read(K8S / "ha" / "kustomization.yaml")[0]["resources"]) == applied
    kinds = Counter(document["kind"] for document in RELEASES["ha"])
    assert kinds - Counter(document["kind"] for document in RELEASES["base"]) == Counter(
        ["HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"]
    )


def test_the_base_is_for_1_20() -> None:
    """Of what it has, nothing came later. tests/e2e/test_cluster.py applies it to whatever cluster there is."""
    assert {document["apiVersion"] for document in RELEASES["base"]} == {"v1", "apps/v1"}
    assert {document["apiVersion"] for document in RELEASES["fixtures"]} == {"v1", "apps/v1"}
    (handler,) = deployment()["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]
    assert handler == "exec"  # `sleep` is from 1.30 on


def test_the_image_is_the_one_that_make_builds_and_kind_loads() -> None:
    """What has no tag is `latest`."""
    (built,) = re.findall(r"^IMAGE \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert built == IMAGE
    users = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert "kind load docker-image multi-mcp --name multi-mcp-test\n" in users
    assert IMAGE == "multi-mcp:latest"


def test_they_fit_the_image() -> None:
    """The Dockerfile says who runs, on which port, and where the configuration is."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    image = dict(re.findall(r"(MULTI_MCP_\w+)=(\S+)", dockerfile))
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)[0]
    pod = deployment()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(image["MULTI_MCP_PORT"])}]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"{mounted['config']}/mcp.json" == image["MULTI_MCP_CONFIG"]
    for release in RELEASES.values():
        for document in release:
            if document["kind"] == "Deployment":
                context = document["spec"]["template"]["spec"]["securityContext"]
                assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (user, group)
    for path in re.findall(r"fixtures/servers/\w+\.py", BASE.read_text() + (K8S / "fixtures.yaml").read_text()):
        assert (ROOT / path).exists()


def test_the_lines_for_the_fixtures() -> None:
    """What fixtures.yaml says to write into the ConfigMap names its Services and their ports."""
    lines = re.findall(r"^#   (\"\w+\": \{.+\}),?$", (K8S / "fixtures.yaml").read_text(), re.MULTILINE)
    config = understand(Document({"mcpServers": json.loads("{" + ",".join(lines) + "}")}), {})
    services = {service["metadata"]["name"] for service in RELEASES["fixtures"] if service["kind"] == "Service"}
    assert config.warnings == ()
    urls = " ".join(server.url or "" for server in config.servers.values())
    assert re.fullmatch(r"(http://[\w-]+:8000/(mcp|sse) ?)+", urls)
    assert set(re.findall(r"//([\w-]+):", urls)) == services


def deployment() -> Manifest:
    return next(document for document in RELEASES["base"] if document["kind"] == "Deployment")


# What kubernetes-validate does not see.


def faults(release: list[Manifest]) -> Iterator[str]:
    """What is wrong between the documents that are applied together, a line for each."""
    names = Counter((document["kind"], document["metadata"]["name"]) for document in release)
    yield from (f"{kind} {name} is there twice" for (kind, name), count in names.items() if count > 1)
    deployments = {document["metadata"]["name"]: document for document in release if document["kind"] == "Deployment"}
    for document in release:
        for fault in CHECKS[document["kind"]](document, release, deployments):
            yield f"{document['kind']} {document['metadata']['name']}: {fault}"
    ports = Counter(
        port["nodePort"]
        for document in release
        if document["kind"] == "Service"
        for port in document["spec"]["ports"]
        if "nodePort" in port
    )
    yield from (f"nodePort {port} is there twice" for port, count in ports.items() if count > 1)


def labels(template_of: Manifest) -> dict[str, str]:
    found: dict[str, str] = template_of["spec"]["template"]["metadata"]["labels"]
    return found


def selected(selector: dict[str, str], deployments: dict[str, Manifest]) -> list[Manifest]:
    """The deployments whose pods have all these labels; an empty selector would be all there are."""
    return [each for each in deployments.values() if selector and selector.items() <= labels(each).items()]


def containers(one: Manifest) -> list[Manifest]:
    found: list[Manifest] = one["spec"]["template"]["spec"]["containers"]
    return found


def check_config(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    for key, text in document["data"].items():
        config = understand(Document(json.loads(text)), {})
        yield from (f"{key}: {warning}" for warning in config.warnings)
        if not config.servers:
            yield f"{key}: no servers"


def check_deployment(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    spec = document["spec"]
    pod = spec["template"]["spec"]
    if "replicas" in spec:
        yield "replicas: applying it again would undo what an autoscaler did"
    if selected(spec["selector"]["matchLabels"], deployments) != [document]:
        yield "its selector does not match its own pods, and no others"
    for spread in pod.get("topologySpreadConstraints", []):
        if document not in selected(spread["labelSelector"]["matchLabels"], deployments):
            yield "topologySpreadConstraints match other pods"
    yield from check_volumes(pod, release)
    if pod["securityContext"].get("runAsNonRoot") is not True or not pod["securityContext"].get("runAsUser"):
        yield "may run as root"
    if pod["securityContext"].get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "any system call is allowed"
    if pod.get("automountServiceAccountToken") is not False:
        yield "gets a token for the cluster's API"
    for container in containers(document):
        yield from check_container(container, pod["terminationGracePeriodSeconds"])


def check_volumes(pod: Manifest, release: list[Manifest]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounts = [mount for container in pod["containers"] for mount in container.get("volumeMounts", [])]
    if {mount["name"] for mount in mounts} != volumes.keys():
        yield "volumes and volumeMounts differ"
    yield from (
        f"the mount {mount['name']} has a subPath: edits do not arrive" for mount in mounts if "subPath" in mount
    )
    known = {(document["kind"], document["metadata"]["name"]) for document in release}
    for volume in volumes.values():
        config, secret = volume.get("configMap"), volume.get("secret")
        if config and ("ConfigMap", config["name"]) not in known and not config.get("optional"):
            yield f"no ConfigMap {config['name']}"
        if secret and ("Secret", secret["secretName"]) not in known and not secret.get("optional"):
            yield f"no Secret {secret['secretName']}"


def check_container(container: Manifest, grace: int) -> Iterator[str]:
    named = {port.get("name") for port in container["ports"]}
    if None in named:
        yield "a port has no name"
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {})
        for handler in ("httpGet", "tcpSocket"):
            if handler in probe and probe[handler]["port"] not in named:
                yield f"{kind}: no port {probe[handler]['port']}"
    hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep 0"])[-1]
    pause = re.search(r"\bsleep (\d+)$", hook)
    if pause is None or int(pause[1]) + 5 > grace:
        yield f"killed after {grace} s, before it has ended"
    if (container["image"], container.get("imagePullPolicy")) != (IMAGE, "Never"):
        yield "the image would be pulled"
    if (
        not {"cpu", "memory"} <= container["resources"]["requests"].keys()
        or "memory" not in container["resources"]["limits"]
    ):
        yield "no resources"
    if container["securityContext"] != {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }:
        yield "has more rights than it needs"
    defined: set[str] = set()
    for variable in container.get("env", []):
        for name in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
            if name not in defined:
                yield f"env {variable['name']}: no {name} before it"
        defined.add(variable["name"])


def check_service(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    spec = document["spec"]
    targets = selected(spec["selector"], deployments)
    if len(targets) != 1:
        yield f"its selector matches {len(targets)} deployments"
        return
    (container,) = containers(targets[0])
    for port in spec["ports"]:
        if "name" not in port:
            yield "a port has no name"
        if port["targetPort"] not in {target["name"] for target in container["ports"]}:
            yield f"no port {port['targetPort']}"
        if "nodePort" in port and spec.get("type") != "NodePort":
            yield "a nodePort of what is no NodePort"
        if not 30000 <= port.get("nodePort", 30000) <= 32767:
            yield f"nodePort {port['nodePort']} is not in 30000-32767"
    for variable in container.get("env", []):
        if variable["name"] == "MULTI_MCP_ALLOWED_HOST" and document["metadata"]["name"] not in variable["value"].split(
            ","
        ):
            yield "its name is not in MULTI_MCP_ALLOWED_HOST"


def check_autoscaler(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    spec = document["spec"]
    target = spec["scaleTargetRef"]
    if target["kind"] != "Deployment" or deployments.get(target["name"], {}).get("apiVersion") != target["apiVersion"]:
        yield f"no {target['apiVersion']} {target['kind']} {target['name']}"
    if not 2 <= spec["minReplicas"] <= spec["maxReplicas"]:
        yield "not several replicas"


def check_budget(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    if len(selected(document["spec"]["selector"]["matchLabels"], deployments)) != 1:
        yield "its selector does not match one deployment"


def check_policy(document: Manifest, release: list[Manifest], deployments: dict[str, Manifest]) -> Iterator[str]:
    targets = selected(document["spec"]["podSelector"]["matchLabels"], deployments)
    if len(targets) != 1:
        yield "its podSelector does not match one deployment"
        return
    open_to = {port["port"] for rule in document["spec"]["ingress"] for port in rule["ports"]}
    if open_to != {port["containerPort"] for container in containers(targets[0]) for port in container["ports"]}:
        yield f"lets in to {open_to}"


CHECKS: dict[str, Callable[[Manifest, list[Manifest], dict[str, Manifest]], Iterable[str]]] = {
    "ConfigMap": check_config,
    "Deployment": check_deployment,
    "Service": check_service,
    "HorizontalPodAutoscaler": check_autoscaler,
    "PodDisruptionBudget": check_budget,
    "NetworkPolicy": check_policy,
}

POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"
ELSE = {"app.kubernetes.io/name": "else"}
BROKEN: list[tuple[str, str, Any, str]] = [
    ("ConfigMap", "data", {"mcp.json": '{"mcpServers": {}}'}, "no servers"),
    ("ConfigMap", "data", {"mcp.json": '{"mcpServers": {"a": {"command": "a", "b": 1}}}'}, "unknown key"),
    ("Deployment", "spec.replicas", 2, "replicas"),
    ("Deployment", "spec.selector.matchLabels", ELSE, "does not match its own pods"),
    ("Deployment", "spec.template.metadata.labels", ELSE, "does not match its own pods"),
    ("Deployment", f"{POD}.topologySpreadConstraints.0.labelSelector.matchLabels", ELSE, "topologySpreadConstraints"),
    ("Deployment", f"{POD}.volumes.0.name", "else", "volumes and volumeMounts differ"),
    ("Deployment", f"{POD}.volumes.0.configMap.name", "else", "no ConfigMap else"),
    ("Deployment", f"{POD}.volumes.1.secret.optional", False, "no Secret multi-mcp"),
    ("Deployment", f"{POD}.securityContext.runAsNonRoot", False, "may run as root"),
    ("Deployment", f"{POD}.securityContext.runAsUser", 0, "may run as root"),
    ("Deployment", f"{POD}.securityContext.seccompProfile", {"type": "Unconfined"}, "any system call"),
    ("Deployment", f"{POD}.automountServiceAccountToken", True, "gets a token"),
    ("Deployment", f"{POD}.terminationGracePeriodSeconds", 14, "killed after 14 s"),
    ("Deployment", f"{CONTAINER}.lifecycle.preStop.exec.command", ["true"], "killed after 20 s"),
    ("Deployment", f"{CONTAINER}.volumeMounts.0.subPath", "mcp.json", "has a subPath"),
    ("Deployment", f"{CONTAINER}.ports", [{"containerPort": 8080}], "a port has no name"),
    ("Deployment", f"{CONTAINER}.startupProbe.httpGet.port", "else", "startupProbe: no port else"),
    ("Deployment", f"{CONTAINER}.readinessProbe.httpGet.port", "else", "readinessProbe: no port else"),
    ("Deployment", f"{CONTAINER}.livenessProbe.httpGet.port", "else", "livenessProbe: no port else"),
    ("Deployment", f"{CONTAINER}.image", "multi-mcp", "would be pulled"),
    ("Deployment", f"{CONTAINER}.imagePullPolicy", "Always", "would be pulled"),
    ("Deployment", f"{CONTAINER}.imagePullPolicy", "IfNotPresent", "would be pulled"),
    ("Deployment", f"{CONTAINER}.resources", {"requests": {"cpu": 1}, "limits": {}}, "no resources"),
    ("Deployment", f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False, "more rights"),
    ("Deployment", f"{CONTAINER}.securityContext.capabilities", {"drop": []}, "more rights"),
    ("Deployment", f"{CONTAINER}.env.0.name", "ELSE", "no NAMESPACE before it"),
    ("Deployment", f"{CONTAINER}.env.1.value", "else", "not in MULTI_MCP_ALLOWED_HOST"),
    ("Service", "spec.selector", ELSE, "matches 0 deployments"),
    ("Service", "spec.ports.0.targetPort", "else", "no port else"),
    ("Service", "spec.ports.0.nodePort", 99, "not in 30000-32767"),
    ("Service", "spec.ports", [{"port": 1, "targetPort": "http"}], "a port has no name"),
    ("Service", "spec.type", "ClusterIP", "what is no NodePort"),
    ("HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "else", "no apps/v1 Deployment else"),
    ("HorizontalPodAutoscaler", "spec.scaleTargetRef.apiVersion", "v1", "no v1 Deployment multi-mcp"),
    ("HorizontalPodAutoscaler", "spec.minReplicas", 1, "not several replicas"),
    ("HorizontalPodAutoscaler", "spec.maxReplicas", 1, "not several replicas"),
    ("PodDisruptionBudget", "spec.selector.matchLabels", ELSE, "does not match one deployment"),
    ("NetworkPolicy", "spec.podSelector.matchLabels", ELSE, "does not match one deployment"),
    ("NetworkPolicy", "spec.ingress.0.ports.0.port", 80, "lets in to {80}"),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "fault"), BROKEN, ids=[f"{kind}.{path}" for kind, path, *_ in BROKEN]
)
def test_what_is_broken_is_found(kind: str, path: str, value: Any, fault: str) -> None:
    release = copy.deepcopy(RELEASES["ha"])
    at: Any = next(document for document in release if document["kind"] == kind)
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if isinstance(at, list) else step]
    if isinstance(at, list):
        at[int(last) : int(last) + 1] = [value]
    else:
        at[last] = value
    assert any(fault in line for line in faults(release)), list(faults(release))


def test_what_is_there_twice_is_found() -> None:
    release = RELEASES["ha"]
    again = copy.deepcopy(next(document for document in release if document["kind"] == "Service"))
    assert list(faults([*release, again])) == ["Service multi-mcp is there twice", "nodePort 30080 is there twice"]
