"""An MCP server of little overhead for the soak, in both eras: over stdio, or with `http` over HTTP (`web.py`).

Its tools:

  echo {text}     returns the text
  steps {n}       tells progress n times, then returns n
  hang {}         tells progress once, and never answers: it has to be cancelled
  pause {key}     tells progress, waits for `go` with the same key, tells progress again, and returns the key
  go {key}        see `pause`
  cut {key}       like `go`, but over legacy HTTP the stream of `pause` breaks off; the client has to resume it
  ask {text}      asks the user, and returns the answer
  change {}       says that the tools changed
  rubbish {text}  writes what is no MCP, then returns the text
  held {}         returns how many `hang` and `pause` are in flight
  die {}          ends the process
  up {}           returns its process, and the seconds that it took to start
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
MODERN = "2026-07-28"
TOOLS = ("echo", "steps", "hang", "pause", "go", "cut", "ask", "change", "rubbish", "held", "die", "up")
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
RESULTS: dict[str, dict[str, Any]] = {
    "server/discover": {"supportedVersions": [MODERN], "capabilities": CAPABILITIES},
    "tools/list": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]},
    "resources/list": {"resources": [{"uri": "soak://one", "name": "one"}]},
    **{key: {} for key in ("ping", "resources/subscribe", "resources/unsubscribe", "logging/setLevel")},
}
CUT = object()

Json = dict[str, Any]
Say = Callable[[Any], None]


class Request:
    """One request, and what is said during it."""

    def __init__(self, message: Json, params: Json, meta: Json, era: str, say: Say) -> None:
        self.id = message["id"]
        self.params = params
        self.era = era
        self.say = say
        self._meta = meta

    def answer(self, result: Json) -> None:
        if self.era == "modern":
            result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} | result
        self.say({"jsonrpc": "2.0", "id": self.id, "result": result})

    def text(self, words: object) -> None:
        self.answer({"content": [{"type": "text", "text": str(words)}]})

    def tell(self, method: str, params: Json | None = None) -> None:
        self.say({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    def progress(self, number: int) -> None:
        if "progressToken" in self._meta:
            told = {"progressToken": self._meta["progressToken"], "progress": number}
            self.tell("notifications/progress", told)


class Server:
    """What it does, whatever carries its messages: `say` takes what belongs to a request, its answer last."""

    def __init__(self, eras: tuple[str, ...] = ("legacy", "modern")) -> None:
        self._eras = eras
        self._start = since_start()
        self._numbers = count(1)
        self._asked: dict[int, Callable[[Json], None]] = {}
        self._held: dict[object, tuple[Json, Say]] = {}
        self._paused: dict[str, object] = {}

    def take(self, message: Json, say: Say, who: object = None) -> None:
        """Take one message of the client `who`; what it cannot use is answered with an error."""
        try:
            self._take(message, say, who)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            say(refusal(message.get("id"), exc))

    def _take(self, message: Json, say: Say, who: object) -> None:
        method = message.get("method")
        params = message.get("params") or {}
        if method is None:
            if (then := self._asked.pop(message["id"], None)) is not None:
                then(message)
        elif "id" not in message:
            if method == "notifications/cancelled":
                self._held.pop((who, params["requestId"]), None)
        else:
            meta = params.get("_meta") or {}
            era = "modern" if VERSION_KEY in meta else "legacy"
            if era not in self._eras:
                code = -32022 if era == "legacy" else -32601
                data = {"supported": [MODERN], "requested": params.get("protocolVersion")}
                say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "no", "data": data}})
            else:
                self._request(message, method, params, meta, era, say, who)

    def _request(self, message: Json, method: str, params: Json, meta: Json, era: str, say: Say, who: object) -> None:
        request = Request(message, params, meta, era, say)
        if method != "tools/call":
            other(method, request)
            return
        name, given = params["name"], params.get("arguments") or {}
        if name in ("hang", "pause"):
            self._held[who, message["id"]] = message, say
            if name == "pause":
                self._paused[given["key"]] = who, message["id"]
            request.progress(1)
        elif name in ("go", "cut"):
            self._go(self._paused.pop(given["key"]), name)
            request.text(given["key"])
        elif name == "ask":
            self._ask(request, given)
        elif name == "up":
            request.text(json.dumps({"pid": os.getpid(), "start": self._start}))
        elif name == "held":
            request.text(len(self._held))
        else:
            simple(name, given, request)

    def _go(self, place: object, name: str) -> None:
        message, say = self._held.pop(place)
        if name == "cut":
            say(CUT)
        told = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": 2}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
        content = [{"type": "text", "text": message["params"]["arguments"]["key"]}]
        say({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", "content": content}})

    def _ask(self, request: Request, given: Json) -> None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        asked = {"mode": "form", "message": given["text"], "requestedSchema": schema}
        if request.era == "legacy":
            number = next(self._numbers)
            self._asked[number] = lambda reply: request.text(reply.get("result", {}).get("content", {}).get("name"))
            request.say({"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": asked})
        elif "inputResponses" in request.params:
            request.text(request.params["inputResponses"]["q"]["content"]["name"])
        else:
            requests = {"q": {"method": "elicitation/create", "params": asked}}
            request.answer({"resultType": "input_required", "inputRequests": requests, "requestState": "s"})


def since_start() -> float:
    """Seconds since this process was started."""
    with open("/proc/self/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def refusal(number: object, reason: object) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": repr(reason)[:200]}}


def simple(name: str, given: Json, request: Request) -> None:
    """The tools that remember nothing."""
    if name == "steps":
        for number in range(given["n"]):
            request.progress(number)
        request.text(given["n"])
    elif name == "change":
        request.tell("notifications/tools/list_changed")
        request.text("changed")
    elif name == "die":
        os._exit(3)
    else:
        if name == "rubbish":
            request.say({"rubbish": [None]})
        request.text(given["text"])


def other(method: str, request: Request) -> None:
    """What is no call."""
    params = request.params
    if method == "initialize":
        info = {"name": "soak", "version": "1"}
        request.answer({"protocolVersion": params["protocolVersion"], "capabilities": CAPABILITIES, "serverInfo": info})
    elif method == "subscriptions/listen":
        meta = {"io.modelcontextprotocol/subscriptionId": request.id}
        told = {"notifications": params["notifications"], "_meta": meta}
        request.tell("notifications/subscriptions/acknowledged", told)
    elif (result := RESULTS.get(method)) is not None:
        request.answer(result)
    else:
        request.say({"jsonrpc": "2.0", "id": request.id, "error": {"code": -32601, "message": f"no {method}"}})


def serve_stdio() -> None:
    server, rest = Server(), b""
    out: list[Any] = []
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        out.clear()
        for line in lines:
            try:
                server.take(json.loads(line), out.append)
            except (ValueError, RecursionError) as exc:
                found = re.match(rb'{"jsonrpc":"2.0","id":(\d+)', line)
                out.append(refusal(int(found[1]) if found else None, exc))
        data = "".join(json.dumps(message) + "\n" for message in out if message is not CUT).encode()
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        sys.path.insert(0, os.path.abspath(os.path.join(__file__, "../../..")))
        from tests.soak.web import serve_http  # apart, as programs that serve stdio start many times

        serve_http(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    else:
        serve_stdio()
