"""What a scenario is written with: a client session of the target, in which things are addressed as (server, name).

Rules:
- A proxy target maps (server, name) through its declared scheme onto its one connection; a target with an endpoint per
  server, and `direct`, onto a connection each. A scenario need not know which.
- `saw` puts a value into the transcript that is compared with the golden; `equal` and `require` assert. A scenario
  looks at what its requirement is about, and at nothing else, so that a verdict tells what is wrong.
- A question of the server is answered by `answers`, whether it comes as a live request (legacy) or as an
  `input_required` result (modern).
"""

import difflib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import anyio
import httpx2

from .admin import Admin
from .case import Case
from .client import ANSWER_WAIT, Answer, Call, Client, Received, Url, connect, refused, shown
from .fixtures import Journal, Server
from .launchers.base import Running, always, nothing
from .naming import Kind, Offered, Scheme
from .normalize import Binder
from .requirements.model import LEGACY, MODERN, REVISIONS, Era
from .stage import Held, Stage, World
from .tables import Names
from .verdict import Failure
from .wire import Message, Wire

ListKind = Literal["tools", "prompts", "resources", "templates"]

LISTS: Mapping[ListKind, tuple[str, str, str]] = {
    "tools": ("tools/list", "tools", "name"),
    "prompts": ("prompts/list", "prompts", "name"),
    "resources": ("resources/list", "resources", "uri"),
    "templates": ("resources/templates/list", "resourceTemplates", "uriTemplate"),
}
"""The method, the field of its result, and what an entry is known by."""

KINDS: Mapping[str, Kind] = {"tools": "tool", "prompts": "prompt"}
"""Lists of what is called by a name."""

MAX_PAGES = 50
BEHIND = 40
"""Entries of a server's journal that are shown, the last."""

AGAIN = (0.05, 0.1, 0.2, 0.5)
"""Seconds between the looks at what nothing announces; the last goes on."""

CAPABLE: Message = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
}
"""What shared clients declare."""


DECLARED_SINCE: Mapping[str, str] = {"completions": "2025-03-26"}
"""Capabilities that older revisions have no way to declare, though they have what it is about."""


@dataclass
class Run:
    """One run of a scenario: what it put on the wire, what it saw, and whether it looked at anything."""

    wire: Wire = field(default_factory=Wire)
    transcript: list[Any] = field(default_factory=list)
    binder: Binder = field(default_factory=Binder)
    checks: int = 0
    behind: list[Message] = field(default_factory=list)
    """What the fixture servers received, did and sent, as entries of the wire log."""
    stderr: str = ""
    """The end of what the target logged meanwhile."""


@dataclass
class Outcome:
    """What came of a request.

    Args:
        response: the last response message, as it came.
        notifications: what the server sent since the request and before the response, in order.
        questions: what the server asked meanwhile: method and params.
    """

    method: str
    response: Received
    notifications: list[Received]
    questions: list[Message]
    _own: Any

    @property
    def result(self) -> Message:
        """The result, its URIs as the server spells them.

        Raises:
            Failure: it is an error, or no object.
        """
        if "result" not in self.response:
            raise refused(self.method, self.response.get("error"))
        if not isinstance(self.response["result"], dict):
            raise Failure(f"the result of {self.method} is no object", "an object", shown(self.response["result"]))
        result: Message = self._own(self.response["result"])
        return result

    @property
    def error(self) -> Message:
        """The error.

        Raises:
            Failure: it is a result.
        """
        if "error" not in self.response:
            raise Failure(f"{self.method} was answered with a result", "an error", shown(self.response.get("result")))
        error: Message = self.response["error"]
        return error

    def of(self, method: str) -> list[Message]:
        """The params of the notifications of one method."""
        return [message.get("params", {}) for message in self.notifications if message.get("method") == method]


