"""Clients from clients, and servers from servers: proxies that break what is required of them."""

import asyncio
from typing import Any, ClassVar

from tests.integration.conformance.broken.breaking import Gossip, breaks
from tests.integration.conformance.broken.mux import (
    CONNECTION_LOST,
    INTERNAL_ERROR,
    Backend,
    Call,
    Failure,
    Id,
    Message,
    Mux,
)


@breaks("isolation:clients:same-ids", symptom="differs from a direct connection", over="sse")
class OneTableOfIds(Mux):
    """Clients share a table of requests: of two that use the same id, the one who asked first gets the first answer."""

    table: ClassVar[dict[Id, list[Mux]]] = {}

    async def answer(self, call: Call) -> Message:
        self.table.setdefault(call.id, []).append(self)
        try:
            return await super().answer(call)
        except asyncio.CancelledError:
            self.table[call.id].remove(self)
            raise

    def send(self, message: Message) -> None:
        waiting = self.table.get(message.get("id", 0)) if "method" not in message else None
        Mux.send(waiting.pop(0) if waiting else self, message)


@breaks("isolation:clients:results", over="sse", symptom="differs from a direct connection")
class SharedCache(Mux):
    """A tool's last result is kept, and given to any other client that calls the tool."""

    cache: ClassVar[dict[str, tuple[Mux, Message]]] = {}

    def finish(self, call: Call, result: Message) -> Message:
        if call.method == "tools/call":
            owner, kept = self.cache.setdefault(call.params["name"], (self, result))
            if owner is not self:
                return kept
            self.cache[call.params["name"]] = self, result
        return result


