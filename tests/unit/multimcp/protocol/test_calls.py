"""Calls, questions and clients: who is told what, who may be asked, and when a call's time runs."""

import json
from collections import deque
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import Fault
from multimcp.protocol import calls
from multimcp.protocol.calls import (
    ANSWER_WAIT,
    OVER,
    Begun,
    Call,
    Clients,
    Listener,
    Question,
    Session,
    Tasks,
    check_abilities,
    check_ability,
    most_verbose,
)
from multimcp.protocol.eras import LEVELS
from multimcp.protocol.limits import Limits
from multimcp.protocol.message import Message, opened, pack, succeeded
from multimcp.protocol.seen import Seen
from tests.support.fakes import Clock, Port, World, message, raw

CANCELLED = "notifications/cancelled"


class Asker:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __call__(self, answer: Message | None) -> None:
        part = answer and (answer.result if isinstance(answer.result, Raw) else answer.error)
        self.heard.append(part and json.loads(bytes(part)))


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "code"),
    [
        ({}, "sampling/createMessage", {}, -32601),
        ({"sampling": None}, "sampling/createMessage", {}, -32601),
        ({"sampling": {}}, "sampling/createMessage", {}, None),
        ({"sampling": {}}, "sampling/createMessage", {"tools": []}, -32602),
        ({"sampling": {}}, "sampling/createMessage", {"toolChoice": {}}, -32602),
        ({"sampling": {"tools": {}}}, "sampling/createMessage", {"tools": []}, None),
        ({"elicitation": {}}, "elicitation/create", {}, None),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}, -32602),
        ({"elicitation": {}}, "elicitation/create", {"mode": {}}, -32602),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "url"}, None),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "form"}, -32602),
        ({"elicitation": {"url": {}}}, "elicitation/create", {}, -32602),
        ({"elicitation": {"form": {}}}, "elicitation/create", {}, None),
        ({"roots": {}}, "roots/list", {}, None),
        ({"roots": {}}, "elicitation/create", {}, -32601),
        ({"roots": {}}, "vendor/ask", {}, -32601),
    ],
)
def test_a_client_is_asked_only_what_it_can_answer(
    capabilities: dict[str, Any], method: str, params: dict[str, Any], code: int | None
) -> None:
    if code is None:
        check_ability(opened(pack(capabilities)), method, opened(pack(params)))
        return
    with pytest.raises(Fault) as refused:
        check_ability(opened(pack(capabilities)), method, opened(pack(params)))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "needed"),
    [
        ({}, "sampling/createMessage", {}, {"sampling": {}}),
        ({"sampling": {}}, "sampling/createMessage", {"toolChoice": {}}, {"sampling": {"tools": {}}}),
        ({"sampling": {}}, "sampling/createMessage", {}, None),
        ({}, "elicitation/create", {}, {"elicitation": {"form": {}}}),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}, {"elicitation": {"url": {}}}),
        ({"elicitation": {}}, "elicitation/create", {"mode": {}}, {"elicitation": {"form": {}}}),
        ({"sampling": {}}, "roots/list", {}, {"roots": {}}),
        ({}, "vendor/ask", {}, None),
    ],
)
def test_a_modern_server_s_questions_reach_only_who_can_answer(
    capabilities: dict[str, Any], method: str, params: dict[str, Any], needed: dict[str, Any] | None
) -> None:
    questions = {"first": {"method": "vendor/ask"}, "second": {"method": method, "params": params}, "third": None}
    if needed is None:
        check_abilities(pack(capabilities), opened(pack(questions)))
        return
    with pytest.raises(Fault) as refused:
        check_abilities(pack(capabilities), opened(pack(questions)))
    assert refused.value.code == -32021
    assert refused.value.data == {"requiredCapabilities": needed}


@pytest.mark.parametrize(
    ("asked", "wanted"), [(None, []), ("error", list(LEVELS[4:])), ("debug", list(LEVELS)), ("loud", [])]
)
def test_a_modern_request_gets_the_levels_it_asks_for(asked: str | None, wanted: list[str]) -> None:
    meta = opened(pack({"io.modelcontextprotocol/logLevel": asked} if asked else {}))
    call = Call(Port(), "modern", 1, "m", meta)
    assert [level for level in (*LEVELS, "loud", None) if call.wants(level)] == wanted


