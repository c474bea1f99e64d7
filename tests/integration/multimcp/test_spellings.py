"""Names that LLM APIs take, where a client asks for them; and calls in every spelling that leads to one tool."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from multimcp.errors import unwrap
from multimcp.protocol.names import LLM_NAMES
from tests.support.processes import TIMEOUT, Proxy, RawClient, proxy, raw, stdio_client, text, within, write_config

SERVERS = {
    "odd srv": raw("modern", "name=odd"),
    "r": raw("modern", "name=r"),
    "a": raw("modern", "name=a", "tool=b__c"),
    "a__b": raw("modern", "name=a__b", "tool=c"),
    "legacy": raw("name=legacy"),
}
PLAIN = ["odd srv::echo", "r::echo", "a::b__c", "a__b::c", "legacy::echo"]
LLM = ["odd_srv__echo_ca7ef2d8", "r__echo", "a__b__c", "a__b__c_42fd3caa", "legacy__echo"]


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("five"), SERVERS) as running:
        yield running.wait_ready()


def owner(result: Any) -> str:
    """The server that answered a call."""
    block = result["content"][0]["text"] if isinstance(result, dict) else text(result)
    return str(json.loads(block)["server"])


async def tools(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


async def check_names_for_llms(client: Client) -> None:
    """All that this client lists is legal, and leads to the same as the plain name."""
    listed = await tools(client)
    assert listed == LLM
    assert all(re.fullmatch(LLM_NAMES, name) for name in listed)
    for name, server in zip(LLM, ("odd", "r", "a", "a__b", "legacy"), strict=True):
        assert owner(await client.call_tool(name, {})) == server
    prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
    assert prompts[:2] == ["odd_srv__greet_f3ba093e", "r__greet"]
    assert all(re.fullmatch(LLM_NAMES, name) for name in prompts)
    assert (await client.get_prompt(prompts[0])).description == "odd"


@pytest.mark.parametrize(("transport", "mode"), [("http", "legacy"), ("http", "auto"), ("sse", "legacy")])
async def test_a_connection_asks_for_names_that_llms_take(five: Proxy, transport: str, mode: str) -> None:
    async with within(TIMEOUT), five.client(transport, mode, query="?names=llm") as client:
        await check_names_for_llms(client)
        async with five.client(transport, mode) as other, five.client(transport, mode, query="?names=plain") as third:
            assert await tools(other) == await tools(third) == PLAIN
        assert await tools(client) == LLM


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_all_clients_are_shown_names_that_llms_take(tmp_path: Path, mode: str) -> None:
    config = write_config(tmp_path / "mcp.json", SERVERS)
    async with within(TIMEOUT), stdio_client(config, "--names", "llm", mode=mode) as client:
        await check_names_for_llms(client)


async def test_a_connection_asks_for_plain_names(tmp_path: Path) -> None:
    with proxy(tmp_path, SERVERS, env={"MULTI_MCP_NAMES": "llm"}) as running:
        for transport, mode in (("http", "legacy"), ("http", "auto"), ("sse", "legacy")):
            async with within(TIMEOUT), running.client(transport, mode) as client:
                await check_names_for_llms(client)
                async with running.client(transport, mode, query="?names=plain") as other:
                    assert await tools(other) == PLAIN
                    assert owner(await other.call_tool("odd srv::echo", {})) == "odd"
        assert running.http("GET", "/mcp_tools").json()["names"]["odd srv"] == [LLM[0]]
        assert "LLM APIs" not in running.stderr


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_query_of_a_session_is_that_of_its_initialize(five: Proxy, era: str) -> None:
    with RawClient(five.url, era, query="?names=llm") as client:
        assert [tool["name"] for tool in client.call("tools/list")["tools"]] == LLM
    with RawClient(five.url, era) as client:
        client._url += "?names=llm"  # in a modern client this is another request's own
        expected = PLAIN if era == "legacy" else LLM
        assert [tool["name"] for tool in client.call("tools/list")["tools"]] == expected


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("names", ["short", "LLM", ""])
def test_a_spelling_that_there_is_not_is_refused(shared: Proxy, path: str, names: str) -> None:
    for method in ("GET", "POST") if path == "/mcp" else ("GET",):
        with httpx2.stream(method, shared.url + path, params={"names": names}, trust_env=False) as response:
            assert response.status_code == 400  # before reading: a stream that is served all the same has no end
            response.read()
        assert response.json() == {
            "jsonrpc": "2.0",
            "id": None,
            "error": {
                "code": -32600,
                "message": f"names='{names}' is not one of plain, llm; correct the query of the URL, or leave it out",
            },
        }


async def test_users_of_the_sdk_read_why_it_is_refused(shared: Proxy) -> None:
    async with within(TIMEOUT):
        with pytest.raises(BaseExceptionGroup) as caught:
            async with shared.client(mode="legacy", query="?names=short"):
                pass
        assert "names='short' is not one of plain, llm" in str(unwrap(caught.value))


SPELLINGS = [
    ("r::echo", "r"),
    ("r__echo", "r"),
    ("odd srv::echo", "odd"),
    ("odd srv__echo", "odd"),
    ("odd_srv__echo", "odd"),
    (LLM[0], "odd"),
    ("legacy__echo", "legacy"),
    ("a__b::c", "a__b"),
    (LLM[3], "a__b"),
]


@pytest.mark.parametrize("query", ["", "?names=llm"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_call_is_understood_in_every_spelling(five: Proxy, era: str, query: str) -> None:
    with RawClient(five.url, era, query=query) as client:
        for name, server in SPELLINGS:
            assert owner(client.call("tools/call", {"name": name})) == server, name
            if name.endswith("echo"):
                prompt = name.removesuffix("echo") + "greet"
                assert client.call("prompts/get", {"name": prompt})["description"] == server, prompt
                ref, argument = {"type": "ref/prompt", "name": prompt}, {"name": "x", "value": ""}
                values = client.call("completion/complete", {"ref": ref, "argument": argument})["completion"]["values"]
                assert values == [server, json.dumps({**ref, "name": "greet"})], prompt
        for name in ("r:echo", "r_echo", "nobody::echo", "b__c"):
            assert client.error("tools/call", {"name": name})["message"] == f"Unknown tool: {name}"
        assert "'echo' could mean the tool" in client.error("tools/call", {"name": "echo"})["message"]
        assert owner(client.call("tools/call", {"name": "c"})) == "a__b"  # the only one that calls a tool so itself


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_spelling_of_two_tools_is_refused(five: Proxy, era: str) -> None:
    with RawClient(five.url, era) as client:
        error = client.error("tools/call", {"name": "a__b__c"})
        assert error["code"] == -32602
        assert error["message"] == "'a__b__c' could mean the tool 'a::b__c' or 'a__b::c'; use one of these names"
    with RawClient(five.url, era, query="?names=llm") as client:
        assert owner(client.call("tools/call", {"name": "a__b__c"})) == "a"


async def test_any_separator_and_none(tmp_path: Path) -> None:
    for options in (["--separator", "."], ["--namespace", "never"]):
        with proxy(tmp_path, {"r": raw("modern", "name=r", "tool=e.c")}, *options) as running:
            for mode in ("legacy", "auto"):
                async with within(TIMEOUT), running.client(mode=mode) as client:
                    [shown] = await tools(client)
                    async with running.client(mode=mode, query="?names=llm") as other:
                        [legal] = await tools(other)
                    assert (shown, legal) in {("r.e.c", "r__e_c_5fa5fca1"), ("e.c", "e_c_5fa5fca1")}
                    for name in (shown, legal, "r::e.c", "r__e.c", "r__e_c"):
                        assert owner(await client.call_tool(name, {})) == "r"


@pytest.mark.parametrize("name", ["h::echo", "h__echo"])
@pytest.mark.parametrize("query", ["", "?names=llm"])
def test_headers_of_a_call_are_checked_as_the_client_sent_it(tmp_path: Path, name: str, query: str) -> None:
    with (
        proxy(tmp_path, {"h": raw("modern", "headers")}) as running,
        RawClient(running.wait_ready().url, "modern", query=query) as client,
    ):
        call = {"name": name, "arguments": {"region": "eu"}}
        client.extra = {"Mcp-Param-Region": "eu"}
        assert json.loads(client.call("tools/call", call)["content"][0]["text"])["params"]["name"] == "echo"
        client.extra = {"Mcp-Param-Region": "us"}
        assert client.error("tools/call", call)["code"] == -32020
        client.extra = {"Mcp-Param-Region": "eu", "Mcp-Name": "h::other"}
        assert client.error("tools/call", call)["code"] == -32020


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_changes_reach_whoever_has_names_for_llms(tmp_path: Path, mode: str) -> None:
    with proxy(tmp_path, {"r": raw("name=r")}) as running:
        heard = anyio.Event()

        async def hear(message: Any) -> None:
            if "list_changed" in str(getattr(message, "method", "")):
                heard.set()

        async with within(TIMEOUT), running.client(mode=mode, query="?names=llm", message_handler=hear) as client:
            assert await tools(client) == ["r__echo"]
            assert running.add(**{"my.srv": raw("name=my.srv")}).json()["failed"] == {}
            if mode == "legacy":
                await heard.wait()
            assert await tools(client) == ["r__echo", "my_srv__echo_ad806571"]
            assert running.remove("my.srv").status_code == 200
            assert await tools(client) == ["r__echo"]


def test_it_is_said_once_how_many_names_llms_would_refuse(tmp_path: Path) -> None:
    servers = {"one": raw("pages=2"), "two": raw("tool=x.y"), "dead": raw("exit:start")}
    with proxy(tmp_path, servers) as running:
        line = running.expect("LLM APIs").string
        assert line.partition(" INFO ")[2] == (
            "LLM APIs would refuse 3 of 3 tool names, such as 'one::tool0', as they take [a-zA-Z0-9_-]{1,64} only; "
            "for names that they take, connect to /mcp?names=llm or /sse?names=llm, or start with --names llm "
            "(MULTI_MCP_NAMES=llm)"
        )
        running.add(three=raw())
        running.expect("three: ready")
    assert running.stderr.count("LLM APIs") == 1


def test_it_is_said_when_the_first_names_come_late(tmp_path: Path) -> None:
    with proxy(tmp_path, {"dead": raw("exit:start")}, "--separator", "__") as running:
        running.add(fine=raw())
        running.expect("fine: ready")
        running.add(odd=raw("tool=x.y"))
        running.expect(r"LLM APIs would refuse 1 of 2 tool names, such as 'odd__x\.y'")


def test_nothing_is_said_where_no_name_would_be_refused(tmp_path: Path) -> None:
    with proxy(tmp_path, {"r": raw()}, "--separator", "__") as running:
        running.wait_ready()
    assert "LLM APIs" not in running.stderr


def test_the_admin_api_tells_both_spellings(five: Proxy) -> None:
    both = {names: five.http("GET", "/mcp_tools", params={"names": names}).json() for names in ("plain", "llm")}
    assert five.http("GET", "/mcp_tools").json() == both["plain"]
    assert both["plain"]["tools"] == both["llm"]["tools"]
    assert both["plain"]["names"]["odd srv"] == ["odd srv::echo"]
    assert both["llm"]["names"]["odd srv"] == [LLM[0]]
    refused = five.http("GET", "/mcp_tools", params={"names": "x"})
    assert (refused.status_code, "is not one of plain, llm" in refused.json()["error"]) == (400, True)


def test_an_option_that_is_no_spelling(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {})
    process = Proxy(config, "--names", "short")
    assert process.wait(TIMEOUT) == 2
    assert "argument --names: 'short' is not one of plain, llm" in process.stderr
    process.kill()
