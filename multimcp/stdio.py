"""MCP over standard streams: a backend's process, and our own.

Rules:
- A process started here is the leader of a group of its own, and the *whole* group is gone when it is stopped:
  a wrapper that ends politely does not leave its children behind. The SDK's client stops at the leader and keeps
  the process to itself, which is why this module exists.
- Stopping: stdin is closed, then SIGTERM, then SIGKILL, each `GRACE` seconds apart.
- A process that ends is noticed, also when something it started holds its stdout open.
- Its stderr is read for as long as anything of it lasts, so that it is never made to wait; what holds the pipe open
  after that, in a process group of its own, is not waited for.
- What is written is one line per message, whole: a cancelled write never leaves half a line.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

import os
import select
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from mcp.shared.message import SessionMessage

from .streams import MessageReader, Unowned

GRACE = 0.8
"""Seconds a process group has at each step of being stopped."""

LAST_WORDS = 0.2
"""Seconds in which what a process wrote before it ended is still read."""

_POLL = 0.01


class Descriptor:
    """A byte stream over a blocking file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def receive(self) -> bytes:
        # A regular file or the null device is always ready, and cannot be waited for.
        with suppress(PermissionError):
            await anyio.wait_readable(self._fd)
        if chunk := os.read(self._fd, 1 << 16):
            return chunk
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        """Raises `OSError` when the other end is gone. Not to be called by two at a time."""
        view = memoryview(item)
        while view:
            with suppress(PermissionError):
                await anyio.wait_writable(self._fd)
            # What a pipe is sure to take without blocking.
            view = view[os.write(self._fd, view[: select.PIPE_BUF]) :]


class MessageWriter(Unowned):
    """Writes messages to a byte stream, a line each."""

    def __init__(self, stream: ByteSendStream | Descriptor) -> None:
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
    on_stderr: Callable[[bytes], None],
) -> AsyncGenerator[tuple[MessageReader, MessageWriter], None]:
    """Run an MCP server as a child process and talk to it over its standard streams.

    When the process ends, the body is cancelled. On leaving, its process group is gone.

    Args:
        command: program and arguments.
        env: the whole of its environment.
        cwd: where it runs; None is where we run.
        on_noise: gets each line of stdout that is not an MCP message.
        on_stderr: gets what comes on stderr, in pieces.

    Raises:
        OSError: the operator's: the program or the folder is not there, or may not be used.
        ValueError: the operator's: a NUL byte in the command.
    """
    process = await anyio.open_process(command, env=env, cwd=cwd, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with anyio.create_task_group() as readers:
        reading = _Reading(process.stderr, on_stderr)
        readers.start_soon(reading.run)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_end_with, process, group.cancel_scope)
                yield MessageReader(read_lines(process.stdout), on_noise), MessageWriter(process.stdin)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await _end_group(process, process.stdin)
                await reading.stop()
                with anyio.move_on_after(GRACE):
                    await process.aclose()


class _Reading:
    """Reads a stream until it ends or is not wanted any more, whatever else is cancelled meanwhile."""

    def __init__(self, stream: ByteReceiveStream, on_chunk: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._on_chunk = on_chunk
        self._scope = anyio.CancelScope(shield=True)
        self._over = anyio.Event()

    async def run(self) -> None:
        try:
            with (
                self._scope,
                suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError),
            ):
                while True:
                    self._on_chunk(await self._stream.receive())
        finally:
            self._over.set()

    async def stop(self) -> None:
        """Read what is there already, and end."""
        with anyio.move_on_after(LAST_WORDS):
            await self._over.wait()
        self._scope.cancel()
        await self._over.wait()


async def _end_with(process: Process, scope: anyio.CancelScope) -> None:
    await process.wait()
    await anyio.sleep(LAST_WORDS)
    scope.cancel()


async def _end_group(process: Process, stdin: ByteSendStream) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stdin.aclose()
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        if await _group_gone(process) or number is None:
            break
        # Gone since, or (EPERM) somebody else's by now: either way nothing of ours is left to signal.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


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


@contextmanager
def own_streams() -> Iterator[tuple[Descriptor, Descriptor]]:
    """Our stdin and stdout for MCP alone, as byte streams whose waits can be cancelled.

    The SDK uses threads for them, which nothing can interrupt: on SIGTERM the process would hang until the client
    sent another line, or read one. Meanwhile fd 0 is the null device and fd 1 is stderr, so that nothing else in the
    process can take a message away or slip something in.
    """
    wires = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    try:
        yield Descriptor(wires[0]), Descriptor(wires[1])
    finally:
        for fd, wire in enumerate(wires):
            os.dup2(wire, fd)
            os.close(wire)


async def read_lines(stream: ByteReceiveStream | Descriptor) -> AsyncGenerator[bytes, None]:
    """The lines of a byte stream, until it ends; what comes after the last line feed is no line."""
    partial: list[bytes] = []
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        while True:
            head, *rest = (await stream.receive()).split(b"\n")
            partial.append(head)
            for tail in rest:
                yield b"".join(partial)
                partial = [tail]


def not_found(command: str, cwd: str | None) -> str:
    """What to say when starting `command` in `cwd` failed because something is not there."""
    if cwd is not None and not os.path.isdir(cwd):
        return f"the folder '{cwd}' (its \"cwd\") does not exist"
    if os.sep in command:
        return f"'{command}' was not found; check the path"
    return f"'{command}' was not found on PATH; install it, or give its full path"
