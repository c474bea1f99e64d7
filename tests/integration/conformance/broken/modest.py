"""Proxies that conform and offer little: nothing may be held against them.

Each is served over stdio by `python tests/integration/conformance/broken --config mcp.json --modest NAME`.
"""

from collections.abc import Mapping
from typing import Any

from tests.integration.conformance.broken.extending import Extended
from tests.integration.conformance.broken.mux import (
    CAPABILITIES,
    METHOD_NOT_FOUND,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
)

OLDEST = "2024-11-05"
NEWER = frozenset({"title", "icons", "outputSchema", "lastModified", "structuredContent", "execution"})
"""Fields that the oldest revision does not know."""


def older(value: Any) -> Any:
    """A result as the oldest revision would have it."""
    if isinstance(value, dict):
        hints = {"annotations"} if "inputSchema" in value else set[str]()
        return {key: older(part) for key, part in value.items() if key not in NEWER | hints}
    return [older(part) for part in value] if isinstance(value, list) else value


class Oldest(Extended):
    """It speaks the oldest revision, whatever was asked for, and has nothing of what came later."""

    async def _initialize(self, params: Message) -> Message:
        return await super()._initialize({**params, "protocolVersion": OLDEST})

    def hello(self, backends: list[Backend]) -> Message:
        result = super().hello(backends)
        result["capabilities"].pop("completions", None)
        return result

    async def answer(self, call: Call) -> Message:
        if call.method == "completion/complete":
            raise Failure(METHOD_NOT_FOUND, "Method not found: completion/complete")
        return await super().answer(call)

    def finish(self, call: Call, result: Message) -> Message:
        finished: Message = older(super().finish(call, result))
        return finished


class Modest(Extended):
    """It declares what it must, has no more, and asks its clients nothing."""

    def greeting(self, era: Any) -> tuple[str, Message]:
        method, params = super().greeting(era)
        return method, ({**params, "capabilities": {}} if era == "legacy" else params)

    def envelope(self) -> Message:
        return {**super().envelope(), CAPABILITIES: {}}

    def hello(self, backends: list[Backend]) -> Message:
        result = super().hello(backends)
        kept: Message = {key: {} for key in ("tools", "prompts", "resources") if key in result["capabilities"]}
        return {**result, "capabilities": kept}

    async def answer(self, call: Call) -> Message:
        if call.method in ("completion/complete", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
            raise Failure(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        return await super().answer(call)

    def send(self, message: Message) -> None:
        method = str(message.get("method"))
        if not method.endswith("/list_changed") and method != "notifications/message":
            super().send(message)


class Aged(Extended):
    """It serves no modern clients."""

    def _admit(self, params: Message) -> None:
        raise Failure(METHOD_NOT_FOUND, "Method not found")


MODEST: Mapping[str, type[Mux]] = {"oldest": Oldest, "modest": Modest, "aged": Aged}
