"""For each requirement that takes HTTP, SSE or the admin API to check, multimcp behind a middleware that breaks it.

Rules:
- A factory is named as its requirement, with underscores: `http:origin:forged` is made by `http_origin_forged(config)`.
- A defect is a middleware of few lines, and breaks as little else as can be.
- Its docstring says what is broken; `symptom` is a text that the harness has to say when it fails the proxy for it.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from multimcp.app import application
from multimcp.backends.direct import Direct, Response
from multimcp.backends.registry import Failure, Registry
from multimcp.protocol.config import ServerConfig
from tests.integration.conformance.broken.breaking import description

Message = dict[str, Any]
T = TypeVar("T", bound=type["Broken"])

MODERN = "2026-07-28"
REVISIONS = (MODERN, "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
SESSION, VERSION, METHOD, NAME = "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"
ADMIN = "/mcp_servers"


class Broken:
    """Middleware that lets everything pass as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class Defect:
    """A broken proxy.

    Args:
        requirement: the one it breaks.
        what: what is broken about it.
        symptom: a part of what the harness says of it (message, expected, actual, diff), runs of blanks as one.
        middleware: what breaks it.
        over: the transport of the backends behind it.
    """

    requirement: str
    what: str
    symptom: str
    middleware: type[Broken]
    over: str

    @property
    def factory(self) -> str:
        """Its name in this module."""
        return re.sub(r"\W", "_", self.requirement)

    def create(self, config: str) -> ASGIApp:
        """The broken proxy, as an ASGI application with a lifespan."""
        return self.middleware(application(config))


DEFECTS: dict[str, Defect] = {}


def __getattr__(name: str) -> Callable[[str], ASGIApp]:
    """The factory of this name."""
    for defect in DEFECTS.values():
        if defect.factory == name:
            return defect.create
    raise AttributeError(name)


def breaks(requirement: str, symptom: str = "", over: str = "stdio") -> Callable[[T], T]:
    """Register a broken proxy."""

    def register(middleware: T) -> T:
        what = description(requirement, middleware, DEFECTS)
        DEFECTS[requirement] = Defect(requirement, what, symptom, middleware, over)
        return middleware

    return register


# What the middlewares are made of


def header(scope: Scope, name: str) -> str | None:
    """A header of a request."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()), None)


def with_headers(scope: Scope, change: Callable[[dict[str, str]], object]) -> Scope:
    """The request with its headers changed."""
    headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
    change(headers)
    return {**scope, "headers": [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]}


def with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """A request that has been read, with another body."""
    again: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Event:
        return again.pop() if again else await receive()

    length = str(len(body))
    return with_headers(scope, lambda headers: headers.update({"content-length": length})), receive_again


async def read(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a request, and what lets it be read once more."""
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    again: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Event:
        return again.pop() if again else await receive()

    return body, replay


def parse(body: bytes | str) -> Message:
    """The object in a body; an empty one if it is no object."""
    try:
        message = json.loads(body)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


async def respond(send: Send, status: int, body: bytes = b"", kind: str = "application/json") -> None:
    """Answer a request."""
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_status(send: Send, change: Callable[[int], int]) -> Send:
    """Responses with another status."""

    async def changed(event: Event) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "status": change(event["status"])}
        await send(event)

    return changed


def response_header(event: Event, name: str) -> str | None:
    """A header of a response."""
    return next(
        (value.decode("latin-1") for key, value in event.get("headers", ()) if key.decode().lower() == name), None
    )


