"""Scenarios of the area cancellation.

A modern client over HTTP gives a call up by closing its response stream, any other by a notification.
"""

from collections.abc import Callable

from conformance.client import ANSWER_WAIT, Call
from conformance.session import Outcome, Session
from conformance.verdict import told_by
from conformance.wire import Message

from .registry import scenario

SERVERS = ("slow", "stateful")


@scenario("cancellation:notification:reaches", servers=SERVERS, eras=("legacy",), remembers=True)
async def reaches(s: Session) -> None:
    await give_up(s, await waiting(s, "reaches"))
    await cancelled(s, "reaches")


@scenario("cancellation:notification:reaches", servers=SERVERS, eras=("modern",), clients=("stdio",))
async def reaches_modern(s: Session) -> None:
    await give_up(s, await waiting(s, "reaches"))
    await cancelled(s, "reaches")


@scenario("cancellation:notification:id", servers=SERVERS, eras=("legacy",), remembers=True)
async def known(s: Session) -> None:
    await known_id(s)


@scenario("cancellation:notification:id", servers=SERVERS, eras=("modern",), clients=("stdio",))
async def known_modern(s: Session) -> None:
    await known_id(s)


@scenario("cancellation:response:dropped", servers=SERVERS, proxy_only=True, remembers=True)
async def dropped(s: Session) -> None:
    """The backend answers all the same, if its transport lets it.

    Over legacy streamable HTTP an error may come: there a response stream "SHOULD eventually include" a response.
    """
    client = await s.client("slow")
    call = await waiting(s, "dropped", tool="late")
    await give_up(s, call)
    await a_call_later(s)
    await s.call_tool("slow", "release", {"label": label(s, "dropped")})
    await a_call_later(s)
    answers = [message for message in client.inbox if "method" not in message and message.get("id") == call.id]
    if s.case.client == "http":
        answers = [message for message in answers if "error" not in message]
    s.equal(answers, [], "a cancelled call was answered")


@scenario("cancellation:stream:closed", servers=SERVERS, clients=("http",))
async def closed(s: Session) -> None:
    await (await waiting(s, "closed")).hang_up()
    await cancelled(s, "closed")


@scenario("cancellation:client:vanished", servers=SERVERS, clients=("sse", "http"), eras=("legacy",), remembers=True)
async def vanished(s: Session) -> None:
    """Over streamable HTTP a client is gone only when it has ended its session."""
    other = s.another()
    await waiting(other, "vanished")
    client = await other.client("slow")
    if client.transport == "http" and not await client.end_session():
        s.require(not client.closed, "a target without sessions ended one")
        return
    await other.leave()
    await cancelled(s, "vanished")


@scenario("cancellation:unknown:ignored", servers=SERVERS)
async def unknown(s: Session) -> None:
    client = await s.client("slow")
    since = len(client.inbox)
    for number in (987654, "nobody's"):
        await client.notify("notifications/cancelled", {"requestId": number})
    s.saw("a call after it", (await a_call_later(s)).result.get("content"))
    s.equal(len(client.inbox) - since, 1, "something came besides the response to that call")


@scenario("cancellation:others:unharmed", servers=SERVERS)
async def others(s: Session) -> None:
    kept, given_up = await waiting(s, "kept"), await waiting(s, "given up")
    await give_up(s, given_up)
    await goes_on(s, kept, "kept")


@scenario("cancellation:others:unharmed", servers=SERVERS, clients=("sse", "http"))
async def other_clients(s: Session) -> None:
    """The other client's call has the same id."""
    other = s.another()
    kept, given_up = await waiting(other, "kept elsewhere", id=4711), await waiting(s, "given up here", id=4711)
    await give_up(s, given_up)
    await goes_on(other, kept, "kept elsewhere")


def label(s: Session, what: str) -> str:
    """What a call waits for. It belongs to one case, since fixture servers outlive cases."""
    return f"{what}, {s.case}"


def about(s: Session, what: str) -> Callable[[Message], bool]:
    """Whether an entry of the journal is about the call that waits for this."""

    def matches(entry: Message) -> bool:
        called = entry.get("params") or entry
        return (called.get("arguments") or {}).get("label") == label(s, what)

    return matches


async def waiting(s: Session, what: str, *, tool: str = "wait", id: int | None = None) -> Call:
    """A call that has reached its backend, and is not answered before its label is released."""
    call = await s.start("slow", tool, {"label": label(s, what)}, id=id)
    waits, journal = about(s, what), s.journal("slow")
    await journal.wait(lambda entry: entry["at"] == "waits" and waits(entry), "the call", ANSWER_WAIT)
    return call


async def a_call_later(s: Session) -> Outcome:
    """A call that is answered at once. What was sent before it has had its effect by then."""
    return await s.call_tool("slow", "progress", {"steps": 0})


async def give_up(s: Session, call: Call) -> None:
    """As the client's transport and era have it."""
    if s.era == "modern" and s.case.client == "http":
        await call.hang_up()
    else:
        await call.cancel()


async def cancelled(s: Session, what: str) -> None:
    """This call was cancelled at its backend."""
    call = await s.journal("slow").wait(about(s, what), "the call")
    entry = await s.journal("slow").wait(lambda entry: over(s, what, call, entry), "the cancellation of the call")
    s.require(entry, "the call was not cancelled")


def over(s: Session, what: str, call: Message, entry: Message) -> bool:
    """Whether an entry of the journal says that a call was given up; or that its process ended, which is as good."""
    if entry["at"] == "ended":
        return bool(entry["pid"] == call["pid"])
    return entry["at"] == "cancelled" and about(s, what)(entry)


async def known_id(s: Session) -> None:
    """A backend that is not reached by notification (modern, over HTTP) is told no id at all."""
    await give_up(s, await waiting(s, "known"))
    journal = s.journal("slow")
    call = await journal.wait(about(s, "known"), "the call")
    with told_by("cancellation:notification:reaches"):
        await journal.wait(
            lambda entry: entry.get("method") == "notifications/cancelled" or over(s, "known", call, entry),
            "the cancellation of the call",
        )
    told = [(notice.get("params") or {}).get("requestId") for notice in journal.received("notifications/cancelled")]
    s.equal(told, [call["id"]] * len(told), "the cancellation names an id that the backend does not know")


async def goes_on(s: Session, call: Call, what: str) -> None:
    """A call that waits is answered once it is released."""
    await a_call_later(s)
    s.require(not call.done, "the call of which nobody said anything has ended")
    await s.call_tool("slow", "release", {"label": label(s, what)})
    outcome = await s.outcome(call, "slow")
    s.equal(outcome.result.get("content"), [{"type": "text", "text": label(s, what)}], "its result is another")
