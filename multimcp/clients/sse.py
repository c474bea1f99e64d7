"""The older HTTP with SSE toward clients: `/sse` is the stream, `/messages/` takes what the client posts.

Rules:
- The client lives as long as its stream.
- A message is taken, or refused, at once ("202 Accepted"); its answer comes on the stream.

Spec: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs

from multimcp.errors import Fault
from multimcp.protocol.calls import Origin
from multimcp.protocol.framing import as_event
from multimcp.protocol.http import Refusal, asked_spelling, refusal
from multimcp.protocol.outbox import Outbox
from multimcp.protocol.peer import Front, Peer

from .asgi import Receive, Scope, Send, read_body, refuse, reply, stream


class Sse:
    """The endpoints `/sse` and `/messages/`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._peers: dict[str, Peer] = {}
        self._outboxes: dict[Peer, Outbox] = {}

    def close(self) -> None:
        """End all streams."""
        for outbox in self._outboxes.values():
            outbox.end()

    def check_keys(self, is_good: Callable[[bytes | None], bool]) -> None:
        """End the streams whose key is good no more."""
        for peer, outbox in list(self._outboxes.items()):
            if not is_good(peer.key):
                outbox.end()

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client for as long as its stream is open."""
        try:
            if scope["method"] != "GET":
                raise refusal(405, "GET opens the stream", (b"allow", b"GET"))
            try:
                origin = Origin("sse", asked_spelling(scope.get("query_string", b"")), key=scope.get("key"))
                with self._front.clients.streaming():
                    await self._serve(origin, scope.get("root_path", ""), receive, send)
            except ValueError as exc:
                raise refusal(400, str(exc)) from None
            except Fault as fault:
                raise Refusal(503, fault) from None
        except Refusal as refused:
            await refuse(send, refused)

    async def _serve(self, origin: Origin, root: str, receive: Receive, send: Send) -> None:
        number = secrets.token_hex(16)
        outbox = Outbox(self._front.clients.limits.unread, lambda: self._overflow(number, outbox))
        peer = self._peers[number] = Peer(self._front, number, origin, lambda data: outbox.put(as_event(data)))
        self._outboxes[peer] = outbox
        try:
            endpoint = f"event: endpoint\r\ndata: {root}/messages/?session_id={number}\r\n\r\n"
            await stream(outbox, receive, send, endpoint.encode())
        finally:
            del self._outboxes[peer]
            self._leave(number)

    async def message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one message of a client."""
        try:
            if scope["method"] != "POST":
                raise refusal(405, "POST takes messages", (b"allow", b"POST"))
            headers = dict(scope["headers"])
            if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                raise refusal(415, "send the body as it is: no Content-Encoding is taken")
            number = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]
            peer = self._find(number, scope)
            with suppress(ConnectionError):
                body = await read_body(receive, headers, self._front.clients)
                self._find(number, scope)  # its stream may have ended meanwhile, and nobody would end what begins now
                if (fault := peer.receive(body)) is not None:
                    raise Refusal(400, fault)
                await reply(send, 202, b"Accepted")
        except Refusal as refused:
            await refuse(send, refused)

    def _find(self, number: str, scope: Scope) -> Peer:
        peer = self._peers.get(number)
        if peer is None or peer.key != scope.get("key"):
            raise refusal(404, "there is no such session: open a stream first")
        return peer

    def _leave(self, number: str) -> None:
        if (peer := self._peers.pop(number, None)) is not None:
            peer.leave()

    def _overflow(self, number: str, outbox: Outbox) -> None:
        """End a session now: its stream may not end for long, as nobody reads it."""
        self._front.clients.warn("a client does not read its stream: its session is ended")
        outbox.end()
        self._leave(number)
