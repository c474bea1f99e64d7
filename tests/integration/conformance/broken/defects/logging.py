"""Log messages: proxies that break what is required of them."""

from typing import Any

from tests.integration.conformance.broken.breaking import Gossip, breaks, in_hello, in_notice, in_params
from tests.integration.conformance.broken.mux import ENVELOPE, VERSION, Backend, Call, Failure, Message, Mux, as_object


@in_hello("logging:capability:declared", "legacy", "modern", symptom="log messages arrive, and logging is not declared")
def hides_logging(hello: Message) -> None:
    """It does not say that servers log."""
    hello["capabilities"].pop("logging", None)


@in_notice("logging:message:whole", "notifications/message", symptom="log messages arrived changed")
def loses_the_logger(params: Message) -> None:
    """Log messages lose their logger."""
    params.pop("logger", None)


@breaks("logging:message:order", symptom='- "before the result": [')
class LogsLate(Mux):
    """Log messages come after the result."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.late: list[Message] = []

    def send(self, message: Message) -> None:
        if message.get("method") == "notifications/message":
            self.late.append(message)
            return
        super().send(message)
        while "method" not in message and self.late:
            super().send(self.late.pop(0))


@breaks("logging:level:set", symptom='+ "info"')
class KeepsLevel(Mux):
    """The level does not reach the servers."""

    async def answer(self, call: Call) -> Message:
        if call.method == "logging/setLevel" and call.params.get("level") in ("debug", "info", "warning", "error"):
            return {}
        return await super().answer(call)


LOG_LEVEL = f"{ENVELOPE}logLevel"


@in_params("logging:level:request", "tools/call", symptom='- "warning"')
def loses_the_level(params: Message) -> None:
    """The level in a request does not reach the server."""
    as_object(params.get("_meta")).pop(LOG_LEVEL, None)


@in_params("logging:level:none", "tools/call", symptom="a log message came that was not asked for")
def asks_for_log_messages(params: Message) -> None:
    """It asks for log messages by itself."""
    if VERSION in as_object(params.get("_meta")):
        params["_meta"].setdefault(LOG_LEVEL, "debug")


@breaks("logging:level:each-client", over="sse", symptom="a client's level is not its own")
class SharesLevel(Gossip):
    """The level that a client sets is that of all clients."""

    def forward(self, backend: Backend, message: Message) -> None:
        super().forward(backend, message)
        if message.get("method") == "logging/setLevel":
            for other in self.others:
                other.backends[backend.name].send({**message, "id": self.fresh_id()})


@breaks("logging:level:invalid", symptom="logging/setLevel was answered with a result")
class AnyLevel(Mux):
    """Any level will do."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure:
            if call.method == "logging/setLevel":
                return {}
            raise
