"""Changed lists: proxies that break what is required of them."""

from typing import Any

from tests.integration.conformance.broken.breaking import breaks, in_hello, in_params, silent
from tests.integration.conformance.broken.mux import LISTS, Backend, Call, Id, Message, Mux

for kind in ("tools", "prompts", "resources"):
    silent(f"changes:{kind}:notified", f"notifications/{kind}/list_changed", "legacy")
    silent(f"changes:listen:{kind}", f"notifications/{kind}/list_changed", "modern")


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


@in_hello("changes:capability:declared", "legacy", "modern", symptom='+ "tools"')
def hides_that_lists_change(hello: Message) -> None:
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
def listens_to_everything(params: Message) -> None:
    """It listens to everything, whatever was asked for."""
    kinds = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
    params["notifications"].update(kinds)
