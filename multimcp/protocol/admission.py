"""A request at the door: who sends it, whether it is taken at all, and what the log says of it. Pure.

Rules:
- A method that the client's era does not have, or that is none for clients to ask, is unknown, whatever a backend says
  to it.
- Over HTTP, what a modern client's headers say has to be what its request says.
- Of modern clients, who have no session, those with the same name, version and transport count as one.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache

from msgspec import UNSET, Raw

from multimcp.errors import Fault, printable

from .calls import Call, Port
from .catalog import Route
from .eras import CHAIN_KEY, LEVELS, UNKNOWN_IN, check_param_headers
from .message import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Fields,
    Message,
    error_of,
    fields,
    pack,
    result_of,
    succeeded,
    text,
    value,
)
from .routing import Router, View

_SHORT = 1000
"""Bytes of an introduction that is remembered: modern clients introduce themselves with each request."""

KNOWN = 1000
"""How many modern clients, by name, version and transport, are remembered."""

Visitor = tuple[str, str, str]
"""Name, version and transport of a client."""


class Visitors:
    """The modern clients that were here, and since when; the one that was silent longest is forgotten first."""

    def __init__(self) -> None:
        self._since: OrderedDict[Visitor, float] = OrderedDict()

    def visit(self, who: Visitor, now: float) -> tuple[float, bool]:
        """A request came; returns when the first one of this client came, and whether this is it."""
        is_new = who not in self._since
        since = self._since.setdefault(who, now)
        self._since.move_to_end(who)
        if len(self._since) > KNOWN:
            self._since.popitem(last=False)
        return since, is_new


def check(call: Call) -> None:
    """Check whether a request can be taken at this point of its client's life.

    Raises:
        Fault: the client's: it cannot.
    """
    method = call.method
    if method in UNKNOWN_IN[call.era] or method.startswith("notifications/"):
        raise Fault(METHOD_NOT_FOUND, "Method not found", method)
    if call.era == "legacy" and call.session is None and method != "ping":
        raise Fault(INVALID_REQUEST, f"{method} before initialize")
    if call.level is not None and call.level not in LEVELS:
        raise Fault(INVALID_PARAMS, f"Unknown log level: {call.level}")


def check_headers(view: View, router: Router, params: Fields, headers: Mapping[bytes, bytes]) -> None:
    """Check the headers that repeat arguments of a modern `tools/call`, where its tool asks for some.

    Args:
        view: what there is for the client.
        router: finds the tool that is called.
        params: of the request, without `_meta`.
        headers: of the HTTP request, with lower-case names.

    Raises:
        Fault: the client's: they say something else than the arguments.
    """
    annotated = view.catalog.headers
    if annotated and (target := router.find(view, "tools/call", params)) is not None:
        route = Route(target.server, text(target.params.get("name")) or "")
        check_param_headers(annotated.get(route, {}), value(params.get("arguments"), sys.maxsize), headers)


class ToldBehind:
    """The port of a call of another Multi-MCP, whose answer says who is behind this one."""

    def __init__(self, port: Port, behind: Callable[[], Mapping[str, int]]) -> None:
        self._port = port
        self._behind = behind

    def tell(self, data: bytes) -> None:
        self._port.tell(data)

    def done(self, answer: Message | None) -> None:
        if answer is not None and answer.error is UNSET:
            result = fields(result_of(answer))
            meta = {**fields(result.get("_meta")), CHAIN_KEY: pack(self._behind())}
            answer = succeeded(pack({**result, "_meta": pack(meta)}))
        self._port.done(answer)


def introduced(info: Raw | None) -> tuple[str, str]:
    """Name and version of a client, as it introduces itself, fit for a log line."""
    data = b"null" if info is None else bytes(info)
    return _introduced(data) if len(data) < _SHORT else _introduced.__wrapped__(data)


@lru_cache(maxsize=64)
def _introduced(data: bytes) -> tuple[str, str]:
    found = value(Raw(data), sys.maxsize)
    info = found if isinstance(found, dict) else {}
    return printable(info.get("name", "unnamed"), 80), printable(info.get("version", ""), 40)


def named(params: Fields) -> str:
    """What a request is about, as its client calls it."""
    ref = fields(params.get("ref"))
    names = (text(holder.get(key)) for holder in (params, ref) for key in ("name", "uri"))
    return next((name for name in names if name is not None), "")


def outcome(answer: Message | None) -> str:
    """How a request went, for its line in the log."""
    if answer is None:
        return "cancelled"
    try:
        error = error_of(answer)
    except Fault:
        return "error"
    if error is not None:
        return f"error {error.code}"
    return "isError" if value(fields(answer.result).get("isError")) is True else "ok"
