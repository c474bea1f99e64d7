"""How a server is greeted: the ways as a table, the questions by a server that is a list of answers."""

import json
import time
from typing import Any

import pytest
from msgspec import UNSET

from multimcp.errors import BackendError, ChainError, Fault
from multimcp.protocol.eras import CHAIN_KEY, LATEST_LEGACY, LATEST_MODERN
from multimcp.protocol.greeting import (
    WAYS,
    Greeting,
    Hello,
    Refused,
    Transport,
    Unreachable,
    Way,
    greet,
    leads_on,
    refusal,
    remedy,
    tells_of_loss,
)
from multimcp.protocol.message import EMPTY, Era, fields, pack

MODERN, LEGACY, SSE = WAYS["a URL"]
OLD = {"protocolVersion": LATEST_LEGACY, "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
NEW = {"supportedVersions": ["2099-01-01", LATEST_MODERN], "capabilities": {}, "instructions": "Do."}
UNSUPPORTED = Fault(-32022, "no", pack({"supported": [LATEST_MODERN]}))
UNKNOWN = Fault(-32601, "what?")
CHAINED = Fault(-32600, "behind itself", pack({CHAIN_KEY: ["a"]}))


def play(greeting: Greeting, *answers: Any) -> tuple[list[tuple[str, str]], Hello | Exception]:
    """What is asked, and how it ends."""
    asked: list[tuple[str, str]] = []
    left = list(answers)
    try:
        step = next(greeting)
        while True:
            asked.append((step.era, step.method))
            answer = left.pop(0)
            step = greeting.throw(answer) if isinstance(answer, Fault) else greeting.send(fields(pack(answer)))
    except StopIteration as end:
        assert not left
        return asked, end.value
    except (Fault, BackendError) as exc:
        assert not left
        return asked, exc


@pytest.mark.parametrize(
    ("era", "answers", "asked", "ends"),
    [
        ("legacy", [OLD], "i", LATEST_LEGACY),
        (None, [OLD], "i", LATEST_LEGACY),
        ("modern", [NEW], "d", LATEST_MODERN),
        (None, [UNSUPPORTED, NEW], "id", LATEST_MODERN),
        (None, [UNKNOWN, NEW], "id", LATEST_MODERN),
        (None, [UNKNOWN, UNSUPPORTED, UNKNOWN], "idd", UNKNOWN),
        ("legacy", [UNKNOWN], "i", UNKNOWN),
        (None, [CHAINED], "i", CHAINED),
        ("modern", [UNSUPPORTED, NEW], "dd", LATEST_MODERN),
        ("modern", [UNSUPPORTED, UNSUPPORTED], "dd", UNSUPPORTED),
        ("modern", [Fault(-32022, "no", pack({"supported": ["1"]}))], "d", "no"),
        ("modern", [Fault(-32022, "no", pack({"supported": ["2025-11-25"]}))], "d", "no"),
        ("modern", [Fault(-32022, "no", UNSET)], "d", "no"),
        ("modern", [UNKNOWN], "d", UNKNOWN),
        ("legacy", [{**OLD, "protocolVersion": "1999-01-01"}], "i", "speaks protocol revision '1999-01-01'"),
        ("legacy", [{}], "i", "speaks protocol revision None"),
        ("modern", [{"supportedVersions": ["1999-01-01"]}], "d", "none of which"),
        ("modern", [{"supportedVersions": 7}], "d", "none of which"),
    ],
)
def test_greetings(era: Era | None, answers: list[Any], asked: str, ends: Any) -> None:
    questions, result = play(greet(era, EMPTY, EMPTY), *answers)
    assert "".join(method.rpartition("/")[2][0] for _, method in questions) == asked
    assert [spoken for spoken, _ in questions] == [{"i": "legacy", "d": "modern"}[which] for which in asked]
    if isinstance(result, Hello):
        assert result.version == ends
    elif isinstance(ends, Fault):
        assert result is ends
    else:
        assert ends in str(result)


@pytest.mark.parametrize(
    ("data", "goes_on"),
    [
        (UNSET, True),
        (pack({"supported": []}), True),
        (pack({"supported": "2025-11-25"}), True),
        (pack({"supported": ["2025-11-25"]}), True),
        (pack({"supported": ["2025-11-25", "2099-01-01"]}), False),
        (pack({"supported": ["2099-01-01"]}), False),
    ],
)
def test_a_server_that_supports_no_modern_revision_is_greeted_as_a_legacy_one(data: Any, goes_on: bool) -> None:
    _, fault = play(greet("modern", EMPTY, EMPTY), Fault(-32022, "no", data))
    assert isinstance(fault, Fault)
    assert leads_on(MODERN, Refused("", 400, fault.code)) is goes_on


def test_what_a_server_says_of_itself() -> None:
    _, hello = play(greet("legacy", EMPTY, EMPTY), {**OLD, "instructions": "Do.", "_meta": {CHAIN_KEY: {"x": 0}}})
    assert isinstance(hello, Hello)
    assert (hello.instructions, hello.info, hello.behind) == ("Do.", {"name": "s"}, {"x": 0})
    assert (hello.extensions, hello.problems) == ({}, ())
    _, odd = play(greet("legacy", EMPTY, EMPTY), {**OLD, "instructions": 7, "serverInfo": "s", "capabilities": []})
    assert isinstance(odd, Hello)
    assert (odd.instructions, odd.info, odd.capabilities) == (None, None, {})
    _, able = play(greet("legacy", EMPTY, EMPTY), {**OLD, "capabilities": {"extensions": {"a/b": {"x": 1}, "a/c": 7}}})
    assert isinstance(able, Hello)
    assert able.extensions == {"a/b": pack({"x": 1})}
    assert [problem.startswith("extensions: 1 left out") for problem in able.problems] == [True]


@pytest.mark.parametrize(
    ("way", "problem", "goes_on"),
    [
        (MODERN, BackendError("no answer"), True),
        (MODERN, Refused("", 400, -32601), True),
        (MODERN, Refused("", 500, -32603), True),
        (MODERN, Refused("", 400, -32022), False),
        (MODERN, Refused("", 400, -32020), False),
        (MODERN, Unreachable(""), False),
        (MODERN, ChainError(""), False),
        *(
            (LEGACY, Refused("", status, -32603), status in (400, 404, 405))
            for status in (400, 401, 403, 404, 405, 500)
        ),
        (LEGACY, BackendError("speaks another revision"), False),
        (LEGACY, Refused("", None, -32603), False),
    ],
)
def test_where_a_failure_leads(way: Way, problem: BackendError, goes_on: bool) -> None:
    assert leads_on(way, problem) is goes_on


def test_a_configured_type_is_kept_to() -> None:
    assert {way.transport for way in WAYS["http"]} == {"http"}
    assert [way.transport for way in WAYS["a URL"]] == ["http", "http", "sse"]
    assert (WAYS["stdio"], WAYS["sse"]) == ((Way("stdio", None),), (Way("sse", None),))


@pytest.mark.parametrize(
    ("fault", "seen", "kind", "words"),
    [
        (CHAINED, {"status": 400}, ChainError, "behind itself"),
        (UNKNOWN, {"unreachable": "Refused"}, Unreachable, "http://s cannot be reached (Refused); is it running"),
        (UNKNOWN, {"status": 401}, Refused, "http://s answered HTTP 401 Unauthorized: what?; give the key"),
        (UNKNOWN, {"status": 599, "is_ours": True}, Refused, "http://s answered HTTP 599"),
        (
            UNKNOWN,
            {"status": 307, "words": " to x", "is_ours": True},
            Refused,
            "http://s answered HTTP 307 Temporary Redirect to x",
        ),
        (UNKNOWN, {"is_lost": True}, BackendError, "closed the connection during the handshake"),
        (UNKNOWN, {}, Refused, "refused the handshake with error -32601: what?"),
    ],
)
def test_what_a_refusal_means(fault: Fault, seen: dict[str, Any], kind: type[BackendError], words: str) -> None:
    what = {"is_lost": False, "unreachable": None, "status": None, "words": "", "is_ours": False, **seen}
    problem = refusal(fault, "http://s", "http", **what)
    assert type(problem) is kind
    assert str(problem).startswith(words)


@pytest.mark.parametrize(
    ("status", "transport", "words"),
    [
        (400, "http", '; check its URL; if it is a server of the older HTTP with SSE, use "type": "sse"'),
        (405, "sse", '; check its URL; if it is a server over streamable HTTP, use "type": "http"'),
        (406, "sse", '; check its URL; if it is a server over streamable HTTP, use "type": "http"'),
        (
            404,
            "http",
            'most servers are at /mcp or /sse; if it is a server of the older HTTP with SSE, use "type": "sse"',
        ),
        (401, "http", '; give the key that it wants in "headers"'),
        (401, "sse", '; give the key that it wants in "headers"'),
        (403, "http", '; check the key in its "headers", and whether it may be used from here'),
        (500, "http", ""),
    ],
)
def test_what_to_do_about_a_status(status: int, transport: Transport, words: str) -> None:
    assert remedy(status, transport).endswith(words)
    assert words or not remedy(status, transport)


def error(code: int, message: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})


