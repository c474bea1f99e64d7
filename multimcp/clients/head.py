"""The head of an HTTP request, bounded in bytes and in time: what uvicorn leaves open.

Rules:
- A head that is too large is answered with 431; a connection that sends its head too slowly, or none at all after it
  was opened, is closed. In between requests uvicorn's own time for a kept connection holds.
- A request whose head comes at once, as all do, costs two flags: no timer, no look at its bytes.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from multimcp.protocol.calls import Clients

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHead(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, clients: Clients, **options: Any) -> None:
        super().__init__(**options)
        self._clients = clients
        self._limit = clients.limits.head
        self._is_in_head, self._has_begun = True, False
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        self._has_begun = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_in_head, self._has_begun = True, False
        self._size = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._is_in_head and self._size + len(data) > self._limit:
            room = self._limit - self._size
            super().data_received(data[:room])
            if self._is_in_head and not self.transport.is_closing():
                self._clients.warn("client: a head of more than %d bytes is refused", self._limit)
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
            data = data[room:]
        super().data_received(data)
        if self._is_in_head and self._has_begun:
            self._size += len(data)
            self._begin_timer()
        elif self._timer is not None and self.cycle is not None:
            self._end_timer()

    def _begin_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._clients.limits.head_time, self._expire)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._clients.warn("client: no head of a request within %g s: closed", self._clients.limits.head_time)
            self.transport.close()
