"""Merging offers: names, order, routes, collisions, cache hints."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import AmbiguousNameError
from multimcp.protocol.catalog import Catalog, Names, Route, build, capabilities, instructions
from multimcp.protocol.config import ToolFilter
from multimcp.protocol.lists import Pages
from multimcp.protocol.message import opened, pack
from multimcp.protocol.names import LLM_NAMES
from multimcp.protocol.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Kind, Listing, Offer


def offer(*, ttl_ms: int = 0, public: bool = False, **lists: list[str]) -> Offer:
    kinds = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": TEMPLATES}
    return Offer(
        "2025-11-25",
        listings={
            kinds[key]: Listing(
                tuple(Entry(name, pack({kinds[key].id: name, "of": name})) for name in names), ttl_ms, public
            )
            for key, names in lists.items()
        },
    )


def listed(catalog: Catalog, kind: Kind) -> list[str]:
    return [json.loads(bytes(entry.raw))[kind.id] for entry in catalog.listings[kind].entries]


def merged(names: Names | None = None, filters: dict[str, ToolFilter] | None = None, **offers: Offer) -> Catalog:
    return build(offers, names or Names(), {name: wanted.admits for name, wanted in (filters or {}).items()})


def test_tools_and_prompts_carry_their_servers_name() -> None:
    catalog = merged(b=offer(tools=["t", "u"], prompts=["p"]), a=offer(tools=["t"], prompts=["p"]))
    assert listed(catalog, TOOLS) == ["b::t", "b::u", "a::t"]
    assert listed(catalog, PROMPTS) == ["b::p", "a::p"]
    assert catalog.route(TOOLS, "a::t") == Route("a", "t")
    assert catalog.route(PROMPTS, "b::p") == Route("b", "p")
    assert catalog.route(TOOLS, "t") is None
    assert catalog.collisions == ()


def test_entries_keep_what_they_had() -> None:
    raw = '{"x": 1.0, "name": "t", "y": 1e400, "name2": [1, 2 ]}'
    catalog = merged(a=Offer("v", listings={TOOLS: Listing((Entry("t", Raw(raw.encode())),))}))
    assert bytes(catalog.listings[TOOLS].entries[0].raw) == b'{"x":1.0,"name":"a::t","y":1e400,"name2":[1, 2 ]}'


def test_names_that_look_alike_are_looked_up_not_split() -> None:
    offers: dict[str, Any] = {"a": offer(tools=["b::c"]), "a::b": offer(tools=["c", "d"])}
    catalog = build(offers, Names(), {})
    assert catalog.route(TOOLS, "a::b::c") == Route("a", "b::c")
    assert catalog.route(TOOLS, "a::b::d") == Route("a::b", "d")
    # Even names that come out the same are told apart.
    assert listed(catalog, TOOLS) == ["a::b::c", "a::b::a::b::c", "a::b::d"]
    assert catalog.route(TOOLS, "a::b::a::b::c") == Route("a::b", "c")
    assert catalog.collisions == (
        "tool 'c' of 'a::b' is offered as 'a::b::a::b::c': the shorter name is that of 'b::c' of 'a'",
    )


@pytest.mark.parametrize(
    ("git", "hub", "collides"),
    [
        ({"tools": ["hub_create"]}, {"tools": ["create"]}, True),
        ({"prompts": ["hub_create"]}, {"prompts": ["create"]}, True),
        ({"tools": ["hub_create"]}, {"prompts": ["create"]}, False),
        ({"tools": ["hub_make"]}, {"tools": ["create"]}, False),
    ],
)
def test_a_name_that_another_server_could_mean_is_a_collision(git: Any, hub: Any, collides: bool) -> None:
    for servers in ({"git": offer(**git), "git_hub": offer(**hub)}, {"git_hub": offer(**hub), "git": offer(**git)}):
        catalog = build(servers, Names(separator="_"), {})
        assert [" of 'git" in text for text in catalog.collisions] == [True] * collides


def test_without_a_namespace_the_first_wins() -> None:
    catalog = merged(Names(namespace="never"), a=offer(tools=["t"]), b=offer(tools=["t", "u"]))
    assert listed(catalog, TOOLS) == ["t", "u"]
    assert catalog.route(TOOLS, "t") == Route("a", "t")
    assert catalog.collisions == ("tool 't' of 'b' is hidden by 'a'",)
    # Names that would be the same only with the server in front are none.
    assert merged(Names(namespace="never"), a=offer(tools=["b::t"]), b=offer(tools=["t"])).collisions == ()


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
    assert catalog.collisions == (
        "resource 'n://x' of 'b' is offered as 'n://b/b/x': the shorter name is that of 'n://b/x' of 'a'",
        "template 'n://{id}' of 'b' is offered as 'n://b/b/{id}': the shorter name is that of 'n://b/{id}' of 'a'",
    )


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
        e=offer(templates=["odd://{a}{b}", "{wild}{er}"]),  # which cannot be read backwards
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
    assert (listing.ttl_ms, listing.is_public) == expected


def test_nothing_offered_is_not_cached() -> None:
    listing = build({}, Names(), {}).listings[TOOLS]
    assert (listing.entries, listing.ttl_ms, listing.is_public) == ((), 0, False)


def test_a_list_is_encoded_once_for_each_era() -> None:
    catalog = merged(a=offer(tools=["t"], ttl_ms=7, public=True))
    legacy, modern = catalog.page(TOOLS, "legacy"), catalog.page(TOOLS, "modern", pack({"name": "proxy"}))
    assert json.loads(bytes(legacy)) == {"tools": [{"name": "a::t", "of": "t"}]}
    assert json.loads(bytes(modern)) == {
        "tools": [{"name": "a::t", "of": "t"}],
        "ttlMs": 7,
        "cacheScope": "public",
        "resultType": "complete",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "proxy"}},
    }
    assert catalog.page(TOOLS, "legacy") is legacy
    assert catalog.page(TOOLS, "modern") is modern
    assert json.loads(bytes(Catalog().page(PROMPTS, "legacy"))) == {"prompts": []}


def test_the_headers_of_tools_are_known_by_public_name() -> None:
    pages = Pages(TOOLS)
    schema = {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "R"}}}
    list(pages.add({"tools": pack([{"name": "t", "inputSchema": schema}, {"name": "u", "inputSchema": {}}])}))
    catalog = merged(a=Offer("v", listings={TOOLS: pages.listing()}))
    assert catalog.headers == {Route("a", "t"): {("r",): ("R", "string")}}


ALL = {
    **{kind: {"listChanged": True} for kind in ("tools", "prompts")},
    "resources": {"listChanged": True, "subscribe": True},
    "extensions": {f"io.modelcontextprotocol/{name}": {} for name in ("ui", "tasks", "skills")},
}


@pytest.mark.parametrize(
    ("servers", "more", "only", "expected"),
    [
        ([{"tools": {}}], False, False, {"tools": {"listChanged": True}}),
        ([{"tools": {}}, {"completions": {"x": 1}}], False, False, {"tools": {"listChanged": True}, "completions": {}}),
        ([{"resources": {"subscribe": True}}], False, False, {"resources": {"listChanged": True, "subscribe": True}}),
        ([{"resources": {"subscribe": 1}}], False, False, {"resources": {"listChanged": True}}),
        ([{"vendor": {}}], False, False, {}),
        ([{"vendor": {"v": 1.0}}], False, True, {"vendor": {"v": 1.0}}),
        (
            [{"vendor": {}}],
            True,
            False,
            {**ALL, "completions": {}, "logging": {}},
        ),
        (
            [],
            False,
            False,
            {**ALL, "completions": {}, "logging": {}},
        ),
    ],
)
def test_what_the_proxy_can_do(servers: list[Any], more: bool, only: bool, expected: Any) -> None:
    offers = {str(n): Offer("v", opened(pack(each))) for n, each in enumerate(servers)}
    found = capabilities(offers, may_be_more=more, is_only=only)
    assert json.loads(bytes(pack(found))) == expected


def test_instructions() -> None:
    offers = {"a": Offer("v", instructions="Do."), "b": Offer("v"), "c": Offer("v", instructions="Do not.")}
    assert instructions(offers) == "# a\n\nDo.\n\n# c\n\nDo not."
    assert instructions({"b": Offer("v")}) is None


def with_pages(resources: Sequence[str] = (), templates: Sequence[str] = (), **tools: Any) -> Offer:
    """A server whose tools have this `_meta`."""
    pages = Pages(TOOLS)
    listed = [{"name": t, "inputSchema": {"type": "object"}, "_meta": m} for t, m in tools.items()]
    list(pages.add({"tools": pack(listed)}))
    rest = offer(resources=[*resources], templates=[*templates]).listings
    return Offer("v", listings={**rest, TOOLS: pages.listing()})


def page(uri: str) -> dict[str, Any]:
    return {"ui": {"resourceUri": uri, "visibility": ["app"]}}


def shown_pages(catalog: Catalog) -> dict[str, Any]:
    return {entry.name: json.loads(bytes(entry.raw))["_meta"] for entry in catalog.listings[TOOLS].entries}


@pytest.mark.parametrize(
    ("a", "b", "routes"),
    [
        ("ui://v", "ui://w", {"ui://v": "a ui://v", "ui://w": "b ui://w"}),
        ("ui://v", "ui://v", {"ui://v": "a ui://v", "ui://b/v": "b ui://v"}),
        # As it is offered by another already, also under the name that it would get.
        ("ui://b/v", "ui://listed", {"ui://b/v": "a ui://b/v", "ui://b/listed": "b ui://listed"}),
        ("ui://b/listed", "ui://listed", {"ui://b/listed": "a ui://b/listed", "ui://b/b/listed": "b ui://listed"}),
        # Its own, listed or from a template, keep the spelling that these have.
        ("ui://v", "ui://both", {"ui://v": "a ui://v", "ui://b/both": "b ui://both"}),
        ("ui://v", "t://7", {"ui://v": "a ui://v", "t://b/7": "b t://7"}),
        ("t://7", "s://7", {"t://7": "a t://7", "s://7": "b s://7"}),
        ("odd", "odd", {"odd": "a odd", "b/odd": "b odd"}),
    ],
)
@pytest.mark.parametrize("older", [None, "ui/resourceUri", "openai/outputTemplate"])
def test_pages_lead_to_their_servers_listed_or_not(a: str, b: str, routes: Any, older: str | None) -> None:
    def meta(uri: str) -> Any:
        return {older: uri} if older else page(uri)

    catalog = merged(
        a=with_pages(["ui://listed", "ui://both"], ["t://{id}"], show=meta(a)),
        b=with_pages(["ui://both"], ["s://{id}", "t://{id}"], show=meta(b), again=meta(b), plain={"x": 1}),
    )
    for server, uri in (("a", a), ("b", b)):
        [public] = [public for public, route in routes.items() if route.startswith(server)]
        shown = shown_pages(catalog)[f"{server}::show"]
        assert shown == meta(public)
        assert catalog.route(RESOURCES, public) == Route(server, uri)
        assert catalog.public[RESOURCES][Route(server, uri)] == public
    assert shown_pages(catalog)["b::again"] == shown_pages(catalog)["b::show"]
    assert shown_pages(catalog)["b::plain"] == {"x": 1}
    assert listed(catalog, RESOURCES) == ["ui://listed", "ui://both", "ui://b/both"]  # pages are not listed for that
    assert shown_pages(catalog.spelled("llm"))["b__show"] == shown_pages(catalog)["b::show"]


def test_a_page_in_two_spellings_is_one() -> None:
    two = {**page("ui://v"), "ui/resourceUri": "ui://v", "openai/outputTemplate": "ui://w"}
    catalog = merged(a=with_pages(show=two), b=with_pages(show=two))
    assert shown_pages(catalog)["a::show"] == two
    shown = {**page("ui://b/v"), "ui/resourceUri": "ui://b/v", "openai/outputTemplate": "ui://b/w"}
    assert shown_pages(catalog)["b::show"] == shown


@pytest.mark.parametrize("meta", [{"ui": "ui://v"}, {"ui": {"resourceUri": ["ui://v"]}}, {"ui/resourceUri": None}, {}])
def test_what_names_no_page_is_left_alone(meta: Any) -> None:
    catalog = merged(a=with_pages(show=meta), b=with_pages(show=meta))
    assert shown_pages(catalog)["b::show"] == meta
    assert catalog.routes[RESOURCES] == {}


def test_the_page_of_a_tool_that_is_not_offered_leads_nowhere() -> None:
    catalog = merged(filters={"a": ToolFilter(exclude=["show"])}, a=with_pages(show=page("ui://v"), more={}))
    assert catalog.route(RESOURCES, "ui://v") is None


def test_many_pages_and_many_templates_cost_no_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def routed(most: int) -> int:
        monkeypatch.setattr("multimcp.protocol.catalog.MATCHES", most)
        b = with_pages([], [], **{f"t{number}": page(f"t://{number}") for number in range(5)})
        return sum(uri.startswith("t://b/") for uri in merged(a=with_pages([], ["t://{id}"]), b=b).routes[RESOURCES])

    assert [routed(most) for most in (10, 5, 3)] == [5, 5, 3]


def test_tools_whose_pages_are_renamed_the_same_again_are_the_same_list() -> None:
    offers = {"a": with_pages(show=page("ui://v")), "b": with_pages(show=page("ui://v"))}
    before = build(offers, Names(), {})
    assert build(offers, Names(), {}, before).listings[TOOLS].entries is before.listings[TOOLS].entries


ODD = ("t", "_t", "b__c", "a::b", "a.b", "a b", "日本", "", "x" * 80, "x" * 81, "search_notes-2")
"""Names of tools as servers may have them."""


def test_names_for_llms_are_legal_and_lead_to_the_same() -> None:
    servers = ("a", "a_", "a__b", "a::b", "my srv", "日本", "s" * 69)
    plain = build({name: offer(tools=[*ODD], prompts=[*ODD], resources=["n://x"]) for name in servers}, Names(), {})
    llm = plain.spelled("llm")
    for kind in (TOOLS, PROMPTS):
        names = listed(llm, kind)
        assert [llm.route(kind, name) for name in names] == list(plain.routes[kind].values())
        assert len(set(names)) == len(names) == len(ODD) * len(servers)
        assert all(re.fullmatch(LLM_NAMES, name, re.ASCII) for name in names)
        assert all(llm.public[kind][plain.routes[kind][name]] for name in plain.routes[kind])
    assert listed(llm, RESOURCES) == listed(plain, RESOURCES)
    assert llm.refused == []
    assert len(plain.refused) == len(plain.routes[TOOLS])


def test_entries_have_another_name_for_llms_and_nothing_else() -> None:
    entry = Entry("t", Raw(b'{"x":1.0,"name":"t","title":"T"}'))
    plain = merged(a=Offer("v", listings={TOOLS: Listing((entry,), 5, True)}))
    llm = plain.spelled("llm")
    assert bytes(llm.listings[TOOLS].entries[0].raw) == b'{"x":1.0,"name":"a__t","title":"T"}'
    assert (llm.listings[TOOLS].ttl_ms, llm.listings[TOOLS].is_public) == (5, True)
    assert plain.spelled("llm") is llm
    assert plain.spelled("plain") is plain
    assert listed(plain, TOOLS) == ["a::t"]
    assert llm.page(TOOLS, "legacy") != plain.page(TOOLS, "legacy")


def test_names_for_llms_do_not_depend_on_other_servers() -> None:
    offers = {name: offer(tools=[*ODD]) for name in ("a", "a__b", "a_", "my srv", "日本")}
    together = build(offers, Names(), {}).spelled("llm")
    backwards = build(dict(reversed(offers.items())), Names(), {}).spelled("llm")
    alone: dict[Route, str] = {}
    for name in offers:
        alone |= build({name: offers[name]}, Names(), {}).spelled("llm").public[TOOLS]
    assert together.public[TOOLS] == backwards.public[TOOLS] == alone


def test_a_hash_that_comes_twice_is_another_one() -> None:
    [taken] = listed(merged(Names(namespace="never"), a=offer(tools=["a.b"])).spelled("llm"), TOOLS)
    catalog = merged(Names(namespace="never"), z=offer(tools=[taken]), a=offer(tools=["a.b"])).spelled("llm")
    first, second = listed(catalog, TOOLS)
    assert first == taken
    assert re.fullmatch("a_b_[0-9a-f]{8}", second)
    assert catalog.route(TOOLS, second) == Route("a", "a.b")


def test_names_for_llms_without_a_namespace() -> None:
    catalog = merged(Names(namespace="never"), a=offer(tools=["t", "a.b"]), b=offer(tools=["t", "a_b"])).spelled("llm")
    first, dotted, under = listed(catalog, TOOLS)
    assert (first, under) == ("t", "a_b")
    assert re.fullmatch("a_b_[0-9a-f]{8}", dotted)
    assert catalog.route(TOOLS, "t") == Route("a", "t")
    assert catalog.collisions == ("tool 't' of 'b' is hidden by 'a'",)


SPELLED = [
    ("a::t", Route("a", "t")),
    ("a__t", Route("a", "t")),
    ("a.t", Route("a", "t")),
    ("a_t", Route("a", "t")),  # what a client makes of a.t
    ("my srv::t", Route("my srv", "t")),
    ("my_srv__t", Route("my srv", "t")),
    ("a::b.c", Route("a", "b.c")),
    ("a__b_c", Route("a", "b.c")),
    ("a__b.c", Route("a", "b.c")),
    ("t", None),
    ("b::t", None),
    ("a:t", None),
    ("", None),
]


@pytest.mark.parametrize("shown", ["plain", "llm"])
@pytest.mark.parametrize(("name", "route"), SPELLED)
def test_every_spelling_of_one_tool_is_understood(shown: Any, name: str, route: Route | None) -> None:
    plain = build({"a": offer(tools=["t", "b.c"]), "my srv": offer(tools=["t"], prompts=["p"])}, Names("."), {})
    catalog = plain.spelled(shown)
    assert catalog.understand(TOOLS, name) == route
    for other in (plain, plain.spelled("llm")):
        for kind in (TOOLS, PROMPTS):
            for public, meant in other.routes[kind].items():
                assert catalog.understand(kind, public) == meant
    assert catalog.understand(PROMPTS, "my_srv__p") == Route("my srv", "p")
    assert catalog.understand(TOOLS, "my_srv__p") is None


def test_without_a_namespace_servers_can_be_named_all_the_same() -> None:
    catalog = merged(Names(namespace="never"), a=offer(tools=["t"]), b=offer(tools=["t", "u.v"]))
    assert catalog.understand(TOOLS, "a::t") == Route("a", "t")
    assert catalog.understand(TOOLS, "u_v") == Route("b", "u.v")
    assert catalog.understand(TOOLS, "b::t") is None  # which is hidden


def test_a_spelling_of_two_tools_is_refused_with_both() -> None:
    offers = {"a": offer(tools=["b__c", "d.e", "d_e"]), "a__b": offer(tools=["c"])}
    plain = build(offers, Names(), {})
    llm = plain.spelled("llm")
    with pytest.raises(AmbiguousNameError) as caught:
        plain.understand(TOOLS, "a__b__c")
    assert str(caught.value) == ("'a__b__c' could mean the tool 'a::b__c' or 'a__b::c'; use one of these names")
    # As it is listed, it means one.
    assert llm.understand(TOOLS, "a__b__c") == Route("a", "b__c")
    assert llm.understand(TOOLS, "a__d_e") == Route("a", "d_e")
    offers = {"a": offer(tools=["d.e", "d:e"])}
    with pytest.raises(AmbiguousNameError, match=r"'a__d_e' could mean the tool 'a__d_e_\w{8}' or 'a__d_e_\w{8}'; use"):
        build(offers, Names(), {}).spelled("llm").understand(TOOLS, "a__d_e")


def test_of_many_that_could_be_meant_a_few_are_told() -> None:
    catalog = merged(a=offer(tools=["a.a", "a:a", "a a", "a/a", "a+a", "a=a", "a!a"]))
    with pytest.raises(AmbiguousNameError) as caught:
        catalog.understand(TOOLS, "a__a_a")
    assert str(caught.value) == (
        "'a__a_a' could mean the tool 'a::a.a', 'a::a:a', 'a::a a', 'a::a/a' or 'a::a+a', among others; "
        "use one of these names"
    )


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (Names(), ["a::t", "a::u.v"]),
        (Names("__"), ["a__u.v"]),
        (Names(namespace="never"), ["u.v"]),
    ],
)
def test_names_that_llm_apis_would_refuse(names: Names, refused: list[str]) -> None:
    catalog = merged(names, a=offer(tools=["t", "u.v"], prompts=["p.q"]))
    assert catalog.refused == refused
    assert catalog.spelled("llm").refused == []


def test_nothing_is_understood_where_there_is_nothing() -> None:
    for catalog in (Catalog(), Catalog().spelled("llm"), build({}, Names(), {})):
        assert catalog.understand(TOOLS, "a::t") is None
