"""Scenarios of the area servers: one server each that is odd in one way (`odd.py`).

A backend that is odd has to be of use: what is looked at is a call, a list or a notification, never how the proxy came
by it.
"""

from collections.abc import Sequence
from typing import Any

from conformance.case import Transport
from conformance.client import NOTICE_WAIT, shown
from conformance.fixtures import Server
from conformance.session import Session
from conformance.target import SECRET
from conformance.verdict import Failure, NotApplicable
from conformance.wire import Message

from .isolation import STDIO, failed, up
from .registry import scenario
from .watching import LIST_CHANGED

ALONE: dict[str, Any] = {"proxy_only": True, "own": True}
HTTP: tuple[Transport, ...] = ("http",)
SSE: tuple[Transport, ...] = ("sse",)
NETWORK: tuple[Transport, ...] = ("sse", "http")

CODE = -31999
TEXT = "é \u2028 \u0085 ☃"
LINES = ("CRLF", "in pieces", "two at once")
EVENTS = (
    *LINES,
    "CR",
    "comments",
    "no blank after the colon",
    "no type",
    "an id and a retry",
    "an event without data",
    "several lines of data",
    "blank lines",
)


def odd(name: str, *args: str, legacy: bool = False) -> Server:
    """A server that is odd in the way that its options say."""
    return Server(name, file="odd", args=args, era="legacy" if legacy else "both")


async def used(s: Session, server: str, what: str = "") -> None:
    """A server can be used, now or soon."""
    content = (await up(s, server, "hello", what=what)).get("content")
    s.equal(content, [{"type": "text", "text": "hello"}], f"'{server}' answers otherwise")


async def offered(s: Session, server: str, name: str = "hello") -> bool:
    """Whether a tool is listed; a list that cannot be read, now, lists nothing."""
    return name in [tool.get("name") for tool in await listed(s, server)]


async def listed(s: Session, server: str) -> list[Message]:
    """The tools that are listed of a server, under its own names, whatever else is listed."""
    try:
        found: list[Any] = await s.merged("tools", server)
    except Failure:
        return []
    named = [(tool, s.scheme.own("tool", server, str(tool.get("name")))) for tool in found if isinstance(tool, dict)]
    return [{**tool, "name": name} for tool, name in named if name is not None]


@scenario(
    "servers:redirect:followed",
    servers=(odd("moved", "--redirect", "307"), odd("away", "--redirect", "308")),
    backends=NETWORK,
    proxy_only=True,
    own=True,
)
async def redirected(s: Session) -> None:
    for server, status in (("moved", 307), ("away", 308)):
        await used(s, server, f"a server that redirects with {status} within its origin cannot be used")


@scenario(
    "servers:redirect:elsewhere",
    servers=(odd("leading", "--sessions", legacy=True),),
    backends=HTTP,
    proxy_only=True,
    own=True,
)
async def elsewhere(s: Session) -> None:
    """What becomes of the call is open: the other origin may be asked, without a session, or not at all."""
    await used(s, "leading")
    await s.call_tool("leading", "away", {})
    sent = [entry["session"] for entry in s.journal("leading").entries if entry["at"] == "elsewhere"]
    s.equal([session for session in sent if session], [], "another origin was sent the session id")


@scenario("servers:status:unknown-method", servers=(odd("status"),), backends=HTTP, proxy_only=True)
async def unknown_method(s: Session) -> None:
    """Only the newest revision answers an unknown method so; to an earlier one such a status ends a session."""
    await s.call_tool("status", "hello", {})
    if any(entry["era"] == "legacy" for entry in s.journal("status").received("tools/call")):
        raise NotApplicable("it speaks the legacy era to the server")
    await error_of_status(s, 404, -32601)


@scenario("servers:status:error", servers=(odd("status"),), backends=HTTP, proxy_only=True)
async def error_status(s: Session) -> None:
    for status in (400, 404, 422, 500, 503):
        await error_of_status(s, status, CODE)


