"""A message of a client -> which backend it is for, and what it is called there; and the way back of URIs.

Rules:
- Nothing is routed by splitting a tool's or prompt's name: it is looked up.
- A URI is routed by: what clients were given, in a list or a result; a template; the backend that it names behind its
  scheme, first as it is spelled and then as our qualified spelling; the backends that have skills, one after the other;
  the only backend that has resources. Else it is not found.
- What lies in a skill's directory goes where the skill is. An answer about a skill has its URIs in the spelling of the
  one that was asked for.
- A task's id says its server. A URI or an id in a result is changed where the shape of the result has one.
- A method that MCP does not know goes to the backend that its name, URI or task belongs to; or to the only one; or to
  those with an extension that only they have and nobody knows, one after the other, as far as they do not know it.
- A URI in a result keeps its spelling, unless another backend already offers it.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from multimcp.errors import AmbiguousNameError, Fault

from .catalog import SKILL_MD, Catalog, Route
from .extensions import (
    BEGUN,
    DIRECTORY_READ,
    PAGE_KEYS,
    RELATED_KEY,
    RESULTS,
    SKILLS,
    TASK,
    WAYS,
    Mark,
    owners,
    respelled,
)
from .message import (
    EMPTY,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    Era,
    Fields,
    fields,
    is_object,
    pack,
    string,
    text,
    value,
)
from .names import Spelling, alike, directories, holds_qualified, qualify, unqualify
from .offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Offer
from .tasks import own_task, public_task

LINKS = 10_000
LINKS_SIZE = 4 * 1024 * 1024
"""How many URIs of a server that were announced in results, but never listed, are remembered, and how many characters
of them. In one result no more are looked at."""


@dataclass(frozen=True)
class View:
    """What there is for one client now.

    Attributes:
        catalog: what it is offered.
        offers: by server, what each says of itself.
        servers: the names of those that are not disabled.
        is_starting: whether some server is still at its first attempt.
    """

    catalog: Catalog
    offers: Mapping[str, Offer]
    servers: tuple[str, ...]
    is_starting: bool

    def spelled(self, spelling: Spelling) -> "View":
        """The same, under names of this spelling."""
        return replace(self, catalog=self.catalog.spelled(spelling))


class Target(NamedTuple):
    """Where a message leads: the server, and the params under its own names.

    `asked` maps URIs that the client spelled itself, by the backend's spelling. `others` are where it leads, one after
    the other, if the server answers with an error.
    """

    server: str
    params: Fields
    asked: Mapping[str, str] = {}
    others: "tuple[Target, ...]" = ()

    @property
    def ways(self) -> "tuple[Target, ...]":
        """All that it leads to, in order."""
        return (self, *self.others)


class Links:
    """URIs that servers have mentioned, but nobody lists, as clients were given them: of each server the latest."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._of: dict[str, OrderedDict[str, int]] = {}
        """By server, its URIs and how many characters each takes."""
        self._size: dict[str, int] = {}

    def get(self, uri: str, servers: Collection[str]) -> Route | None:
        """Where a URI leads, if its server is still one of these."""
        route = self._routes.get(uri)
        return route if route is not None and route.server in servers else None

    def add(self, uri: str, route: Route, servers: Collection[str]) -> None:
        """Remember one that is new; those of servers that are gone are forgotten."""
        for gone in self._of.keys() - servers:
            del self._size[gone]
            for each in self._of.pop(gone):
                del self._routes[each]
        mine = self._of.setdefault(route.server, OrderedDict())
        self._routes[uri], mine[uri] = route, len(uri) + len(route.name)
        self._size[route.server] = self._size.get(route.server, 0) + mine[uri]
        while len(mine) > LINKS or self._size[route.server] > LINKS_SIZE:
            oldest, size = mine.popitem(last=False)
            self._size[route.server] -= size
            del self._routes[oldest]