class Session:
    """One client of the target. What opens a connection may raise `Failure`, as everything that waits may."""

    def __init__(self, stage: Stage, world: World, case: Case, *, number: int = 1, **options: Any) -> None:
        self.stage = stage
        self.world = world
        self.case = case
        self.run = Run()
        self.number = number
        self.scheme = world.scheme
        self._options = {"capabilities": CAPABLE, **options}
        self._clients: dict[str, Client] = {}
        self._held: list[Held] = []
        self._others: list[Session] = []
        self._logged = 0
        self.remark = ""
        """What is to be told beside whatever is played with it."""

    # Connections

    @property
    def era(self) -> Era:
        return self.case.era

    @property
    def shared_endpoint(self) -> bool:
        return self.stage.target.shared_endpoint

    async def client(self, server: str | None = None) -> Client:
        """The connection that leads to a server, opened when first asked for; by default to the first server."""
        await self._know()
        server = server or next(iter(self.world.backends), "")
        key = "" if self.shared_endpoint else server
        if key not in self._clients:
            channel = f"client {self.number}" + (f" to {key}" if key else "")
            await self.world.running.begun(server)
            manager = connect(
                self.world.running.endpoint(self.case.client, server),
                self.case.client,
                self.era,
                channel=channel,
                wire=self.run.wire,
                patience=self.world.patience,
                stderr=self.world.site.log,
                **self._options,
            )
            self._clients[key], held = await self.stage.hold(manager)
            self._held.append(held)
        return self._clients[key]

    @property
    def revision(self) -> str:
        """The revision that is spoken: what the target answered; before that, what it is asked for."""
        if self.era == "modern":
            return MODERN
        answers = (client.hello.get("protocolVersion") for client in self._clients.values())
        return next((answer for answer in answers if answer in REVISIONS and answer != MODERN), LEGACY)

    async def capabilities(self, server: str | None = None) -> Message:
        """What the target says of itself to this client."""
        client = await self.client(server)
        hello = client.hello if self.era == "legacy" else await client.ask("server/discover")
        capabilities = hello.get("capabilities")
        return capabilities if isinstance(capabilities, dict) else {}

    async def offers(self, capability: str) -> bool:
        """Whether the target declares a capability, such as `resources.subscribe`, of any server.

        A target may learn of it late, so a legacy client that was not told is followed by another.
        """
        for name, since in DECLARED_SINCE.items():
            if capability.startswith(name) and self.revision < since:
                return True
        again = self.era == "legacy" and self.case.client != "stdio"
        for session in (self, self.another()) if again else (self,):
            for server in (None,) if self.shared_endpoint else self.world.backends:
                if declares(await session.capabilities(server), capability):
                    return True
        return False

    @property
    def clients(self) -> list[Client]:
        """The connections that are open."""
        return list(self._clients.values())

    @property
    def healthy(self) -> bool:
        """Whether its connections can be used by the next scenario."""
        return not any(client.closed or client.busy for client in self._clients.values())

    def another(
        self,
        *,
        capabilities: Message | None = None,
        answers: Mapping[str, Answer] | None = None,
        revision: str = LEGACY,
        handshake: bool = True,
        headers: Mapping[str, str] | None = None,
        era: Era | None = None,
    ) -> "Session":
        """One more client of the same target, which connects when it is first used, and leaves when the scenario ends.

        Over stdio every client has a process of the target of its own.

        Args:
            capabilities: what it can do; by default what shared clients can.
            answers: how it answers questions, by method.
            revision: what a legacy client asks for.
            handshake: whether a legacy client begins with `initialize`.
            headers: over HTTP, of every request, besides those that the target needs.
            era: instead of the case's.
        """
        options = {"answers": answers, "revision": revision, "handshake": handshake, "headers": headers}
        if capabilities is not None:
            options["capabilities"] = capabilities
        case = Case(self.case.client, era or self.era, self.case.backend)
        other = Session(self.stage, self.world, case, number=len(self._others) + 2, **options)
        other.run = self.run
        other._others = self._others
        self._others.append(other)
        return other

    async def leave(self) -> None:
        """Disconnect, as a client does that ends."""
        while self._held:
            await self._held.pop().close()
        self._clients.clear()

    def begin(self, run: Run, logged: int = 0) -> None:
        """It is used for this run from now on; the target had logged so many bytes before."""
        self.run = run
        self._logged = logged
        if self.remark:
            run.wire.add("harness", "note", self.remark)
        for client in self._clients.values():
            client.wire = run.wire
            client.answers = {}
            if client.hello:
                run.wire.add(
                    client.channel, "note", f"connected before, and was greeted with {json.dumps(client.hello)}"
                )

    async def note_behind(self, failed: bool) -> None:
        """Keep what the fixture servers received and sent, and what the target logged, for whoever asks why something
        failed. (What is compared later may fail, too; only a log that is no file is asked for after failures alone.)"""
        log = self.run.wire.beside()
        for name, backend in self.world.backends.items():
            for entry in backend.journal.everything[-BEHIND:]:
                _behind(log, name, entry)
        self.run.behind = log.entries
        if failed or self.world.site.log.exists():
            self.run.stderr = await self.world.running.said(self._logged)

    async def end(self) -> None:
        """The run is over: the other clients of the scenario leave."""
        while self._others:
            await self._others.pop().leave()

    # Requests

    async def request(
        self,
        server: str | None,
        method: str,
        params: Message | None = None,
        *,
        answers: Mapping[str, Answer] | None = None,
        wait: float = ANSWER_WAIT,
        **options: Any,
    ) -> Outcome:
        """Send a request to where a server is reached, and wait for what comes of it; names are sent as given.

        Args:
            answers: how questions of the server are answered meanwhile, by method.
            wait: seconds for each response.
            options: as for `Client.request`.
        """
        client = await self.client(server)
        questions: list[Message] = []
        known = {name: _noting(name, answer, questions) for name, answer in (answers or {}).items()}
        before = client.answers
        client.answers = {**before, **known}
        try:
            call = await client.request(method, params, **options)
            response = await call.response(wait)
            heard = list(call.before)
            while self.era == "modern" and _asks(response):
                retry = _retry(params or {}, response["result"], known)
                if retry is None:
                    break
                call = await client.request(method, retry, **options)
                response = await call.response(wait)
                heard += call.before
        finally:
            client.answers = before
        return self._outcome(server, method, response, heard, questions)

    def _outcome(
        self, server: str | None, method: str, response: Received, heard: Sequence[Received], questions: list[Message]
    ) -> Outcome:
        notifications = [message for message in heard if "method" in message and "id" not in message]
        own = self._own(server) if server else lambda value: value
        return Outcome(method, response, notifications, questions, own)

    async def outcome(self, call: Call, server: str, wait: float = ANSWER_WAIT) -> Outcome:
        """What came of a call that was started with `start`."""
        response = await call.response(wait)
        return self._outcome(server, call.method, response, call.before, [])

    def tool_params(
        self, server: str, name: str, arguments: Message | None = None, meta: Message | None = None, **more: Any
    ) -> Message:
        """The params of `tools/call` for a server's tool; `arguments` and `_meta` are left out where None."""
        params: Message = {"name": self.scheme.public("tool", server, name), **more}
        if arguments is not None:
            params["arguments"] = arguments
        if meta is not None:
            params["_meta"] = meta
        return params

    async def call_tool(
        self,
        server: str,
        name: str,
        arguments: Message | None = None,
        *,
        meta: Message | None = None,
        more: Message | None = None,
        **options: Any,
    ) -> Outcome:
        """Call a server's tool and wait for what comes of it.

        Args:
            arguments: None leaves them out.
            meta: `_meta` of the request.
            more: further fields of the params.
            options: as for `request`.
        """
        await self._learn("tools", server, name)
        params = self.tool_params(server, name, arguments, meta, **(more or {}))
        return await self.request(server, "tools/call", params, **options)

    async def start(
        self, server: str, name: str, arguments: Message | None = None, *, meta: Message | None = None, **options: Any
    ) -> Call:
        """Call a server's tool without waiting; `outcome` waits."""
        await self._learn("tools", server, name)
        client = await self.client(server)
        return await client.request("tools/call", self.tool_params(server, name, arguments, meta), **options)

    async def get_prompt(self, server: str, name: str, arguments: Message | None = None, **options: Any) -> Outcome:
        """Get a server's prompt."""
        await self._learn("prompts", server, name)
        params: Message = {"name": self.scheme.public("prompt", server, name)}
        if arguments is not None:
            params["arguments"] = arguments
        return await self.request(server, "prompts/get", params, **options)

    async def read(self, server: str, uri: str, **options: Any) -> Outcome:
        """Read a server's resource, by the URI that the server itself gives it."""
        return await self.request(server, "resources/read", {"uri": await self.uri(server, uri)}, **options)

    async def uri(self, server: str, uri: str) -> str:
        """The URI under which the target offers a server's resource."""
        *telling, plain = self.scheme.public_uris(server, uri)
        if telling:
            offered = {entry["uri"] for entry in await self.merged("resources", server)}
            return next((spelling for spelling in telling if spelling in offered), plain)
        return plain

    async def _know(self) -> None:
        """Ask the servers behind the target what they offer, where names cannot be understood without."""
        if self.scheme.names.needs_known(self.scheme.shared):
            for name, backend in self.world.backends.items():
                if name not in self.scheme.known:
                    self.scheme.known[name] = await self.offered(backend.server)

    async def offered(self, server: Server) -> Offered:
        """What a fixture server offers with no target in front of it."""
        file = server.file or server.name
        if file not in self.stage.offered:
            command = self.stage.by_itself(file)
            running = Running(self.world.site, lambda transport, name: command, always, nothing)
            alone = Session(self.stage, World(running, {}, [], Scheme(Names())), Case("stdio", "legacy", "stdio"))
            found: dict[Kind, dict[str, str]] = {}
            for kind, named in KINDS.items():
                with suppress(Failure):
                    entries = await alone.merged(cast(ListKind, kind), server.name)
                    found[named] = {e["name"]: e.get("description") or "" for e in entries if _is_named(e)}
            await alone.leave()
            self.stage.offered[file] = found
        return self.stage.offered[file]

    async def _learn(self, kind: ListKind, server: str, name: str) -> None:
        """Read the target's list before something is called whose name is to be looked up there."""
        if not self.scheme.knows(KINDS[kind], server, name):
            with suppress(Failure):
                await self.merged(kind, server)

    async def merged(self, kind: ListKind, server: str | None = None) -> list[Message]:
        """A whole list as the client gets it, every page, names as the target spells them.

        Raises:
            Failure: pages do not end.
        """
        method, key, _ = LISTS[kind]
        entries: list[Message] = []
        cursor: str | None = None
        for _page in range(MAX_PAGES):
            outcome = await self.request(server, method, {"cursor": cursor} if cursor is not None else {})
            result = outcome.response.get("result")
            if not isinstance(result, dict) or not isinstance(result.get(key), list):
                raise Failure(f"{method} gives no list", f'a result with "{key}"', shown(outcome.response))
            entries += result[key]
            cursor = result.get("nextCursor")
            if cursor is None:
                if kind in KINDS:
                    self.scheme.learn(KINDS[kind], server or "", [e for e in entries if isinstance(e, dict)])
                return entries
        raise Failure(f"{method} does not end within {MAX_PAGES} pages")

    async def list(self, kind: ListKind, server: str) -> list[Message]:
        """What a server offers, in order, names and URIs as the server itself spells them.

        An entry without a name, or one that is no object, is nobody's: that it is listed is judged where that is looked
        at, and here it hides none of the others.
        """
        _, _, key = LISTS[kind]
        entries = []
        for entry in named(await self.merged(kind, server), key):
            own = self._own_name(kind, server, entry[key])
            if own is not None:
                entries.append({**entry, key: own})
        return entries

    def _own_name(self, kind: ListKind, server: str, public: str) -> str | None:
        if kind == "tools":
            return self.scheme.own("tool", server, public)
        if kind == "prompts":
            return self.scheme.own("prompt", server, public)
        own = self.scheme.own_uri(server, public)
        return own if not self.shared_endpoint or own.startswith(self.world.backends[server].server.prefixes) else None

    def _own(self, server: str) -> Any:
        def uri(value: Any) -> Any:
            return self.scheme.own_uri(server, value) if isinstance(value, str) else own(value)

        def own(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: uri(part) if key == "uri" else own(part) for key, part in value.items()}
            return [own(part) for part in value] if isinstance(value, list) else value

        return own

    # The other side

    def journal(self, server: str) -> Journal:
        """What reached a fixture server since the scenario began."""
        return self.world.backends[server].journal

    async def add_server(self, server: Server) -> httpx2.Response:
        """Add a fixture server to the target at run time; returns the response of its API."""
        backend = await self.stage.backend(server, self.case.backend, None, self.world.patience)
        self.world.backends[server.name] = backend
        await self._know()
        return await self.add_entry(server.name, backend.entry)

    async def add_entry(self, name: str, entry: Message) -> httpx2.Response:
        """Add whatever `entry` says, under this name."""
        return await self.admin.add(name, entry)

    async def remove_server(self, name: str) -> httpx2.Response:
        """Remove a server from the target at run time; returns the response of its API."""
        return await self.admin.remove(name)

    @property
    def admin(self) -> Admin:
        """The API over which servers are added and removed."""
        admin = self.world.running.admin
        assert admin is not None  # such a scenario needs it
        return admin

    @property
    def place(self) -> Url:
        """Where clients connect over HTTP or SSE, for scenarios that speak HTTP themselves."""
        endpoint = self.world.running.endpoint(self.case.client, next(iter(self.world.backends)))
        assert isinstance(endpoint, Url)
        return endpoint

    # Looking

    async def until(
        self, look: Callable[[], Awaitable[object]], what: str, wait: float = ANSWER_WAIT, *, cause: str = ""
    ) -> None:
        """Something comes true that nothing announces; `what` and `cause` as of `require`.

        Raises:
            Failure: it does not within `wait` seconds.
        """
        self.run.checks += 1
        bound = self.world.patience.bound(wait)
        with anyio.move_on_after(bound):
            for turn in itertools.count():
                if await look():
                    return
                await anyio.sleep(AGAIN[min(turn, len(AGAIN) - 1)])
        raise Failure(what, "", f"for {bound:g} s", cause=cause)

    def saw(self, label: str, value: Any) -> None:
        """Put a value into the transcript, which is compared with the golden."""
        self.run.checks += 1
        self.run.transcript.append({label: self.run.binder.normal(value)})

    def equal(self, actual: Any, expected: Any, what: str) -> None:
        """Two JSON values are the same: numbers to the digit and the type.

        Raises:
            Failure: they differ.
        """
        self.run.checks += 1
        have, want = shown_exactly(actual), shown_exactly(expected)
        if have != want:
            raise Failure(what, want, have, diff(want, have))

    def require(
        self, condition: object, what: str, expected: str = "", actual: object = "", *, cause: str = ""
    ) -> None:
        """Something holds; `what` says what is wrong when it does not, and `cause` what of the target it comes from.

        Raises:
            Failure: it does not.
        """
        self.run.checks += 1
        if not condition:
            raise Failure(what, expected, shown(actual), cause=cause)


