"""Scenarios of the area pagination."""

from conformance.fixtures import Server
from conformance.session import LISTS, ListKind, Session

from .registry import scenario


async def saw_names(s: Session, kind: ListKind) -> None:
    key = LISTS[kind][2]
    s.saw(kind, sorted(entry[key] for entry in await s.list(kind, "paginated")))


@scenario("pagination:backend:tools", servers=("paginated", "everything"))
async def tools(s: Session) -> None:
    await saw_names(s, "tools")


@scenario("pagination:backend:prompts", servers=("paginated", "everything"))
async def prompts(s: Session) -> None:
    await saw_names(s, "prompts")


@scenario("pagination:backend:resources", servers=("paginated", "everything"))
async def resources(s: Session) -> None:
    await saw_names(s, "resources")


@scenario("pagination:backend:templates", servers=("paginated", "everything"))
async def templates(s: Session) -> None:
    await saw_names(s, "templates")


@scenario("pagination:cursor:invalid", servers=("paginated", "everything"))
async def invalid_cursor(s: Session) -> None:
    outcome = await s.request("paginated", "tools/list", {"cursor": "nobody gave this out"})
    s.equal(outcome.error.get("code"), -32602, "an unknown cursor got another error")


ROUND = Server("round", file="paginated", args=("--pages", "loop"))


@scenario("pagination:backend:loop", servers=(ROUND, "everything"), proxy_only=True)
async def loop(s: Session) -> None:
    offered = {tool["name"] for tool in await s.list("tools", "everything")}
    s.require("test_simple_text" in offered, "the tools of another backend are not listed", actual=sorted(offered))
