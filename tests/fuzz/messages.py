"""What is sent in: messages of MCP of which most have been broken in a few places, as bytes. Strategies of hypothesis.

Rules:
- Right envelopes with something wrong inside come first: rubbish from the first byte on gets past no parser.
- A tool is `echo` on a server that is there, or nothing: no input starts a program or waits by itself.
- `$ID`, `$TOKEN` and `$SESSION` stand for what only a run knows.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
WORD = "a valid call"

Json = dict[str, Any]


class Raw(bytes):
    """JSON, or what is none, as it is to be written."""


class Again(str):
    """A key that an object may have twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


ID, TOKEN = Raw(b"$ID"), Raw(b"$TOKEN")

ODD = [
    *(Raw(each) for each in (b"null", b"true", b"false", b"0", b"-0", b"-1", b"1", b"1.0", b"7.5", b"1e2", b"1E400")),
    *(Raw(each) for each in (b"-1e-400", b"9007199254740993", b"18446744073709551616", b"9" * 400, b"1" * 5000)),
    *(Raw(each) for each in (b"NaN", b"Infinity", b"01", b"0x1", b"+1", b"1.", b".5", b"'a'", b"undefined", b"")),
    *(Raw(each) for each in (rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\u0000"', rb'"\x"',
    rb'"\u12"')),
    *(Raw(each) for each in (b'"\x00"', b'"\n"', b'"\t"', b'"\xff\xfe"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"')),
    *(Raw(b"[" * deep + b"]" * deep) for deep in (100, 999, 1001, 3000, 4001, 20_000)),
    *(Raw(b'{"a":' * deep + b"1" + b"}" * deep) for deep in (100, 1001, 4001)),
    Raw(b"[" * 5000), Raw(b'{"a":' * 5000), Raw(b"[" + b"1," * 3000 + b"1]"),
    Raw(b"{" + b",".join(b'"k%d":%d' % (each, each) for each in range(2000)) + b"}"),
    "", " ", "a", "é", "\u2028", "\u202e", "\x1b[31m", "%00", "..", "../../etc/passwd", "{x}", "{+x}", "${HOME}",
    "$ref",
    "x" * 300, "x" * 20_000, "stdio", "stdio::", "::echo", "stdio::stdio::echo", "stdio__echo", "soak://one",
    "file:///etc/passwd", "http://127.0.0.1:1/", "soak://{a}", "://", "initialize", "tools/call", "2.0", "1.0",
    LEGACY,
    MODERN, "2025-03-26", "9999-99-99", "__proto__", "constructor", "=?base64?YQ==?=", "=?base64?*?=", "server.1",
    "1",
    [], {}, [[]], [{}], {"": ""}, {"a": {"a": {"a": None}}}, [None, 1, "a"],
]  # fmt: skip
"""Values that stand where others should."""

KEYS = (
    "", "id", "Id", "jsonrpc", "method", "params", "result", "error", "_meta", "name", "arguments", "progressToken",
    "cursor", "uri", "code", "message", "data", "task", "tools", "content", "type", "x" * 5000, "\x00", "é",
    "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities", "nextCursor",
    "inputSchema",
    "io.modelcontextprotocol/subscriptionId", "io.modelcontextprotocol/clientInfo", "requestState", "inputResponses",
    "structuredContent", "resultType", "ttlMs", "cacheScope", "_", "$schema", "extensions",
    "io.modelcontextprotocol/",
)  # fmt: skip


@st.composite
def rarely(draw: st.DrawFn, rare: st.SearchStrategy[Any], else_: st.SearchStrategy[Any], of: int = 20) -> Any:
    """One in `of` is `rare`, to which what fails is made smaller. (`one_of` takes each as often.)"""
    return draw(rare if draw(st.integers(0, of - 1)) == 0 else else_)


DRAWN = st.one_of(st.text(max_size=20), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
ODDITY = rarely(DRAWN, st.sampled_from(ODD), of=4)


def dump(value: Any) -> bytes:
    """JSON, with what is raw in it as it is."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return b"{%b}" % b",".join(b"%b:%b" % (dump(str(key)), dump(each)) for key, each in value.items())
    if isinstance(value, list):
        return b"[%b]" % b",".join(map(dump, value))
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each holder in it, and a key or index of that."""
    found = [
        (value, key)
        for key in (list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ())
    ]
    return found + [place for holder, key in found for place in places(holder[key])]


def copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copy(each) for key, each in value.items()}
    return [copy(each) for each in value] if isinstance(value, list) else value


