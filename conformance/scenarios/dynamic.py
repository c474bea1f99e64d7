"""Scenarios of the area dynamic. Each adds a server under a name of its own, and leaves none behind."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from conformance.case import Transport
from conformance.client import NOTICE_WAIT
from conformance.fixtures import Server
from conformance.session import LISTS, ListKind, Outcome, Session
from conformance.verdict import Failure, NotApplicable
from conformance.wire import Message

from .holding import hold, release
from .processes import END_WAIT, kill, processes, require_gone, running
from .registry import Needs, Play, scenario
from .watching import LIST_CHANGED, watching

TOOLS_CHANGED = LIST_CHANGED["tools"]
COMES = 2
"""How often a server comes and goes, so that a race shows."""


def dynamic(
    requirement: str, *needs: Needs, servers: Sequence[Server | str] = ("slow", "mirror"), **options: Any
) -> Callable[[Play], Play]:
    """A scenario in the world that these share, so that no other area feels what a bad proxy leaves in it."""
    return scenario(requirement, servers=servers, proxy_only=True, once=True, needs=("admin", *needs), **options)


@asynccontextmanager
async def added(s: Session, name: str, file: str = "stateful", *args: str) -> AsyncGenerator[None, None]:
    """A server that was added, until the block is left; when it is left it may be gone already."""
    response = await s.add_server(Server(name, file=file, args=args))
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


async def listed(s: Session, server: str, tool: str) -> None:
    """The tool of a server is listed, at the latest some time after it was added."""

    async def is_there() -> bool:
        return tool in await tools(s, server)

    await s.until(is_there, f"the tool '{tool}' of the added server '{server}' is not listed")


async def offers(s: Session, server: str, tool: str) -> None:
    """The tool of a server is listed, and can be called."""
    await listed(s, server, tool)
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


STDIO: tuple[Transport, ...] = ("stdio",)
RESIDENTS = (Server("resident", file="everything"), Server("beside", file="stateful"))
"""Servers that stay, in a world of their own: over SSE and HTTP nobody else is connected to them."""
ROUNDS = 4
"""Of the same requests, after which a proxy that greets its servers for each of them is not taken for a late one."""


def greetings(s: Session) -> list[str]:
    """What began at the servers that stay, since their journals were marked."""
    return [
        f"{server.name}: {entry.get('method', entry['at'])}"
        for server in RESIDENTS
        for entry in s.journal(server.name).entries
        if entry["at"] == "started" or entry.get("method") == "initialize"
    ]


async def use_all(s: Session) -> None:
    await s.merged("tools")
    await s.call_tool("resident", "test_simple_text", {})
    await s.call_tool("beside", "recall", {"key": "any"})


async def settled(s: Session) -> None:
    """The servers that stay are used without being greeted for it: connections may open late.

    Raises:
        NotApplicable: they are greeted each time.
    """
    for _ in range(ROUNDS):
        for server in RESIDENTS:
            s.journal(server.name).mark()
        await use_all(s)
        if not greetings(s):
            return
    raise NotApplicable("it greets its servers anew for every request")


@dynamic("dynamic:add:others", servers=RESIDENTS)
async def add_others(s: Session) -> None:
    await settled(s)
    async with added(s, "newcomer", "silent"):
        await offers(s, "newcomer", "hello")
        await use_all(s)
        s.equal(greetings(s), [], "when a server is added, others are started or greeted again")


@dynamic("dynamic:add:twice", "processes", backends=STDIO)
async def add_twice(s: Session) -> None:
    """Whether the second is refused, ignored, or takes the first one's place: in the end one of them does not run."""
    async with added(s, "twice"):
        await offers(s, "twice", "recall")
        first = s.journal("twice")
        await s.add_server(Server("twice", file="stateful"))
        second = s.journal("twice")
        await offers(s, "twice", "recall")

        async def one_runs() -> bool:
            return not (running(first) and running(second))

        try:
            await s.until(one_runs, "two servers run under one name", END_WAIT)
        finally:
            await remove(s, "twice")
            kill(processes(first, second))


async def stays(s: Session, kind: ListKind, use: Callable[[], Awaitable[Outcome]]) -> None:
    """What the others offer of this kind, and what is in it, is the same when another server has come and gone."""

    async def now() -> Message:
        response = (await use()).response
        result = response.get("result") or {}
        used = {key: result[key] for key in ("content", "messages", "contents") if key in result}
        return {"listed": await s.merged(kind), "used": used or response.get("error")}

    try:
        before = await now()
    except Failure as failure:
        raise NotApplicable(f"before anything is removed, {failure.message}") from None
    async with added(s, "passing", "changing"):
        await listed(s, "passing", "change")  # and not called, as that would tell of a change
        await remove(s, "passing")
        await offers_nothing(s, "passing")
        s.equal(await now(), before, f"when a server was removed, the {kind} of the others are not what they were")


@dynamic("dynamic:remove:tools", servers=RESIDENTS)
async def tools_stay(s: Session) -> None:
    await stays(s, "tools", lambda: s.call_tool("resident", "test_simple_text", {}))


@dynamic("dynamic:remove:prompts", servers=RESIDENTS)
async def prompts_stay(s: Session) -> None:
    await stays(s, "prompts", lambda: s.get_prompt("resident", "test_simple_prompt"))


@dynamic("dynamic:remove:resources", servers=RESIDENTS)
async def resources_stay(s: Session) -> None:
    await stays(s, "resources", lambda: s.read("resident", "test://static-text"))


@dynamic("dynamic:remove:ended", "processes", backends=STDIO)
async def remove_ends(s: Session) -> None:
    """It is one that goes on when its stdin is closed, as servers do that are at work."""
    async with added(s, "ending", "silent", "--stay"):
        await offers(s, "ending", "hello")
        await remove(s, "ending")
        await require_gone(s, processes(s.journal("ending")), "the process of the removed server 'ending' is left")
