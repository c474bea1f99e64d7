"""Who is let in over HTTP: the API key, Host and Origin, by real clients of a real process."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.support.processes import (
    TIMEOUT,
    Proxy,
    RawClient,
    fixture,
    proxy,
    raw,
    raw_http,
    stdio_client,
    text,
    until,
    within,
    write_config,
)

KEYS = ("s3cret-0ld", "s3cret-n3w")
WRONG = "s3cret-wr0ng"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
PATHS = (
    "/",
    "/mcp",
    "/sse",
    "/messages",
    "/messages/?session_id=00",
    "/mcp_servers",
    "/mcp_servers/a",
    "/mcp_tools",
    "/no",
)
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A proxy on a loopback address with two keys, and one server, `calculator`."""
    env = {"MULTI_MCP_API_KEY": ", ".join(KEYS)}
    with proxy(tmp_path_factory.mktemp("locked"), {"calculator": fixture("calculator")}, env=env) as running:
        yield running.wait_ready()


@asynccontextmanager
async def client(
    running: Proxy, transport: str, mode: str, headers: dict[str, str], seen: set[int]
) -> AsyncIterator[Client]:
    """An SDK client that sends these headers with every request; the statuses of the answers are added to `seen`."""

    async def see(answer: httpx2.Response) -> None:
        seen.add(answer.status_code)

    def http(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        hooks = {"response": [see]}
        return httpx2.AsyncClient(event_hooks=hooks, trust_env=False, headers=headers, timeout=timeout, auth=auth)

    if transport == "sse":
        streams: Any = sse_client(running.url + "/sse", headers, httpx_client_factory=http)
        async with Client(streams, mode=mode, read_timeout_seconds=TIMEOUT) as it:
            yield it
        return
    async with http(headers=headers, timeout=httpx2.Timeout(TIMEOUT)) as connection:
        streams = streamable_http_client(running.url + "/mcp", http_client=connection)
        async with Client(streams, mode=mode, read_timeout_seconds=TIMEOUT) as it:
            yield it


def send(running: Proxy, method: str, path: str, **headers: str) -> httpx2.Response:
    """The answer to a request, with its body where that ends."""
    with (
        httpx2.Client(timeout=TIMEOUT, trust_env=False, verify=False) as http,  # its certificates take time to read
        http.stream(method, running.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()}) as answer,
    ):
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
        return answer


@pytest.mark.parametrize("path", PATHS)
def test_every_route_wants_a_key(locked: Any, path: str) -> None:
    wrong: list[dict[str, str]] = [{}, {"Authorization": f"Bearer {WRONG}"}, {"X_API_Key": ""}]
    wrong += [{"Authorization": f"Basic {KEYS[0]}"}, {"X_API_Key": ",".join(KEYS)}]
    right = [headers for key in KEYS for headers in ({"Authorization": f"Bearer {key}"}, {"X_API_Key": key})]
    for method in METHODS:
        for headers in wrong:
            answer = send(locked, method, path, **headers)
            assert answer.status_code == 401, (method, headers)
            assert answer.headers["www-authenticate"] == "Bearer"
            if method != "HEAD":
                assert answer.json() == {
                    "error": "an API key of this proxy is required; send it as 'Authorization: Bearer KEY' or "
                    "'X-API-Key: KEY'"
                }
        if (method, path) != ("DELETE", "/mcp_servers/a"):
            for headers in right:
                assert send(locked, method, path, **headers).status_code not in (401, 403, 421), (method, headers)
    assert list(locked.http("GET", "/mcp_servers", headers={"X-API-Key": KEYS[0]}).json()["servers"]) == ["calculator"]


def test_health_wants_none(locked: Any) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        for headers in ({}, {"X_API_Key": WRONG}):
            answer = send(locked, "GET", path, **headers)
            assert (answer.status_code, answer.json()) == (200, {"status": status})
        assert send(locked, "GET", path, Host="evil.example").status_code == 421
        assert send(locked, "GET", path, Origin="http://evil.example").status_code == 403