class BrokenHeaders(Broken):
    """Middleware that changes the headers of requests, knowing the message in the body."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {}
        if scope["method"] == "POST":
            body, receive = await read(receive)
            message = parse(body)
        await self.app(with_headers(scope, lambda headers: self.change(headers, message)), receive, send)

    def change(self, headers: dict[str, str], message: Message) -> object:
        """Change them."""


class BrokenMessages(Broken):
    """Middleware that changes the messages that are sent to clients."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, rest = "", b""

        async def changed(event: Event) -> None:
            nonlocal kind, rest
            if event["type"] == "http.response.start":
                kind = response_header(event, "content-type") or ""
                # The length is another one after the change.
                headers = [(key, value) for key, value in event["headers"] if key.lower() != b"content-length"]
                await send({**event, "headers": headers})
                return
            rest += event.get("body", b"")
            more = event.get("more_body", False)
            if kind.startswith("text/event-stream"):
                *whole, rest = re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", rest) if more else (rest, b"")
                await send({**event, "body": b"".join(self._event(scope, part) for part in whole)})
            elif not more:
                await send({**event, "body": self._body(scope, rest)})

        await self.app(scope, receive, changed)

    def _body(self, scope: Scope, body: bytes) -> bytes:
        message = parse(body)
        changed = self.change(scope, message) if "jsonrpc" in message else None
        return body if changed is None else json.dumps(changed).encode()

    def _event(self, scope: Scope, event: bytes) -> bytes:
        data = re.search(rb"^data: (\{.*\})\r?$", event, re.MULTILINE)
        if data is None:
            return event
        changed = self.change(scope, parse(data[1]))
        return b"" if changed is None else event.replace(data[1], json.dumps(changed).encode())

    def change(self, scope: Scope, message: Message) -> Message | None:
        """The message as it is sent; None: not at all. A response in a body of its own is always sent."""
        return message


# Both eras


@breaks("lifecycle:eras:side-by-side", symptom="another revision is spoken here")
class FirstEraWins(BrokenHeaders):
    """It serves the era of its first client, and no other."""

    era = ""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        era = "modern" if header(scope, VERSION) == MODERN else "legacy"
        if scope["path"] != "/mcp":
            await self.app(scope, receive, send)
            return
        self.era = self.era or era
        if era != self.era:
            await respond(send, 400, b'{"error": "another revision is spoken here"}')
        else:
            await self.app(scope, receive, send)


@breaks("changes:clients:each", symptom="notifications/tools/list_changed did not arrive")
class TellsFirst(BrokenMessages):
    """Of all clients, only the first is told that something changed."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.streams: list[Scope] = []

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/sse" or scope["method"] == "GET" or header(scope, METHOD) == "subscriptions/listen":
            self.streams.append(scope)
        try:
            await super().serve(scope, receive, send)
        finally:
            self.streams = [stream for stream in self.streams if stream is not scope]

    def change(self, scope: Scope, message: Message) -> Message | None:
        changed = str(message.get("method")).endswith("list_changed")
        return None if changed and not any(stream is scope for stream in self.streams[:1]) else message


# HTTP


@breaks("http:accept:both", symptom="a request is answered as neither JSON nor an event stream")
class MislabelsAnswers(Broken):
    """Answers come as something else than JSON or an event stream."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        labels = {b"application/json": b"application/octet-stream", b"text/event-stream": b"text/event-streams"}

        async def mislabelled(event: Event) -> None:
            if event["type"] == "http.response.start" and scope["method"] == "POST" and event["status"] == 200:
                for right, wrong in labels.items():
                    event["headers"] = [(key, value.replace(right, wrong)) for key, value in event["headers"]]
            await send(event)

        await self.app(scope, receive, mislabelled)


@breaks("http:accept:any", symptom="a client that accepts anything is not answered")
class WantsBothTypes(Broken):
    """A client that does not name JSON is refused."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and scope["path"] == "/mcp" and header(scope, "accept") == "*/*":
            await respond(send, 406)
        else:
            await self.app(scope, receive, send)


@breaks("http:accept:one", symptom="a client that accepts application/json alone is neither answered with it")
class StreamsToEverybody(BrokenHeaders):
    """A client that reads nothing but JSON gets an event stream."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if headers.get("accept") == "application/json":
            headers["accept"] = "text/event-stream"


