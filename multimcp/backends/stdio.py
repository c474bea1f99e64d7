"""A backend over standard streams: its process, and the lines it reads and writes.

Rules:
- A process started here is the leader of a group of its own, and the *whole* group is gone when it is stopped: a
  wrapper that ends politely does not leave its children behind.
- Stopping: stdin is closed, then SIGTERM, then SIGKILL, each `GRACE` seconds apart.
- A process that ends, or closes its stdout (or its stdin, as soon as something is written), is noticed, also when
  something it started holds its stdout open. It gets its three streams once: uvloop leaves copies of them open in a new
  process, which would keep them from ever ending.
- Its stderr is a pipe, so that it can be opened by name (`/dev/stderr`); uvloop would make it a socket, which cannot.
- Its stderr is read for as long as anything of it lasts, so that it is never made to wait; what holds the pipe open
  after that, in a process group of its own, is not waited for.
- What is written is one whole line per message. What a server does not read waits here, up to a bound; a call that is
  given up meanwhile is not written at all.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

import anyio
import anyio.to_thread

from multimcp.errors import BackendError
from multimcp.protocol.framing import Lines, as_line, turns
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Link
from multimcp.protocol.message import Fields

from .launch import check_words, unstartable
from .wire import Wire

GRACE = 0.8
"""Seconds a process group has at each step of being stopped."""

LAST_WORDS = 0.2
"""Seconds in which what a process wrote before it ended is still read."""

_HIGH_WATER = 1 << 18
_POLL = 0.01


class StdioWire(Wire, asyncio.SubprocessProtocol):
    """The standard streams of one process, for one link."""

    def __init__(
        self,
        link: Link,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        on_stderr: Callable[[bytes], None],
        limits: Limits,
    ) -> None:
        """Nothing is started yet.

        Args:
            link: takes what the process writes.
            command: program and arguments.
            env: the whole of its environment.
            cwd: where it runs; None is where we run.
            on_stderr: gets what comes on stderr, in pieces.
            limits: how long a line may be, and how much waits for a server that does not read.
        """
        super().__init__(link, limits)
        self._command = command
        self._env = env
        self._cwd = cwd
        self._on_stderr = on_stderr
        self._stderr: asyncio.ReadTransport | None = None
        self._stderr_ended = asyncio.Event()
        self._lines = Lines(limits.message)
        self._queue: deque[tuple[int | None, bytes]] = deque()
        self._is_paused = False
        self._parts: deque[bytes] = deque()
        """What has come on stdout and was not looked at yet."""
        self._is_behind = False
        self._stdout: asyncio.ReadTransport | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._closing = asyncio.Lock()

    async def open(self) -> None:
        """Start the process.

        Raises:
            BackendError: the operator's: the program or the folder is not there, or cannot be used.
        """
        check_words([*self._command, self._cwd or "", *self._env, *self._env.values()])
        loop = asyncio.get_running_loop()
        ours, theirs = os.pipe()
        try:
            protocol = _Stderr(self._on_stderr, self._stderr_ended)
            # It takes no time, and uvloop would leave open what it has opened when it is cancelled.
            with anyio.CancelScope(shield=True):
                self._stderr, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(ours, "rb", 0))
                await loop.subprocess_exec(
                    lambda: self,
                    *self._command,
                    stderr=theirs,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                    preexec_fn=_keep_three_streams,
                )
        except BaseException as exc:
            if self._stderr is not None:
                self._stderr.close()
            if isinstance(exc, OSError):
                asked = exc, self._command[0], self._cwd, self._env.get("PATH")
                raise BackendError(await anyio.to_thread.run_sync(unstartable, *asked)) from None
            raise
        finally:
            os.close(theirs)

    # What a link writes

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        line = as_line(data)
        if not self._waiting or self.has_room(number, len(line)):
            self._put(number, line)

    def write(self, data: bytes) -> None:
        line = as_line(data)
        if self._queue and self._waiting + len(line) > 2 * self._limits.unread:
            self._link.lose("it does not read what is sent to it")
        else:
            self._put(None, line)

    def cancel(self, number: int, data: bytes) -> None:
        for item in self._queue:
            if item[0] == number:
                self._queue.remove(item)
                self._waiting -= len(item[1])
                return
        self.write(data)

    def _put(self, number: int | None, line: bytes) -> None:
        if self._stdin is None or self._stdin.is_closing():
            return
        if self._is_paused:
            self._queue.append((number, line))
            self._waiting += len(line)
        else:
            self._stdin.write(line)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._stdout = cast(asyncio.ReadTransport, self._transport.get_pipe_transport(1))
        if not self._stdin.is_closing():  # the process may have ended already
            self._stdin.set_write_buffer_limits(_HIGH_WATER)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        while self._queue and not self._is_paused and self._stdin is not None:
            _, line = self._queue.popleft()
            self._waiting -= len(line)
            self._stdin.write(line)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        was_behind = bool(self._parts)
        self._parts += turns(data)
        if not was_behind:
            self._take()

    def _take(self) -> None:
        """Take a part of what has come; where there are more, others have their turn, and no more is read meanwhile."""
        if not self._parts:
            return
        for line in self._lines.feed(self._parts.popleft()):
            self._link.receive(line)
        if self._stdout is not None and bool(self._parts) != self._is_behind:
            self._is_behind = not self._is_behind
            self._stdout.pause_reading() if self._is_behind else self._stdout.resume_reading()
        if self._parts:
            asyncio.get_running_loop().call_soon(self._take)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._is_behind, self._stdout = False, None
            self.pipe_data_received(1, b"\n")  # the last line may have none of its own
            self._link.lose("its stdout was closed")
        elif fd == 0:
            self._lose_soon("its stdin was closed")

    def process_exited(self) -> None:
        self._lose_soon("its process ended")

    def _lose_soon(self, reason: str) -> None:
        asyncio.get_running_loop().call_later(LAST_WORDS, self._link.lose, reason)

    # The end

    async def close(self) -> None:
        """End the process and all that it started; when this returns they are gone."""
        with anyio.CancelScope(shield=True):
            async with self._closing:
                if self._transport is not None:
                    transport, self._transport = self._transport, None
                    await self._stop(transport)

    async def _stop(self, transport: asyncio.SubprocessTransport) -> None:
        if self._stdin is not None:
            self._stdin.abort() if self._is_paused else self._stdin.close()
        pid = transport.get_pid()
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            if await _group_gone(pid) or number is None:
                break
            # Gone since, or (EPERM) somebody else's by now: either way nothing of ours is left to signal.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        with anyio.move_on_after(LAST_WORDS):
            await self._stderr_ended.wait()
        transport.close()
        if self._stderr is not None:
            self._stderr.close()
        self._queue.clear()
        self._parts.clear()
        self._link.lose("it was stopped")


class _Stderr(asyncio.Protocol):
    """The stderr of a process."""

    def __init__(self, on_data: Callable[[bytes], None], ended: asyncio.Event) -> None:
        self._on_data = on_data
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


def _keep_three_streams() -> None:
    """In a new process, before it becomes the server: let nothing but its standard streams stay open then."""
    for fd in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the one that lists them is closed again
            os.set_inheritable(fd, fd < 3)


async def _group_gone(pid: int) -> bool:
    """Whether the process and all it started ended within `GRACE`.

    A group's number is its leader's pid, and it lasts until its last member is dead and reaped.
    """
    with anyio.move_on_after(GRACE):
        while True:
            try:
                os.killpg(pid, 0)
            except ProcessLookupError:
                return True
            except PermissionError:
                pass
            await anyio.sleep(_POLL)
    return False
