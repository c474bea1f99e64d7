"""Targets: a proxy under test, described by one TOML file.

Rules:
- A file that cannot be used is a `TargetError` that names the key and the remedy.
- Placeholders are written `$name` or `${name}`; which there are depends on the key. `$$` is a dollar sign.
"""

import fnmatch
import json
import re
import string
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .case import Transport
from .client import Command, Endpoint, Url
from .requirements import REQUIREMENTS
from .requirements.model import Era

SHIPPED = Path(__file__).with_name("targets")

LAUNCH = ("host", "port", "config", "python", "here")
"""Placeholders of everything about launching: where clients connect (127.0.0.1, or a node of a cluster) and the port
there, the configuration file that the harness wrote, this Python interpreter, and the folder of the target file. For a
target in a container, the file and the interpreter are those in there."""

CONTAINER = frozenset({"image", "port", "args", "hardened", "python", "fixtures"})
"""Keys of [launch] for a target in a container."""

IMAGE = "multi-mcp:latest"
"""Has a Python with the SDK, and so can run the fixture servers; made by `make docker-build`, and never pulled: what a
registry has under this name is somebody else's."""


class TargetError(Exception):
    """The author's of a target file: it cannot be used. The text names the place and the remedy."""


def _with(*known: str) -> AfterValidator:
    """Text in which only these placeholders stand."""

    def check(text: str) -> str:
        try:
            string.Template(text).substitute(dict.fromkeys(known, ""))
        except KeyError as exc:
            raise ValueError(
                f"${exc.args[0]} is no placeholder here; there are {', '.join('$' + k for k in known)}"
            ) from None
        except ValueError:
            raise ValueError("a dollar sign that begins no placeholder is written $$") from None
        return text

    return AfterValidator(check)


