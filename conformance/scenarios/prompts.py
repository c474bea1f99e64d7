"""Scenarios of the area prompts."""

from conformance.session import Session
from conformance.wire import Message

from .registry import scenario


def described(prompt: Message) -> Message:
    """What the specification knows of a prompt."""
    shown: Message = {key: prompt[key] for key in ("name", "title", "description") if key in prompt}
    if arguments := prompt.get("arguments"):
        shown["arguments"] = [
            {key: argument.get(key) for key in ("name", "description", "required")} for argument in arguments
        ]
    if icons := prompt.get("icons"):
        shown["icons"] = [{key: icon.get(key) for key in ("src", "mimeType", "sizes")} for icon in icons]
    return shown


@scenario("prompts:list:whole")
async def whole(s: Session) -> None:
    for server in ("everything", "mirror"):
        prompts = sorted(await s.list("prompts", server), key=lambda prompt: str(prompt["name"]))
        s.saw(f"the prompts of {server}", [described(prompt) for prompt in prompts])


@scenario("prompts:get:simple")
async def simple(s: Session) -> None:
    result = (await s.get_prompt("everything", "test_simple_prompt")).result
    s.saw("description", result.get("description"))
    s.saw("messages", result.get("messages"))


@scenario("prompts:get:arguments")
async def arguments(s: Session) -> None:
    given = {"arg1": "one", "arg2": "two and three"}
    outcome = await s.get_prompt("everything", "test_prompt_with_arguments", given)
    s.saw("messages", outcome.result.get("messages"))
    received = [get["params"].get("arguments") for get in s.journal("everything").received("prompts/get")]
    s.equal(received, [given], "the arguments did not reach the backend as they were sent")


@scenario("prompts:get:embedded")
async def embedded(s: Session) -> None:
    given = {"resourceUri": "test://static-text"}
    outcome = await s.get_prompt("everything", "test_prompt_with_embedded_resource", given)
    s.saw("messages", outcome.result.get("messages"))


@scenario("prompts:get:image")
async def image(s: Session) -> None:
    outcome = await s.get_prompt("everything", "test_prompt_with_image")
    s.saw("messages", outcome.result.get("messages"))


@scenario("prompts:get:unknown")
async def unknown(s: Session) -> None:
    """Neither a prompt that the backend does not have, nor a name that leads to no backend."""
    of_backend = await s.get_prompt("everything", "no_such_prompt")
    s.equal(of_backend.error.get("code"), -32602, "an unknown prompt got another error")
    of_nobody = await s.request("everything", "prompts/get", {"name": "nobody_has_this"})
    s.equal(of_nobody.error.get("code"), -32602, "an unknown prompt got another error")


@scenario("prompts:get:missing-argument")
async def missing_argument(s: Session) -> None:
    outcome = await s.get_prompt("everything", "test_prompt_with_arguments", {"arg1": "one"})
    s.equal(outcome.error.get("code"), -32602, "a prompt without a required argument got another error")
