"""One connection to a backend, born greeted: how it is opened, what it lists, and what it is subscribed to.

Rules:
- A connection exists once the server has greeted us and told its lists; before that there is only a link.
- Modern backends announce changes only on `subscriptions/listen`, so a stream is kept open.
- One list that cannot be read costs that list; of a list that could be read before, the last reading is kept.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from multimcp import __version__
from multimcp.errors import BackendError, ChainError, Fault, backend_failure, describe
from multimcp.protocol.calls import Clients, Session
from multimcp.protocol.chain import HEADER, Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.greeting import (
    CAPABILITIES,
    NO_GREETING,
    Greeting,
    Hello,
    Transport,
    behind_of,
    greet,
    refusal,
)
from multimcp.protocol.link import Event, Link
from multimcp.protocol.message import (
    METHOD_NOT_FOUND,
    Era,
    Fields,
    Message,
    fields,
    notification,
    pack,
    result_of,
)
from multimcp.protocol.offer import KINDS, TOOLS, Kind, Listing, Offer, Pages, declares
from multimcp.protocol.stderr import Stderr

from .launch import environment, program, python_of
from .stdio import StdioWire, not_found
from .wire import Wire

IMPLEMENTATION: Final = pack({"name": "multi-mcp", "title": "Multi-MCP", "version": __version__})
"""How the proxy introduces itself, to both sides."""

ERA_PROBE = 10.0
"""Seconds a server has to answer `server/discover`. Generous: it may still be starting, and a slow start must not be
mistaken for "legacy only"."""

LIST_TIMEOUT = 10.0
"""Seconds a backend has for one of its lists, all pages of it."""

LISTEN_TIMEOUT = 5.0
"""Seconds a backend has to acknowledge `subscriptions/listen`."""

LISTEN_PAUSE = 1.0
"""Seconds before a listening stream that the backend ended is opened again."""

LOST = "the connection ended"

LEVEL_TIMEOUT = 1.0
"""Seconds in which a backend acknowledges a log level before what comes next is sent."""

_MISSING_MODULE = re.compile(r"ModuleNotFoundError|ImportError|No module named")


class Clock:
    """The running event loop's time, as `protocol` wants it."""

    def now(self) -> float:
        return time.monotonic()

    def later(self, seconds: float, do: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(seconds, 0.0), do)


CLOCK: Final = Clock()


async def ask(link: Link, method: str, params: Fields, own: Fields | None = None) -> Fields:
    """Send a request of our own, with `own` in its `_meta`, and return its result, opened.

    Raises:
        Fault: the backend's error; or it did not answer.
    """
    answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def take(message: Message) -> None:
        if not answer.done():
            answer.set_result(message)

    call = link.ask(method, params, take, own)
    try:
        return fields(result_of(await answer))
    finally:
        link.give_up(call.number)


@dataclass(frozen=True)
class Context:
    """What all connections to one backend have in common."""

    name: str
    config: ServerConfig
    clients: Clients
    chain: Chain
    stderr: Stderr
    emit: Callable[[Link, Event], None]

    def link(self, era: Era, owner: Session | None) -> Link:
        hint = '; "scope": "session" in its configuration gives each legacy client a connection of its own'
        return Link(
            self.name,
            era,
            self.clients,
            CLOCK,
            self.emit,
            implementation=IMPLEMENTATION,
            timeout=self.config.timeout,
            owner=owner,
            hint="" if self.config.scope == "session" else hint,
        )


class Attempt:
    """One attempt to open a connection, and what its process says meanwhile."""

    def __init__(self, stderr: Stderr) -> None:
        self.stderr = stderr.process()
        self.started: tuple[str, Mapping[str, str]] | None = None
        """The program that was started, and its environment."""

    @property
    def last_words(self) -> str:
        """What its process said last, and which Python it was if it lacked a module; for the end of a sentence."""
        if not (words := self.stderr.last_words):
            return ""
        said = f"; its last words: {words}"
        if self.started and _MISSING_MODULE.search(words) and (python := python_of(*self.started)):
            said += f'; it ran with {python}: install the module there, or give the path of another Python as "command"'
        return said