@breaks("isolation:clients:progress", over="sse", symptom='- "of others": []')
class TellsEverybody(Gossip):
    """Updates go to all clients."""

    def heard(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "notifications/progress":
            for other in self.others:
                other.send(message)
        super().heard(backend, message)


@breaks("isolation:backends:crash-call", symptom="the call whose backend died got no error")
class ExcusesCrash(Mux):
    """A call whose server crashes has an empty result."""

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        try:
            return await super().exchange(call, backend, method, params, id)
        except Failure as failure:
            if method == "tools/call" and failure.error["code"] == CONNECTION_LOST:
                return self.complete({"content": []})
            raise


@breaks("isolation:backends:crash-others", symptom="the connection to slow is lost")
class CrashSpreads(Mux):
    """When a server crashes, calls in flight at the others fail as well."""

    def lost(self, backend: Backend) -> None:
        for other in self.backends.values():
            other.fail_all()


@breaks("isolation:backends:crash-recovers", symptom="the server that crashed is not started again")
class StaysDown(Mux):
    """A server that has crashed is not started again."""

    async def ask(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        if backend.hello is not None and not backend.alive:
            raise Failure(CONNECTION_LOST, f"the connection to {backend.name} is lost")
        return await super().ask(call, backend, method, params, id)


@breaks("isolation:backends:crash-restarts", symptom="the server that crashed is not started again")
class StaysDownToo(StaysDown):
    """A server that has crashed is not started again, and the clients' sessions go on."""


@breaks("isolation:calls:behind-own", symptom="a call at the same server is not answered while one of the same client")
class CallsInTurn(Mux):
    """A client's calls are made one after the other."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.turn = asyncio.Lock()

    async def answer(self, call: Call) -> Message:
        if call.method != "tools/call":
            return await super().answer(call)
        async with self.turn:
            return await super().answer(call)


@breaks(
    "isolation:calls:behind-others",
    symptom="a call at the same server is not answered while one of another client",
    over="sse",
)
class ClientsInTurn(Mux):
    """The calls of all clients are made one after the other, but for those of one client."""

    turn: ClassVar[asyncio.Lock] = asyncio.Lock()
    working: ClassVar[dict[Mux, int]] = {}

    async def answer(self, call: Call) -> Message:
        if call.method != "tools/call":
            return await super().answer(call)
        first = not self.working.get(self)
        self.working[self] = self.working.get(self, 0) + 1
        try:
            if first:
                await self.turn.acquire()
            return await super().answer(call)
        finally:
            self.working[self] -= 1
            if not self.working[self]:
                self.turn.release()


@breaks("isolation:backends:start-failure", symptom="failing cannot be started")
class AllOrNothing(Mux):
    """One server that does not start is the end of all."""

    async def ready(self, feature: str | None = None) -> list[Backend]:
        backends = await super().ready(feature)
        for backend in self.backends.values():
            if not backend.up:
                raise Failure(INTERNAL_ERROR, f"{backend.name} cannot be started")
        return backends


@breaks("isolation:backends:slow-start", symptom="the other server was served only after the slow one")
class WaitsForSlowest(Mux):
    """All wait for the server that is slowest to start."""

    grace = open_wait = 60.0


@breaks("isolation:backends:hang-initialize", symptom="initialize got no response")
class WaitsForever(Mux):
    """All wait for a server that never starts."""

    grace = open_wait = 3600.0


@breaks("isolation:backends:hang-list", symptom="the tools of the other server are not listed")
class WaitsForLists(Mux):
    """All wait for a list that never comes."""

    list_wait = 3600.0


@breaks("isolation:backends:notices", symptom="tools/call got no response")
class ChokesOnNotices(Mux):
    """A server that tells of a change is not heard any more."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.choked: set[Backend] = set()

    def heard(self, backend: Backend, message: Message) -> None:
        if message.get("method", "").endswith("/list_changed"):
            self.choked.add(backend)
        if backend not in self.choked:
            super().heard(backend, message)


@breaks("isolation:backends:hang-call", symptom="got no response")
class OneCallAtATime(Mux):
    """While one server works on a call, the others are not called."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.working: dict[Backend, int] = {}
        self.changed = asyncio.Condition()

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        if method != "tools/call":
            return await super().exchange(call, backend, method, params, id)
        async with self.changed:
            await self.changed.wait_for(lambda: self.working.keys() <= {backend})
            self.working[backend] = self.working.get(backend, 0) + 1
        try:
            return await super().exchange(call, backend, method, params, id)
        finally:
            async with self.changed:
                self.working[backend] -= 1
                if not self.working[backend]:
                    del self.working[backend]
                self.changed.notify_all()


@breaks("isolation:backends:garbage", symptom="the connection to mirror is lost")
class DropsTalkers(Mux):
    """A server that writes what is no message is dropped."""

    def garbled(self, backend: Backend) -> None:
        backend.up = False
        backend.fail_all()
        self.spawn(backend.close())


@breaks("isolation:backends:malformed-result", symptom="a result that is no object did not become an error")
class PassesAnything(Mux):
    """A result that is no object is passed on."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if failure.error["message"].endswith("a result that is no object"):
                return []  # type: ignore[return-value]  # which is the point
            raise


@breaks("isolation:backends:stranger-id", symptom="the client got an answer that it did not ask for")
class PassesStrangers(Mux):
    """An answer that nobody asked for is passed on."""

    def heard(self, backend: Backend, message: Message) -> None:
        if "method" not in message and "id" in message and not backend.awaits(message["id"]):
            self.send(message)
        super().heard(backend, message)


@breaks("isolation:backends:respelled-id", symptom="tools/call got no response")
class ComparesIdsByType(Mux):
    """An answer whose id is spelled otherwise than it was asked under belongs to no call."""

    def heard(self, backend: Backend, message: Message) -> None:
        if "method" in message or isinstance(message.get("id"), int | str):
            super().heard(backend, message)


@breaks("isolation:backends:wrong-answer", symptom="tools/call got no response")
class DropsWhatIsNoResponse(Mux):
    """An answer that has neither a result nor an error is dropped, and its call waits for ever."""

    def heard(self, backend: Backend, message: Message) -> None:
        if {"method", "result", "error"} & message.keys():
            super().heard(backend, message)
