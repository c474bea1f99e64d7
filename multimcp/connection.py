"""One MCP connection to a backend, in one era: a process, an SSE stream or an HTTP session.

Rules:
- Requests and results cross as plain dicts. Rewritten at this hop are only the request id, the keys of `_meta` in
  `HOP_BY_HOP`, a legacy client's log level, and the `Mcp-*` headers.
- What the backend sends is taken in the order of the wire. Over streamable HTTP the stream says to which call it
  belongs; else it is meant for the client that has a call in flight.
- A question that could be meant for more than one client is put to none.
- What a modern backend tells only to who listens is listened to.
"""

import logging
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any, Final, Self

import anyio
import httpx2
from anyio.abc import TaskGroup, TaskStatus
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
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LOG_LEVEL_META_KEY,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    REQUEST_TIMEOUT,
    SERVER_INFO_META_KEY,
    URL_ELICITATION_REQUIRED,
    JSONRPCError,
    JSONRPCResponse,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic_core import to_json

from . import __version__, chain
from .calls import LOG, OVER, UPDATED, VISITED, Call, Params, Session, ask
from .chain import Chain
from .config import ServerConfig
from .errors import BackendError, ChainError, backend_failure, describe, unwrap
from .launch import environment, program, python_of
from .offer import KINDS, TOOLS, Era, Kind, Listing, Offer, read_listing
from .relay import Relay
from .remote import http_client, http_status, open_sse, remedy
from .stderr import Stderr
from .stdio import not_found, open_process
from .streams import Unowned

logger = logging.getLogger(__name__)

IMPLEMENTATION = {"name": "multi-mcp", "title": "Multi-MCP", "version": __version__}
"""How the proxy introduces itself, to both sides."""

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

HOP_BY_HOP = frozenset(
    {
        "progressToken",
        PROTOCOL_VERSION_META_KEY,
        CLIENT_INFO_META_KEY,
        CLIENT_CAPABILITIES_META_KEY,
        SERVER_INFO_META_KEY,
        SUBSCRIPTION_ID,
        chain.META_KEY,
    }
)
"""Keys of `_meta` that speak of one hop, not of the message; everything else in it crosses untouched."""

