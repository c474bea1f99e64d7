"""A client on one stream of messages, and the sessions over HTTP: what is answered, refused and ended."""

import json
from functools import partial
from typing import Any

import pytest

from multimcp.protocol.calls import Call, Clients, Origin
from multimcp.protocol.framing import Oversized
from multimcp.protocol.http import Head, Refusal, read_head
from multimcp.protocol.limits import Limits
from multimcp.protocol.message import opened, read, succeeded
from multimcp.protocol.outbox import Response
from multimcp.protocol.peer import IDLE, RESUMABLE, Peer, Sessions, take_note
from tests.support.fakes import PROXY, Clock, Port


class Front:
    """Takes what clients send, and answers `initialize`, unless that has to wait."""

    waits = False

    def __init__(self, **limits: int) -> None:
        self.warned: list[str] = []
        self.clients = Clients(limits=Limits(**limits), warn=lambda line, *about: self.warned.append(line % about))
        self.clock: Any = Clock()
        self.implementation = PROXY
        self.calls: list[Call] = []
        self.notes: list[str] = []

    def accept(self, call: Call, params: Any, meta: Any, headers: Any = None) -> None:
        self.calls.append(call)
        if call.method == "initialize" and call.session is not None and not self.waits:
            self.clients.join(call.session)
            call.conclude(succeeded())

    def notified(self, era: Any, session: Any, method: str, params: Any) -> None:
        self.notes.append(method)


class Line:
    """A client on one stream, and what it is sent."""

    def __init__(self, **limits: int) -> None:
        self.front = Front(**limits)
        self.got: list[Any] = []
        self.peer = Peer(self.front, "p", Origin("stdio"), lambda data: self.got.append(json.loads(data)))

    def send(self, **message: Any) -> None:
        self.peer.receive(json.dumps({"jsonrpc": "2.0", **message}).encode())


ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.mark.parametrize(
    ("method", "meta", "era"),
    [
        ("tools/list", {}, "legacy"),
        ("tools/list", ENVELOPE, "modern"),
        ("server/discover", ENVELOPE, "modern"),
        ("initialize", ENVELOPE, "legacy"),
    ],
)
def test_the_era_of_a_request(method: str, meta: dict[str, Any], era: str) -> None:
    line = Line()
    line.send(id=1, method=method, params={"_meta": meta})
    assert [call.era for call in line.front.calls] == [era]


@pytest.mark.parametrize(
    ("data", "code", "number"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": []}', -32602, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": {"x": "\xff"}}', -32700, 1),
        (b'{"id": "q", "method": "a"}', -32600, "q"),
        (b'{"jsonrpc": "2.0", "id": 2, "method": "server/discover"}', -32602, 2),
        (Oversized(b'{"jsonrpc": "2.0", "id": 4, "method"', b"}", 999), -32600, 4),
    ],
)
def test_what_cannot_be_taken_is_answered(data: Any, code: int, number: Any) -> None:
    line = Line()
    line.peer.receive(data)
    assert [(each["id"], each["error"]["code"]) for each in line.got] == [(number, code)]
    assert line.front.calls == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"rubbish", -32700),
        (b'{"jsonrpc": "2.0", "id": null, "method": "a"}', -32600),
        (b'{"jsonrpc": "2.0", "id": [], "method": "a"}', -32600),
        (b"7", -32600),
        (b"[]", -32600),
        (b"[" + b"7," * 1000 + b"7]", -32600),
        (Oversized(b"x" * 9, b"y", 999), -32600),
    ],
)
def test_what_has_no_id_that_could_be_one_is_answered_under_none(data: Any, code: int) -> None:
    line = Line()
    line.peer.take(data)
    assert [(each["id"], each["error"]["code"]) for each in line.got] == [(None, code)]
    fault = line.peer.receive(data)
    assert fault is not None
    assert fault.code == code
    assert len(line.got) == 1


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"  ",
            b"\r",
            b'{"jsonrpc": "2.0", "method": "a", "params": []}',
            b'[{"jsonrpc": "2.0", "method": "a"}]',
        ),
        b'{"jsonrpc": "2.0", "id": 9, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 9, "result": {"x": NaN}}',
        b'{"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "x"}}',
    ],
)
def test_nothing_is_answered_to_what_asks_nothing(data: bytes) -> None:
    line = Line()
    line.peer.take(data)
    assert line.got == line.front.calls == []


