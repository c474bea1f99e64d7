"""Multi-MCP in a real cluster: the manifests of k8s/ as they are, and the commands of docs/operations.md.

Rules:
- Each test makes the state that it begins from, whatever the one before has left, failed or not: see `begin`.
- Which replica answered, a server tells that the configuration has for this: `where::pod`.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle, repeat
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e import engine
from tests.e2e.clients import calculate, calculate_in_all_ways
from tests.e2e.cluster import GONE, READY, Namespace, Object, load, namespace, until
from tests.support.documentation import documented
from tests.support.processes import Process, text, within

pytestmark = pytest.mark.kubernetes

NODE_PORT = 30080
REPLICAS = 2
REQUESTS = 2000
THINK = 0.005
"""Seconds that a client pauses between two requests: its connection waits meanwhile."""

LONG = 5.0
"""Seconds that a long call takes: less than the pause before a replica ends."""

TIMEOUT = 60.0
QUICK = 3.0
STORM = 240.0

SHIPPED: dict[str, Any] = json.loads((engine.ROOT / "docker" / "mcp.json").read_text())["mcpServers"]
WHERE = {
    "command": "python",
    "args": [
        "-c",
        "import asyncio, os\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('where')\n"
        "@server.tool()\n"
        "async def pod(after: float = 0) -> str:\n"
        "    await asyncio.sleep(after)\n"
        "    return os.uname().nodename\n"
        "server.run()\n",
    ],
}
SERVERS = {**SHIPPED, "where": WHERE}


@pytest.fixture(scope="module")
def space(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    load(image, engine.IMAGE, tmp_path_factory.mktemp("image") / "image.tar")
    with namespace("multi-mcp-test") as made:
        yield made


@pytest.fixture(scope="module")
def release(space: Namespace) -> Namespace:
    """The base, as docs/operations.md has it applied."""
    run(space, documented("kubectl apply -f k8s/multi-mcp.yaml"))
    space.settled()
    assert "successfully rolled out" in run(space, documented("kubectl rollout status"))
    until(lambda: leads(space.address(NODE_PORT)), READY, "the port of the node leads to it")
    return space


@pytest.fixture(scope="module")
def scaled(release: Namespace) -> Namespace:
    """Two replicas; k8s/ha is applied to what is running."""
    release.kubectl("apply", "-f", "-", text=high_availability(release))
    until(lambda: release.get("deployment", "multi-mcp")["spec"]["replicas"] == REPLICAS, READY, "it is scaled up")
    return release


@pytest.fixture
def replicas(scaled: Namespace) -> Namespace:
    """Two ready replicas with `where`."""
    begin(scaled)
    return scaled


def begin(space: Namespace) -> None:
    """Have as many ready replicas as there are to be, each with `SERVERS` and no others."""
    write(space, json.dumps({"mcpServers": SERVERS}))
    for name, pod in space.pods().items():
        if any(status["restartCount"] and not status["ready"] for status in pod["status"].get("containerStatuses", [])):
            space.kubectl("delete", "pod", name, "--wait=false")  # or it would be started again after some pause
    space.settled()
    configure(space, SERVERS)


def run(space: Namespace, command: str) -> str:
    """Run a documented command in our namespace."""
    return space.kubectl(*command.split()[1:], timeout=READY)


def high_availability(space: Namespace) -> str:
    """What `kubectl apply -k k8s/ha` applies; for a cluster before 1.23, with the versions that two kinds had there."""
    rendered = space.kubectl("kustomize", documented("kubectl apply -k").split()[-1])
    known = space.kubectl("api-versions").split()
    for new, old in (("policy/v1", "policy/v1beta1"), ("autoscaling/v2", "autoscaling/v2beta2")):
        assert f"apiVersion: {new}\n" in rendered
        if new not in known:
            rendered = rendered.replace(f"apiVersion: {new}\n", f"apiVersion: {old}\n")
    return rendered


def write(space: Namespace, config: str) -> None:
    space.kubectl("patch", "configmap", "multi-mcp", "--patch", json.dumps({"data": {"mcp.json": config}}))


def configure(space: Namespace, servers: dict[str, Any]) -> None:
    """Edit the ConfigMap, and wait until each replica has the tools of these servers, and of no others."""
    write(space, json.dumps({"mcpServers": servers}))

    def arrived() -> bool:
        lists = [space.ask(pod, "/mcp_tools")["tools"] for pod in space.pods()]
        return all(tools.keys() == servers.keys() and all(tools.values()) for tools in lists)

    space.until_mounted(arrived, "the edited ConfigMap is in all replicas")


def leads(url: str) -> bool:
    """Whether a proxy answers there. The nodes hear of a ready pod somewhat later than the API tells of it."""
    try:
        return httpx2.get(url + "/healthz", timeout=QUICK, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def sources(url: str) -> list[str | None]:
    """Addresses of ours that the cluster takes for different clients: where a node is this machine, there are many."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), 5, ("127.0.1.1", 0)).close()
    except OSError:
        return [None]
    return [f"127.0.1.{number}" for number in range(1, 33)]


