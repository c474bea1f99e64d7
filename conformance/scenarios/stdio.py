"""Scenarios of the area stdio. They have a target process of their own, since most of them end it."""

import anyio
from anyio.abc import ByteSendStream, Process

from conformance.case import Transport
from conformance.client import EXIT_WAIT, NOTICE_WAIT, Client
from conformance.fixtures import Server
from conformance.session import Session

from .processes import processes, require_gone
from .registry import scenario

STDIO: tuple[Transport, ...] = ("stdio",)
SERVERS = ("mirror", "stateful")
STUBBORN = ("mirror", Server("stubborn", file="silent", args=("--stay",)))
"""The second one goes on when its stdin is closed, as servers do that are at work; it ends on SIGTERM."""
LEFT = "the proxy has ended, and processes of its backends are left"


async def close_stdin(client: Client) -> bool:
    """Close its stdin; returns whether it exits then."""
    client.wire.add(client.channel, "note", "closes stdin")
    await stdin(client).aclose()
    return await exits(client)


async def terminate(client: Client) -> bool:
    """Send SIGTERM; returns whether it exits then."""
    client.wire.add(client.channel, "note", "sends SIGTERM")
    process(client).terminate()
    return await exits(client)


async def exits(client: Client) -> bool:
    """Whether the process exits in time."""
    with anyio.move_on_after(client.patience.bound(EXIT_WAIT)):
        await process(client).wait()
    return process(client).returncode is not None


def process(client: Client) -> Process:
    assert client.process is not None
    return client.process


def stdin(client: Client) -> ByteSendStream:
    stream = process(client).stdin
    assert stream is not None
    return stream


async def backend_processes(s: Session) -> set[int]:
    """Start the backends, if need be, and tell the ids of their processes."""
    await s.call_tool("mirror", "echo", {})
    await s.call_tool("stubborn", "hello", {})
    return processes(*map(s.journal, ("mirror", "stubborn")))


@scenario("stdio:stdout:only-messages", servers=SERVERS, clients=STDIO, own=True)
async def only_messages(s: Session) -> None:
    await s.list("tools", "mirror")
    await s.call_tool("mirror", "echo", {})
    await s.call_tool("mirror", "error", {"error": {"code": -32000, "message": "no"}})
    await s.request("mirror", "vendor/unknown")
    s.equal((await s.client()).strays, [], "what is no message is on stdout")


@scenario("stdio:input:invalid", servers=SERVERS, clients=STDIO, own=True)
async def invalid(s: Session) -> None:
    client = await s.client()
    line = '{"jsonrpc": "2.0", "id":'
    client.wire.add(client.channel, "sent", line)
    await stdin(client).send(f"{line}\n".encode())
    s.saw("content", (await s.call_tool("mirror", "big", {"size": 10})).result["content"])


@scenario("stdio:input:eof", servers=SERVERS, clients=STDIO, own=True)
async def eof(s: Session) -> None:
    await s.list("tools", "mirror")
    client = await s.client()
    s.require(await close_stdin(client), f"it has not exited {client.patience.bound(EXIT_WAIT):g} s after its stdin")


@scenario("stdio:signal:term", servers=SERVERS, clients=STDIO, own=True)
async def term(s: Session) -> None:
    await s.list("tools", "mirror")
    client = await s.client()
    s.require(await terminate(client), f"it has not exited {client.patience.bound(EXIT_WAIT):g} s after SIGTERM")


@scenario("stdio:backends:reaped", servers=STUBBORN, clients=STDIO, backends=STDIO, proxy_only=True, own=True)
async def reaped_after_eof(s: Session) -> None:
    pids = await backend_processes(s)
    client = await s.client()
    if not await close_stdin(client):
        await terminate(client)
    await require_gone(s, pids, LEFT, NOTICE_WAIT)


@scenario("stdio:backends:reaped", servers=STUBBORN, clients=STDIO, backends=STDIO, proxy_only=True, own=True)
async def reaped_after_term(s: Session) -> None:
    pids = await backend_processes(s)
    client = await s.client()
    if not await terminate(client):
        await close_stdin(client)
    await require_gone(s, pids, LEFT, NOTICE_WAIT)
