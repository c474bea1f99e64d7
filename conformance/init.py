"""`init`: asks for what a target file needs, tries the target out with fixture servers behind it, and writes the file.
A file that is there already is tried out, and never changed.

Rules:
- A question is short and has a default. What can be found out by trying is not asked: eras, and how names are told.
- What the trial saw is told, or what is wrong and how to mend it; the file is written in either case. What it did not
  find out is a comment there.
"""

import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
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

NAMING = ("tool", "lower", "replace", "cut", "by_description")
"""Keys of [names] that the trial can find out."""

LEFT: Mapping[str, Sequence[str]] = {
    "target": ('eras = ["legacy"]  # if its clients cannot use revision 2026-07-28',),
    "launch": ("startup = 60  # seconds until it is ready",),
    "names": (
        'tool = "${server}__$name"  # how it calls a tool of a server',
        'prompt = "${server}__$name"',
        "by_description = true  # if no template tells its names",
    ),
}
"""What may be needed besides, for a file that does not work yet: lines of its tables, as comments."""

DENIED = re.compile(r"\bHTTP 40[13]\b")

REMEDIES: Sequence[tuple[re.Pattern[str], str]] = (
    (
        DENIED,
        "A header or a token is missing, or is not the right one. Look at headers under {tables}; what $TOKEN is in "
        "them stands under [secrets]: TOKEN = {{ command = [...] }} or {{ env = ... }}",
    ),
    (re.compile(r"\bsecrets\."), "Look at [secrets]"),
    (re.compile(r"\[admin\]|\badmin\."), "Look at [admin]: is that what it takes?"),
    (re.compile("the target (ended|was not ready)"), "Look at [launch]: can you start it so by hand?"),
    (
        re.compile("no tools of .* are listed"),
        "Look at [endpoints] and [launch]: does it serve there, when you start it so by hand?",
    ),
    (re.compile(""), "Look at [launch]: can you start it so by hand?"),
)
"""What is to be done about a target that does not work, by what is told of it; the first that matches."""

WORDS = 20
"""Lines of the target's stderr that are shown of one that does not work."""

LOGGED = 1_000_000
"""Bytes of its stderr that they are looked for in."""

Ask = Callable[[str], str]
Say = Callable[[str], object]


@dataclass
class Tried:
    """What the trial of a target saw.

    Args:
        names: how its names are told, as under [names]; None if nothing does.
        problem: what is wrong, and how to mend it.
        words: the last lines that it wrote on stderr, if something is wrong.
    """

    eras: list[Era] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    names: Mapping[str, Any] | None = None
    problem: str = ""
    words: list[str] = field(default_factory=list)


Of = Callable[[str, str], str]
"""Asks a question that has a default."""


def ask(ask: Ask) -> dict[str, Any]:
    """The answers, as tables of a target file."""

    def of(question: str, default: str) -> str:
        return ask(f"{question} [{default or 'none'}]: ").strip() or default

    name = of("Name, of letters, digits, dot, dash", "my-proxy")
    line = of(
        "Command line that starts it; $port is a free port, $config a file with mcpServers.\n"
        'A proxy of one server has $command $args, or "$command $args" if it takes them as one word, or $url instead.\n'
        "One that is told of its servers over REST has none of these",
        "my-proxy --config $config --port $port",
    )
    words = shlex.split(line)
    data: dict[str, Any] = {"target": {"name": name}, "launch": {"kind": "command", "command": words}}
    single = bool(used(words) & set(ONE))
    if single:
        data["launch"]["single"] = True
    url = of("Where clients connect: a URL, or stdio", "http://127.0.0.1:$port/mcp")
    kind = "stdio" if url == "stdio" else "sse" if re.search(r"/sse\b", url) else "http"
    data["endpoints"] = {kind: True if kind == "stdio" else url}
    if kind != "stdio" and not used(words) & {"config", *ONE}:
        data |= _rest(of, data["endpoints"])
    telling = [*words, data.get("admin", {}).get("add_body", "")]
    if not single or "url" in used(words):
        data["backends"] = _behind(of, telling, single)
    return data


