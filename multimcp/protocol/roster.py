"""The connections of one backend, by era and client: which one serves whom, and which is to be opened. Pure.

Rules:
- A client is served by a connection of its own, by one in its era, or else by the first; so is what it is offered.
- The backend lives and dies with the first. Its era is tried with that; the other one when a client of it asks for
  anything, unless it is known not to be spoken.
- With `"scope": "session"` a legacy client is served by a connection of its own, or by none.
"""

import math
from collections.abc import Collection
from typing import Final, Generic, TypeVar

from .calls import Session
from .message import Era

ERA_RETRY: Final = 60.0
"""Seconds before a backend that was not to be reached in an era is tried in it again."""

Key = Era | Session
"""A connection of a backend: in an era, for all clients; or for one legacy client alone."""

T = TypeVar("T")


def serving(keys: Collection[Key], era: Era, session: Session | None) -> Key | None:
    """Which of these serves a client: its own, that of its era, or else the first; None where there is none."""
    return next((key for key in (session, era, *keys) if key is not None and key in keys), None)


class Roster(Generic[T]):
    """The connections that a backend has, and those that are being opened.

    Args:
        is_apart: whether each legacy client has a connection of its own.
    """

    def __init__(self, is_apart: bool) -> None:
        self.is_apart = is_apart
        self.connections: dict[Key, T] = {}
        """In the order in which they were opened."""
        self.problems: dict[Key, str] = {}
        """Why the last attempt to open a connection failed."""
        self._opening: dict[Key, object] = {}
        self._spoken: set[Era] = set()
        self._not_before: dict[Era, float] = {}

    @property
    def first(self) -> T | None:
        """The connection that the backend lives and dies with."""
        return next(iter(self.connections.values()), None)

    def key_of(self, connection: T) -> Key | None:
        """Under which key this connection is held, if it is."""
        return next((key for key, each in self.connections.items() if each is connection), None)

    def serving(self, era: Era, session: Session | None) -> T | None:
        """The connection, if it is there, by which a client is served."""
        if session is not None and (self.is_apart or session in self.connections):
            return self.connections.get(session)
        return self.connections.get(era) or self.first

    def missing(self, era: Era, session: Session | None, now: float) -> Key | None:
        """The connection that a client would be served by, if it were open: it is being opened, or should be."""
        if not self.connections:
            return None
        key: Key = session if session is not None and self.is_apart else era
        is_due = isinstance(key, Session) or now >= self._not_before.get(key, 0.0)
        return key if is_due and key not in self.connections else None

    def is_opening(self, key: Key) -> bool:
        """Whether this connection is being opened."""
        return key in self._opening

    def begin(self, key: Key, attempt: object) -> None:
        """An attempt to open this connection begins."""
        self._opening[key] = attempt
        self.problems.pop(key, None)

    def end(self, key: Key, attempt: object) -> None:
        """An attempt has ended. There may be another one by now, if it had succeeded."""
        if self._opening.get(key) is attempt:
            del self._opening[key]

    def add(self, key: Key, era: Era, connection: T) -> None:
        """A connection has been opened, in an era."""
        self.connections[key] = connection
        self._spoken.add(era)
        self._opening.pop(key, None)

    def fail(self, key: Key, problem: str, is_unreached: bool, now: float) -> None:
        """A connection was not opened, or has ended with a problem.

        A server that could not be reached, or has spoken this era, has not said that it does not.
        """
        if isinstance(key, Session) and key.state == "gone":
            return  # who would forget it? All have, by now
        self.problems[key] = problem
        if not isinstance(key, Session):
            self._not_before[key] = now + ERA_RETRY if is_unreached or key in self._spoken else math.inf

    def refused(self, era: Era) -> None:
        """The backend does not speak this era."""
        self._not_before[era] = math.inf

    def forget(self, session: Session) -> None:
        """A client is gone."""
        self.problems.pop(session, None)

    def clear(self) -> None:
        """The first connection is gone, and with it all others; what comes next may be another program."""
        self.connections.clear()
        self._not_before.clear()
