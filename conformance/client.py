"""A raw JSON-RPC client that records every message. It is no SDK client, so it sees the wire as it is.

Rules:
- It validates nothing and drops nothing: what comes is kept in `inbox`, in the order of arrival, each message with its
  text; what is no message, in `strays`.
- What is sent may have `Exact` values in it, which go out to the letter.
- Nothing is sent that the scenario did not ask for, but for the handshake, answers to questions, and `ping`.
- Every wait is bounded. What the target leaves undone is a `Failure` of the target.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

import base64
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urljoin

import anyio
import httpx2
from anyio.abc import Process, TaskGroup, TaskStatus

from .case import Transport
from .exact import dumps, loads
from .patience import Patience
from .requirements.model import LEGACY, MODERN, Era
from .verdict import Failure, Silence
from .wire import Message, Wire

Id = int | str
Answer = Callable[[Any], Message | None]
"""From the params of a question to `{"result": …}` or `{"error": …}`; None leaves it unanswered."""

ENVELOPE = "io.modelcontextprotocol/"
CLIENT_INFO = {"name": "mcp-proxy-conformance", "version": "1"}
BATCHES = "2025-03-26"
"""The one revision in which messages may come in a batch."""
NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}
"""The field of the params that a modern request repeats in the header `Mcp-Name`."""

ANSWER_WAIT = 20.0
"""Seconds a response may take."""

NOTICE_WAIT = 3.0
"""Seconds in which a notification, or its effect at the backend, has to show."""

KEPT = 4.0
"""Seconds that an HTTP connection is kept for the next request. Many servers close one after five seconds, and a
request on its way to one that closes is lost: nobody's fault."""

EXIT_WAIT = 5.0
"""Seconds a process has to end by itself before it is killed."""

LOGGED = 2_000_000
"""Characters of a message that the wire log shows whole."""


@dataclass(frozen=True)
class Command:
    """A program that speaks MCP over its standard streams."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Url:
    """Where something listens for MCP, and the headers that every request needs there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


Endpoint = Command | Url


class Received(Message):
    """A message from the server; `text` is how it was written, and `stream` what carried it."""

    def __init__(self, fields: Message, text: str, stream: str) -> None:
        super().__init__(fields)
        self.text = text
        self.stream = stream


class Call:
    """A request in flight."""

    def __init__(self, client: "Client", id: Id, method: str, begun: int) -> None:
        self.id = id
        self.method = method
        self._client = client
        self._begun = begun
        self._end: int | None = None
        self._done = anyio.Event()
        self._message: Received | None = None
        self.lost = ""
        """Why there can be no response any more."""
        self.status: int | None = None
        """The HTTP status of the response, over streamable HTTP."""
        self.got = ""
        """How far it got over streamable HTTP, for the end of a sentence."""
        self.scope = anyio.CancelScope()
        self.given_up = False
        """Whether the client wants no response any more."""

    def settle(self, message: Received, arrived: int) -> None:
        self._message = message
        self._end = arrived
        self._done.set()

    def lose(self, why: str) -> None:
        if not self._done.is_set():
            self.lost = why
            self._done.set()
            self._client._wake()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    async def response(self, wait: float = ANSWER_WAIT) -> Received:
        """The whole response message.

        Raises:
            Silence: none came within `wait` seconds, or none can come.
            Failure: the HTTP response is none.
        """
        bound = self._client.patience.bound(wait)
        with anyio.move_on_after(bound):
            await self._done.wait()
        if self._message is None:
            why = self.lost or f"none within {bound:g} s"
            if not self.lost:
                self._client.give_up(f"a response to {self.method} ({self.id!r}){self.got}", wait)
            kind = Failure if self.lost and self.status is not None else Silence
            lost = self.lost.partition(": ")[0]  # of an HTTP response the status alone
            cause = f"{self.method} got no response{f': {lost}' if lost else ' in time'}"
            raise kind(f"{self.method} got no response: {why}", cause=cause)
        return self._message

    @property
    def before(self) -> list[Received]:
        """What came from the server since the request was sent, up to its response."""
        return self._client.inbox[self._begun : self._end]

    async def cancel(self, reason: str = "the user changed their mind") -> None:
        """Tell the server that the result is not wanted any more, by notification."""
        self.given_up = True
        await self._client.notify("notifications/cancelled", {"requestId": self.id, "reason": reason})

    async def hang_up(self) -> None:
        """Close the response stream, which is how a modern client cancels over HTTP."""
        self._client.wire.add(self._client.channel, "note", f"closes the response stream of {self.id!r}")
        self.scope.cancel()


