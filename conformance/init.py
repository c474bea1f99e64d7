"""`init`: asks for what a target file needs, tries the target out with fixture servers behind it, and writes the file.

Rules:
- A question is short and has a default. What can be found out by trying is not asked: eras, and how names are told.
- What the trial saw is told, or what is wrong and how to mend it; the file is written in either case.
"""

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from .case import Case
from .filling import ONE, used
from .first import LOOK, SETTLE_WAIT, settle
from .fixtures import Server
from .naming import Scheme
from .requirements.model import Era
from .session import Session
from .stage import Stage, World, open_stage
from .tables import Names
from .target import Target, TargetError, load
from .verdict import Failure, HarnessError, Missing, NotApplicable

BEHIND = (Server("everything"), Server("mirror"))
"""What is put behind the target to try it out."""

SEPARATORS = ("__", "_", "-", ".", "::", ":", "/")
SLUG: Mapping[str, Any] = {"lower": True, "replace": {"[^a-z0-9]+": "-"}}
MANNERS: tuple[Mapping[str, Any], ...] = (
    {"tool": "$name"},
    *({"tool": f"${{server}}{separator}$name"} for separator in SEPARATORS),
    *({"tool": f"${{server}}{separator}$name", "replace": {"_": "-"}} for separator in ("-", "__")),
    *({"tool": f"${{server}}{separator}$name", **SLUG} for separator in ("-", "_", "__")),
    {"by_description": True},
)
"""How names may be told, the plainest first."""

Ask = Callable[[str], str]
Say = Callable[[str], object]


@dataclass
class Tried:
    """What the trial of a target saw.

    Args:
        names: how its names are told, as under [names]; None if nothing does.
        problem: what is wrong, and how to mend it.
    """

    eras: list[Era] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    names: Mapping[str, Any] | None = None
    problem: str = ""


def ask(ask: Ask) -> dict[str, Any]:
    """The answers, as tables of a target file."""

    def of(question: str, default: str) -> str:
        return ask(f"{question} [{default}]: ").strip() or default

    name = of("Name, of letters, digits, dot, dash", "my-proxy")
    line = of(
        "Command line that starts it; $port is a free port, $config a file with mcpServers.\n"
        'A proxy of one server has $command $args, or "$command $args" if it takes them as one word, or $url instead.\n'
        "One that is told of its servers over REST has none of these",
        "my-proxy --config $config --port $port",
    )
    words = shlex.split(line)
    data: dict[str, Any] = {"target": {"name": name}, "launch": {"kind": "command", "command": words}}
    if used(words) & set(ONE):
        data["launch"]["single"] = True
    url = of("Where clients connect: a URL, or stdio", "http://127.0.0.1:$port/mcp")
    kind = "stdio" if url == "stdio" else "sse" if re.search(r"/sse\b", url) else "http"
    data["endpoints"] = {kind: True if kind == "stdio" else url}
    if kind != "stdio" and not used(words) & {"config", *ONE}:
        data["admin"] = {
            "registers": True,
            "add": of("URL to which a server is added by POST", "http://127.0.0.1:$port/servers"),
            "add_body": of(
                "Body of that; there are $name, $url, $type, $command, $args", '{"name": "$name", "url": "$url"}'
            ),
            "id": of("Where its answer has the id of the server", "id"),
            "remove": of("URL that removes it by DELETE", "http://127.0.0.1:$port/servers/$id"),
        }
    if not data["launch"].get("single"):
        behind = of("Servers that it can be put in front of: stdio, sse, http", "stdio, sse, http")
        data["backends"] = {"transports": re.findall(r"\w+", behind)}
    return data


