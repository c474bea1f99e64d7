"""Placeholders in target files: `$name` or `${name}`; `$$` is a dollar sign. Pure.

Rules:
- Which there are depends on the key; any other is refused when the file is read.
- In a list of words, one that is just `$command`, `$args` or `$url` becomes as many words as the server has there,
  maybe none. Within other text they are one line, quoted for a shell.
- In JSON, inside quotes a placeholder is text, outside it is a JSON value: `"$url"` and `$url` are the same.
"""

import json
import re
import shlex
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import AfterValidator, ValidationInfo

from .case import Transport

LAUNCH = ("host", "port", "config", "folder", "python", "here")
"""Placeholders of everything about launching: where clients connect (127.0.0.1, or a node of a cluster) and the port
there, the configuration file that the harness wrote and its folder, this Python interpreter, and the folder of the
target file. For a target in a container, the file, its folder and the interpreter are those in there."""

ONE = ("server", "command", "args", "url", "type")
"""Of a proxy of one server, more of them: that server's name, its command line or its URL, and how it is reached."""

BODY = ("server", "name", "entry", "command", "args", "env", "url", "headers", "type", "id")
"""Of the body of a request that adds or removes a server, besides those of launching."""

_WORDS = re.compile(r"\$(?:\{(command|args|url)\}|(command|args|url))")
_PLACEHOLDER = re.compile(r"\\.|\"|\$\$|\$\{(\w+)\}|\$(\w+)", re.DOTALL)


def known(*names: str, own: Sequence[str] = ("secrets",)) -> AfterValidator:
    """Text, or a JSON value with texts, in which only these placeholders stand, and those that the target file defines
    in these tables of its `own` (which the context of the validation names)."""

    def check(value: Any, info: ValidationInfo) -> Any:
        there = (*names, *(name for table in own for name in (info.context or {}).get(table, ())))
        try:
            fill_deep(value, dict.fromkeys(there, ""))
        except KeyError as exc:
            raise ValueError(
                f"${exc.args[0]} is no placeholder here; there are {', '.join('$' + name for name in there)}"
            ) from None
        except ValueError:
            raise ValueError("a dollar sign that begins no placeholder is written $$") from None
        return value

    return AfterValidator(check)


def used(texts: Iterable[str]) -> set[str]:
    """The placeholders that stand in these texts."""
    return {name for text in texts for name in string.Template(text).get_identifiers()}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Text with its placeholders filled."""
    return string.Template(text).substitute(values)


def fill_words(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """A command line with its placeholders filled."""
    filled: list[str] = []
    for word in words:
        whole = _WORDS.fullmatch(word)
        filled += shlex.split(values[whole[1] or whole[2]]) if whole else [fill(word, values)]
    return filled


def fill_deep(value: Any, values: Mapping[str, str]) -> Any:
    """A JSON value with the placeholders of its texts filled."""
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, dict):
        return {key: fill_deep(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [fill_deep(part, values) for part in value]
    return value


def fill_json(text: str, values: Mapping[str, Any]) -> str:
    """The text of a JSON document with its placeholders filled by JSON values.

    Args:
        values: in text, a list of words is one line for a shell; what is None is `null`, in text nothing.
    """
    inside = False

    def put(match: re.Match[str]) -> str:
        nonlocal inside
        if match[0] == '"':
            inside = not inside
        name = match[1] or match[2]
        if not name:
            return "$" if match[0] == "$$" else match[0]
        value = values[name]
        return json.dumps(_line(value))[1:-1] if inside else json.dumps(value)

    return _PLACEHOLDER.sub(put, text)


def _line(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return shlex.join(value)
    return value if isinstance(value, str) else json.dumps(value)


def of_server(name: str, entry: Mapping[str, Any], types: Mapping[Transport, str]) -> dict[str, Any]:
    """What placeholders say of a server.

    Args:
        entry: as in `mcpServers`.
        types: what the target calls transports, where it has its own words.
    """
    transport: Transport = "stdio" if "command" in entry else entry.get("type", "http")
    return {
        "server": name,
        "name": name,
        "command": entry.get("command"),
        "args": list(entry.get("args", ())),
        "env": entry.get("env", {}),
        "url": entry.get("url"),
        "headers": entry.get("headers", {}),
        "type": types.get(transport, transport),
    }


def of_one(name: str, entry: Mapping[str, Any], types: Mapping[Transport, str]) -> dict[str, str]:
    """The values of `ONE`, each as a line for a shell."""
    told = of_server(name, entry, types)
    told["command"] = [told["command"]] if told["command"] else []
    return {key: _line(told[key]) for key in ONE}
