"""The everything server: what the official suite asks of it, to clients of both eras, over each transport."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
    ToolListChangedNotification,
)
from pydantic import FileUrl
from support import TIMEOUT, fixture, server_process, text, within

pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.{MCPDeprecationWarning.__name__}")

ASKING = "test_input_required_result_"
TOOLS = {
    *("test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource"),
    *("test_multiple_content_types", "test_error_handling", "json_schema_2020_12_tool", "test_x_mcp_header"),
    *("test_tool_with_logging", "test_logging_tool", "test_tool_with_progress", "test_reconnection"),
    *("test_trigger_tool_change", "test_trigger_prompt_change", "test_missing_capability", "test_sampling"),
    *("test_elicitation", "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums"),
    *("test_streaming_elicitation", f"{ASKING}elicitation", f"{ASKING}sampling", f"{ASKING}list_roots"),
    *(f"{ASKING}request_state", f"{ASKING}tampered_state", f"{ASKING}multiple_inputs", f"{ASKING}multi_round"),
    f"{ASKING}capabilities",
}
PROMPTS = {
    *("test_simple_prompt", "test_prompt_with_arguments", "test_prompt_with_embedded_resource"),
    *("test_prompt_with_image", "test_input_required_result_prompt"),
}
RESOURCES = {"test://static-text", "test://static-binary", "test://watched-resource"}
TEMPLATE = "test://template/{id}/data"
LOGS = ["Tool execution started", "Tool processing data", "Tool execution completed"]


class User:
    """Who answers the server's questions, and collects what it says."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.tools_changed = anyio.Event()

    async def write(self, context: Any, params: Any) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(text="Bonjour"), model="test")

    async def fill_in(self, context: Any, params: Any) -> ElicitResult:
        filled: dict[str, Any] = {"name": "Alice", "color": "blue", "ok": True, "context": "tea"}
        fields = params.requested_schema["properties"]
        return ElicitResult(action="accept", content={key: filled[key] for key in fields if key in filled})

    async def list_roots(self, context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl("file:///home"))])

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.logs.append(params.data)

    async def hear(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.tools_changed.set()

    def client(self, connection: Any, mode: str, **more: Any) -> Client:
        return Client(
            connection,
            mode=mode,
            read_timeout_seconds=TIMEOUT,
            sampling_callback=self.write,
            elicitation_callback=self.fill_in,
            list_roots_callback=self.list_roots,
            logging_callback=self.log,
            message_handler=self.hear,
            **more,
        )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server_process("everything", "http") as url:
        yield url


@pytest.fixture(params=["stdio", "sse", "http"])
def connection(request: pytest.FixtureRequest, url: str) -> Any:
    match request.param:
        case "stdio":
            return stdio_client(StdioServerParameters(**fixture("everything")))
        case "sse":
            return sse_client(url.replace("/mcp", "/sse"))
    return url


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_all_it_offers(connection: Any, mode: str) -> None:
    user = User()
    async with within(TIMEOUT), user.client(connection, mode, log_level="info") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == PROMPTS
        assert {resource.uri for resource in (await client.list_resources()).resources} == RESOURCES
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == TEMPLATE
        await check_content(client)
        await check_questions(client)
        await check_messages(client, user)
        await check_changes(client, user)
        await check_prompts(client)
        await check_resources(client)
        await check_completions(client)


async def check_content(client: Client) -> None:
    assert text(await client.call_tool("test_simple_text")) == "This is a simple text response for testing."
    for tool, kinds in {
        "test_image_content": ["image"],
        "test_audio_content": ["audio"],
        "test_embedded_resource": ["resource"],
        "test_multiple_content_types": ["text", "image", "resource"],
    }.items():
        assert [block.type for block in (await client.call_tool(tool)).content] == kinds
    failed = await client.call_tool("test_error_handling")
    assert (failed.is_error, text(failed)) == (True, "This tool intentionally returns an error for testing")
    assert text(await client.call_tool("test_x_mcp_header", {"region": "été"})) == "region=été"

    fitting = {"name": "Alice", "contactMethod": "phone", "phone": "1"}
    assert text(await client.call_tool("json_schema_2020_12_tool", fitting)) == (
        '{"name": "Alice", "contactMethod": "phone", "phone": "1"}'
    )
    misfit = await client.call_tool("json_schema_2020_12_tool", {"contactMethod": "phone", "email": "a@b"})
    assert (misfit.is_error, text(misfit)) == (True, "'phone' is a required property")
    with pytest.raises(MCPError) as unknown:
        await client.call_tool("nonsense")
    assert unknown.value.error.code == INVALID_PARAMS


async def check_questions(client: Client) -> None:
    for tool, arguments, answer in [
        ("test_sampling", {"prompt": "Hello"}, "LLM response: Bonjour"),
        ("test_elicitation", {"message": "Hello"}, "User response: action=accept, content={}"),
        ("test_elicitation_sep1034_defaults", {}, 'Elicitation completed: action=accept, content={"name": "Alice"}'),
        ("test_elicitation_sep1330_enums", {}, "Elicitation completed: action=accept, content={}"),
        ("test_streaming_elicitation", {}, "Hello, Alice!"),
        (f"{ASKING}elicitation", {}, "Hello, Alice!"),
        (f"{ASKING}sampling", {}, "Bonjour"),
        (f"{ASKING}list_roots", {}, "Roots: file:///home"),
        (f"{ASKING}request_state", {}, 'Confirmation: action=accept, content={"ok": true}'),
        (f"{ASKING}tampered_state", {}, 'Confirmation: action=accept, content={"ok": true}'),
        (f"{ASKING}multiple_inputs", {}, "Bonjour to Alice at file:///home"),
        (f"{ASKING}multi_round", {}, "Alice prefers blue."),
        (f"{ASKING}capabilities", {}, "Answered: sample, ask, client_roots"),
        ("test_missing_capability", {}, "The client declares sampling."),
    ]:
        assert text(await client.call_tool(tool, arguments)) == answer, tool


async def check_messages(client: Client, user: User) -> None:
    progress: list[tuple[float, float | None, str | None]] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total, message))

    await client.call_tool("test_tool_with_progress", progress_callback=note)
    assert progress == [(done, 100, f"{done} % are done") for done in (0, 50, 100)]
    await client.call_tool("test_tool_with_logging")
    assert user.logs == LOGS
    if client.protocol_version < "2026":
        await client.set_logging_level("warning")
        await client.call_tool("test_logging_tool")
        assert user.logs == LOGS
        await client.set_logging_level("info")
    await client.call_tool("test_logging_tool")
    assert user.logs == [*LOGS, "A message from test_logging_tool"]


