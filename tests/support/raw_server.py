"""A bare MCP server that does what no SDK server would. Standard library only, so it starts in no time.

`python raw_server.py [BEHAVIOUR...]`; without any it is a decent legacy server with a tool `echo`.

  name=N            calls itself N
  tool=N            its tool is called N
  able=JSON         has these capabilities, too (@FILE: those in it); it subscribes and sets its level, whatever it says
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
  progresses=N      its tool tells its progress 40 times before it answers, each time with N characters
  headers           its tool says which HTTP headers it was called with, and has one parameter mirrored in a header
  mirrors[=never]   over HTTP, wants its parameter `region` in a header, which its tools do not say before it is missed
  odd-headers       lists a tool with an annotation that is not valid
  http              serves streamable HTTP at /mcp and SSE at /sse, not stdio; says the port on stderr
  status:METHOD=N   answers METHOD with HTTP status N
  cut:METHOD        breaks its HTTP response to METHOD off; over SSE the answer comes all the same
  sticky            over HTTP, is one of many servers behind a load balancer, which go by a cookie
  keeps:METHOD      answers METHOD over HTTP by a stream, which it does not end; notes when the other side does
  drop:METHOD       closes the HTTP connection instead of answering METHOD
  closing           loses a request on an HTTP connection that waited 4.5 s for it, and notes when it is that long
  forgets           has HTTP sessions, and does not know the first one any more when a tool is called
  holds             starts a child that keeps stdout open for long
  prim              answers notifications, with an error
  deaf:METHOD       reads nothing any more once METHOD has come
  deaf=N            over HTTP, reads no message of N bytes or more
  closes:METHOD     closes its stdout when METHOD has come, and lives on
  unended:METHOD    ends after its answer to METHOD, which has no line feed behind it
  asks              asks the client two things while its tool is called, and tells the answers
  curious           asks the client four things while it is greeted; its tool tells the answers
  version=V         speaks protocol revision V, in either era
  input             its tool wants input (2026-07-28, multi-round-trip requests)
  changes           has another tool from its first call on, and says so
  restless          says that its tools changed whenever they are listed
  nan               says that its version is NaN
  keyed             says its name among the keys of what it says of itself, too
  skills=JSON       serves these Agent Skills (`raw_skills.py`)
  apps=JSON         serves these tools, pages and methods (`raw_apps.py`)
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
write_lock = threading.Lock()


def say(*messages: Json) -> None:
    with write_lock:
        sys.stdout.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
        sys.stdout.flush()


def complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def tool(name: str, **more: Any) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def ask(*methods: str) -> None:
    for number, method in enumerate(methods):
        say({"id": f"q{number}", "method": method})


class Server:
    def __init__(self, behaviours: Iterable[str]) -> None:
        self.has: dict[str, str] = dict(b.partition("=")[::2] for b in behaviours)
        self.name = self.has.get("name", "raw")
        self.called = False
        self.declared: Json = {}
        self.answers: queue.Queue[Json] = queue.Queue()
        self.skills: Json = json.loads(self.has.get("skills", "{}"))
        self.apps: Json = json.loads(self.has.get("apps", "{}"))

    def hello(self) -> Json:
        capabilities: Json = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
        if self.skills:
            capabilities |= ours("raw_skills").capabilities(self.skills)
        able = self.has.get("able", "{}")
        if able.startswith("@"):
            able = Path(able[1:]).read_text()
        return {
            "capabilities": capabilities | json.loads(able),
            "instructions": f"I am {self.name}.",
        }

    def answer(self, method: str, params: Json) -> Json:
        """The result of a request, or an error as an exception's argument."""
        meta = params.get("_meta") or {}
        modern = VERSION_KEY in meta
        if f"error:{method}" in self.has:
            code = int(self.has[f"error:{method}"] or -31999)
            raise LookupError({"code": code, "message": "as I say", "data": {"why": [1, None]}})
        if method == "initialize":
            self.declared = params.get("capabilities") or {}
            if "modern-only" in self.has:
                raise LookupError({"code": -32022, "message": "modern only", "data": {"supported": [MODERN]}})
            if "curious" in self.has:
                ask("ping", "roots/list", "sampling/createMessage", "elicitation/create")
            info: dict[str, Any] = {"name": self.name, "version": float("nan") if "nan" in self.has else "1"}
            if "keyed" in self.has:
                info[self.name] = {self.name: "1"}
            return {"protocolVersion": self.has.get("version", "2025-11-25"), "serverInfo": info, **self.hello()}
        if modern and not {"modern", "modern-only"} & self.has.keys():
            raise LookupError({"code": -32601, "message": "what?"})
        if not modern and "modern-only" in self.has:
            raise LookupError({"code": -32602, "message": "no envelope"})
        result = self.result(method, params, "modern" if modern else "legacy")
        if modern:
            result = {"resultType": "complete", "ttlMs": 7000, "cacheScope": "public", **result}
        return result

    def result(self, method: str, params: Json, era: str) -> Json:
        if self.skills and (found := ours("raw_skills").answer(self.skills, method, params)) is not None:
            return dict(found)
        if self.apps and (found := ours("raw_apps").answer(self.apps, self, method, params)) is not None:
            return dict(found)
        if method in RESULTS:
            return RESULTS[method](self, params, era)
        raise LookupError({"code": -32601, "message": f"no {method}"})

    def call(self, params: Json, era: str) -> Json:
        if "asks" in self.has:
            ask("ping", "sampling/createMessage")
        if "asks" in self.has or "curious" in self.has:
            count = 2 if "asks" in self.has else 4
            answers = sorted((self.answers.get(timeout=60) for _ in range(count)), key=lambda answer: str(answer["id"]))
            return {"content": [{"type": "text", "text": json.dumps(answers)}]}
        for number in range(40 if "progresses" in self.has else 0):
            token = (params.get("_meta") or {}).get("progressToken")
            text = "x" * int(self.has["progresses"])
            progress = {"progressToken": token, "progress": number, "message": text}
            say({"method": "notifications/progress", "params": progress})
        if "input" in self.has:
            return {"resultType": "input_required", "inputRequests": {}}
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

    def prompt(self, params: Json, era: str) -> Json:
        embedded = {"type": "resource", "resource": {"uri": "raw://one", "text": "1"}}
        return {"messages": [{"role": "user", "content": embedded}], "description": self.name}

    def resource(self, params: Json, era: str) -> Json:
        return {"contents": [{"uri": params["uri"], "text": f"{self.name}: {params['uri']}"}]}

    def tools(self, params: Json, era: str) -> Json:
        cursor = params.get("cursor")
        page: Json = {"tools": [tool(self.has.get("tool", "echo"), description=era, vendorKey={"x": [1]})]}
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
            number = 1 if cursor == "" else int(cursor or 0)
            page["tools"] = [tool(f"tool{number}")]
            if number + 1 < int(self.has["pages"]):
                page["nextCursor"] = "" if number == 0 else str(number + 1)
        if "odd-entries" in self.has:
            page["tools"] += [{"title": "nameless"}, "not an object", tool("echo", description="second")]
        return page

    def handle(self, message: Json) -> None:
        method = message.get("method")
        if f"says:{method}" in self.has:
            print(self.has[f"says:{method}"], file=sys.stderr, flush=True)
        for number in range(int(self.has.get(f"floods:{method}", "0"))):
            print(f"{number:999}", file=sys.stderr)
        if f"exit:{method}" in self.has:
            os._exit(4)
        if f"closes:{method}" in self.has:
            os.close(1)
            return
        if method is None:
            self.answers.put(message)
        if "id" not in message or method is None or f"hang:{method}" in self.has:
            return
        if f"slow:{method}" in self.has:
            time.sleep(float(self.has[f"slow:{method}"]))
        if "noise" in self.has:
            print("loading model... 42%\n\n{}", flush=True)
        if f"unended:{method}" in self.has:
            os.write(1, json.dumps(self.response(message)).encode())
            os._exit(0)
        say(self.response(message))
        if "changes" in self.has and method == "tools/call":
            self.called = True
            say({"method": "notifications/tools/list_changed"})
        if "restless" in self.has and method == "tools/list":
            say({"method": "notifications/tools/list_changed"})

    def response(self, message: Json) -> Json:
        try:
            result = self.answer(message["method"], message.get("params") or {})
            return {"jsonrpc": "2.0", "id": message["id"], "result": result}
        except LookupError as exc:
            return {"jsonrpc": "2.0", "id": message["id"], "error": exc.args[0]}

    def note(self, line: str) -> None:
        if "log" in self.has:
            append(self.has["log"], line)

    def run(self) -> None:
        for behaviour, act in AT_START.items():
            if behaviour in self.has:
                act(self.has[behaviour])
        if "http" in self.has:
            self.serve_http()
        for line in sys.stdin:
            self.note(line)
            message = json.loads(line)
            if "prim" in self.has and "id" not in message:
                say({"id": None, "error": {"code": -32601, "message": "what?"}})
            threading.Thread(target=self.handle, args=(message,), daemon=True).start()
            while f"deaf:{message.get('method')}" in self.has:
                time.sleep(600)
        while "stubborn" in self.has:
            time.sleep(600)

    def serve_http(self) -> None:
        with ours("raw_http").Web(self) as web:
            complain(f"listening on http://127.0.0.1:{web.server_port}")
            web.serve_forever()


