"""What of a backend needs no server to be shown."""

import asyncio
from typing import Any

import anyio
import pytest

from multimcp.backends.backend import Backend
from multimcp.errors import BackendError
from multimcp.protocol.calls import Clients
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig


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
