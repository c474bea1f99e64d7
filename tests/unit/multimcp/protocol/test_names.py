"""Public names and URIs, and the way back."""

from itertools import islice

import pytest

from multimcp.protocol.names import (
    Namespace,
    is_legal,
    llm_names,
    public_name,
    qualify,
    read_spelling,
    reads_like_anothers,
    shorten,
    spellings,
    unknown_spelling,
    unqualify,
)


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


@pytest.mark.parametrize("name", ["a", "A9_-", "x" * 64])
def test_what_llm_apis_take(name: str) -> None:
    assert is_legal(name)


@pytest.mark.parametrize("name", ["", "a::b", "a.b", "a b", "é", "٣", "a\n", "x" * 65])
def test_what_llm_apis_refuse(name: str) -> None:
    assert not is_legal(name)


# The hashes are part of the promise: a name is the same after every restart, and in every release.
@pytest.mark.parametrize(
    ("server", "name", "namespace", "expected"),
    [
        ("weather", "get_weather", "always", "weather__get_weather"),
        ("a", "_b", "always", "a___b"),
        ("a", "b__c", "always", "a__b__c"),
        ("_a", "b", "always", "_a__b"),
        ("a__b", "c", "always", "a__b__c_42fd3caa"),
        ("a_", "b", "always", "a___b_24951a19"),
        ("a", "b::c", "always", "a__b__c_798e34f0"),
        ("a b", "c", "always", "a_b__c_b4753496"),
        ("日本", "add", "always", "____add_d2e31d02"),
        ("a", "\ud800", "always", "a____ebdc4399"),
        ("a", "x" * 61, "always", "a__" + "x" * 61),
        ("a", "x" * 62, "always", "a__" + "x" * 52 + "_b74ab50d"),
        ("s" * 200, "t", "always", "s" * 55 + "_d771b4c8"),
        ("a", "", "always", "a__"),
        ("a__b", "c", "never", "c"),
        ("a", "b.c", "never", "b_c_3d615f7b"),
        ("a", "", "never", "_bd55cf19"),
        ("a", "x" * 65, "never", "x" * 55 + "_86a9cf57"),
    ],
)
def test_names_for_llms(server: str, name: str, namespace: Namespace, expected: str) -> None:
    first, second, third = islice(llm_names(server, name, namespace), 3)
    assert first == expected
    assert len({first, second, third}) == 3
    assert is_legal(first)
    assert is_legal(second)
    assert is_legal(third)


def test_what_a_client_may_say() -> None:
    assert spellings("s.v", "t", "::", ["s_v__t_12345678"]) == {"s.v::t", "s.v__t", "s_v__t", "s_v__t_12345678"}
    assert spellings("s", "t", "/", ["s/t"]) == {"s/t", "s_t", "s::t", "s__t"}


@pytest.mark.parametrize(
    ("text", "spelling"), [("plain", "plain"), ("llm", "llm"), ("LLM", None), ("", None), (None, None)]
)
def test_spellings_by_name(text: str | None, spelling: str | None) -> None:
    assert read_spelling(text) == spelling


def test_a_spelling_that_there_is_not() -> None:
    assert unknown_spelling("x" * 99) == (
        f"names='{'x' * 40}' is not one of plain, llm; correct the query of the URL, or leave it out"
    )


@pytest.mark.parametrize(
    ("name", "separator", "reads_so"),
    [
        ("refresh", "::", False),
        ("get_weather", "_", False),
        ("git_status", "_", False),  # its own server's name
        ("hub_create", "_", True),
        ("hub.create", "_", True),  # as clients may have spelled it
        ("hub_create", "::", False),
        ("hub::create", "::", True),
        ("hub__create", "::", True),
        ("gone::create", "::", True),
        ("gone__create", "-", True),
        ("hub", "::", False),
        ("hub.create", ".", True),
        ("a.b", ".", False),
    ],
)
def test_names_that_read_like_anothers(name: str, separator: str, reads_so: bool) -> None:
    assert reads_like_anothers(name, "git", ("git", "hub"), separator) is reads_so
