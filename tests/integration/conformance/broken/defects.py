"""For each requirement that can be checked over stdio, a proxy that breaks it, and as little else as can be.

Rules:
- A defect is a small change to the correct proxy of mux.py; most are bugs that real proxies have.
- Its docstring says what is broken; `symptom` is a text that the harness has to say when it fails the proxy for it.
- Over stdio a proxy has one client; those that mix up clients are served by front.py.
"""

import asyncio
import base64
import copy
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote

from .mux import (
    CAPABILITIES,
    CONNECTION_LOST,
    ENVELOPE,
    INFO,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY,
    LISTS,
    METHOD_NOT_FOUND,
    SEPARATOR,
    UNSUPPORTED_VERSION,
    VERSION,
    Backend,
    Call,
    Era,
    Failure,
    Id,
    Message,
    Mux,
    as_object,
    objects,
)

T = TypeVar("T", bound=type[Mux])
Change = Callable[[Message], Any]
Over = Literal["stdio", "sse", "http"]


@dataclass(frozen=True)
class Defect:
    """A broken proxy.

    Args:
        requirement: the one it breaks.
        what: what is broken about it.
        symptom: a part of what the harness says of it (message, expected, actual, diff), runs of blanks as one.
        mux: it.
        over: how clients have to connect for it to show: sse to be several legacy ones, http to be modern ones with
            streams of their own.
    """

    requirement: str
    what: str
    symptom: str
    mux: type[Mux]
    over: Over


DEFECTS: dict[str, Defect] = {}


def breaks(requirement: str, symptom: str = "", over: Over = "stdio") -> Callable[[T], T]:
    """Register a broken proxy."""

    def register(mux: T) -> T:
        if requirement in DEFECTS:
            raise ValueError(f"{requirement} is broken twice")
        if not mux.__doc__:
            raise ValueError(f"{requirement}: what is broken?")
        DEFECTS[requirement] = Defect(requirement, mux.__doc__, symptom, mux, over)
        return mux

    return register


# Defects that change one kind of message: functions that change what they are given


