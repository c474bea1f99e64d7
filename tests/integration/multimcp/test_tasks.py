"""Tasks of both eras through several servers: whose a task is, and who is told of it and asked for it.

The test plays the servers, which all call their first task "1".
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ends import ALL, FORM, Heard, Message, Peer, Pending, Stage, form, legacy, modern, peer, stage
from tests.support.processes import Proxy, proxy, raw, whole_lines, within

TIMEOUT = 60.0
TASKS = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
ABLE = ALL | {"extensions": {TASKS: {}}}
METHODS = ("get", "update", "cancel", "result", "list")
PLAYED = [f"play:tasks/{method}" for method in METHODS]
OLD = 'able={"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}'
NEW = f'able={{"extensions":{{"{TASKS}":{{}}}}}}'
STATUS = "notifications/tasks/status"


def related(task: str) -> Message:
    return {"_meta": {RELATED: {"taskId": task}}}


@asynccontextmanager
async def servers(running: Proxy, *names: str, era: str = "legacy", **more: Any) -> AsyncIterator[Stage]:
    """Servers of one era that the test plays."""
    behaviours = [OLD] if era == "legacy" else ["modern-only", NEW, "play:subscriptions/listen"]
    async with within(TIMEOUT), stage() as here:
        running.add(**{name: here.puppet(f"name={name}", *behaviours, *PLAYED, **more) for name in names})
        yield here


async def begin(here: Stage, client: Peer, server: str, task: str = "1", **params: Any) -> tuple[str, Heard]:
    """Have a task of 2025-11-25 begun; its public id, and the call as the server has it."""
    call = client.send("tools/call", {"name": f"{server}::echo", "arguments": {"at": server}, "task": {}, **params})
    heard = await here.called(at=server)
    assert heard.message["params"]["task"] == {}
    heard.reply(task={"taskId": task, "status": "working"})
    return (await call.result())["task"]["taskId"], heard


async def asked(here: Stage, client: Peer, method: str, task: str) -> Heard:
    """Have a client ask for a task, and the server answer; its request."""
    request = client.send(method, {"taskId": task})
    heard = await here.told(method)
    heard.reply(taskId=heard.message["params"]["taskId"], status="working")
    assert (await request.result())["taskId"] == task
    return heard


async def test_each_task_is_asked_for_at_its_server_and_by_who_has_begun_it(shared: Proxy) -> None:
    async with servers(shared, "a", "b:") as here, legacy(shared) as one, legacy(shared) as other:
        first, at_a = await begin(here, one, "a")
        second, at_b = await begin(here, one, "b:")
        assert (first, second) == ("a::1", "b%3A::1")
        for method in ("tasks/get", "tasks/cancel", "tasks/result"):
            for task, begun in ((first, at_a), (second, at_b)):
                if method != "tasks/result":
                    heard = await asked(here, one, method, task)
                    assert (heard.message["params"]["taskId"], heard.pid) == ("1", begun.pid)
                assert (await other.send(method, {"taskId": task}).error())["code"] == -32602
            for unknown in ("1", "c::1", "a:x:1", "", 1):
                assert (await one.send(method, {"taskId": unknown}).error())["code"] == -32602
        assert here.items == []  # a server hears nothing of what is not its
        await one.leave()
        assert (await asked(here, other, "tasks/get", first)).pid == at_a.pid  # of nobody who is here any more


async def test_a_server_for_each_client_knows_whose_its_tasks_are(shared: Proxy) -> None:
    async with servers(shared, "a", scope="session") as here, legacy(shared) as one, legacy(shared) as other:
        (mine, at_one), (theirs, at_other) = [await begin(here, client, "a") for client in (one, other)]
        assert mine == theirs
        for client, begun in ((one, at_one), (other, at_other)):
            stream = await client.listen()
            assert (await asked(here, client, "tasks/get", mine)).pid == begun.pid
            begun.say(method=STATUS, params={"taskId": "unheard of", "status": "working"})
            assert (await stream.told(STATUS))["params"]["taskId"] == "a::unheard of"


async def test_a_server_is_not_told_that_a_client_can_make_tasks_of_questions(shared: Proxy, tmp_path: Path) -> None:
    log = tmp_path / "log"
    able = {"sampling": {"tools": {}}, "tasks": {"requests": {"sampling": {"createMessage": {}}}}, "v/x": {"y": 1.0}}
    async with within(TIMEOUT), legacy(shared, able) as one:
        shared.add(a=raw(f"log={log}", scope="session"))
        assert await one.call("a::echo").text()
        heard = [json.loads(line) for line in whole_lines(log)]
        declared = [each["params"]["capabilities"] for each in heard if each.get("method") == "initialize"]
        assert {name: able[name] for name in ("sampling", "v/x")} in declared


async def test_who_has_begun_a_task_is_told_of_it_and_nobody_else(shared: Proxy) -> None:
    async with servers(shared, "a", "b") as here, legacy(shared) as one, legacy(shared) as other:
        streams = [await one.listen(), await other.listen()]
        begun = [await begin(here, client, "a", task) for client, task in ((one, "1"), (other, "2"))]
        assert [task for task, _ in begun] == ["a::1", "a::2"]
        busy = other.call("a::echo")  # whoever has a call in flight is not meant
        await here.called()
        say = begun[0][1].say
        say(method=STATUS, params={"taskId": "nobody's", "status": "working"})
        for number, stream in ((1, streams[0]), (2, streams[1])):
            say(method="notifications/message", params={"level": "info", "data": number, **related(str(number))})
            say(method=STATUS, params={"taskId": str(number), "status": "completed", "n": [1.0]})
            told = await stream.told("notifications/message")
            assert told["params"] == {"level": "info", "data": number, **related(f"a::{number}")}
            told = await stream.told(STATUS)
            assert told["params"] == {"taskId": f"a::{number}", "status": "completed", "n": [1.0]}
        assert [stream.items for stream in (*streams, busy)] == [[], [], []]


async def test_progress_goes_on_after_the_call_that_has_begun_a_task(shared: Proxy) -> None:
    async with servers(shared, "a") as here, legacy(shared) as one, legacy(shared):
        stream = await one.listen()
        _, heard = await begin(here, one, "a", _meta={"progressToken": "mine"})
        token = heard.message["params"]["_meta"]["progressToken"]
        for other in (token + 1, token):
            heard.say(method="notifications/progress", params={"progressToken": other, "progress": 1, **related("1")})
        told = await stream.told("notifications/progress")
        assert told["params"] == {"progressToken": "mine", "progress": 1, **related("a::1")}
        assert stream.items == []


@pytest.mark.parametrize("waits", [True, False], ids=["for its result", "for nothing"])
async def test_a_question_of_a_task_is_for_who_has_begun_it(shared: Proxy, waits: bool) -> None:
    async with servers(shared, "a") as here, legacy(shared) as one, legacy(shared) as other:
        task, heard = await begin(here, one, "a")
        busy = other.call("a::echo")
        await here.called()
        stream = one.send("tasks/result", {"taskId": task}) if waits else await one.listen()
        waiting = await here.told("tasks/result") if waits else heard
        heard.ask("q", "elicitation/create", **FORM, **related("1"))
        question = await stream.question()
        assert question["params"] == {**FORM, **related(task)}
        await one.answer(question, {**form("here"), **related(task)})
        assert (await here.answer("q"))["result"] == {**form("here"), **related("1")}
        if waits:
            waiting.reply(content=[], **related("1"))
            assert await stream.result() == {"content": [], **related(task)}
        assert busy.items == []


async def test_what_a_client_says_of_a_task_is_under_the_id_of_its_server(shared: Proxy) -> None:
    async with servers(shared, "a") as here, legacy(shared) as one:
        for task, own in (("a::1", "1"), ("b::1", "b::1")):
            call = one.send("tools/call", {"name": "a::echo", "arguments": {}, **related(task)})
            heard = await here.called()
            assert heard.message["params"]["_meta"][RELATED] == {"taskId": own}
            heard.finish(**related("1"))
            assert (await call.result())["_meta"] == related("a::1")["_meta"]


async def test_any_process_knows_whose_a_task_is(tmp_path: Path) -> None:
    async with within(TIMEOUT), stage() as here:
        config = {name: here.puppet(f"name={name}", OLD, *PLAYED) for name in ("a", "b")}
        for name, config_now in (("one", config), ("two", {"b": config["b"], "c": config["a"]})):
            (tmp_path / name).mkdir()
            with proxy(tmp_path / name, config_now) as running:
                running.wait_ready()
                async with legacy(running) as client:
                    stream = await client.listen()
                    if name == "one":
                        task, _ = await begin(here, client, "b")
                        continue
                    result = client.send("tasks/result", {"taskId": task})
                    heard = await here.told("tasks/result")
                    heard.ask("q", "elicitation/create", **FORM, **related("1"))  # whoever waits for it is meant
                    await client.answer(await result.question(), form("here"))
                    assert (await here.answer("q"))["result"] == form("here")
                    heard.reply(content=[], **related("1"))
                    assert await result.result() == {"content": [], **related(task)}
                    heard.say(method=STATUS, params={"taskId": "1", "status": "completed"})
                    assert (await stream.told(STATUS))["params"]["taskId"] == task
                    assert (await client.send("tasks/get", {"taskId": "a::1"}).error())["code"] == -32602


async def test_tasks_of_the_extension(shared: Proxy) -> None:
    async with servers(shared, "a", "b", era="modern") as here, modern(shared, ABLE) as one:
        for name in ("a", "b"):
            call = one.call(f"{name}::echo", at=name)
            heard = await here.called(at=name)
            assert TASKS in heard.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
            heard.reply(resultType="task", taskId="1", status="working")
            assert (await call.result())["taskId"] == f"{name}::1"
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                assert (await asked(here, one, method, f"{name}::1")).pid == heard.pid
        for method, code in (("tasks/get", -32602), ("tasks/result", -32601), ("tasks/list", -32601)):
            assert (await one.send(method, {"taskId": "1"}).error())["code"] == code
        async with modern(shared) as undeclared:
            for task in ("a::1", "1"):
                error = await undeclared.send("tasks/get", {"taskId": task}).error()
                assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"extensions": {TASKS: {}}}})
        assert here.items == []


async def test_nobody_gets_a_task_that_he_cannot_read(shared: Proxy) -> None:
    async with servers(shared, "old") as here, modern(shared, ABLE) as one, legacy(shared, ABLE) as other:
        shared.add(new=here.puppet("modern-only", NEW))
        for client, server in ((one, "old"), (other, "new")):
            call = client.send("tools/call", {"name": f"{server}::echo", "arguments": {}, "task": {"ttl": 1}})
            heard = await here.called()
            assert "task" not in heard.message["params"]
            if server == "old":
                heard.finish("at once")
                assert await call.text() == "at once"
                continue
            declared = heard.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            assert declared == {**ALL, "extensions": {}}
            heard.reply(resultType="task", taskId="1", status="working")  # though nobody has declared it
            assert (await call.error())["code"] == -32603


async def listens(here: Stage, client: Peer, *tasks: str, **agreed: list[str]) -> tuple[Pending, list[Heard]]:
    """Have a client listen to tasks, and servers agree to tell of some: first the one that is asked for most."""
    stream = client.send("subscriptions/listen", {"notifications": {"taskIds": [*tasks]}})
    asked = [await here.told("subscriptions/listen") for _ in agreed]
    asked.sort(key=lambda heard: -len(heard.message["params"]["notifications"]["taskIds"]))
    for heard, known in zip(asked, agreed.values(), strict=True):
        news(heard, "subscriptions/acknowledged", notifications={"taskIds": known})
    return stream, asked


def news(listening: Heard, method: str, **params: Any) -> None:
    meta = {"io.modelcontextprotocol/subscriptionId": listening.message["id"]}
    listening.say(method=f"notifications/{method}", params={**params, "_meta": meta})


async def test_news_of_tasks(shared: Proxy) -> None:
    async with servers(shared, "a", "b", era="modern") as here, modern(shared, ABLE) as one:
        stream, [first, second] = await listens(
            here, one, "a::1", "a::2", "a::gone", "b::1", "c::1", "1", a=["1", "2"], b=["1"]
        )
        wanted = [each.message["params"]["notifications"] for each in (first, second)]
        assert wanted == [{"taskIds": ["1", "2", "gone"]}, {"taskIds": ["1"]}]
        meta = first.message["params"]["_meta"]
        assert TASKS in meta["io.modelcontextprotocol/clientCapabilities"]["extensions"]
        told = await stream.told("notifications/subscriptions/acknowledged")
        assert told["params"]["notifications"] == {"taskIds": ["a::1", "a::2", "b::1"]}
        link = {"type": "resource_link", "uri": "raw://one", "name": "l"}  # which the first server has, too
        for listening, server, uri in ((first, "a", "raw://one"), (second, "b", "raw://b/one")):
            news(listening, "tasks", taskId="gone", status="working")
            result = {"content": [link], **related("1")}
            news(listening, "tasks", taskId="1", status="completed", n=1.0, result=result)
            params = (await stream.told("notifications/tasks"))["params"]
            assert params.pop("_meta") == {"io.modelcontextprotocol/subscriptionId": stream.id}
            assert params == {
                "taskId": f"{server}::1", "status": "completed", "n": 1.0,
                "result": {"content": [{**link, "uri": uri}], **related(f"{server}::1")},
            }  # fmt: skip
        over = await here.told("notifications/cancelled")  # nothing more becomes of the only task there
        assert (over.pid, over.message["params"]["requestId"]) == (second.pid, second.message["id"])
        await stream.hang_up()
        over = await here.told("notifications/cancelled")
        assert (over.pid, over.message["params"]["requestId"]) == (first.pid, first.message["id"])
        assert (stream.items, here.items) == ([], [])


async def test_a_stream_of_tasks_that_a_server_ends_is_opened_again_and_what_was_missed_is_asked_for(
    shared: Proxy,
) -> None:
    async with servers(shared, "a", era="modern") as here, modern(shared, ABLE) as one:
        stream, [listening] = await listens(here, one, "a::1", "a::2", a=["1", "2"])
        assert await stream.told("notifications/subscriptions/acknowledged")
        listening.reply(resultType="complete")
        again = await here.told("subscriptions/listen")
        news(again, "subscriptions/acknowledged", notifications={"taskIds": ["2"]})
        asked = await here.told("tasks/get")
        assert asked.message["params"]["taskId"] == "2"
        asked.reply(resultType="complete", taskId="2", status="failed", error={"code": 1, "message": "m"})
        params = (await stream.told("notifications/tasks"))["params"]
        assert (params["taskId"], params["status"], "resultType" in params) == ("a::2", "failed", False)
        assert (await here.told("notifications/cancelled")).message["params"]["requestId"] == again.message["id"]


async def test_tasks_that_cannot_be_listened_to(shared: Proxy) -> None:
    async with servers(shared, "a", era="modern") as here, modern(shared, ABLE) as one, modern(shared) as undeclared:
        shared.add(old=here.puppet(OLD, "play:subscriptions/listen"))
        error = await undeclared.send("subscriptions/listen", {"notifications": {"taskIds": ["a::1"]}}).error()
        assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"extensions": {TASKS: {}}}})
        none, _ = await listens(here, one, "old::1", "1", "c::1")
        stream, _ = await listens(here, one, "a::1")
        listening = await here.told("subscriptions/listen")
        listening.say(id=listening.message["id"], error={"code": -32602, "message": "no such task"})
        odd, _ = await listens(here, one, "a::1", "a::2", a=[{"odd": 1}, 7, None, "1"])  # type: ignore[list-item]
        for each, known in ((none, {}), (stream, {}), (odd, {"taskIds": ["a::1"]})):
            told = await each.told("notifications/subscriptions/acknowledged")
            assert told["params"]["notifications"] == known


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_task_is_known_under_the_key_of_its_client_only(tmp_path: Path, era: str) -> None:
    async with within(TIMEOUT), stage() as here:
        able = OLD if era == "legacy" else NEW
        server = here.puppet(*(["modern-only"] if era == "modern" else []), able, *PLAYED, "play:subscriptions/listen")
        with proxy(tmp_path, {"a": server}, env={"MULTI_MCP_API_KEY": "key-1,key-2"}) as running:
            running.expect("a: ready")
            async with (
                peer(running.url, era, key="key-1", **ABLE) as one,
                peer(running.url, era, key="key-2", **ABLE) as other,
            ):
                call = one.send("tools/call", {"name": "a::echo", "arguments": {}, "task": {}})
                task = {"taskId": "1", "status": "working"}
                (await here.called()).reply(**({"task": task} if era == "legacy" else {"resultType": "task", **task}))
                result = await call.result()
                public = result.get("task", result)["taskId"]
                assert "key-1" not in public
                await asked(here, one, "tasks/get", public)
                for unknown in (public, "a::1"):
                    assert (await other.send("tasks/get", {"taskId": unknown}).error())["code"] == -32602
                if era == "modern":
                    stream, _ = await listens(here, other, public, "a::1")
                    told = await stream.told("notifications/subscriptions/acknowledged")
                    assert told["params"]["notifications"] == {}
                assert here.items == []


async def test_the_tasks_of_all_servers_in_one_list_for_who_has_begun_them(shared: Proxy) -> None:
    async with servers(shared, "a", "b") as here, legacy(shared) as one, legacy(shared) as other:
        shared.add(apart=here.puppet(OLD, *PLAYED, scope="session"), without=here.puppet("play:tasks/list"))
        # The greeting is over: what a later one is told.
        async with legacy(shared) as late, modern(shared) as new:
            capabilities = (await late.send("initialize", {"protocolVersion": "2025-11-25"}).result())["capabilities"]
            assert capabilities["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
            assert "tasks" not in (await new.send("server/discover", {}).result())["capabilities"]
        for client, server, task in ((one, "a", "1"), (one, "b", "1"), (other, "b", "2"), (one, "apart", "1")):
            await begin(here, client, server, task)
        listing = one.send("tasks/list", {})
        pages: dict[int, list[Any]] = {}
        for _ in range(4):
            heard = await here.told("tasks/list")
            cursor = heard.message.get("params", {}).get("cursor")
            pages.setdefault(heard.pid, []).append(cursor)
            tasks = [{"taskId": number, "n": 1.0} for number in (("1", "3") if cursor is None else ("2",))]
            more = {"nextCursor": "more"} if len(pages) == 1 and cursor is None else {}
            heard.reply(tasks=[*tasks, 7, {}], **more)
        found = (await listing.result())["tasks"]
        assert [task["taskId"] for task in found] == ["a::1", "b::1", "apart::1", "apart::3"]
        assert found[0]["n"] == 1.0
        assert sorted(pages.values(), key=len) == [[None], [None], [None, "more"]]
        assert (await one.send("tasks/list", {"cursor": "more"}).error())["code"] == -32602
        assert here.items == []


async def test_no_list_of_tasks_where_no_server_has_one(shared: Proxy) -> None:
    async with within(TIMEOUT), stage() as here, legacy(shared) as one:
        shared.add(a=here.puppet(*PLAYED))
        assert (await one.send("tasks/list", {}).error())["code"] == -32601
        assert (await one.send("tasks/get", {"taskId": "1"}).error())["code"] == -32602
