"""Hearing of changes as the client's era has it: legacy, by being connected or subscribed; modern, by listening.

Rules:
- In modern only what carries the id of the subscription counts.
- A scenario leaves no trace: what it subscribed to it unsubscribes from, what it listens to it closes.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio

from conformance.client import ENVELOPE, Call, Client, Id, shown
from conformance.session import Session
from conformance.verdict import Failure
from conformance.wire import Message

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
LIST_CHANGED = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "templates": "notifications/resources/list_changed",
}


@dataclass(frozen=True)
class Watch:
    """What one client hears of changes.

    Args:
        since: the place in the client's inbox where it begins.
        subscription: the id of the `subscriptions/listen` request; None in legacy.
    """

    client: Client
    since: int
    subscription: Id | None = None

    def heard(self, method: str | None = None) -> list[Message]:
        """The notifications that came so far, of one method or of any."""
        return [message for message in self.client.inbox[self.since :] if self._belongs(message, method)]

    async def hears(self, method: str, times: int = 1) -> Message:
        """The notification, now or later, as often as it has to come.

        Raises:
            Failure: it does not come in time.
        """
        what = method if times == 1 else f"{method} for the {times}. time"
        await self.client.wait(lambda _: len(self.heard(method)) >= times, what, self.since)
        return self.heard(method)[times - 1]

    def _belongs(self, message: Message, method: str | None) -> bool:
        if "method" not in message or "id" in message or method not in (None, message["method"]):
            return False
        return self.subscription is None or subscription_of(message) == self.subscription


def subscription_of(message: Message) -> Id | None:
    """The subscription that a modern notification belongs to."""
    meta = (message.get("params") or {}).get("_meta") or {}
    subscription: Id | None = meta.get(f"{ENVELOPE}subscriptionId")
    return subscription


@asynccontextmanager
async def watching(
    s: Session, server: str | None = None, *kinds: str, uris: Sequence[str] = ()
) -> AsyncGenerator[Watch, None]:
    """Hear of changes of lists, by kind, and of resources, by the URI under which the client knows them.

    Raises:
        Failure: the target does not let the client subscribe or listen.
    """
    client = await s.client(server)
    if s.era == "modern":
        wanted: Message = {f"{kind}ListChanged": True for kind in kinds}
        if uris:
            wanted["resourceSubscriptions"] = list(uris)
        async with listening(client, wanted) as watch:
            yield watch
        return
    since = len(client.inbox)
    for uri in uris:
        await client.ask("resources/subscribe", {"uri": uri})
    try:
        yield Watch(client, since)
    finally:
        for uri in uris:
            await (await client.request("resources/unsubscribe", {"uri": uri})).response()


@asynccontextmanager
async def listening(client: Client, wanted: Message) -> AsyncGenerator[Watch, None]:
    """Listen for what a modern client can: `notifications` of the request."""
    await client.ask("server/discover")  # it has started, which the wait for the acknowledgment does not allow for
    since = len(client.inbox)
    call = await client.request("subscriptions/listen", {"notifications": wanted})
    try:
        await _opened(client, call, since)
        yield Watch(client, since, call.id)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(client, call)


async def _opened(client: Client, call: Call, since: int) -> None:
    """Wait until the stream is acknowledged, or refused.

    Raises:
        Failure: it is refused.
    """
    with suppress(Failure):  # a stream that was not acknowledged may tell of changes all the same
        await client.wait(lambda message: message.get("method") == ACKNOWLEDGED or call.done, ACKNOWLEDGED, since)
    if call.done:
        raise Failure("subscriptions/listen ended at once", "a stream that stays open", shown(await call.response()))


async def _stop(client: Client, call: Call) -> None:
    if client.transport == "http":
        await call.hang_up()
    else:
        await call.cancel("the client has heard enough")
    call.lose("the client stopped listening")  # there is no response to what was cancelled
