"""A request at the door: what is refused, who is known, and what the log says."""

from types import SimpleNamespace
from typing import Any

import pytest

from multimcp.errors import Fault
from multimcp.protocol import admission
from multimcp.protocol.admission import ToldBehind, Visitors, check, check_headers, introduced, named, outcome
from multimcp.protocol.catalog import Names, build
from multimcp.protocol.lists import Pages
from multimcp.protocol.message import Message, failed, opened, pack, succeeded
from multimcp.protocol.offer import TOOLS, Offer
from multimcp.protocol.routing import Router, View
from tests.support.fakes import Port


def call(method: str, era: str, *, session: object = object(), level: str | None = None) -> Any:
    return SimpleNamespace(method=method, era=era, session=session, level=level)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (call("ping", "legacy", session=None), None),
        (call("tools/list", "legacy"), None),
        (call("tools/list", "modern", session=None), None),
        (call("tools/list", "legacy", session=None), -32600),
        (call("server/discover", "legacy"), -32601),
        (call("initialize", "modern", session=None), -32601),
        *((call(method, "legacy"), -32601) for method in ("", "roots/list", "notifications/initialized")),
        *((call(method, "modern"), -32601) for method in ("", "elicitation/create", "notifications/cancelled")),
        (call("tools/call", "modern", level="info"), None),
        (call("tools/call", "modern", level="loud"), -32602),
    ],
)
def test_which_requests_are_taken(request_: Any, code: int | None) -> None:
    if code is None:
        check(request_)
    else:
        with pytest.raises(Fault) as caught:
            check(request_)
        assert caught.value.code == code


def test_visitors_are_known_again_and_the_silent_ones_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "KNOWN", 2)
    visitors = Visitors()
    a, b, c = (("x", "1", transport) for transport in "abc")
    assert visitors.visit(a, 1) == (1, True)
    assert visitors.visit(b, 2) == (2, True)
    assert visitors.visit(a, 3) == (1, False)
    assert visitors.visit(c, 4) == (4, True)  # b was silent longest
    assert visitors.visit(a, 5) == (1, False)
    assert visitors.visit(b, 6) == (6, True)


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        ({"name": "x", "version": "1"}, ("x", "1")),
        (None, ("unnamed", "")),
        ([], ("unnamed", "")),
        ({"name": "a\nb", "version": 2}, (r"a\nb", "2")),
        ({"name": "x", "version": "1", "icons": ["y" * 2000]}, ("x", "1")),
    ],
)
def test_how_a_client_introduces_itself(info: Any, shown: tuple[str, str]) -> None:
    assert introduced(None if info is None else pack(info)) == shown


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"name": "t"}, "t"),
        ({"uri": "a:b"}, "a:b"),
        ({"ref": {"type": "ref/prompt", "name": "p"}}, "p"),
        ({"name": 1}, ""),
        ({}, ""),
    ],
)
def test_what_a_request_is_about(params: dict[str, Any], name: str) -> None:
    assert named({key: pack(value) for key, value in params.items()}) == name


def offering(**schemas: Any) -> View:
    """A client's view of one server with these tools."""
    pages = Pages(TOOLS)
    list(pages.add({"tools": pack([{"name": name, "inputSchema": schema} for name, schema in schemas.items()])}))
    offers = {"s": Offer("2026-07-28", listings={TOOLS: pages.listing()})}
    return View(build(offers, Names(), {}), offers, ("s",), False)


REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@pytest.mark.parametrize(
    ("schemas", "params", "headers", "is_taken"),
    [
        ({"t": REGION}, {"name": "s::t", "arguments": {"region": "eu"}}, {b"mcp-param-region": b"eu"}, True),
        ({"t": REGION}, {"name": "s::t", "arguments": {"region": "eu"}}, {b"mcp-param-region": b"us"}, False),
        ({"t": REGION}, {"name": "s::t", "arguments": {"region": "eu"}}, {}, False),
        ({"t": REGION}, {"name": "s::t", "arguments": {}}, {b"mcp-param-region": b"eu"}, False),
        ({"t": REGION}, {"name": "s::t"}, {}, True),
        ({"t": REGION}, {"name": "s__t", "arguments": {"region": "eu"}}, {}, False),  # another spelling, same tool
        ({"t": REGION, "u": {}}, {"name": "s::u", "arguments": {"region": "eu"}}, {}, True),
        ({"t": REGION}, {"name": "s::none", "arguments": {"region": "eu"}}, {}, True),  # refused later, as unknown
        ({"u": {}}, {"name": "s::u", "arguments": {"region": "eu"}}, {b"mcp-param-region": b"us"}, True),
    ],
)
def test_headers_say_what_the_arguments_do(schemas: Any, params: Any, headers: Any, is_taken: bool) -> None:
    view, given = offering(**schemas), opened(pack(params))
    if is_taken:
        check_headers(view, Router(), given, headers)
    else:
        with pytest.raises(Fault) as caught:
            check_headers(view, Router(), given, headers)
        assert caught.value.code == -32020


ERROR = {"code": -32603, "message": "no"}


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (succeeded(), {"result": {"_meta": {"multi-mcp/chain": {"me": 0}}}}),
        (
            succeeded(pack({"tools": [1.0], "_meta": {"a": 1, "multi-mcp/chain": {"other": 0}}})),
            {"result": {"tools": [1.0], "_meta": {"a": 1, "multi-mcp/chain": {"me": 0}}}},
        ),
        (Message("2.0", error=pack(ERROR)), {"error": ERROR}),
    ],
)
def test_another_multi_mcp_is_told_who_is_behind_this_one(answer: Message, got: dict[str, Any]) -> None:
    port, behind = Port(), {"old": 0}
    told = ToldBehind(port, lambda: behind)
    told.tell(b'{"a": 1}')
    behind = {"me": 0}  # whoever is there when it is answered
    told.done(answer)
    assert port.got == [{"a": 1}, {"jsonrpc": "2.0", "id": "c", **got}]


def test_a_call_of_another_multi_mcp_that_was_given_up_gets_no_answer() -> None:
    port = Port()
    ToldBehind(port, dict).done(None)
    assert port.got == [None]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (None, "cancelled"),
        (succeeded(), "ok"),
        (succeeded(pack({"isError": False})), "ok"),
        (succeeded(pack({"isError": "true"})), "ok"),
        (succeeded(pack({"isError": True})), "isError"),
        (failed(Fault(-32001, "late")), "error -32001"),
        (Message("2.0", error=pack("no")), "error"),
    ],
)
def test_how_a_request_went(answer: Message | None, line: str) -> None:
    assert outcome(answer) == line