async def check_changes(client: Client, user: User) -> None:
    if client.protocol_version < "2026":
        await client.call_tool("test_trigger_tool_change")
        await user.tools_changed.wait()
        return
    async with client.listen(tools_list_changed=True, prompts_list_changed=True) as changes:
        await client.call_tool("test_trigger_tool_change")
        await client.call_tool("test_trigger_prompt_change")
        assert [await anext(changes), await anext(changes)] == [ToolsListChanged(), PromptsListChanged()]


async def check_prompts(client: Client) -> None:
    for prompt, arguments, said in [
        ("test_simple_prompt", {}, ["This is a simple prompt for testing."]),
        (
            "test_prompt_with_arguments",
            {"arg1": "hello", "arg2": "{world}"},
            ["Prompt with arguments: arg1='hello', arg2='{world}'"],
        ),
        ("test_prompt_with_embedded_resource", {"resourceUri": "a:b"}, ["a:b", "Please process the embedded resource"]),
        ("test_prompt_with_image", {}, ["image/png", "Please analyze the image above."]),
        ("test_input_required_result_prompt", {}, ["Use the following context: tea"]),
    ]:
        messages = (await client.get_prompt(prompt, arguments)).messages
        for message, part in zip(messages, said, strict=True):
            assert part in message.model_dump_json()
    for prompt, reason in {"nonsense": "Unknown prompt", "test_prompt_with_arguments": "arg1, arg2"}.items():
        with pytest.raises(MCPError, match=reason) as refused:
            await client.get_prompt(prompt)
        assert refused.value.error.code == INVALID_PARAMS


async def check_resources(client: Client) -> None:
    for uri, part in {
        "test://static-text": "This is the content of the static text resource.",
        "test://static-binary": "iVBORw0KGgo",
        "test://watched-resource": "Watched",
        "test://template/123/data": r"\"id\": \"123\"",
    }.items():
        [contents] = (await client.read_resource(uri)).contents
        assert part in contents.model_dump_json()
    legacy = client.protocol_version < "2026"
    with pytest.raises(MCPError) as missing:
        await client.read_resource("test://nonsense")
    assert missing.value.error.code == (-32002 if legacy else INVALID_PARAMS)
    assert missing.value.error.data == {"uri": "test://nonsense"}
    if legacy:
        await client.subscribe_resource("test://watched-resource")
        await client.unsubscribe_resource("test://watched-resource")


async def check_completions(client: Client) -> None:
    prompt = PromptReference(name="test_prompt_with_arguments")
    template = ResourceTemplateReference(uri=TEMPLATE)

    async def complete(ref: Any, name: str, value: str, **context: str) -> list[str]:
        argument = {"name": name, "value": value}
        return (await client.complete(ref, argument, context_arguments=context)).completion.values

    assert await complete(prompt, "arg1", "park") == ["park"]
    assert await complete(prompt, "arg2", "", arg1="paris") == ["paris by day", "paris by night"]
    assert await complete(template, "id", "12") == ["12", "123"]
    assert await complete(template, "nonsense", "") == []


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_answers_nothing_is_not_asked(url: str, mode: str) -> None:
    async with within(TIMEOUT), Client(url, mode=mode) as client:
        for tool, capability in {
            "test_missing_capability": "sampling",
            f"{ASKING}sampling": "sampling",
            f"{ASKING}elicitation": "elicitation",
            f"{ASKING}list_roots": "roots",
        }.items():
            with pytest.raises(MCPError) as refused:
                await client.call_tool(tool)
            assert refused.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY
            assert refused.value.error.data == {"requiredCapabilities": {capability: {}}}
        assert text(await client.call_tool(f"{ASKING}capabilities")) == "Answered: nothing"


async def test_a_modern_client_that_asks_for_no_log_gets_none(url: str) -> None:
    user = User()
    async with within(TIMEOUT), user.client(url, "auto") as client:
        await client.call_tool("test_logging_tool")
        assert user.logs == []


async def test_a_stream_that_is_closed_is_taken_up_again(url: str) -> None:
    user = User()
    async with within(TIMEOUT), user.client(url, "legacy") as client:
        assert text(await client.call_tool("test_reconnection")) == "This answer did not fit on the first stream."
        assert user.logs == ["The stream is about to be closed", "The stream was closed"]
