"""The one place where the parts are put together, and the life of the process.

Rules:
- The port is bound before any backend is started.
- SIGTERM, SIGINT and a client that closes stdin end it the same way: connections that clients keep are given up, the
  requests in flight have a second, then open streams end, the backends are stopped, and answers are read to their end;
  within five seconds in all.
  SIGHUP reads the configuration file again; from a terminal that is gone it ends the process like the others.
- SIGUSR1 says that the end is near: connections are given up, and all else goes on. Kubernetes sends SIGTERM when calls
  that began on a kept connection could not end any more; its preStop hook says it in time.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

import anyio
import anyio.to_thread
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from starlette.applications import Starlette
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from multimcp.backends.registry import Registry
from multimcp.clients.connection import BoundedConnection, Connections
from multimcp.clients.http import StreamableHttp
from multimcp.clients.sse import Sse
from multimcp.clients.stdio import serve_stdio
from multimcp.errors import ListenError
from multimcp.protocol.calls import Clients
from multimcp.protocol.catalog import Names
from multimcp.protocol.chain import Chain
from multimcp.protocol.http import Header
from multimcp.protocol.limits import DEFAULT, Limits, Seldom
from multimcp.protocol.waiting import CLIENT_WAIT
from multimcp.proxy import Proxy

from . import log
from .admin import ERRORS, Admin
from .guard import REMEDY, Access, Guard
from .reload import ConfigFile, Look, reported, watch

logger = logging.getLogger(__name__)

OPEN = "whoever can connect can use every tool, and nobody can add or remove servers"

LAST_ANSWERS = 0.5
"""Seconds in which HTTP clients learn from an answer that their connection is not kept, before no request is taken."""

LAST_REQUESTS = 0.1
"""Seconds for the requests on connections that were opened just before no more are taken."""

_COPIED = 1 << 16
"""Bytes of a body that is still copied to be sent together with its head."""

_REUSED = 4 << 20
"""Bytes of a block of memory that the C library reuses, and does not give back to the system and fetch again for each
message, which takes longer than all else with messages of 100 kB: see M_MMAP_THRESHOLD in mallopt(3)."""

CLOSE: Final = (b"connection", b"close")

NESTING = 4_000
"""How deep JSON may be nested, about: what Python allows to recurse, which is what msgspec keeps to."""

IN_FLIGHT = 1
"""Seconds that requests in flight have left after that."""

LAST_READS = 2.5
"""Seconds in which clients read what is written to them by then; a longer answer, to a slow client, breaks off."""

KEPT = 120
"""Seconds that a connection waits for the next request: longer than clients keep one (Python: 5, Go: 90), so that it is
they who close it. A request on its way to a server that closes is lost."""


@dataclass(frozen=True)
class Settings:
    """How the proxy is served. `startup_timeout` is in seconds; port 0 takes a free one.

    With `watch` the configuration file is followed when it changes; with `persist` it is written when servers are added
    or removed over HTTP.
    """

    transport: Literal["stdio", "sse", "http"]
    access: Access
    port: int
    names: Names
    startup_timeout: float
    watch: bool
    persist: bool
    limits: Limits = DEFAULT


class _Parts:
    """The parts shared by every transport."""

    def __init__(
        self,
        file: ConfigFile,
        names: Names,
        startup_timeout: float,
        is_single: bool = False,
        limits: Limits = DEFAULT,
    ) -> None:
        self.file = file
        self.clients = Clients(is_single, limits, Seldom(logger.warning, time.monotonic))
        chain = Chain(token_hex(8), os.environ, str(file.path.resolve()))
        self.registry = Registry(names, self.clients, startup_timeout, chain)
        self.proxy = Proxy(self.registry, self.clients)
        self.http = StreamableHttp(self.proxy)
        self.sse = Sse(self.proxy)
        self.follow = reported(self._follow)

    async def _follow(self) -> None:
        await self.file.follow(self.registry)

    def application(
        self, access: Access, keep: bool = False, lifespan: Lifespan[Starlette] | None = None
    ) -> "Application":
        """All that is served over HTTP, to whom it may be; `keep` writes down what is added and removed."""
        api = Admin(self.registry, self.file if keep else None, access)
        rest = Starlette(routes=api.routes(), lifespan=lifespan, exception_handlers=ERRORS)
        return Application(self.http, self.sse, rest, access)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """While the backends of the file are there."""
        sys.setrecursionlimit(max(sys.getrecursionlimit(), NESTING))
        bytearray(_REUSED)  # freed at once: from then on glibc keeps blocks of up to this size for the next message
        async with self.registry.running(self.file.servers), self.proxy.running():
            yield

    def check_keys(self, is_good: Callable[[bytes | None], bool]) -> None:
        """End what was opened with a key that is good no more."""
        for check in (self.http.check_keys, self.sse.check_keys, self.clients.end_listening):
            check(is_good)

    async def drain(self) -> None:
        """Requests in flight have a moment; then open streams end, for whose end a server waits as for an answer."""
        self.clients.end_listening()
        await self.proxy.drain(0.8 * IN_FLIGHT)  # before uvicorn breaks them off
        self.http.close_streams()
        self.sse.close()


class Application:
    """The ASGI application: streamable HTTP, SSE, and the admin API, behind the guard."""

    def __init__(self, http: StreamableHttp, sse: Sse, rest: Starlette, access: Access) -> None:
        self._routes: dict[str, ASGIApp] = {
            "/mcp": http,
            "/mcp/": http,
            "/sse": sse.stream,
            "/sse/": sse.stream,
            "/messages": sse.message,
            "/messages/": sse.message,
        }
        self._rest = rest
        self._guarded = Guard(self._route, access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._routes.get(scope["path"], self._rest)(scope, receive, send)
        except Exception:
            logger.exception("%s %s failed; this is a fault of Multi-MCP", scope.get("method"), scope["path"])
            raise


def application(config: str | os.PathLike[str]) -> Application:
    """The proxy as an ASGI application on a loopback address, with the command line's defaults otherwise.

    The backends live as long as its lifespan, which the ASGI server has to run.

    Args:
        config: the configuration file.

    Raises:
        ConfigError: the operator's: the file cannot be used.
    """
    parts = _Parts(ConfigFile(Path(config), os.environ), Names(), startup_timeout=10)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        async with parts.running(), anyio.create_task_group() as group:
            group.start_soon(watch, [parts.file.path], parts.follow)
            yield
            await parts.drain()
            group.cancel_scope.cancel()

    return parts.application(Access(), lifespan=lifespan)


async def serve(settings: Settings, file: ConfigFile) -> None:
    """Serve the backends of this file until the process is told to end, or the client on stdin is gone.

    Raises:
        ListenError: the operator's: the address cannot be bound.
    """
    listeners = [] if settings.transport == "stdio" else _bind(settings.access.host, settings.port)
    parts = _Parts(file, settings.names, settings.startup_timeout, not listeners, settings.limits)
    web = (
        _Uvicorn(parts.application(settings.access, settings.persist), listeners, parts.clients) if listeners else None
    )
    keys = settings.access.keys
    read_keys = reported(partial(anyio.to_thread.run_sync, keys.read, abandon_on_cancel=True))

    async def look() -> None:
        await parts.follow()
        await read_keys()
        if keys:
            parts.check_keys(lambda key: key is not None and keys.have(key))

    log.Lines.blank = staticmethod(parts.registry.blank)
    signals = _Signals(look, web)
    if refusal := parts.registry.chain.refusal:
        logger.error("no server is started and no client is served: %s", refusal)
    async with anyio.create_task_group() as group:
        async with parts.running(), anyio.create_task_group() as front:
            await group.start(signals.watch)
            if settings.watch:
                front.start_soon(watch, [file.path, keys.file or file.path], look)

            async def end() -> None:
                """Give requests in flight a moment; then stop the backends, which ends whoever waits for one."""
                await signals.stop.wait()
                if web is not None:
                    await web.give_up()
                await parts.drain()
                group.start_soon(parts.registry.stop_all)
                if web is None:
                    front.cancel_scope.cancel()

            group.start_soon(end)
            if web is None:
                # Requests that are piped in may wait for servers that start. Who wants it to end sooner sends a signal.
                await serve_stdio(parts.proxy, partial(parts.proxy.finish, CLIENT_WAIT), signals.stop.set)
            else:
                await web.serve_http(settings.access)
            front.cancel_scope.cancel()
        group.cancel_scope.cancel()


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class _Signals:
    """What the process is told by signals: `stop` is set when it is to end."""

    def __init__(self, look: Look, web: "_Uvicorn | None") -> None:
        self.stop = anyio.Event()
        self._look = look
        self._web = web
        self._has_terminal = _has_terminal()
        self._looks: TaskGroup

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Obey signals to the very end: their defaults would leave servers behind, and a wrong exit code."""
        try:
            with anyio.open_signal_receiver(*_SIGNALS) as signals:
                task_status.started()
                async with anyio.create_task_group() as self._looks:
                    async for number in signals:
                        if not self.stop.is_set():
                            self._obey(number)
        finally:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)

    def _obey(self, number: int) -> None:
        if number == signal.SIGUSR1:
            if self._web is not None:
                self._web.let_go()
        elif number == signal.SIGHUP and not (self._has_terminal and not _has_terminal()):
            self._looks.start_soon(self._look)
        else:  # also where the terminal is gone: nobody could ever end it
            self.stop.set()


