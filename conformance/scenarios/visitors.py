"""Requests of web pages, which a browser sends for whoever looks at them: Origin and Host.

Rules:
- A page of another origin is told by `Origin`. One whose name was rebound to the proxy's address has the proxy's own,
  and is told by `Host` alone.
- A page knows no token: what the target file has clients send is left out where `Host` is looked at.
- That takes a proxy which only this machine reaches: elsewhere it may well go by names that nobody has told it.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#security-%26-endpoint
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

import httpx2

from conformance.client import ANSWER_WAIT, events, http_client
from conformance.session import Session
from conformance.verdict import Failure, NotApplicable
from conformance.wire import Message

ATTACKER = "attacker.example"
FORGED = {"Origin": f"https://{ATTACKER}"}
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
STREAM = {"Accept": "text/event-stream"}
SHOWN = 2000
"""Characters of a body that are in the wire log."""

CLOSED = 0
"""Instead of a status: the connection was closed without an answer."""

SERVED = "what a browser sends for the page of another site is served"
"""The cause that all failures here have where nothing is looked at."""


def foreign(url: str, *, origin: bool = True) -> dict[str, str]:
    """The headers of a page whose name was rebound to the address in a URL; a GET of one has no Origin."""
    host = f"{ATTACKER}:{urlsplit(url).port or 80}"
    return {"Host": host, **({"Origin": f"http://{host}"} if origin else {})}


def here(s: Session, url: str) -> None:
    """Only this machine reaches the target.

    Raises:
        NotApplicable: others do.
    """
    if s.stage.target.launch.in_container or not is_loopback(urlsplit(url).hostname or ""):
        raise NotApplicable("more than this machine reaches it, so that it cannot know by what names")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is always this machine's."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def visit(s: Session, verb: str, url: str, headers: Mapping[str, str], content: str = "") -> int:
    """Send an HTTP request with these headers and no others; the status of its answer, whose body is not read."""
    shown = [f"{verb} {url}", *(f"{key}: {value}" for key, value in headers.items()), content[:SHOWN]]
    s.run.wire.add("page", "sent", "\n".join(shown))
    status = CLOSED
    try:
        async with (
            http_client(timeout=s.world.patience.bound(ANSWER_WAIT)) as http,
            http.stream(verb, url, content=content, headers=dict(headers)) as response,
        ):
            status = response.status_code
    except (httpx2.TimeoutException, httpx2.ConnectError) as exc:
        raise Failure(f"{verb} {url} was not answered ({type(exc).__name__})") from None
    except httpx2.TransportError:
        pass
    s.run.wire.add("page", "received", f"HTTP {status}" if status else "closed without an answer")
    return status


def turned_away(s: Session, status: int, who: str) -> None:
    """It was: with a status that says so, or by closing the connection."""
    if status != CLOSED:
        at_fault(s, status, who, cause=SERVED)
    s.require(True, who)


def at_fault(s: Session, status: int, what: str, *, cause: str = "") -> None:
    """It was refused with a status that says that the fault is the sender's."""
    right = 400 <= status < 500
    s.require(right, f"{what} is not refused", "a status from 400 to 499", f"HTTP {status}", cause=cause)


@asynccontextmanager
async def connected(s: Session) -> AsyncGenerator[str, None]:
    """An SSE connection, as a client of the target opens it; yields where its messages are posted."""
    async with (
        http_client(timeout=s.world.patience.bound(ANSWER_WAIT)) as http,
        http.stream("GET", s.place.url, headers={**s.place.headers, **STREAM}) as response,
    ):
        stream = events(response)  # which closes the connection when nobody holds it any more
        kind, data = await anext(stream, ("no event", ""))
        if kind != "endpoint":
            raise Failure("the first event does not name the endpoint", "endpoint", kind)
        yield urljoin(s.place.url, data)
        await stream.aclose()


async def posted(s: Session, message: Message, headers: Callable[[str], Mapping[str, str]]) -> int:
    """Post a message on an SSE connection, with headers made for its URL; the status of the answer.

    Posted as a client does, it is accepted afterwards.
    """
    async with connected(s) as url:
        status = await visit(s, "POST", url, {**JSON, **headers(url)}, json.dumps(message))
        proper = await visit(s, "POST", url, {**JSON, **s.place.headers}, json.dumps(message))
    s.require(200 <= proper < 300, "a message of a client is not accepted", "HTTP 202", f"HTTP {proper}")
    return status
