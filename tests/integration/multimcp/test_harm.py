"""What one client or backend does wrong harms no other.

- The one at fault gets an error, or nothing; the others' calls, lists and subscriptions go on as if it were not there.
- A test plays both ends (see `ends.py`), so that what matters happens at the same time or in a given order. A method
  that a puppet plays (`play:METHOD`) is not answered unless the test answers.
- That nothing came is known by what came after it, on the same path.
"""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.ends import FORM, Heard, Message, Peer, Pending, Stage, form, legacy, modern, stage
from tests.support.processes import TIMEOUT, Proxy, RawClient, alive, proxy, raw, raw_http, until, within
from tests.support.raw_server import Server

LISTED = "raw://one"
SUBSCRIBE, UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
CANCELLED, LOG = "notifications/cancelled", "notifications/message"
LIST_CHANGED = {"method": "notifications/tools/list_changed"}
LOGS = 'able={"logging": {}}'
SUBSCRIBES = 'able={"resources": {"subscribe": true}}'
PARSE_ERROR, INVALID_PARAMS, INTERNAL_ERROR, METHOD_NOT_FOUND = -32700, -32602, -32603, -32601
NO_TEXT = "\ud800"
"""What JSON can say and no message can carry."""


def answer(heard: Heard) -> None:
    """Answer a request that is played as the puppet would have."""
    heard.say(**Server([SUBSCRIBES]).response(heard.message))


async def add(shared: Proxy, **servers: Message) -> None:
    """Add servers whose start the test may have to play."""
    assert (await asyncio.to_thread(shared.add, **servers)).is_success


async def crash(here: Stage, call: Pending) -> None:
    """End the process that is called; the proxy has noticed when this returns."""
    os.kill((await here.called(last=True)).pid, signal.SIGKILL)
    assert "connection ended" in (await call.error())["message"]


def faults(proxy: Proxy, server: str) -> list[str]:
    """What the proxy said of itself, or of the end of a server's connection."""
    return [line for line in proxy.lines if "fault of Multi-MCP" in line or f"{server}: failed" in line]


# What a client sends


