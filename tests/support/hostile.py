"""An MCP server that floods whoever calls it. Standard library only, so it starts in no time.

`python hostile.py [stdio|http] [NAME=VALUE...]`: over HTTP it says its port on stderr, and serves /mcp and /sse. Each
of its tools is an attack (`STREAMS`, `WEB`), which comes before the answer to the call, or instead of it. What it is
greeted with and lists is as `GREETINGS` and `LISTS` have it, under the name that follows `greeting=` or `list=`.
"""

import gzip
import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
MIB = 1 << 20


class Stream:
    """Where messages go: one on each line of stdout, or in each event."""

    def __init__(self, write: Callable[[bytes], object], before: bytes = b"", after: bytes = b"\n") -> None:
        self.write, self.before, self.after = write, before, after
        self.token: Any = None
        self.lock = threading.Lock()

    def say(self, message: bytes | Json) -> None:
        data = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        with self.lock:
            self.write(self.before + data + self.after)


def notice(method: str, **params: Any) -> Json:
    return {"method": f"notifications/{method}", "params": params}


def line(to: Stream) -> None:
    """A message without an end, all but: 300 MB."""
    with to.lock:
        to.write(to.before)
        for _ in range(300):
            to.write(b"z" * MIB)
        to.write(to.after)


def repeated(count: int, message: bytes | Json | Callable[[int], bytes | Json], at_once: int = 1000) -> Any:
    """Says the same so many times."""

    def act(to: Stream) -> None:
        for first in range(0, count, at_once):
            parts = []
            for number in range(first, first + at_once):
                said = message(number) if callable(message) else message
                data = said if isinstance(said, bytes) else json.dumps({"jsonrpc": "2.0", **said}).encode()
                parts.append(to.before + data + to.after)
            with to.lock:
                to.write(b"".join(parts))

    return act


def progress(to: Stream) -> None:
    repeated(20_000, notice("progress", progressToken=to.token, progress=1))(to)


def stderr(to: Stream) -> None:
    sys.stderr.write("".join(f"{number:99}\n" for number in range(100_000)))
    sys.stderr.write("x" * 300 * MIB)
    sys.stderr.flush()


def elicitation(number: int) -> Json:
    params = {"mode": "url", "message": "m", "url": "https://x", "elicitationId": f"{number:0999}"}
    return {"id": f"q{number}", "method": "elicitation/create", "params": params}


STREAMS: dict[str, Callable[[Stream], None]] = {
    "line": line,
    "noise": repeated(20_000, b"x"),
    "blank": repeated(20_000, b""),
    "batch": lambda to: to.say(b"[" + b"{}," * 300_000 + b"{}]"),
    "logs": repeated(20_000, notice("message", level="error", data="x" * 20)),
    "large logs": repeated(50, notice("message", level="error", data="x" * 900_000), 1),
    "progress": progress,
    "changes": repeated(20_000, notice("tools/list_changed")),
    "updates": repeated(20_000, notice("resources/updated", uri="x://y")),
    "pings": repeated(20_000, lambda number: {"id": number, "method": "ping"}),
    "questions": repeated(20_000, lambda number: {"id": number, "method": "sampling/createMessage", "params": {}}),
    "one question": repeated(20_000, lambda number: {"id": 1, "method": "sampling/createMessage", "params": {}}),
    "roots": repeated(20_000, lambda number: {"id": number, "method": "roots/list"}),
    "large ids": repeated(
        50, lambda number: {"id": f"{number}{'x' * 900_000}", "method": "sampling/createMessage", "params": {}}, 1
    ),
    "elicitations": repeated(20_000, elicitation),
    "strange answers": repeated(50, lambda number: {"id": f"s{number}", "result": {"x": "x" * 900_000}}, 1),
    "strange errors": repeated(50, lambda number: {"id": None, "error": {"code": 1, "message": "x" * 900_000}}, 1),
    "stderr": stderr,
}


def keys(number: object) -> bytes:
    """An answer with 100,000 keys in its result, and in that of its `_meta`."""
    many = {f"{each:x}": 1 for each in range(40_000)}
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": {"content": [], "_meta": many, **many}}).encode()


