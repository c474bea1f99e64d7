"""What of a backend needs no server to be shown."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from multimcp.backends.backend import Backend
from multimcp.errors import BackendError
from multimcp.protocol.calls import Clients
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.message import EMPTY
from multimcp.protocol.offer import TOOLS, Entry, Listing, Offer


def test_lists_that_are_read_again_and_are_the_same_change_nothing() -> None:
    changes: list[None] = []
    config = ServerConfig(command="a")
    backend = Backend("a", config, lambda: changes.append(None), Clients(), Chain("own", {}, "mcp.json"))
    connection: Any = SimpleNamespace(era="legacy", offer=Offer("v", listings={TOOLS: Listing((Entry("t", EMPTY),))}))
    backend._roster.add("legacy", "legacy", connection)
    for offer, announced, expected in (
        (connection.offer, (), 1),
        (replace(connection.offer), (), 1),
        (replace(connection.offer), ("tools",), 2),  # the server's own word counts, even if the list is the same again
        (replace(connection.offer, problems=("p",)), (), 3),
        (Offer("v"), (), 4),
    ):
        connection.offer = offer
        backend._publish(connection, announced)
        assert (len(changes), backend.offers) == (expected, {"legacy": offer})


async def test_an_era_that_is_not_spoken_is_not_tried_again_as_soon_as_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call in any turn of the event loop meanwhile waits for the one attempt, or knows how it ended."""
    tried = 0

    async def refuse(*_: Any) -> None:
        nonlocal tried
        tried += 1
        await anyio.sleep(0)
        raise BackendError("does not speak it")

    backend = Backend("a", ServerConfig(command="a"), lambda: None, Clients(), Chain("own", {}, "mcp.json"))
    monkeypatch.setattr(backend, "_open", refuse)
    backend._life.state = "ready"
    backend._roster.add("legacy", "legacy", Any)  # type: ignore[arg-type]
    async with anyio.create_task_group() as backend._group:
        assert backend.want("modern") == "modern"
        while backend.want("modern") is not None:
            assert backend._roster.is_opening("modern")
            await asyncio.sleep(0)
    assert tried == 1