def declares(capabilities: Message, capability: str) -> bool:
    """Whether capabilities have one, by its path, such as `resources.subscribe`: an object, or true."""
    found: Any = capabilities
    for part in capability.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found is True or isinstance(found, dict)


def shown_exactly(value: Any) -> str:
    """JSON text that tells 1 from 1.0 and true from 1; keys in order, since JSON objects have none."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def diff(expected: str, actual: str) -> str:
    """The difference of two texts, as a unified diff."""
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "expected", "actual", lineterm="")
    return "\n".join(lines)


def _behind(log: Wire, server: str, entry: Message) -> None:
    """Add an entry of a server's journal to a log."""
    at, channel, when = entry["at"], f"server {server} (pid {entry['pid']})", entry.get("time")
    said = {key: value for key, value in entry.items() if key not in ("pid", "time", "at", "stream")}
    if at in ("sent", "answered"):
        log.add(channel, "sent" if at == "sent" else "received", said["message"], entry.get("stream", ""), when)
    elif at == "received":
        log.add(channel, "received", said, when=when)
    else:
        log.add(channel, "note", {at: said} if said else at, when=when)


def _is_named(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _noting(method: str, answer: Answer, questions: list[Message]) -> Answer:
    def noted(params: Any) -> Message | None:
        questions.append({"method": method, "params": params})
        return answer(params)

    return noted


def named(entries: Iterable[object], key: str) -> Iterator[Message]:
    """Those entries of a target's list that are objects with a text under `key`."""
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            yield entry


def _asks(response: Message) -> bool:
    result = response.get("result")
    return isinstance(result, dict) and result.get("resultType") == "input_required"


def _retry(params: Message, result: Message, answers: Mapping[str, Answer]) -> Message | None:
    """The params of the next round, or None when a question has no answer here."""
    responses: Message = {}
    for key, question in (result.get("inputRequests") or {}).items():
        answer = answers.get(question.get("method", ""))
        outcome = answer(question.get("params")) if answer else None
        if outcome is None or "result" not in outcome:
            return None
        responses[key] = outcome["result"]
    retry = {**params, "inputResponses": responses}
    if "requestState" in result:
        retry["requestState"] = result["requestState"]
    return retry