class Router:
    """Finds routes; remembers the links that backends have mentioned."""

    def __init__(self) -> None:
        self._links = Links()

    def find(self, view: View, method: str, params: Fields, key: bytes = b"") -> Target | None:
        """Where a request leads, of a client with this API key; None while that is not known.

        Raises:
            Fault: the client's: its params do not say.
        """
        if (kind := _BY_NAME.get(method)) is not None:
            return self._find_name(view, kind, params)
        if (finder := _FINDERS.get(method)) is not None:
            return finder(self, view, params)
        if method in SKILLS.results and (able := _with_skills(view, method)):
            return self._find_skill(view, params, able)
        if WAYS.get(method) == "task":
            return find_task(view, params, key)
        return self.find_unknown(view, params, method, key)

    def _find_name(self, view: View, kind: Kind, params: Fields) -> Target | None:
        name = string(params, "name")
        route = view.catalog.route(kind, name)
        if route is None:
            takes_own = kind is TOOLS and not view.is_starting  # one that is still starting may call one so, too
            route = _understood(view.catalog, kind, name, view.servers if takes_own else None)
        return Target(route.server, {**params, "name": pack(route.name)}) if route is not None else None

    def find_resource(self, view: View, params: Fields) -> Target | None:
        return self._by_uri(view, params, string(params, "uri"))

    def _by_uri(self, view: View, params: Fields, uri: str) -> Target | None:
        routes = self.routes_of(view, uri)
        return _in_order([Target(way.server, {**params, "uri": pack(way.name)}, {way.name: uri}) for way in routes])

    def _find_skill(self, view: View, params: Fields, able: Collection[str]) -> Target | None:
        """Where a request about a skill or a directory leads: to none but who is `able` to answer it (ext-skills)."""
        target = self.find_resource(view, params)
        if target is None:
            return None
        if not (ways := [way for way in target.ways if way.server in able]):
            uri = text(params["uri"])
            raise Fault(INVALID_PARAMS, f"Neither a skill nor a directory: {uri}", {"uri": uri})
        return _in_order(ways)

    def find_completion(self, view: View, params: Fields) -> Target | None:
        ref = params.get("ref")
        if ref is None or not is_object(ref):
            raise Fault(INVALID_PARAMS, "ref must be an object")
        opened = fields(ref)
        if "uri" in opened:
            name, uri = "uri", string(opened, "uri")
            route = view.catalog.route(TEMPLATES, uri) or next(iter(self.routes_of(view, uri)), None)
        else:
            name, route = "name", _understood(view.catalog, PROMPTS, string(opened, "name"))
        if route is None:
            return None
        return Target(route.server, {**params, "ref": pack({**opened, name: pack(route.name)})})

    def find_unknown(self, view: View, params: Fields, method: str, key: bytes = b"") -> Target | None:
        """Where a message leads of which we know nothing."""
        name, uri = (text(params.get(each)) or "" for each in ("name", "uri"))
        route = view.catalog.route(TOOLS, name) or view.catalog.route(PROMPTS, name)
        if name and route is None:
            route = _understood(view.catalog, TOOLS, name) or _understood(view.catalog, PROMPTS, name)
        if route is not None:
            return Target(route.server, {**params, "name": pack(route.name)})
        if uri and (target := self._by_uri(view, params, uri)) is not None:
            return target
        if (target := find_task(view, params, key)) is not None:
            return target
        if len(view.servers) == 1:
            return Target(view.servers[0], params)
        extended = {name: offer.extensions for name, offer in view.offers.items()}
        return _in_order([Target(server, params) for server in owners(extended, method)])

    def routes_of(self, view: View, uri: str) -> Sequence[Route]:
        """Where a URI leads: to the first of these, or, if that one does not have it, to the next."""
        if (found := self._known(view, uri)) is not None:
            return (found,)
        skilled, template = _with_skills(view), view.catalog.by_template(uri)
        if template is not None and template.server not in skilled:
            return (template,)
        able = [name for name, offer in view.offers.items() if name in skilled or "resources" in offer.capabilities]
        server, shorter = unqualify(uri) or ("", "")
        routes: list[Route] = []
        if server in (able if template is None else skilled):
            routes = [Route(server, uri), Route(server, shorter)]
            if routes[1] in view.catalog.public.get(RESOURCES, {}):  # it was handed out so while another had its name
                return routes[1:]
        if (found := template or view.catalog.by_template(uri, is_wild=True)) is not None:
            routes.append(found)
        if not view.is_starting:  # one that is still starting may be able, too
            routes += [Route(name, uri) for name in skilled]
            if not routes and len(able) == 1:
                routes = [Route(able[0], uri)]
        return tuple(dict.fromkeys(routes))

    def _known(self, view: View, uri: str) -> Route | None:
        """Where a URI leads that clients were given, or that lies in the directory of a skill that they were given."""
        if (found := view.catalog.handed_out(uri) or self._links.get(uri, view.servers)) is not None:
            return found
        for directory in directories(uri):
            manifest = f"{directory}/{SKILL_MD}"
            skill = self._links.get(manifest, view.servers)
            if skill is None or (skill.name == manifest and holds_qualified(directory, skill.server, view.servers)):
                continue
            return Route(skill.server, skill.name.removesuffix(f"/{SKILL_MD}") + uri[len(directory) :])
        return None

    def public_uri(self, view: View, server: str, uri: str) -> str:
        """How a client has to spell a URI that a server mentions, so that it comes back to that server."""
        route = Route(server, uri)
        if (listed := view.catalog.public.get(RESOURCES, {}).get(route)) is not None:
            return listed
        public, owner = uri, self._known(view, uri) or view.catalog.by_template(uri)
        while owner is not None and owner != route and not (public != uri and owner.server == server):
            public = qualify(server, public)
            owner = self._known(view, public)
        if owner is None:
            self._links.add(public, route, view.servers)
        return public

    def result(self, view: Callable[[], View], method: str, target: Target, result: Raw, key: bytes = b"") -> Raw:
        """A backend's result as a client with this API key gets it: under public ids of tasks, and with those URIs that
        another backend has, too, spelled differently."""
        if _is_plain(result):
            return result

        looked_at = count(1)

        def public(uri: str) -> str:
            if next(looked_at) > LINKS:  # they cost time that others wait for, and could not be remembered
                return uri
            if method in SKILLS.results:
                return self._public_of_skill(view(), target, uri)
            return target.asked.get(uri) or self.public_uri(view(), target.server, uri)

        def spell(mark: Mark, spelled: str) -> str:
            return public(spelled) if mark is Mark.URI else public_task(target.server, spelled, key)

        has_begun = text(fields(result).get("resultType")) == "task"
        result = respelled(result, TASK if has_begun else RESULTS.get(method, BEGUN), spell) or result
        parts, changes = fields(result), dict[str, Raw]()
        if WAYS.get(method) == "task" and "result" in parts:  # what the call that it began would have answered
            changes["result"] = self.result(view, "tools/call", target, parts["result"], key)
        for name, change in _WITH_URIS.items():
            of_a_read = name == "contents"
            if of_a_read == (method == "resources/read") and (changed := _each(parts.get(name), change, public)):
                changes[name] = changed
        return pack({**parts, **changes}) if changes else result

    def _public_of_skill(self, view: View, target: Target, uri: str) -> str:
        """A URI in the answer about a skill or a directory: as that was spelled in the request, if it leads back so."""
        [(name, asked)] = target.asked.items()
        spelled, route = alike(asked, name, uri), Route(target.server, uri)
        return spelled if self._note(view, spelled, route) == route else self.public_uri(view, target.server, uri)

    def _note(self, view: View, uri: str, route: Route) -> Route:
        """Where a URI leads: remember this route if it leads nowhere so far."""
        if (known := self._known(view, uri)) is not None:
            return known
        self._links.add(uri, route, view.servers)
        return route


