"""How bytes get to a backend and back: what all transports have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from multimcp.protocol.eras import ParamHeaders
from multimcp.protocol.limits import Limits
from multimcp.protocol.link import Link
from multimcp.protocol.message import Fields


class Wire(ABC):
    """The transport of one link. What comes from the backend goes to `Link.receive`.

    Attributes:
        status: the HTTP status that the last request was refused with; None while none was.
        words: what else there is to say of that status, for the end of a sentence.
        unreachable: why the last request could not be sent; None if it was.
        version: the negotiated legacy revision, where later messages have to name it.
        annotated: the headers that tools want their arguments repeated in, by tool, where there are headers.
        greeting: HTTP headers that go with a greeting, where there are headers.
        clean: makes what others say fit to be shown.
        has_stream: whether the backend can send what belongs to no call.
        has_headers: whether arguments are repeated in headers.
    """

    has_headers = False
    _waiting = 0

    def __init__(self, link: Link, limits: Limits) -> None:
        self._limits = limits
        self.status: int | None = None
        self.words = ""
        self.unreachable: str | None = None
        self.version: str | None = None
        self.annotated: Mapping[str, ParamHeaders] = {}
        self.greeting: Mapping[str, str] = {}
        self.clean: Callable[[str], str] = str
        self.has_stream = True
        self._link = link

    @abstractmethod
    async def open(self) -> None:
        """Get ready to write.

        Raises:
            BackendError, OSError, ValueError: the backend's, or its operator's.
        """

    def has_room(self, number: int, size: int) -> bool:
        """Whether so many more bytes may wait for the server; if not, the request fails."""
        if self._waiting and self._waiting + size > self._limits.unread:
            self._link.refuse(number, f"does not read what is sent to it: {self._waiting:,} bytes wait (--max-unread)")
            return False
        return True

    @abstractmethod
    def request(self, number: int, method: str, params: Fields, data: bytes) -> None:
        """Send a request; does not wait."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send a notification or an answer; does not wait."""

    @abstractmethod
    def cancel(self, number: int, data: bytes) -> None:
        """Take back a request; `data` is the notification that says so, where that is the way."""

    async def send(self, data: bytes) -> None:
        """Send a notification; returns when what is sent next cannot overtake it."""
        self.write(data)

    def listen(self) -> None:  # noqa: B027 - for most there is nothing to do
        """Open the stream for what belongs to no call, where that is one of its own."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection; when this returns nothing of it is left."""