def http(source: str | None, **options: Any) -> httpx2.AsyncClient:
    """An HTTP client with this address."""
    transport = httpx2.AsyncHTTPTransport(verify=False, local_address=source)
    return httpx2.AsyncClient(**{"timeout": TIMEOUT, "trust_env": False, **options}, transport=transport)


@asynccontextmanager
async def client(url: str, source: str | None, transport: str = "http", mode: str = "auto") -> AsyncIterator[Client]:
    """A client of the SDK with this address."""
    async with http(source) as connection:
        if transport == "sse":
            way: Any = sse_client(url + "/sse", httpx_client_factory=partial(http, source))
        else:
            way = streamable_http_client(url + "/mcp", http_client=connection)
        async with Client(way, mode=mode, read_timeout_seconds=TIMEOUT) as connected:
            yield connected


def get(url: str, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(url + path, headers=headers, timeout=TIMEOUT, trust_env=False)


def is_ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])


def restarts(space: Namespace, pod: str) -> int:
    (status,) = space.pods()[pod]["status"]["containerStatuses"]
    return int(status["restartCount"])


def spread(url: str, timeout: float = TIMEOUT) -> dict[str, list[str | None]]:
    """Our addresses, by the replica that they are sent to. Each may take `timeout` seconds to answer."""

    async def ask() -> dict[str, list[str | None]]:
        found: dict[str, list[str | None]] = {}
        for source in sources(url):
            async with http(source, timeout=timeout) as connection:
                found.setdefault(await call(connection, url, "where::pod", {}), []).append(source)
        return found

    return asyncio.run(ask())


