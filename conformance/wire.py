"""The wire log of one run: every message as it was sent or received, on both sides of the target, and notes between
them. All times are those of one clock, which all processes of a machine have in common (`time.monotonic`)."""

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

    def add(self, channel: str, way: Way, message: Message | str, stream: str = "", when: float | None = None) -> None:
        """Add an entry.

        Args:
            channel: the connection, such as `client 1`, or who has something to say.
            stream: what carried the message: `stdio`, `SSE`, `GET`, or `POST` with the id of the request.
            when: in seconds of the clock; now, unless it happened elsewhere.
        """
        at = round(((time.monotonic() if when is None else when) - self._begun) * 1000, 1)
        self.entries.append({"at": at, "channel": channel, "way": way, "stream": stream, "message": message})

    def beside(self) -> "Wire":
        """An empty log whose times are those of this one."""
        return Wire(_begun=self._begun)
