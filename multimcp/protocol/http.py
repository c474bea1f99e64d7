"""What streamable HTTP says around a message: the head of a request, and why one is refused.

Rules:
- The checks of a request stand in tables, in the order in which they are made; the first that fails refuses it.
- `Accept` is read as HTTP has it: wildcards, qualities, several headers; one that is missing takes anything.
- A body has to come as it is: a compressed one is refused with 415, so that no message is larger than it came.
- The revision in `MCP-Protocol-Version` says the era; without it, it is legacy.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from multimcp.errors import Fault

from .calls import Origin
from .chain import HEADER
from .eras import LATEST_LEGACY, LEGACY_VERSIONS, MODERN_VERSIONS, VERSION_KEY, check_envelope, http_status, unsupported
from .message import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Era,
    Fields,
    Id,
    Message,
    opened,
    read,
    salvage,
)
from .names import Spelling, read_spelling, unknown_spelling

Headers = dict[bytes, bytes]
Header = tuple[bytes, bytes]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
_CHAIN: Final = HEADER.lower().encode()


def is_elsewhere(target: bytes, headers: Iterable[Header]) -> bool:
    """Whether the target of a request is a URL whose host is not the one that its Host header says."""
    if target.startswith(b"/") or target == b"*":
        return False
    scheme, _, rest = target.lower().partition(b"://")
    hosts = [content.lower() for name, content in headers if name == b"host"]
    return scheme not in (b"http", b"https") or [re.split(rb"[/?#]", rest, maxsplit=1)[0]] != hosts


class Refusal(Exception):
    """A request is refused with this status, this JSON-RPC error, under this id, and these headers."""

    def __init__(self, status: int, fault: Fault, number: Id | None = None, *headers: Header) -> None:
        super().__init__(fault.message)
        self.status, self.fault, self.number, self.headers = status, fault, number, headers


def refusal(status: int, text: str, *headers: Header) -> Refusal:
    """A refusal in words for the person who has to act."""
    return Refusal(status, Fault(INVALID_REQUEST, text), None, *headers)


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        twice: a header that must come once, and came twice.
        version: the revision that it names; empty if none.
        prefers_stream: whether an event stream is the best answer.
    """

    method: str
    headers: Headers
    twice: str
    version: str
    origin: Origin
    takes_json: bool
    takes_events: bool
    prefers_stream: bool

    @property
    def era(self) -> Era:
        """In which era the request is made."""
        return "modern" if self.version and self.version not in LEGACY_VERSIONS else "legacy"

    @property
    def is_resumable(self) -> bool:
        """Whether its client knows how to resume a stream."""
        return self.version == LATEST_LEGACY


def read_head(method: str, headers: Iterable[Header], query: bytes, key: bytes | None = None) -> Head:
    """Read the head of a request, and check what can be before its body is read; `key` has let it in.

    Raises:
        Refusal: the client's: it asks for what there is not.
    """
    found: Headers = {}
    twice = ""
    for name, content in headers:
        if name in found:
            if name in _ROUTING:
                twice = name.decode()
            elif name == b"accept":
                content = found[name] + b"," + content
        found[name] = content
    try:
        spelling = asked_spelling(query)
    except ValueError as exc:
        raise refusal(400, str(exc)) from None
    origin = Origin("http", spelling, found.get(_CHAIN, b"").decode("latin-1") or None, key)
    version = found.get(b"mcp-protocol-version", b"").decode("latin-1").strip()
    head = Head(method, found, twice, version, origin, *_taken(found.get(b"accept", b"").strip() or b"*/*"))
    checks = _CHECKS.get(method)
    if checks is None:
        raise refusal(405, "POST, GET and DELETE are understood here", (b"allow", b"GET, POST, DELETE"))
    for is_well, refused in checks:
        if not is_well(head):
            raise refused(head)
    return head


@lru_cache(maxsize=64)
def _taken(accept: bytes) -> tuple[bool, bool, bool]:
    """Whether JSON is taken, whether event streams are, and whether these are liked better."""
    json, events = (_liking(accept.decode("latin-1"), kind) for kind in (JSON, EVENTS))
    return json[0] > 0, events[0] > 0, events[0] > 0 and events > json


