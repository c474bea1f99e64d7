"""The wire log of one run: every message as it was sent or received, and notes between them."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

Message = dict[str, Any]
Way = Literal["sent", "received", "note"]


@dataclass
class Wire:
    """Collects entries in the order in which they happen. Times are in milliseconds since it was made."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)

    def add(self, channel: str, way: Way, message: Message | str) -> None:
        at = round((time.monotonic() - self._begun) * 1000, 1)
        self.entries.append({"at": at, "channel": channel, "way": way, "message": message})
