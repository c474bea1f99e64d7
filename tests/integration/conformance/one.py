"""A proxy of one server, made of Multi-MCP, as other proxies of one server are started.

    one.py --port PORT COMMAND ARGUMENT…      the server's command line, in many words
    one.py --port PORT --stdio LINE           the same in one
    one.py --port PORT URL                    where it is reached

A server that ends at once keeps it from starting, and so does one that does not answer.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from multimcp.serving.cli import main

CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "one", "version": "1"}}
HELLO = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": CLIENT}

if __name__ == "__main__":
    _, _, port, *words = sys.argv
    if words[0] == "--stdio":
        words = shlex.split(words[1])
    url = words[0].startswith("http")
    if not url:
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(HELLO).encode() + b"\n")
            server.stdin.flush()
            answered = server.stdout.readline()
            server.kill()
        if not answered:
            sys.exit("the server has ended")
    entry = {"url": words[0]} if url else {"command": words[0], "args": words[1:]}
    config = Path(f"one-{port}.json")
    config.write_text(json.dumps({"mcpServers": {"it": entry}}))
    sys.exit(main(["--transport", "http", "--config", str(config), "--port", port]))
