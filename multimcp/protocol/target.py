"""Where a server's URL leads: whom to ask and as whom, through which proxy, and where a redirect may lead. Pure.

Rules:
- User and password of a URL go into a header (Basic); they are in no URL that is asked for or shown.
- `unix:///run/mcp.sock:/mcp` is the path `/mcp` at the server behind a Unix socket.
- A redirect is followed within the server's origin, or from http to https of its host, so that its headers go nowhere
  else; and only where the request stays what it is: a POST by 307 and 308.
- The way out is what `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` name, lower case first; not to this machine, nor to
  what `NO_PROXY` lists: hosts with all below them, addresses, networks (`10.0.0.0/8`), each with a port if need be.

Specs: RFC 9110 (15.4, redirection), RFC 7617 (Basic)
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""The statuses that name another place to ask at."""

_SAME_REQUEST = frozenset({307, 308})
_PORTS = {"http": 80, "https": 443}
_UNIX = "unix://"


class Stray(Exception):
    """A redirect that is not followed; `text` is the end of the sentence "it answered HTTP 307 ..."."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Target:
    """A server to ask.

    Attributes:
        url: what is asked for, without user, password and fragment.
        authorization: the header that says who asks, where the URL does.
        socket: the path of the Unix socket that it is reached by.
    """

    url: str
    authorization: str | None = None
    socket: str | None = None

    @classmethod
    def of(cls, url: str) -> "Target":
        """Take apart a URL of the configuration, which has checked it."""
        if url.startswith(_UNIX):
            socket, _, path = url.removeprefix(_UNIX).partition(":/")
            return cls(f"http://localhost/{path or 'mcp'}", None, socket)
        parts = urlsplit(url)
        who = None
        if parts.username or parts.password:
            named = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            who = "Basic " + b64encode(named.encode()).decode()
        return cls(_bare(parts).geturl(), who)


def _bare(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def follow(url: str, method: str, status: int, location: str | None) -> str:
    """Where to ask next, after a redirect.

    Raises:
        Stray: the server's, or its operator's: it leads where it is not followed to.
    """
    try:
        there = _bare(urlsplit(urljoin(url, (location or "").strip())))
        here, origin = _origin(urlsplit(url)), _origin(there)
    except ValueError:
        raise Stray(status, " to what is no URL") from None
    shown = there._replace(query="").geturl()
    if not location:
        raise Stray(status, " without saying where to")
    is_secured = here[0] == "http" and origin[:2] == ("https", here[1])
    if origin != here and not is_secured:
        raise Stray(
            status,
            f" to {shown}, which is another origin: it is not followed, as what is in the headers would go there; "
            'if it is right, give it as "url"',
        )
    if method != "GET" and status not in _SAME_REQUEST:
        raise Stray(status, f' to {shown}, by which a {method} would become a GET; give that URL as "url"')
    return there.geturl()


# The way out


def way_out(url: str, environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy by which a server is reached; None: it is reached directly."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    proxy = _setting(f"{parts.scheme}_proxy", environ) or _setting("all_proxy", environ)
    if not proxy or _is_here(host) or _is_excepted(host, port, _setting("no_proxy", environ)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _setting(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name, environ.get(name.upper(), "")).strip()


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_excepted(host: str, port: int | None, listed: str) -> bool:
    for entry in re.split(r"[\s,]+", listed.lower()):
        name, _, only = entry.rpartition(":") if re.fullmatch(r"(\[.*\]|[^:]*):\d+", entry) else (entry, "", "")
        if name and (not only or int(only) == port) and _is_meant(host, name.strip("[]")):
            return True
    return False


def _is_meant(host: str, name: str) -> bool:
    if name == "*":
        return True
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        name = name.removeprefix("*").removeprefix(".")
        return host == name or host.endswith(f".{name}")
