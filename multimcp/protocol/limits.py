"""The bounds on what others may cost us, on both sides. Over one, the message or its sender gets an error; nobody else
notices, and one log line names it. Each bound is an option: its field here makes option, variable, help and docs."""

import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final, Literal

from multimcp.errors import ConfigError

MIB = 1024 * 1024

Unit = Literal["SIZE", "SECONDS", "N"]

_SIZES = {"GiB": 1024 * MIB, "MiB": MIB, "KiB": 1024}
_EXPECTED = {"SIZE": "a size, as in 64MiB or 65536,", "SECONDS": "a number of seconds", "N": "a whole number"}


def _bound(default: float, unit: Unit, text: str) -> Any:
    return field(default=default, metadata={"unit": unit, "text": text})


@dataclass(frozen=True)
class Limits:
    """How much is too much. Sizes are in bytes, times in seconds, all else are counts."""

    message: int = _bound(
        64 * MIB,
        "SIZE",
        "The longest message from a client or a server, decompressed; also an endless line or event",
    )
    unread: int = _bound(
        64 * MIB, "SIZE", "How much waits for a client or server that does not read; then its session or its calls end"
    )
    head: int = _bound(64 * 1024, "SIZE", "The largest head of an HTTP request; a larger one is answered with 431")
    head_time: float = _bound(10.0, "SECONDS", "How long a client may take to send the head of an HTTP request")
    sessions: int = _bound(
        10_000, "N", "Sessions of HTTP clients; at one more, the session that was silent longest ends"
    )
    streams: int = _bound(10_000, "N", "Event streams that clients hold open; further ones are refused")
    session_calls: int = _bound(1_000, "N", "Calls in flight of one client; further ones get an error")
    server_calls: int = _bound(10_000, "N", "Calls in flight at one server; further ones get an error")
    replay: int = _bound(64 * MIB, "SIZE", "How much of all streams together is kept so that clients can resume them")


DEFAULT = Limits()

BOUNDS: Final[Mapping[str, Field[Any]]] = {f"max-{each.name.replace('_', '-')}": each for each in fields(Limits)}
"""The field of each option, without its hyphens."""


def shown(bound: Field[Any]) -> str:
    """The default of a bound, as `read_number` reads it."""
    value, is_size = getattr(DEFAULT, bound.name), bound.metadata["unit"] == "SIZE"
    for suffix, size in _SIZES.items():
        if is_size and value % size == 0:
            return f"{value // size}{suffix}"
    return f"{value:g}"


def read_number(unit: Unit, text: str) -> float:
    """The value of an option or a variable.

    Raises:
        ConfigError: the operator's: it is none; the text says what is expected.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([KMG]iB|)", text.strip())
    if found is not None and (unit == "SIZE" or not found[2]):
        value = float(found[1]) * _SIZES.get(found[2], 1)
        if value > 0 and (unit == "SECONDS" or value.is_integer()):
            return value if unit == "SECONDS" else int(value)
    raise ConfigError(f"'{text}' is not {_EXPECTED[unit]} above 0")
