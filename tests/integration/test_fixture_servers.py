"""The fixture servers keep what they promise: as real processes, over every transport, to clients of both eras."""

import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp_types import INVALID_PARAMS, PromptReference, ResourceTemplateReference, TextContent, TextResourceContents
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from support import TIMEOUT

SERVERS = Path(__file__).parents[2] / "fixtures" / "servers"
# The legacy client comes last: a stream it holds open is there when the server is told to end.
ERAS = {"auto": MODERN_PROTOCOL_VERSIONS, "legacy": HANDSHAKE_PROTOCOL_VERSIONS}

Call = tuple[str, dict[str, Any]]

NOTES_OFFER = [
    {"list_notes", "read_note"},
    {"summarize_notes"},
    {"notes://inbox", "notes://todo"},
    {"notes://note/{id}"},
]
OFFERS: dict[str, list[set[str]]] = {  # tools, prompts, resources, resource templates
    "calculator": [{"add", "subtract", "multiply", "divide"}, {"explain"}, {"calculator://constants"}, set()],
    "get_weather": [{"get_weather"}, set(), set(), {"weather://{place}"}],
    "unit_converter": [{"convert_temperature", "convert_length"}, set(), set(), set()],
    "notes_work": NOTES_OFFER,
    "notes_home": NOTES_OFFER,
}


def temperature(value: float, from_unit: str, to_unit: str) -> Call:
    return "convert_temperature", {"value": value, "from_unit": from_unit, "to_unit": to_unit}


def length(value: float, from_unit: str, to_unit: str) -> Call:
    return "convert_length", {"value": value, "from_unit": from_unit, "to_unit": to_unit}


ANSWERS: dict[str, list[tuple[Call, str]]] = {
    "calculator": [
        (("add", {"a": 10, "b": 5}), "15"),
        (("add", {"a": 0.5, "b": 1}), "1.5"),
        (("subtract", {"a": 10, "b": 5}), "5"),
        (("multiply", {"a": 10, "b": 5}), "50"),
        (("divide", {"a": 10, "b": 5}), "2"),
        (("divide", {"a": 10, "b": 4}), "2.5"),
    ],
    "get_weather": [],
    "unit_converter": [
        (temperature(100, "C", "F"), "212"),
        (temperature(32, "F", "K"), "273.15"),
        (temperature(0, "K", "C"), "-273.15"),
        (length(5, "foot", "inch"), "60"),
        (length(1, "mile", "km"), "1.609344"),
        (length(914.4, "mm", "yard"), "1"),
        (length(250, "cm", "m"), "2.5"),
    ],
    "notes_work": [
        (("list_notes", {}), "3 notes from work: welcome, standup, release"),
        (
            ("read_note", {"id": "release"}),
            "Plan the release at work: Ship version 2 on Thursday, then write about it.",
        ),
    ],
    "notes_home": [
        (("list_notes", {}), "3 notes from home: welcome, dentist, garden"),
        (
            ("read_note", {"id": "garden"}),
            "Plan the garden at home: Plant the tomatoes on Sunday, then mend the fence.",
        ),
    ],
}
FAILURES: dict[str, list[tuple[Call, str]]] = {
    "calculator": [
        (("divide", {"a": 10, "b": 0}), "Cannot divide by zero."),
        (("multiply", {"a": 1e308, "b": 10}), "The result is too large."),
    ],
    "get_weather": [
        (("get_weather", {"place": ""}), "at least 1 character"),
        (("get_weather", {"place": "Paris", "unit": "kelvin"}), "'celsius' or 'fahrenheit'"),
    ],
    "unit_converter": [
        (temperature(1, "C", "X"), "Unknown unit 'X'. Known units: C, F, K."),
        (length(1, "ell", "m"), "Unknown unit 'ell'. Known units: mm, cm, m, km, inch, foot, yard, mile."),
    ],
    "notes_work": [(("read_note", {"id": "garden"}), "no work note 'garden'. The work notes: welcome, standup, rel")],
    "notes_home": [(("read_note", {"id": "release"}), "no home note 'release'. The home notes: welcome, dentist")],
}


async def call(client: Client, tool: str, arguments: dict[str, Any], *, fails: bool = False) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error is fails, result
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def read(client: Client, uri: str) -> str:
    [contents] = (await client.read_resource(uri)).contents
    assert contents.uri == uri
    assert isinstance(contents, TextResourceContents)
    return contents.text


