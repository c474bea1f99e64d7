"""Servers over HTTP as they are: redirects, statuses, ids, streams, sessions that are lost, and the way to them."""

import gzip
import json
import shutil
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import TIMEOUT, RawClient, proxy, until
from tests.support.wild import (
    Ask,
    Reply,
    Serve,
    Sse,
    UnixWeb,
    answer,
    as_events,
    decent,
    error,
    running,
    served,
)

SHORT_PING = "from multimcp.backends import http; http.PING_TIMEOUT = 0.5"
PONG = {"content": [{"type": "text", "text": "pong"}]}


def state(shared: Any, name: str = "s") -> Any:
    return shared.status()[name]


def call(shared: Any, tool: str = "s::ping", era: str = "legacy") -> dict[str, Any]:
    with RawClient(shared.url, era) as client:
        return client.exchange("tools/call", {"name": tool, "arguments": {}})


def add(shared: Any, url: str, **more: Any) -> str | None:
    """Why the server could not be added; None if it could."""
    reason: str | None = shared.add(s={"url": url, **more}).json()["failed"].get("s")
    return reason


# Redirects


def to_slash(serve: Serve, status: int, location: str) -> Serve:
    def redirecting(ask: Ask) -> Reply:
        path, _, query = ask.path.partition("?")
        if path.endswith("/"):
            return serve(ask)
        target = location.format(host=ask.headers["host"], path=path, name=path.rpartition("/")[2], query=query)
        return Reply(status, b"moved", {"Location": target})

    return redirecting


LOCATIONS = ["http://{host}{path}/?{query}", "{path}/?{query}", "{name}/?{query}", "//{host}{path}/?{query}"]


def with_session(ask: Ask) -> Reply:
    """A server with a session that ends with DELETE."""
    reply = decent(ask)
    if ask.method == "DELETE":
        return Reply(204)
    if ask.kind == "initialize":
        reply.headers["Mcp-Session-Id"] = "one"
    return reply


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_is_followed_within_the_origin(shared: Any, location: str, status: int) -> None:
    with served(to_slash(with_session, status, location)) as web:
        assert add(shared, f"{web.url}/a/mcp?x=1", headers={"X-Key": "k"}) is None
        assert call(shared)["result"] == PONG
        calls = [ask for ask in web.asked if ask.kind == "tools/call"]
        assert [ask.path for ask in calls] == ["/a/mcp/?x=1"]  # the way is known by then
        assert all(ask.headers["x-key"] == "k" for ask in web.asked)
        assert "GET" in {ask.method for ask in web.asked if ask.path.startswith("/a/mcp/")}
        shared.remove("s")
        assert [ask.path for ask in web.asked if ask.method == "DELETE"] == ["/a/mcp/?x=1"]


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_of_sse_is_followed_for_the_stream_and_the_messages(shared: Any, location: str, status: int) -> None:
    with served(to_slash(Sse("/messages?session=1"), status, location)) as web:
        assert add(shared, f"{web.url}/sse") is None
        assert call(shared)["result"] == PONG
        assert [ask.path for ask in web.asked if ask.kind == "tools/call"] == ["/messages/?session=1&stream=0"]


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_not_followed(shared: Any, status: int, path: str) -> None:
    with served(decent) as other:
        location = {"Location": f"{other.url.replace('//', '//me:geheim@')}{path}?token=geheim"}
        with served(lambda ask: Reply(status, b"", location)) as web:
            reason = add(shared, f"{web.url}{path}", headers={"X-Key": "secret-key"})
    assert reason is not None
    assert f"{web.url}{path} answered HTTP {status}" in reason
    assert f"to {other.url}{path}, which is another origin" in reason
    assert reason.endswith('give it as "url"')
    assert "geheim" not in reason + shared.stderr
    assert other.asked == []


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_never_becomes_a_get(shared: Any, status: int) -> None:
    with served(to_slash(decent, status, "{path}/")) as web:
        reason = add(shared, f"{web.url}/mcp", type="http")
        assert reason is not None
        assert f'to {web.url}/mcp/, by which a POST would become a GET; give that URL as "url"' in reason
        assert {ask.method for ask in web.asked} == {"POST"}


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("location", ["{path}", "{path}x", "", "http://[", "//"])
def test_redirects_without_end(shared: Any, location: str, path: str) -> None:
    def round_and_round(ask: Ask) -> Reply:
        return Reply(307, b"", {"Location": location.format(path=ask.path)} if location else {})

    with served(round_and_round) as web:
        reason = add(shared, web.url + path)
        assert reason is not None
        assert f"{web.url}{path} answered HTTP 307 Temporary Redirect" in reason
        assert len(web.asked) < 30


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
def test_a_chain_of_redirects(shared: Any, path: str) -> None:
    serve = Sse("/messages///") if path == "/sse" else decent

    def chain(ask: Ask) -> Reply:
        return (
            serve(ask) if ask.path.partition("?")[0].endswith("///") else Reply(308, b"", {"Location": f"{ask.path}/"})
        )

    with served(chain) as web:
        assert add(shared, web.url + path) is None