def test_a_legacy_client_gets_what_it_has_not_said_anything_about() -> None:
    session, _ = World().session()
    call = Call(Port(), "legacy", 1, "m", {}, session)
    assert all(call.wants(level) for level in (*LEVELS, "loud", None))
    session.level = "error"
    assert [level for level in LEVELS if call.wants(level)] == list(LEVELS[4:])


def test_most_verbose() -> None:
    assert most_verbose(["error", None, "info", "loud"]) == "info"
    assert most_verbose([None]) is None


# Answers


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        ({"result": {"x": 1}}, {"result": {"x": 1}}),
        ({"error": {"code": 5, "message": "m", "data": [1.5]}}, {"error": {"code": 5, "message": "m", "data": [1.5]}}),
        ({"result": [1]}, {"error": {"code": -32603, "message": "The server's result is not an object"}}),
        ({"error": {"x": 1}}, {"error": {"code": -32603, "message": "The server's answer is not one that MCP allows"}}),
    ],
)
def test_an_answer_is_given_once_under_the_clients_id(answer: Any, got: Any) -> None:
    world = World()
    session, _ = world.session()
    call, port = world.call(session, "mine")
    call.finish(message(id=1, **answer), "legacy")
    call.finish(message(id=1, result={}), "legacy")
    call.fail(Fault(1, "x"))
    call.cancel()
    assert port.got == [{"jsonrpc": "2.0", "id": "mine", **got}]
    assert (call.is_over, session.calls) == (True, {})


def test_an_error_crosses_as_the_bytes_that_came() -> None:
    session, _ = World().session()
    call, port = World().call(session)
    call.finish(Message("2.0", id=1, error=raw('{"code":5, "message":"m" , "data": 1e400}')), "legacy")
    assert b'{"code":5, "message":"m" , "data": 1e400}' in port.raw[0]


def test_an_error_is_spelled_as_the_client_knows_it() -> None:
    call, port = World().call()
    call.finish(message(id=1, error={"code": -32002, "message": "m", "data": {"uri": "x"}}), "legacy")
    assert port.got[0]["error"] == {"code": -32602, "message": "m", "data": {"uri": "x"}}


def test_a_client_that_is_sent_to_a_url_by_an_error_hears_when_it_was_visited() -> None:
    session, _ = World().session()
    call, _ = World().call(session)
    elicitations = [{"elicitationId": "e", "url": "https://x"}, {"elicitationId": 7}, "no"]
    call.finish(message(id=1, error={"code": -32042, "message": "m", "data": {"elicitations": elicitations}}), "legacy")
    assert session.elicitations == deque(["e"])


def test_a_result_is_rewritten_before_it_is_given() -> None:
    session, _ = World().session()
    call, port = World().call(session)
    call.rewrite = lambda result: pack({"was": result})
    call.finish(message(id=1, result={"x": 1}), "legacy")
    assert port.got[0]["result"] == {"was": {"x": 1}}


def test_two_requests_with_one_id_are_both_answered() -> None:
    world = World()
    session, _ = world.session()
    first, one = world.call(session, 7)
    second, two = world.call(session, 7)
    assert list(session.calls.values()) == [first, second]
    first.conclude(succeeded())
    assert list(session.calls.values()) == [second]
    second.conclude(succeeded())
    assert (len(one.got), len(two.got), session.calls) == (1, 1, {})


# Time


def test_a_call_ends_when_its_time_is_over() -> None:
    clock, expired = Clock(), []
    call = Call(Port(), "modern", 1, "m", {})
    call.limit(clock, 3, lambda: expired.append(clock.now()))
    clock.move(2.9)
    assert expired == []
    clock.move(0.2)
    assert expired == [103.0]


def test_its_time_does_not_run_while_the_user_is_asked() -> None:
    world = World()
    session, _ = world.session(roots={})
    call, _, _ = world.send(session)
    expired: list[float] = []
    call.limit(world.clock, 3, lambda: expired.append(world.clock.now()))
    world.clock.move(2)
    first, second = [session.ask(Asker(), call, "roots/list", {}, world.clock) for _ in (1, 2)]
    assert call.state == "asking"
    world.clock.move(100)
    session.answer(message(id=first.number, result={}))
    world.clock.move(100)
    session.answer(message(id=second.number, result={}))
    assert (call.state, expired) == ("in flight", [])
    world.clock.move(0.9)
    assert expired == []
    world.clock.move(0.2)
    assert expired == [303.0]


