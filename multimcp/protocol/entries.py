"""What an entry of a list may look like: for one bad entry clients refuse the whole list, of all servers. Pure.

Rules:
- The shapes are those of MCP's schema, as the SDKs for TypeScript and Python check them: fields that MCP does not know
  are nobody's business.
- An optional field that is null is as good as not there; it is taken out where clients would refuse it.

Spec: 2025-11-25 and 2026-07-28, schema (Tool, Prompt, Resource, ResourceTemplate); ext-skills (Skill)
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .message import Era, fields, is_object, pack
from .offer import PROMPTS, RESOURCES, SKILLS, TEMPLATES, TOOLS, Kind

Text = str | UnsetType
Flag = bool | UnsetType
Object = dict[str, Raw]


class _Icon(Struct):
    src: str
    mimeType: Text = UNSET
    sizes: list[str] | UnsetType = UNSET
    theme: Literal["light", "dark"] | UnsetType = UNSET


class _Listed(Struct):
    name: str
    title: Text = UNSET
    description: Text = UNSET
    icons: list[_Icon] | UnsetType = UNSET
    _meta: Object | UnsetType = UNSET


class _Schema(Struct):
    type: Literal["object"]
    properties: dict[str, Object] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET


class _Hints(Struct):
    title: Text = UNSET
    readOnlyHint: Flag = UNSET
    destructiveHint: Flag = UNSET
    idempotentHint: Flag = UNSET
    openWorldHint: Flag = UNSET


class _Execution(Struct):
    taskSupport: Literal["forbidden", "optional", "required"] | UnsetType = UNSET


class _Tool(_Listed, kw_only=True):
    inputSchema: _Schema
    outputSchema: Object | UnsetType = UNSET
    annotations: _Hints | UnsetType = UNSET
    execution: _Execution | UnsetType = UNSET


class _LegacyTool(_Tool, kw_only=True):
    outputSchema: _Schema | UnsetType = UNSET  # type: ignore[assignment]


class _Argument(Struct):
    name: str
    title: Text = UNSET
    description: Text = UNSET
    required: Flag = UNSET


class _Prompt(_Listed):
    arguments: list[_Argument] | UnsetType = UNSET


class _Annotations(Struct):
    audience: list[Literal["user", "assistant"]] | UnsetType = UNSET
    priority: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    lastModified: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET


class _Template(_Listed, kw_only=True):
    uriTemplate: str
    mimeType: Text = UNSET
    annotations: _Annotations | UnsetType = UNSET


Uri = Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9+.-]*:")]


class _Resource(_Template, kw_only=True):
    uriTemplate: Text = UNSET  # type: ignore[assignment]
    uri: Uri
    size: int | float | UnsetType = UNSET


class _Front(Struct):
    name: str
    description: str


class _File(Struct):
    uri: Uri
    digest: str
    size: Annotated[int, Meta(ge=0)]


class _Skill(Struct):
    uri: Uri
    frontmatter: _Front
    resources: list[_File] | Literal["dynamic"]


_SHAPES: Final[dict[Kind, msgspec.json.Decoder[Any]]] = {
    TOOLS: msgspec.json.Decoder(_Tool),
    PROMPTS: msgspec.json.Decoder(_Prompt),
    RESOURCES: msgspec.json.Decoder(_Resource),
    TEMPLATES: msgspec.json.Decoder(_Template),
    SKILLS: msgspec.json.Decoder(_Skill),
}
_LEGACY_TOOL: Final = msgspec.json.Decoder(_LegacyTool)

_PARTS: Final = ("annotations", "arguments", "execution", "icons")
"""Fields with optional fields in them."""

_items = msgspec.json.Decoder(list[Raw])


def usable(kind: Kind, era: Era, raw: Raw) -> Raw:
    """An entry as clients take it: as a rule, the bytes that came.

    Raises:
        ValueError: the backend's: no client that checks takes it; the text says why.
    """
    shape = _LEGACY_TOOL if kind is TOOLS and era == "legacy" else _SHAPES[kind]
    try:
        try:
            shape.decode(raw)
        except ValueError:
            if b"null" not in bytes(raw):
                raise
            raw = _without_nulls(raw)
            shape.decode(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as exc:
        raise ValueError(f"{exc}; clients would refuse the whole list") from None
    return raw


def _without_nulls(raw: Raw) -> Raw:
    if is_object(raw):
        kept = {name: item for name, item in fields(raw).items() if bytes(item) != b"null"}
        return pack({name: _without_nulls(item) if name in _PARTS else item for name, item in kept.items()})
    return pack([_without_nulls(item) for item in _items.decode(raw)]) if bytes(memoryview(raw)[:1]) == b"[" else raw
