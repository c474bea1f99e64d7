"""What a user's client does: it connects over each transport, in each era, lists and calls."""

from mcp import Client
from mcp.client.sse import sse_client

from tests.integration.support import text, within

TIMEOUT = 60.0


async def calculate(client: Client) -> None:
    """The calculator is listed and adds."""
    async with within(TIMEOUT), client:
        assert "calculator::add" in [tool.name for tool in (await client.list_tools()).tools]
        assert text(await client.call_tool("calculator::add", {"a": 10, "b": 5})) == "15"


async def calculate_in_all_ways(url: str) -> None:
    """Over /mcp and /sse, as a client of each era."""
    for mode in ("legacy", "auto"):
        await calculate(Client(url + "/mcp", mode=mode))
        await calculate(Client(sse_client(url + "/sse"), mode=mode))
