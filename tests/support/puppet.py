"""An MCP server over stdio that a test plays: `python puppet.py PORT [BEHAVIOUR...]`; see `ends.py`.

It greets and lists as `raw_server.py` does, with its behaviours. Tool calls, answers and notifications go to the test,
to 127.0.0.1:PORT, one line for each; each line that comes from there has messages that go to the client at once. With
the behaviour `play:METHOD` the test answers that method, too.
"""

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.raw_server import Server, say


def main() -> None:
    server = Server(sys.argv[2:])
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as test:

        def speak() -> None:
            with suppress(ConnectionError), test.makefile("rb") as lines:
                for line in lines:
                    say(*json.loads(line))

        threading.Thread(target=speak, daemon=True).start()
        for line in sys.stdin:
            message = json.loads(line)
            method = message.get("method")
            if "id" in message and method not in (None, "tools/call") and f"play:{method}" not in server.has:
                say(server.response(message))
            elif method != "notifications/initialized":
                note = {"pid": os.getpid(), "at": time.monotonic(), "message": message}
                with suppress(ConnectionError):  # the test may be over
                    test.sendall(json.dumps(note).encode() + b"\n")


if __name__ == "__main__":
    main()
