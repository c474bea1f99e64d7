"""Calls that are held at the server `slow` until a client releases them, whichever of its processes is asked."""

from typing import Any

from conformance.client import ANSWER_WAIT, Call
from conformance.session import Session
from conformance.wire import Message

SLOW = "slow"


async def hold(s: Session, label: str, **options: Any) -> Call:
    """A call that has reached its backend and is not answered before its label is released.

    Args:
        options: as for `Session.start`.
    """
    before = _arrived(s, label)
    call = await s.start(SLOW, "wait", {"label": label}, **options)
    await s.journal(SLOW).wait(lambda _: _arrived(s, label) > before, "the call", ANSWER_WAIT)
    return call


def _arrived(s: Session, label: str) -> int:
    """How many calls have come to wait for the label."""
    waits = [entry for entry in s.journal(SLOW).entries if entry["at"] == "waits"]
    return sum(entry["arguments"] == {"label": label} for entry in waits)


async def release(s: Session, label: str, **options: Any) -> Message:
    """Release the calls that wait for a label; returns the result of that.

    Raises:
        Failure: it cannot be called.
    """
    return (await s.call_tool(SLOW, "release", {"label": label}, **options)).result
