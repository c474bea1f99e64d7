"""A bare MCP server that does what no SDK server would. Standard library only, so it starts in no time.

`python raw_server.py [BEHAVIOUR...]`; without any it is a decent legacy server with a tool `echo`.

  name=N            calls itself N
  tool=N            its tool is called N
  able=JSON         has these capabilities, too; it subscribes and sets its level, whatever it says
  hang:METHOD       never answers METHOD
  exit:METHOD       exits when METHOD arrives
  exit:start        exits at once, with code 3
  error:METHOD[=N]  answers METHOD with a JSON-RPC error (of code N) that has data
  slow:METHOD=S     answers METHOD after S seconds
  modern            speaks both eras
  modern-only       speaks 2026-07-28 only: refuses initialize, wants the envelope
  noise             prints rubbish to stdout, between messages and at the start
  loop              pages of tools that come round again
  endless           pages of tools without end
  pages=N           tools come in N pages, the second under the empty cursor
  odd-entries       lists tools without a name, and one twice
  orphan            starts a child that ignores SIGTERM and outlives stdin
  says:METHOD=TEXT  says TEXT on stderr when METHOD arrives; at the start, where METHOD is start
  floods:METHOD=N   says N lines of 1,000 characters on stderr before it answers METHOD
  daemon=FILE       starts a child in a session of its own that keeps stderr open for long; appends its pid to FILE
  stubborn          ignores SIGTERM and the end of stdin
  links=URI         links to URI in what its tool returns
  log=FILE          appends every message it gets to FILE
  count=FILE        appends a line to FILE when started
  big=N             its tool's text has N characters more
  headers           its tool says which HTTP headers it was called with, and has one parameter mirrored in a header
  odd-headers       lists a tool with an annotation that is not valid
  http              serves streamable HTTP at /mcp and SSE at /sse, not stdio; says the port on stderr
  status:METHOD=N   answers METHOD with HTTP status N
  cut:METHOD        breaks its HTTP response to METHOD off; over SSE the answer comes all the same
  drop:METHOD       closes the HTTP connection instead of answering METHOD
  closing           loses a request on an HTTP connection that waited 4.5 s for it, and notes when it is that long
  forgets           has HTTP sessions, and does not know the first one any more when a tool is called
  holds             starts a child that keeps stdout open for long
  deaf:METHOD       reads nothing any more once METHOD has come
  asks              asks the client two things while its tool is called, and tells the answers
  version=V         speaks protocol revision V, in either era
  input             its tool wants input (2026-07-28, multi-round-trip requests)
  changes           has another tool from its first call on, and says so
  restless          says that its tools changed whenever they are listed
  nan               says that its version is NaN
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
write_lock = threading.Lock()


def say(*messages):
    with write_lock:
        sys.stdout.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
        sys.stdout.flush()


def tool(name, **more):
    return {"name": name, "inputSchema": {"type": "object"}, **more}


class Server:
    def __init__(self, behaviours):
        pairs = [b.partition("=")[::2] for b in behaviours]
        self.has = dict(pairs)
        self.name = self.has.get("name", "raw")
        self.called = False
        self.answers = queue.Queue()

    def hello(self):
        capabilities = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
        return {
            "capabilities": capabilities | json.loads(self.has.get("able", "{}")),
            "instructions": f"I am {self.name}.",
        }

    def answer(self, method, params):
        """The result of a request, or an error as an exception's argument."""
        meta = params.get("_meta") or {}
        modern = VERSION_KEY in meta
        if f"error:{method}" in self.has:
            code = int(self.has[f"error:{method}"] or -31999)
            raise LookupError({"code": code, "message": "as I say", "data": {"why": [1, None]}})
        if method == "initialize":
            if "modern-only" in self.has:
                raise LookupError({"code": -32022, "message": "modern only", "data": {"supported": [MODERN]}})
            info = {"name": self.name, "version": float("nan") if "nan" in self.has else "1"}
            return {"protocolVersion": self.has.get("version", "2025-11-25"), "serverInfo": info, **self.hello()}
        if modern and not {"modern", "modern-only"} & self.has.keys():
            raise LookupError({"code": -32601, "message": "what?"})
        if not modern and "modern-only" in self.has:
            raise LookupError({"code": -32602, "message": "no envelope"})
        result = self.result(method, params, "modern" if modern else "legacy")
        if modern:
            result = {"resultType": "complete", "ttlMs": 7000, "cacheScope": "public", **result}
        return result

    def result(self, method, params, era):
        if method == "server/discover":
            return {"supportedVersions": [self.has.get("version", MODERN)], **self.hello()}
        if method == "tools/list":
            return self.tools(params.get("cursor"), era)
        if method == "tools/call" and "asks" in self.has:
            for number, question in enumerate(("ping", "sampling/createMessage")):
                say({"id": f"q{number}", "method": question})
            answers = sorted((self.answers.get(timeout=60) for _ in range(2)), key=lambda answer: answer["id"])
            return {"content": [{"type": "text", "text": json.dumps(answers)}]}
        if method == "tools/call" and "input" in self.has:
            return {"resultType": "input_required", "inputRequests": {}}
        if method == "tools/call":
            links = [{"type": "resource_link", "uri": self.has["links"], "name": "l"}] if "links" in self.has else []
            seen = {"type": "text", "text": json.dumps({"server": self.name, "era": era, "params": params})}
            if "big" in self.has:
                seen["text"] += "x" * int(self.has["big"])
            if "odd" not in (params.get("arguments") or {}):
                return {"content": [seen, *links]}
            return {
                "content": [seen, {"type": "vendor/hologram", "depth": 3, "nested": {"uri": "raw://kept"}}],
                "vendorField": {"deep": [{"a": None}]},
                "_meta": {"vendor.example/mark": [1, 2.5, "three"]},
                "structuredContent": {"big": 2**60, "exact": 0.1, "text": "ÄÖ€😀\u2028"},
            }
        if method == "prompts/list":
            return {"prompts": [{"name": "greet", "vendor": 1}]}
        if method == "prompts/get":
            embedded = {"type": "resource", "resource": {"uri": "raw://one", "text": "1"}}
            return {"messages": [{"role": "user", "content": embedded}], "description": self.name}
        if method == "resources/list":
            return {"resources": [{"uri": "raw://one", "name": "one"}]}
        if method == "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": "raw://item/{id}", "name": "item"}]}
        if method == "resources/read":
            return {"contents": [{"uri": params["uri"], "text": f"{self.name}: {params['uri']}"}]}
        if method == "completion/complete":
            return {"completion": {"values": [self.name, json.dumps(params["ref"])]}}
        if method in ("ping", "resources/subscribe", "resources/unsubscribe", "logging/setLevel"):
            return {}
        raise LookupError({"code": -32601, "message": f"no {method}"})

    def tools(self, cursor, era):
        page = {"tools": [tool(self.has.get("tool", "echo"), description=era, vendorKey={"x": [1]})]}
        if self.called:
            page["tools"].append(tool("another"))
        if "headers" in self.has:
            mirrored = {"type": "string", "x-mcp-header": "Region"}
            page["tools"] = [tool("echo", inputSchema={"type": "object", "properties": {"region": mirrored}})]
        if "odd-headers" in self.has:
            wrong = {"type": "number", "x-mcp-header": "Wrong"}
            page["tools"] += [tool("wrong", inputSchema={"type": "object", "properties": {"n": wrong}})]
        if "loop" in self.has:
            page["nextCursor"] = "again"
        if "endless" in self.has:
            page = {"tools": [tool(f"t{cursor}")], "nextCursor": str(int(cursor or 0) + 1)}
        if "pages" in self.has:
            number = {None: 0, "": 1}.get(cursor) if cursor in (None, "") else int(cursor)
            page["tools"] = [tool(f"tool{number}")]
            if number + 1 < int(self.has["pages"]):
                page["nextCursor"] = "" if number == 0 else str(number + 1)
        if "odd-entries" in self.has:
            page["tools"] += [{"title": "nameless"}, "not an object", tool("echo", description="second")]
        return page

    def handle(self, message):
        method = message.get("method")
        if f"says:{method}" in self.has:
            print(self.has[f"says:{method}"], file=sys.stderr, flush=True)
        for number in range(int(self.has.get(f"floods:{method}", 0))):
            print(f"{number:999}", file=sys.stderr)
        if f"exit:{method}" in self.has:
            os._exit(4)
        if method is None:
            self.answers.put(message)
        if "id" not in message or method is None or f"hang:{method}" in self.has:
            return
        if f"slow:{method}" in self.has:
            time.sleep(float(self.has[f"slow:{method}"]))
        if "noise" in self.has:
            print("loading model... 42%\n\n{}", flush=True)
        say(self.response(message))
        if "changes" in self.has and method == "tools/call":
            self.called = True
            say({"method": "notifications/tools/list_changed"})
        if "restless" in self.has and method == "tools/list":
            say({"method": "notifications/tools/list_changed"})

    def response(self, message):
        try:
            result = self.answer(message["method"], message.get("params") or {})
            return {"jsonrpc": "2.0", "id": message["id"], "result": result}
        except LookupError as exc:
            return {"jsonrpc": "2.0", "id": message["id"], "error": exc.args[0]}

    def note(self, line):
        if "log" in self.has:
            with open(self.has["log"], "a") as file:
                file.write(line)

    def run(self):
        if "count" in self.has:
            with open(self.has["count"], "a") as file:
                file.write(f"{os.getpid()}\n")
        if "says:start" in self.has:
            print(self.has["says:start"], file=sys.stderr, flush=True)
        if "daemon" in self.has:
            child = subprocess.Popen(
                ["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )
            with open(self.has["daemon"], "a") as file:
                file.write(f"{child.pid}\n")
        if "exit:start" in self.has:
            print("raw_server: no licence", file=sys.stderr)
            sys.exit(3)
        if "stubborn" in self.has:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "orphan" in self.has:
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
        if "holds" in self.has:
            subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        if "noise" in self.has:
            print("Welcome to the server!", flush=True)
        if "http" in self.has:
            with http_server(self) as web:
                print(f"listening on http://127.0.0.1:{web.server_port}", file=sys.stderr, flush=True)
                web.serve_forever()
        for line in sys.stdin:
            self.note(line)
            message = json.loads(line)
            threading.Thread(target=self.handle, args=(message,), daemon=True).start()
            while f"deaf:{message.get('method')}" in self.has:
                time.sleep(600)
        while "stubborn" in self.has:
            time.sleep(600)


def http_server(server):
    """Streamable HTTP, and SSE."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # which takes its time

    streams = []
    sessions = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        waited = threading.Event()

        def log_message(self, *args):
            pass

        def wait(self):
            self.waited.set()
            server.note("waited\n")

        def do_GET(self):
            if self.path != "/sse":
                return self.reply(405)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            events = queue.Queue()
            streams.append(events)
            self.wfile.write(f"event: endpoint\ndata: /messages/{len(streams) - 1}\n\n".encode())
            while True:
                self.wfile.write(b"event: message\ndata: " + json.dumps(events.get()).encode() + b"\n\n")
                self.wfile.flush()

        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            method = message.get("method")
            server.note(json.dumps(message) + "\n")
            if "closing" in server.has:
                if self.waited.is_set():
                    self.close_connection = True
                    return None
                self.waited = threading.Event()
                threading.Timer(4.5, self.wait).start()
            if f"drop:{method}" in server.has:
                self.close_connection = True
                return None
            if f"hang:{method}" in server.has:
                time.sleep(600)
            if "forgets" in server.has and method == "tools/call" and self.headers["Mcp-Session-Id"] == "s1":
                error = {"code": -32001, "message": "Session not found"}
                return self.reply(404, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode())
            if f"status:{method}" in server.has:
                return self.reply(int(server.has[f"status:{method}"]))
            if "id" not in message or method is None:
                return self.reply(202)
            if f"slow:{method}" in server.has:
                time.sleep(float(server.has[f"slow:{method}"]))
            response = server.response(message)
            if "headers" in server.has and method == "tools/call":
                ours = ("mcp-", "authorization", "x-api-key")
                mine = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith(ours)}
                response["result"] = {"content": [{"type": "text", "text": json.dumps(mine)}]}
            if self.path.startswith("/messages/"):
                streams[int(self.path.rpartition("/")[2])].put(response)
                return self.cut(202, b"it is accepted") if f"cut:{method}" in server.has else self.reply(202)
            body = json.dumps(response).encode()
            name = (message.get("params") or {}).get("arguments") or {}
            if f"cut:{method}" in server.has and "whole" not in name:
                return self.cut(200, body)
            if "forgets" in server.has and method == "initialize":
                sessions.append(f"s{len(sessions) + 1}")
                return self.reply(200, body, ("Mcp-Session-Id", sessions[-1]))
            return self.reply(200, body)

        def do_DELETE(self):
            self.reply(405)

        def cut(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:10])
            self.close_connection = True

        def reply(self, status, body=b"", *headers):
            self.send_response(status)
            for header in headers:
                self.send_header(*header)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    Server(sys.argv[1:]).run()
