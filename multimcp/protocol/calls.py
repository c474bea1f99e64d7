"""Who asked, what is in flight, and who may be asked. No I/O, no event loop: bytes go out by `tell`, which never waits.

Rules:
- Messages reach a client in the order in which the backend sent them; those of a call before its result, none after.
- A client is asked only what it declared that it can answer. Questions and answers cross as they are.
- A question lives no longer than the call it belongs to: then the client learns that it is withdrawn, and the backend
  that nobody will answer.
- A call that waits for the user's answer does not use up its backend's `timeout`.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final, Literal, NamedTuple, Protocol

from msgspec import UNSET, Raw

from multimcp.errors import Fault

from .eras import LEVEL_KEY, LEVELS, SUBSCRIPTION_KEY, TOKEN_KEY, error_to_client, is_wanted, to_client
from .extensions import for_modern
from .limits import DEFAULT, Limits
from .message import (
    EMPTY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    REQUEST_TIMEOUT,
    URL_ELICITATION_REQUIRED,
    Era,
    Fields,
    Id,
    Message,
    error_of,
    failed,
    fields,
    key,
    notification,
    number_of,
    pack,
    request,
    result_of,
    succeeded,
    text,
    value,
)
from .names import Spelling
from .pool import Pool
from .seen import Seen

UPDATED: Final = "notifications/resources/updated"
VISITED: Final = "notifications/elicitation/complete"
LOG: Final = "notifications/message"
PROGRESS: Final = "notifications/progress"
CANCELLED: Final = "notifications/cancelled"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

TASKS: Final = 10_000
TASKS_OF_ONE: Final = 1000
LONGEST_TASK: Final = 1000
"""How many tasks are remembered for who has begun them, how many of one client, and how long their ids may be."""

ANSWER_WAIT = 600.0
"""Seconds a backend's question waits for its answer: a person may have to be found."""

EARLY = 100
"""Questions that wait for the only client to come, and URLs that one client was sent to and has not visited."""

LONGEST = 1000
"""Characters of an `elicitationId` that is remembered."""

OVER = "The call that this belongs to is over"
ENDED: Final = Fault(INVALID_REQUEST, OVER)
LATE: Final = Fault(REQUEST_TIMEOUT, "The client did not come back with an answer")

_QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}

CallState = Literal["waiting", "in flight", "asking", "over"]
_STATES: Final[dict[tuple[CallState, str], CallState]] = {
    ("waiting", "sent"): "in flight",
    ("in flight", "sent"): "in flight",  # repeated with answers, to a modern backend
    ("in flight", "asked"): "asking",
    ("asking", "asked"): "asking",
    ("asking", "answered"): "in flight",
    ("asking", "sent"): "in flight",
}
"""A client's request: it waits for a backend, is in flight there, and has the user asked meanwhile; each way it may be
over, and remains that."""

SessionState = Literal["greeted", "initialized", "gone"]
_SESSION_STATES: Final[dict[tuple[SessionState, str], SessionState]] = {
    ("greeted", "initialized"): "initialized",
    ("greeted", "left"): "gone",
    ("initialized", "left"): "gone",
}
"""A legacy client: it has been greeted, can be told and asked things, and is gone."""


class Timer(Protocol):
    """What `Clock.later` returns."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The event loop's time, in seconds."""

    def now(self) -> float: ...
    def later(self, seconds: float, do: Callable[[], None]) -> Timer: ...


@dataclass(frozen=True)
class Origin:
    """How a client's message came.

    Attributes:
        transport: over which transport.
        names: which spelling of names was asked for there, if any.
        chain: which proxies it came through, as an HTTP header says.
        key: the API key that let it in, if one is wanted.
    """

    transport: Literal["stdio", "sse", "http"] = "http"
    names: Spelling | None = None
    chain: str | None = None
    key: bytes | None = field(default=None, repr=False)


class Port(Protocol):
    """Where a call came from, and its answer goes."""

    def tell(self, data: bytes) -> None:
        """Send a message that belongs to the call, before its answer."""

    def done(self, answer: Message | None) -> None:
        """Answer the call; with None it gets no answer."""


class Carrier(Protocol):
    """Who has taken a call, and can be told that the client gave it up."""

    def give_up(self, number: int, reason: Raw | None = None) -> None: ...


