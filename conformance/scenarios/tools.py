"""Scenarios of the area tools."""

from contextlib import suppress

from conformance.client import ANSWER_WAIT
from conformance.session import Session
from conformance.verdict import Failure, told_by
from conformance.wire import Message

from .registry import scenario

LISTED_WAIT = 10.0
"""Seconds in which the tools of each server have to be listed before it is looked at whether the list stays."""

LINKS = [
    {"type": "resource_link", "uri": "mirror://full", "name": "full", "mimeType": "text/plain"},
    {"type": "resource_link", "uri": "https://example.com/report.pdf", "name": "report", "title": "A report"},
]
STRUCTURED = {"temperature": 22.5, "conditions": ["sunny", "dry"], "place": {"name": "Bern", "known": True}}
ARGUMENTS = {
    "text": "two\nlines",
    "count": 3,
    "share": 0.5,
    "sure": False,
    "list": [1, "two", {"three": 3}],
    "nested": {"empty": {}, "none": [], "deep": {"er": "yes"}},
}


def described(tool: Message) -> Message:
    """What the specification knows of a tool, but for its schemas."""
    shown: Message = {key: tool[key] for key in ("name", "title", "description") if key in tool}
    if hints := tool.get("annotations"):
        shown["annotations"] = {key: hints.get(key) for key in ("title", "readOnlyHint")}
    if icons := tool.get("icons"):
        shown["icons"] = [{key: icon.get(key) for key in ("src", "mimeType", "sizes")} for icon in icons]
    return shown


@scenario("tools:list:whole")
async def whole(s: Session) -> None:
    for server in ("everything", "mirror"):
        tools = sorted(await s.list("tools", server), key=lambda tool: str(tool["name"]))
        s.saw(f"the tools of {server}", [described(tool) for tool in tools])


@scenario("tools:list:schema")
async def schema(s: Session) -> None:
    for server, rich in (("everything", ["json_schema_2020_12_tool"]), ("mirror", ["full", "echo"])):
        tools = {tool["name"]: tool for tool in await s.list("tools", server)}
        for name in rich:
            schemas = {key: tools.get(name, {}).get(key) for key in ("inputSchema", "outputSchema")}
            s.saw(f"the schemas of {name}", schemas)


@scenario("tools:list:deterministic")
async def deterministic(s: Session) -> None:
    first, second = [[tool["name"] for tool in await s.merged("tools")] for _ in range(2)]
    s.equal(second, first, "the same list of tools came in another order")


async def settled(s: Session) -> list[Message]:
    """The list of tools, in no order, when tools of each server are in it; at the latest when the time for that is
    over: a list of placeholders has none at all."""

    async def complete() -> bool:
        return all([await s.list("tools", server) for server in s.world.backends])

    with suppress(Failure):
        await s.until(complete, "tools of a server are not listed", LISTED_WAIT)
    return await listed(s)


async def listed(s: Session) -> list[Message]:
    """The list of tools as the client gets it, in no order."""
    return sorted(await s.merged("tools"), key=lambda tool: str(tool.get("name")))


async def make_calls(s: Session) -> None:
    """Requests of all kinds, whatever comes of them."""
    everything = ("test_simple_text", "test_error_handling", "no_such_tool")
    for name in everything:
        await s.call_tool("everything", name, {})
    for method in ("prompts/list", "resources/list"):
        await s.request("everything", method, {})


@scenario("tools:list:calls", proxy_only=True, own=True)
async def list_calls(s: Session) -> None:
    """In a world of its own, where nobody has called before."""
    before = await settled(s)
    await make_calls(s)
    s.equal(await listed(s), before, "calls changed the list of tools")


@scenario("tools:list:connections", proxy_only=True)
async def list_connections(s: Session) -> None:
    await make_calls(s)
    s.equal(await settled(s.another()), await settled(s), "on another connection the list of tools is not the same")


@scenario("tools:list:settled", proxy_only=True, own=True)
async def list_settled(s: Session) -> None:
    """In a world of its own, where nobody has called before."""
    before = await settled(s)
    await make_calls(s)
    s.equal(await listed(s), before, "calls changed the list of tools")
    s.equal(await settled(s.another()), before, "on another connection the list of tools is not the same")