def test_a_batch_is_taken_apart() -> None:
    line = Line()
    line.peer.take(
        b'\xef\xbb\xbf [{"jsonrpc": "2.0", "id": 1, "method": "a"}, {"jsonrpc": "2.0", "method": "n"}, 7,'
        b' {"jsonrpc": "2.0", "id": 2, "method": 7}, [{"jsonrpc": "2.0", "id": 3, "method": "b"}],'
        b' {"jsonrpc": "2.0", "id": 4, "method": "c"}]\r'
    )
    assert [(call.id, call.method) for call in line.front.calls] == [(1, "a"), (4, "c")]
    assert [each["id"] for each in line.got] == [None, 2, None]


def test_a_call_is_over_when_it_is_answered_cancelled_or_its_client_gone() -> None:
    line = Line()
    line.send(id=0, method="initialize")
    for number in (1, 2, 3):
        line.send(id=number, method="tools/call")
    _, one, two, three = line.front.calls
    one.conclude(succeeded())
    line.send(method="notifications/cancelled", params={"requestId": 2})
    assert [one.is_over, two.is_over, three.is_over] == [True, True, False]
    line.send(method="notifications/initialized")
    assert line.front.notes == ["notifications/initialized"]
    line.peer.leave()
    assert three.is_over
    assert line.peer.calls == {}
    assert [each["id"] for each in line.got] == [0, 1]


def test_a_client_has_so_many_calls_in_flight() -> None:
    line = Line(session_calls=2)
    for number in (1, 2, 3, 4):
        line.send(id=number, method="tools/call", params={"_meta": ENVELOPE})
    assert [(each["id"], each["error"]["code"]) for each in line.got] == [(3, -32603), (4, -32603)]
    assert len(line.front.warned) == 2
    line.front.calls[0].conclude(succeeded())
    line.send(id=5, method="tools/call", params={"_meta": ENVELOPE})
    assert len(line.front.calls) == 3


@pytest.mark.parametrize(
    ("asked", "cancelled"), [(7, 7), (7, "7"), ("7", 7), (7, 7.0), ("q", "q")], ids=lambda number: repr(number)
)
def test_a_call_is_cancelled_and_answered_however_its_id_is_spelled(asked: Any, cancelled: Any) -> None:
    line = Line()
    line.send(id=asked, method="tools/call", params={"_meta": ENVELOPE})
    line.send(method="notifications/cancelled", params={"requestId": cancelled})
    assert line.front.calls[0].is_over
    line.send(id=asked, method="tools/call", params={"_meta": ENVELOPE})
    line.front.calls[1].conclude(succeeded())
    assert line.got == [{"jsonrpc": "2.0", "id": asked, "result": {}}]
    assert line.peer.calls == {}


@pytest.mark.parametrize("number", [None, True, {}, [1], "x", 1.5, 2])
def test_a_cancellation_of_no_call_of_the_client_is_nothing(number: Any) -> None:
    line = Line()
    line.send(id=1, method="tools/call", params={"_meta": ENVELOPE})
    line.send(method="notifications/cancelled", params={"requestId": number})
    assert not line.front.calls[0].is_over
    assert line.got == []


def test_what_belongs_to_a_call_comes_before_its_answer() -> None:
    line = Line()
    line.send(id=1, method="tools/call", params={"_meta": ENVELOPE})
    [call] = line.front.calls
    call.port.tell(b'{"x": 1}')
    call.conclude(succeeded())
    assert line.got == [{"x": 1}, {"jsonrpc": "2.0", "id": 1, "result": {}}]


def test_a_second_initialize_begins_a_new_session() -> None:
    line = Line()
    line.send(id=1, method="initialize", params={"capabilities": {"roots": {}}})
    first = line.peer.session
    line.send(id=2, method="tools/call")
    line.send(id=3, method="initialize", params={"capabilities": {"sampling": {}}})
    assert first is not None
    assert line.peer.session is not None
    assert (first.state, line.front.calls[1].is_over) == ("gone", True)
    assert (line.peer.session.state, list(line.peer.session.abilities)) == ("greeted", ["sampling"])
    assert list(line.front.clients.sessions.values()) == [line.peer.session]