def test_a_redirect_of_one_call_costs_that_call(shared: Any) -> None:
    def login(ask: Ask) -> Reply:
        return Reply(302, b"", {"Location": "/login?next=geheim"}) if ask.kind == "tools/call" else decent(ask)

    with served(login) as web:
        assert add(shared, f"{web.url}/mcp") is None
        message = call(shared)["error"]["message"]
        assert f"answered HTTP 302 Found to {web.url}/login, by which" in message
        assert state(shared)["state"] == "ready"


# Status is not the message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422, 429, 500, 501, 503])
@pytest.mark.parametrize("number", ["own", None, "x", 1.0])
@pytest.mark.parametrize("as_stream", [False, True])
def test_an_error_is_that_of_its_request_whatever_the_status(
    shared: Any, as_stream: bool, number: Any, status: int
) -> None:
    def refusing(ask: Ask) -> Reply:
        if ask.kind != "tools/call":
            return decent(ask)
        reply = error(-31234, "out of pongs", status, ask.message["id"] if number == "own" else number)
        if as_stream:
            return Reply(status, b"data: " + bytes(reply.body) + b"\n\n", {"Content-Type": "text/event-stream"})  # type: ignore[arg-type]
        return reply

    with served(refusing) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared)["error"] == {"code": -31234, "message": "out of pongs"}
        assert state(shared)["state"] == "ready"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_an_error_in_the_body_over_sse(shared: Any, status: int) -> None:
    sse = Sse()

    def refusing(ask: Ask) -> Reply:
        return error(-31234, "out of pongs", status) if ask.kind == "tools/call" else sse(ask)

    with served(refusing) as web:
        assert add(shared, f"{web.url}/sse") is None
        assert call(shared)["error"] == {"code": -31234, "message": "out of pongs"}
        until(lambda: state(shared)["state"] == "ready")


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
def test_what_is_no_message_names_its_first_words(shared: Any, path: str) -> None:
    html = Reply(200, b"<!doctype html>\n<title>Login</title>", {"Content-Type": "text/html; charset=utf-8"})
    with served(lambda ask: html) as web:
        reason = add(shared, web.url + path)
    assert reason is not None
    assert f"{web.url}{path} answered HTTP 200 OK with text/html" in reason
    if path == "/mcp":
        assert "begins with '<!doctype html> <title>Login" in reason


@pytest.mark.parametrize(
    "reply",
    [
        *(
            Reply(status, b"Cannot GET /mcp", {"Content-Type": "text/plain"})
            for status in (400, 401, 403, 404, 405, 501)
        ),
        Reply(200, b"<html>", {"Content-Type": "text/html"}),
        Reply(202),
        Reply(204),
        Reply(307, b"", {"Location": "http://other.invalid/mcp"}),
        error(-32001, "Session not found", 404),
    ],
    ids=lambda reply: f"{reply.status}-{len(reply.body)}",
)
def test_without_a_get_stream_nothing_is_lost(shared: Any, reply: Reply) -> None:
    with served(lambda ask: reply if ask.method == "GET" else with_session(ask)) as web:
        assert add(shared, f"{web.url}/mcp") is None
        until(lambda: "GET" in [ask.method for ask in web.asked])
        assert call(shared)["result"] == PONG
        assert [ask.kind for ask in web.asked if ask.method == "POST"].count("initialize") == 1
        assert [ask.method for ask in web.asked].count("GET") == 1


