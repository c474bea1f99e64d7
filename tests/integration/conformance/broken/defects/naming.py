"""Names: proxies that break what is required of them."""

import itertools
from typing import ClassVar

from tests.integration.conformance.broken.breaking import breaks, in_entry
from tests.integration.conformance.broken.mux import (
    INVALID_PARAMS,
    LISTS,
    SEPARATOR,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
)


class FirstWins(Mux):
    """Of a name that two servers have, only the first is listed."""

    method: ClassVar[str]

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        key = LISTS[method][1]
        earlier = itertools.takewhile(lambda other: other is not backend, self.backends.values())
        if method == self.method and any(entry[key] in (self.lists.get((other, method)) or {}) for other in earlier):
            return []
        return super().published(backend, method, entry)


@breaks("naming:collision:listed", symptom="a tool is not offered, another has the same name")
class FirstToolWins(FirstWins):
    """Of two tools of one name only the first is listed."""

    method = "tools/list"


@breaks("naming:collision:prompts", symptom="the prompt right__full is not offered")
class FirstPromptWins(FirstWins):
    """Of two prompts of one name only the first is listed."""

    method = "prompts/list"


@breaks("naming:collision:resources", symptom="the reads that reached the left server are not the one for it")
class FirstResourceWins(FirstWins):
    """Of two resources of one URI only the first is listed."""

    method = "resources/list"


@breaks("naming:collision:routed", symptom="the calls that reached the left server are not the one for it")
class RoutesToFirst(Mux):
    """A call goes to the first server that has a tool of that name."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        backend, own = await super().route_name(call, method, public)
        if method == "tools/list":
            for other in self.backends.values():
                if own in (self.lists.get((other, method)) or {}):
                    return other, own
        return backend, own


@breaks("naming:unique:names", symptom="these tools are in the list twice")
class ListsTwice(Mux):
    """A tool is listed twice."""

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        entries = super().published(backend, method, entry)
        return entries * 2 if method == "tools/list" and backend is next(iter(self.backends.values())) else entries


@breaks("naming:separator:inside", symptom="Unknown server in separated__with__underscores")
class SplitsNames(Mux):
    """It finds the server by splitting a name at the last separator."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        if isinstance(public, str) and public.rpartition(SEPARATOR)[0] not in self.backends:
            raise Failure(INVALID_PARAMS, f"Unknown server in {public}")
        return await super().route_name(call, method, public)


@in_entry("naming:charset:legal", "tools/list", symptom="everything__test_simple_text (proxied)")
def lists_illegal_names(tool: Message) -> None:
    """Simple tools are listed under names that are no names."""
    if "simple" in tool["name"]:
        tool["name"] += " (proxied)"


@breaks("naming:links:rewritten", symptom="the link did not lead to the resource that the tool meant")
class KeepsLinks(Mux):
    """URIs in results are left as the server spells them, though it is listed under others."""

    async def republished(self, call: Call, backend: Backend, result: Message) -> Message:
        return result
