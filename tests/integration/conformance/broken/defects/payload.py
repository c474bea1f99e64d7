"""Proxies that lose what JSON says to the letter: each does to one place of a message what real ones do to all."""

import asyncio
import math
from decimal import Decimal
from typing import Any

from tests.integration.conformance.broken.breaking import (
    breaks,
    deeply,
    in_error,
    in_notice,
    in_params,
    in_result,
    rewrite,
)
from tests.integration.conformance.broken.lossless import Number, Pairs, Text, dumps
from tests.integration.conformance.broken.mux import Backend, Call, Message, Mux

LOG = "notifications/message"


@in_result("payload:numbers:integers", "tools/call", symptom="an integer is lost in results")
def thirty_digits_are_rounded(result: Message) -> None:
    """Integers of more than 64 bits have the precision of floats."""
    rewrite(result, lambda value: int(float(value)) if type(value) is int and abs(value) >= 2**64 else value)


@in_error("payload:numbers:kind", "tools/call", symptom="a number with a fraction is lost in error")
def whole_floats_are_integers(error: Message) -> None:
    """Floats without a fraction are written as integers, as JavaScript does it."""

    def shortened(value: Any) -> Any:
        return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value

    rewrite(error, shortened)


@in_notice("payload:numbers:beyond-double", LOG, symptom="a number that no double can hold is lost in notifications")
def numbers_are_doubles(params: Message) -> None:
    """Numbers have the precision of floats, and those beyond them are null."""

    def double(value: Any) -> Any:
        if not isinstance(value, Number) or Decimal(value.spelled) == Decimal(repr(float(value))):
            return value
        return float(value) if math.isfinite(value) else None

    rewrite(params, double)


@in_params("payload:keys:order", "tools/call", symptom="the order of keys is lost in params")
def keys_are_sorted(params: Message) -> None:
    """Keys are sorted on their way to the server."""
    params["arguments"] = deeply(
        params.get("arguments"), lambda value: dict(sorted(value.items())) if type(value) is dict else value
    )


@in_params("payload:keys:prototype", "tools/call", symptom="a key that JavaScript gives a meaning is lost in params")
def keys_of_javascript_are_obeyed(params: Message) -> None:
    """A prototype is set rather than kept."""
    params["arguments"] = deeply(
        params.get("arguments"),
        lambda value: (
            {key: part for key, part in value.items() if key != "__proto__"} if type(value) is dict else value
        ),
    )


@in_result("payload:keys:duplicate", "tools/call", symptom="a key that comes twice is lost in results")
def the_last_of_a_key_wins(result: Message) -> None:
    """Of a key that comes twice the last one is kept."""
    rewrite(result, lambda value: dict(value) if isinstance(value, Pairs) else value)


@in_error("payload:text:escapes", "tools/call", symptom="a character that is escaped is lost in error")
def escapes_are_cut_out(error: Message) -> None:
    """What is beyond the basic plane is lost where it is escaped."""

    def plain(value: Any) -> Any:
        astral = isinstance(value, Text) and any(ord(character) > 0xFFFF for character in value)
        return "".join(character for character in value if ord(character) <= 0xFFFF) if astral else value

    rewrite(error, plain)


@in_notice("payload:text:spelling", LOG, symptom="the spelling of a string or a number is lost in notifications")
def texts_are_written_anew(params: Message) -> None:
    """Strings are spelled as the proxy's library spells them."""
    rewrite(params, lambda value: str(value) if isinstance(value, Text) else value)


@breaks("payload:nesting:thousand", symptom="JSON nested 1,000 levels deep is lost in params")
class DropsWhatIsDeep(Mux):
    """Arguments that are nested more than 500 levels deep are null."""

    def forward(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "tools/call" and "[" * 500 in dumps(message).replace('{"a": ', ""):
            message = {**message, "params": {**message["params"], "arguments": {"exact": None}}}
        super().forward(backend, message)


@in_result("payload:size:large", "tools/call", symptom="a large result arrived changed")
def texts_are_cut(result: Message) -> None:
    """Texts are cut off at 32 MB."""
    rewrite(result, lambda value: value[:32_000_000] if isinstance(value, str) else value)


@breaks("payload:extremes:answered", symptom="a call whose result has 1e400 is not answered")
class ChokesOnInfinity(Mux):
    """A result with a number that is infinite to it is dropped, since it cannot be written."""

    def finish(self, call: Call, result: Message) -> Message:
        if "1e400" in dumps(result):
            raise asyncio.CancelledError
        return result
