"""One MCP connection to a backend, in one era: what is in flight on it, and whom a message of the backend concerns.

Rules:
- `receive` takes what the backend sends in the order of the wire, and nothing in it waits: so order costs nothing.
- Over streamable HTTP the stream says which call a message belongs to (`via`); else it is meant for the client that has
  a call in flight. A question that could be meant for more than one client is put to none.
- A message that cannot be read fails the one request it answers; the connection goes on. What we asked for ourselves,
  as lists, is used all the same where only its text is wrong.
- What belongs to no call goes up as an event.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType

from multimcp.errors import Fault, backend_failure

from .calls import (
    ACKNOWLEDGED,
    CANCELLED,
    ENDED,
    LOG,
    OVER,
    PROGRESS,
    UPDATED,
    Begun,
    Call,
    Clients,
    Clock,
    Port,
    Question,
    Session,
    Timer,
)
from .eras import SUBSCRIPTION_KEY, TOKEN_KEY, end_to_end, to_backend
from .extensions import OURS
from .framing import Oversized
from .limits import UNASKED, Allowance
from .message import (
    BYTE_ORDER_MARK,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    Era,
    Fields,
    Id,
    Message,
    Salvaged,
    answer,
    batch,
    failed,
    fields,
    key,
    mended,
    notification,
    number_of,
    opened,
    pack,
    read,
    request,
    salvage,
    succeeded,
    text,
    value,
)
from .offer import LIST_CHANGED
from .tasks import NEWS, STATUS, task_of, to_client, to_server

_OURS = pack({"extensions": OURS})
"""What requests of the proxy itself declare, on connections that are shared."""

_list = msgspec.json.Decoder(list[Raw])

_ROOTS = "roots/list"
_NO_ROOTS = pack({"roots": []})
UNREACHED = "the server cannot be reached"
UNREADABLE = "The server's answer is not one that MCP allows"
UNCLAIMED = "The server answered under an id that is none of ours, and seems to have meant this request"

_HOLDS: Final = {
    "tools/call": "content",
    "prompts/get": "messages",
    "resources/read": "contents",
    "completion/complete": "completion",
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""What a result has to have, by the method."""

QUESTIONS = 100
"""Questions of a server that are open at a time, on one connection."""

ID = 1000
"""Characters that their ids may have."""

STRANGE = 100
"""Answers under ids that are none of ours that are kept, and the bytes of an error that is."""
STRANGE_SIZE = 4096

_BEGINS: Final = frozenset({*(bytes([each]) for each in b"{[ \t\r\n"), BYTE_ORDER_MARK[:1]})
"""What a message may begin with."""

UNCLAIMED_WAIT = 30.0
"""Seconds after such an answer in which the requests that were in flight have to be answered; those that are not fail.
One with the id null, as for a request that could not be read, is given to the last that is left as soon as it is."""


# What goes up to the backend


class ListsChanged(NamedTuple):
    """The lists of this capability changed."""

    capability: str


class Updated(NamedTuple):
    """A resource changed; `params` name it."""

    params: Fields


class Said(NamedTuple):
    """A notification that belongs to no call."""

    method: str
    params: Fields
    data: bytes


class Noise(NamedTuple):
    """The backend sent what is no MCP message."""

    text: str


class Doubt(NamedTuple):
    """A question was refused, as more than one client, or none, could be meant."""

    text: str


class Missed(NamedTuple):
    """Something may have been said while there was no stream to hear it on."""


class Unsent(NamedTuple):
    """A request that was surely not processed, and has to be sent again: on another connection, or, where the backend
    has refused the headers that were `sent` with it, with others."""

    call: Call
    params: Fields
    meta: Fields
    sent: Mapping[str, str] = {}
    refusal: Message | None = None


class Lost(NamedTuple):
    """Nothing comes any more."""

    reason: str


class Excess(NamedTuple):
    """The backend, or what is sent to it, went over a bound, or had to be mended."""

    text: str


Event = ListsChanged | Updated | Said | Noise | Doubt | Excess | Missed | Unsent | Lost


class Wire(Protocol):
    """How bytes get to the backend. Nothing here waits."""

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        """Send a request; what comes back goes to `Link.receive`."""

    def write(self, data: bytes) -> None:
        """Send a notification or an answer."""

    def cancel(self, number: int, data: bytes) -> None:
        """Take back a request; `data` is the notification that says so, where that is the way."""


