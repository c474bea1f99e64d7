"""Proxies that are odd and conform, so that the harness may accuse them of nothing.

`EachRequest` has a process of a server for each request (with one for each session: mux-each-session.toml), `Strict`
leaves out a server whose lists it objects to.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .extending import Extended
from .front import Front, events, respond
from .mux import LEGACY, LISTS, VERSION, Backend, Call, Message, Mux, as_object, objects

HELLO = "each-request-hello"
"""The id of a greeting that no client sent."""


class EachRequest(Front):
    """Every request is answered by servers that are started for it; a legacy client has no session.

    What a legacy client says of itself is forgotten with the request in which it says so, as are its notifications.
    """

    def __init__(self, make: Callable[[Path], Mux], config: Path) -> None:
        super().__init__(make, config)
        self._muxes: set[Mux] = set()

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(*(mux.close() for mux in self._muxes))

    async def _serve_message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message
    ) -> None:
        if "id" not in message or "method" not in message:
            respond(writer, 202)
            return
        respond(writer, 200, "text/event-stream")
        mux, over, write = self._make(self._config), asyncio.Event(), events(writer)
        greeted = asyncio.Event()

        def send(sent: Message) -> None:
            if sent.get("id") == HELLO:
                greeted.set()
                return
            write(sent)
            if "method" not in sent and sent.get("id") == message["id"]:
                over.set()

        mux.write = send
        self._muxes.add(mux)
        gone = asyncio.create_task(reader.read())
        meta = as_object(as_object(message.get("params")).get("_meta"))
        if message["method"] != "initialize" and VERSION not in meta:
            await self._greet(mux, greeted)
        mux.take(message)
        done = asyncio.create_task(over.wait())
        await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, done):
            task.cancel()
        writer.close()
        await mux.close()
        self._muxes.discard(mux)

    async def _greet(self, mux: Mux, greeted: asyncio.Event) -> None:
        params = {"protocolVersion": LEGACY[0], "capabilities": {}, "clientInfo": {"name": "mux", "version": "1"}}
        mux.take({"jsonrpc": "2.0", "id": HELLO, "method": "initialize", "params": params})
        await greeted.wait()
        mux.take({"jsonrpc": "2.0", "method": "notifications/initialized"})


NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SAFE = 2**53 - 1
COMMON = {"name", "title", "description", "icons", "annotations", "_meta"}
FIELDS = {
    "tools/list": {*COMMON, "inputSchema", "outputSchema", "execution"},
    "prompts/list": {*COMMON, "arguments"} - {"annotations"},
    "resources/list": {*COMMON, "uri", "mimeType", "size"},
    "resources/templates/list": {*COMMON, "uriTemplate", "mimeType"},
}
INNER = {
    "icons": {"src", "mimeType", "sizes", "theme"},
    "arguments": {"name", "title", "description", "required"},
    "annotations": {
        *("title", "readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"),
        *("audience", "priority", "lastModified"),
    },
}
KEYWORDS = {
    *("$schema", "$id", "$ref", "$anchor", "$defs", "$comment", "$dynamicRef", "$dynamicAnchor", "$vocabulary"),
    *("type", "enum", "const", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties"),
    *("maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "items", "prefixItems"),
    *("contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"),
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "minimum", "maximum", "exclusiveMinimum"),
    *("exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "contentEncoding"),
    *("contentMediaType", "contentSchema", "x-mcp-header"),
}
SUBSCHEMAS = ("properties", "patternProperties", "$defs", "dependentSchemas")
BRANCHES = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


class Strict(Extended):
    """A server is left out when one entry of its lists is not to the letter of the latest revision."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._left_out: set[Backend] = set()

    async def ready(self, feature: str | None = None) -> list[Backend]:
        return [backend for backend in await super().ready(feature) if backend not in self._left_out]

    async def learn(self, backend: Backend, method: str, call: Call) -> None:
        await super().learn(backend, method, call)
        if not all(plain(method, entry) for entry in (self.lists[backend, method] or {}).values()):
            self._left_out.add(backend)
        if backend in self._left_out:
            for each in LISTS:
                self.lists[backend, each] = None


def plain(method: str, entry: Message) -> bool:
    """Whether nobody can object to an entry of a list."""
    named = method not in ("tools/list", "prompts/list") or NAME.fullmatch(entry["name"])
    schemas = [entry[key] for key in ("inputSchema", "outputSchema") if key in entry]
    inner = [part for key, known in INNER.items() for part in parts(entry.get(key)) if not part.keys() <= known]
    known = entry.keys() <= FIELDS[method]
    return bool(named and known and not inner and all(map(usual, schemas)) and small(entry))


def parts(value: Any) -> list[Message]:
    """The objects in a field that holds one or many."""
    return objects(value if isinstance(value, list) else [value])


def usual(schema: Any) -> bool:
    """Whether a schema is of the default dialect, with no keywords but its own."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    within = [part for key in SUBSCHEMAS for part in as_object(schema.get(key)).values()]
    within += [part for key in BRANCHES for part in schema.get(key, [])]
    within += [schema[key] for key in SINGLE if key in schema]
    return schema.keys() <= KEYWORDS and schema.get("$schema", DIALECT) == DIALECT and all(map(usual, within))


def small(value: Any) -> bool:
    """Whether a double can hold every integer in a value."""
    if isinstance(value, dict | list):
        return all(map(small, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or abs(value) <= SAFE
