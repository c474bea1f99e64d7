"""A message of a client -> which backend it is for, and what it is called there; and the way back of URIs.

Rules:
- Nothing is routed by splitting a tool's or prompt's name: it is looked up.
- A URI is routed by: the list; a link that was renamed on its way out; a template; a link as it was announced; its
  qualified spelling; the only backend that has resources. Else it is not found.
- A method that MCP does not know goes to the backend that its name, URI or task belongs to, or to the only one.
- A URI in a result keeps its spelling, unless another backend already offers it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from multimcp.errors import AmbiguousNameError, Fault

from .catalog import Catalog, Route
from .extensions import RESULTS, respelled
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
)
from .names import Spelling, qualify, unqualify
from .offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Offer

LINKS = 10_000
"""How many URIs that were announced in results, but never listed, are remembered; and how many tasks."""


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

    `asked` maps URIs that the client spelled itself, by the backend's spelling.
    """

    server: str
    params: Fields
    asked: Mapping[str, str] = {}


class Router:
    """Finds routes; remembers the links and tasks that backends have mentioned."""

    def __init__(self) -> None:
        self._links: OrderedDict[str, Route] = OrderedDict()
        self._tasks: OrderedDict[str, Route] = OrderedDict()

    def find(self, view: View, method: str, params: Fields) -> Target | None:
        """Where a request leads; None while that is not known.

        Raises:
            Fault: the client's: its params do not say.
        """
        if (kind := _BY_NAME.get(method)) is not None:
            return self._find_name(view, kind, params)
        return _FINDERS.get(method, Router.find_unknown)(self, view, params)

    def _find_name(self, view: View, kind: Kind, params: Fields) -> Target | None:
        name = string(params, "name")
        route = view.catalog.route(kind, name) or _understood(view.catalog, kind, name)
        return Target(route.server, {**params, "name": pack(route.name)}) if route is not None else None

    def find_resource(self, view: View, params: Fields) -> Target | None:
        uri = string(params, "uri")
        route = self.route_uri(view, uri)
        if route is None:
            return None
        return Target(route.server, {**params, "uri": pack(route.name)}, {route.name: uri})

    def find_completion(self, view: View, params: Fields) -> Target | None:
        ref = params.get("ref")
        if ref is None or not is_object(ref):
            raise Fault(INVALID_PARAMS, "ref must be an object")
        opened = fields(ref)
        if "uri" in opened:
            name, uri = "uri", string(opened, "uri")
            route = view.catalog.route(TEMPLATES, uri) or self.route_uri(view, uri)
        else:
            name, route = "name", _understood(view.catalog, PROMPTS, string(opened, "name"))
        if route is None:
            return None
        return Target(route.server, {**params, "ref": pack({**opened, name: pack(route.name)})})

    def find_unknown(self, view: View, params: Fields) -> Target | None:
        """Where a message leads of which we know nothing."""
        name, uri, task = (text(params.get(key)) or "" for key in ("name", "uri", "taskId"))
        route = view.catalog.route(TOOLS, name) or view.catalog.route(PROMPTS, name)
        if name and route is None:
            route = _understood(view.catalog, TOOLS, name) or _understood(view.catalog, PROMPTS, name)
        if route is not None:
            return Target(route.server, {**params, "name": pack(route.name)})
        if uri and (route := self.route_uri(view, uri)) is not None:
            return Target(route.server, {**params, "uri": pack(route.name)})
        if (route := self._tasks.get(task)) is not None:
            return Target(route.server, params)
        return Target(view.servers[0], params) if len(view.servers) == 1 else None

    def route_uri(self, view: View, uri: str) -> Route | None:
        """Where a URI leads."""
        announced = self._announced(view, uri)
        renamed = announced if announced is not None and announced.name != uri else None
        found = view.catalog.route(RESOURCES, uri) or renamed or view.catalog.by_template(uri) or announced
        if found is not None:
            return found
        able = [name for name, offer in view.offers.items() if "resources" in offer.capabilities]
        qualified = unqualify(uri)
        if qualified is not None and qualified[0] in able:
            return Route(*qualified)
        # One that is still starting may be able, too.
        return Route(able[0], uri) if len(able) == 1 and not view.is_starting else None

    def public_uri(self, view: View, server: str, uri: str) -> str:
        """How a client has to spell a URI that a server mentions, so that it comes back to that server."""
        route = Route(server, uri)
        if (listed := view.catalog.public.get(RESOURCES, {}).get(route)) is not None:
            return listed
        owner = view.catalog.route(RESOURCES, uri) or view.catalog.by_template(uri) or self._announced(view, uri)
        if owner is not None and owner.server == server:
            return uri
        public = uri if owner is None else qualify(server, uri)
        _remember(self._links, public, route)
        return public

    def result(self, view: Callable[[], View], method: str, target: Target, result: Raw) -> Raw:
        """A backend's result as the client gets it: URIs that another backend has, too, are spelled differently."""
        if _is_plain(result):
            return result
        parts = fields(result)
        task = fields(parts["task"]) if "task" in parts else parts
        if (number := text(task.get("taskId"))) is not None:
            _remember(self._tasks, number, Route(target.server, number))

        def public(uri: str) -> str:
            return target.asked.get(uri) or self.public_uri(view(), target.server, uri)

        if (shape := RESULTS.get(method)) is not None:
            return respelled(result, shape, lambda mark, spelled: public(spelled)) or result
        changes: Fields = {}
        for name, change in _WITH_URIS.items():
            of_a_read = name == "contents"
            if of_a_read == (method == "resources/read") and (changed := _each(parts.get(name), change, public)):
                changes[name] = changed
        return pack({**parts, **changes}) if changes else result

    def _announced(self, view: View, uri: str) -> Route | None:
        """Where a URI leads that a server, which is still there, has mentioned."""
        route = self._links.get(uri)
        return route if route is not None and route.server in view.servers else None


