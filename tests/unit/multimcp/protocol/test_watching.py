"""Who watches a resource, and what has to be subscribed to for that."""

from typing import Any

import pytest

from multimcp.protocol.calls import Call, Listener
from multimcp.protocol.message import opened, pack
from multimcp.protocol.seen import Seen
from multimcp.protocol.watching import LONG, Watcher, Watchers, to_settle
from tests.support.fakes import Port, World


def always(watcher: Watcher) -> bool:
    return True


def listener() -> tuple[Listener, Port]:
    port = Port()
    return Listener(Call(port, "modern", "c", "subscriptions/listen", {}), {}, Seen({}, 0)), port


def test_a_resource_is_wanted_as_long_as_somebody_watches_it() -> None:
    world, watchers = World(), Watchers()
    (one, _), (two, _) = world.session("1"), world.session("2")
    assert watchers.add("a", Watcher(one, "a"))
    assert watchers.add("a", Watcher(two, "a"))
    assert watchers.add("b", Watcher(two, "b"))
    assert not watchers.add("a", Watcher(two, "another/a"))
    assert watchers.wanted(always) == {"a", "b"}
    assert watchers.wanted(lambda watcher: watcher.session is one) == {"a"}
    assert watchers.remove(one, "b") == []
    assert watchers.remove(one, "a") == []
    assert watchers.remove(two) == ["a", "b"]
    assert watchers.remove(two) == []
    assert watchers.wanted(always) == set()


def test_each_hears_of_an_update_under_its_own_uri() -> None:
    world, watchers = World(), Watchers()
    (one, told_one), (two, told_two) = world.session("1"), world.session("2")
    modern, port = listener()
    modern.acknowledge([])
    port.got.clear()
    watchers.add("n://a", Watcher(one, "n://a"))
    watchers.add("n://a", Watcher(two, "n://b/a"))
    watchers.add("n://a", Watcher(modern, "n://b/a"))

    def update(uri: str, **more: Any) -> None:
        watchers.updated(opened(pack({"uri": uri, **more})), uri, always)

    update("n://a", v=1)
    update("n://a/part")
    update("n://ab")
    update("n://")
    assert [each["params"] for each in told_one] == [{"uri": "n://a", "v": 1}, {"uri": "n://a/part"}]
    assert [each["params"] for each in told_two] == [{"uri": "n://b/a", "v": 1}, {"uri": "n://b/a/part"}]
    assert [each["params"]["uri"] for each in port.got] == ["n://b/a", "n://b/a"]
    watchers.updated({}, "n://a", lambda watcher: watcher.who is two)
    assert (len(told_one), len(told_two)) == (2, 3)


def test_what_is_to_be_done() -> None:
    assert to_settle({"b", "a", "c"}, ["c", "d"]) == (["a", "b"], ["d"])
    assert to_settle([], {}) == ([], [])


WATCHED = ["", "/", "//", "n:", "n:/", "n://", "n:///", "n://a", "n://a/", "n://a//", "n://a/b", "n://a/b/", "n://ab"]


@pytest.mark.parametrize(
    "uri", [*WATCHED, f"n://a/b/{LONG * 'c/'}", "n://a/b/c", "n://a//b", "n://a///b", "x", "/a", "n://a/bc", "n:a/b"]
)
def test_who_hears_of_an_update(uri: str) -> None:
    world, watchers = World(), Watchers()
    session, told = world.session()
    for watched in WATCHED:
        watchers.add(watched, Watcher(session, f"public:{watched} "))
    watchers.updated({}, uri, always)
    expected = [each for each in WATCHED if uri == each or uri.startswith(f"{each.rstrip('/')}/")]
    assert sorted(each["params"]["uri"] for each in told) == sorted(f"public:{w} {uri[len(w) :]}" for w in expected)
    for watched in WATCHED:
        watchers.remove(session, watched)
    told.clear()
    watchers.updated({}, uri, always)
    assert (told, watchers._spellings) == ([], {})


class Unread(dict[str, Any]):
    """A table in which things are looked up, and that is never read as a whole."""

    def __iter__(self) -> Any:
        raise AssertionError("read as a whole")

    keys = values = items = __iter__


def test_an_update_is_looked_up_however_many_resources_are_watched() -> None:
    world, watchers = World(), Watchers()
    session, told = world.session()
    for number in range(10):
        watchers.add(f"n://{number}", Watcher(session, f"n://{number}"))
    watchers._by_uri, watchers._spellings = Unread(watchers._by_uri), Unread(watchers._spellings)
    watchers.updated({}, "n://7/part", always)
    assert [each["params"]["uri"] for each in told] == ["n://7/part"]
