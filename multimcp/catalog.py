"""What all backends offer together, under public names. Pure data, built from offers, never changed.

Rules:
- Servers come in config order; so do their entries. The same offers give the same catalog, byte for byte.
- A public name leads to exactly one (server, original name). With namespace "never" the first server wins a
  collision, and `collisions` says so.
- A name that is not offered as it stands is understood all the same if it is a spelling of one tool (or prompt) only.
- A URI is renamed only if an earlier server has it already, and then the same way inside what its server returns.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from .config import ToolFilter
from .errors import AmbiguousNameError
from .naming import Namespace, Spelling, is_legal, llm_names, public_name, qualify, shorten, spellings
from .offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Listing, Offer

_VARIABLE = re.compile(r"\{[^}]*\}")
_BROAD = re.compile(r"\{[+#]|\*\}")

NAMED = (TOOLS, PROMPTS)
"""What has a name; the other kinds have a URI."""

MEANT = 5
"""How many of those that a name could mean are told to who used it."""


@dataclass(frozen=True)
class Names:
    """How tools and prompts are named; `spelling` is that of clients that ask for none."""

    separator: str = "::"
    namespace: Namespace = "always"
    spelling: Spelling = "plain"


@dataclass(frozen=True)
class Route:
    """Where a public name leads: the server, and what that server calls it."""

    server: str
    name: str


@dataclass(frozen=True)
class _Template:
    """A URI template under its public spelling, ready to be matched."""

    route: Route
    matcher: UriTemplate | None
    prefix: str

    def matches(self, uri: str) -> bool:
        if self.matcher:
            return self.matcher.match(uri) is not None
        return bool(self.prefix) and uri.startswith(self.prefix)


@dataclass(frozen=True)
class Catalog:
    """The lists of all servers merged, and the routes from public names back to the servers.

    It shows the names of one spelling, `build` those of "plain"; `spelled` has the same in another.
    """

    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    routes: Mapping[Kind, Mapping[str, Route]] = field(default_factory=dict)
    public: Mapping[Kind, Mapping[Route, str]] = field(default_factory=dict)
    templates: Sequence[_Template] = ()
    input_schemas: Mapping[Route, Any] = field(default_factory=dict)
    collisions: tuple[str, ...] = ()
    names: Names = Names()
    plain: "Catalog | None" = field(default=None, repr=False, compare=False)
    """The catalog that this one is `spelled` from; None where it shows plain names itself."""

    def spelled(self, spelling: Spelling) -> "Catalog":
        """The same, of a catalog that shows plain names, under the names of `spelling`; made once."""
        return self._llm if spelling == "llm" else self

    def route(self, kind: Kind, name: str) -> Route | None:
        """Where the public `name` leads, if it is listed."""
        return self.routes[kind].get(name) if kind in self.routes else None

    def understand(self, kind: Kind, name: str) -> Route | None:
        """Where `name` leads: to the tool or prompt that is listed so, or else to the one that can be spelled so.

        Raises:
            AmbiguousNameError: the client's: several can be spelled so, and none is listed so.
        """
        if route := self.route(kind, name):
            return route
        meant = (self.plain or self)._meant[kind].get(name, ())
        if len(meant) > 1:
            shown = [f"'{self.public[kind][route]}'" for route in meant[:MEANT]]
            several = f"{', '.join(shown[:-1])} or {shown[-1]}" + (", among others" if len(meant) > MEANT else "")
            raise AmbiguousNameError(f"'{name}' could mean the {kind.noun} {several}; use one of these names")
        return meant[0] if meant else None

    @property
    def refused(self) -> list[str]:
        """The names of tools, as they are shown, that LLM APIs do not take."""
        return [name for name in self.routes.get(TOOLS, ()) if not is_legal(name)]

    @cached_property
    def _llm(self) -> "Catalog":
        listings, routes = dict(self.listings), dict(self.routes)
        for kind in self.routes.keys() & NAMED:
            taken: dict[str, Route] = {}
            items: list[Mapping[str, Any]] = []
            for route, entry in zip(self.routes[kind].values(), self.listings[kind].items, strict=True):
                candidates = llm_names(route.server, route.name, self.names.namespace)
                name = next(name for name in candidates if name not in taken)
                taken[name] = route
                items.append({**entry, kind.id: name})
            routes[kind], listings[kind] = taken, replace(self.listings[kind], items=tuple(items))
        return replace(self, listings=listings, routes=routes, public=_reversed(routes), plain=self)

    @cached_property
    def _meant(self) -> Mapping[Kind, Mapping[str, Sequence[Route]]]:
        """By kind and spelling, whose it is, whichever names are shown; of a catalog that shows plain names."""
        meant: dict[Kind, dict[str, dict[Route, None]]] = {kind: {} for kind in NAMED}
        for kind, owners in meant.items():
            for route, shown in self.public.get(kind, {}).items():
                names = (shown, self._llm.public[kind][route])
                for name in spellings(route.server, route.name, self.names.separator, names):
                    owners.setdefault(name, {})[route] = None
        return {kind: {name: tuple(routes) for name, routes in owners.items()} for kind, owners in meant.items()}

    def by_template(self, uri: str) -> Route | None:
        """Where a URI leads that a listed template generates; the most literal template wins."""
        for template in self.templates:
            if template.matches(uri):
                added = len(self.public[TEMPLATES][template.route]) - len(template.route.name)
                return Route(template.route.server, shorten(uri, added))
        return None


def build(offers: Mapping[str, Offer], names: Names, filters: Mapping[str, ToolFilter]) -> Catalog:
    """Merge what the servers offer.

    Args:
        offers: by server, in config order.
        names: how tools and prompts are named.
        filters: by server, which of its tools are offered.
    """
    listings: dict[Kind, Listing] = {}
    routes: dict[Kind, dict[str, Route]] = {}
    collisions: list[str] = []
    for kind in (TOOLS, PROMPTS, RESOURCES, TEMPLATES):
        items: list[Mapping[str, Any]] = []
        taken = routes[kind] = {}
        parts = [offer.listings[kind] for offer in offers.values() if kind in offer.listings]
        for server, offer in offers.items():
            wanted = filters.get(server, ToolFilter())
            for entry in offer.items(kind):
                name = entry[kind.id]
                if kind is TOOLS and not wanted.admits(name):
                    continue
                public = _public(kind, server, name, taken, names)
                if public in taken:
                    collisions.append(f"{kind.noun} '{public}' of '{server}' is hidden by '{taken[public].server}'")
                    continue
                taken[public] = Route(server, name)
                items.append(entry if public == name else {**entry, kind.id: public})
        ttl_ms = min((part.ttl_ms for part in parts), default=0)
        listings[kind] = Listing(tuple(items), ttl_ms, bool(parts) and all(part.public for part in parts))
    return Catalog(
        listings,
        routes,
        _reversed(routes),
        _templates(routes[TEMPLATES].items()),
        {
            route: tool.get("inputSchema")
            for route, tool in zip(routes[TOOLS].values(), listings[TOOLS].items, strict=True)
        },
        tuple(collisions),
        names,
    )


def _reversed(routes: Mapping[Kind, Mapping[str, Route]]) -> dict[Kind, dict[Route, str]]:
    return {kind: {route: public for public, route in taken.items()} for kind, taken in routes.items()}


def _public(kind: Kind, server: str, name: str, taken: Mapping[str, Route], names: Names) -> str:
    if kind in (RESOURCES, TEMPLATES):
        while name in taken:
            name = qualify(server, name)
    elif names.namespace == "always":
        name = public_name(server, name, names.separator)
        while name in taken:
            name = public_name(server, name, names.separator)
    return name


def _templates(routes: Iterable[tuple[str, Route]]) -> list[_Template]:
    def rank(item: tuple[str, Route]) -> tuple[int, bool]:
        """The more letters stand fast the better; then a variable that stops at a slash before one that does not."""
        public, _ = item
        return -len(_VARIABLE.sub("", public)), _BROAD.search(public) is not None

    templates = []
    for public, route in sorted(routes, key=rank):
        try:
            matcher = UriTemplate.parse(public)
        except InvalidUriTemplate:
            matcher = None  # not one the SDK can match against: what comes before its first variable has to do
        templates.append(_Template(route, matcher, public[: max(public.find("{"), 0)]))
    return templates