@breaks("http:path:slash", symptom="at /mcp/ nobody answers")
class TakesSlashForName(Broken):
    """With a slash at the end of its path the endpoint is not found."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/mcp/":
            await respond(send, 404)
        else:
            await self.app(scope, receive, send)


@breaks("http:notification:accepted", symptom="a notification is not answered with status 202 and no body")
class AnswersNotifications(Broken):
    """Notifications are answered with 200."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        ok = with_status(send, lambda status: 200 if status == 202 else status)
        await self.app(scope, receive, ok if scope["path"] == "/mcp" else send)


@breaks("http:body:invalid", symptom="a body that is not JSON is not refused")
class AcceptsAnyBody(Broken):
    """A body that is not JSON is accepted."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, receive = await read(receive) if scope["method"] == "POST" else (b"{}", receive)
        try:
            json.loads(body)
        except ValueError:
            await respond(send, 202)
        else:
            await self.app(scope, receive, send)


@breaks("http:origin:forged", symptom="a page of another origin is not refused with status 403")
class IgnoresOrigin(BrokenHeaders):
    """It does not look at the origin."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        headers.pop("origin", None)


class LetsPagesIn(BrokenHeaders):
    """Middleware that hides what tells a web page: its origin, and the name under which it knows this machine."""

    paths: tuple[str, ...]
    verbs: tuple[str, ...] = ("GET", "POST", "DELETE")

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(self.paths) and scope["method"] in self.verbs:
            await super().serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class IgnoresForged(LetsPagesIn):
    """Middleware that hides the origin."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        headers.pop("origin", None)


class IgnoresRebound(LetsPagesIn):
    """Middleware that hides an origin which agrees with the host, and that this host is another."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if headers.get("origin") == f"http://{headers['host']}":
            del headers["origin"]
            headers["host"] = "127.0.0.1"


class IgnoresHost(LetsPagesIn):
    """Middleware that hides the host where there is no origin."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if "origin" not in headers:
            headers["host"] = "127.0.0.1"


@breaks("http:origin:verbs", symptom="a GET by a page of another origin is not refused with status 403")
class IgnoresOriginOfStreams(IgnoresForged):
    """It looks at the origin of a POST alone."""

    paths, verbs = ("/mcp",), ("GET", "DELETE")


@breaks("http:origin:rebound", symptom="a page whose name was rebound to this machine is not refused")
class TrustsItsOwnOrigin(IgnoresRebound):
    """An origin that agrees with the host is taken for its own."""

    paths = ("/mcp",)


@breaks("http:host:foreign", symptom="with the Host of somebody else is not refused")
class AnswersToAnyHost(IgnoresHost):
    """It answers under any name."""

    paths = ("/mcp",)


@breaks("http:param-header:unknown", symptom="with a header that test_simple_text does not ask for it is not called")
class RefusesUnknownParameters(Broken):
    """A header that the tool does not ask for is an error."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if header(scope, "mcp-param-tenant") is None:
            await self.app(scope, receive, send)
        else:
            await respond(send, 400, b'{"error": "unknown header"}')


@breaks("http:session:unknown", symptom="an unknown session id is not answered with status 404")
class ConfusesSessions(Broken):
    """A session that never was is a bad request."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.sessions: set[str | None] = {None}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = header(scope, SESSION) in self.sessions

        async def changed(event: Event) -> None:
            self.sessions.add(response_header(event, SESSION))
            if not known and event.get("status") == 404:
                event = {**event, "status": 400}
            await send(event)

        await self.app(scope, receive, changed)


@breaks("http:session:deleted", symptom="a deleted session is not answered with status 404")
class KeepsSessions(Broken):
    """A deleted session goes on."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "DELETE" and scope["path"] == "/mcp":
            await respond(send, 200)
        else:
            await self.app(scope, receive, send)


@breaks("http:session:header-missing", symptom="a request without its session id is not answered with status 400")
class FailsWithoutSession(Broken):
    """A request without a session is a fault of the proxy's."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = with_status(send, lambda status: 500 if status == 400 else status)
        missing = header(scope, SESSION) is None and header(scope, VERSION) != MODERN
        await self.app(scope, receive, fault if missing else send)


@breaks("http:version:unsupported", symptom="an unsupported MCP-Protocol-Version is not answered with status 400")
class IgnoresVersion(BrokenHeaders):
    """It takes any revision for one that it knows."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if headers.get(VERSION) not in REVISIONS:
            headers.pop(VERSION, None)


