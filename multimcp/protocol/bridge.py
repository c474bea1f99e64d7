"""Questions carried between the eras.

Rules:
- Modern client, legacy backend: a question of the backend becomes an `input_required` result, and the retry brings the
  answer. Meanwhile the call is *held*: it goes on at the backend, though no request of the client is in flight.
- Legacy client, modern backend: an `input_required` result becomes live requests to the client, and the call is
  repeated with the answers.
- A call whose client does not come back is cancelled at the backend when its question has waited `calls.ANSWER_WAIT`.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

from msgspec import UNSET, Raw

from multimcp.errors import Fault

from . import calls
from .calls import ENDED, LATE, Asker, Call, Clock, Question, Timer, check_ability
from .eras import CAPABILITIES_KEY
from .link import QUESTIONS, Link
from .message import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Fields,
    Message,
    failed,
    fields,
    is_object,
    pack,
    string,
    text,
    value,
)

FOLD = 0.02
"""Seconds in which further questions are put into one result with the first."""

ROUNDS = 100
"""How often a backend may ask during one call of a legacy client."""

WAITING = 10_000
"""Messages that wait for a client that is away to find answers, and their bytes; what comes then is dropped."""
WAITING_SIZE = 4 * 1024 * 1024

STRANGE: Final = (
    "This requestState is not known to this process, or not any more: a question of a server of an older revision is "
    "held by the process that put it, not by another replica nor after a restart; begin again without it"
)

_INPUT_REQUIRED: Final = "input_required"
_IDENTITY: Final = ("name", "uri", "arguments")


class HeldCalls:
    """The calls of modern clients at a legacy backend, by the `requestState` by which the client continues each."""

    def __init__(self, clock: Clock, new_state: Callable[[], str], implementation: Raw) -> None:
        """`new_state` makes a string that nobody can guess."""
        self.clock = clock
        self.new_state = new_state
        self.implementation = implementation
        self.away: dict[str, Held] = {}
        """Those whose client may come back."""

    def request(self, call: Call, link: Link, params: Fields, meta: Fields) -> None:
        """Make a call.

        Raises:
            Fault: the client's: it continues a call that is not there.
        """
        if "requestState" in params:
            raise Fault(INVALID_PARAMS, STRANGE)
        link.request(Held(self, call, params, meta).call, params, meta)

    def resume(self, call: Call, params: Fields) -> bool:
        """Continue a held call with the answers in `params`; false where this call continues none.

        Raises:
            Fault: the client's: this is another request than the one that it continues.
        """
        held = self.away.get(text(params.get("requestState")) or "")
        if held is None:
            return False
        held.check(call.method, params)
        del self.away[held.state]
        held.turn(call, params)
        return True


class Held:
    """A call of a modern client at a legacy backend: the port of the request there, and who is asked during it."""

    def __init__(self, all_held: HeldCalls, outer: Call, params: Fields, meta: Fields) -> None:
        """`outer` is the client's request that is in flight."""
        self.state = all_held.new_state()
        self.call = Call(
            self,
            "modern",
            outer.id,
            outer.method,
            meta,
            None,
            outer.capabilities,
            all_held.implementation,
            outer.origin,
        )
        self.call.ask = self.ask
        self.call.rewrite = outer.rewrite
        self._outer: Call | None = outer
        self._clock = all_held.clock
        self._away = all_held.away
        self._identity = _identity(params)
        self._abilities = fields(meta.get(CAPABILITIES_KEY))
        self._questions: dict[str, tuple[Question, Raw]] = {}
        self._numbers = count(1)
        self._outcome: Message | None = None
        self._timer: Timer | None = None
        """Runs while the client is away."""
        self._waiting: deque[bytes] = deque(maxlen=WAITING)
        self._size = 0
        outer.carried(self, 0)

    # The port of the call at the backend

    def tell(self, data: bytes) -> None:
        """Tell the client; while it is away the message waits."""
        if self._outer is not None:
            self._outer.port.tell(data)
        else:
            if self._size + len(data) <= WAITING_SIZE:
                self._waiting.append(data)
                self._size += len(data)

    def done(self, answer: Message | None) -> None:
        """The backend has answered; None: the call was given up."""
        self._outcome = answer or failed(ENDED)
        self._settle()

    # Who is asked during it

    def ask(self, asker: Asker, call: Call | None, method: str, params: Fields, clock: Clock) -> Question:
        """Keep a question until the client's next retry brings the answer.

        Raises:
            Fault: what a client answers to what it cannot do.
        """
        check_ability(self._abilities, method, params)
        question = Question(next(self._numbers), asker, self._withdrawn, call, clock)
        request = pack({"method": method} | ({"params": params} if params else {}))
        self._questions[f"question-{question.number}"] = question, request
        if self._outer is not None:
            clock.later(FOLD, self._settle)
        return question

    def _withdrawn(self, question: Question) -> None:
        self._questions.pop(f"question-{question.number}", None)

    # The client's turns

    def check(self, method: str, params: Fields) -> None:
        """Raise the error of a client that continues another request than it began."""
        if method != self.call.method or _identity(params) != self._identity:
            raise Fault(INVALID_PARAMS, f"This requestState belongs to another request than this {method}")

    def turn(self, outer: Call, params: Fields) -> None:
        """The client comes back, perhaps with answers."""
        if self._timer is not None:
            self._timer.cancel()
        self._outer = outer
        outer.carried(self, 0)
        self.call.token, self.call.level, self.call.rewrite = outer.token, outer.level, outer.rewrite
        while self._waiting:
            outer.port.tell(self._waiting.popleft())
        self._size = 0
        for name, answer in fields(params.get("inputResponses")).items():
            if name in self._questions and is_object(answer):
                self._questions.pop(name)[0].answer(Message("2.0", result=answer))
        if self._outcome is not None:
            self._settle()
        elif self._questions:
            self._clock.later(FOLD, self._settle)

    def give_up(self, number: int, reason: Raw | None = None) -> None:
        """The client has hung up."""
        self._outer = None
        self.call.cancel(reason)

    def _settle(self) -> None:
        """Answer the client's request, if there is something to say."""
        outer = self._outer
        if outer is None or outer.is_over:
            return
        if self._outcome is not None:
            self._outer = None
            if not outer.goes_on(self._outcome):
                outer.conclude(self._outcome)
        elif self._questions:
            self._outer, self._away[self.state] = None, self
            self._timer = self._clock.later(calls.ANSWER_WAIT, self._forget)
            questions = {name: request for name, (_, request) in self._questions.items()}
            result = {"resultType": _INPUT_REQUIRED, "inputRequests": questions, "requestState": self.state}
            outer.finish(Message("2.0", result=pack(result)), "modern")

    def _forget(self) -> None:
        """The client did not come back in time."""
        del self._away[self.state]
        for question, _ in list(self._questions.values()):
            question.end(LATE)
        self.call.cancel()


