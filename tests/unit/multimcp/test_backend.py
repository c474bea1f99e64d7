"""What of a backend needs no server to be shown."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from multimcp.backends.backend import Backend, Followed
from multimcp.errors import BackendError, Fault
from multimcp.protocol.calls import ACKNOWLEDGED, Clients, Heard
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.message import EMPTY, pack
from multimcp.protocol.offer import TOOLS, Entry, Listing, Offer
from multimcp.protocol.tasks import NEWS
from multimcp.protocol.watching import Watcher
from tests.support.fakes import World


def test_lists_that_are_read_again_and_are_the_same_change_nothing() -> None:
    changes: list[None] = []
    config = ServerConfig(command="a")
    backend = Backend("a", config, lambda: changes.append(None), Clients(), Chain("own", {}, "mcp.json"))
    connection: Any = SimpleNamespace(era="legacy", offer=Offer("v", listings={TOOLS: Listing((Entry("t", EMPTY),))}))
    backend._roster.add("legacy", "legacy", connection)
    for offer, announced, expected in (
        (connection.offer, (), 1),
        (replace(connection.offer), (), 1),
        (replace(connection.offer), ("tools",), 2),  # the server's own word counts, even if the list is the same again
        (replace(connection.offer, problems=("p",)), (), 3),
        (Offer("v"), (), 4),
    ):
        connection.offer = offer
        backend._publish(connection, announced)
        assert (len(changes), backend.offers) == (expected, {"legacy": offer})


async def test_an_era_that_is_not_spoken_is_not_tried_again_as_soon_as_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call in any turn of the event loop meanwhile waits for the one attempt, or knows how it ended."""
    tried = 0

    async def refuse(*_: Any) -> None:
        nonlocal tried
        tried += 1
        await anyio.sleep(0)
        raise BackendError("does not speak it")

    backend = Backend("a", ServerConfig(command="a"), lambda: None, Clients(), Chain("own", {}, "mcp.json"))
    monkeypatch.setattr(backend, "_open", refuse)
    backend._life.state = "ready"
    backend._roster.add("legacy", "legacy", Any)  # type: ignore[arg-type]
    async with anyio.create_task_group() as backend._group:
        assert backend.want("modern") == "modern"
        while backend.want("modern") is not None:
            assert backend._roster.is_opening("modern")
            await asyncio.sleep(0)
    assert tried == 1


def ready(**config: Any) -> Backend:
    """A backend that is connected in the legacy era, as far as it knows."""
    backend = Backend("a", ServerConfig(command="a", **config), lambda: None, Clients(), Chain("own", {}, "mcp.json"))
    backend._life.state = "ready"
    backend._roster.add("legacy", "legacy", Any)  # type: ignore[arg-type]
    return backend


@pytest.mark.parametrize("left", ["before it is wanted", "before it is opened", "while it is opened"])
async def test_no_connection_is_opened_for_a_client_that_is_gone(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (session, _), opened, is_opening = World().session(), list[str](), anyio.Event()

    async def open_one(*_: Any) -> None:
        is_opening.set()
        await anyio.sleep(0)
        opened.append(left)
        await anyio.sleep_forever()

    backend = ready(scope="session")
    monkeypatch.setattr(backend, "_open", open_one)
    async with anyio.create_task_group() as backend._group:
        if left == "before it is wanted":
            session.leave()
        assert backend.want("legacy", session) == (None if session.state == "gone" else session)
        if left == "while it is opened":
            await is_opening.wait()
        session.leave()
        with anyio.move_on_after(1):
            while backend._roster.is_opening(session):
                await anyio.sleep(0)
        backend._group.cancel_scope.cancel()
    assert (opened, backend._roster.is_opening(session), session.on_gone) == ([], False, [])


async def test_what_a_living_client_has_to_tell_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    (session, _), backend = World().session(), ready(scope="session")

    async def refuse(*_: Any) -> None:
        raise BackendError("is not there")

    monkeypatch.setattr(backend, "_open", refuse)
    async with anyio.create_task_group() as backend._group:
        for _ in range(3):
            assert backend.want("legacy", session) is session
            while backend._roster.is_opening(session):
                await anyio.sleep(0)
    assert session.on_gone == []
    assert backend._roster.problems.keys() == {session}
    backend._group = None
    backend.forget(session)
    assert backend._roster.problems == {}


@pytest.mark.parametrize("fate", ["removed", "replaced", "replaced before it agreed", "replaced twice"])
async def test_tasks_are_followed_as_long_as_somebody_tells_of_them(fate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multimcp.backends.backend.LISTEN_PAUSE", 0)
    (call, _), agreed, followed = World().call(method="subscriptions/listen"), list[list[str]](), list[Backend]()
    backends = [ready(), *[ready() for _ in range(fate.count("replaced") + fate.count("twice"))]]

    def reached(backend: Backend) -> Any:
        async def listen_to_tasks(tasks: Followed, _: object, heard: Heard) -> None:
            followed.append(backend)
            acknowledgment = {"notifications": pack({"taskIds": ["t"]})}
            if backend is backends[-1] and fate != "removed":
                heard(ACKNOWLEDGED, acknowledgment)
                heard(NEWS, {"taskId": pack("t"), "status": pack("completed")})
                await anyio.sleep_forever()
            if fate != "replaced before it agreed":
                heard(ACKNOWLEDGED, acknowledgment)
            for one, next_one in pairwise(backends):
                next_one.take_over(one)
            for each in backends[:-1] or backends:
                each._stopping.set()
            raise Fault(-32603, "the connection ended")

        async def connection(_: object) -> Any:
            if backend._is_gone:
                raise Fault(-32603, "was stopped")
            return SimpleNamespace(listen_to_tasks=listen_to_tasks)

        return connection

    for backend in backends:
        monkeypatch.setattr(backend, "_connection", reached(backend))
    with anyio.fail_after(2):
        if fate == "removed":
            with pytest.raises(Fault, match="the connection ended"):
                await backends[0].follow_tasks(call, {"t": lambda params: None}, agreed.append)
        else:
            await backends[0].follow_tasks(call, {"t": lambda params: None}, agreed.append)
    assert followed == [backends[0], *backends[1:][-1:]]
    assert agreed[-1] == ["t"]


@pytest.mark.parametrize("is_watched", [True, False])
@pytest.mark.parametrize("replaced", [0, 2])
async def test_a_subscription_that_fails_takes_no_earlier_one_back(
    is_watched: bool, replaced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session, _), backends = World().session(), [ready() for _ in range(replaced + 1)]
    for one, next_one in pairwise(backends):
        next_one.take_over(one)

    async def connection(_: object) -> None:
        raise Fault(-32603, "is not connected")

    for each in backends:
        monkeypatch.setattr(each, "_connection", connection)
    if is_watched:
        backends[0]._watchers.add("x://a", Watcher(session, "x://a"))
    with pytest.raises(Fault):
        await backends[0].watch(Watcher(session, "x://a"), "x://a")
    assert backends[-1]._watchers.wanted(lambda _: True) == ({"x://a"} if is_watched else set())


@pytest.mark.parametrize("replaced", [0, 1, 2])
def test_who_has_the_place_unsubscribes(replaced: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (session, _), restored = World().session(), list[Any]()
    backends = [ready() for _ in range(replaced + 1)]
    for one, next_one in pairwise(backends):
        next_one.take_over(one)
    for each in backends:
        monkeypatch.setattr(each, "_spawn", lambda work, spawned_at=each: restored.append((spawned_at, work.__self__)))
    backends[0].unwatch(session)
    assert restored == [(backends[-1], backends[-1])]
