"""Servers over a network: SSE, and streamable HTTP of both eras.

What proxies get wrong here is asked of the mux, so that a defect can override it: whether a redirect is followed, what
a refusal means, and what becomes of a stream that ended.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from . import lossless
from .mux import (
    CONNECTION_LOST,
    END_WAIT,
    LEGACY,
    MODERN,
    Backend,
    Failure,
    Id,
    Message,
    as_object,
    find,
    parse,
)

REDIRECTS = 5
AGAIN_WAIT = 0.2
"""Seconds until a stream that ended is asked for again."""
NAMES = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}


def origin(url: str) -> tuple[str, str]:
    return urlsplit(url)[:2]


class Remote(Backend):
    """A server that is reached by a URL."""

    http: aiohttp.ClientSession | None = None

    async def start(self) -> AsyncIterable[bytes]:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)
        self._came: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        await self.connect()
        return self._lines()

    async def connect(self) -> None:
        """Do what has to be done before anything is sent."""

    async def _lines(self) -> AsyncIterator[bytes]:
        while (line := await self._came.get()) is not None:
            yield line

    def came(self, line: bytes | None) -> None:
        """A message came; None: the connection is over."""
        self._came.put_nowait(line)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def reach(
        self, verb: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """The response to a request, wherever redirects lead. Raises Failure when nobody answers."""
        headers = {**headers, **self.mux.headers(self.entry)}
        for _ in range(REDIRECTS):
            assert self.http is not None
            try:
                response = await self.http.request(verb, url, headers=headers, data=body, allow_redirects=False)
            except (OSError, aiohttp.ClientError):
                break
            if response.status not in (307, 308) or "Location" not in response.headers:
                return response
            there = urljoin(url, response.headers["Location"])
            response.release()
            if not self.mux.follows(url, there):
                break
            url = there
        raise Failure(CONNECTION_LOST, f"{self.name} cannot be reached")

    async def close(self) -> None:
        """Disconnect, once all is sent."""
        if self.http is None:
            return
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        await self.http.close()


async def chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body of a response as it comes, for as long as it does."""
    with suppress(OSError, aiohttp.ClientError):
        async for chunk in response.content.iter_any():
            yield chunk


async def events(pieces: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """The events of a stream: type and data."""
    rest: list[bytes] = []  # joined once: an event may come in very many pieces
    kind, data, first = "message", list[bytes](), True
    async for piece in pieces:
        rest.append(piece)
        if not re.search(rb"[\r\n]", piece) and not (len(rest) > 1 and rest[-2].endswith(b"\r")):
            continue
        *lines, last = re.split(rb"\r\n|\n|\r(?!\n|$)", b"".join(rest))
        rest = [last]
        for line in lines:
            line, first = line.removeprefix(b"\xef\xbb\xbf") if first else line, False
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            elif name == b"event":
                kind = value.removeprefix(b" ").decode()
            elif line == b"":
                if data:
                    yield kind, b"\n".join(data)
                kind, data = "message", []


class SseBackend(Remote):
    """A server over SSE, which may have other clients as well."""

    async def connect(self) -> None:
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self._place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        response = await self.reach("GET", self.entry["url"], {"Accept": "text/event-stream"})
        self.spawn(self._hear(response))
        self._posting = self.spawn(self._post())

    async def _hear(self, response: aiohttp.ClientResponse) -> None:
        async for kind, data in self.mux.events(chunks(response)):
            if kind == "endpoint":
                self._place.set_result(urljoin(self.entry["url"], data.decode()))
            elif data:
                self.came(data)
        self.came(None)

    async def _post(self) -> None:
        place = await self._place
        while True:
            message = await self._outgoing.get()
            with suppress(Failure):
                body = lossless.dumps(message).encode()
                response = await self.reach("POST", place, {"Content-Type": "application/json"}, body)
                response.release()
            self._outgoing.task_done()

    def send(self, message: Message) -> None:
        self._outgoing.put_nowait(message)

    async def close(self) -> None:
        if self.http is not None and not self._posting.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._outgoing.join(), END_WAIT)
        await super().close()


