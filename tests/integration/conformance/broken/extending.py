"""The mux with extensions: Apps, Tasks, Skills, and one that nobody knows.

Rules:
- What all servers declare is declared, put together.
- A page that a tool names is known to be its server's, as a link in a result is.
- A task is called `server__id`, so that nothing has to be remembered.
- Skills of all servers are in one list. Their files are known to be their server's.
- What is of no method that anybody knows goes to the one server with an extension that nobody knows.
"""

import copy
from collections.abc import Iterator
from contextlib import suppress

from .mux import (
    CAPABILITIES,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PAGES,
    SEPARATOR,
    VERSION,
    Backend,
    Call,
    Failure,
    Listen,
    Message,
    Mux,
    as_object,
    objects,
)

UI, TASKS, SKILLS = (f"io.modelcontextprotocol/{name}" for name in ("ui", "tasks", "skills"))
RELATED = "io.modelcontextprotocol/related-task"
HEADER_MISMATCH, LACKS_CAPABILITY = -32020, -32021
DIRECTORY = "resources/directory/read"


class Extended(Mux):
    """The proxy."""

    # What is declared

    def extensions_of(self, backend: Backend) -> Message:
        return as_object(as_object((backend.hello or {}).get("capabilities")).get("extensions"))

    def hello(self, backends: list[Backend]) -> Message:
        result = super().hello(backends)
        for backend in backends:
            own = as_object((backend.hello or {}).get("capabilities"))
            told = result["capabilities"]
            for name, settings in self.extensions_of(backend).items():
                extensions = told.setdefault("extensions", {})
                extensions[name] = self.combined(extensions.get(name), settings)
            if self.era == "legacy" and "tasks" in own:
                told["tasks"] = own["tasks"]
        return result

    def combined(self, old: Message | None, new: Message) -> Message:
        """The settings of an extension that two servers have."""
        return {**new, **(old or {})}

    def envelope(self) -> Message:
        """A legacy client could not read a task."""
        keys = super().envelope()
        if self.era == "legacy" and self.strips_tasks:
            keys[CAPABILITIES] = copy.deepcopy(keys[CAPABILITIES])
            as_object(keys[CAPABILITIES].get("extensions")).pop(TASKS, None)
        return keys

    strips_tasks = True

    # Requests

    async def answer(self, call: Call) -> Message:
        method, params = call.method, call.params
        if self.era is None and VERSION in as_object(params.get("_meta")):
            self._admit(params)
        if self.era is None or method in ("initialize", "ping", "server/discover"):
            return await super().answer(call)
        if method.startswith("tasks/"):
            return await self.about_task(call)
        if method == "subscriptions/listen" and "taskIds" in as_object(params.get("notifications")):
            self.need_tasks(call)
        if method == "skills/list":
            return self.complete({"skills": await self.all_skills(call)}, cacheable=True)
        if method == "skills/get":
            return await self.get_skill(call)
        if method == DIRECTORY:
            return await self.read_folder(call)
        try:
            return await super().answer(call)
        except Failure as failure:
            owner = await self.owner_of_unknown(method)
            if failure.error.get("code") != METHOD_NOT_FOUND or owner is None:
                raise
            return await self.ask(call, owner, method, params, call.id)

    async def owner_of_unknown(self, method: str) -> Backend | None:
        """The server for a method that nobody knows."""
        known = {UI, TASKS, SKILLS}
        having = [backend for backend in await self.ready() if self.extensions_of(backend).keys() - known]
        return having[0] if len(having) == 1 else None

    # Apps

    async def learn(self, backend: Backend, method: str, call: Call) -> None:
        await super().learn(backend, method, call)
        if method == "tools/list":
            entries = (self.lists.get((backend, method)) or {}).values()
            pages = [str(place[key]) for entry in entries for place, key in pages_in(entry)]
            if pages and backend.declares("resources"):
                await self._learn_resources(call)
            for uri in pages:
                self.links.setdefault(uri, backend)

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        entries = super().published(backend, method, entry)
        if method == "tools/list" and next(pages_in(entry), None):
            entries = copy.deepcopy(entries)
            for place, key in [found for each in entries for found in pages_in(each)]:
                place[key] = self.public_uri(backend, place[key])
        return entries

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        try:
            return await super().route_name(call, method, public)
        except Failure:
            offers = {b: await self._offers(call, b, method, str(public)) for b in await self.ready("tools")}
            having = [backend for backend, offering in offers.items() if offering]
            if method != "tools/list" or len(having) != 1 or not self.lists[having[0], method]:
                raise
            return having[0], str(public)

    async def _by_name(self, call: Call) -> Message:
        if call.method != "tools/call":
            return await super()._by_name(call)
        try:
            result = await super()._by_name(call)
        except Failure as failure:
            if failure.error.get("code") != HEADER_MISMATCH:
                raise
            result = await self.call_again(call)
        backend, _ = await self.route_name(call, "tools/list", call.params.get("name"))
        for place in (result, as_object(result.get("task"))):
            self.publish_task(backend, place)
        return result

    async def call_again(self, call: Call) -> Message:
        """A tool wants other headers than were sent: its list says which."""
        backend, _ = await self.route_name(call, "tools/list", call.params.get("name"))
        await self.learn(backend, "tools/list", Call(call.id, "tools/call", call.params))
        return await super()._by_name(call)

    # Tasks

    def public_task(self, backend: Backend, own: str) -> str:
        return f"{backend.name}{SEPARATOR}{own}"

    def publish_task(self, backend: Backend, place: Message) -> None:
        """A task, or what says that it is about one, with the id that the client knows."""
        if isinstance(place.get("taskId"), str):
            place["taskId"] = self.public_task(backend, place["taskId"])
        related = as_object(as_object(place.get("_meta")).get(RELATED))
        if isinstance(related.get("taskId"), str):
            related["taskId"] = self.public_task(backend, related["taskId"])

    def need_tasks(self, call: Call) -> None:
        """Raises Failure unless the client declares Tasks."""
        capabilities = as_object(as_object(call.params.get("_meta")).get(CAPABILITIES))
        if TASKS not in as_object(capabilities.get("extensions")):
            data: Message = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise Failure(LACKS_CAPABILITY, "Missing required client capability", data=data)

    def route_task(self, public: object) -> tuple[Backend, str] | None:
        for backend in self.backends.values():
            if isinstance(public, str) and public.startswith(backend.name + SEPARATOR):
                return backend, public.removeprefix(backend.name + SEPARATOR)
        return None

    async def about_task(self, call: Call) -> Message:
        if self.era == "modern" or VERSION in as_object(call.params.get("_meta")):
            self._admit(call.params)
            self.need_tasks(call)
        route = self.route_task(call.params.get("taskId"))
        if route is None:
            raise Failure(INVALID_PARAMS, "Task not found")
        backend, own = route
        result = await self.ask(call, backend, call.method, {**call.params, "taskId": own}, call.id)
        self.publish_task(backend, result)
        return result

    def _notified(self, backend: Backend, message: Message) -> None:
        if message["method"] in ("notifications/tasks", "notifications/tasks/status"):
            self.publish_task(backend, message["params"])
        super()._notified(backend, message)

    async def _listen_to(self, call: Call, listen: Listen, backend: Backend, uris: list[str]) -> None:
        wanted = {**as_object(call.params.get("notifications"))}
        routes = [self.route_task(id) for id in wanted.pop("taskIds", None) or ()]
        own = [route[1] for route in routes if route and route[0] is backend]
        if own:
            wanted["taskIds"] = own
        await super()._listen_to(
            Call(call.id, call.method, {**call.params, "notifications": wanted}, sent=call.sent), listen, backend, uris
        )

    def _on_stream(self, listen: Listen, backend: Backend, message: Message) -> None:
        agreed = as_object(message["params"].get("notifications"))
        if message["method"].endswith("/acknowledged") and agreed.get("taskIds"):
            ids = [self.public_task(backend, id) for id in agreed["taskIds"]]
            agreed["taskIds"] = [*listen.agreed.get("taskIds", []), *ids]
        super()._on_stream(listen, backend, message)

    # Skills

    async def all_skills(self, call: Call) -> list[Message]:
        found: list[Message] = []
        for backend in await self.ready():
            if SKILLS in self.extensions_of(backend):
                found += [self.published_skill(backend, entry) for entry in await self.skills_of(call, backend)]
        return found

    async def skills_of(self, call: Call, backend: Backend) -> list[Message]:
        """The skills of a server, all pages."""
        params = {key: value for key, value in call.params.items() if key == "_meta"}
        entries: list[Message] = []
        for _ in range(PAGES):
            page = await self.ask(call, backend, "skills/list", params)
            entries += objects(page.get("skills"))
            if page.get("nextCursor") is None:
                break
            params = {**params, "cursor": page["nextCursor"]}
        await self._learn_resources(call)
        return entries

    def published_skill(self, backend: Backend, entry: Message) -> Message:
        """A skill as the client sees it."""
        entry = copy.deepcopy(entry)
        for place in (entry, *objects(entry.get("resources"))):
            self.links.setdefault(place["uri"], backend)
            place["uri"] = self.public_uri(backend, place["uri"])
        return entry

    async def get_skill(self, call: Call) -> Message:
        """The skill under this URI; one that no list names is asked of all."""
        uri = str(call.params.get("uri"))
        await self.all_skills(Call(call.id, "skills/list", call.params))
        route = self.located(uri)
        asked = [route] if route else [(b, uri) for b in await self.ready() if SKILLS in self.extensions_of(b)]
        for backend, own in asked:
            with suppress(Failure):
                result = await self.ask(call, backend, call.method, {**call.params, "uri": own})
                return {**result, "skill": self.published_skill(backend, result["skill"])}
        raise Failure(INVALID_PARAMS, f"No skill is served at {uri}")

    async def read_folder(self, call: Call) -> Message:
        folder = str(call.params.get("uri"))
        for entry in await self.all_skills(Call(call.id, "skills/list", call.params)):
            for file in objects(entry.get("resources")):
                route = self.located(file["uri"])
                if route and file["uri"].startswith(f"{folder}/"):
                    backend, own = route
                    here = own.removesuffix(file["uri"].removeprefix(folder))
                    return await self.read_folder_of(call, backend, here, folder)
        raise Failure(INVALID_PARAMS, f"{folder} is not a directory resource")

    async def read_folder_of(self, call: Call, backend: Backend, own: str, public: str) -> Message:
        result = await self.ask(call, backend, call.method, {**call.params, "uri": own}, call.id)
        for entry in objects(result.get("resources")):
            entry["uri"] = public + entry["uri"].removeprefix(own)
        return result


def pages_in(tool: Message) -> Iterator[tuple[Message, str]]:
    """Where a tool names its page: the object and the key."""
    meta = as_object(tool.get("_meta"))
    for place, key in ((meta, "ui/resourceUri"), (as_object(meta.get("ui")), "resourceUri")):
        if isinstance(place.get(key), str):
            yield place, key