class Connection:
    """One open connection to a backend: a process, an SSE stream or an HTTP session, in one era."""

    def __init__(
        self, context: Context, link: Link, wire: Wire, hello: Hello, attempt: Attempt, tasks: TaskGroup
    ) -> None:
        """`tasks` run its listening streams."""
        self.attempt = attempt
        self.link = link
        self.lost = anyio.Event()
        """Set when nothing comes any more."""
        self.behind: Mapping[str, int] = hello.behind
        """Which Multi-MCPs are behind this connection, by distance; none if the server is not one itself."""
        self.end_reason = LOST
        """Why the connection ends, when it does. Anything but `LOST` says that the server leads back to ourselves."""
        self.level: str | None = None
        """The log level that the backend was asked for."""
        self.subscribed: dict[str, anyio.CancelScope] = {}
        """The resources whose updates the backend sends; the scope is that of the stream they come on."""
        self.offer = Offer(hello.version, hello.capabilities, hello.instructions, hello.info)
        self._context = context
        self._wire = wire
        self._hello = hello
        self._tasks = tasks
        self._hears_changes = True
        self._listed = {kind.capability for kind in KINDS if kind.capability in hello.capabilities}
        self._announced = {name for name in self._listed if declares(hello.capabilities, name, "listChanged")}
        self._listings: Mapping[Kind, Listing] = {}
        self._read_at = 0.0

    @property
    def era(self) -> Era:
        """The era that is spoken on it."""
        return self.link.era

    @property
    def is_lost(self) -> bool:
        """Whether nothing comes any more."""
        return self.link.state == "lost"

    @property
    def age(self) -> float:
        """Seconds for which changes of the lists may have gone unnoticed: 0 where the backend announces all."""
        is_heard = self._hears_changes and self._wire.has_stream
        return 0.0 if is_heard and self._listed == self._announced else CLOCK.now() - self._read_at

    async def close(self) -> None:
        """Say goodbye; when this returns nothing of it is left."""
        await _close(self._wire, self.attempt)

    # Lists

    async def read_offer(self) -> None:
        """Read the four lists into `offer`.

        Raises:
            BackendError: the backend's: it ended the connection.
        """
        listings: dict[Kind, Listing] = {}
        problems: list[str] = []
        for kind in KINDS:
            if kind.capability not in self._hello.capabilities:
                continue
            listing = self._listings.get(kind)
            try:
                with anyio.fail_after(LIST_TIMEOUT):
                    listing = await self._read(kind, problems)
            except TimeoutError:
                problems.append(f"{kind.method}: was not answered within {LIST_TIMEOUT:g} s")
            except ChainError:
                raise
            except (BackendError, Fault) as exc:
                # Many servers have resources and no method for templates.
                if self.is_lost:
                    raise BackendError(f"closed the connection when asked for {kind.method}") from None
                if not (isinstance(exc, Fault) and exc.code == METHOD_NOT_FOUND):
                    problems.append(f"{kind.method}: {describe(exc)}")
            if listing is not None:
                listings[kind] = listing
        self._listings, self._read_at = listings, CLOCK.now()
        if self._wire.has_headers and self.era == "modern" and TOOLS in listings:
            tools = listings[TOOLS]
            problems += [f"tool '{name}' is left out: {reason}" for name, reason in tools.invalid.items()]
            listings = {**listings, TOOLS: tools.without_invalid()}
            self._wire.annotated = {entry.name: entry.headers for entry in tools.entries if entry.headers}
        self.offer = replace(self.offer, listings=listings, problems=tuple(problems))

    async def _read(self, kind: Kind, problems: list[str]) -> Listing:
        pages = Pages(kind)
        params: Fields = {}
        while True:
            result = await ask(self.link, kind.method, params, self._context.chain.meta if self.behind else None)
            self._look_behind(result)
            if (cursor := pages.add(pack(result))) is None:
                break
            params = {"cursor": cursor}
        problems += pages.problems
        return pages.listing()

    def _look_behind(self, result: Fields) -> None:
        """Learn from an answer which Multi-MCPs are behind this connection.

        Raises:
            ChainError: the operator's: we are one of them, or there are too many; the connection ends.
        """
        if (behind := behind_of(result)) is not None:
            self.behind = behind
            if reason := self._context.chain.reject(behind):
                self.end_reason = reason
                self.link.lose(reason)
                raise ChainError(reason)

    # Subscriptions and levels

    async def set_level(self, level: str) -> None:
        """Have a legacy backend send log messages from this level on. It may refuse; it is not asked twice."""
        if self.wants_level(level):
            self.level = level
            with anyio.move_on_after(LEVEL_TIMEOUT):
                with suppress(Fault):
                    await ask(self.link, "logging/setLevel", {"level": pack(level)})

    def wants_level(self, level: str | None) -> bool:
        """Whether `set_level` would ask the backend."""
        is_able = self.era == "legacy" and "logging" in self._hello.capabilities
        return level is not None and level != self.level and is_able

    async def subscribe(self, uri: str, updated: Callable[[], None]) -> None:
        """Have the backend tell of updates of a resource; `updated` is called when one may have been missed.

        Raises:
            Fault: the backend's: it does not.
        """
        scope = anyio.CancelScope()
        if self.era == "legacy":
            await ask(self.link, "resources/subscribe", {"uri": pack(uri)})
        else:
            await self._start_listening({"resourceSubscriptions": [uri]}, updated, scope)
        self.subscribed[uri] = scope

    async def unsubscribe(self, uri: str) -> None:
        """Have the backend tell no more of updates of a resource."""
        self.subscribed.pop(uri).cancel()
        if self.era == "legacy":
            with suppress(Fault):
                await ask(self.link, "resources/unsubscribe", {"uri": pack(uri)})

    async def listen_for_changes(self, missed: Callable[[], None]) -> None:
        """Where lists change only for who listens, listen; `missed` is called when a change may have been missed."""
        wanted = {f"{capability}ListChanged": True for capability in sorted(self._announced)}
        if self.era == "modern" and wanted:
            try:
                await self._start_listening(wanted, missed, anyio.CancelScope())
            except Fault:
                self._hears_changes = False  # it is looked at now and then instead
        elif self.era == "legacy":
            self._wire.listen()

    async def _start_listening(
        self, wanted: Mapping[str, Any], on_gap: Callable[[], None], scope: anyio.CancelScope
    ) -> None:
        """Listen from now on until `scope` is cancelled.

        Raises:
            Fault: the backend's: it does not let us.
        """
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.start_soon(self._keep_listening, {"notifications": pack(wanted)}, on_gap, scope, opened)
        try:
            with anyio.fail_after(LISTEN_TIMEOUT):
                await asyncio.shield(opened)
        except TimeoutError:
            scope.cancel()
            reason = f"did not acknowledge subscriptions/listen within {LISTEN_TIMEOUT:g} s"
            raise backend_failure(self._context.name, reason) from None
        except BaseException:
            scope.cancel()
            raise

    async def _keep_listening(
        self, params: Fields, on_gap: Callable[[], None], scope: anyio.CancelScope, opened: "asyncio.Future[None]"
    ) -> None:
        with scope:
            while not self.is_lost:
                problem = await self._listen_once(params, on_gap, opened)
                if not opened.done():
                    opened.set_exception(problem)
                    return
                if opened.exception() is not None:
                    return
                await anyio.sleep(LISTEN_PAUSE)
        if not opened.done():
            opened.cancel()

    async def _listen_once(self, params: Fields, on_gap: Callable[[], None], opened: "asyncio.Future[None]") -> Fault:
        ended: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def acknowledged() -> None:
            if opened.done():
                on_gap()
            else:
                opened.set_result(None)

        def end(message: Message) -> None:
            if not ended.done():
                ended.set_result(message)

        call = self.link.ask("subscriptions/listen", params, end)
        self.link.listeners[call.number] = acknowledged
        try:
            result_of(await ended)
            return backend_failure(self._context.name, "ended subscriptions/listen at once")
        except Fault as fault:
            return fault
        finally:
            self.link.listeners.pop(call.number, None)
            self.link.give_up(call.number)


