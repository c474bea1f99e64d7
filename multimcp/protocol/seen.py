"""Which lists a client has been given: only what changed since is worth a `list_changed`. Pure data.

Rules:
- A list that was handed out is known, and so is one that the client was told to read again.
- A client that has asked for no list yet knows what there was when it was greeted.
- With its first list it knows the others as they are then: it is looking for the first time, and holds nothing old.
- A server's own word that a list changed counts, even if the list is the same again, unless the client read it since.
"""

from collections.abc import Mapping

from .offer import KINDS, Entry, Kind, Listing

Lists = Mapping[Kind, Listing]


class Seen:
    """What one client knows of the lists.

    Versions are numbers that grow with each change of what is offered.

    Args:
        lists: as they are when the client is greeted.
        version: the one that they are.
    """

    def __init__(self, lists: Lists, version: int) -> None:
        self._known = {kind: lists.get(kind) for kind in KINDS}
        self._version = dict.fromkeys(KINDS, version)
        self._asked: set[Kind] = set()
        self._heard: dict[str, int] = {}
        self.is_settled = False
        """Whether the client has a list, or does not seem to be about to ask for one."""
        self.asking = 0
        """How many of its requests for a list wait for servers: it is told of nothing before it has them."""

    def hand_out(self, kind: Kind, lists: Lists, version: int) -> None:
        """The client is given the list of this kind."""
        for known in KINDS if not self._asked else (kind,):
            self._known[known] = lists.get(known)
        self._version[kind] = version
        self._asked.add(kind)
        self.is_settled = True

    def hear(self, capability: str, version: int) -> None:
        """A server has said that its lists of this capability (`tools`, ...) changed; they were read since."""
        self._heard[capability] = version

    def news(self, lists: Lists, version: int) -> set[str]:
        """The capabilities whose lists the client has to read again. It counts as told, and is not told twice."""
        changed = {kind.capability for kind in KINDS if _items(lists.get(kind)) != _items(self._known[kind])}
        for capability, heard in self._heard.items():
            kinds = {kind for kind in KINDS if kind.capability == capability}
            if any(self._version[kind] < heard for kind in kinds & self._asked or kinds):
                changed.add(capability)
        for kind in KINDS:
            if kind.capability in changed:
                self._known[kind], self._version[kind] = lists.get(kind), version
        return changed


def _items(listing: Listing | None) -> tuple[Entry, ...]:
    """What is listed. For how long it may be kept is no reason to read it again.

    As a rule (`Registry.catalog`) it is the same object for as long as it is the same, which is quick to see.
    """
    return listing.entries if listing else ()
