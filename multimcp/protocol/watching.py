"""Who watches which resource of one backend, and what has to be subscribed to there for that.

Rules:
- A resource is subscribed to once for all who watch it, and unsubscribed from when the last one leaves.
- Each hears of an update under the URI that it used itself.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from .calls import UPDATED, Listener, Session
from .message import Fields, notification, pack

LONG: Final = 2000
"""Characters of a URI whose parts are looked up one by one."""


@dataclass(frozen=True)
class Watcher:
    """A client that wants to know of updates of a resource, and how it spells its URI."""

    who: Session | Listener
    public: str

    @property
    def session(self) -> Session | None:
        """The legacy client that it is, if it is one."""
        return self.who if isinstance(self.who, Session) else None

    def tell(self, params: Fields, rest: str) -> None:
        """Tell of an update; `rest` is what the updated part's URI adds to the one that is watched."""
        if isinstance(self.who, Session):
            self.who.tell(notification(UPDATED, {**params, "uri": pack(self.public + rest)}))
        else:
            self.who.tell(UPDATED, {**params, "uri": pack(self.public)})


class Watchers:
    """Who watches the resources of one backend, by the URIs that it knows."""

    def __init__(self) -> None:
        self._by_uri: dict[str, dict[Hashable, Watcher]] = {}
        self._spellings: dict[str, list[str]] = {}
        """The URIs that are watched, by what they are without the slashes at their end."""

    def add(self, uri: str, watcher: Watcher) -> bool:
        """From now on it watches; returns whether it did not before."""
        if uri not in self._by_uri:
            self._spellings.setdefault(uri.rstrip("/"), []).append(uri)
        watchers = self._by_uri.setdefault(uri, {})
        is_new = watcher.who not in watchers
        watchers[watcher.who] = watcher
        return is_new

    def remove(self, who: Session | Listener, uri: str | None = None) -> list[str]:
        """It watches this resource, or any, no more; returns those that nobody watches now."""
        left = []
        for watched in [uri] if uri is not None else list(self._by_uri):
            watchers = self._by_uri.get(watched, {})
            if watchers.pop(who, None) is not None and not watchers:
                del self._by_uri[watched]
                spellings = self._spellings[stem := watched.rstrip("/")]
                spellings.remove(watched)
                if not spellings:
                    del self._spellings[stem]
                left.append(watched)
        return left

    def wanted(self, is_served: Callable[[Watcher], bool]) -> set[str]:
        """The resources that have to be subscribed to on a connection; `is_served`: it is this watcher's."""
        return {uri for uri in self._by_uri if self.wants(uri, is_served)}

    def wants(self, uri: str, is_served: Callable[[Watcher], bool]) -> bool:
        """Whether this is one of them."""
        return any(map(is_served, self._by_uri.get(uri, {}).values()))

    def updated(self, params: Fields, uri: str, is_served: Callable[[Watcher], bool]) -> None:
        """Tell of an update. It may be of a part of what is watched (spec, resources/updated)."""
        for watched in dict.fromkeys([uri, *self._above(uri)]):
            for watcher in list(self._by_uri.get(watched, {}).values()):
                if is_served(watcher):
                    watcher.tell(params, uri[len(watched) :])

    def _above(self, uri: str) -> list[str]:
        """The URIs that are watched of which this one is a part."""
        stems: Iterable[str] = self._spellings  # many may be watched, or many slashes be in a hostile URI
        if len(uri) <= LONG:
            stems = accumulate(uri.split("/")[:-1], "{}/{}".format)
        return [each for stem in stems if uri.startswith(f"{stem}/") for each in self._spellings.get(stem, ())]


def to_settle(wanted: Iterable[str], subscribed: Iterable[str]) -> tuple[list[str], list[str]]:
    """What to subscribe to, and what to unsubscribe from."""
    wanted, subscribed = set(wanted), set(subscribed)
    return sorted(wanted - subscribed), sorted(subscribed - wanted)
