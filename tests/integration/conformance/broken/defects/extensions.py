"""Extensions: proxies that break what is required of them, most of them as one does that knows one server only."""

import copy
from typing import Any

from tests.integration.conformance.broken.breaking import (
    Gossip,
    breaks,
    in_entry,
    in_error,
    in_hello,
    in_notice,
    in_params,
    in_result,
    keep,
)
from tests.integration.conformance.broken.extending import DIRECTORY, TASKS, Extended
from tests.integration.conformance.broken.mux import (
    CAPABILITIES,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    NOT_FOUND,
    SEPARATOR,
    SUBSCRIPTION,
    Backend,
    Call,
    Failure,
    Message,
    Mux,
    as_object,
    objects,
)

# What is declared


@in_hello("extensions:declared:union", "legacy", "modern", symptom="extensions that a server declares are not declared")
def hides_extensions(hello: Message) -> None:
    """It does not declare the first extension of a server."""
    extensions = as_object(hello["capabilities"].get("extensions"))
    extensions.pop(next(iter(extensions), ""), None)


@breaks("extensions:declared:settings", symptom="the settings of extensions are others")
class LastSettingsWin(Extended):
    """Of an extension that two servers have, the settings of the last are declared."""

    def combined(self, old: Message | None, new: Message) -> Message:
        return new


def declared_in(params: Message) -> Message:
    """The extensions that a request declares: of a modern client, or in `initialize`."""
    capabilities = as_object(params.get("_meta")).get(CAPABILITIES) or params.get("capabilities")
    return as_object(as_object(capabilities).get("extensions"))


@in_params("extensions:declared:of-clients", "tools/call", symptom='- "com.example/mine": {')
def declares_what_it_knows(params: Message) -> None:
    """Of a client's extensions it tells servers of those that it knows."""
    keep(declared_in(params), *(name for name in declared_in(params) if name.startswith("io.modelcontextprotocol/")))


@breaks("extensions:unknown:method", symptom="stamps/issue was answered with an error")
class KnowsItsMethods(Extended):
    """It answers every method that it does not know with an error."""

    async def owner_of_unknown(self, method: str) -> Backend | None:
        return None


# Apps


@in_entry("extensions:apps:tool-meta", "tools/list", symptom='- "visibility": [')
def rebuilds_ui(tool: Message) -> None:
    """Of what a tool says of its page only the URI is left."""
    keep(as_object(as_object(tool.get("_meta")).get("ui")), "resourceUri")


@breaks("extensions:apps:page", symptom="ui://workshop/board is not the page of left")
class LastPageWins(Extended):
    """A page that two servers have is read from the last."""

    def located(self, public: str) -> tuple[Backend, str] | None:
        found = super().located(public)
        return (list(self.backends.values())[-1], public) if public == "ui://workshop/board" else found


@breaks("extensions:apps:page-unlisted", symptom="ui://left/shelf of left cannot be read")
class ReadsWhatIsListed(Extended):
    """Only what is in a list of resources can be read."""

    async def learn(self, backend: Backend, method: str, call: Call) -> None:
        await Mux.learn(self, backend, method, call)


@breaks("extensions:apps:page-collision", symptom="ui://workshop/board is not the page of right")
class KeepsPages(Extended):
    """Resources are renamed, and the pages that tools name are not."""

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        return Mux.published(self, backend, method, entry)


@breaks("extensions:apps:deprecated-key", symptom="ui://workshop/bench is not the page of right")
class KnowsTheNewKey(Extended):
    """A page is renamed under the new key, and not under the deprecated one."""

    def published(self, backend: Backend, method: str, entry: Message) -> list[Message]:
        (found,) = super().published(backend, method, entry)
        if "ui/resourceUri" in (meta := as_object(entry.get("_meta"))):
            found = {**found, "_meta": {**found["_meta"], "ui/resourceUri": meta["ui/resourceUri"]}}
        return [found]


@in_result("extensions:apps:page-uri", "resources/read", symptom="the contents have another URI")
def contents_as_the_server_spells(result: Message) -> None:
    """The contents have the URI that their server gives them."""
    for contents in objects(result.get("contents")):
        contents["uri"] = contents["uri"].replace("ui://right/workshop", "ui://workshop")


