"""A small, correct MCP proxy, made to be broken: defects/ has a broken one for each requirement.

Rules:
- It serves one client, with a process (or an SSE connection) of its own for every server. So messages
  are pumped as they are: the client's request ids and progress tokens are kept; only what has to be told apart gets
  another name.
- Tools and prompts are called `server__name`. A URI is kept, unless an earlier server has it: `scheme://server/rest`.
- Lists are read in full, each time the client asks; calls are routed by what was read, and read again on a miss.
- A server is spoken to in the era of the client where it can, else the eras are bridged (`ask_modern`, `ask_legacy`).
- Whatever a server does, only calls to it suffer. It is started again for the next call.
- Servers that are reached by a URL are in remote.py.
- A defect overrides one method: `receive` and `send` see the client's messages, `forward` and `heard` the servers',
  `finish` each result, `published` each entry of a list, `hello` what the client is told first.
"""

import asyncio
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from . import lossless

Message = dict[str, Any]
Era = Literal["legacy", "modern"]
Id = int | str
T = TypeVar("T")

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
ENVELOPE = "io.modelcontextprotocol/"
VERSION, CAPABILITIES = f"{ENVELOPE}protocolVersion", f"{ENVELOPE}clientCapabilities"
SUBSCRIPTION = f"{ENVELOPE}subscriptionId"
INFO = {"name": "mux", "version": "1"}
SEPARATOR = "__"

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
CONNECTION_LOST, NOT_FOUND, UNSUPPORTED_VERSION = -32000, -32002, -32022

LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
"""Where a list is in its result, and what its entries are known by."""
NAMED = {"tools/call": "tools/list", "prompts/get": "prompts/list"}
LOCATED = {"legacy": ("resources/read", "resources/subscribe", "resources/unsubscribe"), "modern": ("resources/read",)}
FEATURES = ("tools", "prompts", "resources", "logging", "completions")

INHERITED = {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"}
QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What of the client each question needs."""

END_WAIT = 1.0
"""Seconds a server has to end by itself."""
PAGES = 100
LINE = 2**26


class Failure(Exception):
    """A JSON-RPC error on its way to whoever asked."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.error: Message = {"code": code, "message": message, **more}

    @classmethod
    def received(cls, error: Message) -> "Failure":
        failure = cls(INTERNAL_ERROR, "")
        failure.error = error
        return failure


class Backend:
    """A server, over stdio: its process, and what it said of itself."""

    def __init__(self, name: str, entry: Mapping[str, Any], mux: "Mux") -> None:
        self.name = name
        self.entry = entry
        self.mux = mux
        self.era: Era = "legacy"
        self.hello: Message | None = None
        self.up = False
        self.process: asyncio.subprocess.Process | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: dict[Id, asyncio.Future[Message]] = {}

    @property
    def alive(self) -> bool:
        """Whether it has been greeted and runs."""
        return self.up and self._opening is not None and self._opening.done()

    def declares(self, feature: str) -> bool:
        return feature in as_object((self.hello or {}).get("capabilities"))

    async def connected(self) -> None:
        """Start it unless it runs. Raises Failure when it cannot be spoken to."""
        if self._opening is None or (self._opening.done() and not self.up):
            self._opening = asyncio.create_task(self._open())
        try:
            await asyncio.wait_for(asyncio.shield(self._opening), self.mux.open_wait)
        except TimeoutError:
            raise Failure(CONNECTION_LOST, f"{self.name} is not ready") from None

    async def start(self) -> AsyncIterable[bytes]:
        """Connect; returns what it says, line by line."""
        self.process = await asyncio.create_subprocess_exec(
            self.entry["command"],
            *self.entry.get("args", ()),
            env=self.mux.environment(self.entry),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.mux.stderr,
            limit=LINE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        return self.mux.lines(self.process.stdout)

    async def _open(self) -> None:
        try:
            lines = await self.start()
        except (OSError, Failure) as exc:
            await self.close()
            raise Failure(CONNECTION_LOST, f"{self.name} cannot be started: {exc}") from None
        self.up = True
        self._reading = asyncio.create_task(self._read(lines))
        eras: tuple[Era, Era] = ("modern", "legacy") if self.mux.era == "modern" else ("legacy", "modern")
        for self.era in eras:
            method, params = self.mux.greeting(self.era)
            try:
                self.hello = await self.request(method, params)
                break
            except Failure as failure:
                refusal = failure
        else:
            await self.close()
            raise refusal
        if self.era == "legacy" and (self.mux.greeted or self.mux.era == "modern"):
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def _read(self, lines: AsyncIterable[bytes]) -> None:
        async for line in lines:
            message = parse(line)
            for part in self.mux.unpack(message):
                self.mux.heard(self, part)
            if not isinstance(message, dict | list):
                self.mux.garbled(self)
        self.up = False
        self.fail_all()
        self.mux.lost(self)
        await self.close()

    def send(self, message: Message) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(lossless.dumps(message).encode() + b"\n")

    def fail_all(self) -> None:
        """What is in flight there gets an error."""
        lost = Failure(CONNECTION_LOST, f"the connection to {self.name} is lost")
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"error": lost.error})

    def awaits(self, id: object) -> bool:
        """Whether there is a request of this id in flight."""
        return find(self._waiting, self._own(id)) is not None

    def _own(self, id: object) -> object:
        """An id as we spelled it: some servers answer under "7" or 7.0 where they were asked under 7."""
        spelled = str(id).removesuffix(".0")
        return next((own for own in self._waiting if str(own) == spelled), id)

    def settle(self, response: Message) -> None:
        """Hand a response to whoever waits for it, if anybody does."""
        waiting = find(self._waiting, self._own(response.get("id")))
        if waiting is not None and not waiting.done():
            waiting.set_result(response)

    async def request(self, method: str, params: Message | None, id: Id | None = None) -> Message:
        """The result. Raises Failure: its error, what is wrong with its result, or that it is gone."""
        if not self.up:
            raise Failure(CONNECTION_LOST, f"the connection to {self.name} is lost")
        id = self.mux.fresh_id() if id is None else id
        message = {"jsonrpc": "2.0", "id": id, "method": method}
        waiting = self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            self.mux.forward(self, message if params is None else {**message, "params": params})
            response = await waiting
        finally:
            del self._waiting[id]
        if isinstance(response.get("error"), dict):
            raise Failure.received(response["error"])
        if not isinstance(response.get("result"), dict):
            raise Failure(INTERNAL_ERROR, f"{self.name} sent a result that is no object")
        result: Message = response["result"]
        return result

    async def close(self) -> None:
        """End the process and its children."""
        process, self.process = self.process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_WAIT)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        await process.wait()


