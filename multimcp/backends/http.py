"""A backend over streamable HTTP, in either era.

Rules:
- Each message is a POST; a task of its own takes the answer, which is one JSON document or a stream of events.
- A stream that breaks off before the answer is resumed where the server gave ids (legacy); else its one request fails.
- The legacy GET stream, for what belongs to no call, is kept up and resumed; whatever it is refused with means that
  there is none.
- A server that cannot be reached, or has forgotten our session, ends the link: it is opened anew. That it has forgotten
  it says by a 404, or by an error and by refusing a ping as well; only of requests that carry the session.
- A call that is refused for its headers has not run: the tools are listed again, and it is made once more if that
  gives it others.
- Closing the response is how a modern request is cancelled; a legacy one by a notification.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus

import aiohttp

from multimcp.errors import BackendError, Fault
from multimcp.protocol.eras import GREETINGS, headers_for, passed_on
from multimcp.protocol.framing import Event, Events
from multimcp.protocol.greeting import tells_of_loss
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Link, Missed
from multimcp.protocol.message import HEADER_MISMATCH, Fields, Message, error_of, read, request
from multimcp.protocol.target import Stray

from .web import (
    CLOSE_TIMEOUT,
    FORGOTTEN,
    AnyResponse,
    WebWire,
    is_json,
    is_message,
    words_of,
)

RETRY = 1.0
"""Seconds before a stream is resumed, unless the server names another time; doubled as long as nothing comes, and kept
within `RETRY_BOUNDS`."""

RETRY_BOUNDS = (0.1, 30.0)
LINGER = 10.0
"""Seconds in which a server may end the stream of a legacy request that was given up."""

ANSWERED = 1.0
"""Seconds in which a server may end the stream of a request that it has answered."""

PING_TIMEOUT = 5.0
"""Seconds a server has to show that it knows our session."""

_PING = 1_000_000_000
"""The id of a ping: far from those that a link counts up to."""

_PING_SIZE = 1 << 14
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that may have a stream for us later."""

_ACCEPT_BOTH = "application/json, text/event-stream"
_ACCEPT_STREAM = "text/event-stream"
_SESSION = "Mcp-Session-Id"