IDS = count(1)
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def call(connection: httpx2.AsyncClient, url: str, tool: str, arguments: dict[str, Any]) -> str:
    """Call a tool as a client of 2026-07-28; returns the text of its result. Raises when anything is wrong with it."""
    params = {"name": tool, "arguments": arguments, "_meta": ENVELOPE}
    message = {"jsonrpc": "2.0", "id": next(IDS), "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    response = await connection.post(url + "/mcp", json=message, headers=headers)
    body = response.text
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        body = next(line[6:] for line in body.split("\n") if line.startswith("data: {") and '"id"' in line)
    answer = json.loads(body)
    if answer.get("id") != message["id"] or answer.get("result", {}).get("isError") is not False:
        raise AssertionError(f"{response.status_code} {body}")
    return str(answer["result"]["content"][0]["text"])


# A storm: what clients see while replicas go.


@dataclass
class Session:
    """What a legacy client sees: which replicas answered, and how its session ended."""

    transport: str
    pods: list[str] = field(default_factory=list)
    end: Exception | None = None


@dataclass
class Storm:
    """What happened to clients while a pod was deleted, and then all were replaced."""

    url: str
    home: str
    """The pod of the legacy clients."""
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    pods: set[str] = field(default_factory=set)
    sessions: list[Session] = field(default_factory=lambda: [Session("http"), Session("sse")])
    at_home: set[str] = field(default_factory=set)
    """The pods that have answered the legacy clients before their own was told to end."""
    is_over: bool = False

    async def one(self, connection: httpx2.AsyncClient, kept: bool, number: int, is_long: bool) -> None:
        begun = time.monotonic()
        try:
            if is_long:
                self.pods.add(await call(connection, self.url, "where::pod", {"after": LONG}))
            else:
                answer = await call(connection, self.url, "calculator::add", {"a": number, "b": 1})
                assert answer == str(number + 1), answer
            self.answered += 1
        except Exception as exc:
            how = f"{'kept' if kept else 'new'} connection, {'long' if is_long else 'short'} call"
            self.lost.append(f"{how}, after {time.monotonic() - begun:.2f} s: {exc!r}")

    async def modern(self, sources: Iterator[str | None], kept: bool, is_long: bool) -> None:
        """Call all the time, on a connection that is kept for as long as it can be, or on a new one each time."""
        connection = http(next(sources))
        for number in count():
            if self.is_over:
                break
            await self.one(connection, kept, number, is_long)
            if not kept:
                await connection.aclose()
                connection = http(next(sources))
            await asyncio.sleep(THINK)
        await connection.aclose()

    async def legacy(self, session: Session, source: str | None) -> None:
        """Call in one session until that ends."""
        try:
            async with client(self.url, source, session.transport, "legacy") as connected:
                while not self.is_over:
                    session.pods.append(text(await connected.call_tool("where::pod", {})))
                    await asyncio.sleep(THINK * 10)
        except Exception as exc:
            session.end = exc


@pytest.fixture(scope="module")
def storm(scaled: Namespace) -> Storm:
    """Delete the pod that the legacy clients are not on, then replace all pods; modern clients call all the time."""
    replicas = scaled
    begin(replicas)
    before = replicas.settled()
    url = replicas.address(NODE_PORT)
    places = spread(url)
    home = next(iter(places))
    (away,) = before - {home}
    seen = Storm(url, home)

    def answered() -> list[int]:
        for session in seen.sessions:
            if session.end:
                raise session.end
        return [len(session.pods) for session in seen.sessions]

    def events() -> None:
        until(lambda: all(answered()), TIMEOUT, "the legacy clients' first answers")
        replicas.kubectl("delete", "pod", away, "--wait=false")
        replicas.ended({away})
        old = replicas.settled()
        wanted = [number + 2 for number in answered()]
        until(lambda: all(map(int.__ge__, answered(), wanted)), TIMEOUT, "the legacy clients' next answers")
        seen.at_home = {pod for session in seen.sessions for pod in session.pods}
        replicas.kubectl("rollout", "restart", "deployment/multi-mcp")
        replicas.ended(old)
        replicas.settled()
        until(lambda: all(session.end for session in seen.sessions), TIMEOUT, "the end of the legacy sessions")
        until(lambda: seen.answered >= REQUESTS, STORM, f"{REQUESTS} requests")

    async def play() -> None:
        every = [source for each in places.values() for source in each]
        async with within(STORM), asyncio.TaskGroup() as group:
            for number, source in enumerate(each[0] for each in places.values()):
                for is_long in (False, False, True):
                    group.create_task(seen.modern(repeat(source), kept=True, is_long=is_long))
                for is_long in (False, False, True):
                    group.create_task(seen.modern(cycle(every[number:] + every[:number]), kept=False, is_long=is_long))
            for session in seen.sessions:
                group.create_task(seen.legacy(session, places[home][0]))
            try:
                await asyncio.to_thread(events)
            finally:
                seen.is_over = True

    asyncio.run(play())
    return seen


def test_a_fresh_release_answers(release: Namespace) -> None:
    """At the port of the node that the documented command shows, and under the names that the Service has in it."""
    url = release.address(NODE_PORT)
    assert urlsplit(url).hostname in run(release, documented("kubectl get nodes")).split()
    asyncio.run(calculate_in_all_ways(url))
    for name in ("multi-mcp", f"multi-mcp.{release.name}", f"multi-mcp.{release.name}.svc.cluster.local"):
        assert get(url, "/mcp_tools", Host=f"{name}:8080").json()["tools"].keys() == SHIPPED.keys()
    assert get(url, "/mcp_tools", Host="multi-mcp.elsewhere").status_code == 421


def test_port_forward(release: Namespace) -> None:
    options = documented("kubectl port-forward").replace(" 8080", " :8080").split()[1:]
    process = Process("sh", "-c", 'exec "$@" >&2', "-", "kubectl", "--namespace", release.name, *options)
    try:
        port = process.expect(r"Forwarding from 127\.0\.0\.1:(\d+)").group(1)
        asyncio.run(calculate(Client(f"http://127.0.0.1:{port}/mcp")))
    finally:
        process.kill()


def test_an_edited_configmap_reaches_all_replicas(replicas: Namespace) -> None:
    """Here with the fixture servers as pods of their own, by their addresses: the cluster may have no names."""
    assert len(replicas.settled()) == REPLICAS
    run(replicas, documented("kubectl apply -f k8s/fixtures.yaml"))
    servers = dict(SERVERS)
    for name, path in (("fixture-calculator", "/mcp"), ("fixture-weather", "/sse")):
        replicas.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={READY:.0f}s", timeout=READY)
        servers[name] = {"url": f"http://{replicas.get('service', name)['spec']['clusterIP']}:8000{path}"}
    pods = replicas.settled()
    configure(replicas, servers)
    url = replicas.address(NODE_PORT)

    async def use(source: str | None) -> None:
        async with within(TIMEOUT), client(url, source) as connected:
            assert text(await connected.call_tool("fixture-calculator::add", {"a": 1, "b": 2})) == "3"
            assert not (await connected.call_tool("fixture-weather::get_weather", {"place": "Oslo"})).is_error

    for each in spread(url).values():
        asyncio.run(use(each[0]))
    configure(replicas, SERVERS)
    assert replicas.settled() == pods
    replicas.kubectl("delete", "-f", "k8s/fixtures.yaml", "--wait=false")


def test_no_modern_request_is_lost(storm: Storm) -> None:
    assert not storm.lost, "\n".join(storm.lost[:20])
    assert storm.answered >= REQUESTS
    assert len(storm.pods) > REPLICAS, "the new replicas have answered, too"
    print(f"{storm.answered} requests")


def test_a_legacy_session_is_as_long_as_its_replica(storm: Storm, replicas: Namespace) -> None:
    """It notices nothing of another replica's end; with its own it ends, in an error, and a new one may begin."""
    assert storm.at_home == {storm.home}
    for session in storm.sessions:
        assert session.end is not None
    asyncio.run(calculate_in_all_ways(storm.url))


def test_a_wrong_configuration_never_becomes_ready(replicas: Namespace) -> None:
    """The replicas that run go on with what they have; a new one does not start before the configuration is mended."""
    old = replicas.settled()
    url = replicas.address(NODE_PORT)
    write(replicas, '{"mcpServers": {"calculator": {"command": 1}}}')
    place = "mcpServers.calculator.command"
    replicas.until_mounted(lambda: all(place in replicas.kubectl("logs", pod) for pod in old), "the old pods report it")
    replicas.kubectl("rollout", "restart", "deployment/multi-mcp")

    def crashed() -> set[str]:
        return {
            name
            for name, pod in replicas.pods().items()
            for status in pod["status"].get("containerStatuses", [])
            if status.get("lastState", {}).get("terminated", {}).get("exitCode") == 2
        }

    (new,) = until(crashed, READY, "the new pod ends with code 2, and is started again")
    until(lambda: place in replicas.logs(new), READY, "its log names the place")
    pods = replicas.pods()
    assert {name for name, pod in pods.items() if is_ready(pod)} == old
    assert set(spread(url)) <= old


def test_a_proxy_that_hangs_is_restarted(replicas: Namespace) -> None:
    """Stopped with SIGSTOP. Before that, clients are no longer sent to it."""
    pods = replicas.settled()
    url = replicas.address(NODE_PORT)
    hung = min(pods)
    stop = "import os; (pid,) = open('/proc/1/task/1/children').read().split(); os.kill(int(pid), 19)"
    replicas.kubectl("exec", hung, "--", "python", "-c", stop)

    def avoided() -> bool:
        try:
            return set(spread(url, QUICK)) <= pods - {hung}
        except httpx2.TimeoutException:
            return False

    until(avoided, READY, "nobody is sent to it")
    until(lambda: restarts(replicas, hung) == 1, READY, "it is restarted")
    assert replicas.settled() == pods
    assert replicas.ask(hung, "/mcp_tools")["tools"].keys() == SERVERS.keys()


def post(url: str, key: str) -> httpx2.Response:
    """Add a server under a name that was not there before."""
    more = {"mcpServers": {f"more{next(IDS)}": SHIPPED["calculator"]}}
    return httpx2.post(url + "/mcp_servers", json=more, headers={"X-API-Key": key}, timeout=TIMEOUT, trust_env=False)


def test_without_a_key_nobody_adds_servers(replicas: Namespace) -> None:
    replicas.settled()
    refused = post(replicas.address(NODE_PORT), "")
    assert (refused.status_code, "MULTI_MCP_API_KEY" in refused.json()["error"]) == (403, True)


@pytest.fixture(scope="module")
def keyed(scaled: Namespace) -> Namespace:
    """The replicas want a key, as docs/operations.md has it set."""
    begin(scaled)
    run(scaled, re.sub('=".*"', "=first", documented("kubectl create secret")))
    run(scaled, documented("kubectl set env"))
    return scaled


@pytest.fixture
def guarded(keyed: Namespace) -> Namespace:
    """The replicas want the key `first`."""
    set_key(keyed, "first")
    return keyed


def set_key(space: Namespace, key: str) -> None:
    """Change the Secret, and wait until the key is good everywhere."""
    space.kubectl("patch", "secret", "multi-mcp", "--patch", json.dumps({"stringData": {"api-key": key}}))
    space.settled()
    space.until_mounted(lambda: all(accepted(space, key)), f"the key {key} is good everywhere")


def accepted(space: Namespace, key: str) -> list[bool]:
    """Whether a key is good, for each pod."""
    return ["tools" in space.ask(pod, "/mcp_tools", key) for pod in sorted(space.pods())]


def test_with_a_key_servers_are_added_to_one_replica(guarded: Namespace) -> None:
    """And the answer says that it is one. Whoever has no key uses nothing; and a new key is taken up."""
    pods = guarded.settled()
    url = guarded.address(NODE_PORT)
    until(lambda: get(url, "/mcp_tools").status_code == 401, READY, "the replicas before are out of the Service")
    assert get(url, "/healthz").status_code == 200
    added = post(url, "first").json()
    (more,) = added["added"]
    assert "in this process only" in added["message"]
    have = [pod for pod in pods if more in guarded.ask(pod, "/mcp_tools", "first")["tools"]]
    assert len(have) == 1
    set_key(guarded, "second")
    assert not any(accepted(guarded, "first"))
    assert guarded.settled() == pods


def test_applying_again_and_deleting(guarded: Namespace) -> None:
    """Applied again, the manifest replaces no replica and removes no key; deleted, it leaves nothing."""
    pods = guarded.settled()
    assert len(pods) == REPLICAS
    run(guarded, documented("kubectl apply -f k8s/multi-mcp.yaml"))
    assert guarded.settled() == pods
    assert get(guarded.address(NODE_PORT), "/mcp_tools").status_code == 401
    guarded.kubectl("delete", "-f", "-", "--wait=false", text=high_availability(guarded))
    guarded.ended(pods)
    kinds = "configmap,service,endpoints,deployment,replicaset,pod,hpa,pdb,networkpolicy"
    selector = ("--selector", "app.kubernetes.io/name=multi-mcp")
    until(lambda: not guarded.get(kinds, *selector)["items"], GONE, "nothing is left")
