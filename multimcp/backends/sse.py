"""A backend over the older HTTP with SSE: one stream of events to read, an endpoint to post to.

Rules:
- A message that the server does not take fails its own request, at once; the connection goes on.
- A body that breaks off behind "202 Accepted" costs nothing: the message was taken.

Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio

from multimcp.errors import BackendError, backend_failure
from multimcp.protocol.framing import Events
from multimcp.protocol.greeting import UNREACHABLE, Unreachable, http_status, remedy
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Link
from multimcp.protocol.message import Fields

from .direct import CONNECT_TIMEOUT
from .http import NOTIFICATION_TIMEOUT, Tasks, body_of, new_session, why_unreachable
from .wire import Wire


class SseWire(Wire):
    """One server over SSE, for one link."""

    def __init__(self, link: Link, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        super().__init__(link, limits)
        self._url = url
        self._limit = limits.message
        self._http = new_session(headers)
        self._tasks = Tasks()
        self._by_number: dict[int, asyncio.Task[None]] = {}
        self._endpoint = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect, and wait for the endpoint.

        Raises:
            BackendError: the operator's: what answers is not an MCP server over SSE; it refuses; or nobody answers.
        """
        try:
            response = await self._http.get(self._url, headers={"Accept": "text/event-stream"})
        except (aiohttp.ClientError, OSError) as exc:
            raise Unreachable(f"{self._url} cannot be reached ({why_unreachable(exc)}){UNREACHABLE}") from None
        if response.status != 200:
            response.release()
            raise BackendError(f"{self._url} answered {http_status(response.status)}{remedy(response.status)}")
        self._tasks.start(self._read(response))
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                named = await self._endpoint
        except TimeoutError:
            named = ""
        endpoint = urljoin(self._url, named)
        if urlsplit(endpoint)[:2] != urlsplit(self._url)[:2] or endpoint == self._url:
            raise BackendError(f"{self._url} names no endpoint of its own to send messages to")
        self._url = endpoint

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        events = Events(self._limit)
        try:
            async for chunk in response.content.iter_any():
                for event in events.feed(chunk):
                    if event.kind == "message":
                        self._link.receive(event.data)
                    elif event.kind == "endpoint" and isinstance(event.data, bytes) and not self._endpoint.done():
                        self._endpoint.set_result(event.data.decode(errors="replace"))
        except (aiohttp.ClientError, OSError):
            pass  # the stream is over, one way or the other
        finally:
            response.close()
            if not self._endpoint.done():
                self._endpoint.set_result("")
            self._link.lose("its stream ended")

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        if self.has_room(number, len(data)):
            self._by_number[number] = self._tasks.start(self._post(data, number))

    def write(self, data: bytes) -> None:
        self._tasks.start(self._post(data, None))

    def cancel(self, number: int, data: bytes) -> None:
        self.write(data)
        if (task := self._by_number.get(number)) is not None:  # the server has not taken it
            asyncio.get_running_loop().call_later(NOTIFICATION_TIMEOUT, task.cancel)

    async def send(self, data: bytes) -> None:
        """Send a message; returns when the server has taken it, or does not."""
        await self._post(data, None)

    async def _post(self, data: bytes, number: int | None) -> None:
        seconds = None if number is not None else NOTIFICATION_TIMEOUT
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT)
        headers = {"Content-Type": "application/json"}
        problem: str | None = "the request could not be sent"
        self._waiting += len(data)
        try:
            async with self._http.post(
                self._url, data=body_of(data), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                self.status = response.status if response.status >= 300 else None
                problem = None if self.status is None else f"did not take the request: {http_status(self.status)}"
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            problem = f"the request could not be sent: {type(exc).__name__}"
        finally:
            self._waiting -= len(data)
            if number is not None:
                self._by_number.pop(number, None)
            if problem is not None and number is not None:
                self._link.fail(number, backend_failure(self._link.server, problem))

    async def close(self) -> None:
        """End the connection, and all that is under way."""
        with anyio.CancelScope(shield=True):
            self._link.lose("it was closed")
            await self._tasks.cancel()
            await self._http.close()