CAPABILITIES: Final[Mapping[str, Any]] = {
    "sampling": {"context": {}, "tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "roots": {"listChanged": True},
}
"""What a legacy backend is told that its clients can do, on a connection that is opened before there is any.

It is asked of each client then; for one that can't do it, its own error is given (`calls.check`).
"""

ERA_PROBE = 10.0
"""Seconds after which a server that has not answered `server/discover` does not speak the modern era.

It has to be started for that, on a machine that may be busy; who speaks both eras must not be taken for legacy.
"""

LIST_TIMEOUT = 10.0
"""Seconds a backend has to tell one of its lists, all pages of it."""

LISTEN_TIMEOUT = 5.0
"""Seconds a backend has to acknowledge that it is listened to."""

LISTEN_PAUSE = 1.0
"""Seconds before a backend that ended a listening stream is listened to again."""

LEVEL_TIMEOUT = 1.0
"""Seconds in which a backend is told of a log level before what comes next is sent."""

LOST = "the connection ended"

NO_GREETING = "closed the connection during the handshake"

CLOSE_TIMEOUT = 1.0
"""Seconds a remote backend has to be told that its session ends."""

MISSED = ""
"""Stands for the notification, if there was any, of changed lists while they were not listened to."""

LIST_CHANGED = frozenset(f"notifications/{kind.capability}/list_changed" for kind in KINDS)


_MISSING_MODULE = re.compile(r"ModuleNotFoundError|ImportError|No module named")

_sending: ContextVar[Call | None] = ContextVar("_sending", default=None)
"""The call in whose name something is sent. The SDK's streamable HTTP client hands it on to what comes back on the
response stream of that very request: it takes the sender's context along with each message."""

OnNotification = Callable[["Connection", str, dict[str, Any]], None]
"""Is told what a backend sends to no call in particular; must not block."""


class Connection:
    """One MCP connection to a backend, in one era: a process, an SSE stream or an HTTP session.

    `run` opens it and lives as long as it does; `request` may be used once `run` has called `started`.
    """

    era: Era
    offer: Offer

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        relay: Relay,
        on_notification: OnNotification,
        stderr: Stderr,
        chain: Chain,
        owner: Session | None = None,
    ) -> None:
        """`stderr` is the server's, `chain` leads here; `owner` is the client that has this connection for itself."""
        self.owner = owner
        self.subscribed: dict[str, anyio.CancelScope] = {}
        """The resources whose updates the backend sends, by URI; the scope is that of the stream they come on."""
        self._name = name
        self._config = config
        self._relay = relay
        self._on_notification = on_notification
        self._stderr = stderr.process()
        self._started: tuple[str, Mapping[str, str]] | None = None
        self._chain = chain
        self.behind: Mapping[str, int] = {}
        """Which Multi-MCPs are behind this connection, by distance; none if the server is not one itself."""
        self.end_reason = LOST
        """Why the connection ends, when it does. Anything but `LOST` says that the server leads back to ourselves."""
        self._http_status: int | None = None
        self._unreachable: httpx2.TransportError | None = None
        self._noisy = self._doubtful = False
        self._param_headers: dict[str, dict[tuple[str, ...], str]] = {}
        self._calls: dict[str, Call] = {}
        self._listeners: dict[str, Callable[[], None]] = {}
        self._numbers = count(1)
        self._level: str | None = None
        self._is_told = True
        self._listings: Mapping[Kind, Listing] = {}
        self._read_at = 0.0
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
                self._read = _Reading(read, lambda request_id: self._calls.pop(request_id, None))
                self._dispatcher: JSONRPCDispatcher[_Sent] = JSONRPCDispatcher(
                    self._read, _Writing(write), transport_builder=lambda metadata: _Sent(calls=self._meant())
                )
                async with anyio.create_task_group() as group:
                    self._tasks: TaskGroup = group
                    await group.start(self._pump, group.cancel_scope)
                    try:
                        with anyio.fail_after(ERA_PROBE if era == "modern" else None):
                            await self._greet(era)
                    except TimeoutError:
                        raise BackendError(f"did not answer server/discover within {ERA_PROBE:g} s") from None
                    await self._listen_for_changes()
                    await self.read_offer()
                    greeted = True
                    self._stderr.is_ready()
                    task_status.started()
                    await self._closing.wait()
                    group.cancel_scope.cancel()
            if not greeted:  # the process ended, but not its stdout
                raise BackendError(NO_GREETING)
        finally:
            self.ended.set()

    @property
    def last_words(self) -> str:
        """What its process said last, and which Python it was if it lacked a module; for the end of a sentence."""
        if self.end_reason != LOST or not (words := self._stderr.last_words):
            return ""
        text = f"; its last words: {words}"
        if self._started and _MISSING_MODULE.search(words) and (python := python_of(*self._started)):
            text += f'; it ran with {python}: install the module there, or give the path of another Python as "command"'
        return text

    def close(self) -> None:
        """Have `run` say goodbye and return."""
        self._closing.set()

    async def request(self, method: str, params: Params, call: Call | None = None) -> dict[str, Any]:
        """Send a request and return its raw result.

        Args:
            method: the MCP method.
            params: as the client sent them, under the backend's own names.
            call: for a client; its messages are delivered before this returns or raises. None is for ourselves.

        Raises:
            MCPError: the backend's own error as it was; one naming the backend when it did not answer in the
                configured `timeout`, or the connection ended first; the client's, when its params cannot be sent.
        """
        with _sendable():
            params, options = self._envelope(method, params, call)
        try:
            with self._in_flight(call), anyio.fail_after(self._config.timeout) as clock:
                if call is not None:
                    call.clock = clock
                return await self._dispatcher.send_raw_request(method, params, options)
        except TimeoutError:
            reason = f'did not answer {method} within {self._config.timeout:g} s (its "timeout")'
            raise backend_failure(self._name, reason, REQUEST_TIMEOUT) from None
        except MCPError as exc:
            if await self._is_the_end(exc):
                raise backend_failure(self._name, f"the connection ended before it answered {method}") from None
            if exc.code == URL_ELICITATION_REQUIRED and call and (session := call.client.session):
                listed = exc.data.get("elicitations") if isinstance(exc.data, dict) else None
                for elicitation in listed if isinstance(listed, list) else ():
                    session.note_elicitation(elicitation)
            raise
        finally:
            if call is not None:
                await call.end()

    @contextmanager
    def _in_flight(self, call: Call | None) -> Generator[None, None, None]:
        if call is None:
            yield
            return
        self._calls[call.id] = call
        token = _sending.set(call)
        try:
            yield
        finally:
            _sending.reset(token)
            self._calls.pop(call.id, None)

    async def notify(self, method: str, params: Params) -> None:
        """Send a notification."""
        headers = {MCP_PROTOCOL_VERSION_HEADER: self._version}
        await self._dispatcher.notify(method, params or None, {"headers": headers})

    async def set_level(self, level: str) -> None:
        """Have a legacy backend send log messages from this level on. It may refuse; it is not asked twice."""
        if self.era == "legacy" and "logging" in self._capabilities and level != self._level:
            self._level = level
            with suppress(MCPError), anyio.move_on_after(LEVEL_TIMEOUT):
                await self.request("logging/setLevel", {"level": level})

    async def subscribe(self, uri: str) -> None:
        """Have the backend tell of updates of a resource.

        Raises:
            MCPError: the backend's: it does not.
        """
        scope = anyio.CancelScope()
        if self.era == "legacy":
            await self.request("resources/subscribe", {"uri": uri})
        else:
            updated = partial(self._on_notification, self, UPDATED, {"uri": uri})
            await self._start_listening({"resourceSubscriptions": [uri]}, updated, scope)
        self.subscribed[uri] = scope

    async def unsubscribe(self, uri: str) -> None:
        """Have the backend tell no more of updates of a resource."""
        self.subscribed.pop(uri).cancel()
        if self.era == "legacy":
            with suppress(MCPError):
                await self.request("resources/unsubscribe", {"uri": uri})

    async def read_offer(self) -> None:
        """Read the four lists into `offer`, with what the server said when greeted.

        Of a list that cannot be read any more the last reading is kept.
        """
        listings: dict[Kind, Listing] = {}
        problems: list[str] = []
        for kind in KINDS:
            if kind.capability not in self._capabilities:
                continue
            listing = self._listings.get(kind)
            try:
                with anyio.fail_after(LIST_TIMEOUT):
                    listing, left_out = await read_listing(kind, self._read_page)
                problems += left_out
            except TimeoutError:
                problems.append(f"{kind.method}: was not answered within {LIST_TIMEOUT:g} s")
            except ChainError:
                raise
            except (BackendError, MCPError) as exc:
                # One bad list costs that list. Many servers have resources and no method for templates.
                if self.lost.is_set():
                    raise BackendError(f"closed the connection when asked for {kind.method}") from None
                if not (isinstance(exc, MCPError) and exc.code == METHOD_NOT_FOUND):
                    problems.append(f"{kind.method}: {describe(exc)}")
            if listing is not None:
                listings[kind] = listing
        self._listings, self._read_at = listings, anyio.current_time()
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
        self.offer = Offer(
            self._version,
            self._capabilities,
            instructions if isinstance(instructions, str) else None,
            info if isinstance(info, dict) else None,
            listings,
            tuple(problems),
        )

    async def _read_page(self, method: str, params: Params) -> dict[str, Any]:
        result = await self.request(method, params)
        self._look_behind(result)
        return result

    def _look_behind(self, result: Mapping[str, Any]) -> None:
        """Learn from an answer which Multi-MCPs are behind this connection.

        Raises:
            ChainError: the operator's: we are one of them, or there are too many; the connection ends.
        """
        if (behind := chain.read_behind(result)) is not None:
            self.behind = behind
            if reason := self._chain.reject(behind):
                raise self._lead_back(reason)

    def _lead_back(self, reason: str) -> ChainError:
        """End the connection, as the server leads back to ourselves."""
        self.end_reason = reason
        self.close()
        return ChainError(reason)

    @asynccontextmanager
    async def _streams(self) -> AsyncGenerator[Any, None]:
        config = self._config
        if config.command is not None:
            in_venv = sys.prefix != sys.base_prefix
            started = program(config.command, config.env, os.environ, sys.executable, in_venv=in_venv)
            command = [started, *config.args]
            env = environment(os.environ, config.env) | self._chain.variable()
            self._started = started, env
            try:
                async with open_process(
                    command, env=env, cwd=config.cwd, on_noise=self._on_noise, on_stderr=self._stderr.feed
                ) as streams:
                    yield streams
            except FileNotFoundError:
                raise BackendError(not_found(config.command, config.cwd)) from None
            except PermissionError:
                what = f"'{config.command}' cannot be run (Permission denied)"
                raise BackendError(f"{what}; make it executable, or name the program that runs it") from None
            finally:
                self._stderr.end()
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

    @property
    def age(self) -> float:
        """Seconds for which changes of the lists may have gone unnoticed: 0 where the backend tells of all."""
        listed = {kind.capability for kind in KINDS if kind.capability in self._capabilities}
        return 0.0 if self._is_told and listed == self._announced() else anyio.current_time() - self._read_at

    def _announced(self) -> set[str]:
        """The capabilities whose lists the backend says it tells changes of."""
        declared = {kind.capability: self._capabilities.get(kind.capability) for kind in KINDS}
        return {name for name, value in declared.items() if isinstance(value, dict) and value.get("listChanged")}

    async def _pump(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """Run the dispatcher; when the other side ends the stream, end the connection."""
        try:
            await self._dispatcher.run(self._answer, _on_notify, self._take, task_status=task_status)
        finally:
            self.lost.set()
            scope.cancel()

    def _take(self, method: str, params: Params) -> bool:
        """Take a notification, in the order of the wire."""
        meta = (params or {}).get("_meta")
        subscription = meta.get(SUBSCRIPTION_ID) if isinstance(meta, Mapping) else None
        params = end_to_end(params)
        match method:
            case "notifications/progress":
                if isinstance(token := params.get("progressToken"), str) and (call := self._calls.get(token)):
                    call.tell(method, params, self._tasks)
            case "notifications/cancelled":
                pass  # the dispatcher has seen to it
            case "notifications/subscriptions/acknowledged":
                if isinstance(subscription, str) and subscription in self._listeners:
                    self._listeners[subscription]()
            case _ if method in LIST_CHANGED or method in (UPDATED, VISITED):
                self._on_notification(self, method, params)
            case _:
                calls = self._meant()
                if calls is None:
                    self._on_notification(self, method, params)
                elif self.era == "modern" and method == LOG:
                    # It must not be told but to the one whose request it belongs to (spec, per-request log level).
                    calls = [call for call in calls if call.client.wants(params.get("level"))]
                    calls = calls if len(calls) == 1 else []
                for call in calls or ():
                    call.tell(method, params, self._tasks)
        return True

    def _meant(self) -> list[Call] | None:
        """The calls that what was read last may belong to, one for each client that may be meant; None is to no call.

        What comes on the stream of a call that is over (its client has cancelled it) is for nobody.
        """
        sender = self._read.last_context
        if sender is not None and (call := sender.get(_sending)) is not None:
            return [call] if call.id in self._calls else []
        return list({call.who: call for call in self._calls.values()}.values()) or None

    async def _answer(self, context: DispatchContext[TransportContext], method: str, params: Params) -> dict[str, Any]:
        """Answer a backend's request: have the client asked whose call is in flight."""
        if method == "ping":
            return {}
        if self.era == "modern":
            raise MCPError(METHOD_NOT_FOUND, f"There is no {method} in this revision of MCP")
        params = end_to_end(params) or None
        assert isinstance(context.transport, _Sent)
        calls = context.transport.calls
        if calls is None and (client := self.owner or await self._relay.single()):
            return await ask(client.connection.outbound, client, method, params)
        if calls is None or len(calls) != 1:
            raise self._doubt(method, len(calls or ()))
        if calls[0].id not in self._calls:  # it was answered right behind the question
            raise MCPError(INVALID_REQUEST, OVER)
        return await calls[0].ask(method, params)

    def _doubt(self, method: str, clients: int) -> MCPError:
        reason = f"{clients} clients have a call in flight" if clients else "no client has a call in flight"
        text = f"{method} was refused: {reason}, and it is not clear who is meant"
        if self._config.scope != "session":
            text += '; "scope": "session" in its configuration gives each legacy client a connection of its own'
        if not self._doubtful:
            self._doubtful = True
            logger.warning("%s: %s", self._name, text)
        return MCPError(INTERNAL_ERROR, f"MCP server '{self._name}': {text}")

    async def _listen_for_changes(self) -> None:
        """Where lists change only for who listens, listen."""
        wanted = {f"{capability}ListChanged": True for capability in self._announced()}
        if self.era == "modern" and wanted:
            missed = partial(self._on_notification, self, MISSED, {})
            try:
                await self._start_listening(wanted, missed, anyio.CancelScope())
            except MCPError:
                self._is_told = False  # it is looked at now and then instead

    async def _start_listening(
        self, wanted: Mapping[str, Any], on_gap: Callable[[], None], scope: anyio.CancelScope
    ) -> None:
        """Listen from now on until `scope` is cancelled; `on_gap` is told when something may have been missed.

        Raises:
            MCPError: the backend's: it does not let us.
        """
        try:
            with anyio.fail_after(LISTEN_TIMEOUT):
                await self._tasks.start(self._keep_listening, wanted, on_gap, scope)
        except TimeoutError:
            reason = f"did not acknowledge subscriptions/listen within {LISTEN_TIMEOUT:g} s"
            raise backend_failure(self._name, reason) from None
        except (ExceptionGroup, MCPError) as exc:
            raise unwrap(exc) from None

    async def _keep_listening(
        self,
        wanted: Mapping[str, Any],
        on_gap: Callable[[], None],
        scope: anyio.CancelScope,
        *,
        task_status: TaskStatus[None],
    ) -> None:
        params, options = self._envelope("subscriptions/listen", {"notifications": dict(wanted)}, None)
        is_open = anyio.Event()

        def acknowledged() -> None:
            if is_open.is_set():
                on_gap()
            else:
                is_open.set()
                task_status.started()

        with scope:
            while True:
                options["request_id"] = stream = f"listen-{next(self._numbers)}"
                self._listeners[stream] = acknowledged
                try:
                    await self._dispatcher.send_raw_request("subscriptions/listen", params, options)
                    problem = backend_failure(self._name, "ended subscriptions/listen at once")
                except MCPError as exc:
                    problem = exc
                finally:
                    del self._listeners[stream]
                if not is_open.is_set():
                    raise problem
                await anyio.sleep(LISTEN_PAUSE)

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
                    if era == "legacy" or chain.is_refusal(exc.data) or await self._is_the_end(exc):
                        raise
                    # A modern-only server refuses `initialize`, and has nothing against another question.
                    status = self._http_status
                    try:
                        return await self._discover()
                    except MCPError:
                        self._http_status = status  # what is told is why `initialize` failed
                        raise exc from None
            await self._discover()
        except MCPError as exc:
            if chain.is_refusal(exc.data):
                raise self._lead_back(exc.message) from None
            if await self._is_the_end(exc):
                raise BackendError(NO_GREETING) from None
            if self._unreachable is not None:
                raise self._unreachable from None
            if self._http_status is not None:
                answer = f"{http_status(self._http_status)}: {exc.message}{remedy(self._http_status)}"
                raise BackendError(f"{self._config.url} answered {answer}") from None
            raise BackendError(f"refused the handshake with error {exc.code}: {exc.message}") from None

    async def _initialize(self) -> None:
        capabilities = self.owner.capabilities if self.owner else CAPABILITIES
        params = {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": dict(capabilities),
            "clientInfo": IMPLEMENTATION,
            "_meta": {chain.META_KEY: self._chain.ids},
        }
        options: CallOptions = {"cancel_on_abandon": False, "headers": {chain.HEADER: ",".join(self._chain.ids)}}
        hello = await self._dispatcher.send_raw_request("initialize", params, options)
        version = hello.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise BackendError(f"speaks protocol revision {version!r}, which Multi-MCP does not")
        self._adopt("legacy", str(version), hello)
        headers = {MCP_PROTOCOL_VERSION_HEADER: self._version}
        await self._dispatcher.notify("notifications/initialized", None, {"headers": headers})

    async def _discover(self) -> None:
        self.era, self._version = "modern", MODERN_PROTOCOL_VERSIONS[-1]
        params, options = self._envelope("server/discover", {}, None)
        options["cancel_on_abandon"] = False
        params["_meta"][chain.META_KEY] = self._chain.ids
        options["headers"] = {**options.get("headers", {}), chain.HEADER: ",".join(self._chain.ids)}
        hello = await self._dispatcher.send_raw_request("server/discover", params, options)
        supported = hello.get("supportedVersions")
        mutual = [v for v in MODERN_PROTOCOL_VERSIONS if isinstance(supported, list) and v in supported]
        if not mutual:
            raise BackendError(f"speaks protocol revisions {supported!r}, none of which Multi-MCP does")
        meta = hello.get("_meta")
        info = meta.get(SERVER_INFO_META_KEY) if isinstance(meta, dict) else None
        self._adopt("modern", mutual[-1], {**hello, "serverInfo": info})

    def _adopt(self, era: Era, version: str, hello: dict[str, Any]) -> None:
        self._look_behind(hello)
        self.era, self._version, self._hello = era, version, hello
        capabilities = hello.get("capabilities")
        self._capabilities: dict[str, Any] = capabilities if isinstance(capabilities, dict) else {}

    def _envelope(self, method: str, params: Params, call: Call | None) -> tuple[dict[str, Any], CallOptions]:
        """`params` and options with what this hop says for itself, in this connection's era."""
        params = end_to_end(params)
        given = params.pop("_meta", None)
        meta: dict[str, Any] = given if isinstance(given, dict) else {}
        headers = {MCP_PROTOCOL_VERSION_HEADER: self._version}
        options: CallOptions = {"headers": headers}
        if call is not None:
            options["request_id"] = call.id
            meta |= call.envelope(self.era)
        elif self.behind:
            meta[chain.META_KEY] = self._chain.ids
        if self.era == "modern":
            meta[PROTOCOL_VERSION_META_KEY] = self._version
            meta[CLIENT_INFO_META_KEY] = IMPLEMENTATION
            meta[CLIENT_CAPABILITIES_META_KEY] = dict(call.client.capabilities) if call else {}
            headers[MCP_METHOD_HEADER] = method
            name = params.get(NAME_BEARING_METHODS.get(method, ""))
            if isinstance(name, str):
                headers[MCP_NAME_HEADER] = encode_header_value(name)
                arguments = params.get("arguments")
                if method == "tools/call" and isinstance(arguments, dict):
                    headers |= mcp_param_headers(self._param_headers.get(name, {}), arguments)
        else:
            meta.pop(LOG_LEVEL_META_KEY, None)
        return params | ({"_meta": meta} if meta else {}), options


@dataclass(frozen=True)
class _Sent(TransportContext):
    """What the dispatcher keeps with a request: whose it may be, as it was when the request was read."""

    kind: str = "backend"
    can_send_request: bool = True
    calls: list[Call] | None = None


@contextmanager
def _sendable() -> Generator[None, None, None]:
    """What JSON text can say and a message cannot carry is an error. In the SDK's transport it would end us all."""
    try:
        yield
    except ValueError:
        raise MCPError(INVALID_PARAMS, "A string that is no Unicode text, or nesting that is too deep") from None


class _Writing(Unowned):
    """What a connection writes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, item: SessionMessage, /) -> None:
        with _sendable():
            to_json(item.message)
        await self._stream.send(item)


class _Reading(Unowned):
    """What a connection reads. `on_answer` is told, in the order of the wire, which request was answered."""

    def __init__(self, stream: Any, on_answer: Callable[[Any], object]) -> None:
        self._stream = stream
        self._on_answer = on_answer

    @property
    def last_context(self) -> Context | None:
        """In whose context the last message was sent to us, where the transport says so."""
        return getattr(self._stream, "last_context", None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        item: SessionMessage | Exception = await self._stream.__anext__()
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._on_answer(item.message.id)
        return item

    receive = __anext__


def end_to_end(params: Params) -> dict[str, Any]:
    """`params` without what speaks of one hop only."""
    params = dict(params or {})
    if isinstance(meta := params.get("_meta"), Mapping):
        params["_meta"] = {key: value for key, value in meta.items() if key not in HOP_BY_HOP}
        if not params["_meta"]:
            del params["_meta"]
    return params


async def _on_notify(context: DispatchContext[TransportContext], method: str, params: Params) -> None:
    """Never reached: `Connection._take` takes them all, in the order of the wire."""
