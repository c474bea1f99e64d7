"""Lists of several pages: proxies that break what is required of them."""

from pathlib import Path
from typing import Any, ClassVar

from tests.integration.conformance.broken.breaking import breaks
from tests.integration.conformance.broken.mux import (
    INTERNAL_ERROR,
    LISTS,
    Backend,
    Call,
    Failure,
    Id,
    Message,
    Mux,
    as_object,
)


class OnePage(Mux):
    """Of one list only the first page is read."""

    method: ClassVar[str]

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        result = await super().exchange(call, backend, method, params, id)
        if method == self.method:
            result.pop("nextCursor", None)
        return result


@breaks("pagination:backend:tools", symptom='- "tool-11"')
class OnePageOfTools(OnePage):
    """Only the first page of a server's tools is read."""

    method = "tools/list"


@breaks("pagination:backend:prompts", symptom='- "prompt-11"')
class OnePageOfPrompts(OnePage):
    """Only the first page of a server's prompts is read."""

    method = "prompts/list"


@breaks("pagination:backend:resources", symptom='- "paginated://11"')
class OnePageOfResources(OnePage):
    """Only the first page of a server's resources is read."""

    method = "resources/list"


@breaks("pagination:backend:templates", symptom='- "paginated://11/{id}"')
class OnePageOfTemplates(OnePage):
    """Only the first page of a server's templates is read."""

    method = "resources/templates/list"


@breaks("pagination:cursor:invalid", symptom="tools/list was answered with a result")
class IgnoresCursors(Mux):
    """Any cursor leads to the first page."""

    def receive(self, message: Message) -> None:
        if message.get("method") in LISTS:
            as_object(message.get("params")).pop("cursor", None)
        super().receive(message)


@breaks("pagination:backend:loop", symptom="its pages do not end")
class RefusesLoops(Mux):
    """A server whose pages come round again is the end of the list."""

    def __init__(self, config: Path) -> None:
        super().__init__(config)
        self.cursors: dict[Backend, list[object]] = {}

    async def exchange(
        self, call: Call, backend: Backend, method: str, params: Message | None, id: Id | None = None
    ) -> Message:
        result = await super().exchange(call, backend, method, params, id)
        if method == "tools/list":
            asked = as_object(params).get("cursor")
            self.cursors[backend] = [*(self.cursors[backend] if asked else ()), result.get("nextCursor")]
        return result

    async def answer(self, call: Call) -> Message:
        result = await super().answer(call)
        if any(cursors.count(cursors[-1]) > 1 for cursors in self.cursors.values()):
            raise Failure(INTERNAL_ERROR, "its pages do not end")
        return result


@breaks("pagination:backend:same-cursor", symptom="tools of 'stuck' are not offered")
class DropsWhatLoops(Mux):
    """A list whose pages come round again is empty."""

    def goes_round(self, entries: Message) -> None:
        entries.clear()


@breaks("pagination:backend:empty-cursor", symptom="tools of 'emptying' are not offered")
class StopsAtEmptyCursors(Mux):
    """A cursor that is an empty string is the end of a list."""

    def following(self, page: Message) -> Any:
        return page.get("nextCursor") or None
