"""What extends MCP: one table for each extension we know, and which of them one side is told of the other. Pure.

Rules:
- Clients are shown the union of what servers declare, whatever its namespace. An extension of several servers is shown
  with its settings merged key by key if it is in `EXTENSIONS`; else it is left out, as nobody knows what its settings
  mean together, nor whose its methods are.
- What a server declares is bounded: of the rest, one line tells.
- A URI or an id in a result is found by the shape of the result, never by searching.

Spec: 2026-07-28, basic/versioning#extension-negotiation; SEP-2133; ext-apps, ext-tasks, ext-skills
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from multimcp.errors import Fault, printable

from .message import MISSING_CLIENT_CAPABILITY, Fields, fields, is_object, pack, text, value

MOST: Final = 100
"""How many extensions of one server are shown."""

SETTINGS: Final = 64 * 1024
"""How many bytes the extensions of one server have together, identifiers and settings."""

Way = Literal["uri", "task", "merged"]
"""How a request finds its server: by `params.uri`; by `params.taskId`; or it goes to all that have the extension."""


class Mark(Enum):
    """What stands at a place of a result that has to be spelled as the client has to spell it."""

    URI = "a URI"
    TASK = "a task's id"


EACH: Final = "*"
"""In a shape: each item of a list."""

Shape = Mapping[str, "Shape | Mark"]
"""Where marks stand in an object: by key, or by `EACH` in a list."""


@dataclass(frozen=True)
class Extension:
    """One extension.

    Attributes:
        id: its identifier.
        ways: its requests, and how each finds its server.
        results: by method, where marks stand in the result.
        cacheable: the methods whose results say in the modern era how long they hold and for whom.
    """

    id: str
    ways: Mapping[str, Way] = field(default_factory=dict)
    results: Mapping[str, Shape] = field(default_factory=dict)
    cacheable: frozenset[str] = frozenset()


_PREFIX: Final = "io.modelcontextprotocol/"

APPS: Final = Extension(_PREFIX + "ui")

PAGE_KEYS: Final = ("ui", "ui/resourceUri", "openai/outputTemplate")
_PAGE: Final[Shape] = {"ui": {"resourceUri": Mark.URI}, **dict.fromkeys(PAGE_KEYS[1:], Mark.URI)}
PAGE: Final[Shape] = {"_meta": _PAGE}
"""Where a tool, or a result, names the page that shows it: as Apps have it, had it, and as there was before them."""

RELATED_KEY: Final = _PREFIX + "related-task"
RELATED: Final[Shape] = {"_meta": {RELATED_KEY: {"taskId": Mark.TASK}, **_PAGE}}
TASK: Final[Shape] = {"taskId": Mark.TASK, **RELATED}
BEGUN: Final[Shape] = {"task": {"taskId": Mark.TASK}, **RELATED}
"""Of any other answer: a task of 2025-11-25 that it has begun, or belongs to; and the page that shows it."""

TASKS: Final = Extension(
    _PREFIX + "tasks",
    # The last two are of revision 2025-11-25, which had tasks of its own.
    ways={
        **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel", "tasks/result"), "task"),
        "tasks/list": "merged",
    },
    results={
        **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), TASK),
        "tasks/result": RELATED,
        "tasks/list": {"tasks": {EACH: TASK}},
    },
)

SKILL: Final[Shape] = {"uri": Mark.URI, "resources": {EACH: {"uri": Mark.URI}}}
"""A skill's entry: the URIs of its `SKILL.md` and of its files. What the digests cover is the files (ext-skills)."""

DIRECTORY_READ: Final = "resources/directory/read"
"""Only servers that say so in their settings are asked this."""

SKILLS: Final = Extension(
    _PREFIX + "skills",
    ways={"skills/list": "merged", "skills/get": "uri", DIRECTORY_READ: "uri"},
    results={
        "skills/get": {"skill": SKILL},
        DIRECTORY_READ: {"resources": {EACH: {"uri": Mark.URI}}},
    },
    cacheable=frozenset({"skills/list", "skills/get"}),
)

EXTENSIONS: Final[Mapping[str, Extension]] = {each.id: each for each in (APPS, TASKS, SKILLS)}

WAYS: Final[Mapping[str, Way]] = {method: way for each in EXTENSIONS.values() for method, way in each.ways.items()}
"""How each request of an extension finds its server."""

RESULTS: Final[Mapping[str, Shape]] = {
    method: shape for each in EXTENSIONS.values() for method, shape in each.results.items()
}
"""By method of an extension, where marks stand in its result."""

_NOTHING = Raw(b"null")


# What clients declare

OURS: Final[Mapping[str, Any]] = {APPS.id: {"mimeTypes": ["text/html;profile=mcp-app"]}}
"""Declared where no client is known yet, or all are meant: a tool with a page has a text for those without (spec, Apps:
graceful degradation)."""


def for_modern(capabilities: Raw) -> Raw:
    """What a modern server is told of a legacy client: it gets results at once, never a task, which it cannot read."""
    opened = fields(capabilities)
    extensions = fields(opened.get("extensions"))
    if extensions.pop(TASKS.id, None) is None:
        return capabilities
    return pack({**opened, "extensions": extensions})


