"""Both ends of the proxy, played by a test: it sees every message that reaches them, and says what they answer.

- `stage` has backends whose part the test speaks: real processes (`puppet.py`), and one over streamable HTTP.
- `peer` is a client of either era over streamable HTTP; `legacy` and `modern` are ones of a proxy.

Whatever is waited for has to come within `WAIT` seconds.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx2

from tests.support.processes import Proxy
from tests.support.raw_server import Server

PUPPET = Path(__file__).with_name("puppet.py")
WAIT = 40.0

ALL: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}
"""What a client can do that can do everything."""

FORM = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}

Message = dict[str, Any]
Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """What has come and nobody has taken yet."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._news = asyncio.Event()

    def put(self, item: Item) -> None:
        self.items.append(item)
        self._news.set()
        self._news = asyncio.Event()

    async def take(self, wanted: Callable[[Item], bool], what: str) -> Item:
        """The first that is wanted, now or later."""
        try:
            async with asyncio.timeout(WAIT):
                while True:
                    for index, item in enumerate(self.items):
                        if wanted(item):
                            return self.items.pop(index)
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {WAIT} s, but {self.items}") from None


@dataclass
class Heard:
    """A message that reached a puppet, and when (`time.monotonic`); by it that process can be spoken for."""

    message: Message
    at: float
    pid: int
    send: Callable[..., None]
    """Send messages, all at once: who reads the first has the others, too."""

    def say(self, **message: Any) -> None:
        """Send a message, its fields given by name."""
        self.send(message)

    def reply(self, **result: Any) -> None:
        """Answer the request that this message is."""
        self.say(id=self.message["id"], result=result)

    def ask(self, key: str, method: str, **params: Any) -> None:
        self.say(id=key, method=method, params=params)

    def finish(self, text: str = "done", **more: Any) -> None:
        """End the call that this message is."""
        self.say(id=self.message["id"], result={"content": [{"type": "text", "text": text}], **more})


