"""The configuration file: `mcpServers` JSON as every MCP client knows it -> frozen models.

Rules:
- Parsing is pure (`parse`) but for one look whether a `command` with blanks in it is a file, and so is writing
  (`edit`); reading the file is apart (`load`).
- A wrong type or value is a `ConfigError` that lists all mistakes, each with its place (`mcpServers.weather.args[1]`)
  and the remedy.
- An unknown key is a warning: other clients' files load as they are. One that is spelled like a known key says so.
- `${VAR}` and `${VAR:-default}` are filled in every string of an enabled server. A variable that is not set is no
  mistake of form: that server alone fails (`ServerConfig.unset`).
- No message quotes a value: values may be secrets.
"""

import json
import os
import re
import shutil
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from .errors import ConfigError, NameInUseError, unreadable

Transport = Literal["stdio", "sse", "http"]
Scope = Literal["shared", "session"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
CREATE = 'create it ({"mcpServers": {}} is enough) or name another (--config FILE, or check FILE)'
TOO_DEEP = "is nested too deeply; no setting needs that"
_SHORTEST_SECRET = 4
"""Values below this length ("1", "on") are settings, not secrets, and blanking them would garble every message."""

_SHORTEST_LINE = 8
"""The same for one line of a secret that has several: shorter ones ("-----", "}") are in every text."""

SECRET_NAME = re.compile(r"key|token|secret|passw|pwd|auth|credential|cookie", re.IGNORECASE)
"""Variables whose values are secrets wherever they are filled in, in `args` for example."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110)."""

_URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/]*)@")

_EXPECTED = {
    (): 'an object, as in {"command": "npx", "args": ["-y", "some-server"]}',
    ("command",): 'a string, the program alone, as in "npx"',
    ("args",): 'a list of strings, as in ["x.py"]',
    ("args", "*"): 'a string, as in "8080"',
    ("env",): 'an object of strings, as in {"PORT": "8080"}',
    ("env", "*"): 'a string, as in "8080"',
    ("cwd",): 'a string, the path of a folder, as in "/srv/data"',
    ("url",): 'a string, as in "https://example.com/mcp"',
    ("headers",): 'an object of strings, as in {"Authorization": "Bearer ${TOKEN}"}',
    ("headers", "*"): 'a string, as in "Bearer ${TOKEN}"',
    ("type",): 'one of "stdio", "sse", "http"',
    ("disabled",): "true or false, without quotes",
    ("timeout",): "a number of seconds above 0, without quotes, as in 30",
    ("scope",): 'one of "shared", "session"',
    ("tools",): 'an object, as in {"include": ["read*"], "exclude": ["*_all"]}',
    ("tools", "include"): 'a list of strings, as in ["read*"]',
    ("tools", "exclude"): 'a list of strings, as in ["*_all"]',
    ("tools", "*"): 'a string, as in "read*"',
}
"""What belongs into each place; "*" is any key of an object or any item of a list."""

_OTHER_WORDS = {"serverurl": "url", "httpurl": "url", "endpoint": "url", "cmd": "command"}
"""Keys of other clients, in lower case, that mean one of ours and are not spelled like it."""

_OTHER_ROOTS = ("servers", "mcp_servers", "mcp-servers", "context_servers", "mcp")
"""Where other clients have what is `mcpServers` here."""

Place = tuple[str | int, ...]


def _transport(value: object) -> object:
    """Other clients write streamable HTTP in several ways."""
    if isinstance(value, str) and value.lower().replace("_", "-") in ("streamable-http", "streamablehttp"):
        return "http"
    return value


class ToolFilter(BaseModel):
    """Which of a server's tools are offered: globs over its own tool names; `exclude` wins."""

    model_config = ConfigDict(frozen=True, strict=True)

    include: list[str] = ["*"]
    exclude: list[str] = []

    def admits(self, name: str) -> bool:
        """Whether the tool of this (own) name is offered."""
        return any(fnmatchcase(name, glob) for glob in self.include) and not any(
            fnmatchcase(name, glob) for glob in self.exclude
        )