_BY_NAME: Final[Mapping[str, Kind]] = {"tools/call": TOOLS, "prompts/get": PROMPTS}
_FINDERS: Final[Mapping[str, Callable[[Router, View, Fields], Target | None]]] = {
    "resources/read": Router.find_resource,
    "resources/subscribe": Router.find_resource,
    "resources/unsubscribe": Router.find_resource,
    "completion/complete": Router.find_completion,
}


def _with_skills(view: View, method: str = "skills/get") -> list[str]:
    """The servers that have skills, and answer this method."""
    able = [name for name, offer in view.offers.items() if SKILLS.id in offer.extensions]
    if method != DIRECTORY_READ:
        return able
    settings = {name: fields(view.offers[name].extensions[SKILLS.id]) for name in able}
    return [name for name in able if value(settings[name].get("directoryRead")) is True]


def _in_order(targets: Sequence[Target]) -> Target | None:
    """The first of these, with the others behind it."""
    if len(targets) < 2:
        return targets[0] if targets else None
    return targets[0]._replace(others=tuple(targets[1:]))


def _understood(catalog: Catalog, kind: Kind, name: str, servers: Collection[str] | None = None) -> Route | None:
    """`Catalog.understand`, with its error as the client gets it."""
    try:
        return catalog.understand(kind, name, servers)
    except AmbiguousNameError as exc:
        raise Fault(INVALID_PARAMS, str(exc)) from None


