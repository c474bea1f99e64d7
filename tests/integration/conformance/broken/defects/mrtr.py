"""Multi-round-trip requests, and questions across the eras: proxies that break what is required of them."""

from urllib.parse import unquote

from tests.integration.conformance.broken.breaking import breaks, in_params, in_result, keep
from tests.integration.conformance.broken.mux import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
    as_object,
)


@in_result("mrtr:result:whole", "tools/call", symptom='- "systemPrompt": "You are')
def loses_prompts_of_questions(result: Message) -> None:
    """Questions in a result lose their system prompt."""
    for question in as_object(result.get("inputRequests")).values():
        as_object(question.get("params")).pop("systemPrompt", None)


@in_params("mrtr:state:opaque", "tools/call", symptom="☃ /+=")
def decodes_the_state(params: Message) -> None:
    """The state is decoded on its way back."""
    if "requestState" in params:
        params["requestState"] = unquote(params["requestState"])


@in_params("mrtr:retry:answers", "tools/call", symptom='- "stopReason": "vendorStop"')
def strips_answers(params: Message) -> None:
    """Answers in a retry lose what they need not have."""
    for answer in as_object(params.get("inputResponses")).values():
        keep(answer, "action", "content", "role", "model", "roots")


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
