"""What all backends offer together, under public names. Pure data, built from offers, never changed.

Rules:
- Servers come in config order; so do their entries. The same offers give the same catalog, byte for byte.
- A public name leads to exactly one (server, original name). Of two that would have the same the first server has it;
  the other is named otherwise, or hidden with namespace "never", and `collisions` says so.
- A name that is not offered as it stands is understood all the same if it is a spelling of one tool (or prompt) only.
- A URI is renamed only if an earlier server has it already, and then the same way inside what its server returns.
- Skills are always listed under qualified URIs: what a user has approved must not become another server's when the
  first one is removed. What lies in a skill's directory, in either spelling, is its server's, listed or not.
- The page that a tool names is a resource of its server, listed or not: it leads there, and is renamed like a listed
  one, where the tool names it, too. What is listed comes first.
- Each list is encoded once for each era and spelling; a request for it costs no more than writing the bytes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from msgspec import Raw

from multimcp.errors import AmbiguousNameError

from .eras import ParamHeaders, to_client
from .extensions import EXTENSIONS, PAGE, respelled, united
from .message import EMPTY, Era, Fields, encode, fields, pack
from .names import (
    Namespace,
    Spelling,
    directories,
    holds_qualified,
    is_legal,
    llm_names,
    public_name,
    qualify,
    reads_like_anothers,
    shorten,
    spellings,
)
from .offer import KINDS, PROMPTS, RESOURCES, SKILLS, TEMPLATES, TOOLS, Entry, Kind, Listing, Offer
from .tasks import able
from .templates import Template

NAMED = (TOOLS, PROMPTS)
"""What has a name; the other kinds have a URI."""

MATCHES = 100_000
"""How often it is looked whether a page fits a template, in one catalog; further pages have what no other has."""

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


Admits = Callable[[str], bool]
"""Whether the tool of this (own) name is offered."""


@dataclass
class Catalog:
    """The lists of all servers merged, and the routes from public names back to the servers.

    It shows the names of one spelling, `build` those of "plain"; `spelled` has the same in another.
    """

    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    routes: Mapping[Kind, Mapping[str, Route]] = field(default_factory=dict)
    public: Mapping[Kind, Mapping[Route, str]] = field(default_factory=dict)
    templates: Sequence[tuple[Template, Route]] = ()
    headers: Mapping[Route, ParamHeaders] = field(default_factory=dict)
    skills: Mapping[str, Route] = field(default_factory=dict)
    """Whose a skill's directory is, in both spellings."""
    collisions: tuple[str, ...] = ()
    names: Names = Names()
    plain: "Catalog | None" = field(default=None, repr=False, compare=False)
    """The catalog that this one is `spelled` from; None where it shows plain names itself."""
    _pages: dict[tuple[Kind, Era], Raw] = field(default_factory=dict, compare=False)

    def spelled(self, spelling: Spelling) -> "Catalog":
        """The same, of a catalog that shows plain names, under the names of `spelling`; made once."""
        return self._llm if spelling == "llm" else self

    def route(self, kind: Kind, name: str) -> Route | None:
        """Where the public `name` leads, if it is listed."""
        return self.routes[kind].get(name) if kind in self.routes else None

    def handed_out(self, uri: str) -> Route | None:
        """Where a URI leads that is listed, or lies in the directory of a skill that is."""
        return self.route(RESOURCES, uri) or self.route(SKILLS, uri) or _held(self.skills, uri)

    def understand(self, kind: Kind, name: str, servers: Collection[str] | None = None) -> Route | None:
        """Where `name` leads: to the tool or prompt that is listed so, or else to the one that can be spelled so.

        Args:
            kind: tools or prompts.
            name: as a client has it.
            servers: if given, it may also be what a server itself calls a tool, as the page of an app does; but not if
                that reads like the name of another one's.

        Raises:
            AmbiguousNameError: the client's: several can be spelled so, and none is listed so.
        """
        if route := self.route(kind, name):
            return route
        meant = (self.plain or self)._meant[kind].get(name, ())
        if not meant and servers is not None:
            separator, own = self.names.separator, self._own.get(name, ())
            meant = [route for route in own if not reads_like_anothers(name, route.server, servers, separator)]
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
            entries: list[Entry] = []
            for route, entry in zip(self.routes[kind].values(), self.listings[kind].entries, strict=True):
                candidates = llm_names(route.server, route.name, self.names.namespace)
                name = next(name for name in candidates if name not in taken)
                taken[name] = route
                entries.append(_renamed(entry, kind, name))
            routes[kind], listings[kind] = taken, replace(self.listings[kind], entries=tuple(entries))
        return replace(self, listings=listings, routes=routes, public=_reversed(routes), plain=self, _pages={})

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

    @cached_property
    def _own(self) -> Mapping[str, Sequence[Route]]:
        """By what servers themselves call a tool, whose it is."""
        own: dict[str, list[Route]] = {}
        for route in self.public.get(TOOLS, {}):
            own.setdefault(route.name, []).append(route)
        return own

    def by_template(self, uri: str, *, is_wild: bool = False) -> Route | None:
        """Where a URI leads that a listed template generates; the most literal template wins.

        A wild one is another matter: it would take what others have.
        """
        for template, route in self.templates:
            if template.is_wild == is_wild and template.matches(uri):
                added = len(self.public[TEMPLATES][route]) - len(route.name)
                return Route(route.server, shorten(uri, added))
        return None

    def page(self, kind: Kind, era: Era, server: Raw = EMPTY) -> Raw:
        """The result that lists all of a kind, in the envelope of an era; `server` is who the proxy is."""
        if (kind, era) not in self._pages:
            listing = self.listings.get(kind, Listing())
            result: Fields = {kind.key: pack([entry.raw for entry in listing.entries])}
            if era == "modern":
                result["ttlMs"] = pack(listing.ttl_ms)
                result["cacheScope"] = pack("public" if listing.is_public else "private")
            self._pages[kind, era] = to_client(kind.method, pack(result), "legacy", era, server)
        return self._pages[kind, era]