def test_the_key_lets_no_web_page_in(locked: Any) -> None:
    for path in PATHS:
        assert send(locked, "POST", path, X_API_Key=KEYS[0], Host="evil.example").status_code == 421
        assert send(locked, "POST", path, X_API_Key=KEYS[0], Origin="http://evil.example").status_code == 403


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("transport", ["sse", "http"])
async def test_clients_with_a_key(locked: Any, transport: str, mode: str) -> None:
    """While keys are rotated, clients with the old one and with the new one are served."""
    for headers in ({"Authorization": f"Bearer {KEYS[0]}"}, {"X-API-Key": KEYS[1]}):
        async with within(TIMEOUT), client(locked, transport, mode, headers, set()) as it:
            assert it.session.protocol_version == ERAS[mode]
            assert text(await it.call_tool("calculator::add", {"a": 10, "b": 5})) == "15"


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("transport", ["sse", "http"])
async def test_a_client_without_a_key(locked: Any, transport: str, mode: str) -> None:
    """Over streamable HTTP its user reads the reason; the SDK reads no answer to the GET that opens an SSE stream."""
    seen: set[int] = set()
    with pytest.raises((MCPError, httpx2.HTTPStatusError, ExceptionGroup)) as refused:
        async with within(TIMEOUT), client(locked, transport, mode, {"X-API-Key": WRONG}, seen):
            pass
    assert seen == {401}
    if transport == "http":
        assert refused.group_contains(MCPError, match="an API key of this proxy is required; send it as ")


def test_a_session_does_not_replace_the_key(locked: Any) -> None:
    """Whoever learns of a session cannot go on with it."""
    with RawClient(locked.url, "legacy", {"X-API-Key": KEYS[0]}) as it:
        assert it.call("tools/list")["tools"]
        del it._headers["X-API-Key"]
        assert it.post({"jsonrpc": "2.0", "id": 9, "method": "tools/list"}).status_code == 401


def open_sse(stack: ExitStack, running: Proxy, key: str) -> tuple[Iterator[str], str]:
    """The lines of a stream that was opened with this key, and where its messages go."""
    http = stack.enter_context(httpx2.Client(timeout=TIMEOUT, trust_env=False))
    stream = stack.enter_context(http.stream("GET", f"{running.url}/sse", headers={"X-API-Key": key}))
    lines = stream.iter_lines()
    assert next(lines) == "event: endpoint"
    return lines, next(lines).removeprefix("data: ")


def test_a_session_is_used_with_the_key_that_opened_it(locked: Any) -> None:
    """Both keys are good; who has the one does not get at the sessions of who has the other."""
    one, other = KEYS
    ping = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
    with RawClient(locked.url, "legacy", {"X-API-Key": one}) as it, ExitStack() as stack:
        session = it._headers["Mcp-Session-Id"]
        strange = {"X_API_Key": other, "Mcp_Session_Id": session}
        assert it.post(ping, {"X-API-Key": other}).status_code == 404
        assert send(locked, "DELETE", "/mcp", **strange).status_code == 404
        for more in ({}, {"Last_Event_ID": "a-1"}):
            assert send(locked, "GET", "/mcp", Accept="text/event-stream", **strange, **more).status_code == 404
        assert it.call("tools/list")["tools"]
        _, path = open_sse(stack, locked, one)
        for key, status in ((other, 404), (one, 202)):
            assert locked.http("POST", path, json=ping, headers={"X-API-Key": key}).status_code == status
        assert session not in locked.stderr
        assert path.rpartition("=")[2] not in locked.stderr


def test_what_was_opened_with_a_key_ends_with_it(tmp_path: Path) -> None:
    old, new = KEYS
    folder = tmp_path / "secret"
    file = swap_secret(folder, f"{old},{new}")
    with (
        proxy(tmp_path, {}, env={"MULTI_MCP_API_KEY_FILE": str(file)}) as running,
        RawClient(running.url, "legacy", {"X-API-Key": new}) as kept,
        RawClient(running.url, "legacy", {"X-API-Key": old}) as lost,
        RawClient(running.url, "modern", {"X-API-Key": old}) as modern,
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
        ExitStack() as stack,
    ):
        headers = {**lost._headers, "Accept": "text/event-stream"}
        streams = [open_sse(stack, running, old)[0]]
        streams.append(stack.enter_context(http.stream("GET", f"{running.url}/mcp", headers=headers)).iter_lines())
        listen = modern.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        streams.append(stack.enter_context(http.stream("POST", f"{running.url}/mcp", **listen)).iter_lines())
        swap_secret(folder, new)
        for lines in streams:
            assert all("error" not in line for line in lines)  # which end
        assert kept.call("ping") == {}


