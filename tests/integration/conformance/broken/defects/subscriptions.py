"""Subscriptions to resources: proxies that break what is required of them."""

from tests.integration.conformance.broken.breaking import breaks, in_hello, silent
from tests.integration.conformance.broken.mux import Call, Failure, Message, Mux, as_object


@in_hello("subscriptions:capability:declared", "legacy", "modern", symptom="subscribe is not declared")
def hides_subscriptions(hello: Message) -> None:
    """It does not say that resources can be subscribed to."""
    as_object(hello["capabilities"].get("resources")).pop("subscribe", None)


silent("subscriptions:update:arrives", "notifications/resources/updated", "legacy")
silent("subscriptions:listen:update", "notifications/resources/updated", "modern")


@breaks("subscriptions:uri:unknown", symptom="a subscription to an unknown URI is no error")
class SubscribesToAnything(Mux):
    """A subscription that failed looks as if it had not."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure:
            if call.method != "resources/subscribe":
                raise
            return {}


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
