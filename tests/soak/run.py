"""Soak: many calls, and many adds and removes of servers, through running proxies, whose cost must stay flat.

    python -m tests.soak.run [--calls N] [--adds N] [--rounds N] [--json FILE]
    python -m tests.soak.run --minutes N [--json FILE]

The second one is the kill loop, in `kills.py`. The first one:

One proxy over HTTP and one over stdio stand in front of servers of every kind. Each round has clients of all kinds do
their part (`PARTS`: most of them only call; others tell progress, are asked, cancel, hang up, resume, never say
goodbye), then waits until the proxies are idle, and takes a sample of each: memory (resident), file descriptors,
processes below it, asyncio tasks, and objects of the proxy's own classes. The first rounds warm it up; what is more at
the end than after them, by more than `BOUNDS`, is a leak. Each answer is checked.

Exit status: 0 where all is flat and every call went as it has to; else 1.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import uvloop

from tests.soak.client import LEGACY, Http, Json, Lost, Response, Sse, Stdio
from tests.support.watched import BOUNDS, FAULTY, Proxy, listening_port

HERE = Path(__file__).resolve().parent
SERVER = str(HERE / "server.py")
SESSIONS = 40
"""How many sessions of clients that never say goodbye the proxy keeps: full in the first rounds."""

PART_TIMEOUT = 120.0
RESUME_TIMEOUT = 20.0

ENOUGH = 8
"""Rounds after which it can be said what has grown."""

Part = Callable[["Soak", int], Awaitable[None]]


class Wrong(Exception):
    """Something did not go as it has to."""


class Soak:
    """The proxies and what the clients have in common."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = 0
        self.adds = 0
        self.problems: dict[str, int] = {}
        self.backend = ""
        self.cpu: dict[str, float] = {}
        self.bounds = BOUNDS
        self._numbers = count(1)
        self._servers = count(1)
        self._random = random.Random(13)
        self.http: Proxy
        self.stdio: Proxy
        self.stdio_client: Stdio

    def client(self, era: str, **capabilities: Json) -> Http:
        return Http(self.http.port, era, capabilities)

    def word(self) -> str:
        """An argument of its own for each call."""
        return f"w{next(self._numbers)}"

    def any(self, *choices: str) -> str:
        return self._random.choice(choices)

    def server(self) -> str:
        return f"added-{next(self._servers)}"

    def wrong(self, what: str) -> None:
        if what not in self.problems:
            print(f"wrong: {what}", file=sys.stderr, flush=True)
        self.problems[what] = self.problems.get(what, 0) + 1

    def check(self, answer: Json, word: str, what: str) -> None:
        """Count a call, whose answer must have this text."""
        self.calls += 1
        try:
            found = answer["result"]["content"][0]["text"]
        except (KeyError, IndexError):
            found = None
        if found != word:
            self.wrong(f"{what}: {json.dumps(answer)[:200]}")


def call(name: str, token: str | None = None, **arguments: Any) -> Json:
    """The params of a call; `name` is server::tool."""
    params: Json = {"name": name, "arguments": arguments}
    return params | {"_meta": {"progressToken": token}} if token is not None else params


@asynccontextmanager
async def legacy(soak: Soak, **capabilities: Json) -> AsyncIterator[Http]:
    """A legacy client that says goodbye."""
    client = await soak.client("legacy", **capabilities).begin()
    try:
        yield client
    finally:
        await client.end()


async def plain(soak: Soak, calls: int, era: str) -> None:
    """Only calls."""
    client = await soak.client(era).begin()
    servers = ("stdio", "stdio", "stdio", "http", "sse", "old", "new")
    for number in range(calls):
        word, server = soak.word(), servers[number % len(servers)]
        _, answer = await client.ask("tools/call", call(f"{server}::echo", text=word))
        soak.check(answer, word, f"{era} echo on {server}")
    await client.end()


async def plain_legacy(soak: Soak, calls: int) -> None:
    await plain(soak, calls, "legacy")


async def plain_modern(soak: Soak, calls: int) -> None:
    await plain(soak, calls, "modern")


