"""A bare MCP server on stdio that does what no SDK server would. Standard library only, so it starts in no time.

`python raw_server.py [BEHAVIOUR...]`; without any it is a decent legacy server with a tool `echo`.

  name=N            calls itself N
  hang:METHOD       never answers METHOD
  exit:METHOD       exits when METHOD arrives
  exit:start        exits at once, with code 3
  error:METHOD      answers METHOD with a JSON-RPC error that has data
  slow:METHOD=S     answers METHOD after S seconds
  modern            speaks both eras
  modern-only       speaks 2026-07-28 only: refuses initialize, wants the envelope
  noise             prints rubbish to stdout, between messages and at the start
  loop              pages of tools that come round again
  endless           pages of tools without end
  pages=N           tools come in N pages, the second under the empty cursor
  odd-entries       lists tools without a name, and one twice
  orphan            starts a child that ignores SIGTERM and outlives stdin
  stubborn          ignores SIGTERM and the end of stdin
  links=URI         links to URI in what its tool returns
  log=FILE          appends every message it gets to FILE
  count=FILE        appends a line to FILE when started
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
write_lock = threading.Lock()


def say(message):
    with write_lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def tool(name, **more):
    return {"name": name, "inputSchema": {"type": "object"}, **more}


class Server:
    def __init__(self, behaviours):
        pairs = [b.partition("=")[::2] for b in behaviours]
        self.has = dict(pairs)
        self.name = self.has.get("name", "raw")

    def hello(self):
        return {
            "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
            "instructions": f"I am {self.name}.",
        }

    def answer(self, method, params):
        """The result of a request, or an error as an exception's argument."""
        meta = params.get("_meta") or {}
        modern = VERSION_KEY in meta
        if f"error:{method}" in self.has:
            raise LookupError({"code": -31999, "message": "as I say", "data": {"why": [1, None]}})
        if method == "initialize":
            if "modern-only" in self.has:
                raise LookupError({"code": -32022, "message": "modern only", "data": {"supported": [MODERN]}})
            info = {"name": self.name, "version": "1"}
            return {"protocolVersion": "2025-11-25", "serverInfo": info, **self.hello()}
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
            return {"supportedVersions": [MODERN], **self.hello()}
        if method == "tools/list":
            return self.tools(params.get("cursor"), era)
        if method == "tools/call":
            links = [{"type": "resource_link", "uri": self.has["links"], "name": "l"}] if "links" in self.has else []
            seen = {"type": "text", "text": json.dumps({"server": self.name, "era": era, "params": params})}
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
        if method == "ping":
            return {}
        raise LookupError({"code": -32601, "message": f"no {method}"})

    def tools(self, cursor, era):
        page = {"tools": [tool("echo", description=era, vendorKey={"x": [1]})]}
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
        method, params = message.get("method"), message.get("params") or {}
        if f"exit:{method}" in self.has:
            os._exit(4)
        if "id" not in message or method is None or f"hang:{method}" in self.has:
            return
        if f"slow:{method}" in self.has:
            time.sleep(float(self.has[f"slow:{method}"]))
        if "noise" in self.has:
            print("loading model... 42%\n\n{}", flush=True)
        try:
            say({"id": message["id"], "result": self.answer(method, params)})
        except LookupError as exc:
            say({"id": message["id"], "error": exc.args[0]})

    def run(self):
        if "count" in self.has:
            with open(self.has["count"], "a") as file:
                file.write(f"{os.getpid()}\n")
        if "exit:start" in self.has:
            print("raw_server: no licence", file=sys.stderr)
            sys.exit(3)
        if "stubborn" in self.has:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "orphan" in self.has:
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
        if "noise" in self.has:
            print("Welcome to the server!", flush=True)
        for line in sys.stdin:
            if "log" in self.has:
                with open(self.has["log"], "a") as file:
                    file.write(line)
            threading.Thread(target=self.handle, args=(json.loads(line),), daemon=True).start()
        while "stubborn" in self.has:
            time.sleep(600)


if __name__ == "__main__":
    Server(sys.argv[1:]).run()
