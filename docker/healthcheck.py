"""The image's HEALTHCHECK: exits with 0 when the proxy in this container answers on its port, else says why not.

It is run again and again beside the proxy, so it imports next to nothing.
"""

import os
import socket
import sys

TIMEOUT = 3.0
"""Seconds for the connection, and again for the answer."""


def main() -> str | None:
    """What is wrong, if anything."""
    port = os.environ["MULTI_MCP_PORT"]
    try:
        with socket.create_connection(("localhost", int(port)), TIMEOUT) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            status = connection.makefile("rb").readline().decode("latin-1").strip()
    except OSError as exc:
        return f"port {port} (MULTI_MCP_PORT) does not answer: {exc}"
    return None if status.split()[1:2] == ["200"] else f"/healthz answered {status!r}"


if __name__ == "__main__":
    sys.exit(main())
