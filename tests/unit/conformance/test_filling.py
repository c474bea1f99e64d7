"""Placeholders: in words, in JSON, and what there is to say of a server."""

import json
import shlex
from typing import Any

import pytest

from conformance.admin import found
from conformance.filling import fill_json, fill_words, of_one, of_server
from conformance.verdict import Failure

STDIO = {"command": "/opt/my python", "args": ["-m", "it's", ""]}
URL = {"type": "http", "url": "http://u/mcp"}


@pytest.mark.parametrize(
    ("words", "entry", "filled"),
    [
        (["--", "$command", "$args"], STDIO, ["--", "/opt/my python", "-m", "it's", ""]),
        (["${command}", "${args}", "$url"], URL, ["http://u/mcp"]),
        (["--name=$server", "$type"], URL, ["--name=a", "streamable"]),
        (["x", "$url"], STDIO, ["x"]),
        (["$$command"], STDIO, ["$command"]),
    ],
)
def test_a_word_becomes_as_many_as_the_server_has(words: list[str], entry: dict[str, Any], filled: list[str]) -> None:
    assert fill_words(words, of_one("a", entry, {"http": "streamable"})) == filled


def test_within_other_text_it_is_one_line_for_a_shell() -> None:
    (line,) = fill_words(["$command $args"], of_one("a", STDIO, {}))
    assert shlex.split(line) == [STDIO["command"], *STDIO["args"]]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ('{"n": "$name", "u": "$url", "v": $url}', {"n": 'a"', "u": "http://u/mcp", "v": "http://u/mcp"}),
        ('{"$name": $entry}', {'a"': URL}),
        ('{"c": $command, "d": "$command", "a": $args}', {"c": None, "d": "", "a": []}),
        ('{"quoted \\"": "$type", "$$": 1}', {'quoted "': "http", "$": 1}),
        ('{"whole": "is $type at ${url}", "e": $env}', {"whole": "is http at http://u/mcp", "e": {}}),
    ],
)
def test_a_body_is_text_inside_quotes_and_json_outside(body: str, value: Any) -> None:
    told = {**of_server('a"', URL, {}), "entry": URL}
    assert json.loads(fill_json(body, told)) == value


def test_words_in_a_body() -> None:
    told = of_server("a", STDIO, {"stdio": "STDIO"})
    body = json.loads(fill_json('{"type": "$type", "words": $args, "line": "$args"}', told))
    assert body == {"type": "STDIO", "words": STDIO["args"], "line": shlex.join(STDIO["args"])}


@pytest.mark.parametrize(("path", "value"), [("id", "7"), ("data.0.key", "k"), ("data.-1.key", "l")])
def test_an_id_is_taken_from_the_answer(path: str, value: str) -> None:
    assert found('{"id": 7, "data": [{"key": "k"}, {"key": "l"}]}', path) == value


@pytest.mark.parametrize(
    ("text", "path"),
    [("{}", "id"), ("no JSON", "id"), ("[]", "0"), ('{"a": "b"}', "a.c"), ("[1]", "x"), ('{"id": null}', "id")],
)
def test_an_answer_without_it_says_where_it_was_looked_for(text: str, path: str) -> None:
    with pytest.raises(Failure, match=f"admin.id: the answer to the addition of a server has no '{path}'") as caught:
        found(text, path)
    assert caught.value.actual == text
