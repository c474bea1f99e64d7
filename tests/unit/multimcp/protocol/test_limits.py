"""The bounds as options: how each is written, and what is refused."""

import pytest

from multimcp.errors import ConfigError
from multimcp.protocol.limits import BOUNDS, DEFAULT, read_number, shown


@pytest.mark.parametrize("option", BOUNDS)
def test_a_default_reads_as_it_is_shown(option: str) -> None:
    bound = BOUNDS[option]
    assert read_number(bound.metadata["unit"], shown(bound)) == getattr(DEFAULT, bound.name)
    assert option == f"max-{bound.name.replace('_', '-')}"


def test_sizes_are_shown_short() -> None:
    assert shown(BOUNDS["max-message"]) == "64MiB"
    assert shown(BOUNDS["max-head"]) == "64KiB"
    assert shown(BOUNDS["max-sessions"]) == "10000"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("max-message", "65536", 65536),
        ("max-message", "1.5 MiB", 1572864),
        ("max-message", "2GiB", 2**31),
        ("max-head-time", "0.5", 0.5),
        ("max-sessions", " 7 ", 7),
    ],
)
def test_a_value(option: str, text: str, value: float) -> None:
    assert read_number(BOUNDS[option].metadata["unit"], text) == value


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("max-message", "0", "a size, as in 64MiB or 65536, above 0"),
        ("max-message", "1.5", "a size"),
        ("max-message", "-1", "a size"),
        ("max-message", "64M", "a size"),
        ("max-message", "9" * 400, "a size"),
        ("max-head-time", "0", "a number of seconds above 0"),
        ("max-head-time", "inf", "a number of seconds"),
        ("max-head-time", "1KiB", "a number of seconds"),
        ("max-sessions", "1.5", "a whole number above 0"),
        ("max-sessions", "many", "a whole number"),
        ("max-sessions", "1KiB", "a whole number"),
    ],
)
def test_a_value_that_is_none(option: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^'{text}' is not {expected}"):
        read_number(BOUNDS[option].metadata["unit"], text)
