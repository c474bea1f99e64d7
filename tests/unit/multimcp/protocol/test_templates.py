"""URI templates, read backwards."""

import time

import pytest
from mcp.shared.uri_template import UriTemplate

from multimcp.protocol.templates import MAX_URI, Template

TEMPLATES = {
    "n://{id}": ["n://7", "n://", "n://a%2Fb"],
    "n://{id}/x": ["n://7/x", "n://x/x"],
    "n://{+path}": ["n://a/b/c"],
    "n://{+path}/info": ["n://a/b/info", "n://info/info"],
    "n://{a}/{b}.json": ["n://1/2.json", "n://1/2.json.json"],
    "n://{a,b}": ["n://1,2"],
    "n://x{/a,b}": ["n://x/1/2", "n://x/1"],
    "n://x{/a*}": ["n://x/1/2/3", "n://x"],
    "n://x{.a}": ["n://x.y"],
    "n://x{;a}": ["n://x;a=1"],
    "n://x{#a}": ["n://x#f/g"],
    "n://x{?q,r}": ["n://x", "n://x?q=1", "n://x?r=2&q=1&z=3"],
    "n://x{?q}{&r}": [],
    "plain://x": ["plain://x"],
}
URIS = [uri for uris in TEMPLATES.values() for uri in uris] + [
    "n://7/y", "n://7?x", "m://7", "n:", "", "n://7/x/y", "n://1.json", "n://x/?q", "plain://y", "n://a/b",
]  # fmt: skip


@pytest.mark.parametrize("template", [template for template in TEMPLATES if "{?q}{&r}" not in template])
def test_a_template_matches_what_it_generates(template: str) -> None:
    theirs = UriTemplate.parse(template)
    for uri in URIS:
        assert Template(template).matches(uri) or theirs.match(uri) is None, uri
    for uri in TEMPLATES[template]:
        assert Template(template).matches(uri)


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("n://{id}", "n://7/y"),
        ("n://{id}", "m://7"),
        ("n://{id}", "n://7?x"),
        ("n://{id}/x", "n://7/y"),
        ("n://{id}/x", "n://7/x/y"),
        ("n://{+path}", "n://a?b"),
        ("n://{+path}/info", "n://a/b"),
        ("n://x{/a,b}", "n://x/1/2/3"),
        ("n://x{.a}", "n://xy"),
        ("n://x{?q}", "n://xy?q=1"),
        ("n://x{?q}", "n://x/y"),
        ("plain://x", "plain://y"),
    ],
)
def test_a_template_matches_nothing_else(template: str, uri: str) -> None:
    assert UriTemplate.parse(template).match(uri) is None
    assert not Template(template).matches(uri)


@pytest.mark.parametrize(
    "template", ["odd://{a}{b}", "odd://{a", "odd://a}{b", "odd://{a b}", "odd://{?a}/x", "odd://{}"]
)
def test_what_cannot_be_read_backwards_matches_by_its_beginning(template: str) -> None:
    assert Template(template).matches("odd://anything/at all") is ("{" in template[: template.find("}")])
    assert not Template(template).matches("other://x")


def test_a_template_of_nothing_matches_nothing() -> None:
    assert not Template("{wild}{er}").matches("x://y")


def test_matching_takes_no_longer_than_reading() -> None:
    template = Template("n://" + "-".join(f"{{v{n}}}" for n in range(12)) + "/end")
    begun = time.perf_counter()
    assert not template.matches("n://" + "-" * 20_000)
    assert time.perf_counter() - begun < 2
    assert not Template("n://{+p}").matches("n://" + "x" * MAX_URI)


@pytest.mark.parametrize(
    ("template", "literals", "is_broad"), [("n://{id}", 4, False), ("n://{+id}/x", 6, True), ("n://{id*}", 4, True)]
)
def test_how_literal_it_is(template: str, literals: int, is_broad: bool) -> None:
    assert (Template(template).literals, Template(template).is_broad) == (literals, is_broad)