Asker = Callable[[Message | None], None]
"""Takes the answer to its question; None: the question is over, and no answer to it is waited for."""


class Question:
    """A question of a backend, from the moment a client is asked until it is answered, withdrawn or too late.

    Args:
        number: by which the client knows it.
        asker: takes the answer.
        withdrawn: tells the client that its answer is not wanted any more.
        call: during which it is asked.
        clock: the event loop's.
    """

    def __init__(
        self, number: int, asker: Asker, withdrawn: Callable[["Question"], None], call: "Call | None", clock: Clock
    ) -> None:
        self.number = number
        self.is_open = True
        self.call = call
        self._asker = asker
        self._withdrawn = withdrawn
        self._timer = clock.later(ANSWER_WAIT, partial(self.end, LATE))
        if call is not None:
            call.asks(self)

    def answer(self, answer: Message) -> None:
        """The client has answered."""
        self._close(answer, is_withdrawn=False)

    def withdraw(self) -> None:
        """The backend has taken it back, or is gone."""
        self._close(None)

    def end(self, fault: Fault = ENDED) -> None:
        """Its call, or its client, is over."""
        self._close(failed(fault))

    def _close(self, answer: Message | None, *, is_withdrawn: bool = True) -> None:
        if self.is_open:
            self.is_open = False
            self._timer.cancel()
            if self.call is not None:
                self.call.asked(self)
            if is_withdrawn:
                self._withdrawn(self)
            self._asker(answer)


