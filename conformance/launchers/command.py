"""A program. Over HTTP and SSE it is started once for all clients; over stdio every client starts its own."""

import re
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from conformance.client import end_process, start_process

from .base import LaunchError, Running, Site, free_ports, ready, served

PORT_TAKEN = re.compile("address already in use|EADDRINUSE", re.IGNORECASE)
"""What a program says when somebody else got its port, between the harness's choice and its own start."""

BRIEF = 0.5
"""Seconds in which a target that did not end once, when it was told to, may end after that: all worlds end so."""


@asynccontextmanager
async def launch(site: Site) -> AsyncGenerator[Running, None]:
    site.write_files(Path(site.values["folder"]))
    if site.target.endpoints.stdio:
        yield served(site)
        return
    async with AsyncExitStack() as opened:
        try:
            running = await opened.enter_async_context(_started(site))
        except LaunchError as exc:
            if not PORT_TAKEN.search(exc.actual):
                raise
            site = site.at(port=str(*free_ports(1)))
            site.write_files(Path(site.values["folder"]))
            running = await opened.enter_async_context(_started(site))
        yield running


@asynccontextmanager
async def _started(site: Site) -> AsyncGenerator[Running, None]:
    command = site.target.command(site.values)
    with site.log.open("ab") as output:
        process = await start_process(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:

        async def alive() -> bool:
            return process.returncode is None

        await ready(site, alive, site.words)
        yield replace(served(site, alive), process=process)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            if not await end_process(process, site.ending.seconds):
                site.ending.seconds = BRIEF