# Opening


async def open_connection(
    context: Context,
    era: Era | None,
    owner: Session | None,
    tasks: TaskGroup,
    missed: Callable[[Link], None],
    attempt: Attempt,
    *,
    transport: Transport,
) -> Connection:
    """Open a connection, greet the server and read its lists.

    Args:
        context: of which backend.
        era: the one to speak; None is legacy where the server knows `initialize`, else modern.
        owner: the client that has it for itself.
        tasks: run its listening streams.
        missed: called when a change of the lists may have been missed.
        attempt: keeps what the process says.
        transport: to go by.

    Raises:
        BackendError: the backend's (or its operator's): it cannot be started, reached or understood.
    """
    link = context.link(era or "legacy", owner)
    wire = _wire(context, link, attempt, transport)
    try:
        await _open_wire(context.config, wire)
        with anyio.fail_after(ERA_PROBE if era == "modern" else None):
            hello = await _greet(context, link, wire, era)
        if hello.behind and (reason := context.chain.reject(hello.behind)):
            raise ChainError(reason)
        connection = Connection(context, link, wire, hello, attempt, tasks)
        await connection.listen_for_changes(partial(missed, link))
        await connection.read_offer()
        if connection.is_lost:
            raise BackendError(NO_GREETING)
        attempt.stderr.is_ready()
    except TimeoutError:
        await _close(wire, attempt)
        raise BackendError(f"did not answer server/discover within {ERA_PROBE:g} s") from None
    except BaseException:
        await _close(wire, attempt)
        raise
    return connection


