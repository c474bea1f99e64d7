"""Targets: a proxy under test, described by one TOML file.

Rules:
- A file that cannot be used is a `TargetError` that names the key and the remedy.
- What stands for what in its texts is in `filling`.
"""

import fnmatch
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .case import Transport
from .client import Command, Endpoint, Url
from .filling import BODY, LAUNCH, ONE, fill, fill_words, known, used
from .requirements import REQUIREMENTS
from .requirements.model import Era

SHIPPED = Path(__file__).with_name("targets")
STRANGERS = SHIPPED / "strangers"
"""Of proxies by others; each says how that one is installed."""

SECRET = "CONFORMANCE_SECRET"
ITS_OWN = {SECRET: "for the target alone"}
"""What is in the environment of every target that the harness starts, and in no configuration of a server."""

CONTAINER = frozenset({"image", "port", "args", "hardened", "python", "fixtures"})
"""Keys of [launch] for a target in a container."""

IMAGE = "multi-mcp:latest"
"""Has a Python with the SDK, and so can run the fixture servers; made by `make docker-build`, and never pulled: what a
registry has under this name is somebody else's."""


class TargetError(Exception):
    """The author's of a target file: it cannot be used. The text names the place and the remedy."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"is no regular expression: {exc}") from None
    return pattern


Launched = Annotated[str, known(*LAUNCH, *ONE)]
Words = Annotated[tuple[Launched, ...], Field(min_length=1)]
Named = Annotated[str, known("server", "name")]
Located = Annotated[str, known("server", "uri", "scheme", "rest")]
Addressed = Annotated[str, known(*LAUNCH, "server")]
Administered = Annotated[str, known(*LAUNCH, *BODY)]
Templated = Annotated[str, known(*LAUNCH, "servers", own=("secrets", "lists"))]
Listed = Annotated[str, known("name", "command", "args", "env", "url", "headers", "type", *LAUNCH)]
Pattern = Annotated[str, AfterValidator(_compiles)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(_Table):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    title: str = ""
    version: str | Annotated[tuple[Annotated[str, known("python", "here")], ...], Field(min_length=1)] = ""
    patience: Annotated[float, Field(gt=0, le=60)] = 1.0
    eras: Annotated[tuple[Era, ...], Field(min_length=1)] = ("legacy", "modern")


class Launch(_Table):
    kind: Literal["direct", "in_process", "command", "docker", "kubernetes", "url"]
    factory: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    command: Words | None = None
    single: bool = False
    before: tuple[Words, ...] = ()
    after: tuple[Words, ...] = ()
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
        if self.single and self.kind in ("direct", "url"):
            raise ValueError(f"'single' is not for kind '{self.kind}': the harness starts a process for each server")
        if not self.single and (of_one := used(self.texts) & set(ONE)):
            raise ValueError(
                f"${min(of_one)} is of one server: with single = true the target is started for each server, else "
                "$config names a file with all servers"
            )
        return self

    @property
    def texts(self) -> list[str]:
        """Every text with placeholders."""
        steps = [word for step in (*self.before, *self.after) for word in step]
        alone = [text for text in (self.cwd, self.ready) if text is not None]
        return [*(self.command or ()), *self.args, *self.env.values(), *steps, *alone]


class Endpoints(_Table):
    stdio: bool = False
    sse: Addressed | None = None
    http: Addressed | None = None
    headers: dict[str, Launched] = {}


class Backends(_Table):
    transports: Annotated[tuple[Transport, ...], Field(min_length=1)] | None = None
    types: dict[Transport, str] = {}


class Config(_Table):
    file: str = "mcp.json"
    extra: Annotated[dict[str, Any], known(*LAUNCH)] = {}
    template: Templated | None = None
    server: dict[Transport, Listed] = {}
    separator: str = "\n"
    lists: dict[Name, Listed] = {}
    files: dict[Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")], Templated] = {}

    @property
    def texts(self) -> list[str]:
        """Every text with placeholders but the patterns of servers."""
        return [*([self.template] if self.template is not None else []), *self.files.values()]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if PurePosixPath(self.file).name in self.files:
            raise ValueError(f"files: '{PurePosixPath(self.file).name}' is the configuration file itself; give another")
        return self


class Names(_Table):
    tool: Named = "$name"
    prompt: Named = "$name"
    resource: Located = "$uri"
    collision: Located | None = None
    lower: bool = False
    replace: dict[Pattern, str] = {}
    cut: Annotated[int, Field(ge=1)] | None = None
    by_description: bool = False

    @property
    def undoes(self) -> bool:
        """Whether a name tells what it was made of."""
        return not (self.lower or self.replace or self.cut or self.by_description)

    def needs_known(self, shared_endpoint: bool) -> bool:
        """Whether it takes what servers offer to say whose an entry is."""
        told = all("server" in used([template]) for template in (self.tool, self.prompt))
        return not self.undoes or (shared_endpoint and not told)


class Admin(_Table):
    add: Administered
    add_method: str = "POST"
    add_body: Administered = '{"mcpServers": {"$server": $entry}}'
    id: Annotated[str, Field(min_length=1)] | None = None
    remove: Administered
    remove_method: str = "DELETE"
    remove_body: Administered | None = None
    headers: dict[str, Annotated[str, known(*LAUNCH)]] = {}
    registers: bool = False

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if "id" in used([self.add, self.add_body]):
            raise ValueError("$id is known when a server was added: it is for remove and remove_body")
        if "id" in used([self.remove, self.remove_body or ""]) and self.id is None:
            raise ValueError('$id needs \'id\': where it stands in the answer to the addition, such as "id", "data.id"')
        return self


class Secret(_Table):
    env: Annotated[str, Field(min_length=1)] | None = None
    command: Annotated[tuple[Annotated[str, known(*LAUNCH)], ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.command is None):
            raise ValueError("needs either 'env', the name of an environment variable, or 'command', which prints it")
        return self


class Target(_Table):
    """A target file. Every table and key is described in the file that `init` writes (`template.toml`)."""

    target: About
    launch: Launch
    endpoints: Endpoints = Endpoints()
    backends: Backends = Backends()
    config: Config = Config()
    names: Names = Names()
    admin: Admin | None = None
    secrets: dict[Name, Secret] = {}
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
        if self.endpoints.stdio and self.registers:
            raise ValueError("admin.registers is not for endpoints.stdio: every client starts a target of its own")
        if self.launch.in_container:
            self._contained()
        if self.launch.single:
            self._of_one()
        if self.config.template is not None and (lacking := set(self.transports) - set(self.config.server)):
            raise ValueError(
                f"config.server lacks a pattern for {min(lacking)}: add it, or leave that out of backends.transports"
            )
        if taken := {*self.secrets, *self.config.lists} & {*LAUNCH, *ONE, *BODY, "servers"}:
            raise ValueError(f"${min(taken)} is a placeholder already: give it another name")
        return self

    def _of_one(self) -> None:
        if self.admin is not None:
            raise ValueError("[admin] is not for single = true: such a target has one server, and no more can be added")
        if not self._says:
            raise ValueError(
                "single = true: nothing under [launch] says which server: put $command and $args, $url or $config there"
            )
        if stray := set(self.transports) - set(self._says):
            raise ValueError(
                f"backends.transports has {min(stray)}, but nothing under [launch] tells the target of such a server: "
                "$command and $args do for stdio, $url does for sse and http"
            )

    @property
    def _says(self) -> tuple[Transport, ...]:
        """The transports of servers that a target of one server can be told of."""
        there = used(self.launch.texts)
        told: dict[Transport, bool] = {"stdio": "command" in there, "sse": "url" in there, "http": "url" in there}
        return tuple(transport for transport, tells in told.items() if tells or "config" in there)

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
        if self.launch.single:
            return self._says
        return ("sse", "http") if self.launch.in_container and self.launch.python is None else ("stdio", "sse", "http")

    @property
    def shared_endpoint(self) -> bool:
        """Whether all servers are behind one endpoint, rather than each behind its own."""
        urls = (self.endpoints.sse or "", self.endpoints.http or "")
        return self.is_proxy and not self.launch.single and "server" not in used(urls)

    @property
    def registers(self) -> bool:
        """Whether it gets its servers over [admin], rather than from its configuration file."""
        return self.admin is not None and (self.admin.registers or self.launch.kind == "url")

    def configures(self, key: Literal["env", "headers"]) -> bool:
        """Whether what it is told of a server says this, too: `mcpServers` does; a template or a body, if it has it."""
        if self.admin is not None and self.registers:
            return bool({key, "entry"} & used([self.admin.add_body]))
        if self.launch.single and "config" not in used(self.launch.command or ()):
            return False
        patterns = [*self.config.server.values(), *self.config.lists.values()]
        return self.config.template is None or key in used(patterns)

    def declines(self, requirement: str) -> str | None:
        """Why it does not support this, if it says so."""
        return next((why for glob, why in self.unsupported.items() if fnmatch.fnmatchcase(requirement, glob)), None)

    @property
    def version(self) -> str | tuple[str, ...]:
        """Its version; or the command that tells it; empty where neither is known."""
        given = self.target.version
        values = {"python": sys.executable, "here": str(self.here)}
        return given if isinstance(given, str) else tuple(fill(part, values) for part in given)

    def command(self, values: Mapping[str, str]) -> Command:
        """What starts it."""
        return Command(tuple(self.argv(values)), self.environment(values), self.folder(values))

    def folder(self, values: Mapping[str, str]) -> Path | None:
        """`launch.cwd`, relative to the target file."""
        return self.here / fill(self.launch.cwd, values) if self.launch.cwd is not None else None

    def check_environment(self, environ: Mapping[str, str]) -> None:
        """See to it that the secrets are there that come from the environment.

        Raises:
            TargetError: the user's: one is not.
        """
        for name, secret in self.secrets.items():
            if secret.env is not None and secret.env not in environ:
                raise TargetError(
                    f"{self.name}: secrets.{name}: there is no environment variable {secret.env}; set it to what the "
                    f"target takes for ${name}"
                )

    def argv(self, values: Mapping[str, str]) -> list[str]:
        """`launch.command`; empty where there is none."""
        return fill_words(self.launch.command or (), values)

    def args(self, values: Mapping[str, str]) -> list[str]:
        """`launch.args`."""
        return fill_words(self.launch.args, values)

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """`launch.env`, and the variable that is for the target alone."""
        return ITS_OWN | {name: fill(value, values) for name, value in self.launch.env.items()}

    def endpoint(self, transport: Transport, server: str, values: Mapping[str, str]) -> Endpoint:
        """Where a client connects to reach `server`."""
        if transport == "stdio":
            return self.command(values)
        url = self.endpoints.sse if transport == "sse" else self.endpoints.http
        assert url is not None
        headers = {name: fill(value, values) for name, value in self.endpoints.headers.items()}
        return Url(fill(url, {**values, "server": server}), headers)


def find(name: str) -> Path:
    """The file of a target: one of the shipped, by name, or a path.

    Raises:
        TargetError: there is none.
    """
    files = (folder / f"{name}.toml" for folder in (SHIPPED, STRANGERS))
    path = next((file for file in files if file.is_file()), Path(name))
    if not path.is_file():
        raise TargetError(f"there is no target '{name}': give a file, or one of {', '.join([*names(), *strangers()])}")
    return path


def names() -> list[str]:
    """The shipped targets, but those of strangers."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def strangers() -> list[str]:
    """The shipped targets of proxies by others."""
    return sorted(path.stem for path in STRANGERS.glob("*.toml"))


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
        own = {"secrets": _table(data, "secrets"), "lists": _table(_table(data, "config"), "lists")}
        return Target.model_validate({**data, "here": path.resolve().parent}, context=own)
    except ValidationError as exc:
        raise TargetError("\n".join(f"{path}: {problem}" for problem in _problems(exc))) from None


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table of a file that may be wrong in any way; empty where it is none."""
    table = data.get(key)
    return table if isinstance(table, dict) else {}


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
        "folder": str(config.parent),
        "python": python,
        "here": str(target.here),
    }