async def complete(
    client: Client, ref: PromptReference | ResourceTemplateReference, name: str, value: str
) -> list[str]:
    return (await client.complete(ref, {"name": name, "value": value})).completion.values


async def check(name: str, client: Client) -> None:
    """All that the server promises, whatever the transport and the era."""
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == (name, "1.0.0")
    assert client.instructions

    tools = (await client.list_tools()).tools
    prompts = (await client.list_prompts()).prompts
    resources = (await client.list_resources()).resources
    templates = (await client.list_resource_templates()).resource_templates
    names = [
        {tool.name for tool in tools},
        {prompt.name for prompt in prompts},
        {resource.uri for resource in resources},
        {template.uri_template for template in templates},
    ]
    assert names == OFFERS[name]
    offered: list[Any] = [*tools, *prompts, *resources, *templates]
    assert all(item.title and item.description for item in offered)
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
    assert all(field["description"] for tool in tools for field in tool.input_schema["properties"].values())
    assert all(argument.description for prompt in prompts for argument in prompt.arguments or [])

    for (tool, arguments), answer in ANSWERS[name]:
        assert await call(client, tool, arguments) == answer
    for (tool, arguments), reason in FAILURES[name]:
        assert reason in await call(client, tool, arguments, fails=True)

    match name:
        case "calculator":
            [message] = (await client.get_prompt("explain", {"calculation": "6 * 7"})).messages
            assert "6 * 7" in message.model_dump()["content"]["text"]
            assert json.loads(await read(client, "calculator://constants"))["pi"] == pytest.approx(3.14159265)
        case "get_weather":
            await check_weather(client)
        case "unit_converter":
            properties = tools[0].input_schema["properties"]
            assert properties["from_unit"]["enum"] == properties["to_unit"]["enum"] == ["C", "F", "K"]
        case "notes_work":
            await check_notes(client, "work", ["welcome", "standup", "release"], ["team", "plans"])
        case "notes_home":
            await check_notes(client, "home", ["welcome", "dentist", "garden"], ["family", "plans"])


async def check_weather(client: Client) -> None:
    # Constants, because the same place has the same weather in every process.
    paris = {"place": "Paris", "condition": "partly cloudy", "temperature": 4, "unit": "celsius", "humidity": 62}
    result = await client.call_tool("get_weather", {"place": "Paris"})
    assert result.structured_content == paris
    assert json.loads(await call(client, "get_weather", {"place": "Paris"})) == paris
    assert json.loads(await call(client, "get_weather", {"place": "Paris", "unit": "fahrenheit"}))["temperature"] == 39

    assert json.loads(await read(client, "weather://Paris")) == paris
    assert json.loads(await read(client, "weather://New%20York"))["place"] == "New York"
    with pytest.raises(MCPError) as refused:
        await read(client, "weather://")
    assert refused.value.error.code == INVALID_PARAMS

    template = ResourceTemplateReference(uri="weather://{place}")
    assert await complete(client, template, "place", "n") == ["Nairobi", "New York"]


async def check_notes(client: Client, where: str, ids: list[str], topics: list[str]) -> None:
    listed = (await client.call_tool("list_notes", {})).content
    assert [block.type for block in listed] == ["text", "resource_link", "resource_link", "resource_link"]
    _, *links = [block.model_dump() for block in listed]
    assert [link["uri"] for link in links] == [f"notes://note/{note_id}" for note_id in ids]
    for link in links:
        assert where in await read(client, link["uri"])

    _, note, folder = [block.model_dump() for block in (await client.call_tool("read_note", {"id": "welcome"})).content]
    assert note["resource"]["text"] == await read(client, "notes://note/welcome")
    assert folder["uri"] == "notes://inbox"
    for uri in ("notes://inbox", "notes://todo"):
        assert where.title() in await read(client, uri)
    with pytest.raises(MCPError, match=f"no {where} note 'x'") as refused:
        await read(client, "notes://note/x")
    assert refused.value.error.code == INVALID_PARAMS

    request, *attached = (await client.get_prompt("summarize_notes", {"topic": "plans"})).messages
    assert f"notes from {where} about plans" in request.model_dump()["content"]["text"]
    assert [message.content.type for message in attached] == ["resource"]
    with pytest.raises(MCPError, match=f"only about {' and '.join(topics)}") as refused:
        await client.get_prompt("summarize_notes", {"topic": "x"})
    assert refused.value.error.code == INVALID_PARAMS

    assert await complete(client, PromptReference(name="summarize_notes"), "topic", "") == topics
    assert await complete(client, ResourceTemplateReference(uri="notes://note/{id}"), "id", "") == ids


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(SERVERS / f"{name}.py"), *arguments]