class _Link(Protocol):
    """How messages get to the server."""

    sends_by: str
    """What carries them there, as the wire log calls it."""

    async def send(self, text: str, call: Call | None, headers: Mapping[str, str]) -> None: ...


class Client:
    """One client of one MCP server. Made by `connect`."""

    def __init__(self, channel: str, transport: Transport, era: Era, wire: Wire, patience: Patience) -> None:
        self.channel = channel
        self.transport = transport
        self.era = era
        self.wire = wire
        self.patience = patience
        self.inbox: list[Received] = []
        self.strays: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.capabilities: Message = {}
        self.hello: Message = {}
        self.process: Process | None = None
        self.group: TaskGroup
        self.link: _Link
        self.closed = ""
        """Why nothing more can come; empty while it can."""
        self._ids = itertools.count(1)
        self._calls: dict[Id, Call] = {}
        self._news = anyio.Event()

    # Sending

    def envelope(self, revision: str = MODERN) -> Message:
        """What every modern request carries in `_meta`."""
        return {
            f"{ENVELOPE}protocolVersion": revision,
            f"{ENVELOPE}clientInfo": CLIENT_INFO,
            f"{ENVELOPE}clientCapabilities": self.capabilities,
        }

    async def request(
        self,
        method: str,
        params: Message | None = None,
        *,
        id: Id | None = None,
        headers: Mapping[str, str | None] | None = None,
        bare: bool = False,
    ) -> Call:
        """Send a request.

        Args:
            method, params: as in JSON-RPC. A modern client's envelope is added, unless `bare`.
            id: instead of the next number.
            headers: over HTTP, to be added; None takes one away.
            bare: send just this.
        """
        message: Message = {"jsonrpc": "2.0", "id": next(self._ids) if id is None else id, "method": method}
        if self.era == "modern" and not bare:
            params = {**(params or {}), "_meta": {**self.envelope(), **((params or {}).get("_meta") or {})}}
        if params is not None:
            message["params"] = params
        call = Call(self, message["id"], method, len(self.inbox))
        self._calls[call.id] = call
        if self.closed:
            call.lose(self.closed)
        else:
            await self._send(message, call, headers or {})
        return call

    async def ask(self, method: str, params: Message | None = None, **options: Any) -> Message:
        """Send a request and return its result.

        Raises:
            Failure: there is no response, or it is an error.
        """
        response = await (await self.request(method, params, **options)).response()
        if "result" not in response:
            raise refused(method, response.get("error", response))
        result: Message = response["result"]
        return result

    async def throw(self, message: Any) -> Call:
        """Send what may be no request at all; `answered` tells what comes of it."""
        call = Call(self, "", "what was sent", len(self.inbox))
        if self.closed:
            call.lose(self.closed)
        else:
            await self._send(message, call, {})
        return call

    async def answered(self, call: Call, times: int = 1, wait: float = ANSWER_WAIT) -> bool:
        """Whether what was thrown is answered, now or later.

        By so many responses, under whatever ids; or, over HTTP, by a status that says that the client is at fault.
        """
        with anyio.move_on_after(self.patience.bound(wait)):
            while sum("method" not in message for message in call.before) < times:
                if call.done or self.closed:
                    return call.status is not None and 400 <= call.status < 500
                await self._news.wait()
            return True
        self.give_up("answer to what was sent", wait)
        return False

    async def notify(self, method: str, params: Message | None = None) -> None:
        """Send a notification."""
        message: Message = {"jsonrpc": "2.0", "method": method}
        if self.era == "modern":
            params = {**(params or {}), "_meta": {**self.envelope(), **((params or {}).get("_meta") or {})}}
        if params is not None:
            message["params"] = params
        await self._send(message, None, {})

    async def _send(self, message: Any, call: Call | None, headers: Mapping[str, str | None]) -> None:
        text = dumps(message)
        self.wire.add(self.channel, "sent", logged(loads(text), text), self.link.sends_by)
        await self.link.send(text, call, self.headers_of(message, headers))

    def headers_of(self, message: Any, more: Mapping[str, str | None]) -> dict[str, str]:
        """What a message carries over HTTP in headers; `more` adds to them, None takes one away."""
        headers: dict[str, str | None] = {}
        if self.era == "modern":
            method, params = message.get("method", ""), message.get("params")
            params = params if isinstance(params, dict) else {}
            meta = params.get("_meta") or {}
            headers["MCP-Protocol-Version"] = str(meta.get(f"{ENVELOPE}protocolVersion", MODERN))
            headers["Mcp-Method"] = method
            if isinstance(name := params.get(NAMED_BY.get(method, "")), str):
                headers["Mcp-Name"] = header_value(name)
        elif self.hello:
            headers["MCP-Protocol-Version"] = str(self.hello.get("protocolVersion", LEGACY))
        return {name: value for name, value in (headers | dict(more)).items() if value is not None}

    # Receiving

    def take(self, data: str, stream: str) -> None:
        """What came from the server: a line, a body or an event; and what carried it."""
        try:
            fields = loads(data)
        except ValueError:
            fields = None
        if isinstance(fields, list) and self.hello.get("protocolVersion") == BATCHES:
            for part in fields:
                self.take(dumps(part), stream)
            return
        if not isinstance(fields, dict) or fields.get("jsonrpc") != "2.0":
            self.strays.append(data)
            self.wire.add(self.channel, "received", data[:2000], stream)
            return
        self.wire.add(self.channel, "received", logged(fields, data), stream)
        message = Received(fields, data, stream)
        self.inbox.append(message)
        if "method" not in message:
            if call := self._calls.get(message.get("id", ())):
                call.settle(message, len(self.inbox) - 1)
        elif "id" in message:
            self.group.start_soon(self._answer, message)
        self._wake()

    async def _answer(self, question: Message) -> None:
        answer = self.answers.get(question["method"])
        if answer is not None:
            outcome = answer(question.get("params"))
        elif question["method"] == "ping":
            outcome = {"result": {}}
        else:
            outcome = {"error": {"code": -32601, "message": "Method not found"}}
        if outcome is not None:
            await self.reply(question, outcome)

    async def end_session(self) -> bool:
        """Delete the session, as a legacy client does over streamable HTTP that leaves; whether there was one."""
        return isinstance(self.link, _Http) and await self.link.end_session()

    async def reply(self, question: Message, outcome: Message) -> None:
        """Answer a question of the server: `{"result": …}` or `{"error": …}`."""
        message = {"jsonrpc": "2.0", "id": question["id"], **outcome}
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._send(message, None, {})

    def end(self, why: str) -> None:
        """Nothing more can come."""
        if not self.closed:
            self.closed = why
            self.wire.add(self.channel, "note", why)
        for call in self._calls.values():
            call.lose(why)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def wait(
        self, wanted: Callable[[Message], bool], what: str, since: int = 0, wait: float = NOTICE_WAIT
    ) -> Received:
        """The first message of the inbox, from index `since` on, that is `wanted`, now or later.

        Raises:
            Failure: it does not come within `wait` seconds.
        """
        with anyio.move_on_after(self.patience.bound(wait)):
            while True:
                for message in self.inbox[since:]:
                    if wanted(message):
                        return message
                if self.closed:
                    break
                await self._news.wait()
        why = self.closed or f"nothing of the kind within {self.patience.bound(wait):g} s"
        if not self.closed:
            self.give_up(what, wait)
        raise Failure(f"{what} did not arrive", what, why)

    def give_up(self, what: str, wait: float) -> None:
        """Mark in the wire log where the client stopped to wait; `wait` is in seconds, without the patience."""
        self.wire.add(
            self.channel, "note", f"gave up after {self.patience.bound(wait):g} s: no {what.removeprefix('a ')}"
        )

    def notifications(self, method: str, since: int = 0) -> list[Received]:
        """Notifications that arrived, by method."""
        return [message for message in self.inbox[since:] if message.get("method") == method and "id" not in message]

    @property
    def busy(self) -> bool:
        """Whether a response is still expected."""
        return any(not (call.done or call.given_up) for call in self._calls.values())


