"""What waits for a client that does not read, how a stream ends that it keeps open, and how one is resumed."""

import json
import re
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from multimcp.backends.connection import CLOCK
from multimcp.clients import http
from multimcp.clients.asgi import read_body, stream
from multimcp.clients.http import StreamableHttp
from multimcp.clients.sse import Sse
from multimcp.protocol.calls import Call, Clients, Clock, Session
from multimcp.protocol.eras import CAPABILITIES_KEY, VERSION_KEY
from multimcp.protocol.http import Refusal
from multimcp.protocol.limits import Limits
from multimcp.protocol.message import EMPTY, notification, pack, succeeded
from multimcp.protocol.outbox import Outbox

ANSWERS = [b"event: message\r\ndata: %d\r\n\r\n" % number for number in range(4)]


async def test_answers_are_written_before_a_stream_ends() -> None:
    """To a client that reads slowly, too."""
    outbox, reads, begun = Outbox(1000), anyio.Event(), anyio.Event()
    bodies: list[bytes] = []
    ended = False

    async def send(message: Any) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            assert not ended
            bodies.append(message.get("body", b""))
            ended = not message.get("more_body", False)
            if b"message" in bodies[-1]:
                begun.set()
                await reads.wait()

    async def receive() -> Any:
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(stream, outbox, receive, send)
            outbox.put(ANSWERS[0])
            await begun.wait()
            for answer in ANSWERS[1:]:
                outbox.put(answer)
            outbox.end()
            outbox.put(b"too late")
            await anyio.wait_all_tasks_blocked()
            assert not ended
            reads.set()
    assert ended
    assert b"".join(bodies) == b": open\r\n\r\n" + b"".join(ANSWERS)


async def test_a_stream_ends_with_its_client() -> None:
    leaves = anyio.Event()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await leaves.wait()
        return {"type": "http.disconnect"}

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(stream, Outbox(1000), receive, send)
            await anyio.wait_all_tasks_blocked()
            assert len(sent) == 2
            leaves.set()


async def test_bodies() -> None:
    told: list[Any] = []

    async def read(*parts: bytes, length: int = 0, cut: bool = False, limit: int = 3) -> bytes:
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = cut
        messages.append({"type": "http.disconnect"})

        async def receive() -> Any:
            return messages.pop(0)

        clients = Clients(limits=Limits(message=limit), warn=lambda *about: told.append(about))
        return await read_body(receive, {b"content-length": b"%d" % length}, clients)

    assert await read(b"abc") == b"abc"
    assert await read(b"a", b"b", b"c") == b"abc"
    with pytest.raises(ConnectionError):
        await read(b"a", cut=True)
    assert told == []
    for parts, length in [((b"a", b"b", b"c"), 0), ((b"abc",), 0), ((b"",), 3)]:
        with pytest.raises(Refusal) as refused:
            await read(*parts, length=length, limit=2)
        assert refused.value.status == 413
    assert [about[1:] for about in told] == [(3, 2)] * 3


MODERN = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}


