"""A target that runs already. The fixture servers are added to it over its own admin API, and removed afterwards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from conformance.admin import add, remove

from .base import LaunchError, Running, Site, always, ready, served


@asynccontextmanager
async def launch(site: Site) -> AsyncGenerator[Running, None]:
    if site.target.launch.ready:
        await ready(site, always, _silent)
    added: list[str] = []
    try:
        for name, backend in site.backends.items():
            response = await add(site.target, site.values, name, backend.entry)
            if response.is_error:
                raise LaunchError(f"the target does not take server '{name}'", "HTTP 200", response.text)
            added.append(name)
        yield served(site)
    finally:
        with anyio.CancelScope(shield=True):
            for name in added:
                await remove(site.target, site.values, name)


async def _silent() -> str:
    return ""