def test_what_ends_with_its_key_leaves_its_place_among_the_streams(tmp_path: Path) -> None:
    old, new = KEYS
    folder = tmp_path / "secret"
    file = swap_secret(folder, f"{old},{new}")
    with (
        proxy(tmp_path, {}, "--max-streams=1", env={"MULTI_MCP_API_KEY_FILE": str(file)}) as running,
        RawClient(running.url, "modern", {"X-API-Key": old}) as lost,
        RawClient(running.url, "modern", {"X-API-Key": new}) as kept,
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
    ):
        wanted = {"notifications": {"toolsListChanged": True}}
        with http.stream("POST", f"{running.url}/mcp", **lost.request("subscriptions/listen", wanted)) as stream:
            swap_secret(folder, new)
            assert "resultType" in stream.read().decode()
        with http.stream("POST", f"{running.url}/mcp", **kept.request("subscriptions/listen", wanted)) as stream:
            assert "acknowledged" in next(stream.iter_text())


def test_others_without_a_key_may_not_run_commands(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}, "--host", "0.0.0.0", env={"MULTI_MCP_API_KEY": ""}) as running:
        running.wait_ready()
        assert send(running, "GET", "/mcp_servers").status_code == 200
        assert running.add(b=raw()).status_code == 403
    [line] = [line for line in running.lines if "API key" in line]
    assert line.endswith(
        " WARNING others can reach this address, and there is no API key: whoever can connect can use every tool, and "
        "nobody can add or remove servers; set MULTI_MCP_API_KEY or MULTI_MCP_API_KEY_FILE, or bind to 127.0.0.1 "
        "(--host)"
    )


def test_others_with_a_key_may(tmp_path: Path) -> None:
    file = tmp_path / "api-key"
    file.write_text(f"{KEYS[0]}\n")
    with proxy(tmp_path, {}, "--host", "0.0.0.0", env={"MULTI_MCP_API_KEY_FILE": str(file)}) as running:
        assert running.add(a=raw()).status_code == 401
        assert running.remove("a").status_code == 401
        headers = {"X-API-Key": KEYS[0]}
        added = running.http("POST", "/mcp_servers", json={"mcpServers": {"a": raw()}}, headers=headers)
        assert added.json()["added"] == ["a"]
        assert running.http("DELETE", "/mcp_servers/a", headers=headers).status_code == 200
    assert "there is no API key" not in running.stderr


