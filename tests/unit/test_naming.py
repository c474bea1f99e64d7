"""Public names and URIs, and the way back."""

import pytest

from multimcp.naming import public_name, qualify, unqualify


def test_names() -> None:
    assert public_name("s", "t") == "s::t"
    assert public_name("s", "a::b", separator="__") == "s__a::b"
    assert public_name("s", "t", namespace="never") == "t"


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


@pytest.mark.parametrize("text", ["", "no scheme", "{scheme}://x", "1x:y", "/path"])
def test_what_is_no_uri_is_left_alone(text: str) -> None:
    assert qualify("work", text) == text
    assert unqualify(text) is None


@pytest.mark.parametrize("uri", ["notes://inbox", "urn:isbn", "file:///etc", "x:"])
def test_what_names_no_server(uri: str) -> None:
    assert unqualify(uri) is None
