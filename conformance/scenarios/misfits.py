"""A server that a strict client may leave out, since its lists hold what no specification recommends."""

from contextlib import suppress

from conformance.client import NOTICE_WAIT
from conformance.fixtures import Server
from conformance.session import Session
from conformance.verdict import Failure, NotApplicable

MISFIT = Server("misfit")


async def taken(s: Session) -> None:
    """Wait until something of it is offered. Raises NotApplicable when nothing is."""

    async def offered() -> bool:
        return bool(await s.list("tools", MISFIT.name))

    with suppress(Failure):
        await s.until(offered, "nothing of it is offered", NOTICE_WAIT)
        return
    raise NotApplicable("it leaves out a server whose lists have odd names and fields, which it may")
