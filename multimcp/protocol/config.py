"""The configuration: servers as they are written in a file -> frozen models.

Rules:
- A wrong type or value is a `ConfigError` that lists all mistakes, each with its place (`mcpServers.weather.args[1]`)
  and the remedy. `SERVER` says what belongs into each place; `protocol.foreign` knows other clients' words for it.
- `${VAR}` and `${VAR:-default}` are filled in every string of an enabled server. A variable that is not set is no
  mistake of form: that server alone fails (`ServerConfig.unset`). What only another client could fill is never sent.
- No message quotes a value: values may be secrets.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from sys import float_info
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from multimcp.errors import ConfigError, printable

from .document import TOO_DEEP, Document, Place, spell
from .foreign import Entry, is_silent, kind, switched_off
from .secrets import Blank, blanker, named, under_names, url_passwords

Transport = Literal["stdio", "sse", "http"]
IsProgram = Callable[[str], bool]
"""Whether a command is the path or name of a program that is there."""

_PLACEHOLDER = re.compile(
    r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*|/)(?::-(?P<default>[^}]*))?\}"
    r"|\{env:(?P<bare>[A-Za-z_][A-Za-z0-9_]*)\}"
    r"|(?P<foreign>\$\{[A-Za-z_][A-Za-z0-9_-]*[:.]|\{file:)[^}]*\}"
)
"""`${NAME}` as most clients write it, `${env:NAME}` as editors do, `{env:NAME}` as opencode does; and the rest."""

_UNFILLED = re.compile(r"(?:[A-Za-z]+ )?(?:\$[A-Za-z_][A-Za-z0-9_]*|\$\(.*\)|\{\{.*\}\})", re.DOTALL)
"""All of a value that another client would fill, and a shell in `args`."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110)."""

_MOST_PROBLEMS = 100
"""Mistakes that are told one by one."""


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
        startup_timeout: bounds, in seconds, each attempt to start it (or to reach it) and to greet it, where it is set.
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
    startup_timeout: float | None = msgspec.field(default=None, name="startupTimeout")
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

    def blanker(self, more: Iterable[str] = (), *, only_sure: bool = False) -> Blank:
        """What blanks this server's secrets in a text (`protocol.secrets` has the rules), and those in `more`.

        `only_sure` leaves out the values of `env` and `headers` of which nothing says that they are secrets.
        """
        tables = (self.env, self.headers)
        values = [value for table in tables for value in table.values()]
        sure = [*self.secrets, *more, *named(self.args), *(value for table in tables for value in under_names(table))]
        sure += [password for value in (*values, *sure) for password in url_passwords(value)]
        return blanker(sure, () if only_sure else values, self.url)


@dataclass(frozen=True)
class Config:
    """A parsed configuration: the servers in the order written, and what is worth a warning."""

    servers: Mapping[str, ServerConfig]
    warnings: tuple[str, ...] = ()


# What belongs into each place


@dataclass(frozen=True)
class Shape:
    """What a value has to be: of one of these `types`, and then for what it holds `items` and `fields` apply.

    `words` are the only ones that a string may be. `expected` says all that to a person.
    """

    expected: str
    types: type | tuple[type, ...]
    items: "Shape | None" = None
    fields: Mapping[str, "Shape"] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        """Whether it is right itself, whatever is in it."""
        if isinstance(value, bool) or not isinstance(value, self.types):
            return isinstance(value, bool) and self.types is bool
        if isinstance(value, float | int):
            return 0 < value <= float_info.max
        return not self.words or value in self.words

    def mistakes(self, value: Any, place: Place = ()) -> Iterable[tuple[Place, "Shape"]]:
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


_TEXT = Shape('a string, as in "8080"', str)
_HEADER = Shape('a string, as in "Bearer ${TOKEN}"', str)
_GLOB = Shape('a string, as in "read*"', str)
_TOOLS = {
    "include": Shape('a list of strings, as in ["read*"]', list, _GLOB),
    "exclude": Shape('a list of strings, as in ["*_all"]', list, _GLOB),
}
_FIELDS = {
    "command": Shape('a string, the program alone, as in "npx"', str),
    "args": Shape('a list of strings, as in ["x.py"]', list, _TEXT),
    "env": Shape('an object of strings, as in {"PORT": "8080"}', dict, _TEXT),
    "envFile": Shape('a string, the path of a file of variables, as in "${workspaceFolder}/.env"', str),
    "cwd": Shape('a string, the path of a folder, as in "/srv/data"', str),
    "url": Shape('a string, as in "https://example.com/mcp"', str),
    "headers": Shape('an object of strings, as in {"Authorization": "Bearer ${TOKEN}"}', dict, _HEADER),
    "type": Shape('one of "stdio", "sse", "http"', str, words=("stdio", "sse", "http")),
    "disabled": Shape("true or false, without quotes", bool),
    "timeout": Shape("a number of seconds above 0, without quotes, as in 30", (int, float)),
    "startupTimeout": Shape("a number of seconds above 0, without quotes, as in 60", (int, float)),
    "scope": Shape('one of "shared", "session"', str, words=("shared", "session")),
    "tools": Shape('an object, as in {"include": ["read*"], "exclude": ["*_all"]}', dict, fields=_TOOLS),
}
SERVER = Shape('an object, as in {"command": "npx", "args": ["-y", "some-server"]}', dict, fields=_FIELDS)