RESULTS: dict[str, Callable[[Server, Json, str], Json]] = {
    "server/discover": lambda server, params, era: {
        "supportedVersions": [server.has.get("version", MODERN)],
        **server.hello(),
    },
    "tools/list": Server.tools,
    "tools/call": Server.call,
    "prompts/list": lambda server, params, era: {"prompts": [{"name": "greet", "vendor": 1}]},
    "prompts/get": Server.prompt,
    "resources/list": lambda server, params, era: {"resources": [{"uri": "raw://one", "name": "one"}]},
    "resources/templates/list": lambda server, params, era: {
        "resourceTemplates": [{"uriTemplate": "raw://item/{id}", "name": "item"}]
    },
    "resources/read": Server.resource,
    "completion/complete": lambda server, params, era: {
        "completion": {"values": [server.name, json.dumps(params["ref"])]}
    },
    "ping": lambda server, params, era: {},
    "resources/subscribe": lambda server, params, era: {},
    "resources/unsubscribe": lambda server, params, era: {},
    "logging/setLevel": lambda server, params, era: {},
}
"""What it answers, by method; given are the server, the params and the era."""


def ours(module: str) -> Any:
    """A module beside this one, which takes its time to import, or is for a few."""
    if (root := os.path.abspath(os.path.join(__file__, "../../.."))) not in sys.path:
        sys.path.insert(0, root)
    return import_module(f"tests.support.{module}")


def start_daemon(path: str) -> None:
    command = ["sleep", "600"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    append(path, f"{child.pid}\n")


def refuse_to_start(_: str) -> None:
    complain("raw_server: no licence")
    sys.exit(3)


def start_orphan(_: str) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)


AT_START: dict[str, Callable[[str], object]] = {
    "count": lambda path: append(path, f"{os.getpid()}\n"),
    "says:start": complain,
    "daemon": start_daemon,
    "exit:start": refuse_to_start,
    "stubborn": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "orphan": start_orphan,
    "holds": lambda _: subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL),
    "noise": lambda _: print("Welcome to the server!", flush=True),
}
"""What it does before it reads anything, by behaviour and in this order; given is what follows `=`."""


if __name__ == "__main__":
    Server(sys.argv[1:]).run()
