"""Which entries clients take: the SDKs for TypeScript and Python have checks that this table stands for."""

import json
from typing import Any

import mcp_types
import pytest
from msgspec import Raw
from pydantic import BaseModel

from multimcp.protocol.entries import usable
from multimcp.protocol.message import Era, pack
from multimcp.protocol.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind

OBJECT = {"type": "object"}
BASES: dict[Kind, dict[str, Any]] = {
    TOOLS: {"name": "n", "inputSchema": OBJECT},
    PROMPTS: {"name": "n"},
    RESOURCES: {"name": "n", "uri": "a:b"},
    TEMPLATES: {"name": "n", "uriTemplate": "{+any}"},
}
MODELS: dict[Kind, type[BaseModel]] = {
    TOOLS: mcp_types.Tool,
    PROMPTS: mcp_types.Prompt,
    RESOURCES: mcp_types.Resource,
    TEMPLATES: mcp_types.ResourceTemplate,
}
ICON = {"src": "x"}

ODD: tuple[Any, ...] = (1, [], {})
ODD_ICONS: tuple[Any, ...] = ("x", {}, ["x"], [{}], [{"src": 1}])
ODD_META: tuple[Any, ...] = ("x", [], 1)
ODD_SCHEMAS: tuple[Any, ...] = (None, "x", [], {}, {"type": "string"}, {"type": ["object"]})
ODD_ARGUMENTS: tuple[Any, ...] = ({}, ["a"], [{}], [{"name": 1}], [{"name": "a", "required": "yes"}])
ODD_URIS: tuple[Any, ...] = (None, 1, "no scheme", "/etc/x", "")

TAKEN: list[tuple[Kind, dict[str, Any]]] = [
    *((kind, {}) for kind in BASES),
    *(
        (kind, {"title": "t", "description": "d", "icons": [{**ICON, "sizes": ["any"], "theme": "dark"}]})
        for kind in BASES
    ),
    *((kind, {"unknown": None, "_meta": {"x": None}}) for kind in BASES),
    (TOOLS, {"inputSchema": {**OBJECT, "properties": {"a": {"type": "string"}}, "required": ["a"], "x": 1}}),
    (TOOLS, {"outputSchema": OBJECT, "annotations": {"title": "t", "readOnlyHint": True, "x": 1}}),
    (TOOLS, {"execution": {"taskSupport": "optional"}}),
    (PROMPTS, {"arguments": [{"name": "a", "description": "d", "required": True}]}),
    (PROMPTS, {"arguments": []}),
    (RESOURCES, {"size": 1, "mimeType": "text/plain", "uri": "x-y+z.1:"}),
    (RESOURCES, {"annotations": {"audience": ["user"], "priority": 1, "lastModified": "2026-01-01T00:00:00Z"}}),
    (TEMPLATES, {"mimeType": "text/plain", "annotations": {"priority": 0.5}}),
]

REFUSED: list[tuple[Kind, dict[str, Any]]] = [
    *((kind, {name: odd}) for kind in BASES for name in ("name", "title", "description") for odd in ODD),
    *((kind, {"name": None}) for kind in BASES),
    *((kind, {"icons": wrong}) for kind in BASES for wrong in ODD_ICONS),
    *((kind, {"icons": [{**ICON, "sizes": "any"}]}) for kind in BASES),
    *((kind, {"icons": [{**ICON, "theme": "blue"}]}) for kind in BASES),
    *((kind, {"_meta": wrong}) for kind in BASES for wrong in ODD_META),
    *((TOOLS, {"inputSchema": wrong}) for wrong in ODD_SCHEMAS),
    (TOOLS, {"inputSchema": {**OBJECT, "properties": []}}),
    (TOOLS, {"inputSchema": {**OBJECT, "properties": {"a": True}}}),
    (TOOLS, {"inputSchema": {**OBJECT, "required": "a"}}),
    (TOOLS, {"inputSchema": {**OBJECT, "required": [1]}}),
    (TOOLS, {"outputSchema": "x"}),
    (TOOLS, {"annotations": "x"}),
    (TOOLS, {"annotations": {"readOnlyHint": "yes"}}),
    (TOOLS, {"annotations": {"title": 1}}),
    (TOOLS, {"execution": {"taskSupport": "x"}}),
    *((PROMPTS, {"arguments": wrong}) for wrong in ODD_ARGUMENTS),
    *((RESOURCES, {"uri": wrong}) for wrong in ODD_URIS),
    (RESOURCES, {"size": "1"}),
    (RESOURCES, {"mimeType": 1}),
    (RESOURCES, {"annotations": {"audience": ["nobody"]}}),
    (RESOURCES, {"annotations": {"priority": 2}}),
    (RESOURCES, {"annotations": {"lastModified": "yesterday"}}),
    (TEMPLATES, {"uriTemplate": 1}),
    (TEMPLATES, {"annotations": {"audience": "user"}}),
]


@pytest.mark.parametrize(("kind", "fields"), TAKEN)
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_what_is_taken_as_it_came(kind: Kind, fields: dict[str, Any], era: Era) -> None:
    raw = pack({**BASES[kind], **fields})
    assert usable(kind, era, raw) is raw
    MODELS[kind].model_validate_json(bytes(raw))


@pytest.mark.parametrize(("kind", "fields"), REFUSED)
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_what_is_refused(kind: Kind, fields: dict[str, Any], era: Era) -> None:
    with pytest.raises(ValueError, match="clients would refuse the whole list"):
        usable(kind, era, pack({**BASES[kind], **fields}))


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {"anyOf": []}])
def test_what_comes_out_of_a_tool_is_an_object_in_the_legacy_era_only(schema: Any) -> None:
    raw = pack({**BASES[TOOLS], "outputSchema": schema})
    assert usable(TOOLS, "modern", raw) is raw
    with pytest.raises(ValueError, match="outputSchema"):
        usable(TOOLS, "legacy", raw)


@pytest.mark.parametrize(
    ("kind", "fields", "left"),
    [
        (TOOLS, {"title": None, "outputSchema": None, "x": {"y": None}}, {"x": {"y": None}}),
        (TOOLS, {"annotations": {"title": None, "readOnlyHint": True}}, {"annotations": {"readOnlyHint": True}}),
        (PROMPTS, {"arguments": [{"name": "a", "required": None}]}, {"arguments": [{"name": "a"}]}),
        (RESOURCES, {"size": None, "icons": [{"src": "x", "theme": None}]}, {"icons": [{"src": "x"}]}),
        (TEMPLATES, {"_meta": None, "icons": None}, {}),
    ],
)
def test_an_optional_field_that_is_null_is_taken_out(kind: Kind, fields: dict[str, Any], left: dict[str, Any]) -> None:
    found = usable(kind, "legacy", pack({**BASES[kind], **fields}))
    assert json.loads(bytes(found)) == {**BASES[kind], **left}


def test_what_is_nested_too_deeply_is_refused_too() -> None:
    deep = b'{"name":"n","inputSchema":{"type":"object","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with pytest.raises(ValueError, match="nested too deeply"):
        usable(TOOLS, "legacy", Raw(deep))
