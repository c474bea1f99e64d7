"""Scenarios of the area pagination."""

from conformance.fixtures import Server
from conformance.session import LISTS, MAX_PAGES, ListKind, Session
from conformance.wire import Message

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


@scenario(
    "pagination:backend:same-cursor",
    servers=(Server("stuck", file="odd", args=("--list", "same-cursor")),),
    proxy_only=True,
)
async def same_cursor(s: Session) -> None:
    await offers_all(s, "stuck")


@scenario(
    "pagination:backend:empty-cursor",
    servers=(Server("emptying", file="odd", args=("--list", "empty-cursor")),),
    proxy_only=True,
)
async def empty_cursor(s: Session) -> None:
    await offers_all(s, "emptying")


async def until_again(s: Session, server: str) -> list[Message]:
    """The tools on all pages up to a cursor that was there before: some proxies hand on what the server says."""
    tools: list[Message] = []
    cursors: list[object] = []
    params: Message = {}
    while len(cursors) < MAX_PAGES:
        result = (await s.request(server, "tools/list", params)).response.get("result") or {}
        tools += result.get("tools", [])
        cursor = result.get("nextCursor")
        if cursor is None or cursor in cursors:
            return tools
        cursors.append(cursor)
        params = {"cursor": cursor}
    return tools


async def offers_all(s: Session, server: str) -> None:
    """The first tool of an odd server and its last one are offered."""

    async def offered() -> bool:
        own = {s.scheme.own("tool", server, tool["name"]) for tool in await until_again(s, server)}
        return {"hello", "change"} <= own

    await s.until(offered, f"tools of '{server}' are not offered")
