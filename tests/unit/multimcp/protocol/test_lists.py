"""Reading a list to its last page, with what backends may do wrong; and when it is read again."""

import json
import math
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import BackendError
from multimcp.protocol.lists import FRESH, MAX_PAGES, MAX_PROBLEMS, RETRY, TURN, Lists, Pages
from multimcp.protocol.message import Era, fields, pack
from multimcp.protocol.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Listing


def tool(name: Any = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def reading(*pages: Any, kind: Kind = TOOLS, **how: Any) -> tuple[Pages, list[Any]]:
    """These pages, as far as they are asked for, and the cursors that are asked for."""
    read, cursors = Pages(kind, **how), []
    for page in pages:
        list(read.add(fields(page if isinstance(page, Raw) else pack(page))))
        cursors.append(None if read.cursor is None else json.loads(bytes(read.cursor)))
        if read.cursor is None:
            break
    return read, cursors


def names(*pages: Any, **how: Any) -> list[str]:
    return [entry.name for entry in reading(*pages, **how)[0].listing().entries]


def test_one_page() -> None:
    assert names({"tools": [tool("a"), tool("b")]}) == ["a", "b"]
    assert names({"resources": [{"uri": "x://y", "name": "n"}]}, kind=RESOURCES) == ["x://y"]
    assert names({"resourceTemplates": [{"uriTemplate": "x://{y}", "name": "n"}]}, kind=TEMPLATES) == ["x://{y}"]


def test_entries_stay_the_bytes_that_came() -> None:
    entry = b'{ "n": 1e400, "name": "\\u0061", "n": 1.0, "inputSchema" : {"type":"object","x":null} , "y": null}'
    listing = reading(Raw(b'{"tools":[' + entry + b"]}"))[0].listing()
    assert [(each.name, bytes(each.raw)) for each in listing.entries] == [("a", entry)]


def test_many_pages_the_empty_cursor_among_them() -> None:
    pages = ({"tools": [tool()], "nextCursor": ""}, {"tools": [], "nextCursor": "c"}, {"tools": [tool("b")]})
    read, cursors = reading(*pages)
    assert [entry.name for entry in read.listing().entries] == ["a", "b"]
    assert cursors == ["", "c", None]
    assert reading({"tools": [], "nextCursor": None})[1] == [None]


@pytest.mark.parametrize("cursor", ["again", 7, ["x"]])
def test_a_cursor_that_leads_nowhere_keeps_what_was_read(cursor: Any) -> None:
    read, _ = reading(*[{"tools": [tool(str(n))], "nextCursor": cursor} for n in range(3)])
    assert [entry.name for entry in read.listing().entries] == (["0", "1"] if cursor == "again" else ["0"])
    assert read.problems == ["tools/list: its pages never end; what was read is kept"]


def test_an_empty_cursor_that_means_that_there_is_no_more() -> None:
    read, cursors = reading(*[{"tools": [tool(), tool("b")], "nextCursor": ""}] * 3)
    assert cursors == ["", None]
    assert [entry.name for entry in read.listing().entries] == ["a", "b"]
    assert (read.problems, read.is_whole) == ([], True)


def test_the_most_pages() -> None:
    pages = [{"tools": [], "nextCursor": str(number)} for number in range(MAX_PAGES)]
    assert names(*pages[:-1], {"tools": [tool("last")]}) == ["last"]
    read, cursors = reading(*pages)
    assert (len(cursors), cursors[-1]) == (MAX_PAGES, None)
    assert read.problems == ["tools/list: its pages never end; what was read is kept"]


@pytest.mark.parametrize("page", [{}, {"tools": None}, {"tools": {}}, []])
def test_a_page_without_a_list(page: Any) -> None:
    with pytest.raises(BackendError, match="answers tools/list without a list of tools"):
        reading(page)


def test_entries_that_cannot_be_addressed_are_left_out() -> None:
    read, _ = reading({"tools": [tool("a", n=1), "x", {"title": "b"}, tool(3), tool("a", n=2)]})
    assert [json.loads(bytes(entry.raw)) for entry in read.listing().entries] == [tool("a", n=1)]
    assert read.problems == [
        *["tools/list: an entry without a name is left out"] * 3,
        "tools/list: 'a' comes twice; the first is kept",
    ]


def test_entries_that_clients_would_refuse_are_left_out_alone() -> None:
    read, _ = reading({"tools": [tool("a"), {"name": "none"}, tool("odd", title=3), tool("b")]})
    assert [entry.name for entry in read.listing().entries] == ["a", "b"]
    why = "; clients would refuse the whole list"
    assert read.problems == [
        f"tools/list: 'none' is left out: Object missing required field `inputSchema`{why}",
        f"tools/list: 'odd' is left out: Expected `str`, got `int` - at `$.title`{why}",
    ]


def test_many_that_are_left_out_are_not_all_named() -> None:
    read, _ = reading({"tools": [tool("a"), *[{"name": str(n)} for n in range(MAX_PROBLEMS + 5)]]})
    assert [entry.name for entry in read.listing().entries] == ["a"]
    assert len(read.problems) == MAX_PROBLEMS + 1
    assert read.problems[-1] == "tools/list: and 5 more problems like these"
    assert len(reading({"tools": [{"name": str(n)} for n in range(MAX_PROBLEMS)]})[0].problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("era", "has_headers", "expected"),
    [("legacy", True, ["a", "b", "c"]), ("modern", False, ["a", "b", "c"]), ("modern", True, ["a", "c"])],
)
def test_tools_with_headers(era: Era, has_headers: bool, expected: list[str]) -> None:
    def schema(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"r": {"type": kind, "x-mcp-header": "R"}}}

    page = {"tools": [tool("a", inputSchema=schema("string")), tool("b", inputSchema=schema("number")), tool("c")]}
    read, _ = reading(page, era=era, has_headers=has_headers)
    entries = read.listing().entries
    assert [entry.name for entry in entries] == expected
    assert entries[0].headers == {("r",): ("R", "string")}
    assert not any(entry.headers for entry in entries[1:])
    assert ["integers, strings and booleans" in problem for problem in read.problems] == [True] * (3 - len(expected))


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ([{}], (0, False)),
        ([{"ttlMs": 5, "cacheScope": "public"}], (5, True)),
        ([{"ttlMs": 5, "cacheScope": "private"}], (5, False)),
        ([{"ttlMs": 9, "cacheScope": "public"}, {"ttlMs": 5, "cacheScope": "public"}], (5, True)),
        ([{"ttlMs": 9, "cacheScope": "public"}, {}], (0, False)),
        ([{"ttlMs": -1, "cacheScope": "odd"}], (0, False)),
        ([{"ttlMs": True, "cacheScope": None}], (0, False)),
        ([{"ttlMs": "9"}], (0, False)),
    ],
)
def test_the_strictest_hint_of_all_pages(hints: list[dict[str, Any]], expected: tuple[int, bool]) -> None:
    last = len(hints) - 1
    pages = [{"tools": [], **hint, **({"nextCursor": str(n)} if n < last else {})} for n, hint in enumerate(hints)]
    listing = reading(*pages)[0].listing()
    assert (listing.ttl_ms, listing.is_public) == expected