def in_result(requirement: str, *methods: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the results of these methods."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def finish(self, call: Call, result: Message) -> Message:
                if call.method in methods:
                    spoil(result)
                return result

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_error(requirement: str, *methods: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the errors of these methods; without methods, all."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def fail(self, call: Call, error: Message) -> Message:
                if not methods or call.method in methods:
                    spoil(error)
                return error

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_entry(requirement: str, method: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the entries of a list."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def published(self, backend: Backend, listed: str, entry: Message) -> list[Message]:
                entries = copy.deepcopy(super().published(backend, listed, entry))
                for entry in entries if listed == method else ():
                    spoil(entry)
                return entries

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_hello(requirement: str, *eras: Era, symptom: str = "", over: Over = "stdio") -> Callable[[Change], Change]:
    """A function that spoils what clients of these eras are told first."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def hello(self, backends: list[Backend]) -> Message:
                result = copy.deepcopy(super().hello(backends))
                if self.era in eras:
                    spoil(result)
                return result

        breaks(requirement, symptom, over)(Broken)
        return spoil

    return register


def in_params(requirement: str, *methods: str, symptom: str = "", over: Over = "stdio") -> Callable[[Change], Change]:
    """A function that spoils the params of these methods on their way to a server; True keeps the message back."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def forward(self, backend: Backend, message: Message) -> None:
                message = copy.deepcopy(message)
                if message.get("method") not in methods or spoil(message.setdefault("params", {})) is not True:
                    super().forward(backend, message)

        breaks(requirement, symptom, over)(Broken)
        return spoil

    return register


def in_answer(requirement: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the client's answers to questions: messages with a result or an error."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def receive(self, message: Message) -> None:
                if "method" not in message:
                    spoil(message)
                for answer in as_object(as_object(message.get("params")).get("inputResponses")).values():
                    spoil({"result": answer})
                super().receive(message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_question(requirement: str, method: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the params of questions to the client."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def send(self, message: Message) -> None:
                asked = as_object(as_object(message.get("result")).get("inputRequests")).values()
                for question in [message, *objects(list(asked))]:
                    if question.get("method") == method and isinstance(question.get("params"), dict):
                        spoil(question["params"])
                super().send(message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_notice(requirement: str, method: str, *eras: Era, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the params of notifications from servers; True keeps the notification back."""

    def register(spoil: Change) -> Change:
        class Broken(Mux):
            __doc__ = spoil.__doc__

            def heard(self, backend: Backend, message: Message) -> None:
                concerns = message.get("method") == method and (self.era in eras or not eras)
                if not concerns or spoil(message.setdefault("params", {})) is not True:
                    super().heard(backend, message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def blocks(result: Message, kind: str) -> list[Message]:
    """The content blocks of this type in a result of a tool or a prompt."""
    messages = [message.get("content") for message in objects(result.get("messages"))]
    return [block for block in objects([*objects(result.get("content")), *messages]) if block.get("type") == kind]


def keep(value: Message, *keys: str) -> None:
    """Drop every other key, as whoever only knows these does."""
    for key in value.keys() - set(keys):
        del value[key]


def deeply(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with everything in it changed, inside out."""
    if isinstance(value, dict):
        value = {key: deeply(part, change) for key, part in value.items()}
    elif isinstance(value, list):
        value = [deeply(part, change) for part in value]
    return change(value)


def without_empty(value: Any) -> Any:
    """A value without its empty parts."""
    return {key: part for key, part in value.items() if part not in ({}, [], "")} if isinstance(value, dict) else value


def rewrite(result: Message, change: Callable[[Any], Any]) -> None:
    """Change everything in a result, in place."""
    result.update({key: deeply(value, change) for key, value in result.items()})


class Gossip(Mux):
    """Proxies of one process, each with a client of its own, that know each other."""

    circle: ClassVar[list["Gossip"]] = []

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self.circle.append(self)

    async def close(self) -> None:
        self.circle.remove(self)
        await super().close()

    @property
    def others(self) -> list["Gossip"]:
        return [mux for mux in self.circle if mux is not self and mux.era is not None]


# Lifecycle


@in_hello("lifecycle:initialize:revisions", "legacy", symptom="a client of 2024-11-05 got another revision")
def _(hello: Message) -> None:
    """It speaks its latest revision, whatever was asked for."""
    hello["protocolVersion"] = LEGACY[0]


@breaks("lifecycle:initialize:unknown", symptom="an unknown revision was not answered with one of the handshake")
class EchoesRevision(Mux):
    """It agrees to any revision."""

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "initialize":
            result["protocolVersion"] = call.params.get("protocolVersion")
        return result


@in_hello("lifecycle:initialize:server-info", "legacy", symptom="serverInfo has no version")
def _(hello: Message) -> None:
    """It does not tell its version."""
    hello["serverInfo"] = {"name": INFO["name"]}


def forget_completions(hello: Message) -> None:
    """It does not say that servers complete."""
    hello["capabilities"].pop("completions", None)


in_hello("lifecycle:initialize:capabilities", "legacy", symptom='+ "completions"')(forget_completions)
in_hello("lifecycle:discover:capabilities", "modern", symptom='+ "completions"')(forget_completions)


def forget_instructions(hello: Message) -> None:
    """The servers' instructions are lost."""
    hello.pop("instructions", None)


in_hello(
    "lifecycle:initialize:instructions",
    "legacy",
    symptom="the instructions of a backend do not reach the client",
    over="sse",
)(forget_instructions)
in_hello("lifecycle:discover:instructions", "modern", symptom="the instructions of a backend do not reach the client")(
    forget_instructions
)


@breaks("lifecycle:initialized:quiet", symptom="there is a response to a notification")
class AnswersInitialized(Mux):
    """It answers a notification."""

    def receive(self, message: Message) -> None:
        super().receive(message)
        if message.get("method") == "notifications/initialized":
            self.send({"jsonrpc": "2.0", "id": None, "result": {}})


@breaks("lifecycle:ping:answered", symptom="Method not found: ping")
class DoesNotPing(Mux):
    """It has no ping."""

    async def answer(self, call: Call) -> Message:
        if call.method == "ping":
            raise Failure(METHOD_NOT_FOUND, "Method not found: ping")
        return await super().answer(call)


@in_hello(
    "lifecycle:discover:revisions", "modern", symptom="server/discover does not name the revision it was asked in"
)
def _(hello: Message) -> None:
    """It tells only of legacy revisions."""
    hello["supportedVersions"] = list(LEGACY)


@in_error("lifecycle:envelope:unsupported", symptom="--32022 +-32600")
def _(error: Message) -> None:
    """It refuses an unknown revision without saying which it knows."""
    if error["code"] == UNSUPPORTED_VERSION:
        error.update(code=INVALID_REQUEST)
        error.pop("data", None)


@breaks("lifecycle:envelope:missing", symptom="a request without clientCapabilities was not refused as malformed")
class FillsEnvelope(Mux):
    """It makes up what an envelope lacks."""

    def receive(self, message: Message) -> None:
        meta = as_object(as_object(message.get("params")).get("_meta"))
        if any(key.startswith(ENVELOPE) for key in meta):
            message["params"]["_meta"] = self.whole(meta)
        super().receive(message)

    def whole(self, meta: Message) -> Message:
        return {VERSION: "2026-07-28", CAPABILITIES: {}, **meta}


@breaks("lifecycle:envelope:stateless", symptom="Received request before initialization was complete")
class WantsDiscovery(Mux):
    """It refuses a modern call that is the first message."""

    heard_before = False

    async def answer(self, call: Call) -> Message:
        first, self.heard_before = not self.heard_before, True
        if first and call.method == "tools/call":
            raise Failure(INVALID_REQUEST, "Received request before initialization was complete")
        return await super().answer(call)


@breaks("lifecycle:method:unknown", symptom="no/such/method was answered with a result")
class AnswersEverything(Mux):
    """It has an empty result for every method."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if failure.error["message"].startswith("Method not found: "):
                return self.complete({})
            raise


# Tools


@in_entry("tools:list:whole", "tools/list", symptom='- "icons": [')
def _(tool: Message) -> None:
    """Tools are rebuilt from the fields of the first revision."""
    keep(tool, "name", "description", "inputSchema")


@in_entry("tools:list:schema", "tools/list", symptom='- "$defs": {')
def _(tool: Message) -> None:
    """Schemas lose their definitions."""
    tool["inputSchema"].pop("$defs", None)


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
def _(result: Message) -> None:
    """Text is put into quotes once more."""
    if len(result.get("content", ())) == 1 and "structuredContent" not in result:
        for block in blocks(result, "text"):
            block["text"] = json.dumps(block["text"])


@in_result("tools:call:image", "tools/call", symptom='- "mimeType": "image/png"')
def _(result: Message) -> None:
    """Images lose their type."""
    if len(result.get("content", ())) == 1:
        for block in blocks(result, "image"):
            del block["mimeType"]


@in_result("tools:call:audio", "tools/call", symptom='+ "text": "[audio]"')
def _(result: Message) -> None:
    """Sound becomes a text."""
    for block in blocks(result, "audio"):
        keep(block)
        block.update(type="text", text="[audio]")


@in_result("tools:call:embedded", "tools/call", symptom='- "resource": {')
def _(result: Message) -> None:
    """An embedded resource becomes a link to it."""
    if len(result.get("content", ())) == 1:
        for block in blocks(result, "resource"):
            block.update(type="resource_link", name="resource", uri=block.pop("resource")["uri"])


@in_result("tools:call:links", "tools/call", symptom='- "mimeType": "text/plain"')
def _(result: Message) -> None:
    """Links lose all but their URI and name."""
    for block in blocks(result, "resource_link"):
        keep(block, "type", "uri", "name")


@in_result("tools:call:mixed", "tools/call", symptom='- "text": "Multiple content types test:"')
def _(result: Message) -> None:
    """Content is sorted by type."""
    if isinstance(result.get("content"), list):
        result["content"].sort(key=lambda block: str(block.get("type")))


@in_result("tools:call:structured", "tools/call", symptom='- "structured content": {')
def _(result: Message) -> None:
    """Structured content is lost."""
    result.pop("structuredContent", None)


@in_params("tools:call:arguments", "tools/call", symptom="the arguments did not reach the backend as they were sent")
def _(params: Message) -> None:
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


# Prompts


@in_entry("prompts:list:whole", "prompts/list", symptom='- "arguments": [')
def _(prompt: Message) -> None:
    """Prompts lose their arguments."""
    prompt.pop("arguments", None)


@in_result("prompts:get:simple", "prompts/get", symptom='+ "role": "assistant"')
def _(result: Message) -> None:
    """A prompt of one message speaks as the assistant."""
    if len(result["messages"]) == 1:
        result["messages"][0]["role"] = "assistant"


@in_params("prompts:get:arguments", "prompts/get", symptom="the arguments did not reach the backend as they were sent")
def _(params: Message) -> None:
    """All arguments of a prompt are the first."""
    arguments = params.get("arguments", {})
    for name in arguments:
        arguments[name] = next(iter(arguments.values()))


@in_result("prompts:get:embedded", "prompts/get", symptom='- "resource": {')
def _(result: Message) -> None:
    """A resource in a prompt becomes text."""
    for block in blocks(result, "resource"):
        text = block["resource"].get("text", "")
        keep(block)
        block.update(type="text", text=text)


@in_result("prompts:get:image", "prompts/get", symptom='+ "mimeType": "application/octet-stream"')
def _(result: Message) -> None:
    """Images in prompts lose their type."""
    for block in blocks(result, "image"):
        block["mimeType"] = "application/octet-stream"


@breaks("prompts:get:unknown", symptom="prompts/get was answered with a result")
class HasEveryPrompt(Mux):
    """An unknown prompt is an empty one."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        try:
            return await super().route_name(call, method, public)
        except Failure:
            call.params["unknown"] = method == "prompts/list"
            raise

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure:
            if call.params.get("unknown"):
                return self.complete({"messages": []})
            raise


@breaks("prompts:get:missing-argument", symptom="prompts/get was answered with a result")
class FillsArguments(Mux):
    """Arguments that a prompt wants and does not get are made up."""

    def forward(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "prompts/get":
            params = message["params"]
            prompt = (self.lists.get((backend, "prompts/list")) or {}).get(params["name"], {})
            wanted = {argument["name"]: "" for argument in prompt.get("arguments", ())}
            message = {**message, "params": {**params, "arguments": {**wanted, **params.get("arguments", {})}}}
        super().forward(backend, message)


# Resources, completion


@in_entry("resources:list:whole", "resources/list", symptom='- "mimeType": "text/plain"')
def _(resource: Message) -> None:
    """Resources lose their type."""
    resource.pop("mimeType", None)


@in_result("resources:read:text", "resources/read", symptom='+ "blob": "VGhpcyBp')
def _(result: Message) -> None:
    """Text comes as base64."""
    for content in objects(result.get("contents")):
        if "text" in content:
            content["blob"] = base64.b64encode(content.pop("text").encode()).decode()


@in_result("resources:read:binary", "resources/read", symptom='- "blob": "iVBOR')
def _(result: Message) -> None:
    """Bytes come as text."""
    for content in objects(result.get("contents")):
        if "blob" in content:
            content["text"] = base64.b64decode(content.pop("blob")).decode("latin-1")


@breaks("resources:read:template", symptom="Resource not found")
class ReadsListed(Mux):
    """Only resources that are listed can be read."""

    def owner(self, uri: str) -> Backend | None:
        found = super().owner(uri)
        return found if any(uri in (entries or {}) for _, entries in self._resources()) else None


@breaks("resources:read:unknown", symptom="resources/read was answered with a result")
class ReadsNothing(Mux):
    """An unknown resource is an empty one."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if failure.error["message"] == "Resource not found":
                return self.complete({"contents": []}, cacheable=True)
            raise


@in_entry("resources:templates:whole", "resources/templates/list", symptom='- "mimeType": "application/json"')
def _(template: Message) -> None:
    """Templates are rebuilt from what they need to have."""
    keep(template, "uriTemplate", "name")


@breaks("resources:links:readable", symptom="malformed://malformed/vendor")
class InventsLinks(Mux):
    """Links get a URI that cannot be read."""

    async def republished(self, call: Call, backend: Backend, result: Message) -> Message:
        for block in blocks(await super().republished(call, backend, result), "resource_link"):
            scheme, _, rest = block["uri"].partition("://")
            block["uri"] = f"{scheme}://{backend.name}/{rest}"
        return result


class Incomplete(Mux):
    """Completions of one kind are lost."""

    kind: ClassVar[str]

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "completion/complete" and call.params["ref"].get("type") == self.kind:
            result["completion"] = {"values": []}
        return result


@breaks("completion:prompt:values", symptom='- "paris"')
class NoPromptCompletion(Incomplete):
    """Arguments of prompts are not completed."""

    kind = "ref/prompt"


@breaks("completion:template:values", symptom='- "123"')
class NoTemplateCompletion(Incomplete):
    """Variables of templates are not completed."""

    kind = "ref/resource"


@in_params(
    "completion:context:arguments",
    "completion/complete",
    symptom="the arguments resolved so far did not reach the backend",
)
def _(params: Message) -> None:
    """The context of a completion is lost."""
    params.pop("context", None)


# Pagination


class OnePage(Mux):
    """Of one list only the first page is read."""

    method: ClassVar[str]

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        result = await super().exchange(call, backend, method, params, id)
        if method == self.method:
            result.pop("nextCursor", None)
        return result


@breaks("pagination:backend:tools", symptom='- "tool-11"')
class OnePageOfTools(OnePage):
    """Only the first page of a server's tools is read."""

    method = "tools/list"


@breaks("pagination:backend:prompts", symptom='- "prompt-11"')
class OnePageOfPrompts(OnePage):
    """Only the first page of a server's prompts is read."""

    method = "prompts/list"


@breaks("pagination:backend:resources", symptom='- "paginated://11"')
class OnePageOfResources(OnePage):
    """Only the first page of a server's resources is read."""

    method = "resources/list"


@breaks("pagination:backend:templates", symptom='- "paginated://11/{id}"')
class OnePageOfTemplates(OnePage):
    """Only the first page of a server's templates is read."""

    method = "resources/templates/list"


@breaks("pagination:cursor:invalid", symptom="tools/list was answered with a result")
class IgnoresCursors(Mux):
    """Any cursor leads to the first page."""

    def receive(self, message: Message) -> None:
        if message.get("method") in LISTS:
            as_object(message.get("params")).pop("cursor", None)
        super().receive(message)


@breaks("pagination:backend:loop", symptom="its pages do not end")
class RefusesLoops(Mux):
    """A server whose pages come round again is the end of the list."""

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self.cursors: dict[Backend, list[object]] = {}

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        result = await super().exchange(call, backend, method, params, id)
        if method == "tools/list":
            asked = as_object(params).get("cursor")
            self.cursors[backend] = [*(self.cursors[backend] if asked else ()), result.get("nextCursor")]
        return result

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if any(cursors.count(cursors[-1]) > 1 for cursors in self.cursors.values()):
            raise Failure(INTERNAL_ERROR, "its pages do not end")
        return result


class FirstWins(Mux):
    """Of a name that two servers have, only the first is listed."""

    method: ClassVar[str]

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        key = LISTS[method][1]
        earlier = itertools.takewhile(lambda other: other is not backend, self.backends.values())
        if method == self.method and any(entry[key] in (self.lists.get((other, method)) or {}) for other in earlier):
            return []
        return super().published(backend, method, entry)


@breaks("naming:collision:listed", symptom="a tool is not offered, another has the same name")
class FirstToolWins(FirstWins):
    """Of two tools of one name only the first is listed."""

    method = "tools/list"


@breaks("naming:collision:prompts", symptom="the prompt right__vendor is not offered")
class FirstPromptWins(FirstWins):
    """Of two prompts of one name only the first is listed."""

    method = "prompts/list"


@breaks("naming:collision:resources", symptom="the reads that reached the left server are not the one for it")
class FirstResourceWins(FirstWins):
    """Of two resources of one URI only the first is listed."""

    method = "resources/list"


@breaks("naming:collision:routed", symptom="the calls that reached the left server are not the one for it")
class RoutesToFirst(Mux):
    """A call goes to the first server that has a tool of that name."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        backend, own = await super().route_name(call, method, public)
        if method == "tools/list":
            for other in self.backends.values():
                if own in (self.lists.get((other, method)) or {}):
                    return other, own
        return backend, own


@breaks("naming:unique:names", symptom="these tools are in the list twice")
class ListsTwice(Mux):
    """A tool is listed twice."""

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        entries = super().published(backend, method, entry)
        return entries * 2 if method == "tools/list" and backend is next(iter(self.backends.values())) else entries


@breaks("naming:separator:inside", symptom="Unknown server in malformed__with__underscores")
class SplitsNames(Mux):
    """It finds the server by splitting a name at the last separator."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        if isinstance(public, str) and public.rpartition(SEPARATOR)[0] not in self.backends:
            raise Failure(INVALID_PARAMS, f"Unknown server in {public}")
        return await super().route_name(call, method, public)


@in_entry("naming:charset:legal", "tools/list", symptom="everything__test_simple_text (proxied)")
def _(tool: Message) -> None:
    """Tools are listed under names that are no names."""
    tool["name"] += " (proxied)"


@breaks("naming:links:rewritten", symptom="the link did not lead to the resource that the tool meant")
class KeepsLinks(Mux):
    """URIs in results are left as the server spells them, though it is listed under others."""

    async def republished(self, call: Call, backend: Backend, result: Message) -> Message:
        return result


# Errors


def lose_data(error: Message) -> None:
    """Errors lose their data."""
    error.pop("data", None)


in_error("errors:protocol:whole", "tools/call", symptom="the backend's error arrived changed")(lose_data)
in_error("errors:prompt:whole", "prompts/get", symptom='- "data": {')(lose_data)
in_error("errors:resource:whole", "resources/read", symptom='- "data": {')(lose_data)


@in_error("errors:protocol:codes", "tools/call", symptom="the backend's error code arrived changed")
def _(error: Message) -> None:
    """Codes that JSON-RPC does not reserve become internal errors."""
    if not -32768 <= error["code"] <= -32000:
        error["code"] = INTERNAL_ERROR


@in_error("errors:params:invalid", "tools/call", symptom="a tool call without a name got another error")
def _(error: Message) -> None:
    """A call without a name is an internal error."""
    if error["message"] == "name is missing":
        error.update(code=INTERNAL_ERROR, message="KeyError: 'name'")


# Transparency


@in_result("transparency:meta:result", "tools/call", symptom='+ "vendor.example/key": null')
def _(result: Message) -> None:
    """The server's _meta is lost."""
    meta = as_object(result.pop("_meta", None))
    if any(key.startswith(ENVELOPE) for key in meta):
        result["_meta"] = {key: meta[key] for key in meta if key.startswith(ENVELOPE)}


def drop_meta(params: Message, dropped: Callable[[str], bool]) -> None:
    """Keys of a request's _meta are lost, and so is what is left of it when it is empty."""
    if "_meta" in params:
        params["_meta"] = {key: value for key, value in params["_meta"].items() if not dropped(key)}
        if not params["_meta"]:
            del params["_meta"]


TRACE = ("traceparent", "tracestate", "baggage")


@in_params(
    "transparency:meta:request", "tools/call", symptom="the vendor's _meta of tools/call reached the backend changed"
)
def _(params: Message) -> None:
    """Keys in _meta that the protocol does not know do not reach the server."""
    drop_meta(params, lambda key: not key.startswith(ENVELOPE) and key not in ("progressToken", *TRACE))


@in_params("transparency:meta:trace", "tools/call", symptom="the trace of tools/call is lost")
def _(params: Message) -> None:
    """The trace context does not reach the server."""
    drop_meta(params, lambda key: key in TRACE)


RESULT = ("content", "structuredContent", "isError", "_meta", "resultType", "inputRequests", "requestState")


@in_result("transparency:fields:result", "tools/call", symptom='+ "tools/call": null')
def _(result: Message) -> None:
    """Unknown fields of a result are lost."""
    keep(result, *RESULT)


@in_params(
    "transparency:fields:request", "tools/call", symptom="the vendor's params of tools/call reached the backend changed"
)
def _(params: Message) -> None:
    """Unknown fields of the params do not reach the server."""
    keep(params, "name", "arguments", "_meta", "inputResponses", "requestState")


KNOWN_CONTENT = ("text", "image", "audio", "resource", "resource_link")


@in_result("transparency:content:unknown", "tools/call", symptom="content of an unknown type arrived changed")
def _(result: Message) -> None:
    """Content of an unknown type is lost."""
    if isinstance(result.get("content"), list):
        result["content"] = [block for block in result["content"] if block.get("type") in KNOWN_CONTENT]


@in_result("transparency:content:annotations", "tools/call", symptom="annotations arrived changed")
def _(result: Message) -> None:
    """Content loses its annotations."""
    for block in objects(result.get("content")):
        block.pop("annotations", None)


@in_result("transparency:structured:exact", "tools/call", symptom="structured content arrived changed")
def _(result: Message) -> None:
    """Structured content loses what is empty."""
    if isinstance(structured := result.get("structuredContent"), dict):
        result["structuredContent"] = deeply(structured, without_empty)


@in_result("transparency:payload:large-result", "tools/call", symptom="a large result arrived changed")
def _(result: Message) -> None:
    """Texts are cut off at 1 MB."""
    for block in blocks(result, "text"):
        block["text"] = block["text"][:1_000_000]


@in_params("transparency:payload:large-argument", "tools/call", symptom="a large argument reached the backend changed")
def _(params: Message) -> None:
    """Texts in arguments are cut off at 1 MB."""
    rewrite(params, lambda value: value[:1_000_000] if isinstance(value, str) else value)


@in_result("transparency:text:unicode", "tools/call", symptom="the text arrived changed")
def _(result: Message) -> None:
    """Texts are normalised, and have no characters beyond the basic plane."""

    def basic(value: Any) -> Any:
        return (
            re.sub(r"[^\0-\uffff]", "\ufffd", unicodedata.normalize("NFC", value)) if isinstance(value, str) else value
        )

    rewrite(result, basic)


@in_result("transparency:json:deep", "tools/call", symptom="deep JSON came back changed")
def _(result: Message) -> None:
    """Whatever lies deeper than 32 levels is lost."""

    def cut(value: Any, level: int) -> Any:
        if isinstance(value, dict):
            return {key: cut(part, level - 1) for key, part in value.items()} if level else None
        if isinstance(value, list):
            return [cut(part, level - 1) for part in value] if level else None
        return value

    result.update(cut(result, 32))


@in_result("transparency:numbers:integers", "tools/call", symptom="an integer came back changed")
def _(result: Message) -> None:
    """Integers have the precision of floats."""
    rewrite(result, lambda value: int(float(value)) if type(value) is int else value)


@in_result("transparency:numbers:floats", "tools/call", symptom="a floating-point number came back changed")
def _(result: Message) -> None:
    """Floats have six digits."""
    rewrite(result, lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)


@in_result("transparency:null:kept", "tools/call", symptom="an explicit null came back changed")
def _(result: Message) -> None:
    """Nulls are lost."""

    def without_null(value: Any) -> Any:
        return {key: part for key, part in value.items() if part is not None} if isinstance(value, dict) else value

    rewrite(result, without_null)


# Progress, cancellation


@in_notice("progress:token:own", "notifications/progress", symptom="under the token of the client")
def _(params: Message) -> None:
    """Progress tokens are texts, whatever they were."""
    params["progressToken"] = str(params["progressToken"])


@breaks("progress:updates:order", symptom="differs from a direct connection")
class SwapsUpdates(Mux):
    """The first update comes after the second."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.first: dict[Any, Message | None] = {}

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            token = message["params"]["progressToken"]
            if token not in self.first:
                self.first[token] = message
                return
            super().send(message)
            message, self.first[token] = self.first[token] or message, None
        super().send(message)


@in_notice("progress:updates:fields", "notifications/progress", symptom='- "message": "call fields"')
def _(params: Message) -> None:
    """Updates lose their message."""
    params.pop("message", None)


@breaks("progress:updates:apart", symptom="of two calls at once, each did not get")
class LastToken(Mux):
    """Updates go to the call that came last."""

    token: Any = None

    def receive(self, message: Message) -> None:
        token = as_object(as_object(message.get("params")).get("_meta")).get("progressToken")
        self.token = self.token if token is None else token
        super().receive(message)

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            message["params"]["progressToken"] = self.token
        super().send(message)


@breaks("progress:updates:unasked", symptom='- "updates": []')
class AsksForUpdates(Mux):
    """It asks for updates by itself, and passes them on."""

    def forward(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "tools/call":
            meta = {"progressToken": f"token-{message['id']}", **as_object(message["params"].get("_meta"))}
            message = {**message, "params": {**message["params"], "_meta": meta}}
        super().forward(backend, message)


def ignore_cancellation(params: Message) -> bool:
    """Cancellations do not reach the server."""
    return True


in_params(
    "cancellation:notification:reaches",
    "notifications/cancelled",
    symptom="the cancellation of the call did not happen at the backend",
)(ignore_cancellation)
in_params(
    "cancellation:stream:closed",
    "notifications/cancelled",
    over="http",
    symptom="the cancellation of the call did not happen at the backend",
)(ignore_cancellation)


@in_params(
    "cancellation:notification:id",
    "notifications/cancelled",
    symptom="the cancellation names an id that the backend does not know",
)
def _(params: Message) -> None:
    """Cancellations reach the server under an id it does not know."""
    params["requestId"] = f"client-{params['requestId']}"


@breaks("cancellation:response:dropped", symptom="a cancelled call was answered")
class AnswersLate(Mux):
    """A cancelled call is answered all the same."""

    def receive(self, message: Message) -> None:
        call = self.calls.get(as_object(message.get("params")).get("requestId", 0))
        if message.get("method") != "notifications/cancelled" or call is None:
            super().receive(message)
            return
        for backend, id in call.sent:
            self.forward(backend, {**message, "params": {**message["params"], "requestId": id}})


@breaks(
    "cancellation:client:vanished",
    symptom="the cancellation of the call did not happen at the backend",
    over="sse",
)
class ForgetsServers(Mux):
    """When the client is gone, its servers are not told."""

    async def close(self) -> None:
        """Everything stays as it is."""


@breaks("cancellation:unknown:ignored", symptom="something came besides the response to that call")
class ChidesUnknown(Mux):
    """The cancellation of an unknown request gets an error."""

    def receive(self, message: Message) -> None:
        id = as_object(message.get("params")).get("requestId")
        if message.get("method") == "notifications/cancelled" and id not in self.calls:
            error = {"code": INVALID_PARAMS, "message": "Unknown request"}
            self.send({"jsonrpc": "2.0", "id": id, "error": error})
        super().receive(message)


@breaks("cancellation:others:unharmed", symptom="has ended")
class CancelsAll(Mux):
    """A cancellation ends all calls, the others with an error."""

    def receive(self, message: Message) -> None:
        super().receive(message)
        if message.get("method") == "notifications/cancelled":
            meant = as_object(message.get("params")).get("requestId")
            for id in self.calls.keys() - {meant}:
                super().receive({**message, "params": {"requestId": id}})
                self.send({"jsonrpc": "2.0", "id": id, "error": {"code": INTERNAL_ERROR, "message": "cancelled"}})


# Logging


@in_hello("logging:capability:declared", "legacy", "modern", symptom="logging is not declared")
def _(hello: Message) -> None:
    """It does not say that servers log."""
    hello["capabilities"].pop("logging", None)


@in_notice("logging:message:whole", "notifications/message", symptom="log messages arrived changed")
def _(params: Message) -> None:
    """Log messages lose their logger."""
    params.pop("logger", None)


@breaks("logging:message:order", symptom='- "before the result": [')
class LogsLate(Mux):
    """Log messages come after the result."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.late: list[Message] = []

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/message":
            self.late.append(message)
            return
        super().send(message)
        while "method" not in message and self.late:
            super().send(self.late.pop(0))


@breaks("logging:level:set", symptom='+ "info"')
class KeepsLevel(Mux):
    """The level does not reach the servers."""

    async def answer(self, call: Call) -> Message:
        if call.method == "logging/setLevel" and call.params.get("level") in ("debug", "info", "warning", "error"):
            return {}
        return await super().answer(call)


LOG_LEVEL = f"{ENVELOPE}logLevel"


@in_params("logging:level:request", "tools/call", symptom='- "warning"')
def _(params: Message) -> None:
    """The level in a request does not reach the server."""
    as_object(params.get("_meta")).pop(LOG_LEVEL, None)


@in_params("logging:level:none", "tools/call", symptom="a log message came that was not asked for")
def _(params: Message) -> None:
    """It asks for log messages by itself."""
    if VERSION in as_object(params.get("_meta")):
        params["_meta"].setdefault(LOG_LEVEL, "debug")


@breaks("logging:level:each-client", over="sse", symptom="a client's level is not its own")
class SharesLevel(Gossip):
    """The level that a client sets is that of all clients."""

    def forward(self, backend: Backend, message: Message) -> None:
        super().forward(backend, message)
        if message.get("method") == "logging/setLevel":
            for other in self.others:
                other.backends[backend.name].send({**message, "id": self.fresh_id()})


@breaks("logging:level:invalid", symptom="logging/setLevel was answered with a result")
class AnyLevel(Mux):
    """Any level will do."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure:
            if call.method == "logging/setLevel":
                return {}
            raise


# Changes


def silent(requirement: str, method: str, era: Era) -> None:
    """Register a proxy that keeps such notifications to itself."""

    def keep_back(params: Message) -> bool:
        return True

    keep_back.__doc__ = f"{method} does not get through."
    in_notice(requirement, method, era, symptom=f"{method} did not arrive")(keep_back)


for kind in ("tools", "prompts", "resources"):
    silent(f"changes:{kind}:notified", f"notifications/{kind}/list_changed", "legacy")
    silent(f"changes:listen:{kind}", f"notifications/{kind}/list_changed", "modern")
silent("subscriptions:update:arrives", "notifications/resources/updated", "legacy")
silent("subscriptions:listen:update", "notifications/resources/updated", "modern")


class Caches(Mux):
    """Lists are read once."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cache: dict[str, Message] = {}

    def finish(self, call: Call, result: Message) -> Message:
        return self.cache.setdefault(call.method, result) if call.method in LISTS else result


@breaks("changes:list:fresh", symptom="the list does not show the change")
class CachesForever(Caches):
    """Tools are listed as they were before the first call."""

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        if method == "tools/call" and "tools/list" not in self.cache:
            listing = Call("before", "tools/list", {"_meta": self.envelope()} if self.era == "modern" else {})
            self.finish(listing, await self.answer(listing))
        return await super().exchange(call, backend, method, params, id)


@breaks("changes:backend:quiet", symptom="the list does not show a change")
class CachesUntilTold(Caches):
    """Lists are read again only when a server says that they changed."""

    def heard(self, backend: Backend, message: Message) -> None:
        if str(message.get("method")).endswith("list_changed"):
            self.cache.clear()
        super().heard(backend, message)


@in_hello("changes:capability:declared", "legacy", "modern", symptom='+ "tools": false')
def _(hello: Message) -> None:
    """It does not say that lists change."""
    for capability in hello["capabilities"].values():
        capability.pop("listChanged", None)


@breaks("changes:listen:acknowledged", symptom='- "notifications/subscriptions/acknowledged"')
class DoesNotAcknowledge(Mux):
    """It listens without saying so."""

    def send(self, message: Message) -> None:
        if message.get("method") != "notifications/subscriptions/acknowledged":
            super().send(message)


@in_params("changes:listen:filtered", "subscriptions/listen", symptom='+ "notifications/tools/list_changed"')
def _(params: Message) -> None:
    """It listens to everything, whatever was asked for."""
    kinds = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
    params["notifications"].update(kinds)


# Subscriptions


@in_hello("subscriptions:capability:declared", "legacy", "modern", symptom='+ "subscribe": false')
def _(hello: Message) -> None:
    """It does not say that resources can be subscribed to."""
    as_object(hello["capabilities"].get("resources")).pop("subscribe", None)


@breaks("subscriptions:update:subscriber-only", symptom="was told of", over="sse")
class SubscribesToAll(Mux):
    """Whoever subscribes to one resource is told of all."""

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if call.method == "resources/subscribe":
            backend, subscribed = await self.route_uri(call, call.params["uri"])
            for uri in (self.lists[backend, "resources/list"] or {}).keys() - {subscribed}:
                await self.ask(call, backend, call.method, {"uri": uri})
        return result


@breaks("subscriptions:unsubscribe:stops", symptom="an update came after the client had unsubscribed")
class StaysSubscribed(Mux):
    """Unsubscribing does nothing."""

    async def answer(self, call: Call) -> Message:
        return {} if call.method == "resources/unsubscribe" else await super().answer(call)


@breaks("subscriptions:update:uri", symptom="the update names another URI than the client's")
class RespellsUpdates(Mux):
    """Updates come under a URI that the client did not subscribe to."""

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/resources/updated":
            backend, own = self.located(message["params"]["uri"]) or (None, None)
            if backend is not None and own is not None:
                scheme, _, rest = own.partition("://")
                renamed = own != message["params"]["uri"]
                message["params"]["uri"] = own if renamed else f"{scheme}://{backend.name}/{rest}"
        super().send(message)


# Questions to the user


@in_question("sampling:request:whole", "sampling/createMessage", symptom='- "vendor.example/question": "sample"')
def _(params: Message) -> None:
    """A request for sampling is rebuilt from what it needs to have."""
    keep(params, "messages", "maxTokens")


@in_answer("sampling:answer:whole", symptom='- "stopReason": "vendorStop"')
def _(answer: Message) -> None:
    """A sampled message is rebuilt from what it needs to have."""
    if "role" in as_object(answer.get("result")):
        keep(answer["result"], "role", "content", "model")


@in_answer("sampling:answer:error", symptom='+ "the backend received": -32603')
def _(answer: Message) -> None:
    """Whatever the client refuses is an internal error."""
    if "error" in answer:
        answer["error"] = {"code": INTERNAL_ERROR, "message": "Internal error"}


@in_question("elicitation:form:whole", "elicitation/create", symptom='- "maximum": 150')
def _(params: Message) -> None:
    """The fields of a form lose all but their type."""
    for field in as_object(as_object(params.get("requestedSchema")).get("properties")).values():
        keep(field, "type")


@in_answer("elicitation:form:decline", symptom='+ "action": "cancel"')
def _(answer: Message) -> None:
    """Who declines, cancels."""
    if as_object(answer.get("result")).get("action") == "decline":
        answer["result"]["action"] = "cancel"


@in_answer("elicitation:form:cancel", symptom='+ "action": "decline"')
def _(answer: Message) -> None:
    """Who cancels, declines."""
    if as_object(answer.get("result")).get("action") == "cancel":
        answer["result"]["action"] = "decline"


@in_question("elicitation:url:whole", "elicitation/create", symptom='+ "url": "https://auth.example.com/connect"')
def _(params: Message) -> None:
    """URLs lose their query."""
    if "url" in params:
        params["url"] = params["url"].partition("?")[0]


@in_answer("roots:list:whole", symptom='- "name": "One')
def _(answer: Message) -> None:
    """Roots lose all but their URI."""
    for root in objects(as_object(answer.get("result")).get("roots")):
        keep(root, "uri")


@in_params(
    "roots:changed:reaches",
    "notifications/roots/list_changed",
    symptom="notifications/roots/list_changed did not happen at the backend",
)
def _(params: Message) -> bool:
    """Servers are not told that roots changed."""
    return True


class Pretends(Mux):
    """It declares to servers what its client cannot do."""

    claimed: ClassVar[Message]

    def receive(self, message: Message) -> None:
        params = as_object(message.get("params"))
        if message.get("method") == "initialize":
            params["capabilities"] = {**self.claimed, **as_object(params.get("capabilities"))}
        meta = as_object(params.get("_meta"))
        if CAPABILITIES in meta:
            meta[CAPABILITIES] = {**self.claimed, **as_object(meta[CAPABILITIES])}
        super().receive(message)


@breaks("sampling:capability:absent", symptom="a question came to a client that did not declare that it can answer it")
class PretendsSampling(Pretends):
    """It declares sampling for every client."""

    claimed: ClassVar[Message] = {"sampling": {}}


@breaks(
    "elicitation:capability:absent", symptom="a question came to a client that did not declare that it can answer it"
)
class PretendsElicitation(Pretends):
    """It declares elicitation for every client."""

    claimed: ClassVar[Message] = {"elicitation": {"form": {}, "url": {}}}


@breaks("questions:client:capabilities", symptom='+ "experimental": {')
class PretendsExperiments(Pretends):
    """It declares an experiment of its own for every client."""

    claimed: ClassVar[Message] = {"experimental": {"mux": {}}}


@breaks("questions:client:right", over="sse", symptom="a client without a call in flight was asked")
class AsksAnother(Gossip):
    """A question goes to another client, if there is one."""

    async def pose(
        self, method: str, params: Message | None, backend: Backend | None = None, own: Id | None = None
    ) -> Message:
        asked = self.others[0] if self.others else self
        return await Mux.pose(asked, method, params, backend, own)


# Multi-round-trip requests


@in_result("mrtr:result:whole", "tools/call", symptom='- "vendor.example/question": "sample"')
def _(result: Message) -> None:
    """Questions in a result lose their _meta."""
    for question in as_object(result.get("inputRequests")).values():
        as_object(question.get("params")).pop("_meta", None)


@in_params("mrtr:state:opaque", "tools/call", symptom="☃ /+=")
def _(params: Message) -> None:
    """The state is decoded on its way back."""
    if "requestState" in params:
        params["requestState"] = unquote(params["requestState"])


@in_params("mrtr:retry:answers", "tools/call", symptom='- "vendorField": 1e-07')
def _(params: Message) -> None:
    """Answers in a retry lose what the protocol does not know."""
    for answer in as_object(params.get("inputResponses")).values():
        keep(answer, "action", "content", "role", "model", "stopReason", "roots")


@breaks("mrtr:questions:several", symptom="one question at a time")
class OneQuestion(Mux):
    """A server may ask one question at a time."""

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if len(as_object(result.get("inputRequests"))) > 1:
            raise Failure(INTERNAL_ERROR, "one question at a time")
        return result


@breaks("mrtr:rounds:several", symptom="the input was given already")
class OneRound(Mux):
    """There is one round of questions."""

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if "inputResponses" in call.params and result.get("resultType") == "input_required":
            raise Failure(INTERNAL_ERROR, "the input was given already")
        return result


# Bridges


@breaks("bridge:modern-client:call", symptom="old does not speak 2026-07-28")
class NoLegacyServers(Mux):
    """Modern clients cannot call legacy servers."""

    async def ask_legacy(self, call: Call, backend: Backend, method: str, params: Message) -> Message:
        if method == "tools/call":
            raise Failure(INTERNAL_ERROR, f"{backend.name} does not speak 2026-07-28")
        return await super().ask_legacy(call, backend, method, params)


@breaks("bridge:legacy-client:call", symptom="new only speaks 2026-07-28")
class NoModernServers(Mux):
    """Legacy clients cannot call modern servers."""

    async def ask_modern(self, call: Call, backend: Backend, method: str, params: Message) -> Message:
        if method == "tools/call":
            raise Failure(INTERNAL_ERROR, f"{backend.name} only speaks 2026-07-28")
        return await super().ask_modern(call, backend, method, params)


@breaks("bridge:modern-client:question", symptom="the question did not reach the client once")
class RefusesLegacyQuestions(Mux):
    """A legacy server cannot ask a modern client."""

    def hold(self, backend: Backend, message: Message) -> None:
        error = {"code": METHOD_NOT_FOUND, "message": "the client cannot be asked"}
        self.forward(backend, {"jsonrpc": "2.0", "id": message["id"], "error": error})


@breaks("bridge:legacy-client:question", symptom="the question did not reach the client once")
class PassesModernQuestions(Mux):
    """A legacy client gets the result that asks, and nothing to answer."""

    async def ask_modern(self, call: Call, backend: Backend, method: str, params: Message) -> Message:
        meta = {**as_object(params.get("_meta")), **self.envelope()}
        return await self.exchange(call, backend, method, {**params, "_meta": meta})


# Isolation of clients


@breaks("isolation:clients:same-ids", symptom="differs from a direct connection", over="sse")
class OneTableOfIds(Mux):
    """Clients share a table of requests: of two that use the same id, the one who asked first gets the first answer."""

    table: ClassVar[dict[Id, list[Mux]]] = {}

    async def answer(self, call: Call) -> Message:
        self.table.setdefault(call.id, []).append(self)
        try:
            return await super().answer(call)
        except asyncio.CancelledError:
            self.table[call.id].remove(self)
            raise

    def send(self, message: Message) -> None:
        waiting = self.table.get(message.get("id", 0)) if "method" not in message else None
        Mux.send(waiting.pop(0) if waiting else self, message)


@breaks("isolation:clients:results", over="sse", symptom="differs from a direct connection")
class SharedCache(Mux):
    """A tool's last result is kept, and given to any other client that calls the tool."""

    cache: ClassVar[dict[str, tuple[Mux, Message]]] = {}

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "tools/call":
            owner, kept = self.cache.setdefault(call.params["name"], (self, result))
            if owner is not self:
                return kept
            self.cache[call.params["name"]] = self, result
        return result


@breaks("isolation:clients:progress", over="sse", symptom='- "of others": []')
class TellsEverybody(Gossip):
    """Updates go to all clients."""

    def heard(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            for other in self.others:
                other.send(message)
        super().heard(backend, message)


# Isolation of servers


@breaks("isolation:backends:crash-call", symptom="the call whose backend died got no error")
class ExcusesCrash(Mux):
    """A call whose server crashes has an empty result."""

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        try:
            return await super().exchange(call, backend, method, params, id)
        except Failure as failure:
            if method == "tools/call" and failure.error["code"] == CONNECTION_LOST:
                return self.complete({"content": []})
            raise


@breaks("isolation:backends:crash-others", symptom="the connection to slow is lost")
class CrashSpreads(Mux):
    """When a server crashes, calls in flight at the others fail as well."""

    def lost(self, backend: Backend) -> None:
        for other in self.backends.values():
            other.fail_all()


@breaks("isolation:backends:crash-recovers", symptom="the server that crashed is not started again")
class StaysDown(Mux):
    """A server that has crashed is not started again."""

    async def ask(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        if backend.hello is not None and not backend.alive:
            raise Failure(CONNECTION_LOST, f"the connection to {backend.name} is lost")
        return await super().ask(call, backend, method, params, id)


@breaks("isolation:backends:start-failure", symptom="failing cannot be started")
class AllOrNothing(Mux):
    """One server that does not start is the end of all."""

    async def ready(self, feature: str | None = None) -> list[Backend]:
        backends = await super().ready(feature)
        for backend in self.backends.values():
            if not backend.up:
                raise Failure(INTERNAL_ERROR, f"{backend.name} cannot be started")
        return backends


@breaks("isolation:backends:slow-start", symptom="the other server was served only after the slow one")
class WaitsForSlowest(Mux):
    """All wait for the server that is slowest to start."""

    grace = open_wait = 60.0


@breaks("isolation:backends:hang-initialize", symptom="'malformed' does not serve")
class WaitsForever(Mux):
    """All wait for a server that never starts."""

    grace = open_wait = 3600.0


@breaks("isolation:backends:hang-list", symptom="the tools of the other server are not listed")
class WaitsForLists(Mux):
    """All wait for a list that never comes."""

    list_wait = 3600.0


@breaks("isolation:backends:hang-call", symptom="got no response")
class OneCallAtATime(Mux):
    """While one server works on a call, the others are not called."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.working: dict[Backend, int] = {}
        self.changed = asyncio.Condition()

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        if method != "tools/call":
            return await super().exchange(call, backend, method, params, id)
        async with self.changed:
            await self.changed.wait_for(lambda: self.working.keys() <= {backend})
            self.working[backend] = self.working.get(backend, 0) + 1
        try:
            return await super().exchange(call, backend, method, params, id)
        finally:
            async with self.changed:
                self.working[backend] -= 1
                if not self.working[backend]:
                    del self.working[backend]
                self.changed.notify_all()


@breaks("isolation:backends:garbage", symptom="the connection to malformed is lost")
class DropsTalkers(Mux):
    """A server that writes what is no message is dropped."""

    def garbled(self, backend: Backend) -> None:
        backend.up = False
        backend.fail_all()
        self.spawn(backend.close())


@breaks("isolation:backends:malformed-result", symptom="a result that is no object did not become an error")
class PassesAnything(Mux):
    """A result that is no object is passed on."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if failure.error["message"].endswith("a result that is no object"):
                return []  # type: ignore[return-value]  # which is the point
            raise


@breaks("isolation:backends:stranger-id", symptom="the client got an answer that it did not ask for")
class PassesStrangers(Mux):
    """An answer that nobody asked for is passed on."""

    def heard(self, backend: Backend, message: Message) -> None:
        if "method" not in message and "id" in message and not backend.awaits(message["id"]):
            self.send(message)
        super().heard(backend, message)


# stdio


@breaks("stdio:stdout:only-messages", symptom="what is no message is on stdout")
class LogsToStdout(Mux):
    """It logs to stdout."""

    def receive(self, message: Message) -> None:
        if "method" in message:
            print("INFO: received", message["method"], flush=True)
        super().receive(message)


@breaks("stdio:input:invalid", symptom="the process closed its stdout")
class EndsOnGarbage(Mux):
    """A line that is no message ends it."""

    def receive_garbage(self) -> None:
        os._exit(1)


@breaks("stdio:input:eof", symptom="it has not exited 5 s after its stdin")
class IgnoresEof(Mux):
    """It stays when its client has gone."""

    async def run(self, reader: asyncio.StreamReader) -> None:
        await super().run(reader)
        await asyncio.Event().wait()


@breaks("stdio:signal:term", symptom="it has not exited 5 s after SIGTERM")
class IgnoresSigterm(Mux):
    """It stays when it is told to end."""

    async def run(self, reader: asyncio.StreamReader) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        await super().run(reader)


@breaks("stdio:backends:reaped", symptom="processes of its backends are left")
class LeavesServers(Mux):
    """It ends, and its servers stay: somebody else still holds their stdin, for ten seconds."""

    async def close(self) -> None:
        streams = [backend.process.stdin for backend in self.backends.values() if backend.process is not None]
        held = [stream.get_extra_info("pipe").fileno() for stream in streams if stream is not None]
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(10)"],
            pass_fds=held,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os._exit(0)