def build(
    offers: Mapping[str, Offer],
    names: Names,
    filters: Mapping[str, Admits],
    before: Catalog | None = None,
    *,
    is_partial: bool = False,
) -> Catalog:
    """Merge what the servers offer.

    Args:
        offers: by server, in config order.
        names: how tools and prompts are named.
        filters: by server, which of its tools are offered; all where there is none.
        before: what was offered before: a list that did not change is the same object again, as who is to be told of
            changes compares many.
        is_partial: whether more is about to come, so that no list may be kept.
    """
    listings: dict[Kind, Listing] = {}
    routes: dict[Kind, dict[str, Route]] = {}
    merged: dict[Kind, tuple[Entry, ...]] = {}
    collisions: list[str] = []
    skills = {
        qualify(server, directory): Route(server, directory)
        for server, offer in offers.items()
        for directory in _directories(offer.entries(SKILLS))
    }
    for kind in KINDS:
        merged[kind], routes[kind], hidden = _merge(kind, offers, names, filters if kind is TOOLS else {}, skills)
        collisions += hidden
    templates = _templates(routes[TEMPLATES].items())
    merged[TOOLS] = _lead_to_pages(merged[TOOLS], routes, templates, skills)
    for kind, entries in merged.items():
        last = before.listings.get(kind) if before is not None else None
        parts = [offer.listings[kind] for offer in offers.values() if kind in offer.listings]
        listings[kind] = Listing(
            last.entries if last is not None and last.entries == entries else entries,
            0 if is_partial else min((part.ttl_ms for part in parts), default=0),
            bool(parts) and all(part.is_public for part in parts),
        )
    headers = {routes[TOOLS][entry.name]: entry.headers for entry in listings[TOOLS].entries if entry.headers}
    return Catalog(listings, routes, _reversed(routes), templates, headers, skills, tuple(collisions), names)