def told(level: str, text: str) -> str:
    """A line for the log."""
    params = {"level": level, "data": text}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": params})


@pytest.mark.parametrize(
    ("status", "said", "loss"),
    [
        (404, "", "sure"),
        (404, "Cannot POST /mcp", "sure"),
        (404, error(-32001, "Session not found"), "sure"),
        (404, error(-32600, "Session not found"), "sure"),
        (404, error(-32000, "whatever"), "sure"),
        (404, error(-32601, "Method not found"), "perhaps"),
        (404, error(-32602, "Unknown tool"), "perhaps"),
        (400, "", "perhaps"),
        (400, "Invalid or missing session ID", "perhaps"),
        (400, error(-32000, "Bad Request: No valid session ID provided"), "perhaps"),
        (400, error(-32000, "Bad Request: Server not initialized"), "sure"),
        (400, error(-32602, "arguments.x is required"), "perhaps"),
        (503, error(-32001, "Unknown session"), "perhaps"),
        (500, "the session has expired", "perhaps"),
        (500, "SessionNotFoundError: no such session", "perhaps"),
        (401, "the session is invalid", "perhaps"),
        (500, "boom", "no"),
        (401, "", "no"),
        (403, error(-32000, "Forbidden"), "no"),
        (200, error(-32002, "Server not initialized"), "sure"),
        (200, error(-32602, "Received request before initialization was complete"), "sure"),
        (200, error(-32602, "Session not found: browser-1"), "perhaps"),
        (200, error(-32602, "Unknown tool"), "no"),
        (200, '{"result": {"content": [{"text": "error: session not found, not initialized"}]}}', "no"),
        (404, "x" * 5000, "sure"),
        # of something else than us, or no error of a request at all
        (200, error(-32603, "Browser not initialized; call open first"), "no"),
        (200, error(-32603, "browser session 7 not found"), "perhaps"),
        (200, told("error", "index not initialized yet, building it"), "no"),
        (200, told("error", "login session expired, signing in again"), "no"),
        (200, '{"error": "session not found"}', "perhaps"),
        (200, 'data: {"error": {"message": "no such session"}}', "perhaps"),
        (200, '{"error": {"message": "no such session, and to', "perhaps"),
        (400, error(-32000, "The cache is not initialized"), "perhaps"),
        (200, error(-32600, "Not initialized"), "sure"),
        (200, error(-32600, "Session has not been initialised"), "sure"),
        (200, error(-32600, "the client is not yet initialized"), "sure"),
        (500, error(-32000, "Server is uninitialized"), "sure"),
    ],
)
def test_what_tells_of_a_lost_session(status: int, said: str, loss: str) -> None:
    assert tells_of_loss(status, said.encode()) == loss


def test_telling_of_a_lost_session_takes_no_time() -> None:
    began = time.perf_counter()
    tells_of_loss(500, b"session" * 600)
    tells_of_loss(500, b"closed " * 600)
    assert time.perf_counter() - began < 0.5
