"""How long a request waits for backends, as things stand."""

import pytest

from multimcp.protocol.waiting import CLIENT_WAIT, ERA_WAIT, FIRST_UP, Purpose, Standing, waits_until

IDLE = Standing(is_starting=False, first_up=0.0, is_opening=False)
NONE_UP = Standing(is_starting=True, first_up=None, is_opening=False)
ONE_UP = Standing(is_starting=True, first_up=101.0, is_opening=False)
LONG_UP = Standing(is_starting=True, first_up=1.0, is_opening=False)
OPENING = Standing(is_starting=False, first_up=0.0, is_opening=True)
BOTH = Standing(is_starting=True, first_up=None, is_opening=True)

PAST = -1.0


@pytest.mark.parametrize(
    ("purpose", "standing", "deadline", "expected"),
    [
        ("initialize", IDLE, 200.0, PAST),
        ("a list", IDLE, 200.0, PAST),
        ("initialize", NONE_UP, 200.0, 100.0 + CLIENT_WAIT),
        ("initialize", NONE_UP, 102.0, 102.0),
        ("initialize", ONE_UP, 200.0, 101.0 + FIRST_UP),
        ("initialize", LONG_UP, 200.0, 100.0 + FIRST_UP),
        ("server/discover", ONE_UP, 200.0, 101.0 + FIRST_UP),
        ("server/discover", OPENING, 200.0, 150.0),
        ("a list", ONE_UP, 200.0, 100.0 + CLIENT_WAIT),
        ("a name", ONE_UP, 101.5, 101.5),
        ("initialize", OPENING, 200.0, 150.0 + ERA_WAIT["initialize"]),
        ("a list", OPENING, 200.0, 150.0 + ERA_WAIT["a list"]),
        ("a name", BOTH, 200.0, 150.0 + ERA_WAIT["a name"]),
    ],
)
def test_until_when(purpose: Purpose, standing: Standing, deadline: float, expected: float) -> None:
    assert waits_until(purpose, 100.0, 150.0, deadline, standing) == expected
