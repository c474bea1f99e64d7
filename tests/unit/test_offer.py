"""Reading a list to its last page, with what backends may do wrong."""

from typing import Any

import pytest

from multimcp.errors import BackendError
from multimcp.offer import MAX_PAGES, RESOURCES, TOOLS, Kind, read_listing


def serving(*pages: dict[str, Any]) -> Any:
    """A backend that gives these pages in order, and the params it was asked with."""
    asked: list[dict[str, Any]] = []

    async def request(method: str, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return pages[len(asked) - 1]

    return request, asked


async def names(*pages: dict[str, Any], kind: Kind = TOOLS) -> list[str]:
    request, _ = serving(*pages)
    listing, problems = await read_listing(kind, request)
    assert not problems
    return [item[kind.id] for item in listing.items]


async def test_one_page() -> None:
    assert await names({"tools": [{"name": "a"}, {"name": "b"}]}) == ["a", "b"]
    assert await names({"resources": [{"uri": "x://y", "name": "n"}]}, kind=RESOURCES) == ["x://y"]


async def test_many_pages_the_empty_cursor_among_them() -> None:
    request, asked = serving(
        {"tools": [{"name": "a"}], "nextCursor": ""},
        {"tools": [], "nextCursor": "c"},
        {"tools": [{"name": "b"}], "nextCursor": None},
    )
    listing, _ = await read_listing(TOOLS, request)
    assert [item["name"] for item in listing.items] == ["a", "b"]
    assert asked == [{}, {"cursor": ""}, {"cursor": "c"}]


@pytest.mark.parametrize("cursor", ["again", 7, ["x"]])
async def test_a_cursor_that_leads_nowhere(cursor: Any) -> None:
    request, _ = serving(*[{"tools": [], "nextCursor": cursor}] * 3)
    with pytest.raises(BackendError, match="pages that never end"):
        await read_listing(TOOLS, request)


async def test_the_most_pages() -> None:
    pages = [{"tools": [], "nextCursor": str(number)} for number in range(MAX_PAGES)]
    assert await names(*pages[:-1], {"tools": [{"name": "last"}]}) == ["last"]
    request, _ = serving(*pages)
    with pytest.raises(BackendError, match="more than 1,000 pages"):
        await read_listing(TOOLS, request)


@pytest.mark.parametrize("page", [{}, {"tools": None}, {"tools": {}}])
async def test_a_page_without_a_list(page: dict[str, Any]) -> None:
    request, _ = serving(page)
    with pytest.raises(BackendError, match="answers tools/list without a list of tools"):
        await read_listing(TOOLS, request)


async def test_entries_that_cannot_be_addressed_are_left_out() -> None:
    request, _ = serving({"tools": [{"name": "a", "n": 1}, "x", {"title": "b"}, {"name": 3}, {"name": "a", "n": 2}]})
    listing, problems = await read_listing(TOOLS, request)
    assert listing.items == ({"name": "a", "n": 1},)
    assert problems == [
        *["tools/list: an entry without a name is left out"] * 3,
        "tools/list: 'a' comes twice; the first is kept",
    ]


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
async def test_the_strictest_hint_of_all_pages(hints: list[dict[str, Any]], expected: tuple[int, bool]) -> None:
    last = len(hints) - 1
    request, _ = serving(
        *[{"tools": [], **hint, **({"nextCursor": str(n)} if n < last else {})} for n, hint in enumerate(hints)]
    )
    listing, _ = await read_listing(TOOLS, request)
    assert (listing.ttl_ms, listing.public) == expected