@in_result("extensions:apps:page-type", "resources/read", symptom="the page has another MIME type")
def plain_html(result: Message) -> None:
    """Parameters of MIME types are lost."""
    for contents in objects(result.get("contents")):
        contents["mimeType"] = contents["mimeType"].partition(";")[0]


@in_result("extensions:apps:page-meta", "resources/read", symptom="what is said of the page is something else")
def contents_without_meta(result: Message) -> None:
    """`_meta` of contents is lost."""
    for contents in objects(result.get("contents")):
        contents.pop("_meta", None)


@in_params("extensions:apps:shown", "initialize", "tools/list", symptom="the tool is listed without its page")
def lists_for_nobody(params: Message) -> None:
    """Lists are asked for as by a client without extensions."""
    declared_in(params).clear()


@breaks("extensions:apps:own-tool", symptom="the tool cannot be called by its own name")
class KnowsItsNames(Extended):
    """A tool can be called by the name that the proxy gave it, and by no other."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        return await Mux.route_name(self, call, method, public)


@breaks("extensions:apps:own-tool-ambiguous", symptom="one of two tools was guessed")
class GuessesTools(Extended):
    """A tool that is called by its own name is looked for at one server after the other."""

    async def route_name(self, call: Call, method: str, public: object) -> tuple[Backend, str]:
        try:
            return await super().route_name(call, method, public)
        except Failure:
            return next((backend, str(public)) for backend in self.backends.values())


# Tasks


@in_result("extensions:tasks:created", "tools/call", symptom="the call at left began no task")
def all_is_complete(result: Message) -> None:
    """Every result of a tool is said to be complete."""
    result["resultType"] = "complete"


@in_result("extensions:tasks:result", "tasks/get", symptom="the result of the task does not come")
def task_without_result(result: Message) -> None:
    """Of a task the fields are passed on that every task has."""
    result.pop("result", None)


@breaks("extensions:tasks:own", symptom="the task of right is another")
class KeepsTaskIds(Extended):
    """Tasks have the ids that their servers give them, and are looked for at the first server."""

    def public_task(self, backend: Backend, own: str) -> str:
        return own

    def route_task(self, public: object) -> tuple[Backend, str] | None:
        return next((backend, str(public)) for backend in self.backends.values())


@in_result("extensions:tasks:input", "tasks/get", symptom="it asks something else")
def task_without_questions(result: Message) -> None:
    """What a task asks is lost."""
    result.pop("inputRequests", None)


@in_params("extensions:tasks:update", "tasks/update", symptom="the answers that reached the servers are others")
def update_without_answers(params: Message) -> None:
    """The answers to what a task asks are lost."""
    params["inputResponses"] = {}


@breaks("extensions:tasks:cancel", symptom="the tasks that were cancelled are others")
class CancelsNothing(Extended):
    """It acknowledges that a task is to be cancelled, and tells no server."""

    async def about_task(self, call: Call) -> Message:
        return self.complete({}) if call.method == "tasks/cancel" else await super().about_task(call)


@in_error("extensions:tasks:unknown", "tasks/get", symptom="tasks/get was refused with another code")
def no_such_task(error: Message) -> None:
    """A task that nobody knows is a method that nobody knows."""
    error["code"] = METHOD_NOT_FOUND


@in_error("extensions:tasks:unknown-otherwise", "tasks/cancel", symptom="tasks/cancel was refused with another code")
def no_such_task_to_cancel(error: Message) -> None:
    """A task that nobody knows is a resource that nobody knows."""
    error["code"] = NOT_FOUND


@breaks("extensions:tasks:undeclared-call", symptom="the result is none", over="http")
class RemembersDeclarations(Extended):
    """What one request declared counts for all that come later."""

    declared = False

    def forward(self, backend: Backend, message: Message) -> None:
        message = copy.deepcopy(message)
        capabilities = as_object(as_object(as_object(message.get("params")).get("_meta")).get(CAPABILITIES))
        self.declared = self.declared or TASKS in as_object(capabilities.get("extensions"))
        if self.declared and message.get("method") == "tools/call":
            capabilities.setdefault("extensions", {})[TASKS] = {}
        super().forward(backend, message)


@breaks("extensions:tasks:legacy-client", symptom="a legacy client got a task")
class DeclaresForLegacyClients(Extended):
    """A modern server is told what a legacy client declared, tasks and all."""

    strips_tasks = False


@in_error("extensions:tasks:required", "tools/call", symptom="the error does not say what is missing")
def error_without_data(error: Message) -> None:
    """Errors lose their data."""
    error.pop("data", None)


@in_error("extensions:tasks:undeclared-methods", "tasks/update", symptom="tasks/update was refused with another code")
def invalid_instead(error: Message) -> None:
    """That a client declares too little is told as that its params are wrong."""
    error["code"] = INVALID_PARAMS


@breaks("extensions:tasks:undeclared-listen", symptom="a client that does not declare Tasks is told of tasks")
class ListensForAnybody(Extended):
    """Whoever listens for tasks is promised whatever there is."""

    def need_tasks(self, call: Call) -> None:
        if call.method != "subscriptions/listen":
            super().need_tasks(call)


@breaks("extensions:tasks:acknowledged", symptom="the tasks that are promised are others")
class PromisesOthersTasks(Extended):
    """The acknowledgement names tasks by the ids that their servers gave them."""

    def send(self, message: Message) -> None:
        agreed = as_object(as_object(message.get("params")).get("notifications"))
        if "taskIds" in agreed:
            agreed["taskIds"] = [id.rpartition(SEPARATOR)[2] for id in agreed["taskIds"]]
        super().send(message)


@in_notice("extensions:tasks:told", "notifications/tasks", symptom="notifications/tasks did not arrive")
def keeps_tasks_back(params: Message) -> bool:
    """What servers tell of tasks does not get through."""
    return True


@in_notice("extensions:tasks:told-whole", "notifications/tasks", symptom="what is told of the task is not what")
def tells_of_part(params: Message) -> None:
    """It is told in which state a task is, and not with what result."""
    params.pop("result", None)


@breaks("extensions:tasks:told-only", symptom="the tasks that the two clients were told of are others", over="http")
class TellsEveryListener(Extended):
    """Whoever listens is told of every task."""

    def _notified(self, backend: Backend, message: Message) -> None:
        if message["method"] != "notifications/tasks":
            super()._notified(backend, message)
            return
        for id in list(self.listens):
            again = copy.deepcopy(message)
            again["params"]["_meta"][SUBSCRIPTION] = id
            super()._notified(backend, again)


@breaks("extensions:tasks:name-sent", symptom="came with another Mcp-Name than its taskId", over="web")
class NamesNoTask(Extended):
    """Requests about tasks have no `Mcp-Name`."""

    def backend(self, name: str, entry: Message) -> Backend:
        from tests.integration.conformance.broken.remote import WebBackend

        class Nameless(WebBackend):
            def _headers(self, message: Message) -> dict[str, str]:
                headers = super()._headers(message)
                if str(message.get("method")).startswith("tasks/"):
                    del headers["Mcp-Name"]
                return headers

        return Nameless(name, entry, self)


@breaks("extensions:augmented:own", symptom="tasks/get was answered with an error")
class AsksTheFirst(KeepsTaskIds):
    """Tasks of 2025-11-25 have the ids that their servers give them, and are looked for at the first server."""


@breaks("extensions:augmented:status", symptom="a client is told of a task that another began", over="sse")
class TellsEverybodyOfTasks(Gossip, Extended):
    """Every client is told of every task of 2025-11-25."""

    def _notified(self, backend: Backend, message: Message) -> None:
        super()._notified(backend, message)
        if message["method"] == "notifications/tasks/status":
            for mux in self.others:
                mux.send(message)


# Skills


class Refuses(Extended):
    """A method is refused, of clients of one era or of all."""

    method = ""
    of: Any = None

    async def answer(self, call: Call) -> Message:
        if call.method == self.method and self.of in (None, self.era):
            raise Failure(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        return await super().answer(call)


@breaks("extensions:skills:methods", symptom="skills/get gives no result")
class ListsSkillsOnly(Refuses):
    """It declares Skills, and lists them, and gives none."""

    method = "skills/get"


@breaks("extensions:skills:legacy", symptom="skills/list was answered with an error")
class SkillsOfModernClients(Refuses):
    """It declares Skills to everybody, and lists them for modern clients."""

    method = "skills/list"
    of = "legacy"


@breaks("extensions:skills:listed", symptom="the skills that are listed are others")
class FirstPage(Extended):
    """Only the first page of each server's skills is read."""

    async def skills_of(self, call: Call, backend: Backend) -> list[Message]:
        return (await super().skills_of(call, backend))[:1]