# Entries -> models


@dataclass(frozen=True)
class Machine:
    """What is asked of the machine while a configuration is read.

    Attributes:
        environ: where `${VAR}` is looked up.
        places: where it is looked up next: folders and the like, which are no secrets.
        is_program: tells a path with blanks in it from a command line.
        variables: what the file at a path says as an `envFile`; a `ConfigError` says why it cannot be read.
    """

    environ: Mapping[str, str]
    places: Mapping[str, str]
    is_program: IsProgram
    variables: Callable[[str], Mapping[str, str]]


def parse(document: Document, machine: Machine) -> Config:
    """Turn what is written into models.

    Raises:
        ConfigError: the operator's; lists all mistakes, each with the place and the remedy.
    """
    off = switched_off(document)
    servers: dict[str, ServerConfig] = {}
    warnings = list(_beside(document))
    problems: list[tuple[Place, Place, str]] = []
    for name, raw in document.entries.items():
        place = (*document.root, name)
        if not name or not name.isprintable():
            text = f"{name[:100]!a} cannot be a server's name; use printable characters"
            problems.append((document.root, place, text))
            continue
        try:
            server, mistakes, hints = _server(raw, document.root, machine, name in off)
        except RecursionError:
            server, mistakes, hints = None, {(): TOO_DEEP}, []
        problems += [(place + at, place + at, text) for at, text in mistakes.items()]
        if server is not None:
            servers[name] = server
            warnings += [_line(document, (place + at, place + spot, text)) for at, spot, text in hints]
    if problems:
        lines = [_line(document, problem) for problem in problems[:_MOST_PROBLEMS]]
        more = len(problems) - len(lines)
        raise ConfigError(*lines, *([f"and {more} more mistakes"] if more else []))
    return Config(servers, tuple(warnings))


def beyond_remote(document: Document) -> list[str]:
    """Why what is written may not be added by who may add no more than servers that run elsewhere; nothing if it may.

    It holds for what comes of it later, too: an entry that is switched off, or is written to a file and read again.
    """
    found: list[tuple[Place, Place, str]] = []
    for name, raw in document.entries.items():
        if SERVER.fits(raw):
            entry, root = Entry(raw, document.root, _FIELDS, {}), (*document.root, name)
            try:
                places = [root + entry.where(place) for place in _beyond_remote(entry.settings, ())]
            except RecursionError:
                places = [root]
            found += [(place, place, _REMOTE_ONLY) for place in places]
    return [_line(document, each) for each in found[:_MOST_PROBLEMS]]


