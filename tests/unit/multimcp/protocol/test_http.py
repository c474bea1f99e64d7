"""The heads of HTTP requests: which are refused, how and why."""

import json
from typing import Any

import pytest

from multimcp.protocol.http import Refusal, asked_spelling, read_head, read_post

MODERN = {"mcp-protocol-version": "2026-07-28"}


def head(method: str = "POST", *more: tuple[str, str], query: str = "", **headers: str) -> Any:
    given = [*((name.replace("_", "-"), text) for name, text in headers.items()), *more]
    return read_head(method, [(name.encode(), text.encode()) for name, text in given], query.encode())


@pytest.mark.parametrize(
    ("accept", "json_taken", "events_taken", "prefers_stream"),
    [
        *((missing, True, True, False) for missing in (None, "", "  ")),
        ("*/*", True, True, False),
        ("application/json, text/event-stream", True, True, False),
        ("text/event-stream, application/json", True, True, True),
        ("TEXT/EVENT-STREAM , Application/*", True, True, True),
        ("application/json;q=0.5, text/event-stream;q=0.9", True, True, True),
        ("text/event-stream;q=0.1, application/json", True, True, False),
        ("application/json", True, False, False),
        ("text/event-stream", False, True, True),
        ("text/*", False, True, True),
        ("*/*, application/json;q=0", False, True, True),
        ("application/json; charset=utf-8; q=0.3", True, False, False),
        ("application/json;q=odd", True, False, False),
        ("*/*, text/event-stream;q=0", True, False, False),
    ],
)
def test_what_a_client_takes(accept: str | None, json_taken: bool, events_taken: bool, prefers_stream: bool) -> None:
    found = head(**({"accept": accept} if accept is not None else {}))
    assert (found.takes_json, found.takes_events, found.prefers_stream) == (json_taken, events_taken, prefers_stream)


def test_several_accept_headers_are_one() -> None:
    found = head("POST", ("accept", "application/json"), ("accept", "text/event-stream"))
    assert found.takes_json
    assert found.takes_events
    assert not found.prefers_stream


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {}, 405),
        ("POST", {"accept": "text/html"}, 406),
        ("POST", {"accept": "application/json;q=0, text/event-stream;q=0"}, 406),
        ("POST", {"content_type": "text/plain"}, 415),
        ("POST", {"content_encoding": "gzip"}, 415),
        ("GET", {"mcp_protocol_version": "2026-07-28"}, 405),
        ("DELETE", {"mcp_protocol_version": "2026-07-28"}, 405),
        ("GET", {"mcp_protocol_version": "1999-01-01"}, 400),
        ("GET", {"accept": "application/json"}, 406),
    ],
)
def test_heads_that_are_refused(method: str, headers: dict[str, str], status: int) -> None:
    with pytest.raises(Refusal) as refused:
        head(method, **headers)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"content_type": "Application/JSON; charset=utf-8"}),
        ("POST", {"content_encoding": "Identity"}),
        ("POST", {"content_type": ""}),
        ("POST", {"mcp_protocol_version": " 2025-06-18 "}),
        ("GET", {"accept": "text/event-stream"}),
        ("DELETE", {"accept": "application/json", "mcp_protocol_version": "2025-06-18"}),
    ],
)
def test_heads_that_are_taken(method: str, headers: dict[str, str]) -> None:
    assert head(method, **headers).era == "legacy"


@pytest.mark.parametrize(
    ("version", "era", "is_resumable"),
    [
        ("", "legacy", False),
        ("2025-06-18", "legacy", False),
        ("2025-11-25", "legacy", True),
        ("2026-07-28", "modern", False),
        ("2099-01-01", "modern", False),
    ],
)
def test_the_era_that_a_head_says(version: str, era: str, is_resumable: bool) -> None:
    found = head(mcp_protocol_version=version)
    assert (found.era, found.is_resumable) == (era, is_resumable)


def modern(method: str = "tools/list", **more: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}, **more}


LIST = (("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list"))


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "number"),
    [
        ((), b"{", 400, -32700, None),
        ((), b"[]", 400, -32600, None),
        ((), b'{"jsonrpc": "2.0", "id": 3, "method": "a", "params": []}', 400, -32602, 3),
        ((), b'{"id": 3, "method": "a"}', 400, -32600, 3),
        (LIST, {"jsonrpc": "2.0", "id": 1, "result": {}}, 400, -32600, 1),
        (LIST, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 400, -32602, 1),
        ((*LIST, ("mcp-method", "tools/list")), modern(), 400, -32020, 1),
        ((*LIST[:1], ("mcp-method", "tools/call")), modern(), 400, -32020, 1),
        *(
            ((("mcp-protocol-version", odd),), {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 400, -32022, 1)
            for odd in ("2099-01-01", "1999-01-01", "banana", "2025-06-18, 2025-06-18")
        ),
        ((("mcp-protocol-version", "2099-01-01"),), {"jsonrpc": "2.0", "method": "notifications/x"}, 400, -32022, None),
    ],
)
def test_messages_that_are_refused(headers: Any, body: Any, status: int, code: int, number: int | None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = head("POST", *headers)
    with pytest.raises(Refusal) as refused:
        read_post(found, data)
    assert (refused.value.status, refused.value.fault.code, refused.value.number) == (status, code, number)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (LIST, modern()),
        (LIST[:1], {"jsonrpc": "2.0", "method": "notifications/x"}),
        ((), {"jsonrpc": "2.0", "id": 1, "method": "x"}),
    ],
)
def test_messages_that_are_taken(headers: Any, body: Any) -> None:
    arrived = read_post(head("POST", *headers), json.dumps(body).encode())
    assert arrived.message.method == body["method"]
    assert (arrived.meta is not None) == ("params" in body)


@pytest.mark.parametrize(
    ("query", "spelling"), [("", None), ("names=llm", "llm"), ("x=1&names=plain", "plain"), ("unnamed=1", None)]
)
def test_the_spelling_that_a_query_asks_for(query: str, spelling: str | None) -> None:
    assert asked_spelling(query.encode()) == spelling
    assert head(query=query).origin.names == spelling


@pytest.mark.parametrize("query", ["names=", "names=odd", "names=llm&names=x"])
def test_a_spelling_that_there_is_not(query: str) -> None:
    with pytest.raises(Refusal, match="is not one of plain, llm") as refused:
        head(query=query)
    assert refused.value.status == 400
