"""A backend that says what a test tells it to say: `scripted_server.py` as configuration, and what it heard."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from tests.support.processes import until, whole_lines

SERVER = Path(__file__).with_name("scripted_server.py")


class Scripted:
    """A scripted backend: its configuration, and what it heard."""

    def __init__(self, folder: Path, name: str, era: str = "legacy", **capabilities: Any) -> None:
        self._log = folder / f"{name}.log"
        self.config = {
            "command": sys.executable,
            "args": [str(SERVER), str(self._log), era, json.dumps(capabilities)],
        }

    def heard(self, method: str | None = None) -> list[dict[str, Any]]:
        """The messages it got so far, of one method or all; whole ones."""
        messages = [json.loads(line) for line in whole_lines(self._log)]
        return [message for message in messages if method in (None, message.get("method"))]

    def forget(self) -> None:
        """What it heard so far."""
        self._log.unlink()

    async def hears(self, method: str, times: int = 1) -> list[dict[str, Any]]:
        """The messages of a method, when there are so many."""
        await shows(lambda: len(self.heard(method)) >= times, f"{method} for the {times}. time")
        return self.heard(method)


async def shows(condition: Callable[[], bool], what: str) -> None:
    """Wait for what nothing announces, while the clients go on."""
    await anyio.to_thread.run_sync(until, condition, 5, what)