# When


NONE = Pages(TOOLS)
LISTED = reading({"tools": [tool()]})[0]
LISTING: Listing = LISTED.listing()


def lists(**capabilities: Any) -> Lists:
    made = Lists()
    made.declare({name: pack(capability) for name, capability in capabilities.items()}, {}, 0.0)
    return made


def read(held: Lists, now: float) -> set[str]:
    """Read what is due, well; returns what the server had spoken of."""
    kinds, heard = held.begin(now)
    for kind in kinds:
        held.take(kind, LISTED, None, now)
    held.end()
    return heard


def due(held: Lists, now: float) -> list[Kind]:
    kinds, _ = held.begin(now)
    held.end()
    return kinds


def test_what_is_declared_is_read_once() -> None:
    held = lists(tools={"listChanged": True}, resources={}, logging={})
    assert held.promised == ["tools"]
    assert held.next_at == 0.0
    assert due(held, 0.0) == [TOOLS, RESOURCES, TEMPLATES]
    assert held.next_at == math.inf
    assert due(held, 1e9) == []


@pytest.mark.parametrize(
    ("is_heard", "after", "expected"),
    [
        (True, FRESH + 1, [RESOURCES, TEMPLATES]),
        (True, FRESH, []),
        (False, FRESH + 1, [TOOLS, RESOURCES, TEMPLATES]),  # a promise that cannot be kept is not believed
    ],
)
def test_what_a_request_has_read_again(is_heard: bool, after: float, expected: list[Kind]) -> None:
    held = lists(tools={"listChanged": True}, resources={})
    read(held, 0.0)
    held.asked(TOOLS, after, is_heard=is_heard)
    assert due(held, after) == expected


