"""The doors: where somebody else's bytes come in. Each takes a batch of inputs, and raises `Fault` where one does harm.

What has to hold for each input: no answer says that Multi-MCP failed; what has been asked rightly is answered rightly;
an answer, or a close, comes within `BOUND` seconds; each answer can be read. What has to hold after each batch
(`Door.check`): nothing in the log is a fault of Multi-MCP, and a neighbour's call is answered rightly.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st

from tests.fuzz import messages, wire
from tests.fuzz.messages import LEGACY, OF_LEGACY, OF_MODERN, WORD, Json, rarely
from tests.fuzz.servers import Fuzzed, HttpServer, SseServer, StdioServer
from tests.fuzz.wire import Request
from tests.soak.client import Connection, Http, Lost, Response, Sse, Stdio
from tests.support.watched import FAULTY, Proxy, listening_port

SERVER = str(Path(__file__).parents[1] / "soak" / "server.py")

BOUND = 20.0
"""Seconds within which an answer or a close has to come, on a machine that others use, too."""

BATCH_BOUND = 120.0

FIRST = 1_000_000
"""The id of our own first request, which no input has."""

OPEN = 0.03
"""Seconds for which a stream is read that need not end, and for which a request that may be none is waited for."""

IMPATIENT = (
    "from multimcp.backends import connection, http; from multimcp.protocol import lifecycle, lists, waiting; "
    "http.RETRY_BOUNDS = 0.01, 0.1; "
    "lifecycle.Lifecycle.next_pause = lambda self, fraction: 0.02; lists.RETRY = 0.02, 0.1; "
    "connection.LIST_PAUSE = 0.01; waiting.CLIENT_WAIT = 0.5; waiting.ERA_WAIT = dict.fromkeys(waiting.ERA_WAIT, 0.5)"
)
"""Has a server that has failed, and its lists, tried again without the pauses that inputs would have to wait for."""

AT_ONCE = 8
"""How many connections are used at once."""


class Fault(AssertionError):
    """An input did harm."""


async def bounded(what: str, work: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(BOUND):
            return await work
    except TimeoutError:
        raise Fault(f"nothing within {BOUND:g} s: {what}") from None


def check_status(status: int, data: bytes) -> None:
    if status in (500, 501, 505):
        raise Fault(f"HTTP status {status}: {data[:300]!r}")


def check_answer(answer: Json, asked: Json) -> None:
    """Check the answer to a call of `echo` that nothing is wrong with."""
    if asked.get("params", {}).get("name") != "stdio::echo" or "task" in asked["params"]:
        return
    if asked["params"].get("requestState"):
        return
    try:
        text = answer["result"]["content"][0]["text"]
    except (KeyError, IndexError, TypeError):
        text = None
    if answer.get("id") != asked["id"] or text != WORD:
        raise Fault(f"a call that is right is answered with {json.dumps(answer)[:300]}")


def read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise Fault(f"an answer that is no JSON ({exc}): {data[:300]!r}") from None


class Door:
    """One proxy, and what comes in at one of its doors."""

    name: ClassVar[str]
    inputs: ClassVar[st.SearchStrategy[Any]]
    options: ClassVar[tuple[str, ...]] = ("--transport", "http", "--port", "0")
    cost: ClassVar[int] = 1
    """By how much fewer inputs it gets than others: each of them takes long."""

    def __init__(self, folder: Path, first: str = "pass") -> None:
        """`first` is code that the proxy runs before it starts."""
        self._folder, self._first = folder, first
        self._numbers = count()
        self.taken = 0
        self.proxy: Proxy

    async def open(self) -> None:
        """Start the proxy, and what it needs."""
        name = f"{self.name}-{next(self._numbers)}"
        config = self._folder / f"{name}.json"
        servers = {"stdio": {"command": sys.executable, "args": ["-S", "-E", SERVER]}} | await self.servers()
        config.write_text(json.dumps({"mcpServers": servers}))
        bounds = ("--max-head-time", "2", "--max-sessions", "24", "--max-message", "256KiB", "--max-unread", "4MiB")
        options = (*self.options, *bounds, "--startup-timeout", "2", "--no-watch")
        self.proxy = await Proxy.start(name, config, self._folder, *options, first=self._first)
        self._log = self._folder / f"{name}.log"
        self._read = 0
        await bounded("the proxy does not start", self.begin())

    async def servers(self) -> Json:
        """Further servers, by their names."""
        return {}

    async def begin(self) -> None:
        self.proxy.port = await listening_port(self._log)
        self.neighbour = Http(self.proxy.port, "modern")
        while not await self._is_ready():
            await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        response = await self.neighbour.send(await self.neighbour.kept(), "GET", "/readyz")
        await response.body()
        return response.status == 200

    async def close(self) -> None:
        """End the proxy as an operator does."""
        if self.proxy.process.returncode is None:
            self.proxy.process.terminate()
            try:
                async with asyncio.timeout(BOUND):
                    code = await self.proxy.process.wait()
            except TimeoutError:
                self.proxy.process.kill()
                raise Fault("SIGTERM does not end it") from None
            self.check_log()
            if code:
                raise Fault(f"its exit code is {code}")

    async def take(self, batch: list[Any]) -> None:
        """Take inputs.

        Raises:
            Fault: one of them, or some together, did harm.
        """
        if self.proxy.process.returncode is not None:
            await self.open()
        self.taken += len(batch)
        try:
            async with asyncio.timeout(BATCH_BOUND):
                await self.feed(batch)
        except Exception as exc:
            while isinstance(exc, ExceptionGroup):
                exc = exc.exceptions[0]
            self.reset()
            if isinstance(exc, TimeoutError):
                raise Fault(f"a batch takes more than {BATCH_BOUND} s") from None
            raise exc if isinstance(exc, Fault) else Fault(f"a connection broke off: {exc!r}") from None
        await self.check()

    def reset(self) -> None:
        """After a failure: what is still under way with the neighbour is given up."""
        self.neighbour.close()

    async def feed(self, batch: list[Any]) -> None:
        raise NotImplementedError

    async def check(self) -> None:
        """Check that nothing is broken after a batch."""
        self.check_log()
        if self.proxy.process.returncode is not None:
            raise Fault(f"the proxy ended with {self.proxy.process.returncode}")
        try:
            answer = await bounded("a neighbour's call", self.call())
        except (Lost, OSError) as exc:
            raise Fault(f"a neighbour's connection broke off: {exc!r}") from None
        check_answer(answer, {"id": answer.get("id"), "params": messages.ECHO})

    async def call(self) -> Json:
        """A neighbour's call."""
        _, answer = await self.neighbour.ask("tools/call", dict(messages.ECHO))
        return answer

    def check_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            said = log.read()
        self._read += len(said)
        if found := FAULTY.search(text := said.decode(errors="replace")):
            raise Fault(f"the log says:\n{text[found.start() : found.start() + 3000]}")

    # What those over HTTP have in common.

    async def connect(self) -> Connection:
        return await self.neighbour.connect()

    async def exchange(self, requests: Iterable[Request], session: bytes) -> None:
        """Send requests one behind the other, without waiting for answers."""
        rest = list(requests)
        while rest:
            connection = await self.connect()
            connection.write(b"".join(each.data(session) for each in rest))
            with contextlib.suppress(Lost, OSError):
                while rest and await self._response(connection, rest[0]):
                    del rest[0]
            del rest[:1]  # after it the connection was closed, or is to be
            connection.close()

    async def _response(self, connection: Connection, request: Request) -> bool:
        """Take one response; returns whether there may be another one after it."""
        head = await bounded("no response to a request", connection.until(b"\r\n\r\n"))
        response = Response(connection, head)
        check_status(response.status, head)
        is_json = response.header(b"content-type").startswith(b"application/json")
        if response.header(b"content-type").startswith(b"text/event-stream"):
            try:
                async with asyncio.timeout(OPEN):
                    async for _, message in response.messages():
                        self._check_message(message, request.asked)
            except TimeoutError:
                return False
        elif request.verb != b"HEAD":
            body = await bounded("half a response", response.body())
            if is_json and body:
                self._check_message(read(body), request.asked)
        return response.header(b"connection") != b"close"

    def _check_message(self, message: Any, asked: Json | None) -> None:
        if asked is not None and isinstance(message, dict) and "method" not in message:
            check_answer(message, asked)

    async def raw(self, data: bytes, session: bytes) -> None:
        """Send what may be no request: it is answered, or the connection is closed once we have closed our half."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        try:
            writer.write(data.replace(b"$SESSION", session))
            try:
                async with asyncio.timeout(OPEN):
                    found = await reader.readuntil(b"\r\n\r\n")
            except TimeoutError:
                writer.write_eof()
                found = await bounded("no answer to half a request, and no close", reader.read())
            if found:
                check_status(int(found[9:12]), found)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


class HttpDoor(Door):
    """`/mcp`: a batch is what one client sends, in order on one connection; what may be no request goes by itself."""

    era: ClassVar[str]

    async def feed(self, batch: list[Any]) -> None:
        client, other = [await Http(self.proxy.port, self.era).begin() for _ in range(2)]
        requests, has_ended = [], False
        for each in batch:
            if isinstance(each, Request):
                has_ended |= each.verb == b"DELETE"  # from then on nothing of the session is right
                requests.append(replace(each, asked=None) if has_ended else each)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.exchange(requests, client.session))
            for each in batch:
                if isinstance(each, bytes):
                    group.create_task(self.raw(each, other.session))
        for one in (client, other):
            await one.end()


class Legacy(HttpDoor):
    name = "legacy"
    era = "legacy"
    inputs = rarely(wire.raw_requests(OF_LEGACY), wire.posts("legacy", OF_LEGACY))


class Modern(HttpDoor):
    name = "modern"
    era = "modern"
    inputs = rarely(wire.raw_requests(OF_MODERN), wire.posts("modern", OF_MODERN))


class SseDoor(Door):
    """`/sse` and `/messages/`: a batch is what one client posts; what is right is answered on its stream."""

    name = "sse"
    inputs = wire.posts("legacy", OF_LEGACY, b"/messages/?session_id=$SESSION")

    async def feed(self, batch: list[Any]) -> None:
        client = Sse(self.proxy.port, FIRST)
        await client.open()
        await self.exchange(batch, client.path.rpartition("=")[2].encode())
        answer = await client.ask("tools/call", dict(messages.ECHO))
        check_answer(answer, {"id": answer["id"], "params": messages.ECHO})
        await client.end()


class Admin(Door):
    """`/mcp_servers` and what is beside it; what a batch has added is removed after it."""

    name = "admin"
    inputs = wire.administrations()
    cost = 10

    async def open(self) -> None:
        await super().open()
        self._admin = Http(self.proxy.port, "modern")

    async def feed(self, batch: list[Any]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self.exchange(batch[number::AT_ONCE], b""))
        response = await self._admin.send(await self._admin.kept(), "GET", "/mcp_servers")
        for name in json.loads(await response.body())["servers"]:
            if name != "stdio":
                path = "/mcp_servers/" + "".join(f"%{byte:02x}" for byte in name.encode())
                removed = await self._admin.send(await self._admin.kept(), "DELETE", path)
                check_status(removed.status, await removed.body())


class Stdin(Door):
    """Our stdin: a batch is lines of the one client that there is."""

    name = "stdin"
    inputs = st.one_of(messages.bytes_of(OF_LEGACY), messages.bytes_of(OF_MODERN))
    options = ("--transport", "stdio")

    async def begin(self) -> None:
        self._client = _Checked(self.proxy.process)
        await self._client.begin()

    async def feed(self, batch: list[Any]) -> None:
        await self._client.send(b"\n".join(data for data, _ in batch))

    def reset(self) -> None:
        pass

    async def call(self) -> Json:
        if self._client.faults:
            raise Fault(f"on stdout: {self._client.faults[0]}")
        return await self._client.ask("tools/call", dict(messages.ECHO), "modern")

    async def close(self) -> None:
        await super().close()
        await self._client.end()


class _Checked(Stdio):
    """A client that notes what comes on stdout and is no message."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process, FIRST)
        self.faults: list[str] = []

    def receive(self, data: bytes) -> None:
        try:
            message = read(data)
            for each in message if isinstance(message, list) else [message]:
                if "method" not in each and each.get("id") in self._waiting:
                    self._waiting.pop(each["id"]).set_result(each)
        except (Fault, AttributeError, TypeError) as exc:
            self.faults.append(f"{exc}: {data[:300]!r}")


