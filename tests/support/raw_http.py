"""`raw_server.py` over HTTP: streamable HTTP at /mcp, and SSE at /sse. Apart, as what it imports takes its time."""

import json
import queue
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.raw_server import Json, Server


class Web(ThreadingHTTPServer):
    """Serves a raw server at a free port of 127.0.0.1."""

    def __init__(self, mcp: "Server") -> None:
        self.mcp = mcp
        self.has = mcp.has
        self.streams: list[queue.Queue[Any]] = []
        self.sessions: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: Web
    waited = threading.Event()

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/sse":
            return self.reply(405)
        self.begin()
        events: queue.Queue[Any] = queue.Queue()
        self.server.streams.append(events)
        self.wfile.write(f"event: endpoint\ndata: /messages/{len(self.server.streams) - 1}\n\n".encode())
        while True:
            self.wfile.write(b"event: message\ndata: " + json.dumps(events.get()).encode() + b"\n\n")
            self.wfile.flush()

    def begin(self) -> None:
        """Begin a stream of events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Set-Cookie", "node=a/b==; Path=/")
        self.end_headers()

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        if size >= int(self.server.has.get("deaf", size + 1)):
            time.sleep(600)
        message = json.loads(self.rfile.read(size))
        method = message.get("method")
        self.server.mcp.note(json.dumps(message) + "\n")
        if self.is_lost() or f"drop:{method}" in self.server.has:
            self.close_connection = True
            return None
        if f"hang:{method}" in self.server.has:
            time.sleep(600)
        if refusal := self.refusal(message):
            return self.reply(*refusal)
        if "id" not in message or method is None:
            return self.reply(202)
        if f"slow:{method}" in self.server.has:
            time.sleep(float(self.server.has[f"slow:{method}"]))
        if self.path.startswith("/messages/"):
            return self.answer_by_event(message)
        return self.answer(message)

    def do_DELETE(self) -> None:
        self.reply(405)

    def is_lost(self) -> bool:
        """Whether its connection waited too long for this request, as `closing` has it."""
        if "closing" not in self.server.has:
            return False
        if self.waited.is_set():
            return True
        self.waited = threading.Event()
        threading.Timer(4.5, self.wait).start()
        return False

    def wait(self) -> None:
        self.waited.set()
        self.server.mcp.note("waited\n")

    def refusal(self, message: "Json") -> tuple[int, bytes] | None:
        """The status and the body, where a request is refused."""
        method = message.get("method")
        if "forgets" in self.server.has and method == "tools/call" and self.headers["Mcp-Session-Id"] == "s1":
            error = {"code": -32001, "message": "Session not found"}
            return 404, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        if (
            "sticky" in self.server.has
            and method != "initialize"
            and "node=a/b==" not in self.headers.get("Cookie", "")
        ):
            return 404, b""
        return self.mismatch(message) or self.failure(message.get("method"))

    def mismatch(self, message: "Json") -> tuple[int, bytes] | None:
        """A call without the header that `mirrors` wants is refused; from then on its tools ask for it, or never."""
        params = message.get("params") or {}
        wanted = (params.get("arguments") or {}).get("region")
        is_call = message.get("method") == "tools/call"
        if "mirrors" not in self.server.has or not is_call or self.headers.get("Mcp-Param-Region") == wanted:
            return None
        if self.server.has["mirrors"] != "never":
            self.server.has["headers"] = ""
        error = {"code": -32020, "message": "Mcp-Param-Region does not match", "data": {"kept": [1]}}
        return 400, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()

    def failure(self, method: str | None) -> tuple[int, bytes] | None:
        if f"status:{method}" in self.server.has:
            return int(self.server.has[f"status:{method}"]), b""
        return None

    def response(self, message: "Json") -> "Json":
        response = self.server.mcp.response(message)
        if "headers" in self.server.has and message["method"] == "tools/call":
            ours = ("mcp-", "authorization", "x-api-key")
            mine = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith(ours)}
            response["result"] = {"content": [{"type": "text", "text": json.dumps(mine)}]}
        return response

    def answer_by_event(self, message: "Json") -> None:
        self.server.streams[int(self.path.rpartition("/")[2])].put(self.response(message))
        if f"cut:{message['method']}" in self.server.has:
            return self.cut(202, b"it is accepted")
        return self.reply(202)

    def answer(self, message: "Json") -> None:
        method, body = message["method"], json.dumps(self.response(message)).encode()
        arguments = (message.get("params") or {}).get("arguments") or {}
        if f"cut:{method}" in self.server.has and "whole" not in arguments:
            return self.cut(200, body)
        if f"keeps:{method}" in self.server.has:
            return self.keep_open(body)
        if "sticky" in self.server.has and method == "initialize":
            return self.reply(200, body, ("Set-Cookie", "node=a/b==; Path=/; HttpOnly"))
        if "forgets" in self.server.has and method == "initialize":
            self.server.sessions.append(f"s{len(self.server.sessions) + 1}")
            return self.reply(200, body, ("Mcp-Session-Id", self.server.sessions[-1]))
        return self.reply(200, body)

    def keep_open(self, body: bytes) -> None:
        self.begin()
        self.wfile.write(b"event: message\ndata: " + body + b"\n\n")
        self.close_connection = True
        with suppress(ConnectionError):
            self.connection.recv(1)
        self.server.mcp.note("left\n")

    def cut(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10])
        self.close_connection = True

    def reply(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
