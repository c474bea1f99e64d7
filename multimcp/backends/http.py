"""A backend over streamable HTTP, in either era.

Rules:
- Each message is a POST; a task of its own takes the answer, which is one JSON document or a stream of events.
- A stream that breaks off before the answer is resumed where the server gave ids (legacy); else its one request fails.
- The legacy GET stream, for what belongs to no call, is kept up and resumed.
- A server that cannot be reached, or has forgotten our session, ends the link: it is opened anew.
- Closing the response is how a modern request is cancelled; a legacy one by a notification.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import asyncio
import io
import os
import ssl
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import Any

import aiohttp
import anyio
from multidict import CIMultiDict
from yarl import URL

from multimcp.errors import Fault, backend_failure
from multimcp.protocol.eras import GREETINGS, headers_for
from multimcp.protocol.framing import Event, Events
from multimcp.protocol.greeting import http_status
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Excess, Link
from multimcp.protocol.message import PARSE_ERROR, Fields, text

from .direct import CONNECT_TIMEOUT, HEAD, KEPT, Direct, Response
from .wire import Wire

NOTIFICATION_TIMEOUT = 5.0
"""Seconds a server has to acknowledge a notification."""

CLOSE_TIMEOUT = 1.0
"""Seconds a server has to be told that its session ends."""

RETRY = 1.0
"""Seconds before a stream is resumed, unless the server names another time; the longest is `RETRY_LIMIT`."""

RETRY_LIMIT = 30.0
LINGER = 10.0
"""Seconds in which a server may end the stream of a legacy request that was given up."""

ANSWERED = 1.0
"""Seconds in which a server may end the stream of a request that it has answered."""

REDIRECTS = 3
_WHOLE = 1 << 20

_ACCEPT_BOTH = "application/json, text/event-stream"
_ACCEPT_STREAM = "text/event-stream"


class Tasks:
    """The tasks of one wire, which end with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancel all but the caller; when this returns they are over."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_session(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """An HTTP client for one backend: no limit on what is open, no total timeout."""
    ours = CIMultiDict(headers)
    ours.setdefault("Accept-Encoding", "identity")
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT, ssl=_tls()),
        headers=ours,
        cookie_jar=aiohttp.CookieJar(unsafe=True, quote_cookie=False),  # from addresses, too, and as they came
        skip_auto_headers=("User-Agent",),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        max_line_size=HEAD,
        max_field_size=HEAD,
    )


@cache
def _tls() -> ssl.SSLContext:
    """Reading the trusted certificates takes 30 ms of CPU; once is enough."""
    return ssl.create_default_context()


def why_unreachable(exc: Exception) -> str:
    """Why a server cannot be reached, for people."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        code = exc.os_error.errno
        return os.strerror(code) if code is not None and code > 0 else str(exc.os_error.strerror or exc.os_error)
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def body_of(data: bytes) -> bytes | io.BytesIO:
    """A body as aiohttp wants it: a large one in pieces, so that it does not hold up the event loop."""
    return data if len(data) < _WHOLE else io.BytesIO(data)


class TooLarge(Exception):
    """A response over the limit."""


