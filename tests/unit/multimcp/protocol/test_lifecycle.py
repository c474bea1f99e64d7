"""A backend's states: the table, the pauses, and what is worth a line."""

from typing import Any, get_args

import pytest

from multimcp.protocol.lifecycle import AT_ONCE, BACKOFF, STEADY, Happening, Lifecycle, State

TABLE: dict[State, dict[Happening, State]] = {
    "starting": {"connected": "ready", "failed": "failed", "stopped": "stopped"},
    "ready": {"lost": "failed", "stopped": "stopped"},
    "failed": {"connected": "ready", "stopped": "stopped"},
    "disabled": {},
    "stopped": {},
}


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("happening", get_args(Happening))
def test_the_table(state: Any, happening: Any) -> None:
    life = Lifecycle(state)
    life.on(happening, 1.0, "why")
    assert life.state == TABLE[state].get(happening, state)
    assert life.error == ("why" if life.state == "failed" and happening in ("failed", "lost") else None)


def test_what_is_news() -> None:
    life = Lifecycle()
    assert life.on("failed", 1.0, "a")
    assert not life.on("failed", 2.0, "a")
    assert life.on("failed", 3.0, "b")
    assert life.on("connected", 4.0)
    assert (life.error, life.up_at) == (None, 4.0)
    assert life.on("lost", 5.0, "gone")
    assert life.down_at == 5.0
    life.on("failed", 6.0, "gone")
    assert life.down_at == 5.0
    assert life.on("stopped", 7.0)
    assert not life.on("stopped", 8.0)
    assert not Lifecycle("disabled").on("stopped", 1.0)


def test_the_pauses_grow_to_a_bound_and_shrink_after_a_life() -> None:
    life = Lifecycle()
    assert life.next_pause(0.0) == BACKOFF[0]
    assert [life.next_pause(1.0) for _ in range(3)] == [1.5, 2.25, 3.375]
    assert [life.next_pause(1.0) for _ in range(8)][-2:] == [BACKOFF[1], BACKOFF[1]]
    life.on("connected", 0.0)
    life.on("lost", STEADY)
    assert life.next_pause(1.0) == 30.0, "one that ends soon is not started again and again"
    life.on("connected", 0.0)
    life.on("lost", STEADY + 1)
    assert not life.is_new_trouble
    assert [life.next_pause(0.0) for _ in range(3)] == pytest.approx([AT_ONCE / 2, AT_ONCE * 0.75, AT_ONCE * 1.125])
    assert life.next_pause(1.0) == pytest.approx(AT_ONCE * 1.5**3)