@dataclass
class Call:
    """A request of the client, in flight."""

    id: Id
    method: str
    params: Message
    task: asyncio.Task[None] | None = None
    sent: list[tuple[Backend, Id]] = field(default_factory=list)
    """Where it is in flight, and under which id."""


@dataclass
class Listen:
    """A `subscriptions/listen` of the client: whose acknowledgement is awaited, and what has to wait for it."""

    awaited: set[Backend]
    agreed: Message = field(default_factory=dict)
    held: list[Message] = field(default_factory=list)
    acknowledged: bool = False


@dataclass
class Held:
    """A call at a legacy server that asks the user of a modern client something in the middle of it."""

    call: Call
    backend: Backend
    task: asyncio.Task[Message] | None = None
    questions: dict[str, Message] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Mux:
    """The proxy."""

    open_wait = 15.0
    """Seconds a server has to start."""
    grace = 3.0
    """Seconds it may be slower to start than others."""
    list_wait = 2.0
    """Seconds it has for a list."""
    stderr: int | None = None
    """Where what a server says on stderr goes: to ours."""
    comes_back = True
    """Whether a stream that ended is asked for again."""

    def __init__(self, config: Path) -> None:
        servers = json.loads(config.read_text())["mcpServers"]
        self.write: Callable[[Message], None] = write_line
        self.backends = {name: self.backend(name, entry) for name, entry in servers.items()}
        self.era: Era | None = None
        self.client: Message = {}
        self.level: str | None = None
        self.greeted = False
        self.calls: dict[Id, Call] = {}
        self.listens: dict[Id, Listen] = {}
        self.helds: dict[str, Held] = {}
        self.questions: dict[Id, tuple[asyncio.Future[Message], Backend | None, Id | None]] = {}
        self.reported: dict[Id, Backend] = {}
        """Who wants to know how far the client is with a question, by progress token."""
        self.lists: dict[tuple[Backend, str], dict[str, Message] | None] = {}
        """Entries by server, method and own name; None when they could not be read."""
        self.links: dict[str, Backend] = {}
        """URIs that are in no list, and the server that linked to them."""
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def environment(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a server's process: of ours, what every program needs."""
        return {name: os.environ[name] for name in INHERITED & os.environ.keys()} | dict(entry.get("env", {}))

    def headers(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """What every HTTP request to a server has besides what it is about."""
        return dict(entry.get("headers", {}))

    def backend(self, name: str, entry: Message) -> Backend:
        """A server as the configuration has it."""
        if "url" not in entry:
            return Backend(name, entry, self)
        from .remote import SseBackend, WebBackend  # what it needs takes long to import

        return (SseBackend if entry.get("type") == "sse" else WebBackend)(name, entry, self)

    def fresh_id(self) -> Id:
        return f"mux-{next(self._numbers)}"

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve until the client closes the stream, or this task is cancelled; then end the servers."""
        try:
            async for line in reader:
                self.take(parse(line))
        finally:
            await self.close()

    async def close(self) -> None:
        for id in list(self.calls):
            self.receive({"method": "notifications/cancelled", "params": {"requestId": id, "reason": "client gone"}})
        await asyncio.gather(*(backend.close() for backend in self.backends.values()))

    # The client

    def send(self, message: Message) -> None:
        """A message to the client."""
        self.write(message)

    def take(self, message: object) -> None:
        """What came from the client: a message, a batch of them, or neither."""
        for part in message if isinstance(message, list) else [message]:
            if isinstance(part, dict):
                self.receive(part)
            else:
                self.receive_garbage()

    def receive_garbage(self) -> None:
        """A line from the client that is no message."""
        self.send({"jsonrpc": "2.0", "id": None, "error": {"code": PARSE_ERROR, "message": "Parse error"}})

    def receive(self, message: Message) -> None:
        """A message from the client."""
        if "method" not in message:
            self._receive_answer(message)
        elif "id" in message:
            self._receive_request(message)
        elif message["method"] == "notifications/cancelled":
            self._receive_cancelled(message)
        elif message["method"] == "notifications/progress":
            self._receive_progress(message)
        elif message["method"] == "notifications/initialized":
            self.greeted = True
            self.tell_all(message)
        else:
            self.tell_all(message)

    def tell_all(self, message: Message) -> None:
        for backend in self.backends.values():
            if backend.alive and backend.era == self.era:
                self.forward(backend, message)

    def _receive_progress(self, message: Message) -> None:
        """How far the client is with a question: for the server that has asked it."""
        token = as_object(message.get("params")).get("progressToken")
        backend = find(self.reported, token)
        if backend is not None:
            self.forward(backend, message)

    def _receive_answer(self, message: Message) -> None:
        question = find(self.questions, message.get("id"))
        if question is not None and not question[0].done():
            question[0].set_result({key: message[key] for key in ("result", "error") if key in message})

    def _receive_request(self, message: Message) -> None:
        id, params = message["id"], message.get("params", {})
        if not isinstance(id, Id) or isinstance(id, bool) or not isinstance(params, dict):
            self.refuse(message)
            return
        call = self.calls[id] = Call(id, message["method"], params)
        call.task = self.spawn(self._serve(call))

    def refuse(self, message: Message) -> None:
        """A request that is none."""
        id = message["id"] if isinstance(message["id"], Id) else None
        self.send({"jsonrpc": "2.0", "id": id, "error": {"code": INVALID_REQUEST, "message": "Invalid Request"}})

    def _receive_cancelled(self, message: Message) -> None:
        params = as_object(message.get("params"))
        call = find(self.calls, params.get("requestId"))
        if call is None or call.task is None:
            return
        for backend, id in call.sent:
            self.forward(backend, {**message, "params": {**params, "requestId": id}})
        call.task.cancel()

    def spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, call: Call) -> None:
        try:
            answer: Message = {"result": self.finish(call, await self.answer(call))}
        except Failure as failure:
            answer = {"error": self.fail(call, failure.error)}
        finally:
            if self.calls.get(call.id) is call:
                del self.calls[call.id]
        self.send({"jsonrpc": "2.0", "id": call.id, **answer})

    def finish(self, call: Call, result: Message) -> Message:
        """The result of a call, before it is sent to the client."""
        return result

    def fail(self, call: Call, error: Message) -> Message:
        """The error of a call, before it is sent to the client."""
        return error

    # Requests

    async def answer(self, call: Call) -> Message:
        """The result of a request. Raises Failure."""
        method, params = call.method, call.params
        if method == "initialize":
            return await self._initialize(params)
        if method == "ping" and self.era != "modern":
            return {}
        if self.era != "legacy" or VERSION in as_object(params.get("_meta")):
            self._admit(params)
        if method == "server/discover" and self.era == "modern":
            return self.hello(await self.ready())
        if method == "subscriptions/listen" and self.era == "modern":
            return await self._listen(call)
        if method in LISTS:
            return await self._list(call)
        if method in NAMED:
            return await self._by_name(call)
        if method in LOCATED[self.era or "modern"]:
            return await self._by_uri(call)
        if method == "completion/complete":
            return await self._complete(call)
        if method == "logging/setLevel" and self.era == "legacy":
            return await self._set_level(call)
        raise Failure(METHOD_NOT_FOUND, f"Method not found: {method}")

    async def _initialize(self, params: Message) -> Message:
        requested = params.get("protocolVersion")
        self.era = "legacy"
        self.client = {**params, "protocolVersion": requested if requested in LEGACY else LEGACY[0]}
        return self.hello(await self.ready())

    def _admit(self, params: Message) -> None:
        """Check the envelope of a modern request, and learn from it who the client is."""
        meta = as_object(params.get("_meta"))
        requested, capabilities = meta.get(VERSION), meta.get(CAPABILITIES)
        if not isinstance(requested, str) or not isinstance(capabilities, dict):
            raise Failure(INVALID_PARAMS, f"_meta lacks {VERSION if requested is None else CAPABILITIES}")
        if requested != MODERN:
            data = {"supported": [MODERN], "requested": requested}
            raise Failure(UNSUPPORTED_VERSION, "Unsupported protocol version", data=data)
        self.era = "modern"
        info = meta.get(f"{ENVELOPE}clientInfo", INFO)
        self.client = {"protocolVersion": LEGACY[0], "clientInfo": info, "capabilities": capabilities}

    def greeting(self, era: Era) -> tuple[str, Message]:
        """The first request to a server."""
        return ("initialize", self.client) if era == "legacy" else ("server/discover", {"_meta": self.envelope()})

    def envelope(self) -> Message:
        """What a modern request says of the client."""
        keys = {VERSION: MODERN, CAPABILITIES: self.client["capabilities"]}
        if self.level is not None:
            keys[f"{ENVELOPE}logLevel"] = self.level
        return {**keys, f"{ENVELOPE}clientInfo": self.client.get("clientInfo", INFO)}

    async def ready(self, feature: str | None = None) -> list[Backend]:
        """The servers that have started, once most had time to; those that declare `feature`."""
        if self._starting is None:
            self._starting = self.spawn(self._start())
        await asyncio.shield(self._starting)
        return [b for b in self.backends.values() if b.hello is not None and (feature is None or b.declares(feature))]

    async def _start(self) -> None:
        pending = {asyncio.create_task(backend.connected()) for backend in self.backends.values()}
        clock = asyncio.get_running_loop().time
        began, wait = clock(), self.open_wait
        while pending:
            done, pending = await asyncio.wait(pending, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return
            if any(task.exception() is None for task in done):
                wait = clock() - began + self.grace

    def hello(self, backends: list[Backend]) -> Message:
        """What the client is told of all servers: the result of initialize or server/discover."""
        hellos = [backend.hello or {} for backend in backends]
        capabilities: Message = {}
        for hello in hellos:
            own = as_object(hello.get("capabilities"))
            capabilities = merged(capabilities, {key: own[key] for key in FEATURES if key in own})
        result: Message = {"capabilities": capabilities}
        instructions = [hello["instructions"] for hello in hellos if hello.get("instructions")]
        if instructions:
            result["instructions"] = "\n\n".join(instructions)
        if self.era == "modern":
            return self.complete({"supportedVersions": [MODERN], **result}, cacheable=True)
        return {"protocolVersion": self.client["protocolVersion"], "serverInfo": INFO, **result}

    def complete(self, result: Message, cacheable: bool = False) -> Message:
        """A result of our own, as the client's era wants it."""
        if self.era != "modern":
            return result
        hints = {"ttlMs": 0, "cacheScope": "private"} if cacheable else {}
        return {"resultType": "complete", **hints, **result, "_meta": {f"{ENVELOPE}serverInfo": INFO}}

    async def _set_level(self, call: Call) -> Message:
        backends = await self.ready("logging")
        if not backends:
            raise Failure(METHOD_NOT_FOUND, "nobody logs")
        for backend in backends:
            if backend.era == "legacy":
                await self.ask(call, backend, call.method, call.params)
        self.level = call.params.get("level")
        return {}

    # Lists

    async def _list(self, call: Call) -> Message:
        if call.params.get("cursor") is not None:
            raise Failure(INVALID_PARAMS, "unknown cursor: there is one page")
        feature = call.method.partition("/")[0]
        backends = await self.ready(feature)
        if not backends:
            raise Failure(METHOD_NOT_FOUND, f"nobody has {feature}")
        methods = [method for method in LISTS if method.startswith(feature)]
        await asyncio.gather(*(self.learn(backend, method, call) for backend in backends for method in methods))
        entries = []
        for backend in backends:
            for entry in (self.lists.get((backend, call.method)) or {}).values():
                entries += self.published(backend, call.method, entry)
        return self.complete({LISTS[call.method][0]: entries}, cacheable=True)

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        """An entry of a server's list as the client sees it: one, or none."""
        key = LISTS[method][1]
        return [{**entry, key: self.public(backend, method, entry[key])}]

    def public(self, backend: Backend, method: str, own: str) -> str:
        """What the client knows an entry of a list by."""
        if method in ("tools/list", "prompts/list"):
            return f"{backend.name}{SEPARATOR}{own}"
        return self.public_uri(backend, own)

    async def learn(self, backend: Backend, method: str, call: Call) -> None:
        """Read a list of a server, all pages. Whatever is wrong with it, what was read by then stays."""
        key, name = LISTS[method]
        params = dict(call.params) if call.method == method else {"_meta": self.envelope()}
        if self.era == "legacy" and call.method != method:
            params = {}
        entries: dict[str, Message] = {}
        seen: set[Any] = set()
        try:
            async with asyncio.timeout(self.list_wait if backend.alive else self.open_wait):
                while len(seen) < PAGES:
                    page = await self.ask(call, backend, method, params)
                    for entry in page.get(key, ()):
                        if self.usable(method, entry):
                            entries.setdefault(entry[name], entry)
                    cursor = self.following(page)
                    if cursor in seen:
                        self.goes_round(entries)
                    if cursor is None or cursor in seen:
                        break
                    seen.add(cursor)
                    params = {**params, "cursor": cursor}
        except (Failure, TimeoutError):
            self.lists[backend, method] = entries or None
        else:
            self.lists[backend, method] = entries

    def usable(self, method: str, entry: object) -> bool:
        """Whether an entry of a list is one. Raises Failure when the list is of no use for it."""
        schema = entry.get("inputSchema") if isinstance(entry, dict) else None
        named = isinstance(entry, dict) and isinstance(entry.get(LISTS[method][1]), str)
        return named and (method != "tools/list" or isinstance(schema, dict))

    def following(self, page: Message) -> Any:
        """What leads to the next page of a list; None: this is the last."""
        return page.get("nextCursor")

    def goes_round(self, entries: Message) -> None:
        """A list has led to a page that was read before: these entries are all."""

    # Routes

    async def _by_name(self, call: Call) -> Message:
        backend, own = await self.route_name(call, NAMED[call.method], call.params.get("name"))
        result = await self.ask(call, backend, call.method, {**call.params, "name": own}, call.id)
        return await self.republished(call, backend, result)

    async def _by_uri(self, call: Call) -> Message:
        backend, own = await self.route_uri(call, call.params.get("uri"))
        result = await self.ask(call, backend, call.method, {**call.params, "uri": own}, call.id)
        return await self.republished(call, backend, result)

    async def _complete(self, call: Call) -> Message:
        ref = call.params.get("ref")
        if not isinstance(ref, dict):
            raise Failure(INVALID_PARAMS, "ref is missing")
        if ref.get("type") == "ref/prompt":
            backend, own = await self.route_name(call, "prompts/list", ref.get("name"))
            ref = {**ref, "name": own}
        else:
            backend, own = await self.route_uri(call, ref.get("uri"))
            ref = {**ref, "uri": own}
        return await self.ask(call, backend, call.method, {**call.params, "ref": ref}, call.id)

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        """Whose tool or prompt this is, and its own name there. Raises Failure when it is nobody's."""
        if not isinstance(public, str):
            raise Failure(INVALID_PARAMS, "name is missing")
        for backend in self.backends.values():
            own = public.removeprefix(backend.name + SEPARATOR)
            if own != public and await self._offers(call, backend, method, own):
                return backend, own
        raise Failure(INVALID_PARAMS, f"Unknown name: {public}")

    async def _offers(self, call: Call, backend: Backend, method: str, own: str) -> bool:
        if own in (self.lists.get((backend, method)) or {}):
            return True
        await backend.connected()
        await self.learn(backend, method, call)
        entries = self.lists[backend, method]
        return entries is None or own in entries  # a server whose list cannot be read shall answer itself

    async def route_uri(self, call: Call, public: object) -> tuple[Backend, str]:
        """Whose resource or template this is, and its own URI there. Raises Failure when it is nobody's."""
        if not isinstance(public, str):
            raise Failure(INVALID_PARAMS, "uri is missing")
        await self._learn_resources(call)
        route = self.located(public)
        if route is None:
            await self._learn_resources(call, again=True)
            route = self.located(public)
        if route is None:
            code = INVALID_PARAMS if self.era == "modern" else NOT_FOUND
            raise Failure(code, "Resource not found", data={"uri": public})
        return route

    async def _learn_resources(self, call: Call, again: bool = False) -> None:
        wanted = [(b, method) for b in await self.ready("resources") for method in LISTS if method[0] == "r"]
        await asyncio.gather(*(self.learn(*key, call) for key in wanted if again or key not in self.lists))

    def located(self, public: str) -> tuple[Backend, str] | None:
        """The server and the URI there that a URI of the client's means, as far as is known."""
        match = re.match(r"([A-Za-z][\w+.-]*:(?://)?)([^/]+)/(.*)", public, re.DOTALL)
        if match:
            scheme, name, rest = match.groups()
            backend = self.backends.get(name)
            if backend is not None and self.owner(scheme + rest) not in (None, backend):
                return backend, scheme + rest
        owner = self.owner(public)
        return None if owner is None else (owner, public)

    def owner(self, uri: str) -> Backend | None:
        """Who has this URI (or template) under its own name: the first to list it, to match it, to link to it."""
        for (backend, _), entries in self._resources():
            if uri in (entries or {}):
                return backend
        for (backend, method), entries in self._resources():
            if method == "resources/templates/list" and any(fits(template, uri) for template in entries or ()):
                return backend
        return self.links.get(uri)

    def _resources(self) -> Iterator[tuple[tuple[Backend, str], dict[str, Message] | None]]:
        for backend in self.backends.values():
            for method in ("resources/list", "resources/templates/list"):
                yield (backend, method), self.lists.get((backend, method))

    def public_uri(self, backend: Backend, uri: str) -> str:
        """What the client knows a URI of this server as."""
        if self.owner(uri) in (None, backend):
            return uri
        scheme = re.match(r"[A-Za-z][\w+.-]*:(//)?", uri)
        start = scheme.end() if scheme else 0
        return f"{uri[:start]}{backend.name}/{uri[start:]}"

    async def republished(self, call: Call, backend: Backend, result: Message) -> Message:
        """A result with the URIs in it as the client knows them."""
        places = [place for place in places_of_uris(result) if isinstance(place.get("uri"), str)]
        if places and backend.declares("resources"):
            await self._learn_resources(call)
        for place in places:
            self.links.setdefault(place["uri"], backend)
            place["uri"] = self.public_uri(backend, place["uri"])
        return result

    # The servers

    def forward(self, backend: Backend, message: Message) -> None:
        """A message to a server."""
        backend.send(message)

    def heard(self, backend: Backend, message: Message) -> None:
        """A message from a server."""
        if "method" not in message:
            backend.settle(message)
        elif "id" in message:
            self.spawn(self._question(backend, message))
        else:
            self._notified(backend, message)

    def lines(self, stream: asyncio.StreamReader) -> AsyncIterable[bytes]:
        """What a server says on stdout, line by line."""
        return stream

    def unpack(self, message: object) -> list[Message]:
        """The messages in what a server sent: one, or those of a batch."""
        return objects(message if isinstance(message, list) else [message])

    async def events(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, bytes]]:
        """The events of a stream: type and data."""
        from .remote import events

        async for event in events(pieces):
            yield event

    def follows(self, here: str, there: str) -> bool:
        """Whether a redirect is followed: within an origin."""
        return urlsplit(here)[:2] == urlsplit(there)[:2]

    def refused(self, backend: Backend, status: int, error: Message | None) -> Message:
        """The error for a request that was answered with this status, and with this error, if with one."""
        return error or {"code": CONNECTION_LOST, "message": f"{backend.name} answered with HTTP {status}"}

    def forgotten(self, backend: Backend) -> None:
        """A server knows our session no more: the next call begins another."""
        backend.came(None)  # type: ignore[attr-defined]  # only one over HTTP has sessions

    def unheard(self, backend: Backend, status: int) -> None:
        """A server has no stream to tell of changes on."""

    def back(self, backend: Backend) -> None:
        """A stream that had ended is there again: what it did not tell may have happened."""
        for feature in ("tools", "prompts", "resources"):
            if backend.declares(feature):
                self.heard(backend, {"jsonrpc": "2.0", "method": f"notifications/{feature}/list_changed"})

    def garbled(self, backend: Backend) -> None:
        """A line from a server that is no message: ignored."""

    def lost(self, backend: Backend) -> None:
        """A server is gone; its calls have failed."""

    def _notified(self, backend: Backend, message: Message) -> None:
        method, params = message["method"], as_object(message.get("params"))
        listen = find(self.listens, as_object(params.get("_meta")).get(SUBSCRIPTION))
        if method == "notifications/cancelled":
            for id, (_, asking, own) in self.questions.items():
                if asking is backend and own == params.get("requestId"):
                    self.send({**message, "params": {**params, "requestId": id}})
            return
        if method == "notifications/resources/updated" and isinstance(params.get("uri"), str):
            message = {**message, "params": {**params, "uri": self.public_uri(backend, params["uri"])}}
        if self.era == "modern" and method not in ("notifications/progress", "notifications/message"):
            if listen is not None:
                self._on_stream(listen, backend, message)
        elif self.era == backend.era or method != "notifications/message":
            self.send(message)

    async def ask(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        """The result of a request to a server. Raises Failure."""
        await backend.connected()
        if backend.era == self.era:
            return self.answerable(await self.exchange(call, backend, method, params, id))
        if self.era == "modern":
            return await self.ask_legacy(call, backend, method, params or {})
        return await self.ask_modern(call, backend, method, params or {})

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        """One request and its response, so that it can be cancelled meanwhile."""
        id = self.fresh_id() if id is None else id
        call.sent.append((backend, id))
        try:
            return await backend.request(method, params, id)
        finally:
            call.sent.remove((backend, id))

    # Questions to the user

    def answerable(self, result: Message) -> Message:
        """A result, if the client can answer all that it asks. Raises Failure."""
        for question in as_object(result.get("inputRequests")).values():
            if QUESTIONS.get(as_object(question).get("method", "")) not in self.client.get("capabilities", {}):
                raise Failure(INTERNAL_ERROR, "the client cannot answer what the server asks")
        return result

    async def _question(self, backend: Backend, message: Message) -> None:
        """A request of a legacy server to its client."""
        method = message["method"]
        if method == "ping":
            answer: Message = {"result": {}}
        elif QUESTIONS.get(method) not in self.client.get("capabilities", {}):
            answer = {"error": {"code": METHOD_NOT_FOUND, "message": f"the client does not support {method}"}}
        elif self.era == "modern":
            self.hold(backend, message)
            return
        else:
            token = as_object(as_object(message.get("params")).get("_meta")).get("progressToken")
            if isinstance(token, Id):
                self.reported[token] = backend
            answer = await self.pose(method, message.get("params"), backend, message["id"])
        self.forward(backend, {"jsonrpc": "2.0", "id": message["id"], **answer})

    async def pose(
        self, method: str, params: Message | None, backend: Backend | None = None, own: Id | None = None
    ) -> Message:
        """The client's answer to a question: a result or an error."""
        id = self.fresh_id()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.questions[id] = (answer, backend, own)
        try:
            message = {"jsonrpc": "2.0", "id": id, "method": method}
            self.send(message if params is None else {**message, "params": params})
            return await answer
        finally:
            del self.questions[id]

    # Listening

    async def _listen(self, call: Call) -> Message:
        wanted = call.params.get("notifications")
        if not isinstance(wanted, dict):
            raise Failure(INVALID_PARAMS, "notifications is missing")
        own: dict[Backend, list[str]] = {}
        for uri in wanted.get("resourceSubscriptions", ()):
            with suppress(Failure):
                backend, original = await self.route_uri(call, uri)
                own.setdefault(backend, []).append(original)
        backends = [backend for backend in await self.ready() if backend.era == "modern"]
        listen = self.listens[call.id] = Listen(set(backends))
        try:
            await asyncio.gather(*(self._listen_to(call, listen, b, own.get(b, [])) for b in backends))
            self._acknowledge(call.id, listen)
        finally:
            del self.listens[call.id]
        result = self.complete({})
        result["_meta"][SUBSCRIPTION] = call.id
        return result

    async def _listen_to(self, call: Call, listen: Listen, backend: Backend, uris: list[str]) -> None:
        wanted = {**call.params["notifications"]}
        wanted.pop("resourceSubscriptions", None)
        if uris:
            wanted["resourceSubscriptions"] = uris
        with suppress(Failure):
            await self.exchange(call, backend, call.method, {**call.params, "notifications": wanted}, call.id)
        listen.awaited.discard(backend)
        self._acknowledge(call.id, listen)

    def _on_stream(self, listen: Listen, backend: Backend, message: Message) -> None:
        """A notification for a listener: nothing goes before the one acknowledgement."""
        id = message["params"]["_meta"][SUBSCRIPTION]
        if message["method"] == "notifications/subscriptions/acknowledged":
            agreed = dict(as_object(message["params"].get("notifications")))
            uris = [self.public_uri(backend, uri) for uri in agreed.pop("resourceSubscriptions", None) or ()]
            if uris:
                agreed["resourceSubscriptions"] = listen.agreed.get("resourceSubscriptions", []) + uris
            listen.agreed.update(agreed)
            listen.awaited.discard(backend)
            self._acknowledge(id, listen)
        elif listen.acknowledged:
            self.send(message)
        else:
            listen.held.append(message)

    def _acknowledge(self, id: Id, listen: Listen) -> None:
        if listen.acknowledged or listen.awaited:
            return
        listen.acknowledged = True
        params = {"_meta": {SUBSCRIPTION: id}, "notifications": listen.agreed}
        method = "notifications/subscriptions/acknowledged"
        for message in ({"jsonrpc": "2.0", "method": method, "params": params}, *listen.held):
            self.send(message)

    # Bridges between the eras

    async def ask_modern(self, call: Call, backend: Backend, method: str, params: Message) -> Message:
        """For a legacy client: what a modern server asks in a result is asked live, then the call is repeated."""
        more: Message = {}
        while True:
            meta = {**as_object(params.get("_meta")), **self.envelope()}
            result = await self.exchange(call, backend, method, {**params, **more, "_meta": meta})
            if result.get("resultType") != "input_required":
                return {key: result[key] for key in result if key not in ("resultType", "ttlMs", "cacheScope")}
            questions = result.get("inputRequests") or {}
            answers = await asyncio.gather(*(self.pose(q["method"], q.get("params")) for q in questions.values()))
            for answer in answers:
                if "error" in answer:
                    raise Failure.received(answer["error"])
            more = {"inputResponses": {key: a["result"] for key, a in zip(questions, answers, strict=True)}}
            if "requestState" in result:
                more["requestState"] = result["requestState"]

    async def ask_legacy(self, call: Call, backend: Backend, method: str, params: Message) -> Message:
        """For a modern client: what a legacy server asks live becomes a result; the repeated call brings the answer."""
        state = params.get("requestState")
        held = find(self.helds, state)
        if held is None:
            meta = {key: value for key, value in as_object(params.get("_meta")).items() if not key.startswith(ENVELOPE)}
            params = {key: params[key] for key in params if key not in ("_meta", "inputResponses", "requestState")}
            state, held = str(self.fresh_id()), Held(call, backend)
            self.helds[state] = held
            held.task = asyncio.create_task(
                self.exchange(call, backend, method, {**params, "_meta": meta} if meta else params)
            )
        else:
            call.sent = held.call.sent
            for key, answer in as_object(params.get("inputResponses")).items():
                if key in held.questions:
                    question = held.questions.pop(key)
                    self.forward(backend, {"jsonrpc": "2.0", "id": question["id"], "result": answer})
        assert held.task is not None
        news = asyncio.create_task(held.news.wait())
        try:
            if not held.questions:
                held.news.clear()
                await asyncio.wait({held.task, news}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            held.task.cancel()
            raise
        finally:
            news.cancel()
        if held.task.done():
            del self.helds[str(state)]
            result = await held.task
            hints = {"ttlMs": 0, "cacheScope": "private"} if method == "resources/read" else {}
            return {"resultType": "complete", **hints, **result}
        questions = {
            key: {part: message[part] for part in ("method", "params") if part in message}
            for key, message in held.questions.items()
        }
        return {"resultType": "input_required", "inputRequests": questions, "requestState": state}

    def hold(self, backend: Backend, message: Message) -> None:
        """A live question of a legacy server to a modern client: for the one call in flight there, else for nobody."""
        meant = [held for held in self.helds.values() if held.backend is backend and held.task and not held.task.done()]
        if len(meant) != 1:
            error = {"code": INTERNAL_ERROR, "message": "whose call is this about?"}
            self.forward(backend, {"jsonrpc": "2.0", "id": message["id"], "error": error})
            return
        meant[0].questions[str(message["id"])] = message
        meant[0].news.set()


def parse(line: bytes) -> object:
    """The JSON value of a line, or None."""
    try:
        return lossless.loads(line.decode())
    except ValueError:
        return None


def merged(left: Message, right: Message) -> Message:
    """Two declarations of capabilities as one: whatever either has."""
    result = dict(left)
    for key, value in right.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else old or value
    return result


def fits(template: str, uri: str) -> bool:
    """Whether a URI is an expansion of this template."""
    parts = re.split(r"(\{[^}]*\})", template)
    patterns = [(".+" if part[1] in "+#" else "[^/]+") if part.startswith("{") else re.escape(part) for part in parts]
    return re.fullmatch("".join(patterns), uri) is not None


def places_of_uris(result: Message) -> Iterator[Message]:
    """The objects in a result whose `uri` names a resource."""
    messages = [message.get("content") for message in objects(result.get("messages"))]
    yield from objects(result.get("contents"))
    for block in objects([*objects(result.get("content")), *messages]):
        if block.get("type") == "resource_link":
            yield block
        elif block.get("type") == "resource":
            yield from objects([block.get("resource")])


def as_object(value: object) -> Message:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def find(table: Mapping[Any, T], id: object) -> T | None:
    """What is known by an id that may be anything."""
    return table.get(id) if isinstance(id, Id) else None


def objects(value: object) -> list[Message]:
    """The objects in a list, if it is one."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def write_line(message: Message) -> None:
    """A message to the client on our stdout."""
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(lossless.dumps(message).encode() + b"\n")
        sys.stdout.buffer.flush()


async def serve(mux: Mux) -> None:
    """Serve the client on stdin and stdout until it is gone or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = asyncio.create_task(mux.run(reader))
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
