"""The mux over HTTP, for what one client over stdio cannot show: several clients, and streams that are closed.

Rules:
- `/sse` (legacy): each client has a mux of its own, as over stdio.
- `/mcp` (2026-07-28 only): all requests go to one mux, and each is answered by an event stream; closing that cancels.
- Every response closes its connection.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import lossless
from .mux import SUBSCRIPTION, Id, Message, Mux, as_object, find


@dataclass
class Stream:
    """The response stream of a modern request."""

    id: Id
    token: object
    write: Callable[[Message], None]
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Front:
    """An HTTP server in front of muxes."""

    def __init__(self, make: Callable[[Path], Mux], config: Path) -> None:
        self._make = make
        self._config = config
        self._clients: dict[str, Mux] = {}
        self._streams: dict[Id, Stream] = {}
        self._numbers = itertools.count(1)
        self._shared = make(config)
        self._shared.write = self._send

    async def close(self) -> None:
        await asyncio.gather(*(mux.close() for mux in (self._shared, *self._clients.values())))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is one HTTP request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            verb, path = head.split(" ")[:2]
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if (verb, path) == ("GET", "/sse"):
                await self._serve_client(reader, writer)
            elif path in self._clients:
                respond(writer, 202)
                self._clients[path].take(lossless.loads(body.decode()))
            elif (verb, path) == ("POST", "/mcp"):
                await self._serve_message(reader, writer, lossless.loads(body.decode()))
            else:
                respond(writer, 200 if path == "/healthz" else 405)
        writer.close()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = f"/messages/{next(self._numbers)}"
        mux = self._clients[place] = self._make(self._config)
        mux.write = events(writer)
        respond(writer, 200, "text/event-stream")
        writer.write(f"event: endpoint\ndata: {place}\n\n".encode())
        await reader.read()
        del self._clients[place]
        await mux.close()

    async def _serve_message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message
    ) -> None:
        if "id" not in message:
            respond(writer, 202)
            return
        respond(writer, 200, "text/event-stream")
        id = f"stream-{next(self._numbers)}"
        params = as_object(message.get("params"))
        meta = as_object(params.get("_meta"))
        stream = self._streams[id] = Stream(message["id"], meta.get("progressToken"), events(writer))
        if stream.token is not None:
            params = {**params, "_meta": {**meta, "progressToken": id}}
        self._shared.receive({**message, "id": id, "params": params})
        waits = {asyncio.create_task(reader.read()), asyncio.create_task(stream.ended.wait())}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        del self._streams[id]
        if not stream.ended.is_set():
            self.hung_up(id)

    def hung_up(self, id: Id) -> None:
        """A client has closed the stream of its request."""
        self._shared.receive({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})

    def _send(self, message: Message) -> None:
        """A message of the shared mux: to the stream that it belongs to."""
        params = as_object(message.get("params"))
        meta = as_object(params.get("_meta"))
        if "method" not in message:
            stream = find(self._streams, message.get("id"))
            if stream is not None:
                stream.write({**message, "id": stream.id})
                stream.ended.set()
        elif (stream := find(self._streams, meta.get(SUBSCRIPTION))) is not None:
            stream.write({**message, "params": {**params, "_meta": {**meta, SUBSCRIPTION: stream.id}}})
        elif (stream := find(self._streams, params.get("progressToken"))) is not None:
            stream.write({**message, "params": {**params, "progressToken": stream.token}})
        else:
            for stream in self._streams.values():
                stream.write(message)


def respond(writer: asyncio.StreamWriter, status: int, kind: str | None = None) -> None:
    """The head of a response; one without a kind has no body."""
    body = f"Content-Type: {kind}" if kind else "Content-Length: 0"
    writer.write(f"HTTP/1.1 {status} .\r\n{body}\r\nConnection: close\r\n\r\n".encode())


def events(writer: asyncio.StreamWriter) -> Callable[[Message], None]:
    """Write messages as events of a stream."""

    def write(message: Message) -> None:
        if not writer.is_closing():
            writer.write(f"event: message\ndata: {lossless.dumps(message)}\n\n".encode())

    return write


async def run(front: Front, host: str, port: int) -> None:
    """Serve until SIGTERM comes."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.start_server(front.serve, host, port)
    await stop.wait()
    await front.close()
