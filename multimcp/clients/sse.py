"""The older HTTP with SSE toward clients: `/sse` is the stream, `/messages/` takes what the client posts.

Rules:
- The client lives as long as its stream.
- A message is taken, or refused, at once ("202 Accepted"); its answer comes on the stream.

Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import logging
import secrets
from urllib.parse import parse_qs

from multimcp.protocol.calls import Origin
from multimcp.protocol.framing import as_event
from multimcp.proxy import Proxy

from .asgi import Receive, Scope, Send, asked_spelling, read_body, refuse, reply
from .http import stream
from .peer import Outbox, Peer

logger = logging.getLogger(__name__)


class Sse:
    """The endpoints `/sse` and `/messages/`."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._peers: dict[str, Peer] = {}
        self._outboxes: set[Outbox] = set()

    def close(self) -> None:
        """End all streams."""
        for outbox in self._outboxes:
            outbox.end()

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client for as long as its stream is open."""
        if scope["method"] != "GET":
            await refuse(send, 405, "GET opens the stream", (b"allow", b"GET"))
            return
        try:
            origin = Origin("sse", asked_spelling(scope))
        except ValueError as exc:
            await refuse(send, 400, str(exc))
            return
        number = secrets.token_hex(16)
        outbox = Outbox(lambda: self._overflowed(outbox))
        peer = self._peers[number] = Peer(self._proxy, number, origin, lambda data: outbox.put(as_event(data)))
        self._outboxes.add(outbox)
        endpoint = f"{scope.get('root_path', '')}/messages/?session_id={number}"
        try:
            await stream(outbox, receive, send, f"event: endpoint\r\ndata: {endpoint}\r\n\r\n".encode())
        finally:
            del self._peers[number]
            self._outboxes.discard(outbox)
            peer.leave()

    async def message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one message of a client."""
        if scope["method"] != "POST":
            await refuse(send, 405, "POST takes messages", (b"allow", b"POST"))
            return
        number = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]
        peer = self._peers.get(number)
        if peer is None:
            await refuse(send, 404, "there is no such session: open a stream first")
            return
        try:
            body = await read_body(receive, dict(scope["headers"]))
        except ConnectionError:
            return
        if body is None:
            await refuse(send, 413, "the message is too large")
            return
        await reply(send, 202, b"Accepted")
        peer.receive(body)

    def _overflowed(self, outbox: Outbox) -> None:
        logger.warning("a client does not read its stream: it is ended")
        outbox.end()
