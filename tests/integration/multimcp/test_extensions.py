"""Extensions with several servers: who is told of which, and where pages, names and unknown methods lead.

Spec: 2026-07-28, basic/versioning#extension-negotiation; ext-apps, specification/2026-01-26/apps
"""

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.client import Client, Url, connect
from tests.support.processes import Proxy, RawClient, proxy, raw, raw_http, until, whole_lines, write_config
from tests.support.raw_apps import UI

Json = dict[str, Any]

ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])
WAYS = pytest.mark.parametrize(("transport", "era"), [("http", "legacy"), ("http", "modern"), ("sse", "legacy")])
TASKS = "io.modelcontextprotocol/tasks"


def server(name: str, *more: str, extensions: Any = None, **apps: Any) -> list[str]:
    """A raw server of both eras."""
    able = [f"able={json.dumps({'extensions': extensions})}"] if extensions is not None else []
    return [f"name={name}", "modern", f"apps={json.dumps(apps)}", *able, *more]


def page(uri: str, **more: Any) -> Json:
    return {"ui": {"resourceUri": uri, **more}}


@contextmanager
def behind(
    tmp_path: Path, servers: dict[str, list[str]], *, http: tuple[str, ...] = (), sse: tuple[str, ...] = ()
) -> Iterator[Proxy]:
    """A proxy in front of these servers, which are reached over stdio, but for those that are named."""
    with ExitStack() as stack:
        entries = {
            name: raw(*has)
            if name not in http + sse
            else {"url": stack.enter_context(raw_http(*has)) + ("/sse" if name in sse else "/mcp")}
            for name, has in servers.items()
        }
        yield stack.enter_context(proxy(tmp_path, entries)).wait_ready()


def shown(running: Proxy, era: str) -> Json:
    """The extensions that a client is told of who comes now."""
    with RawClient(running.url, era) as client:
        extensions: Json = client.hello["capabilities"].get("extensions", {})
        return extensions


# Who is told of what


async def test_clients_are_told_of_the_extensions_of_all_servers_whatever_they_speak(tmp_path: Path) -> None:
    three = {
        "a": server("a", extensions={UI: {"mimeTypes": ["x/a"]}, "com.example/a": {"v": [1.5]}, "both/x": {}}),
        "b": server("b", extensions={UI: {"mimeTypes": ["x/b", "x/a"], "b": True}, "both/x": {}, "odd": {}}),
        "c": server("c", extensions={"org.other/c": {}})[:1] + server("c", extensions={"org.other/c": {}})[2:],
    }
    expected = {
        UI: {"mimeTypes": ["x/a", "x/b"], "b": True},
        "com.example/a": {"v": [1.5]},
        "odd": {},
        "org.other/c": {},
    }
    with behind(tmp_path, three, http=("b",), sse=("c",)) as running:
        for era in ("legacy", "modern"):
            assert shown(running, era) == expected
        async with connect(Url(f"{running.url}/sse"), "sse", "legacy") as client:
            assert client.hello["capabilities"]["extensions"] == expected
        line = r"WARNING extension 'both/x' is shown to no client, as several servers have it: a, b"
        running.expect(line)
        assert running.stderr.count("both/x") == 1


@pytest.mark.parametrize(
    ("extensions", "expected", "line"),
    [
        ({f"a/{n}": {} for n in range(10_000)}, {f"a/{n}": {} for n in range(100)}, "only the first 100 are shown"),
        ({"a/a": {}, "a/b": {"x": "x" * 100_000}}, {"a/a": {}}, "only the first 1 are shown"),
        ({UI: True, "a/b": None, "a/c": {}}, {"a/c": {}}, "2 left out whose settings are no object"),
        (["a/b"], {}, "left out, as they are no object"),
    ],
)
def test_what_a_server_says_of_its_extensions_is_bounded(
    tmp_path: Path, extensions: Any, expected: Any, line: str
) -> None:
    spec = tmp_path / "able.json"
    spec.write_text(json.dumps({"extensions": extensions}))
    with behind(tmp_path, {"big": ["name=big", "modern", f"able=@{spec}"], "plain": ["name=plain"]}) as running:
        assert [shown(running, era) for era in ("legacy", "modern")] == [expected, expected]
        running.expect(f"WARNING big: extensions: .*{line}")
        assert running.stderr.count("big: extensions:") == 1
        assert len(max(running.stderr.splitlines(), key=len)) < 500


