"""MCP over standard streams: a backend's process, and our own stdin.

Rules:
- A process started here is the leader of a group of its own, and the *whole* group is gone when it is stopped:
  a wrapper that ends politely does not leave its children behind. The SDK's client stops at the leader and keeps
  the process to itself, which is why this module exists.
- Stopping: stdin is closed, then SIGTERM, then SIGKILL, each `GRACE` seconds apart: three seconds at the worst.
- A line on stdout that is not an MCP message is handed to `on_noise` and skipped; the connection goes on.
- What is written is one line per message, whole: a cancelled write never leaves half a line.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

GRACE = 1.0
"""Seconds a process group has at each step of being stopped."""

_POLL = 0.01


class _Closing:
    """What the dispatcher asks of a stream besides its items; the process owns the pipe, so nothing is closed."""

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass


class MessageReader(_Closing):
    """The messages on a byte stream, a line each. Iteration ends when the stream does."""

    def __init__(self, stream: ByteReceiveStream, on_noise: Callable[[str], None]) -> None:
        self._stream = stream
        self._on_noise = on_noise
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []

    def __aiter__(self) -> Self:
        return self

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            while self._lines:
                line = self._lines.popleft()
                try:
                    return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                except ValueError:
                    if text := line.decode(errors="replace").strip():
                        self._on_noise(text)
            try:
                head, *rest = (await self._stream.receive()).split(b"\n")
            except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                raise StopAsyncIteration from None
            self._partial.append(head)
            for tail in rest:
                self._lines.append(b"".join(self._partial))
                self._partial = [tail]


class MessageWriter(_Closing):
    """Writes messages to a byte stream, a line each."""

    def __init__(self, stream: ByteSendStream) -> None:
        self._stream = stream

    async def send(self, item: SessionMessage, /) -> None:
        """Raises `anyio.BrokenResourceError` when the other end is gone."""
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            await self._stream.send(line.encode() + b"\n")
        except (OSError, RuntimeError) as exc:
            raise anyio.BrokenResourceError from exc


@asynccontextmanager
async def open_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    on_noise: Callable[[str], None],
) -> AsyncGenerator[tuple[MessageReader, MessageWriter], None]:
    """Run an MCP server as a child process and talk to it over its standard streams.

    Its environment is the SDK's safe default (PATH, HOME, ...) and `env`, never the whole of ours; its stderr is
    ours. On leaving, its process group is gone.

    Args:
        command: program and arguments.
        env: added to the default environment.
        cwd: where it runs; None is where we run.
        on_noise: gets each line of stdout that is not an MCP message.

    Raises:
        OSError: the operator's: the program or the folder is not there, or may not be used.
        ValueError: the operator's: a NUL byte in the command.
    """
    process = await anyio.open_process(
        command, env={**get_default_environment(), **env}, cwd=cwd, stderr=None, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield MessageReader(process.stdout, on_noise), MessageWriter(process.stdin)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process, process.stdin)


async def _stop(process: Process, stdin: ByteSendStream) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stdin.aclose()
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        if await _group_gone(process) or number is None:
            break
        # Gone since, or (EPERM) somebody else's by now: either way nothing of ours is left to signal.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
    with anyio.move_on_after(GRACE):
        await process.aclose()


async def _group_gone(process: Process) -> bool:
    """Whether the process and all it started ended within `GRACE`.

    A group's number is its leader's pid, and it lasts until its last member is dead and reaped.
    """
    with anyio.move_on_after(GRACE):
        while True:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return True
            except PermissionError:
                pass
            await anyio.sleep(_POLL)
    return False


@asynccontextmanager
async def own_stdin() -> AsyncIterator[anyio.AsyncFile[str]]:
    """Our stdin as `mcp.server.stdio.stdio_server(stdin=...)` takes it, but cancellable.

    The SDK reads stdin in a thread, which nothing can interrupt: on SIGTERM the process would hang until the client
    sent another line. This reads when there is something to read. Meanwhile fd 0 is the null device, so that nothing
    else in the process can take a message away.
    """
    wire = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        # Only iterated over; the SDK has no narrower type for it.
        yield cast("anyio.AsyncFile[str]", _lines(wire))
    finally:
        os.dup2(wire, 0)
        os.close(wire)


async def _lines(fd: int) -> AsyncIterator[str]:
    partial: list[bytes] = []
    while True:
        # A regular file or the null device is always readable, and cannot be waited for.
        with suppress(PermissionError):
            await anyio.wait_readable(fd)
        chunk = os.read(fd, 1 << 16)
        head, *rest = chunk.split(b"\n")
        partial.append(head)
        for tail in rest:
            yield b"".join(partial).decode(errors="replace")
            partial = [tail]
        if not chunk:
            return


def not_found(command: str, cwd: str | None) -> str:
    """What to say when starting `command` in `cwd` failed because something is not there."""
    if cwd is not None and not os.path.isdir(cwd):
        return f"the folder '{cwd}' (its \"cwd\") does not exist"
    if os.sep in command:
        return f"'{command}' was not found; check the path"
    return f"'{command}' was not found on PATH; install it, or give its full path"
