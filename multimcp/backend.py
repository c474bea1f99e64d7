"""One backend: its connections by era, raw requests, what it offers.

Rules:
- The first connection is opened with `initialize`, which every server but a modern-only one answers. One in the
  modern era is opened beside it when the first modern client calls: a process or session of its own, so that a
  server which chokes on `server/discover` chokes there. No client waits more than `ERA_WAIT` seconds for that.
- Requests and results cross as plain dicts. Rewritten at this hop are only the request id, the keys of `_meta` in
  `HOP_BY_HOP` and the `Mcp-*` headers.
- A connection that ends is opened again, with backoff, for as long as the backend is wanted. What was offered stays
  offered meanwhile. A call in flight fails with an error that names the backend; it is never sent twice.
- One log line per change of state. No secret is in a log line or in `error`.
"""

import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

import anyio
import httpx2
from anyio.abc import TaskStatus
from mcp import MCPError
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared.dispatcher import CallOptions, DispatchContext
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    REQUEST_TIMEOUT,
    SERVER_INFO_META_KEY,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic_core import to_json

from . import __version__
from .config import ServerConfig
from .errors import BackendError, backend_failure, describe, unwrap
from .offer import KINDS, TOOLS, Era, Listing, Offer, read_listing
from .remote import http_client, http_status, open_sse
from .stdio import not_found, open_process

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "failed", "disabled", "stopped"]

IMPLEMENTATION = {"name": "multi-mcp", "title": "Multi-MCP", "version": __version__}
"""How the proxy introduces itself, to both sides."""

HOP_BY_HOP = frozenset(
    {
        "progressToken",
        PROTOCOL_VERSION_META_KEY,
        CLIENT_INFO_META_KEY,
        CLIENT_CAPABILITIES_META_KEY,
        SERVER_INFO_META_KEY,
        "io.modelcontextprotocol/subscriptionId",
    }
)
"""Keys of `_meta` that speak of one hop, not of the message; everything else in it crosses untouched."""

ERA_WAIT = 3.0
"""Seconds a modern client waits, once, to learn whether a backend speaks its era."""

ERA_PROBE = 10.0
"""Seconds after which a server that has not answered `server/discover` does not speak the modern era."""

HANDSHAKE_TIMEOUT = 60.0
"""Seconds a backend has from being started to having told its lists: a first `npx` downloads before it starts."""

ERA_RETRY = 60.0
"""Seconds before a backend that was not to be reached in the modern era is tried in it again."""

LIST_TIMEOUT = 10.0
"""Seconds a backend has to tell one of its lists, all pages of it."""

LIST_PAUSE = 0.2
"""Seconds between two readings of the lists of a backend that keeps changing them."""

OUTAGE_WAIT = 5.0
"""Seconds after a connection was lost in which a call waits for the next one."""

BACKOFF = (0.5, 30.0)
"""Seconds before the first and between the last attempts to connect again."""

LOST = "the connection ended"

CLOSE_TIMEOUT = 1.0
"""Seconds a remote backend has to be told that its session ends."""

_LIST_CHANGED = frozenset(f"notifications/{kind.capability}/list_changed" for kind in KINDS)


