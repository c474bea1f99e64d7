"""The soak's server over HTTP: `/mcp` speaks both eras, `/old` legacy, `/new` modern, and `/sse` is HTTP with SSE."""

import asyncio
import json
import sys
from itertools import count
from typing import Any

from aiohttp import web

from tests.soak.server import CUT, Server

EVENTS = {"Content-Type": "text/event-stream"}

Queue = asyncio.Queue[Any]


class Web:
    """Its endpoints."""

    def __init__(self) -> None:
        self._servers = {
            "/mcp": Server(),
            "/old": Server(("legacy",)),
            "/new": Server(("modern",)),
            "/sse": Server(("legacy",)),
        }
        self._resumable: dict[str, Queue] = {}
        self._peers: dict[str, Queue] = {}
        self._numbers = count(1)

    def application(self) -> web.Application:
        app = web.Application()
        for path in ("/mcp", "/old", "/new"):
            app.router.add_post(path, self._post)
            app.router.add_get(path, self._get)
            app.router.add_delete(path, self._delete)
        app.router.add_get("/sse", self._sse)
        app.router.add_post("/messages", self._take)
        return app

    async def _post(self, request: web.Request) -> web.StreamResponse:
        server, message = self._servers[request.path], await request.json()
        queue = Queue()
        is_modern = "Mcp-Method" in request.headers
        who = queue if is_modern else request.headers.get("Mcp-Session-Id", request.path)
        server.take(message, queue.put_nowait, who)
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        try:
            first = await queue.get()
            if "result" in first or "error" in first:
                more = {"Mcp-Session-Id": f"s{next(self._numbers)}"} if message["method"] == "initialize" else {}
                return web.json_response(first, headers=more)
            return await self._stream(request, queue, first)
        finally:
            if is_modern:  # a client that hangs up has cancelled
                server.take({"method": "notifications/cancelled", "params": {"requestId": message["id"]}}, print, who)

    async def _stream(self, request: web.Request, queue: Queue, message: Any = None) -> web.StreamResponse:
        """What comes on a request, until its answer, or until it is cut off."""
        response = web.StreamResponse(headers=EVENTS)
        await response.prepare(request)
        place = ""
        while True:
            message = await queue.get() if message is None else message
            self._resumable.pop(place, None)
            if message is CUT:
                self._resumable[place] = queue
                if request.transport is not None:
                    request.transport.abort()
                return response
            place = f"e{next(self._numbers)}"
            await response.write(f"id: {place}\ndata: {json.dumps(message)}\n\n".encode())
            if "result" in message or "error" in message:
                return response
            message = None

    async def _get(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        if last is not None:
            queue = self._resumable.get(last)
            return web.Response(status=404) if queue is None else await self._stream(request, queue)
        response = web.StreamResponse(headers=EVENTS)
        await response.prepare(request)
        await response.write(b": open\n\n")
        await asyncio.Event().wait()
        return response

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def _sse(self, request: web.Request) -> web.StreamResponse:
        number = f"p{next(self._numbers)}"
        queue = self._peers[number] = Queue()
        response = web.StreamResponse(headers=EVENTS)
        await response.prepare(request)
        await response.write(f"event: endpoint\ndata: /messages?peer={number}\n\n".encode())
        try:
            while True:
                if (message := await queue.get()) is not CUT:
                    await response.write(f"data: {json.dumps(message)}\n\n".encode())
        finally:
            del self._peers[number]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        number = request.query["peer"]
        self._servers["/sse"].take(await request.json(), self._peers[number].put_nowait, number)
        return web.Response(status=202)


def serve_http(port: int) -> None:
    """Serve until killed; stderr says the port, where it is 0."""

    async def serve() -> None:
        runner = web.AppRunner(Web().application(), access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", file=sys.stderr, flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())