@st.composite
def broken(draw: st.DrawFn, whole: Json, most: int = 3) -> Any:
    """The same in other words: up to `most` of its places are replaced, left out, doubled, wrapped or renamed."""
    value = {"": copy(whole)}
    for _ in range(draw(st.integers(1, most))):
        here = places(value)
        holder, key = here[draw(st.integers(0, len(here) - 1))]
        how = draw(st.integers(0, 15))
        if how <= 7 or not isinstance(holder, dict) or key == "":
            holder[key] = copy(draw(ODDITY))
        elif how <= 9:
            del holder[key]
        elif how == 10:
            holder[Again(key)] = copy(draw(ODDITY))
        elif how == 11:
            rest = dict(holder)
            holder.clear()
            holder.update({Again(key): copy(draw(ODDITY))} | rest)
        elif how == 12:
            holder[key] = [holder[key]]
        elif how == 13:
            holder[draw(st.sampled_from(KEYS))] = holder.pop(key)
        else:
            holder[draw(st.sampled_from(KEYS))] = copy(draw(ODDITY))
        value.setdefault("", None)
    return value[""]


JUNK = (
    b"\xef\xbb\xbf", b"\xff", b"\x00", b"\r", b"\n", b"\r\n\r\n", b"\xed\xa0\x80", b"\xe2\x80", b"{", b"}", b"]",
    b'"',
    b",", b"\\", b" " * 5000, b"\xfe\xff", b"//", b"data: ", b"null", b"\x1b]0;a\x07",
)  # fmt: skip

BYTES: list[Callable[[bytes, int, bytes], bytes]] = [
    lambda data, at, junk: data[:at],
    lambda data, at, junk: data[at:],
    lambda data, at, junk: data[:at] + junk + data[at:],
    lambda data, at, junk: data[:at] + junk + data[at + 1 :],
    lambda data, at, junk: junk + data,
    lambda data, at, junk: data + junk,
    lambda data, at, junk: data + data,
    lambda data, at, junk: data + b"\n" + data,
    lambda data, at, junk: b"[%b]" % data,
    lambda data, at, junk: b"[%b,%b,%b]" % (data, junk, data),
    lambda data, at, junk: b"[" + b",".join([data] * 20) + b"]",
    lambda data, at, junk: junk,
    lambda data, at, junk: data.decode("latin-1").encode("utf-16"),
    lambda data, at, junk: b"\xef\xbb\xbf" + data,
    lambda data, at, junk: data.replace(b":", b" :\t").replace(b",", b"\r,"),
    lambda data, at, junk: data.replace(b"e", b"\\u0065"),
]
"""What is done to the bytes of a message; `at` is a place in them."""


@st.composite
def bytes_of(draw: st.DrawFn, table: list[Json], whole: int = 25, most: int = 3) -> tuple[bytes, Json | None]:
    """A message of the table; and, in `whole` of 100, that message itself, where nothing has been done to it."""
    message = draw(st.sampled_from(table))
    how = draw(st.integers(0, 99))
    if how < whole:
        return dump(message), message
    data = dump(message if how > 90 else draw(broken(message, most)))
    if how > 75:
        data = BYTES[draw(st.integers(0, len(BYTES) - 1))](
            data, draw(st.integers(0, len(data))), draw(st.sampled_from(JUNK))
        )
    return data, None


def request(method: str, params: Json | None = None, number: Any = 1) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})


def told(method: str, params: Json | None = None) -> Json:
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})


ECHO = {"name": "stdio::echo", "arguments": {"text": WORD}}
TASK = {"taskId": "t1"}
REF = {"type": "ref/prompt", "name": "stdio::p"}
ABLE = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {"listChanged": True}}
INFO = {"name": "fuzz", "version": "1"}

ASKED = [
    request("tools/call", ECHO, "1"),
    request("tools/call", ECHO | {"_meta": {"progressToken": "t", "vendor": [1]}}, 2),
    request("tools/call", {"name": "stdio::steps", "arguments": {"n": 2}, "_meta": {"progressToken": 5}}, 3),
    request("tools/call", {"name": "stdio::rubbish", "arguments": {"text": "a"}}, 4),
    request("tools/call", {"name": "stdio::change", "arguments": {}}, 5),
    request("tools/call", {"name": "stdio::ask", "arguments": {"text": "a"}}, 6),
    request("tools/call", {"name": "other::echo", "arguments": {}}, 7),
    request("tools/call", ECHO | {"task": {"ttl": 1000}}, 8),
    *(request(f"{kind}/list", {"cursor": "a"}, 9) for kind in ("tools", "prompts", "resources", "tasks")),
    *(request(f"{kind}/list", {}, 1.5) for kind in ("tools", "prompts", "resources", "resources/templates")),
    request("prompts/get", {"name": "stdio::p", "arguments": {"a": "b"}}, 10),
    request("resources/read", {"uri": "soak://one"}, 11),
    request("completion/complete", {"ref": REF, "argument": {"name": "a", "value": "b"}, "context": {}}, 12),
    *(request(f"tasks/{what}", TASK, 13) for what in ("get", "result", "cancel", "update")),
    request("vendor/odd", {"a": [1]}, 14),
    request("skills/list", {}, 15),
    told("notifications/cancelled", {"requestId": 1, "reason": "a"}),
    told("notifications/progress", {"progressToken": 5, "progress": 1, "total": 2}),
    told("notifications/roots/list_changed"),
    told("notifications/vendor", {"a": 1}),
    {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"name": "a"}}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "a", "data": None}},
]
"""What a client of either era may send; and what it may not."""