def _has_terminal() -> bool:
    try:
        return bool(os.tcgetpgrp(sys.stderr.fileno()))
    except OSError:
        return False


_WILDCARDS = ("::",) if socket.has_dualstack_ipv6() else ("0.0.0.0",)
_ADDRESSES = {"": _WILDCARDS, "::": _WILDCARDS, "localhost": ("127.0.0.1", "::1")}
"""Where to listen for these names; of several addresses those that there are."""


def _bind(host: str, port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    for address in _ADDRESSES.get(host.lower(), (host,)):
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server(
                (address, port), family=family, backlog=2048, dualstack_ipv6=address in _WILDCARDS and ":" in address
            )
        except (OSError, OverflowError) as exc:
            if listeners:
                break
            reason = str(exc.strerror).partition(" (while")[0] if isinstance(exc, OSError) else "there is no such port"
            raise ListenError(f"cannot listen on {host}:{port}: {reason}; choose another with --host, --port") from None
        # asyncio (where uvloop is not to be had) leaves this off for a socket it did not make: 40 ms a call.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listeners.append(listener)
        port = listener.getsockname()[1]
    return listeners


class _Connection(BoundedConnection):
    """A client's connection, whose requests are answered by a `_Sender`."""

    _running: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # uvicorn tells the last request that came, which may wait behind this one
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.send = _Sender(self.cycle)  # type: ignore[assignment, method-assign]


class _Sender:
    """How a request is answered: as ASGI has it; or whole, which is one system call, and spares uvicorn's checks."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def __call__(self, event: Any) -> Awaitable[None]:
        return RequestResponseCycle.send(self._cycle, event)

    def whole(self, status: int, headers: Iterable[Header], body: bytes) -> bool:
        """Send a response, if that can be done at once; `headers` are without its length."""
        cycle = self._cycle
        if cycle.disconnected or cycle.flow.write_paused or cycle.response_started or cycle.scope["method"] == "HEAD":
            return False
        sent = [*cycle.default_headers, *headers]
        if not cycle.keep_alive and CLOSE not in sent:
            sent.append(CLOSE)
        lines = b"".join([b"%b: %b\r\n" % line for line in sent])
        head = b"%b%bcontent-length: %d\r\n\r\n" % (STATUS_LINE[status], lines, len(body))
        if len(body) < _COPIED:
            cycle.transport.write(head + body)
        else:
            cycle.transport.writelines([head, body])
        del cycle.send
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if CLOSE in sent:
            cycle.transport.close()
        cycle.on_response()
        return True


class _Uvicorn(uvicorn.Server):
    """uvicorn, but for the signals, which are ours, and the way it ends."""

    def __init__(self, app: Application, listeners: list[socket.socket], clients: Clients) -> None:
        self._listeners = listeners
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ws="none",
                lifespan="off",
                timeout_keep_alive=KEPT,
                timeout_graceful_shutdown=LAST_READS,  # type: ignore[arg-type] # it goes to asyncio
            )
        )
        self.config.load()  # which would forget the headers that are set before
        self.config.http_protocol_class = partial(_Connection, Connections(clients))  # type: ignore[assignment]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def serve_http(self, access: Access) -> None:
        if access.is_open:
            logger.warning("others can reach this address, and there is no API key: %s; %s", OPEN, REMEDY)
        address, port = self._listeners[0].getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        # Not a log line: with --port 0 this is the only way to learn the port, whatever the log level.
        print(f"multi-mcp: listening on http://{shown}:{port} (/mcp, /sse)", file=sys.stderr, flush=True)
        await self.serve(sockets=self._listeners)

    def let_go(self) -> None:
        """Have clients keep no connection: each answer from here on is the last one on its connection."""
        if CLOSE not in self.config.encoded_headers:
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers.append(CLOSE)  # which uvicorn makes anew from those, every second

    async def give_up(self) -> None:
        """Have clients let go of their connections, then take no request.

        uvicorn alone would close those that wait for a request at once, and lose the request that is on its way.
        """
        self.let_go()
        with anyio.move_on_after(LAST_ANSWERS):
            while self.server_state.connections:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.01)
        for server in self.servers:
            server.close()
        await anyio.sleep(LAST_REQUESTS)
        self.should_exit = True
