"""Scenarios of the area progress."""

import itertools
from collections.abc import Sequence

from conformance.client import Id
from conformance.session import Session
from conformance.wire import Message

from .registry import scenario

SERVERS = ("slow", "stateful")
PROGRESS = "notifications/progress"


@scenario("progress:token:own", servers=SERVERS)
async def own(s: Session) -> None:
    for token in ("the client's own", 4711):
        updates = await reported(s, [token])
        tokens = [update.get("progressToken") for update in updates]
        s.equal(tokens, [token] * 2, "progress did not come under the token of the client")


@scenario("progress:updates:order", servers=SERVERS)
async def order(s: Session) -> None:
    """Whether all came, and when, is for others to look at: here they must not fall back."""
    client = await s.client("slow")
    since = len(client.inbox)
    await s.call_tool("slow", "progress", {"steps": 5}, meta={"progressToken": "order"})
    await a_call_later(s)
    came = [(message.get("params") or {}).get("progress") for message in client.notifications(PROGRESS, since)]
    s.require(came, "no progress came")
    values = [float(value) if isinstance(value, int | float) else float("nan") for value in came]
    s.require(all(a < b for a, b in itertools.pairwise(values)), "progress does not increase", "1, 2, 3, 4, 5", came)


@scenario("progress:updates:late", servers=SERVERS)
async def late(s: Session) -> None:
    """Over legacy streamable HTTP they may come on another stream than the result, and none is before the other."""
    client = await s.client("slow")
    since = len(client.inbox)
    outcome = await s.call_tool("slow", "progress", {"steps": 5}, meta={"progressToken": "late"})
    await a_call_later(s)
    after = len(client.notifications(PROGRESS, since)) - len(outcome.of(PROGRESS))
    apart = s.era == "legacy" and s.case.client == "http"
    s.require(not after or apart, "progress came after the result", "none", f"{after} updates")


@scenario("progress:updates:fields", servers=SERVERS)
async def fields(s: Session) -> None:
    updates = await reported(s, ["fields"])
    known = [{key: number(update.get(key)) for key in ("progress", "total", "message")} for update in updates]
    s.saw("updates, in any order", sorted(known, key=str))


@scenario("progress:updates:apart", servers=SERVERS)
async def apart(s: Session) -> None:
    updates = await reported(s, ["one", "two"])
    tokens = sorted(str(update.get("progressToken")) for update in updates)
    s.equal(
        tokens, ["one", "one", "two", "two"], "of two calls at once, each did not get as much progress as the other"
    )
    for update in updates:
        own = f"call {update['progressToken']}"
        s.require(update.get("message") in (None, own), "a call got another's progress", own, update)


@scenario("progress:updates:unasked", servers=SERVERS)
async def unasked(s: Session) -> None:
    s.saw("updates", await reported(s, [None]))


@scenario("progress:client:astray", servers=SERVERS, proxy_only=True, needs=("shared endpoint",))
async def astray(s: Session) -> None:
    """A later call of each server shows that it had time to arrive there."""
    client = await s.client()
    for turn in range(2):
        for server, tool, arguments in (("slow", "progress", {"steps": 0}), ("stateful", "whoami", {})):
            await s.call_tool(server, tool, arguments)
        if not turn:
            await client.notify(PROGRESS, {"progressToken": "of no request", "progress": 1})
    for server in SERVERS:
        s.equal(s.journal(server).received(PROGRESS), [], f"{server} asked for no progress, and is told of some")


async def reported(s: Session, tokens: Sequence[Id | None]) -> list[Message]:
    """What is reported of as many calls as there are tokens, all in flight before each of them reports twice.

    What comes late counts as well.
    """
    client = await s.client("slow")
    since = len(client.inbox)
    room = {"room": f"progress {s.case}", "size": len(tokens)}
    calls = [
        await s.start(
            "slow",
            "rendezvous",
            {**room, "say": f"call {token}"},
            meta=None if token is None else {"progressToken": token},
        )
        for token in tokens
    ]
    for call in calls:
        s.require((await s.outcome(call, "slow")).result, "the call has an empty result")
    await a_call_later(s)
    return [message.get("params") or {} for message in client.notifications(PROGRESS, since)]


async def a_call_later(s: Session) -> None:
    """What belongs to an earlier call has come by the time it is answered."""
    await s.call_tool("slow", "progress", {"steps": 0})


def number(value: object) -> object:
    """A number is the same with and without its fraction of zero; anything else stays what it is."""
    return float(value) if isinstance(value, int) else value
