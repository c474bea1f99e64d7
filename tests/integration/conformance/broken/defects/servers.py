"""Servers as they are: proxies that get along only with those that do everything right."""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, ClassVar

from tests.integration.conformance.broken.breaking import breaks
from tests.integration.conformance.broken.defects.isolation import StaysDown
from tests.integration.conformance.broken.mux import (
    INTERNAL_ERROR,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
)


@breaks("servers:redirect:followed", symptom="a server that redirects with 307 within its origin", over="web")
class StaysAtTheDoor(Mux):
    """A redirect is not followed."""

    def follows(self, here: str, there: str) -> bool:
        return False


@breaks("servers:redirect:elsewhere", symptom="another origin was sent the session id", over="web")
class FollowsAnywhere(Mux):
    """A redirect is followed wherever it leads, with all headers."""

    def follows(self, here: str, there: str) -> bool:
        return True


@breaks("servers:status:unknown-method", symptom="an error that came with status 404 is another one", over="web")
class TakesMethodForPage(Mux):
    """Whatever else is in it, a response of status 404 says that the page is not found."""

    def refused(self, backend: Backend, status: int, error: Message | None) -> Message:
        return super().refused(backend, status, None if status == 404 else error)


@breaks("servers:status:error", symptom="an error that came with status 500 is another one", over="web")
class ReadsNoFailure(Mux):
    """What a server that failed says of it is not read."""

    def refused(self, backend: Backend, status: int, error: Message | None) -> Message:
        return super().refused(backend, status, None if status >= 500 else error)


@breaks("servers:session:lost", symptom="a server that has forgotten the session cannot be used again", over="web")
class InsistsOnSession(Mux):
    """A session that the server has forgotten is kept."""

    def forgotten(self, backend: Backend) -> None:
        """Nothing follows from it."""


class NeedsStream(Mux):
    """A server is given up when it has no stream, for some of the ways to say so."""

    reasons: tuple[int, ...]

    def unheard(self, backend: Backend, status: int) -> None:
        if status in self.reasons:
            backend.entry = {**backend.entry, "url": "http://127.0.0.1:9/"}  # where nobody listens
            backend.came(None)  # type: ignore[attr-defined]  # only one over HTTP can have a stream


@breaks("servers:listening:refused", symptom="'deaf', which refuses a GET, cannot be used", over="web")
class NeedsAnyStream(NeedsStream):
    """A server that has no stream to listen to is given up."""

    reasons = (405,)


@breaks("servers:listening:refused-otherwise", symptom="'missing', which refuses a GET, cannot be used", over="web")
class TakesStreamForServer(NeedsStream):
    """A server that answers 404 where its stream could be is given up."""

    reasons = (404,)


@breaks("servers:listening:again", symptom="a new stream did not happen at the backend", over="web")
class ListensOnce(Mux):
    """A stream that ended is not asked for again."""

    comes_back = False


