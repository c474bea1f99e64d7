"""Scenarios of the area transparency."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from conformance.fixtures import Journal
from conformance.normalize import known_in
from conformance.session import Outcome, Session
from conformance.wire import Message

from .misfits import MISFIT, taken
from .registry import scenario

VENDOR_META = {"vendor.example/key": {"deep": [None, True, "x"]}, "vendorKey": 1}
VENDOR_FIELDS: Message = {"vendorField": {"kept": [None, 1, "x"]}, "x-vendor": "kept"}
ANNOTATIONS = {"audience": ["user", "assistant"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"}

SINCE = {"audio": "2025-03-26", "resource_link": "2025-06-18"}
"""The first revision of types of content that not all have."""

LARGE = 1_500_000
TEXT = (
    "astral \U0001f9ed\U00020000, combining e\u0301 n\u0303\u0323, U+2028 \u2028\u2029, NUL \0, "
    "RTL \u05d0\u0628, invisible \u200b\ufeff\u0085\x7f"
)
INTEGERS = [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0]
FLOATS = [0.1, 1e-7, 1.7976931348623157e308, 5e-324, -2.5]
LEVELS = 60


@scenario("transparency:meta:result")
async def meta_of_results(s: Session) -> None:
    async for method, _, result in exchanges(s, odd=True):
        s.saw(method, picked(result.get("_meta"), "vendor.example/key"))


@scenario("transparency:meta:request")
async def meta_of_requests(s: Session) -> None:
    async for method, params, _ in exchanges(s, _meta=VENDOR_META):
        kept = picked(params.get("_meta"), *VENDOR_META)
        s.equal(kept, VENDOR_META, f"the vendor's _meta of {method} reached the backend changed")


@scenario("transparency:meta:trace")
async def trace(s: Session) -> None:
    """A proxy that takes part in the trace has a span of its own, and may add to state and baggage."""
    number = "0af7651916cd43dd8448eb211c80319c"
    context = {
        "traceparent": f"00-{number}-b7ad6b7169203331-01",
        "tracestate": "vendor=t61rcWkgMzE",
        "baggage": "user=7",
    }
    async for method, params, _ in exchanges(s, _meta=context):
        arrived = picked(params.get("_meta"), *context)
        s.require(number in str(arrived["traceparent"]), f"the trace of {method} is lost", number, arrived)
        for key in ("tracestate", "baggage"):
            s.require(context[key] in str(arrived[key]), f"the {key} of {method} is lost", context[key], arrived)


@scenario("transparency:fields:result")
async def fields_of_results(s: Session) -> None:
    async for method, _, result in exchanges(s, odd=True):
        s.saw(method, result.get("vendorField"))


@scenario("transparency:fields:result", servers=(MISFIT,), may_refuse=True)
async def fields_of_entries(s: Session) -> None:
    """A list is a result as well, but of several servers: it is looked at what is said of each entry."""
    await taken(s)
    tools = {tool["name"]: tool for tool in await s.list("tools", MISFIT.name)}
    tool = tools.get("vendor", {})
    s.saw("tools", picked(tool, "inputSchema", "vendorField"))
    s.saw("the hints of tools", tool.get("annotations"))
    s.saw("schemas in another dialect", tools.get("dialect", {}).get("outputSchema"))
    for kind in ("prompts", "resources", "templates"):
        [entry, *_] = await s.list(kind, MISFIT.name) or [{}]
        s.saw(kind, picked(entry, "vendorField"))


@scenario("transparency:fields:request")
async def fields_of_requests(s: Session) -> None:
    async for method, params, _ in exchanges(s, **VENDOR_FIELDS):
        kept = picked(params, *VENDOR_FIELDS)
        s.equal(kept, VENDOR_FIELDS, f"the vendor's params of {method} reached the backend changed")


@scenario("transparency:content:unknown")
async def unknown_content(s: Session) -> None:
    content = [
        {"type": "vendor/hologram", "voxels": [[0, 1], [1, 0]]},
        {"type": "text", "text": "known"},
    ]
    outcome = await answered(s, {"content": content})
    s.equal(outcome.get("content"), content, "content of an unknown type arrived changed")


@scenario("transparency:content:annotations")
async def annotations(s: Session) -> None:
    contents: list[Message] = [
        {"type": "text", "text": "text"},
        {"type": "image", "data": "aW1hZ2U=", "mimeType": "image/png"},
        {"type": "audio", "data": "YXVkaW8=", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "mirror://full", "name": "full"},
        {"type": "resource", "resource": {"uri": "mirror://full", "text": "text"}},
    ]
    await s.client("mirror")
    known = [content for content in contents if SINCE.get(content["type"], "") <= s.revision]
    result = await answered(s, {"content": [{**content, "annotations": ANNOTATIONS} for content in known]})
    arrived = [(content.get("type"), content.get("annotations")) for content in result.get("content", [])]
    expected = [(content["type"], ANNOTATIONS) for content in known]
    s.equal(known_in(arrived, s.revision), known_in(expected, s.revision), "annotations arrived changed")


@scenario("transparency:structured:exact")
async def structured(s: Session) -> None:
    """In legacy revisions it is an object, in modern ones any JSON value."""
    values: list[Any] = [{"": {}, "list": [[], {}, "1", 1, True, False], "a b": "\n"}]
    if s.era == "modern":
        values += [[1, {"a": []}], "text", 7, True]
    for value in values:
        result = await answered(s, {"content": [], "structuredContent": value})
        s.equal(result.get("structuredContent"), value, "structured content arrived changed")


@scenario("transparency:payload:large-result")
async def large_result(s: Session) -> None:
    result = (await s.call_tool("mirror", "big", {"size": LARGE})).result
    text = next((content.get("text") for content in result.get("content", [])), None)
    whole(s, text, ("0123456789" * (LARGE // 10)), "a large result arrived changed")


@scenario("transparency:payload:large-argument")
async def large_argument(s: Session) -> None:
    padding = "9876543210" * (LARGE // 10)
    await answered(s, {"content": []}, padding=padding)
    whole(s, (await arguments(s)).get("padding"), padding, "a large argument reached the backend changed")


@scenario("transparency:text:unicode")
async def unicode(s: Session) -> None:
    content = [{"type": "text", "text": TEXT}]
    result = await answered(s, {"content": content})
    s.equal((await arguments(s))["result"], {"content": content}, "the text reached the backend changed")
    s.equal(result.get("content"), content, "the text arrived changed")


@scenario("transparency:json:deep")
async def deep(s: Session) -> None:
    value: Any = "bottom"
    for level in range(LEVELS):
        value = [value] if level % 2 else {"down": value}
    await both_ways(s, value, "deep JSON")


@scenario("transparency:numbers:integers")
async def integers(s: Session) -> None:
    await both_ways(s, INTEGERS, "an integer")


@scenario("transparency:numbers:floats")
async def floats(s: Session) -> None:
    await both_ways(s, FLOATS, "a floating-point number")


@scenario("transparency:null:kept")
async def null(s: Session) -> None:
    await both_ways(s, {"null": None, "list": [None, {"null": None}]}, "an explicit null")


async def answered(s: Session, result: Message, **more: Any) -> Message:
    """The result that the client gets when the backend answers with this one; `more` are further arguments."""
    return (await s.call_tool("mirror", "result", {"result": result, **more})).result


async def arguments(s: Session) -> Message:
    """The arguments of the scenario's first tool call, as they reached the backend."""
    params = await received(s.journal("mirror"), "tools/call")
    return dict(params.get("arguments") or {})


