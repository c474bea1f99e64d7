"""Scenarios of the area tools."""

from conformance.session import Session

from .registry import scenario


@scenario("tools:list:whole")
async def whole(s: Session) -> None:
    s.saw("tools", await s.list("tools", "everything"))


@scenario("tools:call:text")
async def text(s: Session) -> None:
    s.saw("content", (await s.call_tool("everything", "test_simple_text", {})).result["content"])
