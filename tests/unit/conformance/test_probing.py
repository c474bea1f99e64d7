"""Whether each request of a client meets another process."""

from typing import Any, cast

import pytest

from conformance.fixtures import Server
from conformance.probing import HARMLESS, apart
from conformance.scenarios import load_all
from conformance.session import Session
from conformance.verdict import Failure

Message = dict[str, Any]


def entry(pid: int, session: str | None = None, connection: int | None = None) -> Message:
    headers = {"mcp-session-id": session} if session else {}
    return {"pid": pid, "params": {"name": "progress"}, "headers": headers, "connection": connection}


class Journal:
    def __init__(self, entries: list[Message]) -> None:
        self.entries = entries

    def mark(self) -> None:
        """It is the same to these entries."""

    def received(self, method: str) -> list[Message]:
        return self.entries if method == "tools/call" else []


class Talking:
    """A session whose calls are received as told, and one that fails when there are no more."""

    def __init__(self, entries: list[Message]) -> None:
        self.left = len(entries)
        self._journal = Journal(entries)
        self.world = type("World", (), {"backends": {"s": type("Backend", (), {"server": Server("s", file="slow")})}})

    def another(self) -> "Talking":
        return self

    def journal(self, server: str) -> Journal:
        return self._journal

    async def call_tool(self, *args: Any, **options: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Failure("it does not answer")

    async def leave(self) -> None:
        """Nobody is told."""


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry(1), entry(1), entry(1)], False),
        ([entry(1), entry(2), entry(3)], True),
        ([entry(1), entry(2), entry(1)], False),  # of a pool
        ([entry(1, "a"), entry(1, "b"), entry(1, "c")], True),
        ([entry(1, "a"), entry(1, "a"), entry(1, "a")], False),
        ([entry(1, connection=1), entry(1, connection=2), entry(1, connection=3)], True),
        ([entry(1), entry(2)], False),  # the third call got no answer: that is no excuse
        ([], False),
    ],
)
async def test_each_call_has_to_meet_another(entries: list[Message], told: bool) -> None:
    said = await apart(cast(Session, Talking(entries)))
    assert ("(processes 1, " in said) == told == bool(said)


@pytest.mark.parametrize(
    "scenario", [each for each in load_all().values() if each.remembers], ids=lambda scenario: scenario.name
)
def test_a_server_that_remembers_can_be_asked_for_its_process(scenario: Any) -> None:
    assert (scenario.servers[0].file or scenario.servers[0].name) in HARMLESS
    assert not scenario.own
