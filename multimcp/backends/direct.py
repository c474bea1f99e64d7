"""HTTP/1.1 to a server that is reached directly, at a third of what it costs by way of aiohttp.

Rules:
- Who uses it sees what aiohttp shows: the same names, the same exceptions.
- A connection takes one request at a time. It is kept where a response was read to its end and nothing came behind it,
  for `KEPT` seconds at most.
- Of a response that nobody reads, all but `_HIGH` bytes wait at the server.
- Nothing compressed is asked for; what comes so all the same is unpacked piece by piece as it is read.
- Cookies are sent back: by them a load balancer in front of many servers finds the one that has our session.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Final, Self, cast

import aiohttp
import httptools
from aiohappyeyeballs import start_connection
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict
from yarl import URL

CONNECT_TIMEOUT = 30.0
"""Seconds to connect. A response may take as long as the client waits."""

KEPT = 4.0
"""Seconds that a connection is kept for the next request: shorter than servers keep one (Node.js and uvicorn: 5), so
that it is us who close it. A request on its way to a server that closes is lost."""

HEAD = 1 << 16
"""Bytes that the head of a response may have, about; and what is no body behind it: trailers, and what chunks have
besides their data."""

_PIECE = 1 << 16
"""Bytes of a body that is still copied to be sent together with its head, and of a piece that is unpacked."""

_HIGH = 1 << 20
_OVERHEAD = 64
"""Bytes that a piece costs besides its own, about."""

_PACKINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
_UNSAFE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
"""What no header may have in it: a line break would be another header, or another request."""

_OURS: Final = frozenset(
    {
        *("accept", "connection", "content-length", "content-type", "transfer-encoding"),
        *("mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"),
    }
)
"""The headers that are no matter of configuration."""


class HeadTooLarge(aiohttp.ClientPayloadError):
    """A response of which something that is no body is over the limit."""


class Direct:
    """The way to one server; `headers` go with each request, and `tls` says whom to trust."""

    def __init__(self, headers: Mapping[str, str], tls: ssl.SSLContext, cookies: aiohttp.abc.AbstractCookieJar) -> None:
        self._headers = headers
        self._tls = tls
        self._cookies = cookies
        self._url = URL()
        self._start = ""
        self._has_cookies = False
        self._idle: list[_Connection] = []
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, url: URL, headers: Mapping[str, str], data: bytes) -> "Response":
        """Send a POST; returns once the head of the response has come.

        Raises:
            aiohttp.ClientError: the server's: it cannot be reached, or there is no response.
        """
        if url is not self._url:
            self._turn_to(url)
        if len(self._cookies) and not self._has_cookies:
            pairs = [f"{each.key}={each.value}" for each in self._cookies.filter_cookies(url).values()]
            headers = {**headers, "Cookie": "; ".join(pairs)} if pairs else headers
        if _UNSAFE.search("".join(headers.values())):
            raise aiohttp.ClientPayloadError("a header that the request should have cannot be sent")
        lines = "".join([f"{name}: {text}\r\n" for name, text in headers.items()])
        head = f"{self._start}{lines}Content-Length: {len(data)}\r\n\r\n".encode("latin-1")
        response = await (self._kept() or await self._connect(url)).ask(head, data)
        if response.cookies:
            self._cookies.update_cookies_from_headers(response.cookies, url)
        return response

    def _kept(self) -> "_Connection | None":
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        return None

    def _turn_to(self, url: URL) -> None:
        """What is asked from now on is this."""
        self.close()
        self._url = url
        headers = CIMultiDict({"Host": url.host_port_subcomponent or "", "Accept-Encoding": "identity"})
        headers.update(self._headers)
        lines = [f"{name}: {text}\r\n" for name, text in headers.items() if name.lower() not in _OURS]
        self._has_cookies = "Cookie" in headers
        self._start = f"POST {url.raw_path_qs} HTTP/1.1\r\n{''.join(lines)}"

    async def _connect(self, url: URL) -> "_Connection":
        loop, host, port = asyncio.get_running_loop(), url.raw_host or "", url.port
        secure, name = (self._tls, host) if url.scheme == "https" else (None, None)
        key = ConnectionKey(host, port, secure is not None, True, None, None, None)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                sock = await start_connection(addresses, happy_eyeballs_delay=0.25)
                made = partial(_Connection, self, url)
                return (await loop.create_connection(made, sock=sock, ssl=secure, server_hostname=name))[1]
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {host}") from None
        except ssl.SSLCertVerificationError as exc:
            raise aiohttp.ClientConnectorCertificateError(key, exc) from None
        except OSError as exc:
            raise aiohttp.ClientConnectorError(key, exc) from None

    def keep(self, connection: "_Connection") -> None:
        """A connection waits for the next request, unless that goes elsewhere."""
        if connection.url is not self._url:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._timer is None:
            self._timer = loop.call_later(KEPT, self._sweep)

    def _sweep(self) -> None:
        """Close what waits for too long, the oldest first; one timer is enough."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0].idle_since + KEPT <= loop.time():
            self._idle.pop(0).close()
        self._timer = loop.call_at(self._idle[0].idle_since + KEPT, self._sweep) if self._idle else None

    def close(self) -> None:
        """Close the connections that wait, and each other one when it would."""
        self._url = URL()
        while self._idle:
            self._idle.pop().close()