def test_the_word_of_a_server_has_its_lists_read_again_and_is_passed_on() -> None:
    held = lists(tools={"listChanged": True}, resources={"listChanged": True})
    read(held, 0.0)
    woken: list[None] = []
    held.wake = lambda: woken.append(None)
    held.changed("resources", 1.0)
    held.changed("resources", 1.1)
    held.changed("prompts", 1.1)  # which it has not
    assert len(woken) == 2
    assert held.next_at == 1.1
    assert held.begin(2.0) == ([RESOURCES, TEMPLATES], {"resources", "prompts"})


def test_what_is_said_while_lists_are_read_has_them_read_again_and_is_no_news() -> None:
    held = lists(tools={})
    held.begin(0.0)
    held.changed("tools", 0.5)
    held.take(TOOLS, LISTED, None, 1.0)
    held.end()
    assert held.begin(1.0) == ([TOOLS], set())


def test_after_a_gap_all_is_read_again() -> None:
    held = lists(tools={"listChanged": True}, prompts={"listChanged": True})
    read(held, 0.0)
    held.missed(9.0)
    assert due(held, 9.0) == [TOOLS, PROMPTS]


def test_what_could_not_be_read_keeps_what_was_and_is_read_again_after_longer_and_longer_pauses() -> None:
    held = lists(tools={"listChanged": True})
    read(held, 0.0)
    held.changed("tools", 10.0)
    pauses, now = [], 10.0
    for _ in range(8):
        assert due(held, now) == [TOOLS]
        held.take(TOOLS, NONE, "tools/list: why", now)
        assert held.listings == {TOOLS: LISTING}
        assert held.problems == ("tools/list: why",)
        pauses.append(held.next_at - now)
        now = held.next_at
    assert pauses == [RETRY[0], 2.0, 4.0, 8.0, 16.0, 32.0, RETRY[1], RETRY[1]]
    read(held, now)
    assert (held.problems, held.next_at) == ((), math.inf)
    held.take(TOOLS, NONE, "again", now)
    assert held.next_at == now + RETRY[0]


def test_a_change_or_a_request_does_not_wait_for_the_pause() -> None:
    held = lists(tools={})
    for now in (0.0, 1.0, 3.0, 7.0):
        assert due(held, now) == [TOOLS]
        held.take(TOOLS, NONE, "why", now)
    held.asked(TOOLS, 8.0, is_heard=True)
    assert due(held, 8.0) == []
    held.asked(TOOLS, 7.1 + FRESH, is_heard=True)
    assert due(held, 7.1 + FRESH) == [TOOLS]


def test_a_list_that_there_is_not_is_no_problem() -> None:
    held = lists(resources={"listChanged": True})
    due(held, 0.0)
    held.take(TEMPLATES, NONE, None, 0.0)
    assert (held.problems, held.next_at) == ((), math.inf)
    assert held.listings == {}


def test_the_first_pages_are_better_than_none() -> None:
    held = lists(tools={})
    part = reading({"tools": [tool("a"), tool("b")], "nextCursor": "x"})[0]
    due(held, 0.0)
    held.take(TOOLS, part, "the second page", 0.0)
    assert [entry.name for entry in held.listings[TOOLS].entries] == ["a", "b"]
    assert held.next_at == RETRY[0]
    read(held, RETRY[0])
    held.take(TOOLS, part, "the second page", 9.0)
    assert held.listings == {TOOLS: LISTING}  # but not than all of it before


def test_a_long_page_is_taken_in_turns() -> None:
    read = Pages(TOOLS)
    turns = sum(1 for _ in read.add({"tools": pack([tool(f"t{number}") for number in range(3 * TURN + 1)])}))
    assert (turns, len(read.listing().entries), read.cursor) == (3, 3 * TURN + 1, None)


