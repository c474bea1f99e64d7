"""The ways in: an SDK server's streams, served over stdio, SSE and streamable HTTP.

Rules:
- SSE (`/sse` with `/messages/`) and streamable HTTP (`/mcp`), both eras, are served by one application on one port.
- Nothing is served past the guard.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import anyio
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.shared.message import SessionMessage
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Lifespan, Receive, Scope, Send

from .guard import Access, Guard, error_response
from .stdio import Descriptor, MessageWriter, own_streams, read_lines
from .streams import MessageReader

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 1024 * 1024
"""Bytes that one message of a client may have: what a backend over stdio takes, but not without end."""


async def serve_stdio(server: Server[Any], on_end: Callable[[], None]) -> None:
    """Serve one client over our standard streams, until cancelled; `on_end` is told when the client is gone.

    The end of stdin does not end it at once: the SDK would drop what is not answered yet.
    """
    send, receive = anyio.create_memory_object_stream[SessionMessage](0)

    async def incoming(stdin: Descriptor) -> AsyncGenerator[bytes, None]:
        async for line in read_lines(stdin):
            yield line
        on_end()
        await anyio.sleep_forever()

    async def outgoing(stdout: Descriptor) -> None:
        # In a task of its own, so that a request that is cancelled does not leave half a line.
        writer = MessageWriter(stdout)
        async with receive:
            async for message in receive:
                try:
                    await writer.send(message)
                except anyio.BrokenResourceError:
                    break
        on_end()

    with own_streams() as (stdin, stdout):
        async with anyio.create_task_group() as group:
            group.start_soon(outgoing, stdout)
            reader = MessageReader(incoming(stdin), lambda line: logger.warning("client: sends what is not MCP"))
            await server.run(reader, send, server.create_initialization_options())


def http_application(
    server: Server[Any],
    manager: StreamableHTTPSessionManager,
    admin: Sequence[BaseRoute],
    *,
    access: Access,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The ASGI application with all that is served over HTTP. `manager` must be running while it serves.

    Args:
        server: answers the MCP messages that come over SSE.
        manager: answers those that come over streamable HTTP.
        admin: further routes.
        access: who is let in.
        lifespan: what has to be open while it is served, if the ASGI server is to see to that.
    """
    sse = SseServerTransport("/messages/", max_request_body_size=MAX_BODY)
    return Starlette(
        routes=[
            Route("/mcp", StreamableHTTPASGIApp(manager)),
            Route("/sse", _SseEndpoint(server, sse)),
            Mount("/messages/", app=sse.handle_post_message),
            *admin,
        ],
        middleware=[Middleware(Guard, access)],
        exception_handlers={Exception: _internal_error},
        lifespan=lifespan,
    )


class _SseEndpoint:
    """Serves one client over an SSE stream for as long as it is open."""

    def __init__(self, server: Server[Any], sse: SseServerTransport) -> None:
        self._server = server
        self._sse = sse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await error_response(405, "GET opens the stream", {"Allow": "GET"})(scope, receive, send)
            return
        async with self._sse.connect_sse(scope, receive, send) as (read, write):
            await self._server.run(read, write, self._server.create_initialization_options())


async def _internal_error(request: Request, exc: Exception) -> JSONResponse:
    if isinstance(exc, ClientDisconnect):
        return error_response(400, "the request broke off")
    logger.error("%s %s failed; this is a fault of Multi-MCP", request.method, request.url.path, exc_info=exc)
    return error_response(500, "Multi-MCP failed; its log says how")