@pytest.mark.parametrize("how", ["it leaves", "it begins anew", "its session over HTTP ends"])
def test_who_goes_while_its_greeting_waits_does_not_join_afterwards(how: str) -> None:
    """Nor does what was opened for it stay, and it goes once."""
    line, told = Line(), list[str]()
    line.front.waits = True
    line.send(id=1, method="initialize")
    session = line.peer.session
    client = (sessions := Sessions(line.front)).new("a", {})
    if how == "its session over HTTP ends":
        sessions.begin(client)
        session = client.session
        Call(Port(), "legacy", 1, "initialize", {}, session)
    assert session is not None
    [greeting] = session.calls.values()
    session.on_gone.append(lambda: told.append(how))
    if how == "it leaves":
        line.peer.leave()
    elif how == "it begins anew":
        line.send(id=2, method="initialize")
    else:
        sessions.end(client)
        sessions.end(client)
    assert greeting.is_over
    assert session.state == "gone"
    assert told == [how]


def test_a_client_that_never_was_greeted_leaves() -> None:
    line = Line()
    line.send(id=1, method="tools/call", params={"_meta": ENVELOPE})
    line.peer.leave()
    assert line.front.calls[0].is_over
    assert line.got == []


class Asker:
    """Whose question it is: keeps the answer."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def __call__(self, answer: Any) -> None:
        self.got.append(bytes(answer.result) if answer.result else json.loads(bytes(answer.error))["code"])


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"roots": [1.0]}}', b'{"roots": [1.0]}'),
        (b'{"jsonrpc": "2.0", "id": "1", "result": {}}', b"{}"),
        (b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}', -1),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"x": "\xff"}}', -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": -1, "message": "no"}}', -32600),
        (Oversized(b'{"jsonrpc": "2.0", "id": 1, "result": {"', b"}}", 999), -32600),
        (b'{"jsonrpc": "2.0", "id": 2, "result": {}}', None),
        (b'{"jsonrpc": "2.0", "id": 2, "result": {"x": "\xff"}}', None),
        (b'{"id": 1, "method": "a", "result": {}}', None),
    ],
)
def test_an_answer_reaches_who_asked_also_if_it_cannot_be_read(data: Any, answer: Any) -> None:
    line, asker = Line(), Asker()
    line.send(id=0, method="initialize", params={"capabilities": {"roots": {}}})
    session = line.peer.session
    assert session is not None
    line.front.clients.initialized(session)
    session.ask(asker, None, "roots/list", {}, line.front.clock)
    assert line.got[-1] == {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}
    line.peer.receive(data)
    assert asker.got == ([] if answer is None else [answer])
    line.peer.receive(b'{"jsonrpc": "2.0", "id": 1, "result": {"again": 1}}')
    assert len(asker.got) == 1


@pytest.mark.parametrize("result", ["{}", '{"x": "\xff"}'])
def test_an_answer_of_a_client_that_was_never_asked_is_nobodys(result: str) -> None:
    line = Line()
    line.peer.receive(f'{{"jsonrpc": "2.0", "id": 1, "result": {result}}}'.encode("latin-1"))
    assert (line.got, line.front.calls, line.front.notes) == ([], [], [])


def test_a_client_over_http_cancels_its_own_calls_only() -> None:
    front = Front()
    sessions = Sessions(front)
    one, other = (sessions.new(name, {}).session for name in "ab")
    calls = [Call(Port(), "legacy", 1, "tools/call", {}, session) for session in (one, other)]
    cancel = read(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "1"}}')
    take_note(front, "legacy", one, cancel, opened(cancel.params), {})
    assert [call.is_over for call in calls] == [True, False]
    assert front.notes == []
    take_note(front, "modern", None, cancel, opened(cancel.params), {})  # who has no session is heard all the same
    assert front.notes == ["notifications/cancelled"]


def test_a_stream_that_cannot_be_resumed_is_not_kept() -> None:
    sessions = Sessions(Front())
    client = sessions.new("a", {})
    client.keep(Response(1, 1000, sessions.replay))
    assert client.streams == {}


def test_a_session_that_never_began_ends_all_the_same() -> None:
    sessions = Sessions(Front())
    client = sessions.new("a", {})
    sessions.end(client)
    assert client.outbox.is_over


def test_streams_are_closed_and_their_sessions_go_on() -> None:
    sessions = Sessions(Front())
    clients = {name: sessions.new(name, {}) for name in "ab"}
    for client in clients.values():
        sessions.begin(client)
    sessions.close_streams()
    for name, client in clients.items():
        assert client.outbox.is_over
        assert sessions.find(head(name)) is client


def head(session: str | None) -> Head:
    return read_head("POST", [(b"mcp-session-id", session.encode())] if session is not None else [], b"")


@pytest.mark.parametrize(("number", "status"), [(None, 400), ("x", 404)])
def test_a_request_that_belongs_to_no_session(number: str | None, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        Sessions(Front()).find(head(number))
    assert refused.value.status == status


def test_the_session_that_was_silent_longest_goes_first() -> None:
    front = Front(sessions=2)
    sessions = Sessions(front)
    clients = {name: sessions.new(name, {}) for name in "abc"}
    for name in "ab":
        sessions.begin(clients[name])
        front.clients.join(clients[name].session)
    sessions.find(head("a"))
    assert front.warned == []
    sessions.begin(clients["c"])
    assert len(front.warned) == 1
    assert clients["b"].session.state == "gone"
    assert clients["b"].outbox.is_over
    for name in "ac":
        assert sessions.find(head(name)) is clients[name]
    with pytest.raises(Refusal):
        sessions.find(head("b"))


def test_a_session_that_was_used_outlives_those_that_were_only_opened() -> None:
    sessions = Sessions(Front(sessions=3))
    used, busy = sessions.new("used", {}), sessions.new("busy", {})
    for client in (used, busy):
        sessions.begin(client)
    sessions.find(head("used"), asked=1)
    busy.come()
    for number in range(5):
        sessions.begin(sessions.new(str(number), {}))
    for name in ("used", "busy", "4"):
        assert sessions.find(head(name)).session.state == "greeted"
    with pytest.raises(Refusal):
        sessions.find(head("3"))


def test_sessions_that_were_only_opened_may_have_half_of_the_places() -> None:
    front = Front(sessions=5)
    sessions = Sessions(front)
    used = [sessions.new(f"used{each}", {}) for each in range(3)]
    new = [sessions.new(f"new{each}", {}) for each in "ab"]
    for client in (*used, *new):
        sessions.begin(client)
        front.clients.join(client.session)
        if client in used:
            sessions.find(head(client.session.id), asked=1)

    def there() -> list[str]:
        return [client.session.id for client in (*used, *new) if client.session.state != "gone"]

    sessions.begin(sessions.new("c", {}))
    assert there() == ["used1", "used2", "newa", "newb"]  # clients that come at once do not end one another
    sessions.begin(sessions.new("d", {}))
    assert there() == ["used1", "used2", "newb"]  # but no flood of them ends those that are used


def test_a_client_whose_long_request_is_over_was_not_silent_longest() -> None:
    front = Front(sessions=2)
    sessions = Sessions(front)
    waited, silent = (sessions.new(name, {}) for name in ("waited", "silent"))
    for client in (waited, silent):
        sessions.begin(client)
        front.clients.join(client.session)
        sessions.find(head(client.session.id), asked=1)
        if client is waited:
            client.come()
            client.come()
    front.clock.move(1)
    waited.go()
    sessions.find(head("silent"), asked=2)
    waited.go()
    sessions.begin(sessions.new("more", {}))
    assert (waited.session.state, silent.session.state) == ("greeted", "gone")
    sessions.end(waited)
    waited.go()  # what it had under way ends behind its session
    with pytest.raises(Refusal):
        sessions.find(head("waited"))


def test_no_session_ends_that_is_busy() -> None:
    sessions = Sessions(Front(sessions=1))
    busy = sessions.new("busy", {})
    sessions.begin(busy)
    busy.come()
    with pytest.raises(Refusal) as refused:
        sessions.begin(sessions.new("more", {}))
    assert refused.value.status == 503
    assert sessions.find(head("busy")) is busy


def test_a_session_is_used_with_the_key_that_opened_it() -> None:
    sessions = Sessions(Front())
    client = sessions.new("a", {}, b"one")
    sessions.begin(client)
    for key in (None, b"", b"two"):
        with pytest.raises(Refusal) as refused:
            sessions.find(read_head("POST", [(b"mcp-session-id", b"a")], b"", key))
        assert refused.value.status == 404
    assert sessions.find(read_head("POST", [(b"mcp-session-id", b"a")], b"", b"one")) is client


def test_the_session_of_a_client_that_does_not_read_ends() -> None:
    front = Front(unread=300)
    sessions = Sessions(front)
    one, other = (sessions.new(name, {}) for name in "ab")
    for client in (one, other):
        sessions.begin(client)
        front.clients.join(client.session)
        front.clients.initialized(client.session)
    for _ in range(4):
        one.session.tell(b"x" * 90)
    assert one.session.state == "gone"
    assert other.session.state == "initialized"
    assert len(front.warned) == 1


def test_so_many_streams_of_one_client_can_be_resumed() -> None:
    sessions = Sessions(Front())
    client = sessions.new("a", {})
    sessions.begin(client)
    responses = [
        Response(number, 1000, sessions.replay, partial("s{}".format, number)) for number in range(RESUMABLE + 1)
    ]
    for response in responses:
        response.begin()
        response.tell(b"{}")
        client.keep(response)
    assert list(client.streams) == [f"s{number}" for number in range(1, RESUMABLE + 1)]
    assert sessions.replay.after("s0", 0, 1) == []
    responses[2].done(succeeded())
    responses[2].sent()
    assert len(sessions.replay.after("s2", 0, 2)) == 2  # the answer may not have arrived
    another = Response(99, 1000, sessions.replay, lambda: "s99")
    client.keep(another)
    assert "s1" in client.streams  # its call is in flight, while that of s2 is over
    assert "s2" not in client.streams
    assert sessions.replay.after("s2", 0, 2) == []
    sessions.end(client)
    assert sessions.replay.after("s3", 0, 1) == []


@pytest.mark.parametrize(
    ("oldest", "then", "goes"),
    [
        ("runs", "runs", "oldest"),
        ("runs", "answered", "then"),
        ("runs", "cancelled", "then"),
        ("answered", "runs", "oldest"),
        ("answered", "cancelled", "then"),
        ("answered", "sent", "then"),
        ("sent", "cancelled", "oldest"),
        ("cancelled", "sent", "oldest"),
    ],
)
def test_of_streams_that_can_be_resumed_the_one_goes_that_is_missed_least(oldest: str, then: str, goes: str) -> None:
    sessions = Sessions(Front())
    client = sessions.new("a", {})
    names = ["oldest", *map(str, range(RESUMABLE - 2)), "then", "new"]
    for name in names:
        response = Response(0, 1000, sessions.replay, partial(str, name))
        client.keep(response)
        response.begin()
        if (is_so := {"oldest": oldest, "then": then}.get(name, "runs")) != "runs":
            response.done(None if is_so == "cancelled" else succeeded())
        if is_so == "sent":
            response.sent()
    assert set(names) - set(client.streams) == {goes}


def test_a_session_whose_client_is_silent_ends() -> None:
    front = Front()
    sessions = Sessions(front)
    clients = {name: sessions.new(name, {}) for name in ("silent", "asks", "listens", "waits")}
    for client in clients.values():
        sessions.begin(client)
        front.clients.join(client.session)
    for name in ("listens", "waits"):
        clients[name].come()
    left = Call(Port(), "legacy", 1, "tools/call", {}, clients["silent"].session)

    def there() -> list[str]:
        return [name for name, client in clients.items() if client.session.state != "gone"]

    front.clock.move(IDLE / 2)
    sessions.find(head("asks"))
    front.clock.move(IDLE / 2 - 1)
    assert there() == ["silent", "asks", "listens", "waits"]
    front.clock.move(2)
    assert there() == ["asks", "listens", "waits"]
    front.clock.move(IDLE / 2)
    assert there() == ["listens", "waits"]
    assert left.is_over
    for name in ("listens", "waits"):
        clients[name].go()
    front.clock.move(IDLE + 1)
    assert there() == []
    assert front.clock.timers == []
