"""Scenarios of the area isolation. Several clients of one target are there over HTTP only."""

from collections.abc import Sequence
from contextlib import suppress

from conformance.case import Transport
from conformance.client import ANSWER_WAIT
from conformance.fixtures import Server
from conformance.session import Session
from conformance.verdict import Failure, told_by
from conformance.wire import Message

from .holding import hold, release
from .registry import scenario

SHARED = ("slow", "stateful")
SEVERAL: tuple[Transport, ...] = ("sse", "http")
STDIO: tuple[Transport, ...] = ("stdio",)
CRASHING = ("crashing", "slow")


def failed(response: Message) -> bool:
    """Whether a response says that something went wrong."""
    result = response.get("result")
    return "error" in response or (isinstance(result, dict) and bool(result.get("isError")))


def responses(inbox: Sequence[Message]) -> list[Message]:
    return [message for message in inbox if "method" not in message]


async def up(s: Session, server: str, tool: str, arguments: Message | None = None, what: str = "") -> Message:
    """The first result of a tool of a server that may be starting still; `what` says what is wrong if none comes."""
    results: list[Message] = []

    async def answers() -> bool:
        response = (await s.call_tool(server, tool, arguments or {})).response
        if not failed(response):
            results.append(response["result"])
        return bool(results)

    await s.until(answers, what or f"'{server}' does not serve")
    return results[0]


async def goes_on(s: Session) -> None:
    """The server that did something wrong still answers calls."""
    content = (await s.call_tool("mirror", "big", {"size": 3})).result["content"]
    s.equal(content, [{"type": "text", "text": "012"}], "the next call of the server has another result")


@scenario("isolation:clients:same-ids", servers=SHARED, clients=SEVERAL)
async def same_ids(s: Session) -> None:
    other = s.another()
    mine = await hold(s, "first", id="same")
    with told_by("isolation:calls:behind-others"):
        theirs = await hold(other, "second", id="same")
    await release(other, "second", id="release")
    await release(s, "first", id="release")
    s.saw("first", (await s.outcome(mine, "slow")).result["content"])
    s.saw("second", (await other.outcome(theirs, "slow")).result["content"])


@scenario("isolation:clients:results", servers=SHARED, clients=SEVERAL)
async def results(s: Session) -> None:
    """The calls end in another order than they began."""
    other = s.another()
    mine = await hold(s, "mine", id="call-mine")
    with told_by("isolation:calls:behind-others"):
        theirs = await hold(other, "theirs", id="call-theirs")
    clients = {"mine": await s.client("slow"), "theirs": await other.client("slow")}
    before = {whose: len(client.inbox) for whose, client in clients.items()}
    await release(other, "theirs", id="release-theirs")
    await release(s, "mine", id="release-mine")
    s.saw("mine", (await s.outcome(mine, "slow")).result["content"])
    s.saw("theirs", (await other.outcome(theirs, "slow")).result["content"])
    for whose, client in clients.items():
        ids = sorted(str(message.get("id")) for message in responses(client.inbox[before[whose] :]))
        s.saw(f"ids of the responses to {whose}", ids)


@scenario("isolation:clients:progress", servers=SHARED, clients=SEVERAL)
async def progress(s: Session) -> None:
    other = s.another()
    meta = {"progressToken": "same"}
    waiting = await hold(other, "progress", meta=meta)
    await s.call_tool("slow", "progress", {"steps": 3}, meta=meta)
    await release(other, "progress")
    await other.outcome(waiting, "slow")
    s.saw("of others", (await other.client("slow")).notifications("notifications/progress"))


@scenario("isolation:backends:crash-call", servers=CRASHING, proxy_only=True, own=True)
async def crash_call(s: Session) -> None:
    await up(s, "crashing", "pid")
    response = (await s.call_tool("crashing", "crash", {})).response
    s.require(failed(response), "the call whose backend died got no error", "an error", response)