@scenario("tools:call:text")
async def text(s: Session) -> None:
    await saw_content(s, "test_simple_text")


@scenario("tools:call:image")
async def image(s: Session) -> None:
    await saw_content(s, "test_image_content")


@scenario("tools:call:audio")
async def audio(s: Session) -> None:
    await saw_content(s, "test_audio_content")


@scenario("tools:call:embedded")
async def embedded(s: Session) -> None:
    await saw_content(s, "test_embedded_resource")


@scenario("tools:call:mixed")
async def mixed(s: Session) -> None:
    await saw_content(s, "test_multiple_content_types")


async def saw_content(s: Session, tool: str) -> None:
    outcome = await s.call_tool("everything", tool, {})
    s.saw("content", outcome.result.get("content"))


@scenario("tools:call:links")
async def links(s: Session) -> None:
    outcome = await s.call_tool("mirror", "result", {"result": {"content": LINKS}})
    s.saw("content", outcome.result.get("content"))


@scenario("tools:call:structured")
async def structured(s: Session) -> None:
    content = [{"type": "text", "text": "It is nice in Bern."}]
    outcome = await s.call_tool("mirror", "result", {"result": {"content": content, "structuredContent": STRUCTURED}})
    s.saw("structured content", outcome.result.get("structuredContent"))
    s.saw("content", outcome.result.get("content"))


@scenario("tools:call:arguments")
async def arguments(s: Session) -> None:
    await s.call_tool("mirror", "echo", ARGUMENTS)
    received = [call["params"].get("arguments") for call in s.journal("mirror").received("tools/call")]
    s.equal(received, [ARGUMENTS], "the arguments did not reach the backend as they were sent")


@scenario("tools:call:no-arguments")
async def no_arguments(s: Session) -> None:
    outcome = await s.call_tool("everything", "test_simple_text")
    s.saw("content", outcome.result.get("content"))
    received = [call["params"].get("arguments") or {} for call in s.journal("everything").received("tools/call")]
    s.equal(received, [{}], "the call did not reach the backend, or has arguments now")


@scenario("tools:call:error-result")
async def error_result(s: Session) -> None:
    outcome = await s.call_tool("everything", "test_error_handling", {})
    s.saw("is an error", outcome.result.get("isError"))
    s.saw("content", outcome.result.get("content"))


@scenario("tools:call:unknown")
async def unknown(s: Session) -> None:
    """Neither a tool that the backend does not have, nor a name that leads to no backend.

    Legacy revisions say that it is an error, and not which.
    """
    of_backend = await s.call_tool("everything", "no_such_tool", {})
    of_nobody = await s.request("everything", "tools/call", {"name": "nobody_has_this", "arguments": {}})
    for outcome in (of_backend, of_nobody):
        code = outcome.error.get("code")
        s.require(s.era == "legacy" or code == -32602, "the call of an unknown tool got another error", "-32602", code)


@scenario("tools:call:concurrent", servers=("slow", "stateful"))
async def concurrent(s: Session) -> None:
    """Neither call is answered before both are at the backend."""
    words = ["first", "second"]
    calls = [
        await s.start("slow", "rendezvous", {"room": f"concurrent, {s.case}", "size": 2, "say": word}) for word in words
    ]
    with told_by("isolation:calls:behind-own"):
        await s.journal("slow").wait(lambda _: rendezvous(s) == len(words), "the second call", ANSWER_WAIT)
    said = [(await s.outcome(call, "slow")).result.get("content") for call in calls]
    s.equal(said, [[{"type": "text", "text": word}] for word in words], "a call did not get its own result")


def rendezvous(s: Session) -> int:
    """How many calls have come to meet another."""
    return sum(call["params"].get("name") == "rendezvous" for call in s.journal("slow").received("tools/call"))


@scenario("tools:call:unlisted-first")
async def unlisted_first(s: Session) -> None:
    outcome = await s.another().call_tool("everything", "test_simple_text", {})
    s.saw("content", outcome.result.get("content"))