ONE, TWO, THREE = (
    {"tools": [tool("a"), tool("b"), {"name": 7}], "nextCursor": "one"},
    {"tools": [tool("c"), tool("a")], "nextCursor": "two"},
    {"tools": [tool("d")], "ttlMs": 5},
)


@pytest.mark.parametrize(
    ("again", "same"),
    [
        ((ONE, TWO, THREE), "abcd"),
        ((ONE, {**TWO, "nextCursor": "another"}, {**THREE, "ttlMs": 7}), "abcd"),
        ((ONE, {"tools": [tool("c", title="C"), tool("a")], "nextCursor": "two"}, THREE), "ab"),
        (({"tools": [tool("b"), tool("a")], "nextCursor": "one"}, TWO, THREE), ""),
        ((TWO, ONE, THREE), ""),
        ((ONE, {"tools": [tool("c")]}), "ab"),
        ((ONE, THREE), "ab"),
        (({"tools": [tool("a"), tool("b"), {"name": 7}]},), "ab"),
        (({"tools": []},), ""),
    ],
)
def test_what_comes_again_is_not_looked_at_again(again: Any, same: str) -> None:
    before, _ = reading(ONE, TWO, THREE)
    known = {id(entry): entry.name for entry in before.listing().entries}
    read, cursors = reading(*again, known=before.found)
    fresh, as_fresh = reading(*again)
    assert (read.listing(), read.problems, cursors) == (fresh.listing(), fresh.problems, as_fresh)
    assert "".join(known.get(id(entry), "") for entry in read.listing().entries) == same
    assert read.found == fresh.found


def test_a_page_that_was_cut_is_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multimcp.protocol.lists.ENTRIES", 2)
    before, _ = reading(ONE, TWO)
    read, cursors = reading(ONE, TWO, known=before.found)
    assert (read.listing(), read.problems, cursors) == (before.listing(), before.problems, [None])
    assert "of more than 2 entries" in read.problems[-1]


def test_a_list_that_is_the_same_stays_the_same_object() -> None:
    held = Lists()
    read(held, 0.0)
    held.take(TOOLS, reading(ONE)[0], None, 0.0)
    first = held.listings[TOOLS]
    held.take(TOOLS, reading(ONE, known=held.found(TOOLS))[0], None, 1.0)
    assert held.listings[TOOLS] is first
    held.take(TOOLS, reading(TWO, known=held.found(TOOLS))[0], None, 2.0)
    assert [entry.name for entry in held.listings[TOOLS].entries] == ["c", "a"]


@pytest.mark.parametrize("odd", ["another", "another page", "more whitespace"])
def test_nothing_is_kept_twice(odd: str) -> None:
    held, before = Lists(), [{"tools": [tool("a"), tool("b"), tool("c"), {"title": "0"}]}]
    after: list[dict[str, Any]] = [{"tools": [tool("a"), tool("b"), tool("c"), {"title": "1"}]}]
    if odd == "another page":
        after = [{"tools": [tool("a")], "nextCursor": "x"}, {"tools": [tool("b"), tool("c"), {"title": "0"}]}]
    held.take(TOOLS, reading(*before)[0], None, 0.0)
    first = held.listings[TOOLS]
    again = [
        pack(page) if odd != "more whitespace" else Raw(bytes(pack(page)).replace(b"},{", b"}, {")) for page in after
    ]
    for _ in range(2):
        read = reading(*again, known=held.found(TOOLS))[0]
        held.take(TOOLS, read, None, 1.0)
        assert held.listings[TOOLS] is first
        kept = [entry for page in held.found(TOOLS).values() for entry in page.entries]
        assert [id(entry) for entry in kept] == [id(entry) for entry in first.entries]
        assert held.found(TOOLS).keys() == read.found.keys()


def test_of_many_problems_few_are_kept() -> None:
    bad = [{"name": f"{number}"} for number in range(30 * MAX_PROBLEMS)]
    pages = [{"tools": bad[: MAX_PROBLEMS - 1], "nextCursor": "x"}, {"tools": bad}]
    read, _ = reading(*pages)
    assert sum(len(page.named) for page in read.found.values()) == MAX_PROBLEMS
    assert read.problems[-1] == f"tools/list: and {len(bad) - 1:,} more problems like these"
    assert reading(*pages, known=read.found)[0].problems == read.problems
