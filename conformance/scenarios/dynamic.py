"""Scenarios of the area dynamic. Each adds a server under a name of its own, and leaves none behind."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio

from conformance.client import NOTICE_WAIT
from conformance.fixtures import Server
from conformance.session import LISTS, ListKind, Session
from conformance.verdict import Failure

from .holding import hold, release
from .registry import Needs, Play, scenario
from .watching import LIST_CHANGED, watching

TOOLS_CHANGED = LIST_CHANGED["tools"]
COMES = 2
"""How often a server comes and goes, so that a race shows."""


def dynamic(requirement: str, *needs: Needs) -> Callable[[Play], Play]:
    """A scenario in the world that these share, so that no other area feels what a bad proxy leaves in it."""
    return scenario(requirement, servers=("slow", "mirror"), proxy_only=True, once=True, needs=("admin", *needs))


@asynccontextmanager
async def added(s: Session, name: str, file: str = "stateful") -> AsyncGenerator[None, None]:
    """A server that was added, until the block is left; when it is left it may be gone already."""
    response = await s.add_server(Server(name, file=file))
    s.require(response.is_success, f"the server '{name}' was not added", "HTTP 2xx", response.text)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True), suppress(Failure):
            await s.remove_server(name)


async def remove(s: Session, name: str) -> None:
    response = await s.remove_server(name)
    s.require(response.is_success, f"the server '{name}' was not removed", "HTTP 2xx", response.text)


async def tools(s: Session, server: str) -> set[str]:
    return {tool["name"] for tool in await s.list("tools", server)}


async def offers(s: Session, server: str, tool: str) -> None:
    """The tool of a server is listed, at the latest some time after it was added, and can be called."""

    async def listed() -> bool:
        return tool in await tools(s, server)

    await s.until(listed, f"the tool '{tool}' of the added server '{server}' is not listed")
    result = (await s.call_tool(server, tool, {"key": "anything", "label": "any"})).result
    s.require(not result.get("isError"), "the added server's tool cannot be called", "a result", result)


async def offers_nothing(s: Session, server: str) -> None:
    """Nothing of the server is listed, at the latest some time after it was removed."""

    async def gone() -> bool:
        return not await tools(s, server)

    await s.until(gone, f"tools of the removed server '{server}' are still listed", NOTICE_WAIT)


@dynamic("dynamic:add:offered")
async def add_offered(s: Session) -> None:
    await s.list("tools", "slow")  # which connects
    async with added(s, "offered"):
        await offers(s, "offered", "recall")


@dynamic("dynamic:add:notified", "shared endpoint")
async def add_notified(s: Session) -> None:
    """Two are added, since the first notification may be a late one of something before."""
    async with watching(s, None, "tools") as watch, added(s, "notified"):
        await watch.hears(TOOLS_CHANGED)
        async with added(s, "notified-too"):
            s.require(await watch.hears(TOOLS_CHANGED, 2), "it was not notified")


@dynamic("dynamic:add:refused")
async def add_refused(s: Session) -> None:
    before = await s.merged("tools")
    response = await s.add_entry("refused", {})
    after = await s.merged("tools")
    if response.is_success:
        await s.remove_server("refused")
    s.require(response.is_error, "a server without command and URL is not refused", "HTTP 4xx", response.text)
    s.equal(after, before, "what could not be added has changed the list of tools")


@dynamic("dynamic:add:again", "shared endpoint")
async def add_again(s: Session) -> None:
    async with added(s, "again", "silent"):
        await offers(s, "again", "hello")
        await remove(s, "again")
        await offers_nothing(s, "again")
        async with added(s, "again", "stateful"):
            await offers(s, "again", "recall")


@dynamic("dynamic:remove:gone", "shared endpoint")
async def remove_gone(s: Session) -> None:
    async with added(s, "gone"):
        await offers(s, "gone", "recall")
        await remove(s, "gone")
        await offers_nothing(s, "gone")


@dynamic("dynamic:remove:notified", "shared endpoint")
async def remove_notified(s: Session) -> None:
    """Two are removed, for the same reason."""
    async with added(s, "leaving"), added(s, "leaving-too"):
        await offers(s, "leaving-too", "recall")
        async with watching(s, None, "tools") as watch:
            await remove(s, "leaving")
            await watch.hears(TOOLS_CHANGED)
            await remove(s, "leaving-too")
            s.require(await watch.hears(TOOLS_CHANGED, 2), "it was not notified")


@dynamic("dynamic:remove:others")
async def remove_others(s: Session) -> None:
    call = await hold(s, "removal")
    async with added(s, "short"):
        await remove(s, "short")
    await release(s, "removal")
    content = (await s.outcome(call, "slow")).result["content"]
    s.equal(content, [{"type": "text", "text": "removal"}], "the call in flight did not end as it should")


@dynamic("dynamic:list:whole")
async def list_whole(s: Session) -> None:
    """The client asks all the time while a server comes and goes a few times."""
    staying = await lists(s)
    s.require(staying, "no list of a server can be read")
    asking = True

    async def ask() -> None:
        while asking:
            for (kind, server), before in staying.items():
                what = f"the {kind} of {server} were not all there while another server came and went"
                s.equal(await names(s, kind, server), before, what)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        for turn in range(COMES):
            async with added(s, f"passing-{turn}"):
                pass
        asking = False


async def lists(s: Session) -> dict[tuple[ListKind, str], list[str]]:
    """The names and URIs of what each server offers, by list and server; the lists that can be read."""
    found: dict[tuple[ListKind, str], list[str]] = {}
    kinds: tuple[ListKind, ...] = ("tools", "prompts", "resources")
    for kind in kinds:
        for server in s.world.backends:
            with suppress(Failure):
                found[kind, server] = await names(s, kind, server)
    return found


async def names(s: Session, kind: ListKind, server: str) -> list[str]:
    return sorted(entry[LISTS[kind][2]] for entry in await s.list(kind, server))
