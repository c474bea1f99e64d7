"""Scenarios of the area errors."""

from conformance.session import Session

from .registry import scenario


@scenario("errors:protocol:whole")
async def whole(s: Session) -> None:
    data = {"vendor": {"kept": [None, 1, "x"]}}
    for error in ({"code": -32603, "message": "Broken \u2603", "data": data}, {"code": -32602, "message": "No data"}):
        outcome = await s.call_tool("malformed", "error", {"error": error})
        s.equal(outcome.error, error, "the backend's error arrived changed")


@scenario("errors:protocol:codes")
async def codes(s: Session) -> None:
    for code in (-1, 1, 404, -40000):
        outcome = await s.call_tool("malformed", "error", {"error": {"code": code, "message": "A vendor's error"}})
        s.equal(outcome.error.get("code"), code, "the backend's error code arrived changed")


@scenario("errors:prompt:whole")
async def prompt(s: Session) -> None:
    s.saw("error", (await s.get_prompt("malformed", "vendor", {"topic": "failing"})).error)


@scenario("errors:resource:whole")
async def resource(s: Session) -> None:
    s.saw("error", (await s.read("malformed", "malformed://vendor/failing")).error)


@scenario("errors:params:invalid")
async def invalid(s: Session) -> None:
    outcome = await s.request("everything", "tools/call", {"arguments": {}})
    s.equal(outcome.error.get("code"), -32602, "a tool call without a name got another error")
    after = await s.call_tool("everything", "test_simple_text", {})
    s.saw("a call after it", after.result.get("content"))
