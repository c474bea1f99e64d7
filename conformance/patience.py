"""How long a target is waited for.

Rules:
- A target file says by what factor every wait is longer.
- Of a target that leaves requests unanswered, waits can be limited for what is played again later without a limit: so
  it is not accused for being slow, and hundreds of requests without an answer do not take hours.
"""

from dataclasses import dataclass
from math import inf


@dataclass
class Patience:
    """How long is waited.

    Args:
        factor: of every wait.
        limit: seconds that a wait takes at most, before the factor.
    """

    factor: float = 1.0
    limit: float = inf

    def bound(self, wait: float) -> float:
        """The seconds to wait where `wait` seconds are asked for."""
        return min(wait, self.limit) * self.factor
