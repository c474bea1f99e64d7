"""`init`: the tables that come of answers, the lines that a file has besides, and what is told of a trial."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.init import LEFT, WORDS, Tried, ask, last_words, remedy, render, to_change
from conformance.target import Target, load

Make = Callable[..., Target]
REST = ["", "p $port", ""]
"""Answers of one that is told of its servers over REST, up to the URL for that."""
BODY = '{"n": "$name", "u": "$url", "t": "$type"}'


def answered(*answers: str) -> dict[str, Any]:
    left, asked = iter(answers), []

    def given(question: str) -> str:
        asked.append(question)
        return next(left, "")

    data = ask(given)
    assert len(asked) >= len(answers), "some answers were not asked for"
    return data


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def load_tables(data: dict[str, Any]) -> Target:
        (tmp_path / "t.toml").write_text(render(data))
        return load(str(tmp_path / "t.toml"))

    return load_tables


@pytest.mark.parametrize(
    ("answers", "table", "part"),
    [
        (REST, "admin", {"add": "http://127.0.0.1:$port/servers", "remove": "http://127.0.0.1:$port/servers/$id"}),
        ([*REST, "http://h/api/add/?x=1"], "admin", {"remove": "http://h/api/add/$id"}),
        ([*REST, "", "", "", "http://h/gone"], "admin", {"remove": "http://h/gone"}),
        ([*REST, "", "", "", "", "X-Key", "k"], "admin", {"headers": {"X-Key": "k"}}),
        ([*REST, "", "", "", "", "X-Key", "k"], "endpoints", {"headers": {"X-Key": "k"}}),
        (
            [*REST, "", "", "", "", "Authorization", "", "make 'a token'"],
            "secrets",
            {"TOKEN": {"command": ["make", "a token"]}},
        ),
        ([*REST, "", "", "", "", "Authorization"], "admin", {"headers": {"Authorization": "Bearer $TOKEN"}}),
        (
            [*REST, "", BODY, "", "", "", "sse, http", "SSE", "STREAM"],
            "backends",
            {"types": {"sse": "SSE", "http": "STREAM"}},
        ),
        ([*REST, "", BODY, "", "", "", "http", "STREAM"], "backends", {"types": {"http": "STREAM"}}),
        (["", "p --sse $url"], "backends", {"transports": ["sse"]}),
        (["", "p --streamableHttp $url"], "backends", {"transports": ["http"]}),
        (["", "p $url", "", "sse, http"], "backends", {"transports": ["sse", "http"]}),
        (["", "p $url --as $type", "", "", "streamable"], "backends", {"types": {"http": "streamable"}}),
    ],
)
def test_answers_make_keys(make: Make, answers: list[str], table: str, part: dict[str, Any]) -> None:
    data = answered(*answers)
    assert data[table] == {**data[table], **part}
    make(data)


@pytest.mark.parametrize(
    ("answers", "table", "key"),
    [
        (REST, "admin", "headers"),
        (REST, "endpoints", "headers"),
        ([*REST, "", BODY], "backends", "types"),
        ([*REST, "", "", "", "", "X-Key", "k"], "secrets", "TOKEN"),
        (["", "p $command"], "backends", "transports"),
    ],
)
def test_what_is_not_needed_is_not_written(answers: list[str], table: str, key: str) -> None:
    assert key not in answered(*answers).get(table, {})


@pytest.mark.parametrize(("body", "asked"), [(BODY, 3), ("", 0)])
def test_words_for_transports_are_asked_for_where_they_are_sent(body: str, asked: int) -> None:
    answers, questions = iter([*REST, "", body]), []

    def given(question: str) -> str:
        questions.append(question)
        return next(answers, "")

    ask(given)
    assert sum("$type says" in question for question in questions) == asked


def test_a_file_that_does_not_work_has_what_may_be_missing_as_comments() -> None:
    text = render({"target": {"name": "t"}, "launch": {"kind": "command", "startup": 5}, "endpoints": {}}, LEFT)
    lines = [line for line in text.splitlines() if line.startswith("# ")]
    assert [line.split()[1] for line in lines] == ["eras", "[endpoints]", "[names]", "tool", "prompt", "by_description"]
    again = tomllib.loads(re.sub("(?m)^# ", "", text))
    assert again["names"]["tool"] == "${server}__$name"
    assert again["target"]["eras"] == ["legacy"]


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("the target does not take server 'x' ([admin] add); HTTP 401: who are you", "[endpoints] and [admin]"),
        ("no tools of x are listed within 5 s (initialize got no response: HTTP 403: no)", "[secrets]: TOKEN = {"),
        ("the target does not take server 'x' ([admin] add); HTTP 422: transport", "Look at [admin]"),
        ("admin.id: the answer to the addition of a server has no 'id'; {}", "Look at [admin]"),
        ("secrets.TOKEN: its command prints nothing", "Look at [secrets]"),
        ("the target ended while starting; its last words: HTTP 401 [admin] secrets.py", "Look at [launch]"),
        ("no tools of x are listed within 5 s (HTTP 404: no)", "Look at [endpoints]"),
        ("there is no docker", "Look at [launch]"),
    ],
)
def test_a_problem_has_its_remedy(make: Make, problem: str, told: str) -> None:
    assert told in remedy(make(answered(*REST)), problem)


def test_one_without_an_api_is_told_of_no_headers_for_it(make: Make) -> None:
    assert "[admin]" not in remedy(make(answered()), "HTTP 401")


DASH = {"tool": "${server}-$name", "replace": {"_": "-"}}


@pytest.mark.parametrize(
    ("eras", "names", "tried", "changes"),
    [
        (["legacy"], {"tool": "$name"}, Tried(["legacy"], names={"tool": "$name"}), []),
        (["legacy", "modern"], {}, Tried(["modern", "legacy"], names={"tool": "$name"}), []),
        (["legacy", "modern"], {}, Tried(["legacy"]), ['[target] eras = ["legacy"]']),
        (["legacy"], {}, Tried(), []),
        (
            ["legacy"],
            {"tool": "$name", "lower": True},
            Tried(["legacy"], names=DASH),
            ['[names] prompt = "${server}-$name", tool = "${server}-$name", replace = { "_" = "-" }'],
        ),
        (
            ["legacy"],
            {"lower": True},
            Tried(["legacy"], names={"tool": "$name"}),
            ['[names] prompt = "$name", tool = "$name"'],
        ),
        (["legacy"], {**DASH, "prompt": "$name"}, Tried(["legacy"], names=DASH), []),
        (["legacy"], DASH, Tried(["legacy"], names={"by_description": True}), ["[names] by_description = true"]),
    ],
)
def test_what_a_file_says_otherwise_is_to_be_changed(
    make: Make, eras: list[str], names: dict[str, Any], tried: Tried, changes: list[str]
) -> None:
    data = answered("", "p $config $port", "", "")
    target = make({**data, "target": {"name": "t", "eras": eras}, "names": names})
    assert to_change(target, tried) == changes


def test_the_last_words_are_those_that_differ_and_the_newest(tmp_path: Path) -> None:
    (tmp_path / "world1").mkdir()
    tries = [f"{second}: POST /mcp {port}" for second, port in enumerate(range(4000, 4300))]
    (tmp_path / "world1" / "target.log").write_text(
        "\n".join(["", "a key, please", *tries, "", "the end 1", "the end 2"])
    )
    assert last_words(tmp_path) == ["a key, please", "299: POST /mcp 4299", "the end 2"]
    (tmp_path / "world1" / "target.log").write_text("\n".join("x" * many for many in range(1, 100)))
    assert last_words(tmp_path) == ["x" * many for many in range(100 - WORDS, 100)]
    assert last_words(tmp_path / "none") == []
