"""What a backend sends reaches the client it is for, and what a client wants reaches the backend: beyond the harness.

The backends are `scripted_server.py`; what they heard is in their log, and is waited for there.
"""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.client import ENVELOPE, Client, Command, Url, connect
from tests.support.processes import (
    ROOT,
    Proxy,
    fixture,
    proxy,
    write_config,
)
from tests.support.scripted import Scripted, shows

LIST_CHANGED = {"method": "notifications/tools/list_changed"}
UPDATED = "notifications/resources/updated"


class Clients:
    """Clients of one proxy over streamable HTTP."""

    def __init__(self, stack: AsyncExitStack, running: Proxy) -> None:
        self._stack = stack
        self.proxy = running

    async def __call__(self, era: Any = "legacy", transport: Any = "http", **options: Any) -> Client:
        path = "/sse" if transport == "sse" else "/mcp"
        return await self._stack.enter_async_context(connect(Url(self.proxy.url + path), transport, era, **options))


@asynccontextmanager
async def served(tmp_path: Path, servers: Mapping[str, Scripted], *args: str) -> AsyncIterator[Clients]:
    """A proxy in front of these servers, and its clients, which leave before it ends."""
    with proxy(tmp_path, {name: server.config for name, server in servers.items()}, *args) as running:
        for name in servers:
            running.expect(f"{name}: ready")
        async with AsyncExitStack() as stack:
            yield Clients(stack, running)


