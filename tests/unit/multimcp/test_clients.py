"""What waits for a client that does not read, how a stream ends that it keeps open, and how one is resumed."""

import json
import re
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from multimcp.clients import peer
from multimcp.clients.asgi import asked_spelling, read_body
from multimcp.clients.http import StreamableHttp, stream
from multimcp.clients.journal import KEPT, Journal, place
from multimcp.clients.peer import Outbox
from multimcp.protocol.calls import Call, Clients
from multimcp.protocol.message import notification, pack, succeeded

ANSWERS = [b"event: message\r\ndata: %d\r\n\r\n" % number for number in range(4)]


async def test_answers_are_written_before_a_stream_ends() -> None:
    """To a client that reads slowly, too."""
    outbox, reads, begun = Outbox(), anyio.Event(), anyio.Event()
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
            group.start_soon(stream, Outbox(), receive, send)
            await anyio.wait_all_tasks_blocked()
            assert len(sent) == 2
            leaves.set()


def test_no_more_than_so_much_waits_for_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "UNREAD", 10)
    told: list[int] = []
    outbox = Outbox(lambda: told.append(1))
    outbox.put(b"x" * 100)  # one message of any size
    assert told == []
    for _ in range(3):
        outbox.put(b"y")
    assert told == [1]
    outbox.end(b"last")
    assert outbox.take() == b"x" * 100 + b"last"
    monkeypatch.setattr(peer, "UNREAD_MESSAGES", 2)
    few = Outbox()
    for letter in (b"a", b"b", b"c"):
        few.put(letter)
    assert few.take() == b"ab"
    assert few.take() == b""


@pytest.mark.parametrize(
    ("query", "spelling"), [(b"", None), (b"names=llm", "llm"), (b"x=1&names=plain", "plain"), (b"unnamed=1", None)]
)
def test_the_spelling_that_a_query_asks_for(query: bytes, spelling: str | None) -> None:
    assert asked_spelling({"query_string": query}) == spelling


@pytest.mark.parametrize("query", [b"names=", b"names=odd", b"names=llm&names=x"])
def test_a_spelling_that_there_is_not(query: bytes) -> None:
    with pytest.raises(ValueError, match="is not one of plain, llm"):
        asked_spelling({"query_string": query})


async def test_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    from multimcp.clients import asgi

    async def read(*parts: bytes, length: int = 0, cut: bool = False) -> bytes | None:
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = cut
        messages.append({"type": "http.disconnect"})

        async def receive() -> Any:
            return messages.pop(0)

        return await read_body(receive, {b"content-length": b"%d" % length})

    assert await read(b"abc") == b"abc"
    assert await read(b"a", b"b", b"c") == b"abc"
    with pytest.raises(ConnectionError):
        await read(b"a", cut=True)
    monkeypatch.setattr(asgi, "MAX_MESSAGE", 2)
    assert await read(b"a", b"b", b"c") is None
    assert await read(b"", length=3) is None


def test_a_journal_keeps_the_last_events(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    journal.name = "s"
    assert journal.beginning() == b"id: s-0\r\nretry: 1000\r\ndata: \r\n\r\n"
    events = [journal.add(b"%d" % number) for number in range(1, 4)]
    assert events[0] == b"event: message\r\nid: s-1\r\ndata: 1\r\n\r\n"
    assert journal.after(0) == events
    assert journal.after(2) == events[2:]
    assert journal.after(9) == []
    large = journal.add(b"x" * KEPT)
    assert large.endswith(b"x\r\n\r\n")
    assert journal.after(0) == []


@pytest.mark.parametrize(
    ("text", "found"), [("a-1", ("a", 1)), ("a-b-12", ("a-b", 12)), ("", ("", 0)), ("a-", ("", 0)), ("a-x", ("", 0))]
)
def test_the_place_that_an_id_says(text: str, found: tuple[str, int]) -> None:
    assert place(text) == found


class Endpoint:
    """`/mcp` with a proxy that answers `initialize` and keeps every other call for the test."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.clients = Clients()
        self.http = StreamableHttp(self)  # type: ignore[arg-type]
        self.session = b""

    def accept(self, call: Call, params: Any, meta: Any, headers: Any = None) -> None:
        if call.method == "initialize":
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
        again = await endpoint.request("GET", last_event_id=ids[0].decode(), leaves=leaves)
    messages = said(resumed.body)
    assert [message.get("method") for message in messages] == ["two", None]
    assert messages[1]["result"] == {"x": 1}
    assert said(again.body) == []  # it was sent to its end


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