def render(data: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables as TOML."""
    tables = (
        "\n".join([f"[{table}]", *(f"{key} = {_value(value)}" for key, value in keys.items())])
        for table, keys in data.items()
    )
    return "\n\n".join(tables) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def run(file: Path, asking: Ask, say: Say) -> int:
    """Ask, try out, write the file; returns the exit code: 0 if the target works.

    Raises:
        TargetError: the user's: the answers make no target.
    """
    try:
        data = ask(asking)
    except (EOFError, ValueError) as exc:
        raise TargetError(f"no target file is written: {exc or 'the questions were not all answered'}") from None
    file.write_text(render(data), encoding="utf-8")
    try:
        target = load(str(file))
    except TargetError:
        file.unlink()
        raise
    say("It is tried out, with two servers behind it ...")
    tried = try_out(target)
    if tried.eras == ["legacy"]:
        data["target"]["eras"] = ["legacy"]
    if tried.names is not None:
        same = {"prompt": tried.names["tool"]} if "tool" in tried.names else {}
        data["names"] = {**tried.names, **same}
    file.write_text(render(data), encoding="utf-8")
    for line in _told(tried):
        say(line)
    say(f"{file} is written. All keys there are: python -m conformance init all.toml < /dev/null")
    if tried.problem:
        say(f"Mend it, then: python -m conformance run --target {file}")
        return 1
    say(f"Next: python -m conformance run --target {file}")
    return 0


def _told(tried: Tried) -> list[str]:
    lines = []
    if tried.listed:
        some = ", ".join(tried.listed[:3])
        lines.append(f"It lists {len(tried.listed)} tools: {some}, ...")
    if tried.eras:
        eras = {"legacy": "revisions up to 2025-11-25", "modern": "revision 2026-07-28"}
        lines.append(f"Clients of {' and of '.join(eras[era] for era in tried.eras)} are served.")
    if tried.names is not None:
        lines.append(
            f"Names are told by {', '.join(f'{key} = {_value(value)}' for key, value in tried.names.items())}."
        )
    if tried.problem:
        lines.append(f"It does not work yet: {tried.problem}")
    return lines


def try_out(target: Target) -> Tried:
    """Start the target with fixture servers behind it, and list tools through it in either era."""

    async def trying() -> Tried:
        with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as folder:
            async with open_stage(target, Path(folder)) as stage:
                return await _try(stage)

    try:
        return anyio.run(trying)
    except* (Failure, HarnessError, Missing) as group:
        problem = group.exceptions[0]
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        words = f"; {problem.actual}" if isinstance(problem, Failure) and problem.actual else ""
        tried = Tried(problem=f"{problem}{words}. Look at [launch]: can you start it so by hand?")
    return tried


async def _try(stage: Stage) -> Tried:
    tried = Tried()
    transport = stage.target.transports[0]
    world = await stage.own_world(BEHIND, transport)
    try:
        for era in ("legacy", "modern"):
            session = Session(stage, world, Case(stage.target.clients[0], era, transport))
            await _look(session, world, tried)
            await session.leave()
    finally:
        with anyio.CancelScope(shield=True):
            await world.close()
    if not tried.eras:
        tried.problem = tried.problem or "no client gets a list. Look at [endpoints]: is that where it serves?"
    elif not tried.listed:
        tried.problem = (
            f"its list of tools is empty. Does it start the servers of its configuration ({transport})? Look at "
            "backends.transports and [config]"
        )
    elif tried.names is None:
        tried.problem = f"nothing tells its names, such as {tried.listed[0]}. Look at [names]"
    else:
        tried.problem = ""
    return tried


async def _look(session: Session, world: World, tried: Tried) -> None:
    """See what a client of one era sees."""
    remark = await settle(session, tuple(world.backends))
    try:
        lists = {server: await session.merged("tools", server) for server in world.backends}
    except (Failure, BaseExceptionGroup):
        tried.problem = remark
        return
    tried.eras.append(session.era)
    with anyio.move_on_after(SETTLE_WAIT):
        while tried.names is None:
            tried.listed = list(dict.fromkeys(str(entry.get("name")) for part in lists.values() for entry in part))
            tried.names = await _manner(session, lists)
            await anyio.sleep(LOOK)
            lists = {server: await session.merged("tools", server) for server in world.backends}


async def _manner(session: Session, lists: Mapping[str, list[dict[str, Any]]]) -> Mapping[str, Any] | None:
    """How the names in these lists are told: as of most that the servers offer."""
    offered = {server: await session.offered(backend.server) for server, backend in session.world.backends.items()}
    for manner in MANNERS:
        scheme = Scheme(Names.model_validate(manner), session.shared_endpoint, dict(offered))
        hits = wanted = 0
        for server, entries in lists.items():
            scheme.learn("tool", server, entries)
            there = {entry.get("name") for entry in entries}
            for name in offered[server].get("tool", {}):
                wanted += 1
                try:
                    hits += scheme.public("tool", server, name) in there
                except NotApplicable:
                    continue
        if wanted and hits > wanted / 2:
            return manner
    return None