class Response:
    """The response to a POST."""

    def __init__(self, connection: "_Connection") -> None:
        self.status = 0
        self.found: dict[bytes, bytes] = {}
        """Its headers, by their names in lower case; the first of each name."""
        self.cookies: list[str] = []
        """Each that it sets, as its header has it."""
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_over = False
        self._problem: Exception | None = None
        self._news: asyncio.Future[None] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, whatever the case of their names."""
        return CIMultiDict((name.decode("latin-1"), text.decode("latin-1")) for name, text in self.found.items())

    @property
    def content_type(self) -> str:
        """What its body is, in lower case and without parameters."""
        return self.found.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def content(self) -> Self:
        """Its body."""
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The pieces of the body, as they come.

        Raises:
            aiohttp.ClientPayloadError: the server's: it broke off.
        """
        packing = self.found.get(b"content-encoding", b"identity").lower()
        unpacker: zlib._Decompress | None = None
        while data := await self._take():
            if packing == b"identity":
                yield data
                continue
            if packing not in _PACKINGS:
                raise aiohttp.ClientPayloadError(
                    f"it is compressed ({packing.decode('latin-1')}), which nobody asked for"
                )
            if unpacker is None:
                is_bare = packing == b"deflate" and data[0] & 15 != zlib.DEFLATED
                unpacker = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else 32 + zlib.MAX_WBITS)
            try:
                while data:
                    yield unpacker.decompress(data, _PIECE)
                    data = unpacker.unconsumed_tail
                    await asyncio.sleep(0)  # a little that is packed can be much
            except zlib.error as exc:
                raise aiohttp.ClientPayloadError(f"not what its Content-Encoding says: {exc}") from None

    async def _take(self) -> bytes:
        while not self._pieces:
            if self._is_over:
                return b""
            await self.news()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        is_paused, self._size = self._size > _HIGH, 0  # before more comes, which counts again
        if is_paused:
            self._connection.resume()
            await asyncio.sleep(0)  # there may always be more, and others have their turn
        return data

    async def news(self) -> None:
        """Wait for what comes next.

        Raises:
            aiohttp.ClientError: the server's: nothing does, and it is not whole.
        """
        if self._problem is None:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        if self._problem is not None:
            raise self._problem

    def begin(self, status: int) -> None:
        """Its head has come."""
        self.status = status
        self._wake()

    def put(self, data: bytes) -> bool:
        """A piece of the body has come; returns whether that is enough for now."""
        self._pieces.append(data)
        self._size += len(data) + _OVERHEAD
        self._wake()
        return self._size > _HIGH

    def end(self, problem: Exception | None = None) -> None:
        """It is whole, or there is a problem."""
        self._is_over, self._problem = problem is None, problem
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def release(self) -> None:
        """Nobody reads what is left."""
        if not self._is_over:
            self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.release()


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time. Its callbacks are called by the event loop, and by the parser."""

    def __init__(self, direct: Direct, url: URL) -> None:
        self.url = url
        self.idle_since = 0.0
        self._direct = direct
        self._parser = httptools.HttpResponseParser(self)
        # What some servers do, without harm; aiohttp allows the same.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport = cast(asyncio.Transport, None)
        self._response: Response | None = None
        self._whole: Response | None = None
        self._may_stay = True
        self._size = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent on it."""
        return not self._transport.is_closing()

    async def ask(self, head: bytes, data: bytes) -> Response:
        """Send a request; returns once the head of the response has come."""
        response = self._response = Response(self)
        self._size = 0
        if len(data) < _PIECE:
            self._transport.write(head + data)
        else:
            self._transport.writelines([head, data])
        try:
            while not response.status:
                await response.news()
        except BaseException:
            self.close()
            raise
        return response

    def resume(self) -> None:
        """More of a response may come."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Close it, whatever is under way."""
        self._transport.abort()

    def _end(self, problem: Exception | None) -> None:
        """Nothing comes any more."""
        self.close()
        response, self._response = self._response, None
        if response is not None:
            response.end(problem)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        response = self._response
        self._may_stay = response is not None
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._end(aiohttp.ClientPayloadError(f"not HTTP: {exc}"))
        if (whole := self._whole) is not None:
            self._whole = None
            if self._may_stay and not self._transport.get_write_buffer_size():
                self._direct.keep(self)
            else:
                self.close()
            whole.end()
        elif response is None or self._size > HEAD:
            self._end(HeadTooLarge(f"the head of the response, or what is behind it, has more than {HEAD:,} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        response = self._response
        if response is None or not response.status:
            self._end(aiohttp.ServerDisconnectedError())
        elif exc is None and response.found.keys().isdisjoint((b"content-length", b"transfer-encoding")):
            self._end(None)
        else:
            self._end(aiohttp.ClientPayloadError("the server closed the connection"))

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._response is not None:
            self._response.found.clear()  # of what was no final response
        else:
            self._may_stay = False

    def on_header(self, name: bytes, text: bytes) -> None:
        if self._response is not None:
            self._response.found.setdefault(name.lower(), text)
            if name.lower() == b"set-cookie":
                self._response.cookies.append(text.decode("latin-1"))

    def on_headers_complete(self) -> None:
        if self._response is not None and (status := self._parser.get_status_code()) >= 200:
            self._response.begin(status)

    def on_body(self, data: bytes) -> None:
        self._size = 0
        if self._response is not None and self._response.put(data):
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._response is not None and self._response.status:
            self._whole, self._response = self._response, None
            self._may_stay = self._may_stay and self._parser.should_keep_alive()