class ServerConfig(BaseModel):
    """One entry of `mcpServers`. Either `command` (stdio) or `url` (SSE or streamable HTTP) is set.

    `timeout` is in seconds and bounds each request to the server; without it only the client sets a limit. With the
    `scope` "session" each legacy client session has a connection of its own; else all share one.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    type: Annotated[Transport | None, BeforeValidator(_transport)] = None
    disabled: bool = False
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    scope: Scope = "shared"
    tools: ToolFilter = ToolFilter()
    _unset: str | None = PrivateAttr(None)
    _secrets: tuple[str, ...] = PrivateAttr(())

    @property
    def unset(self) -> str | None:
        """Why this server cannot be started as long as the configuration stays as it is: variables are not set."""
        return self._unset

    @property
    def transport(self) -> Transport:
        """`type`, or what follows from the rest: a command is stdio, a path ending in `/sse` SSE, any other HTTP."""
        if self.type:
            return self.type
        if self.command is not None:
            return "stdio"
        return "sse" if urlsplit(self.url or "").path.rstrip("/").endswith("/sse") else "http"

    def redact(self, text: str, more: Iterable[str] = ()) -> str:
        """`text` without this server's secrets, and without those in `more`.

        They are the values of `env` and `headers`, the URL's user and query, passwords of URLs wherever they stand, and
        the values of variables that were filled in, in `args` for example, if a variable's name (`API_KEY`) says that
        it holds a secret.
        """
        values = [*self.env.values(), *self.headers.values(), *self._secrets, *more]
        values += [password for value in (*self.args, *values) for password in url_passwords(value)]
        # "Bearer x" is quoted as x, too. A text that is made one line, JSON or part of a URL spells what it quotes so.
        spellings = (
            lambda value: value.partition(" ")[2],
            lambda value: " ".join(value.split()),
            lambda value: json.dumps(value)[1:-1],
            lambda value: quote(value, safe=""),
        )
        values += [spell(value) for value in values for spell in spellings]
        # Of a secret of several lines each line is one: a server's stderr is read line by line.
        values += [line for value in values for line in value.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
        if self.url:
            parts = urlsplit(self.url)
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
            text = text.replace(self.url, bare)
            user, password = parts.username or "", parts.password or ""
            values += [parts.query, user, password, unquote(user), unquote(password)]
            values += [value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name)]
            if user or password:  # as they are sent
                values.append(b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
        for secret in sorted({value.strip() for value in values}, key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text


def url_passwords(text: str) -> list[str]:
    """The passwords of URLs in a text, as they are written there and as they are meant."""
    return [spell for found in _URL_PASSWORD.findall(text) for spell in (found, unquote(found))]


@dataclass(frozen=True)
class Config:
    """A parsed configuration: the servers in the order written, and what is worth a warning."""

    servers: Mapping[str, ServerConfig]
    warnings: tuple[str, ...] = ()


def entries_of(data: Any) -> dict[str, Any]:
    """The `mcpServers` of decoded JSON, as they were written.

    Raises:
        ConfigError: the operator's: there are none.
    """
    if not isinstance(data, dict) or not isinstance(data.get("mcpServers"), dict):
        text = 'expected a JSON object with an object "mcpServers" in it, as in {"mcpServers": {}}'
        if isinstance(data, dict) and "mcpServers" not in data:
            for key in data:
                if key.lower() in _OTHER_ROOTS or get_close_matches(key.lower(), ["mcpservers"], cutoff=0.8):
                    text += f'; did you mean "mcpServers" where it says "{key}"?'
                    break
        raise ConfigError(text)
    entries: dict[str, Any] = data["mcpServers"]
    return entries


def parse(data: Any, environ: Mapping[str, str]) -> Config:
    """Turn decoded JSON into models.

    Args:
        data: an object with `mcpServers`: server name -> its settings.
        environ: where `${VAR}` is looked up.

    Raises:
        ConfigError: the operator's; lists all mistakes, each with the place and the remedy.
    """
    entries = entries_of(data)
    warnings = [f"unknown key '{key}' is ignored" for key in data if key != "mcpServers"]
    servers: dict[str, ServerConfig] = {}
    problems: list[str] = []
    for name, raw in entries.items():
        place = f"mcpServers.{name}"
        if not name or not name.isprintable():
            problems.append(f"mcpServers: {name!a} cannot be a server's name; use printable characters")
            continue
        try:
            server, mistakes = _server(raw, environ)
        except RecursionError:
            server, mistakes = None, {(): TOO_DEEP}
        if server is None:
            problems += [f"{place}{_spell(where)}: {text}" for where, text in mistakes.items()]
            continue
        for model, given, where in ((ServerConfig, raw, place), (ToolFilter, raw.get("tools", {}), f"{place}.tools")):
            for key in given:
                if key not in model.model_fields:
                    meant = _meant(key, model)
                    hint = f'; did you mean "{meant}"?' if meant else ""
                    warnings.append(f"{where}: unknown key '{key}' is ignored{hint}")
        servers[name] = server
    if problems:
        raise ConfigError(*problems)
    return Config(servers, tuple(warnings))


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and parse the file at `path`.

    Raises:
        ConfigError: the operator's; each mistake starts with the path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{path}: {unreadable(exc, CREATE)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    try:
        return parse(decode(text), environ)
    except ConfigError as exc:
        raise exc.at(f"{path}: ") from None


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
    return {
        "/": "take the comment out, JSON has none",
        "#": "take the comment out, JSON has none",
        "'": "write double quotes, JSON has no others",
    }.get(found, "correct it there")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice and the last one win: a server would vanish without a word."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"the key '{twice}' comes twice in one object; rename or remove one")
    return result


def _server(raw: Any, environ: Mapping[str, str]) -> tuple[ServerConfig | None, dict[Place, str]]:
    """The model of one entry, or the mistakes in it, by place."""
    if not isinstance(raw, dict):
        return None, {(): f"expected {_EXPECTED[()]}"}
    filling = _Filling(environ)
    # A disabled server may lack what it needs: that is a good reason to disable it.
    filled = raw if raw.get("disabled") is True else filling.fill(raw, ())
    unset = {place: name for place, name in filling.unset.items() if place[0] in ServerConfig.model_fields}
    mistakes: dict[Place, str] = {}
    try:
        server = ServerConfig.model_validate(filled)
    except ValidationError as exc:
        errors = {error["loc"]: error["type"] for error in exc.errors(include_input=False, include_url=False)}
        # One of a few words ("sse") may be what the variable would have said.
        undecided = {place for place, kind in errors.items() if kind == "literal_error" and place in unset}
        mistakes = {place: f"expected {_expected(place)}" for place in errors if place not in undecided}
        wrong = {place[0] for place in errors}
        server = ServerConfig.model_validate({key: value for key, value in filled.items() if key not in wrong})
    for place, text in _check(server, raw):
        if place not in unset:
            mistakes.setdefault(place, text)
    if mistakes:
        return None, mistakes
    server._secrets = tuple(filling.secrets)
    if unset:
        names = dict.fromkeys(name for _, name in sorted(unset.items(), key=str))
        where = {name: [_spell(place)[1:] for place, other in unset.items() if other == name] for name in names}
        listed = " and ".join(f"{name} ({', '.join(places)})" for name, places in where.items())
        what = f"variable {listed} is" if len(where) == 1 else f"variables {listed} are"
        example = next(iter(where)) if len(where) == 1 else "NAME"
        server._unset = (
            f"the environment {what} not set; set {'it' if len(where) == 1 else 'them'} before Multi-MCP starts, "
            f"or write ${{{example}:-default}}"
        )
    return server, {}


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
        if not isinstance(value, str):
            return value

        def replace(match: re.Match[str]) -> str:
            name, default = match.groups()
            # As in a shell, `:-` stands in for an empty variable too.
            found = self._environ.get(name) or default if default is not None else self._environ.get(name)
            if found is None:
                self.unset.setdefault(place, name)
                return match.group()
            if SECRET_NAME.search(name):
                self.secrets.append(found)
            return found

        return _VARIABLE.sub(replace, value)


def _spell(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _expected(place: Place) -> str:
    for key in (place, (*place[:1], "*")):
        if text := _EXPECTED.get(tuple(str(part) for part in key)):
            return text
    return _EXPECTED[()]


def _meant(key: str, model: type[BaseModel]) -> str | None:
    """The key of ours that an unknown one may well be meant to be."""
    close = get_close_matches(key.lower(), list(model.model_fields), n=1, cutoff=0.8)
    return close[0] if close else _OTHER_WORDS.get(key.lower()) if model is ServerConfig else None


def _check(server: ServerConfig, raw: Mapping[str, Any]) -> Iterable[tuple[Place, str]]:
    """What the types of fields cannot tell: the mistakes, with their places.

    Args:
        server: without the fields that have a wrong type.
        raw: the entry, as it is written.
    """
    given = [key for key in ("command", "url") if raw.get(key) is not None]
    if len(given) != 1:
        both = "not both" if given else "neither is there"
        text = f'give either "command" (a server to start) or "url" (a running one): {both}'
        unknown = [key for key in raw if key not in ServerConfig.model_fields]
        if not given and (meant := [key for key in unknown if _meant(key, ServerConfig)]):
            text += f'; did you mean "{_meant(meant[0], ServerConfig)}" where it says "{meant[0]}"?'
        yield (), text
    if server.command is not None:
        if not server.command.strip():
            yield ("command",), 'is empty; name the program to start, as in "npx"'
        elif _is_command_line(server.command, server.cwd):
            example = '"command": "python", "args": ["x.py"]'
            yield ("command",), f"has blanks in it; give the program alone, and its arguments apart, as in {example}"
    for name, value in server.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield ("headers", name), 'is not the name of a header; write one as in "Authorization"'
        elif not value.isprintable() or not value.isascii() or value != value.strip():
            remedy = "take out line breaks, spaces around it and what is not ASCII"
            yield ("headers", name), f"cannot be sent; {remedy}"
    if server.url is not None:
        try:
            parts = urlsplit(server.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            yield ("url",), 'is not an http:// or https:// URL; write it in full, as in "https://example.com/mcp"'
    if server.type is not None and (server.type == "stdio") != ("command" in given):
        needs = '"command"' if server.type == "stdio" else '"url"'
        yield ("type",), f'"{server.type}" needs {needs}'


def _is_command_line(command: str, cwd: str | None) -> bool:
    """Whether a `command` is a program with its arguments, and not the path of a program that has blanks in it.

    Where the path of a program is not there (yet), its server fails alone when it is started.
    """
    words = command.split()
    if len(words) < 2 or shutil.which(command) or os.path.exists(os.path.join(cwd or "", command)):
        return False
    return os.sep not in words[0] or os.path.isfile(os.path.join(cwd or "", words[0]))
