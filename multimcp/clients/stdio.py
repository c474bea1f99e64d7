"""One client over our standard streams.

Rules:
- stdout carries messages and nothing else, one a line, whole; while serving, fd 1 is stderr and fd 0 the null device,
  so that nothing else in the process can slip something in or take a message away.
- A client that closes stdin, or does not read and lets too much wait, is gone.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from multimcp.protocol.calls import Origin
from multimcp.protocol.framing import Lines, as_line
from multimcp.protocol.outbox import Outbox
from multimcp.protocol.peer import Front, Peer

from .asgi import news

_CHUNK = 1 << 18

LAST_ANSWERS = 0.5
"""Seconds in which a client may still read what waits for it when we end."""


async def serve_stdio(front: Front, finished: Callable[[], Awaitable[None]], on_end: Callable[[], None]) -> None:
    """Serve one client over our standard streams, until cancelled; `on_end` is called when the client is gone.

    The end of stdin does not end it at once: what is in flight is still answered, as far as `finished` waits for that.
    """
    with own_streams() as (stdin, stdout):
        limits = front.clients.limits

        def overflowed() -> None:
            front.clients.warn("the client does not read what is written to it: its session is ended")
            on_end()

        outbox = Outbox(limits.unread, overflowed)
        writing = anyio.CancelScope(shield=True)
        peer = Peer(front, "stdio", Origin("stdio"), lambda data: outbox.put(as_line(data)))
        async with anyio.create_task_group() as group:
            group.start_soon(_write, stdout, outbox, on_end, writing)
            try:
                lines = Lines(limits.message)
                chunk = b" "
                while chunk:
                    chunk = await _read(stdin)
                    for line in lines.feed(chunk or b"\n"):  # the last one may have no line feed
                        peer.take(line)
                await finished()
                on_end()
                await anyio.sleep_forever()
            finally:
                peer.leave()
                outbox.end()
                writing.deadline = anyio.current_time() + LAST_ANSWERS


async def _read(fd: int) -> bytes:
    # A regular file or the null device is always ready, and cannot be waited for.
    with suppress(PermissionError):
        await anyio.wait_readable(fd)
    with suppress(OSError):
        return os.read(fd, _CHUNK)
    return b""


async def _write(fd: int, outbox: Outbox, on_end: Callable[[], None], writing: anyio.CancelScope) -> None:
    """Write what is in the outbox, until that is over or the other end is gone."""
    with suppress(OSError), writing:
        while not outbox.is_over or outbox:
            await news(outbox)
            view = memoryview(outbox.take())
            while view:
                try:
                    view = view[os.write(fd, view) :]
                except BlockingIOError:
                    await anyio.wait_writable(fd)
    on_end()


@contextmanager
def own_streams() -> Iterator[tuple[int, int]]:
    """Our stdin and stdout for MCP alone, as file descriptors; writing does not block, until they are given back."""
    wires = os.dup(0), os.dup(1)
    blocking = [os.get_blocking(wire) for wire in wires]  # uvloop changes that, too, of what it waits for
    os.set_blocking(wires[1], False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    try:
        yield wires
    finally:
        for fd, wire in enumerate(wires):
            os.set_blocking(wire, blocking[fd])
            os.dup2(wire, fd)
            os.close(wire)
