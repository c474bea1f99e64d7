"""Questions between the eras: held calls and conversations."""

from typing import Any

import pytest

from multimcp.errors import Fault
from multimcp.protocol.bridge import FOLD, ROUNDS, Converse, HeldCalls
from multimcp.protocol.calls import ANSWER_WAIT, OVER, Call
from multimcp.protocol.message import opened, pack
from tests.support.fakes import PROXY, Port, World, message

K = "io.modelcontextprotocol/"
ROOTS: dict[str, Any] = {K + "clientCapabilities": {"roots": {}}}


class Modern(World):
    """A modern client at a legacy backend."""

    def __init__(self, **options: Any) -> None:
        super().__init__("legacy", **options)
        self.states = iter(f"state{n}" for n in range(9))
        self.held = HeldCalls(self.clock, lambda: next(self.states), PROXY)

    def begin(self, meta: Any = ROOTS, **params: Any) -> tuple[Call, Port]:
        call, port = self.call(meta=meta)
        self.held.request(call, self.link, opened(pack({"name": "t", **params})), opened(pack(meta)))
        return call, port

    def retry(self, asked: Any, answers: Any, number: Any = "r", **params: Any) -> tuple[Call, Port, bool]:
        call, port = self.call(number=number, meta=ROOTS)
        sent = {"name": "t", **params, "requestState": asked["requestState"], "inputResponses": answers}
        return call, port, self.held.resume(call, opened(pack(sent)))

    def ask(self, number: Any = "q") -> None:
        self.hear({"id": number, "method": "roots/list", "params": {"a": 1.0}})

    def asked(self) -> tuple[Call, Any]:
        """A call that is held, and what its client was asked."""
        call, port = self.begin()
        self.ask()
        self.clock.move(FOLD)
        return call, port.got[-1]["result"]


