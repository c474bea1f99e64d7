"""One connection: bytes of the backend in, and whom they concern; a client's requests out."""

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw

from multimcp.errors import Fault
from multimcp.protocol.framing import Oversized
from multimcp.protocol.link import Doubt, Excess, ListsChanged, Lost, Noise, Said, Updated
from multimcp.protocol.message import Message, opened, pack, value
from tests.support.fakes import World, message

LOG = "notifications/message"
K = "io.modelcontextprotocol/"


def test_a_request_and_its_answer_each_under_the_others_id() -> None:
    world = World()
    session, _ = world.session()
    _, port, number = world.send(session, "mine", name="t", arguments={"n": 1})
    assert world.wire.take() == [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {"n": 1}}}
    ]
    world.hear({"id": number, "result": {"x": 1}})
    world.hear({"id": number, "result": {"again": 1}})
    assert port.got == [{"jsonrpc": "2.0", "id": "mine", "result": {"x": 1}}]
    assert world.link.pending == {}


@pytest.mark.parametrize("spelled", ["1", '"1"', "1.0"])
def test_an_answer_is_matched_whatever_the_spelling_of_its_id(spelled: str) -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.hear(f'{{"jsonrpc":"2.0","id":{spelled},"result":{{}}}}'.encode())
    assert port.got[0]["result"] == {}


STRANGE = [None, 99, 0, -1, "x", "", 1.5, 10**30]
ERROR = {"code": 1, "message": "x"}


@pytest.mark.parametrize("number", [*STRANGE, True, [], {}, "none"])
@pytest.mark.parametrize(
    "outcome", [{"result": {"content": []}}, {"result": {"structuredContent": 1}}, {"error": ERROR}]
)
def test_an_answer_on_the_stream_of_a_request_is_its_own(outcome: Any, number: Any) -> None:
    world = World()
    session, _ = world.session()
    world.send(session, "other")
    _, port, sent = world.send(session)
    world.hear(
        {**outcome, "id": 1} if number == 1 else {**outcome, **({} if number == "none" else {"id": number})}, via=sent
    )
    assert port.got == [{"jsonrpc": "2.0", "id": "c", **outcome}]
    assert len(world.link.pending) == 1


def test_what_is_no_result_of_its_method_is_not_taken_under_another_id() -> None:
    world = World()
    session, _ = world.session()
    _, tool, sent = world.send(session, "a")
    _, ping, pinged = world.send(session, "b", method="ping")
    world.hear({"id": "other", "result": {"tools": []}}, via=sent)
    world.hear({"id": "other", "result": {}}, via=pinged)
    assert "none of ours" in tool.got[0]["error"]["message"]
    assert ping.got[0]["result"] == {}