def refused(method: str, error: object) -> Failure:
    """That a request was answered with an error."""
    code = error.get("code") if isinstance(error, dict) else None
    cause = f"{method} is answered with error {code}"
    return Failure(f"{method} was answered with an error", "a result", shown(error), cause=cause)


def shown(value: object) -> str:
    """A value as readable text."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def logged(message: Message, text: str) -> Message | str:
    """A message as the wire log shows it: what it says, unless it is very long."""
    return message if len(text) <= LOGGED else f"{text[:500]} ... {text[-500:]} ({len(text):,} characters)"


def header_value(text: str) -> str:
    """Text as the value of an HTTP header.

    Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#value-encoding
    """
    if re.fullmatch(r"[\x20-\x7e]*", text) and text == text.strip() and not re.fullmatch(r"=\?base64\?.*\?=", text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    transport: Transport,
    era: Era,
    *,
    channel: str = "client 1",
    wire: Wire | None = None,
    patience: Patience | None = None,
    capabilities: Message | None = None,
    answers: Mapping[str, Answer] | None = None,
    revision: str = LEGACY,
    handshake: bool = True,
    headers: Mapping[str, str] | None = None,
    stderr: Path = Path(os.devnull),
) -> AsyncGenerator[Client, None]:
    """Connect to an MCP server; leaving the block disconnects.

    Args:
        endpoint: a command for stdio, a URL for the others.
        capabilities, answers: what the client can do, and how it answers the server's questions, by method.
        revision: what a legacy client asks for.
        handshake: whether a legacy client begins with `initialize`.
        headers: over HTTP, of every request, besides those of the endpoint.
        patience: how long it waits.
        stderr: file to which the standard error of a command is appended.

    Raises:
        Failure: the target cannot be connected to.
    """
    client = Client(channel, transport, era, wire or Wire(), patience or Patience())
    client.capabilities = capabilities or {}
    client.answers = dict(answers or {})
    async with _link(client, endpoint, headers or {}, stderr), anyio.create_task_group() as group:
        client.group = group
        try:
            if isinstance(client.link, _Stdio):
                group.start_soon(client.link.read)
            elif isinstance(client.link, _Sse):
                bound = client.patience.bound(ANSWER_WAIT)
                with anyio.move_on_after(bound) as scope:
                    await group.start(client.link.read)
                if scope.cancelled_caught:
                    raise Silence(f"no endpoint event came within {bound:g} s", cause="SSE: no endpoint event")
            if era == "legacy" and handshake:
                await greet(client, revision)
            yield client
        finally:
            group.cancel_scope.cancel()


async def greet(client: Client, revision: str = LEGACY) -> None:
    """The handshake of a legacy client."""
    params = {"protocolVersion": revision, "capabilities": client.capabilities, "clientInfo": CLIENT_INFO}
    client.hello = await client.ask("initialize", params)
    await client.notify("notifications/initialized")
    if isinstance(client.link, _Http):
        await client.group.start(client.link.listen)


@asynccontextmanager
async def _link(
    client: Client, endpoint: Endpoint, headers: Mapping[str, str], stderr: Path
) -> AsyncGenerator[None, None]:
    if isinstance(endpoint, Command):
        async with _process(endpoint, stderr) as process:
            client.process = process
            client.link = _Stdio(client, process)
            yield
    else:
        # A pool without limits: every call in flight has a connection of its own.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT)
        async with http_client(timeout=None, limits=limits, headers={**endpoint.headers, **headers}) as http:
            client.link = (_Sse if client.transport == "sse" else _Http)(client, http, endpoint.url)
            yield


# stdio


@asynccontextmanager
async def _process(command: Command, stderr: Path) -> AsyncGenerator[Process, None]:
    """A running program in a process group of its own; on leaving, it is asked to end, then made to."""
    with stderr.open("ab") as log:
        process = await start_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await end_process(process)


async def start_process(command: Command, *, stdin: int, stdout: int | IO[bytes], stderr: IO[bytes]) -> Process:
    """Start a program of the target in a process group of its own.

    Raises:
        Silence: it cannot be started.
    """
    try:
        return await anyio.open_process(
            command.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=command.cwd,
            env={**os.environ, **command.env},
            start_new_session=True,
        )
    except OSError as exc:
        said = f"{command.argv[0]} cannot be started: {exc.strerror}"
        raise Silence(said, cause=said) from None


async def end_process(process: Process, wait: float = EXIT_WAIT) -> bool:
    """Close its stdin, as a client over stdio does, and then tell it to end; what has no stdin was told before. What
    does not end within `wait` seconds each, or leaves children, is killed. Returns whether it ended by itself.

    Spec: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#stdio
    """
    numbers: tuple[signal.Signals | None, ...] = (None,)
    if process.stdin is not None:
        numbers = (None, signal.SIGTERM)
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    ended = False
    for number in numbers:
        if number is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        with anyio.move_on_after(wait):
            await process.wait()
            ended = True
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()
    return ended


class _Stdio:
    sends_by = "stdio"

    def __init__(self, client: Client, process: Process) -> None:
        self._client = client
        self._process = process

    async def send(self, text: str, call: Call | None, headers: Mapping[str, str]) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send(text.encode() + b"\n")
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._client.end("the process reads no more")

    async def read(self) -> None:
        assert self._process.stdout is not None
        rest: list[bytes] = []  # joined once: a message may come in very many chunks
        async for chunk in self._process.stdout:
            rest.append(chunk)
            if b"\n" not in chunk:
                continue
            *lines, last = b"".join(rest).split(b"\n")
            rest = [last]
            for line in lines:
                self._client.take(line.decode(errors="replace"), "stdio")
        if last := b"".join(rest):
            self._client.take(last.decode(errors="replace"), "stdio")
        self._client.end("the process closed its stdout")


# HTTP


def http_client(**options: Any) -> httpx2.AsyncClient:
    """A client of the HTTP library, with its `options`; the environment's proxies are none of its business."""
    return httpx2.AsyncClient(trust_env=False, verify=_certificates(), **options)


