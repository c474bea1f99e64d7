"""What all backends offer together, under public names. Pure data, built from offers, never changed.

Rules:
- Servers come in config order; so do their entries. The same offers give the same catalog, byte for byte.
- A public name leads to exactly one (server, original name). With namespace "never" the first server wins a
  collision, and `collisions` says so.
- A URI is renamed only if an earlier server has it already, and then the same way inside what its server returns.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from .config import ToolFilter
from .naming import Namespace, public_name, qualify, shorten
from .offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Listing, Offer

_VARIABLE = re.compile(r"\{[^}]*\}")
_BROAD = re.compile(r"\{[+#]|\*\}")


@dataclass(frozen=True)
class Names:
    """How tools and prompts are named."""

    separator: str = "::"
    namespace: Namespace = "always"


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
    """The lists of all servers merged, and the routes from public names back to the servers."""

    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    routes: Mapping[Kind, Mapping[str, Route]] = field(default_factory=dict)
    public: Mapping[Kind, Mapping[Route, str]] = field(default_factory=dict)
    templates: Sequence[_Template] = ()
    input_schemas: Mapping[str, Any] = field(default_factory=dict)
    collisions: tuple[str, ...] = ()

    def route(self, kind: Kind, name: str) -> Route | None:
        """Where the public `name` leads, if it is listed."""
        return self.routes[kind].get(name) if kind in self.routes else None

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
        {kind: {route: public for public, route in taken.items()} for kind, taken in routes.items()},
        _templates(routes[TEMPLATES].items()),
        {tool["name"]: tool.get("inputSchema") for tool in listings[TOOLS].items},
        tuple(collisions),
    )


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
