"""An MCP server over stdio that says what it is told to say, and writes down what it hears. Standard library only.

`python scripted_server.py LOG ERA [CAPABILITIES]`; ERA is legacy, modern, or both; CAPABILITIES is JSON.

- The tool `say` sends the messages in `first`, then its result, then the messages in `then`. In them, "$token" stands
  for its call's progress token. `wait` holds its result back until a tool call `go` comes. `die` ends the process.
- `subscriptions/listen` is acknowledged, and ended by the tool `hush`.
- Other requests are answered with what was asked, and with their parameter `result`.
- Every message heard is appended to LOG.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

LOG, ERA, CAPABILITIES = (*sys.argv[1:], "{}")[:3]
ENVELOPE = "io.modelcontextprotocol/"
lock = threading.Lock()
go = threading.Event()
listening: dict[Any, Json] = {}


def say(message: Json) -> None:
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def send_all(messages: Iterable[Json], token: Any) -> None:
    for message in messages:
        say(json.loads(json.dumps(message).replace('"$token"', json.dumps(token))))


def hello() -> Json:
    capabilities: Json = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
    info = {"name": "scripted", "version": "1"}
    return {"capabilities": {**capabilities, **json.loads(CAPABILITIES)}, "serverInfo": info}


def answer(method: str, params: Json) -> Json:
    match method:
        case "initialize" if ERA != "modern":
            return {"protocolVersion": "2025-11-25", **hello()}
        case "server/discover" if ERA != "legacy":
            return {"supportedVersions": ["2026-07-28"], **hello()}
        case "initialize" | "server/discover":
            raise LookupError
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("say", "go", "hush")]}
        case "resources/list":
            return {"resources": [{"uri": "test://a", "name": "a"}, {"uri": "test://b", "name": "b"}]}
        case "resources/templates/list" | "prompts/list":
            raise LookupError
        case "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel":
            return {}
    return {"content": [], "asked": {"method": method, "params": params}, **params.get("result", {})}


def handle(message: Json) -> None:
    method, params = message["method"], message.get("params") or {}
    arguments = params.get("arguments") or {}
    token = (params.get("_meta") or {}).get("progressToken")
    if method == "subscriptions/listen":
        listening[message["id"]] = params["notifications"]
        meta = {f"{ENVELOPE}subscriptionId": message["id"]}
        acknowledgment = {"notifications": params["notifications"], "_meta": meta}
        say({"method": "notifications/subscriptions/acknowledged", "params": acknowledgment})
        return
    if params.get("name") == "go":
        go.set()
    if params.get("name") == "hush":
        while listening:
            say({"id": listening.popitem()[0], "result": {"resultType": "complete"}})
    if arguments.get("die"):
        os._exit(7)
    send_all(arguments.get("first", []), token)
    if arguments.get("wait"):
        go.wait(60)
        go.clear()
    try:
        say({"id": message["id"], "result": {"resultType": "complete", **answer(method, params)}})
    except LookupError:
        say({"id": message["id"], "error": {"code": -32601, "message": f"no {method}"}})
    send_all(arguments.get("then", []), token)


for line in sys.stdin:
    with open(LOG, "a") as file:
        file.write(line)
    heard = json.loads(line)
    if "method" in heard and "id" in heard:
        threading.Thread(target=handle, args=(heard,), daemon=True).start()