@cache
def _certificates() -> ssl.SSLContext:
    """Loaded once: that takes longer than what most clients are for."""
    return httpx2.create_ssl_context(trust_env=False)


async def events(response: httpx2.Response) -> AsyncGenerator[tuple[str, str], None]:
    """The events of an SSE stream: type and data.

    Spec: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    kind, data, first = "message", list[str](), True
    rest: list[bytes] = []  # joined once: an event may come in very many chunks
    async for chunk in response.aiter_bytes():
        rest.append(chunk)
        if not re.search(rb"[\r\n]", chunk) and not (len(rest) > 1 and rest[-2].endswith(b"\r")):
            continue
        # Of str.splitlines' many line ends only these are ones here.
        *lines, last = re.split(rb"\r\n|\n|\r(?!\n|$)", b"".join(rest))
        rest = [last]
        for line in lines:
            name, _, value = line.decode("utf-8-sig" if first else "utf-8", errors="replace").partition(":")
            value, first = value.removeprefix(" "), False
            if line == b"":
                if data:
                    yield kind, "\n".join(data)
                kind, data = "message", []
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)


_PHASES: Mapping[str, str] = {
    "connect_tcp.started": "; the connection is not open yet",
    "send_request_headers.started": "; the request is not sent whole yet",
    "receive_response_headers.started": "; the request is sent, and no response has begun",
    "receive_response_body.started": "; the response has begun",
}
"""How far a request got, by a part of the names that the HTTP library has for its events."""


class _Http:
    """Streamable HTTP."""

    sends_by = "POST"

    def __init__(self, client: Client, http: httpx2.AsyncClient, url: str) -> None:
        self._client = client
        self._http = http
        self._url = url
        self.session: str | None = None

    async def send(self, text: str, call: Call | None, headers: Mapping[str, str]) -> None:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", **headers}
        if self.session is not None and "Mcp-Session-Id" not in headers:
            headers["Mcp-Session-Id"] = self.session
        if call is None:
            await self._post(text, None, headers)
        else:
            self._client.group.start_soon(self._post, text, call, headers)

    async def _post(self, text: str, call: Call | None, headers: Mapping[str, str]) -> None:
        async def trace(event: str, info: object) -> None:
            if call is not None:
                call.got = next((text for part, text in _PHASES.items() if part in event), call.got)

        body = text.encode()
        why = "the response ended without one"
        with call.scope if call else anyio.CancelScope():
            try:
                async with self._http.stream(
                    "POST", self._url, content=body, headers=headers, extensions={"trace": trace}
                ) as response:
                    why = await self._read(response, call) or why
            except httpx2.TransportError as exc:
                why = f"the connection failed ({type(exc).__name__})"
        if call is not None:
            call.lose("the client hung up" if call.scope.cancelled_caught else why)

    async def _read(self, response: httpx2.Response, call: Call | None) -> str:
        """Take what is in a response; returns why there is no message in it, if so."""
        stream = f"POST {call.id}" if call and call.id else "POST"
        if call is not None:
            call.status = response.status_code
        if self._client.era == "legacy" and not response.is_error:
            self.session = response.headers.get("mcp-session-id", self.session)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            async for kind, data in events(response):
                if kind == "message":
                    self._client.take(data, f"{stream}, SSE")
            return ""
        body = (await response.aread()).decode(errors="replace")
        if response.is_error:
            self._client.wire.add(self._client.channel, "note", f"HTTP {response.status_code}: {body[:500]}")
            if call is not None and not _answers(body, call):
                return f"HTTP {response.status_code}: {body[:200]}"
        if body.strip():
            self._client.take(body, stream)
        return ""

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """The legacy stream for what belongs to no request; a server need not offer it."""
        headers = {"Accept": "text/event-stream", **self._client.headers_of({}, {})}
        if self.session is not None:
            headers["Mcp-Session-Id"] = self.session
        try:
            async with self._http.stream("GET", self._url, headers=headers) as response:
                task_status.started()
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    async for kind, data in events(response):
                        if kind == "message":
                            self._client.take(data, "GET")
        except httpx2.TransportError as exc:
            self._client.wire.add(self._client.channel, "note", f"the listening stream ended: {type(exc).__name__}")
            with suppress(RuntimeError):  # it had started
                task_status.started()

    async def end_session(self) -> bool:
        if self.session is None:
            return False
        headers = {"Mcp-Session-Id": self.session, **self._client.headers_of({}, {})}
        self._client.wire.add(self._client.channel, "note", "deletes its session")
        with suppress(httpx2.TransportError):
            await self._http.delete(self._url, headers=headers)
        return True


def _answers(body: str, call: Call) -> bool:
    """Whether the body of a response with an error status is the response to this call."""
    with suppress(ValueError):
        message = loads(body)
        return isinstance(message, dict) and message.get("id") == call.id
    return False


class _Sse:
    """HTTP+SSE, as of 2024-11-05.

    Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
    """

    sends_by = "POST"

    def __init__(self, client: Client, http: httpx2.AsyncClient, url: str) -> None:
        self._client = client
        self._http = http
        self._url = url
        self.messages = ""
        """Where to post, as the server said."""

    async def send(self, text: str, call: Call | None, headers: Mapping[str, str]) -> None:
        try:
            response = await self._http.post(
                self.messages, content=text.encode(), headers={"Content-Type": "application/json", **headers}
            )
        except httpx2.TransportError as exc:
            self._client.end(f"the connection failed ({type(exc).__name__})")
            return
        if call is not None:
            call.status = response.status_code
        if response.is_error:
            note = f"HTTP {response.status_code}: {response.text[:500]}"
            self._client.wire.add(self._client.channel, "note", note)
            if call is not None:
                call.lose(note)

    async def read(self, *, task_status: TaskStatus[None]) -> None:
        started = False
        try:
            async with self._http.stream("GET", self._url, headers={"Accept": "text/event-stream"}) as response:
                if response.status_code != 200:
                    body = (await response.aread()).decode(errors="replace")
                    raise Failure(f"GET {self._url} was answered with HTTP {response.status_code}: {body[:200]}")
                async for kind, data in events(response):
                    if kind == "endpoint":
                        self.messages = urljoin(self._url, data)
                        started = True
                        task_status.started()
                    elif kind == "message":
                        self._client.take(data, "SSE")
            self._client.end("the server ended the SSE stream")
        except httpx2.TransportError as exc:
            self._client.end(f"the connection failed ({type(exc).__name__})")
        if not started:
            raise Silence("the SSE stream ended before its endpoint event", cause="SSE: no endpoint event")