_BY_NAME: Final[Mapping[str, Kind]] = {"tools/call": TOOLS, "prompts/get": PROMPTS}
_FINDERS: Final[Mapping[str, Callable[[Router, View, Fields], Target | None]]] = {
    "resources/read": Router.find_resource,
    "resources/subscribe": Router.find_resource,
    "resources/unsubscribe": Router.find_resource,
    "completion/complete": Router.find_completion,
}


def _understood(catalog: Catalog, kind: Kind, name: str) -> Route | None:
    """`Catalog.understand`, with its error as the client gets it."""
    try:
        return catalog.understand(kind, name)
    except AmbiguousNameError as exc:
        raise Fault(INVALID_PARAMS, str(exc)) from None


def not_found(method: str, params: Fields, era: Era) -> Fault:
    """The error for a request that leads nowhere."""
    ref = fields(params.get("ref")) if method == "completion/complete" else params
    name, uri = text(ref.get("name")), text(ref.get("uri"))
    if method not in _FINDERS and method not in _BY_NAME:
        return Fault(METHOD_NOT_FOUND, "Method not found", method)
    if uri is not None:
        # Spec, resources: -32002 up to 2025-11-25, -32602 since.
        code = RESOURCE_NOT_FOUND if era == "legacy" else INVALID_PARAMS
        return Fault(code, f"Resource not found: {uri}", {"uri": uri})
    return Fault(INVALID_PARAMS, f"Unknown {_BY_NAME.get(method, PROMPTS).noun}: {name}")


def _remember(routes: "OrderedDict[str, Route]", key: str, route: Route) -> None:
    routes[key] = route
    routes.move_to_end(key)
    if len(routes) > LINKS:
        routes.popitem(last=False)


# URIs in results


class _Typed(msgspec.Struct, gc=False):
    type: Literal["text", "image", "audio"]


class _Plain(msgspec.Struct, gc=False):
    """Of the results that nothing is to be changed in, those that are told at a glance: most."""

    content: list[_Typed]
    messages: None = None
    contents: None = None
    task: None = None
    taskId: None = None


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
    """A list with its items changed; None where none is, or it is no list."""
    try:
        items = _list.decode(raw or EMPTY)
    except (ValueError, RecursionError):
        return None
    changed = [change(item, public) for item in items]
    if all(item is None for item in changed):
        return None
    return pack([old if new is None else new for old, new in zip(items, changed, strict=True)])


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
