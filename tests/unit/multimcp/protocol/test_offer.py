"""Reading a list to its last page, with what backends may do wrong."""

import json
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import BackendError
from multimcp.protocol.message import opened, pack
from multimcp.protocol.offer import (
    KINDS,
    LIST_CHANGED,
    MAX_PAGES,
    RESOURCES,
    TEMPLATES,
    TOOLS,
    Kind,
    Listing,
    Offer,
    Pages,
)


def read(*pages: Any, kind: Kind = TOOLS) -> tuple[Listing, list[str], list[Any]]:
    """What is in these pages, what had to be left out, and the cursors that were asked for."""
    reading, cursors = Pages(kind), []
    for page in pages:
        cursor = reading.add(page if isinstance(page, Raw) else pack(page))
        cursors.append(None if cursor is None else json.loads(bytes(cursor)))
        if cursor is None:
            break
    return reading.listing(), reading.problems, cursors


def names(*pages: Any, kind: Kind = TOOLS) -> list[str]:
    return [entry.name for entry in read(*pages, kind=kind)[0].entries]


def test_one_page() -> None:
    assert names({"tools": [{"name": "a"}, {"name": "b"}]}) == ["a", "b"]
    assert names({"resources": [{"uri": "x://y", "name": "n"}]}, kind=RESOURCES) == ["x://y"]
    assert names({"resourceTemplates": [{"uriTemplate": "x://{y}"}]}, kind=TEMPLATES) == ["x://{y}"]


def test_entries_stay_the_bytes_that_came() -> None:
    entry = b'{ "n": 1e400, "name": "\\u0061", "n": 1.0 }'
    listing, _, _ = read(Raw(b'{"tools":[' + entry + b"]}"))
    assert [(each.name, bytes(each.raw)) for each in listing.entries] == [("a", entry)]


def test_many_pages_the_empty_cursor_among_them() -> None:
    pages = ({"tools": [{"name": "a"}], "nextCursor": ""}, {"tools": [], "nextCursor": "c"}, {"tools": [{"name": "b"}]})
    listing, _, cursors = read(*pages)
    assert [entry.name for entry in listing.entries] == ["a", "b"]
    assert cursors == ["", "c", None]
    assert read({"tools": [], "nextCursor": None})[2] == [None]


@pytest.mark.parametrize("cursor", ["again", 7, ["x"]])
def test_a_cursor_that_leads_nowhere(cursor: Any) -> None:
    with pytest.raises(BackendError, match="pages that never end"):
        read(*[{"tools": [], "nextCursor": cursor}] * 3)


def test_the_most_pages() -> None:
    pages = [{"tools": [], "nextCursor": str(number)} for number in range(MAX_PAGES)]
    assert names(*pages[:-1], {"tools": [{"name": "last"}]}) == ["last"]
    with pytest.raises(BackendError, match="more than 1,000 pages"):
        read(*pages)


@pytest.mark.parametrize("page", [{}, {"tools": None}, {"tools": {}}, []])
def test_a_page_without_a_list(page: Any) -> None:
    with pytest.raises(BackendError, match="answers tools/list without a list of tools"):
        read(page)


def test_entries_that_cannot_be_addressed_are_left_out() -> None:
    listing, problems, _ = read(
        {"tools": [{"name": "a", "n": 1}, "x", {"title": "b"}, {"name": 3}, {"name": "a", "n": 2}]}
    )
    assert [json.loads(bytes(entry.raw)) for entry in listing.entries] == [{"name": "a", "n": 1}]
    assert problems == [
        *["tools/list: an entry without a name is left out"] * 3,
        "tools/list: 'a' comes twice; the first is kept",
    ]


def test_tools_with_headers() -> None:
    good = {"name": "a", "inputSchema": {"properties": {"r": {"type": "string", "x-mcp-header": "R"}}}}
    bad = {"name": "b", "inputSchema": {"properties": {"r": {"type": "number", "x-mcp-header": "R"}}}}
    listing, _, _ = read({"tools": [good, bad, {"name": "c"}]})
    assert [dict(entry.headers) for entry in listing.entries] == [{("r",): ("R", "string")}, {}, {}]
    assert "integers, strings and booleans" in listing.invalid["b"]
    assert [entry.name for entry in listing.without_invalid().entries] == ["a", "c"]
    fine, _, _ = read({"tools": [good]})
    assert fine.without_invalid() is fine


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
    listing, _, _ = read(*pages)
    assert (listing.ttl_ms, listing.is_public) == expected


def test_what_is_declared() -> None:
    offer = Offer("v", opened(pack({"tools": {"listChanged": True}, "resources": {"subscribe": 1}, "odd": []})))
    asked = [("tools", "listChanged"), ("tools", "x"), ("resources", "subscribe"), ("odd", "x"), ("none", "x")]
    assert [offer.declares(*each) for each in asked] == [True, False, False, False, False]
    assert offer.entries(TOOLS) == ()


def test_the_notifications_of_changes() -> None:
    assert LIST_CHANGED["notifications/resources/list_changed"] == "resources"
    assert len(LIST_CHANGED) == len(KINDS) - 1
