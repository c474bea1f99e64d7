"""Clients of little overhead for the soak: HTTP in both eras, SSE, and stdio. Each answer is checked by its caller."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
_KEY = "io.modelcontextprotocol/"

Json = dict[str, Any]


class Lost(Exception):
    """The connection ended."""


class Connection(asyncio.Protocol):
    """One HTTP connection: what came and was not taken yet."""

    def __init__(self) -> None:
        self.is_lost = False
        self._buffer = b""
        self._news: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _more(self) -> None:
        if self.is_lost:
            raise Lost
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Break it off."""
        if self._transport is not None:
            self._transport.abort()

    async def until(self, mark: bytes) -> bytes:
        """What comes up to `mark`, without it."""
        while mark not in self._buffer:
            await self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found


class Response:
    """A response whose head has come."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        self.status = int(head[9:12])
        self.place = ""
        """Of the last event that had an id, so that the stream can be resumed."""
        self._connection = connection
        self._head = head.lower()

    def header(self, name: bytes) -> bytes:
        return self._head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]

    async def body(self) -> bytes:
        """The whole of it."""
        if length := self.header(b"content-length"):
            return await self._connection.exactly(int(length))
        return b"".join([chunk async for chunk in self._chunks()])

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._connection.until(b"\r\n"), 16):
            yield (await self._connection.exactly(size + 2))[:-2]
        await self._connection.until(b"\r\n")

    async def messages(self) -> AsyncIterator[tuple[str, Json]]:
        """The messages of it, each with the id of its event."""
        if self.header(b"content-type") == b"application/json":
            yield "", json.loads(await self.body())
            return
        rest = b""
        async for chunk in self._chunks():
            *events, rest = (rest + chunk).split(b"\r\n\r\n")
            for event in events:
                fields = dict(line.partition(b": ")[::2] for line in event.split(b"\r\n"))
                self.place = fields.get(b"id", b"").decode() or self.place
                if fields.get(b"data"):
                    yield fields.get(b"id", b"").decode(), json.loads(fields[b"data"])


class Http:
    """A client over streamable HTTP; one connection is kept for what is asked one by one."""

    def __init__(self, port: int, era: str, capabilities: Json | None = None) -> None:
        self.era = era
        self.capabilities = capabilities or {}
        self.session = b""
        self.is_over = False
        """Whether it has been told that its connection is not kept."""
        self._port = port
        self._kept: Connection | None = None
        self._numbers = count(1)

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return connection

    async def kept(self) -> Connection:
        if self._kept is None or self._kept.is_lost:
            self._kept = await self.connect()
        return self._kept

    def move(self, port: int) -> None:
        """Go on with a server at another port."""
        self._port, self.is_over = port, False

    def close(self) -> None:
        """Leave, without a word."""
        if self._kept is not None:
            self._kept.close()

    async def send(self, connection: Connection, verb: str, path: str, body: bytes = b"", *more: bytes) -> Response:
        """Send a request, and wait for the head of its response."""
        connection.write(self.head(verb, path, body, *more) + body)
        response = Response(connection, await connection.until(b"\r\n\r\n"))
        if response.header(b"connection") == b"close" and connection is self._kept:
            self._kept, self.is_over = None, True
        return response

    def head(self, verb: str, path: str, body: bytes, *more: bytes) -> bytes:
        lines = [
            f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}".encode(),
            b"Accept: application/json, text/event-stream",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *([b"Mcp-Session-Id: " + self.session] if self.session else ()),
            *more,
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def post(self, connection: Connection, message: Json) -> Response:
        """Post a message, with what its era has to say beside it."""
        return await self.send(connection, "POST", "/mcp", json.dumps(message).encode(), *self.more(message))

    def more(self, message: Json) -> list[bytes]:
        """The headers that its era has for a message."""
        version = LEGACY
        more: list[bytes] = []
        if self.era == "modern":
            version, params = MODERN, message["params"]
            more = [b"Mcp-Method: " + message["method"].encode()]
            if "name" in params:
                more.append(b"Mcp-Name: " + params["name"].encode())
        if message.get("method") != "initialize":
            more.append(b"MCP-Protocol-Version: " + version.encode())
        return more

    def request(self, method: str, params: Json) -> Json:
        if self.era == "modern":
            envelope = {
                _KEY + "protocolVersion": MODERN,
                _KEY + "clientInfo": {"name": "soak", "version": "1"},
                _KEY + "clientCapabilities": self.capabilities,
            }
            params = {**params, "_meta": {**params.get("_meta", {}), **envelope}}
        return {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}

    async def begin(self) -> "Http":
        """Greet the proxy, in the legacy era."""
        if self.era == "legacy":
            info = {"name": "soak", "version": "1"}
            hello = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": info}
            response = await self.post(await self.kept(), self.request("initialize", hello))
            self.session = response.header(b"mcp-session-id")
            await response.body()
            await self.tell("notifications/initialized", {})
        return self

    async def tell(self, method: str, params: Json) -> None:
        """Send a notification."""
        response = await self.post(await self.kept(), {"jsonrpc": "2.0", "method": method, "params": params})
        await response.body()

    async def ask(self, method: str, params: Json) -> tuple[list[Json], Json]:
        """Send a request; returns what came before its answer, and the answer."""
        response = await self.post(await self.kept(), self.request(method, params))
        *before, answer = [message async for _, message in response.messages()]
        return before, answer

    async def end(self) -> None:
        """End the session."""
        if self.session:
            version = b"MCP-Protocol-Version: " + LEGACY.encode()
            await (await self.send(await self.kept(), "DELETE", "/mcp", b"", version)).body()
        self.close()


class Stream:
    """A client on one stream of messages: answers are found by their id. `send` takes one message."""

    def __init__(self, first: int) -> None:
        """`first` is the id of its first request."""
        self.is_over = False
        self._numbers = count(first)
        self._waiting: dict[int, asyncio.Future[Json]] = {}

    def end_waiting(self) -> None:
        """The stream has ended: nothing is answered any more."""
        self.is_over = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Lost("the stream ended before the answer"))

    async def send(self, data: bytes) -> None:
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        message = json.loads(data)
        if "method" not in message and (waiting := self._waiting.pop(message["id"], None)) is not None:
            waiting.set_result(message)

    async def ask(self, method: str, params: Json, era: str = "legacy") -> Json:
        number = next(self._numbers)
        if era == "modern":
            envelope = {_KEY + "protocolVersion": MODERN, _KEY + "clientCapabilities": {}}
            params = {**params, "_meta": envelope}
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            await self.send(json.dumps(message).encode())
            answer: Json = await waiting
        finally:
            self._waiting.pop(number, None)
            waiting.cancel()
        return answer

    async def begin(self) -> None:
        info = {"name": "soak", "version": "1"}
        await self.ask("initialize", {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info})
        await self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')


class Stdio(Stream):
    """A client over the standard streams of a process."""

    def __init__(self, process: asyncio.subprocess.Process, first: int = 1) -> None:
        super().__init__(first)
        self._process = process
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data + b"\n")
        await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.receive(line)
        self.end_waiting()

    async def end(self) -> None:
        """Close its stdin, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading


