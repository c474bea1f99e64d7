"""The ways in: an SDK server's streams, served over stdio, SSE and streamable HTTP.

Rules:
- SSE (`/sse` with `/messages/`) and streamable HTTP (`/mcp`), both eras, are served by one application on one port.
- On a loopback address every request must name a loopback host, and a browser's must come from one: otherwise any
  web page could use the proxy of whoever looks at it (DNS rebinding).

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#security--endpoint
"""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .stdio import own_stdin

logger = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server bound to `host`."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client over our standard streams, until it closes stdin."""
    async with own_stdin() as lines, stdio_server(stdin=lines) as (read, write):
        await server.run(read, write, server.create_initialization_options())


def http_application(
    server: Server[Any], manager: StreamableHTTPSessionManager, admin: Sequence[BaseRoute], *, host: str
) -> Starlette:
    """The ASGI application with all that is served over HTTP. `manager` must be running while it serves.

    Args:
        server: answers the MCP messages that come over SSE.
        manager: answers those that come over streamable HTTP.
        admin: further routes.
        host: the address bound to.
    """
    sse = SseServerTransport("/messages/")
    hosts = {*_LOOPBACK, f"[{host}]" if ":" in host else host} if is_loopback(host) else set()
    return Starlette(
        routes=[
            Route("/mcp", StreamableHTTPASGIApp(manager)),
            Route("/sse", _SseEndpoint(server, sse)),
            Mount("/messages/", app=sse.handle_post_message),
            *admin,
        ],
        middleware=[Middleware(_RebindingGuard, hosts=hosts)] if hosts else [],
        exception_handlers={Exception: _internal_error},
    )


class _SseEndpoint:
    """Serves one client over an SSE stream for as long as it is open."""

    def __init__(self, server: Server[Any], sse: SseServerTransport) -> None:
        self._server = server
        self._sse = sse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await JSONResponse({"error": "GET opens the stream"}, 405, {"Allow": "GET"})(scope, receive, send)
            return
        async with self._sse.connect_sse(scope, receive, send) as (read, write):
            await self._server.run(read, write, self._server.create_initialization_options())


class _RebindingGuard:
    """Refuses requests whose Host or Origin is not one of `hosts`, on any port."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        named = [f"{host}{port}" for host in hosts for port in ("", ":*")]
        self._guard = TransportSecurityMiddleware(
            TransportSecuritySettings(
                allowed_hosts=named,
                allowed_origins=[f"{scheme}://{name}" for scheme in ("http", "https") for name in named],
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._guard.validate_request(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


async def _internal_error(request: Request, exc: Exception) -> JSONResponse:
    logger.error("%s %s failed; this is a fault of Multi-MCP", request.method, request.url.path, exc_info=exc)
    return JSONResponse({"error": "Multi-MCP failed; its log says how"}, 500)