# Lost sessions


class Forgetful:
    """Has sessions; says of one that it does not know what `says` makes of the request. `calls` are the tool calls."""

    def __init__(self, says: Any, serve: Serve = decent) -> None:
        self.says, self.serve = says, serve
        self.known: set[str] = set()
        self.greeted = 0
        self.calls = 0

    def __call__(self, ask: Ask) -> Reply:
        if ask.method != "POST":
            return Reply(405)
        if ask.kind == "initialize":
            self.greeted += 1
            self.known.add(f"s{self.greeted}")
            reply = self.serve(ask)
            return Reply(200, reply.body, {**reply.headers, "Mcp-Session-Id": f"s{self.greeted}"})
        if ask.kind == "server/discover":
            return error(-32601, "what?")
        if ask.headers.get("mcp-session-id") not in self.known:
            reply = self.says(ask)
            return reply if isinstance(reply, Reply) else self.serve(ask)
        self.calls += ask.kind == "tools/call"
        return self.serve(ask)


def stream_error(code: int, text: str, status: int = 200) -> Any:
    def say(ask: Ask) -> Reply:
        body = error(code, text, number=ask.message.get("id")).body
        return Reply(status, b"data: " + bytes(body) + b"\n\n", {"Content-Type": "text/event-stream"})  # type: ignore[arg-type]

    return say


LOST = {
    "404": lambda ask: Reply(404),
    "404 html": lambda ask: Reply(404, b"<html>Not Found", {"Content-Type": "text/html"}),
    "404 sdk": lambda ask: error(-32600, "Session not found", 404, "server-error"),
    "404 ts": lambda ask: error(-32001, "Session not found", 404),
    "404 odd": lambda ask: error(-32601, "Method not found", 404),
    "400": lambda ask: Reply(400),
    "400 text": lambda ask: Reply(400, b"Invalid or missing session ID", {"Content-Type": "text/plain"}),
    "400 ts": lambda ask: error(-32000, "Bad Request: No valid session ID provided", 400),
    "400 init": lambda ask: error(-32000, "Bad Request: Server not initialized", 400),
    "401": lambda ask: error(-32000, "session expired", 401),
    "503": lambda ask: error(-32001, "Unknown session", 503),
    "200": lambda ask: error(-32002, "Server not initialized", 200, ask.message.get("id")),
    "200 null": lambda ask: error(-32000, "Session does not exist"),
    "200 stream": stream_error(-32001, "Session not found"),
    "404 stream": stream_error(-32001, "Session not found", 404),
    # which answers a ping all the same, as it may before it was initialized (spec, lifecycle)
    "200 but ping": lambda ask: (
        None
        if ask.kind == "ping"
        else error(-32602, "Received request before initialization was complete", 200, ask.message.get("id"))
    ),
}


@pytest.mark.parametrize("says", LOST.values(), ids=LOST)
def test_a_forgotten_session_costs_no_call(shared: Any, says: Any) -> None:
    """However the server says so, it is greeted again, once, and what it refused is sent again."""
    server = Forgetful(says)
    with served(server) as web:
        assert add(shared, f"{web.url}/mcp") is None
        for greeted in (2, 3):
            server.known.clear()  # as after a restart
            with ThreadPoolExecutor(4) as callers:
                answers = list(callers.map(call, [shared] * 4))
            assert [found.get("result") for found in answers] == [PONG] * 4, answers
            assert server.greeted == greeted
        assert server.calls == 8
        assert state(shared)["state"] == "ready"


