"""What carries messages, broken in a few places: heads of HTTP requests, responses of servers, events of streams."""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.fuzz.messages import (
    JUNK,
    LEGACY,
    MODERN,
    SAID,
    Json,
    broken,
    bytes_of,
    dump,
)

Fields = list[tuple[bytes, bytes]]

VALUES = (
    b"", b" ", b"a", b"\xff", b"\xc3\xa9", b"\t", b"a, b", b"application/json", b"text/event-stream", b"*/*",
    b"text/html",
    b"application/json;q=0, text/event-stream;q=0", b"application/json; charset=utf-16", b"x" * 8000, b"x" * 70_000,
    b"localhost", b"evil.example", b"127.0.0.1", b"127.0.0.1:99999", b"[::1]", b"a@b", b"http://evil.example",
    b"null",
    b"0", b"-1", b"+5", b"5, 5", b"99999999999999999999", b"chunked", b"gzip, chunked", b"gzip", b"identity",
    b"close",
    b"upgrade", b"h2c", b"100-continue", b"$SESSION", b"0" * 32, b"=?base64?c3RkaW86OmVjaG8=?=", b"=?base64?%?=",
    b"tools/call", b"ping", b"stdio::echo", LEGACY.encode(), MODERN.encode(), b"2024-11-05", b"1900-01-01", b"a-1",
    b"a_b",
    b"Bearer a", b"Basic Og==", b"bytes=0-1",
    b'"', b"'; drop", b"${HOME}", b"a" * 16 + b"-1", b"a" * 16 + b"_" + b"9" * 50,
)  # fmt: skip
"""Values of headers."""

NAMES = (
    b"Host", b"Origin", b"Accept", b"Content-Type", b"Content-Encoding", b"Mcp-Session-Id", b"MCP-Protocol-Version",
    b"Mcp-Method", b"Mcp-Name", b"Mcp-Param-Region", b"Last-Event-ID", b"Authorization", b"X-API-Key", b"Cookie",
    b"Connection", b"Upgrade", b"X-Forwarded-Prefix", b"X-Forwarded-For", b"Forwarded", b"Accept-Encoding", b"a",
    b"X" * 300,
)  # fmt: skip

FRAMING = (b"Content-Length", b"Transfer-Encoding", b"Expect", b"TE", b"Trailer", b" a", b"a b", b"\xff", b"", b"a\x00")
"""Names of headers by which nobody may know any more where a request ends."""

