"""Questions carried between the eras.

Rules:
- Modern client, legacy backend: a question of the backend becomes an `input_required` result, and the retry brings the
  answer. Meanwhile the call is *held*: it goes on at the backend, though no request of the client is in flight.
- Legacy client, modern backend: an `input_required` result becomes live requests to the client, and the call is
  repeated with the answers.
- A call whose client does not come back is cancelled at the backend when its question has waited `calls.ANSWER_WAIT`.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import anyio
from mcp import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, REQUEST_TIMEOUT

from . import calls
from .calls import OVER, Call, Client, Params, check
from .errors import unwrap

logger = logging.getLogger(__name__)

FOLD = 0.02
"""Seconds in which further questions are put into one result with the first."""

ROUNDS = 100
"""How often a backend may ask during one call of a legacy client."""

Send = Callable[[Params], Awaitable[dict[str, Any]]]


class _Question:
    def __init__(self, method: str, params: Params) -> None:
        self.request = {"method": method} | ({"params": dict(params)} if params else {})
        self.answer: dict[str, Any] | None = None
        self.answered = anyio.Event()


class Held(Call):
    """A call of a modern client at a legacy backend."""

    def __init__(self, client: Client, method: str, params: Mapping[str, Any]) -> None:
        super().__init__(client)
        self.who = self
        self.state = secrets.token_urlsafe(32)
        """The `requestState` by which the client continues it; nobody can guess it."""
        self._request = _identity(method, params)
        self._questions: dict[str, _Question] = {}
        self._numbers = count(1)
        self._news = anyio.Event()
        self._scope = anyio.CancelScope()
        self._outcome: dict[str, Any] | MCPError | None = None
        self._left_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the backend has answered."""
        return self._outcome is not None

    @property
    def is_forgotten(self) -> bool:
        """Whether it is over, and the client has not asked for the outcome for long."""
        return self.is_over and anyio.current_time() > self._left_at + calls.ANSWER_WAIT

    async def run(self, send: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Make the call, by `send`, and keep its outcome for whoever waits for it."""
        outcome: dict[str, Any] | MCPError = MCPError(INTERNAL_ERROR, "The call was ended")
        try:
            with self._scope:
                outcome = await send()
        except MCPError as exc:
            outcome = exc
        except Exception:  # which would end the backend's connection, and with it everybody's calls
            logger.exception("a held call failed; this is a fault of Multi-MCP")
        finally:
            self._outcome = outcome
            self._news.set()

    async def ask(self, method: str, params: Params) -> dict[str, Any]:
        """Keep a backend's question until the client's next retry brings the answer.

        Raises:
            MCPError: what a client says to what it cannot answer; or that it did not come back.
        """
        check(self.client.capabilities, method, params)
        key = f"question-{next(self._numbers)}"
        question = self._questions[key] = _Question(method, params)
        self._tell_news()
        try:
            with self.asking(), anyio.fail_after(calls.ANSWER_WAIT):
                await question.answered.wait()
        except TimeoutError:
            self._scope.cancel()
            raise MCPError(REQUEST_TIMEOUT, "The client did not come back with an answer") from None
        finally:
            del self._questions[key]
        if question.answer is None:
            raise MCPError(INVALID_REQUEST, OVER)
        return question.answer

    def check(self, method: str, params: Mapping[str, Any]) -> None:
        """Raise the error of a client that continues another request than it began."""
        if _identity(method, params) != self._request:
            raise MCPError(INVALID_PARAMS, f"This requestState belongs to another request than this {method}")

    async def turn(self, client: Client, params: Mapping[str, Any]) -> dict[str, Any]:
        """Give the answers that a request of the client brings, and return what it is answered with.

        Returns:
            the backend's result, or an `input_required` result with its questions.

        Raises:
            MCPError: the backend's own error.
        """
        responses = params.get("inputResponses")
        for key, answer in responses.items() if isinstance(responses, Mapping) else ():
            if (question := self._questions.get(key)) and isinstance(answer, dict):
                question.answer = answer
                question.answered.set()
        self.client, self.outbox.channel = client, client.channel
        try:
            await self.outbox.drain()
            while self._outcome is None:
                if self._open():
                    await anyio.sleep(FOLD)
                    if self._open():
                        break
                else:
                    await self._news.wait()
            await self.outbox.drain()
        except anyio.get_cancelled_exc_class():
            self._scope.cancel()
            raise
        finally:
            self.outbox.channel = None
            self._left_at = anyio.current_time()
        if isinstance(self._outcome, MCPError):
            raise self._outcome
        if self._outcome is not None:
            return self._outcome
        return {"resultType": "input_required", "inputRequests": self._open(), "requestState": self.state}

    def _open(self) -> dict[str, Any]:
        return {key: item.request for key, item in self._questions.items() if not item.answered.is_set()}

    def _tell_news(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def _identity(method: str, params: Mapping[str, Any]) -> tuple[object, ...]:
    """What a retry has in common with the request it repeats."""
    return method, params.get("name"), params.get("uri"), params.get("arguments")


async def converse(client: Client, params: Mapping[str, Any], send: Send) -> dict[str, Any]:
    """Make a legacy client's call at a modern backend, asking the client live whatever the backend wants to know.

    Args:
        client: who calls.
        params: of the call.
        send: makes the call with the params it is given.

    Raises:
        MCPError: the backend's own error; the client's, in answer to a question; or there is no end of questions.
    """
    result = await send(params)
    for _ in range(ROUNDS):
        if result.get("resultType") != "input_required":
            return result
        requests = result.get("inputRequests")
        retry = dict(params)
        if isinstance(requests, Mapping):
            retry["inputResponses"] = await _ask_all(client, requests)
        if "requestState" in result:
            retry["requestState"] = result["requestState"]
        result = await send(retry)
    raise MCPError(INTERNAL_ERROR, f"The server asked more than {ROUNDS} times during one call")


async def _ask_all(client: Client, requests: Mapping[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}

    async def ask(key: str, request: Mapping[str, Any]) -> None:
        method, params = str(request.get("method")), request.get("params")
        answers[key] = await calls.ask(client.channel, client.session, method, params)

    try:
        async with anyio.create_task_group() as group:
            for key, request in requests.items():
                if not isinstance(request, Mapping) or not isinstance(request.get("params") or {}, Mapping):
                    raise MCPError(INTERNAL_ERROR, f"The server's question '{key}' is not a request")
                group.start_soon(ask, key, request)
    except ExceptionGroup as exc:
        raise unwrap(exc) from None
    return {key: answers[key] for key in requests}
