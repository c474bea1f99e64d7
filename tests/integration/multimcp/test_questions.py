"""Questions of backends reach the user whose call they belong to and nobody else, whatever the ends speak and do.

- `asking` of fixtures/servers is a real server that asks; a puppet (see `ends.py`) is one that a test speaks for.
- "one" and "two" are clients of the same kind, both with calls in flight unless it is said otherwise.
- That nothing came is known by what came after it, on the same stream.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ends import FORM, Message, form, legacy, modern, stage
from tests.support.processes import (
    TIMEOUT,
    Proxy,
    RawClient,
    alive,
    fixture,
    proxy,
    raw,
    server_process,
    stdio_client,
    until,
    whole_lines,
    within,
    write_config,
)

FORMS: Message = {"elicitation": {"form": {}}}
ROOTS = {"roots": [{"uri": "file:///home/ada"}]}
COMPLETION = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}
INVALID_PARAMS, METHOD_NOT_FOUND, INTERNAL_ERROR, REQUEST_TIMEOUT = -32602, -32601, -32603, -32001
CANCELLED = "notifications/cancelled"
PATIENCE = 1.5
"""The `timeout` of a backend."""

FOLDING = "import multimcp.protocol.bridge as b; b.FOLD = 1"
"""On a busy machine the second of two questions comes later than usual."""

LATE_ANSWERS = "import multimcp.protocol.calls as c; c.ANSWER_WAIT = 0.5"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `own` writes down what it receives."""
    return tmp_path_factory.mktemp("asking") / "journal"


@pytest.fixture(scope="module")
def running(journal: Path) -> Iterator[Proxy]:
    """A proxy in front of the server `asking`, in all the ways that make a difference."""
    legacy = fixture("asking")["args"] + ["--era", "legacy"]
    with server_process("asking", "http", 0, "--era", "legacy") as url:
        servers = {
            "stdio": fixture("asking", args=legacy),
            "own": fixture("asking", args=[*legacy, "--journal", str(journal)], scope="session"),
            "http": {"url": url},
            "new": fixture("asking", args=[*fixture("asking")["args"], "--era", "modern"]),
        }
        with proxy(journal.parent, servers, first=FOLDING) as process:
            yield process.wait_ready()


def answers(result: Message) -> list[str]:
    """What `asking` got for answers to its questions, one after the other."""
    return [outcome["answer"]["content"]["answer"] for outcome in result["structuredContent"]["answers"]]


def messages(result: Message) -> list[str]:
    """The questions in an `input_required` result, by their texts."""
    assert result["resultType"] == "input_required"
    return [request["params"]["message"] for request in result["inputRequests"].values()]


# Whose question it is


