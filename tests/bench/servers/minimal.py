"""A server over stdio that costs next to nothing, for measuring with many of them: no SDK, the standard library alone.

python minimal.py [TOOLS]
"""

import json
import sys

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
COMPLETE = {"resultType": "complete"}
CACHE = {"ttlMs": 0, "cacheScope": "private"}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    names = ["echo", *(f"tool_{number}" for number in range(1, count))]
    tools = [{"name": name, "description": "Returns its argument.", "inputSchema": SCHEMA} for name in names]
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" not in request:
            continue
        params = request.get("params", {})
        if request["method"] == "initialize":
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {"listChanged": True}}}
            result["serverInfo"] = {"name": "minimal", "version": "1"}
        elif request["method"] == "server/discover":
            result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}}, **CACHE}
        elif request["method"] == "tools/list":
            result = {"tools": tools, **CACHE}
        elif request["method"] == "tools/call":
            result = {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
        else:
            result = {}
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": COMPLETE | result}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
