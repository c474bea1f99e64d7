"""The configuration: `mcpServers` JSON as every MCP client knows it -> frozen models; and JSON text with edits in it.

Rules:
- A wrong type or value is a `ConfigError` that lists all mistakes, each with its place (`mcpServers.weather.args[1]`)
  and the remedy. `_SERVER` says what belongs into each place.
- An unknown key is a warning: other clients' files load as they are. One that is spelled like a known key says so.
- `${VAR}` and `${VAR:-default}` are filled in every string of an enabled server. A variable that is not set is no
  mistake of form: that server alone fails (`ServerConfig.unset`).
- No message quotes a value: values may be secrets.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from sys import float_info
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from multimcp.errors import ConfigError, NameInUseError

from .secrets import SECRET_NAME, redact, url_passwords

Transport = Literal["stdio", "sse", "http"]
Place = tuple[str | int, ...]
IsProgram = Callable[[str, str | None], bool]
"""Whether a command, with the folder it is run in, is the path or name of a program that is there."""

TOO_DEEP = "is nested too deeply; no setting needs that"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110)."""

_OTHER_WORDS = {"serverurl": "url", "httpurl": "url", "endpoint": "url", "cmd": "command"}
"""Keys of other clients, in lower case, that mean one of ours and are not spelled like it."""

_OTHER_ROOTS = ("servers", "mcp_servers", "mcp-servers", "context_servers", "mcp")
"""Where other clients have what is `mcpServers` here."""

_STREAMABLE_HTTP = ("streamable-http", "streamablehttp")
"""How other clients write the type "http", in lower case and with hyphens."""


class ToolFilter(msgspec.Struct, frozen=True):
    """Which of a server's tools are offered: globs over its own tool names; `exclude` wins."""

    include: list[str] = msgspec.field(default_factory=lambda: ["*"])
    exclude: list[str] = []

    def admits(self, name: str) -> bool:
        """Whether the tool of this (own) name is offered."""
        return any(fnmatchcase(name, glob) for glob in self.include) and not any(
            fnmatchcase(name, glob) for glob in self.exclude
        )


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `mcpServers`. Either `command` (stdio) or `url` (SSE or streamable HTTP) is set.

    Attributes:
        timeout: bounds each request to the server, in seconds; without it only the client sets a limit.
        startup_timeout: bounds, in seconds, each attempt to start it (or to reach it) and to greet it.
        scope: with "session" each legacy client session has a connection of its own; else all share one.
        unset: why this server cannot be started while the environment stays as it is: variables are not set.
        secrets: the values of variables that were filled in and that nobody is to see.
    """

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    type: Transport | None = None
    disabled: bool = False
    timeout: float | None = None
    startup_timeout: float = msgspec.field(default=60.0, name="startupTimeout")
    scope: Literal["shared", "session"] = "shared"
    tools: ToolFilter = ToolFilter()
    unset: str | None = None
    secrets: tuple[str, ...] = ()

    @property
    def transport(self) -> Transport:
        """`type`, or what follows from the rest: a command is stdio, a path ending in `/sse` SSE, any other HTTP."""
        if self.type:
            return self.type
        if self.command is not None:
            return "stdio"
        return "sse" if urlsplit(self.url or "").path.rstrip("/").endswith("/sse") else "http"

    def redact(self, text: str, more: Iterable[str] = ()) -> str:
        """`text` without this server's secrets (`protocol.secrets` has the rules), and without those in `more`."""
        values = [*self.env.values(), *self.headers.values(), *self.secrets, *more]
        values += [password for value in (*self.args, *values) for password in url_passwords(value)]
        return redact(text, values, self.url)


@dataclass(frozen=True)
class Config:
    """A parsed configuration: the servers in the order written, and what is worth a warning."""

    servers: Mapping[str, ServerConfig]
    warnings: tuple[str, ...] = ()


# What belongs into each place


