"""Scenarios of the area progress."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from conformance.client import NOTICE_WAIT, Client, Id, Received
from conformance.session import Session
from conformance.verdict import Failure, NotApplicable
from conformance.wire import Message

from .registry import scenario

SERVERS = ("slow", "stateful")
PROGRESS = "notifications/progress"
STEPS = 5
SENT = [float(step) for step in range(1, STEPS + 1)]
ALONE, TOGETHER = 12, 8
"""Calls: if every fourth keeps all its updates, one of a million runs does not show it."""
T = TypeVar("T")


@scenario("progress:token:own", servers=SERVERS)
async def own(s: Session) -> None:
    for token in ("the client's own", 4711):
        for update in some(await reported(s, [token])):
            s.equal(update.get("progressToken"), token, "progress did not come under the token of the client")


@scenario("progress:updates:order", servers=SERVERS)
async def order(s: Session) -> None:
    """Whether all came, and when, is for others to look at: here they must not fall back."""
    (call,) = await followed(s, ["order"])
    some(call.updates)
    call.increases(s)


@scenario("progress:updates:late", servers=SERVERS)
async def late(s: Session) -> None:
    """Over legacy streamable HTTP they may come on another stream than the result, and none is before the other."""
    (call,) = await followed(s, ["late"])
    some(call.updates)
    call.ends(s)


@scenario("progress:updates:fields", servers=SERVERS)
async def fields(s: Session) -> None:
    for update in some(await reported(s, ["fields"])):
        known = {key: number(update.get(key)) for key in ("progress", "total", "message")}
        sent = {"progress": 1.0 if known["progress"] == 1.0 else 2.0, "total": 2.0, "message": "call fields"}
        s.equal(known, sent, "an update differs from what the server sent")


@scenario("progress:updates:apart", servers=SERVERS)
async def apart(s: Session) -> None:
    for update in some(await reported(s, ["one", "two"])):
        own = f"call {update['progressToken']}"
        s.require(update.get("message") in (None, own), "a call got another's progress", own, update)


@scenario("progress:updates:all", servers=SERVERS)
async def every(s: Session) -> None:
    """So many that what is lost by chance is lost here. Each is looked at before the next, since what does not come is
    waited for."""
    first = [update for token in ("once", "twice") for call in await followed(s, [token]) for update in call.updates]
    s.require(first, "no progress comes at all", f"{2 * STEPS} updates of two calls")
    for tokens in (*([f"alone {number}"] for number in range(ALONE)), [f"together {n}" for n in range(TOGETHER)]):
        for call in await followed(s, tokens):
            s.equal(sorted(call.numbers, key=str), SENT, f"updates of the call '{call.token}' are lost, or came twice")
            call.increases(s)
            call.ends(s)


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


@dataclass(frozen=True)
class Followed:
    """A call, its response, and its progress in the order in which it came."""

    token: str
    updates: list[Received]
    response: Received
    after: list[Received]
    """Those of the updates that came after the response."""

    @property
    def numbers(self) -> list[object]:
        return [progress_of(update) for update in self.updates]

    def increases(self, s: Session) -> None:
        """Progress does, on each stream: no order is owed between two."""
        for stream in {update.stream for update in self.updates}:
            came = [progress_of(update) for update in self.updates if update.stream == stream]
            rising = all(float_of(a) < float_of(b) for a, b in itertools.pairwise(came))
            s.require(rising, f"progress does not increase: the call '{self.token}'", "1, 2, 3, 4, 5", came)

    def ends(self, s: Session) -> None:
        """There is no progress after the response, on the same stream."""
        after = sum(update.stream == self.response.stream for update in self.after)
        s.require(not after, f"progress came after the result: the call '{self.token}'", "none", f"{after} updates")


async def followed(s: Session, tokens: Sequence[str]) -> list[Followed]:
    """Calls that report a few steps, all at once, with what came of them, now or late."""
    client = await s.client("slow")
    since = len(client.inbox)
    arguments = {"steps": STEPS}
    calls = [await s.start("slow", "progress", arguments, meta={"progressToken": token}) for token in tokens]
    responses = [(await s.outcome(call, "slow")).response for call in calls]
    await arrived(s, client, since, STEPS * len(tokens))
    inbox = client.inbox[since:]
    found = []
    for token, response in zip(tokens, responses, strict=True):
        ended = next(place for place, message in enumerate(inbox) if message is response)
        mine = [message for message in inbox if is_update(message) and params_of(message).get("progressToken") == token]
        found.append(Followed(token, mine, response, [update for update in mine if is_among(update, inbox[ended:])]))
    return found


def is_update(message: Message) -> bool:
    return message.get("method") == PROGRESS and "id" not in message


def is_among(message: Message, others: Iterable[Message]) -> bool:
    return any(message is other for other in others)


def params_of(message: Message) -> Message:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def progress_of(message: Message) -> object:
    return number(params_of(message).get("progress"))


def float_of(value: object) -> float:
    """A number to sort by; whatever is none comes first."""
    return value if isinstance(value, float) else float("-inf")


async def arrived(s: Session, client: Client, since: int, count: int) -> None:
    """So many updates have come, or the time for it is over. Another call's response comes behind them first."""
    await s.call_tool("slow", "progress", {"steps": 0})

    async def there() -> bool:
        return len(client.notifications(PROGRESS, since)) >= count

    with suppress(Failure):
        await s.until(there, "updates are missing", NOTICE_WAIT)


def some(updates: list[T]) -> list[T]:
    """The updates, which are there.

    Raises:
        NotApplicable: there is none, for which `progress:updates:all` is.
    """
    if not updates:
        raise NotApplicable("no progress came: see progress:updates:all")
    return updates


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
    await arrived(s, client, since, 2 * sum(token is not None for token in tokens))
    return [params_of(message) for message in client.notifications(PROGRESS, since)]


def number(value: object) -> object:
    """A number is the same with and without its fraction of zero; anything else stays what it is."""
    return float(value) if isinstance(value, int) else value