async def error_of_status(s: Session, status: int, code: int) -> None:
    """An error arrives that came with this status, and does no harm to the next call.

    Its message tells that it is this one. That its code stays, and it an error, is required of errors of any status.
    """
    response = (await s.call_tool("status", "fail", {"status": status, "code": code})).response
    arrived = failed(response) and "as asked" in shown(response)
    s.require(arrived, f"an error that came with status {status} is another one", "the message 'as asked'", response)
    content = (await s.call_tool("status", "hello", {})).result.get("content")
    s.equal(content, [{"type": "text", "text": "hello"}], f"the call after status {status} has another result")


@scenario(
    "servers:session:lost",
    servers=(odd("forgetful", "--sessions", legacy=True),),
    backends=HTTP,
    proxy_only=True,
    own=True,
)
async def session_lost(s: Session) -> None:
    """The first call afterwards may fail: it is for the proxy to say whether it may be sent twice."""
    await used(s, "forgetful")
    await s.call_tool("forgetful", "forget", {})
    await used(s, "forgetful", "a server that has forgotten the session cannot be used again")


@scenario(
    "servers:listening:refused", servers=(odd("deaf", "--get", "405", legacy=True),), backends=HTTP, proxy_only=True
)
async def refused(s: Session) -> None:
    await used_twice(s, "deaf")


@scenario(
    "servers:listening:refused-otherwise",
    servers=(
        odd("bad", "--get", "400", "--sessions", legacy=True),
        odd("missing", "--get", "404", "--sessions", legacy=True),
        odd("unable", "--get", "501", legacy=True),
    ),
    backends=HTTP,
    proxy_only=True,
)
async def refused_otherwise(s: Session) -> None:
    for server in ("bad", "missing", "unable"):
        await used_twice(s, server)


async def used_twice(s: Session, server: str) -> None:
    """Now or soon; and then it stays so."""
    await used(s, server, f"'{server}', which refuses a GET, cannot be used")
    for _ in range(3):
        response = (await s.call_tool(server, "hello", {})).response
        s.require(not failed(response), f"'{server}', which refuses a GET, cannot be used for long", "hello", response)


@scenario("servers:listening:again", servers=(odd("restless", legacy=True),), backends=HTTP, proxy_only=True, own=True)
async def listens_again(s: Session) -> None:
    """Only of a proxy that told of a change before; others keep, or not, to what is required of changes."""
    await used(s, "restless")
    if not await told(s, "before"):
        s.require(True, "nothing was told before")
        return
    await s.call_tool("restless", "hang_up", {})
    s.journal("restless").mark()
    await s.journal("restless").wait(lambda entry: entry["at"] == "listening", "a new stream", AGAIN_WAIT)
    s.require(await told(s, "after"), "after the stream of a backend ended, nothing is told any more")


AGAIN_WAIT = 10.0
"""Seconds in which a stream that ended is opened again: longer than clients pause before they try."""


async def told(s: Session, name: str) -> bool:
    """Have a tool added; whether the client is told."""
    client = await s.client("restless")
    since = len(client.inbox)
    await s.call_tool("restless", "change", {"name": name})
    try:
        await client.wait(lambda message: message.get("method") == LIST_CHANGED["tools"], "the notification", since)
    except Failure:
        return False
    return True


@scenario("servers:listening:missed", servers=(odd("restless", legacy=True),), backends=HTTP, proxy_only=True, own=True)
async def missed(s: Session) -> None:
    """The change is there before the stream can be: both come about in one call after the other, at the server."""
    await used(s, "restless")
    await s.list("tools", "restless")  # a proxy may keep it from now on
    await s.call_tool("restless", "hang_up", {})
    await s.call_tool("restless", "change", {"name": "missed"})
    await s.until(lambda: offered(s, "restless", "missed"), "a tool that was added meanwhile is not listed")


@scenario("servers:connection:again", servers=(odd("restless", legacy=True),), backends=SSE, proxy_only=True, own=True)
async def connects_again(s: Session) -> None:
    await used(s, "restless")
    await s.call_tool("restless", "hang_up", {})
    await used(s, "restless", "a server whose connection ended cannot be used again")