class Call:
    """One request of a client.

    Attributes:
        port: where its messages and its answer go.
        id: as the client spells it.
        capabilities: what the client can do, as it said.
        token: the client's progress token.
        level: from which level on a modern request wants log messages.
        is_ours: whether it is a request of the proxy itself.
        is_repeated: whether it had to be sent again, as the first connection was lost before it was processed.
        rewrite: how its result is to be changed for the client.
        converse: has the user asked what a modern backend wants to know; None where that crosses as it is.
        ask: has the user asked what a legacy backend wants to know.
        otherwise: called with the code of an error; goes on with another server if there is one, and says so.
        on_over: called with its answer when it is over.
        on_break: called when the backend has closed the call's stream, and its client is to come back for the rest.
        on_listening: called with what comes for a listening stream of ours: that it is acknowledged, and news of tasks.
        origin: how it came.
        names: the spelling of names that its client is shown.
        since: when the client was first heard of.
        seen: which lists the client has, where that is known.
        server: the backend that it was sent to.
        carrier: who has taken it, who knows it by its `number`.
        task: the task that it is about, under its server's id; empty where it may begin one, None where neither.
        headers: of the HTTP request that it came by in the modern era, with lower-case names.
    """

    is_ours = False
    is_repeated = False
    rewrite: Callable[[Raw], Raw] | None = None
    converse: Callable[[Message], bool] | None = None
    otherwise: Callable[[int], bool] | None = None
    ask: "Ask | None" = None
    on_over: Callable[["Call", Message | None], None] | None = None
    on_break: Callable[[], None] | None = None
    on_listening: "Heard | None" = None
    names: Spelling = "plain"
    since = 0.0
    seen: Seen | None = None
    server = ""
    state: CallState = "waiting"
    carrier: Carrier | None = None
    task: str | None = None
    headers: Mapping[bytes, bytes] = {}
    number = 0
    _clock: Clock | None = None
    _timer: Timer | None = None
    _expired: Callable[[], None] | None = None
    _deadline = _left = 0.0

    def __init__(
        self,
        port: Port,
        era: Era,
        number: Id,
        method: str,
        meta: Fields,
        session: "Session | None" = None,
        capabilities: Raw = EMPTY,
        implementation: Raw = EMPTY,
        origin: Origin = Origin(),
    ) -> None:
        self.port = port
        self.era: Era = era
        self.id = number
        self.method = method
        self.session = session
        self.capabilities = capabilities
        self.token = meta.get(TOKEN_KEY)
        self.level = text(meta.get(LEVEL_KEY)) if era == "modern" else None
        self.origin = origin
        self._implementation = implementation
        self._questions: set[Question] = set()
        if session is not None:
            self.ask, self.capabilities = session.ask, session.for_modern
            self.names, self.since, self.seen = session.names, session.since, session.seen
            self._place = place_of(session.calls, number)
            session.calls[self._place] = self

    @property
    def who(self) -> object:
        """The same for two requests if they are known to be of the same client."""
        return self.session or self

    @property
    def holder(self) -> bytes:
        """The API key that let it in; empty where none is wanted."""
        return self.origin.key or b""

    @property
    def is_over(self) -> bool:
        """Whether it is answered, or given up."""
        return self.state == "over"

    def wants(self, level: str | None) -> bool:
        """Whether the client is to get a log message of this level. What a legacy one left open is the backend's."""
        if self.session is not None:
            return is_wanted(level, self.session.level)
        return level in LEVELS and self.level in LEVELS and is_wanted(level, self.level)

    def carried(self, carrier: Carrier, number: int) -> None:
        """It is on its way, under this number."""
        self.carrier, self.number = carrier, number
        self._step("sent")

    def limit(self, clock: Clock, seconds: float, expired: Callable[[], None]) -> None:
        """Have `expired` called when its backend was silent for so long."""
        if self._timer is not None:
            self._timer.cancel()
        self._clock, self._expired = clock, expired
        self._deadline = clock.now() + seconds
        self._timer = clock.later(seconds, expired)

    def asks(self, question: Question) -> None:
        """The user is asked: the backend's time does not run."""
        self._questions.add(question)
        self._step("asked")
        if self._timer is not None and self._clock is not None:
            self._timer.cancel()
            self._timer, self._left = None, self._deadline - self._clock.now()

    def asked(self, question: Question) -> None:
        """A question is over; with the last one the backend's time runs on."""
        self._questions.discard(question)
        if self._questions or self.is_over:
            return
        self._step("answered")
        if self._expired is not None and self._clock is not None:
            self._deadline = self._clock.now() + self._left
            self._timer = self._clock.later(self._left, self._expired)

    def finish(self, answer: Message, spoken: Era) -> None:
        """The backend has answered, in the era `spoken`."""
        if self.state == "over":
            return
        try:
            if answer.result is not UNSET:
                if self.converse is not None and spoken == "modern" and self.converse(answer):
                    return
                result = result_of(answer)
                if self.rewrite is not None:
                    result = self.rewrite(result)
                check = partial(check_abilities, self.capabilities)
                answer = succeeded(to_client(self.method, result, spoken, self.era, self._implementation, check))
            elif (error := error_of(answer)) is not None:
                if self.goes_on(answer):
                    return
                if error.code == URL_ELICITATION_REQUIRED and self.session is not None:
                    self.session.note_elicitations(error.data)
                answer = error_to_client(answer, error, spoken, self.era)
        except Fault as fault:
            answer = failed(fault)
        self.conclude(answer)

    def goes_on(self, answer: Message) -> bool:
        """Whether another server is asked now, as this one has answered with an error, or cannot answer."""
        error = error_of(answer) if self.otherwise is not None and not self.is_over else None
        return error is not None and self.otherwise is not None and self.otherwise(error.code)

    def fail(self, fault: Fault) -> None:
        """Answer with an error, unless another server can be asked."""
        if not self.goes_on(answer := failed(fault)):
            self.conclude(answer)

    def cancel(self, reason: Raw | None = None) -> None:
        """The client does not want it any more."""
        if not self.is_over:
            if self.carrier is not None:
                self.carrier.give_up(self.number, reason)
            self.conclude(None)

    def conclude(self, answer: Message | None) -> None:
        """Answer with what is in the client's era already; None is no answer."""
        if self.state == "over":
            return
        self.state = "over"
        questions, self._questions = self._questions, set()
        if self._timer is not None:
            self._timer.cancel()
        for question in questions:
            question.end()
        if self.session is not None:
            self.session.calls.pop(self._place, None)
        self.port.done(answer)
        if self.on_over is not None:
            self.on_over(self, answer)
        # These lead back here: without them nothing is left for the garbage collector.
        self.on_over = self.rewrite = self.converse = self.otherwise = None

    def _step(self, event: str) -> None:
        self.state = _STATES.get((self.state, event), self.state)


def place_of(calls: Mapping[object, Call], number: Id) -> object:
    """Under which key a call is kept among its client's: its id; where that is in flight already, one of its own."""
    place = key(number)
    return place if place not in calls else (place, object())


