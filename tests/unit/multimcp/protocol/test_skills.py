"""Skills: which entries are kept, how they are listed, whose a URI is, and how answers spell it.

Spec: ext-skills, specification/stable/skills
"""

import json
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import Fault
from multimcp.protocol.catalog import Catalog, Names, Route, build, capabilities
from multimcp.protocol.entries import usable
from multimcp.protocol.extensions import SKILLS as EXTENSION
from multimcp.protocol.lists import FRESH, Lists, Pages
from multimcp.protocol.message import opened, pack
from multimcp.protocol.names import DEPTH, LONGEST_DIRECTORY, alike, directories
from multimcp.protocol.offer import RESOURCES, SKILLS, TEMPLATES, TOOLS, Entry, Listing, Offer
from multimcp.protocol.routing import Router, View

FILE = {"uri": "s://x/f", "digest": "sha256:00", "size": 0}
ENTRY = {"uri": "s://x/SKILL.md", "frontmatter": {"name": "x", "description": ""}, "resources": [FILE]}


def entry(directory: str, *files: str) -> dict[str, Any]:
    resources = [{**FILE, "uri": f"{directory}/{file}"} for file in ("SKILL.md", *files)]
    return {**ENTRY, "uri": f"{directory}/SKILL.md", "resources": resources}


def listing(server: str, *entries: dict[str, Any]) -> Listing:
    pages = Pages(SKILLS, "modern", server=server)
    list(pages.add({"skills": pack(entries)}))
    assert pages.problems == []
    return pages.listing()


def offer(server: str, *skills: str, lists: tuple[str, ...] = (), template: str = "", **settings: Any) -> Offer:
    """What a server offers that has these skills, and `lists` these resources."""
    listings = {
        SKILLS: listing(server, *(entry(each, "x.md") for each in skills)),
        RESOURCES: Listing(tuple(Entry(uri, pack({"uri": uri})) for uri in lists)),
        TEMPLATES: Listing((Entry(template, pack({"uriTemplate": template})),) if template else ()),
    }
    extensions = opened(pack({EXTENSION.id: {"directoryRead": True, **settings}}))
    return Offer("v", opened(pack({"resources": {}})), listings=listings, extensions=extensions)


def view(is_starting: bool = False, **offers: Offer) -> View:
    return View(build(offers, Names(), {}), offers, tuple(offers), is_starting)


def plain(raw: Any) -> Any:
    return json.loads(bytes(raw))


def ways(where: View, uri: str, method: str = "skills/get", router: Router | None = None) -> list[tuple[str, str]]:
    target = (router or Router()).find(where, method, opened(pack({"uri": uri})))
    return [(way.server, plain(way.params["uri"])) for way in target.ways] if target else []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"resources": "dynamic"},
        {"resources": [], "more": 1e3},
        {"frontmatter": {"name": "a", "description": "d", "metadata": {"n": None}}},
        {"resources": [{**FILE, "size": 2**40, "mimeType": "x"}]},
    ],
)
def test_entries_that_are_listed(more: Any) -> None:
    raw = pack({**ENTRY, **more})
    assert usable(SKILLS, "modern", raw) is raw


@pytest.mark.parametrize(
    "more",
    [
        {"uri": None},
        {"uri": "no-scheme/SKILL.md"},
        {"frontmatter": None},
        {"frontmatter": {"name": "x"}},
        {"frontmatter": {"name": 1, "description": ""}},
        {"resources": None},
        {"resources": "static"},
        {"resources": [{"uri": "s://x/f", "digest": "sha256:00"}]},
        {"resources": [{**FILE, "size": -1}]},
        {"resources": [{**FILE, "uri": "f"}]},
        {"resources": [[]]},
    ],
)
def test_entries_that_clients_would_refuse(more: Any) -> None:
    with pytest.raises(ValueError, match="clients would refuse the whole list"):
        usable(SKILLS, "modern", pack({**ENTRY, **more}))


def test_only_the_uris_of_an_entry_are_rewritten() -> None:
    raw = b'{ "x": 1.0, "frontmatter": {"name":"n", "n": 1e400,"description":"\\u0064"}, "uri":"s://n/SKILL.md",'
    pages = Pages(SKILLS, "modern", server="a b/c")
    list(pages.add({"skills": Raw(b"[" + raw + b'"resources":"dynamic"}]')}))
    [found] = pages.listing().entries
    assert found.name == "s://n/SKILL.md"
    assert bytes(found.raw) == (
        b'{"x":1.0,"frontmatter":{"name":"n", "n": 1e400,"description":"\\u0064"},'
        b'"uri":"s://a%20b%2Fc/n/SKILL.md","resources":"dynamic"}'
    )


def listed(catalog: Catalog, kind: Any = SKILLS) -> list[str]:
    return [plain(each.raw)["uri"] for each in catalog.listings[kind].entries]