def swap_secret(folder: Path, content: str) -> Path:
    """Put the keys into a folder as Kubernetes mounts a Secret: the whole of it changes with one rename."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / "api-key").write_text(content)
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
    file = folder / "api-key"
    if not file.is_symlink():
        file.symlink_to("..data/api-key")
    return file


@pytest.mark.parametrize("way", ["watch", "SIGHUP"])
def test_keys_are_rotated_while_it_runs(tmp_path: Path, way: str) -> None:
    """A Secret that is changed is taken up; one that is broken changes nothing, and is reported."""
    old, new = KEYS
    folder = tmp_path / "secret"
    file = swap_secret(folder, old)
    args = ["--no-watch"] if way == "SIGHUP" else []
    with proxy(tmp_path, {}, *args, env={"MULTI_MCP_API_KEY_FILE": str(file)}) as running:

        def good() -> list[str]:
            return [key for key in KEYS if send(running, "GET", "/mcp_servers", X_API_Key=key).status_code == 200]

        def put(content: str) -> None:
            swap_secret(folder, content)
            if way == "SIGHUP":
                running.popen.send_signal(signal.SIGHUP)

        assert good() == [old]
        put(f"{old},{new}")
        until(lambda: good() == [old, new], what="both keys")
        running.expect(rf" INFO MULTI_MCP_API_KEY_FILE \({file}\): changed$")
        put(new)
        until(lambda: good() == [new], what="the new key alone")
        put("")
        running.expect(rf"MULTI_MCP_API_KEY_FILE \({file}\): has no key in it; write one there")
        assert good() == [new]
        put(f"{old} {new}")
        running.expect(rf"MULTI_MCP_API_KEY_FILE \({file}\): key 1 has characters that cannot be sent")
        assert good() == [new]
        put(old)
        until(lambda: good() == [old], what="the old key alone")
    assert len([line for line in running.lines if "changed" in line]) == 3
    assert "s3cret" not in running.stderr


def test_on_loopback_without_a_key_nothing_is_said(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:
        assert running.add(a=raw()).status_code == 200
    assert "API key" not in running.stderr


@pytest.mark.parametrize("way", ["options", "environment"])
def test_allowed_hosts_and_origins(tmp_path: Path, way: str) -> None:
    hosts, origins = "multi-mcp, Proxy.Example.com", "https://app.example.com,http://dev.example:3000"
    args = ["--allowed-host", hosts, "--allowed-origin", origins] if way == "options" else []
    env = {} if args else {"MULTI_MCP_ALLOWED_HOST": hosts, "MULTI_MCP_ALLOWED_ORIGIN": origins}
    for address in ("127.0.0.1", "0.0.0.0"):
        with proxy(tmp_path, {}, "--host", address, *args, env=env) as running:
            for host in ("localhost", "multi-mcp:8080", "proxy.example.com"):
                assert send(running, "GET", "/mcp_servers", Host=host).status_code == 200
            for origin in ("http://localhost:3000", "https://app.example.com", "http://dev.example:3000"):
                assert send(running, "GET", "/mcp_servers", Origin=origin).status_code == 200
            # A kubelet's probe and a node's port name an address; a page that was rebound never does.
            by_address = send(running, "GET", "/readyz", Host="192.0.2.7:30080").status_code
            assert by_address == (421 if address == "127.0.0.1" else 200)
            for path in (*PATHS, "/healthz", "/readyz"):
                refused = send(running, "GET", path, Host="app.example.com")
                assert refused.status_code == 421
                assert "--allowed-host (MULTI_MCP_ALLOWED_HOST)" in refused.json()["error"]
                for origin in ("http://app.example.com", "https://multi-mcp", "http://192.0.2.7:30080"):
                    refused = send(running, "GET", path, Origin=origin)
                    assert refused.status_code == 403
                    assert "--allowed-origin (MULTI_MCP_ALLOWED_ORIGIN)" in refused.json()["error"]


def test_any_host_and_origin(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, "--allowed-host", "*", "--allowed-origin", "*") as running:
        headers = {"Host": "evil.example", "Origin": "null"}
        assert send(running, "GET", "/mcp_servers", **headers).status_code == 200


async def test_stdio_wants_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTI_MCP_API_KEY", KEYS[0])
    monkeypatch.setenv("MULTI_MCP_API_KEY_FILE", str(tmp_path / "missing"))
    async with within(TIMEOUT), stdio_client(write_config(tmp_path / "mcp.json", {"a": raw()})) as it:
        assert [tool.name for tool in (await it.list_tools()).tools] == ["a::echo"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_no_key_is_shown_or_handed_on(tmp_path: Path, era: str) -> None:
    """Neither in a log line or an answer, nor to a backend."""
    environment = tmp_path / "environment"
    dump = {"command": "sh", "args": ["-c", f"env > {environment}; exit 1"]}
    env = {"MULTI_MCP_API_KEY": ",".join(KEYS)}
    with raw_http("modern", "headers") as url:
        servers = {"dump": dump, "http": {"url": f"{url}/mcp"}, "sse": {"url": f"{url}/sse"}}
        with proxy(tmp_path, servers, "--log-level", "DEBUG", env=env) as running:
            running.expect("dump: failed")
            running.wait_ready()
            answers = [send(running, method, path).text for method in METHODS for path in PATHS if path != "/sse"]
            headers = {"Authorization": f"Bearer {KEYS[0]}", "X-API-Key": WRONG}
            answers += [running.http("POST", "/mcp_servers", headers=headers, content="{").text]
            answers += [running.http("GET", "/mcp_servers", headers=headers).text]
            with RawClient(running.url, era, headers) as it:
                for name in ("http", "sse"):
                    result = it.call("tools/call", {"name": f"{name}::echo", "arguments": {}})
                    got = json.loads(result["content"][0]["text"])
                    assert not {"authorization", "x-api-key"} & got.keys()
                    answers.append(json.dumps(result))
    for shown in (*answers, running.stderr, environment.read_text()):
        assert "s3cret" not in shown
    assert "PATH=" in environment.read_text()
