"""Where the proxy is found: the addresses it listens on, paths with and without slash, and a reverse proxy's prefix."""

import socket
from pathlib import Path

import httpx2
import pytest

from tests.support.processes import TIMEOUT, Proxy, proxy, run, write_config

HAS_IPV6 = socket.has_dualstack_ipv6()
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "0"}}
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}


def reached(running: Proxy, *addresses: str) -> list[bool]:
    port = int(running.url.rpartition(":")[2])
    found = []
    for address in addresses:
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        try:
            found.append(httpx2.get(f"{url}/healthz", trust_env=False, timeout=TIMEOUT).status_code == 200)
        except httpx2.ConnectError:
            found.append(False)
    return found


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
@pytest.mark.parametrize(
    ("host", "ipv4", "ipv6"),
    [
        ("::", True, True),
        ("[::]", True, True),
        ("", True, True),
        ("localhost", True, True),
        ("LocalHost", True, True),
        ("0.0.0.0", True, False),
        ("::1", False, True),
        ("127.0.0.1", True, False),
    ],
)
def test_the_addresses_of_a_host(tmp_path: Path, host: str, ipv4: bool, ipv6: bool) -> None:
    with proxy(tmp_path, {}, "--host", host) as running:
        assert reached(running, "127.0.0.1", "::1") == [ipv4, ipv6]


def test_of_several_addresses_those_that_there_are(tmp_path: Path) -> None:
    """Where IPv6 is off, or somebody else has the port there, `localhost` is 127.0.0.1."""
    with proxy(tmp_path, {}, "--host", "localhost", first=NO_IPV6.strip()) as running:
        assert reached(running, "127.0.0.1", "::1") == [True, False]


NO_IPV6 = """
import socket
real = socket.create_server
def fake(address, **options):
    if ":" in address[0]:
        raise OSError(99, "Cannot assign requested address")
    return real(address, **options)
socket.create_server = fake
"""


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
def test_slashes_of_streamable_http(shared: Proxy, path: str) -> None:
    headers = {"Accept": "application/json, text/event-stream"}
    assert shared.http("POST", path, json=INITIALIZE, headers=headers).json()["result"]


@pytest.mark.parametrize("path", ["/sse", "/sse/"])
def test_slashes_of_sse(shared: Proxy, path: str) -> None:
    with httpx2.Client(timeout=TIMEOUT, trust_env=False) as http, http.stream("GET", shared.url + path) as stream:
        events = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
        endpoint = next(events)
        assert endpoint.startswith("/messages/?session_id=")
        for each in (endpoint, endpoint.replace("/messages/", "/messages")):
            assert http.post(shared.url + each, json=INITIALIZE).status_code == 202
            assert '"result"' in next(events)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/sse", "/sse/", "/messages", "/messages/"])
def test_methods_that_a_path_does_not_have(shared: Proxy, path: str) -> None:
    for method in ("HEAD", "OPTIONS", "PUT", "PATCH"):
        answer = shared.http(method, path)
        assert answer.status_code == 405
        assert answer.headers["Allow"]


def endpoint(url: str, **headers: str) -> str:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    with httpx2.Client(timeout=TIMEOUT, trust_env=False, headers=given) as http, http.stream("GET", url) as stream:
        return next(line for line in stream.iter_lines() if line.startswith("data: ")).partition("/messages")[0]


def test_a_reverse_proxy_says_its_prefix(shared: Proxy) -> None:
    assert endpoint(f"{shared.url}/sse", x_forwarded_prefix="/tools") == "data: /tools"
    assert endpoint(f"{shared.url}/sse", x_forwarded_prefix="//evil.example") == "data: "
    page = shared.http("GET", "/", headers={"Accept": "text/html", "X-Forwarded-Prefix": "/tools"})
    assert 'href="/tools/mcp_servers"' in page.text


def test_not_one_that_is_not_trusted(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, "--forwarded-allow-ips", "192.0.2.0/24") as running:
        assert endpoint(f"{running.url}/sse", x_forwarded_prefix="/tools") == "data: "


def test_the_prefix_of_a_reverse_proxy_is_given(tmp_path: Path) -> None:
    """Whether that takes it away or not; and keys are wanted wherever they are without it."""
    env = {"MULTI_MCP_API_KEY": "k", "MULTI_MCP_ROOT_PATH": "/tools/"}
    with proxy(tmp_path, {}, env=env) as running:
        for before in ("", "/tools"):
            assert endpoint(f"{running.url}{before}/sse", x_api_key="k") == "data: /tools"
            assert running.http("POST", f"{before}/mcp", json=INITIALIZE, headers={"X-API-Key": "k"}).status_code == 200
            assert running.http("POST", f"{before}/mcp", json=INITIALIZE).json()["error"]["code"] == -32600
            assert running.http("GET", f"{before}/mcp_servers").status_code == 401
            assert running.http("GET", f"{before}/mcp_servers", headers={"X-API-Key": "k"}).status_code == 200
            assert running.http("GET", f"{before}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--root-path", "https://a/b", "'https://a/b' is not a path; write it as in /tools/mcp"),
        ("--forwarded-allow-ips", "here", "'here' is neither an address nor a network"),
    ],
)
def test_options_that_are_none(tmp_path: Path, option: str, value: str, problem: str) -> None:
    done = run("--config", str(write_config(tmp_path / "mcp.json", {})), option, value)
    assert done.returncode == 2
    assert problem in done.stderr
