"""Scenarios of the areas http and sse. They speak HTTP themselves, since no client sends what is wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
from anyio.abc import TaskStatus

from conformance.case import Transport
from conformance.client import ANSWER_WAIT, CLIENT_INFO, NOTICE_WAIT, events, http_client
from conformance.fixtures import LOOK
from conformance.requirements.model import LEGACY, MODERN
from conformance.session import Session
from conformance.verdict import Silence
from conformance.wire import Message

from .changes import changed
from .holding import hold, release
from .registry import scenario
from .visitors import FORGED, JSON, SERVED, STREAM, foreign, here, posted, turned_away, visit
from .watching import LIST_CHANGED

HTTP: tuple[Transport, ...] = ("http",)
LIST: Message = {"jsonrpc": "2.0", "id": "list", "method": "tools/list"}
HEADER_MISMATCH = -32020
TOKEN = "Bearer of-a-client-for-the-proxy-alone"


@dataclass(frozen=True)
class Reply:
    """What an HTTP request was answered with; of an event stream, `body` is the data of the last message."""

    status: int
    kind: str
    session: str | None
    body: str
    location: str = ""

    @property
    def message(self) -> Message:
        """The JSON object in it; empty when there is none."""
        try:
            message = json.loads(self.body)
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}

    @property
    def error_code(self) -> Any:
        return (self.message.get("error") or {}).get("code")


async def exchange(s: Session, verb: str, content: str, headers: Mapping[str, str], url: str = "") -> Reply:
    """Send an HTTP request, by default to the endpoint. The stream that a GET opens is not read."""
    kinds = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    known = {**s.place.headers, **kinds, **headers}
    s.run.wire.add("http", "sent", "\n".join([verb, *(f"{name}: {value}" for name, value in known.items()), content]))
    timeout = s.world.patience.bound(ANSWER_WAIT)
    try:
        async with (
            http_client(timeout=timeout) as http,
            http.stream(verb, url or s.place.url, content=content, headers=known) as response,
        ):
            kind = response.headers.get("content-type", "").partition(";")[0]
            body = "" if verb == "GET" else await _body(response, kind)
    except httpx2.TransportError as exc:
        raise Silence(f"{verb} was not answered ({type(exc).__name__})", cause=f"{verb} was not answered") from None
    s.run.wire.add("http", "received", f"HTTP {response.status_code} {kind}\n{body}")
    got = response.headers
    return Reply(response.status_code, kind, got.get("mcp-session-id"), body, got.get("location", ""))


async def _body(response: httpx2.Response, kind: str) -> str:
    if kind != "text/event-stream":
        return (await response.aread()).decode(errors="replace")
    return ([data async for event, data in events(response) if event == "message"] or [""])[-1]


async def post(s: Session, message: Message, headers: Mapping[str, str], url: str = "") -> Reply:
    return await exchange(s, "POST", json.dumps(message), headers, url)


async def greeting(s: Session) -> tuple[Message, dict[str, str]]:
    """The request that every client may begin with, and its headers."""
    if s.era == "modern":
        client = await s.client()
        discover = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": client.envelope()}}
        return discover, client.headers_of(discover, {})
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT_INFO}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, {}


async def greet(s: Session, headers: Mapping[str, str] | None = None, url: str = "") -> Reply:
    """Send that request, with more headers."""
    message, own = await greeting(s)
    return await post(s, message, {**own, **(headers or {})}, url)


async def session(s: Session) -> dict[str, str]:
    """Begin a session as a legacy client, beside those of `s`; returns the headers that its messages carry."""
    reply = await greet(s)
    headers = {"MCP-Protocol-Version": str((reply.message.get("result") or {}).get("protocolVersion", LEGACY))}
    if reply.session is not None:
        headers["Mcp-Session-Id"] = reply.session
    await post(s, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return headers


async def request(
    s: Session,
    method: str,
    params: Message | None = None,
    headers: Mapping[str, str | None] | None = None,
    url: str = "",
) -> Reply:
    """Send a modern request with its headers, save for the given ones; None takes one away."""
    client = await s.client()
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": client.envelope()}}
    return await post(s, message, client.headers_of(message, headers or {}), url)


def refused(s: Session, reply: Reply, status: int, code: int, what: str) -> None:
    """It was refused with this HTTP status and this JSON-RPC error code."""
    s.equal({"status": reply.status, "code": reply.error_code}, {"status": status, "code": code}, what)


@scenario("http:accept:both", clients=HTTP)
async def accept(s: Session) -> None:
    reply = await greet(s)
    s.require(
        reply.kind in ("application/json", "text/event-stream"),
        "a request is answered as neither JSON nor an event stream",
        "application/json or text/event-stream",
        reply.kind,
    )
    s.require("result" in reply.message, "the answer has no result", "a JSON-RPC response", reply.body)


@scenario("http:accept:any", clients=HTTP, proxy_only=True)
async def accept_any(s: Session) -> None:
    reply = await greet(s, {"Accept": "*/*"})
    s.require(
        "result" in reply.message, "a client that accepts anything is not answered", "a result", shown_reply(reply)
    )


@scenario("http:accept:one", clients=HTTP, proxy_only=True)
async def accept_one(s: Session) -> None:
    for kind in ("application/json", "text/event-stream"):
        reply = await greet(s, {"Accept": kind})
        right = reply.kind == kind and "result" in reply.message
        what = f"a client that accepts {kind} alone is neither answered with it nor refused"
        s.require(right or reply.status == 406, what, f"{kind}, or HTTP 406", shown_reply(reply))


def shown_reply(reply: Reply) -> str:
    return f"HTTP {reply.status} {reply.kind}: {reply.body[:500]}"


@scenario("http:path:slash", clients=HTTP, proxy_only=True)
async def slash(s: Session) -> None:
    """A redirect within the origin leads there, too."""
    parts = urlsplit(s.place.url)
    path = parts.path.removesuffix("/") if parts.path.endswith("/") else f"{parts.path}/"
    url = parts._replace(path=path).geturl()
    reply = await greet(s, url=url)
    if reply.status in (307, 308):
        url = urljoin(url, reply.location)
        s.equal(urlsplit(url)[:2], parts[:2], "the other spelling of the endpoint leads to another origin")
        reply = await greet(s, url=url)
    s.require("result" in reply.message, f"at {path} nobody answers", "a result", shown_reply(reply))


@scenario("http:notification:accepted", clients=HTTP)
async def notification(s: Session) -> None:
    """The modern revision has no notification for clients to send over HTTP, so that refusing one is right, too."""
    if s.era == "legacy":
        headers = await session(s)
        reply = await post(s, {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}, headers)
    else:
        client = await s.client()
        message = {"jsonrpc": "2.0", "method": "notifications/vendor", "params": {"_meta": client.envelope()}}
        reply = await post(s, message, client.headers_of(message, {}))
    accepted = reply.status == 202 and not reply.body
    s.require(
        accepted or (s.era == "modern" and reply.status >= 400),
        "a notification is not answered with status 202 and no body",
        "HTTP 202, no body",
        f"HTTP {reply.status}: {reply.body}",
    )


@scenario("http:body:invalid", clients=HTTP)
async def body(s: Session) -> None:
    modern = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
    reply = await exchange(s, "POST", '{"jsonrpc": "2.0", "id": 1,', modern if s.era == "modern" else await session(s))
    s.require(reply.status >= 400, "a body that is not JSON is not refused", "HTTP 400", f"HTTP {reply.status}")


@scenario("http:origin:forged", clients=HTTP)
async def origin(s: Session) -> None:
    await s.client()
    reply = await greet(s, FORGED)
    forbidden(s, reply.status, "a page of another origin")


def forbidden(s: Session, status: int, who: str, *also: int) -> None:
    """It was refused, since revision 2025-11-25 with status 403."""
    if s.revision < LEGACY:
        turned_away(s, status, who)
    else:
        right = (403, *also)
        what = " or ".join(f"HTTP {number}" for number in right)
        cause = SERVED if status < 300 else ""
        s.require(status in right, f"{who} is not refused with status 403", what, f"HTTP {status}", cause=cause)


@scenario("http:origin:verbs", clients=HTTP)
async def origin_verbs(s: Session) -> None:
    await s.client()
    headers = await session(s)
    for verb in ("GET", "DELETE"):
        reply = await exchange(s, verb, "", {**headers, **FORGED})
        forbidden(s, reply.status, f"a {verb} by a page of another origin", 405)


@scenario("http:origin:rebound", clients=HTTP)
async def origin_rebound(s: Session) -> None:
    here(s, s.place.url)
    message, headers = await greeting(s)
    status = await visit(s, "POST", s.place.url, {**JSON, **headers, **foreign(s.place.url)}, json.dumps(message))
    turned_away(s, status, "a page whose name was rebound to this machine")


@scenario("http:host:foreign", clients=HTTP)
async def host(s: Session) -> None:
    """As of a browser that sends no Origin: none does with a GET."""
    here(s, s.place.url)
    strange = foreign(s.place.url, origin=False)
    message, headers = await greeting(s)
    status = await visit(s, "POST", s.place.url, {**JSON, **headers, **strange}, json.dumps(message))
    turned_away(s, status, "a POST with the Host of somebody else")
    if s.era == "legacy":
        for verb in ("GET", "DELETE"):
            status = await visit(s, verb, s.place.url, {**STREAM, **await session(s), **strange})
            turned_away(s, status, f"a {verb} with the Host of somebody else")


@scenario("http:session:unknown", clients=HTTP)
async def session_unknown(s: Session) -> None:
    headers = await session(s)
    reply = await post(s, LIST, {**headers, "Mcp-Session-Id": "0123456789abcdef0123456789abcdef"})
    s.require(
        reply.status == 404 or "Mcp-Session-Id" not in headers,
        "an unknown session id is not answered with status 404",
        "HTTP 404",
        f"HTTP {reply.status}: {reply.body}",
    )


@scenario("http:session:deleted", clients=HTTP)
async def session_deleted(s: Session) -> None:
    headers = await session(s)
    deleted = await exchange(s, "DELETE", "", headers)
    reply = await post(s, LIST, headers)
    s.require(
        reply.status == 404 or deleted.status >= 400 or "Mcp-Session-Id" not in headers,
        "a deleted session is not answered with status 404",
        "HTTP 404",
        f"HTTP {reply.status}: {reply.body}",
    )


@scenario("http:session:header-missing", clients=HTTP)
async def session_missing(s: Session) -> None:
    headers = await session(s)
    issued = headers.pop("Mcp-Session-Id", None)
    reply = await post(s, LIST, headers)
    s.require(
        reply.status == 400 or issued is None or "result" in reply.message,
        "a request without its session id is not answered with status 400",
        "HTTP 400",
        f"HTTP {reply.status}: {reply.body}",
    )


@scenario("http:version:unsupported", clients=HTTP)
async def version(s: Session) -> None:
    reply = await post(s, LIST, {**await session(s), "MCP-Protocol-Version": "1999-01-01"})
    s.equal(reply.status, 400, "an unsupported MCP-Protocol-Version is not answered with status 400")


@scenario("http:get:stream-or-refused", clients=HTTP)
async def get(s: Session) -> None:
    reply = await exchange(s, "GET", "", {**await session(s), "Accept": "text/event-stream"})
    s.require(
        reply.status == 405 or (reply.status == 200 and reply.kind == "text/event-stream"),
        "a GET is answered neither with an event stream nor with status 405",
        "HTTP 200 text/event-stream, or HTTP 405",
        f"HTTP {reply.status} {reply.kind}",
    )


@scenario("http:get:second", servers=("changing", "asking"), clients=HTTP)
async def get_second(s: Session) -> None:
    """A stream that is refused, or ended by the second one, gets nothing; and nothing is told by who tells nothing."""
    headers = await session(s)
    await post(s, LIST, headers)
    headers = {**headers, "Accept": "text/event-stream"}
    async with anyio.create_task_group() as group:
        heard: list[list[str]] = [[], []]
        for stream in heard:
            await group.start(hear, s, headers, stream)
        for _ in range(2):
            async with changed(s, "tools"):
                await s.list("tools", "changing")
        with anyio.move_on_after(s.world.patience.bound(NOTICE_WAIT)):
            while not any(len(stream) >= 2 for stream in heard):
                await anyio.sleep(LOOK)
        await s.list("tools", "changing")
        group.cancel_scope.cancel()
    twice = [len(stream) for stream in heard]
    s.require(0 in twice or twice[0] != twice[1], "each notification is sent on both streams", "on one", twice)


async def hear(s: Session, headers: Mapping[str, str], heard: list[str], *, task_status: TaskStatus[None]) -> None:
    """Listen, as a legacy client; takes down what is told of changed tools, until it is over."""
    async with (
        http_client(timeout=None) as http,
        http.stream("GET", s.place.url, headers={**s.place.headers, **headers}) as response,
    ):
        task_status.started()
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            async for _, data in events(response):
                if LIST_CHANGED["tools"] in data:
                    heard.append(data)


@scenario("http:method-header:missing", clients=HTTP)
async def method_missing(s: Session) -> None:
    reply = await request(s, "tools/list", headers={"Mcp-Method": None})
    refused(s, reply, 400, HEADER_MISMATCH, "a request without Mcp-Method is not refused as the specification says")


@scenario("http:method-header:mismatch", clients=HTTP)
async def method_mismatch(s: Session) -> None:
    reply = await request(s, "tools/list", headers={"Mcp-Method": "prompts/list"})
    refused(s, reply, 400, HEADER_MISMATCH, "a wrong Mcp-Method is not refused as the specification says")


@scenario("http:name-header:mismatch", clients=HTTP)
async def name_mismatch(s: Session) -> None:
    params = s.tool_params("everything", "test_simple_text", {})
    reply = await request(s, "tools/call", params, {"Mcp-Name": params["name"] + "2"})
    refused(s, reply, 400, HEADER_MISMATCH, "a wrong Mcp-Name is not refused as the specification says")


@scenario("http:param-header:mirrored", clients=HTTP)
async def param_header(s: Session) -> None:
    """That a backend over HTTP answers shows that it got the header, too: it checks as well."""
    arguments = {"region": "north"}
    right = {"Mcp-Param-Region": "north"}
    s.saw("content", (await s.call_tool("everything", "test_x_mcp_header", arguments, headers=right)).result["content"])
    params = s.tool_params("everything", "test_x_mcp_header", arguments)
    for headers in ({"Mcp-Param-Region": "south"}, {}):
        reply = await request(s, "tools/call", params, headers)
        refused(s, reply, 400, HEADER_MISMATCH, f"with {headers or 'no Mcp-Param-Region'} the call is not refused")


@scenario("http:param-header:unknown", clients=HTTP, proxy_only=True)
async def param_unknown(s: Session) -> None:
    for tool, arguments in (("test_simple_text", {}), ("test_x_mcp_header", {"region": "north"})):
        params = s.tool_params("everything", tool, arguments)
        known = {f"Mcp-Param-{name}": value for name, value in arguments.items()}
        reply = await request(s, "tools/call", params, {**known, "Mcp-Param-Tenant": "acme"})
        answered = "content" in (reply.message.get("result") or {})
        s.require(answered, f"with a header that {tool} does not ask for it is not called", "a result", reply.body)


@scenario("http:disconnect:serves-on", servers=("slow", "stateful"), clients=("http", "sse"))
async def disconnect(s: Session) -> None:
    other = s.another()
    mine = await hold(s, "disconnect")
    await hold(other, "disconnect")
    await other.leave()
    await release(s, "disconnect")
    s.saw("content", (await s.outcome(mine, "slow")).result["content"])


@scenario("http:authorization:passthrough", clients=("http", "sse"), backends=("sse", "http"), proxy_only=True)
async def passthrough(s: Session) -> None:
    """A target that wants a token gets the one it knows; one that wants none has to keep it to itself as well."""
    known = httpx2.Headers(s.place.headers).get("Authorization")
    client = s.another(headers={} if known else {"Authorization": TOKEN})
    await client.call_tool("everything", "test_simple_text", {})
    await s.journal("everything").wait(lambda entry: entry.get("method") == "tools/call", "the call")
    authorized = [entry for entry in s.journal("everything").entries if entry["at"] == "authorized"]
    got = [entry["request"] for entry in authorized if entry["authorization"] == (known or TOKEN)]
    s.equal(got, [], "the backend got the client's token")


@scenario("sse:endpoint:event", clients=("sse",))
async def endpoint(s: Session) -> None:
    timeout = s.world.patience.bound(ANSWER_WAIT)
    async with (
        http_client(timeout=timeout) as http,
        http.stream("GET", s.place.url, headers={**s.place.headers, "Accept": "text/event-stream"}) as response,
    ):
        kind, data = await anext(events(response), ("no event", ""))
    s.run.wire.add("http", "received", f"event: {kind}\ndata: {data}")
    s.equal(kind, "endpoint", "the first event does not name the endpoint")
    s.require(data, "the endpoint event is empty", "a URI", data)


@scenario("sse:post:accepted", clients=("sse",))
async def post_accepted(s: Session) -> None:
    client = await s.client()
    call = await client.request("ping")
    await call.response()
    s.equal(call.status, 202, "a posted message is not answered with status 202")


@scenario("sse:origin:forged", clients=("sse",), proxy_only=True)
async def sse_origin(s: Session) -> None:
    status = await visit(s, "GET", s.place.url, {**s.place.headers, **STREAM, **FORGED})
    turned_away(s, status, "a connection by a page of another origin")


@scenario("sse:origin:messages", clients=("sse",), proxy_only=True)
async def sse_messages(s: Session) -> None:
    status = await posted(s, (await greeting(s))[0], lambda url: {**s.place.headers, **FORGED})
    turned_away(s, status, "a message by a page of another origin")


@scenario("sse:origin:rebound", clients=("sse",), proxy_only=True)
async def sse_rebound(s: Session) -> None:
    here(s, s.place.url)
    status = await posted(s, (await greeting(s))[0], foreign)
    turned_away(s, status, "a message by a page whose name was rebound to this machine")


@scenario("sse:host:foreign", clients=("sse",), proxy_only=True)
async def sse_host(s: Session) -> None:
    here(s, s.place.url)
    status = await visit(s, "GET", s.place.url, {**STREAM, **foreign(s.place.url, origin=False)})
    turned_away(s, status, "a connection with the Host of somebody else")
    status = await posted(s, (await greeting(s))[0], lambda url: foreign(url, origin=False))
    turned_away(s, status, "a message with the Host of somebody else")