Heard = Callable[[str, Fields], None]
"""Takes the method and the params of a notification."""

Ask = Callable[[Asker, "Call | None", str, Fields, Clock], Question]
"""Asks a client: (who takes the answer, during which call, method, params, clock). Raises `Fault`."""


class Session:
    """A legacy client, from its `initialize` until its connection ends.

    Args:
        number: its id.
        capabilities: what it can do, as it said.
        tell: sends a message that belongs to no call.
        since: the time of its `initialize`.

    Attributes:
        names: the spelling of names that it is shown.
        seen: which lists it has.
    """

    era: Era = "legacy"

    def __init__(self, number: str, capabilities: Raw, tell: Callable[[bytes], None], since: float = 0.0) -> None:
        self.id = number
        self.capabilities = capabilities
        self.for_modern = for_modern(capabilities)
        """What a modern server is told of it."""
        self.abilities = fields(capabilities)
        self.since = since
        self.names: Spelling = "plain"
        self.key = b""
        """The API key that let it in; empty where none is wanted."""
        self.seen = Seen({}, 0)
        self.state: SessionState = "greeted"
        self.level: str | None = None
        """From which level on it wants log messages; None while it has not said."""
        self.elicitations: deque[str] = deque(maxlen=EARLY)
        """The last URLs it was sent to, by `elicitationId`: it wants to know when the user has been there."""
        self.calls: dict[object, Call] = {}
        self.questions: dict[int, Question] = {}
        self.begun: dict[_TaskKey, None] = {}
        """The tasks that it has begun, the oldest first (`Tasks`)."""
        self.watched: set[str] = set()
        """The URIs that it subscribes to, as it spells them."""
        self.on_gone: list[Callable[[], None]] = []
        """Called when it is gone."""
        self._tell = tell
        self._numbers = count(1)

    @property
    def session(self) -> "Session":
        """Itself: whose lists it is told of."""
        return self

    @property
    def is_ready(self) -> bool:
        """Whether it can be told things."""
        return self.state == "initialized"

    def step(self, event: str) -> bool:
        """Note what happened; returns whether that changed its state."""
        before, self.state = self.state, _SESSION_STATES.get((self.state, event), self.state)
        return self.state != before

    def tell_changed(self, capability: str) -> None:
        """Tell that the lists of this capability (`tools`, ...) changed."""
        self.tell(notification(f"notifications/{capability}/list_changed"))

    def tell(self, data: bytes) -> None:
        """Send a message that belongs to no call, once the client can take one."""
        if self.state == "initialized":
            self._tell(data)

    def ask(self, asker: Asker, call: Call | None, method: str, params: Fields, clock: Clock) -> Question:
        """Put a question to the client.

        Raises:
            Fault: what a client answers to what it cannot do.
        """
        check_ability(self.abilities, method, params)
        if method == "elicitation/create":
            self._note_elicitation(params)
        question = Question(next(self._numbers), asker, self.withdrawn, call, clock)
        self.questions[question.number] = question
        send = call.port.tell if call is not None else self._tell
        send(request(question.number, method, params or UNSET))
        return question

    def answer(self, answer: Message) -> None:
        """The client has answered a question; one that is not open any more is nobody's."""
        number = number_of(answer.id)
        if number is not None and (question := self.questions.pop(number, None)) is not None:
            question.answer(answer)

    def withdrawn(self, question: Question) -> None:
        """An answer is not wanted any more."""
        if self.questions.pop(question.number, None) is not None and self.state != "gone":
            send = question.call.port.tell if question.call is not None else self._tell
            send(notification(CANCELLED, {"requestId": pack(question.number)}))

    def cancel(self, params: Fields) -> None:
        """The client's `notifications/cancelled`."""
        if (call := self.calls.get(key(value(params.get("requestId"))))) is not None:
            call.cancel(params.get("reason"))

    def leave(self) -> None:
        """Its connection has ended: so do its calls, among them an `initialize` that would have it join afterwards, and
        the questions to it."""
        if not self.step("left"):
            return
        for call in list(self.calls.values()):
            call.cancel()
        for question in list(self.questions.values()):
            question.end()
        for call_back in self.on_gone:
            call_back()

    @contextmanager
    def while_here(self, call_back: Callable[[], None]) -> Iterator[None]:
        """Call this if it goes within the block; at once if it is gone, as it tells that only once."""
        if self.state == "gone":
            call_back()
        self.on_gone.append(call_back)
        try:
            yield
        finally:
            self.on_gone.remove(call_back)

    def note_elicitations(self, data: Any) -> None:
        """Remember where a `URLElicitationRequired` error sends the client."""
        listed = value(fields(data if isinstance(data, Raw) else None).get("elicitations"))
        for elicitation in listed if isinstance(listed, list) else ():
            if isinstance(elicitation, dict) and isinstance(number := elicitation.get("elicitationId"), str):
                self._remember(number)

    def _note_elicitation(self, params: Fields) -> None:
        if (number := text(params.get("elicitationId"))) is not None:
            self._remember(number)

    def _remember(self, elicitation: str) -> None:
        if len(elicitation) <= LONGEST and elicitation not in self.elicitations:
            self.elicitations.append(elicitation)