Launched = Annotated[str, _with(*LAUNCH)]
Named = Annotated[str, _with("server", "name")]
Located = Annotated[str, _with("server", "uri", "scheme", "rest")]
Addressed = Annotated[str, _with(*LAUNCH, "server")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(_Table):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    title: str = ""
    patience: Annotated[float, Field(gt=0, le=60)] = 1.0
    eras: Annotated[tuple[Era, ...], Field(min_length=1)] = ("legacy", "modern")


class Launch(_Table):
    kind: Literal["direct", "in_process", "command", "docker", "kubernetes", "url"]
    factory: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    command: Annotated[tuple[Launched, ...], Field(min_length=1)] | None = None
    env: dict[str, Launched] = {}
    cwd: Launched | None = None
    ready: Launched | None = None
    startup: Annotated[float, Field(gt=0)] = 60.0
    image: Annotated[str, Field(min_length=1)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    args: tuple[Launched, ...] = ()
    hardened: bool = False
    python: Annotated[str, Field(min_length=1)] | None = None
    fixtures: Annotated[str, Field(min_length=1)] = IMAGE

    @property
    def in_container(self) -> bool:
        return self.kind in ("docker", "kubernetes")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        wanted = {
            "in_process": ("factory",),
            "command": ("command",),
            "docker": ("image", "port"),
            "kubernetes": ("image", "port"),
        }
        for key in wanted.get(self.kind, ()):
            if getattr(self, key) is None:
                raise ValueError(f"kind '{self.kind}' needs '{key}'")
        if not self.in_container and (stray := CONTAINER & self.model_fields_set):
            raise ValueError(f"'{min(stray)}' is for the kinds docker and kubernetes")
        if self.in_container and self.cwd is not None:
            raise ValueError(f"'cwd' is not for kind '{self.kind}': the image has its own")
        return self


class Endpoints(_Table):
    stdio: bool = False
    sse: Addressed | None = None
    http: Addressed | None = None
    headers: dict[str, Launched] = {}


class Backends(_Table):
    transports: Annotated[tuple[Transport, ...], Field(min_length=1)] | None = None


class Config(_Table):
    file: str = "mcp.json"
    extra: dict[str, Any] = {}
    template: Annotated[str, _with(*LAUNCH, "servers")] | None = None
    server: dict[Transport, Annotated[str, _with("name", "command", "args", "env", "url", *LAUNCH)]] = {}
    separator: str = "\n"


class Names(_Table):
    tool: Named = "$name"
    prompt: Named = "$name"
    resource: Located = "$uri"
    collision: Located | None = None


class Admin(_Table):
    add: Addressed
    add_method: str = "POST"
    add_body: Annotated[str, _with("server", "entry", *LAUNCH)] = '{"mcpServers": {"$server": $entry}}'
    remove: Addressed
    remove_method: str = "DELETE"
    headers: dict[str, Launched] = {}


class Target(_Table):
    """A target file. Every table and key is described in the file that `init` writes (`template.toml`)."""

    target: About
    launch: Launch
    endpoints: Endpoints = Endpoints()
    backends: Backends = Backends()
    config: Config = Config()
    names: Names = Names()
    admin: Admin | None = None
    unsupported: dict[str, Annotated[str, Field(min_length=1)]] = {}
    here: Path

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.launch.kind == "url" and self.admin is None:
            raise ValueError("launch.kind 'url' needs [admin]: how else would the harness add its servers?")
        if self.launch.kind != "direct" and not self.clients:
            raise ValueError("[endpoints] needs at least one of stdio = true, sse, http")
        for glob in self.unsupported:
            if not fnmatch.filter(REQUIREMENTS, glob):
                raise ValueError(f"unsupported: no requirement is called '{glob}'; `list` shows them")
        if self.endpoints.stdio and self.launch.kind != "command":
            raise ValueError("endpoints.stdio needs launch.kind 'command'")
        if self.launch.in_container:
            self._contained()
        return self

    def _contained(self) -> None:
        kind, file = self.launch.kind, PurePosixPath(self.config.file)
        if not file.is_absolute() or len(file.parts) < 3 or ".." in file.parts:
            raise ValueError(f"kind '{kind}' needs config.file, an absolute path in a folder that is mounted there")
        if "stdio" in self.transports and self.launch.python is None:
            raise ValueError(
                "backends.transports has stdio, for which launch.python has to name a Python that is in the image"
            )

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.target.title or self.target.name

    @property
    def patience(self) -> float:
        """By how much every wait for it is longer."""
        return self.target.patience

    @property
    def eras(self) -> tuple[Era, ...]:
        """Those that clients can speak to it."""
        return self.target.eras

    @property
    def is_proxy(self) -> bool:
        return self.launch.kind != "direct"

    @property
    def clients(self) -> tuple[Transport, ...]:
        """How a client can connect to it."""
        if not self.is_proxy:
            return ("stdio", "sse", "http")
        offered: Mapping[Transport, object] = {
            "stdio": self.endpoints.stdio,
            "sse": self.endpoints.sse,
            "http": self.endpoints.http,
        }
        return tuple(transport for transport, there in offered.items() if there)

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Of the servers that it can be put in front of."""
        if self.backends.transports is not None:
            return self.backends.transports
        return ("sse", "http") if self.launch.in_container and self.launch.python is None else ("stdio", "sse", "http")

    @property
    def shared_endpoint(self) -> bool:
        """Whether all servers are behind one endpoint, rather than each behind its own."""
        urls = (self.endpoints.sse, self.endpoints.http)
        return self.is_proxy and not any(re.search(r"\$\{?server\b", url or "") for url in urls)

    def declines(self, requirement: str) -> str | None:
        """Why it does not support this, if it says so."""
        return next((why for glob, why in self.unsupported.items() if fnmatch.fnmatchcase(requirement, glob)), None)

    def command(self, values: Mapping[str, str]) -> Command:
        """What starts it."""
        cwd = self.here / fill(self.launch.cwd, values) if self.launch.cwd is not None else None
        return Command(tuple(self.argv(values)), self.environment(values), cwd)

    def argv(self, values: Mapping[str, str]) -> list[str]:
        """`launch.command`; empty where there is none."""
        return [fill(part, values) for part in self.launch.command or ()]

    def args(self, values: Mapping[str, str]) -> list[str]:
        """`launch.args`."""
        return [fill(part, values) for part in self.launch.args]

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """`launch.env`."""
        return {name: fill(value, values) for name, value in self.launch.env.items()}

    def endpoint(self, transport: Transport, server: str, values: Mapping[str, str]) -> Endpoint:
        """Where a client connects to reach `server`."""
        if transport == "stdio":
            return self.command(values)
        url = self.endpoints.sse if transport == "sse" else self.endpoints.http
        assert url is not None
        headers = {name: fill(value, values) for name, value in self.endpoints.headers.items()}
        return Url(fill(url, {**values, "server": server}), headers)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Text with its placeholders filled."""
    return string.Template(text).substitute(values)


def write_config(target: Target, servers: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> str:
    """The configuration file's text.

    Args:
        servers: by name, each as in `mcpServers`.
        values: of the placeholders of launching.
    """
    config = target.config
    if config.template is None:
        return json.dumps({**_filled(config.extra, values), "mcpServers": servers}, indent=2)
    entries = []
    for name, server in servers.items():
        pattern = config.server.get("stdio" if "command" in server else server["type"])
        if pattern is None:
            raise TargetError(f"config.server lacks a pattern for {server.get('type', 'stdio')}")
        given = {
            "name": name,
            "command": json.dumps(server.get("command")),
            "args": json.dumps(server.get("args")),
            "env": json.dumps(server.get("env", {})),
            "url": json.dumps(server.get("url")),
        }
        entries.append(fill(pattern, {**values, **given}))
    return fill(config.template, {**values, "servers": config.separator.join(entries)})


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, dict):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    return value


def find(name: str) -> Path:
    """The file of a target: one of the shipped, by name, or a path.

    Raises:
        TargetError: there is none.
    """
    shipped = SHIPPED / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        raise TargetError(f"there is no target '{name}': give a file, or one of {', '.join(names())}")
    return path


def names() -> list[str]:
    """The shipped targets."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name: str) -> Target:
    """Read a target.

    Args:
        name: of a shipped target, or the path of a file.

    Raises:
        TargetError: the author's; names the file, the key and the remedy.
    """
    path = find(name)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise TargetError(f"{path}: {exc}") from None
    if "here" in data:
        raise TargetError(f"{path}: here: there is no such key")
    try:
        return Target.model_validate({**data, "here": path.resolve().parent})
    except ValidationError as exc:
        raise TargetError("\n".join(f"{path}: {problem}" for problem in _problems(exc))) from None


def _problems(exc: ValidationError) -> Iterable[str]:
    for error in exc.errors():
        if error["type"] == "too_short" and error["input"]:
            continue  # what it had was wrong, which is told already
        place = ".".join(str(part) for part in error["loc"] if part != "function-after")
        what = (
            "there is no such key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
        )
        yield f"{place}: {what}" if place else what


def placeholders(port: int, config: Path, target: Target) -> dict[str, str]:
    """The values of the placeholders of launching."""
    python = target.launch.python or sys.executable
    return {
        "host": "127.0.0.1",
        "port": str(port),
        "config": str(config),
        "python": python,
        "here": str(target.here),
    }