def test_on_a_stream_that_was_resumed_ids_count() -> None:
    world = World()
    session, _ = world.session()
    _, first, _ = world.send(session, "a")
    _, second, sent = world.send(session, "b")
    world.link.receive(b'{"jsonrpc":"2.0","id":1,"result":{}}', sent, by_id=True)
    assert (len(first.got), len(second.got)) == (1, 0)
    world.link.receive(b'{"jsonrpc":"2.0","id":1,"result":{}}', sent, by_id=True)  # told again: nobody waits for it
    assert not second.got
    world.link.receive(b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', sent, by_id=True)
    assert second.got[0]["error"] == ERROR


def test_a_nameless_error_belongs_to_the_only_request_that_it_can_be_meant_for() -> None:
    world = World()
    session, _ = world.session()
    world.hear({"id": None, "error": ERROR})  # nobody's
    _, port, _ = world.send(session)
    assert not port.got
    world.hear({"id": None, "error": ERROR})
    assert port.got[0]["error"] == ERROR
    _, port, _ = world.send(session)
    world.hear({"id": None, "result": {}})  # which may be meant for somebody who is not there any more
    assert "none of ours" in port.got[0]["error"]["message"]
    assert "none of ours" in str(world.events)


@pytest.mark.parametrize("number", STRANGE[1:])
@pytest.mark.parametrize("outcome", [{"result": {}}, {"error": ERROR}])
def test_a_strangers_answer_is_nobodys(outcome: Any, number: Any) -> None:
    world = World()
    session, _ = world.session()
    _, other, _ = world.send(session, "a")
    _, port, _ = world.send(session, "b")
    world.hear({"id": number, **outcome})
    for sent in (1, 2):
        world.hear({"id": sent, "result": {}})
    assert [port.got[0]["result"], other.got[0]["result"]] == [{}, {}]


@pytest.mark.parametrize("number", STRANGE)
def test_but_holds_nobody_up_for_ever(number: Any) -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.hear({"id": number, "error": ERROR})
    _, later, _ = world.send(session, "d")
    world.clock.move(31)
    assert port.got[0]["error"] == ERROR
    assert not later.got


def test_a_strange_answer_waits_until_it_is_clear_whose_it_is() -> None:
    world = World()
    session, _ = world.session()
    ports = [world.send(session, name)[1] for name in "abc"]
    world.hear({"id": None, "error": ERROR})
    _, later, _ = world.send(session, "d")
    world.hear({"id": 1, "result": {}})
    assert [len(port.got) for port in ports] == [1, 0, 0]
    world.hear({"id": 3, "result": {}})
    assert ports[1].got[0]["error"] == ERROR
    world.clock.move(1000)
    assert not later.got


def test_as_many_strange_answers_as_requests() -> None:
    world = World()
    session, _ = world.session()
    ports = [world.send(session, name)[1] for name in "ab"]
    for _ in ports:
        world.hear({"id": None, "error": ERROR})
    assert [port.got[0]["error"] for port in ports] == [ERROR, ERROR]


def test_a_strange_answer_holds_nobody_up_for_ever() -> None:
    world = World()
    session, _ = world.session()
    ports = [world.send(session, name)[1] for name in "ab"]
    world.hear({"id": None, "error": ERROR})
    world.clock.move(29)
    assert not any(port.got for port in ports)
    world.clock.move(2)
    assert ports[0].got[0]["error"] == ERROR
    assert "none of ours" in ports[1].got[0]["error"]["message"]


def test_a_request_that_is_given_up_takes_a_strange_answer_with_it() -> None:
    world = World()
    session, _ = world.session()
    call, _, _ = world.send(session, "a")
    ports = [world.send(session, name)[1] for name in "bc"]
    world.hear({"id": None, "error": ERROR})
    call.cancel()
    world.hear({"id": 2, "result": {}})
    world.clock.move(1000)
    assert [len(port.got) for port in ports] == [1, 0]


@pytest.mark.parametrize("via", [None, 1])
@pytest.mark.parametrize(
    "data",
    [
        b'[{"jsonrpc":"2.0","method":"notifications/message","params":{}},%s]',
        b" \n[%s]\r\n",
        b"\xef\xbb\xbf%s",
        b"\xef\xbb\xbf[%s,7,null,[]]",
        b"\xef\xbb\xbf\xef\xbb\xbf%s ",
        b"%s \r",
        b"\t %s",
    ],
)
def test_batches_byte_order_marks_and_white_space(data: bytes, via: int | None) -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.hear(data % b'{"jsonrpc":"2.0","id":1,"result":{"x":1}}', via)
    assert port.got[-1]["result"] == {"x": 1}


@pytest.mark.parametrize("data", [b"[]", b"[", b"[" * 100_000, b"[" + b"{}," * 20_000 + b"{}]"])
def test_what_is_no_batch_is_noise(data: bytes) -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.hear(data)
    assert not port.got
    assert len(world.events) == 1


def test_no_batch_is_in_a_batch() -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.hear(b'[[{"jsonrpc":"2.0","id":1,"result":{}}], 7]')
    assert not port.got


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"t":"\\ud800"}}', -32700),
        (b'{"jsonrpc":"2.0","id":"1","result":{"t":"\xff"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32700),
        (b'{"jsonrpc":"2.0","id":1}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"result":[]}', -32603),
        (b'{"jsonrpc":"2.0","id":1,"error":7}', -32603),
        (Oversized(b'{"id":1,"result":{', b"}}", 10**8), -32700),
        (Oversized(b'{"result":{', b'},"jsonrpc":"2.0","id":1}', 10**8), -32700),
    ],
)
def test_an_answer_that_cannot_be_read_fails_its_request(data: Any, error: int) -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    world.link.receive(data)
    assert port.got[0]["error"]["code"] == error
    assert [type(event) for event in world.events] == ([Excess] if isinstance(data, Oversized) else [])


