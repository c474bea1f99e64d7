"""Scenarios of the area changes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from conformance.fixtures import LOOK, Server
from conformance.session import Session
from conformance.verdict import Failure
from conformance.wire import Message

from .registry import scenario
from .watching import ACKNOWLEDGED, LIST_CHANGED, watching

SERVERS = ("asking", "changing")
QUIET = Server("quiet", file="changing", args=("--quiet",))

SHOWS_WAIT = 5.0
"""Seconds in which a change that nobody told of has to show."""


@asynccontextmanager
async def changed(s: Session, kind: str, server: str = "changing") -> AsyncGenerator[None, None]:
    """There is one more entry, named "more", in a list; at the end it is taken out again."""
    await s.call_tool(server, "change", {"kind": kind, "name": "more"})
    try:
        yield
    finally:
        await s.call_tool(server, "change", {"kind": kind, "name": "more"})


async def told(s: Session, kind: str) -> None:
    """The client is told when an entry comes, and when it goes."""
    async with watching(s, "changing", kind) as watch:
        async with changed(s, kind):
            s.saw("added", (await watch.hears(LIST_CHANGED[kind]))["method"])
        s.saw("removed", (await watch.hears(LIST_CHANGED[kind], times=2))["method"])


@scenario("changes:tools:notified", servers=SERVERS)
async def tools(s: Session) -> None:
    await told(s, "tools")


@scenario("changes:prompts:notified", servers=SERVERS)
async def prompts(s: Session) -> None:
    await told(s, "prompts")


@scenario("changes:resources:notified", servers=SERVERS)
async def resources(s: Session) -> None:
    await told(s, "resources")


@scenario("changes:list:fresh", servers=SERVERS)
async def fresh(s: Session) -> None:
    async with watching(s, "changing", "tools") as watch:
        async with changed(s, "tools"):
            with suppress(Failure):  # whoever tells nothing has to be fresh all the same
                await watch.hears(LIST_CHANGED["tools"])
            s.saw("with one more", sorted(tool["name"] for tool in await s.list("tools", "changing")))
        with suppress(Failure):
            await watch.hears(LIST_CHANGED["tools"], times=2)
        s.saw("without it", sorted(tool["name"] for tool in await s.list("tools", "changing")))


@scenario("changes:capability:declared", servers=SERVERS)
async def declared(s: Session) -> None:
    capabilities = await declared_capabilities(s)
    kinds = ("tools", "prompts", "resources")
    s.saw("listChanged", {kind: (capabilities.get(kind) or {}).get("listChanged", False) for kind in kinds})


async def declared_capabilities(s: Session) -> Message:
    """What the target says that `changing` can do."""
    client = await s.client("changing")
    hello = client.hello if s.era == "legacy" else await client.ask("server/discover")
    capabilities: Any = hello.get("capabilities")
    return capabilities if isinstance(capabilities, dict) else {}


@scenario("changes:clients:each", servers=SERVERS, clients=("sse", "http"))
async def each(s: Session) -> None:
    other = s.another()
    async with watching(s, "changing", "tools") as mine, watching(other, "changing", "tools") as others:
        async with changed(s, "tools"):
            s.saw("the one who changed it", (await mine.hears(LIST_CHANGED["tools"]))["method"])
            s.saw("the other", (await others.hears(LIST_CHANGED["tools"]))["method"])
        await mine.hears(LIST_CHANGED["tools"], times=2)


@scenario("changes:listen:tools", servers=SERVERS)
async def listen_tools(s: Session) -> None:
    await told(s, "tools")


@scenario("changes:listen:prompts", servers=SERVERS)
async def listen_prompts(s: Session) -> None:
    await told(s, "prompts")


@scenario("changes:listen:resources", servers=SERVERS)
async def listen_resources(s: Session) -> None:
    await told(s, "resources")


@scenario("changes:listen:acknowledged", servers=SERVERS)
async def acknowledged(s: Session) -> None:
    async with watching(s, "changing", "tools", "prompts") as watch:
        s.saw("first with the id of the subscription", [message["method"] for message in watch.heard()[:1]])
        s.saw("agreed to", [message["params"].get("notifications") for message in watch.heard(ACKNOWLEDGED)])


@scenario("changes:listen:filtered", servers=SERVERS)
async def filtered(s: Session) -> None:
    async with watching(s, "changing", "prompts") as watch:
        async with changed(s, "tools"), changed(s, "prompts"):
            await watch.hears(LIST_CHANGED["prompts"])
        await watch.hears(LIST_CHANGED["prompts"], times=2)
        s.saw("heard", sorted({message["method"] for message in watch.heard()} - {ACKNOWLEDGED}))


@scenario("changes:backend:quiet", servers=(QUIET,), backends=("stdio", "http"))
async def quiet(s: Session) -> None:
    before = await names(s)
    async with changed(s, "tools", "quiet"):
        with anyio.move_on_after(SHOWS_WAIT):
            while True:
                if await names(s) != before:
                    break
                await anyio.sleep(LOOK)  # nothing announces it
        s.saw("tools", await names(s))


async def names(s: Session) -> list[str]:
    return sorted(tool["name"] for tool in await s.list("tools", "quiet"))
