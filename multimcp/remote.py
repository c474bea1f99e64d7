"""MCP over HTTP toward a backend: the client both transports use, and the SSE transport.

Rules:
- Nothing here ends a quiet stream, makes one call wait for another, or limits the size of a message.
- A message that the server does not take fails its own request, at once; the connection goes on.
- A response that breaks off fails its own request, too.

The SDK's SSE client stops sending for good after one refused message, without a word, and ends the connection at an
event of a megabyte; both cannot be set, which is why this module has its own.

Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import cache
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import INTERNAL_ERROR, ErrorData, JSONRPCError, JSONRPCRequest

from .errors import BackendError
from .streams import MessageReader, Unowned

TIMEOUT = 30.0
"""Seconds to connect, and to send. A response may take as long as the client waits."""

TIMEOUT_NOTIFICATION = 5.0
"""Seconds a server has to acknowledge a notification."""

KEPT = 4.0
"""Seconds that a connection is kept for the next request: shorter than servers keep one (Node.js and uvicorn: 5), so
that it is us who close it. A request on its way to a server that closes is lost."""

Watch = Callable[[httpx2.Request, httpx2.Response | httpx2.TransportError], None]
"""Is told how each request went: the response when its head is there, or why there is none."""


def http_client(headers: Mapping[str, str], watch: Watch) -> httpx2.AsyncClient:
    """A client for one backend."""
    return httpx2.AsyncClient(
        headers=headers, timeout=httpx2.Timeout(TIMEOUT, read=None), transport=_Transport(watch), trust_env=False
    )


@asynccontextmanager
async def open_sse(
    client: httpx2.AsyncClient, url: str, on_noise: Callable[[str], None]
) -> AsyncGenerator[tuple[MessageReader, "SseWriter"], None]:
    """Connect to an SSE server.

    Args:
        client: as `http_client` makes it.
        url: of the event stream.
        on_noise: gets each event that is not an MCP message.

    Raises:
        BackendError: the operator's: what answers is not an MCP server over SSE.
        httpx2.HTTPStatusError, httpx2.TransportError: it refuses, or cannot be reached.
    """
    async with client.sse(url, max_event_size=None) as events:
        events.response.raise_for_status()
        async with aclosing(_events(events)) as texts:
            endpoint = urljoin(url, (await anext(texts, b"")).decode())
            if urlsplit(endpoint)[:2] != urlsplit(url)[:2] or endpoint == url:
                raise BackendError(f"{url} names no endpoint of its own to send messages to")
            yield MessageReader(texts, on_noise), SseWriter(client, endpoint)


async def _events(events: httpx2.EventSource) -> AsyncGenerator[bytes, None]:
    """The data of the first event, which names the endpoint, and of all messages after it."""
    expected = "endpoint"
    try:
        async for event in events:
            if event.event == expected and event.data:
                expected = "message"
                yield event.data.encode()
    except (httpx2.TransportError, httpx2.StreamError):
        pass  # the stream is over, one way or the other


class SseWriter(Unowned):
    """Posts messages to the endpoint of an SSE server."""

    def __init__(self, client: httpx2.AsyncClient, endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint

    async def send(self, item: SessionMessage, /) -> None:
        """Raises `MCPError` when a request is not taken, `anyio.BrokenResourceError` when another message is not."""
        body = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        headers = {"content-type": "application/json"}
        try:
            response = await self._client.post(self._endpoint, content=body, headers=headers)
        except httpx2.StreamError:
            return  # it was taken: only what comes with the status, which says nothing, broke off
        if response.is_success:
            return
        if isinstance(item.message, JSONRPCRequest):
            problem = http_status(response.status_code)
            raise MCPError(INTERNAL_ERROR, f"The server did not take the request: {problem}")
        raise anyio.BrokenResourceError


class _Transport(httpx2.AsyncHTTPTransport):
    """Has a request that fails on its way fail alone: the SDK's transport would take the whole connection down.

    A POST that is not answered is answered here, with an error; a response that breaks off is told as a broken
    stream. Both are what the SDK takes as the end of that one request.
    """

    def __init__(self, watch: Watch) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEPT)
        super().__init__(verify=_tls(), limits=limits, trust_env=True)
        self._watch = watch

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST" and b'"id":' not in request.content:
            # Nothing comes back on a notification, and the SDK sends nothing else before its response is there.
            request.extensions["timeout"]["read"] = TIMEOUT_NOTIFICATION
        try:
            response = await super().handle_async_request(request)
        except httpx2.TransportError as exc:
            self._watch(request, exc)
            if request.method != "POST":
                raise
            error = ErrorData(code=INTERNAL_ERROR, message=f"The request could not be sent: {type(exc).__name__}")
            body = JSONRPCError(jsonrpc="2.0", id=None, error=error).model_dump_json()
            return httpx2.Response(HTTPStatus.BAD_GATEWAY, headers={"content-type": "application/json"}, content=body)
        self._watch(request, response)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Body(response.stream)
        return response


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.TransportError as exc:
            raise httpx2.StreamError(f"the response broke off ({type(exc).__name__})") from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """Reading the trusted certificates takes 30 ms of CPU; once is enough."""
    return httpx2.create_ssl_context()


_REMEDIES = {
    400: 'check its URL and its "type" ("http" or "sse")',
    401: 'give the key that it wants in "headers"',
    403: 'check the key in its "headers", and whether it may be used from here',
    404: "check the path of its URL: most servers are at /mcp or /sse",
    405: 'check its URL and its "type" ("http" or "sse")',
}


def remedy(status: int) -> str:
    """What to do about a server that answers with this status, for the end of a sentence."""
    return f"; {_REMEDIES[status]}" if status in _REMEDIES else ""


def http_status(status: int) -> str:
    """`HTTP 404 Not Found`, for people."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