def _merge(
    kind: Kind, offers: Mapping[str, Offer], names: Names, filters: Mapping[str, Admits], skills: dict[str, Route]
) -> tuple[tuple[Entry, ...], dict[str, Route], list[str]]:
    """Of one kind: the entries under their public names, the routes there, and which are hidden by others.

    With the resources the directories of `skills` get their plain spelling, too, where that is not taken.
    """
    entries: list[Entry] = []
    taken: dict[str, Route] = {}
    hidden: list[str] = []
    for server, offer in offers.items():
        admits = filters.get(server)
        if kind is RESOURCES and SKILLS.is_in(offer.capabilities, offer.extensions):
            for directory in _directories((*offer.entries(SKILLS), *offer.entries(RESOURCES))):
                is_free = f"{directory}/{SKILL_MD}" not in taken and _held(skills, directory) is None
                if is_free and not holds_qualified(directory, server, offers):
                    skills[directory] = Route(server, directory)
        for entry in offer.entries(kind):
            if admits is not None and not admits(entry.name):
                continue
            public = _public(kind, Route(server, entry.name), taken, names, skills)
            if public in taken:
                hidden.append(f"{kind.noun} '{public}' of '{server}' is hidden by '{taken[public].server}'")
                continue
            route = taken[public] = Route(server, entry.name)
            if public != entry.name and (first := _shorter(kind, route, public, taken, names)) is not None:
                reason = f"the shorter name is that of '{first.name}' of '{first.server}'"
                hidden.append(f"{kind.noun} '{entry.name}' of '{server}' is offered as '{public}': {reason}")
            entries.append(_renamed(entry, kind, public))
    return tuple(entries), taken, hidden


def _shorter(kind: Kind, route: Route, public: str, taken: Mapping[str, Route], names: Names) -> Route | None:
    """Whose the name is that an entry would have had, if it has a longer one."""
    server, name = route.server, route.name
    name = public_name(server, name, names.separator) if kind in NAMED else qualify(server, name)
    return taken.get(name) if len(public) > len(name) else None


SKILL_MD = "SKILL.md"


def _directories(entries: Iterable[Entry]) -> Iterator[str]:
    """The directories of skills that are among these entries."""
    return (entry.name.removesuffix(f"/{SKILL_MD}") for entry in entries if entry.name.endswith(f"/{SKILL_MD}"))


def _held(skills: Mapping[str, Route], uri: str) -> Route | None:
    """Where a URI leads that lies in the directory of a skill; if in several, the innermost counts."""
    for directory in directories(uri) if skills else ():
        if route := skills.get(directory):
            return Route(route.server, route.name + uri[len(directory) :])
    return None


def _held_by_others(skills: Mapping[str, Route], uri: str, route: Route) -> Route | None:
    """Where a qualified URI leads that is to lead there, if it lies in the directory of another server's skill."""
    held = _held(skills, uri)
    return held if held is not None and held.server != route.server else None


def _lead_to_pages(
    tools: tuple[Entry, ...],
    routes: Mapping[Kind, dict[str, Route]],
    templates: Sequence[tuple[Template, Route]],
    skills: Mapping[str, Route],
) -> tuple[Entry, ...]:
    """Add the routes to the pages of these tools, which come back with their pages as clients have to spell them."""
    if not any(entry.pages for entry in tools):
        return tools
    resources, entries, matches = routes[RESOURCES], [], 0
    catalog = Catalog(public=_reversed(routes), templates=templates)
    public = {route: uri for uri, route in resources.items()}
    for entry in tools:
        spelled: dict[str, str] = {}
        for page in entry.pages:
            route, name = Route(routes[TOOLS][entry.name].server, page), page
            if route not in public:
                owner = resources.get(name) or _held(skills, name)
                if owner is None and (matches := matches + len(templates)) <= MATCHES:
                    owner = catalog.by_template(name)
                while owner is not None and owner != route:
                    name = qualify(route.server, name)
                    owner = resources.get(name) or _held_by_others(skills, name, route)
                resources[name], public[route] = route, name
            spelled[page] = public[route]
        entries.append(_respelled(entry, spelled))
    return tuple(entries)