class Keeps(Mux):
    """A list is read again when the server says that it changed, and then only."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stale: set[Backend] = set()

    def heard(self, backend: Backend, message: Message) -> None:
        if str(message.get("method")).endswith("list_changed"):
            self.stale.add(backend)
        super().heard(backend, message)

    async def learn(self, backend: Backend, method: str, call: Call) -> None:
        if (backend, method) not in self.lists or backend in self.stale:
            self.stale.discard(backend)
            await super().learn(backend, method, call)


@breaks("servers:listening:missed", symptom="a tool that was added meanwhile is not listed", over="web")
class MissesWhatItDidNotHear(Keeps):
    """What happened while there was no stream is not asked for."""

    def back(self, backend: Backend) -> None:
        """Nothing follows from it."""


@breaks("servers:connection:again", symptom="a server whose connection ended cannot be used again", over="sse")
class ConnectsOnce(StaysDown):
    """A server whose connection has ended is not connected to again."""


@breaks("servers:stream:spelled", symptom="written with CRLF, an answer is lost", over="web")
class KnowsOneLineEnd(Mux):
    """The events of a stream are what is between two line feeds."""

    async def events(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, bytes]]:
        async def without(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
            async for piece in pieces:
                yield piece.replace(b"\r\n\r\n", b"")

        async for event in super().events(without(pieces)):
            yield event


@breaks("servers:stream:lines", symptom="written with in pieces, an answer is lost")
class TakesPiecesForLines(Mux):
    """What can be read at once is taken for whole lines."""

    async def lines(self, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
        while piece := await stream.read(2**20):
            for line in piece.splitlines():
                yield line


@breaks("servers:batch:taken", symptom="an answer in a batch did not reach its client", over="web")
class TakesNoBatchOfServers(Mux):
    """A batch of a server is no message."""

    def unpack(self, message: object) -> list[Message]:
        return [] if isinstance(message, list) else super().unpack(message)


@breaks("servers:list:failed-once", symptom="the tools of a server whose list failed once are not offered")
class ReadsListsOnce(Keeps):
    """A list that could not be read stays empty until the server says that it changed."""


@breaks("servers:list:unusable", symptom="tools beside one that is none are not offered")
class RefusesWholeLists(Mux):
    """A list with one entry that cannot be used is of no use."""

    def usable(self, method: str, entry: object) -> bool:
        if not super().usable(method, entry):
            raise Failure(INTERNAL_ERROR, "the list is not valid")
        return True


@breaks("servers:list:schema", symptom="what is listed is no tool")
class ListsWhatIsNoTool(Mux):
    """A tool without a schema is listed as it is."""

    def usable(self, method: str, entry: object) -> bool:
        return isinstance(entry, dict) and super().usable(method, {**entry, "inputSchema": {}})


@breaks("servers:question:early", symptom="roots/list right after the handshake is not answered")
class HearsNothingAtFirst(Mux):
    """A question that comes before any call has been answered is nobody's."""

    called = False

    def finish(self, call: Call, result: Message) -> Message:
        self.called = self.called or call.method == "tools/call"
        return result

    def heard(self, backend: Backend, message: Message) -> None:
        if self.called or message.get("method") != "roots/list":
            super().heard(backend, message)


@breaks("servers:question:ping", symptom="ping right after the handshake is not answered")
class IgnoresPings(Mux):
    """Pings of servers are dropped."""

    def heard(self, backend: Backend, message: Message) -> None:
        if message.get("method") != "ping":
            super().heard(backend, message)


@breaks("servers:question:undeclared", symptom="a server that asks right after the handshake does not serve")
class EndsWithQuestions(Mux):
    """A question that it has no answer for ends the connection to the server, for good."""

    ended: ClassVar[set[str]] = set()

    def heard(self, backend: Backend, message: Message) -> None:
        if message.get("method") == "elicitation/create":
            self.ended.add(backend.name)
        if backend.name not in self.ended:
            super().heard(backend, message)


@breaks("servers:environment:configured", symptom="a variable that the configuration sets did not reach the server")
class ForgetsEnvironment(Mux):
    """What the configuration sets in a server's environment is left out."""

    def environment(self, entry: Mapping[str, Any]) -> dict[str, str]:
        return super().environment({})


@breaks("servers:environment:private", symptom="a variable of the proxy's own environment reached a server")
class SharesEnvironment(Mux):
    """Servers have all of its environment."""

    def environment(self, entry: Mapping[str, Any]) -> dict[str, str]:
        return {**os.environ, **super().environment(entry)}


@breaks("servers:headers:configured", symptom="no header that the configuration sets reached the server", over="web")
class ForgetsHeaders(Mux):
    """What the configuration sets in requests' headers is left out."""

    def headers(self, entry: Mapping[str, Any]) -> dict[str, str]:
        return {}


@breaks("servers:stderr:flood", symptom="a server that writes much to stderr does not serve")
class LeavesStderrUnread(Mux):
    """What a server says on stderr is not read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unread, self.stderr = os.pipe()
