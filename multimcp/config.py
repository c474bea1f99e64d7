"""The configuration file: `mcpServers` JSON as every MCP client knows it -> frozen models.

Rules:
- Parsing is pure (`parse`), and so is writing (`edit`); reading the file is apart (`load`).
- A wrong type or value is a `ConfigError` that names the place (`mcpServers.weather.args[1]`) and the remedy.
- An unknown key is a warning: other clients' files load as they are.
- `${VAR}` and `${VAR:-default}` are filled in every string of an enabled server.
- No message quotes a value: values may be secrets.
"""

import json
import re
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import ConfigError, NameInUseError

Transport = Literal["stdio", "sse", "http"]
Scope = Literal["shared", "session"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
TOO_DEEP = "is nested too deeply; no setting needs that"
_SHORTEST_SECRET = 4
"""Values below this length ("1", "on") are settings, not secrets, and blanking them would garble every message."""


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

    @property
    def transport(self) -> Transport:
        """`type`, or what follows from the rest: a command is stdio, a path ending in `/sse` SSE, any other HTTP."""
        if self.type:
            return self.type
        if self.command is not None:
            return "stdio"
        return "sse" if urlsplit(self.url or "").path.rstrip("/").endswith("/sse") else "http"

    def redact(self, text: str) -> str:
        """`text` without this server's secrets: the values of `env` and `headers`, and the URL's user and query."""
        values = [*self.env.values(), *self.headers.values()]
        # "Bearer x" is quoted as x, too, and where a text is made one line, so is what it quotes.
        values += [part for value in values for part in (value.partition(" ")[2], " ".join(value.split()))]
        if self.url:
            parts = urlsplit(self.url)
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
            text = text.replace(self.url, bare)
            user, password = parts.username or "", parts.password or ""
            values += [parts.query, user, password, unquote(user), unquote(password)]
            if user or password:  # as they are sent
                values.append(b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
        for secret in sorted((value.strip() for value in values), key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text


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
        raise ConfigError('expected a JSON object with an object "mcpServers" in it, as in {"mcpServers": {}}')
    entries: dict[str, Any] = data["mcpServers"]
    return entries


def parse(data: Any, environ: Mapping[str, str]) -> Config:
    """Turn decoded JSON into models.

    Args:
        data: an object with `mcpServers`: server name -> its settings.
        environ: where `${VAR}` is looked up.

    Raises:
        ConfigError: the operator's; names the place and the remedy.
    """
    entries = entries_of(data)
    warnings = [f"unknown key '{key}' is ignored" for key in data if key != "mcpServers"]
    servers: dict[str, ServerConfig] = {}
    for name, raw in entries.items():
        place = f"mcpServers.{name}"
        if not name or not name.isprintable():
            raise ConfigError(f"mcpServers: {name!a} cannot be a server's name; use printable characters")
        # A disabled server may lack what it needs: that is a good reason to disable it.
        is_disabled = isinstance(raw, dict) and raw.get("disabled") is True
        try:
            server = ServerConfig.model_validate(raw if is_disabled else _fill(raw, environ, place))
        except ValidationError as exc:
            raise ConfigError(_first_problem(exc, place)) from None
        except RecursionError:
            raise ConfigError(f"{place}: {TOO_DEEP}") from None
        _check(server, place)
        for model, given, where in ((ServerConfig, raw, place), (ToolFilter, raw.get("tools", {}), f"{place}.tools")):
            warnings += [f"{where}: unknown key '{key}' is ignored" for key in given if key not in model.model_fields]
        servers[name] = server
    return Config(servers, tuple(warnings))


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and parse the file at `path`.

    Raises:
        ConfigError: the operator's; the text starts with the path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        remedy = 'create it ({"mcpServers": {}} is enough) or name another with --config'
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}); {remedy}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    try:
        return parse(decode(text), environ)
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from None


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
        place = f"line {exc.lineno}, column {exc.colno}"
        raise ConfigError(f"is not valid JSON at {place}: {exc.msg}; correct it there") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text; send it as UTF-8") from None
    except UnicodeEncodeError as exc:
        raise ConfigError(f"has {exc.object[exc.start]!a} in a string, half of a character; complete it") from None
    except ValueError:
        raise ConfigError("has a number of more digits than can be read; correct it") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice and the last one win: a server would vanish without a word."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"the key '{twice}' comes twice in one object; rename or remove one")
    return result


def _fill(value: Any, environ: Mapping[str, str], place: str) -> Any:
    """`value` with `${VAR}` and `${VAR:-default}` filled in every string in it."""
    if isinstance(value, dict):
        return {key: _fill(item, environ, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, f"{place}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, default = match.groups()
        # As in a shell, `:-` stands in for an empty variable too.
        found = environ.get(name) or default if default is not None else environ.get(name)
        if found is None:
            raise ConfigError(
                f"{place}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            )
        return found

    return _VARIABLE.sub(fill, value)


def _first_problem(exc: ValidationError, place: str) -> str:
    error = exc.errors(include_input=False, include_url=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    message = error["msg"]
    if error["type"] in ("model_type", "dict_type"):
        message = "Input should be an object"
    return f"{place}{where}: {message[0].lower()}{message[1:]}; correct it"


def _check(server: ServerConfig, place: str) -> None:
    """What no single field can tell."""
    if (server.command is None) == (server.url is None):
        both = "not both" if server.command is not None else "neither is there"
        raise ConfigError(f'{place}: give either "command" (a server to start) or "url" (a running one): {both}')
    if server.command is not None and not server.command.strip():
        raise ConfigError(f"{place}.command: is empty; name the program to start")
    for name, value in server.headers.items():
        if not value.isprintable() or not value.isascii() or value != value.strip():
            remedy = "take out line breaks, spaces around it and what is not ASCII"
            raise ConfigError(f"{place}.headers.{name}: cannot be sent; {remedy}")
    if server.url is not None:
        try:
            parts = urlsplit(server.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError(f"{place}.url: is not an http:// or https:// URL; write it in full")
    if server.type is not None and (server.type == "stdio") != (server.command is not None):
        needs = '"command"' if server.type == "stdio" else '"url"'
        raise ConfigError(f'{place}.type: "{server.type}" needs {needs}')