def _rest(of: Of, endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a target that is told of its servers over REST."""
    add = of("URL to which a server is added by POST", "http://127.0.0.1:$port/servers")
    body = of("Body of that; there are $name, $url, $type, $command, $args", '{"name": "$name", "url": "$url"}')
    where = of("Where its answer has the id of the server", "id")
    remove = of("URL that removes it by DELETE", f"{add.partition('?')[0].rstrip('/')}/$id")
    admin: dict[str, Any] = {"registers": True, "add": add, "add_body": body, "id": where, "remove": remove}
    header = of("A header that every request needs, such as Authorization", "")
    if not header:
        return {"admin": admin}
    value = of("Its value; $TOKEN is what a command prints", "Bearer $TOKEN")
    headers = {"headers": {header: value}}
    tables = {"endpoints": {**endpoints, **headers}, "admin": {**admin, **headers}}
    if "TOKEN" not in used([value]):
        return tables
    command = of("Command line that prints $TOKEN; its last line counts", "printenv MY_PROXY_TOKEN")
    return {**tables, "secrets": {"TOKEN": {"command": shlex.split(command)}}}


def _behind(of: Of, telling: Sequence[str], single: bool) -> dict[str, Any]:
    """Which servers it can be put in front of.

    Args:
        telling: what says which servers these are.
    """
    if single:  # one that is given a URL knows what is there from an option, most often
        kinds, default = "sse, http", "sse" if any("sse" in word.lower() for word in telling) else "http"
    else:
        kinds = default = "stdio, sse, http"
    transports = re.findall(r"\w+", of(f"Servers that it can be put in front of: {kinds}", default))
    types = {}
    if "type" in used(telling):
        types = {transport: of(f"What $type says for {transport}", transport) for transport in transports}
    return {"transports": transports, **({"types": types} if any(key != types[key] for key in types) else {})}


def render(data: Mapping[str, Mapping[str, Any]], left: Mapping[str, Sequence[str]] | None = None) -> str:
    """Tables as TOML.

    Args:
        left: more lines of tables, which become comments where their keys are not given.
    """
    left = left or {}
    tables = []
    for table in dict.fromkeys([*data, *left]):
        keys = data.get(table, {})
        more = [f"# {line}" for line in left.get(table, ()) if line.split()[0] not in keys]
        lines = [*(f"{key} = {_value(value)}" for key, value in keys.items()), *more]
        tables.append("\n".join([f"[{table}]" if keys else f"# [{table}]", *lines]))
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
        data["names"] = _with_prompts(tried.names)
    file.write_text(render(data, LEFT if tried.problem else None), encoding="utf-8")
    for line in _told(tried):
        say(line)
    say(f"{file} is written. All keys there are: python -m conformance init all.toml < /dev/null")
    return _next(file, say, mended=not tried.problem)


def look_again(file: Path, say: Say) -> int:
    """Try out a file that is there, and say what it saw and which lines are to be changed; returns the exit code: 0 if
    the target works as the file says.

    Raises:
        TargetError: the user's: the file cannot be used.
    """
    target = load(str(file))
    target.check_environment(os.environ)
    say(f"{file} is there already: it is tried out, with two servers behind it, and not changed ...")
    tried = try_out(target)
    changes = to_change(target, tried)
    for line in [*_told(tried), *(f"Change in {file}: {change}" for change in changes)]:
        say(line)
    return _next(file, say, mended=not (tried.problem or changes))


def _next(file: Path, say: Say, *, mended: bool) -> int:
    if mended:
        say(f"Next: python -m conformance run --target {file}")
        return 0
    say(f"Mend it, and try it out again: python -m conformance init {file}")
    return 1


def to_change(target: Target, tried: Tried) -> list[str]:
    """What a target file says otherwise than the trial saw it: what has to stand there instead."""
    changes = []
    if tried.eras and set(tried.eras) != set(target.eras):
        changes.append(f"[target] eras = {_value(tried.eras)}")
    if tried.names is not None:
        found = Names.model_validate(tried.names)
        if any(getattr(found, key) != getattr(target.names, key) for key in NAMING):
            changes.append(f"[names] {_keys(_with_prompts(tried.names))}")
    return changes


def _with_prompts(names: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts are called as tools are, unless it is known better."""
    return {**({"prompt": names["tool"]} if "tool" in names else {}), **names}


def _keys(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_value(value)}" for key, value in table.items())


def _told(tried: Tried) -> list[str]:
    lines = []
    if tried.listed:
        some = ", ".join(tried.listed[:3])
        lines.append(f"It lists {len(tried.listed)} tools: {some}, ...")
    if tried.eras:
        eras = {"legacy": "revisions up to 2025-11-25", "modern": "revision 2026-07-28"}
        lines.append(f"Clients of {' and of '.join(eras[era] for era in tried.eras)} are served.")
    if tried.names is not None:
        lines.append(f"Names are told by {_keys(tried.names)}.")
    if tried.problem:
        lines.append(f"It does not work yet: {tried.problem}")
    if tried.words:
        lines += ["The last that it wrote on stderr:", *(f"  {line}" for line in tried.words)]
    return lines


def remedy(target: Target, problem: str) -> str:
    """What is to be done about a problem."""
    tables = " and ".join(["[endpoints]", *(["[admin]"] if target.admin is not None else [])])
    problem = problem.partition("its last words")[0]  # which may be of anything
    return next(text for pattern, text in REMEDIES if pattern.search(problem)).format(tables=tables)


def try_out(target: Target) -> Tried:
    """Start the target with fixture servers behind it, and list tools through it in either era."""

    async def trying(folder: Path) -> Tried:
        async with open_stage(target, folder) as stage:
            return await _try(stage)

    with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as name:
        try:
            tried = anyio.run(trying, Path(name))
        except* (Failure, HarnessError, Missing) as group:
            problem = group.exceptions[0]
            while isinstance(problem, BaseExceptionGroup):
                problem = problem.exceptions[0]
            came = f"; {problem.actual}" if isinstance(problem, Failure) and problem.actual else ""
            text = f"{problem}{came}"
            if last_words(Path(name)):  # they are shown by themselves
                text = text.partition("; its last words")[0]
            tried = Tried(problem=f"{text}. {remedy(target, text)}")
        if tried.problem:
            tried.words = last_words(Path(name))
    return tried


def last_words(folder: Path) -> list[str]:
    """The last lines that targets of this stage wrote on stderr; of those that differ in numbers alone, such as the
    requests of a client that tries again and again, the last one."""
    lines: list[str] = []
    for log in sorted(folder.glob("world*/target.log")):
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOGGED))
            lines += file.read(LOGGED).decode(errors="replace").splitlines()
    last: dict[str, str] = {}
    for line in reversed(lines):
        last.setdefault(re.sub(r"\d+", "", line.strip()), line)
    last.pop("", None)
    return list(last.values())[WORDS - 1 :: -1]


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
        tried.problem = f"{tried.problem}. {remedy(stage.target, tried.problem)}"
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
        notes = (str(entry["message"]) for entry in session.run.wire.entries if entry["way"] == "note")
        denied = "" if DENIED.search(remark) else next(filter(DENIED.search, notes), "")
        tried.problem = "; ".join(filter(None, [remark or "no client gets a list", denied]))
        return
    tried.eras.append(session.era)
    with anyio.move_on_after(SETTLE_WAIT):
        while tried.names is None:
            tried.listed = list(dict.fromkeys(str(entry.get("name")) for part in lists.values() for entry in part))
            tried.names = await _manner(session, lists)
            await anyio.sleep(LOOK)
            lists = {server: await session.merged("tools", server) for server in world.backends}


async def _manner(session: Session, lists: Mapping[str, list[dict[str, Any]]]) -> Mapping[str, Any] | None:
    """How the names in these lists are told, for most that the servers offer; as the file says, if that does."""
    offered = {server: await session.offered(backend.server) for server, backend in session.world.backends.items()}
    declared = session.stage.target.names.model_dump(include=set(NAMING), exclude_unset=True)
    for manner in (declared, *MANNERS) if declared else MANNERS:
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
