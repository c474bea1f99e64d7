"""How long a client waits for backends: until when, at most, if nothing changes before. Pure.

Rules:
- Nobody waits long for servers that are starting: many clients give up after 5 s, and would have none. What is late is
  announced.
- A client that is greeted too early is declared every capability; one that waits for a hanging server waits in vain. So
  a greeting goes on a moment after the first server is ready.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Purpose = Literal["initialize", "server/discover", "a list", "a name"]

CLIENT_WAIT: Final = 3.0
"""Seconds from its first request in which a client waits for backends that are starting."""

FIRST_UP: Final = 0.3
"""Seconds in which the other backends may catch up with the first that is ready, before a client is greeted."""

ERA_WAIT: Final[Mapping[Purpose, float]] = {"initialize": 4.0, "server/discover": 0.0, "a list": 4.0, "a name": 10.0}
"""Seconds from the request in which it waits for backends that are being connected in the client's era."""


@dataclass(frozen=True)
class Standing:
    """How far the backends are. Times are in seconds of one clock.

    Attributes:
        is_starting: whether one is still at its first attempt.
        first_up: when the first of those that are ready became so; None while none is.
        is_opening: whether one is being connected in the client's era.
    """

    is_starting: bool
    first_up: float | None
    is_opening: bool


def waits_until(purpose: Purpose, since: float, asked: float, deadline: float, standing: Standing) -> float:
    """Until when a request waits, as things stand; a time that is past where it does not.

    Args:
        since: when its client was first heard of.
        asked: when it came.
        deadline: after which no client waits for backends that are starting.
    """
    times = [-1.0]
    if standing.is_starting:
        until = min(since + CLIENT_WAIT, deadline)
        if purpose in ("initialize", "server/discover") and standing.first_up is not None:
            until = min(until, max(since, standing.first_up) + FIRST_UP)
        times.append(until)
    if standing.is_opening:
        times.append(asked + ERA_WAIT[purpose])
    return max(times)