def links(number: object) -> bytes:
    content = [{"type": "resource_link", "uri": f"x://{each:090000}", "name": "n"} for each in range(10)]
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": {"content": content}}).encode()


def nested(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{"content":%s%s}}' % (number, b"[" * 400_000, b"]" * 400_000)


ANSWERS: dict[str, Callable[[Any], bytes]] = {"keys": keys, "links": links, "nested": nested}

# Over HTTP


Web = Callable[[Callable[[bytes], object], bytes], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def packed(*encodings: str, name: bytes = b"Content-Encoding") -> Web:
    """A response of 300 MB of blanks, compressed by each of these."""

    def act(write: Callable[[bytes], object], answer: bytes) -> None:
        body = answer[:-1] + b" " * 100 * MIB + b"}"
        for encoding in encodings:
            body = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
        write(OK + name + b": " + ", ".join(encodings).encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return act


def streamed(*pieces: tuple[bytes, int]) -> Web:
    """A response of these bytes, each so many times."""

    def act(write: Callable[[bytes], object], answer: bytes) -> None:
        for piece, times in pieces:
            at_once = max(1, MIB // len(piece))
            for _ in range(-(-times // at_once)):
                write(piece * min(times, at_once))

    return act


WEB: dict[str, Web] = {
    "gzip": packed("gzip"),
    "deflate": packed("deflate"),
    "br": packed("br"),
    "gzip twice": packed("gzip", "gzip"),
    "transfer gzip": packed("gzip", name=b"Transfer-Encoding"),
    "document": streamed((OK + b"\r\n{", 1), (b" " * 1000, 300_000)),
    "small chunks": streamed((CHUNKED + b"1\r\n{\r\n", 1), (b"2\r\n  \r\n", 1_000_000)),
    "declared": streamed((OK + b"Content-Length: 1000000000000\r\n\r\n{", 1)),
    "status": streamed((b"HTTP/1.1 200 ", 1), (b"x" * 1000, 300_000)),
    "header": streamed((OK + b"X: ", 1), (b"x" * 1000, 300_000)),
    "headers": streamed((OK, 1), (b"X-Y: " + b"x" * 1000 + b"\r\n", 300_000)),
    "interim": streamed((b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n", 300_000)),
    "extension": streamed((CHUNKED + b"1;", 1), (b"x" * 1000, 300_000)),
    "trailer": streamed((CHUNKED + b"1\r\n{\r\n0\r\nX: ", 1), (b"x" * 1000, 300_000)),
    "trailers": streamed((CHUNKED + b"1\r\n{\r\n0\r\n", 1), (b"X-Y: " + b"x" * 1000 + b"\r\n", 300_000)),
    "event lines": streamed(
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", 1), (b"data:\n", 2_000_000)
    ),
    "event id": streamed(
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 0\nid: ", 1), (b"9" * 900_000 + b"\n\n", 1)
    ),
    "event name": streamed(
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ", 1), (b"9" * 1000, 300_000)
    ),
    "comments": streamed((b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", 1), (b":\n\n", 2_000_000)),
    "location": streamed((b"HTTP/1.1 307 T\r\nContent-Length: 0\r\nLocation: /mcp?" + b"x" * 60_000 + b"\r\n\r\n", 1)),
    "redirects": streamed((b"HTTP/1.1 307 T\r\nContent-Length: 0\r\nLocation: /mcp\r\n\r\n", 1)),
}
"""What comes instead of an answer, on the connection of the POST."""

GREETINGS: dict[str, Json] = {
    "": {},
    "instructions": {"instructions": "x" * 3 * MIB},
    "version": {"protocolVersion": "x" * 3 * MIB},
    "icons": {"serverInfo": {"name": "h", "version": "1", "icons": [{"src": "x" * 3 * MIB}]}},
    "capabilities": {"capabilities": {"tools": {}, "experimental": {f"{n}": {} for n in range(300_000)}}},
}


def tool(name: str, **more: Any) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


LISTS: dict[str, Callable[[int], Json]] = {
    "": lambda page: {"tools": [tool(name) for name in [*STREAMS, *ANSWERS, *WEB]]},
    "many": lambda page: {"tools": [tool(f"t{each}") for each in range(400_000)]},
    "large": lambda page: {"tools": [tool("a"), tool("b", icons=[{"src": "data:," + "x" * 50 * MIB}])]},
    "pages": lambda page: {"tools": [tool(f"{page}", description="x" * 900_000)], "nextCursor": f"{page + 1}"},
    "cursors": lambda page: {"tools": [], "nextCursor": f"{page + 1:0900000}"},
    "names": lambda page: {"tools": [tool(f"{each}{'x' * MIB}", title=7) for each in range(30)]},
    "schema": lambda page: {
        "tools": [
            tool("a"),
            {"name": "s", "inputSchema": {"type": "object", "properties": {f"{n}": {} for n in range(400_000)}}},
        ]
    },
    "bad": lambda page: {"tools": [{"name": f"{time.monotonic_ns()}{each}"} for each in range(100_000)]},
}


class Server:
    def __init__(self, options: dict[str, str]) -> None:
        self.options = options

    def answer(self, message: Json) -> Json | None:
        """What is answered where nothing is wrong."""
        method, params = message["method"], message.get("params") or {}
        result: Json | None = {}
        if method == "initialize":
            hello = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {"listChanged": True}, "logging": {}},
                "serverInfo": {"name": "hostile", "version": "1"},
            }
            result = hello | GREETINGS[self.options.get("greeting", "")]
        elif method == "tools/list":
            result = LISTS[self.options.get("list", "")](int(params.get("cursor", "0")))
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": "done"}]}
        elif method == "server/discover":
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "what?"}}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def take(self, message: Json, to: Stream) -> None:
        """Answer on a stream, after what the tool does."""
        if "method" not in message or "id" not in message:
            return
        name = (message.get("params") or {}).get("name")
        to.token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
        if name in STREAMS:
            STREAMS[name](to)
        to.say(ANSWERS[name](message["id"]) if name in ANSWERS else json.dumps(self.answer(message)).encode())

    def run(self) -> None:
        to = Stream(lambda data: (sys.stdout.buffer.write(data), sys.stdout.buffer.flush()))
        for each in sys.stdin:
            threading.Thread(target=self.take, args=(json.loads(each), to), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mcp: Server
    cookies: Sequence[str] = ()
    sse: Stream

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        if not self.path.startswith("/sse"):
            return self.reply(405)
        self.events()
        endpoint = "/post" + "x" * int(self.mcp.options.get("endpoint", "0"))
        self.wfile.write(f"event: endpoint\ndata: {endpoint}\n\n".encode())
        type(self).sse = Stream(self.wfile.write, b"data: ", b"\n\n")
        self.connection.recv(1)
        return None

    def events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/sse":
            return self.reply(405)
        name = (message.get("params") or {}).get("name")
        if "cookies" in self.mcp.options:
            self.cookies = [f"c{time.monotonic_ns()}={'x' * 3000}" for _ in range(15)]
        if "method" not in message or "id" not in message:
            return self.reply(202)
        if self.path.startswith("/post"):
            self.reply(202)
            return self.mcp.take(message, self.sse)
        if name in WEB:
            self.close_connection = True
            return WEB[name](self.wfile.write, json.dumps(self.mcp.answer(message)).encode())
        if name in STREAMS:
            self.events()
            return self.mcp.take(message, Stream(self.wfile.write, b"data: ", b"\n\n"))
        if name in ANSWERS:
            return self.reply(200, ANSWERS[name](message["id"]))
        return self.reply(200, json.dumps(self.mcp.answer(message)).encode())

    def do_DELETE(self) -> None:
        self.reply(405)

    def reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        for cookie in self.cookies:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(words: list[str]) -> None:
    Handler.mcp = Server(dict(word.partition("=")[::2] for word in words))
    if words[0] == "stdio":
        return Handler.mcp.run()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        web.daemon_threads = True
        print(f"listening on http://127.0.0.1:{web.server_port}", file=sys.stderr, flush=True)
        web.serve_forever()
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