class Stage(Inbox[Heard]):
    """The puppets' messages, all in one inbox."""

    port: int
    url: str
    """Of a puppet over streamable HTTP; what is said to one of its calls goes on the stream of that call."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[asyncio.StreamWriter] = []

    def puppet(self, *behaviours: str, **more: Any) -> dict[str, Any]:
        """The configuration of one of them."""
        return {"command": sys.executable, "args": [str(PUPPET), str(self.port), *behaviours], **more}

    async def called(self, **arguments: Any) -> Heard:
        """The next tool call with these arguments."""

        def is_meant(heard: Heard) -> bool:
            params = heard.message.get("params") or {}
            return heard.message.get("method") == "tools/call" and params.get("arguments", {}) == arguments

        return await self.take(is_meant, f"call with {arguments}")

    async def told(self, method: str) -> Heard:
        """The next message of this method."""
        return await self.take(lambda heard: heard.message.get("method") == method, method)

    async def answer(self, key: str) -> Message:
        """What a puppet got for an answer to its question `key`."""
        heard = await self.take(
            lambda heard: "method" not in heard.message and heard.message["id"] == key, f"answer to {key}"
        )
        return heard.message

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak for the process that has connected."""
        self.writers.append(writer)

        def send(*messages: Message) -> None:
            writer.write(json.dumps(messages).encode() + b"\n")

        with suppress(ConnectionError):
            async for line in reader:
                self.put(Heard(send=send, **json.loads(line)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak for the puppet over HTTP, in one request."""
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)\ncontent-length: (\d+)", head)
        if not length:
            return close_with(writer, "405 Method Not Allowed")
        message = json.loads(await reader.readexactly(int(length[1])))
        method = message.get("method")
        if "id" in message and method not in (None, "tools/call"):
            begin(writer, "200 OK", "application/json")
            writer.write(json.dumps(Server([]).response(message)).encode())
            return writer.close()
        if method != "notifications/initialized":
            self.put(Heard(message, time.monotonic(), os.getpid(), partial(send_events, writer)))
        if method != "tools/call":
            return close_with(writer, "202 Accepted")
        return begin(writer, "200 OK", "text/event-stream")


def begin(writer: asyncio.StreamWriter, status: str, kind: str) -> None:
    """Write the head of a response, which lasts as long as its connection."""
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())


def close_with(writer: asyncio.StreamWriter, status: str) -> None:
    """Write a response without a body."""
    begin(writer, status, "text/plain")
    writer.close()


def send_events(writer: asyncio.StreamWriter, *messages: Message) -> None:
    """Write messages on the stream of a call, which ends with its answer."""
    for message in messages:
        writer.write(f"data: {json.dumps({'jsonrpc': '2.0', **message})}\n\n".encode())
        if "method" not in message:
            writer.close()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    here = Stage()
    server, web = [await asyncio.start_server(each, "127.0.0.1", 0) for each in (here.play, here.serve)]
    here.port = server.sockets[0].getsockname()[1]
    here.url = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/mcp"
    try:
        yield here
    finally:
        server.close()
        web.close()
        for writer in here.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class Pending(Inbox[Message]):
    """A request under way, and what has come on its response stream."""

    task: asyncio.Task[None]
    id: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        """Set when the response has begun."""

    async def question(self) -> Message:
        """The next request on the stream."""
        return await self.take(lambda message: "method" in message and "id" in message, "question")

    async def told(self, method: str) -> Message:
        """The next notification of this method."""
        return await self.take(lambda message: message.get("method") == method and "id" not in message, method)

    async def response(self) -> Message:
        """What ends the request. Everything else on the stream was taken before."""
        message = await self.take(lambda message: "method" not in message, "response")
        assert self.items == []
        return message

    async def result(self) -> Message:
        message = await self.response()
        assert "result" in message, message
        result: Message = message["result"]
        return result

    async def error(self) -> Message:
        message = await self.response()
        assert "error" in message, message
        error: Message = message["error"]
        return error

    async def text(self) -> str:
        return str((await self.result())["content"][0]["text"])

    async def hang_up(self) -> None:
        """Close the connection on which it is under way."""
        self.task.cancel()
        await asyncio.wait([self.task])


class Peer:
    """A client that shows the wire: dicts in, dicts out."""

    def __init__(self, http: httpx2.AsyncClient, url: str, era: str, capabilities: Mapping[str, Any]) -> None:
        self.era = era
        self.capabilities = dict(capabilities)
        self._http = http
        self._url = url + "/mcp"
        self._headers = {"Accept": "application/json, text/event-stream"}
        self._id = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def greet(self) -> None:
        if self.era == "legacy":
            info = {"clientInfo": {"name": "raw", "version": "0"}, "capabilities": self.capabilities}
            await self.send("initialize", {"protocolVersion": "2025-11-25", **info}).result()
            self._headers["MCP-Protocol-Version"] = "2025-11-25"
            await self._post({"method": "notifications/initialized"})

    def send(self, method: str, params: Message) -> Pending:
        """Begin a request."""
        self._id += 1
        headers = {}
        if self.era == "modern":
            envelope = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            }
            params = {**params, "_meta": {**params.get("_meta", {}), **envelope}}
            headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
            named = params.get("name") or params.get("taskId")
            headers |= {"Mcp-Name": named} if named else {}
        return self._begin("POST", {"id": self._id, "method": method, "params": params}, headers)

    def call(self, tool: str, /, **arguments: Any) -> Pending:
        """Begin a tool call."""
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def retry(self, tool: str, asked: Message, /, *answers: Message, **arguments: Any) -> Pending:
        """Modern: continue the call that ended with the result `asked`, with answers to its first questions."""
        responses = dict(zip(asked["inputRequests"], answers, strict=False))
        rest = {"requestState": asked["requestState"], "inputResponses": responses}
        return self.send("tools/call", {"name": tool, "arguments": arguments, **rest})

    async def listen(self) -> Pending:
        """Legacy: what comes on the standalone stream from now on."""
        stream = self._begin("GET", None, {})
        async with asyncio.timeout(WAIT):
            await stream.opened.wait()
        return stream

    async def answer(self, question: Message, result: Message | None = None, **more: Any) -> None:
        """Legacy: answer with a result, or with `error=`."""
        await self._post({"id": question["id"], **({"result": result} if result is not None else more)})

    async def cancel(self, call: Pending) -> None:
        """Legacy: say that a call is not wanted any more."""
        await self.notify("notifications/cancelled", requestId=call.id)

    async def notify(self, method: str, **params: Any) -> None:
        """Legacy: send a notification."""
        await self._post({"method": method, "params": params})

    async def leave(self) -> None:
        """Legacy: end the session, unless that is done, or the proxy has ended."""
        headers = dict(self._headers)
        if self._headers.pop("Mcp-Session-Id", None):
            with suppress(httpx2.ConnectError):
                (await self._http.delete(self._url, headers=headers)).raise_for_status()

    async def _post(self, message: Message) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message})  # which escapes what is no Unicode text
        headers = {**self._headers, "Content-Type": "application/json"}
        (await self._http.post(self._url, content=content, headers=headers)).raise_for_status()

    def _begin(self, verb: str, message: Message | None, headers: Mapping[str, str]) -> Pending:
        pending = Pending()
        pending.id = message["id"] if message else None
        pending.task = asyncio.create_task(self._read(pending, verb, message, headers))
        self.tasks.add(pending.task)
        return pending

    async def _read(self, pending: Pending, verb: str, message: Message | None, headers: Mapping[str, str]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}) if message else None
        headers = {**headers, "Content-Type": "application/json"} if message else headers
        async with self._http.stream(verb, self._url, headers={**self._headers, **headers}, content=body) as response:
            pending.opened.set()
            if session := response.headers.get("mcp-session-id"):
                self._headers["Mcp-Session-Id"] = session
            if response.headers["content-type"].startswith("application/json"):
                pending.put(json.loads(await response.aread()))
            else:
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        pending.put(json.loads(line[6:]))


@asynccontextmanager
async def peer(url: str, era: str, *, key: str = "", **capabilities: Any) -> AsyncIterator[Peer]:
    """A client with these capabilities, and its API key. What it has under way at the end is broken off."""
    headers = {"X-API-Key": key} if key else {}
    async with httpx2.AsyncClient(timeout=2 * WAIT, trust_env=False, headers=headers) as http:
        client = Peer(http, url, era, capabilities)
        try:
            await client.greet()
            yield client
        finally:
            for task in client.tasks:
                task.cancel()
            await asyncio.gather(*client.tasks, return_exceptions=True)
            await client.leave()


def legacy(proxy: Proxy, capabilities: Message = ALL) -> AbstractAsyncContextManager[Peer]:
    return peer(proxy.url, "legacy", **capabilities)


def modern(proxy: Proxy, capabilities: Message = ALL) -> AbstractAsyncContextManager[Peer]:
    return peer(proxy.url, "modern", **capabilities)


def form(text: str) -> Message:
    """The answer to `FORM`."""
    return {"action": "accept", "content": {"answer": text}}
