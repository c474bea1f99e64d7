"""A server over stdio that is given up while its process is being started."""

import asyncio
import gc
import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from multimcp.backends.stdio import StdioWire
from multimcp.protocol.limits import DEFAULT
from multimcp.protocol.link import Link
from tests.support.processes import descendants

COMMAND = (sys.executable, "-c", "import time; time.sleep(60)")


async def _given_up(turns: int) -> None:
    """Begin to start a process, give it up after so many turns of the loop, and close what there is of it."""
    before = descendants(os.getpid())  # of other tests
    link = cast(Link, SimpleNamespace(lose=lambda reason: None, receive=lambda line: None))
    wire = StdioWire(link, COMMAND, dict(os.environ), None, lambda data: None, DEFAULT)
    async with anyio.create_task_group() as group:
        group.start_soon(wire.open)
        for _ in range(turns):
            await asyncio.sleep(0)
        group.cancel_scope.cancel()
    await wire.close()
    assert descendants(os.getpid()) <= before


@pytest.mark.parametrize("turns", range(1, 9))
def test_nothing_is_left_open(turns: int) -> None:
    told: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        hook, sys.unraisablehook = sys.unraisablehook, told.append
        shown, warnings.showwarning = warnings.showwarning, lambda *args, **more: told.append(args)
        try:
            anyio.run(_given_up, turns, backend_options={"use_uvloop": True})
            gc.collect()
        finally:
            sys.unraisablehook, warnings.showwarning = hook, shown
    assert told == []
