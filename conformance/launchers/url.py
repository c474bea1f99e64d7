"""A target that runs already. The fixture servers are added to it over its own admin API, and removed afterwards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .base import Running, Site, always, ready, served


@asynccontextmanager
async def launch(site: Site) -> AsyncGenerator[Running, None]:
    if site.target.launch.ready:
        await ready(site, always, site.words)
    yield served(site)