def test_all_uris_are_qualified_whoever_else_is_there() -> None:
    alone = view(a=offer("a", "s://x")).catalog
    both = view(a=offer("a", "s://x"), b=offer("b", "s://x")).catalog
    assert listed(alone) == ["s://a/x/SKILL.md"]
    assert listed(both) == ["s://a/x/SKILL.md", "s://b/x/SKILL.md"]
    page = plain(both.page(SKILLS, "modern"))
    assert [file["uri"] for each in page["skills"] for file in each["resources"]] == [
        *("s://a/x/SKILL.md", "s://a/x/x.md", "s://b/x/SKILL.md", "s://b/x/x.md")
    ]
    assert (page["ttlMs"], page["cacheScope"]) == (0, "private")
    assert "ttlMs" not in plain(both.page(SKILLS, "legacy"))


@pytest.mark.parametrize(
    ("first", "second", "resources"),
    [
        # The whole directory of a skill is its server's: what another one lists there is renamed.
        (offer("a", "s://x"), offer("b", lists=("s://x/y", "s://xy")), ["s://b/x/y", "s://xy"]),
        (offer("a", lists=("s://x/SKILL.md",)), offer("b", lists=("s://x/y",)), ["s://x/SKILL.md", "s://b/x/y"]),
        (offer("a", "s://x"), offer("b", "s://x/y", lists=("s://x/y/SKILL.md",)), ["s://b/x/y/SKILL.md"]),
        # So is a name that a skill has in `skills/list`, whoever comes first, and if it is of the same server.
        (offer("a", lists=("s://b/x/SKILL.md",)), offer("b", "s://x"), ["s://a/b/x/SKILL.md"]),
        (offer("a", lists=("s://b/x/new",)), offer("b", "s://x"), ["s://a/b/x/new"]),
        (offer("a", "s://x", "s://a/x", lists=("s://a/x/SKILL.md",)), offer("b"), ["s://a/a/x/SKILL.md"]),
        # What was there before a skill of the same name keeps its own.
        (offer("a", lists=("s://x/SKILL.md", "s://x/y")), offer("b", "s://x"), ["s://x/SKILL.md", "s://x/y"]),
        (Offer("v"), offer("b", "s://x", lists=("s://x/SKILL.md",)), ["s://x/SKILL.md"]),
    ],
)
def test_resources_that_give_way_to_skills(first: Offer, second: Offer, resources: list[str]) -> None:
    catalog = view(a=first, b=second).catalog
    assert listed(catalog, RESOURCES) == resources
    for kind in (RESOURCES, SKILLS):
        for uri in listed(catalog, kind):
            assert catalog.handed_out(uri) == catalog.route(kind, uri)


def test_a_server_with_skills_has_resources_whatever_it_declares() -> None:
    told = capabilities({"a": Offer("v", extensions=offer("a").extensions)}, may_be_more=False, is_only=False)
    assert set(told) == {"resources", "extensions"}


THREE = view(
    a=offer("a", "s://x", "s://c/y", lists=("n://1",)),
    b=offer("b", "s://x", "s://%41?q=/../z#f", directoryRead=False),
    c=offer("c", "s://y", template="s://{x}/t"),
    plain=Offer("v", opened(pack({"resources": {}})), listings={RESOURCES: Listing((Entry("s://p/d", pack({})),))}),
)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s://x/SKILL.md", "a s://x/SKILL.md"),
        ("s://x", "a s://x"),
        ("s://x/deep/er/f", "a s://x/deep/er/f"),
        ("s://b/x/SKILL.md", "b s://x/SKILL.md"),
        ("s://b/x/deep/../er", "b s://x/deep/../er"),
        ("s://c/y/SKILL.md", "c s://y/SKILL.md"),
        ("s://a/c/y/f", "a s://c/y/f"),
        ("s://b/%41?q=/../z#f/SKILL.md", "b s://%41?q=/../z#f/SKILL.md"),
        ("s://%41?q=/../z#f/SKILL.md", "b s://%41?q=/../z#f/SKILL.md"),
        # In no list: first who has the name, as it is spelled and as we spell it, then all that have skills.
        ("s://u/SKILL.md", "a s://u/SKILL.md, b s://u/SKILL.md, c s://u/SKILL.md"),
        ("s://b/u", "b s://b/u, b s://u, a s://b/u, c s://b/u"),
        ("s://B/u", "a s://B/u, b s://B/u, c s://B/u"),
        ("s://plain/u", "a s://plain/u, b s://plain/u, c s://plain/u"),
        ("s://1/t", "c s://1/t, a s://1/t, b s://1/t"),
        ("s://plain/t", "c s://plain/t, a s://plain/t, b s://plain/t"),
        ("s://b/t", "b s://b/t, b s://t, c s://b/t, a s://b/t"),
        ("", "a , b , c "),
    ],
)
def test_where_a_skill_is(uri: str, expected: str) -> None:
    assert ", ".join(map(" ".join, ways(THREE, uri))) == expected


