"""Public names and URIs, and the way back."""

import pytest

from multimcp.naming import public_name, qualify, shorten, unqualify


def test_names() -> None:
    assert public_name("s", "t", "::") == "s::t"
    assert public_name("s", "a::b", "__") == "s__a::b"


@pytest.mark.parametrize(
    ("server", "uri", "qualified"),
    [
        ("desk", "notes://inbox", "notes://desk/inbox"),
        ("desk", "file:///etc/hosts", "file://desk//etc/hosts"),
        ("desk", "https://h:1/p?q#f", "https://desk/h:1/p?q#f"),
        ("desk", "urn:isbn:1", "urn:desk/isbn:1"),
        ("desk", "mem:", "mem:desk/"),
        ("desk", "mem://", "mem://desk/"),
        ("a b/ü:%", "x://y", "x://a%20b%2F%C3%BC%3A%25/y"),
        ("desk", "notes://note/{id}", "notes://desk/note/{id}"),
        ("desk", "x+y-z.1:a", "x+y-z.1:desk/a"),
    ],
)
def test_qualified_uris_and_back(server: str, uri: str, qualified: str) -> None:
    assert qualify(server, uri) == qualified
    assert unqualify(qualified) == (server, uri)


@pytest.mark.parametrize("text", ["", "plain.txt", "{scheme}://x", "1x:y", "/path"])
def test_what_is_no_uri_is_told_apart_too(text: str) -> None:
    assert qualify("desk", text) == f"desk/{text}"
    assert unqualify(f"desk/{text}") is None  # but looked up, like any name


@pytest.mark.parametrize("uri", ["notes://inbox", "urn:isbn:1", "plain.txt"])
def test_what_was_added_can_be_taken_away(uri: str) -> None:
    twice = qualify("a b", qualify("a b", uri))
    assert shorten(twice, len(twice) - len(uri)) == uri


@pytest.mark.parametrize("uri", ["notes://inbox", "urn:isbn", "file:///etc", "x:"])
def test_what_names_no_server(uri: str) -> None:
    assert unqualify(uri) is None
