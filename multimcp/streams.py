"""MCP messages on a stream of texts, as the SDK's dispatcher takes them.

Rules:
- A text that is no MCP message is handed to `on_noise` and skipped; the connection goes on.
- An answer that cannot be read (JSON deeper or stranger than the SDK takes) becomes an error with its request's id:
  whoever asked must not wait for ever.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter


class Unowned:
    """What the dispatcher asks of a stream besides its items. Whoever opened the connection closes it."""

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass


class MessageReader(Unowned):
    """The messages in `texts`, one in each. Iteration ends when the texts do."""

    def __init__(self, texts: AsyncIterator[bytes], on_noise: Callable[[str], None]) -> None:
        self._texts = texts
        self._on_noise = on_noise

    def __aiter__(self) -> Self:
        return self

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            text = await self._texts.__anext__()
            try:
                return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
            except ValueError:
                if (answer := _unreadable_answer(text)) is not None:
                    return SessionMessage(answer)
                if noise := text.decode(errors="replace").strip():
                    self._on_noise(noise)


def _unreadable_answer(text: bytes) -> JSONRPCError | None:
    try:
        message = json.loads(text.decode(errors="replace"), parse_int=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not {"result", "error"} & message.keys():
        return None
    request_id = message.get("id")  # a number is text here, which the dispatcher takes for the same
    if not isinstance(request_id, str):
        return None
    error = ErrorData(code=PARSE_ERROR, message="The server's answer is not one that MCP allows")
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