@scenario("servers:stream:spelled", servers=(odd("writing"),), backends=HTTP, proxy_only=True)
async def spelled_over_http(s: Session) -> None:
    await read_all(s, ("a byte order mark", *EVENTS))


@scenario("servers:stream:spelled", servers=(odd("writing"),), backends=SSE, proxy_only=True)
async def spelled_over_sse(s: Session) -> None:
    await read_all(s, EVENTS)


@scenario("servers:stream:lines", servers=(odd("writing"),), backends=STDIO, proxy_only=True)
async def lines(s: Session) -> None:
    await read_all(s, LINES)


async def read_all(s: Session, kinds: Sequence[str]) -> None:
    """An answer is read, in whichever of these ways it is written."""
    for kind in kinds:
        call = await s.start("writing", "spelled", {"kind": kind})
        try:
            content = (await s.outcome(call, "writing")).result.get("content")
        except Failure as failure:
            raise Failure(f"written with {kind}, an answer is lost", TEXT, failure.message) from None
        s.equal(content, [{"type": "text", "text": TEXT}], f"written with {kind}, an answer is another one")


@scenario("servers:batch:taken", servers=(odd("batching", "--batches", legacy=True),), proxy_only=True, own=True)
async def batch(s: Session) -> None:
    """A proxy that does not speak that revision does not use such a server: then it does not greet it to the end."""
    call = await s.start("batching", "hello", {})
    said: object
    try:
        said = (await s.outcome(call, "batching")).response
        wrong = failed(said)
    except Failure as failure:
        said, wrong = failure.message, True
    greeted = s.journal("batching").received("notifications/initialized")
    s.require(not (wrong and greeted), "an answer in a batch did not reach its client", "the result", said)


@scenario("servers:list:failed-once", servers=(odd("waking", "--list", "fails-once"),), proxy_only=True, own=True)
async def failed_once(s: Session) -> None:
    await s.until(lambda: offered(s, "waking"), "the tools of a server whose list failed once are not offered")


@scenario("servers:list:unusable", servers=(odd("careless", "--list", "unusable"),), proxy_only=True)
async def unusable(s: Session) -> None:
    await s.until(lambda: offered(s, "careless"), "tools beside one that is none are not offered")


@scenario("servers:list:schema", servers=(odd("careless", "--list", "unusable"),), proxy_only=True)
async def schema(s: Session) -> None:
    """Whoever leaves out all of this server, or refuses to list it, lists nothing that is wrong."""
    response = (await s.request("careless", "tools/list")).response
    tools: list[Any] = (response.get("result") or {}).get("tools", [])
    wrong = [tool for tool in tools if not isinstance(tool, dict) or not isinstance(tool.get("inputSchema"), dict)]
    s.equal(wrong, [], "what is listed is no tool")


def asked(s: Session, server: str) -> dict[str, set[str]]:
    """The ids under which a server asked, by method."""
    sent = [entry["message"] for entry in s.journal(server).everything if entry["at"] == "sent"]
    asked: dict[str, set[str]] = {}
    for message in sent:
        if isinstance(message, dict) and {"method", "id"} <= message.keys():
            asked.setdefault(message["method"], set()).add(message["id"])
    return asked


async def answers(s: Session, server: str, *methods: str) -> dict[str, Message]:
    """The answers to what a server asked as soon as it was greeted, by method; then it is used.

    Raises:
        Failure: one is not answered, or the server does not serve.
        NotApplicable: it was never asked, for want of a stream or of what the proxy declares.
    """
    await used(s, server, "a server that asks right after the handshake does not serve")
    given: dict[str, Message] = {}
    for method in methods:

        async def answered(method: str = method) -> bool:
            told = [entry["message"] for entry in s.journal(server).everything if entry["at"] == "answered"]
            got = [answer for answer in told if answer.get("id") in asked(s, server)[method]]
            given.update({method: got[0]} if got else {})
            return bool(got)

        if method in asked(s, server):
            what = "right after the handshake is not answered"
            await s.until(answered, f"{method} {what}", NOTICE_WAIT, cause=f"what a server asks {what}")
    if not given:
        raise NotApplicable("the server was never in a position to ask: for want of a stream, or of a declaration")
    return given


