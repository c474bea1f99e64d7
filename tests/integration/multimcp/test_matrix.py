"""Any client transport by any backend transport by both eras: listing and calling work."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.support.processes import TIMEOUT, proxy, stdio_client, text, within, write_config

BACKENDS = ("stdio", "sse", "http")
OWN_TOOLS = ["add", "subtract", "multiply", "divide"]
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


async def check(client: Client, mode: str) -> None:
    async with within(TIMEOUT), client:
        assert client.session.protocol_version == VERSIONS[mode]
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert listed == [f"{backend}::{name}" for backend in BACKENDS for name in OWN_TOOLS]
        for backend in BACKENDS:
            assert text(await client.call_tool(f"{backend}::add", {"a": 10, "b": 5})) == "15"
            failed = await client.call_tool(f"{backend}::divide", {"a": 1, "b": 0})
            assert failed.is_error


@pytest.mark.parametrize("mode", VERSIONS)
async def test_stdio_clients(tmp_path: Path, calculators: dict[str, Any], mode: str) -> None:
    await check(stdio_client(write_config(tmp_path / "mcp.json", calculators), mode=mode), mode)


async def test_http_and_sse_clients(tmp_path: Path, calculators: dict[str, Any]) -> None:
    with proxy(tmp_path, calculators) as running:
        for transport in ("sse", "http"):
            for mode in VERSIONS:
                await check(running.client(transport, mode), mode)
        eras = {name: server["era"] for name, server in running.status().items()}
        assert eras == {"stdio": "legacy", "sse": "legacy", "http": "modern"}
