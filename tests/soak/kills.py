"""The kill loop of the soak: for minutes, one of four servers is killed every two seconds, under clients that call.

Meanwhile the configuration file is edited, sessions are abandoned, one client does not read, one reads and writes
slowly, and pods come and go under clients that follow (`ROLL`). What has to hold:

- Each call has one answer, its own: its text; or, where its server was killed meanwhile, an error that names it.
- A pod that gets SIGTERM ends in time, with exit code 0, without a process left; no call to it is lost.
- 95 % of recoveries take a second at most, beside the server's own start.

Every `REST` seconds all pause, so that what the proxies hold can be told exactly.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count, cycle
from typing import Any

from tests.soak.client import Http, Json, Lost, Sse
from tests.soak.run import SERVER, Soak, Wrong, call, never_deleted, program
from tests.support.processes import alive, commands, descendants
from tests.support.watched import Proxy, listening_port

KILLED = ("stdio", "http", "sse", "new")
CLIENTS = {"legacy": 6, "modern": 5, "sse": 5}
KILL, EDIT, ABANDON, ROLL, REST = 2.0, 5.0, 1.0, 15.0, 60.0
"""Seconds between two of a kind."""

BOUNDS = {"memory": 8.0, "descriptors": 30, "processes": 2, "tasks": 12, "objects": 400}
"""What may be more at the end: some of what comes and goes, as a connection for each era, is there or is not."""

UNREAD = "1MiB"
BIG = 100_000
RECOVERED = 1.0
ENOUGH = 100
"""Recoveries by which it can be judged how long they take."""

ANSWERED = 30.0
ENDED = 5.0

Ask = Callable[[str, Json], Awaitable[Any]]


class Kills:
    """What the actors of the loop have in common."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.recoveries: list[tuple[float, str]] = []
        self.again = 0
        """How many messages to the SSE session of a pod that ended were not taken, and made again at the next one."""
        self.kills = self.rolls = self.edits = self.abandoned = 0
        self.webs: dict[str, asyncio.subprocess.Process] = {}
        self.ports: dict[str, int] = {}
        self.pod: Proxy
        self._down: defaultdict[str, list[list[float]]] = defaultdict(list)
        self.file = asyncio.Lock()
        """Held by who starts from the configuration file, and while that is half a file, from which none starts."""
        self._open = asyncio.Event()
        self._open.set()
        self._active = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One thing that an actor does; none is begun during a rest."""
        await self._open.wait()
        self._active += 1
        try:
            yield
        except (Lost, OSError, Wrong, ValueError, KeyError, TimeoutError) as exc:
            where = traceback.extract_tb(exc.__traceback__)
            self.soak.wrong(f"{exc!r} in {' > '.join(f'{each.name}:{each.lineno}' for each in where)}")
        finally:
            self._active -= 1

    async def rest(self) -> None:
        """Wait until nothing is under way, and note what the proxies hold."""
        self._open.clear()
        deadline = time.monotonic() + 2 * ANSWERED
        while self._active or any(end == 0 for spans in self._down.values() for _, end in spans):
            if time.monotonic() > deadline:
                self.soak.wrong("something is still under way a minute after all have paused")
                break
            await asyncio.sleep(0.02)
        for proxy in (self.soak.http, self.soak.stdio):
            await proxy.sample()
        self._open.set()

    def was_down(self, server: str, begun: float) -> bool:
        """Whether it was away at any time since then, or had just come back."""
        return any(end == 0 or end + RECOVERED > begun for _, end in self._down[server])

    async def check(self, ask: Ask, server: str, what: str, size: int = 0) -> None:
        """Make one call, and check its answer."""
        word, begun = self.soak.word() + "x" * size, time.monotonic()
        try:
            async with asyncio.timeout(ANSWERED):
                answer = await ask("tools/call", call(f"{server}::echo", text=word))
        except TimeoutError:
            self.soak.wrong(f"{what} on {server}: no answer")
            return
        answer = answer[1] if isinstance(answer, tuple) else answer
        # A pod that ends says so to a call that waits for a server that is away: it is to be made again.
        named = (server, *(["Multi-MCP ended"] if what.startswith("pods") else []))
        said = answer.get("error", {}).get("message", "")
        if any(name in said for name in named) and self.was_down(server, begun):
            self.soak.calls += 1
        else:
            self.soak.check(answer, word, f"{what} on {server}")

    # What is done to the servers

    async def start_web(self, name: str) -> None:
        """Start the server of this name, over HTTP, where it was before."""
        command = [sys.executable, SERVER, "http", str(self.ports.get(name, 0))]
        with (self.soak.folder / f"server-{name}.log").open("wb") as log:
            self.webs[name] = await asyncio.create_subprocess_exec(*command, stderr=log)

    def pids(self, name: str) -> set[int]:
        if name != "stdio":
            return {self.webs[name].pid}
        family = set[int]().union(*(descendants(each.process.pid) for each in (self.soak.http, self.soak.stdio)))
        return {pid for pid, command in commands(family).items() if command.endswith(f"{SERVER} ")}

    async def kill(self, name: str, asks: dict[str, Ask]) -> None:
        """Kill it, and see how long it takes until each can call it again."""
        span, killed = [time.monotonic(), 0.0], self.pids(name)
        self._down[name].append(span)
        self.kills += 1
        try:
            for pid in killed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if name in self.webs:
                await self.webs[name].wait()
                await self.start_web(name)
            await asyncio.gather(*(self._recover(name, who, ask, killed, span[0]) for who, ask in asks.items()))
        finally:
            span[1] = time.monotonic()

    async def _recover(self, name: str, who: str, ask: Ask, killed: set[int], begun: float) -> None:
        while time.monotonic() < begun + ANSWERED:
            answer = await ask("tools/call", call(f"{name}::up"))
            answer = answer[1] if isinstance(answer, tuple) else answer
            if "result" in answer:
                up = json.loads(answer["result"]["content"][0]["text"])
                if up["pid"] not in killed:
                    took = time.monotonic() - begun - up["start"]
                    self.recoveries.append((round(took, 3), f"{name}, {who}"))
                    return
            await asyncio.sleep(0.02)
        self.soak.wrong(f"{name} is not back after {ANSWERED} s, for {who}")

    def write(self, **more: Json) -> None:
        path = self.soak.folder / "mcp.json"
        servers: Json = {"stdio": program()}
        for name, port in self.ports.items():
            place = {"http": "mcp"}.get(name, name)
            servers[name] = {"url": f"http://127.0.0.1:{port}/{place}"} | ({"type": "sse"} if name == "sse" else {})
        path.with_suffix(".new").write_text(json.dumps({"mcpServers": servers | more}))
        path.with_suffix(".new").replace(path)


async def every(kills: Kills, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again."""
    while True:
        begun = time.monotonic()
        async with kills.turn():
            await act()
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))