@breaks("http:get:stream-or-refused", symptom="a GET is answered neither with an event stream nor with status 405")
class WelcomesVisitors(Broken):
    """A GET gets a web page."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and scope["path"] == "/mcp":
            await respond(send, 200, b"<h1>Welcome</h1>", "text/html")
        else:
            await self.app(scope, receive, send)


@breaks("http:get:second", symptom="each notification is sent on both streams")
class TellsEveryStream(Broken):
    """What is sent on one stream of a session is sent on its others, too."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.others: dict[str | None, list[Send]] = {}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = header(scope, SESSION)
        if scope["method"] != "GET" or scope["path"] != "/mcp":
            await self.app(scope, receive, send)
        elif session in self.others:
            kind = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": kind})
            await send({"type": "http.response.body", "body": b": listening\n\n", "more_body": True})
            self.others[session].append(send)
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            others = self.others[session] = []

            async def send_to_all(event: Event) -> None:
                await send(event)
                for other in others if event["type"] == "http.response.body" else ():
                    await other(event)

            try:
                await self.app(scope, receive, send_to_all)
            finally:
                del self.others[session]


@breaks("http:method-header:missing", symptom="a request without Mcp-Method is not refused as the specification says")
class FillsMethod(BrokenHeaders):
    """A missing Mcp-Method is made up."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if headers.get(VERSION) == MODERN and "method" in message:
            headers.setdefault(METHOD, message["method"])


@breaks("http:method-header:mismatch", symptom="a wrong Mcp-Method is not refused as the specification says")
class IgnoresMethod(BrokenHeaders):
    """It does not look at Mcp-Method."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if METHOD in headers and "method" in message:
            headers[METHOD] = message["method"]


@breaks("http:name-header:mismatch", symptom="a wrong Mcp-Name is not refused as the specification says")
class IgnoresName(BrokenHeaders):
    """It does not look at Mcp-Name."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        params = message.get("params") or {}
        name = params.get("name", params.get("uri"))
        if NAME in headers and isinstance(name, str):
            headers[NAME] = name


@breaks("http:param-header:mirrored", symptom="'south'} the call is not refused")
class IgnoresParameters(BrokenHeaders):
    """It does not compare Mcp-Param headers with the arguments."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        for name, value in ((message.get("params") or {}).get("arguments") or {}).items():
            if f"mcp-param-{name}" in headers and isinstance(value, str):
                headers[f"mcp-param-{name}"] = value


@breaks("http:disconnect:serves-on", symptom="broken pipe")
class MissesTheLost(Broken):
    """After a client has disconnected during a call, nobody can call."""

    broken = False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"] != "/mcp":
            await self.app(scope, receive, send)
            return
        if self.broken:
            await respond(send, 503, b'{"error": "broken pipe"}')
            return
        ended = False
        watcher: asyncio.Task[None] | None = None

        async def watch(event: Event) -> None:
            nonlocal ended
            ended = event["type"] == "http.response.body" and not event.get("more_body", False)
            await send(event)

        async def look() -> None:
            """Look by ourselves: the proxy does not, while a call is young."""
            while (await receive())["type"] != "http.disconnect":
                pass
            self.broken = self.broken or not ended

        async def watched() -> Event:
            nonlocal watcher
            event = await receive()
            if watcher is None and not event.get("more_body", False):
                watcher = asyncio.create_task(look())
            return event

        try:
            await self.app(scope, watched, watch)
        finally:
            if watcher is not None:
                watcher.cancel()


