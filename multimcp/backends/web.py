"""A server over HTTP: what both transports have in common.

Rules:
- Redirects are followed here (`protocol.target`), not by the client library, which would follow them anywhere.
- The status is not the message: what stands in a body as JSON-RPC is the answer, whatever the status.
- What is said of a server that cannot be reached names what to do about it.
"""

import asyncio
import errno
import io
import os
import socket
import ssl
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import aiohttp
import anyio
from multidict import CIMultiDict
from yarl import URL

from multimcp.errors import BackendError, Fault, backend_failure, printable
from multimcp.protocol.framing import MANY, Event, Events, turns
from multimcp.protocol.greeting import http_status
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import UNREACHED, Excess, Link
from multimcp.protocol.message import BYTE_ORDER_MARK, PARSE_ERROR
from multimcp.protocol.target import REDIRECTS, Stray, Target, follow, way_out

from .direct import CONNECT_TIMEOUT, HEAD, KEPT, Direct, Response
from .wire import Wire

NOTIFICATION_TIMEOUT = 5.0
"""Seconds a server has to acknowledge a notification."""

CLOSE_TIMEOUT = 1.0
"""Seconds a server has to be told that its session ends, or to answer what it was asked before it was lost."""

FORGOTTEN = "the server does not know our session any more"
POSTS = 1000
"""Notifications and answers that wait for a server to take them, and how many are on their way at a time."""
SENDERS = 8

COOKIES = 50
"""Cookies that a server may set, and the bytes that they may have together."""
COOKIES_SIZE = 16 * 1024

HOPS = 5
"""Redirects that are followed, one after the other."""

_PATIENT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
_WHOLE = 1 << 20


_NOT_ITS_FAULT = frozenset({errno.EMFILE, errno.ENFILE, socket.EAI_AGAIN})
"""No descriptor is left to us, or no name server answers: that says nothing of the server, nor of what it does."""

AnyResponse = Response | aiohttp.ClientResponse
R = TypeVar("R", Response, aiohttp.ClientResponse)
Exchange = Callable[[], Coroutine[Any, Any, Fault | None]]


class TooLarge(Exception):
    """A response over the limit."""


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


def own_headers(target: Target, headers: Mapping[str, str]) -> Mapping[str, str]:
    """What goes with every request to a server: what is configured, who asks, and that nothing is to be compressed."""
    ours = CIMultiDict(headers)
    ours.setdefault("Accept-Encoding", "identity")
    if target.authorization:
        ours.setdefault("Authorization", target.authorization)
    return ours


class Cookies(aiohttp.CookieJar):
    """The cookies of one server: those of one that sets too many are forgotten."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take what a response sets."""
        super().update_cookies_from_headers(headers, response_url)
        if len(self) > COOKIES or sum(len(each.key) + len(each.value) for each in self) > COOKIES_SIZE:
            self.clear()


def new_session(target: Target, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """An HTTP client for one server: no limit on what is open, no total timeout."""
    connector: aiohttp.BaseConnector
    if target.socket:
        connector = aiohttp.UnixConnector(target.socket, limit=0, keepalive_timeout=KEPT)
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT, ssl=trusted())
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        cookie_jar=Cookies(unsafe=True, quote_cookie=False),  # from addresses, too, and as they came
        skip_auto_headers=("User-Agent",),
        timeout=_PATIENT,
        max_line_size=HEAD,
        max_field_size=HEAD,
    )


@cache
def trusted() -> ssl.SSLContext:
    """With the authorities of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Reading them takes 30 ms of CPU."""
    return ssl.create_default_context()


