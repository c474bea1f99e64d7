"""JSON to the letter: messages with exact values in them, and the readings by which they are compared."""

import json
from collections.abc import Callable

import pytest

from conformance.exact import DEPTH, Exact, by_kind, by_spelling, by_value, dumps, loads, member, tokens

DEEP = "[" * 1000 + "1" + "]" * 1000


@pytest.mark.parametrize(
    "text",
    ["1.0", "1e400", '{"a": 1, "a": 2}', r'"\u00e9\/"', DEEP, '"\\"exact\\": 1"', "12345678901234567890123456789.0"],
)
def test_exact_values_are_sent_as_they_are_and_found_again(text: str) -> None:
    sent = dumps({"id": 1, "é": "\0exact", "first": Exact("[1]"), "params": {"exact": Exact(text)}, "last": [1.5]})
    assert text in sent
    assert '"first": [1]' in sent
    assert member(sent, "exact") == tokens(text)


def test_no_exact_value_is_taken_for_another() -> None:
    sent = dumps([Exact(f'"{n}"') for n in range(12)])
    assert json.loads(sent) == [str(n) for n in range(12)]


def test_what_is_no_json_is_not_sent() -> None:
    with pytest.raises(AssertionError, match="is no JSON"):
        dumps({"params": object()})


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity}', "[-Infinity]", "[1,]", f"{DEEP}]", DEEP[:-1]])
def test_what_is_no_json_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_a_number_that_no_double_can_hold_is_read_as_its_text() -> None:
    assert loads("[1.5, 1e400, -1e400, 1e-400]") == [1.5, "1e400", "-1e400", 0.0]


def test_a_message_that_is_too_deep_is_cut() -> None:
    message = loads(
        f'{{"id": 7, "result": {{"exact": {"[" * 100_000}"x", 2{"]" * 100_000}, "after": {{"a": [1, 2]}}}}}}'
    )
    assert message["id"] == 7
    assert message["result"]["after"] == {"a": [1, 2]}
    levels = 2
    value = message["result"]["exact"]
    while value is not None:
        (value,) = value
        levels += 1
    assert levels == DEPTH - 1


def test_siblings_of_what_is_cut_are_kept() -> None:
    levels = "[" * (DEPTH - 1)
    closed = "]" * (DEPTH - 1)
    value = loads(f"{levels}{DEEP}, [], {{}}, 5{closed}")
    for _ in range(DEPTH - 2):
        (value,) = value
    assert value == [None, None, None, 5]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"exact": 1}', ["1"]),
        ('{"a": "exact", "b": {"exact" : [1, {"c": "]"}], "exact": 2}}', list('[1,{"c":"]"}]')),
        ('{"a": "\\"exact\\": 1"}', None),
        ('{"inexact": 1}', None),
        ('{"exact": [1', ["[", "1"]),
    ],
)
def test_the_first_member_of_a_name_is_found(text: str, found: list[str] | None) -> None:
    got = member(text, "exact")
    assert (got and "".join(got)) == (found and "".join(found))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", "1.0", (by_value,)),
        ("1.0", "10e-1", (by_value, by_kind)),
        ("-0", "0", (by_value, by_kind)),
        ("1e400", "1" + "0" * 400, (by_value,)),
        ("1e400", "1e401", ()),
        ("9007199254740993", "9007199254740992", ()),
        ("9007199254740993", "9007199254740993.0", (by_value,)),
        ("0.1", "0.1000000000000000055511151231257827", ()),
        (r'"\u00e9"', '"é"', (by_value, by_kind)),
        (r'"\/"', '"/"', (by_value, by_kind)),
        (r'"\\/"', '"/"', ()),
        (r'"\ud83d\ude00"', '"😀"', (by_value, by_kind)),
        ('"1"', "1", ()),
        ("true", "true", (by_value, by_kind, by_spelling)),
        ("Infinity", "1e400", ()),
        ("null", '"null"', ()),
        ('"é"', '"é"', (by_value, by_kind, by_spelling)),
    ],
)
def test_readings_tell_apart_what_differs(one: str, other: str, equal: tuple[Callable[[str], object], ...]) -> None:
    for reading in (by_value, by_kind, by_spelling):
        assert (reading(one) == reading(other)) == (reading in equal), reading.__name__