async def over_stdio(soak: Soak, calls: int) -> None:
    """Calls of the client over stdio, in both eras, eight at once."""

    async def some(number: int) -> None:
        for each in range(number, calls, 8):
            word, era = soak.word(), ("legacy", "modern")[each % 2]
            server = ("stdio", "stdio", "http", "old")[each // 2 % 4]
            answer = await soak.stdio_client.ask("tools/call", call(f"{server}::echo", text=word), era)
            soak.check(answer, word, f"stdio {era} echo on {server}")

    await asyncio.gather(*map(some, range(8)))


async def over_sse(soak: Soak, calls: int) -> None:
    """A client over SSE, which breaks off."""
    client = Sse(soak.http.port)
    await client.open()
    for _ in range(calls):
        word = soak.word()
        soak.check(await client.ask("tools/call", call("stdio::echo", text=word)), word, "sse echo")
    await client.end()


async def progress(soak: Soak, calls: int) -> None:
    """Calls with progress, under the client's own token."""
    for era in ("legacy", "modern"):
        client = await soak.client(era).begin()
        for number in range(calls // 2):
            server = ("stdio", "http", "old", "new", "sse")[number % 5]
            token = soak.word()
            before, answer = await client.ask("tools/call", call(f"{server}::steps", token, n=2))
            soak.check(answer, "2", f"{era} steps on {server}")
            tokens = [each["params"]["progressToken"] for each in before]
            if tokens != [token, token]:
                soak.wrong(f"{era} progress on {server}: {tokens}")
        await client.end()


async def questions(soak: Soak, calls: int) -> None:
    """Calls during which the user is asked: live, by results, and both bridges."""
    able: dict[str, Json] = {"elicitation": {"form": {}}}
    async with legacy(soak, **able) as client:
        for number in range(calls // 2):
            server, word = ("http", "old", "new", "own")[number % 4 if number < 8 else number % 3], soak.word()
            connection = await client.connect()
            response = await client.post(connection, client.request("tools/call", call(f"{server}::ask", text=word)))
            answer: Json = {}
            async for _, message in response.messages():
                if message.get("method") == "elicitation/create":
                    result = {"action": "accept", "content": {"name": message["params"]["message"]}}
                    reply = {"jsonrpc": "2.0", "id": message["id"], "result": result}
                    await (await client.post(await client.kept(), reply)).body()
                else:
                    answer = message
            soak.check(answer, word, f"legacy ask on {server}")
            connection.close()
    modern = soak.client("modern", **able)
    for number in range(calls // 2):
        server, word = ("http", "old", "new")[number % 3], soak.word()
        params = call(f"{server}::ask", text=word)
        _, asked = await modern.ask("tools/call", params)
        result = asked.get("result", {})
        if result.get("resultType") != "input_required":
            soak.wrong(f"modern ask on {server}: {json.dumps(asked)[:200]}")
            continue
        replies = {
            name: {"action": "accept", "content": {"name": request["params"]["message"]}}
            for name, request in result["inputRequests"].items()
        }
        more = {"inputResponses": replies, "requestState": result["requestState"]}
        _, answer = await modern.ask("tools/call", params | more)
        soak.check(answer, word, f"modern ask on {server}")
    modern.close()


async def first_event(response: Response) -> tuple[str, Json]:
    """The first message of a stream."""
    async for found in response.messages():
        return found
    raise Lost


async def cancelled(soak: Soak, calls: int) -> None:
    """Calls that are cancelled: by a notification, or by hanging up in the modern era."""
    modern = soak.client("modern")
    async with legacy(soak) as client:
        for number in range(calls):
            server = ("stdio", "http", "old", "new", "sse")[number % 5]
            each = modern if number % 2 else client
            connection = await each.connect()
            request = each.request("tools/call", call(f"{server}::hang", soak.word()))
            response = await each.post(connection, request)
            await first_event(response)
            if each is client:
                await client.tell("notifications/cancelled", {"requestId": request["id"]})
            connection.close()
            soak.calls += 1


async def left(soak: Soak, calls: int) -> None:
    """Legacy clients that hang up during a call, and end their session, or break a request off."""
    for number in range(calls):
        async with legacy(soak) as client:
            server = ("stdio", "http", "old", "new")[number % 4]
            connection = await client.connect()
            response = await client.post(connection, client.request("tools/call", call(f"{server}::hang", "t")))
            await first_event(response)
            connection.close()
            soak.calls += 1
        if number % 4 == 0:
            broken = await client.connect()
            broken.write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
            broken.close()


async def never_deleted(soak: Soak, calls: int, first: int = 0) -> None:
    """Sessions that nobody ends, some with a stream open, a call in flight or a subscription."""
    for number in range(first, first + calls):
        client = await soak.client("legacy").begin()
        connection = await client.connect()
        version = b"MCP-Protocol-Version: " + LEGACY.encode()
        if number % 3 == 0:
            await client.send(connection, "GET", "/mcp", b"", version)
        elif number % 3 == 1:
            request = client.request("tools/call", call(f"{soak.any('stdio', 'http', 'new')}::hang", "t"))
            await first_event(await client.post(connection, request))
        else:
            await client.ask("resources/subscribe", {"uri": "soak://one"})
        soak.calls += 1
        connection.close()
        client.close()


async def resumed(soak: Soak, calls: int) -> None:
    """Streams that break off, and go on behind their last event: ours, and those of servers."""
    async with legacy(soak) as client:
        for number in range(calls):
            server, key = ("stdio", "http", "old", "new")[number % 4], soak.word()
            try:
                async with asyncio.timeout(RESUME_TIMEOUT):
                    await resume(soak, client, server, key)
            except TimeoutError:
                soak.wrong(f"resumed on {server}: nothing more came for {key}")
            soak.calls += 1


async def resume(soak: Soak, client: Http, server: str, key: str) -> None:
    """One call whose stream breaks off."""
    connection = await client.connect()
    request = client.request("tools/call", call(f"{server}::pause", key, key=key))
    place, message = await first_event(await client.post(connection, request))
    connection.close()
    go = "cut" if server == "old" else "go"
    _, gone = await client.ask("tools/call", call(f"{server}::{go}", key=key))
    if "error" in gone:
        soak.wrong(f"{go} on {server}: {gone}")
    told = [message]
    while told[-1].keys().isdisjoint(("result", "error")):  # a server that closes its stream has ours closed, too
        connection = await client.connect()
        more = b"Last-Event-ID: " + place.encode(), b"MCP-Protocol-Version: " + LEGACY.encode()
        response = await client.send(connection, "GET", "/mcp", b"", *more)
        if response.status != 200:
            soak.wrong(f"resumed on {server}: {response.status} behind {place}")
            break
        async for each, another in response.messages():
            place = each
            told.append(another)
        connection.close()
    soak.check(told[-1], key, f"resumed on {server}")
    if [each.get("params", {}).get("progress") for each in told[:-1]] != [1, 2]:
        soak.wrong(f"resumed on {server}: {json.dumps(told)[:300]}")


async def listening(soak: Soak, calls: int) -> None:
    """Streams for what belongs to no call, opened and dropped, and a changed list."""
    modern = soak.client("modern")
    for _ in range(calls):
        connection = await modern.connect()
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["soak://one"]}
        request = modern.request("subscriptions/listen", {"notifications": wanted})
        _, message = await first_event(await modern.post(connection, request))
        if not str(message.get("method")).endswith("acknowledged"):
            soak.wrong(f"listen: {message}")
        connection.close()
        soak.calls += 1
    _, answer = await modern.ask("tools/call", call("stdio::change"))
    soak.check(answer, "changed", "change")
    modern.close()


async def nonsense(soak: Soak, calls: int) -> None:
    """Requests that are refused, and servers that say what is no MCP."""
    async with legacy(soak) as client:
        kept = await client.kept()
        for _ in range(calls // 4):
            response = await client.send(kept, "POST", "/mcp", b'{"jsonrpc": "2.0", "id": 7, "method": ')
            if response.status != 400:
                soak.wrong(f"no JSON: {response.status}")
            await response.body()
            for method, params in (("tools/call", call("stdio::nothing")), ("vendor/unknown", {})):
                _, answer = await client.ask(method, params)
                if "error" not in answer:
                    soak.wrong(f"{method}: {answer}")
                soak.calls += 1
            word = soak.word()
            _, answer = await client.ask("tools/call", call("stdio::rubbish", text=word))
            soak.check(answer, word, "rubbish")
            soak.calls += 1


async def adding(soak: Soak, adds: int) -> None:
    """Servers that are added, called and removed: programs, URLs, some of which die, or never get ready."""
    client = soak.client("modern")
    admin = Http(soak.http.port, "modern")
    for number in range(adds):
        name, word = soak.server(), soak.word()
        kind = ("stdio", "http", "stdio", "old", "dies", "new", "sse", "nothing")[number % 8]
        url = soak.backend + {"http": "/mcp"}.get(kind, f"/{kind}")
        config: Json = {"url": url} | ({"type": "sse"} if kind == "sse" else {})
        if kind in ("stdio", "dies"):
            config = program()
        elif kind == "nothing":
            config = {"command": "/bin/false"}
        body = json.dumps({"mcpServers": {name: config}}).encode()
        response = await admin.send(await admin.kept(), "POST", "/mcp_servers", body)
        told = await response.body()
        soak.adds += 1
        if kind == "nothing":  # it is taken back
            if response.status == 200:
                soak.wrong(f"added {kind}: {told[:300].decode()}")
            continue
        if response.status != 200:
            soak.wrong(f"added {kind}: {response.status} {told[:300].decode()}")
        elif kind == "dies":
            _, answer = await client.ask("tools/call", call(f"{name}::die"))
            if "error" not in answer:
                soak.wrong(f"die: {answer}")
        else:
            _, answer = await client.ask("tools/call", call(f"{name}::echo", text=word))
            soak.check(answer, word, f"echo on added {kind}")
        response = await admin.send(await admin.kept(), "DELETE", f"/mcp_servers/{name}")
        told = await response.body()
        if response.status != 200:
            soak.wrong(f"removed {kind}: {response.status} {told[:300].decode()}")
    client.close()
    admin.close()


PARTS: list[tuple[Part, float, int]] = [
    (plain_legacy, 0.34, 6),
    (plain_modern, 0.34, 6),
    (over_stdio, 0.2, 1),
    (over_sse, 0.03, 2),
    (progress, 0.04, 2),
    (questions, 0.01, 2),
    (cancelled, 0.01, 2),
    (left, 0.005, 1),
    (never_deleted, 0.005, 1),
    (resumed, 0.005, 1),
    (listening, 0.005, 1),
    (nonsense, 0.01, 1),
]
"""What clients do, their share of the calls, and how many do it at once."""


def program() -> Json:
    return {"command": sys.executable, "args": ["-S", "-E", SERVER]}


async def play(soak: Soak, calls: int, adds: int) -> None:
    """One round."""
    async with asyncio.TaskGroup() as group:
        for part, share, times in PARTS:
            for _ in range(times):
                group.create_task(attempt(soak, part, max(1, round(calls * share / times))))
        group.create_task(attempt(soak, adding, adds))


async def attempt(soak: Soak, part: Part, times: int) -> None:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(PART_TIMEOUT):
            await part(soak, times)
    except (Lost, OSError, ValueError, KeyError) as exc:
        soak.wrong(f"{part.__name__}, after {time.monotonic() - begun:.0f} s: {exc!r}")


@asynccontextmanager
async def running(soak: Soak) -> AsyncIterator[None]:
    """While the proxies and the server behind them run."""
    folder = soak.folder
    with (folder / "server.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(sys.executable, SERVER, "http", stderr=log)
    soak.backend = f"http://127.0.0.1:{await listening_port(folder / 'server.log')}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        servers: Json = {
            "stdio": program(),
            "http": {"url": f"{soak.backend}/mcp"},
            "old": {"url": f"{soak.backend}/old"},
            "new": {"url": f"{soak.backend}/new"},
            "sse": {"url": f"{soak.backend}/sse", "type": "sse"},
            "own": program() | {"scope": "session"},
            "broken": {"command": "/bin/false"},
            "nobody": {"url": f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"},
        }
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        try:
            async with proxies(soak):
                yield
        finally:
            server.kill()
            await server.wait()


@asynccontextmanager
async def proxies(soak: Soak, *more: str) -> AsyncIterator[None]:
    """While the proxies run, with these options; they follow the file in the folder."""
    folder, config = soak.folder, soak.folder / "mcp.json"
    options = ("--startup-timeout", "5", "--max-sessions", str(SESSIONS), *more)
    soak.http = await Proxy.start("http", config, folder, "--transport", "http", "--port", "0", *options)
    soak.stdio = await Proxy.start("stdio", config, folder, "--transport", "stdio", *options)
    try:
        soak.http.port = await listening_port(folder / "http.log")
        soak.stdio_client = Stdio(soak.stdio.process)
        await soak.stdio_client.begin()
        yield
        await soak.stdio_client.end()
        soak.http.process.terminate()
        if code := await soak.http.process.wait():
            soak.wrong(f"the exit code is {code}")
    finally:
        for process in (soak.http.process, soak.stdio.process):
            if process.returncode is None:
                process.kill()
                await process.wait()


async def play_rounds(soak: Soak, options: argparse.Namespace, begun: float) -> None:
    """The rounds."""
    async with running(soak):
        for number in range(options.rounds):
            adds = options.adds * (number + 1) // options.rounds - options.adds * number // options.rounds
            await play(soak, options.calls // options.rounds, adds)
            for proxy in (soak.http, soak.stdio):
                await proxy.sample()
            show(number, soak, begun)
        soak.cpu = {proxy.name: round(proxy.cpu(), 1) for proxy in (soak.http, soak.stdio)}


async def kill_servers(soak: Soak, options: argparse.Namespace, begun: float) -> None:
    """The kill loop."""
    from tests.soak import kills  # which is made of what is here

    loop = kills.Kills(soak)
    soak.bounds = kills.BOUNDS
    async with kills.webs(loop), proxies(soak, "--max-unread", kills.UNREAD):
        await kills.loop(loop, options.minutes, lambda number: show(number, soak, begun))
        soak.cpu = {proxy.name: round(proxy.cpu(), 1) for proxy in (soak.http, soak.stdio)}
    kills.conclude(loop)


async def soak_all(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder))
        begun = time.monotonic()
        await (kill_servers if options.minutes else play_rounds)(soak, options, begun)
        for log in soak.folder.glob("*.log"):
            if found := FAULTY.search(log.read_text(errors="replace")):
                soak.wrong(f"{log.name} has {found[0]!r}")
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
            for log in soak.folder.glob("*.log"):
                (options.logs / log.name).write_bytes(log.read_bytes())
    return conclude(soak, options, time.monotonic() - begun)


def show(number: int, soak: Soak, begun: float) -> None:
    """A line for each round."""
    if number == 0:
        print(f"{'round':>5} {'calls':>9} {'adds':>5} {'s':>5}", *(f"{what:>11}" for what in BOUNDS))
    for proxy in (soak.http, soak.stdio):
        values = (f"{value:11.1f}" if what == "memory" else f"{value:11}" for what, value in proxy.samples[-1].items())
        print(f"{number + 1:5} {soak.calls:9} {soak.adds:5} {time.monotonic() - begun:5.0f}", *values, proxy.name)
    sys.stdout.flush()


def conclude(soak: Soak, options: argparse.Namespace, seconds: float) -> int:
    """Say how it went, write it down, and return the exit status."""
    leaks: list[str] = []
    for proxy in (soak.http, soak.stdio):
        growth = proxy.growth()
        print(f"{proxy.name}: after the warm-up", ", ".join(f"{what} {more:+g}" for what, more in growth.items()))
        if len(proxy.samples) < ENOUGH:
            continue
        leaks += [
            f"{proxy.name}: {what} {growth[what]:+g}" for what, bound in soak.bounds.items() if growth[what] > bound
        ]
        if any(proxy.name in leak for leak in leaks):
            warm, last = proxy.looks[len(proxy.looks) // 4], proxy.looks[-1]
            for kind in ("by task", "by type"):
                more = {name: number - warm[kind].get(name, 0) for name, number in last[kind].items()}
                print(f"  {kind}:", sorted(more.items(), key=lambda item: -item[1])[:15])
    for what, times in soak.problems.items():
        print(f"wrong {times} times: {what}")
    if leaks:
        print("grew:", "; ".join(leaks))
    print(f"{soak.calls:,} calls and {soak.adds:,} adds in {seconds:.0f} s; seconds of CPU: {soak.cpu}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        found: Json = {
            "calls": soak.calls,
            "adds": soak.adds,
            "seconds": round(seconds),
            "cpu": soak.cpu,
            "bounds": soak.bounds,
        }
        found |= {"problems": soak.problems, "leaks": leaks}
        for proxy in (soak.http, soak.stdio):
            found[proxy.name] = {"growth": proxy.growth(), "samples": proxy.samples}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if leaks or soak.problems else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--adds", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=0, help="one for each 20,000 calls, at least 12")
    parser.add_argument("--minutes", type=float, default=0, help="the kill loop instead, for so long (see kills.py)")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"), help="where the samples are written")
    parser.add_argument("--logs", type=Path, help="a folder where the proxies' logs are kept")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or max(12, options.calls // 20_000)
    return uvloop.run(soak_all(options))


if __name__ == "__main__":
    raise SystemExit(main())