@pytest.mark.parametrize("status", [404, 400, 410])
def test_a_forgotten_session_over_sse(shared: Any, status: int) -> None:
    sse = Sse()
    left = 1

    def forgetful(ask: Ask) -> Reply:
        nonlocal left
        if ask.kind == "tools/call" and left:
            left -= 1
            return Reply(status, b"Could not find session", {"Content-Type": "text/plain"})
        return sse(ask)

    with served(forgetful) as web:
        assert add(shared, f"{web.url}/sse") is None
        assert call(shared)["result"] == PONG
        assert [ask.kind for ask in web.asked].count("initialize") == 2


@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_tool_may_have_sessions_of_its_own(shared: Any, status: int) -> None:
    def tool(ask: Ask) -> Reply:
        if ask.kind == "tools/call":
            return error(-32602, "Session not found: browser-1", status, ask.message["id"])
        return decent(ask)

    server = Forgetful(lambda ask: Reply(404), tool)
    with served(server) as web:
        assert add(shared, f"{web.url}/mcp") is None
        for _ in range(2):
            assert call(shared)["error"] == {"code": -32602, "message": "Session not found: browser-1"}
        assert server.greeted == 1


NO_LOSS = {
    "a log line": {
        "method": "notifications/message",
        "params": {"level": "error", "data": "index not initialized yet"},
    },
    "another one": {"method": "notifications/message", "params": {"level": "error", "data": "login session expired"}},
    "a tool's error": {"error": {"code": -32603, "message": "Browser not initialized; call open first"}},
}


@pytest.mark.parametrize("said", NO_LOSS.values(), ids=NO_LOSS)
def test_what_a_tool_says_of_its_own_things_is_no_loss_of_ours(shared: Any, said: dict[str, Any]) -> None:
    """Else the tool would run twice, and all calls that are in flight there would fail."""

    def tool(ask: Ask) -> Reply:
        if ask.kind != "tools/call":
            return decent(ask)
        number = {"jsonrpc": "2.0", "id": ask.message["id"]}
        messages = [{**number, **said}] if "error" in said else [{"jsonrpc": "2.0", **said}, {**number, "result": PONG}]
        body = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in messages)
        return Reply(200, body, {"Content-Type": "text/event-stream"})

    server = Forgetful(lambda ask: Reply(404), tool)
    with served(server) as web:
        assert add(shared, f"{web.url}/mcp") is None
        answer = call(shared)
        assert answer.get("error") == said.get("error")
        assert (server.greeted, server.calls) == (1, 1)


def test_a_ping_that_is_not_answered_in_time_is_no_proof(tmp_path: Path) -> None:
    """A server that is busy with the call which it refused knows our session all the same."""

    def busy(ask: Ask) -> Reply:
        if ask.kind == "ping":
            answered.wait(TIMEOUT)
        if ask.kind == "tools/call":
            return error(-32603, "browser session 7 not found", 200, ask.message["id"])
        return decent(ask)

    server, answered = Forgetful(lambda ask: Reply(404), busy), threading.Event()
    with served(server) as web, proxy(tmp_path, {"s": {"url": f"{web.url}/mcp"}}, first=SHORT_PING) as here:
        here.wait_ready()
        assert call(here)["error"]["message"] == "browser session 7 not found"
        answered.set()
        assert (server.greeted, server.calls) == (1, 1)


