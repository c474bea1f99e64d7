"""Public names and URIs, and the way back."""

import pytest

from multimcp.naming import public_name, qualify, shorten, unqualify


def test_names() -> None:
    assert public_name("s", "t", "::") == "s::t"
    assert public_name("s", "a::b", "__") == "s__a::b"


@pytest.mark.parametrize(
    ("server", "uri", "qualified"),
    [
        ("work", "notes://inbox", "notes://work/inbox"),
        ("work", "file:///etc/hosts", "file://work//etc/hosts"),
        ("work", "https://h:1/p?q#f", "https://work/h:1/p?q#f"),
        ("work", "urn:isbn:1", "urn:work/isbn:1"),
        ("work", "mem:", "mem:work/"),
        ("work", "mem://", "mem://work/"),
        ("a b/ü:%", "x://y", "x://a%20b%2F%C3%BC%3A%25/y"),
        ("work", "notes://note/{id}", "notes://work/note/{id}"),
        ("work", "x+y-z.1:a", "x+y-z.1:work/a"),
    ],
)
def test_qualified_uris_and_back(server: str, uri: str, qualified: str) -> None:
    assert qualify(server, uri) == qualified
    assert unqualify(qualified) == (server, uri)


@pytest.mark.parametrize("text", ["", "plain.txt", "{scheme}://x", "1x:y", "/path"])
def test_what_is_no_uri_is_told_apart_too(text: str) -> None:
    assert qualify("work", text) == f"work/{text}"
    assert unqualify(f"work/{text}") is None  # but looked up, like any name


@pytest.mark.parametrize("uri", ["notes://inbox", "urn:isbn:1", "plain.txt"])
def test_what_was_added_can_be_taken_away(uri: str) -> None:
    twice = qualify("a b", qualify("a b", uri))
    assert shorten(twice, len(twice) - len(uri)) == uri


@pytest.mark.parametrize("uri", ["notes://inbox", "urn:isbn", "file:///etc", "x:"])
def test_what_names_no_server(uri: str) -> None:
    assert unqualify(uri) is None
