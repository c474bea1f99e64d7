"""Scenarios of the area errors."""

from typing import Any

from conformance.exact import Exact
from conformance.session import Session
from conformance.wire import Message

from .registry import scenario


@scenario("errors:protocol:whole")
async def whole(s: Session) -> None:
    data = {"vendor": {"kept": [None, 1, "x"]}}
    for error in ({"code": -32603, "message": "Broken \u2603", "data": data}, {"code": -32602, "message": "No data"}):
        outcome = await s.call_tool("mirror", "error", {"error": error})
        s.equal(outcome.error, error, "the backend's error arrived changed")


@scenario("errors:protocol:codes")
async def codes(s: Session) -> None:
    for code in (-1, 1, 404, -40000):
        outcome = await s.call_tool("mirror", "error", {"error": {"code": code, "message": "A vendor's error"}})
        s.equal(outcome.error.get("code"), code, "the backend's error code arrived changed")


@scenario("errors:prompt:whole")
async def prompt(s: Session) -> None:
    s.saw("error", (await s.get_prompt("mirror", "full", {"topic": "failing"})).error)


@scenario("errors:resource:whole")
async def resource(s: Session) -> None:
    s.saw("error", (await s.read("mirror", "mirror://full/failing")).error)


@scenario("errors:params:invalid")
async def invalid(s: Session) -> None:
    """Legacy revisions say that it is an error, and not which."""
    code = (await s.request("everything", "tools/call", {"arguments": {}})).error.get("code")
    s.require(s.era == "legacy" or code == -32602, "a tool call without a name got another error", "-32602", code)
    after = await s.call_tool("everything", "test_simple_text", {})
    s.saw("a call after it", after.result.get("content"))


@scenario("errors:request:params", proxy_only=True)
async def params(s: Session) -> None:
    other = s.another()
    for number, params in enumerate(([], 7, "text")):
        message = {"jsonrpc": "2.0", "id": f"params-{number}", "method": "tools/list", "params": params}
        await answered(other, message, f"a request whose params are {params!r}")


@scenario("errors:request:id", proxy_only=True)
async def ids(s: Session) -> None:
    other = s.another()
    for spelled in ("null", "true", "1.5", "3.0"):
        message: Message = {"jsonrpc": "2.0", "id": Exact(spelled), "method": "tools/list"}
        if s.era == "modern":
            message["params"] = {"_meta": (await s.client("everything")).envelope()}
        await answered(other, message, f"a request whose id is {spelled}")


async def answered(s: Session, message: Any, what: str) -> None:
    """Something is answered, and calls go on; of a client that others do not share, since it may be of no use then."""
    client = await s.client("everything")
    call = await client.throw(message)
    s.require(await client.answered(call), f"{what} is not answered", "a response", call.lost or "nothing")
    content = (await s.call_tool("everything", "test_simple_text", {})).result.get("content")
    s.require(content, f"after {what}, a call has another result", "content", content)
