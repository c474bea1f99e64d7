"""A backend's states as a table: what happens, and what follows from it.

Rules:
- A backend that ends is started again, with backoff, for as long as it is wanted. One that was up for long begins with
  the short pause again.
- One log line for each change of state, and for each new reason of a failure.
"""

from dataclasses import dataclass
from typing import Final, Literal

State = Literal["starting", "ready", "failed", "disabled", "stopped"]
Happening = Literal["connected", "failed", "lost", "stopped"]

BACKOFF: Final = (0.5, 30.0)
"""Seconds before the first and between the last attempts to connect again."""

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


@dataclass
class Lifecycle:
    """The state of one backend. `since` and all times are in seconds of whatever clock the caller reads.

    Attributes:
        error: why it failed, in the state "failed".
        down_at: when it was lost, or created: calls wait for it from then on.
    """

    state: State = "starting"
    error: str | None = None
    up_at: float = 0.0
    down_at: float = 0.0
    _pause: float = 2 * BACKOFF[0]

    def on(self, happening: Happening, now: float, error: str | None = None) -> bool:
        """Note what happened; returns whether that is news worth a line."""
        after = _NEXT.get((self.state, happening), self.state)
        is_news = (after, error) != (self.state, self.error) if after == "failed" else after != self.state
        if self.state == "ready" and after != "ready":
            self.down_at = now
            if now - self.up_at > BACKOFF[1]:
                self._pause = 2 * BACKOFF[0]  # it was up for long: this is a new trouble
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
        pause, self._pause = self._pause, min(self._pause * 2, BACKOFF[1])
        return BACKOFF[0] + fraction * (pause - BACKOFF[0])
