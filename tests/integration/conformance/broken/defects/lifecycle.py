"""Greetings, and what is spoken: proxies that break what is required of them."""

import asyncio
import itertools
import signal
import sys
from pathlib import Path

from tests.integration.conformance.broken.breaking import breaks, in_error, in_hello
from tests.integration.conformance.broken.defects.stdio import LeavesServers
from tests.integration.conformance.broken.mux import (
    CAPABILITIES,
    ENVELOPE,
    INFO,
    INVALID_REQUEST,
    LEGACY,
    LISTS,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
    VERSION,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
    as_object,
)


@in_hello("lifecycle:initialize:revisions", "legacy", symptom="got another revision, which it supports by its answers")
def answers_with_the_revision_before(hello: Message) -> None:
    """It answers with the revision before the one that was asked for, as long as there is one."""
    hello["protocolVersion"] = dict(itertools.pairwise(LEGACY)).get(hello["protocolVersion"], LEGACY[-1])


@breaks("lifecycle:capabilities:backed", symptom="prompts are declared, and there are none")
class DeclaresAll(Mux):
    """It declares all that it could relay, whatever is behind it."""

    def hello(self, backends: list[Backend]) -> Message:
        result = super().hello(backends)
        return {**result, "capabilities": {"prompts": {}, "resources": {}, **result["capabilities"]}}

    async def answer(self, call: Call) -> Message:
        if call.method in LISTS and not await self.ready(call.method.partition("/")[0]):
            return self.complete({LISTS[call.method][0]: []}, cacheable=True)
        return await super().answer(call)


@breaks("lifecycle:capabilities:used", symptom="has nothing but tools, and was asked for more")
class AsksEverybody(Mux):
    """Every server is asked for every list, and told every level, whatever it declared."""

    async def ready(self, feature: str | None = None) -> list[Backend]:
        return await super().ready(None)


@breaks("lifecycle:initialize:unknown", symptom="an unknown revision was not answered with one of the handshake")
class EchoesRevision(Mux):
    """It agrees to any revision."""

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "initialize":
            result["protocolVersion"] = call.params.get("protocolVersion")
        return result


@in_hello("lifecycle:initialize:server-info", "legacy", symptom="serverInfo has no version")
def forgets_its_version(hello: Message) -> None:
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
def discovers_only_legacy_revisions(hello: Message) -> None:
    """It tells only of legacy revisions."""
    hello["supportedVersions"] = list(LEGACY)


@in_error("lifecycle:envelope:unsupported", symptom="--32022 +-32600")
def refuses_without_naming_revisions(error: Message) -> None:
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


@breaks("lifecycle:batch:received", symptom="the requests of a batch are not each answered")
class TakesNoBatch(Mux):
    """A batch is no message."""

    def take(self, message: object) -> None:
        if isinstance(message, list):
            self.receive_garbage()
        else:
            super().take(message)


@breaks("lifecycle:start:empty", symptom="the process closed its stdout")
class WantsServers(Mux):
    """Without any server it ends."""

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        if not self.backends:
            sys.exit("no servers")


@breaks("lifecycle:signal:term", symptom="with clients connected, it has not ended 10 s after SIGTERM", over="http")
class IgnoresSignals(Mux):
    """It stays when it is told to end, once it has a client."""

    def receive(self, message: Message) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        super().receive(message)


@breaks("lifecycle:signal:reaped", symptom="processes of its backends are left", over="http")
class LeavesServersOverHttp(LeavesServers):
    """It ends when it is told to, and its servers stay."""
