"""Scenarios of the area admin. What is accepted that should not be is removed again."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from conformance.fixtures import Server
from conformance.session import Session
from conformance.verdict import Failure, NotApplicable

from .dynamic import added, dynamic
from .visitors import CLOSED, FORGED, at_fault, foreign, here, turned_away, visit

HUGE = 16 * 2**20
"""Bytes of a body that no list of servers has."""

NO_BODIES = ('{"mcpServers": {"wrong": {"command":', "[]", "null", "42", '"text"', "{}")
"""What is no JSON, and what has no server in it."""

NO_ENTRIES: tuple[dict[str, Any], ...] = ({"command": {"no": "text"}}, {"command": 42}, {"url": ["no", "text"]})
"""Servers of which nobody can tell how they are reached."""


@asynccontextmanager
async def unchanged(s: Session, *names: str) -> AsyncGenerator[None, None]:
    """Nothing is changed in the end, as the list of tools shows; servers of these names are removed if they are there
    after all."""
    before = await s.merged("tools")
    try:
        yield
        s.equal(await s.merged("tools"), before, "the list of tools has changed")
    finally:
        with anyio.CancelScope(shield=True), suppress(Failure):
            for name in names:
                await s.remove_server(name)


async def entry(s: Session, name: str) -> dict[str, Any]:
    """A server that can be added, as in `mcpServers`."""
    return (await s.stage.backend(Server(name, file="stateful"), s.case.backend, None)).entry


@dynamic("admin:origin:forged")
async def origin(s: Session) -> None:
    """A browser sends plain text at once, and asks first before it sends JSON."""
    addition = s.admin.addition("visitor", await entry(s, "visitor"))
    async with unchanged(s, "visitor"):
        for kind in ("text/plain", "application/json"):
            headers = {**addition.headers, "Content-Type": kind, **FORGED}
            status = await visit(s, addition.method, addition.url, headers, addition.content or "")
            turned_away(s, status, f"a page of another origin that adds a server, as {kind},")
    async with added(s, "visited"):
        removal = s.admin.removal("visited")
        headers = {**removal.headers, **FORGED}
        status = await visit(s, removal.method, removal.url, headers, removal.content or "")
        turned_away(s, status, "a page of another origin that removes a server")


@dynamic("admin:host:foreign")
async def host(s: Session) -> None:
    """The page has no token, and no Origin where it only reads."""
    addition = s.admin.addition("visitor", await entry(s, "visitor"))
    here(s, addition.url)
    kind = {"Content-Type": "application/json"}
    async with unchanged(s, "visitor"):
        headers = {**kind, **foreign(addition.url)}
        status = await visit(s, addition.method, addition.url, headers, addition.content or "")
        turned_away(s, status, "a page whose name was rebound to this machine, that adds a server,")
        status = await visit(s, "GET", addition.url, foreign(addition.url, origin=False))
        turned_away(s, status, "a page whose name was rebound to this machine, that reads which servers there are,")
    async with added(s, "visited"):
        removal = s.admin.removal("visited")
        headers = {**kind, **foreign(removal.url)}
        status = await visit(s, removal.method, removal.url, headers, removal.content or "")
        turned_away(s, status, "a page whose name was rebound to this machine, that removes a server,")


@dynamic("admin:body:malformed")
async def malformed(s: Session) -> None:
    order = s.admin.addition("wrong", {})
    if not order.content:
        raise NotApplicable("what adds a server has no body")
    bodies = [*NO_BODIES, *(s.admin.addition("wrong", wrong).content or "" for wrong in NO_ENTRIES)]
    async with unchanged(s, "wrong"):
        for body in bodies:
            at_fault(s, await visit(s, order.method, order.url, order.headers, body), f"the body {body}")


@dynamic("admin:body:huge")
async def huge(s: Session) -> None:
    """As text, which is no list of servers either; who reads all of it has to refuse it for that."""
    order = s.admin.addition("huge", {})
    async with unchanged(s, "huge"):
        status = await visit(s, order.method, order.url, order.headers, f'"{"x" * HUGE}"')
        what = f"a body of {HUGE:,} bytes is neither refused nor left unread"
        right = status == CLOSED or 400 <= status < 500
        s.require(right, what, "a status from 400 to 499, or a closed connection", f"HTTP {status}")


@dynamic("admin:name:unknown")
async def unknown(s: Session) -> None:
    async with unchanged(s):
        response = await s.remove_server("nobody-is-called-this")
        at_fault(s, response.status_code, "the removal of a server that is not there")