def test_a_call_is_sent_again_once(shared: Any) -> None:
    """A 404 to each call is an answer, and not the end of each session."""
    tool = lambda ask: Reply(404, b"no such tool") if ask.kind == "tools/call" else decent(ask)  # noqa: E731
    server = Forgetful(lambda ask: Reply(404), tool)
    with served(server) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert "answered HTTP 404 Not Found with" in call(shared)["error"]["message"]
        assert (server.greeted, server.calls) == (2, 2)
        until(lambda: state(shared)["state"] == "ready")


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_call_waits_for_a_server_that_is_being_restarted(shared: Any, era: str, path: str) -> None:
    with served(Sse() if path == "/sse" else decent) as web:
        assert add(shared, web.url + path) is None
        port = web.server_port
    found: list[Any] = []
    caller = threading.Thread(target=lambda: found.append(call(shared, era=era)))
    caller.start()
    until(lambda: state(shared)["state"] == "failed")
    with served(Sse() if path == "/sse" else decent, address=("127.0.0.1", port)):
        caller.join(20)
        assert found[0]["result"]["content"] == PONG["content"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_call_waits_for_a_server_of_both_eras_that_is_being_restarted(shared: Any, era: str) -> None:
    """Whose connection in the client's era is the second one: the first has not noticed anything yet."""
    hello = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}

    def both(ask: Ask) -> Reply:
        return decent(ask, server_discover=hello)

    with served(both) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared, era=era)["result"]["content"] == PONG["content"]
        assert "initialize" in [ask.kind for ask in web.asked] or era == "modern"
        port = web.server_port
    found: list[Any] = []
    caller = threading.Thread(target=lambda: found.append(call(shared, era=era)))
    caller.start()
    until(lambda: state(shared)["state"] == "failed")
    with served(both, address=("127.0.0.1", port)):
        caller.join(20)
        assert found[0].get("result", found[0])["content"] == PONG["content"]


def test_what_may_have_been_processed_is_not_sent_again(shared: Any) -> None:
    def breaking(ask: Ask) -> Reply:
        if ask.kind == "tools/call":
            raise ConnectionError
        return with_session(ask)

    with served(breaking) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert "could not be sent" in call(shared)["error"]["message"]
        assert [ask.kind for ask in web.asked].count("tools/call") == 1


# Ids


@pytest.mark.parametrize("spell", [float, str, lambda _: None, lambda _: "other", lambda _: 999, lambda n: [n]])
@pytest.mark.parametrize("as_stream", [False, True])
def test_an_answer_to_a_post_is_its_own(shared: Any, as_stream: bool, spell: Any) -> None:
    held = threading.Event()

    def odd(ask: Ask) -> Reply:
        reply = decent(ask)
        if ask.kind != "tools/call":
            return reply
        body = json.dumps({**json.loads(bytes(reply.body)), "id": spell(ask.message["id"])}).encode()  # type: ignore[arg-type]
        if not as_stream:
            return Reply(200, body, reply.headers)

        def pieces() -> Any:
            yield b"data: " + body + b"\n\n"
            held.wait(30)  # the stream is not closed behind the answer

        return Reply(200, pieces(), {"Content-Type": "text/event-stream"})

    with served(odd) as web:
        assert add(shared, f"{web.url}/mcp") is None
        try:
            assert call(shared)["result"] == PONG
        finally:
            held.set()


@pytest.mark.parametrize("spell", [float, str, lambda _: None])
def test_ids_over_sse(shared: Any, spell: Any) -> None:
    def spelled(message: Any) -> Any:
        return {**message, "id": spell(message["id"])} if "content" in message.get("result", {}) else message

    with served(Sse(spell=spelled)) as web:
        assert add(shared, f"{web.url}/sse") is None
        found = call(shared)
        if spell in (float, str):
            assert found["result"] == PONG
        else:
            assert "none of ours" in found["error"]["message"]


# Streams

MESSAGE = b'{"jsonrpc": "2.0",\n "id": %d,\n "result": {"content": [{"type": "text", "text": "pong"}]}}'


def lines(body: bytes, end: bytes, *, last: bytes = b"\n\n") -> bytes:
    """An event stream as such servers write it: comments, blank lines, an event of another name, lines that end so."""
    data = b"".join(b"data: %s\n" % line for line in body.split(b"\n"))
    return (b": hello\n\n\nevent: ping\ndata: {}\n\nid: 1\nevent: message\n" + data.removesuffix(b"\n") + last).replace(
        b"\n", end
    )


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\n\n"], ids=["open", "line", "event"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_stream_however_it_is_written(shared: Any, size: int, last: bytes, end: bytes, mark: bytes) -> None:
    def odd(ask: Ask) -> Reply:
        if ask.kind != "tools/call":
            return decent(ask)
        data = mark + lines(MESSAGE % ask.message["id"], end, last=last)
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        return as_events(*pieces, kind="Text/Event-Stream; charset=UTF-8")

    with served(odd) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared)["result"] == PONG


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("as_stream", [False, True])
def test_a_compressed_answer(shared: Any, as_stream: bool, coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zlib.compress

    def odd(ask: Ask) -> Reply:
        reply = decent(ask)
        if ask.kind != "tools/call":
            return reply
        body = b"data: " + bytes(reply.body) + b"\n\n" if as_stream else bytes(reply.body)  # type: ignore[arg-type]
        kind = "text/event-stream" if as_stream else "application/json"
        return Reply(200, compress(body), {"Content-Type": kind, "Content-Encoding": coding})

    with served(odd) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared)["result"] == PONG
        assert {ask.headers["accept-encoding"] for ask in web.asked} == {"identity"}