def test_a_call_that_is_over_has_no_time() -> None:
    clock, expired = Clock(), []
    call = Call(Port(), "modern", 1, "m", {})
    call.limit(clock, 3, lambda: expired.append(1))
    call.conclude(succeeded())
    clock.move(10)
    assert expired == []


# Questions


def ask(session: Session, clock: Clock, call: Call | None = None) -> tuple[Asker, Question]:
    asker = Asker()
    return asker, session.ask(asker, call, "roots/list", opened(pack({"n": 1.0})), clock)


def test_a_question_and_its_answer_cross_as_they_are() -> None:
    world = World()
    session, told = world.session(roots={})
    call, port, _ = world.send(session)
    asker, question = ask(session, world.clock, call)
    assert port.got == [{"jsonrpc": "2.0", "id": 1, "method": "roots/list", "params": {"n": 1.0}}]
    session.answer(message(id="1", result={"roots": [1e300]}))  # whatever the spelling of the id
    session.answer(message(id=1, result={}))
    assert asker.heard == [{"roots": [1e300]}]
    assert (question.is_open, session.questions, told) == (False, {}, [])


def test_a_question_of_no_call_goes_to_the_client_itself() -> None:
    world = World()
    session, told = world.session(roots={})
    ask(session, world.clock)
    assert told[0]["method"] == "roots/list"


@pytest.mark.parametrize("how", ["withdrawn", "call over", "late", "gone", "cancelled"])
def test_how_a_question_ends_without_an_answer(how: str) -> None:
    world = World()
    session, _ = world.session(roots={})
    call, port, _ = world.send(session)
    asker, question = ask(session, world.clock, call)
    match how:
        case "withdrawn":
            question.withdraw()
        case "call over":
            call.conclude(succeeded())
        case "late":
            world.clock.move(ANSWER_WAIT + 1)
        case "gone":
            session.leave()
        case "cancelled":
            session.cancel(opened(pack({"requestId": "c"})))
    told = [each for each in port.got[1:] if each and each.get("method") == CANCELLED]
    assert [each["params"] for each in told] == ([] if how == "gone" else [{"requestId": 1}])
    if how == "withdrawn":
        assert asker.heard == [None]
    else:
        [error] = asker.heard
        assert error["message"] == ("The client did not come back with an answer" if how == "late" else OVER)
    if how == "call over":
        assert "result" in port.got[-1]  # behind the withdrawal
    session.answer(message(id=1, result={}))
    assert len(asker.heard) == 1


def test_a_refused_question_leaves_nothing() -> None:
    world = World()
    session, _ = world.session()
    call, port, _ = world.send(session)
    with pytest.raises(Fault):
        session.ask(Asker(), call, "roots/list", {}, world.clock)
    assert (port.got, session.questions, call.state) == ([], {}, "in flight")


# Sessions and clients


@pytest.mark.parametrize("number", [None, True, {}, [1], "x", 1.5, 2])
def test_a_cancellation_of_no_call_of_the_session_is_nothing(number: Any) -> None:
    world = World()
    session, _ = world.session()
    call, _, _ = world.send(session, 1)
    session.cancel(opened(pack({"requestId": number})))
    assert not call.is_over
    session.cancel(opened(pack({"requestId": "1"})))
    assert call.is_over


def test_a_session_that_ends_cancels_its_calls() -> None:
    world = World()
    session, _ = world.session()
    gone: list[int] = []
    session.on_gone.append(lambda: gone.append(1))
    _, port, number = world.send(session)
    world.clients.leave(session)
    world.clients.leave(session)
    assert (port.got, world.wire.cancelled, gone) == ([None], [number], [1])
    assert world.clients.sessions == {}


