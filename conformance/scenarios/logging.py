"""Scenarios of the area logging.

Legacy clients say once for their session from which level on they want messages, modern ones with each request.
"""

import json
import re

from conformance.client import ENVELOPE
from conformance.session import Outcome, Session
from conformance.verdict import NotApplicable, NotOffered
from conformance.wire import Message

from .registry import scenario

SERVERS = ("slow", "stateful")
LOG = "notifications/message"


@scenario("logging:capability:declared", servers=SERVERS)
async def declared(s: Session) -> None:
    """Whoever declares it says the truth, or fails elsewhere; whoever does not must emit nothing either."""
    s.require((await s.call_tool("stateful", "whoami", {})).result, "a call has an empty result")
    if await s.offers("logging"):
        return
    client = s.another() if s.era == "legacy" else s
    wire = await client.client("stateful")
    if s.era == "legacy":
        await (await wire.request("logging/setLevel", {"level": "debug"})).response()  # an error will do
    since = len(wire.inbox)
    await log(client, {"level": "emergency", "data": "undeclared"}, asked="debug")
    s.equal(await heard(client, since), [], "log messages arrive, and logging is not declared")
    raise NotOffered("it does not declare logging, and hands on no log message")


@scenario("logging:message:whole", servers=SERVERS)
async def whole(s: Session) -> None:
    listener = await listening(s, "debug")
    since = len((await listener.client("stateful")).inbox)
    data = {"vendor": [None, 1, "x"], "text": "\u2603"}
    messages: list[Message] = [
        {"level": "debug", "logger": "database", "data": data},
        {"level": "emergency", "data": "text"},
    ]
    for message in messages:
        await log(listener, message, asked="debug")
    came = await heard(listener, since)
    arrives(came)
    s.equal(came, messages, "log messages arrived changed")


@scenario("logging:message:order", servers=SERVERS)
async def order(s: Session) -> None:
    since = len((await s.client("stateful")).inbox)
    outcome = await s.call_tool("stateful", "log_many", {"n": 5}, meta=asking("info"))
    arrives(await heard(s, since))
    # In what form they arrive is for logging:message:whole to say.
    data = [json.dumps(message.get("data")) for message in outcome.of(LOG)]
    s.saw("before the result", [int(found[0]) for found in map(re.compile(r"\d").search, data) if found])


@scenario("logging:level:set", servers=SERVERS, remembers=True)
async def set_level(s: Session) -> None:
    await above_warning(s)


@scenario("logging:level:request", servers=SERVERS)
async def request_level(s: Session) -> None:
    await above_warning(s)


@scenario("logging:level:none", servers=SERVERS)
async def no_level(s: Session) -> None:
    since = len((await s.client("stateful")).inbox)
    await log(s, {"level": "emergency", "data": "nobody asked"}, asked=None)
    s.equal(await heard(s, since), [], "a log message came that was not asked for")


@scenario("logging:level:each-client", servers=SERVERS, clients=("sse", "http"), remembers=True)
async def each_client(s: Session) -> None:
    verbose, terse = await listening(s, "debug"), await listening(s, "error")
    for listener in (verbose, terse):
        for level in ("info", "error"):
            await log(listener, {"level": level, "data": level}, asked=None)
    came = {levels: await heard(listener) for listener, levels in ((verbose, ("info", "error")), (terse, ("error",)))}
    arrives([message for messages in came.values() for message in messages])
    for levels, messages in came.items():
        got = tuple(message.get("level") for message in messages)
        s.equal(got, levels, "a client's level is not its own")


@scenario("logging:level:invalid", servers=SERVERS)
async def invalid_level(s: Session) -> None:
    if s.era == "legacy":
        outcome = await s.request("stateful", "logging/setLevel", {"level": "loud"})
    else:
        outcome = await log(s, {"level": "error", "data": "text"}, asked="loud")
    s.equal(outcome.error.get("code"), -32602, "a level that does not exist got another error")


async def above_warning(s: Session) -> None:
    listener = await listening(s, "warning")
    since = len((await listener.client("stateful")).inbox)
    for level in ("info", "warning", "notice", "error"):
        await log(listener, {"level": level, "data": level}, asked="warning")
    s.saw("levels", [message.get("level") for message in await heard(listener, since)])


def arrives(messages: list[Message]) -> None:
    """There are log messages to look at.

    Raises:
        NotApplicable: there is none, for which the requirements on levels are.
    """
    if not messages:
        raise NotApplicable("no log message arrives: see logging:level:set and logging:level:request")


async def listening(s: Session, level: str, server: str = "stateful") -> Session:
    """A client that wants log messages from a level on; a modern one says so with each request."""
    if s.era == "modern":
        return s
    other = s.another()
    await (await other.client(server)).ask("logging/setLevel", {"level": level})
    return other


async def log(s: Session, message: Message, asked: str | None) -> Outcome:
    """Have the backend send a log message, in answer to a call that, of a modern client, asks for a level."""
    return await s.call_tool("stateful", "log", message, meta=asking(asked) if s.era == "modern" else None)


def asking(level: str | None) -> Message | None:
    """The `_meta` of a modern request that asks for log messages from a level on."""
    return None if level is None else {f"{ENVELOPE}logLevel": level}


async def heard(s: Session, since: int = 0) -> list[Message]:
    """The log messages that a client got, late ones as well: a call is waited for, which would not come before them."""
    client = await s.client("stateful")
    await s.call_tool("stateful", "whoami", {})
    return [message.get("params") or {} for message in client.notifications(LOG, since)]