def _respelled(entry: Entry, pages: Mapping[str, str]) -> Entry:
    raw = respelled(entry.raw, PAGE, lambda mark, uri: pages.get(uri, uri)) if pages else None
    return entry if raw is None else replace(entry, raw=raw)


def _reversed(routes: Mapping[Kind, Mapping[str, Route]]) -> dict[Kind, dict[Route, str]]:
    return {kind: {route: public for public, route in taken.items()} for kind, taken in routes.items()}


def _renamed(entry: Entry, kind: Kind, public: str) -> Entry:
    if public == entry.name or kind is SKILLS:  # whose entries have been qualified where they were read
        return entry
    return replace(entry, name=public, raw=pack({**fields(entry.raw), kind.id: Raw(encode(public))}))


def _public(kind: Kind, route: Route, taken: Mapping[str, Route], names: Names, skills: Mapping[str, Route]) -> str:
    server, name = route.server, route.name
    if kind is SKILLS:
        name = qualify(server, name)
    elif kind in (RESOURCES, TEMPLATES):
        if name in taken or (kind is RESOURCES and _held(skills, name) not in (None, route)):
            name = qualify(server, name)
        while name in taken or (kind is RESOURCES and _held_by_others(skills, name, route)):
            name = qualify(server, name)
    elif names.namespace == "always":
        name = public_name(server, name, names.separator)
        while name in taken:
            name = public_name(server, name, names.separator)
    return name


def _templates(routes: Iterable[tuple[str, Route]]) -> list[tuple[Template, Route]]:
    """The most literal first; then one whose variables stop at a slash before one whose do not."""
    templates = [(Template(public), route) for public, route in routes]
    return sorted(templates, key=lambda item: (-item[0].literals, item[0].is_broad))


# How the proxy introduces its backends


def capabilities(offers: Mapping[str, Offer], *, may_be_more: bool, is_only: bool) -> Fields:
    """The union of what the backends can do and the proxy relays.

    Args:
        offers: by server.
        may_be_more: whether a server is still to come, or to come back: it may turn out to be able to do anything. What
            it lists is announced when it arrives; what it can do, a legacy client learns only once.
        is_only: whether no other server is meant: what else it says of itself holds here, too.
    """
    declared = {name for offer in offers.values() for name in offer.capabilities}
    if any(SKILLS.is_in({}, offer.extensions) for offer in offers.values()):
        declared.add(SKILLS.capability)  # whoever declares skills has to (ext-skills, capability negotiation)
    can_subscribe = any(offer.declares("resources", "subscribe") for offer in offers.values())
    if may_be_more or not offers:
        declared |= {"completions", "logging"} | {kind.capability for kind in KINDS}
        can_subscribe = True
    ours: dict[str, dict[str, bool]] = {
        kind.capability: {"listChanged": True} for kind in KINDS if kind.capability in declared
    }
    if can_subscribe:
        ours.setdefault("resources", {})["subscribe"] = True
    ours |= {name: {} for name in ("completions", "logging") if name in declared}
    mine = {name: pack(capability) for name, capability in ours.items()}
    shown, _ = united({name: offer.extensions for name, offer in offers.items()})
    if may_be_more or not offers:
        shown = {**dict.fromkeys(EXTENSIONS, EMPTY), **shown}
    if shown:
        mine["extensions"] = pack(shown)
    if tasks := able(offer.capabilities for offer in offers.values()):
        mine["tasks"] = pack(tasks)
    if is_only:
        [only] = offers.values()
        return {**only.capabilities, **mine}
    return mine


def instructions(offers: Mapping[str, Offer]) -> str | None:
    """The backends' instructions, each under its backend's name."""
    parts = [f"# {name}\n\n{offer.instructions}" for name, offer in offers.items() if offer.instructions]
    return "\n\n".join(parts) or None