class ServerDoor(Door):
    """What a server says: each input is what it says to one call, after which it answers it rightly where it can.

    Sometimes an input is a list or a greeting instead: that is told when it is asked for next.
    """

    server: Fuzzed
    kind: ClassVar[type[Fuzzed]]

    def __init__(self, folder: Path, first: str = "pass") -> None:
        super().__init__(folder, f"{IMPATIENT}; {first}")

    async def servers(self) -> Json:
        self.server = self.kind()
        return {"fuzzed": await self.server.start()}

    async def feed(self, batch: list[Any]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                era = ("legacy", "modern")[number % 2]
                group.create_task(self._calls(era, batch[number::AT_ONCE]))
        await bounded("the server that was fuzzed is not served any more", self._recover())

    async def _calls(self, era: str, inputs: list[Any]) -> None:
        client = await Http(self.proxy.port, era).begin()
        for each in inputs:
            key = self.server.expect(each)
            asked = client.request("tools/call", self._params(key))
            told = await bounded(f"no answer to the call after which was said {each}", self._told(client, asked))
            if len([message for message in told if "method" not in message]) != 1:
                raise Fault(f"not one answer to a call, but {told}")
        if era == "legacy":
            await client.end()
        client.close()

    async def _told(self, client: Http, request: Json) -> list[Json]:
        """What comes to a request; a stream that ends before its answer is resumed, as its server wants it."""
        response, told = await client.post(await client.kept(), request), []
        while True:
            check_status(response.status, b"")
            told += [message async for _, message in response.messages()]
            if not response.place or any("method" not in message for message in told):
                return told
            more = b"Last-Event-ID: " + response.place.encode(), b"MCP-Protocol-Version: " + LEGACY.encode()
            response = await client.send(await client.kept(), "GET", "/mcp", b"", *more)

    def _params(self, key: str) -> Json:
        return {"name": "fuzzed::echo", "arguments": {"key": key}, "_meta": {"progressToken": key}}

    async def _recover(self) -> None:
        """Wait until it is served as before; one that may have greeted as something else is added anew."""
        if self.server.is_odd:
            self.server.behave()
            await self._admin("DELETE", "/mcp_servers/fuzzed")
            body = json.dumps({"mcpServers": {"fuzzed": self.server.configuration()}}).encode()
            await self._admin("POST", "/mcp_servers", body)
        for number in count():
            if number % 20 == 0:  # what it says while it is greeted anew, nobody hears
                self.server.behave()
            _, answer = await self.neighbour.ask("tools/call", self._params(""))
            if answer.get("result", {}).get("content") == [messages.TEXT]:
                return
            await asyncio.sleep(0.05)

    async def _admin(self, verb: str, path: str, body: bytes = b"") -> None:
        response = await self.neighbour.send(await self.neighbour.kept(), verb, path, body)
        check_status(response.status, await response.body())

    async def close(self) -> None:
        await super().close()
        await self.server.stop()


@st.composite
def _inputs(draw: st.DrawFn, during: st.SearchStrategy[Any]) -> tuple[str, Any]:
    """What to do: to say something to a call, or to the next question for a list or a greeting."""
    how = draw(st.integers(0, 39))
    if how > 3:
        return "call", draw(during)
    kind = draw(st.sampled_from(list(messages.PAGES)))
    if how > 0:
        page: Json = {kind: messages.PAGES[kind], "nextCursor": "a"} if how == 1 else {kind: messages.PAGES[kind]}
        return kind, messages.dump(draw(messages.broken(page)))
    return "greeting", messages.dump(draw(messages.broken(messages.GREETED)))


class OverStdio(ServerDoor):
    name = "server-stdio"
    kind = StdioServer
    inputs = _inputs(wire.said().map(lambda said: b"\n".join(said)))


class OverHttp(ServerDoor):
    name = "server-http"
    kind = HttpServer
    inputs = _inputs(wire.responses())


class OverSse(ServerDoor):
    name = "server-sse"
    kind = SseServer
    inputs = _inputs(wire.events())


DOORS: dict[str, type[Door]] = {
    each.name: each for each in (Legacy, Modern, SseDoor, Admin, Stdin, OverStdio, OverHttp, OverSse)
}