@dataclass(frozen=True)
class _Shape:
    """What a value has to be: of one of these `types`, and then for what it holds `items` and `fields` apply.

    `words` are the only ones that a string may be. `expected` says all that to a person.
    """

    expected: str
    types: type | tuple[type, ...]
    items: "_Shape | None" = None
    fields: Mapping[str, "_Shape"] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        """Whether it is right itself, whatever is in it."""
        if isinstance(value, bool) or not isinstance(value, self.types):
            return isinstance(value, bool) and self.types is bool
        if isinstance(value, float | int):
            return 0 < value <= float_info.max
        return not self.words or value is None or value in self.words

    def mistakes(self, value: Any, place: Place = ()) -> Iterable[tuple[Place, "_Shape"]]:
        """The places in `value`, which stands at `place`, that are not of their shape."""
        if not self.fits(value):
            yield place, self
        elif self.items is not None:
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from self.items.mistakes(item, (*place, key))
        else:
            for key, shape in self.fields.items():
                if key in value:
                    yield from shape.mistakes(value[key], (*place, key))

    def meant(self, key: str) -> str | None:
        """The key of ours that an unknown one may well be meant to be."""
        if close := get_close_matches(key.lower(), list(self.fields), n=1, cutoff=0.8):
            return close[0]
        other = _OTHER_WORDS.get(key.lower())
        return other if other in self.fields else None

    def warnings(self, value: Mapping[str, Any], place: str) -> Iterable[str]:
        """A line for each unknown key of an object."""
        for key in value:
            if key not in self.fields:
                hint = f'; did you mean "{meant}"?' if (meant := self.meant(key)) else ""
                yield f"{place}: unknown key '{key}' is ignored{hint}"
        for key, shape in self.fields.items():
            if shape.fields and key in value:
                yield from shape.warnings(value[key], f"{place}.{key}")


_OPTIONAL = (str, type(None))
_TEXT = _Shape('a string, as in "8080"', str)
_HEADER = _Shape('a string, as in "Bearer ${TOKEN}"', str)
_GLOB = _Shape('a string, as in "read*"', str)
_TOOLS = {
    "include": _Shape('a list of strings, as in ["read*"]', list, _GLOB),
    "exclude": _Shape('a list of strings, as in ["*_all"]', list, _GLOB),
}
_FIELDS = {
    "command": _Shape('a string, the program alone, as in "npx"', _OPTIONAL),
    "args": _Shape('a list of strings, as in ["x.py"]', list, _TEXT),
    "env": _Shape('an object of strings, as in {"PORT": "8080"}', dict, _TEXT),
    "cwd": _Shape('a string, the path of a folder, as in "/srv/data"', _OPTIONAL),
    "url": _Shape('a string, as in "https://example.com/mcp"', _OPTIONAL),
    "headers": _Shape('an object of strings, as in {"Authorization": "Bearer ${TOKEN}"}', dict, _HEADER),
    "type": _Shape('one of "stdio", "sse", "http"', _OPTIONAL, words=("stdio", "sse", "http")),
    "disabled": _Shape("true or false, without quotes", bool),
    "timeout": _Shape("a number of seconds above 0, without quotes, as in 30", (int, float, type(None))),
    "startupTimeout": _Shape("a number of seconds above 0, without quotes, as in 60", (int, float)),
    "scope": _Shape('one of "shared", "session"', str, words=("shared", "session")),
    "tools": _Shape('an object, as in {"include": ["read*"], "exclude": ["*_all"]}', dict, fields=_TOOLS),
}
_SERVER = _Shape('an object, as in {"command": "npx", "args": ["-y", "some-server"]}', dict, fields=_FIELDS)


# JSON -> models


def entries_of(data: Any) -> dict[str, Any]:
    """The `mcpServers` of decoded JSON, as they were written.

    Raises:
        ConfigError: the operator's: there are none.
    """
    if isinstance(data, dict) and isinstance(entries := data.get("mcpServers"), dict):
        return entries
    text = 'expected a JSON object with an object "mcpServers" in it, as in {"mcpServers": {}}'
    if isinstance(data, dict) and "mcpServers" not in data:
        for key in data:
            if key.lower() in _OTHER_ROOTS or get_close_matches(key.lower(), ["mcpservers"], cutoff=0.8):
                text += f'; did you mean "mcpServers" where it says "{key}"?'
                break
    raise ConfigError(text)


