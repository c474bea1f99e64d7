"""docs/mcp.schema.json says what the proxy does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from multimcp.config import load
from multimcp.errors import ConfigError
from tests.support.schema import FILE, schema, text
from tests.unit.test_examples import EXAMPLES


def test_it_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run python -m tests.support.schema"
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize(
    ("entry", "is_valid"),
    [
        ({"command": "x", "args": ["a"], "env": {"A": "b"}, "cwd": "/", "startupTimeout": 5.5}, True),
        ({"command": "x", "envFile": "EMPTY"}, True),
        ({"url": "http://h", "headers": {"A": "b"}, "type": "sse", "timeout": 3, "scope": "session"}, True),
        ({"command": "x", "tools": {"include": ["a"], "exclude": []}}, True),
        ({"disabled": True}, True),
        ({}, False),
        ({"disabled": False}, False),
        ({"command": 5}, False),
        ({"command": "x", "args": "a"}, False),
        ({"command": "x", "env": {"A": []}}, False),
        ({"command": "x", "timeout": 0}, False),
        ({"command": "x", "type": "ws"}, False),
        ({"command": "x", "scope": "all"}, False),
        ({"command": "x", "tools": {"only": ["a"]}}, False),
    ],
)
def test_it_finds_right_what_the_proxy_does(entry: dict[str, Any], is_valid: bool, tmp_path: Path) -> None:
    data = {"$schema": "mcp.schema.json", "mcpServers": {"w": entry}}
    assert jsonschema.Draft7Validator(schema()).is_valid(data) is is_valid
    (tmp_path / "empty.env").touch()
    (tmp_path / "mcp.json").write_text(json.dumps(data).replace("EMPTY", str(tmp_path / "empty.env")))
    try:
        is_loaded = load(tmp_path / "mcp.json", {}).warnings == ()
    except ConfigError:
        is_loaded = False
    assert is_loaded is is_valid