def _liking(accept: str, kind: str) -> tuple[float, int]:
    """How much a type is liked: its quality (0 is not at all), then its place. The range that fits best says so."""
    found: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(accept.lower().split(",")):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            found.setdefault(name, (float(quality), -place))
        except ValueError:
            found.setdefault(name, (1.0, -place))
    ranges = (kind, kind.partition("/")[0] + "/*", "*/*")
    return next((found[name] for name in ranges if name in found), (0.0, 0))


def _content_type(head: Head) -> bytes:
    return (head.headers.get(b"content-type") or JSON.encode()).split(b";")[0].strip().lower()


def _always(status: int, text: str, *headers: Header) -> Callable[[Head], Refusal]:
    return lambda head: refusal(status, text, *headers)


_Checks = tuple[tuple[Callable[[Head], bool], Callable[[Head], Refusal]], ...]

_LEGACY_ONLY: Final[_Checks] = (
    (
        lambda head: head.version not in MODERN_VERSIONS,
        _always(405, "this revision knows POST only", (b"allow", b"POST")),
    ),
    (lambda head: head.era == "legacy", lambda head: Refusal(400, unsupported(head.version))),
)
_CHECKS: Final[dict[str, _Checks]] = {
    "POST": (
        (
            lambda head: head.takes_json or head.takes_events,
            _always(406, "accept application/json and text/event-stream"),
        ),
        (lambda head: _content_type(head) == JSON.encode(), _always(415, "the Content-Type must be application/json")),
        (
            lambda head: head.headers.get(b"content-encoding", b"identity").lower() == b"identity",
            _always(415, "send the body as it is: no Content-Encoding is taken", (b"accept-encoding", b"identity")),
        ),
    ),
    "GET": (*_LEGACY_ONLY, (lambda head: head.takes_events, _always(406, "accept text/event-stream"))),
    "DELETE": _LEGACY_ONLY,
}
"""What a request has to be, by its HTTP method, and how it is refused where it is not."""


class Arrived(NamedTuple):
    """A message that came by POST; `meta` is None where it has none."""

    message: Message
    params: Fields
    meta: Fields | None

    @property
    def id(self) -> Id:
        """The id of a request."""
        number = self.message.id
        assert isinstance(number, int | float | str)
        return number


def read_post(head: Head, body: bytes) -> Arrived:
    """Read what was posted, and check it against the head.

    Raises:
        Refusal: the client's: it cannot be read, or does not agree with its head.
    """
    try:
        message = read(body, opens=True)
        params = opened(message.params)
        meta = opened(params.pop("_meta"), "_meta") if "_meta" in params else None
    except Fault as problem:
        raise _unreadable(body, problem) from None
    try:
        if head.era == "modern":
            _check_modern(head, message, params, meta)
    except Fault as problem:
        number = message.id if isinstance(message.id, int | float | str) else None
        raise Refusal(http_status(problem.code), problem, number) from None
    return Arrived(message, params, meta)


def _check_modern(head: Head, message: Message, params: Fields, meta: Fields | None) -> None:
    if message.is_answer:
        raise Fault(INVALID_REQUEST, "A client of this revision sends requests and notifications only")
    if not message.is_request:
        if head.version not in MODERN_VERSIONS:
            raise unsupported(head.version)
        return
    if head.twice:
        raise Fault(HEADER_MISMATCH, f"The {head.twice} header comes more than once")
    if head.version not in MODERN_VERSIONS and VERSION_KEY not in (meta or {}):
        raise unsupported(head.version)
    check_envelope(str(message.method), params, meta, head.headers)


def _unreadable(body: bytes, problem: Fault) -> Refusal:
    """Refuse a message that cannot be read, under its id if that can be found."""
    number: Id | None = None
    if (found := salvage(body)) is not None:
        number = found.id
    if problem.code not in (PARSE_ERROR, INVALID_PARAMS):
        problem = Fault(INVALID_REQUEST, problem.message)
    return Refusal(400, problem, number)


def asked_spelling(query: bytes) -> Spelling | None:
    """The spelling of names that the query of a request asks for (`?names=llm`), if it asks.

    Raises:
        ValueError: the client's: there is no such spelling; the text is for the client.
    """
    if b"names" not in query:
        return None
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("names")
    if asked is None:
        return None
    if (spelling := read_spelling(asked[-1])) is None:
        raise ValueError(unknown_spelling(asked[-1]))
    return spelling
