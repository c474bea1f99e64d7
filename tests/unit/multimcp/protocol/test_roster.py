"""Which connection serves whom, and which one is to be opened."""

import math
from typing import Any

import pytest

from multimcp.protocol.calls import Session
from multimcp.protocol.message import EMPTY
from multimcp.protocol.roster import ERA_RETRY, Key, Roster, serving

ONE, TWO = (Session(number, EMPTY, lambda data: None) for number in "12")


@pytest.mark.parametrize(
    ("keys", "client", "expected"),
    [
        ([], ("legacy", None), None),
        (["legacy"], ("legacy", ONE), "legacy"),
        (["legacy"], ("modern", None), "legacy"),
        (["modern"], ("legacy", ONE), "modern"),
        (["legacy", "modern"], ("modern", None), "modern"),
        (["modern", "legacy"], ("legacy", ONE), "legacy"),
        (["legacy", ONE], ("legacy", ONE), ONE),
        (["legacy", ONE], ("legacy", TWO), "legacy"),
        (["modern", ONE], ("legacy", TWO), "modern"),
    ],
)
def test_the_one_rule(keys: list[Key], client: Any, expected: Key | None) -> None:
    assert serving(keys, *client) == expected


def roster(*keys: Key, is_apart: bool = False) -> Roster[str]:
    made: Roster[str] = Roster(is_apart)
    for key in keys:
        made.add(key, "legacy" if isinstance(key, Session) else key, str(key))
    return made


@pytest.mark.parametrize("is_apart", [False, True])
def test_a_client_that_has_a_connection_of_its_own_is_served_by_no_other(is_apart: bool) -> None:
    held = roster("legacy", ONE, is_apart=is_apart)
    assert held.first == "legacy"
    assert held.serving("legacy", ONE) == str(ONE)
    assert held.serving("legacy", TWO) == (None if is_apart else "legacy")
    assert held.serving("modern", None) == "legacy"


@pytest.mark.parametrize(
    ("keys", "is_apart", "client", "expected"),
    [
        ([], False, ("legacy", None), None),
        (["legacy"], False, ("legacy", ONE), None),
        (["legacy"], False, ("modern", None), "modern"),
        (["legacy", "modern"], False, ("modern", None), None),
        (["legacy"], True, ("legacy", ONE), ONE),
        (["legacy", ONE], True, ("legacy", ONE), None),
        (["legacy", ONE], True, ("legacy", TWO), TWO),
        (["legacy"], True, ("modern", None), "modern"),
    ],
)
def test_what_is_missing(keys: list[Key], is_apart: bool, client: Any, expected: Key | None) -> None:
    assert roster(*keys, is_apart=is_apart).missing(client[0], client[1], 0.0) == expected


@pytest.mark.parametrize(
    ("is_unreached", "is_spoken", "again"),
    [(False, False, math.inf), (True, False, 5.0 + ERA_RETRY), (False, True, 5.0 + ERA_RETRY)],
)
def test_when_an_era_is_tried_again(is_unreached: bool, is_spoken: bool, again: float) -> None:
    held = roster("legacy", "modern") if is_spoken else roster("legacy")
    held.connections.pop("modern", None)
    attempt = object()
    held.begin("modern", attempt)
    assert held.is_opening("modern")
    held.fail("modern", "why", is_unreached, 5.0)
    held.end("modern", attempt)
    assert not held.is_opening("modern")
    assert held.problems["modern"] == "why"
    assert held.missing("modern", None, 4.0 + ERA_RETRY) is None
    assert held.missing("modern", None, 5.0 + ERA_RETRY) == (None if again == math.inf else "modern")
    held.clear()
    held.add("legacy", "legacy", "next")
    assert held.missing("modern", None, 6.0) == "modern"  # it may be another program


def test_what_is_refused_is_not_tried() -> None:
    held = roster("modern")
    assert held.missing("legacy", None, 0.0) == "legacy"
    held.refused("legacy")
    assert held.missing("legacy", None, 1e9) is None


def test_an_attempt_that_had_succeeded_ends_no_later_one() -> None:
    held, first, second = roster("legacy"), object(), object()
    held.begin("modern", first)
    held.add("modern", "modern", "m")
    assert held.key_of("m") == "modern"
    del held.connections["modern"]
    assert held.key_of("m") is None
    held.begin("modern", second)
    held.end("modern", first)
    assert held.is_opening("modern")
    held.end("modern", second)
    assert not held.is_opening("modern")


def test_problems_of_a_client_end_with_it_and_with_the_next_attempt() -> None:
    held = roster("legacy", is_apart=True)
    held.fail(ONE, "why", False, 0.0)
    held.fail(TWO, "why", False, 0.0)
    assert held.missing("legacy", ONE, 0.0) == ONE
    held.forget(ONE)
    held.begin(TWO, object())
    assert held.problems == {}


def test_of_a_client_that_is_gone_no_problem_is_kept() -> None:
    held, gone = roster("legacy", is_apart=True), Session("gone", EMPTY, lambda data: None)
    gone.leave()
    held.fail(gone, "why", False, 0.0)
    assert held.problems == {}