VERBS = (b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"CONNECT", b"PRI", b"get", b"")
PATHS = (
    b"/mcp", b"/mcp/", b"//mcp", b"/mcp?names=llm", b"/mcp?names=odd&names=", b"/sse", b"/messages/", b"/messages",
    b"/messages/?session_id=$SESSION", b"/messages/?session_id=%00", b"/", b"", b"*", b"http://127.0.0.1/mcp",
    b"/healthz",
    b"http://evil.example/mcp", b"/../mcp", b"/%2e%2e/mcp", b"/mcp%00", b"/\xff", b"/" + b"a" * 9000, b"/mcp#a",
    b"/readyz",
    b"/mcp_tools", b"/mcp_tools?names=llm", b"/mcp_tools?names=odd", b"/mcp_servers", b"/mcp_servers/",
    b"/mcp_servers/a%2fb",
    b"/mcp_servers/%ff", b"/mcp_servers/..", b"/mcp_servers/a/b", b"/mcp_servers/\xc3\xa9", b"/favicon.ico",
    b"/mcp;a=b",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One HTTP request. `$SESSION` in it stands for the session."""

    verb: bytes
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    asked: Json | None = None
    """The message in it, where nothing is wrong with it or with its headers."""

    def data(self, session: bytes) -> bytes:
        lines = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        head = b"%b %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (self.verb, self.path, lines, len(self.body))
        return head.replace(b"$SESSION", session) + self.body


ACCEPT = ((b"Host", b"127.0.0.1"), (b"Accept", b"application/json, text/event-stream"))
JSON = (b"Content-Type", b"application/json")


@st.composite
def headers_of(draw: st.DrawFn, headers: Fields) -> Fields:
    """One to three of them other, gone or doubled; and others."""
    headers = list(headers)
    for _ in range(draw(st.integers(1, 3))):
        at, how = draw(st.integers(0, len(headers) - 1)), draw(st.integers(0, 5))
        if how <= 1:
            headers[at] = (headers[at][0], draw(st.sampled_from(VALUES)))
        elif how == 2 and len(headers) > 1:
            del headers[at]
        elif how == 3:
            headers.insert(at, (headers[at][0], draw(st.sampled_from(VALUES))))
        else:
            headers.insert(at, (draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES))))
    return headers


def headers_for(era: str, message: Json) -> Fields:
    """What a client of this era says in the head of a message."""
    if era == "legacy":
        session = [] if message.get("method") == "initialize" else [(b"Mcp-Session-Id", b"$SESSION")]
        return [*ACCEPT, JSON, (b"MCP-Protocol-Version", LEGACY.encode()), *session]
    headers = [*ACCEPT, JSON, (b"MCP-Protocol-Version", MODERN.encode())]
    if "method" in message:
        headers.append((b"Mcp-Method", message["method"].encode()))
    params = message.get("params", {})
    if message.get("method") in ("tools/call", "prompts/get", "resources/read"):
        headers.append((b"Mcp-Name", params.get("name", params.get("uri")).encode()))
    return headers


@st.composite
def posts(draw: st.DrawFn, era: str, table: list[Json], path: bytes = b"/mcp") -> Request:
    """A message posted by a client of this era; in one of five there is something about its headers, too."""
    body, asked = draw(bytes_of(table))
    headers = headers_for(era, asked or draw(st.sampled_from(table)))
    how = draw(st.integers(0, 99))
    if how < 20:
        return Request(b"POST", path, tuple(draw(headers_of(headers))), body)
    if how < 24:
        verb = draw(st.sampled_from((b"GET", b"DELETE", b"OPTIONS", b"PUT", b"GET")))
        return Request(verb, path, tuple(headers), b"" if how < 23 else body)
    return Request(b"POST", path, tuple(headers), body, asked)


@st.composite
def raw_requests(draw: st.DrawFn, table: list[Json]) -> bytes:
    """A request at the end of which nobody may know where it ended."""
    era = draw(st.sampled_from(("legacy", "modern")))
    body, _ = draw(bytes_of(table, whole=60))
    headers = draw(headers_of(headers_for(era, draw(st.sampled_from(table)))))
    framing = draw(st.integers(0, 11))
    length = b"%d" % len(body)
    if framing <= 3:
        headers.append((b"Content-Length", length))
    elif framing == 4:
        headers += [(b"Transfer-Encoding", b"chunked")]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif framing == 5:
        headers += [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", length)]
        body = b"%x;a=b\r\n%b\r\n0\r\na: b\r\n\r\n" % (len(body), body)
    elif framing == 6:
        headers += [(b"Transfer-Encoding", b"chunked")]
        body = draw(st.sampled_from((b"-1", b"ffffffffffffffff", b"g", b"", b"1", b"0"))) + b"\r\n" + body
    elif framing == 7:
        headers += [(b"Content-Length", length), (b"Content-Length", draw(st.sampled_from((length, b"0", b"7"))))]
    elif framing == 8:
        headers.append((b"Content-Length", b"%d" % (len(body) + draw(st.integers(-5, 5)))))
    else:
        headers.append((draw(st.sampled_from(FRAMING)), draw(st.sampled_from(VALUES))))
    verb, path = (draw(st.sampled_from(VERBS)), draw(st.sampled_from(PATHS))) if framing % 2 else (b"POST", b"/mcp")
    version = draw(st.sampled_from((b"HTTP/1.1",) * 5 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"HTTP/1.1 a")))
    lines = [b"%b %b %b" % (verb, path, version), *(b"%b: %b" % header for header in headers), b"", body]
    data: bytes = draw(st.sampled_from((b"\r\n",) * 8 + (b"\n", b"\r", b"\r\n "))).join(lines)
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(JUNK)) + data[at:]
    return data


@st.composite
def said(draw: st.DrawFn) -> list[bytes]:
    """What a server says during a call: messages, most of them broken, its answer not always among them."""
    return [draw(bytes_of(SAID, whole=20))[0] for _ in range(draw(st.integers(1, 3)))]


EVENT = (
    b"data: %b\r\n\r\n", b"data: %b\n\n", b"data:%b\r\r", b"event: message\nid: 1\nretry: 5\ndata: %b\n\n",
    b"event: odd\ndata: %b\n\n", b"event: endpoint\ndata: %b\n\n", b": %b\n\n", b"%b\n\n", b"data\ndata: %b\n\n",
    b"data: %b",
    b"id: \x00\ndata: %b\n\n", b"retry: -1\nretry: 99999999999999999999\ndata: %b\n\n", b"id:\xff\ndata: %b\n\n",
    b"\xef\xbb\xbfdata: %b\n\n", b"data: {\ndata: %b\n\n", b"data: \n\ndata: %b\n\n", b"DATA: %b\n\n",
    b" data: %b\n\n",
    b"data: %b\ndata: \n\n", b"event: \xc3\x28\ndata: %b\n\n", b"\r\n\r\ndata: %b\r\n\r\n",
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """The same as events of a stream, of which some have odd fields."""
    return b"".join(
        draw(st.sampled_from(EVENT)).replace(b"%b", each) if draw(st.booleans()) else b"data: %b\n\n" % each
        for each in draw(said())
    )


STATUSES = (
    b"200 OK", b"200 OK", b"200 OK", b"201 a", b"202 Accepted", b"204 No Content", b"205 a", b"206 a",
    b"100 Continue",
    b"101 a", b"103 a", b"301 a", b"303 a", b"304 a", b"307 a", b"308 a", b"400 a", b"401 a", b"403 a", b"404 a",
    b"405 a",
    b"406 a", b"410 a", b"413 a", b"418 a", b"429 a", b"500 a", b"502 a", b"503 a", b"504 a", b"599 a", b"600 a",
    b"999", b"0 a",
    b"-1", b"", b"abc", b"200 \xff",
)  # fmt: skip
ANSWERED = (
    (b"Content-Encoding", b"gzip"), (b"Content-Encoding", b"br"), (b"Content-Encoding", b"odd"),
    (b"Location", b"/mcp"),
    (b"Location", b"/mcp/"), (b"Location", b"http://evil.example/"), (b"Location", b"\xff"), (b"Retry-After", b"0"),
    (b"Retry-After", b"-1"), (b"Set-Cookie", b"a=b; Path=/"), (b"Set-Cookie", b"=;;;\xff"),
    (b"Set-Cookie", b"x" * 5000),
    (b"WWW-Authenticate", b"Bearer"), (b"Mcp-Session-Id", b"\xff"), (b"Mcp-Session-Id", b"other"),
    (b"Connection", b"close"),
    (b"Content-Type", b"text/html"), (b"Content-Type", b"application/json; charset=utf-16"),
    (b"Content-Type", b"\xff"),
    (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"gzip, chunked"), (b"X", b"x" * 70_000),
    (b"a b", b"c"),
    (b"Content-Length", b"-1"), (b"Content-Length", b"99999"), (b"", b""), (b"Keep-Alive", b"timeout=0"),
    (b"X", b"a\x00b"),
)  # fmt: skip
"""Headers of responses."""


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A whole HTTP response of a server to a call, after which it closes the connection."""
    is_stream, how = draw(st.booleans()), draw(st.integers(0, 19))
    body = draw(events()) if is_stream else b"".join(draw(said()))
    status = draw(st.sampled_from(STATUSES)) if how < 6 else b"200 OK"
    headers = [(b"Content-Type", b"text/event-stream" if is_stream else b"application/json")]
    if 4 <= how < 10:
        headers.insert(draw(st.integers(0, 1)), draw(st.sampled_from(ANSWERED)))
    framing = draw(st.integers(0, 9))
    if framing <= 3:
        headers.append((b"Content-Length", b"%d" % (len(body) + max(0, framing - 2) * draw(st.integers(-3, 3)))))
    elif framing <= 6:
        headers.append((b"Transfer-Encoding", b"chunked"))
        size = len(body) + (draw(st.integers(-2, 2)) if framing == 6 else 0)
        body = b"%x\r\n%b\r\n" % (max(0, size), body) + (b"" if framing == 5 else b"0\r\n\r\n")
    data = b"\r\n".join((b"HTTP/1.1 " + status, *(b"%b: %b" % header for header in headers), b"", body))
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from((b"", b"", *JUNK)))
    return data