@breaks("http:authorization:passthrough", symptom="the backend got the client's token", over="http")
class HandsTokensOn(Broken):
    """What a client authorizes itself with goes along to the backends."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.token: str | None = None
        post = Direct.post

        async def authorized(direct: Direct, url: Any, headers: Mapping[str, str], data: bytes) -> Response:
            own = {} if self.token is None else {"Authorization": self.token}
            return await post(direct, url, {**headers, **own}, data)

        Direct.post = authorized  # type: ignore[assignment, method-assign]

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.token = header(scope, "authorization")
        await self.app(scope, receive, send)


# SSE


@breaks("sse:endpoint:event", symptom="the first event does not name the endpoint")
class GreetsFirst(Broken):
    """The first event is a greeting."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        greeting = b"event: greeting\r\ndata: {}\r\n\r\n"

        async def greet(event: Event) -> None:
            nonlocal greeting
            if event["type"] == "http.response.body" and scope["path"] == "/sse":
                event, greeting = {**event, "body": greeting + event.get("body", b"")}, b""
            await send(event)

        await self.app(scope, receive, greet)


@breaks("sse:post:accepted", symptom="a posted message is not answered with status 202")
class AnswersPosts(Broken):
    """Messages are answered with 200."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        ok = with_status(send, lambda status: 200 if status == 202 else status)
        await self.app(scope, receive, ok if scope["path"].startswith("/messages") else send)


@breaks("sse:origin:forged", symptom="a connection by a page of another origin is not refused")
class IgnoresOriginOfConnections(IgnoresForged):
    """It does not look at the origin of a connection."""

    paths = ("/sse",)


@breaks("sse:origin:messages", symptom="a message by a page of another origin is not refused")
class IgnoresOriginOfMessages(IgnoresForged):
    """It does not look at the origin of a message for a connection that is open."""

    paths = ("/messages",)


@breaks("sse:origin:rebound", symptom="a message by a page whose name was rebound to this machine is not refused")
class TrustsItsOwnMessages(IgnoresRebound):
    """The origin of a message is taken for its own when it agrees with the host."""

    paths = ("/messages",)


@breaks("sse:host:foreign", symptom="with the Host of somebody else is not refused")
class ConnectsUnderAnyHost(IgnoresHost):
    """It lets clients connect under any name."""

    paths = ("/sse",)


# The admin API


class Admin(BrokenMessages):
    """Middleware that knows what the admin API was asked last, and which servers it added and removed."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.asked = ""
        self.added: set[str] = set()
        self.removed: set[str] = set()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(ADMIN):
            await super().serve(scope, receive, send)
            return
        body, receive = await read(receive)
        self.asked = scope["method"]
        self.added.update(parse(body).get("mcpServers", ()))
        if scope["method"] == "DELETE":
            self.removed.add(scope["path"].removeprefix(f"{ADMIN}/"))
        await self.administer(scope, receive, send, parse(body).get("mcpServers", {}))

    async def administer(self, scope: Scope, receive: Receive, send: Send, servers: Iterable[str]) -> None:
        """A request to the admin API that brings these servers."""
        await self.app(scope, receive, send)


@breaks("dynamic:add:offered", symptom="of the added server 'offered' is not listed")
class HidesAdded(Admin):
    """The tools of an added server are not listed."""

    def change(self, scope: Scope, message: Message) -> Message | None:
        result = message.get("result")
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            tools = [tool for tool in result["tools"] if tool["name"].partition("::")[0] not in self.added]
            return {**message, "result": {**result, "tools": tools}}
        return message


class Quiet(Admin):
    """Clients are not told of what one method of the admin API did."""

    method: str

    def change(self, scope: Scope, message: Message) -> Message | None:
        changed = str(message.get("method")).endswith("list_changed")
        return None if changed and self.asked == self.method else message


@breaks("dynamic:add:notified", symptom="did not arrive")
class AddsQuietly(Quiet):
    """Clients are not told that a server was added."""

    method = "POST"


@breaks("dynamic:remove:notified", symptom="did not arrive")
class RemovesQuietly(Quiet):
    """Clients are not told that a server was removed."""

    method = "DELETE"