def test_a_question_becomes_a_result_and_the_retry_brings_the_answer() -> None:
    world = Modern()
    _, port = world.begin(arguments={"n": 1})
    assert world.wire.take()[0]["params"] == {"name": "t", "arguments": {"n": 1}}
    world.ask()
    assert port.got == []
    world.clock.move(FOLD)
    result = port.got[0]["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {"question-1": {"method": "roots/list", "params": {"a": 1.0}}}
    assert result["_meta"] == {K + "serverInfo": {"name": "proxy"}}
    _, again, found = world.retry(result, {"question-1": {"roots": [1e300]}, "question-9": {}}, arguments={"n": 1})
    assert found
    assert world.wire.take() == [{"jsonrpc": "2.0", "id": "q", "result": {"roots": [1e300]}}]
    world.hear({"id": 1, "result": {"x": 1}})
    assert again.got[-1]["id"] == "r" or again.number == "c"
    assert again.got[-1]["result"]["x"] == 1
    assert again.got[-1]["result"]["resultType"] == "complete"
    world.clock.move(2 * FOLD)
    assert not any(timer.is_on for timer in world.clock.timers)  # which would keep the call


def test_questions_that_come_together_are_one_result() -> None:
    world = Modern()
    _, port = world.begin()
    world.ask("p")
    world.clock.move(FOLD / 2)
    world.ask("q")
    world.clock.move(FOLD)
    assert list(port.got[0]["result"]["inputRequests"]) == ["question-1", "question-2"]
    assert len(port.got) == 1


def test_a_question_that_is_not_answered_is_asked_again() -> None:
    world = Modern()
    _, port = world.begin()
    world.ask("p")
    world.ask("q")
    world.clock.move(FOLD)
    _, again, _ = world.retry(port.got[0]["result"], {"question-2": {}})
    world.clock.move(FOLD)
    assert list(again.got[0]["result"]["inputRequests"]) == ["question-1"]
    _, last, _ = world.retry(again.got[0]["result"], {"question-1": "no object"})
    world.clock.move(FOLD)
    assert list(last.got[0]["result"]["inputRequests"]) == ["question-1"]


def test_what_is_sent_while_the_client_is_away_waits() -> None:
    world = Modern()
    call, asked = world.asked()
    world.hear({"method": "notifications/vendor/x", "params": {"a": 1}})
    world.hear({"id": 1, "result": {"x": 1}})
    assert call.is_over
    _, port, _ = world.retry(asked, {})
    assert [each.get("method", "result") for each in port.got] == ["notifications/vendor/x", "result"]
    assert world.held.resume(*_request(world, asked)) is False


def _request(world: Modern, asked: Any) -> Any:
    call, _ = world.call(meta=ROOTS)
    return call, opened(pack({"name": "t", "requestState": asked["requestState"]}))


def test_progress_comes_under_the_token_of_the_retry() -> None:
    world = Modern()
    _, port = world.begin({**ROOTS, "progressToken": "first"})
    world.ask()
    world.clock.move(FOLD)
    call, again = world.call(meta={**ROOTS, "progressToken": "second"})
    world.held.resume(call, opened(pack({"name": "t", "requestState": port.got[0]["result"]["requestState"]})))
    world.hear({"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})
    assert again.got[0]["params"]["progressToken"] == "second"


@pytest.mark.parametrize("change", [{"name": "u"}, {"arguments": {"n": 2}}, {"uri": "x"}])
def test_a_retry_of_another_request_is_refused_and_costs_nothing(change: Any) -> None:
    world = Modern()
    _, asked = world.asked()
    with pytest.raises(Fault, match="belongs to another request"):
        world.retry(asked, {"question-1": {}}, **change)
    world.wire.take()
    assert world.retry(asked, {"question-1": {}})[2]
    assert world.wire.take()[0]["id"] == "q"


def test_a_state_is_used_once() -> None:
    world = Modern()
    _, asked = world.asked()
    assert world.retry(asked, {"question-1": {}})[2]
    assert not world.retry(asked, {"question-1": {}})[2]
    call, _ = world.call()
    with pytest.raises(Fault, match="begin again without it"):
        world.held.request(call, world.link, opened(pack({"requestState": "unknown"})), {})


def test_a_client_that_hangs_up_ends_its_call() -> None:
    world = Modern()
    call, port = world.begin()
    call.cancel()
    assert (world.wire.cancelled, port.got) == ([1], [None])
    other = Modern()
    _, asked = other.asked()
    second, _, _ = other.retry(asked, {"question-1": {}})
    second.cancel()
    assert other.wire.cancelled == [1]


def test_a_client_that_does_not_come_back() -> None:
    world = Modern()
    _, asked = world.asked()
    world.wire.take()
    world.clock.move(ANSWER_WAIT + 1)
    [answer] = world.wire.take()
    assert "did not come back" in answer["error"]["message"]
    assert world.wire.cancelled == [1]
    assert not world.retry(asked, {})[2]


def test_an_outcome_is_kept_for_so_long() -> None:
    world = Modern()
    _, asked = world.asked()
    world.hear({"id": 1, "result": {"x": 1}})
    world.clock.move(ANSWER_WAIT / 2)
    assert world.retry(asked, {})[1].got[0]["result"]["x"] == 1
    later = Modern()
    _, asked = later.asked()
    later.hear({"id": 1, "result": {}})
    later.clock.move(ANSWER_WAIT + 1)
    assert not later.retry(asked, {})[2]


def test_a_question_that_is_withdrawn_while_the_client_is_away() -> None:
    world = Modern()
    _, asked = world.asked()
    world.hear({"method": "notifications/cancelled", "params": {"requestId": "q"}})
    world.ask("r")
    world.wire.take()
    _, port, _ = world.retry(asked, {"question-1": {}})
    world.clock.move(FOLD)
    assert list(port.got[0]["result"]["inputRequests"]) == ["question-2"]
    assert world.wire.sent == []


def test_a_backend_that_dies_meanwhile() -> None:
    world = Modern()
    _, asked = world.asked()
    world.link.lose("it died")
    _, port, found = world.retry(asked, {"question-1": {}})
    assert found
    assert "connection ended" in port.got[0]["error"]["message"]


def test_a_client_that_cannot_answer_is_not_asked() -> None:
    world = Modern()
    _, port = world.begin({})
    world.wire.take()
    world.ask()
    world.clock.move(FOLD)
    assert port.got == []
    assert world.wire.sent[0]["error"]["code"] == -32601


def test_the_time_does_not_run_while_a_call_is_held() -> None:
    world = Modern(timeout=3)
    _, asked = world.asked()
    world.clock.move(100)
    _, port, _ = world.retry(asked, {"question-1": {}})
    world.clock.move(2.9)
    assert port.got == []
    world.clock.move(0.2)
    assert port.got[0]["error"]["code"] == -32001


# Legacy client, modern backend


class Legacy(World):
    def __init__(self, **abilities: Any) -> None:
        super().__init__("modern")
        self.client, _ = self.session(**(abilities or {"roots": {}}))
        self.one, self.port = self.call(self.client)
        params, meta = opened(pack({"name": "t"})), opened(pack({"v": 1}))
        Converse(self.one, self.link, params, meta, self.clock)
        self.link.request(self.one, params, meta)

    def answers(self, number: int, **result: Any) -> None:
        self.hear({"id": number, "result": result})

    def requires(self, number: int, requests: Any, **more: Any) -> None:
        self.answers(number, resultType="input_required", inputRequests=requests, **more)

    def says(self, number: int, **parts: Any) -> None:
        self.client.answer(message(id=number, **parts))


QUESTIONS = {"a": {"method": "roots/list"}, "b": {"method": "roots/list", "params": {"x": 1.0}}}


def test_a_legacy_client_is_asked_live_and_the_call_repeated() -> None:
    world = Legacy()
    world.wire.take()
    world.requires(1, QUESTIONS, requestState="S")
    assert [each.get("params") for each in world.port.got] == [None, {"x": 1.0}]
    world.says(2, result={"roots": [2]})
    assert world.wire.sent == []
    world.says(1, result={"roots": [1]})
    [again] = world.wire.take()
    meta = again["params"].pop("_meta")
    assert meta["v"] == 1
    assert again["params"] == {
        "name": "t",
        "inputResponses": {"a": {"roots": [1]}, "b": {"roots": [2]}},
        "requestState": "S",
    }
    world.answers(2, resultType="complete", x=1)
    assert world.port.got[-1] == {"jsonrpc": "2.0", "id": "c", "result": {"x": 1}}


def test_without_questions_it_is_repeated_at_once_but_not_for_ever() -> None:
    world = Legacy()
    for number in range(1, ROUNDS + 1):
        world.requires(number, {}, requestState=number)
        assert world.wire.sent[-1]["params"]["requestState"] == number
    world.requires(ROUNDS + 1, {})
    assert world.port.got == [
        {
            "jsonrpc": "2.0",
            "id": "c",
            "error": {"code": -32603, "message": f"The server asked more than {ROUNDS} times during one call"},
        }
    ]


def test_an_error_of_the_client_is_the_answer() -> None:
    world = Legacy()
    world.requires(1, QUESTIONS)
    world.says(1, error={"code": -1, "message": "no", "data": [1]})
    assert world.port.got[2]["method"] == "notifications/cancelled"
    assert world.port.got[2]["params"] == {"requestId": 2}
    assert world.port.got[3]["error"] == {"code": -1, "message": "no", "data": [1]}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"method": "sampling/createMessage"}, -32601),
        ({"method": "roots/list", "params": [1]}, -32603),
        ({"params": {}}, -32603),
        ({"method": 7}, -32602),
        ("no", -32603),
    ],
)
def test_a_question_that_cannot_be_asked_ends_the_call(request_: Any, code: int) -> None:
    world = Legacy()
    world.requires(1, {"a": QUESTIONS["a"], "b": request_})
    assert world.port.got[-1]["error"]["code"] == code
    # The other one is withdrawn.
    assert [each["method"] for each in world.port.got[:-1]] == ["roots/list", "notifications/cancelled"]


def test_a_call_that_is_cancelled_meanwhile() -> None:
    world = Legacy()
    world.requires(1, QUESTIONS)
    world.one.cancel()
    world.says(1, result={})
    world.says(2, result={})
    assert world.port.got[-1] is None
    assert len(world.wire.sent) == 1
    assert OVER
