"""Prompts: proxies that break what is required of them."""

from tests.integration.conformance.broken.breaking import blocks, breaks, in_entry, in_params, in_result, keep
from tests.integration.conformance.broken.mux import Backend, Call, Failure, Message, Mux


@in_entry("prompts:list:whole", "prompts/list", symptom='- "arguments": [')
def loses_arguments(prompt: Message) -> None:
    """Prompts lose their arguments."""
    prompt.pop("arguments", None)


@in_result("prompts:get:simple", "prompts/get", symptom='+ "role": "assistant"')
def speaks_as_the_assistant(result: Message) -> None:
    """A prompt of one message speaks as the assistant."""
    if len(result["messages"]) == 1:
        result["messages"][0]["role"] = "assistant"


@in_params("prompts:get:arguments", "prompts/get", symptom="the arguments did not reach the backend as they were sent")
def repeats_the_first_argument(params: Message) -> None:
    """All arguments of a prompt are the first."""
    arguments = params.get("arguments", {})
    for name in arguments:
        arguments[name] = next(iter(arguments.values()))


@in_result("prompts:get:embedded", "prompts/get", symptom='- "resource": {')
def turns_resources_into_text(result: Message) -> None:
    """A resource in a prompt becomes text."""
    for block in blocks(result, "resource"):
        text = block["resource"].get("text", "")
        keep(block)
        block.update(type="text", text=text)


@in_result("prompts:get:image", "prompts/get", symptom='+ "mimeType": "application/octet-stream"')
def loses_the_type_of_images(result: Message) -> None:
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