class Endpoint:
    """`/mcp` with a proxy that answers `initialize` and keeps every other call for the test."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.sessions: list[Session] = []
        self.clients = Clients()
        self.clock: Clock = CLOCK
        self.implementation = EMPTY
        self.http = StreamableHttp(self)
        self.session = b""

    def notified(self, era: Any, session: Any, method: str, params: Any) -> None:
        pass

    def accept(self, call: Call, params: Any, meta: Any, headers: Any = None) -> None:
        if call.method == "initialize" and call.session is not None:
            self.sessions.append(call.session)
            call.session.step("initialized")
            call.conclude(succeeded(pack({})))
        else:
            self.calls.append(call)

    async def request(
        self, method: str, message: Any = None, leaves: anyio.Event | None = None, **headers: str
    ) -> SimpleNamespace:
        """Make a request to its end, or until the client leaves."""
        given = {"mcp_protocol_version": "2025-11-25", "accept": "*/*", "content_type": "application/json", **headers}
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
        raw += [(b"mcp-session-id", self.session)] if self.session else []
        response = SimpleNamespace(status=0, headers={}, body=b"")
        incoming = [{"type": "http.request", "body": json.dumps(message).encode()}] if message else []

        async def receive() -> Any:
            if incoming:
                return incoming.pop()
            await (leaves or anyio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                response.status, response.headers = event["status"], dict(event["headers"])
            elif leaves is None or not leaves.is_set():
                response.body += event.get("body", b"")

        await self.http({"type": "http", "method": method, "headers": raw, "query_string": b""}, receive, send)
        return response


def said(body: bytes) -> list[Any]:
    return [json.loads(data) for data in re.findall(rb"data: (.+)\r\n", body)]


async def test_a_stream_that_broke_off_is_resumed_where_it_broke_off() -> None:
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    leaves, responses = anyio.Event(), []

    async def ask() -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
        responses.append(await endpoint.request("POST", message, leaves))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            [call] = endpoint.calls
            call.port.tell(notification("one"))
            await anyio.wait_all_tasks_blocked()
            leaves.set()
        call.port.tell(notification("two"))
        call.conclude(succeeded(pack({"x": 1})))
        assert [message["method"] for message in said(responses[0].body)] == ["one"]
        ids = re.findall(rb"id: (\S+)\r\n", responses[0].body)
        assert [number.rpartition(b"-")[2] for number in ids] == [b"0", b"1"]
        assert b"retry: 1000" in responses[0].body
        resumed = await endpoint.request("GET", last_event_id=ids[-1].decode())
    messages = said(resumed.body)
    assert [message.get("method") for message in messages] == ["two", None]
    assert messages[1]["result"] == {"x": 1}


@pytest.mark.parametrize("when", ["before its stream began", "after it resumed it"])
async def test_what_comes_for_a_client_that_is_gone_does_not_count_as_unread(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """However much that is, its session goes on; and its call, whose answer it may come back for, if it knows how."""
    monkeypatch.setattr(http, "SOON", 0.0)
    endpoint = Endpoint()
    endpoint.clients = Clients(limits=Limits(unread=1000))
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    responses, stays, leaves, left = [], anyio.Event(), anyio.Event(), anyio.Event()
    question = b'{"jsonrpc": "2.0", "id": "q", "method": "roots/list"}'

    async def ask(leaves: anyio.Event) -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
        responses.append(await endpoint.request("POST", message, leaves))
        left.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            resumes = when == "after it resumed it"
            group.start_soon(ask, stays if resumes else leaves)
            await anyio.wait_all_tasks_blocked()
            [call] = endpoint.calls
            if resumes:
                call.port.tell(notification("one"))
                await anyio.wait_all_tasks_blocked()
                stays.set()
                await left.wait()
                [last] = re.findall(rb"id: (\S+-1)\r\n", responses[0].body)
                leaves.set()
                await endpoint.request("GET", leaves=leaves, last_event_id=last.decode())
            else:
                await anyio.sleep(0.01)  # the timer fires
                leaves.set()
                await left.wait()
            for _ in range(30):
                call.port.tell(question)
            call.conclude(succeeded(pack({"x": 1})))
        assert (await endpoint.request("POST", {"jsonrpc": "2.0", "method": "notifications/x"})).status == 202
        if resumes:
            again = said((await endpoint.request("GET", last_event_id=last.decode())).body)
            assert again[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"x": 1}}


async def test_older_clients_get_no_event_without_a_message() -> None:
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    responses = []

    async def ask() -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}
        responses.append(await endpoint.request("POST", message, mcp_protocol_version="2025-06-18"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            endpoint.calls[0].port.tell(notification("one"))
            await anyio.wait_all_tasks_blocked()
            endpoint.calls[0].conclude(succeeded())
    assert responses[0].body.count(b"data:") == 2
    assert b"id: " not in responses[0].body


async def test_a_stream_that_the_server_broke_off_is_broken_off_here_as_well() -> None:
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    responses = []

    async def ask() -> None:
        responses.append(await endpoint.request("POST", {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            port: Any = endpoint.calls[0].port  # of HTTP, which has this besides
            port.break_off()
        [number] = re.findall(rb"id: (\S+)\r\nretry: 1000\r\ndata: \r\n", responses[0].body)
        assert said(responses[0].body) == []
        endpoint.calls[0].conclude(succeeded(pack({"x": 1})))
        # The answer waits; a stream that nobody reads is no event of it.
        resumed = await endpoint.request("GET", last_event_id=number.decode())
    assert [message["result"] for message in said(resumed.body)] == [{"x": 1}]


async def test_what_was_sent_and_never_arrived_can_be_had_again() -> None:
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    responses = []

    async def ask() -> None:
        responses.append(
            await endpoint.request("POST", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}})
        )

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            [call] = endpoint.calls
            call.port.tell(notification("one"))
            await anyio.wait_all_tasks_blocked()
            call.conclude(succeeded(pack({"x": 1})))
        first = re.findall(rb"id: (\S+-1)\r\n", responses[0].body)[0].decode()
        for _ in range(2):
            again = await endpoint.request("GET", last_event_id=first)
            assert said(again.body) == said(responses[0].body)[1:] == [{"jsonrpc": "2.0", "id": 1, "result": {"x": 1}}]


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2026-07-28"])
async def test_a_client_that_takes_no_stream_gets_none(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Neither for what belongs to a call, nor for one that takes long, nor where the server breaks its own one off."""
    monkeypatch.setattr(http, "SOON", 0.0)
    monkeypatch.setattr(http, "LONG", 0.0)
    endpoint = Endpoint()
    if version != "2026-07-28":
        hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
        endpoint.session = hello.headers[b"mcp-session-id"]
    responses = []
    envelope = {VERSION_KEY: version, CAPABILITIES_KEY: {}}

    async def ask() -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": envelope}}
        responses.append(
            await endpoint.request(
                "POST", message, mcp_protocol_version=version, mcp_method="tools/list", accept="application/json"
            )
        )

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            port: Any = endpoint.calls[0].port
            port.tell(notification("one"))
            port.break_off()
            await anyio.sleep(0.01)  # the timers fire
            await anyio.wait_all_tasks_blocked()
            endpoint.calls[0].conclude(succeeded(pack({"x": 1})))
    assert responses[0].headers[b"content-type"] == b"application/json"
    assert json.loads(responses[0].body)["result"] == {"x": 1}


