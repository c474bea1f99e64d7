"""Two servers with the same tools, prompts, resources and templates: nothing collides, nobody answers for the other."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from tests.support.processes import PATIENT, TIMEOUT, RawClient, fixture, proxy, raw, text, until, within

BOTH = {"work": fixture("notes_work"), "home": fixture("notes_home")}


def own(result: Any) -> str:
    """Which of the two a result speaks of."""
    words = str(result)
    said = [name for name in BOTH if name in words.lower()]
    assert len(said) == 1, words
    return said[0]


async def check(client: Client, servers: tuple[str, ...]) -> None:
    """All that both offer is listed under distinct names, and each name is answered with its server's data."""
    tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools == [f"{server}::{tool}" for server in servers for tool in ("list_notes", "read_note")]
    for server in servers:
        listed = await client.call_tool(f"{server}::list_notes", {})
        assert own(listed.content[0]) == server
        # What a result links to is read from the same server.
        links = [block.uri for block in listed.content if block.type == "resource_link"]
        assert links
        for uri in links:
            assert own((await client.read_resource(uri)).contents[0]) == server
        prompts = await client.get_prompt(f"{server}::summarize_notes", {"topic": "plans"})
        assert own(prompts.messages) == server
    resources = [resource.uri for resource in (await client.list_resources()).resources]
    assert len(resources) == len(set(resources)) == 2 * len(servers)
    answers = [own((await client.read_resource(uri)).contents[0]) for uri in resources]
    assert answers == [server for server in servers for _ in range(2)]
    templates = [template.uri_template for template in (await client.list_resource_templates()).resource_templates]
    assert len(templates) == len(set(templates)) == len(servers)
    for server, template in zip(servers, templates, strict=True):
        contents = (await client.read_resource(template.replace("{id}", "welcome"))).contents
        assert own(contents[0]) == server
        assert contents[0].uri == template.replace("{id}", "welcome")
    # Whatever keeps its spelling, every server can be named in a URI.
    for server in servers:
        read = await client.read_resource(f"notes://{server}/inbox")
        assert own(read.contents[0]) == server


async def test_the_pair_after_any_order_of_adds_and_removes(tmp_path: Path) -> None:
    with proxy(tmp_path, BOTH) as running:
        async with within(120), running.client() as client:
            await check(client, ("work", "home"))
            for first, second in permutations(BOTH):
                assert running.remove(first).status_code == 200
                await check(client, (second,))
                assert running.add(**{first: BOTH[first]}).json()["failed"] == {}
                await check(client, (second, first))


def test_links_that_nobody_lists_come_back_to_who_announced_them(tmp_path: Path) -> None:
    servers = {name: raw(f"name={name}", "links=raw://loose/1") for name in ("a", "b")}
    with proxy(tmp_path, servers) as running:
        with RawClient(running.url, "legacy") as client:
            uris = {
                name: client.call("tools/call", {"name": f"{name}::echo"})["content"][-1]["uri"] for name in servers
            }
            assert uris == {"a": "raw://loose/1", "b": "raw://b/loose/1"}
            for name, uri in uris.items():
                contents = client.call("resources/read", {"uri": uri})["contents"]
                assert contents == [{"uri": uri, "text": f"{name}: raw://loose/1"}]
        running.remove("a")
        with RawClient(running.url, "legacy") as client:
            # Its announcer is gone; the only other server that could have it is asked.
            assert client.call("resources/read", {"uri": "raw://loose/1"})["contents"][0]["text"].startswith("b: ")
            # And nobody is in the way any more.
            assert client.call("tools/call", {"name": "b::echo"})["content"][-1]["uri"] == "raw://loose/1"


@pytest.mark.parametrize(("era", "code"), [("legacy", -32002), ("modern", -32602)])
def test_a_uri_that_could_be_anybodys_is_not_found(tmp_path: Path, era: str, code: int) -> None:
    servers = {name: raw(f"name={name}") for name in ("a", "b")}
    with proxy(tmp_path, servers) as running, RawClient(running.url, era) as client:
        error = client.error("resources/read", {"uri": "other://thing"})
        assert (error["code"], error["data"]) == (code, {"uri": "other://thing"})


async def test_without_a_namespace_the_first_server_wins(tmp_path: Path) -> None:
    servers = {"one": raw("name=one"), "two": raw("name=two", "pages=2")}
    with proxy(tmp_path, servers, "--namespace", "never") as running:
        async with within(TIMEOUT), running.client(mode="legacy") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["echo", "tool0", "tool1"]
            assert '"server": "one"' in text(await client.call_tool("echo", {}))
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("two::echo", {})  # which is hidden
        running.expect(r"ERROR name collision: prompt 'greet' of 'two' is hidden by 'one'")


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_collision_is_logged_before_anybody_sees_the_names_it_led_to(tmp_path: Path, era: str) -> None:
    servers = {"git": raw("tool=hub_create"), "git_hub": raw("tool=create")}
    first = f"{PATIENT}; registry.FOLD = 3600"
    with proxy(tmp_path, servers, "--separator", "_", first=first) as running:
        running.wait_ready()
        with RawClient(running.url, era) as client:
            assert len({tool["name"] for tool in client.call("tools/list")["tools"]}) == 2
        until(lambda: "ERROR name collision: tool " in running.stderr, 5)
        assert running.stderr.count("name collision: tool ") == 1


async def test_another_separator(tmp_path: Path) -> None:
    with proxy(tmp_path, {"r": raw()}, env={"MULTI_MCP_SEPARATOR": "__"}) as running:
        async with within(TIMEOUT), running.client() as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["r__echo"]
            assert await client.call_tool("r__echo", {})


async def test_a_tool_filter(tmp_path: Path) -> None:
    only = raw("pages=4", tools={"include": ["tool[0-2]"], "exclude": ["*1"]})
    with proxy(tmp_path, {"r": only}) as running:
        async with within(TIMEOUT), running.client() as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["r::tool0", "r::tool2"]
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("r::tool1", {})
        assert running.http("GET", "/mcp_tools").json() == {
            "tools": {"r": ["tool0", "tool2"]},
            "names": {"r": ["r::tool0", "r::tool2"]},
        }
