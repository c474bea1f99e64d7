"""What one backend says of itself and lists, in one era. Pure data, read from raw answers.

Rules:
- Entries stay the bytes that were sent; but the URIs in those of skills are qualified already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Raw

from . import extensions
from .eras import ParamHeaders
from .message import Fields, fields, value


@dataclass(frozen=True, eq=False)
class Kind:
    """One of the things a server lists.

    `method` lists them, under `key` of its result; an entry is addressed by its field `id`; a server that has them
    declares `capability`, and the extension that they are of. People call an entry a `noun`.
    """

    method: str
    key: str
    id: str
    capability: str
    noun: str
    extension: str | None = None

    def is_in(self, capabilities: Fields, declared: Fields) -> bool:
        """Whether a server with these capabilities and extensions lists such."""
        return self.capability in capabilities if self.extension is None else self.extension in declared


TOOLS = Kind("tools/list", "tools", "name", "tools", "tool")
PROMPTS = Kind("prompts/list", "prompts", "name", "prompts", "prompt")
RESOURCES = Kind("resources/list", "resources", "uri", "resources", "resource")
TEMPLATES = Kind("resources/templates/list", "resourceTemplates", "uriTemplate", "resources", "template")
SKILLS = Kind("skills/list", "skills", "uri", "resources", "skill", extensions.SKILLS.id)
"""Skills are resources: what tells that those changed, tells it of skills, too (ext-skills has nothing of its own)."""

KINDS: Final = (TOOLS, PROMPTS, RESOURCES, TEMPLATES, SKILLS)
BY_METHOD: Final[Mapping[str, Kind]] = {kind.method: kind for kind in KINDS}

LIST_CHANGED: Final[Mapping[str, str]] = {
    f"notifications/{kind.capability}/list_changed": kind.capability for kind in KINDS
}
"""The notification of a changed list -> the capability whose lists they are."""


@dataclass(frozen=True)
class Entry:
    """One thing that a backend lists; `headers` are those that a tool wants its arguments repeated in, `pages` the URIs
    of the page that shows its results."""

    name: str
    raw: Raw
    headers: ParamHeaders = field(default_factory=dict)
    pages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """One list of one backend, whole, with the strictest cache hint of its pages (`ttl_ms` in milliseconds)."""

    entries: tuple[Entry, ...] = ()
    ttl_ms: int = 0
    is_public: bool = False


@dataclass(frozen=True)
class Offer:
    """What a backend said of itself when greeted, and what it listed then."""

    protocol_version: str
    capabilities: Fields = field(default_factory=dict)
    instructions: str | None = None
    server_info: Any = None
    listings: Mapping[Kind, Listing] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    extensions: Fields = field(default_factory=dict)

    def entries(self, kind: Kind) -> tuple[Entry, ...]:
        """What is listed of this kind, in the backend's order."""
        return self.listings.get(kind, Listing()).entries

    def declares(self, capability: str, flag: str) -> bool:
        """Whether a capability is declared, and a flag of it is true."""
        return declares(self.capabilities, capability, flag)


def declares(capabilities: Fields, capability: str, flag: str) -> bool:
    """Whether a capability is declared, and a flag of it is true."""
    return value(fields(capabilities.get(capability)).get(flag)) is True
