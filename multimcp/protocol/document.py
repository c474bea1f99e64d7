"""The text of a configuration: JSON or TOML -> plain data, where in it the servers are, and where each place stands.

Rules:
- JSON may have comments (`//`, `/* */`) and a comma before a closing bracket. They are blanked out, not cut out: lines
  and columns in messages are those of the text.
- Whoever reads a message finds the place: by its path from the file's own root, and by line and column.
- All of it takes time in proportion to the text, whatever is in it.
"""

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import Any

from multimcp.errors import ConfigError, NameInUseError, printable

Place = tuple[str | int, ...]
"""Keys and numbers that lead from the top, or from an entry, to a value."""

ROOTS = ("mcpServers", "servers", "context_servers", "mcp_servers", "mcp")
"""Under which key clients have their servers; the first one that is there counts."""

TOO_DEEP = "is nested too deeply; no setting needs that"

_OR = "or start without --persist"

_DEEPEST = 7
"""Levels of keys that messages name: `mcp.servers.NAME.options.toolFilter.list[0]`."""

_LISTED = ", ".join(f'"{root}"' for root in ROOTS)
_NO_SERVERS = (
    f"found no servers: there is no object under any of {_LISTED}; put them under "
    '"mcpServers", as in {"mcpServers": {"NAME": {"command": "npx"}}}'
)

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"?'  # one that does not end is for the JSON parser to tell
_COMMENT = re.compile(rf"{_STRING}|//[^\r\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_COMMA = re.compile(rf"{_STRING}|,(?=[ \t\r\n]*[\]}}])", re.DOTALL)
_TOKEN = re.compile(rf'{_STRING}|[{{}}\[\],:]|[^\s{{}}\[\],:"]+', re.DOTALL)
_DOTTED = re.compile(r"""(?<![\w.'"-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
_OTHERS = {
    "TOML": re.compile(r"\[{1,2}[\w.\"' -]+\]{1,2}\s*(?:#.*)?|[\w.-]+\s*=.*"),
    "YAML": re.compile(r"---.*|[\w-]+:(?:\s.*)?"),
}
"""How the first line that says something looks in a syntax that is not JSON."""


class Document:
    """Decoded `data`: `entries` are its servers as they are written, under `root`.

    Args:
        text: the JSON from which the data came, without comments; empty, and nobody is told lines and columns.

    Raises:
        ConfigError: the operator's: there are no servers in it.
    """

    def __init__(self, data: Any, text: str = "") -> None:
        self.data = data
        self.root, self.entries = _find_servers(data)
        self._text = text

    def spot(self, place: Place) -> str:
        """What a message adds on where this place is: ` (line 3, column 5)`, or nothing where that is not known."""
        while place and place not in self._spots:
            place = place[:-1]
        return f" ({_spell(self._spots[place], self._lines)})" if place else ""

    @cached_property
    def _spots(self) -> Mapping[Place, int]:
        return dict(_places(self._text))

    @cached_property
    def _lines(self) -> list[int]:
        return _line_starts(self._text)


def spell(place: Place) -> str:
    """A place as people write it: `mcpServers.weather.args[1]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(part, 200)}" for part in place)
    return "".join(parts).removeprefix(".")


def decode(text: str | bytes, suffix: str = "") -> Document:
    """The text of a configuration, read.

    Args:
        suffix: how the name of its file ends; ".toml" makes it TOML.

    Raises:
        ConfigError: the operator's; says where it cannot be read, or that it has no servers.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if suffix.lower() == ".toml":
            if _DOTTED.search(text):  # which take time in proportion to the square of their number
                raise ConfigError(TOO_DEEP)
            return Document(tomllib.loads(text))
        plain = _blank(text)
        data = json.loads(plain, object_pairs_hook=_no_duplicates)
        json.dumps(data, ensure_ascii=False).encode()  # JSON can spell what no text can hold
        return Document(data, plain)
    except json.JSONDecodeError as exc:
        raise ConfigError(_not_json(exc, str(text), suffix)) from None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"is not valid TOML: {printable(exc)}; correct it there") from None
    except _Twice as exc:
        raise ConfigError(f"the key '{exc}' comes twice in one object{_twice(plain)}; rename or remove one") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text; send it as UTF-8") from None
    except UnicodeEncodeError as exc:
        raise ConfigError(f"has {exc.object[exc.start]!a} in a string, half of a character; complete it") from None
    except ValueError:
        raise ConfigError("has a number of more digits than can be read; correct it") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None


def edit(text: str, put: Mapping[str, Any], drop: Collection[str], suffix: str = "") -> str:
    """The text of a configuration with some servers set and some left out; what else is in it stays as it is written.

    Args:
        put: entries as they are to be written, by server.
        drop: names of servers, which need not be there.
        suffix: how the name of its file ends.

    Raises:
        ConfigError: the operator's: the text is no configuration to begin with, or has what would be lost.
        NameInUseError: the caller's: there is another entry of a name that is to be set.
    """
    document = decode(text, suffix)
    if document.root != ("mcpServers",) or suffix.lower() == ".toml":
        raise ConfigError(f'is another client\'s file; put its servers under "mcpServers" of a file in JSON, {_OR}')
    if _blank(text) != text:
        raise ConfigError(f"has comments, or commas before a bracket, which would be lost; take them out, {_OR}")
    if _tokens(text) != _tokens(_dump(document.data)):
        raise ConfigError(f"has numbers that would be written in another way; write them in the shortest one, {_OR}")
    kept = {name: entry for name, entry in document.entries.items() if name not in drop}
    if taken := [name for name, entry in put.items() if kept.get(name, entry) != entry]:
        raise NameInUseError(f"'{taken[0]}' is there already, as another server; remove it, or choose another name")
    return _dump({**document.data, "mcpServers": {**kept, **put}})


def _dump(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _tokens(text: str) -> list[Any]:
    return [json.loads(token) if token[0] == '"' else token for token in _TOKEN.findall(text)]


def _find_servers(data: Any) -> tuple[Place, dict[str, Any]]:
    """The root of the servers, and what is under it."""
    if not isinstance(data, dict):
        raise ConfigError(_NO_SERVERS)
    mcp = data.get("mcp")
    if isinstance(mcp, dict) and not _are_servers(mcp):
        data = {**data, "mcp": None}  # settings of a client
    for root in ROOTS:
        if isinstance(entries := data.get(root), dict):
            inner = entries.get("servers") if root == "mcp" else None
            if isinstance(inner, dict) and _are_servers(inner):
                return (root, "servers"), inner
            return (root,), entries
    for key in islice(data, 100):
        if key not in ROOTS and get_close_matches(key[:40].lower(), [root.lower() for root in ROOTS], cutoff=0.8):
            raise ConfigError(f'{_NO_SERVERS}; did you mean "mcpServers" where it says "{printable(key, 40)}"?')
    raise ConfigError(_NO_SERVERS)


def _are_servers(entries: Mapping[str, Any]) -> bool:
    return not entries or any(isinstance(entry, dict) for entry in entries.values())


# JSON


def _blank(text: str) -> str:
    """The text with spaces for comments and for commas before a closing bracket."""
    return _COMMA.sub(lambda found: " " if found[0] == "," else found[0], _COMMENT.sub(_without_comment, text))


def _without_comment(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] == '"' or (token.startswith("/*") and (len(token) < 4 or not token.endswith("*/"))):
        return token  # a comment that does not end is for the JSON parser to tell
    return re.sub(r"[^\r\n]", " ", token)


def _places(text: str) -> Iterable[tuple[Place, int]]:
    """Each place in valid JSON, no deeper than messages need, with the offset of its key, or of the item of a list."""
    place: list[str | int | None] = []  # None: the key is still to come
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in ("}", "]"):
            place.pop()
        elif token == ",":
            last = place[-1]
            place[-1] = last + 1 if isinstance(last, int) else None
        elif token != ":":
            if is_key := bool(place) and place[-1] is None:
                place[-1] = json.loads(token)
            if place and len(place) <= _DEEPEST and (is_key or isinstance(place[-1], int)):
                yield tuple(part for part in place if part is not None), found.start()
            if not is_key and token in ("{", "["):
                place.append(None if token == "{" else 0)


def _line_starts(text: str) -> list[int]:
    return [0, *(found.end() for found in re.finditer("\n", text))]


def _spell(offset: int, lines: list[int]) -> str:
    number = bisect_right(lines, offset)
    return f"line {number}, column {offset - lines[number - 1] + 1}"


class _Twice(Exception):
    """A key comes twice in one object."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice and the last one win: a server would vanish without a word."""
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(printable(key, 100))
            seen.add(key)
    return result


def _twice(text: str) -> str:
    """Where the first key is that comes twice."""
    seen: dict[Place, int] = {}
    for place, offset in _places(text):
        if place in seen:
            lines = _line_starts(text)
            return f", at {_spell(seen[place], lines)} and at {_spell(offset, lines)}"
        seen[place] = offset
    return ""


def _not_json(exc: json.JSONDecodeError, text: str, suffix: str) -> str:
    """What to say of text that is not JSON, with the remedy."""
    if not exc.doc.strip():
        return f'is empty; {{"mcpServers": {{}}}} is enough (its servers may be under any of {_LISTED})'
    said = (line for line in text.splitlines() if line.strip() and line[0] != "#")
    first = next(said, "")
    kind = "YAML" if suffix.lower() in (".yaml", ".yml") else None
    kind = kind or next((name for name, line in _OTHERS.items() if line.fullmatch(first)), None)
    if kind == "YAML":
        return 'is YAML, which is not read; write the servers as JSON, as in {"mcpServers": {}}'
    if kind:
        return 'is TOML, which is read from a file whose name ends in ".toml"; name it so, or write JSON'
    found = text[exc.pos : exc.pos + 1]
    comma = "take out one comma" if exc.doc[: exc.pos].rstrip().endswith(",") else "correct it there"
    remedy = {
        **dict.fromkeys("]}", comma),
        "/": "end the comment with */",
        "#": "write // before a comment",
        "'": "write double quotes, JSON has no others",
        ",": "take out one comma",
    }.get(found, "correct it there")
    return f"is not valid JSON at line {exc.lineno}, column {exc.colno}: {exc.msg}; {remedy}"
