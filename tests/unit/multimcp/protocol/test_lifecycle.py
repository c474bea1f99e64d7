"""A backend's states: the table, the pauses, and what is worth a line."""

from typing import Any, get_args

import pytest

from multimcp.protocol.lifecycle import BACKOFF, Happening, Lifecycle, State

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


def test_the_pauses_grow_to_a_bound_and_shrink_after_a_long_life() -> None:
    life = Lifecycle()
    assert life.next_pause(0.0) == BACKOFF[0]
    assert [life.next_pause(1.0) for _ in range(7)] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    life.on("connected", 0.0)
    life.on("lost", BACKOFF[1])
    assert life.next_pause(1.0) == 30.0
    life.on("connected", 0.0)
    life.on("lost", BACKOFF[1] + 1)
    assert life.next_pause(1.0) == 1.0
    assert life.next_pause(0.5) == BACKOFF[0] + 0.75
