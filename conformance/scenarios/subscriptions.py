"""Scenarios of the area subscriptions."""

from conformance.fixtures import Server
from conformance.session import Session
from conformance.verdict import Failure, NotOffered, told_by

from .changes import SERVERS
from .registry import scenario
from .watching import UPDATED, Watch, watching

A = "changing://a"
B = "changing://b"


async def touch(s: Session, uri: str, server: str = "changing") -> None:
    """A resource changes; its URI as the server spells it."""
    await s.call_tool(server, "touch", {"uri": uri})


@scenario("subscriptions:capability:declared", servers=SERVERS)
async def declared(s: Session) -> None:
    """Whoever declares it says the truth, or fails elsewhere; whoever does not must not notify either."""
    if await s.offers("resources.subscribe"):
        s.require(True, "")
        return
    try:
        async with watching(s, "changing", uris=[await s.uri("changing", A)]) as watch:
            await touch(s, A)
            await watch.hears(UPDATED)
    except Failure:
        raise NotOffered("it does not declare resources.subscribe, and notifies of no update") from None
    raise Failure("updates of resources are notified, and subscribe is not declared")


@scenario("subscriptions:update:arrives", servers=SERVERS, remembers=True)
async def arrives(s: Session) -> None:
    async with watching(s, "changing", uris=[await s.uri("changing", A)]) as watch:
        await touch(s, A)
        s.saw("heard", (await watch.hears(UPDATED))["method"])


@scenario("subscriptions:uri:unknown", servers=SERVERS)
async def unknown(s: Session) -> None:
    """A proxy that lets nobody subscribe has no such method, which is an error as well."""
    for uri in ("changing://nobody-has-this", "nobody://has-this"):
        response = (await s.request("changing", "resources/subscribe", {"uri": await s.uri("changing", uri)})).response
        s.require("error" in response, "a subscription to an unknown URI is no error", "an error", response)


@scenario("subscriptions:update:subscriber-only", servers=SERVERS, clients=("sse", "http"), remembers=True)
async def subscriber_only(s: Session) -> None:
    other = s.another()
    a, b = await s.uri("changing", A), await s.uri("changing", B)
    async with watching(s, "changing", uris=[a]) as mine, watching(other, "changing", uris=[b]) as others:
        with told_by("subscriptions:update:arrives"):
            await touch(s, A)
            await mine.hears(UPDATED)
        await each_its_own(s, a, mine, b, others)


async def each_its_own(s: Session, a: str, watch_a: Watch, b: str, watch_b: Watch) -> None:
    """Each is told of its resource and of no other; what is told wrongly would come first."""
    await touch(s, A)
    await watch_a.hears(UPDATED)
    await touch(s, B)
    await watch_b.hears(UPDATED)
    await touch(s, A)
    await watch_a.hears(UPDATED, times=2)
    s.equal(updated(watch_a)[:2], [a, a], "the first was told of other updates than of its own resource")
    s.equal(updated(watch_b)[:1], [b], "the second was told of an update of the other's resource")


def updated(watch: Watch) -> list[object]:
    """The URIs of the updates that were heard of."""
    return [(message.get("params") or {}).get("uri") for message in watch.heard(UPDATED)]


@scenario("subscriptions:unsubscribe:stops", servers=SERVERS, remembers=True)
async def unsubscribe(s: Session) -> None:
    a, b = await s.uri("changing", A), await s.uri("changing", B)
    async with watching(s, "changing", uris=[b]) as watch:
        async with watching(s, "changing", uris=[a]):
            await touch(s, A)
            with told_by("subscriptions:update:arrives"):
                await watch.hears(UPDATED)
        await touch(s, A)
        await touch(s, B)
        await watch.hears(UPDATED, times=2)
        s.equal(updated(watch)[:2], [a, b], "an update came after the client had unsubscribed")


@scenario("subscriptions:listen:update", servers=SERVERS)
async def listen(s: Session) -> None:
    a, b = await s.uri("changing", A), await s.uri("changing", B)
    async with watching(s, "changing", uris=[a]) as first, watching(s, "changing", uris=[b]) as second:
        await each_its_own(s, a, first, b, second)


@scenario(
    "subscriptions:update:uri",
    servers=(Server("left", file="changing"), Server("right", file="changing")),
    remembers=True,
)
async def uri(s: Session) -> None:
    """Two servers have the same URI, so that a proxy has to call one of them otherwise."""
    for server in ("left", "right"):
        public = await s.uri(server, A)
        async with watching(s, server, uris=[public]) as watch:
            await touch(s, A, server)
            with told_by("subscriptions:update:arrives" if s.era == "legacy" else "subscriptions:listen:update"):
                await watch.hears(UPDATED)
            s.equal(updated(watch)[0], public, "the update names another URI than the client's")