@breaks("extensions:skills:apart", symptom="the skills under the listed URIs are not one of each server")
class KeepsSkillUris(Extended):
    """Skills have the URIs that their servers give them."""

    def published_skill(self, backend: Backend, entry: Message) -> Message:
        super().published_skill(backend, entry)
        return entry


@in_result("extensions:skills:digests", "resources/read", symptom="is not what the entry says")
def strips_text(result: Message) -> None:
    """Texts lose the newline at their end."""
    for contents in objects(result.get("contents")):
        contents["text"] = contents["text"].rstrip()


@breaks("extensions:skills:name", symptom="the URI ends otherwise")
class AppendsServers(Extended):
    """A URI that two servers have gets the name of the server at its end."""

    def published_skill(self, backend: Backend, entry: Message) -> Message:
        published = super().published_skill(backend, entry)
        return {**published, "uri": f"{published['uri']}@{backend.name}"}


@breaks("extensions:skills:within", symptom="these files are not in skill://right/packing/")
class KeepsFileUris(Extended):
    """Of a skill the URI is renamed, and not those of its files."""

    def published_skill(self, backend: Backend, entry: Message) -> Message:
        return {**super().published_skill(backend, entry), "resources": entry["resources"]}


@in_result("extensions:skills:frontmatter", "skills/list", symptom='- "license": "CC0-1.0"')
def curates_frontmatter(result: Message) -> None:
    """Of the frontmatter the fields are passed on that every skill has."""
    for entry in result["skills"]:
        keep(entry["frontmatter"], "name", "description")