@breaks("dynamic:add:refused", symptom="a server without command and URL is not refused")
class NeverRefuses(Admin):
    """Whatever is added, the answer is that it was."""

    async def administer(self, scope: Scope, receive: Receive, send: Send, servers: Iterable[str]) -> None:
        async def nothing(event: Event) -> None:
            """The real answer is not sent."""

        if scope["method"] == "POST":
            await self.app(scope, receive, nothing)
            await respond(send, 200, json.dumps({"added": list(servers), "failed": {}}).encode())
        else:
            await self.app(scope, receive, send)


@breaks("dynamic:add:again", symptom="the server 'again' was not added")
class NeverAgain(Admin):
    """What was removed cannot be added again."""

    async def administer(self, scope: Scope, receive: Receive, send: Send, servers: Iterable[str]) -> None:
        if scope["method"] == "POST" and self.removed.intersection(servers):
            await respond(send, 409, b'{"error": "there was a server of this name"}')
        else:
            await self.app(scope, receive, send)


@breaks("dynamic:remove:gone", symptom="tools of the removed server 'gone' are still listed")
class KeepsRemoved(Admin):
    """The tools of a removed server stay in the list."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.tools: dict[str, Message] = {}

    def change(self, scope: Scope, message: Message) -> Message | None:
        result = message.get("result")
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            self.tools.update({tool["name"]: tool for tool in result["tools"]})
            return {**message, "result": {**result, "tools": list(self.tools.values())}}
        return message


@breaks("dynamic:remove:others", symptom="the server was removed")
class RemovesCalls(Admin):
    """When a server is removed, the calls in flight fail, and so do later ones of clients that were there."""

    def change(self, scope: Scope, message: Message) -> Message | None:
        result = message.get("result")
        if self.asked == "DELETE" and isinstance(result, dict) and "content" in result:
            error = {"code": -32603, "message": "the server was removed"}
            return {"jsonrpc": "2.0", "id": message["id"], "error": error}
        return message


@breaks("dynamic:list:whole", symptom="were not all there while another server came and went")
class ListsMeanwhile(Admin):
    """While a server is added or removed, tools are missing from the list."""

    busy = 0

    async def administer(self, scope: Scope, receive: Receive, send: Send, servers: Iterable[str]) -> None:
        self.busy += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.busy -= 1

    def change(self, scope: Scope, message: Message) -> Message | None:
        result = message.get("result")
        if self.busy and isinstance(result, dict) and isinstance(result.get("tools"), list):
            return {**message, "result": {**result, "tools": result["tools"][1:]}}
        return message


class AtAdmin(Broken):
    """Middleware that is about the admin API alone."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(ADMIN):
            await self.administer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def administer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request to the admin API."""
        await self.app(scope, receive, send)


@breaks("admin:origin:forged", symptom="a page of another origin that adds a server, as text/plain, is not refused")
class AdministeredByPages(IgnoresForged):
    """The admin API does not look at the origin."""

    paths = (ADMIN,)


@breaks("admin:host:foreign", symptom="a page whose name was rebound to this machine, that adds a server, is not")
class AdministeredUnderAnyHost(IgnoresRebound):
    """The admin API takes an origin for its own when it agrees with the host."""

    paths = (ADMIN,)


@breaks("admin:body:malformed", symptom='the body {"mcpServers": {"wrong": {"command": is not refused')
class FailsAtNonsense(AtAdmin):
    """A body that cannot be understood is a fault of the proxy's."""

    async def administer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, with_status(send, lambda status: 500 if status == 400 else status))


@breaks("admin:body:huge", symptom="bytes is neither refused nor left unread")
class FailsAtHugeBodies(AtAdmin):
    """Whatever is sent is read, and what is too much for it is a fault of the proxy's."""

    async def administer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, receive = await read(receive)
        if len(body) > 2**20:
            await respond(send, 500, b'{"error": "out of memory"}')
        else:
            await self.app(scope, receive, send)


@breaks("admin:name:unknown", symptom="the removal of a server that is not there is not refused")
class RemovesAnything(AtAdmin):
    """A server that is not there is removed, too, it says."""

    async def administer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, with_status(send, lambda status: 200 if status == 404 else status))


