"""A small MCP server over HTTP in a thread of the test, which answers as the test has it. Standard library only.

    def odd(ask: Ask) -> Reply:
        return Reply(404) if ask.method == "GET" else decent(ask)

    with served(odd) as web: ...  # web.url, web.asked

A body is what it is, or pieces that are sent one after the other; then the connection is closed at their end.
"""

import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingUnixStreamServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Ask:
    """One request: its line, its headers (names in lower case), its body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Json:
        found: Json = json.loads(self.body or b"{}")
        return found

    @property
    def kind(self) -> str | None:
        """The method of the message."""
        return self.message.get("method")


@dataclass
class Reply:
    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


Serve = Callable[[Ask], Reply]


def hello(**capabilities: Any) -> Json:
    info = {"name": "wild", "version": "1"}
    return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, **capabilities}, "serverInfo": info}


def answer(message: Json, **results: Any) -> Json:
    """What a decent legacy server with one tool `ping` answers; `results` by method, with _ for /, instead."""
    method = str(message["method"])
    known: Json = {
        "initialize": hello(),
        "ping": {},
        "tools/list": {"tools": [{"name": "ping", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": "pong"}]},
        **{name.replace("_", "/"): result for name, result in results.items()},
    }
    head: Json = {"jsonrpc": "2.0", "id": message["id"]}
    if method not in known:
        return {**head, "error": {"code": -32601, "message": f"no {method}"}}
    return {**head, "result": known[method]}


def as_json(message: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(message).encode(), {"Content-Type": "application/json", **headers})


def error(code: int, text: str, status: int = 200, number: Any = None) -> Reply:
    return as_json({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}, status)


def as_events(*pieces: bytes, kind: str = "text/event-stream", **headers: str) -> Reply:
    return Reply(200, pieces, {"Content-Type": kind, **headers})


def decent(ask: Ask, **results: Any) -> Reply:
    """What a decent server without sessions and without a stream answers."""
    if ask.method != "POST":
        return Reply(405)
    return as_json(answer(ask.message, **results)) if "id" in ask.message and ask.kind else Reply(202)


class Sse:
    """A decent server over SSE at /sse.

    `name` is the endpoint that it names, to which the number of the stream is added; `spell` changes its answers.
    """

    def __init__(
        self, name: str = "/messages?session=1", spell: Callable[[Json], Json] = lambda message: message
    ) -> None:
        self.name = name
        self.spell = spell
        self.streams: list[queue.Queue[bytes]] = []

    def __call__(self, ask: Ask) -> Reply:
        if ask.method == "GET":
            return Reply(200, self.stream(), {"Content-Type": "text/event-stream"})
        if "id" in ask.message and ask.kind:
            message = json.dumps(self.spell(answer(ask.message))).encode()
            self.streams[int(ask.path.rpartition("=")[2])].put(b"data: " + message + b"\n\n")
        return Reply(202)

    def stream(self) -> Iterator[bytes]:
        events = queue.Queue[bytes]()
        self.streams.append(events)
        mark = "&" if "?" in self.name else "?"
        yield f"event: endpoint\ndata: {self.name}{mark}stream={len(self.streams) - 1}\n\n".encode()
        while True:
            yield events.get()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "here"

    def handle_any(self) -> None:
        web: Any = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        ask = Ask(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        web.asked.append(ask)
        reply = web.serve(ask)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes):
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in reply.body:
            self.wfile.write(piece)
            self.wfile.flush()

    do_GET = do_POST = do_DELETE = handle_any


class Web(ThreadingHTTPServer):
    """Serves at a free port of 127.0.0.1, or at `address`."""

    daemon_threads = True
    url = ""

    def __init__(self, serve: Serve, address: tuple[str, int] = ("127.0.0.1", 0), tls: ssl.SSLContext | None = None):
        self.serve, self.asked = serve, list[Ask]()
        self.connections: list[socket.socket] = []
        super().__init__(address, Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{address[0]}:{self.server_port}"

    def handle_error(self, *args: Any) -> None:
        """Who leaves early is none of our business."""

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self.connections.append(request)
        return request, address

    def server_close(self) -> None:
        """End all connections, too, as a server does that ends."""
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class UnixWeb(ThreadingUnixStreamServer):
    """Serves at a Unix socket."""

    daemon_threads = True

    def __init__(self, serve: Serve, path: str) -> None:
        self.serve, self.asked = serve, list[Ask]()
        super().__init__(path, Handler)

    def handle_error(self, *args: Any) -> None:
        pass


@contextmanager
def running(web: Any) -> Iterator[Any]:
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield web
    finally:
        web.shutdown()
        web.server_close()


@contextmanager
def served(serve: Serve, **options: Any) -> Iterator[Web]:
    with running(Web(serve, **options)) as web:
        yield web
