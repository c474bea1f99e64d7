"""Cancellation: proxies that break what is required of them."""

from tests.integration.conformance.broken.breaking import breaks, in_params
from tests.integration.conformance.broken.mux import INTERNAL_ERROR, INVALID_PARAMS, Message, Mux, as_object


def ignore_cancellation(params: Message) -> bool:
    """Cancellations do not reach the server."""
    return True


in_params(
    "cancellation:notification:reaches",
    "notifications/cancelled",
    symptom="the cancellation of the call did not happen at the backend",
)(ignore_cancellation)
in_params(
    "cancellation:stream:closed",
    "notifications/cancelled",
    over="http",
    symptom="the cancellation of the call did not happen at the backend",
)(ignore_cancellation)


@in_params(
    "cancellation:notification:id",
    "notifications/cancelled",
    symptom="the cancellation names an id that the backend does not know",
)
def cancels_an_unknown_id(params: Message) -> None:
    """Cancellations reach the server under an id it does not know."""
    params["requestId"] = f"client-{params['requestId']}"


@breaks("cancellation:response:dropped", symptom="a cancelled call was answered")
class AnswersLate(Mux):
    """A cancelled call is answered all the same."""

    def receive(self, message: Message) -> None:
        call = self.calls.get(as_object(message.get("params")).get("requestId", 0))
        if message.get("method") != "notifications/cancelled" or call is None:
            super().receive(message)
            return
        for backend, id in call.sent:
            self.forward(backend, {**message, "params": {**message["params"], "requestId": id}})


@breaks(
    "cancellation:client:vanished",
    symptom="the cancellation of the call did not happen at the backend",
    over="sse",
)
class ForgetsServers(Mux):
    """When the client is gone, its servers are not told."""

    async def close(self) -> None:
        """Everything stays as it is."""


@breaks("cancellation:unknown:ignored", symptom="something came besides the response to that call")
class ChidesUnknown(Mux):
    """The cancellation of an unknown request gets an error."""

    def receive(self, message: Message) -> None:
        id = as_object(message.get("params")).get("requestId")
        if message.get("method") == "notifications/cancelled" and id not in self.calls:
            error = {"code": INVALID_PARAMS, "message": "Unknown request"}
            self.send({"jsonrpc": "2.0", "id": id, "error": error})
        super().receive(message)


@breaks("cancellation:others:unharmed", symptom="has ended")
class CancelsAll(Mux):
    """A cancellation ends all calls, the others with an error."""

    def receive(self, message: Message) -> None:
        super().receive(message)
        if message.get("method") == "notifications/cancelled":
            meant = as_object(message.get("params")).get("requestId")
            for id in self.calls.keys() - {meant}:
                super().receive({**message, "params": {"requestId": id}})
                self.send({"jsonrpc": "2.0", "id": id, "error": {"code": INTERNAL_ERROR, "message": "cancelled"}})