@ERAS
def test_what_new_clients_are_told_follows_the_servers(tmp_path: Path, era: str) -> None:
    def entry(name: str, **extensions: Any) -> Json:
        return raw(*server(name, extensions={each.replace("_", "/"): {} for each in extensions}))

    servers = {"a": entry("a", x_a={}), "b": entry("b", x_b={})}
    with proxy(tmp_path, servers, "--persist") as running:
        running.wait_ready()
        assert shown(running, era) == {"x/a": {}, "x/b": {}}
        assert running.add(c=entry("c", x_c={}, x_a={})).status_code == 200
        assert shown(running, era) == {"x/b": {}, "x/c": {}}
        running.expect("extension 'x/a' is shown to no client, as several servers have it: a, c")
        assert running.remove("a").status_code == 200
        assert shown(running, era) == {"x/b": {}, "x/c": {}, "x/a": {}}
        write_config(tmp_path / "mcp.json", {"b": entry("b", x_new={})})
        until(lambda: shown(running, era) == {"x/new": {}}, what="the configuration that was written")


@ERAS
def test_while_a_server_may_turn_out_to_have_them_the_known_ones_are_told(tmp_path: Path, era: str) -> None:
    late = raw("hang:initialize", "hang:server/discover")
    servers = {"a": raw(*server("a", extensions={"x/a": {}, UI: {"v": 1}})), "late": late}
    first = "from multimcp.protocol import waiting; waiting.CLIENT_WAIT = 0.5"
    with proxy(tmp_path, servers, first=first) as running:
        running.expect("a: ready")
        skills = "io.modelcontextprotocol/skills"
        assert shown(running, era) == {"x/a": {}, UI: {"v": 1}, TASKS: {}, skills: {}}
        with RawClient(running.url, era) as client:
            assert client.call("skills/list")["skills"] == []
        running.remove("late")
        assert shown(running, era) == {"x/a": {}, UI: {"v": 1}}


@pytest.mark.parametrize("scope", ["shared", "session"])
async def test_servers_are_told_what_clients_have_declared(tmp_path: Path, scope: str) -> None:
    theirs = {"a/b": {"x": 1}, TASKS: {}, UI: {"mimeTypes": ["x/y"]}}
    logs = {name: tmp_path / f"{name}.log" for name in ("old", "new")}
    servers = {
        "old": {**raw("name=old", f"log={logs['old']}"), "scope": scope},
        "new": {**raw("name=new", "modern-only", f"log={logs['new']}"), "scope": scope},
    }

    def heard(name: str, method: str) -> list[Json]:
        messages = [json.loads(line) for line in whole_lines(logs[name])]
        params = [message["params"] for message in messages if message.get("method") == method]
        found = [
            each.get("capabilities") or each.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities")
            for each in params
        ]
        return [each["extensions"] for each in found if each is not None]

    with proxy(tmp_path, servers) as running:
        running.wait_ready()
        apps = {UI: {"mimeTypes": ["text/html;profile=mcp-app"]}}
        assert heard("new", "tools/list")[0] == apps
        for era in ("legacy", "modern"):
            async with connect(
                Url(f"{running.url}/mcp"),
                "http",
                era,
                capabilities={"extensions": theirs},
            ) as client:
                for name in servers:
                    await client.ask("tools/call", {"name": f"{name}::echo", "arguments": {}})
        less = {each: theirs[each] for each in theirs if each != TASKS}
        assert heard("new", "tools/call") == [less, theirs]
        assert heard("old", "initialize") == [apps, theirs][: 1 + (scope == "session")]


@ERAS
def test_a_server_shows_its_pages_if_it_is_told_that_they_are_understood(tmp_path: Path, era: str) -> None:
    tools = {"show": page("ui://x/v")}
    servers = {name: server(name, asked=True, tools=tools, pages={"ui://x/v": name}) for name in "abc"}
    servers["c"].remove("modern")
    with behind(tmp_path, servers, http=("b",)) as running, RawClient(running.url, era) as client:
        listed = {tool["name"]: tool.get("_meta") for tool in client.call("tools/list")["tools"]}
        assert listed == {
            "a::show": page("ui://x/v"), "b::show": page("ui://b/x/v"), "c::show": page("ui://c/x/v")
        }  # fmt: skip


# Where things lead