class Connection:
    """One MCP connection to a backend, in one era: a process, an SSE stream or an HTTP session.

    `run` opens it and lives as long as it does; `request` may be used once `run` has called `started`.
    """

    era: Era
    offer: Offer

    def __init__(self, name: str, config: ServerConfig, on_list_changed: Callable[[], None]) -> None:
        self._name = name
        self._config = config
        self._on_list_changed = on_list_changed
        self._http_status: int | None = None
        self._unreachable: httpx2.TransportError | None = None
        self._noisy = False
        self._param_headers: dict[str, dict[tuple[str, ...], str]] = {}
        self._closing = anyio.Event()
        self.lost = anyio.Event()
        """Set when nothing comes any more; what `run` started may still be ending."""
        self.ended = anyio.Event()
        """Set when `run` is over: nothing of the connection is left."""

    async def run(self, era: Era | None, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open the connection, greet, read the lists, and hold it until either side ends it.

        Args:
            era: the one to speak; None is legacy where the server knows `initialize`, else modern.
            task_status: told when requests can be sent.

        Raises:
            BackendError, MCPError, OSError, httpx2.HTTPError: the backend's (or its operator's): it cannot be
                started, reached or understood.
        """
        greeted = False
        try:
            async with self._streams() as (read, write):
                self._dispatcher: JSONRPCDispatcher[TransportContext] = JSONRPCDispatcher(read, write)
                async with anyio.create_task_group() as group:
                    await group.start(self._pump, group.cancel_scope)
                    await self._greet(era)
                    self.offer = await self.read_offer()
                    greeted = True
                    task_status.started()
                    await self._closing.wait()
                    group.cancel_scope.cancel()
            if not greeted:  # the process ended, but not its stdout
                raise BackendError(self._no_greeting())
        finally:
            self.ended.set()

    def close(self) -> None:
        """Have `run` say goodbye and return."""
        self._closing.set()

    async def request(
        self, method: str, params: Mapping[str, Any] | None, capabilities: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a request and return its raw result.

        Args:
            method: the MCP method.
            params: as the client sent them, under the backend's own names.
            capabilities: of the client asking; told to a modern backend, which is told on each request.

        Raises:
            MCPError: the backend's own error as it was; one naming the backend when it did not answer in the
                configured `timeout`, or the connection ended first; the client's, when its params cannot be sent.
        """
        params, options = self._envelope(method, dict(params or {}), capabilities or {})
        try:
            to_json(params)
        except ValueError:
            # What JSON text can say, and a message cannot carry. In the SDK's transport it would end the connection.
            raise MCPError(INVALID_PARAMS, "A string that is no Unicode text, or nesting that is too deep") from None
        try:
            with anyio.fail_after(self._config.timeout):
                return await self._dispatcher.send_raw_request(method, params, options)
        except TimeoutError:
            reason = f'did not answer {method} within {self._config.timeout:g} s (its "timeout")'
            raise backend_failure(self._name, reason, REQUEST_TIMEOUT) from None
        except MCPError as exc:
            if await self._is_the_end(exc):
                raise backend_failure(self._name, f"the connection ended before it answered {method}") from None
            raise

    async def read_offer(self) -> Offer:
        """Read the four lists, and return them with what the server said when greeted."""
        listings: dict[Any, Listing] = {}
        problems: list[str] = []
        for kind in KINDS:
            if kind.capability not in self._capabilities:
                continue
            try:
                with anyio.fail_after(LIST_TIMEOUT):
                    listings[kind], left_out = await read_listing(kind, self.request)
                problems += left_out
            except TimeoutError:
                problems.append(f"{kind.method}: was not answered within {LIST_TIMEOUT:g} s")
            except (BackendError, MCPError) as exc:
                # One bad list costs that list. Many servers have resources and no method for templates.
                if self.lost.is_set():
                    raise BackendError(f"ended the connection when asked for {kind.method}") from None
                if not (isinstance(exc, MCPError) and exc.code == METHOD_NOT_FOUND):
                    problems.append(f"{kind.method}: {describe(exc)}")
        self._param_headers = {}
        if self.era == "modern" and self._config.transport == "http" and TOOLS in listings:
            # Spec 2026-07-28, streamable HTTP: a client must exclude a tool whose annotations are not valid.
            valid = []
            for tool in listings[TOOLS].items:
                if reason := find_invalid_x_mcp_header(tool.get("inputSchema")):
                    problems.append(f"tool '{tool['name']}' is left out: {reason}")
                else:
                    valid.append(tool)
                    self._param_headers[tool["name"]] = x_mcp_header_map(tool.get("inputSchema"))
            listings[TOOLS] = replace(listings[TOOLS], items=tuple(valid))
        instructions, info = self._hello.get("instructions"), self._hello.get("serverInfo")
        return Offer(
            self._version,
            self._capabilities,
            instructions if isinstance(instructions, str) else None,
            info if isinstance(info, dict) else None,
            listings,
            tuple(problems),
        )

    @asynccontextmanager
    async def _streams(self) -> AsyncGenerator[Any, None]:
        config = self._config
        if config.command is not None:
            command = [config.command, *config.args]
            try:
                async with open_process(command, env=config.env, cwd=config.cwd, on_noise=self._on_noise) as streams:
                    yield streams
            except FileNotFoundError:
                raise BackendError(not_found(config.command, config.cwd)) from None
            return
        assert config.url is not None
        async with http_client(config.headers, self._watch) as client:
            if config.transport == "sse":
                async with open_sse(client, config.url, self._on_noise) as streams:
                    yield streams
                return
            async with streamable_http_client(config.url, http_client=client, max_sse_event_size=None) as streams:
                try:
                    yield streams
                finally:
                    # What follows is the goodbye (DELETE) to the session.
                    client.timeout = httpx2.Timeout(CLOSE_TIMEOUT)

    def _watch(self, request: httpx2.Request, outcome: httpx2.Response | httpx2.TransportError) -> None:
        """Notice over HTTP what a stream tells by ending: that the server, or our session there, is gone."""
        if isinstance(outcome, httpx2.TransportError):
            self._unreachable = outcome
            if isinstance(outcome, httpx2.ConnectError):
                self.close()
        else:
            self._unreachable = None
            self._http_status = outcome.status_code if outcome.is_error else None
            if outcome.status_code == HTTPStatus.NOT_FOUND and MCP_SESSION_ID in request.headers:
                self.close()

    async def _pump(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """Run the dispatcher; when the other side ends the stream, end the connection."""
        try:
            await self._dispatcher.run(_on_request, _on_notify, self._on_notification, task_status=task_status)
        finally:
            self.lost.set()
            scope.cancel()

    def _on_notification(self, method: str, params: Mapping[str, Any] | None) -> bool:
        if method in _LIST_CHANGED:
            self._on_list_changed()
        return True

    def _on_noise(self, line: str) -> None:
        """A program that prints to its stdout usually goes on doing so: the first line says it."""
        if not self._noisy:
            self._noisy = True
            shown = self._config.redact(line)[:80]
            logger.warning("%s: sends what is not MCP (ignored from here on): %r", self._name, shown)

    async def _is_the_end(self, exc: MCPError) -> bool:
        """Whether an error is the dispatcher's word for a lost connection, and not the backend's own."""
        if (exc.code, exc.message, exc.data) != (CONNECTION_CLOSED, "Connection closed", None):
            return False
        with anyio.move_on_after(1):
            await self.lost.wait()
        return self.lost.is_set()

    async def _greet(self, era: Era | None) -> None:
        try:
            if era != "modern":
                try:
                    return await self._initialize()
                except MCPError as exc:
                    if era == "legacy" or await self._is_the_end(exc):
                        raise
                    # A modern-only server refuses `initialize`, and has nothing against another question.
                    try:
                        return await self._discover()
                    except MCPError:
                        raise exc from None
            await self._discover()
        except MCPError as exc:
            if await self._is_the_end(exc):
                raise BackendError(self._no_greeting()) from None
            if self._unreachable is not None:
                raise self._unreachable from None
            if self._http_status is not None:
                answer = f"{http_status(self._http_status)}: {exc.message}"
                raise BackendError(f"{self._config.url} answered {answer}") from None
            raise BackendError(f"refused the handshake with error {exc.code}: {exc.message}") from None

    def _no_greeting(self) -> str:
        where = " (its own words, if any, are above)" if self._config.command is not None else ""
        return f"ended the connection when greeted{where}"

    async def _initialize(self) -> None:
        params = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": IMPLEMENTATION}
        hello = await self._dispatcher.send_raw_request("initialize", params, {"cancel_on_abandon": False})
        version = hello.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise BackendError(f"speaks protocol revision {version!r}, which Multi-MCP does not")
        self._adopt("legacy", str(version), hello)
        headers = {MCP_PROTOCOL_VERSION_HEADER: self._version}
        await self._dispatcher.notify("notifications/initialized", None, {"headers": headers})

    async def _discover(self) -> None:
        self.era, self._version = "modern", MODERN_PROTOCOL_VERSIONS[-1]
        params, options = self._envelope("server/discover", {}, {})
        options["cancel_on_abandon"] = False
        hello = await self._dispatcher.send_raw_request("server/discover", params, options)
        supported = hello.get("supportedVersions")
        mutual = [v for v in MODERN_PROTOCOL_VERSIONS if isinstance(supported, list) and v in supported]
        if not mutual:
            raise BackendError(f"speaks protocol revisions {supported!r}, none of which Multi-MCP does")
        meta = hello.get("_meta")
        info = meta.get(SERVER_INFO_META_KEY) if isinstance(meta, dict) else None
        self._adopt("modern", mutual[-1], {**hello, "serverInfo": info})

    def _adopt(self, era: Era, version: str, hello: dict[str, Any]) -> None:
        self.era, self._version, self._hello = era, version, hello
        capabilities = hello.get("capabilities")
        self._capabilities: dict[str, Any] = capabilities if isinstance(capabilities, dict) else {}

    def _envelope(
        self, method: str, params: dict[str, Any], capabilities: Mapping[str, Any]
    ) -> tuple[dict[str, Any], CallOptions]:
        """`params` and options with what this hop says for itself, in this connection's era."""
        meta = params.get("_meta")
        meta = {key: value for key, value in meta.items() if key not in HOP_BY_HOP} if isinstance(meta, dict) else {}
        headers = {MCP_PROTOCOL_VERSION_HEADER: self._version}
        if self.era == "modern":
            meta[PROTOCOL_VERSION_META_KEY] = self._version
            meta[CLIENT_INFO_META_KEY] = IMPLEMENTATION
            meta[CLIENT_CAPABILITIES_META_KEY] = dict(capabilities)
            headers[MCP_METHOD_HEADER] = method
            name = params.get(NAME_BEARING_METHODS.get(method, ""))
            if isinstance(name, str):
                headers[MCP_NAME_HEADER] = encode_header_value(name)
                arguments = params.get("arguments")
                if method == "tools/call" and isinstance(arguments, dict):
                    headers |= mcp_param_headers(self._param_headers.get(name, {}), arguments)
        if meta:
            params["_meta"] = meta
        else:
            params.pop("_meta", None)
        return params, {"headers": headers}


class Backend:
    """One MCP server behind the proxy, named by its key in `mcpServers`.

    `run` keeps it connected until `stop`. `offers` is what it offers, by the eras it is connected in; it changes
    only together with a call of `on_change`.
    """

    def __init__(self, name: str, config: ServerConfig, on_change: Callable[[], None]) -> None:
        self.name = name
        self.config = config
        self.state: State = "disabled" if config.disabled else "starting"
        self.error: str | None = None
        self.since = datetime.now(UTC)
        self.offers: dict[Era, Offer] = {}
        self.settled = anyio.Event()
        """Set when the first attempt to connect has ended, well or badly."""
        if config.disabled:
            self.settled.set()
        self._on_change = on_change
        self._connections: dict[Era, Connection] = {}
        self._up = anyio.Event()
        self._up_at = self._down_at = anyio.current_time()
        self._delay = BACKOFF[0]
        self._problems: dict[str, None] = {}
        self._list_changed = anyio.Event()
        self._modern_wait: tuple[anyio.Event, float] | None = None
        self._speaks_modern = False
        self._no_modern_before = 0.0
        self._stopping = anyio.Event()
        self._stopped = anyio.Event()

    @property
    def primary(self) -> Connection | None:
        """The connection opened first, which the backend lives and dies with."""
        return next(iter(self._connections.values()), None)

    async def run(self) -> None:
        """Keep the backend connected until it is stopped or the task is cancelled. Raises nothing."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._serve()
                    reason = LOST
                except Exception as exc:
                    reason = self._explain(exc)
                self._take_down(reason)
                with anyio.move_on_after(self._delay * random.uniform(0.5, 1)):
                    await self._stopping.wait()
                self._delay = min(self._delay * 2, BACKOFF[1])
        finally:
            self._connections.clear()
            self._set_state("stopped")
            self._stopped.set()

    async def stop(self) -> None:
        """End the backend; when this returns its processes are gone and its sessions closed."""
        self._stopping.set()
        if self.state != "disabled":
            await self._stopped.wait()

    async def request(
        self, era: Era, method: str, params: Mapping[str, Any], capabilities: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Era]:
        """Send a client's request on a connection of the client's era where the backend speaks it.

        Returns:
            the raw result and the era of the connection it came by.

        Raises:
            MCPError: as `Connection.request`; or one naming the backend when it is not connected.
        """
        connection = await self._connection(era)
        return await connection.request(method, params, capabilities), connection.era

    async def _connection(self, era: Era) -> Connection:
        if not self._up.is_set():
            with anyio.move_on_after(self._down_at + OUTAGE_WAIT - anyio.current_time()):
                await self._up.wait()
        now = anyio.current_time()
        if era == "modern" and era not in self._connections and self._up.is_set() and now >= self._no_modern_before:
            if self._modern_wait is None:
                self._modern_wait = anyio.Event(), now + ERA_WAIT
                self._group.start_soon(self._serve_modern, self._modern_wait[0])
            known, deadline = self._modern_wait
            with anyio.move_on_after(deadline - now):
                await known.wait()
        connection = self._connections.get(era) or self.primary
        if connection is None:
            raise backend_failure(self.name, f"is not connected: {self.error or 'it is being started'}")
        return connection

    async def _serve(self) -> None:
        """Connect, and stay until the connection ends or the backend is stopped."""
        connection = Connection(self.name, self.config, self._note_list_changed)
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._goodbye, self._group.cancel_scope)
            try:
                with anyio.fail_after(HANDSHAKE_TIMEOUT):
                    await self._group.start(connection.run, None)
            except TimeoutError:
                raise BackendError(f"did not finish its handshake within {HANDSHAKE_TIMEOUT:g} s") from None
            self._connections[connection.era] = connection
            self._publish()
            self._set_state("ready")
            self._up_at = anyio.current_time()
            self._up.set()
            self._group.start_soon(self._follow_lists)
            await connection.lost.wait()
            if anyio.current_time() - self._up_at > BACKOFF[1]:
                self._delay = BACKOFF[0]  # it was up for long: this is a new trouble
            self._take_down(LOST)
            await connection.ended.wait()  # its process is gone
            self._group.cancel_scope.cancel()

    async def _serve_modern(self, known: anyio.Event) -> None:
        """Open the modern connection beside the first one, and stay until it ends."""
        connection = Connection(self.name, self.config, self._note_list_changed)
        try:
            async with anyio.create_task_group() as group:
                with anyio.fail_after(ERA_PROBE):
                    await group.start(connection.run, "modern")
                self._speaks_modern = True
                self._connections["modern"] = connection
                self._publish()
                known.set()
        except Exception as exc:
            # A server that could not be reached, or has spoken this era before, has not said that it does not.
            undecided = self._speaks_modern or isinstance(unwrap(exc), OSError | httpx2.TransportError)
            self._no_modern_before = anyio.current_time() + ERA_RETRY if undecided else math.inf
            logger.debug("%s: no connection in the modern era: %s", self.name, self._explain(exc))
        finally:
            known.set()
            self._modern_wait = None
            if self._connections.pop("modern", None):
                self.offers.pop("modern", None)
                self._on_change()

    async def _goodbye(self, scope: anyio.CancelScope) -> None:
        """When the backend is stopped: let its connections end politely, then end them."""
        await self._stopping.wait()
        for connection in self._connections.values():
            connection.close()
        with anyio.move_on_after(CLOSE_TIMEOUT):
            for connection in list(self._connections.values()):
                await connection.ended.wait()
        scope.cancel()

    def _note_list_changed(self) -> None:
        self._list_changed.set()

    async def _follow_lists(self) -> None:
        """Read the lists again when the backend says that they changed; several words while reading are one."""
        while True:
            await self._list_changed.wait()
            self._list_changed = anyio.Event()
            for connection in list(self._connections.values()):
                with suppress(BackendError):  # it is lost, which is told elsewhere
                    connection.offer = await connection.read_offer()
            self._publish()
            await anyio.sleep(LIST_PAUSE)

    def _publish(self) -> None:
        self.offers = {era: connection.offer for era, connection in self._connections.items()}
        problems = dict.fromkeys(self.config.redact(text) for offer in self.offers.values() for text in offer.problems)
        for problem in problems.keys() - self._problems.keys():
            logger.warning("%s: %s", self.name, problem)
        self._problems = problems
        self.error = "; ".join(problems) or None
        self._on_change()

    def _take_down(self, reason: str) -> None:
        """From now on calls wait for the next connection."""
        if self._up.is_set():
            self._up = anyio.Event()
            self._down_at = anyio.current_time()
        self._connections.clear()
        if not self._stopping.is_set():
            self._set_state("failed", reason)

    def _set_state(self, state: State, error: str | None = None) -> None:
        if state != "ready":
            changed = (state, error) != (self.state, self.error)
            self.error = error
        else:
            changed = True
        self.state = state
        if changed:
            self.since = datetime.now(UTC)
            level = {"failed": logging.WARNING, "stopped": logging.DEBUG}.get(state, logging.INFO)
            logger.log(level, "%s: %s", self.name, self._news())
        self.settled.set()
        self._on_change()

    def _news(self) -> str:
        if self.state == "failed":
            return f"failed: {self.error}; trying again"
        if self.state == "ready" and (primary := self.primary):
            numbers = {kind.noun: len(primary.offer.items(kind)) for kind in KINDS}
            counts = ", ".join(f"{n} {noun}{'s' * (n != 1)}" for noun, n in numbers.items() if n)
            return f"ready ({self.config.transport}, {primary.offer.protocol_version}): {counts or 'nothing'} offered"
        return self.state

    def _explain(self, exc: Exception) -> str:
        cause = unwrap(exc)
        if isinstance(cause, httpx2.HTTPStatusError):
            text = f"{self.config.url} answered {http_status(cause.response.status_code)}"
        elif isinstance(cause, httpx2.TransportError):
            text = f"{self.config.url} cannot be reached ({describe(cause)})"
        else:
            text = describe(cause)
        return self.config.redact(text)


async def _on_request(
    context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Answer a backend's question. None is relayed to a client, and none was promised to be."""
    if method == "ping":
        return {}
    raise MCPError(METHOD_NOT_FOUND, f"Multi-MCP does not relay {method}")


async def _on_notify(context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None) -> None:
    """Never reached: `Connection._on_notification` takes them all, in the order of the wire."""