_TaskKey = tuple[str, "Session | None", str]
"""A server, the client that has it for itself, and the server's id of a task."""


class Begun(NamedTuple):
    """Who has begun a task, with which request: its number at the backend, and the client's progress token."""

    session: Session
    number: int = 0
    token: Raw | None = None


class Tasks:
    """The tasks of 2025-11-25 that legacy clients have begun here: who is told of them, and may ask for them.

    That is all they are remembered for: one that is not known here any more belongs to the next who asks for it.
    """

    def __init__(self) -> None:
        self._begun: dict[_TaskKey, Begun] = {}

    def begin(self, server: str, owner: Session | None, task: str, begun: Begun) -> None:
        """A client has begun this task of a server, or has found one that is nobody's; of one that it has for itself if
        there is an `owner`."""
        if len(task) > LONGEST_TASK:
            return
        place, mine = (server, owner, task), begun.session.begun
        self._drop(place)
        self._begun[place] = begun
        mine[place] = None
        if len(mine) > TASKS_OF_ONE or len(self._begun) > TASKS:
            self._drop(next(iter(mine if len(mine) > TASKS_OF_ONE else self._begun)))

    def _drop(self, place: _TaskKey) -> None:
        if (begun := self._begun.pop(place, None)) is not None:
            begun.session.begun.pop(place, None)

    def forget(self, session: Session) -> None:
        """A client is gone."""
        for place in list(session.begun):
            self._drop(place)

    def of(self, server: str, owner: Session | None, task: str) -> Begun | None:
        """Who has begun it, if that is known."""
        return self._begun.get((server, owner, task)) or (Begun(owner) if owner is not None else None)

    def is_anothers(self, server: str, task: str, session: Session) -> bool:
        """Whether it is of a server that clients share, and another client than this has begun it."""
        begun = self.of(server, None, task)
        return begun is not None and begun.session is not session


