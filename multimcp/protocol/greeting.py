"""How a server is greeted: which transport and era is tried after which, what is asked, and what a failure means. Pure.

Rules:
- A greeting is a generator: it yields each request, and is sent its result or thrown its `Fault`.
- Over HTTP the modern era is tried first, as nothing has to be started for that; a modern error settles it, anything
  else leads to `initialize`; for a URL without a `type`, a 400, 404 or 405 to that leads to SSE.
- Over stdio it is `initialize` first, which every server but a modern-only one answers.

Spec: 2026-07-28, basic/versioning#backward-compatibility
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from msgspec import Raw

from multimcp.errors import BackendError, ChainError, Fault

from .chain import is_refusal, read_behind
from .eras import CHAIN_KEY, LATEST_LEGACY, LEGACY_VERSIONS, MODERN_ERRORS, MODERN_VERSIONS, SERVER_KEY
from .extensions import OURS, declared
from .framing import Oversized
from .message import METHOD_NOT_FOUND, UNSUPPORTED_VERSION, Era, Fields, fields, pack, text, value

Transport = Literal["stdio", "http", "sse"]

UNREACHABLE = "; is it running, and is its URL right?"
NO_GREETING = "closed the connection during the handshake"

CAPABILITIES: Final = pack(
    {
        "sampling": {"context": {}, "tools": {}},
        "elicitation": {"form": {}, "url": {}},
        "roots": {"listChanged": True},
        "extensions": OURS,
    }
)
"""Declared on shared legacy connections, which open before any client is known. Each question is checked against the
client it is meant for (`calls.check_ability`)."""


class Unreachable(BackendError):
    """Nobody answers at the backend's URL, in any era."""


class Refused(BackendError):
    """A backend refuses the handshake; `status` is of HTTP, `code` of the JSON-RPC error."""

    def __init__(self, message: str, status: int | None, code: int) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


# Which way


@dataclass(frozen=True)
class Way:
    """A transport, and the era to speak; None is legacy where the server knows `initialize`, else modern."""

    transport: Transport
    era: Era | None


WAYS: Final[Mapping[str, tuple[Way, ...]]] = {
    "stdio": (Way("stdio", None),),
    "sse": (Way("sse", None),),
    "http": (Way("http", "modern"), Way("http", "legacy")),
    "a URL": (Way("http", "modern"), Way("http", "legacy"), Way("sse", "legacy")),
}
"""What is tried, one after the other, by what the configuration names."""

_NO_STREAMABLE_HTTP = frozenset({400, 404, 405})


def leads_on(way: Way, problem: BackendError) -> bool:
    """Whether the next way may succeed where this one ended with a problem."""
    if isinstance(problem, Unreachable | ChainError):
        return False
    if way.era == "modern":
        return not (isinstance(problem, Refused) and problem.code in MODERN_ERRORS)
    return isinstance(problem, Refused) and problem.status in _NO_STREAMABLE_HTTP


def telling(way: Way, before: BackendError | None, problem: BackendError) -> BackendError:
    """Which of two problems says more: that SSE, tried last, failed as well is no news."""
    return problem if before is None or way.transport != "sse" else before


# What is asked


@dataclass(frozen=True)
class Ask:
    """A request of a greeting, and the era in which it is spoken."""

    era: Era
    method: str
    params: Fields


@dataclass(frozen=True)
class Hello:
    """What a server said when it was greeted; `behind` are the Multi-MCPs behind it, by distance.

    `problems` are what clients cannot be told of it.
    """

    version: str
    capabilities: Fields
    instructions: str | None
    info: Any
    behind: Mapping[str, int]
    extensions: Fields
    problems: tuple[str, ...]

    @classmethod
    def of(cls, version: str, hello: Fields, info: Raw | None) -> "Hello":
        """Read it from the result of a greeting; `info` is how the server calls itself."""
        found = value(info)
        capabilities = fields(hello.get("capabilities"))
        extensions, problems = declared(capabilities)
        capabilities.pop("extensions", None)
        return cls(
            version,
            capabilities,
            text(hello.get("instructions")),
            found if isinstance(found, dict) else None,
            behind_of(hello) or {},
            extensions,
            tuple(problems),
        )


Greeting = Generator[Ask, Fields, Hello]


def behind_of(result: Fields) -> dict[str, int] | None:
    """Which Multi-MCPs are behind a server, by distance, as its result says; None if it says nothing."""
    return read_behind(value(fields(result.get("_meta")).get(CHAIN_KEY)))


def greet(era: Era | None, capabilities: Raw, implementation: Raw) -> Greeting:
    """Greet a server.

    Args:
        era: the one to speak; None is legacy where the server knows `initialize`, else modern.
        capabilities: what the clients behind us can do.
        implementation: how we introduce ourselves.

    Raises:
        Fault: the error that the server refused with.
        BackendError: the server's: it speaks none of our revisions.
    """
    if era == "modern":
        return (yield from _discover())
    try:
        return (yield from _initialize(capabilities, implementation))
    except Fault as fault:
        if era == "legacy" or is_refusal(_plain(fault.data)):
            raise
        try:  # a modern-only server refuses `initialize`, and has nothing against another question
            return (yield from _discover())
        except Fault:
            raise fault from None


def _initialize(capabilities: Raw, implementation: Raw) -> Greeting:
    params = {
        "protocolVersion": pack(LATEST_LEGACY),
        "capabilities": capabilities,
        "clientInfo": implementation,
    }
    hello = yield Ask("legacy", "initialize", params)
    version = value(hello.get("protocolVersion"))
    if version not in LEGACY_VERSIONS:
        raise BackendError(f"speaks protocol revision {version!r}, which Multi-MCP does not")
    return Hello.of(version, hello, hello.get("serverInfo"))


