"""A backend over the older HTTP with SSE: one stream of events to read, an endpoint to post to.

Rules:
- A message that the server does not take fails its own request, at once; the connection goes on, unless the server says
  that it does not know it.
- A body that breaks off behind "202 Accepted" costs nothing: the message was taken.

Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus

import aiohttp
import anyio

from multimcp.errors import BackendError, Fault
from multimcp.protocol.framing import NAME, Event, Events
from multimcp.protocol.greeting import UNREACHABLE, Unreachable, http_status, remedy, tells_of_loss
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Link
from multimcp.protocol.message import Fields
from multimcp.protocol.target import Stray, follow

from .direct import CONNECT_TIMEOUT
from .web import (
    FORGOTTEN,
    NOTIFICATION_TIMEOUT,
    AnyResponse,
    Place,
    TooLarge,
    WebWire,
    is_json,
    is_message,
    why_unreachable,
    words_of,
)


class SseWire(WebWire):
    """One server over SSE, for one link."""

    did = "did not take the request:"

    def __init__(self, link: Link, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        super().__init__(link, url, headers, limits)
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect, and wait for the endpoint.

        Raises:
            BackendError: the operator's: what answers is not an MCP server over SSE; it refuses; or nobody answers.
        """
        url = str(self._place.url)
        try:
            response = await self._ask("GET", {"Accept": "text/event-stream"})
        except Stray as stray:
            raise BackendError(f"{url} answered {http_status(stray.status)}{stray.text}") from None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            reason = why_unreachable(exc) or type(exc).__name__
            raise Unreachable(f"{url} cannot be reached ({reason}){UNREACHABLE}") from None
        if response.status != HTTPStatus.OK:
            response.release()
            raise BackendError(f"{url} answered {http_status(response.status)}{remedy(response.status, 'sse')}")
        if response.content_type not in ("text/event-stream", "application/octet-stream"):  # or it does not say
            words = words_of(response.content_type, await response.content.read(400))
            response.close()
            advice = remedy(HTTPStatus.BAD_REQUEST, "sse")
            raise BackendError(f"{url} answered {http_status(response.status)}{words}{advice}")
        self._tasks.start(self._read_stream(response))
        named = ""
        with suppress(TimeoutError):
            with anyio.fail_after(CONNECT_TIMEOUT):
                named = await self._endpoint
        try:
            endpoint = follow(str(response.url), "POST", HTTPStatus.PERMANENT_REDIRECT, named)
        except Stray:
            endpoint = url
        if endpoint == url:
            advice = remedy(HTTPStatus.BAD_REQUEST, "sse")
            raise BackendError(f"{url} names no endpoint of its own to send messages to{advice}")
        self._place = Place.at(endpoint)

    async def _read_stream(self, response: aiohttp.ClientResponse) -> None:
        events = Events(self._limit)
        try:
            async for event in self._events(events, response):
                self._event(event)
        except (aiohttp.ClientError, OSError):
            pass  # the stream is over, one way or the other
        finally:
            response.close()
            if not self._endpoint.done():
                self._endpoint.set_result("")
            self._link.lose("its stream ended", self._unheard)

    def _event(self, event: Event) -> None:
        if event.kind == "endpoint" and isinstance(event.data, bytes):
            if not self._endpoint.done():
                self._endpoint.set_result(event.data.decode(errors="replace") if len(event.data) <= NAME else "")
        elif is_message(event):
            self._link.receive(event.data)

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        if self.has_room(number, len(data)):
            self._start(number, partial(self._exchange, number, data))

    def cancel(self, number: int, data: bytes) -> None:
        self.write(data)
        if (task := self._by_number.get(number)) is not None:  # the server has not taken it
            asyncio.get_running_loop().call_later(NOTIFICATION_TIMEOUT, task.cancel)

    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"}

    async def _exchange(self, number: int, data: bytes) -> Fault | None:
        """Send a request; returns its failure if the server does not take it."""
        if isinstance(response := await self._sent(number, self._headers(), data), Fault):
            return response
        async with response:
            self.status = response.status if response.status >= 300 else None
            return None if self.status is None else await self._refusal(number, response, data)

    async def _refusal(self, number: int, response: AnyResponse, data: bytes) -> Fault:
        """What to say of a request that the server did not take: its own words, if they are a message."""
        said = b""
        with suppress(TooLarge, aiohttp.ClientError, OSError):
            said = await self._read(response)
        loss = tells_of_loss(response.status, said)
        is_said = loss == "perhaps" and tells_of_loss(HTTPStatus.INTERNAL_SERVER_ERROR, said) == "perhaps"
        if self._link.is_first_try(number) and (loss == "sure" or is_said or response.status == HTTPStatus.GONE):
            self._lose(FORGOTTEN, number, data)
        elif is_json(said):
            self._link.receive(said, number)
        return self._refused(response.status, words_of(response.content_type, said))
