"""What comes of an HTTP response, however it is cut into pieces; and what becomes of its connection."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from multimcp.backends import direct
from multimcp.backends.direct import Direct, Response
from multimcp.backends.web import trusted

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json; charset=utf-8\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = OK + JSON + b"Content-Length: 2\r\n\r\n{}"
PACKED = gzip.compress(b"x" * 300_000)
RAW = zlib.compress(b"{}", wbits=-15)


class Server:
    """Answers each request with the next answer; an answer is written piece by piece, and b"" closes the connection."""

    def __init__(self, answers: Sequence[Sequence[bytes]]) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._answers = iter(answers)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for piece in next(self._answers):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: Sequence[bytes], **headers: str) -> AsyncIterator[tuple[Server, Direct, URL]]:
    server = Server(answers)
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listener:
        way = Direct(headers, trusted(), aiohttp.CookieJar(unsafe=True, quote_cookie=False))
        yield server, way, URL(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp?a=b%20c")
        way.close()


async def body(response: Any) -> bytes:
    return b"".join([piece async for piece in response.content.iter_any()])


def each_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("pieces", "status", "expected", "is_kept"),
    [
        pytest.param([WHOLE], 200, b"{}", True, id="in one piece"),
        pytest.param(each_byte(WHOLE), 200, b"{}", True, id="byte by byte"),
        pytest.param([OK + b"Content-Length: 0\r\n\r\n"], 200, b"", True, id="empty"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b"", True, id="no content"),
        pytest.param([OK + CHUNKED, b"3\r\n{ }\r\n", b"0\r\n\r\n"], 200, b"{ }", True, id="chunks"),
        pytest.param(each_byte(OK + CHUNKED + b"2 ;x=y\r\n{}\r\n0\r\nT: t\r\n\r\n"), 200, b"{}", True, id="trailers"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + WHOLE], 200, b"{}", True, id="hints before"),
        pytest.param([OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"], 200, b"{}", False, id="close"),
        pytest.param([OK + b"\r\n{", b"}", b""], 200, b"{}", False, id="as long as the connection"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\n{}", b""], 200, b"{}", False, id="HTTP/1.0"),
        pytest.param([WHOLE + b"more"], 200, b"{}", False, id="more than its length"),
        pytest.param([WHOLE + WHOLE], 200, b"{}", False, id="two responses"),
        pytest.param([OK + b"Content-Encoding: gzip\r\n" + CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(PACKED), PACKED)],
                     200, b"x" * 300_000, True, id="gzip"),
        pytest.param([OK + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n%b" % (len(RAW), RAW)],
                     200, b"{}", True, id="bare deflate"),
        pytest.param([OK + b"Content-Length: 3000000\r\n\r\n", *[b"x" * 30_000] * 100], 200, b"x" * 3_000_000, True,
                     id="more than waits here"),
    ],
)  # fmt: skip
async def test_a_response(pieces: list[bytes], status: int, expected: bytes, is_kept: bool) -> None:
    async with serving(pieces, [WHOLE]) as (server, way, url), asyncio.timeout(10):
        response = await way.post(url, {}, b"{}")
        assert (response.status, await body(response)) == (status, expected)
        assert (await way.post(url, {}, b"{}")).status == 200
        assert server.connections == (1 if is_kept else 2)


class Eager:
    """A connection on which the next piece is there as soon as it is read from again, as with uvloop."""

    def __init__(self, pieces: int) -> None:
        self.response = Response(self)  # type: ignore[arg-type]
        self.pieces = pieces
        self.resume()

    def resume(self) -> None:
        """Whoever says that it is enough for now is not given more."""
        self.pieces -= 1
        if not self.pieces:
            self.response.end()
        elif not self.response.put(b"x" * 2_000_000):
            self.resume()


async def test_a_body_that_comes_as_fast_as_it_is_read() -> None:
    async with asyncio.timeout(10):
        assert sum([len(piece) async for piece in Eager(10).response.iter_any()]) == 18_000_000


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        pytest.param([b""], aiohttp.ServerDisconnectedError, id="nothing"),
        pytest.param([OK, b""], aiohttp.ServerDisconnectedError, id="half a head"),
        pytest.param([b"SSH-2.0-OpenSSH\r\n"], aiohttp.ClientPayloadError, id="no HTTP"),
        pytest.param([OK + b"X: " + b"x" * direct.HEAD], aiohttp.ClientPayloadError, id="no end of the head"),
        pytest.param([OK + b"Content-Length: 2\r\n\r\n{", b""], aiohttp.ClientPayloadError, id="half a body"),
        pytest.param([OK + CHUNKED + b"1\r\n{\r\n", b""], aiohttp.ClientPayloadError, id="no last chunk"),
        pytest.param([OK + CHUNKED + b"zz\r\n"], aiohttp.ClientPayloadError, id="no chunk"),
        pytest.param([OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n{}"], aiohttp.ClientPayloadError,
                     id="no gzip"),
        pytest.param([b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"],
                     aiohttp.ClientPayloadError, id="another protocol"),
    ],
)  # fmt: skip
async def test_no_response(pieces: list[bytes], error: type[Exception]) -> None:
    async with serving(pieces, [WHOLE]) as (server, way, url), asyncio.timeout(10):
        with pytest.raises(error):
            async with await way.post(url, {}, b"{}") as response:
                await body(response)
        assert (await way.post(url, {}, b"{}")).status == 200
        assert server.connections == 2


async def test_nobody_is_there() -> None:
    async with serving() as (_, way, url):
        pass
    with pytest.raises(aiohttp.ClientConnectorError, match=f"127.0.0.1:{url.port}"):
        await way.post(url, {}, b"{}")


async def test_what_is_sent() -> None:
    data = b"x" * 200_000
    configured = {"X-Own": "1", "content-type": "text/plain", "Mcp-Session-Id": "theirs"}
    async with serving([WHOLE], [WHOLE], [WHOLE], **configured) as (server, way, url), asyncio.timeout(10):
        for where in (url, url.with_path("/other"), url):
            await body(await way.post(where, {"Content-Type": "application/json"}, data))
        first, second, third = (request.partition(b"\r\n\r\n") for request in server.requests)
        lines = [b"POST /mcp?a=b%20c HTTP/1.1", b"Host: 127.0.0.1:%d" % (url.port or 0)]
        lines += [b"Accept-Encoding: identity", b"X-Own: 1"]
        assert first[0].split(b"\r\n") == [*lines, b"Content-Type: application/json", b"Content-Length: 200000"]
        assert second[0].startswith(b"POST /other HTTP/1.1\r\n")
        assert third == first
        assert [request[2] for request in (first, second, third)] == [data] * 3
        assert server.connections == 3  # a connection is for one URL


async def test_a_connection_waits_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "KEPT", 0.05)
    closed = asyncio.Event()
    async with serving([WHOLE], [WHOLE]) as (server, way, url), asyncio.timeout(10):
        lost = direct._Connection.connection_lost

        def noticed(connection: Any, exc: Exception | None) -> None:
            lost(connection, exc)
            closed.set()

        monkeypatch.setattr(direct._Connection, "connection_lost", noticed)
        await body(await way.post(url, {}, b"{}"))
        await closed.wait()
        await body(await way.post(url, {}, b"{}"))
        assert server.connections == 2


async def test_giving_up_closes_the_connection() -> None:
    async with serving([OK + CHUNKED], [], [WHOLE]) as (server, way, url), asyncio.timeout(10):
        (await way.post(url, {}, b"{}")).release()
        waiting = asyncio.ensure_future(way.post(url, {}, b"{}"))
        while len(server.requests) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await body(await way.post(url, {}, b"{}"))
        assert server.connections == 3


SET = b"Set-Cookie: %b\r\n"


async def test_cookies_are_sent_back() -> None:
    first = (
        OK + SET % b"route=a/b==; Path=/; HttpOnly" + SET % b"n=1; Path=/mcp" + SET % b"far=1; Path=/other" + WHOLE[17:]
    )
    second = OK + SET % b"n=; Max-Age=0; Path=/mcp" + WHOLE[17:]
    async with serving([first], [second], [WHOLE]) as (server, way, url), asyncio.timeout(10):
        for _ in range(3):
            assert await body(await way.post(url, {}, b"{}")) == b"{}"
        sent = [request.partition(b"Cookie: ")[2].partition(b"\r\n")[0] for request in server.requests]
        assert [set(line.split(b"; ")) for line in sent] == [{b""}, {b"route=a/b==", b"n=1"}, {b"route=a/b=="}]
        assert b"\r\nAccept-Encoding: identity\r\n" in server.requests[0]


async def test_what_nobody_asked_for_is_named() -> None:
    async with (
        serving([OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"]) as (_, way, url),
        asyncio.timeout(10),
    ):
        with pytest.raises(aiohttp.ClientPayloadError, match=r"it is compressed \(br\)"):
            await body(await way.post(url, {}, b"{}"))


async def test_cookies_of_ours_go_before() -> None:
    answers = [OK + SET % b"n=1" + WHOLE[17:], WHOLE]
    async with serving(answers[:1], answers[1:], Cookie="ours=1") as (server, way, url), asyncio.timeout(10):
        for _ in range(2):
            await body(await way.post(url, {}, b"{}"))
        assert [request.lower().count(b"cookie: ") for request in server.requests] == [1, 1]
        assert b"Cookie: ours=1\r\n" in server.requests[1]


@pytest.mark.parametrize("text", ["a\r\nEvil: 1", "a\nb", "a\rb", "a\0b", "\u65e5"])
async def test_no_header_becomes_two(text: str) -> None:
    """Whoever has chosen it: a client, the server by a cookie, or the configuration."""
    async with serving([WHOLE]) as (server, way, url):
        with pytest.raises(aiohttp.ClientPayloadError, match="cannot be sent"):
            await way.post(url, {"Mcp-Name": text}, b"{}")
        assert server.requests == []
