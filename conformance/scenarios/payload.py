"""Scenarios of the area payload: what was sent and what arrived are compared by their text, token by token.

The backend has no SDK, and says what it is told to the letter. What it is told crosses as a string, which hides what is
in it, so that what goes wrong on the way there does not show in what comes back.
"""

import hashlib

from conformance.exact import Exact, Reading, by_kind, by_spelling, by_value, member, tokens
from conformance.session import Session
from conformance.verdict import Failure

from .logging import LOG, asking, listening
from .registry import scenario

SERVERS = ("verbatim",)

DEEP = 1_000
SIZE = 50_000_000
SHOWN = 400
PLACES = ("params", "results", "errors", "notifications")
PLAIN = '"plain"'

INTEGERS = (
    "[9007199254740993, -9007199254740993, 9223372036854775807, -9223372036854775808, 18446744073709551615,"
    " 123456789012345678901234567890, -123456789012345678901234567890, 0]"
)
KINDS = "[1.0, 1, -1.0, 0.0, 100.0, 100, 1.5e3]"
BEYOND = "[1e400, -1e400, 1e-400, 3.14159265358979323846264338327950288, 123456789012345678901234567890.5]"
ORDERED = '{"zebra": 1, "10": 2, "apple": 3, "9": 4, "Zebra": {"b": 5, "a": 6, "1": 7}}'
DUPLICATE = '{"role": "user", "role": "admin", "deep": [{"a": 1, "a": 1}]}'
PROTOTYPE = '{"__proto__": {"role": "admin"}, "constructor": {"prototype": 1}, "toString": "text"}'
ESCAPES = r'["\u00e9 é", "\/ /", "\ud83e\udded 🧭", "\u0000\b\f\n\r\t\"\\", "\u2028\u2029", "\\u00e9", "\u0041A"]'
SPELLED = r'["\u00e9", "é", "\/", "/", "\ud83e\udded", "\u000A\n", 1E2, 1e+2, 100.00, -0, -0.0, 1e-7, 0.0000001]'
NESTED = '{"a":[' * (DEEP // 2) + "1" + "]}" * (DEEP // 2)
SURROGATE = r'"\ud800"'
EXTREMES = {
    "integers of 30 digits": INTEGERS,
    "1e400": "1e400",
    "a key that comes twice": DUPLICATE,
    "nesting of 1,000 levels": NESTED,
    "half a surrogate pair": SURROGATE,
}


@scenario("payload:numbers:integers", servers=SERVERS)
async def integers(s: Session) -> None:
    await kept(s, INTEGERS, by_value, "an integer")


@scenario("payload:numbers:kind", servers=SERVERS)
async def kinds(s: Session) -> None:
    await kept(s, KINDS, by_kind, "a number with a fraction")


@scenario("payload:numbers:beyond-double", servers=SERVERS)
async def beyond(s: Session) -> None:
    await kept(s, BEYOND, by_value, "a number that no double can hold")


@scenario("payload:keys:order", servers=SERVERS)
async def order(s: Session) -> None:
    await kept(s, ORDERED, by_value, "the order of keys")


@scenario("payload:keys:duplicate", servers=SERVERS)
async def duplicate(s: Session) -> None:
    await kept(s, DUPLICATE, by_value, "a key that comes twice")


@scenario("payload:keys:prototype", servers=SERVERS)
async def prototype(s: Session) -> None:
    await kept(s, PROTOTYPE, by_value, "a key that JavaScript gives a meaning")


@scenario("payload:text:escapes", servers=SERVERS)
async def escapes(s: Session) -> None:
    await kept(s, ESCAPES, by_value, "a character that is escaped")


@scenario("payload:text:spelling", servers=SERVERS)
async def spelling(s: Session) -> None:
    await kept(s, SPELLED, by_spelling, "the spelling of a string or a number")


@scenario("payload:nesting:thousand", servers=SERVERS)
async def nesting(s: Session) -> None:
    await kept(s, NESTED, by_value, "JSON nested 1,000 levels deep")


@scenario("payload:size:large", servers=SERVERS, clients=("stdio",), once=True)
async def large_over_stdio(s: Session) -> None:
    await large(s)


@scenario("payload:size:large", servers=SERVERS, clients=("sse",), once=True)
async def large_over_sse(s: Session) -> None:
    await large(s)


@scenario("payload:size:large", servers=SERVERS, clients=("http",), once=True)
async def large_over_http(s: Session) -> None:
    await large(s)


async def large(s: Session) -> None:
    """By a client of its own, since what a client got is kept until it leaves."""
    client = s.another()
    text = "9876543210" * (SIZE // 10)
    result = (await client.call_tool("verbatim", "measure", {"text": text})).result
    measured = [block.get("text") for block in result.get("content", [])]
    expected = f"{SIZE} {hashlib.sha256(text.encode()).hexdigest()}"
    s.equal(measured, [expected], "a large argument reached the backend changed")
    result = (await client.call_tool("verbatim", "large", {"size": SIZE, "place": "result"})).result
    arrived = (result.get("structuredContent") or {}).get("exact")
    size = f"{len(arrived):,} characters" if isinstance(arrived, str) else "no text"
    whole = arrived == "0123456789" * (SIZE // 10)
    s.require(whole, "a large result arrived changed", f"{SIZE:,} characters, as sent", size)


@scenario("payload:extremes:answered", servers=SERVERS)
async def extremes(s: Session) -> None:
    """Over HTTP a status of the client's fault is an answer, and one to what cannot be parsed has no id."""
    client = s.another()  # which may well be of no use to others when this is over
    for what, text in EXTREMES.items():
        wire = await client.client("verbatim")
        before = len(wire.inbox)
        call = await wire.request("tools/call", client.tool_params("verbatim", "take", {"exact": Exact(text)}))
        try:
            await call.response()
        except Failure as failure:
            refused = call.status is not None and 400 <= call.status < 500
            nameless = any("error" in message and message.get("id") is None for message in wire.inbox[before:])
            s.require(refused or nameless, f"a request with {what} is not answered", "a response", failure.message)
        for place in ("result", "error"):
            said = client.tool_params("verbatim", "say", {"text": text, "place": place})
            call = await wire.request("tools/call", said)
            try:
                await call.response()
            except Failure as failure:
                raise Failure(
                    f"a call whose {place} has {what} is not answered", "a response", failure.message
                ) from None
    result = (await client.call_tool("verbatim", "take", {"exact": "after it"})).result
    s.require(result.get("content"), "a call after it has another result", "content", result)


async def kept(s: Session, text: str, reading: Reading, what: str) -> None:
    """A JSON text goes to the backend in params, and comes back in a result, an error and a notification.

    Where not even a plain text arrives, nothing is said: that errors and notifications reach the client is required of
    them elsewhere.

    Raises:
        Failure: to somebody who reads it in this way, it is another there.
    """
    client = await listening(s, "debug", "verbatim")
    expected = tokens(text)
    lost: dict[str, str] = {}
    for place in PLACES:
        s.run.checks += 1
        found = await arrived(client, text, place)
        if found is None and await arrived(client, PLAIN, place) is None:
            continue
        if found is None or [*map(reading, found)] != [*map(reading, expected)]:
            lost[place] = "nothing of it" if found is None else shown(found)
    if lost:
        actual = "\n".join(f"in {place}: {came}" for place, came in lost.items())
        raise Failure(f"{what} is lost in {', '.join(lost)}", shown(expected), actual)


async def arrived(s: Session, text: str, place: str) -> list[str] | None:
    """What arrived of a JSON text in one of the places: its tokens, or None."""
    if place == "params":
        s.journal("verbatim").mark()
        await s.call_tool("verbatim", "take", {"exact": Exact(text)})
        came = [entry["text"] for entry in s.journal("verbatim").entries if entry.get("tool") == "take"]
        return member(came[-1], "exact") if came else None
    meta = asking("debug") if s.era == "modern" else None
    wire = await s.client("verbatim")
    since, kind = len(wire.inbox), place.removesuffix("s")
    outcome = await s.call_tool("verbatim", "say", {"text": text, "place": kind}, meta=meta)
    if kind != "notification":
        return member(outcome.response.text, "exact") if kind in outcome.response else None
    try:
        message = await wire.wait(lambda message: message.get("method") == LOG, "the log message", since)
    except Failure:
        return None
    return member(message.text, "exact")


def shown(found: list[str]) -> str:
    """Tokens as text, as much as a person can read."""
    text = "".join(found)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