GREETING = request("initialize", {"protocolVersion": LEGACY, "capabilities": ABLE, "clientInfo": INFO}, 0)

OF_LEGACY = [
    GREETING,
    *ASKED,
    told("notifications/initialized"),
    request("ping", None, 20),
    request("resources/subscribe", {"uri": "soak://one"}, 21),
    request("resources/unsubscribe", {"uri": "soak://one"}, 22),
    request("logging/setLevel", {"level": "info"}, 23),
]

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": INFO,
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}
LISTENED = {"toolsListChanged": True, "resourceSubscriptions": ["soak://one"], "taskIds": ["t1"]}


def modern(message: Json) -> Json:
    """The same with the envelope that each modern request has."""
    if "id" not in message or "method" not in message:
        return message
    params = message.get("params", {})
    return message | {"params": params | {"_meta": ENVELOPE | params.get("_meta", {})}}


OF_MODERN = [
    *map(modern, ASKED),
    modern(request("server/discover", {}, 20)),
    modern(request("subscriptions/listen", {"notifications": LISTENED}, 21)),
    modern(request("tools/call", ECHO | {"inputResponses": {"q": {"action": "accept"}}, "requestState": "s"}, 22)),
]

TOOL = {"name": "echo", "description": "a", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
PAGES = {
    "tools": [TOOL, {"name": "b", "inputSchema": {"type": "object"}, "_meta": {}, "annotations": {"title": "b"}}],
    "prompts": [{"name": "p", "arguments": [{"name": "a", "required": True}]}],
    "resources": [{"uri": "soak://one", "name": "one", "size": 1, "icons": [{"src": "data:a"}]}],
    "resourceTemplates": [{"uriTemplate": "soak://{a}/{+b}{?c*}", "name": "t"}],
}
"""The lists of a server."""

TEXT = {"type": "text", "text": WORD}
ANSWER = {"jsonrpc": "2.0", "id": ID, "result": {"content": [TEXT]}}
LINK = {"type": "resource_link", "uri": "soak://one", "name": "one"}
FORM = {"mode": "form", "message": "a", "requestedSchema": {"type": "object", "properties": {}}}
SAID: list[Json] = [
    *[ANSWER] * 6,
    {"jsonrpc": "2.0", "id": ID, "result": {"resultType": "complete", "content": [], "structuredContent": {"a": 1}}},
    {"jsonrpc": "2.0", "id": ID, "result": {"content": [TEXT, LINK], "isError": True, "_meta": {"a": 1}}},
    {"jsonrpc": "2.0", "id": ID, "result": {"task": TASK | {"status": "working", "ttl": 1, "createdAt": "a"}}},
    {"jsonrpc": "2.0", "id": ID, "error": {"code": -32000, "message": "a", "data": {"a": 1}}},
    {"jsonrpc": "2.0", "id": ID, "error": {"code": -32042, "message": "a", "data": {"elicitations": [FORM]}}},
    {"jsonrpc": "2.0", "id": 1, "result": {}},
    {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "a"}},
    told("notifications/progress", {"progressToken": TOKEN, "progress": 1, "total": 2, "message": "a"}),
    told("notifications/message", {"level": "info", "logger": "a", "data": {"a": 1}}),
    told("notifications/cancelled", {"requestId": ID, "reason": "a"}),
    told("notifications/resources/updated", {"uri": "soak://one", "_meta": {}}),
    *(told(f"notifications/{kind}/list_changed") for kind in ("tools", "prompts", "resources")),
    told("notifications/tasks/status", TASK | {"status": "working"}),
    told("notifications/elicitation/complete", {"elicitationId": "a"}),
    told("notifications/subscriptions/acknowledged", {"notifications": LISTENED}),
    request("ping", None, "q1"),
    request("roots/list", {}, 2),
    request("elicitation/create", FORM, 3),
    request("sampling/createMessage", {"messages": [{"role": "user", "content": TEXT}], "maxTokens": 1}, 4),
    request("vendor/odd", {}, 5),
]
"""What a server may say during a call; and what it may not."""

GREETED = {
    "protocolVersion": LEGACY,
    "capabilities": {
        "tools": {"listChanged": True},
        "prompts": {},
        "resources": {"subscribe": True},
        "logging": {},
        "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}},
    },
    "serverInfo": INFO | {"title": "a", "icons": [{"src": "data:a", "sizes": ["1x1"]}], "websiteUrl": "http://a/"},
    "instructions": "a",
}
"""The result of a server's `initialize`."""
