"""A client of streamable HTTP in both eras that costs little, so that what is measured is the server.

Rules:
- One session, one connection, one request at a time.
- The head and the frame of a call are made once; each call has an argument of its own, which must come back.
- An answer may be a JSON document or an event stream; the last event of a stream is the answer.
"""

import asyncio
import json
import time
from typing import Any, Literal
from urllib.parse import urlsplit

import httptools

Era = Literal["legacy", "modern"]

LEGACY_VERSION = "2025-11-25"
MODERN_VERSION = "2026-07-28"
TIMEOUT = 20.0
"""Seconds that an answer may take."""

_KEY = "io.modelcontextprotocol/"
_CLIENT = {"name": "bench", "version": "1"}
_META = {_KEY + "protocolVersion": MODERN_VERSION, _KEY + "clientInfo": _CLIENT, _KEY + "clientCapabilities": {}}


class BenchError(Exception):
    """An answer is not what it has to be."""


class Connection(asyncio.Protocol):
    """One HTTP connection."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> bytes:
        """Send a whole HTTP request; returns the body of the response."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        if self._transport is None:
            raise BenchError("the connection is closed")
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchError(f"the connection ended: {exc}"))

    # What the parser calls

    def on_message_begin(self) -> None:
        self.headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._body[0] if len(self._body) == 1 else b"".join(self._body))


class Client:
    """One client: opened by `open`, greeted where the era asks for it."""

    def __init__(self, url: str, era: Era) -> None:
        self._era = era
        self._connection = Connection()
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._lines = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
        ]
        self._number = 0

    @classmethod
    async def open(cls, url: str, era: Era) -> "Client":
        """Connect, and greet."""
        client = cls(url, era)
        await client.connect()
        if era == "legacy":
            async with asyncio.timeout(TIMEOUT):
                await client._greet()
        return client

    async def connect(self) -> None:
        """Connect, or connect anew: servers close connections that are idle while others are measured."""
        self.close()
        async with asyncio.timeout(TIMEOUT):
            _, self._connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)

    def close(self) -> None:
        self._connection.close()

    async def _greet(self) -> None:
        params = {"protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
        result = await self.request("initialize", params)
        if (session := self._connection.headers.get(b"mcp-session-id")) is not None:
            self._lines.append(f"Mcp-Session-Id: {session.decode()}")
        self._lines.append(f"MCP-Protocol-Version: {result['protocolVersion']}")
        await self._connection.ask(
            self._framed(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', self._head(""))
        )
        if self._connection.status not in (200, 202, 204):
            raise BenchError(f"notifications/initialized: HTTP {self._connection.status}")

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a request."""
        answer = json.loads(_document(await self.fetch(method, params), self._connection.headers))
        if "result" not in answer:
            raise BenchError(f"{method}: {answer.get('error')}")
        return answer["result"]

    async def fetch(self, method: str, params: dict[str, Any]) -> bytes:
        """The body of the response to a request, unread: 10,000 tools take the client longer than the server."""
        async with asyncio.timeout(TIMEOUT):
            body = await self._connection.ask(self._framed(self._encode(method, params), self._head(method)))
        if self._connection.status != 200:
            raise BenchError(f"{method}: HTTP {self._connection.status}: {body[:300]!r}")
        return body

    async def call_all(self, tools: list[str], size: int, until: float, at_least: int) -> list[float]:
        """Call the tools in turn, with arguments of `size` bytes, until that time (`perf_counter`), and `at_least` so
        often; returns the seconds that each call took."""
        frames = [self._frame(tool) for tool in tools]
        padding = "x" * size
        took: list[float] = []
        while len(took) < at_least or time.perf_counter() < until:
            self._number += 1
            head, before, between = frames[self._number % len(frames)]
            argument = f"{self._number}-{padding}"[:size].encode()
            body = b'%s%d%s"%s"}}}' % (before, self._number, between, argument)
            request = self._framed(body, head)
            begun = time.perf_counter()
            answer = await self._connection.ask(request)
            took.append(time.perf_counter() - begun)
            if self._connection.status != 200 or b'"' + argument + b'"' not in answer:
                raise BenchError(f"HTTP {self._connection.status}, and no echo of {argument[:20]!r}: {answer[:300]!r}")
        return took

    def _frame(self, tool: str) -> tuple[bytes, bytes, bytes]:
        """The head of a call, and its body before its id and between that and the argument."""
        meta = f'"_meta":{json.dumps(_META)},' if self._era == "modern" else ""
        between = f',"method":"tools/call","params":{{{meta}"name":{json.dumps(tool)},"arguments":{{"text":'
        return self._head("tools/call", tool), b'{"jsonrpc":"2.0","id":', between.encode()

    def _encode(self, method: str, params: dict[str, Any]) -> bytes:
        self._number += 1
        if self._era == "modern":
            params = {**params, "_meta": _META}
        return json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}).encode()

    def _head(self, method: str, tool: str = "") -> bytes:
        lines = list(self._lines)
        if self._era == "modern":
            lines += [f"MCP-Protocol-Version: {MODERN_VERSION}", f"Mcp-Method: {method}"]
            lines += [f"Mcp-Name: {tool}"] if tool else []
        return "\r\n".join([*lines, "Content-Length: "]).encode()

    def _framed(self, body: bytes, head: bytes) -> bytes:
        return b"%s%d\r\n\r\n%s" % (head, len(body), body)


def _document(body: bytes, headers: dict[bytes, bytes]) -> bytes:
    """The JSON document of a response."""
    if not headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        return body
    data = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:") and len(line) > 6]
    if not data:
        raise BenchError(f"no answer in the stream: {body[:300]!r}")
    return data[-1]