async def test_a_second_stream_takes_over_from_the_first() -> None:
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    session = endpoint.sessions[0]
    bodies: dict[str, bytes] = {}
    leaves = anyio.Event()

    async def listen(name: str) -> None:
        bodies[name] = (await endpoint.request("GET", leaves=leaves)).body

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(listen, "first")
            await anyio.wait_all_tasks_blocked()
            session.tell(notification("one"))
            await anyio.wait_all_tasks_blocked()
            group.start_soon(listen, "second")
            session.tell(notification("two"))  # before or after: on one of them
            await anyio.wait_all_tasks_blocked()
            assert list(bodies) == ["first"]
            session.tell(notification("three"))
            await anyio.wait_all_tasks_blocked()
            endpoint.http.close_streams()
    told = {name: [message["method"] for message in said(body)] for name, body in bodies.items()}
    assert told["first"] + told["second"] == ["one", "two", "three"]
    assert told["second"][-1:] == ["three"]


@pytest.mark.parametrize("ends", ["whole", "broken off"])
async def test_a_client_is_there_while_it_sends_a_request_in_pieces(ends: str) -> None:
    """Who needs a session's place meanwhile gets another one; afterwards it is as idle as all others."""
    endpoint = Endpoint()
    endpoint.clients = Clients(limits=Limits(sessions=2))
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
    sends, other = [(await endpoint.request("POST", hello)).headers[b"mcp-session-id"] for _ in range(2)]
    begun, rest = anyio.Event(), anyio.Event()
    incoming: list[Any] = [{"type": "http.request", "body": b'{"jsonrpc": "2.0", ', "more_body": True}]
    statuses: list[Any] = []

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        begun.set()
        await rest.wait()
        whole = {"type": "http.request", "body": b'"method": "notifications/x"}'}
        return whole if ends == "whole" else {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        statuses.append(event.get("status"))

    async def still() -> list[bool]:
        """Which of the two sessions are there."""
        found = []
        for endpoint.session in (sends, other):
            found.append((await endpoint.request("POST", {"jsonrpc": "2.0", "id": 1, "result": {}})).status == 202)
        endpoint.session = b""
        return found

    headers = [(b"mcp-session-id", sends), (b"mcp-protocol-version", b"2025-11-25"), (b"accept", b"*/*")]
    headers.append((b"content-type", b"application/json"))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b""}
            group.start_soon(endpoint.http, scope, receive, send)
            await begun.wait()
            await endpoint.request("POST", hello)
            assert await still() == [True, False]
            rest.set()
        assert statuses[:1] == ([202] if ends == "whole" else [])
        for _ in range(2):
            await endpoint.request("POST", hello)
        assert await still() == [False, False]