class Listener:
    """A `subscriptions/listen` stream of a modern client: it hears of the changes it asked for, and of nothing else.

    Args:
        call: whose messages its notifications are.
        notifications: what it asks for.
        seen: which lists its client has.
    """

    era: Era = "modern"
    session: Session | None = None
    is_ready = True

    def __init__(self, call: Call, notifications: Fields, seen: Seen) -> None:
        self.call = call
        self.seen = seen
        self.capabilities = {
            capability
            for capability in ("tools", "prompts", "resources")
            if value(notifications.get(f"{capability}ListChanged")) is True
        }
        uris = value(notifications.get("resourceSubscriptions"))
        self.uris = [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []
        tasks = value(notifications.get("taskIds"))
        self.tasks = [task for task in tasks if isinstance(task, str)] if isinstance(tasks, list) else []
        self._number = pack(call.id)
        self._early: dict[bytes, bytes] | None = {}
        """What came before the acknowledgment, each once whatever its `_meta` is; None since that was sent."""

    def acknowledge(self, uris: list[str], tasks: Collection[str] = ()) -> None:
        """Say what is listened to: the changes asked for, and those resources and tasks that can be subscribed to."""
        honoured: dict[str, Any] = {
            f"{capability}ListChanged": True
            for capability in ("tools", "prompts", "resources")
            if capability in self.capabilities
        }
        if uris:
            honoured["resourceSubscriptions"] = uris
        if tasks:
            honoured["taskIds"] = [task for task in self.tasks if task in tasks]
        early, self._early = self._early or {}, None
        self.tell(ACKNOWLEDGED, {"notifications": pack(honoured)})
        for data in early.values():
            self.call.port.tell(data)

    def tell_changed(self, capability: str) -> None:
        """Tell that the lists of this capability (`tools`, ...) changed, if it asked for that."""
        if capability in self.capabilities:
            self.tell(f"notifications/{capability}/list_changed", {})

    def tell(self, method: str, params: Fields) -> None:
        """Send a notification on the stream, behind the acknowledgment, which has to be the first."""
        meta = {**fields(params.get("_meta")), SUBSCRIPTION_KEY: self._number}
        data = notification(method, {**params, "_meta": pack(meta)})
        if self._early is not None:
            self._early[notification(method, {**params, "_meta": EMPTY})] = data
        elif not self.call.is_over:
            self.call.port.tell(data)

    def end(self) -> None:
        """End the stream politely: the client knows that it was meant. Nothing is watched for it any more, as if it had
        left, and its place among the streams is free."""
        self.call.finish(Message("2.0", result=pack({"_meta": {SUBSCRIPTION_KEY: self.call.id}})), "modern")
        if self.call.carrier is not None:
            self.call.carrier.give_up(self.call.number)


class Clients:
    """The clients that are connected, for what belongs to no call.

    Args:
        is_single: there is one client, ever (stdio): a question during nobody's call is for that one.
        limits: how much clients and servers may cost.
        warn: takes a line for the log, and what it is about.
    """

    def __init__(
        self, is_single: bool = False, limits: Limits = DEFAULT, warn: Callable[..., None] = lambda *about: None
    ) -> None:
        self.limits = limits
        self.warn = warn
        self.unread = Pool(limits.all_unread)
        """What waits for all who do not read."""
        self.bodies = Pool(limits.bodies)
        """The bodies that have not come whole yet."""
        self._streams = 0
        self.sessions: dict[str, Session] = {}
        self.listeners: set[Listener] = set()
        self.tasks = Tasks()
        self.level: str | None = None
        """The most verbose level of log messages that a legacy client has asked for."""
        self.is_single = is_single
        self._has_none = False
        self._waiting: list[Callable[[Session | None], None]] = []

    def join(self, session: Session) -> None:
        """A legacy client has come."""
        self.sessions[session.id] = session

    def initialized(self, session: Session) -> None:
        """A legacy client can be told and asked things."""
        if session.step("initialized"):
            self._hand_out(session)

    def leave(self, session: Session) -> None:
        """A legacy client is gone; it need not have joined yet, while its `initialize` waits for servers."""
        if self.sessions.pop(session.id, None) is not None and session.level is not None:
            self._find_level()
        self.tasks.forget(session)
        session.leave()

    def set_level(self, session: Session, level: str) -> None:
        """A legacy client wants log messages from this level on."""
        session.level = level
        self._find_level()

    def _find_level(self) -> None:
        self.level = most_verbose(session.level for session in self.sessions.values())

    @property
    def only(self) -> Session | None:
        """The only client there can be, if it has a session, and can be told things."""
        ready = (session for session in self.sessions.values() if session.state == "initialized")
        return next(ready, None) if self.is_single else None

    def single(self, deliver: Callable[[Session | None], None]) -> bool:
        """Hand the only client to `deliver`, when it has come, or None if it has no session; false where there may be
        others."""
        ready = self.only
        if self.is_single and (ready is not None or self._has_none or len(self._waiting) >= EARLY):
            deliver(ready)
        elif self.is_single:
            self._waiting.append(deliver)
        return self.is_single

    def come_without_session(self) -> None:
        """The only client is a modern one."""
        self._has_none = True
        self._hand_out(None)

    def _hand_out(self, session: Session | None) -> None:
        waiting, self._waiting = self._waiting, []
        for deliver in waiting:
            deliver(session)

    def listen(self, listener: Listener) -> None:
        """A modern client listens from now on.

        Raises:
            Fault: too many do.
        """
        self._check_streams()
        self.listeners.add(listener)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While a client holds an event stream open for what belongs to no call.

        Raises:
            Fault: too many do.
        """
        self._check_streams()
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def _check_streams(self) -> None:
        if len(self.listeners) + self._streams >= self.limits.streams:
            self.warn("%d streams of clients are open: another one is refused", self.limits.streams)
            raise Fault(INTERNAL_ERROR, f"Stream limit reached: {self.limits.streams:,} streams are open")

    def check_calls(self, calls: Mapping[object, Call]) -> None:
        """Check whether one client, which has these calls in flight, may make one more.

        Raises:
            Fault: the client's: it has too many.
        """
        if len(calls) < self.limits.session_calls:
            return
        self.warn("a client has %d calls in flight: further ones of it are refused", len(calls))
        raise Fault(INTERNAL_ERROR, f"{len(calls):,} calls of this client are in flight: wait for their answers")

    def check_watched(self, uris: Collection[str]) -> None:
        """Check whether one client may subscribe to these resources.

        Raises:
            Fault: the client's: they are too many, or too long.
        """
        most = self.limits.subscriptions
        if len(uris) > most or sum(map(len, uris)) > most * 1024:
            self.warn("a client subscribes to more than %d resources, or %d KiB of URIs: it is refused", most, most)
            raise Fault(INVALID_PARAMS, f"Too many subscriptions: {most:,} resources are taken, {most:,} KiB of URIs")

    def broadcast(self, method: str, params: Fields, data: bytes, admits: Callable[[Session], bool]) -> None:
        """Send a notification that belongs to no call to the legacy clients that are admitted, and want it."""
        level = text(params.get("level")) if method == LOG else None
        visited = text(params.get("elicitationId")) if method == VISITED else None
        for session in list(self.sessions.values()):
            if method == VISITED and visited not in session.elicitations:
                continue
            if (method != LOG or is_wanted(level, session.level)) and admits(session):
                session.tell(data)

    def audience(self) -> list["Session | Listener"]:
        """Who is to be told of changed lists."""
        return [*self.sessions.values(), *self.listeners]

    def end_listening(self, is_good: Callable[[bytes | None], bool] = lambda key: False) -> None:
        """End all listening streams politely, but for those whose key is good."""
        for listener in list(self.listeners):
            if not is_good(listener.call.origin.key):
                listener.end()


def most_verbose(levels: Iterable[str | None]) -> str | None:
    """The most verbose of these levels; None where there is none."""
    return min((level for level in levels if level in LEVELS), key=LEVELS.index, default=None)


def check_ability(abilities: Fields, method: str, params: Fields) -> None:
    """Raise the error of a client that cannot answer a question, if one with these abilities cannot.

    Spec: client/elicitation#error-handling (a mode that was not declared), JSON-RPC (an unknown method).
    """
    feature = _QUESTIONS.get(method)
    declared = value(abilities.get(feature)) if feature else None
    if not isinstance(declared, dict):
        raise Fault(METHOD_NOT_FOUND, f"The client did not declare that it can answer {method}")
    missing = None
    if feature == "elicitation":
        mode = value(params.get("mode", pack("form")))
        # No mode declared at all means forms (spec, client/elicitation#capabilities).
        missing = None if isinstance(mode, str) and mode in (declared or {"form": {}}) else mode
    elif feature == "sampling" and ("tools" in params or "toolChoice" in params):
        missing = None if "tools" in declared else "tools"
    if missing is not None:
        raise Fault(INVALID_PARAMS, f"The client did not declare {feature}.{missing}")


def check_abilities(capabilities: Raw, questions: Fields) -> None:
    """Raise the error for a modern backend's questions if the client with these capabilities cannot answer them.

    Spec: basic/patterns/mrtr#server-requirements-basic-workflow
    """
    abilities = fields(capabilities)
    for question in map(fields, questions.values()):
        method, params = text(question.get("method")) or "", fields(question.get("params"))
        try:
            if method in _QUESTIONS:
                check_ability(abilities, method, params)
        except Fault as fault:
            part = text(params.get("mode")) or "form" if method == "elicitation/create" else None
            if method == "sampling/createMessage" and ("tools" in params or "toolChoice" in params):
                part = "tools"
            needed: dict[str, Any] = {_QUESTIONS[method]: {part: {}} if part else {}}
            raise Fault(MISSING_CLIENT_CAPABILITY, fault.message, {"requiredCapabilities": needed}) from None