@scenario("isolation:backends:crash-others", servers=CRASHING, proxy_only=True, own=True)
async def crash_others(s: Session) -> None:
    await up(s, "crashing", "pid")
    await up(s, "slow", "progress", {"steps": 0})
    call = await hold(s, "crash")
    await s.call_tool("crashing", "crash", {})
    await release(s, "crash")
    content = (await s.outcome(call, "slow")).result["content"]
    s.equal(content, [{"type": "text", "text": "crash"}], "a call in flight at another server did not end well")


@scenario("isolation:backends:crash-recovers", servers=CRASHING, backends=STDIO, proxy_only=True, own=True)
async def crash_recovers(s: Session) -> None:
    before = await up(s, "crashing", "pid")
    await s.call_tool("crashing", "crash", {})
    after = await up(s, "crashing", "pid", what="the server that crashed is not started again")
    s.require(after["content"] != before["content"], "the process that crashed still answers", "another pid", after)


@scenario("isolation:backends:crash-restarts", servers=CRASHING, backends=STDIO, proxy_only=True, own=True)
async def crash_restarts(s: Session) -> None:
    """A client begins a new session where the old one has ended: by its connection, or by a status that refuses it."""
    before = await up(s, "crashing", "pid")
    await s.start("crashing", "crash", {})
    serving = s

    async def another_answers() -> bool:
        nonlocal serving
        call = await serving.start("crashing", "pid", {})
        with suppress(Failure):
            response = await call.response()
            return not failed(response) and response["result"]["content"] != before["content"]
        if (await serving.client("crashing")).closed or 400 <= (call.status or 0) < 500:
            serving = s.another()
        return False

    await s.until(another_answers, "the server that crashed is not started again")


QUEUE_WAIT = 8.0
"""Seconds in which a call has to be answered that waits for nothing but itself."""


async def answered_meanwhile(s: Session, whose: str) -> None:
    """Calls are answered though one is held, of the client named so."""
    for server, tool, arguments in (("slow", "progress", {"steps": 0}), ("stateful", "recall", {"key": "any"})):
        where = "the same server" if server == "slow" else "another server"
        call = await s.start(server, tool, arguments)
        try:
            await call.response(QUEUE_WAIT)
        except Failure as failure:
            what = f"a call at {where} is not answered while one of {whose} is held"
            raise Failure(what, "an answer meanwhile", failure.message) from None
        s.require(call.done, "it is answered")


@scenario("isolation:calls:behind-own", servers=SHARED, proxy_only=True)
async def behind_own(s: Session) -> None:
    call = await hold(s, "behind own")
    await answered_meanwhile(s, "the same client")
    await release(s, "behind own")
    await s.outcome(call, "slow")


@scenario("isolation:calls:behind-others", servers=SHARED, clients=SEVERAL, proxy_only=True)
async def behind_others(s: Session) -> None:
    other = s.another()
    call = await hold(other, "behind others")
    await answered_meanwhile(s, "another client")
    await release(other, "behind others")
    await other.outcome(call, "slow")


@scenario(
    "isolation:backends:start-failure",
    servers=(Server("failing", file="crashing", args=("--at", "start")), "mirror"),
    backends=STDIO,
    proxy_only=True,
    own=True,
)
async def start_failure(s: Session) -> None:
    await up(s, "mirror", "big", {"size": 3})


@scenario(
    "isolation:backends:slow-start",
    servers=(Server("late", file="slow", args=("--delay", "12")), "mirror"),
    proxy_only=True,
    own=True,
)
async def slow_start(s: Session) -> None:
    """It is looked at whether the slow one has read its first message, rather than at a clock.

    The delay is longer than many proxies let a client wait, and shorter than a client waits here.
    """
    await up(s, "mirror", "big", {"size": 3})
    read = [entry["method"] for entry in s.journal("late").entries if entry["at"] == "received"]
    s.equal(read, [], "the other server was served only after the slow one")


def ignored(entry: Message) -> bool:
    return entry.get("method") == "tools/call" and entry["params"].get("name") == "ignore"