def test_nothing_is_told_before_initialized_or_after_the_end() -> None:
    told: list[bytes] = []
    clients = Clients()
    session = Session("s", pack({}), told.append)
    clients.join(session)
    session.tell(b"early")
    clients.initialized(session)
    session.tell(b"now")
    clients.leave(session)
    session.tell(b"late")
    clients.initialized(session)
    assert told == [b"now"]
    assert session.state == "gone"


def test_a_broadcast_reaches_who_wants_it() -> None:
    world = World()
    (one, told_one), (two, told_two) = world.session("1"), world.session("2")
    world.clients.set_level(one, "error")

    def broadcast(method: str, **params: Any) -> list[int]:
        before = len(told_one), len(told_two)
        world.clients.broadcast(method, opened(pack(params)), b'{"x":1}', lambda session: session is not None)
        return [len(told_one) - before[0], len(told_two) - before[1]]

    assert broadcast("notifications/message", level="info") == [0, 1]
    assert broadcast("notifications/message", level="alert") == [1, 1]
    assert broadcast("notifications/vendor/x") == [1, 1]
    two.note_elicitations(pack({"elicitations": [{"elicitationId": "e"}, {}, 7]}))
    assert broadcast("notifications/elicitation/complete", elicitationId="e") == [0, 1]
    assert broadcast("notifications/elicitation/complete", elicitationId="f") == [0, 0]
    assert world.clients.level == "error"
    world.clients.broadcast("x", {}, b"{}", lambda session: session is one)
    assert len(told_two) == 4
    world.clients.leave(one)
    assert world.clients.level is None


def test_the_only_client_is_waited_for() -> None:
    assert Clients().single(lambda session: None) is False
    clients = Clients(is_single=True)
    got: list[Session | None] = []
    assert clients.single(got.append)
    session = Session("s", pack({}), lambda data: None)
    clients.join(session)
    assert got == []
    clients.initialized(session)
    assert got == [session]
    assert clients.single(got.append)
    assert got == [session, session]


# Listening


def listener(**notifications: Any) -> tuple[Listener, Port]:
    port = Port("mine")
    call = Call(port, "modern", "mine", "subscriptions/listen", {}, implementation=pack({}))
    return Listener(call, opened(pack(notifications)), Seen({}, 0)), port


META = {"io.modelcontextprotocol/subscriptionId": "mine"}


