"""JSON as ordinary data that remembers how it was written, so that the mux writes it as it came.

Rules:
- A string, number or object that the standard library would write otherwise is a subclass of its type, which keeps its
  text or its pairs. Whoever makes another value of it loses them, as most proxies do.
- Nesting has no limit: neither reading nor writing recurses.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class Text(str):
    """A string that was spelled otherwise than it would be."""

    spelled: str


class Whole(int):
    """An integer that was spelled otherwise than it would be: -0."""

    spelled: str


class Number(float):
    """A number that was spelled otherwise than it would be, and may be more than a float can hold."""

    spelled: str


class Pairs(dict[str, Any]):
    """An object in which a key comes twice; to whoever looks, the last one is there."""

    pairs: list[tuple[str, Any]]


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON.
    """
    open_: list[tuple[str, list[Any]]] = []
    values: list[Any] = []
    found = _TOKEN.findall(text)
    for at, token in enumerate(found):
        if token in _CLOSING:
            open_.append((_CLOSING[token], values))
            values = []
        elif token in ("}", "]"):
            if not open_ or open_[-1][0] != token:
                raise ValueError("brackets do not match")
            made = values if token == "]" else _object(values)
            values = open_.pop()[1]
            values.append(made)
        elif token == ":":
            if not values or not isinstance(values[-1], str) or found[at + 1 : at + 2] in ([], ["}"], ["]"]):
                raise ValueError("a colon is out of place")
        elif token != ",":
            values.append(_scalar(token))
    if open_ or len(values) != 1:
        raise ValueError("that is not one value")
    return values[0]


def _object(values: list[Any]) -> dict[str, Any]:
    if len(values) % 2 or not all(isinstance(key, str) for key in values[::2]):
        raise ValueError("an object has a key without a value")
    pairs = list(zip(values[::2], values[1::2], strict=True))
    made = dict(pairs)
    if len(made) < len(pairs):
        made = Pairs(made)
        made.pairs = pairs
    return made


def _scalar(token: str) -> Any:
    value = json.loads(token, strict=False)
    if json.dumps(value, ensure_ascii=False) == token:
        return value
    kinds: dict[type, Any] = {str: Text, int: Whole, float: Number}
    made = kinds[type(value)](value)
    made.spelled = token
    return made


def dumps(value: Any) -> str:
    """The JSON text of a value."""
    written: list[str] = []
    work: list[Iterator[tuple[str, Any]]] = []

    def put(part: Any) -> None:
        if isinstance(part, dict):
            pairs = part.pairs if isinstance(part, Pairs) and dict(part.pairs) == part else list(part.items())
            work.append(_members(pairs))
            written.append("{")
        elif isinstance(part, list | tuple):
            work.append(_items(part))
            written.append("[")
        elif isinstance(part, Text | Whole | Number):
            written.append(part.spelled)
        else:
            written.append(json.dumps(part, ensure_ascii=False))

    put(value)
    while work:
        before, part = next(work[-1], ("", None))
        written.append(before)
        if before in ("}", "]"):
            work.pop()
        else:
            put(part)
    return "".join(written)


def _members(pairs: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for number, (key, value) in enumerate(pairs):
        spelled = key.spelled if isinstance(key, Text) else json.dumps(key, ensure_ascii=False)
        yield f"{', ' if number else ''}{spelled}: ", value
    yield "}", None


def _items(values: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(values):
        yield (", " if number else "", value)
    yield "]", None