async def _close(wire: Wire, attempt: Attempt) -> None:
    await wire.close()
    attempt.stderr.end()


def _wire(context: Context, link: Link, attempt: Attempt, transport: Transport) -> Wire:
    config, limits = context.config, context.clients.limits
    wire: Wire
    if transport == "stdio":
        assert config.command is not None
        in_venv = sys.prefix != sys.base_prefix
        started = program(config.command, config.env, os.environ, sys.executable, in_venv=in_venv)
        env = environment(os.environ, config.env) | context.chain.variable()
        attempt.started = started, env
        wire = StdioWire(link, [started, *config.args], env, config.cwd, attempt.stderr.feed, limits)
    else:
        # Imported here: a tenth of a second that a proxy of programs alone does not need.
        from .http import HttpWire
        from .sse import SseWire

        wire = (SseWire if transport == "sse" else HttpWire)(link, config.url or "", config.headers, limits)
    wire.greeting = {HEADER: ",".join(context.chain.ids)}
    link.use(wire)
    return wire


async def _open_wire(config: ServerConfig, wire: Wire) -> None:
    try:
        await wire.open()
    except FileNotFoundError:
        raise BackendError(not_found(config.command or "", config.cwd)) from None
    except PermissionError:
        what = f"'{config.command}' cannot be run (Permission denied)"
        raise BackendError(f"{what}; make it executable, or name the program that runs it") from None


async def _greet(context: Context, link: Link, wire: Wire, era: Era | None) -> Hello:
    greeting = greet(era, link.owner.capabilities if link.owner else CAPABILITIES, IMPLEMENTATION)
    try:
        hello = await _play(greeting, link, context.chain.meta)
    except Fault as fault:
        raise refusal(
            fault,
            context.config.url,
            is_lost=link.state == "lost",
            unreachable=wire.unreachable,
            status=wire.status,
            is_ours=fault.data == {"server": link.server},
        ) from None
    if link.era == "legacy":
        wire.version = hello.version
        await wire.send(notification("notifications/initialized"))
    return hello


async def _play(greeting: Greeting, link: Link, own: Fields) -> Hello:
    """Ask what a greeting wants to have asked, until it has its result; `own` goes with each request."""
    try:
        step = next(greeting)
        while True:
            link.era = step.era
            try:
                result = await ask(link, step.method, step.params, own)
            except Fault as fault:
                if link.state == "lost":
                    raise
                step = greeting.throw(fault)
            else:
                step = greeting.send(result)
    except StopIteration as end:
        hello: Hello = end.value
        return hello
