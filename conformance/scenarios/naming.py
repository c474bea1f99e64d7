"""Scenarios of the area naming: two servers of one file, so that all that they offer collides."""

import re
from collections import Counter

from conformance.fixtures import Server
from conformance.naming import Kind
from conformance.session import LISTS, Session

from .registry import scenario
from .resources import follow_link

SIDES = ("left", "right")
PAIR = tuple(Server(side, file="malformed") for side in SIDES)
VENDOR = "malformed://vendor"
SEPARATED = ("with::colons", "with__underscores", "with-hyphens", "with.dots", "with/slashes")
"""Tools with what proxies put between server and tool."""

LEGAL = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def public(s: Session, kind: Kind, name: str) -> list[str]:
    """What the target calls a tool or prompt that both servers have."""
    return [s.scheme.public(kind, side, name) for side in SIDES]


@scenario("naming:collision:listed", servers=PAIR, proxy_only=True, needs=("shared endpoint",))
async def listed(s: Session) -> None:
    offered = [tool["name"] for tool in await s.merged("tools")]
    both = public(s, "tool", "echo")
    s.require(len(set(both)) == 2, "two tools of one name are offered under the same name", actual=both)
    s.equal([name for name in both if name in offered], both, "a tool is not offered, another has the same name")


@scenario("naming:collision:routed", servers=PAIR)
async def routed(s: Session) -> None:
    for side in SIDES:
        await s.call_tool(side, "echo", {"meant": side})
    for side in SIDES:
        received = [call["params"].get("arguments") for call in s.journal(side).received("tools/call")]
        s.equal(received, [{"meant": side}], f"the calls that reached the {side} server are not the one for it")


@scenario("naming:collision:prompts", servers=PAIR)
async def prompts(s: Session) -> None:
    offered = [prompt["name"] for prompt in await s.merged("prompts")]
    for name in public(s, "prompt", "vendor"):
        s.require(name in offered, f"the prompt {name} is not offered", actual=offered)
    for side in SIDES:
        await s.get_prompt(side, "vendor", {"topic": side})
    for side in SIDES:
        received = [get["params"].get("arguments") for get in s.journal(side).received("prompts/get")]
        s.equal(received, [{"topic": side}], f"the prompts got from the {side} server are not the one meant")


@scenario("naming:collision:resources", servers=PAIR)
async def resources(s: Session) -> None:
    for side in SIDES:
        s.require((await s.read(side, VENDOR)).result.get("contents"), "a read gave nothing")
    for side in SIDES:
        received = [read["params"].get("uri") for read in s.journal(side).received("resources/read")]
        s.equal(received, [VENDOR], f"the reads that reached the {side} server are not the one for it")


@scenario("naming:unique:names", servers=PAIR)
async def unique(s: Session) -> None:
    for kind, (_, _, key) in LISTS.items():
        count = Counter(entry[key] for entry in await s.merged(kind))
        s.equal([name for name, times in count.items() if times > 1], [], f"these {kind} are in the list twice")


@scenario("naming:separator:inside")
async def separator(s: Session) -> None:
    for name in SEPARATED:
        outcome = await s.call_tool("malformed", name, {})
        s.saw(name, outcome.result.get("content"))


@scenario("naming:charset:legal")
async def charset(s: Session) -> None:
    """Names that are illegal at the backend already are none of the proxy's making."""
    born_illegal = tuple(name for name in SEPARATED if not LEGAL.fullmatch(name))
    offered = [tool["name"] for tool in await s.merged("tools")]
    illegal = [name for name in offered if not LEGAL.fullmatch(name) and not name.endswith(born_illegal)]
    s.equal(illegal, [], "these tool names have characters or a length that they should not have")


@scenario("naming:links:rewritten", servers=PAIR)
async def links(s: Session) -> None:
    for side in SIDES:
        await follow_link(s, side, VENDOR)
