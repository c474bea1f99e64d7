"""Errors: proxies that break what is required of them."""

from tests.integration.conformance.broken.breaking import breaks, in_error
from tests.integration.conformance.broken.mux import INTERNAL_ERROR, Id, Message, Mux


def lose_data(error: Message) -> None:
    """Errors lose their data."""
    error.pop("data", None)


in_error("errors:protocol:whole", "tools/call", symptom="the backend's error arrived changed")(lose_data)
in_error("errors:prompt:whole", "prompts/get", symptom='- "data": {')(lose_data)
in_error("errors:resource:whole", "resources/read", symptom='- "data": {')(lose_data)


@in_error("errors:protocol:codes", "tools/call", symptom="the backend's error code arrived changed")
def replaces_codes(error: Message) -> None:
    """Codes that JSON-RPC does not reserve become internal errors."""
    if not -32768 <= error["code"] <= -32000:
        error["code"] = INTERNAL_ERROR


@in_error("errors:params:invalid", "tools/call", symptom="a tool call without a name got another error")
def fails_without_a_name(error: Message) -> None:
    """A call without a name is an internal error."""
    if error["message"] == "name is missing":
        error.update(code=INTERNAL_ERROR, message="KeyError: 'name'")


@breaks("errors:request:params", symptom="a request whose params are [] is not answered")
class DropsStrangeParams(Mux):
    """A request whose params are no object is dropped."""

    def refuse(self, message: Message) -> None:
        if isinstance(message.get("params", {}), dict):
            super().refuse(message)


@breaks("errors:request:id", symptom="a request whose id is null is not answered")
class DropsStrangeIds(Mux):
    """A request whose id is neither a string nor an integer is dropped."""

    def refuse(self, message: Message) -> None:
        if isinstance(message["id"], Id) and not isinstance(message["id"], bool):
            super().refuse(message)
