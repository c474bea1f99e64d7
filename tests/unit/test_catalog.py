"""Merging offers: names, order, routes, collisions, cache hints."""

from typing import Any

import pytest

from multimcp.catalog import Catalog, Names, Route, build
from multimcp.config import ToolFilter
from multimcp.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Listing, Offer


def offer(*, ttl_ms: int = 0, public: bool = False, **lists: list[str]) -> Offer:
    kinds = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": TEMPLATES}
    return Offer(
        "2025-11-25",
        listings={
            kinds[key]: Listing(tuple({kinds[key].id: name, "of": name} for name in names), ttl_ms, public)
            for key, names in lists.items()
        },
    )


def listed(catalog: Catalog, kind: Kind) -> list[str]:
    return [item[kind.id] for item in catalog.listings[kind].items]


def merged(names: Names | None = None, filters: dict[str, ToolFilter] | None = None, **offers: Offer) -> Catalog:
    return build(offers, names or Names(), filters or {})


def test_tools_and_prompts_carry_their_servers_name() -> None:
    catalog = merged(b=offer(tools=["t", "u"], prompts=["p"]), a=offer(tools=["t"], prompts=["p"]))
    assert listed(catalog, TOOLS) == ["b::t", "b::u", "a::t"]
    assert listed(catalog, PROMPTS) == ["b::p", "a::p"]
    assert catalog.route(TOOLS, "a::t") == Route("a", "t")
    assert catalog.route(PROMPTS, "b::p") == Route("b", "p")
    assert catalog.route(TOOLS, "t") is None
    assert catalog.collisions == ()


def test_entries_keep_what_they_had() -> None:
    item = {"x": 1, "name": "t", "inputSchema": {"type": "object"}}
    catalog = merged(a=Offer("v", listings={TOOLS: Listing((item,))}))
    assert list(catalog.listings[TOOLS].items[0].items()) == [
        ("x", 1),
        ("name", "a::t"),
        ("inputSchema", {"type": "object"}),
    ]
    assert item["name"] == "t"
    assert catalog.input_schemas == {"a::t": {"type": "object"}}


def test_names_that_look_alike_are_looked_up_not_split() -> None:
    offers: dict[str, Any] = {"a": offer(tools=["b::c"]), "a::b": offer(tools=["c", "d"])}
    catalog = build(offers, Names(), {})
    assert catalog.route(TOOLS, "a::b::c") == Route("a", "b::c")
    assert catalog.route(TOOLS, "a::b::d") == Route("a::b", "d")
    # Even names that come out the same are told apart.
    assert listed(catalog, TOOLS) == ["a::b::c", "a::b::a::b::c", "a::b::d"]
    assert catalog.route(TOOLS, "a::b::a::b::c") == Route("a::b", "c")
    assert catalog.collisions == ()


def test_without_a_namespace_the_first_wins() -> None:
    catalog = merged(Names(namespace="never"), a=offer(tools=["t"]), b=offer(tools=["t", "u"]))
    assert listed(catalog, TOOLS) == ["t", "u"]
    assert catalog.route(TOOLS, "t") == Route("a", "t")
    assert catalog.collisions == ("tool 't' of 'b' is hidden by 'a'",)


def test_filters() -> None:
    catalog = merged(filters={"a": ToolFilter(exclude=["u*"])}, a=offer(tools=["t", "u1"], prompts=["u1"]))
    assert listed(catalog, TOOLS) == ["a::t"]
    assert listed(catalog, PROMPTS) == ["a::u1"]


def test_only_colliding_uris_are_renamed() -> None:
    catalog = merged(
        a=offer(resources=["n://x", "n://a"], templates=["n://{id}"]),
        b=offer(resources=["n://x", "n://b"], templates=["n://{id}", "m://{id}"]),
    )
    assert listed(catalog, RESOURCES) == ["n://x", "n://a", "n://b/x", "n://b"]
    assert listed(catalog, TEMPLATES) == ["n://{id}", "n://b/{id}", "m://{id}"]
    assert catalog.route(RESOURCES, "n://b/x") == Route("b", "n://x")
    assert catalog.public[RESOURCES][Route("b", "n://x")] == "n://b/x"
    assert catalog.public[RESOURCES][Route("a", "n://x")] == "n://x"


def test_a_renamed_uri_that_another_has_too_is_renamed_again() -> None:
    catalog = merged(
        a=offer(resources=["n://x", "n://b/x", "plain"], templates=["n://{id}", "n://b/{id}"]),
        b=offer(resources=["n://x", "plain"], templates=["n://{id}"]),
    )
    assert listed(catalog, RESOURCES) == ["n://x", "n://b/x", "plain", "n://b/b/x", "b/plain"]
    assert catalog.route(RESOURCES, "n://b/b/x") == Route("b", "n://x")
    assert listed(catalog, TEMPLATES) == ["n://{id}", "n://b/{id}", "n://b/b/{id}"]
    assert catalog.by_template("n://b/b/7") == Route("b", "n://7")
    assert catalog.by_template("n://b/7") == Route("a", "n://b/7")
    assert catalog.collisions == ()


@pytest.mark.parametrize(
    ("uri", "route"),
    [
        ("n://7", Route("a", "n://7")),
        ("n://b/7", Route("b", "n://7")),
        ("n://deep/er/7", Route("c", "n://deep/er/7")),
        ("n://special/7", Route("d", "n://special/7")),
        ("odd://x/y", Route("e", "odd://x/y")),
        ("other://7", None),
        ("n:", None),
    ],
)
def test_the_most_literal_template_wins(uri: str, route: Route | None) -> None:
    catalog = merged(
        c=offer(templates=["n://{+path}"]),
        a=offer(templates=["n://{id}"]),
        b=offer(templates=["n://{id}"]),
        d=offer(templates=["n://special/{id}"]),
        e=offer(templates=["odd://{a}{b}", "{wild}{er}"]),  # which the SDK cannot match against
    )
    assert catalog.by_template(uri) == route


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((9, True), (5, True), (5, True)),
        ((9, True), (5, False), (5, False)),
        ((0, True), (5, True), (0, True)),
    ],
)
def test_the_strictest_hint_of_all_servers(
    a: tuple[int, bool], b: tuple[int, bool], expected: tuple[int, bool]
) -> None:
    offers = {name: offer(tools=["t"], ttl_ms=hint[0], public=hint[1]) for name, hint in (("a", a), ("b", b))} | {
        "without tools": offer(prompts=[])
    }
    listing = build(offers, Names(), {}).listings[TOOLS]
    assert (listing.ttl_ms, listing.public) == expected


def test_nothing_offered_is_not_cached() -> None:
    listing = build({}, Names(), {}).listings[TOOLS]
    assert (listing.items, listing.ttl_ms, listing.public) == ((), 0, False)
