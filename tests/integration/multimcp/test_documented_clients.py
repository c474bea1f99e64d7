"""The snippets of docs/clients.md connect: configurations as clients use them, and programs of the SDKs.

Rules:
- A snippet is used as it is written. Replaced are the places that are the reader's: the URL, the key, `/path/to`.
- What a snippet starts is started in `/` and with next to no environment, as desktop applications do.
- Snippets for frameworks are compiled (tests/unit/test_documentation.py), and tried by hand.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.npm import node
from tests.support.documentation import Block, blocks, documented, example
from tests.support.processes import PATIENT, ROOT, TIMEOUT, Proxy, program, proxy, within

KEY = "a-key"
PAGE = ROOT / "docs" / "clients.md"
(SERVERS,) = (block.text for block in blocks("json") if "/path/to/multi-mcp/fixtures" in block.text)
"""The mcp.json for desktop applications."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    servers = json.loads(here(SERVERS))["mcpServers"]
    with proxy(tmp_path_factory.mktemp("clients"), servers, env={"MULTI_MCP_API_KEY": KEY}) as running:
        yield running.wait_ready()


def here(text: str, **places: str) -> str:
    """The snippet with the places of this machine."""
    for place, ours in {**places, "/path/to/multi-mcp": str(ROOT)}.items():
        text = text.replace(place, ours)
    return text


def entries(key: str) -> list[Any]:
    """The entries under `mcpServers` and `servers` that have `key`, with the block in which each stands."""
    found = []
    for block in blocks("json"):
        value = json.loads(block.text)
        for name, entry in {**value.get("mcpServers", {}), **value.get("servers", {})}.items():
            if name.startswith("multi-mcp") and entry.get(key, "npx") != "npx":
                found.append(pytest.param(block, name, id=str(block)))
    return found


def entry(text: str, name: str) -> dict[str, Any]:
    value = json.loads(text)
    found: dict[str, Any] = value.get("mcpServers", value.get("servers"))[name]
    return found


async def lists(client: Client) -> None:
    async with within(TIMEOUT), client:
        assert "calculator::add" in [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize(("block", "name"), entries("url"))
async def test_a_configuration_with_a_url(running: Proxy, block: Block, name: str) -> None:
    text = here(block.text, **{"http://127.0.0.1:8080": running.url})
    for variable in ("${MULTI_MCP_API_KEY}", "${env:MULTI_MCP_API_KEY}", "${input:multi-mcp-key}"):
        text = text.replace(variable, KEY)
    server = entry(text, name)
    async with httpx2.AsyncClient(headers=server["headers"]) as http:
        await lists(Client(streamable_http_client(server["url"], http_client=http)))


@pytest.mark.parametrize(("block", "name"), entries("command"))
async def test_a_configuration_with_a_command(tmp_path: Path, block: Block, name: str) -> None:
    """`multi-mcp` is not installed here; tests/e2e/test_new_user.py installs it."""
    (tmp_path / "mcp.json").write_text(here(SERVERS))
    server = entry(block.text.replace("/path/to/mcp.json", str(tmp_path / "mcp.json")), name)
    assert server["command"] == "/path/to/multi-mcp/.venv/bin/multi-mcp"
    arguments = [*program(PATIENT), *server["args"]]
    environment = {"PYTHONPATH": str(ROOT)}
    await lists(Client(StdioServerParameters(command=sys.executable, args=arguments, cwd="/", env=environment)))


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_inspector(npm: None, running: Proxy, tmp_path: Path) -> None:
    """The installed one in place of what `npx` would download; over stdio with `multi-mcp` as above."""
    (tmp_path / "mcp.json").write_text(here(SERVERS))
    places = {
        "npx @modelcontextprotocol/inspector": " ".join(node.command("mcp-inspector")),
        "http://127.0.0.1:8080": running.url,
        "/path/to/mcp.json": str(tmp_path / "mcp.json"),
        "/path/to/multi-mcp/.venv/bin/multi-mcp": shlex.join([sys.executable, *program(PATIENT)]),
    }
    for command in (
        documented("npx @modelcontextprotocol/inspector --cli http"),
        documented("npx @modelcontextprotocol/inspector --cli -e"),
    ):
        told = run(["sh", "-c", here(command, **places)], {**os.environ, "MULTI_MCP_API_KEY": KEY}, ROOT)
        assert json.loads(told)["tools"][0]["name"] == "calculator::add"


def test_the_python_sdk(running: Proxy, tmp_path: Path) -> None:
    program = here(example("import asyncio\nimport os\n\nimport httpx2\nfrom mcp import Client\n", "python"))
    program = program.replace("http://127.0.0.1:8080", running.url)
    told = run([sys.executable, "-c", program], {**os.environ, "MULTI_MCP_API_KEY": KEY}, tmp_path)
    assert told.startswith("calculator::add\n")
    assert "text='5'" in told


def test_the_typescript_sdk(npm: None, running: Proxy) -> None:
    """Beside the installed packages, because that is where Node looks for them."""
    program = example('import { Client } from "@modelcontextprotocol/sdk/client/index.js";', "js")
    file = node.FOLDER / "documented.mjs"
    file.write_text(program.replace("http://127.0.0.1:8080", running.url))
    told = run([str(node.FOLDER / "bin" / "node"), str(file)], {**os.environ, "MULTI_MCP_API_KEY": KEY}, node.FOLDER)
    file.unlink()
    assert "'calculator::add'" in told
    assert "text: '5'" in told


@pytest.mark.parametrize("block", blocks("js"), ids=str)
def test_javascript_that_is_not_run_here(npm: None, tmp_path: Path, block: Block) -> None:
    file = tmp_path / "documented.mjs"
    file.write_text(block.text)
    run([str(node.FOLDER / "bin" / "node"), "--check", str(file)], dict(os.environ), tmp_path)