def check_declared(extension: Extension, capabilities: Raw) -> None:
    """Raise the error of a modern client with these capabilities if it has not declared an extension that it uses."""
    if not is_object(fields(fields(capabilities).get("extensions")).get(extension.id, _NOTHING)):
        data: dict[str, Any] = {"requiredCapabilities": {"extensions": {extension.id: {}}}}
        raise Fault(MISSING_CLIENT_CAPABILITY, f"The client did not declare the extension {extension.id}", data)


# What servers declare


def declared(capabilities: Fields) -> tuple[Fields, list[str]]:
    """The extensions that a server declares, as far as clients can be told, and what is wrong with the rest."""
    if (raw := capabilities.get("extensions", _NOTHING)) == _NOTHING:
        return {}, []
    if not is_object(raw):
        return {}, ["extensions: left out, as they are no object"]
    kept: Fields = {}
    odd, size = 0, 0
    for name, settings in fields(raw).items():
        size += len(name) + len(memoryview(settings))
        if size > SETTINGS or len(kept) == MOST:
            return kept, [f"extensions: only the first {len(kept)} are shown, as {MOST} with {SETTINGS:,} bytes may be"]
        if is_object(settings):
            kept[name] = Raw(bytes(settings))  # a copy: it would keep the whole answer
        else:
            odd += 1
    return kept, [f"extensions: {odd} left out whose settings are no object"] if odd else []


def united(servers: Mapping[str, Fields]) -> tuple[Fields, list[str]]:
    """The extensions of all servers as a client is shown them, and what to say of those that are left out."""
    by_name: dict[str, dict[str, Raw]] = {}
    for server, extensions in servers.items():
        for name, settings in extensions.items():
            by_name.setdefault(name, {})[server] = settings
    shown: Fields = {}
    left_out: list[str] = []
    for name, settings_of in by_name.items():
        first, *others = settings_of.values()
        if not others:
            shown[name] = first
        elif name in EXTENSIONS:
            shown[name] = _merged(first, *others)
        else:
            several = ", ".join(settings_of)
            left_out.append(
                f"extension '{printable(name, 80)}' is shown to no client, as several servers have it: {several}"
            )
    return shown, left_out


def owners(servers: Mapping[str, Fields], method: str) -> list[str]:
    """The servers that a request may be for which nobody knows: they have an extension that is shown, as theirs alone.

    If the method is called as extensions are (`notes/list` and `com.example/notes`), those of that name.
    """
    counts = Counter(name for extensions in servers.values() for name in extensions)
    alone = {name for name, count in counts.items() if name not in EXTENSIONS and count == 1}
    called = {name for name in alone if method.startswith((f"{name}/", f"{name.rpartition('/')[2]}/"))}
    return [server for server, extensions in servers.items() if extensions.keys() & (called or alone)]


def _merged(first: Raw, *others: Raw) -> Raw:
    merged = value(first)
    for other in others:
        merged = both(merged, value(other))
    return pack(merged)


def both(one: Any, other: Any) -> Any:
    """Two settings of one name: objects key by key, lists without what comes twice, what is true of one is true.

    Where one is an object or a list and the other neither, that one counts: the other's server is mistaken.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return {**other, **one, **{key: both(one[key], other[key]) for key in one.keys() & other.keys()}}
    if isinstance(one, list) and isinstance(other, list):
        return one + [item for item in other if item not in one]
    return other if isinstance(other, dict | list) and not isinstance(one, dict | list) else one or other


# Marks in results and entries


def pages(tool: Raw) -> tuple[str, ...]:
    """The URIs by which a tool names the page that shows its results."""
    found: dict[str, None] = {}

    def note(mark: Mark, uri: str) -> str:
        found[uri] = None
        return uri

    respelled(tool, PAGE, note)
    return tuple(found)


_list = msgspec.json.Decoder(list[Raw])


def respelled(raw: Raw, shape: Shape | Mark, spell: Callable[[Mark, str], str]) -> Raw | None:
    """JSON with what stands at the marks of its shape in another spelling; None where nothing is to be changed."""
    changed = _respelled(raw, shape, spell)
    return pack(changed) if changed is not None else None


def _respelled(raw: Raw, shape: Shape | Mark, spell: Callable[[Mark, str], str]) -> Any:
    """The same as plain data with `Raw` in it, to be encoded at once."""
    if isinstance(shape, Mark):
        spelled = text(raw)
        changed = spell(shape, spelled) if spelled is not None else None
        return changed if changed != spelled else None
    if EACH in shape:
        try:
            items = _list.decode(raw)
        except (ValueError, RecursionError):
            return None
        news = [_respelled(item, shape[EACH], spell) for item in items]
        if all(new is None for new in news):
            return None
        return [old if new is None else new for old, new in zip(items, news, strict=True)]
    opened = fields(raw)
    changes = {key: _respelled(opened[key], inner, spell) for key, inner in shape.items() if key in opened}
    changed_only = {key: new for key, new in changes.items() if new is not None}
    return {**opened, **changed_only} if changed_only else None
