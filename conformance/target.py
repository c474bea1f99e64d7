"""Targets: a proxy under test, described by one TOML file.

Rules:
- A file that cannot be used is a `TargetError` that names the key and the remedy.
- Its tables are in `tables`; what stands for what in its texts is in `filling`.
"""

import fnmatch
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from .case import Transport
from .client import Command, Endpoint, Url
from .filling import BODY, LAUNCH, ONE, fill, fill_words, used
from .requirements import REQUIREMENTS
from .requirements.model import Era
from .tables import About, Admin, Backends, Config, Endpoints, Launch, Name, Names, Secret, Table

SHIPPED = Path(__file__).with_name("targets")
STRANGERS = SHIPPED / "strangers"
"""Of proxies by others; each says how that one is installed."""

SECRET = "CONFORMANCE_SECRET"
ITS_OWN = {SECRET: "for the target alone"}
"""What is in the environment of every target that the harness starts, and in no configuration of a server."""


class TargetError(Exception):
    """The author's of a target file: it cannot be used. The text names the place and the remedy."""


class Target(Table):
    """A target file. Every table and key is described in the file that `init` writes (`template.toml`)."""

    target: About
    launch: Launch
    endpoints: Endpoints = Endpoints()
    backends: Backends = Backends()
    config: Config = Config()
    names: Names = Names()
    admin: Admin | None = None
    secrets: dict[Name, Secret] = Field(default_factory=dict)
    unsupported: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
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
