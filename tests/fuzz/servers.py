"""Servers that say what they are told to say: over stdio (`pump.py` is their process), streamable HTTP and SSE."""

import asyncio
import json
import re
import sys
from collections import defaultdict
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tests.fuzz.messages import GREETED, PAGES, TEXT, Json

PUMP = str(Path(__file__).with_name("pump.py"))
RIGHT = b'{"jsonrpc":"2.0","id":$ID,"result":%b}'


class Fuzzed:
    """A server. What it is asked is answered rightly, but for what it was told to say instead."""

    def __init__(self) -> None:
        self._keys = count(1)
        self._calls: dict[str, bytes] = {}
        self._next: defaultdict[str, list[bytes]] = defaultdict(list)
        self.is_odd = False
        """Whether it may have greeted the proxy as something else than what it is."""
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> Json:
        """Start it; returns its configuration."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self.configuration()

    def configuration(self) -> Json:
        raise NotImplementedError

    async def stop(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    def expect(self, what: tuple[str, bytes]) -> str:
        """Note what is to be said, to the call with the key that is returned or to another question."""
        kind, data = what
        key = f"k{next(self._keys)}"
        self._calls[key] = data if kind == "call" else b""
        if kind == "greeting":
            self.is_odd = True
            self.leave(key)
        if kind != "call":
            self._next[kind] = [RIGHT % data]
            self.announce(kind)
        return key

    def behave(self) -> None:
        """From now on say only what is right; lists have to be read again for that."""
        self._next.clear()
        self.is_odd = False
        for kind in PAGES:
            self.announce(kind)

    def leave(self, key: str) -> None:
        """Have the connection made anew; the call with this key is under way."""
        for writer in self._writers:
            writer.close()

    def announce(self, kind: str) -> None:
        """Say that a list has changed."""
        for writer in self.streams():
            if not writer.is_closing():
                writer.write(self.changed % (CHANGED % KINDS.get(kind, kind).encode()))

    changed = b"data: %b\n\n"

    def streams(self) -> list[asyncio.StreamWriter]:
        """On which it says that lists have changed."""
        raise NotImplementedError

    def said(self, message: Json) -> bytes | None:
        """What is said to a question; None where nothing is said but the right answer to a call."""
        method, params = message["method"], message.get("params") or {}
        if method == "tools/call":
            data = self._calls.pop(params.get("arguments", {}).get("key"), b"")
            token = json.dumps((params.get("_meta") or {}).get("progressToken")).encode()
            return self._filled(data, message).replace(b"$TOKEN", token) if data else None
        kind = {"initialize": "greeting", "resources/templates/list": "resourceTemplates"}.get(
            method, method.partition("/")[0]
        )
        told = self._next[kind].pop() if method != "ping" and self._next[kind] else RIGHT % self._result(method)
        if b"nextCursor" in told and params.get("cursor"):
            told = RIGHT % self._result(method)
        return self._filled(told, message)

    def _filled(self, data: bytes, message: Json) -> bytes:
        return data.replace(b"$ID", json.dumps(message["id"]).encode())

    def right(self, message: Json) -> bytes:
        """The right answer to a call."""
        return self._filled(RIGHT % json.dumps({"content": [TEXT]}).encode(), message)

    @staticmethod
    def _result(method: str) -> bytes:
        if method == "initialize":
            return json.dumps(GREETED).encode()
        kind = "resourceTemplates" if method == "resources/templates/list" else method.partition("/")[0]
        return json.dumps({kind: PAGES[kind]} if method.endswith("/list") else {}).encode()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self.serve(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


CHANGED = b'{"jsonrpc":"2.0","method":"notifications/%b/list_changed"}'
KINDS = {"resourceTemplates": "resources"}


class StdioServer(Fuzzed):
    """Behind a process that passes on what it is told."""

    def configuration(self) -> Json:
        return {"command": sys.executable, "args": ["-S", "-E", PUMP, str(self.port)]}

    changed = b"%b\n"

    def streams(self) -> list[asyncio.StreamWriter]:
        return list(self._writers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            if "method" not in message or "id" not in message:
                continue
            if message["method"] == "tools/call":
                writer.write((self.said(message) or b"") + b"\n" + self.right(message) + b"\n")
            elif message["method"] in ("server/discover", "subscriptions/listen"):
                writer.write(unknown(message) + b"\n")
            else:
                writer.write((self.said(message) or b"") + b"\n")


def unknown(message: Json) -> bytes:
    error = {"code": -32601, "message": "no"}
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, Any]:
    """The verb and path of an HTTP request, and the message in its body; the verb is `RESUME` where it is for that."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    if b"\nlast-event-id:" in head.lower():
        return b"RESUME", {}
    return head.partition(b" HTTP/")[0], json.loads(body) if body else {}


def response(status: bytes, body: bytes = b"", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class HttpServer(Fuzzed):
    """Streamable HTTP; what it is to say to a call is a whole response."""

    def __init__(self) -> None:
        super().__init__()
        self._streams: set[asyncio.StreamWriter] = set()

    def configuration(self) -> Json:
        return {"url": f"http://127.0.0.1:{self.port}/mcp", "type": "http"}

    def streams(self) -> list[asyncio.StreamWriter]:
        return list(self._streams)

    def leave(self, key: str) -> None:
        self._calls[key] = response(b"404 Not Found")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, message = await read_request(reader)
            if request == b"RESUME":
                writer.write(response(b"404 Not Found"))
            elif request.startswith(b"GET"):
                writer.write(STREAM)
                self._streams.add(writer)
                try:
                    await reader.read()
                finally:
                    self._streams.discard(writer)
                return
            elif "method" not in message or "id" not in message:
                writer.write(response(b"202 Accepted"))
            elif message["method"] in ("server/discover", "subscriptions/listen"):
                writer.write(response(b"404 Not Found", unknown(message)))
            elif message["method"] == "tools/call" and (said := self.said(message)) is not None:
                writer.write(said)
                writer.close()
                return
            else:
                right = self.right(message) if message["method"] == "tools/call" else self.said(message) or b""
                session = (
                    b"Mcp-Session-Id: %b\r\n" % f"s{next(self._keys)}".encode()
                    if message["method"] == "initialize"
                    else b""
                )
                writer.write(response(b"200 OK", right, session))


class SseServer(Fuzzed):
    """HTTP with SSE; what it is to say to a call are events."""

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[str, asyncio.StreamWriter] = {}

    def configuration(self) -> Json:
        return {"url": f"http://127.0.0.1:{self.port}/sse", "type": "sse"}

    def streams(self) -> list[asyncio.StreamWriter]:
        return list(self._streams.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, message = await read_request(reader)
            if request.startswith(b"GET"):
                key = f"s{next(self._keys)}"
                self._streams[key] = writer
                writer.write(STREAM + b"event: endpoint\ndata: /messages?key=%b\n\n" % key.encode())
                try:
                    await reader.read()
                finally:
                    del self._streams[key]
                return
            writer.write(response(b"202 Accepted"))
            stream = self._streams.get(request.rpartition(b"=")[2].decode())
            if stream is None or "method" not in message or "id" not in message:
                continue
            if message["method"] == "tools/call":
                stream.write((self.said(message) or b"") + b"\n\ndata: " + self.right(message) + b"\n\n")
            else:
                stream.write(b"data: " + (self.said(message) or b"") + b"\n\n")