async def both_ways(s: Session, value: Any, what: str) -> None:
    """A value goes to the backend as an argument, and comes back as structured content."""
    structured = {"value": value}
    result = await answered(s, {"content": [], "structuredContent": structured})
    sent = (await arguments(s)).get("result", {})
    s.equal(sent.get("structuredContent"), structured, f"{what} reached the backend changed")
    s.equal(result.get("structuredContent"), structured, f"{what} came back changed")


async def exchanges(s: Session, odd: bool = False, **more: Any) -> AsyncIterator[tuple[str, Message, Message]]:
    """Call a tool, get a prompt and read a resource; yields each time the method, the params that reached the backend,
    and the result that reached the client.

    Args:
        odd: the answers have a vendor's fields.
        more: further params.
    """
    vendor = {"vendorField": {"kept": [None, 1, "x"]}, "_meta": {"vendor.example/key": {"deep": True}}}
    result = {"content": [], **(vendor if odd else {})}
    uri = "mirror://full/vendor" if odd else "mirror://full"
    topic = {"arguments": {"topic": "vendor"}} if odd else {}
    requests: Mapping[str, Message] = {
        "tools/call": s.tool_params("mirror", "result", {"result": result}),
        "prompts/get": {"name": s.scheme.public("prompt", "mirror", "full"), **topic},
        "resources/read": {"uri": await s.uri("mirror", uri)},
    }
    for method, params in requests.items():
        outcome: Outcome = await s.request("mirror", method, {**params, **more})
        result = outcome.result
        yield method, await received(s.journal("mirror"), method), result


async def received(journal: Journal, method: str) -> Message:
    """The params of the first request of a method that reached the backend."""
    entry = await journal.wait(lambda entry: entry.get("method") == method, method)
    return dict(entry.get("params") or {})


def picked(fields: object, *keys: str) -> Message:
    """These keys, None where there is no such field."""
    known = fields if isinstance(fields, dict) else {}
    return {key: known.get(key) for key in keys}


def whole(s: Session, actual: object, expected: str, what: str) -> None:
    """A long text is what it should be; if not, it is not shown."""
    size = f"{len(actual):,} characters" if isinstance(actual, str) else "no text"
    s.require(actual == expected, what, f"{len(expected):,} characters, as sent", size)
