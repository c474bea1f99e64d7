"""The bounds on what others may cost us, on both sides. Over one, the message or its sender gets an error; nobody else
notices, and one log line names it. Each bound is an option: its field here makes option, variable, help and docs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from math import inf
from typing import Any, Final, Literal

from multimcp.errors import ConfigError

MIB = 1024 * 1024

Unit = Literal["SIZE", "SECONDS", "N"]

_SIZES = {"GiB": 1024 * MIB, "MiB": MIB, "KiB": 1024}
_EXPECTED = {"SIZE": "a size, as in 64MiB or 65536,", "SECONDS": "a number of seconds", "N": "a whole number"}


def _bound(default: float, unit: Unit, text: str) -> Any:
    return field(default=default, metadata={"unit": unit, "text": text})


@dataclass(frozen=True)
class Rate:
    """So many messages, and so many bytes of them: at once, and in each second after that."""

    at_once: int
    each_second: int
    bytes_at_once: int
    bytes_each_second: int

    def __str__(self) -> str:
        return f"{self.each_second:,} messages or {self.bytes_each_second:,} bytes a second"


UNASKED: Final = Rate(10_000, 1_000, 16 * MIB, 4 * MIB)
"""What a server may send on one connection that nobody asked for: notifications and questions."""


LIST_LINES: Final = Rate(100, 1, 1, 1)
"""Lines of the log on what servers list: what is left out of it, and names that collide."""


class Allowance:
    """What is left of a rate at a time. A message of any size is taken while something is left."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left, self._bytes_left = float(rate.at_once), float(rate.bytes_at_once)
        self._at = now

    def take(self, now: float, size: int) -> bool:
        """Whether a message of so many bytes is within it at this time, in seconds."""
        rate, passed = self._rate, now - self._at
        self._at = now
        self._left = min(rate.at_once, self._left + passed * rate.each_second)
        self._bytes_left = min(rate.bytes_at_once, self._bytes_left + passed * rate.bytes_each_second)
        if self._left < 1 or self._bytes_left <= 0:
            return False
        self._left -= 1
        self._bytes_left -= size
        return True


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
    body_time: float = _bound(
        30.0, "SECONDS", "How long a client may take for 64 KiB of a body, or for its end; then it is answered with 408"
    )
    unread_time: float = _bound(
        60.0,
        "SECONDS",
        "How long a client over HTTP may read nothing of its answer; then its connection is closed",
    )
    bodies: int = _bound(
        256 * MIB, "SIZE", "Bodies that have not come whole yet, of all clients together; the largest is refused"
    )
    all_unread: int = _bound(
        256 * MIB, "SIZE", "How much waits for all clients that do not read; the one for whom most waits is let go"
    )
    connections: int = _bound(
        20_000,
        "N",
        "Connections of HTTP clients, fewer where there are not so many descriptors",
    )
    sessions: int = _bound(10_000, "N", "Sessions of HTTP clients; at one more, the one that was silent longest ends")
    subscriptions: int = _bound(
        1_000, "N", "Resources that one client may subscribe to, and of the length of their URIs, in KiB"
    )
    streams: int = _bound(10_000, "N", "Event streams that clients hold open; further ones are refused")
    session_calls: int = _bound(1_000, "N", "Calls in flight of one client; further ones get an error")
    server_calls: int = _bound(10_000, "N", "Calls in flight at one server; further ones get an error")
    replay: int = _bound(64 * MIB, "SIZE", "How much of all streams together is kept so that clients can resume them")


DEFAULT = Limits()

PAUSE = 1.0
"""Seconds in which a kind of line comes so often in the log."""


class Seldom:
    """Lines for the log that anybody can cause: `most` a second of each kind, and how many were left out.

    Args:
        log: takes a line, as a format and what is put into it; the kind of a line is its format.
        now: the time in seconds.
    """

    def __init__(self, log: Callable[..., None], now: Callable[[], float], most: int = 1) -> None:
        self._log = log
        self._now = now
        self._most = most
        self._kinds: dict[str, tuple[float, int]] = {}
        """For each kind when its second began, and how many lines came since."""

    def __call__(self, line: str, *about: object) -> None:
        """Log a line, or count it."""
        now, (begun, count) = self._now(), self._kinds.get(line, (-inf, 0))
        if now - begun < PAUSE and count >= self._most:
            self._kinds[line] = begun, count + 1
            return
        left_out = max(count - self._most, 0) if now - begun >= PAUSE else 0
        self._kinds[line] = (begun, count + 1) if now - begun < PAUSE else (now, 1)
        more = f" (and {left_out} more since the last such line)" if left_out else ""
        self._log(line + more, *about)


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
