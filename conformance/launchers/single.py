"""A proxy of one server: it is started for each of them, with a port and a configuration file of its own.

Rules:
- They start at once. A world has begun when one of them is ready; a client waits for the one that it connects to. So
  a server that never starts keeps only its own clients waiting.
- They write into one log.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from conformance.case import Transport
from conformance.client import Endpoint
from conformance.filling import of_one
from conformance.verdict import Failure

from .base import Launch, Running, Site, free_ports


@dataclass
class _Part:
    """The target of one server."""

    site: Site
    decided: anyio.Event = field(default_factory=anyio.Event)
    """It is ready, or has failed."""
    running: Running | None = None
    problem: Failure | None = None

    async def run(self, launch: Launch, news: anyio.Event) -> None:
        try:
            async with launch(self.site) as self.running:
                self._decide(news)
                await anyio.sleep_forever()
        except Failure as exc:
            self.problem = exc
            self._decide(news)

    def _decide(self, news: anyio.Event) -> None:
        self.decided.set()
        if self.running:
            news.set()

    async def begun(self) -> Running:
        await self.decided.wait()
        if self.problem:
            raise self.problem
        assert self.running is not None
        return self.running


def each(launch: Launch) -> Launch:
    """A launch of a target for each server, from that for one."""

    @asynccontextmanager
    async def launch_each(site: Site) -> AsyncGenerator[Running, None]:
        parts = {name: _Part(one) for name, one in _sites(site).items()}
        one_is_ready = anyio.Event()

        async def all_decided() -> None:
            for part in parts.values():
                await part.decided.wait()
            one_is_ready.set()

        def endpoint(transport: Transport, server: str) -> Endpoint:
            running = parts[server].running
            return (
                running.endpoint(transport, server)
                if running
                else site.target.endpoint(transport, server, parts[server].site.values)
            )

        async def alive() -> bool:
            return all([await part.running.alive() for part in parts.values() if part.running])

        async def log() -> str:
            return "".join([await part.running.log() for part in parts.values() if part.running])

        async def begun(server: str) -> None:
            await parts[server].begun()

        async with anyio.create_task_group() as group:
            for part in parts.values():
                group.start_soon(part.run, launch, one_is_ready)
            group.start_soon(all_decided)
            await one_is_ready.wait()
            if any(part.running for part in parts.values()):
                yield Running(site, endpoint, alive, log, begun=begun)
            group.cancel_scope.cancel()
        if problem := next((part.problem for part in parts.values() if not part.running), None):
            raise problem  # here, for a task group would raise it in a group

    return launch_each


def _sites(site: Site) -> dict[str, Site]:
    """A site for each server."""
    sites = {}
    for (name, backend), port in zip(site.backends.items(), free_ports(len(site.backends)), strict=True):
        folder = site.folder / name
        values = {**site.values, "port": str(port), **of_one(name, backend.entry, site.target.backends.types)}
        if not site.target.launch.in_container:
            values |= {"config": str(folder / site.target.config.file), "folder": str(folder)}
        sites[name] = replace(site, backends={name: backend}, folder=folder, values=values)
    return sites
