"""Scenarios of the area naming: two servers of one file, so that all that they offer collides."""

import re
from collections import Counter
from collections.abc import Sequence

from conformance.fixtures import Server
from conformance.naming import Kind
from conformance.session import LISTS, Session

from .misfits import MISFIT, taken
from .registry import scenario
from .resources import follow_link

SIDES = ("left", "right")
PAIR = tuple(Server(side, file="mirror") for side in SIDES)
FULL = "mirror://full"
SEPARATED = Server("separated", file="mirror", args=("--separators",))
LEGAL_NAMES = ("with__underscores", "with-hyphens", "with.dots")
ODD_NAMES = ("with::colons", "with/slashes")
"""Tools with what proxies put between server and tool, in characters that all may have, and in others."""

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
    for name in public(s, "prompt", "full"):
        s.require(name in offered, f"the prompt {name} is not offered", actual=offered)
    for side in SIDES:
        await s.get_prompt(side, "full", {"topic": side})
    for side in SIDES:
        received = [get["params"].get("arguments") for get in s.journal(side).received("prompts/get")]
        s.equal(received, [{"topic": side}], f"the prompts got from the {side} server are not the one meant")


@scenario("naming:collision:resources", servers=PAIR)
async def resources(s: Session) -> None:
    for side in SIDES:
        s.require((await s.read(side, FULL)).result.get("contents"), "a read gave nothing")
    for side in SIDES:
        received = [read["params"].get("uri") for read in s.journal(side).received("resources/read")]
        s.equal(received, [FULL], f"the reads that reached the {side} server are not the one for it")


@scenario("naming:unique:names", servers=PAIR)
async def unique(s: Session) -> None:
    for kind, (_, _, key) in LISTS.items():
        if kind != "tools" and not await s.offers("resources" if kind == "templates" else kind):
            continue
        count = Counter(entry[key] for entry in await s.merged(kind))
        s.equal([name for name, times in count.items() if times > 1], [], f"these {kind} are in the list twice")


@scenario("naming:separator:inside", servers=(SEPARATED,))
async def separator(s: Session) -> None:
    await called(s, "separated", LEGAL_NAMES)


@scenario("naming:separator:inside", servers=(MISFIT,), may_refuse=True)
async def odd_separator(s: Session) -> None:
    """Whoever leaves out a server with such names leaves out what the specification advises against."""
    await taken(s)
    await called(s, MISFIT.name, ODD_NAMES)


async def called(s: Session, server: str, names: Sequence[str]) -> None:
    """These tools, of which each answers with its name, can be called."""
    for name in names:
        content = (await s.call_tool(server, name, {})).result.get("content")
        s.equal(content, [{"type": "text", "text": name}], f"the call of {name} has another result")


@scenario("naming:charset:legal", servers=(SEPARATED, "everything"))
async def charset(s: Session) -> None:
    offered = [tool["name"] for tool in await s.merged("tools")]
    illegal = [name for name in offered if not LEGAL.fullmatch(name)]
    s.equal(illegal, [], "these tool names have characters or a length that they should not have")


@scenario("naming:links:rewritten", servers=PAIR)
async def links(s: Session) -> None:
    for side in SIDES:
        await follow_link(s, side, FULL)