class WebBackend(Remote):
    """A server over streamable HTTP."""

    async def connect(self) -> None:
        self._session: str | None = None
        self._requests: dict[Id, asyncio.Task[None]] = {}
        self._before: asyncio.Task[None] | None = None
        """Of the last message that is no request: the next ones go out after it."""

    def send(self, message: Message) -> None:
        params = as_object(message.get("params"))
        if self.era == "modern" and message.get("method") == "notifications/cancelled":
            if task := find(self._requests, params.get("requestId")):
                task.cancel()
            return
        task = self.spawn(self._post(message, self._before))
        if "method" in message and "id" in message:
            self._requests[message["id"]] = task
            task.add_done_callback(lambda _: self._requests.pop(message["id"], None))
        else:
            self._before = task

    def _headers(self, message: Message) -> dict[str, str]:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if self.era == "legacy":
            if message.get("method") != "initialize":
                headers["MCP-Protocol-Version"] = str((self.hello or {}).get("protocolVersion", LEGACY[0]))
            return headers if self._session is None else {**headers, "Mcp-Session-Id": self._session}
        method, params = message["method"], as_object(message.get("params"))
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if isinstance(name := params.get(NAMES.get(method, "")), str):
            headers["Mcp-Name"] = header_value(name)
        if method == "tools/call":
            headers |= self._mirrored(params)
        return headers

    def _mirrored(self, params: Message) -> dict[str, str]:
        """The headers that a tool asks for."""
        entry = (self.mux.lists.get((self, "tools/list")) or {}).get(params.get("name", ""), {})
        properties = as_object(as_object(entry.get("inputSchema")).get("properties"))
        arguments = as_object(params.get("arguments"))
        wanted = {key: as_object(schema).get("x-mcp-header") for key, schema in properties.items()}
        found = {name: arguments[key] for key, name in wanted.items() if name and arguments.get(key) is not None}
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}
        return {f"Mcp-Param-{name}": header_value(text) for name, text in texts.items()}

    async def _post(self, message: Message, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        id = message["id"] if "method" in message and "id" in message else None
        try:
            body = lossless.dumps(message).encode()
            async with await self.reach("POST", self.entry["url"], self._headers(message), body) as response:
                await self._answered(message, response)
        except Failure as failure:
            self._fail(id, failure.error)
        except (OSError, aiohttp.ClientError):
            pass
        self._fail(id, {"code": CONNECTION_LOST, "message": f"{self.name} did not answer"})

    def _fail(self, id: Id | None, error: Message) -> None:
        """An error for a request, unless it has its answer."""
        if id is not None:
            self.came(lossless.dumps({"jsonrpc": "2.0", "id": id, "error": error}).encode())

    async def _answered(self, message: Message, response: aiohttp.ClientResponse) -> None:
        self._session = response.headers.get("Mcp-Session-Id", self._session)
        if response.headers.get("Content-Type", "").startswith("text/event-stream"):
            async for _, data in self.mux.events(chunks(response)):
                self.came(data)
            return
        body = await response.read()
        if response.status < 400:
            if body:
                self.came(body)
            if message.get("method") == "notifications/initialized":
                self.spawn(self._listen())
            return
        said = parse(body)
        error = said.get("error") if isinstance(said, dict) else None
        told = error if isinstance(error, dict) else None
        in_session = self._session is not None and message.get("method") != "initialize"
        if response.status == 404 and told is None and in_session:
            self.mux.forgotten(self)
        if "method" in message and "id" in message:
            raise Failure.received(self.mux.refused(self, response.status, told))

    async def _listen(self) -> None:
        """Hear what belongs to no request, for as long as the server lets us."""
        again = False
        while True:
            headers = {**self._headers({}), "Accept": "text/event-stream"}
            with suppress(Failure):
                async with await self.reach("GET", self.entry["url"], headers) as response:
                    if response.status >= 400:
                        self.mux.unheard(self, response.status)
                        return
                    if again:
                        self.mux.back(self)
                    async for _, data in self.mux.events(chunks(response)):
                        self.came(data)
            if not self.mux.comes_back:
                return
            again = True
            await asyncio.sleep(AGAIN_WAIT)

    async def close(self) -> None:
        if self.http is not None and self._session is not None:
            with suppress(Failure):
                headers = {"Mcp-Session-Id": self._session}
                (await self.reach("DELETE", self.entry["url"], headers)).release()
        await super().close()


def header_value(text: str) -> str:
    """Text as the value of a header."""
    if re.fullmatch(r"[\x20-\x7e]*", text) and text == text.strip() and not re.fullmatch(r"=\?base64\?.*\?=", text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
