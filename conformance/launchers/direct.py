"""No proxy at all: a client is connected to each fixture server directly. Goldens are recorded from here."""

from contextlib import AbstractAsyncContextManager, nullcontext

from conformance.case import Transport
from conformance.client import Command, Endpoint, Url

from .base import Running, Site, always, nothing


def launch(site: Site) -> AbstractAsyncContextManager[Running]:
    def endpoint(transport: Transport, server: str) -> Endpoint:
        reach = site.backends[server].reach
        return reach if isinstance(reach, Command) else Url(reach)

    return nullcontext(Running(site, endpoint, always, nothing))