def find_task(view: View, params: Fields, key: bytes = b"") -> Target | None:
    """Where a request leads that names a task, of a client with this API key."""
    found = own_task(text(params.get("taskId")) or "", key)
    if found is None or found[0] not in view.servers:
        return None
    return Target(found[0], {**params, "taskId": pack(found[1])})


def not_found(method: str, params: Fields, era: Era) -> Fault:
    """The error for a request that leads nowhere."""
    if WAYS.get(method) == "task":
        return Fault(INVALID_PARAMS, "Task not found")
    ref = fields(params.get("ref")) if method == "completion/complete" else params
    name, uri = text(ref.get("name")), text(ref.get("uri"))
    if method not in _FINDERS and method not in _BY_NAME:
        return Fault(METHOD_NOT_FOUND, "Method not found", method)
    if uri is not None:
        # Spec, resources: -32002 up to 2025-11-25, -32602 since.
        code = RESOURCE_NOT_FOUND if era == "legacy" else INVALID_PARAMS
        return Fault(code, f"Resource not found: {uri}", {"uri": uri})
    return Fault(INVALID_PARAMS, f"Unknown {_BY_NAME.get(method, PROMPTS).noun}: {name}")


# URIs in results


class _Typed(msgspec.Struct, gc=False):
    type: Literal["text", "image", "audio"]


class _PlainMeta(msgspec.Struct, gc=False):
    task: None = msgspec.field(default=None, name=RELATED_KEY)
    page: None = msgspec.field(default=None, name=PAGE_KEYS[0])
    page_before: None = msgspec.field(default=None, name=PAGE_KEYS[1])
    template: None = msgspec.field(default=None, name=PAGE_KEYS[2])


class _Plain(msgspec.Struct, gc=False):
    """Of the results that nothing is to be changed in, those that are told at a glance: most."""

    content: list[_Typed]
    messages: None = None
    contents: None = None
    task: None = None
    taskId: None = None
    meta: _PlainMeta | None = msgspec.field(default=None, name="_meta")


_list = msgspec.json.Decoder(list[Raw])
_plain = msgspec.json.Decoder(_Plain)

_Public = Callable[[str], str]


def _is_plain(result: Raw) -> bool:
    try:
        _plain.decode(result)
    except (ValueError, RecursionError):
        return False
    return True


def _each(raw: Raw | None, change: Callable[[Raw, _Public], Raw | None], public: _Public) -> Raw | None:
    """A list with its items changed, the first `LINKS` of them; None where none is, or it is no list."""
    try:
        items = _list.decode(raw or EMPTY)
    except (ValueError, RecursionError):
        return None
    changed = [change(item, public) for item in items[:LINKS]]
    if all(item is None for item in changed):
        return None
    changed_first = [old if new is None else new for old, new in zip(items, changed, strict=False)]
    return pack([*changed_first, *items[LINKS:]])


def _rename(raw: Raw, public: _Public) -> Raw | None:
    """An object whose `uri` names a resource, under its public URI; None where that is the same."""
    opened = fields(raw)
    uri = text(opened.get("uri"))
    renamed = public(uri) if uri is not None else None
    return pack({**opened, "uri": pack(renamed)}) if renamed != uri else None


def _block(raw: Raw, public: _Public) -> Raw | None:
    """A block of content: a link to a resource, or one with a resource in it, may have to be renamed."""
    block = fields(raw)
    kind = text(block.get("type"))
    if kind == "resource_link":
        return _rename(raw, public)
    inner = _rename(block["resource"], public) if kind == "resource" and "resource" in block else None
    return pack({**block, "resource": inner}) if inner is not None else None


def _prompt_message(raw: Raw, public: _Public) -> Raw | None:
    opened = fields(raw)
    content = opened.get("content")
    if content is None:
        return None
    changed = _block(content, public) if is_object(content) else _each(content, _block, public)
    return pack({**opened, "content": changed}) if changed is not None else None


_WITH_URIS: Final = {"content": _block, "messages": _prompt_message, "contents": _rename}
"""The lists in results whose items may name resources, and how an item is changed; `contents` of a read alone."""
