"""Who is let in over HTTP: Host, Origin and the API key.

Rules:
- Every request is looked at, whatever its path, before anything else sees it; health alone wants no key.
- A refusal has the form that the client reads: SDKs show their users the message of a JSON-RPC error, and of any other
  body only the status. Its `id` is null, as nothing that a stranger sends is read; SDKs look for no other.
- Pages of `--allowed-origin` may read what the MCP endpoints answer (CORS); the admin API is not for pages.
- A web page must not use the proxy of whoever looks at it (DNS rebinding): a request names a host that is ours, and
  one that a browser sends comes from a page that is. A rebound name is never an address: where others can connect,
  any address will do as Host.
- Keys are compared in constant time, each with all of them, and are in no answer, log line or error. They come from
  the environment or a file: what stands on a command line, every user of the machine can read.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#security--endpoint
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from secrets import compare_digest
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from multimcp.config import read_file
from multimcp.errors import ConfigError, printable, unreadable
from multimcp.protocol.limits import Seldom
from multimcp.protocol.message import INVALID_REQUEST

logger = logging.getLogger(__name__)

_KEY = "MULTI_MCP_API_KEY"
_KEY_FILE = "MULTI_MCP_API_KEY_FILE"

REMEDY = f"set {_KEY} or {_KEY_FILE}, or bind to 127.0.0.1 (--host)"
"""What is to be done where others can connect and there is no key."""

Network = IPv4Network | IPv6Network

_ANY = "*"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_WITHOUT_KEY = {"/healthz", "/readyz"}
_TAKE_MESSAGES = {"/mcp", "/sse", "/messages"}
"""Where clients send JSON-RPC; `/sse` takes none, but a client of streamable HTTP that was given its URL tries."""

_SHOW_PATHS = {"/", "/sse", "/sse/"}
"""Where an answer has paths of ours in it."""

_ONCE = frozenset(
    {
        *(b"host", b"origin", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"),
        *(b"mcp-session-id", b"last-event-id"),
    }
)
"""The headers that must not come twice: who is in front of us may go by the one, and we by the other."""

_HOST = re.compile(rb"(\[[^][\s/@]+\]|[^][\s/@?#:,\\]+)(:\d*)?")

_WELL_KNOWN = "/.well-known/"
"""Below the root, and below an endpoint, too: OAuth clients ask at both."""
_PORTS = {"http": 80, "https": 443}


class Keys:
    """The API keys, each of which lets in; with none (this is false then) none is wanted.

    Args:
        environ: MULTI_MCP_API_KEY has the keys, comma separated, or MULTI_MCP_API_KEY_FILE names a file with the same.
            An empty variable counts as not set.

    Attributes:
        file: where the keys stand, if that is a file.

    Raises:
        ConfigError: the operator's: both are set, or the keys cannot be read or sent, or there is none where some
            should be; no key is in the text.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        text, file = environ.get(_KEY), environ.get(_KEY_FILE)
        if text and file:
            raise ConfigError(f"{_KEY} and {_KEY_FILE} are both set; unset one")
        self.file = Path(file) if file else None
        self._keys = _parse(text, _KEY) if text else []
        self.read()

    def read(self) -> None:
        """Read the file again, where there is one.

        Raises:
            ConfigError: as on creation; the keys stay what they were.
        """
        if self.file is None:
            return
        place = f"{_KEY_FILE} ({self.file})"
        try:
            # What is no text cannot be sent either, and is refused as that.
            text = read_file(self.file, errors="replace")
        except ConfigError as exc:
            raise exc.at(f"{place}: ") from None
        except OSError as exc:
            raise ConfigError(f"{place}: {unreadable(exc, 'correct the path, or create it')}") from None
        keys = _parse(text, place)
        if self._keys and keys != self._keys:
            logger.info("%s: changed", place)
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def number(self, key: bytes | None) -> int:
        """Which of them this is, counted from 1, to tell them apart in a log; 0 if it is none."""
        return self._keys.index(key) + 1 if key in self._keys else 0

    def have(self, key: bytes) -> bool:
        """Whether this is one of them. How long that takes does not tell how much of it is right."""
        return True in [compare_digest(key, known) for known in self._keys]


def _parse(text: str, place: str) -> list[bytes]:
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if not keys:
        raise ConfigError(f"{place}: has no key in it; write one there, or several with commas between them")
    for number, key in enumerate(keys, 1):
        if not re.fullmatch(r"[!-~]+", key):
            remedy = "use printable ASCII without spaces, and commas between keys"
            raise ConfigError(f"{place}: key {number} has characters that cannot be sent; {remedy}")
    return [key.encode() for key in keys]