@pytest.mark.parametrize("kind", ["json", "events", "mark", "text"])
def test_a_batch_is_taken_apart(shared: Any, kind: str) -> None:
    def batching(ask: Ask) -> Reply:
        if ask.method != "POST" or "id" not in ask.message:
            return decent(ask)
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
        body = json.dumps([note, answer(ask.message)]).encode()
        if kind == "events":
            return as_events(b"data: " + body + b"\n\n")
        mark = b"\xef\xbb\xbf" if kind == "mark" else b" \r\n"
        return Reply(
            200, mark + body + b"\r\n ", {"Content-Type": "text/plain" if kind == "text" else "application/json"}
        )

    with served(batching) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared)["result"] == PONG


def test_an_event_of_another_name_is_read(shared: Any) -> None:
    def odd(ask: Ask) -> Reply:
        if ask.kind != "tools/call":
            return decent(ask)
        return as_events(b"event: response\ndata: " + json.dumps(answer(ask.message)).encode() + b"\n\n")

    with served(odd) as web:
        assert add(shared, f"{web.url}/mcp") is None
        assert call(shared)["result"] == PONG


def test_the_get_stream_comes_back_as_long_as_the_session_lives(shared: Any) -> None:
    """From where it broke off; what was begun on it is dropped; and it is no busy loop."""
    gets: list[Ask] = []

    def breaking(ask: Ask) -> Reply:
        if ask.method != "GET":
            return with_session(ask)
        gets.append(ask)
        if len(gets) == 2:
            return Reply(503)
        if len(gets) == 3:  # without a word
            return as_events()
        return as_events(b"retry: 0\nid: %d\ndata: {}\n\ndata: half" % len(gets))

    with served(breaking) as web:
        assert add(shared, f"{web.url}/mcp") is None
        until(lambda: len(gets) > 5)
        assert [ask.headers.get("last-event-id") for ask in gets[:6]] == [None, "1", "1", "1", "4", "5"]
        assert {ask.headers.get("mcp-session-id") for ask in gets} == {"one"}
        assert state(shared)["state"] == "ready"


@pytest.mark.parametrize("ends", ["cleanly", "broken"])
@pytest.mark.parametrize("half", [7, -9])
def test_a_stream_that_ends_in_the_middle_of_an_event_is_resumed_before_it(shared: Any, half: int, ends: str) -> None:
    """Its id has come, but not the event: behind it there would be nothing left."""

    def event(number: int, message: Any) -> bytes:
        return b"retry: 0\nid: %d\ndata: %b\n\n" % (number, json.dumps(message).encode())

    def breaking(ask: Ask) -> Reply:
        if ask.kind == "tools/call":
            asked.append(ask.message)
            pieces = [event(1, note), event(2, answer(ask.message))[:half]]
            return as_events(*pieces) if ends == "cleanly" else broken(pieces)
        if ask.method == "GET" and (last := ask.headers.get("last-event-id")):
            return as_events(event(2, answer(asked[0]))) if last == "1" else as_events(b": nothing more\n\n")
        return with_session(ask)

    def broken(pieces: list[bytes]) -> Reply:
        def body() -> Iterator[bytes]:
            yield from pieces
            raise ConnectionError

        return Reply(200, body(), {"Content-Type": "text/event-stream"})

    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
    asked: list[Any] = []
    with served(breaking) as web:
        assert add(shared, f"{web.url}/mcp", timeout=5) is None
        with RawClient(shared.url, "legacy", version="2025-06-18") as client:  # which leaves resuming to us
            assert client.exchange("tools/call", {"name": "s::ping", "arguments": {}}).get("result") == PONG
        assert len(asked) == 1