def test_a_listener_hears_what_it_asked_for() -> None:
    clients = Clients()
    one, port = listener(toolsListChanged=True, promptsListChanged=False, resourcesListChanged=1)
    clients.listen(one)
    assert clients.audience() == [one]
    one.acknowledge([])
    for capability in ("tools", "prompts", "resources"):
        one.tell_changed(capability)
    assert [(each["method"], each["params"]) for each in port.got] == [
        ("notifications/subscriptions/acknowledged", {"notifications": {"toolsListChanged": True}, "_meta": META}),
        ("notifications/tools/list_changed", {"_meta": META}),
    ]
    clients.end_listening()
    assert port.got[-1]["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "mine"
    assert port.got[-1]["result"]["resultType"] == "complete"
    one.tell_changed("tools")
    assert len(port.got) == 3


def test_a_listener_that_is_ended_is_given_up_by_who_carries_it() -> None:
    """Also while its resources are still being subscribed to; its client gets its answer, and no other."""
    clients = Clients(limits=Limits(streams=1))
    one, port = listener()

    class Carrier:
        def give_up(self, number: int, reason: Any = None) -> None:
            clients.listeners.discard(one)
            one.call.fail(Fault(-32603, "given up"))

    clients.listen(one)
    one.call.carried(Carrier(), 0)
    clients.end_listening()
    assert ["result" in each for each in port.got] == [True]
    clients.listen(listener()[0])


def test_the_acknowledgment_comes_before_what_happens_meanwhile() -> None:
    one, port = listener(toolsListChanged=True)
    for _ in range(2):
        one.tell_changed("tools")
    one.tell("notifications/resources/updated", {"uri": pack("a")})
    assert port.got == []
    one.acknowledge(["a"])
    one.tell_changed("tools")
    methods = [each["method"].removeprefix("notifications/") for each in port.got]
    assert methods == ["subscriptions/acknowledged", "tools/list_changed", "resources/updated", "tools/list_changed"]


def test_a_session_is_told_of_changed_lists_when_it_is_ready() -> None:
    told: list[bytes] = []
    clients = Clients()
    session = Session("s", pack({}), told.append)
    clients.join(session)
    assert (clients.audience(), session.is_ready, session.session, session.era) == ([session], False, session, "legacy")
    session.tell_changed("tools")
    clients.initialized(session)
    session.tell_changed("prompts")
    assert [json.loads(each)["method"] for each in told] == ["notifications/prompts/list_changed"]


def test_what_can_be_subscribed_to_is_acknowledged() -> None:
    one, port = listener(resourceSubscriptions=["a", "b", 7])
    assert one.uris == ["a", "b"]
    one.acknowledge(["b"])
    assert port.got[0]["params"]["notifications"] == {"resourceSubscriptions": ["b"]}
    odd, _ = listener(resourceSubscriptions="a")
    assert odd.uris == []


def test_there_is_a_limit_to_streams() -> None:
    told: list[object] = []
    clients = Clients(limits=Limits(streams=2), warn=lambda *about: told.append(about[1]))
    clients.listen(listener()[0])
    with clients.streaming():
        assert told == []
        with pytest.raises(Fault, match="Stream limit reached: 2"):
            clients.listen(listener()[0])
        with pytest.raises(Fault, match="Stream limit reached: 2"), clients.streaming():
            pass
    assert told == [2, 2]
    with clients.streaming():
        pass


def test_there_is_a_limit_to_the_calls_of_one_client() -> None:
    told: list[object] = []
    clients = Clients(limits=Limits(session_calls=1), warn=lambda *about: told.append(about[1]))
    clients.check_calls({})
    call, _ = World().call()
    for _ in range(2):
        with pytest.raises(Fault, match="1 calls of this client are in flight"):
            clients.check_calls({1: call})
    assert told == [1, 1]


@pytest.mark.parametrize(
    ("events", "state", "changed"),
    [
        ([], "greeted", []),
        (["initialized"], "initialized", [True]),
        (["initialized", "initialized"], "initialized", [True, False]),
        (["left"], "gone", [True]),
        (["left", "initialized"], "gone", [True, False]),
        (["initialized", "left", "left"], "gone", [True, True, False]),
    ],
)
def test_the_states_of_a_session(events: list[str], state: str, changed: list[bool]) -> None:
    session = Session("1", pack({}), lambda data: None)
    assert [session.step(event) for event in events] == changed
    assert session.state == state


def test_who_has_begun_a_task() -> None:
    world, tasks = World(), Tasks()
    (one, _), (other, _) = world.session("1"), world.session("2")
    tasks.begin("a", None, "1", Begun(one))
    tasks.begin("a", other, "1", Begun(other))  # of the server that this client has for itself
    tasks.begin("b", None, "1", Begun(other))
    assert [tasks.is_anothers(server, "1", other) for server in ("a", "b", "c")] == [True, False, False]
    assert tasks.of("a", other, "unheard of") == Begun(other)
    tasks.begin("b", None, "1", Begun(one))
    tasks.forget(one)
    assert (tasks.of("a", None, "1"), tasks.of("b", None, "1"), tasks.of("a", other, "1")) == (None, None, Begun(other))
    tasks.forget(other)
    assert (tasks._begun, one.begun, other.begun) == ({}, {}, {})


def test_tasks_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TASKS", 4)
    monkeypatch.setattr(calls, "TASKS_OF_ONE", 2)
    world, tasks = World(), Tasks()
    sessions = [world.session(str(number))[0] for number in range(3)]
    begun = [(0, "1"), (0, "2"), (0, "1"), (0, "3"), (1, "4"), (1, "5"), (2, "6"), (2, "x" * 1001)]
    for number, task in begun:
        tasks.begin("a", None, task, Begun(sessions[number]))
    assert [task for _, task in begun[-6:] if tasks.of("a", None, task)] == ["3", "4", "5", "6"]
    assert [len(session.begun) for session in sessions] == [1, 2, 1]


def test_a_client_that_leaves_leaves_its_tasks() -> None:
    world = World()
    session, _ = world.session("1")
    world.clients.join(session)
    world.clients.tasks.begin("a", None, "1", Begun(session))
    world.clients.leave(session)
    assert world.clients.tasks.of("a", None, "1") is None
