"""What many hold together, bounded in bytes: where it is too much, whoever holds most has to let go."""

from typing import Final, Protocol

SMALL: Final = 1 << 16
"""Bytes of one holder that are not worth counting: their number is bounded elsewhere."""


class Holder(Protocol):
    """Who holds some of it."""

    def let_go(self) -> None: ...


class Pool:
    """What is held, by whom, `limit` bytes of it together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._held: dict[Holder, int] = {}

    def hold(self, holder: Holder, size: int) -> None:
        """This one holds `size` bytes now, small amounts aside."""
        self.drop(holder)
        if size <= SMALL:
            return
        self._held[holder] = size
        self._size += size
        while self._size > self._limit:
            most = max(self._held, key=self._held.__getitem__)
            self.drop(most)
            most.let_go()

    def drop(self, holder: Holder) -> None:
        """It holds nothing any more."""
        self._size -= self._held.pop(holder, 0)