@asynccontextmanager
async def process(name: str, *arguments: str, stdin: int = PIPE) -> AsyncIterator[Process]:
    """A server started by hand; it is killed if it is still there in the end."""
    with anyio.fail_after(TIMEOUT):
        async with await anyio.open_process(command(name, *arguments), stdin=stdin) as started:
            try:
                yield started
            finally:
                if started.returncode is None:
                    started.kill()


async def rest(stream: Any) -> str:
    return b"".join([chunk async for chunk in stream]).decode()


@pytest.mark.parametrize("name", OFFERS)
async def test_stdio(name: str, tmp_path: Path) -> None:
    # The shell around it tells what the SDK's client does not: how the server ended when its stdin was closed.
    shell = StdioServerParameters(command="sh", args=["-c", '"$@"; echo "exit code $?" >&2', "sh", *command(name)])

    async def check_era(mode: str) -> None:
        log = tmp_path / mode
        with log.open("w") as stderr, anyio.fail_after(TIMEOUT):
            async with Client(stdio_client(shell, errlog=stderr), mode=mode) as client:
                assert client.protocol_version in ERAS[mode]
                await check(name, client)
        assert log.read_text() == "exit code 0\n"

    async with anyio.create_task_group() as group:
        for mode in ERAS:
            group.start_soon(check_era, mode)


@pytest.mark.parametrize("name", OFFERS)
async def test_network(name: str) -> None:
    async def check_transport(transport: str, path: str, end: signal.Signals) -> None:
        async with process(name, "--transport", transport, "--port", "0", stdin=DEVNULL) as server:
            assert server.stdout
            assert server.stderr
            stderr = BufferedByteReceiveStream(server.stderr)
            line = (await stderr.receive_until(b"\n", 200)).decode()
            listening = re.fullmatch(rf"listening on (http://127\.0\.0\.1:[1-9]\d*/{path})", line)
            assert listening, line
            url = listening[1]
            lost = anyio.Event()

            async def listen(message: object) -> None:
                if isinstance(message, Exception):
                    lost.set()

            for mode, versions in ERAS.items():
                connection = sse_client(url) if transport == "sse" else url
                async with Client(connection, mode=mode, message_handler=listen) as client:
                    assert client.protocol_version in versions
                    await check(name, client)
                    if mode == "legacy":
                        server.send_signal(end)
                        with anyio.fail_after(TIMEOUT):
                            assert await server.wait() == 0
                        if transport == "sse":  # the SDK's SSE client raises when left before it has taken the loss in
                            await lost.wait()
            assert await rest(stderr) == await rest(server.stdout) == ""

    async with anyio.create_task_group() as group:
        group.start_soon(check_transport, "sse", "sse", signal.SIGTERM)
        group.start_soon(check_transport, "http", "mcp", signal.SIGINT)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_stdio_ends_on_a_signal(end: signal.Signals) -> None:
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": HANDSHAKE_PROTOCOL_VERSIONS[-1],
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    async with process("calculator") as server:
        assert server.stdin
        assert server.stdout
        assert server.stderr
        await server.stdin.send(json.dumps(initialize).encode() + b"\n")
        stdout = BufferedByteReceiveStream(server.stdout)
        assert json.loads(await stdout.receive_until(b"\n", 10_000))["result"]["serverInfo"]["name"] == "calculator"
        server.send_signal(end)
        with anyio.fail_after(TIMEOUT):
            assert await server.wait() == 0
        assert await rest(stdout) == await rest(server.stderr) == ""


async def test_help() -> None:
    async def check_help(name: str) -> None:
        async with process(name, "--help", stdin=DEVNULL) as server:
            assert server.stdout
            text = await rest(server.stdout)
            assert await server.wait() == 0
        assert "as an MCP server:" in text
        assert "--transport {stdio,sse,http}" in text

    async with anyio.create_task_group() as group:
        for name in OFFERS:
            group.start_soon(check_help, name)


def test_all_start_and_end_alike() -> None:
    """Each is to be one file on its own, so this part is a copy in each; the copies must not drift apart."""
    assert len({(SERVERS / f"{name}.py").read_text().partition("\ndef stop(")[2] for name in OFFERS}) == 1