async def test_an_answer_that_no_message_can_carry_costs_only_its_own_call(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one, legacy(shared) as two:
        await add(shared, http={"url": here.url})
        other = two.call("http::echo", n=2)
        others = await here.called(n=2)
        others.ask("two's", "elicitation/create", **FORM)
        question = await other.question()
        call = one.call("http::echo", n=1)
        heard = await here.called(n=1)
        heard.ask("one's", "elicitation/create", **FORM)
        asked = await call.result()
        assert (await one.retry("http::echo", asked, form(NO_TEXT), n=1).error())["code"] == PARSE_ERROR
        retry = one.retry("http::echo", asked, form("one"), n=1)
        assert (await here.answer("one's"))["result"] == form("one")
        heard.finish()
        assert await retry.text() == "done"
        await two.answer(question, form("two"))
        assert (await here.answer("two's"))["result"] == form("two")
        others.finish("as ever")
        assert await other.text() == "as ever"
    assert faults(shared, "http") == []


# Whose a message is


async def test_a_question_right_before_the_end_of_its_call_is_not_put_to_the_other_client(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        await add(shared, hasty=here.puppet())
        other = two.call("hasty::echo", n=2)
        others = await here.called(n=2)
        call = one.call("hasty::echo", n=1)
        heard = await here.called(n=1)
        question = {"id": "q", "method": "elicitation/create", "params": FORM}
        heard.send(question, {"id": heard.message["id"], "result": {"content": []}})
        assert (await call.result())["content"] == []
        assert (await here.answer("q"))["error"]["code"] == INTERNAL_ERROR
        others.finish()
        assert await other.text() == "done"  # and nothing else: it was not asked


@pytest.mark.parametrize("busy", [True, False])
async def test_what_comes_on_the_stream_of_a_cancelled_call_is_for_nobody(shared: Proxy, busy: bool) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        await add(shared, http={"url": here.url}, fence=here.puppet())
        stream = await two.listen()
        other = two.call("http::echo", n=2) if busy else None
        call = one.call("http::echo", n=1)
        heard = await here.called(n=1)
        await one.cancel(call)
        await here.told(CANCELLED)
        heard.say(method=LOG, params={"level": "error", "data": "one's secret"})
        heard.ask("q", "elicitation/create", **FORM)
        assert (await here.answer("q"))["error"]["code"] == INTERNAL_ERROR
        if other is not None:
            (await here.called(n=2)).finish()
            assert await other.text() == "done"  # and nothing else
        fence = two.call("fence::echo")
        last = await here.called()
        last.finish()
        await fence.result()
        last.say(method=LOG, params={"level": "error", "data": "last"})
        assert (await stream.told(LOG))["params"]["data"] == "last"
        assert [message for message in stream.items if "id" in message] == []


async def test_a_question_that_is_no_question_costs_only_its_own_call(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        await add(shared, odd=here.puppet("modern-only"))
        other = two.call("odd::echo", n=2)
        others = await here.called(n=2)
        odd: list[Any] = [[1], {"mode": {}}]
        for params in odd:
            call = one.call("odd::echo", n=1)
            heard = await here.called(n=1)
            requests = {"q": {"method": "elicitation/create", "params": params}}
            heard.say(id=heard.message["id"], result={"resultType": "input_required", "inputRequests": requests})
            assert (await call.error())["code"] in (INVALID_PARAMS, INTERNAL_ERROR, METHOD_NOT_FOUND)
        others.finish()
        assert await other.text() == "done"
    assert faults(shared, "odd") == []


@pytest.mark.parametrize("era", ["legacy", "modern-only"])
async def test_a_cancellation_of_what_is_no_id_cancels_nothing(shared: Proxy, era: str) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as client:
        await add(shared, odd=here.puppet("modern-only") if era == "modern-only" else here.puppet())
        call = client.call("odd::echo")
        heard = await here.called()
        odd: list[Any] = [{}, [], True, None]
        for number in odd:
            heard.say(method=CANCELLED, params={"requestId": number})
            await client.notify(CANCELLED, requestId=number)
        heard.finish()
        assert await call.text() == "done"
    assert faults(shared, "odd") == []


# A backend that ends, or does not answer


async def test_what_a_backend_lists_stays_listed_if_it_ends_while_it_is_asked_for_changes(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        adding = asyncio.create_task(add(shared, mortal=here.puppet("play:tools/list")))
        heard = await here.told("tools/list")
        answer(heard)
        await adding
        heard.send(LIST_CHANGED)
        assert (await here.told("tools/list")).pid == heard.pid
        os.kill(heard.pid, signal.SIGKILL)
        again = await here.told("tools/list")
        assert again.pid != heard.pid
        assert [tool["name"] for tool in (await one.send("tools/list", {}).result())["tools"]] == ["mortal::echo"]
        answer(again)


async def open_and_hang(shared: Proxy, here: Stage, one: Peer) -> tuple[Pending, Heard, Heard]:
    """A call that waits for its session's connection, which does not open; what all and that session's is asked."""
    adding = asyncio.create_task(add(shared, own=here.puppet("play:initialize", scope="session")))
    first = await here.told("initialize")
    answer(first)
    await adding
    call = one.call("own::echo", n=1)
    hanging = await here.told("initialize")
    assert hanging.pid != first.pid
    return call, first, hanging


async def test_a_server_is_removed_while_a_session_s_connection_does_not_open(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        call, _, hanging = await open_and_hang(shared, here, one)
        await asyncio.to_thread(shared.remove, "own")
        assert not alive(hanging.pid)
        assert "'own'" in (await call.error())["message"]


async def test_a_server_comes_back_while_a_session_s_connection_does_not_open(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one, legacy(shared) as two:
        call, first, hanging = await open_and_hang(shared, here, one)
        os.kill(first.pid, signal.SIGKILL)
        answer(await here.told("initialize"))
        assert not alive(hanging.pid)
        calls = ((call, 1), (two.call("own::echo", n=2), 2))
        for _ in calls:  # in either order
            answer(await here.told("initialize"))
        for pending, number in calls:
            (await here.called(n=number)).finish(str(number))
            assert await pending.text() == str(number)


async def test_a_session_s_connection_that_does_not_open_ends_with_the_client(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as staying:
        async with legacy(shared) as leaving:
            _, first, hanging = await open_and_hang(shared, here, leaving)
            leaving.call("own::echo", n=1)  # which waits for the same
        await asyncio.to_thread(until, lambda: not alive(hanging.pid), 5)
        assert alive(first.pid)
        calls = [staying.call("own::echo", n=n) for n in (2, 3)]
        answer(await here.told("initialize"))
        for n in (2, 3):
            (await here.called(n=n)).finish(str(n))
        assert [await call.text() for call in calls] == ["2", "3"]
        assert here.items == []  # one connection for both, and no call of who has left


async def test_the_proxy_ends_while_a_session_s_connection_does_not_open(tmp_path: Path) -> None:
    async with within(TIMEOUT), stage() as here:
        with proxy(tmp_path, {}) as process:
            async with legacy(process) as one:
                _, _, hanging = await open_and_hang(process, here, one)
                await asyncio.to_thread(process.stop)
        assert not alive(hanging.pid)


# Subscriptions and log levels


async def test_a_session_s_subscriptions_outlive_its_process(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        await add(shared, own=here.puppet(SUBSCRIBES, f"play:{SUBSCRIBE}", scope="session"))
        pending = one.send(SUBSCRIBE, {"uri": LISTED})
        heard = await here.told(SUBSCRIBE)
        answer(heard)
        await pending.result()
        await crash(here, one.call("own::echo", last=True))
        call = one.call("own::echo")
        again = await here.called()
        again.finish()
        assert await call.text() == "done"
        restored = await here.told(SUBSCRIBE)
        assert (restored.pid, restored.message["params"]["uri"]) == (again.pid, LISTED)
        answer(restored)
    assert again.pid != heard.pid


async def test_a_listener_that_leaves_while_its_subscription_is_made_leaves_none(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        await add(shared, slow=here.puppet(SUBSCRIBES, f"play:{SUBSCRIBE}", f"play:{UNSUBSCRIBE}"))
        stream = one.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": [LISTED]}})
        heard = await here.told(SUBSCRIBE)
        await stream.hang_up()
        await here.told(CANCELLED)
        await crash(here, one.call("slow::echo", last=True))
        wanted = {"resourceSubscriptions": ["raw://item/1"]}
        stream = one.send("subscriptions/listen", {"notifications": wanted})
        again = await here.told(SUBSCRIBE)
        assert (again.pid != heard.pid, again.message["params"]["uri"]) == (True, "raw://item/1")
        answer(again)
        await stream.told("notifications/subscriptions/acknowledged")
        await stream.hang_up()
        await here.told(UNSUBSCRIBE)
        assert here.items == []  # the new process was asked for nothing else


async def test_an_unsubscription_that_is_not_answered_keeps_no_other_from_being_told(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        await add(shared, **{name: here.puppet(SUBSCRIBES, f"play:{UNSUBSCRIBE}") for name in ("a", "b")})
        resources = (await one.send("resources/list", {}).result())["resources"]
        wanted = {"resourceSubscriptions": [resource["uri"] for resource in resources]}
        stream = one.send("subscriptions/listen", {"notifications": wanted})
        told = await stream.told("notifications/subscriptions/acknowledged")
        assert told["params"]["notifications"] == wanted
        await stream.hang_up()
        assert (await here.told(UNSUBSCRIBE)).pid != (await here.told(UNSUBSCRIBE)).pid


async def test_a_log_level_that_is_not_acknowledged_does_not_keep_the_call_waiting(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, modern(shared) as one:
        await add(shared, mute=here.puppet(LOGS, "play:logging/setLevel"))
        meta = {"io.modelcontextprotocol/logLevel": "info"}
        call = one.send("tools/call", {"name": "mute::echo", "arguments": {}, "_meta": meta})
        level = await here.told("logging/setLevel")
        heard = await here.called()
        assert heard.at - level.at < 15
        heard.finish()
        assert await call.text() == "done"


# A body that breaks off behind "202 Accepted"


async def test_a_broken_body_over_sse_does_not_cost_the_call(shared: Proxy) -> None:
    with raw_http("cut:tools/call") as url:
        async with within(TIMEOUT), legacy(shared) as one:
            await add(shared, broken={"url": f"{url}/sse"})
            for _ in range(2):
                assert json.loads(await one.call("broken::echo").text())["server"] == "raw"
        assert faults(shared, "broken") == []


async def test_a_broken_body_over_sse_does_not_cost_the_connection(shared: Proxy, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with raw_http(SUBSCRIBES, f"cut:{UNSUBSCRIBE}", f"log={log}") as url:
        async with within(TIMEOUT), legacy(shared) as staying:
            await add(shared, torn={"url": f"{url}/sse"})
            async with legacy(shared) as leaving:
                await leaving.send(SUBSCRIBE, {"uri": LISTED}).result()
            await asyncio.to_thread(until, lambda: UNSUBSCRIBE in log.read_text(), 5)
            await staying.send(SUBSCRIBE, {"uri": LISTED}).result()  # which is when the other is over
            assert json.loads(await staying.call("torn::echo").text())["server"] == "raw"
            assert log.read_text().count(f'"{SUBSCRIBE}"') == 2
            assert log.read_text().count('"initialize"') == 1
        assert faults(shared, "torn") == []


def test_many_subscriptions_of_one_client_hold_no_other_one_up(tmp_path: Path) -> None:
    slow = raw('able={"resources": {"subscribe": true}}', "slow:resources/subscribe=0.2")
    uris = [f"x://{number}" for number in range(60)]
    with proxy(tmp_path, {"s": slow}) as running, RawClient(running.wait_ready().url, "modern") as many:
        wanted = many.request("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}})
        with (
            httpx2.stream("POST", f"{running.url}/mcp", **wanted, timeout=TIMEOUT, trust_env=False) as stream,
            RawClient(running.url, "legacy") as other,
        ):
            assert other.exchange("resources/subscribe", {"uri": "x://other"}).get("result") == {}
            said = next(line for line in stream.iter_lines() if "acknowledged" in line)
            assert len(json.loads(said[6:])["params"]["notifications"]["resourceSubscriptions"]) == len(uris)
