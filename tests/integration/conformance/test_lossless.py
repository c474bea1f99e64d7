"""What the correct proxy behind the broken ones reads and writes JSON with."""

import json

import pytest

from tests.integration.conformance.broken.lossless import dumps, loads

DEEP = '{"a":[' * 20_000 + "1" + "]}" * 20_000


@pytest.mark.parametrize(
    "text",
    [
        "[9007199254740993, 123456789012345678901234567890, 1.0, 1, -0, -0.0, 1E2, 1e400, 0.10]",
        r'{"\u00e9": "\/", "a": "é", "role": "user", "role": "\ud800", "n": null, "t": [true, false, [], {}]}',
        '"text"',
        "1e400",
    ],
)
def test_what_is_read_is_written_as_it_was(text: str) -> None:
    assert dumps(loads(text)) == text


def test_nesting_has_no_limit() -> None:
    assert dumps(loads(DEEP)).replace(" ", "") == DEEP


def test_it_is_ordinary_data() -> None:
    value = loads('{"a": 1.50, "b": "\\u00e9", "b": [2], "c": {}}')
    assert value == {"a": 1.5, "b": [2], "c": {}}
    value["b"] = "other"
    assert json.loads(dumps(value)) == {"a": 1.5, "b": "other", "c": {}}


@pytest.mark.parametrize(
    "text",
    ["", "{", "]", "[1}", "[1", "1 2", '{"a"}', '{"a":}', "{1: 2}", "nothing", ": 1", "'a'", '"a'],
)
def test_what_is_no_json_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)