def _discover() -> Greeting:
    try:
        hello = yield Ask("modern", "server/discover", {})
    except Fault as fault:
        if fault.code != UNSUPPORTED_VERSION:
            raise
        listed = value(fields(fault.data).get("supported")) if isinstance(fault.data, Raw) else None
        names = set(map(str, listed)) if isinstance(listed, list) else set()
        if names <= set(LEGACY_VERSIONS):  # it knows the error, and yet no revision that has it
            raise Fault(METHOD_NOT_FOUND, fault.message, fault.data) from None
        if MODERN_VERSIONS[-1] not in names:
            raise
        hello = yield Ask("modern", "server/discover", {})  # by its own word it supports what it refused
    supported = value(hello.get("supportedVersions"))
    mutual = [version for version in MODERN_VERSIONS if isinstance(supported, list) and version in supported]
    if not mutual:
        raise BackendError(f"speaks protocol revisions {supported!r}, none of which Multi-MCP does")
    return Hello.of(mutual[-1], hello, fields(hello.get("_meta")).get(SERVER_KEY))


def _plain(data: object) -> object:
    return value(data) if isinstance(data, Raw) else data


# What a failure means

_GONE = (
    "not found|not find|unknown|invalid|expired|no valid|missing|no such|not exist|n't exist|no longer|terminated"
    "|closed|ended|unrecogni[sz]ed|not recogni[sz]ed|required|no active|inactive|lost"
)
_SESSION_GONE = re.compile(f"(?is)session.{{0,200}}?({_GONE})|({_GONE}).{{0,40}}session".encode())
_WHO = rb'(?:server|session|client|connection|transport)\W+|[":.(] ?'
"""Who is not initialized, if that means us: a tool's browser, say, is another matter."""
_NOT_GREETED = re.compile(
    rb"(?i)(?:%b)(?:is |was |has )?(?:not|un)[- ]?(?:yet )?(?:been )?initiali[sz]ed" % _WHO
    + rb"|before initiali[sz]ation|no transport found"
)
_OF_THE_REQUEST = re.compile(rb'"code"\s*:\s*-3260[12]\b')
_NOTICE = 4096


def tells_of_loss(status: int, said: bytes | Oversized) -> Literal["sure", "perhaps", "no"]:
    """Whether an answer to a request that named our session means that the server does not know it (any more).

    A 404 does, and what else a server says of having to be greeted; a line for the log, or what is said of something
    else, does not. Perhaps means that it may speak of the request, or of a session that its tools have.
    """
    if isinstance(said, Oversized) or len(said) > _NOTICE:
        return "sure" if status == HTTPStatus.NOT_FOUND else "no"
    if status < HTTPStatus.BAD_REQUEST and not (b'"error"' in said and _may_refuse(said)):
        return "no"
    if _NOT_GREETED.search(said):
        return "sure"
    if status == HTTPStatus.NOT_FOUND:
        return "perhaps" if _OF_THE_REQUEST.search(said) else "sure"
    return "perhaps" if status == HTTPStatus.BAD_REQUEST or _SESSION_GONE.search(said) else "no"


def _may_refuse(said: bytes) -> bool:
    """Whether it may be an answer with an error: it may be torn, or stand in an event."""
    members = fields(Raw(said))
    if not members:
        return b'"error"' in said and b'"result"' not in said
    return "error" in members and not {"result", "method"} & members.keys()


def refusal(
    fault: Fault,
    url: str | None,
    transport: Transport,
    *,
    is_lost: bool,
    unreachable: str | None,
    status: int | None,
    words: str,
    is_ours: bool,
) -> BackendError:
    """What to say of a greeting that failed, and what kind of failure it is.

    Args:
        fault: what it ended with.
        url: of the server, if it has one.
        transport: by which it was tried.
        is_lost: whether the connection is gone.
        unreachable: why the request could not be sent; None if it was.
        status: the HTTP status that it was refused with.
        words: what else there is to say of that, where no message came with it.
        is_ours: whether the fault is our own word rather than the server's.
    """
    if is_refusal(_plain(fault.data)):
        return ChainError(fault.message)
    if unreachable is not None:
        return Unreachable(f"{url} cannot be reached ({unreachable}){UNREACHABLE}")
    if status is not None:
        said = words if is_ours else f": {fault.message}"
        return Refused(f"{url} answered {http_status(status)}{said}{remedy(status, transport)}", status, fault.code)
    if is_lost:
        return BackendError(NO_GREETING)
    return Refused(f"refused the handshake with error {fault.code}: {fault.message}", None, fault.code)


_REMEDIES = {
    401: 'give the key that it wants in "headers"',
    403: 'check the key in its "headers", and whether it may be used from here',
    404: "check the path of its URL: most servers are at /mcp or /sse",
}
_OTHER_TRANSPORT: Final[Mapping[Transport, str]] = {
    "http": 'if it is a server of the older HTTP with SSE, use "type": "sse"',
    "sse": 'if it is a server over streamable HTTP, use "type": "http"',
}
_NOT_THIS_TRANSPORT = frozenset({400, 404, 405, 406, 415})


def remedy(status: int, transport: Transport) -> str:
    """What to do about a server that answers with this status over a transport, for the end of a sentence."""
    advice = [_REMEDIES[status]] if status in _REMEDIES else []
    if status in _NOT_THIS_TRANSPORT:
        advice = [*(advice or ["check its URL"]), _OTHER_TRANSPORT[transport]]
    return "".join(f"; {each}" for each in advice)


def http_status(status: int) -> str:
    """`HTTP 404 Not Found`, for people."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
