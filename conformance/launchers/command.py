"""A program. Over HTTP and SSE it is started once for all clients; over stdio every client starts its own."""

import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from conformance.client import end_process, start_process

from .base import Running, Site, ready, served


@asynccontextmanager
async def launch(site: Site) -> AsyncGenerator[Running, None]:
    site.write_files(Path(site.values["folder"]))
    if site.target.endpoints.stdio:
        yield served(site)
        return
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
            await end_process(process)
