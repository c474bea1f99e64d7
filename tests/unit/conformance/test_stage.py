"""What runs for a target ends together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from conformance.launchers import Ground
from conformance.stage import Held, Stage, World
from conformance.target import load

pytestmark = pytest.mark.anyio


async def test_no_world_waits_until_another_has_ended(tmp_path: Path) -> None:
    """Each of these ends only when the other is about to: one after the other they would never be over."""
    ending = [anyio.Event(), anyio.Event()]

    @asynccontextmanager
    async def lingering(own: int) -> AsyncGenerator[None, None]:
        yield
        ending[own].set()
        await ending[1 - own].wait()

    async def world(own: int) -> World:
        _, held = await stage.hold(lingering(own))
        opened: list[Held] = [held]
        nothing = cast("Any", None)
        return World(nothing, {}, opened, nothing)

    async with anyio.create_task_group() as group:
        stage = Stage(load("multimcp"), tmp_path, cast("Ground", None), group)
        stage._worlds = {(own,): await world(own) for own in range(2)}
        with anyio.fail_after(5):
            await stage.clear()
    assert not stage._worlds
