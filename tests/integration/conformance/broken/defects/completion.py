"""Completion: proxies that break what is required of them."""

from typing import ClassVar

from tests.integration.conformance.broken.breaking import breaks, in_params
from tests.integration.conformance.broken.mux import Call, Message, Mux


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
def loses_context(params: Message) -> None:
    """The context of a completion is lost."""
    params.pop("context", None)
