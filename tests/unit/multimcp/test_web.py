"""Servers over HTTP: whose failure it is that a request cannot be sent."""

import asyncio
import errno
import os
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from multimcp.backends.http import HttpWire
from multimcp.backends.sse import SseWire
from multimcp.protocol.limits import DEFAULT
from tests.support.fakes import World

KEY = ConnectionKey("server", 80, False, True, None, None, None)


@pytest.mark.parametrize(
    ("problem", "is_lost"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), False),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)), True),
    ],
)
async def test_what_is_no_failure_of_the_server_fails_one_request(problem: OSError, is_lost: bool) -> None:
    world: Any = World("modern")
    wire = HttpWire(world.link, "http://server/mcp", {}, DEFAULT)
    try:
        _, under_way, _ = world.send()
        number = world.send()[2]
        unsent = aiohttp.ClientConnectorError(KEY, problem)
        fault = wire._unsent(number, b'{"jsonrpc":"2.0","id":2,"method":"x"}', unsent)
        assert world.link.state == ("lost" if is_lost else "open")
        assert bool(under_way.got) == is_lost
        if not is_lost:
            assert (number in world.link.pending, str(problem.strerror) in fault.message) == (True, True)
    finally:
        await wire.close()


@pytest.mark.parametrize("kind", [HttpWire, SseWire])
@pytest.mark.parametrize("problem", [KeyError("a fault of ours"), asyncio.CancelledError()])
async def test_nobody_waits_for_a_request_that_has_ended_somehow(kind: Any, problem: BaseException) -> None:
    world: Any = World("legacy")
    wire = kind(world.link, "http://server/mcp", {}, DEFAULT)

    async def exchange() -> None:
        raise problem

    try:
        _, under_way, number = world.send()
        with pytest.raises(type(problem)):
            await wire._call(number, exchange)
        assert under_way.got
        assert number not in world.link.pending
    finally:
        await wire.close()