async def calling(kills: Kills, kind: str) -> None:
    """A client that calls one server after the other."""
    client: Http | Sse
    if kind == "sse":
        client = Sse(kills.soak.http.port)
        await client.open()
    else:
        client = await kills.soak.client(kind).begin()
    chance = random.Random(kind)
    for server in cycle(KILLED):
        async with kills.turn():
            await kills.check(client.ask, server, kind, BIG if chance.random() < 0.02 else 0)
        await asyncio.sleep(chance.random() / 20)


async def over_stdio(kills: Kills) -> None:
    for number in count():
        era = ("legacy", "modern")[number % 2]

        def ask(method: str, params: Json, era: str = era) -> Awaitable[Json]:
            return kills.soak.stdio_client.ask(method, params, era)

        async with kills.turn():
            await kills.check(ask, KILLED[number % 4], f"stdio {era}")
        await asyncio.sleep(0.03)


async def killing(kills: Kills) -> None:
    soak = kills.soak
    asks: dict[str, Ask] = {
        "legacy": (await soak.client("legacy").begin()).ask,
        "modern": soak.client("modern").ask,
        "stdio": soak.stdio_client.ask,
    }
    names = cycle(KILLED)
    await every(kills, KILL, lambda: kills.kill(next(names), asks))


async def editing(kills: Kills) -> None:
    """Change the file: a server comes, changes, goes; once it is half a file."""
    client = kills.soak.client("modern")
    path = kills.soak.folder / "mcp.json"

    async def edit() -> None:
        kills.edits += 1
        match kills.edits % 4:
            case 0:
                kills.write()
            case 3:
                async with kills.file:
                    whole = path.read_text()
                    path.write_text(whole[: len(whole) // 2])
                    await asyncio.sleep(0.3)
                    path.write_text(whole)
            case number:
                kills.write(extra=program() | {"env": {"NUMBER": str(number)}})
                begun = time.monotonic()
                while "result" not in (await client.ask("tools/call", call("extra::echo", text="a")))[1]:
                    if time.monotonic() > begun + ANSWERED:
                        raise Wrong("a server that was written to the file is not there")
                    await asyncio.sleep(0.05)

    await every(kills, EDIT, edit)


async def abandoning(kills: Kills) -> None:
    async def leave() -> None:
        kills.abandoned += 1
        await never_deleted(kills.soak, 1, kills.abandoned)

    await every(kills, ABANDON, leave)


async def deaf(kills: Kills) -> None:
    """A client that reads nothing, until the proxy ends its stream; then another one."""
    loop = asyncio.get_running_loop()

    async def be_deaf() -> None:
        with socket.socket() as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.setblocking(False)
            await loop.sock_connect(stream, ("127.0.0.1", kills.soak.http.port))
            await loop.sock_sendall(stream, b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
            told = b""
            while b"\r\n\r\n" not in told.partition(b"data: ")[2]:
                told += await loop.sock_recv(stream, 1024)
            path = told.partition(b"data: ")[2].split()[0].decode()
            client = kills.soak.client("legacy")
            for number in range(500):
                asked = client.request("tools/call", call("stdio::echo", text="x" * BIG))
                if number == 0:
                    asked = client.request(
                        "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "d"}}
                    )
                response = await client.send(await client.kept(), "POST", path, json.dumps(asked).encode())
                await response.body()
                if response.status == 404:
                    break
                await asyncio.sleep(0.02)
            else:
                kills.soak.wrong("a client that does not read is served for ever")
            client.close()

    await every(kills, 0.5, be_deaf)


async def slow(kills: Kills) -> None:
    """A client that writes its request, and reads the answer, in small pieces."""

    async def be_slow() -> None:
        client, word = kills.soak.client("modern"), kills.soak.word() + "x" * BIG
        begun = time.monotonic()
        asked = client.request("tools/call", call("stdio::echo", text=word))
        body = json.dumps(asked).encode()
        head = client.head("POST", "/mcp", body, *client.more(asked))
        reader, writer = await asyncio.open_connection("127.0.0.1", kills.soak.http.port, limit=4096)
        for at in range(0, len(data := head + body), 8000):
            writer.write(data[at : at + 8000])
            await asyncio.sleep(0.02)
        told = b""
        while piece := await asyncio.wait_for(reader.read(4096), ANSWERED):
            told += piece
            await asyncio.sleep(0.005)
            if told.endswith((b"}", b"0\r\n\r\n")):
                break
        writer.close()
        if word.encode() not in told and not kills.was_down("stdio", begun):
            kills.soak.wrong(f"a slow client: {told[:300]!r}")

    await every(kills, 0.5, be_slow)


async def start_pod(kills: Kills, number: int) -> Proxy:
    folder, name = kills.soak.folder, f"pod-{number}"
    async with kills.file:
        pod = await Proxy.start(name, folder / "mcp.json", folder, "--transport", "http", "--port", "0")
        pod.port = await listening_port(folder / f"{name}.log")
    client = Http(pod.port, "modern")
    while True:
        response = await client.send(await client.kept(), "GET", "/readyz")
        await response.body()
        if response.status == 200:
            client.close()
            return pod
        await asyncio.sleep(0.05)


async def rolling(kills: Kills) -> None:
    """Pods: the next one is ready before the last one is told to end."""

    async def roll() -> None:
        kills.rolls += 1
        last, kills.pod = kills.pod, await start_pod(kills, kills.rolls)
        await asyncio.sleep(0.2)  # so that there is something on its way
        family, begun = descendants(last.process.pid), time.monotonic()
        last.process.terminate()
        code = await last.process.wait()
        took = time.monotonic() - begun
        left = [pid for pid in family if alive(pid)]
        if code or took > ENDED or left:
            kills.soak.wrong(f"a pod ended with {code} after {took:.1f} s, and left {left}")

    await every(kills, ROLL, roll)


async def following(kills: Kills, kind: str) -> None:
    """A client of the pods: a new connection goes to the new one."""
    client: Http | Sse | None = None
    for server in cycle(KILLED):
        async with kills.turn():
            if client is None:
                client = await follow(kills, kind)
            try:
                await kills.check(client.ask, server, f"pods, {kind}")
            except ConnectionRefusedError:  # which is no call yet
                client = None
            except Lost:
                # The system resets a connection that is opened in the moment in which no more are taken.
                if not isinstance(client, Sse) or client.port == kills.pod.port:
                    raise
                kills.again += 1
                client = None
            if (isinstance(client, Sse) and client.is_over) or (
                isinstance(client, Http) and client.is_over and kind == "legacy"
            ):
                client = None
            elif isinstance(client, Http) and client.is_over:
                client.move(kills.pod.port)
        await asyncio.sleep(0.02)


async def follow(kills: Kills, kind: str) -> Http | Sse:
    if kind == "sse":
        client = Sse(kills.pod.port)
        await client.open()
        return client
    return await Http(kills.pod.port, kind).begin()


@asynccontextmanager
async def webs(kills: Kills) -> AsyncIterator[None]:
    """While the servers over HTTP run."""
    try:
        for name in KILLED[1:]:
            await kills.start_web(name)
            kills.ports[name] = await listening_port(kills.soak.folder / f"server-{name}.log")
        kills.write()
        yield
    finally:
        for process in kills.webs.values():
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def loop(kills: Kills, minutes: float, show: Callable[[int], None]) -> None:
    """All of it, for so long; `show` shows a round."""
    kills.pod = await start_pod(kills, 0)
    actors = [calling(kills, kind) for kind, number in CLIENTS.items() for _ in range(number)]
    actors += [act(kills) for act in (over_stdio, killing, editing, abandoning, deaf, slow, rolling)]
    actors += [following(kills, kind) for kind in CLIENTS]
    end, rest = time.monotonic() + 60 * minutes, min(REST, 60 * minutes / 4)
    tasks = [asyncio.create_task(each) for each in actors]
    try:
        for number in count():
            await asyncio.wait(tasks, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
            await kills.rest()
            show(number)
            for task in tasks:
                if task.done():
                    task.result()
            if time.monotonic() > end:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        kills.pod.process.terminate()
        await kills.pod.process.wait()


def conclude(kills: Kills) -> None:
    """Judge the recoveries."""
    found = sorted(kills.recoveries)
    if not found:
        kills.soak.wrong("nothing was killed")
        return
    within = found[min(len(found) - 1, int(len(found) * 0.95))][0]
    print(
        f"{kills.kills} kills, {kills.edits} edits, {kills.abandoned} sessions abandoned, {kills.rolls} pods "
        f"({kills.again} messages made again); "
        f"{len(found)} recoveries beside the server's own start: half within {found[len(found) // 2][0]} s, "
        f"95 % within {within} s, the slowest {found[-1]}"
    )
    if within > RECOVERED and len(found) >= ENOUGH:
        slowest = [each for each in found if each[0] > RECOVERED]
        kills.soak.wrong(f"{len(slowest)} of {len(found)} recoveries take more than a second, as {slowest[-5:]}")
