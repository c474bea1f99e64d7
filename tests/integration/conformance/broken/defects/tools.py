"""Tools: proxies that break what is required of them."""

import json
import os

from tests.integration.conformance.broken.breaking import (
    blocks,
    breaks,
    deeply,
    in_entry,
    in_params,
    in_result,
    keep,
    without_empty,
)
from tests.integration.conformance.broken.extending import Extended
from tests.integration.conformance.broken.mux import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
)


@in_entry("tools:list:whole", "tools/list", symptom='- "icons": [')
def rebuilds_tools(tool: Message) -> None:
    """Tools are rebuilt from the fields of the first revision."""
    keep(tool, "name", "description", "inputSchema")


@in_entry("tools:list:schema", "tools/list", symptom='- "$defs": {')
def loses_definitions(tool: Message) -> None:
    """Schemas lose their definitions."""
    tool["inputSchema"].pop("$defs", None)


class ListsPlaceholders(Extended):
    """Before the first call, a server's tools are one that says they will be there."""

    called = False

    def finish(self, call: Call, result: Message) -> Message:
        self.called = self.called or call.method == "tools/call"
        if call.method != "tools/list" or self.called:
            return result
        described = {"description": "Call it to see more.", "inputSchema": {"type": "object"}}
        return {**result, "tools": [{"name": f"{name}__tools", **described} for name in self.backends]}


breaks("tools:list:calls", symptom="calls changed the list of tools")(ListsPlaceholders)
breaks("tools:list:settled", symptom="calls changed the list of tools")(ListsPlaceholders)


@breaks("tools:list:connections", symptom="on another connection the list of tools is not the same")
class GreetsByName(Extended):
    """What a tool is said to do depends on the connection."""

    def published(self, backend: Backend, listed: str, entry: Message) -> list[Message]:
        if listed == "tools/list":
            entry = {**entry, "description": f"For connection {id(self)} of process {os.getpid()}."}
        return super().published(backend, listed, entry)


@breaks("tools:list:deterministic", symptom="the same list of tools came in another order")
class Shuffles(Mux):
    """Tools come in another order each time."""

    turned = False

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "tools/list":
            self.turned = not self.turned
            result["tools"].sort(key=lambda tool: tool["name"], reverse=self.turned)
        return result


@in_result("tools:call:text", "tools/call", symptom='+ "text": "\\"This is')
def quotes_text(result: Message) -> None:
    """Text is put into quotes once more."""
    if len(result.get("content", ())) == 1 and "structuredContent" not in result:
        for block in blocks(result, "text"):
            block["text"] = json.dumps(block["text"])


@in_result("tools:call:image", "tools/call", symptom='- "mimeType": "image/png"')
def loses_the_type_of_images(result: Message) -> None:
    """Images lose their type."""
    if len(result.get("content", ())) == 1:
        for block in blocks(result, "image"):
            del block["mimeType"]


@in_result("tools:call:audio", "tools/call", symptom='+ "text": "[audio]"')
def turns_sound_into_text(result: Message) -> None:
    """Sound becomes a text."""
    for block in blocks(result, "audio"):
        keep(block)
        block.update(type="text", text="[audio]")


@in_result("tools:call:embedded", "tools/call", symptom='- "resource": {')
def turns_resources_into_links(result: Message) -> None:
    """An embedded resource becomes a link to it."""
    if len(result.get("content", ())) == 1:
        for block in blocks(result, "resource"):
            block.update(type="resource_link", name="resource", uri=block.pop("resource")["uri"])


@in_result("tools:call:links", "tools/call", symptom='- "mimeType": "text/plain"')
def strips_links(result: Message) -> None:
    """Links lose all but their URI and name."""
    for block in blocks(result, "resource_link"):
        keep(block, "type", "uri", "name")


@in_result("tools:call:mixed", "tools/call", symptom='- "text": "Multiple content types test:"')
def sorts_content(result: Message) -> None:
    """Content is sorted by type."""
    if isinstance(result.get("content"), list):
        result["content"].sort(key=lambda block: str(block.get("type")))


@in_result("tools:call:structured", "tools/call", symptom='- "structured content": {')
def loses_structured_content(result: Message) -> None:
    """Structured content is lost."""
    result.pop("structuredContent", None)


@in_params("tools:call:arguments", "tools/call", symptom="the arguments did not reach the backend as they were sent")
def drops_empty_arguments(params: Message) -> None:
    """What is empty in arguments does not reach the server."""
    if "arguments" in params:
        params["arguments"] = deeply(params["arguments"], without_empty)


@breaks("tools:call:no-arguments", symptom="arguments: field required")
class WantsArguments(Mux):
    """A call without arguments is refused."""

    async def answer(self, call: Call) -> Message:
        if call.method == "tools/call" and "name" in call.params and "arguments" not in call.params:
            raise Failure(INVALID_PARAMS, "arguments: field required")
        return await super().answer(call)


@breaks("tools:call:error-result", symptom="the tool failed")
class RaisesErrors(Mux):
    """A tool's error becomes a protocol error."""

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if call.method == "tools/call" and result.get("isError") and "structuredContent" not in result:
            raise Failure(INTERNAL_ERROR, "the tool failed")
        return result


@breaks("tools:call:unknown", symptom="tools/call was answered with a result")
class ExcusesUnknown(Mux):
    """An unknown tool is a tool's error."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if call.method == "tools/call" and failure.error["message"].startswith("Unknown name"):
                return self.complete({"content": [{"type": "text", "text": "Unknown tool"}], "isError": True})
            raise


@breaks("tools:call:concurrent", symptom="a call did not get its own result")
class SwapsResults(Mux):
    """Of two calls of one tool in flight, the one answered first gets the other's place."""

    def finish(self, call: Call, result: Message) -> Message:
        for other in self.calls.values():
            if other is not call and call.method == "tools/call" and other.params.get("name") == call.params["name"]:
                call.id, other.id = other.id, call.id
                self.calls[call.id], self.calls[other.id] = call, other
                break
        return result


@breaks("tools:call:unlisted-first", symptom="Unknown tool: everything__test_simple_text")
class WantsList(Mux):
    """Nothing can be called before it was listed."""

    listed = False

    async def answer(self, call: Call) -> Message:
        self.listed = self.listed or call.method == "tools/list"
        if call.method == "tools/call" and not self.listed:
            raise Failure(INVALID_PARAMS, f"Unknown tool: {call.params.get('name')}")
        return await super().answer(call)
