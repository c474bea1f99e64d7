"""Calls that are held at the server `slow` until the same client releases them."""

from contextlib import suppress
from typing import Any

from conformance.client import ANSWER_WAIT, NOTICE_WAIT, Call
from conformance.session import Session
from conformance.verdict import Failure
from conformance.wire import Message

SLOW = "slow"


async def hold(s: Session, label: str, **options: Any) -> Call:
    """A call that has reached its backend and is not answered before its label is released.

    Args:
        options: as for `Session.start`.
    """
    await _settle(s)
    before = _arrived(s, label)
    call = await s.start(SLOW, "wait", {"label": label}, **options)
    await s.journal(SLOW).wait(lambda _: _arrived(s, label) > before, "the call", ANSWER_WAIT)
    return call


def _arrived(s: Session, label: str) -> int:
    """How many calls have come to wait for the label."""
    calls = (entry["params"] for entry in s.journal(SLOW).received("tools/call"))
    return sum(call.get("name") == "wait" and call.get("arguments") == {"label": label} for call in calls)


async def release(s: Session, label: str, **options: Any) -> Message:
    """Release the calls that wait for a label; returns the result of that.

    Raises:
        Failure: it cannot be called.
    """
    return (await s.call_tool(SLOW, "release", {"label": label}, **options)).result


async def _settle(s: Session) -> None:
    """Call until a call reaches the backend in the client's era, or it seems that none will.

    A proxy may open its connection of an era late, over stdio to a process of its own: what a call before that holds,
    one after it does not release.
    """

    async def reached() -> bool:
        await s.call_tool(SLOW, "progress", {"steps": 0})
        return any(entry["era"] == s.era for entry in s.journal(SLOW).received("tools/call"))

    await s.call_tool(SLOW, "progress", {"steps": 0})
    with suppress(Failure):
        await s.until(reached, "no call in the client's era", NOTICE_WAIT)
