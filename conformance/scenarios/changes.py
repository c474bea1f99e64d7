"""Scenarios of the area changes.

Rules:
- What is added to a list has a name of its own each time, and is taken out at the end: a proxy may tell of several
  changes at once, and a list in which nothing changed in the end is not told of.
- A scenario ends when the client was told of that, too, lest the next one takes it for its own.
"""

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from conformance.fixtures import Server
from conformance.session import Session
from conformance.verdict import Failure, NotOffered, told_by

from .registry import scenario
from .watching import ACKNOWLEDGED, LIST_CHANGED, Watch, watching

SERVERS = ("asking", "changing")
OLD = Server("old", file="asking", era="legacy")
QUIET = Server("quiet", file="changing", args=("--quiet",))
OLD_AND_QUIET = (OLD, QUIET)
"""Two that are of no interest to each other, in one world for the sake of time."""

SHOWS_WAIT = 5.0
"""Seconds in which a change that nobody told of has to show."""

_numbers = itertools.count(1)


@asynccontextmanager
async def changed(
    s: Session, kind: str, watch: Watch | None = None, server: str = "changing"
) -> AsyncGenerator[str, None]:
    """There is one more entry in a list, whose name this yields; at the end it is taken out again.

    Args:
        watch: who has to be told of the end, if of the beginning.
    """
    name = f"more-{next(_numbers)}"
    # A proxy that connects when it is first called would read the lists after the change.
    await s.call_tool(server, "touch", {"uri": "changing://nothing"})
    await s.call_tool(server, "change", {"kind": kind, "name": name})
    try:
        yield name
    finally:
        told = len(watch.heard(LIST_CHANGED[kind])) if watch else 0
        await s.call_tool(server, "change", {"kind": kind, "name": name})
        if watch and told:
            with suppress(Failure):
                await watch.hears(LIST_CHANGED[kind], told + 1)


async def told(s: Session, kind: str) -> None:
    async with watching(s, "changing", kind) as watch, changed(s, kind, watch):
        s.saw("told", (await watch.hears(LIST_CHANGED[kind]))["method"])


async def offers(s: Session, server: str, name: str) -> bool:
    return name in [tool["name"] for tool in await s.list("tools", server)]


@scenario("changes:tools:notified", servers=SERVERS, remembers=True)
async def tools(s: Session) -> None:
    await told(s, "tools")


@scenario("changes:prompts:notified", servers=SERVERS, remembers=True)
async def prompts(s: Session) -> None:
    await told(s, "prompts")


@scenario("changes:resources:notified", servers=SERVERS, remembers=True)
async def resources(s: Session) -> None:
    await told(s, "resources")


@scenario("changes:list:fresh", servers=SERVERS, remembers=True)
async def fresh(s: Session) -> None:
    async with watching(s, "changing", "tools") as watch, changed(s, "tools", watch) as name:
        shows = False
        with suppress(Failure):  # nothing more is told
            for times in itertools.count(1):
                await watch.hears(LIST_CHANGED["tools"], times)
                if shows := await offers(s, "changing", name):
                    break
        if not watch.heard(LIST_CHANGED["tools"]):  # that is another requirement's
            shows = await offers(s, "changing", name)
        s.require(shows, "the list does not show the change, though nothing more is told", name)


@scenario("changes:capability:declared", servers=SERVERS)
async def declared(s: Session) -> None:
    """Whoever declares it says the truth, or fails elsewhere; whoever does not must not notify either."""
    kinds = ("tools", "prompts", "resources")
    silent = [kind for kind in kinds if not await s.offers(f"{kind}.listChanged")]
    told = [kind for kind in silent if await notified(s, kind)]
    s.equal(told, [], "changes of these lists are notified, and listChanged is not declared")
    if len(silent) == len(kinds):
        raise NotOffered("it declares no listChanged, and notifies of no change")


async def notified(s: Session, kind: str) -> bool:
    """Whether a change of a list is notified."""
    try:
        async with watching(s, "changing", kind) as watch, changed(s, kind, watch):
            await watch.hears(LIST_CHANGED[kind])
    except Failure:
        return False
    return True


@scenario("changes:clients:each", servers=SERVERS, clients=("sse", "http"), remembers=True)
async def each(s: Session) -> None:
    other = s.another()
    async with (
        watching(s, "changing", "tools") as mine,
        watching(other, "changing", "tools") as others,
        changed(s, "tools", mine),
    ):
        with told_by("changes:tools:notified" if s.era == "legacy" else "changes:listen:tools"):
            s.saw("the one who changed it", (await mine.hears(LIST_CHANGED["tools"]))["method"])
        s.saw("the other", (await others.hears(LIST_CHANGED["tools"]))["method"])


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
        async with changed(s, "tools"), changed(s, "prompts", watch):
            with told_by("changes:listen:prompts"):
                await watch.hears(LIST_CHANGED["prompts"])
        s.saw("heard", sorted({message["method"] for message in watch.heard()} - {ACKNOWLEDGED}))


@scenario("changes:backend:quiet", servers=OLD_AND_QUIET, once=True)
async def quiet(s: Session) -> None:
    await s.list("tools", "quiet")  # a proxy has read them before
    async with changed(s, "tools", server="quiet") as name:
        what = f"the list does not show a change of {SHOWS_WAIT:g} s ago"
        await s.until(lambda: offers(s, "quiet", name), what, SHOWS_WAIT)