def _identity(params: Fields) -> list[object]:
    """What a retry has in common with the request it repeats."""
    return [value(params.get(name), sys.maxsize) for name in _IDENTITY]


class Converse:
    """A legacy client's call at a modern backend: the client is asked live whatever the backend wants to know."""

    def __init__(self, call: Call, link: Link, params: Fields, meta: Fields, clock: Clock) -> None:
        self._call = call
        self._link = link
        self._params = params
        self._meta = meta
        self._clock = clock
        self._rounds = 0
        self._state: Raw | None = None
        self._answers: dict[str, Raw | None] = {}
        call.converse = self.take

    def take(self, answer: Message) -> bool:
        """Whether this result of the backend is a question; it is dealt with then.

        Raises:
            Fault: the backend's: it asks without end, or what is no question; the client's: it cannot answer that.
        """
        assert answer.result is not UNSET
        result = fields(answer.result)
        if text(result.get("resultType")) != _INPUT_REQUIRED:
            return False
        if self._rounds == ROUNDS:
            raise Fault(INTERNAL_ERROR, f"The server asked more than {ROUNDS} times during one call")
        self._rounds += 1
        self._state = result.get("requestState")
        requests = fields(result.get("inputRequests"))
        if len(requests) > QUESTIONS:
            raise Fault(INTERNAL_ERROR, f"The server asked more than {QUESTIONS} questions at a time")
        self._answers = dict.fromkeys(requests)
        for name, raw in requests.items():
            self._ask(name, fields(raw))
        if not requests:
            self._repeat()
        return True

    def _ask(self, name: str, request: Fields) -> None:
        params = request.get("params", UNSET)
        if "method" not in request or (params is not UNSET and not is_object(params)) or self._call.ask is None:
            raise Fault(INTERNAL_ERROR, f"The server's question '{name}' is not a request")
        heard = partial(self._heard, name)
        self._call.ask(heard, self._call, string(request, "method"), fields(params), self._clock)

    def _heard(self, name: str, answer: Message | None) -> None:
        """The client has answered one of the questions."""
        if self._call.is_over or answer is None:
            return
        if answer.result is UNSET:
            self._call.conclude(answer)
            return
        self._answers[name] = answer.result
        if None not in self._answers.values():
            self._repeat()

    def _repeat(self) -> None:
        params = dict(self._params)
        if self._answers:
            params["inputResponses"] = pack(self._answers)
        if self._state is not None:
            params["requestState"] = self._state
        self._link.request(self._call, params, self._meta)