def _beyond_remote(value: Any, place: Place) -> Iterable[Place]:
    """The places of what runs, reads or fills in something on this machine."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from [(key,)] if (*place, key) in _LOCAL else _beyond_remote(item, (*place, key))
    elif isinstance(value, str):
        is_elsewhere = place != ("url",) or value.lower().startswith(("http://", "https://"))
        if not is_elsewhere or _PLACEHOLDER.search(_to_fill(value)):
            yield place


_LOCAL: Collection[Place] = {("command",), ("envFile",)}
_REMOTE_ONLY = (
    'is refused by --admin remote-only: over HTTP it takes servers by an http:// or https:// "url", without "command" '
    "and ${NAME}; write this into the configuration file"
)


def _line(document: Document, told: tuple[Place, Place, str]) -> str:
    """What is told of a place, while another one is pointed at."""
    place, spot, text = told
    return f"{spell(place)}: {text}{document.spot(spot)}"


def _beside(document: Document) -> Iterable[str]:
    """A line on what else is in the file than servers, if it is no label."""
    ignored = [key for key in document.data if key not in (document.root[0], "inputs") and not is_silent(key)]
    if ignored:
        listed = ", ".join(f"'{printable(key, 40)}'" for key in ignored[:5])
        more = f" and {len(ignored) - 5} more" if ignored[5:] else ""
        text = f"keys {listed}{more} are ignored" if ignored[1:] else f"key {listed} is ignored"
        yield f"unknown {text}{document.spot((ignored[0],))}"


def _server(
    raw: Any, root: Place, machine: Machine, is_off: bool
) -> tuple[ServerConfig | None, dict[Place, str], list[tuple[Place, Place, str]]]:
    """The model of one entry, the mistakes in it by place, and what is worth a warning."""
    if not SERVER.fits(raw):
        return None, {(): f"expected {SERVER.expected}"}, []
    entry = Entry(raw, root, _FIELDS, machine.environ)
    if is_off or entry.is_off:
        bad = {place[0] for place, _ in SERVER.mistakes(entry.settings)}
        return _model(entry.settings, bad, disabled=True), {}, []
    filling = _Filling(machine)
    filled = filling.fill(entry.settings, ())
    filled["type"] = kind(filled.get("type"))
    filled = {key: value for key, value in filled.items() if value is not None}
    wrong = dict(SERVER.mistakes(filled))
    # One of a few words ("sse") may be what a variable that is not set would have said.
    told = filling.foreign | {
        place: f"expected {shape.expected}"
        for place, shape in wrong.items()
        if not (shape.words and place in filling.unset)
    }
    bad = {place[0] for place in wrong}
    if "envFile" in filled and "env" not in bad and ("envFile",) not in told.keys() | filling.unset.keys():
        try:
            filled["env"] = {**machine.variables(filled["envFile"]), **filled.get("env", {})}
        except ConfigError as exc:
            told["envFile",] = str(exc)
    server = _model(filled, bad)
    for place, text in _check(server, entry, machine.is_program):
        if place not in filling.unset:
            told.setdefault(place, text)
    mistakes = entry.problems | {entry.where(place): text for place, text in told.items()}
    if mistakes:
        return None, mistakes, []
    unset = {entry.where(place): name for place, name in filling.unset.items()}
    why = _why_unset(unset) if unset else None
    warnings = [*entry.warnings, *_unfilled(entry)]
    return msgspec.structs.replace(server, unset=why, secrets=tuple(filling.secrets)), {}, warnings


def _model(settings: Mapping[str, Any], bad: Collection[str | int], **more: Any) -> ServerConfig:
    """The model of settings, but for those that are bad."""
    return msgspec.convert({key: value for key, value in settings.items() if key not in bad} | more, ServerConfig)


def _unfilled(entry: Entry) -> Iterable[tuple[Place, Place, str]]:
    """Warnings of what another client would fill, and what is passed on as it is here."""
    for key in ("env", "headers"):
        for name, value in entry.settings.get(key, {}).items():
            if _UNFILLED.fullmatch(value):
                place = entry.where((key, name))
                yield place, place, "is passed on as it is written; for an environment variable, write ${NAME}"


def _to_fill(text: str) -> str:
    """The part in which variables may stand: what is not closed is looked for in vain, again and again."""
    return text[: text.rfind("}") + 1]


class _Filling:
    """Fills what stands for a variable in every string of a value.

    `unset` are the variables that were not there, by the place where they are wanted, and are left as they are written;
    `foreign` are mistakes: what only another client can fill; `secrets` are the values that were filled in.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.unset: dict[Place, str] = {}
        self.foreign: dict[Place, str] = {}
        self.secrets: list[str] = []

    def fill(self, value: Any, place: Place) -> Any:
        """`value`, which stands at `place`, with all variables in it filled."""
        if isinstance(value, dict):
            return {key: self.fill(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*place, i)) for i, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        text = _to_fill(value)
        return _PLACEHOLDER.sub(lambda match: self._look_up(match, place), text) + value[len(text) :]

    def _look_up(self, match: re.Match[str], place: Place) -> str:
        if word := match["foreign"]:
            self.foreign[place] = (
                f"what begins with {word} is filled by another client only; write ${{NAME}}, and set NAME"
            )
            return match.group()
        name, default = match["name"] or match["bare"], match["default"]
        found = self._machine.environ.get(name)
        if not found and (found is None or default is not None):  # as in a shell, `:-` stands in for an empty one too
            if name in self._machine.places:
                return self._machine.places[name]
            found = default
        if found is None:
            self.unset.setdefault(place, name)
            return match.group()
        self.secrets.append(found)
        return found


def _why_unset(unset: Mapping[Place, str]) -> str:
    """Why a server fails in whose settings, at these places, variables are not set."""
    where: dict[str, list[str]] = {}
    for place, name in unset.items():
        where.setdefault(name, []).append(spell(place))
    listed = " and ".join(f"{name} ({', '.join(places)})" for name, places in where.items())
    if len(where) == 1:
        what, them, example = f"variable {listed} is", "it", next(iter(where))
    else:
        what, them, example = f"variables {listed} are", "them", "NAME"
    return f"the environment {what} not set; set {them} before Multi-MCP starts, or write ${{{example}:-default}}"


def _check(server: ServerConfig, entry: Entry, is_program: IsProgram) -> Iterable[tuple[Place, str]]:
    """What the types of fields cannot tell: the mistakes, with their places.

    Args:
        server: without the fields that have a wrong type.
    """
    given = [key for key in ("command", "url") if key in entry.settings]
    if len(given) != 1:
        yield (), _neither_or_both(entry, bool(given))
    if server.command is not None:
        if not server.command.strip():
            yield ("command",), 'is empty; name the program to start, as in "npx"'
        elif len(server.command.split()) > 1 and not is_program(server.command):
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


def _neither_or_both(entry: Entry, both: bool) -> str:
    text = 'give either "command" (a server to start) or "url" (a running one): '
    if both:
        return f"{text}not both"
    hints = (f'; did you mean "{ours}" where it says "{key}"?' for key, ours in entry.meant.items())
    return f"{text}neither is there{next(hints, '')}"


def _is_web(url: str) -> bool:
    if not url.isprintable():  # a line break, say, or a mark that hides where it leads
        return False
    if url.startswith("unix:///"):
        return True
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
