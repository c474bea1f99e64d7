"""A request at the door: what is refused, who is known, and what the log says."""

from types import SimpleNamespace
from typing import Any

import pytest

from multimcp.errors import Fault
from multimcp.protocol import admission
from multimcp.protocol.admission import Visitors, check, introduced, named
from multimcp.protocol.message import pack


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
        ({"name": "a\nb", "version": 2}, (r"a\nb", "2")),
    ],
)
def test_how_a_client_introduces_itself(info: Any, shown: tuple[str, str]) -> None:
    assert introduced(info) == shown


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