SERVER = {
    "command": "/bin/false",
    "args": ["a", "${HOME}", "${A:-b}"],
    "env": {"A": "b", "B": "${PATH}"},
    "cwd": "/",
    "disabled": True,
    "type": "stdio",
    "scope": "shared",
    "startupTimeout": 0.3,
}
REMOTE = {"url": "http://127.0.0.1:1/mcp", "type": "http", "headers": {"X-A": "b", "Authorization": "Bearer ${A:-c}"}}
CONFIGURATIONS: list[Json] = [
    {"mcpServers": {"a": SERVER}},
    {"mcpServers": {"a": REMOTE | {"disabled": True}, "b": SERVER}},
    {"mcpServers": {"a": {"url": "http://127.0.0.1:1/sse", "type": "sse"}}},
    {"mcpServers": {"a/b": {"command": "/bin/false"}}},
    {"mcpServers": {"stdio": {"command": "/bin/false"}}},
    {"mcpServers": {}},
    {"servers": {"a": SERVER}},
    {"a": SERVER},
    {"context_servers": {"a": {"source": "custom", "command": {"path": "/bin/false", "args": ["a"], "env": {}}}}},
    {"mcp": {"a": {"type": "local", "command": ["/bin/false", "a"], "enabled": True, "environment": {"A": "b"}}}},
    {"$schema": "a", "inputs": [{"id": "a", "type": "promptString"}], "mcpServers": {"a": SERVER | {"tools": ["a"]}}},
]


@st.composite
def administrations(draw: st.DrawFn) -> Request:
    """A request to the admin API. No program that it could name does anything."""
    how = draw(st.integers(0, 99))
    headers: Fields = [*ACCEPT, JSON]
    if how < 20:
        headers = draw(headers_of(headers))
    if how % 4 == 0:
        return Request(draw(st.sampled_from(VERBS[:7])), draw(st.sampled_from(PATHS[10:])), tuple(headers), b"")
    body, _ = draw(bytes_of(CONFIGURATIONS, whole=2, most=4))
    if how > 95:
        body = b"[mcp_servers.a]\n" + draw(st.sampled_from(JUNK)) + dump(draw(broken({"command": "a"})))
    return Request(b"POST", b"/mcp_servers", tuple(headers), body)
