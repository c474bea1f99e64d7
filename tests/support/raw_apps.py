"""Tools with pages for `raw_server.py`: what its behaviour `apps=JSON` says. Standard library only.

tools      by name, their `_meta`; one that is called says so, in the words of its server
meta       the `_meta` of their results
pages      by URI, what can be read; nothing else can
listed     which of these `resources/list` has; without it all
templates  what `resources/templates/list` has
methods    further methods that are answered with the server's name
asked      the `_meta` of tools is there only for a client that declares Apps
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.raw_server import Server

Json = dict[str, Any]

UI = "io.modelcontextprotocol/ui"


def answer(spec: Json, server: "Server", method: str, params: Json) -> Json | None:
    """The result of what is about apps; None for what is not; raises what the error's object is in."""
    pages: Json = spec.get("pages", {})
    uri, name = str(params.get("uri")), server.name
    match method:
        case "tools/list":
            sent = params.get("_meta") or {}
            capabilities = sent.get("io.modelcontextprotocol/clientCapabilities", server.declared)
            is_shown = not spec.get("asked") or UI in capabilities.get("extensions", {})
            return {"tools": [_tool(each, meta if is_shown else {}) for each, meta in spec.get("tools", {}).items()]}
        case "tools/call":
            said = {"type": "text", "text": f"{params['name']} of {name}"}
            return {"content": [said], **({"_meta": spec["meta"]} if "meta" in spec else {})}
        case "resources/list":
            return {"resources": [{"uri": each, "name": each} for each in spec.get("listed", pages)]}
        case "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": each, "name": each} for each in spec.get("templates", [])]}
        case "resources/read" | "resources/subscribe" if uri not in pages:
            raise LookupError({"code": -32002, "message": f"{name} has no {uri}"})
        case "resources/read":
            return {"contents": [{"uri": uri, "mimeType": "text/html;profile=mcp-app", "text": pages[uri]}]}
        case _ if method in spec.get("methods", []):
            return {"by": name, "params": {key: value for key, value in params.items() if key != "_meta"}}
    return None


def _tool(name: str, meta: Json) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **({"_meta": meta} if meta else {})}