APPS = {
    "a": server(
        "a",
        tools={
            "show": page("ui://x/v"), "old": {"ui/resourceUri": "ui://x/old"},
            "mine": page("ui://x/v", visibility=["app"]), "both": {}, "hidden": {}, "weather::now": {},
        },
        pages={"ui://x/v": "v of a", "ui://x/old": "old of a", "ui://weather/a": "weather/a of a"},
        listed=["ui://x/v"], methods=["notes/list", "com.example/do"], extensions={"com.example/notes": {}},
        templates=["{+any}"],
    ),
    "b": server(
        "b",
        tools={"show": page("ui://x/v"), "old": {"ui/resourceUri": "ui://x/old"}, "both": {}},
        pages={"ui://x/v": "v of b", "ui://x/old": "old of b", "ui://only-b": "only b"},
        listed=[], methods=["org.other/do"], extensions={"org.other/archive": {}}, meta=page("ui://x/v"),
    ),
    "weather": server(
        "weather",
        tools={"show": {"openai/outputTemplate": "ui://x/v"}},
        pages={"ui://x/v": "v of weather", "ui://weather/v": "own of weather", "ui://deep/er": "deep of weather"},
        listed=[],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A server over stdio, one over streamable HTTP and one over SSE."""
    config = tmp_path_factory.mktemp("apps")
    servers = {**APPS, "weather": [each for each in APPS["weather"] if each != "modern"]}
    with ExitStack() as stack:
        entries = {
            "a": {**raw(*servers["a"]), "tools": {"exclude": ["hidden"]}},
            "b": {"url": stack.enter_context(raw_http(*servers["b"])) + "/mcp"},
            "weather": {"url": stack.enter_context(raw_http(*servers["weather"])) + "/sse"},
        }
        yield stack.enter_context(proxy(config, entries)).wait_ready()


def client_of(apps: Proxy, transport: Any, era: Any) -> AbstractAsyncContextManager[Client]:
    return connect(Url(apps.url + ("/sse" if transport == "sse" else "/mcp")), transport, era)


async def read(client: Client, uri: str) -> str:
    """The text of a resource, which comes back under its URI."""
    [content] = (await client.ask("resources/read", {"uri": uri}))["contents"]
    assert content["uri"] == uri
    return str(content["text"])


@WAYS
async def test_each_tools_page_is_its_own_servers(apps: Proxy, transport: str, era: str) -> None:
    async with client_of(apps, transport, era) as client:
        tools = (await client.ask("tools/list"))["tools"]
        named = {tool["name"]: tool["_meta"] for tool in tools if "_meta" in tool}
        pages = {
            name: meta.get("ui", {}).get("resourceUri") or meta.get("ui/resourceUri") or meta["openai/outputTemplate"]
            for name, meta in named.items()
        }
        read_there = {name: await read(client, uri) for name, uri in pages.items()}
        assert read_there == {
            "a::show": "v of a", "a::old": "old of a", "a::mine": "v of a",
            "b::show": "v of b", "b::old": "old of b", "weather::show": "v of weather",
        }  # fmt: skip
        assert named["a::mine"]["ui"]["visibility"] == ["app"]
        assert pages["b::show"] == "ui://b/x/v"
        result = await client.ask("tools/call", {"name": "b::both", "arguments": {}})
        assert result["_meta"]["ui"] == {"resourceUri": "ui://b/x/v"}


@WAYS
async def test_a_uri_that_nobody_listed_is_tried_as_it_is_first(apps: Proxy, transport: str, era: str) -> None:
    async with client_of(apps, transport, era) as client:
        assert await read(client, "ui://weather/v") == "own of weather"
        assert await read(client, "ui://weather/deep/er") == "deep of weather"
        assert await read(client, "ui://b/only-b") == "only b"
        assert await read(client, "ui://weather/a") == "weather/a of a"  # which has a template for all that nobody has
        failed = await (await client.request("resources/read", {"uri": "ui://weather/none"})).response()
        assert failed["error"]["code"] in (-32002, -32602)


@WAYS
async def test_an_app_calls_tools_by_the_names_that_its_server_gave_them(apps: Proxy, transport: str, era: str) -> None:
    async with client_of(apps, transport, era) as client:

        async def call(name: str) -> Any:
            answer = await (await client.request("tools/call", {"name": name, "arguments": {}})).response()
            return answer["result"]["content"][0]["text"] if "result" in answer else answer["error"]["message"]

        assert await call("mine") == "mine of a"
        assert await call("both") == "'both' could mean the tool 'a::both' or 'b::both'; use one of these names"
        assert await call("hidden") == "Unknown tool: hidden"
        assert await call("a::hidden") == "Unknown tool: a::hidden"
        assert await call("weather::now") == "Unknown tool: weather::now"
        assert await call("a::weather::now") == "weather::now of a"


@WAYS
async def test_what_nobody_knows_goes_to_whose_extension_it_is(apps: Proxy, transport: str, era: str) -> None:
    async with client_of(apps, transport, era) as client:
        for method, owner in (("notes/list", "a"), ("com.example/do", "a"), ("org.other/do", "b")):
            params = {"x": [1.5], "name": "nobody's", "uri": 7}
            assert {key: (await client.ask(method, params))[key] for key in ("by", "params")} == {
                "by": owner,
                "params": params,
            }
        failed = await (await client.request("com.example/else", {})).response()
        assert failed["error"]["code"] == -32601


@pytest.mark.parametrize(("transport", "era"), [("http", "legacy"), ("sse", "legacy")])
async def test_a_page_in_no_list_can_be_watched(apps: Proxy, transport: str, era: str) -> None:
    async with client_of(apps, transport, era) as client:
        assert await client.ask("resources/subscribe", {"uri": "ui://weather/deep/er"}) == {}
        assert await client.ask("resources/unsubscribe", {"uri": "ui://weather/deep/er"}) == {}
        failed = await (await client.request("resources/subscribe", {"uri": "ui://weather/none"})).response()
        assert failed["error"]["message"] == "a has no ui://weather/none"
