"""Extensions: what of a server's is kept, how those of several make one, and what is respelled in a result."""

import json
from typing import Any

import pytest
from msgspec import Raw

from multimcp.protocol.extensions import (
    APPS,
    EACH,
    MOST,
    PAGE,
    SETTINGS,
    SKILLS,
    TASKS,
    Mark,
    Shape,
    declared,
    for_modern,
    respelled,
    united,
)
from multimcp.protocol.message import opened, pack

UI, TOLD = APPS.id, SKILLS.id


def plain(raw: Any) -> Any:
    return json.loads(bytes(pack(raw)))


@pytest.mark.parametrize(
    ("extensions", "kept", "problems"),
    [
        ({}, {}, 0),
        ({UI: {}, "com.example/x": {"a": [1]}}, {UI: {}, "com.example/x": {"a": [1]}}, 0),
        (
            {"": {}, "no prefix": {}, "__proto__": {}, "\x1b[0m": {}},
            {"": {}, "no prefix": {}, "__proto__": {}, "\x1b[0m": {}},
            0,
        ),
        ({UI: True, "a/b": None, "a/c": [], "a/d": {}}, {"a/d": {}}, 1),
        ([UI], {}, 1),
        ("ui", {}, 1),
        (None, {}, 0),
        ({f"a/{n}": {} for n in range(10_000)}, {f"a/{n}": {} for n in range(MOST)}, 1),
        ({"a/a": {}, "a/b": {"x": "x" * 10_000_000}, "a/c": {}}, {"a/a": {}}, 1),
        ({"a/a": {}, "b" * SETTINGS: {}}, {"a/a": {}}, 1),
    ],
)
def test_what_a_server_declares_is_bounded(extensions: Any, kept: Any, problems: int) -> None:
    found, said = declared(opened(pack({"tools": {}, "extensions": extensions})))
    assert plain(found) == kept
    assert len(said) == problems
    assert all(len(line) < 200 for line in said)


@pytest.mark.parametrize(
    ("declares", "told"),
    [
        ('{"roots": {}}', '{"roots": {}}'),
        ('{"extensions": {"a/b": {"x": 1.0}}}', '{"extensions": {"a/b": {"x": 1.0}}}'),
        (f'{{"v": 1.0, "extensions": {{"{TASKS.id}": {{}}, "a/b": 1.0}}}}', '{"v":1.0,"extensions":{"a/b":1.0}}'),
        ('{"extensions": 7}', '{"extensions": 7}'),
        ("[]", "[]"),
    ],
)
def test_a_modern_server_is_told_all_of_a_legacy_client_but_that_it_takes_tasks(declares: str, told: str) -> None:
    assert bytes(for_modern(Raw(declares.encode()))).decode() == told


def test_a_server_without_extensions_has_none() -> None:
    assert declared({}) == ({}, [])


@pytest.mark.parametrize(
    ("servers", "shown", "left_out"),
    [
        ([], {}, []),
        ([{UI: {}}, {TOLD: {"directoryRead": True}}], {UI: {}, TOLD: {"directoryRead": True}}, []),
        ([{TOLD: {"directoryRead": True}}, {TOLD: {}}], {TOLD: {"directoryRead": True}}, []),
        ([{TOLD: {"directoryRead": False}}, {TOLD: {"directoryRead": True}}], {TOLD: {"directoryRead": True}}, []),
        ([{UI: {"mimeTypes": ["a"]}}, {UI: {"mimeTypes": ["b", "a"]}}], {UI: {"mimeTypes": ["a", "b"]}}, []),
        ([{UI: {"x": {"a": 1}}}, {UI: {"x": {"b": 2}, "y": "s"}}], {UI: {"x": {"a": 1, "b": 2}, "y": "s"}}, []),
        ([{UI: {"x": 1}}, {UI: {"x": [2]}}], {UI: {"x": [2]}}, []),
        ([{"a/b": {"x": 1.0}}, {"a/c": {}}], {"a/b": {"x": 1.0}, "a/c": {}}, []),
        ([{"a/b": {}, UI: {}}, {"a/b": {}}, {}], {UI: {}}, ["extension 'a/b'", "0, 1"]),
        ([{"a\x1b": {}}, {"a\x1b": {}}], {}, ["'a\\x1b'"]),
    ],
)
def test_the_extensions_of_all_servers(servers: list[Any], shown: Any, left_out: list[str]) -> None:
    found, said = united({str(n): opened(pack(each)) for n, each in enumerate(servers)})
    assert plain(found) == shown
    assert len(said) == bool(left_out)
    assert all(words in said[0] for words in left_out)


def test_settings_of_one_server_stay_the_bytes_that_came() -> None:
    found, _ = united({"a": {UI: Raw(b'{"x": 1.0, "x": 1e400}')}, "b": {}})
    assert bytes(found[UI]) == b'{"x": 1.0, "x": 1e400}'


ITEMS: Shape = {"items": {EACH: {"uri": Mark.URI, "task": Mark.TASK}}}


@pytest.mark.parametrize(
    ("shape", "before", "after"),
    [
        (ITEMS, '{"x":1.0,"items":[{"uri":"u","n":1.0},{}]}', '{"x":1.0,"items":[{"uri":"U","n":1.0},{}]}'),
        (ITEMS, '{"items":[{"task":"u","uri":"w"}]}', '{"items":[{"task":"t:u","uri":"w"}]}'),
        (ITEMS, '{"items":[{"uri":"w"}],"uri":"u"}', None),
        (ITEMS, '{"items":{"uri":"u"}}', None),
        (ITEMS, '{"items":"dynamic"}', None),
        (ITEMS, '{"items":[7,null,"u",{"uri":["u"]}]}', None),
        (ITEMS, "{}", None),
        (PAGE, '{"_meta":{"ui":{"resourceUri":"u","x":[1]}}}', '{"_meta":{"ui":{"resourceUri":"U","x":[1]}}}'),
        (PAGE, '{"_meta":{"ui/resourceUri":"u"}}', '{"_meta":{"ui/resourceUri":"U"}}'),
        (PAGE, '{"_meta":{"ui":"u"}}', None),
    ],
)  # fmt: skip
def test_what_is_respelled(shape: Shape, before: str, after: str | None) -> None:
    def spell(mark: Mark, spelled: str) -> str:
        return f"t:{spelled}" if mark is Mark.TASK else {"u": "U"}.get(spelled, spelled)

    found = respelled(Raw(before.encode()), shape, spell)
    assert (None if found is None else bytes(found).decode()) == after