@in_result("extensions:skills:get", "skills/get", symptom="what is got is not what is listed")
def gets_dynamic_skills(result: Message) -> None:
    """What is got of a skill has no list of its files."""
    result["skill"]["resources"] = "dynamic"


@breaks("extensions:skills:unlisted", symptom="the unlisted skill of left cannot be got")
class GetsWhatIsListed(Extended):
    """A skill can be got if it is listed."""

    async def get_skill(self, call: Call) -> Message:
        listed = [entry["uri"] for entry in await self.all_skills(call)]
        if call.params.get("uri") not in listed:
            raise Failure(INVALID_PARAMS, "No such skill")
        return await super().get_skill(call)


@in_error("extensions:skills:unknown", "skills/get", symptom="it is refused with another code")
def no_such_skill(error: Message) -> None:
    """A skill that nobody knows is refused as a resource was in earlier revisions."""
    error["code"] = NOT_FOUND


@in_result("extensions:skills:hints", "skills/list", symptom="skills/list does not say how long its result holds")
def without_hints(result: Message) -> None:
    """The list of skills does not say how long it holds."""
    result.pop("ttlMs", None)


@in_result("extensions:skills:directory", DIRECTORY, symptom="what is in the folder is something else")
def renames_children(result: Message) -> None:
    """What is in a folder has other URIs than the folder."""
    for entry in result["resources"]:
        entry["uri"] = entry["uri"].replace("skill://", "skill://left/")


# Headers


@breaks("extensions:headers:changed", symptom="the call was not made again with the header", over="web")
class CallsOnce(Extended):
    """A call that lacks a header is refused, and nobody is told what would help."""

    async def call_again(self, call: Call) -> Message:
        raise Failure(INVALID_PARAMS, "the server refused it")