async def test_a_message_over_sse_that_is_whole_when_its_stream_has_ended_is_refused() -> None:
    """Else it would begin a session, or a call, that nobody ends."""
    endpoint = Endpoint()
    sse, leaves, ended, rest = Sse(endpoint), anyio.Event(), anyio.Event(), anyio.Event()
    streamed, statuses = [], []
    message = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"_meta": MODERN}}).encode()

    async def stays() -> Any:
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def sends() -> Any:
        await rest.wait()
        return {"type": "http.request", "body": message}

    async def listens() -> None:
        await sse.stream({"method": "GET"}, stays, write)
        ended.set()

    async def write(event: Any) -> None:
        streamed.append(event.get("body", b""))

    async def answer(event: Any) -> None:
        statuses.append(event.get("status"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(listens)
            await anyio.wait_all_tasks_blocked()
            query = b"".join(streamed).partition(b"?")[2].strip()
            posted = {"method": "POST", "headers": [], "query_string": query}
            group.start_soon(sse.message, posted, sends, answer)
            await anyio.wait_all_tasks_blocked()
            leaves.set()
            await ended.wait()
            rest.set()
    assert statuses[0] == 404
    assert endpoint.calls == []


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/event-stream"])
async def test_a_batch_is_answered_by_one_once_all_of_it_is(accept: str) -> None:
    """Whatever one of its calls is told meanwhile; what is cancelled has no answer in it."""
    endpoint = Endpoint()
    hello = await endpoint.request("POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    endpoint.session = hello.headers[b"mcp-session-id"]
    batch: list[Any] = [{"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {}} for number in (1, 2, 3)]
    batch.append({"jsonrpc": "2.0", "method": "notifications/x"})
    responses = []

    async def ask() -> None:
        responses.append(await endpoint.request("POST", batch, mcp_protocol_version="2025-03-26", accept=accept))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            one, two, three = endpoint.calls
            two.port.tell(notification("during"))
            three.conclude(succeeded(pack({"x": 3})))
            two.cancel()
            await anyio.wait_all_tasks_blocked()
            assert responses == []
            one.conclude(succeeded(pack({"x": 1})))
    [response] = responses
    if accept == "application/json":
        answers = json.loads(response.body)
    else:
        during, answers = said(response.body)
        assert during["method"] == "during"
    assert [(each["id"], each["result"]) for each in answers] == [(3, {"x": 3}), (1, {"x": 1})]


@pytest.mark.parametrize(
    ("message", "session", "status", "error"),
    [
        ({"id": 1, "method": "initialize", "params": []}, b"", 400, (1, -32602, "params")),
        ({"id": 1, "method": 7}, b"", 400, (1, -32600, "method")),
        ({"id": 1, "method": "tools/list"}, b"", 400, (1, -32600, "Mcp-Session-Id")),
        ({"id": 1, "method": "tools/list"}, b"x", 404, (1, -32600, "no such session")),
        ({"method": "notifications/x"}, b"x", 404, (None, -32600, "no such session")),
        ({"id": 1, "result": {}}, b"", 400, (None, -32600, "Mcp-Session-Id")),
        ({"id": 1, "result": {}, "error": {}}, b"x", 404, (None, -32600, "no such session")),
        ([{"id": 1, "method": "tools/list"}], b"x", 404, (None, -32600, "no such session")),
        ([{"id": 1, "method": "tools/list"}], b"", 400, (None, -32600, "Mcp-Session-Id")),
    ],
)
async def test_what_comes_without_a_session(message: Any, session: bytes, status: int, error: Any) -> None:
    """Is told what is wrong with it first, and under its id."""
    endpoint = Endpoint()
    endpoint.session = session
    message = [{"jsonrpc": "2.0", **each} for each in message] if isinstance(message, list) else message
    response = await endpoint.request("POST", {"jsonrpc": "2.0", **message} if isinstance(message, dict) else message)
    found = json.loads(response.body)
    assert (response.status, found["id"], found["error"]["code"]) == (status, *error[:2])
    assert error[2] in found["error"]["message"]