@scenario("servers:question:early", servers=(odd("asking", "--asks", "roots/list", legacy=True),), **ALONE)
async def early(s: Session) -> None:
    await answers(s, "asking", "roots/list")


@scenario("servers:question:ping", servers=(odd("pinging", "--asks", "ping", legacy=True),), **ALONE)
async def early_ping(s: Session) -> None:
    answer = (await answers(s, "pinging", "ping"))["ping"]
    s.equal(answer.get("result"), {}, "a ping right after the handshake has no empty result")


UNDECLARED = ("roots/list", "elicitation/create", "sampling/createMessage")


@scenario(
    "servers:question:undeclared",
    servers=(odd("curious", "--insists", *(part for asked in UNDECLARED for part in ("--asks", asked)), legacy=True),),
    **ALONE,
)
async def early_undeclared(s: Session) -> None:
    await answers(s, "curious", *UNDECLARED)
    await used(s, "curious")


SETTING = "CONFORMANCE_SETTING"
KEYS = {"authorization": "Bearer of-this-server", "key": "of this server"}
HEADERS = (("Authorization", KEYS["authorization"]), ("X-Fixture-Key", KEYS["key"]))
CONFIGURED = Server("configured", file="silent", env=((SETTING, "of this server"),), headers=HEADERS)


async def environment(s: Session) -> dict[str, str]:
    """What concerns the harness in the environment of the server, all its processes together."""
    await up(s, "configured", "hello")
    started = [entry["environ"] for entry in s.journal("configured").whole if entry["at"] == "started"]
    return {name: value for environ in started for name, value in environ.items()}


@scenario("servers:environment:configured", servers=(CONFIGURED,), backends=STDIO, proxy_only=True, needs=("env",))
async def environment_configured(s: Session) -> None:
    value = (await environment(s)).get(SETTING)
    s.equal(value, "of this server", "a variable that the configuration sets did not reach the server")


@scenario("servers:environment:private", servers=(CONFIGURED,), backends=STDIO, proxy_only=True, needs=("start",))
async def environment_private(s: Session) -> None:
    value = (await environment(s)).get(SECRET)
    s.equal(value, None, "a variable of the proxy's own environment reached a server")


@scenario("servers:headers:configured", servers=(CONFIGURED,), backends=NETWORK, proxy_only=True, needs=("headers",))
async def headers_configured(s: Session) -> None:
    """Over HTTP the client sends headers of its own under the same names, unless the target needs them."""
    client = s
    if s.case.client != "stdio":
        own = {"Authorization": "Bearer of-the-client", "X-Fixture-Key": "of the client"}
        client = s.another(headers={name: value for name, value in own.items() if name not in s.place.headers})
    await up(client, "configured", "hello")
    told = [entry for entry in s.journal("configured").whole if entry["at"] == "authorized"]
    s.require(told, "no header that the configuration sets reached the server", shown(KEYS), "no such header")
    for entry in told:
        got = {key: entry[key] for key in KEYS}
        s.equal(got, KEYS, f"the headers of {entry['request']} are not those of the configuration")
    if s.case.backend == "http":
        posted = sum(entry["request"].startswith("POST") for entry in told)
        arrived = sum(entry["at"] == "received" for entry in s.journal("configured").whole)
        s.equal(posted, arrived, "some requests to the server lack the headers that the configuration sets")


@scenario(
    "servers:stderr:flood", servers=(odd("talking", "--chatter", "1"),), backends=STDIO, proxy_only=True, own=True
)
async def flood(s: Session) -> None:
    await used(s, "talking", "a server that writes much to stderr does not serve")
    for _ in range(3):
        await used(s, "talking")
