"""The tables of a target file, each checked by itself; what has to fit together is checked in `target`.

Every table and key is described in the file that `init` writes (`template.toml`).
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .case import Transport
from .filling import BODY, LAUNCH, ONE, known, used
from .requirements.model import Era

CONTAINER = frozenset({"image", "port", "args", "hardened", "python", "fixtures"})
"""Keys of [launch] for a target in a container."""

IMAGE = "multi-mcp:latest"
"""Has a Python with the SDK, and so can run the fixture servers; made by `make docker-build`, and never pulled: what a
registry has under this name is somebody else's."""


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


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Table):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    title: str = ""
    version: str | Annotated[tuple[Annotated[str, known("python", "here")], ...], Field(min_length=1)] = ""
    patience: Annotated[float, Field(gt=0, le=60)] = 1.0
    eras: Annotated[tuple[Era, ...], Field(min_length=1)] = ("legacy", "modern")


class Launch(Table):
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


class Endpoints(Table):
    stdio: bool = False
    sse: Addressed | None = None
    http: Addressed | None = None
    headers: dict[str, Launched] = {}


class Backends(Table):
    transports: Annotated[tuple[Transport, ...], Field(min_length=1)] | None = None
    types: dict[Transport, str] = {}


class Config(Table):
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


class Names(Table):
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


class Admin(Table):
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


class Secret(Table):
    env: Annotated[str, Field(min_length=1)] | None = None
    command: Annotated[tuple[Annotated[str, known(*LAUNCH)], ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.command is None):
            raise ValueError("needs either 'env', the name of an environment variable, or 'command', which prints it")
        return self
