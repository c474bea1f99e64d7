"""Progress: proxies that break what is required of them."""

from typing import Any

from tests.integration.conformance.broken.breaking import breaks, in_notice
from tests.integration.conformance.broken.mux import Backend, Message, Mux, as_object


@in_notice("progress:token:own", "notifications/progress", symptom="under the token of the client")
def turns_tokens_into_text(params: Message) -> None:
    """Progress tokens are texts, whatever they were."""
    params["progressToken"] = str(params["progressToken"])


@breaks("progress:updates:order", symptom="progress does not increase")
class SwapsUpdates(Mux):
    """The first update comes after the second."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.first: dict[Any, Message | None] = {}

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            token = message["params"]["progressToken"]
            if token not in self.first:
                self.first[token] = message
                return
            super().send(message)
            message, self.first[token] = self.first[token] or message, None
        super().send(message)


@breaks("progress:updates:late", symptom="progress came after the result")
class ReportsLate(Mux):
    """The last update comes after the result."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.last: Message | None = None

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            self.last, message = message, self.last or {}
        if message:
            super().send(message)
        if "method" not in message and message and self.last:
            super().send(self.last)
            self.last = None


@in_notice("progress:updates:fields", "notifications/progress", symptom='- "message": "call fields"')
def loses_messages(params: Message) -> None:
    """Updates lose their message."""
    params.pop("message", None)


@breaks("progress:updates:apart", symptom="a call got another's progress")
class LastToken(Mux):
    """Updates go to the call that came last."""

    token: Any = None

    def receive(self, message: Message) -> None:
        token = as_object(as_object(message.get("params")).get("_meta")).get("progressToken")
        self.token = self.token if token is None else token
        super().receive(message)

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            message["params"]["progressToken"] = self.token
        super().send(message)


@breaks("progress:updates:unasked", symptom='- "updates": []')
class AsksForUpdates(Mux):
    """It asks for updates by itself, and passes them on."""

    def forward(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "tools/call":
            meta = {"progressToken": f"token-{message['id']}", **as_object(message["params"].get("_meta"))}
            message = {**message, "params": {**message["params"], "_meta": meta}}
        super().forward(backend, message)


@breaks("progress:client:astray", symptom="asked for no progress, and is told of some")
class TellsProgressToAll(Mux):
    """What a client reports of its progress goes to every server."""

    def receive(self, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            self.tell_all(message)
        else:
            super().receive(message)


@breaks("progress:updates:all", symptom="are lost, or came twice")
class LosesTheLast(Mux):
    """Of every third call the last update is lost: the result overtakes it, and then nobody waits for it."""

    made = 0

    def receive(self, message: Message) -> None:
        self.made += message.get("method") == "tools/call"
        super().receive(message)

    def send(self, message: Message) -> None:
        params = as_object(message.get("params"))
        last = message.get("method") == "notifications/progress" and params.get("progress") == params.get("total")
        if not (last and self.made % 3 == 0):
            super().send(message)
