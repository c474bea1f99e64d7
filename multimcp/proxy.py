"""Client -> backend traffic: find the route, rename, forward, rename back.

Rules:
- The proxy answers the methods in `_handlers` itself, whole, envelope included; the SDK serves the rest.
- Params and results cross as they were sent, but for the name or URI they are routed by, URIs that are offered under
  another spelling, and what belongs to one hop (`backend.HOP_BY_HOP`, and the envelope where the eras differ).
- A backend's JSON-RPC error crosses with code, message and data as they were.
- A URI is routed by: the list; a link that was renamed on its way out; a template; a link as it was announced; its
  qualified spelling; the only backend that has resources. Else it is not found.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import anyio
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    SERVER_INFO_META_KEY,
)
from mcp_types.methods import CACHEABLE_METHODS, CLIENT_REQUESTS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from .backend import IMPLEMENTATION
from .catalog import Route
from .naming import qualify, unqualify
from .offer import KINDS, PROMPTS, RESOURCES, TEMPLATES, TOOLS, Era, Kind
from .registry import Registry
from .relay import Relay

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

RESOURCE_NOT_FOUND: Mapping[Era, int] = {"legacy": -32002, "modern": INVALID_PARAMS}
"""The code of "resource not found": -32002 up to 2025-11-25, -32602 since 2026-07-28 (spec, resources)."""

LINKS = 10_000
"""How many URIs that were announced in results, but never listed, are remembered."""


ON_ITS_WAY = 0.02
"""Seconds in which a message that was read gets to its handler, and an answer to where it is written."""


class Proxy:
    """The middleware that makes an SDK server a proxy."""

    def __init__(self, registry: Registry, relay: Relay) -> None:
        self._registry = registry
        self._relay = relay
        self._links: OrderedDict[str, Route] = OrderedDict()
        self._called = False
        self._in_flight = 0
        self._answered = anyio.Event()
        self._handlers: dict[str, Callable[[Context, Era, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "server/discover": self._discover,
            "tools/call": self._forwarder(TOOLS),
            "prompts/get": self._forwarder(PROMPTS),
            "resources/read": self._read_resource,
            "completion/complete": self._complete,
            **{kind.method: self._lister(kind) for kind in KINDS},
        }

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer one message of a client (`mcp.server.context.ServerMiddleware`)."""
        context, method = ctx, ctx.method
        if context.request_id is None:
            if method == "notifications/initialized":
                self._relay.join(context)
            return await call_next(context)
        if method == "initialize":
            await self._registry.greeting_ready()
            result = await call_next(context)
            return {**result, **self._introduction("legacy")} if isinstance(result, dict) else result
        if method == "subscriptions/listen":
            return await call_next(_without_resource_subscriptions(context))
        if method not in self._handlers or (method, context.protocol_version) not in CLIENT_REQUESTS:
            return await call_next(context)
        era: Era = "modern" if context.protocol_version in MODERN_PROTOCOL_VERSIONS else "legacy"
        if era == "legacy" and context.session.client_params is None:
            raise MCPError(INVALID_REQUEST, f"{method} before initialize")
        self._in_flight += 1
        try:
            return await self._handlers[method](context, era, dict(context.params or {}))
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
        """The input schema of a tool by its public name: the SDK checks a call's `Mcp-Param-*` headers against it."""
        return self._registry.catalog("modern").input_schemas.get(tool)

    def _introduction(self, era: Era) -> dict[str, Any]:
        """What `initialize` and `server/discover` say of the backends."""
        instructions = self._registry.instructions(era)
        introduction: dict[str, Any] = {"capabilities": self._registry.capabilities(era)}
        return introduction | ({"instructions": instructions} if instructions else {})

    async def _discover(self, context: Context, era: Era, params: dict[str, Any]) -> dict[str, Any]:
        await self._registry.greeting_ready()
        versions = {"supportedVersions": list(MODERN_PROTOCOL_VERSIONS)}
        return _adapt(context.method, {**versions, **self._introduction(era)}, "legacy", era)

    def _lister(self, kind: Kind) -> Callable[[Context, Era, dict[str, Any]], Awaitable[dict[str, Any]]]:
        async def list_all(context: Context, era: Era, params: dict[str, Any]) -> dict[str, Any]:
            if params.get("cursor") is not None:
                raise MCPError(INVALID_PARAMS, "Unknown cursor: this list comes in one page")
            if not self._called:
                await self._registry.lists_ready()
            listing = self._registry.catalog(era).listings[kind]
            hints = {"ttlMs": listing.ttl_ms, "cacheScope": "public" if listing.public else "private"}
            result = {kind.key: list(listing.items)} | (hints if era == "modern" else {})
            return _adapt(context.method, result, "legacy", era)

        return list_all

    def _forwarder(self, kind: Kind) -> Callable[[Context, Era, dict[str, Any]], Awaitable[dict[str, Any]]]:
        async def forward(context: Context, era: Era, params: dict[str, Any]) -> dict[str, Any]:
            route = await self._find_name(era, kind, _string(params, "name"))
            return await self._forward(context, era, route, {**params, "name": route.name})

        return forward

    async def _read_resource(self, context: Context, era: Era, params: dict[str, Any]) -> dict[str, Any]:
        uri = _string(params, "uri")
        route = await self._find_uri(era, uri, lambda: self._route_uri(era, uri))
        return await self._forward(context, era, route, {**params, "uri": route.name}, {route.name: uri})

    async def _complete(self, context: Context, era: Era, params: dict[str, Any]) -> dict[str, Any]:
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise MCPError(INVALID_PARAMS, "ref must be an object")
        if "uri" in ref:
            key, uri = "uri", _string(ref, "uri")
            route = await self._find_uri(
                era, uri, lambda: self._registry.catalog(era).route(TEMPLATES, uri) or self._route_uri(era, uri)
            )
        else:
            key, route = "name", await self._find_name(era, PROMPTS, _string(ref, "name"))
        return await self._forward(context, era, route, {**params, "ref": {**ref, key: route.name}})

    async def _find_name(self, era: Era, kind: Kind, name: str) -> Route:
        route = await self._find(lambda: self._registry.catalog(era).route(kind, name))
        if route is None:
            raise MCPError(INVALID_PARAMS, f"Unknown {kind.noun}: {name}")
        return route

    async def _find_uri(self, era: Era, uri: str, look_up: Callable[[], Route | None]) -> Route:
        route = await self._find(look_up)
        if route is None:
            raise MCPError(RESOURCE_NOT_FOUND[era], f"Resource not found: {uri}", {"uri": uri})
        return route

    async def _find(self, look_up: Callable[[], Route | None]) -> Route | None:
        """Look up; what is not there may belong to a backend that is still starting."""
        await self._registry.ready_for(lambda: look_up() is not None)
        return look_up()

    async def _forward(
        self,
        context: Context,
        era: Era,
        route: Route,
        params: dict[str, Any],
        asked: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Forward a request; `asked` maps URIs that the client spelled itself, by the backend's spelling."""
        backend = self._registry.backends.get(route.server)
        if backend is None:  # removed since the catalog was asked
            raise MCPError(INTERNAL_ERROR, f"MCP server '{route.server}' was removed")
        meta = params.get("_meta") if era == "modern" else None
        capabilities = meta.get(CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, dict) else None
        result, spoken = await backend.request(
            era, context.method, params, capabilities if isinstance(capabilities, dict) else {}
        )
        # SDK clients list the tools before they hand out the result of a call. That list must not wait for a backend
        # that hangs: whoever calls has stopped looking around, and late backends are announced.
        self._called = True
        for holder in _uri_holders(context.method, result):
            uri = holder["uri"]
            holder["uri"] = (asked or {}).get(uri) or self._public_uri(era, route.server, uri)
        return _adapt(context.method, result, spoken, era)

    def _route_uri(self, era: Era, uri: str) -> Route | None:
        catalog = self._registry.catalog(era)
        announced = self._announced(uri)
        renamed = announced if announced is not None and announced.name != uri else None
        if route := catalog.route(RESOURCES, uri) or renamed or catalog.by_template(uri) or announced:
            return route
        able = [name for name, offer in self._registry.offers(era).items() if "resources" in offer.capabilities]
        qualified = unqualify(uri)
        if qualified is not None and qualified[0] in able:
            return Route(*qualified)
        return Route(able[0], uri) if len(able) == 1 else None

    def _announced(self, uri: str) -> Route | None:
        """Where a URI leads that a server, which is still there, has mentioned."""
        route = self._links.get(uri)
        return route if route is not None and route.server in self._registry.backends else None

    def _public_uri(self, era: Era, server: str, uri: str) -> str:
        """How a client has to spell a URI that a server mentions, so that it comes back to that server."""
        catalog = self._registry.catalog(era)
        route = Route(server, uri)
        if (listed := catalog.public[RESOURCES].get(route)) is not None:
            return listed
        owner = catalog.route(RESOURCES, uri) or catalog.by_template(uri) or self._announced(uri)
        if owner is not None and owner.server == server:
            return uri
        public = uri if owner is None else qualify(server, uri)
        self._links[public] = route
        self._links.move_to_end(public)
        if len(self._links) > LINKS:
            self._links.popitem(last=False)
        return public


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
        if result.pop("resultType", "complete") == "input_required":
            raise MCPError(
                INTERNAL_ERROR, f"{method}: the server asks for input, which Multi-MCP cannot yet ask a legacy client"
            )
        if method in CACHEABLE_METHODS:
            result.pop("ttlMs", None)
            result.pop("cacheScope", None)
        if isinstance(result.get("_meta"), dict):
            result["_meta"].pop(SERVER_INFO_META_KEY, None)
            if not result["_meta"]:
                del result["_meta"]
    return result


def _without_resource_subscriptions(context: Context) -> Context:
    """A listen request without what is not relayed, which the acknowledgment then leaves out (spec, subscriptions)."""
    params = dict(context.params or {})
    if isinstance(params.get("notifications"), dict):
        params["notifications"] = {k: v for k, v in params["notifications"].items() if k != "resourceSubscriptions"}
    return replace(context, params=params)


def _string(params: Mapping[str, Any], key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str):
        raise MCPError(INVALID_PARAMS, f"{key} must be a string")
    return value
