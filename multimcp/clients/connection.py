"""One connection of a client over HTTP, bounded in bytes, time and number: what uvicorn leaves open.

Rules:
- A head that is too large is answered with 431; a connection that sends its head too slowly, or none at all after it
  was opened, is closed. In between requests uvicorn's own time for a kept connection holds.
- A body has to go on: a piece of `PIECE` bytes, or its end, within `body_time`; else the answer is 408. Who still sends
  one after its request was answered is given `LINGER` seconds to read that.
- A client that does not read what it asked for is not read from, either, and closed after `unread_time`.
- Where there are too many connections, one that waits for a request goes: the one that waited longest, but one that
  never had any where those have half of the places. Where all are busy, the new one is refused.
- What is no HTTP/1.1 is answered with 400, unless an answer is on its way already. Nothing is upgraded: a request that
  asks for it (Java's client does, for HTTP/2) is answered as if it did not.
- A request whose head and body come at once, as all do, costs some flags: no timer, no look at its bytes.
"""

import asyncio
import resource
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from multimcp.errors import Fault
from multimcp.protocol.calls import Clients
from multimcp.protocol.http import is_elsewhere
from multimcp.protocol.message import INVALID_REQUEST, answer, failed

LINGER = 2.0
PIECE = 1 << 16

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_RESERVED = 1024
"""Descriptors that are left for servers, files and pipes at most."""


def most_connections(wanted: int) -> int:
    """How many connections there may be: as many as wanted, or as descriptors allow, whose own limit is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + _RESERVED
    if soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - min(_RESERVED, soft // 4))


class Connections:
    """The connections of all clients, and what they cost together."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.limits = clients.limits
        self.most = most_connections(clients.limits.connections)
        self.open: set[BoundedConnection] = set()
        self.silent: dict[BoundedConnection, None] = {}
        """Those that never had a request, the oldest first."""
        self.kept: dict[BoundedConnection, None] = {}
        """Those that wait for another request, the one that waits longest first."""

    def admit(self, connection: "BoundedConnection") -> bool:
        """Take a new one; where there are too many, another one goes. Returns whether there is room for it."""
        if len(self.open) >= self.most:
            self.clients.warn("clients: more than %d connections: one without a request is closed", self.most)
            are_many = 2 * len(self.silent) >= self.most  # a flood, and not only some that come at once
            victim = next(iter(self.silent if are_many else self.kept or self.silent), None)
            if victim is None:
                return False
            self.forget(victim)
            victim.transport.abort()
        self.open.add(connection)
        self.silent[connection] = None
        return True

    def busy(self, connection: "BoundedConnection") -> None:
        """It has a request."""
        self.silent.pop(connection, None)
        self.kept.pop(connection, None)

    def forget(self, connection: "BoundedConnection") -> None:
        """It is gone."""
        self.busy(connection)
        self.open.discard(connection)


class BoundedConnection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, all: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._all = all
        self._limits = all.limits
        self._is_in_head, self._has_begun = True, False
        self._is_replayed = self._has_ended = self._is_running = False
        self._size = 0
        """Bytes of the head so far; of the body since the timer was set."""
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._unread = 0

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._all.admit(self):
            self._wait(self._limits.head_time)
        else:
            self._refuse(503, "too many connections are open: try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.forget(self)
        self._all.clients.unread.drop(self)
        self.pipeline.clear()
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._has_begun and not self.transport.is_closing():
            self._refuse(400, "a request ended before it was whole")

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        limit, at = self._limits.head, 0
        while at < len(data) and not self.transport.is_closing():
            if self._is_in_head and self._size >= limit:
                self._refuse(431, f"a head of more than {limit} bytes is refused")
                return
            part = data[at : at + limit - self._size] if self._is_in_head else data[at : at + PIECE]
            self._has_ended = False
            at += self._parse(part)
            if not self._has_ended:
                self._size += len(part)
        if self._has_begun or self._size:
            self._wait(self._limits.head_time if self._is_in_head else self._limits.body_time)
        elif self._timer is not None and self.cycle is not None:
            self._end_timer()

    def shutdown(self) -> None:
        """The proxy ends: nobody waits for the rest of a request."""
        if self._has_begun and not self._is_in_head and not self.transport.is_closing():
            self._refuse(503, "a request that is not whole when Multi-MCP ends is refused")
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flow.pause_reading()
        self._watch()
        self._all.clients.unread.hold(self, self._unread)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._all.clients.unread.drop(self)
        super().resume_writing()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._go_on()

    # What the parser calls

    def on_message_begin(self) -> None:
        if not self._is_replayed:
            self._has_begun = True
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_replayed:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_replayed:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replayed:
            return
        if is_elsewhere(self.url, self.headers):
            raise ValueError("it is for another host")
        self._is_in_head, self._size = False, 0
        self._end_timer()
        self._all.busy(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_in_head, self._has_begun, self._has_ended = True, False, True
        self._size = 0
        super().on_message_complete()

    # Inside

    def _parse(self, data: bytes) -> int:
        """Have it parsed; returns how much of it was."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser takes what comes now for another protocol. A new one takes it for the body that it is.
            framing = [name + b": " + value for name, value in self.headers if name in _FRAMING]
            self.parser = httptools.HttpRequestParser(self)
            self._is_replayed = True
            self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"\r\n"]))
            self._is_replayed = False
            return int(upgrade.args[0])
        except httptools.HttpParserError:
            self._refuse(400, "a request that is not HTTP/1.1, or contradicts itself, is refused")
        return len(data)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._is_running = True
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._is_running = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch()
            return
        self._go_on()
        if self._has_begun and not self._is_in_head and self.cycle.response_complete:
            self._end_timer()
            self._timer = self.loop.call_later(LINGER, self._close)

    def _go_on(self) -> None:
        """Begin the next request that has come, or wait for one: once the client has read the last answer."""
        if self._is_running or self.flow.write_paused:
            return
        self._unset_keepalive_if_required()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._all.kept[self] = None
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if not self.pipeline:
            self.flow.resume_reading()

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._expire)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._all.clients.warn("client: no head of a request within %g s: closed", self._limits.head_time)
            self._close()
        elif self.flow.read_paused or self._size >= PIECE:
            self._size = 0
            self._wait(self._limits.body_time)
        else:
            self._refuse(408, f"a body that does not go on within {self._limits.body_time:g} s is refused")

    def _close(self) -> None:
        self.transport.close()
        self._watch()

    timeout_keep_alive_handler = _close

    def _watch(self) -> None:
        """Have it closed at once when the client reads nothing of what waits for it."""
        self._unread = self.transport.get_write_buffer_size()
        if self._unread and self._stalled is None:
            self._stalled = self.loop.call_later(self._limits.unread_time, self._stall)

    def _stall(self) -> None:
        """The client has not read for long: is it slow, or gone?"""
        before, self._stalled = self._unread, None
        self._watch()
        if self._unread >= before:
            self._all.clients.warn("client: nothing of its answer read for %g s: closed", self._limits.unread_time)
            self.transport.abort()

    def let_go(self) -> None:
        """Clients that do not read cost too much together, and this one most."""
        self._all.clients.warn("client: the answer that it does not read is given up, as too much waits for all")
        self.transport.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request, and close the connection; where an answer has begun, nothing can be said."""
        self._all.clients.warn(f"client: {text}")
        cycle = self.cycle
        if not (self.pipeline or (cycle is not None and cycle.response_started and not cycle.response_complete)):
            body = answer(None, failed(Fault(INVALID_REQUEST, text)))
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self._close()
