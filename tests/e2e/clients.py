"""What a user's client does: it connects over each transport, in each era, lists and calls."""

import anyio
from mcp import Client
from mcp.client.sse import sse_client

from tests.support.processes import text, within

TIMEOUT = 60.0


async def calculate(client: Client) -> None:
    """The calculator is listed, at the latest when it has started, and adds."""
    async with within(TIMEOUT), client:
        while "calculator::add" not in [tool.name for tool in (await client.list_tools()).tools]:
            await anyio.sleep(0.1)  # the first list waits 3 s, which a busy machine may take longer than
        assert text(await client.call_tool("calculator::add", {"a": 10, "b": 5})) == "15"


async def calculate_in_all_ways(url: str) -> None:
    """Over /mcp and /sse, as a client of each era."""
    for mode in ("legacy", "auto"):
        await calculate(Client(url + "/mcp", mode=mode))
        await calculate(Client(sse_client(url + "/sse"), mode=mode))