@pytest.mark.parametrize("answer", [{"error": {"code": -32601, "message": "what?"}}, {"result": {}}])
def test_an_answer_to_a_notification_is_nobodys(answer: Any) -> None:
    world = World()
    world.link.notify("notifications/initialized", {})
    answers: list[Message] = []
    world.link.ask("tools/list", {}, answers.append)
    world.hear({"id": None, **answer})
    assert (answers, len(world.link.pending)) == ([], 1)
    world.hear({"id": 1, "result": {"tools": []}})
    assert value(answers[0].result) == {"tools": []}
    world.link.ask("tools/list", {}, answers.append)  # here it can be meant for this one only
    world.hear({"id": None, **answer})
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("word", "seen"),
    [(rb"\ud83d", "?"), (b"\xc4\xe3", "\ufffd\ufffd"), (b"a\tb\0", "a\tb\0"), (b"\xed\xa0\xbd", "\ufffd" * 3)],
)
def test_a_list_with_a_word_that_is_no_text_is_used_all_the_same(word: bytes, seen: str) -> None:
    world = World()
    answers: list[Message] = []
    world.link.ask("tools/list", {}, answers.append)
    world.link.receive(b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","description":"' + word + b'"}]}}')
    assert value(answers[0].result) == {"tools": [{"name": "a", "description": seen}]}
    assert [type(event) for event in world.events] == [Excess]
    world.link.ask("tools/list", {}, answers.append)
    world.link.receive(b'{"jsonrpc":"2.0","id":2,"result":{"tools":[NaN,"' + word + b'"]}}')
    assert answers[1].error is not UNSET


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"Loading...", "Loading..."), (b"  ", None), (b"{}", "{}")],
)
def test_what_is_no_message_is_noise(data: Any, shown: str | None) -> None:
    world = World()
    world.link.receive(data)
    assert world.events == ([] if shown is None else [Noise(shown)])


def test_a_question_that_cannot_be_read_is_answered() -> None:
    world = World()
    world.hear(b'{"jsonrpc":"2.0","id":"q","method":"roots/list","params":{"t":"\\ud800"}}')
    [answer] = world.wire.sent
    assert (answer["id"], answer["error"]["code"]) == ("q", -32700)


# During a call


def test_progress_comes_under_the_clients_token() -> None:
    world = World()
    session, _ = world.session()
    _, port, number = world.send(session, meta={"progressToken": "T"})
    assert world.wire.sent[0]["params"]["_meta"] == {"progressToken": number}
    for token in (number, str(number), 99, None):
        params = {"progressToken": token, "progress": 1, "vendor": [1.5], "_meta": {"v": 1, "progressToken": 2}}
        world.hear({"method": "notifications/progress", "params": params})
    expected = {"progressToken": "T", "progress": 1, "vendor": [1.5], "_meta": {"v": 1}}
    assert [each["params"] for each in port.got] == [expected, expected]


@pytest.mark.parametrize(
    "token",
    [
        '"T"',
        '""',
        "7",
        "7.0",
        "1.5",
        "1e400",
        "0",
        "-1",
        "123456789012345678901",
        "null",
        "true",
        "[1, 2]",
        '{"a": 1.0}',
    ],
)
def test_a_token_of_any_type_comes_back_as_it_was(token: str) -> None:
    """And the server gets an integer, whatever it was."""
    world = World()
    session, _ = world.session()
    _, port, number = world.send(session, meta={"progressToken": Raw(token.encode())})
    assert world.wire.sent[0]["params"]["_meta"] == {"progressToken": number}
    assert isinstance(number, int)
    sent: list[bytes] = []
    port.tell = sent.append  # type: ignore[method-assign, assignment]
    world.hear({"method": "notifications/progress", "params": {"progressToken": number, "progress": 1}})
    assert f'"progressToken":{token}'.encode() in sent[0]


def test_progress_that_nobody_asked_for_is_nobodys() -> None:
    world = World()
    session, _ = world.session()
    _, port, number = world.send(session)
    world.hear({"method": "notifications/progress", "params": {"progressToken": number, "progress": 1}})
    assert port.got == []


def test_a_notification_crosses_as_the_bytes_that_came() -> None:
    world = World()
    session, _ = world.session()
    _, port, _ = world.send(session)
    params = b'{"level":"info", "data": {"n": 1e400, "n": 1.0}}'
    world.hear(b'{"jsonrpc":"2.0","method":"notifications/message","params":' + params + b"}")
    assert params in port.raw[0]


