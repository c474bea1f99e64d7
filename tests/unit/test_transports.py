"""The ways in: how a stream ends that a client keeps open."""

import json
from typing import Any

import anyio
import pytest
from mcp.server.sse import SseServerTransport
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCResponse

from multimcp.transports import Streams, _SseEndpoint

COUNT = 4


class Answering:
    """Stands for the SDK's server: it has `COUNT` answers, all of which wait to be written."""

    def create_initialization_options(self) -> None:
        return None

    async def run(self, read: Any, write: Any, options: None) -> None:
        async with anyio.create_task_group() as group:
            for number in range(COUNT):
                message = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=number, result={}))
                group.start_soon(write.send, message)
            async with read, write:
                async for _ in read:
                    pytest.fail("nothing was sent")


async def test_answers_are_written_before_a_stream_ends() -> None:
    """To a client that reads slowly, too."""
    streams, reads, begun = Streams(), anyio.Event(), anyio.Event()
    bodies: list[bytes] = []
    ended = False

    async def send(message: dict[str, Any]) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            assert not ended
            bodies.append(message.get("body", b""))
            ended = not message.get("more_body", False)
            if b"message" in bodies[-1]:
                begun.set()
                await reads.wait()

    endpoint = _SseEndpoint({None: Answering()}, SseServerTransport("/messages/"), streams)  # type: ignore[dict-item]
    scope = {"type": "http", "method": "GET", "path": "/sse", "query_string": b"", "headers": []}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(endpoint, scope, anyio.sleep_forever, send)  # type: ignore[arg-type]
            await begun.wait()
            streams.end()
            await anyio.wait_all_tasks_blocked()
            assert not ended
            reads.set()
    assert ended
    events = [body.decode().partition("data: ")[2] for body in bodies if body.startswith(b"event: message")]
    assert [json.loads(event)["id"] for event in events] == [*range(COUNT)]
    streams.end()  # there is none any more
