"""Scenarios of the area completion."""

from conformance.session import DECLARED_SINCE, Outcome, Session
from conformance.verdict import NotOffered
from conformance.wire import Message

from .registry import scenario

METHOD_NOT_FOUND = -32601
PROMPT = "test_prompt_with_arguments"


async def complete(s: Session, ref: Message, argument: str, value: str, **more: Message) -> Outcome:
    """Ask `everything` for a completion."""
    params = {"ref": ref, "argument": {"name": argument, "value": value}, **more}
    outcome = await s.request("everything", "completion/complete", params)
    unknown = (outcome.response.get("error") or {}).get("code") == METHOD_NOT_FOUND
    if unknown and s.revision < DECLARED_SINCE["completions"]:
        raise NotOffered("it does not complete, which its revision has no way to declare")
    return outcome


def prompt(s: Session) -> Message:
    return {"type": "ref/prompt", "name": s.scheme.public("prompt", "everything", PROMPT)}


@scenario("completion:prompt:values")
async def prompt_values(s: Session) -> None:
    outcome = await complete(s, prompt(s), "arg1", "par")
    s.saw("completion", outcome.result.get("completion"))


@scenario("completion:template:values")
async def template_values(s: Session) -> None:
    ref = {"type": "ref/resource", "uri": await s.uri("everything", "test://template/{id}/data")}
    outcome = await complete(s, ref, "id", "1")
    s.saw("completion", outcome.result.get("completion"))


@scenario("completion:context:arguments")
async def context(s: Session) -> None:
    resolved = {"arg1": "paris"}
    await complete(s, prompt(s), "arg2", "", context={"arguments": resolved})
    received = [asked["params"].get("context") for asked in s.journal("everything").received("completion/complete")]
    s.equal(received, [{"arguments": resolved}], "the arguments resolved so far did not reach the backend")
