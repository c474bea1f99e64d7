"""Who is refused for being behind itself, and who is not."""

from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from multimcp.protocol.chain import (
    BEHIND_ITSELF,
    KNOWN,
    MAX,
    SAME_FILE,
    TOO_LONG,
    VARIABLE,
    Chain,
    behind,
    read_behind,
    read_chain,
)


def started(parent: Chain | None, file: Path) -> Chain:
    return Chain(token_hex(8), parent.variable() if parent else {}, str(file.resolve()))


def test_a_process_that_another_started(tmp_path: Path) -> None:
    first = started(None, tmp_path / "a.json")
    second = started(first, tmp_path / "b.json")
    assert (first.refusal, second.refusal) == (None, None)
    assert second.ids == [first.id, second.id]
    (tmp_path / "a.json").touch()
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    assert started(second, tmp_path / "link.json").refusal == SAME_FILE
    assert "a.json" not in second.variable()[VARIABLE]


def test_how_many_may_start_one_another(tmp_path: Path) -> None:
    chain, count = started(None, tmp_path / "0.json"), 1
    while not chain.refusal:
        chain, count = started(chain, tmp_path / f"{count}.json"), count + 1
    assert (chain.refusal, count) == (TOO_LONG, MAX + 1)


@pytest.mark.parametrize(
    ("given", "is_behind", "expected"),
    [
        ([], {}, None),
        (["x"], {}, None),
        (["own"], {}, BEHIND_ITSELF),
        (["own", "x"], {}, BEHIND_ITSELF),
        (["x"], {"x": 1}, BEHIND_ITSELF),
        # Whoever is far in front of both may well use one directly, too.
        (["x", "y"], {"x": 1}, None),
        (["x"] * (MAX - 1), {}, None),
        (["x"] * MAX, {}, TOO_LONG),
    ],
)
def test_who_is_served(given: list[str], is_behind: dict[str, int], expected: str | None) -> None:
    chain = Chain("own", {}, "x")
    assert chain.refuse(given, is_behind) == expected


@pytest.mark.parametrize(
    ("is_behind", "expected"),
    [({}, None), ({"x": 0}, None), ({"own": 1}, BEHIND_ITSELF), ({"x": 6}, None), ({"x": 7}, TOO_LONG)],
)
def test_whose_lists_are_taken(is_behind: dict[str, int], expected: str | None) -> None:
    chain = Chain("own", {}, "x")
    assert chain.reject(is_behind) == expected


@pytest.mark.parametrize(
    ("said", "header", "expected"),
    [
        (None, None, None),
        (["a", "b"], None, ["a", "b"]),
        (["a", "b"], "c", ["a", "b"]),
        ("a", "b,c", ["b", "c"]),
        ([1, None], None, ["1", "None"]),
        (["a"] * 1000, None, ["a"] * KNOWN),
    ],
)
def test_what_a_greeting_gives(said: Any, header: str | None, expected: list[str] | None) -> None:
    assert read_chain(said, header) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"a": 0, "b": 1}, {"a": 0, "b": 1}),
        ({"a": "0", "b": -1, "c": 10**30}, None),
        ({str(number): 0 for number in range(KNOWN + 1)}, None),
        ([], None),
        (None, None),
    ],
)
def test_what_an_answer_says(said: Any, expected: dict[str, int] | None) -> None:
    assert read_behind(said) == expected


def test_what_is_behind() -> None:
    assert behind("a", []) == {"a": 0}
    assert behind("a", [{"b": 0, "c": 1}, {"c": 0}, {}]) == {"a": 0, "b": 1, "c": 2}


def test_what_is_behind_is_bounded() -> None:
    many = [{str(number): 0} for number in range(2 * KNOWN)]
    found = behind("a", many)
    assert len(found) == KNOWN
    assert found["a"] == 0
