"""The one place where the parts are put together, and the life of the process.

Rules:
- The port is bound before any backend is started.
- SIGTERM, SIGINT and a client that closes stdin end it the same way: connections that clients keep are given up, the
  requests in flight have a second, then open streams end and the backends are stopped; within five seconds in all.
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
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import uvicorn
from anyio.abc import TaskStatus
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.types import Lifespan

from . import __version__, admin
from .catalog import Names
from .chain import Chain
from .errors import ListenError
from .guard import REMEDY, Access
from .naming import SPELLINGS, Spelling
from .proxy import Proxy
from .registry import Registry
from .relay import Relay
from .reload import ConfigFile, reported, watch
from .transports import MAX_BODY, Streams, http_application, serve_stdio

logger = logging.getLogger(__name__)

OPEN = "whoever can connect can use every tool, and nobody can add or remove servers"

LAST_ANSWERS = 0.5
"""Seconds in which HTTP clients learn from an answer that their connection is not kept, before no request is taken."""

IN_FLIGHT = 1
"""Seconds that requests in flight have left after that."""

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


class _Parts:
    """What there is once, however it is served."""

    def __init__(self, file: ConfigFile, names: Names, startup_timeout: float, is_single: bool = False) -> None:
        self.file = file
        self.follow = reported(lambda: file.follow(self.registry))
        self.relay = Relay(is_single)
        self.registry = Registry(names, self.relay, startup_timeout, Chain(os.environ, file.path))
        self.proxy = Proxy(self.registry, self.relay)
        self.server = self._server(None)
        self.manager = StreamableHTTPSessionManager(app=self.server, max_request_body_size=MAX_BODY)
        self.streams = Streams()

    def _server(self, names: Spelling | None) -> Server[Any]:
        """The proxy as an SDK server with names in this spelling, or (None) as an HTTP request or the operator says."""
        server: Server[Any] = Server(
            "multi-mcp",
            version=__version__,
            title="Multi-MCP",
            get_tool_input_schema=self.proxy.input_schema,
            on_subscriptions_listen=self.relay.listen,
        )
        server.middleware = [partial(self.proxy, names=names)]
        return server

    def http(self, access: Access, keep: bool = False, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
        """All that is served over HTTP, to whom it may be; `keep` writes down what is added and removed."""
        routes = admin.routes(self.registry, self.file if keep else None, writable=not access.is_open)
        servers: dict[Spelling | None, Server[Any]] = {None: self.server}
        servers |= {spelling: self._server(spelling) for spelling in SPELLINGS}
        return http_application(servers, self.manager, routes, self.streams, access=access, lifespan=lifespan)

    def running(self) -> contextlib.AbstractAsyncContextManager[None]:
        """While the backends of the file are there."""
        return self.registry.running(self.file.servers)

    async def drain(self) -> None:
        """Requests in flight have a moment; then open streams end, for whose end a server waits as for an answer."""
        self.relay.listen.close()
        with anyio.move_on_after(IN_FLIGHT):
            await self.proxy.idle()
        self.streams.end()


def application(config: str | os.PathLike[str]) -> Starlette:
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
        async with parts.running(), parts.manager.run(), anyio.create_task_group() as group:
            group.start_soon(watch, [parts.file.path], parts.follow)
            yield
            await parts.drain()
            group.cancel_scope.cancel()

    return parts.http(Access(), lifespan=lifespan)


async def serve(settings: Settings, file: ConfigFile) -> None:
    """Serve the backends of this file until the process is told to end, or the client on stdin is gone.

    Raises:
        ListenError: the operator's: the address cannot be bound.
    """
    listener = None if settings.transport == "stdio" else _bind(settings.access.host, settings.port)
    parts = _Parts(file, settings.names, settings.startup_timeout, is_single=listener is None)
    web = _Uvicorn(parts.http(settings.access, settings.persist), listener) if listener else None
    stop = anyio.Event()
    keys = settings.access.keys
    read_keys = reported(keys.read)
    has_terminal = _has_terminal()

    def look() -> None:
        parts.follow()
        read_keys()

    def hear(number: int) -> None:
        if stop.is_set():
            return
        if number == signal.SIGUSR1:
            if web is not None:
                web.let_go()
        elif number == signal.SIGHUP and not (has_terminal and not _has_terminal()):
            look()
        else:  # also where the terminal is gone: nobody would ever end it
            stop.set()

    if refusal := parts.registry.chain.refusal:
        logger.error("no server is started and no client is served: %s", refusal)
    async with anyio.create_task_group() as group:
        async with parts.running(), anyio.create_task_group() as front:
            await group.start(_watch_signals, hear)
            if settings.watch:
                front.start_soon(watch, [file.path, keys.file or file.path], look)

            async def end() -> None:
                """What is in flight has a moment; then the backends go, and with them whoever waits for one."""
                await stop.wait()
                if web is not None:
                    await web.give_up()
                await parts.drain()
                group.start_soon(parts.registry.stop_all)
                if web is None:
                    front.cancel_scope.cancel()

            group.start_soon(end)
            if web is None:
                await serve_stdio(parts.server, stop.set)
            else:
                if settings.access.is_open:
                    logger.warning("others can reach this address, and there is no API key: %s; %s", OPEN, REMEDY)
                async with parts.manager.run():
                    await web.serve_http()
            front.cancel_scope.cancel()
        group.cancel_scope.cancel()


async def _watch_signals(hear: Callable[[int], None], *, task_status: TaskStatus[None]) -> None:
    """To the very end: what each of them does by default would leave servers behind."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
        task_status.started()
        async for number in signals:
            hear(number)


def _has_terminal() -> bool:
    try:
        return bool(os.tcgetpgrp(sys.stderr.fileno()))
    except OSError:
        return False


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio (where uvloop is not to be had) leaves this off for a socket it did not make: 40 ms a call.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as exc:
        reason = str(exc.strerror).partition(" (while")[0] if isinstance(exc, OSError) else "there is no such port"
        raise ListenError(f"cannot listen on {host}:{port}: {reason}; choose another with --host, --port") from None


class _Uvicorn(uvicorn.Server):
    """uvicorn, but for the signals, which are ours, and the way it ends."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEPT,
                timeout_graceful_shutdown=IN_FLIGHT,
            )
        )
        self.config.load()  # which would forget the headers that are set before

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def serve_http(self) -> None:
        address, port = self._listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        # Not a log line: with --port 0 this is the only way to learn the port, whatever the log level.
        print(f"multi-mcp: listening on http://{shown}:{port} (/mcp, /sse)", file=sys.stderr, flush=True)
        await self.serve(sockets=[self._listener])

    def let_go(self) -> None:
        """Have clients keep no connection: each answer from here on is the last one on its connection."""
        close = (b"connection", b"close")
        if close not in self.config.encoded_headers:
            self.config.encoded_headers.append(close)
            self.server_state.default_headers.append(close)  # which uvicorn makes anew from those, every second

    async def give_up(self) -> None:
        """Have clients let go of their connections, then take no request.

        uvicorn alone would close those that wait for a request at once, and lose the request that is on its way.
        """
        self.let_go()
        with anyio.move_on_after(LAST_ANSWERS):
            while self.server_state.connections:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.01)
        self.should_exit = True