def parse(data: Any, environ: Mapping[str, str], is_program: IsProgram) -> Config:
    """Turn decoded JSON into models.

    Args:
        data: an object with `mcpServers`: server name -> its settings.
        environ: where `${VAR}` is looked up.
        is_program: tells a path with blanks in it from a command line.

    Raises:
        ConfigError: the operator's; lists all mistakes, each with the place and the remedy.
    """
    entries = entries_of(data)
    warnings = [f"unknown key '{key}' is ignored" for key in data if key != "mcpServers"]
    servers: dict[str, ServerConfig] = {}
    problems: list[str] = []
    for name, raw in entries.items():
        if not name or not name.isprintable():
            problems.append(f"mcpServers: {name!a} cannot be a server's name; use printable characters")
            continue
        place = f"mcpServers.{name}"
        try:
            server, mistakes = _server(raw, environ, is_program)
        except RecursionError:
            server, mistakes = None, {(): TOO_DEEP}
        problems += [f"{place}{_spell(where)}: {text}" for where, text in mistakes.items()]
        if server is not None:
            servers[name] = server
            warnings += _SERVER.warnings(raw, place)
    if problems:
        raise ConfigError(*problems)
    return Config(servers, tuple(warnings))


def _server(
    raw: Any, environ: Mapping[str, str], is_program: IsProgram
) -> tuple[ServerConfig | None, dict[Place, str]]:
    """The model of one entry, or the mistakes in it, by place."""
    if not _SERVER.fits(raw):
        return None, {(): f"expected {_SERVER.expected}"}
    filling = _Filling(environ)
    # A disabled server may lack what it needs: that is a good reason to disable it.
    known = {key: value for key, value in raw.items() if key in _FIELDS}
    filled = known if raw.get("disabled") is True else filling.fill(known, ())
    kind = filled.get("type")
    if isinstance(kind, str) and kind.lower().replace("_", "-") in _STREAMABLE_HTTP:
        filled["type"] = "http"
    wrong = dict(_SERVER.mistakes(filled))
    # One of a few words ("sse") may be what a variable that is not set would have said.
    mistakes = {
        place: f"expected {shape.expected}"
        for place, shape in wrong.items()
        if not (shape.words and place in filling.unset)
    }
    bad = {place[0] for place in wrong}
    server = msgspec.convert({key: value for key, value in filled.items() if key not in bad}, ServerConfig)
    for place, text in _check(server, raw, is_program):
        if place not in filling.unset:
            mistakes.setdefault(place, text)
    if mistakes:
        return None, mistakes
    why = _why_unset(filling.unset) if filling.unset else None
    return msgspec.structs.replace(server, unset=why, secrets=tuple(filling.secrets)), {}


