"""Questions to the user: sampling, elicitation, roots: proxies that break what is required of them."""

from typing import ClassVar

from tests.integration.conformance.broken.breaking import Gossip, breaks, in_answer, in_params, in_question, keep
from tests.integration.conformance.broken.mux import (
    CAPABILITIES,
    INTERNAL_ERROR,
    QUESTIONS,
    Backend,
    Id,
    Message,
    Mux,
    as_object,
    objects,
)


@in_question("sampling:request:whole", "sampling/createMessage", symptom='- "systemPrompt": "You are')
def rebuilds_requests(params: Message) -> None:
    """A request for sampling is rebuilt from what it needs to have."""
    keep(params, "messages", "maxTokens")


@in_answer("sampling:answer:whole", symptom='- "stopReason": "vendorStop"')
def rebuilds_sampled_messages(answer: Message) -> None:
    """A sampled message is rebuilt from what it needs to have."""
    if "role" in as_object(answer.get("result")):
        keep(answer["result"], "role", "content", "model")


@in_question("questions:fields:vendor", "sampling/createMessage", symptom='- "vendor.example/question": "sample"')
def strips_questions(params: Message) -> None:
    """Questions lose what the protocol does not know."""
    params.pop("vendorField", None)
    params.pop("_meta", None)


@in_answer("sampling:answer:error", symptom='+ "the backend received": -32603')
def hides_refusals(answer: Message) -> None:
    """Whatever the client refuses is an internal error."""
    if "error" in answer:
        answer["error"] = {"code": INTERNAL_ERROR, "message": "Internal error"}


@in_question("elicitation:form:whole", "elicitation/create", symptom='- "maximum": 150')
def strips_forms(params: Message) -> None:
    """The fields of a form lose all but their type."""
    for field in as_object(as_object(params.get("requestedSchema")).get("properties")).values():
        keep(field, "type")


@in_answer("elicitation:form:decline", symptom='+ "action": "cancel"')
def turns_decline_into_cancel(answer: Message) -> None:
    """Who declines, cancels."""
    if as_object(answer.get("result")).get("action") == "decline":
        answer["result"]["action"] = "cancel"


@in_answer("elicitation:form:cancel", symptom='+ "action": "decline"')
def turns_cancel_into_decline(answer: Message) -> None:
    """Who cancels, declines."""
    if as_object(answer.get("result")).get("action") == "cancel":
        answer["result"]["action"] = "decline"


@in_question("elicitation:url:whole", "elicitation/create", symptom='+ "url": "https://auth.example.com/connect"')
def cuts_urls(params: Message) -> None:
    """URLs lose their query."""
    if "url" in params:
        params["url"] = params["url"].partition("?")[0]


@in_answer("roots:list:whole", symptom='- "name": "One')
def strips_roots(answer: Message) -> None:
    """Roots lose all but their URI."""
    for root in objects(as_object(answer.get("result")).get("roots")):
        keep(root, "uri")


@in_params(
    "roots:changed:reaches",
    "notifications/roots/list_changed",
    symptom="notifications/roots/list_changed did not happen at the backend",
)
def keeps_changed_roots_to_itself(params: Message) -> bool:
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


@breaks("questions:undeclared:answered", symptom="a server asked what the client did not declare (sample)")
class DropsQuestions(Mux):
    """What the client cannot answer is dropped."""

    def heard(self, backend: Backend, message: Message) -> None:
        feature = QUESTIONS.get(message.get("method", ""))
        if feature is None or feature in self.client.get("capabilities", {}):
            super().heard(backend, message)


@breaks("questions:undeclared:kept", symptom="the client is asked what it did not declare (sample)")
class AsksAnybody(Mux):
    """A result that asks is passed on, whoever it is for."""

    def answerable(self, result: Message) -> Message:
        return result
