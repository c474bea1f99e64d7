"""Scenarios of the area resources."""

from conformance.client import shown
from conformance.session import ListKind, Session
from conformance.verdict import Failure
from conformance.wire import Message

from .registry import scenario


def described(entry: Message) -> Message:
    """What the specification knows of a resource or a template, but for its size."""
    fields = ("uri", "uriTemplate", "name", "title", "description", "mimeType")
    shown: Message = {key: entry[key] for key in fields if key in entry}
    if annotations := entry.get("annotations"):
        shown["annotations"] = {key: annotations.get(key) for key in ("audience", "priority", "lastModified")}
    if icons := entry.get("icons"):
        shown["icons"] = [{key: icon.get(key) for key in ("src", "mimeType", "sizes")} for icon in icons]
    return shown


async def saw_list(s: Session, kind: ListKind) -> None:
    for server in ("everything", "mirror"):
        entries = [described(entry) for entry in await s.list(kind, server)]
        s.saw(f"the {kind} of {server}", sorted(entries, key=lambda entry: str(entry.get("name"))))


@scenario("resources:list:whole")
async def whole(s: Session) -> None:
    await saw_list(s, "resources")


@scenario("resources:templates:whole")
async def templates(s: Session) -> None:
    await saw_list(s, "templates")


@scenario("resources:read:text")
async def text(s: Session) -> None:
    s.saw("contents", (await s.read("everything", "test://static-text")).result.get("contents"))


@scenario("resources:read:binary")
async def binary(s: Session) -> None:
    s.saw("contents", (await s.read("everything", "test://static-binary")).result.get("contents"))


@scenario("resources:read:template")
async def template(s: Session) -> None:
    s.saw("contents", (await s.read("everything", "test://template/123/data")).result.get("contents"))


@scenario("resources:read:unknown")
async def unknown(s: Session) -> None:
    """Neither one like those of a backend, nor one that leads to no backend."""
    for uri in ("test://no-such-resource", "nobody://has-this"):
        outcome = await s.read("everything", uri)
        s.equal(outcome.error.get("code"), -32602, "the read of an unknown URI got another error")


@scenario("resources:links:readable")
async def links(s: Session) -> None:
    await follow_link(s, "mirror", "mirror://full")


async def follow_link(s: Session, server: str, uri: str) -> None:
    """Have a tool return a link to a resource of its server, and read it under the URI that the client gets."""
    link = {"type": "resource_link", "uri": uri, "name": "linked"}
    outcome = await s.call_tool(server, "result", {"result": {"content": [link]}})
    try:
        given = outcome.response["result"]["content"][0]["uri"]
    except (KeyError, IndexError, TypeError):
        raise Failure("the link of the tool did not arrive", shown(link), shown(outcome.response)) from None
    read = await s.request(server, "resources/read", {"uri": given})
    s.require(read.result.get("contents"), "the link of the tool led to nothing", "contents", read.response)
    received = [entry["params"].get("uri") for entry in s.journal(server).received("resources/read")]
    s.equal(received, [uri], "the link did not lead to the resource that the tool meant")
