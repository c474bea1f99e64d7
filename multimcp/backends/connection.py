"""One connection to a backend, born greeted: how it is opened, what it lists, and what it is subscribed to.

Rules:
- A connection exists once the server has greeted us and told its lists; before that there is only a link.
- Modern backends announce changes only on `subscriptions/listen`, so a stream is kept open.
- One list that cannot be read costs that list; of a list that could be read before, the last reading is kept.
"""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup
from msgspec import Raw

from multimcp import __version__
from multimcp.errors import BackendError, ChainError, Fault, backend_failure, describe
from multimcp.protocol.calls import Clients, Heard, Session
from multimcp.protocol.chain import HEADER, Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.eras import param_headers_for
from multimcp.protocol.greeting import (
    CAPABILITIES,
    NO_GREETING,
    Greeting,
    Hello,
    Transport,
    Way,
    behind_of,
    greet,
    refusal,
)
from multimcp.protocol.link import Event, Link, ListsChanged, Missed
from multimcp.protocol.lists import Lists, Pages
from multimcp.protocol.message import (
    METHOD_NOT_FOUND,
    Era,
    Fields,
    Message,
    fields,
    notification,
    pack,
    result_of,
    value,
)
from multimcp.protocol.offer import TOOLS, Kind, Offer
from multimcp.protocol.stderr import Stderr

from .launch import at_home, environment, located, program, python_of
from .stdio import StdioWire
from .wire import Wire

IMPLEMENTATION: Final = pack({"name": "multi-mcp", "title": "Multi-MCP", "version": __version__})
"""How the proxy introduces itself, to both sides."""

ERA_PROBE = 10.0
"""Seconds a server has to answer `server/discover`. Generous: it may still be starting, and a slow start must not be
mistaken for "legacy only"."""

LIST_TIMEOUT = 10.0
"""Seconds a backend has for one of its lists, all pages of it."""

LIST_PAUSE = 0.2
"""Seconds between two readings of the lists of a backend that keeps changing them; as many again for 500 entries."""

ECHO = 0.02
"""A list_changed this soon, in seconds, after we read the lists was probably caused by that; it is not forwarded."""

LISTEN_TIMEOUT = 5.0
"""Seconds a backend has to acknowledge `subscriptions/listen`."""

LISTEN_PAUSE = 1.0
"""Seconds before a listening stream that the backend ended is opened again."""

GREETING = 1024 * 1024
"""Bytes with which a server may introduce itself: instructions, icons, capabilities."""

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