class Sse(Stream):
    """A client over HTTP with SSE."""

    def __init__(self, port: int, first: int = 1) -> None:
        super().__init__(first)
        self.port = port
        self._http = Http(port, "legacy")
        self.path = ""

    async def open(self) -> None:
        connection = self._connection = await self._http.connect()
        response = await self._http.send(connection, "GET", "/sse")
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.get_running_loop().create_task(self._read(response, opened))
        await opened
        await self.begin()

    async def _read(self, response: Response, opened: "asyncio.Future[None]") -> None:
        rest = b""
        try:
            async for chunk in response._chunks():
                *events, rest = (rest + chunk).split(b"\r\n\r\n")
                for event in events:
                    data = event.partition(b"data: ")[2]
                    if event.startswith(b"event: endpoint"):
                        self.path = data.decode()
                        opened.set_result(None)
                    elif data:
                        self.receive(data)
        except Lost:
            pass
        finally:
            self.end_waiting()

    async def send(self, data: bytes) -> None:
        """Raises ConnectionRefusedError if it is not taken."""
        response = await self._http.send(await self._http.kept(), "POST", self.path, data)
        await response.body()
        if response.status != 202 or self.is_over:
            raise ConnectionRefusedError

    async def end(self) -> None:
        """Break it off."""
        self._connection.close()
        self._http.close()
        await self._reading