class HttpWire(WebWire):
    """One server over streamable HTTP, for one link."""

    has_headers = True

    def __init__(self, link: Link, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        super().__init__(link, url, headers, limits)
        self._configured = headers
        self._session_id: str | None = None

    async def open(self) -> None:
        """Nothing has to be there before the first request."""

    # What a link writes

    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        if not self.has_room(number, len(data)):
            return
        headers = self._headers()
        if method in GREETINGS:
            headers |= self.greeting
        if self._link.era == "modern":
            headers |= headers_for(method, params, self.annotated)
            if (call := self._link.pending.get(number)) is not None and call.headers:
                headers |= passed_on(call.headers, headers, self._configured)
        self._start(number, partial(self._exchange, number, method, data, headers))

    def write(self, data: bytes) -> None:
        if self._link.era == "legacy":  # there are no notifications of clients in the modern era
            super().write(data)

    def cancel(self, number: int, data: bytes) -> None:
        task = self._by_number.pop(number, None)
        if self._link.era == "modern":
            if task is not None:
                task.cancel()
            return
        self.write(data)
        if task is not None:  # what it still says on that stream is read, and answered, for a while
            asyncio.get_running_loop().call_later(LINGER, task.cancel)

    def _headers(self, accept: str = _ACCEPT_BOTH) -> dict[str, str]:
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if self.version is not None:
            headers["MCP-Protocol-Version"] = self.version
        if self._session_id is not None:
            headers[_SESSION] = self._session_id
        return headers

    # POST

    async def _exchange(self, number: int, method: str, data: bytes, headers: dict[str, str]) -> Fault | None:
        """Send a request and take what comes back; returns its failure where no answer is in it."""
        if isinstance(response := await self._sent(number, headers, data), Fault):
            return response
        self.unreachable, self.words = None, ""
        self.status = response.status if response.status >= 300 else None
        if method == "initialize":
            self._session_id = response.headers.get(_SESSION)
        may_be_lost = _SESSION in headers and self._link.is_first_try(number)
        async with response:
            if _is_stream(response):
                said = await self._stream(response, number, may_be_lost)
            else:
                said = await self._read(response)
        if may_be_lost and await self._is_forgotten(response.status, said):
            self._session_id = None
            self._lose(FORGOTTEN, number, data)
        elif is_json(said):
            if response.status == HTTPStatus.BAD_REQUEST and method == "tools/call" and (problem := _mismatch(said)):
                self._link.put_back(number, data, headers, problem)
            self._link.receive(said, number)
        if number not in self._link.pending:
            return None
        if response.status >= 300 or said.strip():
            return self._refused(response.status, words_of(response.content_type, said))
        return self._fault("ended its response without an answer")

    async def _is_forgotten(self, status: int, said: bytes) -> bool:
        """Whether this answer to a request in our session means that the server does not know it any more.

        Where something else may be meant, a ping tells: a tool may have sessions of its own.
        """
        loss = tells_of_loss(status, said)
        return loss == "sure" or (loss == "perhaps" and not await self._is_known())

    async def _is_known(self) -> bool:
        """Whether the server answers a ping in our session; one that has no time for that may know it all the same."""
        said = b""
        if self._session_id is None:  # another request has found out by now
            return False
        try:
            async with await self._ask("POST", self._headers(), request(_PING, "ping"), PING_TIMEOUT) as response:
                while len(said) < _PING_SIZE and not (b'"result"' in said or b'"error"' in said):
                    if not (piece := await response.content.readany()):
                        break
                    said += piece
                return b'"result"' in said or (b'"error"' in said and tells_of_loss(response.status, said) == "no")
        except TimeoutError:
            return True
        except (Stray, BackendError, aiohttp.ClientError, OSError, ValueError):
            return False

    # Event streams

    async def _stream(self, response: AnyResponse, number: int, may_be_lost: bool) -> bytes:
        """Take the events of a response, until its request is answered or the server does not resume it.

        Returns an answer that may say that our session is forgotten, which is not handed on.
        """
        events = Events(self._limit)
        doubtful, tries = await self._take(events, response, number, may_be_lost=may_be_lost), 0
        while not doubtful and number in self._link.pending and events.last_id and self._link.era == "legacy":
            self._link.broken_off(number)
            await asyncio.sleep(_pause(events, tries))
            async with await self._ask("GET", self._stream_headers(events)) as resumed:
                if not _is_stream(resumed):
                    break
                await self._take(events, resumed, number, is_resumed=True)
                tries = 0 if events.has_begun else tries + 1
        return doubtful

    async def _take(
        self,
        events: Events,
        response: AnyResponse,
        number: int | None,
        *,
        may_be_lost: bool = False,
        is_resumed: bool = False,
    ) -> bytes:
        """Hand on the messages of a stream until it ends; or until a doubtful one, which is returned."""
        leave: asyncio.TimerHandle | None = None
        events.begin()
        try:
            async for event in self._events(events, response):
                if may_be_lost and tells_of_loss(response.status, event.data) != "no":
                    return event.data if isinstance(event.data, bytes) else b""
                self._event(event, number, is_resumed)
                if number is not None and number not in self._link.pending and leave is None:
                    # Some servers leave the stream open then.
                    leave = asyncio.get_running_loop().call_later(ANSWERED, response.release)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            if events.last_id is None and number is not None:
                raise
        finally:
            if leave is not None:
                leave.cancel()
        return b""

    def _event(self, event: Event, number: int | None, is_resumed: bool) -> None:
        if is_message(event):
            if number is not None:
                self._unheard.discard(number)
            self._link.receive(event.data, number, by_id=is_resumed)

    def _stream_headers(self, events: Events) -> dict[str, str]:
        headers = self._headers(_ACCEPT_STREAM)
        return headers if events.last_id is None else headers | {"Last-Event-ID": events.last_id}

    def listen(self) -> None:
        """Open the stream for what belongs to no call, and keep it up."""
        self.has_stream = False
        self._tasks.start(self._listen())

    async def _listen(self) -> None:
        events, tries, was_open = Events(self._limit), 0, False
        while self._link.state == "open":
            try:
                async with await self._ask("GET", self._stream_headers(events)) as response:
                    if _is_stream(response) and response.status == HTTPStatus.OK:
                        if was_open and events.last_id is None:
                            self._link.emit(Missed())
                        was_open = self.has_stream = True
                        await self._take(events, response, None)
                        tries = 0 if events.has_begun else tries + 1
                    elif response.status in _PASSING:
                        tries += 1
                    else:
                        break
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                self._unsent(None, b"", exc)
            except (Stray, BackendError):
                break
            self.has_stream = False
            await asyncio.sleep(_pause(events, tries))
        if was_open and self._session_id is not None and not await self._is_known():
            self._lose(FORGOTTEN)

    # The end

    async def _goodbye(self) -> None:
        headers = self._headers()
        if self._session_id is not None:
            self._session_id = None
            with suppress(Stray, BackendError, aiohttp.ClientError, OSError, ValueError):
                (await self._ask("DELETE", headers, seconds=CLOSE_TIMEOUT)).release()


def _mismatch(said: bytes) -> Message | None:
    """The answer in a body, if it says that headers and body of a request do not agree."""
    with suppress(Fault):
        if (error := error_of(answer := read(said))) is not None and error.code == HEADER_MISMATCH:
            return answer
    return None


def _is_stream(response: AnyResponse) -> bool:
    return response.content_type == "text/event-stream"


def _pause(events: Events, tries: int) -> float:
    """Seconds before a stream is resumed that brought nothing so many times."""
    first = max(RETRY if events.retry is None else events.retry, RETRY_BOUNDS[0])
    return min(first * (1 << min(tries, 10)), RETRY_BOUNDS[1])