def why_unreachable(exc: Exception) -> str | None:
    """Why nothing was sent to a server, for people; None where something may have been."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        reason = getattr(exc.certificate_error, "verify_message", "") or str(exc.certificate_error)
        return f"its certificate is not trusted: {reason}; name the file of its authority in SSL_CERT_FILE"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy on the way there answered {http_status(exc.status)}"
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    if isinstance(exc, aiohttp.ClientConnectorError):
        code = exc.os_error.errno
        known = code is not None and code > 0 and not isinstance(exc.os_error, ssl.SSLError)
        reason = os.strerror(code) if known and code else str(exc.os_error.strerror or exc.os_error)
        is_proxy = isinstance(exc, aiohttp.ClientProxyConnectionError)
        return f"the proxy on the way there: {reason}" if is_proxy else reason
    return None


@dataclass(frozen=True)
class Place:
    """What is asked: a URL, and the proxy on the way there."""

    url: URL
    proxy: str | None = None

    @classmethod
    def at(cls, url: str) -> "Place":
        """The place of a URL, as the environment has it.

        Raises:
            BackendError: the operator's: a way out that is not known here.
        """
        proxy = way_out(url, os.environ)
        if proxy is not None and not proxy.lower().startswith(("http://", "https://")):
            raise BackendError(
                f"the way to {url} is by a proxy of the kind {proxy.partition(':')[0]}, which Multi-MCP does not know; "
                "name one with http:// in HTTP_PROXY or HTTPS_PROXY, or the server in NO_PROXY"
            )
        # What is written in full is sent as it is written: it may be signed.
        return cls(URL(url, encoded=url.isascii() and " " not in url), proxy)


class WebWire(Wire):
    """One server over HTTP, for one link."""

    did = "answered"
    """What is said of a request that was answered with a status and no message."""

    def __init__(self, link: Link, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        """Nothing is sent yet.

        Raises:
            BackendError: the operator's: the environment names a way out that is not known here.
        """
        super().__init__(link, limits)
        target = Target.of(url)
        self._place = Place.at(target.url)
        self._limit = limits.message
        sent = own_headers(target, headers)
        self._http = new_session(target, sent)
        self._direct = None if target.socket else Direct(sent, trusted(), self._http.cookie_jar)
        self._tasks = Tasks()
        self._posts: deque[bytes] = deque()
        self._senders = 0
        self._by_number: dict[int, asyncio.Task[None]] = {}
        self._closing = asyncio.Lock()
        self._unheard: set[int] = set()
        """Requests of which it is not known yet whether the server has taken them."""

    @abstractmethod
    def _headers(self) -> dict[str, str]:
        """What goes with what is posted."""

    async def send(self, data: bytes) -> None:
        """Send a notification or an answer; returns when the server has taken it, or does not."""
        with suppress(Stray, BackendError, aiohttp.ClientError, OSError, ValueError):
            (await self._ask("POST", self._headers(), data, NOTIFICATION_TIMEOUT)).release()

    def _start(self, number: int, exchange: Exchange) -> None:
        """Have a request sent: by an `exchange` that returns its failure, if it fails."""
        self._unheard.add(number)
        self._by_number[number] = self._tasks.start(self._call(number, exchange))

    async def _call(self, number: int, exchange: Exchange) -> None:
        fault: Fault | None = None
        try:
            fault = await exchange()
        except Stray as stray:
            fault = self._refused(stray.status, stray.text)
        except TooLarge:
            problem = f"answered with more than {self._limit:,} bytes"
            self._link.emit(Excess(f"{problem} (--max-message)"))
            fault = backend_failure(self._link.server, problem, PARSE_ERROR)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            fault = backend_failure(self._link.server, self.clean(f"its response broke off: {exc}"), PARSE_ERROR)
        except BaseException:  # whatever it was, somebody may wait
            fault = self._fault("ended its response without an answer")
            raise
        finally:
            self._unheard.discard(number)
            self._by_number.pop(number, None)
            if fault is not None:
                self._link.fail(number, fault)

    async def _sent(self, number: int, headers: Mapping[str, str], data: bytes) -> AnyResponse | Fault:
        """Send a request; the response, whose head has come, or the failure."""
        self._waiting += len(data)
        try:
            return await self._post(headers, data)
        except (BackendError, aiohttp.ClientError, OSError, ValueError) as exc:
            return self._unsent(number, data, exc)
        finally:
            self._waiting -= len(data)

    async def _ask(
        self, method: str, headers: Mapping[str, str], data: bytes | None = None, seconds: float | None = None
    ) -> aiohttp.ClientResponse:
        """Send an HTTP request, by what can do all that there is.

        Raises:
            Stray: the server's: a redirect leads elsewhere.
            aiohttp.ClientError, OSError, TimeoutError, ValueError: it could not be sent.
        """
        timeout = aiohttp.ClientTimeout(seconds, sock_connect=CONNECT_TIMEOUT)

        async def send(place: Place) -> aiohttp.ClientResponse:
            body = data if data is None or len(data) < _WHOLE else io.BytesIO(data)  # a large one goes in pieces
            return await self._http.request(
                method,
                place.url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=place.proxy,
            )

        return await self._redirected(method, send)

    async def _post(self, headers: Mapping[str, str], data: bytes) -> AnyResponse:
        """Send a POST, by what costs least; raises as `_ask` does."""
        direct = self._direct
        if direct is None or self._place.proxy is not None:
            return await self._ask("POST", headers, data)
        return await self._redirected("POST", lambda place: direct.post(place.url, headers, data))

    async def _redirected(self, method: str, send: Callable[[Place], Awaitable[R]]) -> R:
        """Send a request, also to where a redirect leads within the server: many send from `/mcp` to `/mcp/`."""
        place = self._place
        for _ in range(HOPS):
            response = await send(place)
            if response.status not in REDIRECTS:
                return response
            response.release()
            place = Place.at(follow(str(place.url), method, response.status, response.headers.get("Location")))
            if method == "POST":
                self._place = place
        raise Stray(response.status, f" again and again, at last to {place.url.with_query(None)}")

    async def _read(self, response: AnyResponse) -> bytes:
        """The body of a response.

        Raises:
            TooLarge: the server's.
        """
        body, declared = bytearray(), response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limit:
            raise TooLarge
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._limit:
                raise TooLarge
        return bytes(body)

    async def _events(self, events: Events, response: AnyResponse) -> AsyncIterator[Event]:
        """The events of a stream as they come; where there are many, others have their turn now and then."""
        done = 0
        async for chunk in response.content.iter_any():
            for part in turns(chunk):
                for event in events.feed(part):
                    yield event
                    done += 1
                if part is not chunk or done > MANY:
                    done = 0
                    await asyncio.sleep(0)
        for event in events.end():
            yield event

    def _fault(self, reason: str) -> Fault:
        return backend_failure(self._link.server, self.clean(reason))

    def _refused(self, status: int, words: str) -> Fault:
        """The failure of a request that was answered with this status and no message."""
        self.status, self.words = status, words
        return self._fault(f"{self.did} {http_status(status)}{words}")

    def _unsent(self, number: int | None, data: bytes, exc: Exception) -> Fault:
        """A request could not be sent. If surely nothing of it was, it is sent again once the server is back.

        Where the failure is no server's, it alone fails: those under way are answered, and the session stays.
        """
        self.unreachable = why_unreachable(exc)
        if isinstance(exc, aiohttp.ClientConnectorError) and exc.os_error.errno in _NOT_ITS_FAULT:
            return self._fault(f"cannot be reached ({self.unreachable})")
        if self.unreachable is not None:
            self._lose(UNREACHED, number, data)
        if isinstance(exc, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
            return self._fault(f"its response cannot be read: {exc}")
        return self._fault(f"the request could not be sent: {type(exc).__name__}")

    def _lose(self, reason: str, number: int | None = None, data: bytes = b"") -> None:
        """The server is not there, or does not know us: request `number` has to be sent on another connection.

        Those that were sent meanwhile may hear the same.
        """
        if number is not None:
            self._link.put_back(number, data)
        self._link.lose(reason, self._unheard)

    def write(self, data: bytes) -> None:
        """Send a notification or an answer, soon; a server that takes none does not get those that are too many."""
        if len(self._posts) >= POSTS or (self._posts and self._waiting + len(data) > self._limits.unread):
            self._link.emit(
                Excess(f"does not take what is sent to it: {len(self._posts):,} messages wait (--max-unread)")
            )
            return
        self._posts.append(data)
        self._waiting += len(data)
        if self._senders < SENDERS:
            self._senders += 1
            self._tasks.start(self._send_all())

    async def _send_all(self) -> None:
        while self._posts:
            data = self._posts.popleft()
            await self.send(data)
            self._waiting -= len(data)
        self._senders -= 1

    async def close(self) -> None:
        """End the connection, and all that is under way."""
        with anyio.CancelScope(shield=True):
            async with self._closing:
                tasks = [self._by_number[number] for number in self._unheard & self._by_number.keys()]
                if self._link.state == "lost" and tasks:
                    await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
                self._link.lose("it was closed")
                await self._tasks.cancel()
                await self._goodbye()
                if self._direct is not None:
                    self._direct.close()
                await self._http.close()

    async def _goodbye(self) -> None:
        """Tell the server that we leave, where that is told."""


def is_message(event: Event) -> bool:
    """Whether an event brings a message; some servers call such an event otherwise than "message"."""
    is_named = event.kind == "message"
    return bool(event.data) and (is_named or (isinstance(event.data, bytes) and b'"jsonrpc"' in event.data))


def is_json(body: bytes) -> bool:
    """Whether it may be a message, or several."""
    return body.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[")


def words_of(kind: str, body: bytes) -> str:
    """What stands in a body that is no MCP message, for the end of a sentence."""
    said = printable(" ".join(body[:400].decode(errors="replace").split()), 80)
    return f" with {kind} that begins with '{said}'" if said else ""