# Networks


def test_user_and_password_of_a_url(shared: Any) -> None:
    with served(with_session) as web:
        assert add(shared, f"{web.url}/mcp".replace("//", "//me:p%40ssw0rd@")) is None
        assert call(shared)["result"] == PONG
        shared.remove("s")
        assert {ask.headers["authorization"] for ask in web.asked} == {"Basic bWU6cEBzc3cwcmQ="}
        reason = add(shared, "http://me:p%40ssw0rd@127.0.0.1:9/mcp")
        assert reason is not None
        for shown in (reason, shared.stderr, json.dumps(shared.status())):
            assert "p@ssw0rd" not in shown
            assert "p%40ssw0rd" not in shown
    with served(with_session) as web:
        shared.remove("s")
        assert add(shared, f"{web.url}/mcp".replace("//", "//me:x@"), headers={"authorization": "Bearer y"}) is None
        assert {ask.headers["authorization"] for ask in web.asked} == {"Bearer y"}


@pytest.mark.parametrize("path", ["/a/b/mcp", "/mcp/", "/mcp?x=1&y=a%2Fb%3D+c", "/a%2Fb/mcp?sig=%7e%41", "/"])
def test_a_path_and_its_query_are_sent_as_they_are_written(shared: Any, path: str) -> None:
    with served(with_session) as web:
        assert add(shared, web.url + path) is None
        shared.remove("s")
        assert {ask.path for ask in web.asked} == {path}


def test_unix_sockets(shared: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with running(UnixWeb(with_session, path)) as web:
        assert add(shared, f"unix://{path}:/a/mcp?x=1") is None
        assert call(shared)["result"] == PONG
        assert {(ask.path, ask.headers["host"]) for ask in web.asked} == {("/a/mcp?x=1", "localhost")}
    shared.remove("s")
    Path(path).unlink()
    reason = add(shared, f"unix://{path}:/mcp")
    assert reason is not None
    assert f"unix://{path}:/mcp cannot be reached (No such file or directory)" in reason


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    paths = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_an_authority_of_ones_own_and_the_way_from_http_to_https(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with served(with_session, tls=tls) as secure:
        target = {"Location": f"{secure.url}/mcp"}
        with (
            served(lambda ask: Reply(307, b"", target)) as plain,
            proxy(tmp_path, {}, env={"SSL_CERT_FILE": str(cert)}) as trusting,
            proxy(tmp_path, {}) as strict,
        ):
            assert add(trusting, f"{plain.url}/mcp", headers={"X-Key": "k"}) is None
            assert call(trusting)["result"] == PONG
            assert {ask.headers["x-key"] for ask in secure.asked} == {"k"}
            reason = add(strict, f"{secure.url}/mcp")
            assert reason is not None
            assert "its certificate is not trusted: self" in reason
            assert "name the file of its authority in SSL_CERT_FILE" in reason


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
def test_the_way_out(tmp_path: Path, path: str) -> None:
    """A far server is asked by way of a proxy, which gets its whole URL; one on this machine is not."""
    far = Sse("http://far.test/messages") if path == "/sse" else with_session
    with served(far) as out, served(with_session) as near:
        env = {"http_proxy": out.url.replace("//", "//me:p%40ss@"), "NO_PROXY": "near.test"}
        with proxy(tmp_path, {}, env=env) as tested:
            assert add(tested, f"http://far.test{path}") is None
            assert call(tested)["result"] == PONG
            assert {ask.headers["proxy-authorization"] for ask in out.asked} == {"Basic bWU6cEBzcw=="}
            assert all(ask.path.startswith("http://far.test/") for ask in out.asked)
            tested.remove("s")
            assert add(tested, f"{near.url}/mcp") is None
            assert "p@ss" not in tested.stderr