class _Ours(Port):
    """Where the answers to the proxy's own requests go."""

    def __init__(self, take: Callable[[Message], None]) -> None:
        self._take = take

    def tell(self, data: bytes) -> None:
        pass

    def done(self, answer: Message | None) -> None:
        self._take(answer or failed(ENDED))


class Link:
    """One MCP connection to a backend.

    Args:
        server: the backend's name, for errors.
        era: in which it is spoken.
        clients: who may be asked when a question belongs to no call.
        clock: the event loop's.
        emit: takes what belongs to no call, in the order of the wire.
        implementation: how the proxy introduces itself.
        timeout: seconds in which each request has to be answered, if it has to be.
        owner: the client that has this connection for itself.
        hint: what an operator can do where it is not clear whom a question is meant for.
    """

    def __init__(
        self,
        server: str,
        era: Era,
        clients: Clients,
        clock: Clock,
        emit: Callable[["Link", Event], None],
        *,
        implementation: Raw,
        timeout: float | None = None,
        owner: Session | None = None,
        hint: str = "",
    ) -> None:
        self.server = server
        self.era: Era = era
        self.owner = owner
        self.state: Literal["open", "lost"] = "open"
        self.pending: dict[int, Call] = {}
        """What is in flight, by the number it has here."""
        self._wire: Wire | None = None
        self._clients = clients
        self._clock = clock
        self._emit = emit
        self._implementation = implementation
        self._timeout = timeout
        self._hint = hint
        self._count = 0
        """Requests so far: each has its number."""
        self._notices = 0
        """Notifications that some servers will still answer, which were sent after the request `_noticed`."""
        self._noticed = 0
        self._unclaimed: list[Message] = []
        self._suspects: set[int] = set()
        self._claim_timer: Timer | None = None
        self._questions: dict[object, Question] = {}
        self._unasked = Allowance(UNASKED, clock.now())
        self._is_noisy = False

    def emit(self, event: Event) -> None:
        """Tell what belongs to no call."""
        self._emit(self, event)

    def use(self, wire: Wire) -> None:
        """Write to this from now on."""
        self._wire = wire

    # Down: from a client to the backend

    def request(self, call: Call, params: Fields, meta: Fields, own: Fields | None = None) -> int:
        """Send a call; its answer, or its failure, follows by itself. Returns its number here.

        `own` is what is added to `_meta` for this hop.
        """
        self._count = number = self._count + 1
        if self.state == "lost":
            call.fail(self._ended(call))
            return number
        self.pending[number] = call
        call.carried(self, number)
        if call.session is not None and "task" in params:
            call.task = ""
        if self._timeout is not None and not call.is_ours:
            call.limit(self._clock, self._timeout, lambda: self._expire(number, call))
        level = call.session.level if call.session else None
        params = to_backend(
            params, meta, self.era, number, self._implementation, call.capabilities, level=level, own=own
        )
        assert self._wire is not None
        self._wire.request(number, call.method, params, request(number, call.method, params or UNSET))
        return number

    def ask(
        self,
        method: str,
        params: Fields,
        take: Callable[[Message], None],
        own: Fields | None = None,
        capabilities: Raw | None = None,
    ) -> Call:
        """Send a request of our own, with `own` in its `_meta`; `take` gets its answer.

        It declares the `capabilities` of the client that it is for, if there is one.
        """
        call = Call(_Ours(take), self.era, 0, method, {})
        call.is_ours = True
        call.capabilities = capabilities or (self.owner.for_modern if self.owner else _OURS)
        self.request(call, params, {}, own)
        return call

    def notify(self, method: str, params: Fields) -> None:
        """Send a notification."""
        self.notified()
        self._write(notification(method, params))

    def notified(self) -> None:
        """A notification is sent. What comes under the id null may answer it, until a later request is answered."""
        self._notices, self._noticed = self._notices + 1, self._count

    def give_up(self, number: int, reason: Raw | None = None) -> None:
        """Nobody waits for this request any more."""
        if number in self._suspects and self._unclaimed:  # it was this one, most likely
            self._unclaimed.pop(0)
            self._suspects = self._suspects if self._unclaimed else set()
        if (call := self.pending.pop(number, None)) is not None and self.state == "open" and self._wire is not None:
            if call.method == "initialize":  # which must not be cancelled (spec, cancellation)
                return
            params = {"requestId": pack(number)} | ({"reason": reason} if reason else {})
            self._wire.cancel(number, notification(CANCELLED, params))

    def fail(self, number: int, fault: Fault) -> None:
        """A request got no answer, and never will."""
        if (call := self.pending.pop(number, None)) is not None:
            call.fail(fault)

    def broken_off(self, number: int) -> None:
        """The backend has closed the stream of this request, and expects that it is resumed."""
        if (call := self.pending.get(number)) is not None and call.on_break is not None:
            call.on_break()

    def lose(self, reason: str, spared: Collection[int] = ()) -> None:
        """Nothing can be sent any more: what is in flight fails, but for what is `spared`; questions are withdrawn."""
        was_open, self.state = self.state == "open", "lost"
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.withdraw()
        for number in [number for number in self.pending if number not in spared]:
            call = self.pending.pop(number)
            call.fail(self._ended(call))
        if was_open:
            self._emit(self, Lost(reason))

    def is_first_try(self, number: int) -> bool:
        """Whether a request is waited for, and has not been sent a second time."""
        return (call := self.pending.get(number)) is not None and not call.is_repeated

    def put_back(self, number: int, data: bytes, sent: Mapping[str, str] = {}, refusal: Message | None = None) -> None:
        """Have a client's request, whose bytes are `data`, sent again: it surely was not processed.

        That is done once, on another connection, to which one with which a client answers to a modern server does not
        belong; or on this one, after a `refusal` of the headers that were `sent`.
        """
        call = self.pending.get(number)
        if call is not None and not (call.is_ours or call.is_repeated or (call.converse and refusal is None)):
            del self.pending[number]
            call.is_repeated = True
            params = opened(read(data).params)
            self._emit(self, Unsent(call, params, opened(params.pop("_meta", None)), sent, refusal))

    def _expire(self, number: int, call: Call) -> None:
        if not call.is_over:
            self.give_up(number)
            reason = f'did not answer {call.method} within {self._timeout:g} s (its "timeout")'
            call.fail(backend_failure(self.server, reason, REQUEST_TIMEOUT))

    def _ended(self, call: Call) -> Fault:
        return backend_failure(self.server, f"the connection ended before it answered {call.method}")

    def _write(self, data: bytes) -> None:
        if self.state == "open" and self._wire is not None:
            self._wire.write(data)

    # Up: from the backend to a client

    def receive(self, data: bytes | Oversized, via: int | None = None, *, by_id: bool = False) -> None:
        """Take one message of the backend, or a batch of them (revision 2025-03-26).

        Args:
            data: as it came.
            via: the number of the request on whose stream it came. An answer there is that request's, whatever id it
                has, unless `by_id` says that the stream was resumed and repeats what others got.
        """
        if isinstance(data, Oversized):
            problem = f"a message of {data.size:,} bytes, which is too large"
            self._emit(self, Excess(f"sent {problem} (--max-message)"))
            # Without an id, on the stream of a request, it can only be meant to be its answer.
            of_stream = None if via is None else Salvaged(via, True)
            return self._unreadable(data, data.salvage() or of_stream, problem)
        if data[:1] not in _BEGINS or data.isspace():  # noise, which may come without end, costs next to nothing
            return self._unreadable(data, None, "")
        try:
            message = read(data)
        except Fault as fault:
            return self._mend(data, via, by_id, fault)
        if message.is_answer:
            number = number_of(message.id)
            if via is None or number == via or (by_id and number is not None):
                self._answered(message, number)
            else:
                self._mistaken(message, via)
        elif not self._unasked.take(self._clock.now(), len(data)):
            self._emit(self, Excess(f"sends more than {UNASKED} that nobody asked for; what is too much is left out"))
        elif message.id is UNSET:
            self._told(message, via)
        else:
            self._asked(message, via)
        return None

    def refuse(self, number: int, problem: str) -> None:
        """A request goes over a bound, and is not sent."""
        self._emit(self, Excess(problem))
        self.fail(number, backend_failure(self.server, problem))

    def _mend(self, data: bytes, via: int | None, by_id: bool, fault: Fault) -> None:
        """Take what is no message as it stands: a batch (revision 2025-03-26), or an answer that lacks its id."""
        with suppress(Fault):
            if parts := batch(data, len(data)):
                for part in parts:
                    if part.startswith(b"{"):  # no batch is in a batch
                        self.receive(part, via, by_id=by_id)
                return None
        found = salvage(data)
        if via is None or by_id or (found is not None and found.has_method):
            return self._unreadable(data, found, fault.message)
        told = fields(Raw(data))
        result, error = told.get("result", UNSET), told.get("error", UNSET)
        if fault.code == INVALID_REQUEST and (result is UNSET) != (error is UNSET):
            return self._mistaken(Message("2.0", result=result, error=error), via)
        return self._unreadable(data, Salvaged(via, True) if told else None, fault.message)

    def _mistaken(self, message: Message, via: int) -> None:
        """Take an answer under another id than that of the request on whose stream it came."""
        call = self.pending.get(via)
        if call is not None and message.result is not UNSET:
            expected = {_HOLDS.get(call.method), "structuredContent", "resultType"}
            if None not in expected and not expected & fields(message.result).keys():
                return self.fail(via, Fault(INTERNAL_ERROR, UNCLAIMED))  # it is not even of that kind
        return self._answered(message, via)

    def _unreadable(self, data: bytes | Oversized, found: Any, problem: str) -> None:
        if found is None:
            if not (self._is_noisy or isinstance(data, Oversized)) and (said := data[:400].strip()):
                self._is_noisy = True
                self._emit(self, Noise(said.decode(errors="replace")))
        elif not found.has_method:  # an answer, or what is one for want of anything else
            number = number_of(found.id)
            reason = f"{UNREADABLE} ({problem})" if isinstance(data, Oversized) else UNREADABLE
            if number is not None and not self._has_mended(number, data):
                self.fail(number, Fault(PARSE_ERROR, reason))
        else:
            self._write(answer(found.id, failed(Fault(PARSE_ERROR, problem))))

    def _has_mended(self, number: int, data: bytes | Oversized) -> bool:
        """Whether this answered a request of our own: for one bad word we do not go without all that a server lists."""
        call = self.pending.get(number)
        if call is None or not call.is_ours or isinstance(data, Oversized) or (message := mended(data)) is None:
            return False
        self._emit(self, Excess(f"answers {call.method} with text that is not Unicode; it is mended, and used"))
        self._answered(message, number)
        return True

    def _answered(self, message: Message, number: int | None) -> None:
        if number is not None and (call := self.pending.pop(number, None)) is not None:
            if self._notices and number > self._noticed:
                self._notices = 0
            if call.task is not None and call.session is not None and message.result is not UNSET:
                self._note_task(call, call.session, message.result)
            call.finish(message, self.era)
            if self._unclaimed:
                self._claim()
        elif message.id is None and self._notices:
            self._notices -= 1
            self._emit(self, Doubt("answers notifications, which have no answer; that is passed over"))
        elif number is None or not 0 < number <= self._count:
            if len(self._unclaimed) < STRANGE:
                is_large = message.error is not UNSET and memoryview(message.error).nbytes > STRANGE_SIZE
                error = failed(Fault(INTERNAL_ERROR, UNCLAIMED)).error if is_large else message.error
                self._unclaimed.append(Message("2.0", message.id if message.id is None else 0, error=error))
            self._emit(self, Doubt(f"answered under an id that is none of ours: {str(message.id)[:80]!r}"))
            if self._claim_timer is None:
                self._claim_timer = self._clock.later(UNCLAIMED_WAIT, partial(self._claim, is_late=True))
            self._suspects |= {each for each, call in self.pending.items() if call.on_listening is None}
            self._claim()

    def _note_task(self, call: Call, session: Session, result: Raw) -> None:
        """A legacy client has begun a task, or was told of one that it may have begun before we were started."""
        begin = partial(self._clients.tasks.begin, self.server, self.owner)
        if (begun := text(fields(fields(result).get("task")).get("taskId"))) is not None:
            begin(begun, Begun(session, call.number, call.token))
        elif call.task and self._beginner(call.task) is None:
            begin(call.task, Begun(session))

    def begun_by(self, call: Call, tasks: Raw | None) -> list[Raw]:
        """Of the tasks that the backend has listed, those of a client, under their public ids."""
        try:
            listed = _list.decode(tasks or b"[]")
        except (ValueError, RecursionError):
            return []
        return [to_client(task, self.server, call.holder) for task in listed if self._is_of(call, task)]

    def _is_of(self, call: Call, task: Raw) -> bool:
        number = text(fields(task).get("taskId"))
        begun = self._beginner(number) if number is not None else None
        return begun is not None and begun.session is call.session

    def _beginner(self, task: str) -> Begun | None:
        """Who has begun a task, as far as that is known, or cannot but be so."""
        begun, only = self._clients.tasks.of(self.server, self.owner, task), self._clients.only
        return begun or (Begun(only) if only is not None else None)

    # Answers under ids that are none of ours: each may belong to one of the requests that were in flight then

    def _claim(self, *, is_late: bool = False) -> None:
        """Give them to who is left to have been meant; when it is `is_late`, to all who may have been."""
        self._suspects &= self.pending.keys()
        nameless = sum(message.id is None for message in self._unclaimed)  # any other may be a mere stranger
        if is_late or len(self._suspects) <= nameless:
            answers, self._unclaimed = self._unclaimed, []
            suspects, self._suspects = self._suspects, set()
            if self._claim_timer is not None:
                self._claim_timer.cancel()
                self._claim_timer = None
            for number in sorted(suspects):
                message = answers.pop(0) if answers else None
                if message is not None and message.error is not UNSET:
                    self._answered(message, number)
                else:
                    self.fail(number, Fault(INTERNAL_ERROR, UNCLAIMED))

    def _told(self, message: Message, via: int | None) -> None:
        method = str(message.method)
        params = fields(message.params)
        subscription = fields(params.get("_meta")).get(SUBSCRIPTION_KEY) if "_meta" in params else None
        params = end_to_end(params)
        if method == PROGRESS:
            self._progressed(params)
        elif method == CANCELLED:
            if (question := self._questions.pop(key(value(params.get("requestId"))), None)) is not None:
                question.withdraw()
        elif method in (ACKNOWLEDGED, NEWS):
            call = self.pending.get(number_of(value(subscription)) or via or 0)
            if call is not None and call.on_listening is not None:
                call.on_listening(method, params)
        elif method in LIST_CHANGED:
            self._emit(self, ListsChanged(LIST_CHANGED[method]))
        elif method == UPDATED:
            self._emit(self, Updated(params))
        else:
            self._said(message, method, params, via)

    def _progressed(self, params: Fields) -> None:
        number = number_of(value(params.get(TOKEN_KEY)))
        call = self.pending.get(number) if number is not None else None
        task = task_of(PROGRESS, params)
        if call is not None and call.token is not None:
            params = {**params, TOKEN_KEY: call.token}
            call.port.tell(self._notice(PROGRESS, params, call.holder if task is not None else None))
        begun = self._beginner(task) if task is not None and call is None else None
        if begun is not None and begun.token and begun.number == number:  # the call is over, its task is not
            begun.session.tell(self._notice(PROGRESS, {**params, TOKEN_KEY: begun.token}, begun.session.key))

    def _notice(self, method: str, params: Fields | Raw | UnsetType, key: bytes | None) -> bytes:
        """A notification; with a `key`, under the ids of tasks of clients that have that one."""
        return notification(method, params if key is None else to_client(pack(params), self.server, key))

    def _of_task(self, method: str, params: Fields, via: int | None, task: str) -> None:
        """Take a notification on a task: for who has begun it; or, unless it tells a status, for who asks for it."""
        begun = self._beginner(task)
        if self.era == "legacy" and begun is not None:
            data = self._notice(method, params, begun.session.key)
            self._clients.broadcast(method, params, data, lambda session: session is begun.session)
        elif method != STATUS:
            for call in self._meant(via) or []:
                if (via is not None or call.task == task) and (method != LOG or call.wants(text(params.get("level")))):
                    call.port.tell(self._notice(method, params, call.holder))

    def _said(self, message: Message, method: str, params: Fields, via: int | None) -> None:
        if (task := task_of(method, params)) is not None:
            self._of_task(method, params, via, task)
            return
        # As it came, but for what speaks of this hop.
        data = notification(method, params if "_meta" in fields(message.params) else message.params)
        calls = self._meant(via)
        if calls is None:
            self._emit(self, Said(method, params, data))
            return
        if method == LOG:
            level = text(params.get("level"))
            calls = [call for call in calls if call.wants(level)]
            if self.era == "modern" and len(calls) != 1:
                return  # only the one whose request it belongs to may see it (spec, per-request log level)
        for call in calls:
            call.port.tell(data)

    def _meant(self, via: int | None) -> list[Call] | None:
        """The calls that a message may belong to, one for each client; None: it belongs to no call.

        What comes on the stream of a call that is over is for nobody.
        """
        if via is not None:
            call = self.pending.get(via)
            if call is None:
                return []
            if not call.is_ours:
                return [call]
        return list({call.who: call for call in self.pending.values() if not call.is_ours}.values()) or None

    def _asked(self, message: Message, via: int | None) -> None:
        number, method = message.id, str(message.method)
        assert number is not UNSET
        assert number is not None
        if method == "ping":
            return self._write(answer(number, succeeded()))
        try:
            self._check(number)
            if self.era == "modern":
                raise Fault(METHOD_NOT_FOUND, f"There is no {method} in this revision of MCP")
            params = end_to_end(opened(message.params))
            if (task := task_of(method, params)) is not None:
                return self._ask_of_task(number, method, params, via, task)
            calls = self._meant(via)
            if calls is None:
                self._ask_outside(number, method, params)
            elif len(calls) != 1:
                raise self._doubt(method, len(calls))
            else:
                self._ask(number, calls[0], None, method, params)
        except Fault as fault:
            self._write(answer(number, failed(fault)))
        return None

    def _ask_of_task(self, number: Id, method: str, params: Fields, via: int | None, task: str) -> None:
        """Ask who has begun a task, on the request that waits for its result if there is one, or who waits for it.

        Raises:
            Fault: nobody is known to have begun it.
        """
        begun = self._beginner(task)
        calls = [call for call in self.pending.values() if call.task == task and call.method == "tasks/result"]
        if begun is not None:
            calls = [call for call in calls if call.session is begun.session]
        elif not calls:
            calls = self._meant(via) or []
        if begun is None and len(calls) != 1:
            raise self._doubt(method, len(calls))
        call = calls[0] if calls else None
        holder = call.holder if call is not None else begun.session.key if begun is not None else b""
        self._ask(number, call, begun.session if begun is not None else None, method, params, holder)

    def _check(self, number: Id) -> None:
        """Raise the error of a question that is one too many."""
        if len(str(number)) > ID:
            raise Fault(INVALID_REQUEST, f"An id of a request has {ID:,} characters at most")
        if key(number) in self._questions:
            raise Fault(INVALID_REQUEST, "A request of this id waits for its answer already")
        if len(self._questions) >= QUESTIONS:
            problem = f"asks more than {QUESTIONS} questions at a time; further ones are refused"
            self._emit(self, Excess(problem))
            raise Fault(INTERNAL_ERROR, f"MCP server '{self.server}': {problem}")

    def _ask_outside(self, number: Id, method: str, params: Fields) -> None:
        """Ask what belongs to no call: the client that has this connection, or the only one there is.

        Who shares a connection was told that there are roots, before any client was known: it gets none, not an error.
        """

        def ask(session: Session | None) -> None:
            try:
                if session is None:
                    code = METHOD_NOT_FOUND if method == _ROOTS else INTERNAL_ERROR
                    raise Fault(code, f"{method} is for nobody: no client has a call in flight{self._hint}")
                self._ask(number, None, session, method, params)
            except Fault as fault:
                has_none = method == _ROOTS and self.owner is None and fault.code == METHOD_NOT_FOUND
                self._write(answer(number, succeeded(_NO_ROOTS) if has_none else failed(fault)))

        if self.owner is not None or not self._clients.single(ask):
            ask(self.owner)

    def _ask(
        self,
        number: Id,
        call: Call | None,
        session: Session | None,
        method: str,
        params: Fields,
        holder: bytes | None = None,
    ) -> None:
        """Put a question; with a `holder`, it is about a task, and to a client with that API key."""
        if holder is not None:
            params = fields(to_client(pack(params), self.server, holder))
        ask = call.ask if call is not None else session.ask if session is not None else None
        if ask is None:
            raise Fault(INTERNAL_ERROR, OVER)
        question = ask(partial(self._settled, number, holder), call, method, params, self._clock)
        if question.is_open:
            self._questions[key(number)] = question

    def _settled(self, number: Id, holder: bytes | None, message: Message | None) -> None:
        """A question of the backend has its answer; None: it does not wait for one any more."""
        self._questions.pop(key(number), None)
        if message is not None:
            if holder is not None and message.result is not UNSET:
                message = succeeded(to_server(message.result, self.server, holder))
            self._write(answer(number, message))

    def _doubt(self, method: str, clients: int) -> Fault:
        reason = f"{clients} clients have a call in flight" if clients else "the call that it belongs to is over"
        problem = f"{method} was refused: {reason}, and it is not clear which client is meant{self._hint}"
        self._emit(self, Doubt(problem))
        return Fault(INTERNAL_ERROR, f"MCP server '{self.server}': {problem}")