async def test_two_clients_on_one_stdio_connection_are_not_asked(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        shared.add(doubtful=here.puppet())
        calls = [one.call("doubtful::echo", n=1), two.call("doubtful::echo", n=2)]
        first, second = [await here.called(n=1), await here.called(n=2)]
        for key, method, params in (("a", "elicitation/create", FORM), ("b", "roots/list", {})):
            first.ask(key, method, **params)
            error = (await here.answer(key))["error"]
            assert error["code"] == INTERNAL_ERROR
            assert "'doubtful'" in error["message"]
            assert '"scope": "session"' in error["message"]
        second.finish()
        assert await calls[1].text() == "done"  # and nothing else: it was not asked
        # Now there is no doubt any more, not even by two calls of the same client.
        another = one.call("doubtful::echo", n=3)
        third = await here.called(n=3)
        first.ask("c", "roots/list")
        asked = {asyncio.create_task(call.question()): call for call in (calls[0], another)}
        done, pending = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        [question] = [task.result() for task in done]
        for task in pending:
            task.cancel()
        await one.answer(question, ROOTS)
        assert (await here.answer("c"))["result"] == ROOTS
        first.finish()
        third.finish()
        assert [await calls[0].text(), await another.text()] == ["done", "done"]
    said = [line for line in shared.lines if "doubtful" in line and '"scope": "session"' in line]
    assert len(said) == 1
    assert "WARNING" in said[0]


async def test_with_scope_session_both_are_asked(running: Proxy, journal: Path) -> None:
    other = {**FORMS, "vendor.example/x": {"deep": [None, 1]}}
    async with within(TIMEOUT), legacy(running) as one, legacy(running, other) as two:
        calls = [one.call("own::rounds", n=1), two.call("own::rounds", n=2)]
        questions = [await call.question() for call in calls]
        assert [q["params"]["message"] for q in questions] == ["Question 1 of 1", "Question 1 of 2"]
        await two.answer(questions[1], form("two's"))
        await one.answer(questions[0], form("one's"))
        await two.answer(await calls[1].question(), form("two's again"))
        assert answers(await calls[0].result()) == ["one's"]
        assert answers(await calls[1].result()) == ["two's", "two's again"]
        for client in (one, two):
            seen = (await client.call("own::capabilities").result())["structuredContent"]
            assert seen == {"capabilities": client.capabilities}
    noted = [json.loads(line) for line in whole_lines(journal)]
    pids = {n: {e["pid"] for e in noted if e["at"] == "finished" and e["arguments"] == {"n": n}} for n in (1, 2)}
    assert len(pids[1] | pids[2]) == 2, pids


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_session_s_process_ends_with_the_client(shared: Proxy, transport: str) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as staying:
        shared.add(own=here.puppet(scope="session"))
        waiting = staying.call("own::echo", n=1)
        its = await here.called(n=1)
        async with shared.client(transport, "legacy") as leaving:
            call = asyncio.create_task(leaving.call_tool("own::echo", {"n": 2}))
            gone = await here.called(n=2)
            gone.finish()
            await call
            assert gone.pid != its.pid
        await asyncio.to_thread(until, lambda: not alive(gone.pid), 10)
        assert alive(its.pid)
        its.finish("still here")
        assert await waiting.text() == "still here"


async def test_a_session_s_process_that_crashes(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        shared.add(own=here.puppet(scope="session"))
        calls = [one.call("own::echo", n=1), two.call("own::echo", n=2)]
        first, second = [await here.called(n=1), await here.called(n=2)]
        os.kill(first.pid, signal.SIGKILL)
        error = await calls[0].error()
        assert error["message"] == "MCP server 'own': the connection ended before it answered tools/call"
        assert error["data"] == {"server": "own"}
        again = one.call("own::echo", n=3)
        third = await here.called(n=3)
        assert third.pid not in (first.pid, second.pid)
        third.finish("again")
        assert await again.text() == "again"
        second.finish("as ever")
        assert await calls[1].text() == "as ever"
    assert not [line for line in shared.lines if "own: failed" in line]


async def test_over_streamable_http_the_stream_says_whose_question_it_is(running: Proxy) -> None:
    async with within(TIMEOUT), legacy(running) as one, legacy(running) as two:
        calls = [one.call("http::rounds", n=1), two.call("http::rounds", n=2)]
        questions = [await call.question() for call in calls]
        assert [q["params"]["message"] for q in questions] == ["Question 1 of 1", "Question 1 of 2"]
        await two.answer(questions[1], form("two's"))
        await one.answer(questions[0], form("one's"))
        await two.answer(await calls[1].question(), form("two's again"))
        assert answers(await calls[0].result()) == ["one's"]
        assert answers(await calls[1].result()) == ["two's", "two's again"]


@pytest.mark.parametrize("scope", ["shared", "session"])
async def test_a_question_outside_of_any_call(shared: Proxy, scope: str) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        shared.add(idle=here.puppet(scope=scope))
        streams = [await one.listen(), await two.listen()]
        heard = []
        for client in (one, two):
            call = client.call("idle::echo")
            heard.append(await here.called())
            heard[-1].finish()
            assert await call.text() == "done"
        heard[0].ask("late", "elicitation/create", **FORM)
        if scope == "session":
            question = await streams[0].question()
            assert question["params"] == FORM
            await one.answer(question, form("here"))
            assert (await here.answer("late"))["result"] == form("here")
        else:
            error = (await here.answer("late"))["error"]
            assert error["code"] == INTERNAL_ERROR
            assert "call in flight" in error["message"]
            assert '"scope": "session"' in error["message"]
        for one_s_or_two_s in heard:
            one_s_or_two_s.say(method="notifications/message", params={"level": "error", "data": "last"})
        for stream in streams:
            await stream.told("notifications/message")
            assert [message for message in stream.items if "id" in message] == []


async def test_a_visited_url_is_told_to_who_was_sent_there(shared: Proxy) -> None:
    url = {"mode": "url", "message": "Sign in", "url": "https://example.com/"}
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two, legacy(shared) as three:
        shared.add(web=here.puppet())
        streams = [await client.listen() for client in (one, two, three)]
        call = one.call("web::echo")
        heard = await here.called()
        heard.ask("visit", "elicitation/create", **url, elicitationId="one's")
        question = await call.question()
        assert question["params"] == {**url, "elicitationId": "one's"}
        await one.answer(question, {"action": "accept"})
        await here.answer("visit")
        heard.finish()
        await call.result()
        call = two.call("web::echo")
        heard = await here.called()
        data = {"elicitations": [{**url, "elicitationId": "two's"}]}
        heard.say(id=heard.message["id"], error={"code": -32042, "message": "Sign in first", "data": data})
        assert await call.error() == {"code": -32042, "message": "Sign in first", "data": data}
        call = three.call("web::echo")
        (await here.called()).finish()
        await call.result()
        for elicitation in ("one's", "two's", "nobody's"):
            heard.say(method="notifications/elicitation/complete", params={"elicitationId": elicitation, "x": 1})
        heard.say(method="notifications/message", params={"level": "error", "data": "last"})
        told = []
        for stream in streams:
            await stream.told("notifications/message")
            told.append([message["params"] for message in stream.items if "elicitation" in message["method"]])
        assert told == [[{"elicitationId": "one's", "x": 1}], [{"elicitationId": "two's", "x": 1}], []]


@pytest.mark.parametrize("able", [True, False])
async def test_sampling_with_tools(shared: Proxy, able: bool) -> None:
    sampling: Message = {"tools": {}} if able else {}
    params = {"messages": [], "maxTokens": 9, "tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
    async with within(TIMEOUT), stage() as here, legacy(shared, {"sampling": sampling}) as one:
        shared.add(thinking=here.puppet())
        call = one.call("thinking::echo")
        heard = await here.called()
        heard.ask("think", "sampling/createMessage", **params)
        if able:
            question = await call.question()
            assert question["params"] == params
            await one.answer(question, COMPLETION)
            assert (await here.answer("think"))["result"] == COMPLETION
        else:
            error = (await here.answer("think"))["error"]
            assert (error["code"], "sampling.tools" in error["message"]) == (INVALID_PARAMS, True)
        heard.finish()
        assert await call.text() == "done"  # and nothing else


async def test_a_withdrawn_question_is_withdrawn_from_the_client(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(fickle=here.puppet())
        call = one.call("fickle::echo")
        heard = await here.called()
        heard.ask("never mind", "elicitation/create", **FORM)
        question = await call.question()
        heard.say(method=CANCELLED, params={"requestId": "never mind"})
        assert (await call.told(CANCELLED))["params"]["requestId"] == question["id"]
        await one.answer(question, form("too late"))
        heard.finish()
        assert await call.text() == "done"
        assert here.items == []  # the answer was for nobody


async def test_a_question_ends_with_its_call(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(hasty=here.puppet())
        call = one.call("hasty::echo")
        heard = await here.called()
        heard.ask("too late", "elicitation/create", **FORM)
        question = await call.question()
        heard.finish()
        assert (await call.told(CANCELLED))["params"]["requestId"] == question["id"]
        assert (await here.answer("too late"))["error"]["code"] == -32600
        assert await call.text() == "done"
        await one.answer(question, form("for nobody"))
        again = one.call("hasty::echo")
        (await here.called()).finish("again")
        assert await again.text() == "again"
        assert here.items == []


# The `timeout` of a backend


async def test_the_timeout_runs_while_the_backend_is_silent(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(slow=here.puppet(timeout=PATIENCE))
        call = one.call("slow::echo", n=1)
        heard = await here.called(n=1)
        error = await call.error()
        assert (error["code"], "'slow'" in error["message"]) == (REQUEST_TIMEOUT, True)
        cancelled = await here.told(CANCELLED)
        assert cancelled.message["params"]["requestId"] == heard.message["id"]
        assert PATIENCE / 2 < cancelled.at - heard.at < PATIENCE * 4
        call = one.call("slow::echo", n=2)
        again = await here.called(n=2)
        heard.finish("too late")
        again.finish("in time")
        assert await call.text() == "in time"


async def test_the_timeout_does_not_run_while_the_user_is_asked(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(slow=here.puppet(timeout=PATIENCE))
        call = one.call("slow::echo", n=1)
        heard = await here.called(n=1)
        for key in ("first", "second"):  # one of two that are open is enough
            heard.ask(key, "elicitation/create", **FORM)
        questions = [await call.question(), await call.question()]
        await one.answer(questions[0], form("first"))
        await here.answer("first")
        # A call that begins now is over its time, so the other would be long.
        assert (await one.call("slow::echo", n=2).error())["code"] == REQUEST_TIMEOUT
        assert call.items == []
        await one.answer(questions[1], form("second"))
        assert (await here.answer("second"))["result"] == form("second")
        heard.finish()
        assert await call.text() == "done"


async def test_the_timeout_does_not_run_while_a_call_is_held(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(slow=here.puppet(timeout=PATIENCE))
        first = one.call("slow::echo", n=1)
        heard = await here.called(n=1)
        heard.ask("who", "elicitation/create", **FORM)
        asked = await first.result()
        assert (await one.call("slow::echo", n=2).error())["code"] == REQUEST_TIMEOUT
        retry = one.retry("slow::echo", asked, form("me"), n=1)
        assert (await here.answer("who"))["result"] == form("me")
        heard.finish()
        assert await retry.text() == "done"


async def test_the_timeout_runs_on_after_the_answer(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(slow=here.puppet(timeout=PATIENCE))
        call = one.call("slow::echo")
        heard = await here.called()
        heard.ask("who", "elicitation/create", **FORM)
        question = await call.question()
        await one.answer(question, form("me"))
        assert (await call.error())["code"] == REQUEST_TIMEOUT
        await here.told(CANCELLED)


# A modern client and a legacy backend


@pytest.mark.parametrize("server", ["stdio", "http"])
async def test_several_questions_come_in_one_result(running: Proxy, server: str) -> None:
    tool = f"{server}::several"
    async with within(TIMEOUT), modern(running) as one:
        asked = await one.call(tool).result()
        assert {request["method"] for request in asked["inputRequests"].values()} == {
            "elicitation/create",
            "sampling/createMessage",
        }
        # An answer to one of them only: the other is asked again, and the first is not.
        [first, second] = asked["inputRequests"].items()
        replies = {"elicitation/create": form("me"), "sampling/createMessage": COMPLETION}
        again = await one.retry(tool, asked, replies[first[1]["method"]]).result()
        assert again["inputRequests"] == dict([second])
        result = await one.retry(tool, again, replies[second[1]["method"]]).result()
        assert result["resultType"] == "complete"
        assert result["structuredContent"]["answers"] == {
            "elicit": {"answer": form("me")},
            "sample": {"answer": COMPLETION},
        }


async def test_three_rounds(running: Proxy) -> None:
    async with within(TIMEOUT), modern(running) as one:
        result, asked = await one.call("stdio::rounds", n=3).result(), []
        while result["resultType"] == "input_required":
            asked += messages(result)
            result = await one.retry("stdio::rounds", result, form(f"to {asked[-1]}"), n=3).result()
        assert asked == [f"Question {n} of 3" for n in (1, 2, 3)]
        assert answers(result) == [f"to {text}" for text in asked]


async def test_a_retry_must_be_of_the_call_that_it_continues(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet("pages=2"), other=here.puppet("pages=2"))
        for tool, arguments, state in (
            ("old::tool0", {"n": 1}, "unknown"),
            ("other::tool0", {"n": 1}, None),
            ("old::tool1", {"n": 1}, None),
            ("old::tool0", {"n": 2}, None),
        ):
            first = one.call("old::tool0", n=1)
            heard = await here.called(n=1)
            heard.ask(tool, "elicitation/create", **FORM)
            asked = await first.result()
            asked |= {"requestState": state} if state else {}
            assert (await one.retry(tool, asked, form("wrong"), **arguments).error())["code"] == INVALID_PARAMS
            heard.finish()
            assert "is over" in (await here.answer(tool))["error"]["message"]
        assert here.items == []  # no call and no answer


async def test_a_wrong_retry_costs_nothing(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet())
        first = one.call("old::echo", n=1)
        heard = await here.called(n=1)
        heard.ask("who", "elicitation/create", **FORM)
        asked = await first.result()
        assert (await one.retry("old::echo", asked, form("wrong"), n=2).error())["code"] == INVALID_PARAMS
        retry = one.retry("old::echo", asked, form("right"), n=1)
        assert (await here.answer("who"))["result"] == form("right")
        heard.finish()
        assert await retry.text() == "done"


async def test_the_same_state_used_twice_at_once(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet())
        first = one.call("old::echo")
        heard = await here.called()
        heard.ask("who", "elicitation/create", **FORM)
        asked = await first.result()
        retries = [one.retry("old::echo", asked, form(str(n))) for n in range(2)]
        answer = await here.answer("who")
        heard.finish()
        responses = [await retry.response() for retry in retries]
        [winner] = [n for n in range(2) if "result" in responses[n]]
        assert answer["result"] == form(str(winner))
        assert responses[1 - winner]["error"]["code"] == INVALID_PARAMS
        assert here.items == []  # the backend was called and answered once


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_a_modern_client_that_hangs_up(shared: Proxy, turn: str) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet())
        pending = one.call("old::echo")
        heard = await here.called()
        if turn == "second":
            heard.ask("who", "elicitation/create", **FORM)
            pending = one.retry("old::echo", await pending.result(), form("me"))
            await here.answer("who")
        await pending.hang_up()
        assert (await here.told(CANCELLED)).message["params"]["requestId"] == heard.message["id"]


async def test_a_question_that_is_withdrawn_while_the_call_is_held(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet())
        first = one.call("old::echo")
        heard = await here.called()
        heard.ask("never mind", "elicitation/create", **FORM)
        asked = await first.result()
        heard.say(method=CANCELLED, params={"requestId": "never mind"})
        heard.ask("instead", "elicitation/create", **{**FORM, "message": "And this?"})
        heard.ask("wait", "ping")
        await here.answer("wait")
        again = await one.retry("old::echo", asked, form("for nobody")).result()
        assert messages(again) == ["And this?"]
        retry = one.retry("old::echo", again, form("this"))
        assert (await here.answer("instead"))["result"] == form("this")
        heard.finish()
        assert await retry.text() == "done"
        assert here.items == []


async def test_a_backend_that_dies_while_a_call_is_held(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        shared.add(old=here.puppet())
        first = one.call("old::echo")
        heard = await here.called()
        heard.ask("who", "elicitation/create", **FORM)
        asked = await first.result()
        os.kill(heard.pid, signal.SIGKILL)
        until(lambda: shared.status()["old"]["state"] != "ready")
        error = await one.retry("old::echo", asked, form("me")).error()
        assert error["message"] == "MCP server 'old': the connection ended before it answered tools/call"
        assert error["data"] == {"server": "old"}


async def test_a_client_that_does_not_come_back(tmp_path: Path) -> None:
    async with within(TIMEOUT), stage() as here:
        with proxy(tmp_path, {"old": here.puppet()}, first=LATE_ANSWERS) as process:
            process.wait_ready()
            async with modern(process) as one:
                first = one.call("old::echo")
                heard = await here.called()
                heard.ask("who", "elicitation/create", **FORM)
                asked = await first.result()
                cancelled = await here.told(CANCELLED)
                assert cancelled.message["params"]["requestId"] == heard.message["id"]
                assert 0.4 < cancelled.at - heard.at < 10
                assert "did not come back" in (await here.answer("who"))["error"]["message"]
                assert await one.retry("old::echo", asked, form("late")).error()


# A legacy client and a modern backend


async def test_a_legacy_client_is_asked_live(running: Proxy) -> None:
    async with within(TIMEOUT), legacy(running) as one:
        call = one.call("new::several")
        questions = {q["method"]: q for q in [await call.question(), await call.question()]}
        await one.answer(questions["sampling/createMessage"], COMPLETION)
        await one.answer(questions["elicitation/create"], form("me"))
        result = await call.result()
        assert result["structuredContent"]["answers"] == {
            "elicit": {"answer": form("me")},
            "sample": {"answer": COMPLETION},
        }
        assert "resultType" not in result
        call = one.call("new::rounds", n=3)
        for n in (1, 2, 3):
            question = await call.question()
            assert question["params"]["message"] == f"Question {n} of 3"
            await one.answer(question, form(str(n)))
        assert answers(await call.result()) == ["1", "2", "3"]


async def test_a_legacy_client_that_answers_with_an_error(running: Proxy) -> None:
    mine = {"code": -1, "message": "User rejected", "data": {"why": None}}
    async with within(TIMEOUT), legacy(running) as one:
        call = one.call("new::several")
        questions = [await call.question(), await call.question()]
        await one.answer(questions[0], error=mine)
        # The other is not needed any more.
        assert (await call.told(CANCELLED))["params"]["requestId"] == questions[1]["id"]
        assert await call.error() == mine


async def test_a_legacy_client_that_cannot_answer(shared: Proxy) -> None:
    """The backend knows, as the client's capabilities cross; and one that asks all the same does not get through."""
    requests = {"it": {"method": "elicitation/create", "params": FORM}}
    async with within(TIMEOUT), stage() as here, legacy(shared, {"sampling": {}}) as one:
        shared.add(new=here.puppet("modern-only"))
        call = one.call("new::echo")
        heard = await here.called()
        meta = heard.message["params"]["_meta"]
        assert meta["io.modelcontextprotocol/clientCapabilities"] == {"sampling": {}}
        heard.say(id=heard.message["id"], result={"resultType": "input_required", "inputRequests": requests})
        error = await call.error()  # and nothing else: it was not asked
        assert (error["code"], "elicitation/create" in error["message"]) == (METHOD_NOT_FOUND, True)
        assert here.items == []


ROOTLESS = [{"result": {}}, {"result": {"roots": []}}, {"error": INTERNAL_ERROR}, {"error": INTERNAL_ERROR}]
UNABLE = [*ROOTLESS[:2], {"error": METHOD_NOT_FOUND}, {"error": METHOD_NOT_FOUND}]


def outcomes(result: Message) -> list[Message]:
    """What a curious server was answered while it was greeted: results, and the codes of errors."""
    answers = json.loads(result["content"][0]["text"])
    return [
        {"error": each["error"]["code"]} if "error" in each else {"result": each["result"]}
        for each in sorted(answers, key=lambda answer: answer["id"])
    ]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_server_that_asks_at_its_start_is_told_the_truth_without_a_warning(tmp_path: Path, era: str) -> None:
    with proxy(tmp_path, {"curious": raw("curious")}) as running, RawClient(running.url, era) as client:
        assert outcomes(client.call("tools/call", {"name": "curious::echo"})) == ROOTLESS
        assert not [line for line in running.lines if "WARNING" in line]


@pytest.mark.parametrize(("mode", "expected"), [("legacy", UNABLE), ("auto", ROOTLESS)])
async def test_so_is_one_whose_only_client_cannot_answer(tmp_path: Path, mode: str, expected: list[Message]) -> None:
    config = write_config(tmp_path / "mcp.json", {"curious": raw("curious")})
    log = tmp_path / "log"
    with log.open("w") as file:
        async with within(TIMEOUT), stdio_client(config, mode=mode, errlog=file) as client:
            result = await client.call_tool("curious::echo", {})
    assert outcomes(result.model_dump()) == expected
    assert "WARNING" not in log.read_text()
