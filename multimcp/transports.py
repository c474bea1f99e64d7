"""The ways in: an SDK server's streams, served over stdio, SSE and streamable HTTP.

Rules:
- SSE (`/sse` with `/messages/`) and streamable HTTP (`/mcp`), both eras, are served by one application on one port.
- Nothing is served past the guard.
- `?names=` asks for a spelling of names: on `/sse` for all that comes over that stream, on `/mcp` for the session that
  a request opens, or for that one request. A spelling that there is not is refused before anything else is done.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import anyio
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.shared._context_streams import ContextSendStream
from mcp.shared.message import SessionMessage
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from .guard import Access, Guard, error_response, rpc_error_response
from .naming import Spelling, read_spelling, unknown_spelling
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


class Streams:
    """The streams that clients keep open by a GET, on `/mcp` and `/sse`: they end when the client or `end` says so."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], None]] = set()

    @contextmanager
    def opened(self, end: Callable[[], None]) -> Generator[None, None, None]:
        """While a stream is open that `end` ends."""
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.discard(end)

    def end(self) -> None:
        """Have all that are open end; this does not wait for them."""
        for end in list(self._ends):
            end()


def http_application(
    servers: Mapping[Spelling | None, Server[Any]],
    manager: StreamableHTTPSessionManager,
    admin: Sequence[BaseRoute],
    streams: Streams,
    *,
    access: Access,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The ASGI application with all that is served over HTTP. `manager` must be running while it serves.

    Args:
        servers: answer the MCP messages that come over SSE, by the spelling of names that `GET /sse` asks for.
        manager: answers those that come over streamable HTTP.
        admin: further routes.
        streams: gets the streams that clients open.
        access: who is let in.
        lifespan: what has to be open while it is served, if the ASGI server is to see to that.
    """
    sse = SseServerTransport("/messages/", max_request_body_size=MAX_BODY)
    return Starlette(
        routes=[
            Route("/mcp", _Spelled(_McpEndpoint(manager, streams))),
            Route("/sse", _Spelled(_SseEndpoint(servers, sse, streams))),
            Mount("/messages/", app=sse.handle_post_message),
            *admin,
        ],
        middleware=[Middleware(Guard, access)],
        exception_handlers={Exception: _internal_error},
        lifespan=lifespan,
    )


class _Spelled:
    """ASGI application that refuses requests for names in a spelling that there is not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = Request(scope).query_params.get("names")
        if names is None or read_spelling(names):
            await self._app(scope, receive, send)
        else:
            await rpc_error_response(400, unknown_spelling(names))(scope, receive, send)


class _McpEndpoint:
    """Serves streamable HTTP. No answer is sent on the stream that a GET opens, so it may end at any time."""

    def __init__(self, manager: StreamableHTTPSessionManager, streams: Streams) -> None:
        self._app = StreamableHTTPASGIApp(manager)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        with anyio.CancelScope() as open_until, self._streams.opened(open_until.cancel):
            await self._app(scope, receive, send)
        if open_until.cancelled_caught:
            await send({"type": "http.response.body"})


class _SseEndpoint:
    """Serves one client over an SSE stream for as long as it is open.

    All answers are sent on it, so it ends only when those that wait to be written are.
    """

    def __init__(
        self, servers: Mapping[Spelling | None, Server[Any]], sse: SseServerTransport, streams: Streams
    ) -> None:
        self._servers = servers
        self._sse = sse
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await error_response(405, "GET opens the stream", {"Allow": "GET"})(scope, receive, send)
            return
        server = self._servers[read_spelling(Request(scope).query_params.get("names"))]
        async with self._sse.connect_sse(scope, receive, send) as (read, write):
            answers = _Answers(write)
            with self._streams.opened(answers.end):
                await server.run(read, answers, server.create_initialization_options())


class _Answers:
    """The way to an SSE stream, which closes once it is told to end and nothing waits to be written.

    To close the SDK's stream while messages wait in it would drop them.
    """

    def __init__(self, stream: ContextSendStream[SessionMessage]) -> None:
        self._stream = stream
        self._waiting = 0
        self._is_ending = False

    async def send(self, item: SessionMessage, /) -> None:
        self._waiting += 1
        try:
            await self._stream.send(item)
        finally:
            self._waiting -= 1
            self._close_if_due()

    def end(self) -> None:
        self._is_ending = True
        self._close_if_due()

    def _close_if_due(self) -> None:
        if self._is_ending and not self._waiting:
            self._stream.close()

    async def aclose(self) -> None:
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stream.close()


async def _internal_error(request: Request, exc: Exception) -> JSONResponse:
    if isinstance(exc, ClientDisconnect):
        return error_response(400, "the request broke off")
    logger.error("%s %s failed; this is a fault of Multi-MCP", request.method, request.url.path, exc_info=exc)
    return error_response(500, "Multi-MCP failed; its log says how")