def test_the_directory_of_a_skill_whose_name_was_taken_before_is_nobodys() -> None:
    where = view(
        a=Offer("v", listings=offer("a", lists=("s://x/SKILL.md",)).listings),
        b=offer("b", "s://x"),
        c=THREE.offers["c"],
    )
    assert ways(where, "s://x/y") == [("b", "s://x/y"), ("c", "s://x/y")]


def test_who_is_asked_is_able_to_answer() -> None:
    for method in ("skills/get", "resources/directory/read"):
        with pytest.raises(Fault, match="Neither a skill nor a directory"):
            ways(THREE, "s://p/d", method)
    with pytest.raises(Fault, match="Neither a skill nor a directory"):
        ways(THREE, "s://b/x", "resources/directory/read")
    assert ways(THREE, "s://u", "resources/directory/read") == [("a", "s://u"), ("c", "s://u")]
    assert ways(THREE, "n://2", "resources/read") == [("a", "n://2"), ("b", "n://2"), ("c", "n://2")]
    assert ways(THREE, "s://plain/t", "resources/read")[0] == ("c", "s://plain/t")
    assert ways(view(plain=Offer("v"), other=Offer("v")), "s://u") == []


def test_while_servers_start_nobody_is_asked_for_what_may_be_theirs() -> None:
    starting = view(a=offer("a", "s://x"), b=offer("b"), is_starting=True)
    assert ways(starting, "s://u") == []
    assert ways(starting, "s://b/u") == [("b", "s://b/u"), ("b", "s://u")]
    assert ways(starting, "s://x/y") == [("a", "s://x/y")]


def answered(router: Router, where: View, uri: str, by: int, method: str, result: Any) -> Any:
    """A result of the server that is asked so late for `uri`, as the client gets it."""
    target = router.find(where, method, opened(pack({"uri": uri})))
    assert target is not None
    return plain(router.result(lambda: where, method, target.ways[by], pack(result)))


@pytest.mark.parametrize(
    ("uri", "by", "of", "expected"),
    [
        ("s://x/SKILL.md", 0, "s://x", "s://x"),
        ("s://a/x/SKILL.md", 0, "s://x", "s://a/x"),
        ("s://u/SKILL.md", 1, "s://u", "s://u"),
        ("s://b/u/SKILL.md", 1, "s://u", "s://b/u"),
        ("s://b/u/SKILL.md", 0, "s://b/u", "s://b/u"),
    ],
)
def test_an_answer_is_in_the_spelling_that_was_asked_and_leads_back(uri: str, by: int, of: str, expected: str) -> None:
    router = Router()
    server = ways(THREE, uri)[by][0]
    got = answered(router, THREE, uri, by, "skills/get", {"skill": entry(of, "x.md", "d/y.md")})["skill"]
    assert [got["uri"], *(file["uri"] for file in got["resources"])] == [
        f"{expected}/{file}" for file in ("SKILL.md", "SKILL.md", "x.md", "d/y.md")
    ]
    for file in ("SKILL.md", "x.md", "in/no/list"):
        for method in ("skills/get", "resources/read"):
            assert ways(THREE, f"{expected}/{file}", method, router) == [(server, f"{of}/{file}")]


def test_what_a_directory_has_leads_back() -> None:
    router = Router()
    for uri, expected in (("s://org", "s://org/skill"), ("s://c/org", "s://c/org/skill")):
        by = [server for server, _ in ways(THREE, uri, "resources/directory/read", router)].index("c")
        of = ways(THREE, uri, "resources/directory/read", router)[by][1]
        result = {"resources": [{"uri": f"{of}/skill", "name": "skill"}, {"name": "odd"}, 7], "nextCursor": "n"}
        got = answered(router, THREE, uri, by, "resources/directory/read", result)
        assert got == {"resources": [{"uri": expected, "name": "skill"}, {"name": "odd"}, 7], "nextCursor": "n"}
        assert ways(THREE, expected, "resources/directory/read", router) == [("c", f"{of}/skill")]


def test_a_file_that_is_another_servers_in_that_spelling_gets_ours() -> None:
    where = view(a=offer("a", lists=("s://x/taken",)), b=offer("b", "s://x"))
    got = answered(Router(), where, "s://x/SKILL.md", 0, "skills/get", {"skill": entry("s://x", "taken")})
    assert [file["uri"] for file in got["skill"]["resources"]] == ["s://x/SKILL.md", "s://b/x/taken"]


