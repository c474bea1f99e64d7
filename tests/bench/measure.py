"""What is measured, and how: peers take turns, round by round, so that whatever else the machine does hits all alike.

Rules:
- A cell is one number of sessions with one size of argument, on one peer; it lasts some time, not some calls, so that
  a slow peer does not hold up the rest. What is reported of it is the median over the rounds.
- CPU per call is of the peer's own process, without the servers behind it; `tree` has these, too, where they are its
  children.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .client import TIMEOUT, BenchError, Client, Era
from .peers import DIRECT, ECHO, MINIMAL, OURS, Backend, Peer, Running, Servers, cpu

NOT_OFFERED = "not offered"
FAILED = "failed"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often each cell is measured.
        seconds: how long a cell lasts.
        sessions: numbers of sessions, with 20 bytes.
        sizes: of arguments, in bytes, with one session.
        tools: lengths of the list.
        servers: numbers of backends.
        starts: how often each is started.
        calm: seconds of calls in which what follows a list is over.
    """

    rounds: int = 5
    seconds: float = 0.3
    sessions: Sequence[int] = (1, 8, 32, 256)
    sizes: Sequence[int] = (20, 100_000, 1_000_000)
    tools: Sequence[int] = (10, 1_000, 10_000)
    servers: Sequence[int] = (1, 10, 100)
    starts: int = 3
    calm: float = 5.0

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(sessions, bytes) of each cell."""
        first = [(number, self.sizes[0]) for number in self.sessions]
        return first + [(1, size) for size in self.sizes[1:]]


Result = dict[str, Any]


def echo(tools: int = 1) -> dict[str, Any]:
    """The entry of the SDK server over stdio."""
    return {"command": ECHO[0], "args": [*ECHO[1:], "--tools", str(tools)]}


def minimal(tools: int = 1) -> dict[str, Any]:
    """The entry of the server that costs little."""
    return {"command": MINIMAL[0], "args": [*MINIMAL[1:], str(tools)]}


class Subject:
    """A running peer and its clients in one era."""

    def __init__(self, running: Running, era: Era) -> None:
        self.running = running
        self.clients: list[Client] = []
        self.tools: list[str] = []
        self._era = era

    async def warm_up(self) -> None:
        """Find the tools that echo, and call each once.

        Raises:
            BenchError, OSError, TimeoutError: the peer does not do this.
        """
        await self.have(1)
        listed = (await self.clients[0].request("tools/list", {}))["tools"]
        self.tools = [tool["name"] for tool in listed if tool["name"].endswith("echo")]
        if not self.tools:
            raise BenchError("no tool echoes")
        async with asyncio.timeout(TIMEOUT):
            await self.clients[0].call_all(self.tools, 20, 0.0, max(3, len(self.tools)))

    async def have(self, number: int) -> list[Client]:
        """So many clients, each newly connected."""
        while len(self.clients) < number:
            new = min(number - len(self.clients), 32)
            self.clients += await asyncio.gather(*(Client.open(self.running.url, self._era) for _ in range(new)))
        for client in self.clients[:number]:
            await client.connect()
        return self.clients[:number]

    async def cell(self, sessions: int, size: int, seconds: float) -> Result:
        """Measure once."""
        clients = await self.have(sessions)
        tree = self.running.tree()
        own, whole, begun = self.running.cpu(), sum(map(cpu, tree)), time.perf_counter()
        until = begun + seconds
        async with asyncio.timeout(seconds + TIMEOUT):
            took = await asyncio.gather(*(client.call_all(self.tools, size, until, 1) for client in clients))
        lasted = time.perf_counter() - begun
        every = sorted(second for each in took for second in each)
        return {
            "calls": len(every),
            "p50_ms": 1000 * statistics.median(every),
            "p95_ms": 1000 * every[int(0.95 * (len(every) - 1))],
            "calls_per_s": len(every) / lasted,
            "cpu_ms": (self.running.cpu() - own) / len(every),
            "tree_cpu_ms": (sum(map(cpu, tree)) - whole) / len(every),
        }

    def close(self) -> None:
        for client in self.clients:
            client.close()


def median_of(results: Sequence[Result]) -> Result:
    """The median of each figure."""
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def offers(peer: Peer, backend: Backend, servers: int = 1) -> bool:
    """Whether a peer can be in front of so many servers, over this transport."""
    return backend in peer.backends and servers <= peer.most_servers


async def calls(peers: Sequence[Peer], plan: Plan) -> dict[str, Any]:
    """Every cell of {legacy, modern} x {stdio, HTTP}: "legacy stdio" -> peer -> "8 x 20" -> figures."""
    results: dict[str, Any] = {}
    for backend in ("stdio", "http"):
        with Stage() as stage:
            behind = {"echo": echo()}
            if backend == "http":
                behind = {"echo": {"url": stage.start(DIRECT, behind).url}}
            running = {}
            for peer in peers:
                if offers(peer, backend):
                    running[peer.name] = stage.start(peer, {"": echo()} if peer is DIRECT else behind)
            for era in ("legacy", "modern"):
                results[f"{era} {backend}"] = await _in_turns(peers, running, era, plan)
    return results


async def _in_turns(peers: Sequence[Peer], running: dict[str, Running], era: Era, plan: Plan) -> dict[str, Any]:
    results: dict[str, Any] = {peer.name: NOT_OFFERED for peer in peers}
    subjects: dict[str, Subject] = {}
    for name, each in running.items():
        subject = Subject(each, era)
        try:
            await subject.warm_up()
            subjects[name] = subject
            results[name] = {}
        except (BenchError, OSError, TimeoutError) as exc:
            results[name] = f"{NOT_OFFERED}: {exc or type(exc).__name__}"[:200]
            subject.close()
    for sessions, size in plan.cells:
        cell = f"{sessions} x {size}"
        samples: dict[str, list[Result]] = {name: [] for name in subjects}
        for _ in range(plan.rounds):
            for name, subject in subjects.items():
                if sessions > subject.running.peer.most_sessions or FAILED in results[name]:
                    continue
                try:
                    samples[name].append(await subject.cell(sessions, size, plan.seconds))
                except (BenchError, OSError, TimeoutError) as exc:
                    results[name][FAILED] = f"{cell}: {exc or type(exc).__name__}"[:200]
        for name, found in samples.items():
            results[name][cell] = median_of(found) if found else NOT_OFFERED
    for subject in subjects.values():
        subject.close()
    return results


async def lists(peers: Sequence[Peer], plan: Plan) -> dict[str, Any]:
    """Calls of one of many tools, then `tools/list`: tools -> peer -> figures."""
    results: dict[str, Any] = {}
    for tools in plan.tools:
        with Stage() as stage:
            running = {peer.name: stage.start(peer, {"echo": echo(tools)}) for peer in peers}
            # Behind a list, a server that cannot tell of changes is read again: that is no cost of a call.
            calls = await _rounds(running, plan, _call, plan.calm)
            listed = await _rounds(running, plan, _list)
            results[str(tools)] = {name: _both(calls[name], listed[name]) for name in running}
    return results


def _both(first: Any, second: Any) -> Any:
    """The figures of one peer, or why there are none."""
    failed = next((each for each in (first, second) if isinstance(each, str)), None)
    return failed or first | second


async def _list(subject: Subject, plan: Plan) -> Result:
    [client] = await subject.have(1)
    count = 10
    used, took = subject.running.cpu(), []
    for _ in range(count):
        begun = time.perf_counter()
        await client.fetch("tools/list", {})
        took.append(1000 * (time.perf_counter() - begun))
    return {"list_ms": statistics.median(took), "list_cpu_ms": (subject.running.cpu() - used) / count}


async def _call(subject: Subject, plan: Plan) -> Result:
    return await subject.cell(8, 20, plan.seconds)


async def many(peers: Sequence[Peer], plan: Plan) -> dict[str, Any]:
    """Calls to all servers in turn, with more and more of them: servers -> peer -> figures."""
    results: dict[str, Any] = {}
    for number in plan.servers:
        servers = {f"server{each}": minimal() for each in range(number)}
        with Stage() as stage:
            running = {peer.name: stage.start(peer, servers) for peer in peers if offers(peer, "stdio", number)}
            results[str(number)] = dict.fromkeys((peer.name for peer in peers), NOT_OFFERED)
            results[str(number)] |= await _rounds(running, plan, _call_in_turn)
    return results


async def _call_in_turn(subject: Subject, plan: Plan) -> Result:
    figures = await subject.cell(8, 20, plan.seconds)
    return figures | {"memory_mb": subject.running.memory()}


async def _rounds(running: dict[str, Running], plan: Plan, measure: Any, calm: float = 0.0) -> dict[str, Any]:
    results: dict[str, Any] = {}
    samples: dict[str, list[Result]] = {}
    subjects = {name: Subject(each, "legacy") for name, each in running.items()}
    for number in range(plan.rounds + 1):
        for name, subject in subjects.items():
            if name in results:
                continue
            try:
                if number == 0:
                    await subject.warm_up()
                    await subject.cell(8, 20, calm)
                else:
                    samples.setdefault(name, []).append(await measure(subject, plan))
            except (BenchError, OSError, TimeoutError) as exc:
                results[name] = f"{FAILED}: {exc or type(exc).__name__}"[:200]
    for subject in subjects.values():
        subject.close()
    return results | {name: median_of(found) for name, found in samples.items() if name not in results}


def starts(peers: Sequence[Peer], plan: Plan) -> dict[str, Any]:
    """How soon it listens, with one minimal server and with 30, and its memory then: servers -> peer -> figures."""
    results: dict[str, Any] = {}
    for number in (1, 30):
        servers = {f"server{each}": minimal() for each in range(number)}
        samples: dict[str, list[Result]] = {}
        for _ in range(plan.starts):
            for peer in peers:
                if number <= peer.most_servers or peer is OURS:
                    samples.setdefault(peer.name, []).append(asyncio.run(_start(peer, servers)))
        results[str(number)] = {name: median_of(found) for name, found in samples.items()}
    return results


async def _start(peer: Peer, servers: Servers) -> Result:
    with Stage() as stage:
        running = stage.start(peer, servers)
        subject = Subject(running, "legacy")
        begun = time.perf_counter()
        await subject.warm_up()
        ready = running.started + time.perf_counter() - begun
        subject.close()
        return {"listens_s": running.started, "first_call_s": ready, "memory_mb": running.memory()}


class Stage:
    """What has been started, which ends with it."""

    def __init__(self) -> None:
        self._running: list[Running] = []

    def start(self, peer: Peer, servers: Servers) -> Running:
        running = Running(peer, servers)
        self._running.append(running)
        return running

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *exc: object) -> None:
        for running in reversed(self._running):
            running.stop()