async def say(client: Client, server: str = "one", meta: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """Have a server say something; returns the call when it is answered."""
    params: dict[str, Any] = {"name": f"{server}::say", "arguments": arguments}
    call = await client.request("tools/call", params | ({"_meta": meta} if meta else {}))
    assert "result" in await call.response()
    return call


def log(level: str, data: Any = "text") -> dict[str, Any]:
    return {"method": "notifications/message", "params": {"level": level, "data": data}}


def progress(number: int, **more: Any) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": "$token", "progress": number, **more}}


@pytest.mark.parametrize("client_era", ["legacy", "modern"])
@pytest.mark.parametrize("server_era", ["legacy", "modern"])
async def test_what_is_sent_during_a_call_comes_whole_in_order_and_before_the_result(
    tmp_path: Path, client_era: str, server_era: str
) -> None:
    first: list[dict[str, Any]] = [
        progress(1, total=3, message="a", vendorField={"kept": [None]}, _meta={"vendor.example/x": 1}),
        log("info", {"deep": [None, 1e-7]}),
        {"method": "notifications/vendor/news", "params": {"what": [None, "ever"]}},
        *(progress(number) for number in range(2, 300)),
        log("error"),
    ]
    server = Scripted(tmp_path, "one", server_era)
    async with served(tmp_path, {"one": server}) as clients:
        client = await clients(client_era)
        if client_era == "legacy":
            await client.ask("logging/setLevel", {"level": "info"})
        meta = {"progressToken": "mine", **({f"{ENVELOPE}logLevel": "info"} if client_era == "modern" else {})}
        call = await say(client, meta=meta, first=first, then=[progress(300)])
        expected = json.loads(json.dumps(first).replace("$token", "mine"))
        before = [{key: message[key] for key in ("method", "params")} for message in call.before]
        assert before[: len(expected)] == expected
        await say(client)  # what came late would have come before this
        # What the server sent too late came in time for the client, or not at all.
        assert len(client.notifications("notifications/progress")) == 299 + len(before) - len(expected)


async def test_backends_have_the_most_verbose_level_that_is_asked_for_also_after_a_reconnect(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one")

    def levels() -> list[str]:
        return [message["params"]["level"] for message in server.heard("logging/setLevel")]

    async with served(tmp_path, {"one": server}) as clients:
        terse = await clients()
        await terse.ask("logging/setLevel", {"level": "error"})
        async with connect(Url(clients.proxy.url + "/mcp"), "http", "legacy") as verbose:
            await verbose.ask("logging/setLevel", {"level": "debug"})
            await terse.ask("logging/setLevel", {"level": "critical"})
            assert levels() == ["error", "debug"]
            await verbose.end_session()
            await shows(lambda: levels() == ["error", "debug", "critical"], "the level of who is still there")
        await terse.request("tools/call", {"name": "one::say", "arguments": {"die": True}})
        await shows(lambda: levels() == ["error", "debug", "critical", "critical"], "the level after the reconnect")


async def test_a_message_of_no_call_reaches_every_legacy_client_that_wants_it(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one")
    async with served(tmp_path, {"one": server}) as clients:
        terse, undecided, modern = await clients(), await clients(transport="sse"), await clients("modern")
        await terse.ask("logging/setLevel", {"level": "error"})
        news = {"method": "notifications/vendor/news", "params": {"n": 1}}
        await say(modern, then=[log("info"), log("error"), news])
        for client, wanted in ((undecided, ["info", "error", None]), (terse, ["error", None])):
            await client.wait(lambda message: message.get("method") == news["method"], "the news")
            assert [message["params"].get("level") for message in client.inbox[-len(wanted) :]] == wanted
        assert [message for message in modern.inbox if "method" in message] == []


async def test_a_log_message_that_could_be_of_two_modern_requests_is_told_to_neither(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one", "modern")
    async with served(tmp_path, {"one": server}) as clients:
        one, other = await clients("modern"), await clients("modern")
        meta = {f"{ENVELOPE}logLevel": "info"}
        params = {"name": "one::say", "arguments": {"wait": True}, "_meta": meta}
        waiting = await one.request("tools/call", params)
        await server.hears("tools/call")
        await say(other, meta=meta, first=[log("error", "whose?")])
        await say(other, first=[log("error", "the first one's: the other wants none")])
        await other.ask("tools/call", {"name": "one::go", "arguments": {}})
        await waiting.response()
        told = [message["params"]["data"] for message in one.notifications("notifications/message")]
        assert told == ["the first one's: the other wants none"]
        assert other.notifications("notifications/message") == []


async def test_subscriptions_are_counted_restored_and_dropped_with_the_client(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one")
    async with served(tmp_path, {"one": server}) as clients:
        one, uri = await clients(), {"uri": "test://a"}
        async with connect(Url(clients.proxy.url + "/mcp"), "http", "legacy") as other:
            for client in (one, other):
                await client.ask("resources/subscribe", uri)
            await one.ask("resources/unsubscribe", uri)
            assert [m["params"] for m in server.heard("resources/subscribe")] == [uri]
            assert server.heard("resources/unsubscribe") == []

            updates = [{"method": UPDATED, "params": {"uri": u}} for u in ("test://b", "test://a/part", "test://a")]
            await say(one, then=updates)
            await other.wait(lambda message: (message.get("params") or {}).get("uri") == "test://a", UPDATED)
            told = [message["params"]["uri"] for message in other.notifications(UPDATED)]
            assert told == ["test://a/part", "test://a"]
            assert one.notifications(UPDATED) == []

            await one.request("tools/call", {"name": "one::say", "arguments": {"die": True}})
            await server.hears("resources/subscribe", 2)
            await other.end_session()
            await server.hears("resources/unsubscribe")


async def test_a_subscription_that_the_backend_refuses_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path, {"one": Scripted(tmp_path, "one")}) as clients:
        client = await clients()
        response = await (await client.request("resources/subscribe", {"uri": "test://unknown/x"})).response()
        assert "result" in response  # the only one that has resources may know it
        clients.proxy.add(two=Scripted(tmp_path, "two").config)
        response = await (await client.request("resources/subscribe", {"uri": "test://nowhere"})).response()
        assert response["error"]["code"] == -32002


async def test_a_modern_backend_is_listened_to_again_when_it_ends_the_stream(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one", "modern")
    async with served(tmp_path, {"one": server}) as clients:
        client = await clients("modern")
        await client.ask("server/discover")
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["test://a"]}
        await client.request("subscriptions/listen", {"notifications": wanted}, id="mine")
        await client.wait(lambda message: message.get("method") == "notifications/subscriptions/acknowledged", "ack")
        streams = [message["params"]["notifications"] for message in await server.hears("subscriptions/listen", 2)]
        assert streams == [{"toolsListChanged": True}, {"resourceSubscriptions": ["test://a"]}]
        lists = len(server.heard("tools/list"))

        await client.ask("tools/call", {"name": "one::hush", "arguments": {}})
        await server.hears("subscriptions/listen", 4)
        await server.hears("tools/list", lists + 1)  # what was missed is read
        # And so is the client told that the resource may have changed meanwhile.
        update = await client.wait(lambda message: message.get("method") == UPDATED, UPDATED)
        assert update["params"] == {"uri": "test://a", "_meta": {f"{ENVELOPE}subscriptionId": "mine"}}


async def test_a_change_that_is_told_is_passed_on_once_even_if_the_list_is_the_same_again(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one")
    async with served(tmp_path, {"one": server}) as clients:
        client = await clients()
        lists = len(server.heard("tools/list"))
        await say(client, then=[LIST_CHANGED] * 5)
        await client.wait(lambda message: message.get("method") == LIST_CHANGED["method"], LIST_CHANGED["method"])
        assert len(server.heard("tools/list")) > lists
        await say(client, then=[{"method": "notifications/vendor/end"}])
        await client.wait(lambda message: message.get("method") == "notifications/vendor/end", "the end")
        assert len(client.notifications(LIST_CHANGED["method"])) == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_what_mcp_does_not_know_goes_where_its_name_leads(tmp_path: Path, era: str) -> None:
    servers = {name: Scripted(tmp_path, name, era) for name in ("one", "two")}
    async with served(tmp_path, servers) as clients:
        client = await clients(era)
        for server, params, arrives in (
            ("two", {"name": "two::say", "x": [None]}, {"name": "say", "x": [None]}),
            ("two", {"uri": "test://two/a"}, {"uri": "test://a"}),
        ):
            result = await client.ask("vendor/do", params)
            got = result["asked"]["params"]
            got.pop("_meta", None)
            assert (result["asked"]["method"], got) == ("vendor/do", arrives)
            assert len(servers[server].heard("vendor/do")) > 0
        assert servers["one"].heard("vendor/do") == []
        response = await (await client.request("vendor/do", {"whom": "?"})).response()
        assert response["error"]["code"] == -32601
        if era == "legacy":  # over HTTP the SDK drops notifications of modern clients, which there are none of
            await client.notify("notifications/vendor/x", {"name": "one::say"})
            assert (await servers["one"].hears("notifications/vendor/x"))[0]["params"]["name"] == "say"


@pytest.mark.parametrize("namespace", ["never", "always"])
async def test_the_only_server_is_shown_as_it_is_with_namespace_never(tmp_path: Path, namespace: str) -> None:
    more = {"experimental": {"vendor.example/x": {"y": 1}}, "extensions": {"vendor.example/z": {}}}
    async with served(
        tmp_path, {"one": Scripted(tmp_path, "one", "both", **more)}, "--namespace", namespace
    ) as clients:
        for era in ("legacy", "modern"):
            client = await clients(era)
            hello = client.hello if era == "legacy" else await client.ask("server/discover")
            shown = {key: hello["capabilities"][key] for key in more if key in hello["capabilities"]}
            assert shown == (more if namespace == "never" else {"extensions": more["extensions"]})
            assert (await client.ask("vendor/do", {"anything": 1}))["asked"]["params"]["anything"] == 1


async def test_a_task_is_asked_for_where_it_was_begun(tmp_path: Path) -> None:
    servers = {name: Scripted(tmp_path, name) for name in ("one", "two")}
    async with served(tmp_path, servers) as clients:
        client = await clients()
        begun = await client.ask("vendor/begin", {"name": "two::say", "result": {"task": {"taskId": "t1"}}})
        asked = (await client.ask("tasks/get", begun["task"]))["asked"]
        assert (asked["method"], asked["params"]["taskId"]) == ("tasks/get", "t1")
        assert (len(servers["one"].heard("tasks/get")), len(servers["two"].heard("tasks/get"))) == (0, 1)
        response = await (await client.request("tasks/get", {"taskId": "t1"})).response()
        assert response["error"]["code"] == -32602


async def test_the_status_of_a_task_over_each_transport(tmp_path: Path) -> None:
    status, end = "notifications/tasks/status", "notifications/vendor/end"
    async with served(tmp_path, {"one": Scripted(tmp_path, "one")}) as clients:
        both = [await clients("legacy", transport) for transport in ("sse", "http")]
        for number, client in enumerate(both):
            task = {"taskId": f"t{number}", "status": "working"}
            told = [{"method": status, "params": {**task, "status": "completed"}}]
            params = {"name": "one::say", "arguments": {"then": told}, "task": {}, "result": {"task": task}}
            assert (await client.ask("tools/call", params))["task"]["taskId"] == f"one::t{number}"
        for number, client in enumerate(both):
            await client.wait(lambda message: message.get("method") == status, "the status")
            await say(client, then=[{"method": end}])
            await client.wait(lambda message: message.get("method") == end, "the end")
            told = [message["params"] for message in client.notifications(status)]
            assert told == [{"taskId": f"one::t{number}", "status": "completed"}]


async def test_changed_roots_are_told_to_every_legacy_backend(tmp_path: Path) -> None:
    servers = {"old": Scripted(tmp_path, "old"), "new": Scripted(tmp_path, "new", "modern")}
    async with served(tmp_path, servers) as clients:
        client = await clients(capabilities={"roots": {"listChanged": True}})
        await client.notify("notifications/roots/list_changed")
        await servers["old"].hears("notifications/roots/list_changed")
        await say(client, "new")
        assert servers["new"].heard("notifications/roots/list_changed") == []


async def test_a_modern_request_that_asks_for_a_level_gets_it_of_a_legacy_backend(tmp_path: Path) -> None:
    server = Scripted(tmp_path, "one")
    async with served(tmp_path, {"one": server}) as clients:
        client = await clients("modern")
        call = await say(client, meta={f"{ENVELOPE}logLevel": "warning"}, first=[log("info"), log("alert")])
        assert [message["params"]["level"] for message in server.heard("logging/setLevel")] == ["warning"]
        assert [message["params"]["level"] for message in call.before] == ["alert"]
        [heard] = [m["params"] for m in server.heard("tools/call")]
        assert f"{ENVELOPE}logLevel" not in (heard.get("_meta") or {})


async def test_what_is_asked_during_nobodys_call_is_for_the_only_client_if_there_can_be_no_other(
    tmp_path: Path,
) -> None:
    server = Scripted(tmp_path, "one")
    config = write_config(tmp_path / "mcp.json", {"one": server.config})
    roots = {"roots": [{"uri": "file:///home/ada"}]}
    able: dict[str, Any] = {"capabilities": {"roots": {}}, "answers": {"roots/list": lambda params: {"result": roots}}}
    question = {"id": "later", "method": "roots/list"}

    async def answer() -> dict[str, Any]:
        def answers() -> list[dict[str, Any]]:
            return [message for message in server.heard() if message.get("id") == "later"]

        await shows(lambda: bool(answers()), "an answer")
        return answers()[-1]

    main = (sys.executable, str(ROOT / "main.py"), "--config", str(config))
    async with connect(Command(main), "stdio", "legacy", **able) as client:
        await say(client, then=[question])
        assert (await answer())["result"] == roots
    server.forget()
    async with served(tmp_path, {"one": server}) as clients:
        await say(await clients(**able), then=[question])
        assert (await answer())["result"] == {"roots": []}


async def test_a_client_with_a_connection_of_its_own_has_lists_of_its_own(tmp_path: Path) -> None:
    with proxy(tmp_path, {"own": fixture("changing", scope="session")}) as running:
        running.expect("own: ready")
        async with AsyncExitStack() as stack:
            one, other = [
                await stack.enter_async_context(connect(Url(running.url + "/mcp"), "http", "legacy")) for _ in range(2)
            ]

            async def tools(client: Client) -> list[str]:
                return [tool["name"] for tool in (await client.ask("tools/list"))["tools"]]

            async def change(client: Client) -> None:
                since = len(client.inbox)
                arguments = {"kind": "tools", "name": "mine"}
                await client.ask("tools/call", {"name": "own::change", "arguments": arguments})
                method = "notifications/tools/list_changed"
                await client.wait(lambda message: message.get("method") == method, method, since)

            usual = await tools(one)
            for client in (one, other):  # which takes longer than to be told of what was ready when they came
                await client.ask("tools/call", {"name": "own::touch", "arguments": {"uri": "changing://a"}})
            begun = [len(client.inbox) for client in (one, other)]
            await change(one)
            assert await tools(one) == [*usual, "own::mine"]
            assert await tools(other) == usual
            await change(other)
            await change(one)
            assert (await tools(one), await tools(other)) == (usual, [*usual, "own::mine"])
            # Each was told of its own changes, and of none of the other's.
            told = [
                client.notifications("notifications/tools/list_changed", since)
                for client, since in zip((one, other), begun, strict=True)
            ]
            assert [len(messages) for messages in told] == [2, 1]
