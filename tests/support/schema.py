"""The JSON schema of the configuration file, for editors, from the table that the proxy checks files by.

python -m tests.support.schema     writes docs/mcp.schema.json
"""

import json
from pathlib import Path
from typing import Any

from multimcp.protocol.config import SERVER, Shape

FILE = Path(__file__).resolve().parents[2] / "docs" / "mcp.schema.json"

_TYPES = {str: "string", bool: "boolean", list: "array", dict: "object", (int, float): "number"}


def schema() -> dict[str, Any]:
    """The schema of our own form: `mcpServers`, with our words only."""
    server = schema_of(SERVER)
    # What is off may lack what it needs.
    server["anyOf"] = [{"required": ["command"]}, {"required": ["url"]}, {"properties": {"disabled": {"const": True}}}]
    server["anyOf"][2]["required"] = ["disabled"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of Multi-MCP",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "mcpServers": {"type": "object", "additionalProperties": server},
        },
        "required": ["mcpServers"],
        "additionalProperties": False,
    }


def schema_of(shape: Shape) -> dict[str, Any]:
    """The schema of what belongs into one place."""
    kind = _TYPES[shape.types]
    found: dict[str, Any] = {"description": shape.expected, "type": kind}
    if kind == "number":
        found["exclusiveMinimum"] = 0
    if shape.words:
        found["enum"] = list(shape.words)
    if shape.items:
        found["items" if kind == "array" else "additionalProperties"] = schema_of(shape.items)
    if shape.fields:
        found["properties"] = {key: schema_of(field) for key, field in shape.fields.items()}
        found["additionalProperties"] = False
    return found


def text() -> str:
    """The file as it has to be."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