class HttpWire(Wire):
    """One server over streamable HTTP, for one link."""

    has_headers = True

    def __init__(self, link: Link, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        super().__init__(link, limits)
        self._url = URL(url)
        self._limit = limits.message
        self._http = new_session(headers)
        self._direct = Direct(headers, _tls(), self._http.cookie_jar)
        self._session_id: str | None = None
        self._tasks = Tasks()
        self._by_number: dict[int, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Nothing has to be there before the first request."""

    # What a link writes

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        if not self.has_room(number, len(data)):
            return
        headers = self._headers()
        if method in GREETINGS:
            headers |= self.greeting
        if self._link.era == "modern":
            name = text(params.get("name")) if method == "tools/call" and self.annotated else None
            headers |= headers_for(method, params, self.annotated.get(name or "", {}))
        self._by_number[number] = self._tasks.start(self._call(number, method, data, headers))

    def write(self, data: bytes) -> None:
        if self._link.era == "legacy":  # there are no notifications of clients in the modern era
            self._tasks.start(self.send(data))

    def cancel(self, number: int, data: bytes) -> None:
        task = self._by_number.pop(number, None)
        if self._link.era == "modern":
            if task is not None:
                task.cancel()
            return
        self.write(data)
        if task is not None:  # what it still says on that stream is read, and answered, for a while
            asyncio.get_running_loop().call_later(LINGER, task.cancel)

    def _headers(self, accept: str = _ACCEPT_BOTH) -> dict[str, str]:
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if self.version is not None:
            headers["MCP-Protocol-Version"] = self.version
        if self._session_id is not None:
            headers["Mcp-Session-Id"] = self._session_id
        return headers

    # POST

    async def send(self, data: bytes) -> None:
        """Send a notification or an answer; returns when the server has taken it, or does not."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            timeout = aiohttp.ClientTimeout(total=NOTIFICATION_TIMEOUT)
            async with self._http.post(
                self._url, data=body_of(data), headers=self._headers(), timeout=timeout
            ) as response:
                self._notice(response)

    async def _call(self, number: int, method: str, data: bytes, headers: dict[str, str]) -> None:
        """Send a request, and hand its answer to the link; its failure, too."""
        fault: Fault | None = None
        try:
            self._waiting += len(data)
            try:
                posted = await self._post(data, headers)
            finally:
                self._waiting -= len(data)
            async with posted as response:
                self._notice(response)
                if method == "initialize":
                    self._session_id = response.headers.get("Mcp-Session-Id")
                fault = await self._answer(number, response)
        except TooLarge:
            problem = f"answered {method} with more than {self._limit:,} bytes"
            self._link.emit(Excess(f"{problem} (--max-message)"))
            fault = Fault(PARSE_ERROR, f"MCP server '{self._link.server}': {problem}")
        except aiohttp.ClientPayloadError as exc:
            fault = Fault(PARSE_ERROR, f"MCP server '{self._link.server}': its response broke off: {exc}")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            fault = self._unsent(exc)
        finally:
            self._by_number.pop(number, None)
            if number in self._link.pending:
                self._link.fail(number, fault or self._fault("ended its response without an answer"))

    async def _post(self, data: bytes, headers: Mapping[str, str]) -> Response:
        """POST, following redirects within the server: many answer `/mcp` with a 307 to `/mcp/`."""
        for _ in range(REDIRECTS):
            response = await self._direct.post(self._url, headers, data)
            if response.status not in (307, 308):
                return response
            target = self._url.join(URL(response.headers.get("Location", "")))
            if target == self._url or target.origin() != self._url.origin():
                return response
            response.release()
            self._url = target
        return response

    async def _answer(self, number: int, response: Response | aiohttp.ClientResponse) -> Fault | None:
        """Hand on what comes back on a request; returns the failure where no answer is in it."""
        kind = response.content_type
        if response.status < 400 and kind == "text/event-stream":
            await self._stream(response, number)
            return None
        if kind == "application/json":
            body = await self._read(response)
            if body.strip():
                self._link.receive(body, number)
        if response.status >= 300:
            return self._fault(f"answered {http_status(response.status)}")
        return None

    async def _read(self, response: Response | aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._limit:
                raise TooLarge
            parts.append(chunk)
        return b"".join(parts)

    def _notice(self, response: Response | aiohttp.ClientResponse) -> None:
        """Notice what a stream tells by ending: that our session there is gone."""
        self.unreachable = None
        self.status = response.status if response.status >= 300 else None
        if response.status == HTTPStatus.NOT_FOUND and self._session_id is not None:
            self._session_id = None
            self._link.lose("the server does not know our session any more")

    def _unsent(self, exc: Exception) -> Fault:
        if isinstance(exc, aiohttp.ClientConnectorError):
            self.unreachable = why_unreachable(exc)
            self._link.lose("the server cannot be reached")
        return self._fault(f"the request could not be sent: {type(exc).__name__}")

    def _fault(self, reason: str) -> Fault:
        return backend_failure(self._link.server, reason)

    # Event streams

    async def _stream(self, response: Response | aiohttp.ClientResponse, number: int | None) -> None:
        """Take the events of a response, until its request is answered or the server does not resume it."""
        events = Events(self._limit)
        while True:
            await self._take(events, response, number)
            if number is not None and number not in self._link.pending:
                return
            if number is None or events.last_id is None or self._link.era == "modern":
                return
            self._link.broken_off(number)
            await asyncio.sleep(min(RETRY if events.retry is None else events.retry, RETRY_LIMIT))
            headers = self._headers(_ACCEPT_STREAM) | {"Last-Event-ID": events.last_id}
            response = await self._http.get(self._url, headers=headers)
            if response.status != HTTPStatus.OK or response.content_type != "text/event-stream":
                response.release()
                return

    async def _take(self, events: Events, response: Response | aiohttp.ClientResponse, number: int | None) -> None:
        is_answered = False
        try:
            async for chunk in response.content.iter_any():
                for event in events.feed(chunk):
                    self._event(event, number)
                if number is not None and number not in self._link.pending and not is_answered:
                    is_answered = True  # some servers leave the stream open then
                    asyncio.get_running_loop().call_later(ANSWERED, response.release)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            if events.last_id is None and number is not None:
                raise
        finally:
            response.release()

    def _event(self, event: Event, number: int | None) -> None:
        if event.kind == "message" and event.data:
            self._link.receive(event.data, number)

    def listen(self) -> None:
        """Open the stream for what belongs to no call, and keep it up."""
        self._tasks.start(self._listen())

    async def _listen(self) -> None:
        events = Events(self._limit)
        while self._link.state == "open":
            headers = self._headers(_ACCEPT_STREAM)
            if events.last_id is not None:
                headers["Last-Event-ID"] = events.last_id
            try:
                async with self._http.get(self._url, headers=headers) as response:
                    self._notice(response)
                    if response.status != HTTPStatus.OK or response.content_type != "text/event-stream":
                        if 300 <= response.status < 500 or response.status == HTTPStatus.OK:
                            self.has_stream = False
                            return
                    else:
                        await self._take(events, response, None)
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                self._unsent(exc)
            await asyncio.sleep(min(RETRY if events.retry is None else events.retry, RETRY_LIMIT))

    # The end

    async def close(self) -> None:
        """End the session there, and all that is under way."""
        with anyio.CancelScope(shield=True):
            self._link.lose("it was closed")
            await self._tasks.cancel()
            if self._session_id is not None:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    timeout = aiohttp.ClientTimeout(total=CLOSE_TIMEOUT)
                    async with self._http.delete(self._url, headers=self._headers(), timeout=timeout):
                        pass
            self._direct.close()
            await self._http.close()