@breaks("dynamic:add:others", symptom="when a server is added, others are started or greeted again")
class StartsAllAgain(Admin):
    """When a server is added, all others are started again."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        add = Registry.add_and_wait

        async def add_to_all(registry: Registry, servers: Mapping[str, ServerConfig]) -> dict[str, Failure]:
            for backend in [*registry._backends.values()]:
                registry._start(backend.name, backend.config)
            return await add(registry, servers)

        Registry.add_and_wait = add_to_all  # type: ignore[assignment, method-assign]


@breaks("dynamic:add:twice", symptom="two servers run under one name")
class AddsBesides(Admin):
    """A server that is added under a name that is taken is started, and cannot be reached."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == ADMIN and scope["method"] == "POST":
            body, receive = await read(receive)
            for name in self.added.intersection(parse(body).get("mcpServers", ())):
                body = body.replace(f'"{name}"'.encode(), f'"{name}-too"'.encode(), 1)
            scope, receive = with_body(scope, receive, body)
        await super().serve(scope, receive, send)


class Forgets(Admin):
    """When a server is removed, all of a kind is gone from a list."""

    kind: str

    def change(self, scope: Scope, message: Message) -> Message | None:
        result = message.get("result")
        if self.asked == "DELETE" and isinstance(result, dict) and self.kind in result:
            return {**message, "result": {**result, self.kind: []}}
        return message


@breaks("dynamic:remove:tools", symptom="the tools of the others are not what they were")
class ForgetsTools(Forgets):
    """When a server is removed, nobody's tools are listed any more."""

    kind = "tools"


@breaks("dynamic:remove:prompts", symptom="the prompts of the others are not what they were")
class ForgetsPrompts(Forgets):
    """When a server is removed, nobody's prompts are listed any more."""

    kind = "prompts"


@breaks("dynamic:remove:resources", symptom="the resources of the others are not what they were")
class ForgetsResources(Forgets):
    """When a server is removed, nobody's resources are listed any more."""

    kind = "resources"


@breaks("dynamic:remove:ended", symptom="the process of the removed server 'ending' is left")
class HidesRemoved(HidesAdded):
    """A removed server is hidden, and goes on."""

    async def administer(self, scope: Scope, receive: Receive, send: Send, servers: Iterable[str]) -> None:
        if scope["method"] == "DELETE":
            await respond(send, 200, b"{}")
        else:
            await self.app(scope, receive, send)

    def change(self, scope: Scope, message: Message) -> Message | None:
        return super().change(scope, message) if self.removed else message


# Extensions


@breaks("extensions:tasks:name-checked", symptom="tasks/get was not refused so")
class BelievesTaskNames(BrokenHeaders):
    """It does not look whether `Mcp-Name` is the task of the request."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        if str(message.get("method")).startswith("tasks/"):
            headers[NAME] = str(message["params"]["taskId"])


@breaks("extensions:headers:unknown", symptom="the header did not reach the server", over="http")
class DropsUnknownHeaders(BrokenHeaders):
    """Headers that it does not know go no further."""

    def change(self, headers: dict[str, str], message: Message) -> None:
        headers.pop("mcp-param-tenant", None)


@breaks("extensions:skills:replaced", symptom="of the skill that is gone gives another's")
class NamesAgain(Broken):
    """The name of a skill whose server is removed goes to the next server with such a skill."""

    removed = False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.removed = self.removed or (scope["method"] == "DELETE" and scope["path"].startswith(f"{ADMIN}/left"))
        if scope["method"] == "POST" and self.removed:
            body, _ = await read(receive)
            body = body.replace(b"//left/packing", b"//right/packing")

            def change(headers: dict[str, str]) -> None:
                if NAME in headers:
                    headers[NAME] = headers[NAME].replace("//left/packing", "//right/packing")

            scope, receive = with_body(with_headers(scope, change), receive, body)
        await self.app(scope, receive, send)