@dataclass(frozen=True)
class Access:
    """Who is let in.

    Args:
        host: the address bound to.
        keys: one of which is wanted, if there are any.
        hosts: further names of the proxy, each an `allowed_host`.
        origins: of which pages are let in, too, each an `allowed_origin`.
        prefix: where they find the proxy.
        admin: what may be done to the servers over HTTP.
    """

    host: str = "127.0.0.1"
    keys: Keys = field(default_factory=lambda: Keys({}))
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    prefix: "Prefix" = field(default_factory=lambda: Prefix())
    admin: Literal["off", "remote-only", "all"] = "all"

    @property
    def is_open(self) -> bool:
        """Whether others than the users of this machine are let in without a key."""
        return not is_loopback(self.host) and not self.keys

    def who(self, scope: Scope) -> str:
        """Who sends a request that was let in, for the log: the address, and the number of the key."""
        number = self.keys.number(scope.get("key"))
        return f"{_peer(scope)} (API key {number})" if number else _peer(scope)


def _peer(scope: Scope) -> str:
    return printable(scope["client"][0], 80) if scope.get("client") else "a client of unknown address"


class Guard:
    """ASGI middleware that refuses whom `access` does not let in."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._names = {*_LOOPBACK, access.host.lower()}
        self._origins = {_origin(text) for text in access.origins}
        self._addresses_are_known = not is_loopback(access.host)
        self._log = Seldom(logger.warning, time.monotonic)
        self._shown = _Pages(self._let_in, access.origins, self._knows_page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = self._access.prefix.placed(scope)
        is_for_pages = self._access.origins and _endpoint(scope) in _TAKE_MESSAGES
        await (self._shown if is_for_pages else self._let_in)(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._refusal(scope) or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        path, headers = scope["path"], Headers(scope=scope)
        if problem := _lie(scope):
            self._note(scope, "a request that contradicts itself")
            return _refuse(scope, headers, 400, problem)
        host = headers.get("host", "")
        if not self._knows_host(host):
            remedy = "if it is one of its names, add it with --allowed-host (MULTI_MCP_ALLOWED_HOST)"
            self._note(scope, "an unknown Host,", host)
            return _refuse(scope, headers, 421, f"the Host header does not name this proxy; {remedy}")
        if "origin" in headers and not self._knows_origin(headers["origin"]):
            remedy = "to let it in, add its origin with --allowed-origin (MULTI_MCP_ALLOWED_ORIGIN)"
            self._note(scope, "a foreign Origin,", headers["origin"])
            return _refuse(scope, headers, 403, f"the Origin header names a foreign web page; {remedy}")
        scope["key"] = self._key(headers) if self._access.keys else None
        if self._access.keys and path not in _WITHOUT_KEY and scope["key"] is None:
            text = "an API key of this proxy is required; send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            has_any = "x-api-key" in headers or "authorization" in headers
            self._note(scope, "a wrong API key" if has_any else "no API key")
            if _WELL_KNOWN in path:  # OAuth clients would take a 401 for an authorization server's answer
                return _refuse(scope, headers, 404, f"there is no OAuth here: {text}")
            return _refuse(scope, headers, 401, text, {"WWW-Authenticate": "Bearer"})
        return None

    def _note(self, scope: Scope, reason: str, given: str = "") -> None:
        """Log that a request was refused for a `reason`, one of a few; `given` is what it said, and no secret."""
        said = f" '{printable(given, 80)}'" if given else ""
        self._log(f"refused %s: {reason}%s", _peer(scope), said)

    def _knows_host(self, host: str) -> bool:
        _, name, _ = _origin(f"//{host}")
        if name in self._names or not self._access.hosts.isdisjoint({name, _ANY}):
            return True
        return self._addresses_are_known and _address(name) is not None

    def _knows_origin(self, text: str) -> bool:
        return _origin(text)[1] in self._names or self._knows_page(text)

    def _knows_page(self, text: str) -> bool:
        return _origin(text) in self._origins or _ANY in self._access.origins

    def _key(self, headers: Headers) -> bytes | None:
        """The key that a request is let in with."""
        given = headers.getlist("x-api-key")
        for value in headers.getlist("authorization"):
            scheme, _, key = value.partition(" ")
            given += [key] if scheme.lower() == "bearer" else []
        keys = [key.strip().encode("latin-1") for key in given]
        return next((key for key in keys if self._access.keys.have(key)), None)


def _lie(scope: Scope) -> str | None:
    """What is wrong with the head of a request that says two things, one to whoever is in front of us."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ONCE and name in found:
            return f"the {name.decode()} header comes more than once"
        found[name] = value
    host = found.get(b"host", b"/" if scope.get("http_version") == "1.1" else b"")
    if host and not _HOST.fullmatch(host):
        return "the Host header is not the name of a host"
    if found.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        return "the only Transfer-Encoding that is taken is chunked"
    return None