@pytest.mark.parametrize(
    ("era", "levels", "via", "told"),
    [
        ("legacy", [None], None, [1]),
        ("legacy", ["error"], None, [0]),
        ("legacy", [None, "debug", "error"], None, [1, 1, 0]),
        ("legacy", [None, None], 2, [0, 1]),
        ("modern", [None], None, [0]),
        ("modern", ["info"], None, [1]),
        ("modern", ["info", None], None, [1, 0]),
        ("modern", ["info", "info"], None, [0, 0]),
        ("modern", ["info", "info"], 1, [1, 0]),
    ],
)
def test_whose_log_message_it_is(era: Any, levels: list[str | None], via: int | None, told: list[int]) -> None:
    world = World(era)
    ports = []
    for n, level in enumerate(levels):
        if era == "legacy":
            session, _ = world.session(str(n))
            session.level = level
            _, port, _ = world.send(session)
        else:
            _, port, _ = world.send(meta={K + "logLevel": level} if level else {})
        ports.append(port)
    world.hear({"method": LOG, "params": {"level": "info", "data": 1}}, via)
    assert [len(port.got) for port in ports] == told
    assert world.events == []


def test_two_calls_of_one_client_are_told_once() -> None:
    world = World()
    session, _ = world.session()
    ports = [world.send(session, n)[1] for n in (1, 2)]
    world.hear({"method": "notifications/vendor/x", "params": {"a": 1}})
    assert sum(len(port.got) for port in ports) == 1


def test_what_comes_on_the_stream_of_a_call_that_is_over_is_nobodys() -> None:
    world = World()
    session, _ = world.session(roots={})
    world.send(session, 1)
    call, port, number = world.send(session, 2)
    call.cancel()
    assert (port.got, world.wire.cancelled) == ([None], [number])
    world.wire.take()
    world.hear({"method": LOG, "params": {"level": "error"}}, number)
    world.hear({"id": "q", "method": "roots/list"}, number)
    assert (port.got, world.events[:-1]) == ([None], [])
    [refusal] = world.wire.sent
    assert (refusal["id"], refusal["error"]["code"]) == ("q", -32603)


def test_what_is_sent_during_our_own_request_belongs_to_no_call() -> None:
    world = World()
    world.link.ask("tools/list", {}, lambda answer: None)
    world.hear({"method": LOG, "params": {"level": "info"}}, 1)
    [event] = world.events
    assert isinstance(event, Said)


# What belongs to no call


def test_what_goes_up() -> None:
    world = World("modern")
    for capability in ("tools", "prompts", "resources"):
        world.hear(
            {"method": f"notifications/{capability}/list_changed", "params": {"_meta": {K + "subscriptionId": 1}}}
        )
    world.hear(
        {"method": "notifications/resources/updated", "params": {"uri": "x", "_meta": {K + "subscriptionId": 1}}}
    )
    world.hear({"method": "notifications/vendor/x", "params": {"a": 1, "_meta": {"progressToken": 1, "b": 2}}})
    assert world.events[:4] == [
        ListsChanged("tools"),
        ListsChanged("prompts"),
        ListsChanged("resources"),
        Updated(opened(pack({"uri": "x"}))),
    ]
    said = world.events[4]
    assert isinstance(said, Said)
    assert json.loads(said.data)["params"] == {"a": 1, "_meta": {"b": 2}}


