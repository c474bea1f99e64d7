"""JSON to the letter: what a JSON parser loses, such as `1.0` beside `1`, a key that comes twice, or nesting. Pure.

Rules:
- A message is read as ordinary data by `loads`, and its text is kept beside it. What matters to the letter is looked up
  in the text (`member`), as a list of tokens; so no parser's limits on numbers and nesting apply, and blanks between
  tokens do not count.
- Two texts are compared by a reading of each token: by value, by kind of number, or as it is spelled.
"""

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

DEPTH = 100
"""Levels of nesting that `loads` keeps of a message that is too deep for a parser."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLACE = "\0exact:"


@dataclass(frozen=True)
class Exact:
    """JSON text that stands for a value in what is sent, and is sent as it is."""

    text: str


def dumps(message: Any) -> str:
    """The JSON text of a message, in which there may be `Exact` values."""
    places: list[str] = []

    def hold(value: Any) -> str:
        assert isinstance(value, Exact), f"{value!r} is no JSON"
        places.append(value.text)
        return f"{_PLACE}{len(places) - 1}"

    text = json.dumps(message, ensure_ascii=False, default=hold)
    for number, exact in enumerate(places):
        before, _, after = text.partition(json.dumps(f"{_PLACE}{number}", ensure_ascii=False))
        text = before + exact + after
    return text


def loads(text: str) -> Any:
    """The value of a JSON text, as good as a parser can read it.

    What is nested too deep is cut off below `DEPTH` levels; a number that no double can hold is a string.

    Raises:
        ValueError: it is no JSON; Infinity and NaN are not.
    """
    try:
        return _loads(text)
    except RecursionError:
        return _loads("".join(_cut(tokens(text))))


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_readable)


def _readable(number: str) -> float | str:
    value = float(number)
    return value if math.isfinite(value) else number


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _cut(found: list[str]) -> list[str]:
    kept = []
    depth = 0
    for token in found:
        depth -= token in ("]", "}")
        if depth < DEPTH:
            kept.append("null" if depth == DEPTH - 1 and token in ("[", "{") else token)
            if depth == DEPTH - 1 and token in ("]", "}"):
                kept.pop()
        depth += token in ("[", "{")
    return kept


def tokens(text: str) -> list[str]:
    """The tokens of a JSON text, each as it is spelled."""
    return _TOKEN.findall(text)


def member(text: str, key: str) -> list[str] | None:
    """The tokens of the first member of this name, in whatever object; None where there is none."""
    found = tokens(text)
    name = json.dumps(key)
    start = next((at for at, pair in enumerate(itertools.pairwise(found)) if pair == (name, ":")), None)
    if start is None:
        return None
    depth = 0
    for end, token in enumerate(found[start + 2 :], start + 2):
        depth += (token in ("[", "{")) - (token in ("]", "}"))
        if depth == 0:
            return found[start + 2 : end + 1]
    return found[start + 2 :]


Reading = Callable[[str], object]
"""What a token says; tokens that say the same are equal."""


def by_value(token: str) -> object:
    """A number to the last digit, the characters of a string: what JSON says, however it is spelled."""
    if token.startswith('"'):
        return "string", json.loads(token, strict=False)
    return Decimal(token) if _NUMBER.fullmatch(token) else token


def by_kind(token: str) -> object:
    """As `by_value`, but a number with a fraction or an exponent is another than the integer."""
    value = by_value(token)
    return (token.lstrip("-").isdigit(), value) if isinstance(value, Decimal) else value


def by_spelling(token: str) -> object:
    """The token itself."""
    return token