class _Filling:
    """Fills `${VAR}` and `${VAR:-default}` in every string of a value.

    `unset` are the variables that were not there, by the place where they are wanted, and are left as they are written;
    `secrets` are the values that were filled in and that nobody is to see.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.unset: dict[Place, str] = {}
        self.secrets: list[str] = []

    def fill(self, value: Any, place: Place) -> Any:
        """`value`, which stands at `place`, with all variables in it filled."""
        if isinstance(value, dict):
            return {key: self.fill(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*place, i)) for i, item in enumerate(value)]
        return _VARIABLE.sub(lambda match: self._look_up(match, place), value) if isinstance(value, str) else value

    def _look_up(self, match: re.Match[str], place: Place) -> str:
        name, default = match.groups()
        found = self._environ.get(name)
        if default is not None:
            found = found or default  # as in a shell, `:-` stands in for an empty variable too
        if found is None:
            self.unset.setdefault(place, name)
            return match.group()
        if SECRET_NAME.search(name):
            self.secrets.append(found)
        return found


def _why_unset(unset: Mapping[Place, str]) -> str:
    """Why a server fails in whose settings, at these places, variables are not set."""
    where: dict[str, list[str]] = {}
    for place, name in unset.items():
        where.setdefault(name, []).append(_spell(place)[1:])
    listed = " and ".join(f"{name} ({', '.join(places)})" for name, places in where.items())
    if len(where) == 1:
        what, them, example = f"variable {listed} is", "it", next(iter(where))
    else:
        what, them, example = f"variables {listed} are", "them", "NAME"
    return f"the environment {what} not set; set {them} before Multi-MCP starts, or write ${{{example}:-default}}"


def _spell(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _check(server: ServerConfig, raw: Mapping[str, Any], is_program: IsProgram) -> Iterable[tuple[Place, str]]:
    """What the types of fields cannot tell: the mistakes, with their places.

    Args:
        server: without the fields that have a wrong type.
        raw: the entry, as it is written.
    """
    given = [key for key in ("command", "url") if raw.get(key) is not None]
    if len(given) != 1:
        yield (), _neither_or_both(raw, bool(given))
    if server.command is not None:
        if not server.command.strip():
            yield ("command",), 'is empty; name the program to start, as in "npx"'
        elif len(server.command.split()) > 1 and not is_program(server.command, server.cwd):
            example = '"command": "python", "args": ["x.py"]'
            yield ("command",), f"has blanks in it; give the program alone, and its arguments apart, as in {example}"
    for name, value in server.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield ("headers", name), 'is not the name of a header; write one as in "Authorization"'
        elif not value.isprintable() or not value.isascii() or value != value.strip():
            yield ("headers", name), "cannot be sent; take out line breaks, spaces around it and what is not ASCII"
    if server.url is not None and not _is_web(server.url):
        yield ("url",), 'is not an http:// or https:// URL; write it in full, as in "https://example.com/mcp"'
    if server.type is not None and (server.type == "stdio") != ("command" in given):
        needs = '"command"' if server.type == "stdio" else '"url"'
        yield ("type",), f'"{server.type}" needs {needs}'


def _neither_or_both(raw: Mapping[str, Any], both: bool) -> str:
    text = 'give either "command" (a server to start) or "url" (a running one): '
    if both:
        return f"{text}not both"
    meant = ((key, _SERVER.meant(key)) for key in raw if key not in _FIELDS)
    hints = (f'; did you mean "{ours}" where it says "{key}"?' for key, ours in meant if ours)
    return f"{text}neither is there{next(hints, '')}"


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Text


def edit(text: str, put: Mapping[str, Any], drop: Collection[str]) -> str:
    """The text of a configuration with some servers set and some left out; what else is in it stays as it is written.

    Args:
        put: entries as they are to be written, by server.
        drop: names of servers, which need not be there.

    Raises:
        ConfigError: the operator's: the text is no configuration to begin with.
        NameInUseError: the caller's: there is another entry of a name that is to be set.
    """
    data = decode(text)
    kept = {name: entry for name, entry in entries_of(data).items() if name not in drop}
    if taken := [name for name, entry in put.items() if kept.get(name, entry) != entry]:
        raise NameInUseError(f"'{taken[0]}' is there already, as another server; remove it, or choose another name")
    return json.dumps({**data, "mcpServers": {**kept, **put}}, indent=2, ensure_ascii=False) + "\n"


def decode(text: str | bytes) -> Any:
    """JSON text -> plain data.

    Raises:
        ConfigError: the operator's; says where it is not JSON.
    """
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates)
        json.dumps(data, ensure_ascii=False).encode()  # JSON can spell what no text can hold
        return data
    except json.JSONDecodeError as exc:
        if not exc.doc.strip():
            raise ConfigError('is empty; {"mcpServers": {}} is enough') from None
        place = f"line {exc.lineno}, column {exc.colno}"
        raise ConfigError(f"is not valid JSON at {place}: {exc.msg}; {_remedy(exc)}") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text; send it as UTF-8") from None
    except UnicodeEncodeError as exc:
        raise ConfigError(f"has {exc.object[exc.start]!a} in a string, half of a character; complete it") from None
    except ValueError:
        raise ConfigError("has a number of more digits than can be read; correct it") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None


def _remedy(exc: json.JSONDecodeError) -> str:
    # Python 3.13 points at the comma itself, older ones at what comes after it.
    found = exc.doc[exc.pos : exc.pos + 1]
    if found in ("]", "}", ",") and exc.doc[: exc.pos + (found == ",")].rstrip().endswith(","):
        return "take out the comma before the bracket, JSON has none there"
    no_comment = "take the comment out, JSON has none"
    quotes = "write double quotes, JSON has no others"
    return {"/": no_comment, "#": no_comment, "'": quotes}.get(found, "correct it there")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice and the last one win: a server would vanish without a word."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"the key '{twice}' comes twice in one object; rename or remove one")
    return result
