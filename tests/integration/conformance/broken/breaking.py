"""How a defect is registered, and the kinds that change one kind of message.

`breaks` registers a class of its own. The decorators below it make that class of a function that changes what it is
given: a result, an error, an entry of a list, params, an answer, a question or a notification.
"""

import copy
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from .extending import Extended
from .mux import Backend, Call, Era, Message, Mux, as_object, objects

T = TypeVar("T", bound=type[Mux])
Change = Callable[[Message], Any]
Over = Literal["stdio", "sse", "http", "web"]


@dataclass(frozen=True)
class Defect:
    """A broken proxy.

    Args:
        requirement: the one it breaks.
        what: what is broken about it.
        symptom: a part of what the harness says of it (message, expected, actual, diff), runs of blanks as one.
        mux: it.
        over: how clients have to connect for it to show: sse to be several legacy ones, http to be modern ones with
            streams of their own. With web the client is over stdio, and the servers are over streamable HTTP.
    """

    requirement: str
    what: str
    symptom: str
    mux: type[Mux]
    over: Over


DEFECTS: dict[str, Defect] = {}


def description(requirement: str, broken: type, others: Container[str]) -> str:
    """What is broken, which its docstring says.

    Raises:
        ValueError: it has none, or one of the `others` breaks the same requirement.
    """
    if requirement in others:
        raise ValueError(f"{requirement} is broken twice")
    if not broken.__doc__:
        raise ValueError(f"{requirement}: what is broken?")
    return broken.__doc__


def breaks(requirement: str, symptom: str = "", over: Over = "stdio") -> Callable[[T], T]:
    """Register a broken proxy."""

    def register(mux: T) -> T:
        DEFECTS[requirement] = Defect(requirement, description(requirement, mux, DEFECTS), symptom, mux, over)
        return mux

    return register


def in_result(requirement: str, *methods: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the results of these methods."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def finish(self, call: Call, result: Message) -> Message:
                if call.method in methods:
                    spoil(result)
                return result

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_error(requirement: str, *methods: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the errors of these methods; without methods, all."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def fail(self, call: Call, error: Message) -> Message:
                if not methods or call.method in methods:
                    spoil(error)
                return error

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_entry(requirement: str, method: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the entries of a list."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def published(self, backend: Backend, listed: str, entry: Message) -> list[Message]:
                entries = copy.deepcopy(super().published(backend, listed, entry))
                for entry in entries if listed == method else ():
                    spoil(entry)
                return entries

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_hello(requirement: str, *eras: Era, symptom: str = "", over: Over = "stdio") -> Callable[[Change], Change]:
    """A function that spoils what clients of these eras are told first."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def hello(self, backends: list[Backend]) -> Message:
                result = copy.deepcopy(super().hello(backends))
                if self.era in eras:
                    spoil(result)
                return result

        breaks(requirement, symptom, over)(Broken)
        return spoil

    return register


def in_params(requirement: str, *methods: str, symptom: str = "", over: Over = "stdio") -> Callable[[Change], Change]:
    """A function that spoils the params of these methods on their way to a server; True keeps the message back."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def forward(self, backend: Backend, message: Message) -> None:
                message = copy.deepcopy(message)
                if message.get("method") not in methods or spoil(message.setdefault("params", {})) is not True:
                    super().forward(backend, message)

        breaks(requirement, symptom, over)(Broken)
        return spoil

    return register


def in_answer(requirement: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the client's answers to questions: messages with a result or an error."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def receive(self, message: Message) -> None:
                if "method" not in message:
                    spoil(message)
                for answer in as_object(as_object(message.get("params")).get("inputResponses")).values():
                    spoil({"result": answer})
                super().receive(message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_question(requirement: str, method: str, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the params of questions to the client."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def send(self, message: Message) -> None:
                asked = as_object(as_object(message.get("result")).get("inputRequests")).values()
                for question in [message, *objects(list(asked))]:
                    if question.get("method") == method and isinstance(question.get("params"), dict):
                        spoil(question["params"])
                super().send(message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def in_notice(requirement: str, method: str, *eras: Era, symptom: str = "") -> Callable[[Change], Change]:
    """A function that spoils the params of notifications from servers; True keeps the notification back."""

    def register(spoil: Change) -> Change:
        class Broken(Extended):
            __doc__ = spoil.__doc__

            def heard(self, backend: Backend, message: Message) -> None:
                concerns = message.get("method") == method and (self.era in eras or not eras)
                if not concerns or spoil(message.setdefault("params", {})) is not True:
                    super().heard(backend, message)

        breaks(requirement, symptom)(Broken)
        return spoil

    return register


def blocks(result: Message, kind: str) -> list[Message]:
    """The content blocks of this type in a result of a tool or a prompt."""
    messages = [message.get("content") for message in objects(result.get("messages"))]
    return [block for block in objects([*objects(result.get("content")), *messages]) if block.get("type") == kind]


def keep(value: Message, *keys: str) -> None:
    """Drop every other key, as whoever only knows these does."""
    for key in value.keys() - set(keys):
        del value[key]


def deeply(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with everything in it changed, inside out."""
    if isinstance(value, dict):
        value = {key: deeply(part, change) for key, part in value.items()}
    elif isinstance(value, list):
        value = [deeply(part, change) for part in value]
    return change(value)


def without_empty(value: Any) -> Any:
    """A value without its empty parts."""
    return {key: part for key, part in value.items() if part not in ({}, [], "")} if isinstance(value, dict) else value


def rewrite(result: Message, change: Callable[[Any], Any]) -> None:
    """Change everything in a result, in place."""
    result.update({key: deeply(value, change) for key, value in result.items()})


class Gossip(Mux):
    """Proxies of one process, each with a client of its own, that know each other."""

    circle: ClassVar[list["Gossip"]] = []

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self.circle.append(self)

    async def close(self) -> None:
        self.circle.remove(self)
        await super().close()

    @property
    def others(self) -> list["Gossip"]:
        return [mux for mux in self.circle if mux is not self and mux.era is not None]


def silent(requirement: str, method: str, era: Era) -> None:
    """Register a proxy that keeps such notifications to itself."""

    def keep_back(params: Message) -> bool:
        return True

    keep_back.__doc__ = f"{method} does not get through."
    in_notice(requirement, method, era, symptom=f"{method} did not arrive")(keep_back)