class _Pages(CORSMiddleware):
    """Lets a browser show our answers to the pages that it `knows`, which ask it before they send (CORS)."""

    def __init__(self, app: ASGIApp, origins: frozenset[str], knows: Callable[[str], bool]) -> None:
        super().__init__(
            app,
            allow_origins=[*origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["Mcp-Session-Id"],
        )
        self._knows = knows

    def is_allowed_origin(self, origin: str) -> bool:
        return self._knows(origin)


class Prefix:
    """Where the proxy is, seen from outside: below which path.

    Args:
        root: the path that a reverse proxy in front of us puts before ours, whether or not it takes it away again.
        trusted: who may say another one, in `X-Forwarded-Prefix`.
    """

    def __init__(self, root: str = "", trusted: Iterable[Network] = ()) -> None:
        self._root = root
        self._trusted = tuple(trusted)

    def placed(self, scope: Scope) -> Scope:
        """The same request with a path of ours; `root_path` is what clients have to put before such a path."""
        path, root = scope["path"], scope.get("root_path") or self._root
        if root and (path + "/").startswith(root + "/") and path.rstrip("/") not in _TAKE_MESSAGES:
            path = path[len(root) :] or "/"
        if path in _SHOW_PATHS and (given := self._forwarded(scope)):
            root = given
        return {**scope, "path": path, "root_path": root} if root else scope

    def _forwarded(self, scope: Scope) -> str | None:
        parts = Headers(scope=scope).get("x-forwarded-prefix", "").split(",")  # one of each proxy on the way
        address = _address(scope["client"][0]) if scope.get("client") else None
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped is None or not any(mapped in network for network in self._trusted):
            return None
        with suppress(ConfigError):
            return "".join(root_path(part.strip()) for part in parts)
        return None


def root_path(text: str) -> str:
    """A path as it is put before another one: `/tools/mcp`, or nothing.

    Raises:
        ConfigError: the operator's: it is none.
    """
    path = f"/{text.strip('/')}" if text.strip("/") else ""
    if not re.fullmatch(r"(/[\w.~!$&'()*+;=:@%-]+)*", path, re.ASCII) or text.startswith("//"):
        raise ConfigError(f"'{text}' is not a path; write it as in /tools/mcp")
    return path


def network(text: str) -> Network:
    """An address, or a network of them.

    Raises:
        ConfigError: the operator's: it is neither.
    """
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"'{text}' is neither an address nor a network, as in 10.0.0.7 or 10.0.0.0/8") from None


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server bound to `host`."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def allowed_host(text: str) -> str:
    """A name or address that a Host header may have, or `*` for any, in lower case and without brackets.

    Raises:
        ConfigError: the operator's: it is something else.
    """
    host = text.lower()
    if _address(host.strip("[]")):
        return host.strip("[]")
    if host != _ANY and not re.fullmatch(r"[a-z0-9._-]+", host):
        remedy = "write its name or address alone, as in proxy.example.com, or * for any"
        raise ConfigError(f"'{text}' is not a host; {remedy}")
    return host


def allowed_origin(text: str) -> str:
    """What an Origin header may have, or `*` for any.

    Raises:
        ConfigError: the operator's: it is something else.
    """
    is_origin = re.fullmatch(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d+)?", text.lower())
    if text != _ANY and not (is_origin and _origin(text)[1]):
        remedy = "write it as browsers send it, as in https://app.example.com, or * for any"
        raise ConfigError(f"'{text}' is not an origin; {remedy}")
    return text


@lru_cache(maxsize=64)
def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of a URL: the same for all ways to write an origin. The host is None if it is no URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def _address(host: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host or "")
    except ValueError:
        return None


def _endpoint(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removesuffix("/")


def _refuse(
    scope: Scope, headers: Headers, status: int, text: str, more: Mapping[str, str] | None = None
) -> JSONResponse:
    """The refusal of a request, in the form that its client reads; `more` are headers."""
    is_post = scope.get("method") == "POST" and _endpoint(scope) in _TAKE_MESSAGES
    if not is_post or content_type(headers) != "application/json":
        return error_response(status, text, more)
    error = {"code": INVALID_REQUEST, "message": text}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status, more)


def content_type(headers: Headers) -> str:
    """What the body of a request is said to be, in lower case and without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """How every error of HTTP is told; `text` is for the person who has to act."""
    return JSONResponse({"error": text}, status, headers)
