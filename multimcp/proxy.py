"""Client -> backend traffic: find the route, rename, forward, rename back.

Rules:
- The proxy answers the methods in `_handlers` itself, whole, envelope included; the SDK serves the rest.
- Params and results cross as they were sent, but for the name or URI they are routed by, URIs that are offered under
  another spelling, and what belongs to one hop (`backend.HOP_BY_HOP`, and the envelope where the eras differ).
- A backend's JSON-RPC error crosses with code, message and data as they were.
- What this revision of MCP does not know goes to the backend that its name, URI or task belongs to, or to the only one.
- A URI is routed by: the list; a link that was renamed on its way out; a template; a link as it was announced; its
  qualified spelling; the only backend that has resources. Else it is not found.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import anyio
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LOG_LEVEL_META_KEY,
    METHOD_NOT_FOUND,
    SERVER_INFO_META_KEY,
)
from mcp_types.methods import (
    CACHEABLE_METHODS,
    CLIENT_REQUESTS,
    SPEC_CLIENT_METHODS,
    SPEC_CLIENT_NOTIFICATION_METHODS,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request

from .backend import Backend
from .calls import LEVELS, Client
from .catalog import Catalog, Route
from .chain import HEADER, META_KEY, read_chain
from .connection import IMPLEMENTATION
from .errors import AmbiguousNameError, printable
from .naming import SPELLINGS, Spelling, qualify, read_spelling, unqualify
from .offer import KINDS, PROMPTS, RESOURCES, TEMPLATES, TOOLS, Era, Kind
from .registry import Registry
from .relay import Relay
from .seen import Seen

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
Handler = Callable[[Client, str, dict[str, Any]], Awaitable[dict[str, Any]]]

RESOURCE_NOT_FOUND: Mapping[Era, int] = {"legacy": -32002, "modern": INVALID_PARAMS}
"""The code of "resource not found": -32002 up to 2025-11-25, -32602 since 2026-07-28 (spec, resources)."""

LINKS = 10_000
"""How many URIs that were announced in results, but never listed, are remembered; and how many tasks."""

ON_ITS_WAY = 0.02
"""Seconds in which a message that was read gets to its handler, and an answer to where it is written."""


_GREETINGS = ("initialize", "server/discover")

_TOLD = frozenset((*_GREETINGS, *(kind.method for kind in KINDS)))
"""The methods in whose answers another Multi-MCP is told which ones are behind this one."""

_server: ContextVar[str] = ContextVar("_server", default="")
"""The server that a request was sent to, for its line in the log."""


class Proxy:
    """The middleware that makes an SDK server a proxy."""

    def __init__(self, registry: Registry, relay: Relay) -> None:
        self._registry = registry
        self._relay = relay
        self._links: OrderedDict[str, Route] = OrderedDict()
        self._tasks: OrderedDict[str, Route] = OrderedDict()
        self._called = False
        self._in_flight = 0
        self._answered = anyio.Event()
        self._handlers: dict[str, Handler] = {
            "server/discover": self._discover,
            "tools/call": self._forwarder(TOOLS),
            "prompts/get": self._forwarder(PROMPTS),
            "resources/read": self._read_resource,
            "completion/complete": self._complete,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            **{kind.method: self._lister(kind) for kind in KINDS},
        }

    async def __call__(self, ctx: Context, call_next: CallNext, names: Spelling | None = None) -> HandlerResult:
        """Answer one message of a client (`mcp.server.context.ServerMiddleware`).

        `names` is the spelling of names for its connection; None if its HTTP request says that, or nobody but the
        operator.
        """
        if ctx.request_id is None or not logger.isEnabledFor(logging.DEBUG):
            return await self._answer(ctx, call_next, names)
        begun, outcome = anyio.current_time(), "cancelled"
        token = _server.set("")
        try:
            result = await self._answer(ctx, call_next, names)
            outcome = "isError" if isinstance(result, dict) and result.get("isError") is True else "ok"
            return result
        except MCPError as exc:
            outcome = f"error {exc.code}"
            raise
        except Exception as exc:  # the SDK's, which answers with an error of its own
            outcome = type(exc).__name__
            raise
        finally:
            words = [printable(ctx.method, 80), printable(_named(ctx.params or {}), 200)]
            words += [f"({server})"] if (server := _server.get()) else []
            shown = " ".join(filter(None, words))
            logger.debug("%s: %s in %.1f ms", shown, outcome, 1000 * (anyio.current_time() - begun))
            _server.reset(token)

    async def _answer(self, context: Context, call_next: CallNext, names: Spelling | None) -> HandlerResult:
        method, since = context.method, anyio.current_time()
        given = self._chain_given(context)
        if given is None:
            return await self._answer_anybody(context, call_next, names, since)
        if method in _GREETINGS and (reason := self._registry.chain.refuse(given, self._registry.behind)):
            raise MCPError(INVALID_REQUEST, reason, {META_KEY: [self._registry.chain.id]})
        result = await self._answer_anybody(context, call_next, names, since)
        if not isinstance(result, dict) or method not in _TOLD:
            return result
        meta = result.get("_meta")
        return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), META_KEY: self._registry.behind}}

    def _chain_given(self, context: Context) -> list[str] | None:
        """The chain of Multi-MCPs that a request gives; an empty one where this one must refuse every client."""
        header = context.request.headers.get(HEADER) if context.request else None
        given = read_chain(context.params, header)
        return [] if given is None and self._registry.chain.refusal else given

    async def _answer_anybody(
        self, context: Context, call_next: CallNext, names: Spelling | None, since: float
    ) -> HandlerResult:
        method = context.method
        names = names or asked_names(context.request) or self._registry.spelling
        era: Era = "modern" if context.protocol_version in MODERN_PROTOCOL_VERSIONS else "legacy"
        if context.request_id is None:
            await self._pass_on(context, era, names)
            result = await call_next(context)
            if method == "notifications/initialized" and (session := self._relay.session(context)):
                self._relay.start_soon(self._registry.settle, session.seen)
            return result
        if method == "initialize":
            await self._registry.greeting_ready(since)
            result = await call_next(context)
            hello = result if isinstance(result, dict) else {}
            seen = self._registry.greet("legacy")
            self._relay.join(context, hello.get("protocolVersion"), since, seen, self._registry.forget)
            if session := self._relay.session(context):
                session.names = names
            return {**result, **self._introduction("legacy")} if isinstance(result, dict) else result
        is_known = (method, context.protocol_version) in CLIENT_REQUESTS
        if method == "subscriptions/listen" and is_known:
            return await self._listen(context, call_next, names)
        handler = self._handlers.get(method) if is_known else self._forward_unknown
        if handler is None or (method in SPEC_CLIENT_METHODS and not is_known):
            return await call_next(context)
        client = self._client(context, era, names)
        if client is None:
            raise MCPError(INVALID_REQUEST, f"{method} before initialize")
        self._in_flight += 1
        try:
            return await handler(client, method, dict(context.params or {}))
        except MCPError:
            raise
        except Exception:
            logger.exception("%s failed; this is a fault of Multi-MCP", method)
            raise MCPError(INTERNAL_ERROR, f"Multi-MCP failed to handle {method}; its log says how") from None
        finally:
            self._in_flight -= 1
            self._answered.set()
            self._answered = anyio.Event()

    async def idle(self) -> None:
        """Wait until every request that was read is answered."""
        await anyio.sleep(ON_ITS_WAY)
        while self._in_flight:
            await self._answered.wait()
            await anyio.sleep(ON_ITS_WAY)

    def input_schema(self, tool: str) -> Any | None:
        """The input schema of a tool, however it is spelled: the SDK checks a call's `Mcp-Param-*` headers against it.

        The SDK does not say whose call it is. None, and so no check, for a name that leads to different tools in the
        spellings there are.
        """
        catalog = self._registry.catalog("modern")
        with suppress(AmbiguousNameError):
            route, *others = {catalog.spelled(spelling).understand(TOOLS, tool) for spelling in SPELLINGS}
            return catalog.input_schemas.get(route) if route and not others else None
        return None

    def _client(self, context: Context, era: Era, names: Spelling) -> Client | None:
        """Who sent a request; None for a legacy client that was not greeted yet.

        `names` is the spelling for a modern client; a legacy one has that of its `initialize`.
        """
        meta = (context.params or {}).get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        token = meta.get("progressToken")
        token = token if isinstance(token, str | int) and not isinstance(token, bool) else None
        # The stream of this very request. The SDK's public ways to it validate what crosses, and drop what they
        # do not know.
        channel = context.session._request_outbound
        if era == "legacy":
            session = self._relay.session(context)
            if session is None:
                return None
            return Client(
                era, session.capabilities, channel, session, token, None, session.names, session.since, session.seen
            )
        level = meta.get(LOG_LEVEL_META_KEY)
        if level is not None and level not in LEVELS:
            raise MCPError(INVALID_PARAMS, f"Unknown log level: {level}")
        capabilities = meta.get(CLIENT_CAPABILITIES_META_KEY)
        capabilities = capabilities if isinstance(capabilities, dict) else {}
        since = self._relay.visit(context, meta.get(CLIENT_INFO_META_KEY))
        seen = self._relay.seen_by_single(self._greet)
        return Client(era, capabilities, channel, None, token, level, names, since, seen)

    def _greet(self) -> Seen:
        """What the only client, a modern one, has seen, which has just come."""
        seen = self._registry.greet("modern")
        self._relay.start_soon(self._registry.settle, seen)
        return seen

    def _catalog(self, client: Client) -> Catalog:
        return self._registry.catalog(client.era, client.session, client.names)

    def _introduction(self, era: Era) -> dict[str, Any]:
        """What `initialize` and `server/discover` say of the backends."""
        instructions = self._registry.instructions(era)
        introduction: dict[str, Any] = {"capabilities": self._registry.capabilities(era)}
        return introduction | ({"instructions": instructions} if instructions else {})

    async def _discover(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        await self._registry.greeting_ready(client.since)
        versions = {"supportedVersions": list(MODERN_PROTOCOL_VERSIONS)}
        return _adapt(method, {**versions, **self._introduction(client.era)}, "legacy", client.era)

    async def _pass_on(self, context: Context, era: Era, names: Spelling) -> None:
        """Pass a client's notification on to the backends that it is for."""
        method, params = context.method, dict(context.params or {})
        is_for_all = method == "notifications/roots/list_changed" and era == "legacy"
        if method in SPEC_CLIENT_NOTIFICATION_METHODS and not is_for_all:
            return
        client = self._client(context, era, names)
        if client is None:
            return
        backends = list(self._registry.backends.values())
        if not is_for_all:
            try:
                route, params = self._route_unknown(client, params)
            except MCPError:  # nobody waits for an answer in which it could be said
                return
            backends = [backend for backend in backends if route and backend.name == route.server]
        async with anyio.create_task_group() as group:
            for backend in backends:
                if backend.state == "ready":
                    group.start_soon(backend.notify, client, method, params)

    async def _set_level(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        level = params.get("level")
        if level not in LEVELS:
            raise MCPError(INVALID_PARAMS, f"Unknown log level: {level}")
        assert client.session is not None  # the method is legacy
        client.session.level = level
        await self._registry.set_level()
        return {}

    async def _subscribe(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        uri = _string(params, "uri")
        route = await self._find_uri(client, uri)
        await self._backend(route).watch(client, route.name, uri)
        return {}

    async def _unsubscribe(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        route = self._route_uri(client, _string(params, "uri"))
        if route is not None:
            self._backend(route).unwatch(client.who, route.name)
        return {}

    async def _listen(self, context: Context, call_next: CallNext, names: Spelling) -> HandlerResult:
        """Serve a listening stream; resources that cannot be subscribed to are left out of its acknowledgment."""
        client = self._client(context, "modern", names)
        params = dict(context.params or {})
        notifications = params.get("notifications")
        uris = notifications.get("resourceSubscriptions") if isinstance(notifications, dict) else None
        if client is None or not isinstance(notifications, dict) or not isinstance(uris or [], list):
            return await call_next(context)  # which refuses it
        uris = uris or []
        watched: dict[str, Backend] = {}

        async def watch(uri: object) -> None:
            with suppress(MCPError):
                route = await self._find_uri(client, _string({"uri": uri}, "uri"))
                backend = self._backend(route)
                await backend.watch(client, route.name, str(uri))
                watched[str(uri)] = backend

        try:
            async with anyio.create_task_group() as group:
                for uri in uris:
                    group.start_soon(watch, uri)
            if uris:
                params["notifications"] = {
                    **notifications,
                    "resourceSubscriptions": [uri for uri in uris if str(uri) in watched],
                }
            seen = client.seen
            if seen is None:
                seen = self._registry.greet("modern")
                seen.is_settled = True  # it may have asked for lists long ago
            with self._relay.listening(seen):
                return await call_next(replace(context, params=params))
        finally:
            for backend in set(watched.values()):
                backend.unwatch(client.who)

    def _lister(self, kind: Kind) -> Handler:
        async def list_all(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
            if params.get("cursor") is not None:
                raise MCPError(INVALID_PARAMS, "Unknown cursor: this list comes in one page")
            if not self._called:
                await self._registry.wait_for_lists(client)
            self._registry.refresh(client.era, client.session)
            listing = self._registry.hand_out(client, kind)
            hints = {"ttlMs": listing.ttl_ms, "cacheScope": "public" if listing.public else "private"}
            result = {kind.key: list(listing.items)} | (hints if client.era == "modern" else {})
            return _adapt(method, result, "legacy", client.era)

        return list_all

    def _forwarder(self, kind: Kind) -> Handler:
        async def forward(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
            route = await self._find_name(client, kind, _string(params, "name"))
            return await self._forward(client, method, route, {**params, "name": route.name})

        return forward

    async def _read_resource(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        uri = _string(params, "uri")
        route = await self._find_uri(client, uri)
        return await self._forward(client, method, route, {**params, "uri": route.name}, {route.name: uri})

    async def _complete(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise MCPError(INVALID_PARAMS, "ref must be an object")
        if "uri" in ref:
            key, route = "uri", await self._find_uri(client, _string(ref, "uri"), TEMPLATES)
        else:
            key, route = "name", await self._find_name(client, PROMPTS, _string(ref, "name"))
        return await self._forward(client, method, route, {**params, "ref": {**ref, key: route.name}})

    async def _forward_unknown(self, client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
        route, params = self._route_unknown(client, params)
        if route is None:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
        return await self._forward(client, method, route, params)

    def _route_unknown(self, client: Client, params: dict[str, Any]) -> tuple[Route | None, dict[str, Any]]:
        """Where a message leads of which we know nothing, and its params as they are meant there."""
        catalog = self._catalog(client)
        name, uri, task = (
            value if isinstance(value, str) else "" for value in map(params.get, ("name", "uri", "taskId"))
        )
        if route := catalog.route(TOOLS, name) or catalog.route(PROMPTS, name):
            return route, {**params, "name": route.name}
        if name and (route := _understood(catalog, TOOLS, name) or _understood(catalog, PROMPTS, name)):
            return route, {**params, "name": route.name}
        if uri and (route := self._route_uri(client, uri)):
            return route, {**params, "uri": route.name}
        if route := self._tasks.get(task):
            return route, params
        able = [backend.name for backend in self._registry.backends.values() if backend.state != "disabled"]
        return Route(able[0], "") if len(able) == 1 else None, params

    async def _find_name(self, client: Client, kind: Kind, name: str) -> Route:
        route = await self._find(lambda: _understood(self._catalog(client), kind, name))
        if route is None:
            raise MCPError(INVALID_PARAMS, f"Unknown {kind.noun}: {name}")
        return route

    async def _find_uri(self, client: Client, uri: str, kind: Kind = RESOURCES) -> Route:
        """Where a URI leads; with `TEMPLATES` it may be a template itself."""
        route = await self._find(lambda: self._catalog(client).route(kind, uri) or self._route_uri(client, uri))
        if route is None:
            raise MCPError(RESOURCE_NOT_FOUND[client.era], f"Resource not found: {uri}", {"uri": uri})
        return route

    async def _find(self, look_up: Callable[[], Route | None]) -> Route | None:
        """Look up; what is not there may belong to a backend that is still starting."""
        if (route := look_up()) is None:
            await self._registry.ready(anyio.current_time(), lambda: look_up() is not None)
            route = look_up()
        return route

    def _backend(self, route: Route) -> Backend:
        backend = self._registry.backends.get(route.server)
        if backend is None:  # removed since the catalog was asked
            raise MCPError(INTERNAL_ERROR, f"MCP server '{route.server}' was removed")
        return backend

    async def _forward(
        self,
        client: Client,
        method: str,
        route: Route,
        params: dict[str, Any],
        asked: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Forward a request; `asked` maps URIs that the client spelled itself, by the backend's spelling."""
        _server.set(route.server)
        result, spoken = await self._backend(route).request(client, method, params)
        # SDK clients list the tools before they hand out the result of a call. That list must not wait for a backend
        # that hangs: whoever calls has stopped looking around, and late backends are announced.
        self._called = True
        for holder in _uri_holders(method, result):
            uri = holder["uri"]
            holder["uri"] = (asked or {}).get(uri) or self._public_uri(client, route.server, uri)
        task = result.get("task", result)
        if isinstance(task, dict) and isinstance(task.get("taskId"), str):
            _remember(self._tasks, task["taskId"], Route(route.server, task["taskId"]))
        return _adapt(method, result, spoken, client.era)

    def _route_uri(self, client: Client, uri: str) -> Route | None:
        catalog = self._catalog(client)
        announced = self._announced(uri)
        renamed = announced if announced is not None and announced.name != uri else None
        if route := catalog.route(RESOURCES, uri) or renamed or catalog.by_template(uri) or announced:
            return route
        able = [
            name
            for name, offer in self._registry.offers(client.era, client.session).items()
            if "resources" in offer.capabilities
        ]
        qualified = unqualify(uri)
        if qualified is not None and qualified[0] in able:
            return Route(*qualified)
        # One that is still starting may be able, too.
        return Route(able[0], uri) if len(able) == 1 and not self._registry.is_starting else None

    def _announced(self, uri: str) -> Route | None:
        """Where a URI leads that a server, which is still there, has mentioned."""
        route = self._links.get(uri)
        return route if route is not None and route.server in self._registry.backends else None

    def _public_uri(self, client: Client, server: str, uri: str) -> str:
        """How a client has to spell a URI that a server mentions, so that it comes back to that server."""
        catalog = self._catalog(client)
        route = Route(server, uri)
        if (listed := catalog.public[RESOURCES].get(route)) is not None:
            return listed
        owner = catalog.route(RESOURCES, uri) or catalog.by_template(uri) or self._announced(uri)
        if owner is not None and owner.server == server:
            return uri
        public = uri if owner is None else qualify(server, uri)
        _remember(self._links, public, route)
        return public


def _understood(catalog: Catalog, kind: Kind, name: str) -> Route | None:
    """`Catalog.understand`, with its error as the client gets it."""
    try:
        return catalog.understand(kind, name)
    except AmbiguousNameError as exc:
        raise MCPError(INVALID_PARAMS, str(exc)) from None


def _named(params: Mapping[str, Any]) -> str:
    """What a request is about, as its client calls it."""
    ref = params.get("ref")
    holders = [params, ref if isinstance(ref, Mapping) else {}]
    names = [holder.get(key) for holder in holders for key in ("name", "uri")]
    return next((name for name in names if isinstance(name, str)), "")


def asked_names(request: Request | None) -> Spelling | None:
    """The spelling of names that the query of an HTTP request asks for, if it asks for one that there is."""
    return read_spelling(request.query_params.get("names")) if request else None


def _remember(routes: OrderedDict[str, Route], key: str, route: Route) -> None:
    routes[key] = route
    routes.move_to_end(key)
    if len(routes) > LINKS:
        routes.popitem(last=False)


def _uri_holders(method: str, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects in a result whose `uri` names a resource: contents, resource links, embedded resources."""
    if method == "resources/read":
        candidates = _list(result.get("contents"))
    else:
        content = [*_list(result.get("content"))]
        for message in _list(result.get("messages")):
            if isinstance(message, dict):
                inner = message.get("content")
                content += inner if isinstance(inner, list) else [inner]
        candidates = [
            block if block.get("type") == "resource_link" else block.get("resource")
            for block in content
            if isinstance(block, dict) and block.get("type") in ("resource_link", "resource")
        ]
    for candidate in candidates:
        if isinstance(candidate, dict) and isinstance(candidate.get("uri"), str):
            yield candidate


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _adapt(method: str, result: dict[str, Any], spoken: Era, era: Era) -> dict[str, Any]:
    """A result in the envelope of the client's era; `spoken` is the era it was given in."""
    if era == "modern":
        result.setdefault("resultType", "complete")
        if method in CACHEABLE_METHODS and result["resultType"] == "complete":
            # Nothing is known of how long it holds or whom it is for.
            result = {"ttlMs": 0, "cacheScope": "private", **result}
        meta = result.get("_meta")
        result["_meta"] = {**(meta if isinstance(meta, dict) else {}), SERVER_INFO_META_KEY: IMPLEMENTATION}
    elif spoken == "modern":
        result.pop("resultType", None)
        if method in CACHEABLE_METHODS:
            result.pop("ttlMs", None)
            result.pop("cacheScope", None)
        if isinstance(result.get("_meta"), dict):
            result["_meta"].pop(SERVER_INFO_META_KEY, None)
            if not result["_meta"]:
                del result["_meta"]
    return result


def _string(params: Mapping[str, Any], key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str):
        raise MCPError(INVALID_PARAMS, f"{key} must be a string")
    return value
