"""What was sent on one event stream, numbered: a client whose connection broke off goes on behind its last event.

Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
"""

import secrets
from collections import deque
from functools import cached_property

from multimcp.protocol.framing import as_event

KEPT = 4 << 20
"""Bytes of one stream's last events that are kept; a larger one is not, and cannot be sent again."""

RETRY = 1000
"""Milliseconds that a client is asked to wait before it comes back."""


class Journal:
    """The events of one stream; the last ones are kept."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._number = 0

    @cached_property
    def name(self) -> str:
        """The stream's name, which nobody can guess; most streams never need one."""
        return secrets.token_hex(8)

    def beginning(self) -> bytes:
        """The first event: it says where to go on from if nothing else comes."""
        return f"id: {self.name}-0\r\nretry: {RETRY}\r\ndata: \r\n\r\n".encode()

    def add(self, message: bytes) -> bytes:
        """A message as the next event."""
        self._number += 1
        event = as_event(message, f"{self.name}-{self._number}")
        self._kept.append((self._number, event))
        self._size += len(event)
        while self._size > KEPT:
            self._size -= len(self._kept.popleft()[1])
        return event

    def after(self, number: int) -> list[bytes]:
        """The events behind this one, as far as they are kept."""
        return [event for each, event in self._kept if each > number]


def place(last_event_id: str) -> tuple[str, int]:
    """The stream and the number that an event's id says; of no stream of ours, an empty name."""
    name, _, number = last_event_id.rpartition("-")
    return (name, int(number)) if number.isascii() and number.isdecimal() and len(number) < 10 else ("", 0)