def test_the_links_of_others_give_way() -> None:
    """What a server's tool links to that is called like a file of another one's skill is spelled otherwise."""
    router, content = Router(), [{"type": "resource_link", "uri": uri} for uri in ("s://x/y", "s://a/x/y", "s://own")]
    target = router.find(THREE, "resources/read", opened(pack({"uri": "s://b/x/SKILL.md"})))
    assert target is not None
    result = plain(router.result(lambda: THREE, "tools/call", target, pack({"content": content})))
    uris = [block["uri"] for block in result["content"]]
    assert uris == ["s://b/x/y", "s://b/a/x/y", "s://own"]
    assert [ways(THREE, uri, "resources/read", router) for uri in uris] == [
        [("b", "s://x/y")], [("b", "s://a/x/y")], [("b", "s://own")]
    ]  # fmt: skip


def test_skills_are_read_again_for_who_asks_for_them_whatever_the_server_promises() -> None:
    held = Lists()
    held.declare(opened(pack({"resources": {"listChanged": True}})), offer("a").extensions, 0.0)
    kinds, _ = held.begin(0.0)
    assert kinds == [RESOURCES, TEMPLATES, SKILLS]
    for kind in kinds:
        held.take(kind, Pages(kind), None, 0.0)
    held.end()
    for asked, expected in ((TOOLS, []), (SKILLS, [SKILLS])):
        held.asked(asked, FRESH + 1, is_heard=True)
        assert held.begin(FRESH + 1)[0] == expected
        held.end()
    held.changed("resources", FRESH + 2)
    assert held.begin(FRESH + 2)[0] == [RESOURCES, TEMPLATES, SKILLS]


@pytest.mark.parametrize(
    ("asked", "name", "other", "expected"),
    [
        ("s://x/f", "s://x/f", "s://x/g", "s://x/g"),
        ("s://a/x/f", "s://x/f", "s://x/g", "s://a/x/g"),
        ("s://a/b/x/f", "s://x/f", "s://y", "s://a/b/y"),
        ("s:a/x", "s:x", "t://y", "t://a/y"),
    ],
)
def test_spelled_alike(asked: str, name: str, other: str, expected: str) -> None:
    assert alike(asked, name, other) == expected


def test_the_directories_around_a_uri() -> None:
    assert list(directories("s://a/b/c")) == ["s://a/b/c", "s://a/b", "s://a"]
    assert list(directories("s:a/")) == ["s:a/", "s:a"]
    assert list(directories("")) == [""]
    assert len(list(directories("s:" + "/" * 10_000))) == DEPTH + 1
    assert len(list(directories("s:" + "x" * LONGEST_DIRECTORY + "/y"))) == 1


def test_many_skills_and_whose_each_file_is() -> None:
    many = [f"s://{number}" for number in range(10_000)]
    where = view(a=offer("a", *many), b=offer("b", *many))
    assert len(listed(where.catalog)) == 20_000
    assert where.catalog.handed_out("s://b/9999/x.md") == Route("b", "s://9999/x.md")


NAMED_ALIKE = {
    "a skill called as another server": view(
        a=offer("a", "s://b"), b=offer("b", lists=("s://b/y",), template="s://{+x}")
    ),
    "a listed manifest that is": view(a=offer("a", lists=("s://b/SKILL.md",)), b=offer("b", lists=("s://b/y",))),
    "a skill called as its own": view(
        a=offer("a", lists=("s://b/y", "s://b/b/y")), b=offer("b", "s://b", lists=("s://b/y",))
    ),
    "twice": view(a=offer("a", lists=("s://y",)), b=offer("b", "s://b", "s://b/b", lists=("s://y",))),
    "no scheme": view(a=offer("a", lists=("b/SKILL.md", "y")), b=offer("b", lists=("b/y", "y"))),
}


@pytest.mark.parametrize("where", NAMED_ALIKE.values(), ids=NAMED_ALIKE)
def test_a_skill_called_as_a_server_does_not_take_over_its_uris(where: View) -> None:
    """Else a spelling of that server's URIs that is free would be looked for without end."""
    catalog, router = where.catalog, Router()
    for uri in listed(catalog, RESOURCES):
        assert catalog.handed_out(uri) == catalog.route(RESOURCES, uri)
    assert ways(where, "s://b/hidden", "resources/read", router)[0] == ("b", "s://b/hidden")
    manifest, links = router.public_uri(where, "a", "s://b/SKILL.md"), ("s://y", "s://b/y", "s://b/b/y", "s://b/u/y")
    assert ways(where, manifest, "resources/read", router) == [("a", "s://b/SKILL.md")]
    for uri in links:
        public = router.public_uri(where, "b", uri)
        assert ways(where, public, "resources/read", router)[0][0] == "b"
    assert ways(where, "s://b/hidden", "resources/read", router)[0] == ("b", "s://b/hidden")