@scenario("isolation:backends:hang-call", servers=("silent", "mirror"), proxy_only=True)
async def hang_call(s: Session) -> None:
    await up(s, "silent", "hello")
    await s.start("silent", "ignore", {})
    await s.journal("silent").wait(ignored, "the call", ANSWER_WAIT)
    await goes_on(s)


@scenario("isolation:backends:notices", servers=("asking", "changing"), proxy_only=True)
async def notices(s: Session) -> None:
    """It tells of the change, and that it is taken back, before it answers the call for it."""
    change = {"kind": "tools", "name": "noticed"}
    for tool, arguments in (("change", change), ("change", change), ("touch", {"uri": "changing://nothing"})):
        response = (await s.call_tool("changing", tool, arguments)).response
        s.require(not failed(response), "a server that told of a change is not served", "a result", response)


@scenario(
    "isolation:backends:hang-list",
    servers=(Server("listless", file="silent", args=("--on", "tools/list")), "mirror"),
    proxy_only=True,
    own=True,
)
async def hang_list(s: Session) -> None:
    async def listed() -> bool:
        return bool(await s.list("tools", "mirror"))

    await s.until(listed, "the tools of the other server are not listed")


@scenario(
    "isolation:backends:hang-initialize",
    servers=(Server("mute", file="silent", args=("--on", "initialize", "--on", "server/discover")), "mirror"),
    proxy_only=True,
    own=True,
)
async def hang_initialize(s: Session) -> None:
    await up(s, "mirror", "big", {"size": 3})


@scenario("isolation:backends:garbage", servers=("mirror", "stateful"), backends=STDIO, proxy_only=True, own=True)
async def garbage(s: Session) -> None:
    await up(s, "mirror", "big", {"size": 3})
    content = (await s.call_tool("mirror", "garbage", {})).result["content"]
    s.equal(content, [{"type": "text", "text": "garbage"}], "the call has another result")
    await goes_on(s)


@scenario("isolation:backends:malformed-result", servers=("mirror", "stateful"), proxy_only=True, own=True)
async def malformed_result(s: Session) -> None:
    await up(s, "mirror", "big", {"size": 3})
    response = (await s.call_tool("mirror", "list_result", {})).response
    s.require(failed(response), "a result that is no object did not become an error", "an error", response)
    await goes_on(s)


@scenario("isolation:backends:respelled-id", servers=("verbatim",), proxy_only=True, own=True)
async def respelled(s: Session) -> None:
    await up(s, "verbatim", "take", {"exact": 1})
    for spelled in ("float", "string"):
        content = (await s.call_tool("verbatim", "respell", {"id": spelled})).result["content"]
        s.equal(content, [{"type": "text", "text": "respelled"}], f"answered under a {spelled}, the call has no result")


@scenario("isolation:backends:wrong-answer", servers=("verbatim",), proxy_only=True, own=True)
async def wrong_answer(s: Session) -> None:
    await up(s, "verbatim", "take", {"exact": 1})
    for kind in ("neither", "null result", "text for an error", "error without a code", "list for a result"):
        response = (await s.call_tool("verbatim", "wrong", {"kind": kind})).response
        s.require(failed(response), f"{kind}: the call did not become an error", "an error", response)
        content = (await s.call_tool("verbatim", "take", {"exact": 2})).result["content"]
        s.equal(content, [{"type": "text", "text": "taken"}], f"{kind}: the next call has another result")


@scenario(
    "isolation:backends:stranger-id",
    servers=("mirror", "stateful"),
    backends=("stdio", "sse"),
    proxy_only=True,
    own=True,
)
async def stranger(s: Session) -> None:
    await up(s, "mirror", "big", {"size": 3})
    client = await s.client("mirror")
    before = len(client.inbox)
    content = (await s.call_tool("mirror", "stranger", {})).result["content"]
    s.equal(content, [{"type": "text", "text": "stranger"}], "the call has another result")
    await goes_on(s)
    s.equal(len(responses(client.inbox[before:])), 2, "the client got an answer that it did not ask for")