def test_a_listening_stream_is_acknowledged() -> None:
    world = World("modern")
    heard: list[int] = []
    call = world.link.ask("subscriptions/listen", {}, lambda answer: None)
    world.link.ask("tools/list", {}, lambda answer: None)
    call.on_listening = lambda method, params: heard.append(1)
    for number in (1, "1", 2, 3, None):
        meta = {K + "subscriptionId": number}
        world.hear({"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}})
    assert heard == [1, 1]


# Questions


def question(world: World, number: Any = "q", via: int | None = None) -> None:
    world.hear({"id": number, "method": "roots/list", "params": {"a": 1, "_meta": {"progressToken": 1, "b": 2}}}, via)


def test_a_ping_is_answered() -> None:
    world = World("modern")
    world.hear({"id": "p", "method": "ping"})
    assert world.wire.sent == [{"jsonrpc": "2.0", "id": "p", "result": {}}]


def test_a_modern_backend_asks_in_results() -> None:
    world = World("modern")
    question(world)
    assert world.wire.sent[0]["error"]["code"] == -32601


def test_the_client_whose_call_is_in_flight_is_asked() -> None:
    world = World()
    session, _ = world.session(roots={})
    world.session("other", roots={})
    _, port, _ = world.send(session)
    world.wire.take()
    question(world)
    [asked] = port.got
    assert (asked["method"], asked["params"]) == ("roots/list", {"a": 1, "_meta": {"b": 2}})
    session.answer(message(id=asked["id"], result={"roots": [1.5]}))
    assert world.wire.take() == [{"jsonrpc": "2.0", "id": "q", "result": {"roots": [1.5]}}]


def test_a_question_that_could_be_meant_for_two_is_put_to_none() -> None:
    world = World(hint="; a hint")
    ports = [world.send(world.session(str(n), roots={})[0])[1] for n in range(2)]
    world.wire.take()
    question(world)
    assert [port.got for port in ports] == [[], []]
    [refusal] = world.wire.take()
    assert refusal["error"]["code"] == -32603
    assert "2 clients have a call in flight" in refusal["error"]["message"]
    assert refusal["error"]["message"].endswith("; a hint")
    [doubt] = world.events
    assert isinstance(doubt, Doubt)
    question(world, "r", via=2)  # the stream says whose it is
    assert [len(port.got) for port in ports] == [0, 1]


def of_task(task: str) -> dict[str, Any]:
    return {"_meta": {K + "related-task": {"taskId": task}}}


def test_a_question_of_a_task_that_nobody_is_known_to_have_begun() -> None:
    world = World()
    [one, two] = [world.session(str(n), roots={})[0] for n in range(2)]

    def put() -> Any:
        world.wire.take()
        world.hear({"id": "q", "method": "roots/list", "params": of_task("1")})
        return world.wire.take()

    assert put()[0]["error"]["code"] == -32603
    _, port, _ = world.send(one)
    world.send(two)
    assert put()[0]["error"]["code"] == -32603
    assert port.got == []
    waiting, port, _ = world.send(two, "r", method="tasks/result")
    waiting.task = "1"
    assert put() == []
    assert port.got[0]["params"] == of_task("srv::1")


@pytest.mark.parametrize("method", ["notifications/tasks/status", "notifications/tasks", "notifications/message"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_what_is_said_of_a_task_that_nobody_is_known_to_have_begun(era: Any, method: str) -> None:
    world = World(era)
    session, told = world.session("1")
    _, port, _ = world.send(session)
    world.hear({"method": method, "params": {"taskId": "1", "level": "info", **of_task("1")}})
    assert (port.got, told, world.events) == ([], [], [])


def test_the_only_client_has_begun_all_tasks() -> None:
    world = World(is_single=True)
    _, told = world.session("1", roots={})
    world.hear({"method": "notifications/tasks/status", "params": {"taskId": "1"}})
    world.hear({"id": "q", "method": "roots/list", "params": of_task("1")})
    assert [each["params"] for each in told] == [{"taskId": "srv::1"}, of_task("srv::1")]


def test_a_question_during_nobodys_call() -> None:
    world = World(hint="; a hint")
    world.session(roots={})
    question(world)
    assert world.wire.take() == [{"jsonrpc": "2.0", "id": "q", "result": {"roots": []}}]
    for method in ("sampling/createMessage", "elicitation/create"):
        world.hear({"id": "q", "method": method, "params": {}})
        [refusal] = world.wire.take()
        assert refusal["error"]["code"] == -32603
        assert refusal["error"]["message"] == f"{method} is for nobody: no client has a call in flight; a hint"
    assert world.events == []  # nothing is wrong
    single = World(is_single=True)
    question(single)
    assert single.wire.sent == []  # it waits for the client
    _, told = single.session(roots={})
    assert told[0]["method"] == "roots/list"
    owned = World()
    owner, told = owned.session(roots={})
    owned.link.owner = owner
    question(owned)
    assert told[0]["method"] == "roots/list"
    unable, _ = owned.session("unable")
    owned.link.owner = unable  # whose capabilities the server knows
    question(owned, "q2")
    assert owned.wire.sent[-1]["error"]["code"] == -32601


@pytest.mark.parametrize("is_early", [True, False])
def test_the_only_client_has_no_roots(is_early: bool) -> None:
    """As it says, or as it is a modern one, which is asked in results; the server was told before that it has some."""
    legacy, modern = World(is_single=True), World(is_single=True)
    for world, come in ((legacy, legacy.session), (modern, modern.clients.come_without_session)):
        if is_early:
            question(world)
            assert world.wire.sent == []
        come()
        if not is_early:
            question(world)
        assert world.wire.sent == [{"jsonrpc": "2.0", "id": "q", "result": {"roots": []}}]


def test_a_question_that_is_taken_back() -> None:
    world = World()
    session, _ = world.session(roots={})
    _, port, _ = world.send(session)
    question(world, 5)
    world.wire.take()
    world.hear({"method": "notifications/cancelled", "params": {"requestId": "5"}})
    assert port.got[1]["params"] == {"requestId": port.got[0]["id"]}
    session.answer(message(id=port.got[0]["id"], result={}))
    world.hear({"method": "notifications/cancelled", "params": {"requestId": 5}})
    assert world.wire.sent == []


@pytest.mark.parametrize("number", [None, True, {}, [1], "x", 1.5, 2])
def test_a_cancellation_of_no_question_of_the_backend_is_nothing(number: Any) -> None:
    world = World()
    session, _ = world.session(roots={})
    _, port, _ = world.send(session)
    question(world, 1)
    world.hear({"method": "notifications/cancelled", "params": {"requestId": number}})
    assert [each["method"] for each in port.got] == ["roots/list"]


def test_questions_end_with_the_call_and_the_backend_learns_it() -> None:
    world = World()
    session, _ = world.session(roots={})
    _, port, number = world.send(session)
    question(world)
    world.wire.take()
    world.hear({"id": number, "result": {}})
    assert [each.get("method", "result") for each in port.got] == ["roots/list", "notifications/cancelled", "result"]
    assert world.wire.sent[0]["error"]["code"] == -32600


# The end


def test_what_is_in_flight_fails_when_the_connection_ends() -> None:
    world = World()
    session, _ = world.session(roots={})
    _, port, _ = world.send(session)
    answers: list[Any] = []
    world.link.ask("tools/list", {}, answers.append)
    question(world)
    world.wire.take()
    world.link.lose("it died")
    world.link.lose("again")
    assert port.got[1]["method"] == "notifications/cancelled"
    assert port.got[2]["error"] == {
        "code": -32603,
        "message": "MCP server 'srv': the connection ended before it answered tools/call",
        "data": {"server": "srv"},
    }
    assert len(answers) == 1
    assert world.events == [Lost("it died")]
    _, late, _ = world.send(session)
    assert "connection ended" in late.got[0]["error"]["message"]
    assert world.wire.sent == []


def test_a_request_that_takes_too_long_is_cancelled_there() -> None:
    world = World(timeout=3)
    session, _ = world.session()
    _, port, number = world.send(session)
    world.clock.move(3.1)
    assert port.got[0]["error"]["code"] == -32001
    assert 'did not answer tools/call within 3 s (its "timeout")' in port.got[0]["error"]["message"]
    assert world.wire.cancelled == [number]
    world.hear({"id": number, "result": {}})
    assert len(port.got) == 1


def test_an_initialize_is_not_cancelled() -> None:
    world = World()
    call = world.link.ask("initialize", {}, lambda answer: None)
    world.link.give_up(call.number)
    assert (world.wire.cancelled, world.link.pending) == ([], {})


def test_a_call_fails_alone() -> None:
    world = World()
    session, _ = world.session()
    (_, one, number), (_, two, _) = world.send(session, 1), world.send(session, 2)
    world.link.fail(number, Fault(-1, "no"))
    world.link.fail(number, Fault(-1, "no"))
    assert (one.got[0]["error"]["code"], two.got) == (-1, [])


def test_an_answer_that_is_too_large_fails_the_request_on_whose_stream_it_comes() -> None:
    world = World()
    session, _ = world.session()
    _, port, number = world.send(session)
    world.link.receive(Oversized(b'{"result":{', b"", 10**8), number)
    assert port.got[0]["error"]["code"] == -32700


def test_a_modern_server_is_told_whose_extensions_are_meant() -> None:
    def declared(world: World) -> Any:
        meta = world.wire.take()[-1]["params"]["_meta"]
        return meta["io.modelcontextprotocol/clientCapabilities"].get("extensions")

    apps = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}
    theirs: Any = {"a/b": {}, "io.modelcontextprotocol/tasks": {}}
    world = World("modern")
    session, _ = world.session(extensions=theirs)
    world.link.ask("tools/list", {}, lambda message: None)
    assert declared(world) == apps
    world.send(session)
    assert declared(world) == {"a/b": {}}
    world.send(meta={"io.modelcontextprotocol/clientCapabilities": {"extensions": theirs}})
    assert declared(world) == theirs
    world.link.owner = session
    world.link.ask("tools/list", {}, lambda message: None)
    assert declared(world) == {"a/b": {}}