async def ask(
    link: Link,
    method: str,
    params: Fields,
    own: Fields | None = None,
    heard: Heard | None = None,
    capabilities: Raw | None = None,
) -> Fields:
    """Send a request of our own, with `own` in its `_meta`, and return its result, opened.

    `heard` is called with what comes for it if it is a listening stream; `capabilities` are those of the client that it
    is for, if there is one.

    Raises:
        Fault: the backend's error; or it did not answer.
    """
    answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def take(message: Message) -> None:
        if not answer.done():
            answer.set_result(message)

    call = link.ask(method, params, take, own, capabilities)
    call.on_listening = heard
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
    clean: Callable[[str], str]
    """Makes what others say fit to be shown."""

    def link(self, era: Era, owner: Session | None, lists: Lists) -> Link:
        """A link that tells `lists` of changed lists, and the backend of all else that belongs to no call."""

        def emit(link: Link, event: Event) -> None:
            if isinstance(event, ListsChanged):
                lists.changed(event.capability, CLOCK.now())
            else:
                if isinstance(event, Missed):
                    lists.missed(CLOCK.now())
                self.emit(link, event)

        hint = '; "scope": "session" in its configuration gives each legacy client a connection of its own'
        return Link(
            self.name,
            era,
            self.clients,
            CLOCK,
            emit,
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
        self, context: Context, link: Link, wire: Wire, hello: Hello, lists: Lists, attempt: Attempt, tasks: TaskGroup
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
        self._problems = hello.problems
        self.offer = Offer(
            hello.version, hello.capabilities, hello.instructions, hello.info, extensions=hello.extensions
        )
        self._context = context
        self._wire = wire
        self._tasks = tasks
        self._hears_changes = True
        self._lists = lists
        self._lists_due = anyio.Event()
        self._reading = anyio.Lock()
        lists.declare(hello.capabilities, hello.extensions, CLOCK.now())
        lists.wake = lambda: self._lists_due.set()

    @property
    def era(self) -> Era:
        """The era that is spoken on it."""
        return self.link.era

    @property
    def is_lost(self) -> bool:
        """Whether nothing comes any more."""
        return self.link.state == "lost"

    async def close(self) -> None:
        """Say goodbye; when this returns nothing of it is left."""
        await _close(self._wire, self.attempt)

    # Lists

    def refresh(self, kind: Kind) -> None:
        """Have the lists read again that may have changed unnoticed, as a client asks for one. Does not wait."""
        self._lists.asked(kind, CLOCK.now(), is_heard=self._hears_changes and self._wire.has_stream)

    async def follow_lists(self, publish: Callable[[set[str]], None]) -> None:
        """Read the lists again whenever they are due; several words of the backend while reading are one.

        `publish` is called with the capabilities that the backend has spoken of.
        """
        while True:
            self._lists_due = anyio.Event()
            seconds = self._lists.next_at - CLOCK.now()
            if seconds > 0:
                with anyio.move_on_after(seconds):
                    await self._lists_due.wait()
            with suppress(BackendError):  # it is lost, which is told elsewhere
                publish(await self.read_lists())
            await anyio.sleep(ECHO)
            self._lists.end()
            entries = sum(len(listing.entries) for listing in self.offer.listings.values())
            await anyio.sleep(LIST_PAUSE * (1 + entries / 500))  # reading many takes long

    async def read_tools(self) -> set[str]:
        """Read the tools again, whatever was said of them; all who want that meanwhile have it done once."""
        self._lists.missed(CLOCK.now(), (TOOLS,))
        heard = await self.read_lists()
        self._lists.end()
        return heard

    def param_headers(self, params: Fields) -> dict[str, str]:
        """The headers in which a call's arguments are repeated, as its tool wants it by what was listed last."""
        return param_headers_for(params, self._wire.annotated)

    async def read_lists(self) -> set[str]:
        """Read the lists that are due into `offer`; returns the capabilities that the backend has spoken of before.

        Raises:
            BackendError: the backend's: it ended the connection.
        """
        async with self._reading:
            return await self._read_due()

    async def _read_due(self) -> set[str]:
        kinds, heard = self._lists.begin(CLOCK.now())
        for kind in kinds:
            known, has_headers = self._lists.found(kind), self._wire.has_headers
            pages = Pages(kind, self.era, has_headers=has_headers, server=self._context.name, known=known)
            self._lists.take(kind, pages, await self._read(kind, pages), CLOCK.now())
        listings = dict(self._lists.listings)
        if TOOLS in listings:
            self._wire.annotated = {entry.name: entry.headers for entry in listings[TOOLS].entries if entry.headers}
        self.offer = replace(self.offer, listings=listings, problems=(*self._problems, *self._lists.problems))
        return heard

    async def _read(self, kind: Kind, pages: Pages) -> str | None:
        """Read a list into `pages`; returns what is wrong with it."""
        try:
            with anyio.fail_after(LIST_TIMEOUT):
                await self._read_pages(kind, pages)
        except TimeoutError:
            return f"{kind.method}: was not answered within {LIST_TIMEOUT:g} s"
        except ChainError:
            raise
        except (BackendError, Fault) as exc:
            if self.is_lost:
                raise BackendError(f"closed the connection when asked for {kind.method}") from None
            # Many servers have resources and no method for templates.
            is_none = isinstance(exc, Fault) and exc.code == METHOD_NOT_FOUND
            return None if is_none or pages.is_whole else f"{kind.method}: {describe(exc)}"
        return None

    async def _read_pages(self, kind: Kind, pages: Pages) -> None:
        params: Fields = {}
        while True:
            result = await ask(self.link, kind.method, params, self._context.chain.meta if self.behind else None)
            self._look_behind(result)
            for _ in pages.add(result):
                await anyio.lowlevel.checkpoint()
            if pages.cursor is None:
                return
            params = {"cursor": pages.cursor}

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
        is_able = self.era == "legacy" and "logging" in self.offer.capabilities
        return level is not None and level != self.level and is_able

    async def subscribe(self, uri: str, missed: Callable[[str], None]) -> None:
        """Have the backend tell of updates of a resource; `missed` is called when one may have been missed.

        Raises:
            Fault: the backend's: it does not.
        """
        scope = anyio.CancelScope()
        if self.era == "legacy":
            await ask(self.link, "resources/subscribe", {"uri": pack(uri)})
        else:
            await self._start_listening(
                {"resourceSubscriptions": [uri]}, lambda is_open: missed(uri) if is_open else None, scope
            )
        self.subscribed[uri] = scope

    async def unsubscribe(self, uri: str) -> None:
        """Have the backend tell no more of updates of a resource."""
        self.subscribed.pop(uri).cancel()
        if self.era == "legacy":
            with suppress(Fault):
                await ask(self.link, "resources/unsubscribe", {"uri": pack(uri)})

    async def listen_to_tasks(self, tasks: Iterable[str], capabilities: Raw, heard: Heard) -> None:
        """Listen to tasks for a client with these capabilities, until the backend ends that.

        Raises:
            Fault: the backend's: it does not let us.
        """
        if self.era == "legacy":
            raise backend_failure(self._context.name, "has no notifications/tasks", METHOD_NOT_FOUND)
        params = {"notifications": pack({"taskIds": list(tasks)})}
        await ask(self.link, "subscriptions/listen", params, heard=heard, capabilities=capabilities)

    async def listen_for_changes(self) -> None:
        """Where lists change only for who listens, listen."""
        wanted = {f"{capability}ListChanged": True for capability in self._lists.promised}
        if self.era == "modern" and wanted:
            try:
                await self._start_listening(wanted, self._hear_changes, anyio.CancelScope())
            except Fault:
                self._hears_changes = False  # it is looked at now and then instead
        elif self.era == "legacy":
            self._wire.listen()

    def _hear_changes(self, is_open: bool) -> None:
        self._hears_changes = is_open
        if is_open:
            self._lists.missed(CLOCK.now())

    async def _start_listening(
        self, wanted: Mapping[str, Any], on_gap: Callable[[bool], None], scope: anyio.CancelScope
    ) -> None:
        """Listen from now on until `scope` is cancelled; `on_gap` hears when the stream ends, and is there again.

        Raises:
            Fault: the backend's: it does not let us.
        """
        opened: asyncio.Future[Fault | None] = asyncio.get_running_loop().create_future()
        reason = f"did not acknowledge subscriptions/listen within {LISTEN_TIMEOUT:g} s"
        problem: Fault | None = backend_failure(self._context.name, reason)
        self._tasks.start_soon(self._keep_listening, {"notifications": pack(wanted)}, on_gap, scope, opened)
        try:
            with anyio.move_on_after(LISTEN_TIMEOUT):
                problem = await asyncio.shield(opened)
            if problem is not None:
                raise problem
        except BaseException:
            scope.cancel()
            raise

    async def _keep_listening(
        self,
        params: Fields,
        on_gap: Callable[[bool], None],
        scope: anyio.CancelScope,
        opened: "asyncio.Future[Fault | None]",
    ) -> None:
        def heard(method: str, params: Fields) -> None:
            on_gap(True) if opened.done() else opened.set_result(None)

        problem = backend_failure(self._context.name, "the connection ended before it answered subscriptions/listen")
        try:
            with scope:
                while not self.is_lost:
                    try:
                        await ask(self.link, "subscriptions/listen", params, heard=heard)
                        problem = backend_failure(self._context.name, "ended subscriptions/listen at once")
                    except Fault as fault:
                        problem = fault
                    if not opened.done():
                        return
                    on_gap(False)
                    await anyio.sleep(LISTEN_PAUSE)
        finally:  # also where the connection is gone before it begins, or while it waits
            if not opened.done():
                opened.set_result(problem)


# Opening


async def open_connection(
    context: Context, way: Way, owner: Session | None, tasks: TaskGroup, attempt: Attempt
) -> Connection:
    """Open a connection, greet the server and read its lists.

    Args:
        context: of which backend.
        way: to go by.
        owner: the client that has it for itself.
        tasks: run its listening streams.
        attempt: keeps what the process says.

    Raises:
        BackendError: the backend's (or its operator's): it cannot be started, reached or understood.
    """
    lists = Lists()
    link = context.link(way.era or "legacy", owner, lists)
    found = await anyio.to_thread.run_sync(_look_up, context, way.transport, abandon_on_cancel=True)
    wire = _wire(context, link, attempt, way.transport, found)
    try:
        await wire.open()
        with anyio.fail_after(ERA_PROBE if way.era == "modern" else None):
            hello = await _greet(context, link, wire, way)
        if hello.behind and (reason := context.chain.reject(hello.behind)):
            raise ChainError(reason)
        connection = Connection(context, link, wire, hello, lists, attempt, tasks)
        await connection.listen_for_changes()
        await connection.read_lists()
        lists.end()
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


class _Program(NamedTuple):
    """What a process is started with."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None


def _look_up(context: Context, transport: Transport) -> _Program | None:
    """The program to start, if it is one. For a thread: this asks the disk, which may be far away and slow."""
    config, home = context.config, os.path.expanduser("~")
    if transport != "stdio":
        # Imported here: a tenth of a second that a proxy of programs alone does not need.
        from .web import trusted

        trusted()
        return None
    command, *args = (at_home(word, home) for word in (config.command or "", *config.args))
    in_venv = sys.prefix != sys.base_prefix
    started = located(program(command, config.env, os.environ, sys.executable, in_venv=in_venv))
    env = environment(os.environ, config.env) | context.chain.variable()
    cwd = at_home(config.cwd, home) if config.cwd else None
    for path in (cwd, shutil.which(started, path=env.get("PATH"))):  # what starting it will look at
        with suppress(OSError, ValueError):
            os.stat(path or "")
    return _Program([started, *args], env, cwd)


def _wire(context: Context, link: Link, attempt: Attempt, transport: Transport, program: _Program | None) -> Wire:
    config, limits = context.config, context.clients.limits
    wire: Wire
    if program is not None:
        attempt.started = program.command[0], program.env
        wire = StdioWire(link, *program, attempt.stderr.feed, limits)
    else:
        from .http import HttpWire
        from .sse import SseWire

        wire = (SseWire if transport == "sse" else HttpWire)(link, config.url or "", config.headers, limits)
    wire.greeting, wire.clean = {HEADER: ",".join(context.chain.ids)}, context.clean
    link.use(wire)
    return wire


async def _greet(context: Context, link: Link, wire: Wire, way: Way) -> Hello:
    # A server cannot make tasks of what it asks: nobody here knows which server's a client's task is.
    able = {name: raw for name, raw in link.owner.abilities.items() if name != "tasks"} if link.owner else None
    greeting = greet(way.era, CAPABILITIES if able is None else pack(able), IMPLEMENTATION)
    try:
        hello = await _play(greeting, link, context.chain.meta)
    except Fault as fault:
        raise refusal(
            fault,
            context.config.url,
            way.transport,
            is_lost=link.state == "lost",
            unreachable=wire.unreachable,
            status=wire.status,
            words=wire.words,
            is_ours=isinstance(fault.data, Raw) and value(fault.data) == {"server": link.server},
        ) from None
    if link.era == "legacy":
        wire.version = hello.version
        link.notified()
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
                if (size := sum(memoryview(each).nbytes for each in result.values())) > GREETING:
                    raise BackendError(f"introduces itself with {size:,} bytes, and may with {GREETING:,}")
            except Fault as fault:
                if link.state == "lost":
                    raise
                step = greeting.throw(fault)
            else:
                step = greeting.send(result)
    except StopIteration as end:
        hello: Hello = end.value
        return hello
