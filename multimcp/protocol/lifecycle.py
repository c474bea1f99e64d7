"""A backend's states as a table: what happens, and what follows from it.

Rules:
- A backend that ends is started again, with backoff, for as long as it is wanted. One that was up for a while is tried
  again almost at once: whoever restarts it, calls wait for it.
- One log line for each change of state, and for each new reason of a failure.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["starting", "ready", "failed", "disabled", "stopped"]
Happening = Literal["connected", "failed", "lost", "stopped"]

BACKOFF: Final = (0.5, 30.0)
"""Seconds before the first and between the last attempts to connect again."""

AT_ONCE: Final = 0.1
"""Seconds before the first attempt at most, where it was up for longer than `STEADY` seconds."""

STEADY: Final = 5.0

GROWTH: Final = 1.5
"""By what each pause is longer than the one before: who comes back is noticed within half of the time it was away."""

_NEXT: Final[dict[tuple[State, Happening], State]] = {
    ("starting", "connected"): "ready",
    ("starting", "failed"): "failed",
    ("starting", "stopped"): "stopped",
    ("ready", "lost"): "failed",
    ("ready", "stopped"): "stopped",
    ("failed", "connected"): "ready",
    ("failed", "failed"): "failed",
    ("failed", "lost"): "failed",
    ("failed", "stopped"): "stopped",
}
"""What is not in it changes nothing: a backend that is disabled or stopped stays so."""


def first_state(is_disabled: bool, unset: str | None) -> State:
    """The state of a backend before anything has happened; `unset` is why it cannot be started as it is configured."""
    return "disabled" if is_disabled else "failed" if unset else "starting"


@dataclass
class Lifecycle:
    """The state of one backend. `since` and all times are in seconds of whatever clock the caller reads.

    Attributes:
        error: why it failed, in the state "failed".
        down_at: when it was lost, or created: calls wait for it from then on.
        is_new_trouble: whether it was up for long before it was lost.
    """

    state: State = "starting"
    error: str | None = None
    up_at: float = 0.0
    down_at: float = 0.0
    is_new_trouble: bool = False
    _pause: float = 2 * BACKOFF[0]
    _told: str = ""

    def on(self, happening: Happening, now: float, error: str | None = None) -> bool:
        """Note what happened; returns whether that is news worth a line."""
        after = _NEXT.get((self.state, happening), self.state)
        is_news = (after, error) != (self.state, self.error) if after == "failed" else after != self.state
        if self.state == "ready" and after != "ready":
            self.down_at = now
            self.is_new_trouble = now - self.up_at > BACKOFF[1]
            if self.is_new_trouble:
                self._told = ""
            if now - self.up_at > STEADY:
                self._pause = AT_ONCE
        if after == "ready" and self.state != "ready":
            self.up_at = now
        if after == "failed":
            self.error = error
        elif after != self.state:
            self.error = None
        self.state = after
        return is_news

    def next_pause(self, fraction: float) -> float:
        """Seconds to wait before the next attempt; `fraction`, from 0 to 1, is chance, so that not all come at once."""
        pause, self._pause = self._pause, min(self._pause * GROWTH, BACKOFF[1])
        return pause / 2 * (1 + fraction)

    def is_told(self) -> bool:
        """Whether a line has been logged for a failure like this one; it counts as told from now on."""
        reason = re.sub(r"[0-9]+", "0", self.error or "")  # times and process ids are new each time
        told, self._told = self._told, reason
        return told == reason
