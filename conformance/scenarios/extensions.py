"""Scenarios of the area extensions: two workshops, which have all in common but their owners.

Rules:
- What the target does not declare is `NotOffered`, which is no fault.
- A scenario has clients of its own, which declare what it is about; a task belongs to whoever began it.
- Whose page, task or skill it is, its text says.
"""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from conformance.client import ENVELOPE, Call
from conformance.fixtures import Server
from conformance.session import CAPABLE, Outcome, Session
from conformance.verdict import Failure, NotApplicable, NotOffered
from conformance.wire import Message

from .registry import scenario
from .watching import ACKNOWLEDGED, Watch, listening

UI, TASKS, SKILLS = (f"{ENVELOPE}{name}" for name in ("ui", "tasks", "skills"))
HTML = "text/html;profile=mcp-app"
STAMPS = "com.example/stamps"
SIDES = ("left", "right")
LEFT = Server("left", file="workshop", args=("--name", "left", "--stamps"))
PAIR = (LEFT, Server("right", file="workshop", args=("--name", "right", "--no-directories")))
SHY = (Server("left", file="workshop", args=("--name", "left", "--shy")), PAIR[1])
OF_ONE_ERA = tuple(Server(side, file="workshop", args=("--name", side), era="modern") for side in SIDES)

INVALID_PARAMS, HEADER_MISMATCH, LACKS_CAPABILITY = -32602, -32020, -32021
TOLD = "notifications/tasks"
STATUS = "notifications/tasks/status"
WITH_UI: Message = {UI: {"mimeTypes": [HTML]}}
WITH_TASKS: Message = {TASKS: {}}
APPROVED: Message = {"approval": {"action": "accept", "content": {"approval": "Ada"}}}


def having(s: Session, extensions: Message) -> Session:
    """A client that declares these extensions."""
    return s.another(capabilities={**CAPABLE, "extensions": extensions})


async def declared(s: Session, server: str = "left") -> Message:
    """The extensions that the target declares, by name."""
    found = (await s.capabilities(server)).get("extensions")
    return found if isinstance(found, dict) else {}


async def offered(s: Session, extension: str, *servers: str) -> None:
    """Raises NotOffered unless the target declares an extension."""
    for server in servers or SIDES:
        if extension not in await declared(s, server):
            raise NotOffered(f"it does not declare {extension}")


# --- What is declared


@scenario("extensions:declared:union", servers=PAIR)
async def union(s: Session) -> None:
    found = {name for side in SIDES for name in await declared(s, side)}
    wanted = {UI, SKILLS, STAMPS} | ({TASKS} if s.era == "modern" else set())
    if not wanted & found:
        raise NotOffered("it declares no extension")
    s.equal(sorted(wanted - found), [], "extensions that a server declares are not declared")


@scenario("extensions:declared:settings", servers=PAIR)
async def settings(s: Session) -> None:
    wanted = {SKILLS: {"directoryRead": True}, UI: {"mimeTypes": [HTML]}, STAMPS: {"colours": ["red", "blue"]}}
    found = await declared(s)
    there = {name: value for name, value in wanted.items() if name in found}
    if not there:
        raise NotOffered("it declares no extension")
    s.equal({name: found[name] for name in there}, there, "the settings of extensions are others")


@scenario("extensions:declared:of-clients", servers=PAIR)
async def of_clients(s: Session) -> None:
    mine: Message = {**WITH_UI, **WITH_TASKS, "com.example/mine": {"x": [1, {}]}}
    await having(s, mine).call_tool("left", "refresh", {})
    (call,) = s.journal("left").received("tools/call")
    told = call["params"].get("_meta", {}).get(f"{ENVELOPE}clientCapabilities") or {}
    if call["era"] != "modern":
        raise NotApplicable("it speaks the legacy era to the server, where calls declare nothing")
    s.equal(told.get("extensions"), mine, "the extensions that the server was told of are not the client's")


@scenario("extensions:unknown:method", servers=PAIR)
async def unknown_method(s: Session) -> None:
    await offered(s, STAMPS, "left")
    outcome = await s.request("left", "stamps/issue", {"colour": "red"})
    s.equal(outcome.result.get("stamp"), "red of left", "the request did not reach the server of the extension")


# --- Apps


async def tool_of(s: Session, server: str, name: str) -> Message:
    """A tool as the client sees it."""
    public = s.scheme.public("tool", server, name)
    found = [tool for tool in await s.merged("tools", server) if tool["name"] == public]
    s.require(found, f"the tool {public} is not listed")
    return found[0]


def uri_in(tool: Message) -> str | None:
    """The page that a tool names."""
    meta = tool.get("_meta") or {}
    uri = meta.get("ui/resourceUri") or (meta.get("ui") or {}).get("resourceUri")
    return uri if isinstance(uri, str) else None


async def page_of(s: Session, server: str, name: str) -> tuple[str, Message]:
    """The URI of a tool's page, and what is read there."""
    await offered(s, UI, server)
    uri = uri_in(await tool_of(s, server, name))
    if uri is None:
        raise Failure(f"the tool {name} of {server} is listed without its page")
    return uri, await contents_of(s, server, uri)


async def listed_page(s: Session, server: str) -> tuple[str, Message]:
    """The URI of the page that a server lists, as the client spells it, and what is read there."""
    await offered(s, UI, server)
    uri = await s.uri(server, "ui://workshop/board")
    return uri, await contents_of(s, server, uri)


async def contents_of(s: Session, server: str, uri: str) -> Message:
    """What is read at a URI, as the client spells it."""
    response = (await s.request(server, "resources/read", {"uri": uri})).response
    contents = (response.get("result") or {}).get("contents") or []
    if not contents:
        raise Failure(f"{uri} of {server} cannot be read", "contents", str(response)[:500])
    found: Message = contents[0]
    return found


async def own_pages(s: Session, tool: str, sides: Sequence[str] = SIDES) -> None:
    """The page of a tool is that of its server."""
    app = having(s, WITH_UI)
    for side in sides:
        uri, contents = await page_of(app, side, tool)
        s.require(
            f"The {tool} of {side}" in str(contents.get("text")), f"{uri} is not the page of {side}", "", contents
        )


@scenario("extensions:apps:tool-meta", servers=PAIR)
async def tool_meta(s: Session) -> None:
    app = having(s, WITH_UI)
    await offered(app, UI)
    for side in SIDES:
        meta = (await tool_of(app, side, "refresh")).get("_meta") or {}
        wanted = {"ui": {"resourceUri": "a page", "visibility": ["app"]}, f"{STAMPS}/x": [1, {}]}
        said = {key: value for key, value in meta.items() if key in wanted}  # whoever stands between may add to it
        said["ui"] = {**(said.get("ui") or {}), "resourceUri": "a page"}
        s.equal(said, wanted, f"what the tool of {side} says of its page is something else")


@scenario("extensions:apps:page", servers=PAIR)
async def page(s: Session) -> None:
    await own_pages(s, "board", ("left",))


@scenario("extensions:apps:page-unlisted", servers=PAIR)
async def page_unlisted(s: Session) -> None:
    await own_pages(s, "shelf")


@scenario("extensions:apps:page-collision", servers=PAIR)
async def page_collision(s: Session) -> None:
    await own_pages(s, "board")


@scenario("extensions:apps:deprecated-key", servers=PAIR)
async def deprecated_key(s: Session) -> None:
    await own_pages(s, "bench")


@scenario("extensions:apps:page-uri", servers=PAIR)
async def page_uri(s: Session) -> None:
    app = having(s, WITH_UI)
    for side in SIDES:
        uri, contents = await listed_page(app, side)
        s.equal(contents.get("uri"), uri, "the contents have another URI")


@scenario("extensions:apps:page-type", servers=PAIR)
async def page_type(s: Session) -> None:
    _, contents = await listed_page(having(s, WITH_UI), "left")
    s.equal(contents.get("mimeType"), HTML, "the page has another MIME type")


@scenario("extensions:apps:page-meta", servers=PAIR)
async def page_meta(s: Session) -> None:
    _, contents = await listed_page(having(s, WITH_UI), "left")
    looks = {"csp": {"connectDomains": ["https://example.com"]}, "prefersBorder": True}
    s.equal((contents.get("_meta") or {}).get("ui"), looks, "what is said of the page is something else")


@scenario("extensions:apps:shown", servers=SHY)
async def shown_pages(s: Session) -> None:
    app = having(s, WITH_UI)
    await offered(app, UI, "left")
    s.require(uri_in(await tool_of(app, "left", "shelf")), "the tool is listed without its page")


async def by_own_name(s: Session, name: str) -> Message:
    """The response to a call by the name that the server gives its tool.

    Raises:
        NotApplicable: that is its name here, too.
    """
    if any(s.scheme.public("tool", side, name) == name for side in SIDES):
        raise NotApplicable("tools are called what their servers call them")
    outcome = await having(s, WITH_UI).request("left", "tools/call", {"name": name, "arguments": {}})
    return outcome.response


@scenario("extensions:apps:own-tool", servers=PAIR, proxy_only=True, needs=("shared endpoint",))
async def own_tool(s: Session) -> None:
    response = await by_own_name(s, "polish_right")
    s.require("polish_right by right" in str(response), "the tool cannot be called by its own name", actual=response)


@scenario("extensions:apps:own-tool-ambiguous", servers=PAIR, proxy_only=True, needs=("shared endpoint",))
async def own_tool_ambiguous(s: Session) -> None:
    response = await by_own_name(s, "refresh")
    refused = "error" in response or response.get("result", {}).get("isError") is True
    s.require(refused, "one of two tools was guessed", "an error", response)
    s.equal(
        [side for side in SIDES if s.journal(side).received("tools/call")], [], "a tool was called that nobody meant"
    )


# --- Tasks


async def client_with_tasks(s: Session) -> Session:
    """A client with Tasks, of a target with Tasks."""
    client = having(s, WITH_TASKS)
    await offered(client, TASKS)
    return client


async def begin(s: Session, server: str, tool: str = "approve", **arguments: Any) -> Message:
    """Begin a task; the result of the call."""
    result = (await s.call_tool(server, tool, arguments)).result
    if result.get("resultType") != "task" or not isinstance(result.get("taskId"), str):
        raise Failure(f"the call of {tool} at {server} began no task", "a task", str(result)[:500])
    return result


async def ask(s: Session, server: str, what: str, task: str, **params: Any) -> Outcome:
    """`tasks/get`, `tasks/update` or `tasks/cancel`."""
    return await s.request(server, f"tasks/{what}", {"taskId": task, **params})


async def approve(s: Session, server: str, task: str) -> Message:
    """Answer what a task asks, which ends it."""
    return (await ask(s, server, "update", task, inputResponses=APPROVED)).result


def text_in(task: Message) -> str:
    """What the result of a task says."""
    content = (task.get("result") or {}).get("content") or [{}]
    return str(content[0].get("text"))


def whole(task: Message) -> Message:
    """A task without what belongs to the message that it came in."""
    return {key: value for key, value in task.items() if key not in ("_meta", "resultType")}


async def bridged(s: Session) -> None:
    """Raises NotApplicable where a modern server is not offered to a client of this era."""
    there = False
    try:
        there = bool(await s.list("tools", "left"))
    except* Failure:
        pass
    if not there:
        raise NotApplicable("a modern server is not offered to clients of this era")


@scenario("extensions:tasks:created", servers=PAIR)
async def created(s: Session) -> None:
    client = await client_with_tasks(s)
    for side in SIDES:
        result = (await client.call_tool(side, "approve", {})).result
        s.equal(result.get("resultType"), "task", f"the call at {side} began no task")
        s.require(isinstance(result.get("taskId"), str), "the task has no id", actual=result)


@scenario("extensions:tasks:result", servers=PAIR)
async def result_of_task(s: Session) -> None:
    client = await client_with_tasks(s)
    task = (await begin(client, "right", "build", seconds=0))["taskId"]

    async def ended() -> bool:
        got = (await ask(client, "right", "get", task)).result
        s.equal(got.get("taskId"), task, "the task has another id than it was asked for")
        return bool(got.get("status") == "completed" and text_in(got) == "built by right")

    await s.until(ended, "the result of the task does not come", wait=5)


@scenario("extensions:tasks:own", servers=PAIR)
async def own_task(s: Session) -> None:
    client = await client_with_tasks(s)
    tasks = {side: (await begin(client, side))["taskId"] for side in SIDES}
    for side in SIDES:
        await approve(client, side, tasks[side])
        s.equal(
            text_in((await ask(client, side, "get", tasks[side])).result),
            f"built by {side}, approved by Ada",
            f"the task of {side} is another",
        )


@scenario("extensions:tasks:input", servers=PAIR)
async def input_of_task(s: Session) -> None:
    client = await client_with_tasks(s)
    for side in SIDES:
        task = (await begin(client, side))["taskId"]
        got = (await ask(client, side, "get", task)).result
        asked = (got.get("inputRequests") or {}).get("approval") or {}
        s.equal(got.get("status"), "input_required", "the task does not wait for its user")
        s.equal((asked.get("params") or {}).get("message"), f"May {side} build it?", "it asks something else")


@scenario("extensions:tasks:update", servers=PAIR)
async def update(s: Session) -> None:
    client = await client_with_tasks(s)
    task = (await begin(client, "right"))["taskId"]
    result = whole(await approve(client, "right", task))
    s.equal(result, {}, "the answers are acknowledged with more than nothing")
    received = [(side, got["params"].get("inputResponses")) for side in SIDES for got in updates(s, side)]
    s.equal(received, [("right", APPROVED)], "the answers that reached the servers are others")


def updates(s: Session, side: str) -> list[Message]:
    return s.journal(side).received("tasks/update")


@scenario("extensions:tasks:cancel", servers=PAIR)
async def cancel(s: Session) -> None:
    client = await client_with_tasks(s)
    tasks = {side: (await begin(client, side))["taskId"] for side in SIDES}
    s.equal(whole((await ask(client, "right", "cancel", tasks["right"])).result), {}, "it is not acknowledged")
    status = {side: (await ask(client, side, "get", tasks[side])).result.get("status") for side in SIDES}
    s.equal(status, {"left": "input_required", "right": "cancelled"}, "the tasks that were cancelled are others")


async def refused(s: Session, client: Session, what: str, code: int, task: str = "nobody's") -> None:
    """A request about a task is refused with this code."""
    more: Message = {"inputResponses": {}} if what == "update" else {}
    error = (await ask(client, "left", what, task, **more)).error
    s.equal(error.get("code"), code, f"tasks/{what} was refused with another code")


@scenario("extensions:tasks:unknown", servers=PAIR)
async def unknown_task(s: Session) -> None:
    await refused(s, await client_with_tasks(s), "get", INVALID_PARAMS)


@scenario("extensions:tasks:unknown-otherwise", servers=PAIR)
async def unknown_otherwise(s: Session) -> None:
    client = await client_with_tasks(s)
    for what in ("update", "cancel"):
        await refused(s, client, what, INVALID_PARAMS)


@scenario("extensions:tasks:undeclared-call", servers=PAIR)
async def undeclared_call(s: Session) -> None:
    await begin(await client_with_tasks(s), "left")
    result = (await having(s, {}).call_tool("left", "approve", {})).result
    s.equal(result.get("resultType"), "complete", "the result is none")
    s.require("approve by left" in str(result.get("content")), "the result is another", actual=result)


@scenario("extensions:tasks:legacy-client", servers=OF_ONE_ERA, proxy_only=True, may_refuse=True)
async def legacy_client(s: Session) -> None:
    client = having(s, WITH_TASKS)
    await bridged(client)
    result = (await client.call_tool("left", "build", {"seconds": 0})).result
    s.require("resultType" not in result and "taskId" not in result, "a legacy client got a task", actual=result)
    s.require("built by left" in str(result.get("content")), "the result is another", actual=result)


@scenario("extensions:tasks:required", servers=PAIR)
async def required(s: Session) -> None:
    await client_with_tasks(s)
    error = (await having(s, {}).call_tool("right", "deliver", {})).error
    s.equal(error.get("code"), LACKS_CAPABILITY, "the error has another code")
    wanted = {"requiredCapabilities": {"extensions": WITH_TASKS}}
    s.equal(error.get("data"), wanted, "the error does not say what is missing")


@scenario("extensions:tasks:undeclared-methods", servers=PAIR)
async def undeclared_methods(s: Session) -> None:
    task = (await begin(await client_with_tasks(s), "left"))["taskId"]
    client = having(s, {})
    for what in ("get", "update", "cancel"):
        await refused(s, client, what, LACKS_CAPABILITY, task)


@scenario("extensions:tasks:undeclared-listen", servers=PAIR)
async def undeclared_listen(s: Session) -> None:
    await client_with_tasks(s)
    client = await having(s, {}).client("left")
    call = await client.request("subscriptions/listen", {"notifications": {"taskIds": ["1"]}})
    try:
        await client.wait(lambda message: message.get("method") == ACKNOWLEDGED or call.done, "an error")
        s.require(call.done, "a client that does not declare Tasks is told of tasks", f"error {LACKS_CAPABILITY}")
        error = (await call.response()).get("error") or {}
        s.equal(error.get("code"), LACKS_CAPABILITY, "it is refused with another code")
    finally:
        await give_up(call)


async def give_up(call: Call) -> None:
    if not call.done:
        await call.hang_up() if call._client.transport == "http" else await call.cancel()
        call.lose("the client stopped listening")


@asynccontextmanager
async def listening_for(s: Session, server: str, *tasks: str) -> AsyncGenerator[Watch, None]:
    """Listen for tasks. Raises NotOffered where it is not promised that the client is told."""
    async with listening(await s.client(server), {"taskIds": list(tasks)}) as watch:
        if not promised(watch):
            raise NotOffered("it promises to tell of no task")
        yield watch


def promised(watch: Watch) -> list[Any]:
    """The tasks that the acknowledgement names."""
    told = [message["params"].get("notifications") or {} for message in watch.heard(ACKNOWLEDGED)]
    return [id for each in told for id in each.get("taskIds") or []]


@scenario("extensions:tasks:acknowledged", servers=PAIR)
async def acknowledged(s: Session) -> None:
    client = await client_with_tasks(s)
    for side in SIDES:
        task = (await begin(client, side))["taskId"]
        async with listening_for(client, side, task) as watch:
            s.equal(promised(watch), [task], "the tasks that are promised are others")


@scenario("extensions:tasks:told", servers=PAIR)
async def told(s: Session) -> None:
    client = await client_with_tasks(s)
    for side in SIDES:
        task = (await begin(client, side))["taskId"]
        async with listening(await client.client(side), {"taskIds": [task]}) as watch:
            await approve(client, side, task)
            params = (await watch.hears(TOLD))["params"]
            s.equal(params.get("status"), "completed", "it is told that the task is in another state")


@scenario("extensions:tasks:told-whole", servers=PAIR)
async def told_whole(s: Session) -> None:
    client = await client_with_tasks(s)
    for side in SIDES:
        task = (await begin(client, side))["taskId"]
        async with listening_for(client, side, task) as watch:
            await approve(client, side, task)
            params = whole((await watch.hears(TOLD))["params"])
        got = whole((await ask(client, side, "get", task)).result)
        s.equal(params, got, "what is told of the task is not what `tasks/get` gives")


@scenario("extensions:tasks:told-only", servers=PAIR, clients=("http",))
async def told_only(s: Session) -> None:
    """The tasks of the others end first, so that what is told wrongly comes first."""
    one, other = await client_with_tasks(s), await client_with_tasks(s)
    mine = (await begin(one, "left"))["taskId"]
    theirs = {side: (await begin(other, side))["taskId"] for side in SIDES}
    async with listening_for(one, "left", mine) as watch, listening_for(other, "right", theirs["right"]) as others:
        for side in SIDES:
            await approve(other, side, theirs[side])
        await others.hears(TOLD)
        await approve(one, "left", mine)
        await watch.hears(TOLD)
        heard = [[message["params"].get("taskId") for message in each.heard(TOLD)] for each in (watch, others)]
        s.equal(heard, [[mine], [theirs["right"]]], "the tasks that the two clients were told of are others")


@scenario("extensions:tasks:name-sent", servers=PAIR, backends=("http",))
async def name_sent(s: Session) -> None:
    client = await client_with_tasks(s)
    task = (await begin(client, "right"))["taskId"]
    for what in ("get", "update", "cancel"):
        more: Message = {"inputResponses": {}} if what == "update" else {}
        await ask(client, "right", what, task, **more)
        (received,) = s.journal("right").received(f"tasks/{what}")
        named = (received.get("headers") or {}).get("mcp-name")
        s.equal(plain(named), received["params"]["taskId"], f"tasks/{what} came with another Mcp-Name than its taskId")


def plain(header: str | None) -> str | None:
    """The value of a header, which may be encoded."""
    found = re.fullmatch(r"=\?base64\?(.*)\?=", header or "")
    return base64.b64decode(found[1]).decode() if found else header


@scenario("extensions:tasks:name-checked", servers=PAIR, clients=("http",))
async def name_checked(s: Session) -> None:
    client = await client_with_tasks(s)
    tasks = {side: (await begin(client, side))["taskId"] for side in SIDES}
    wire = await client.client("left")
    for what in ("get", "update", "cancel"):
        params = {"taskId": tasks["left"], **({"inputResponses": {}} if what == "update" else {})}
        call = await wire.request(f"tasks/{what}", params, headers={"Mcp-Name": f"not {tasks['left']}"})
        response = await call.response()
        s.equal((response.get("error") or {}).get("code"), HEADER_MISMATCH, f"tasks/{what} was not refused so")
        s.equal(call.status, 400, "it was refused with another HTTP status")


async def client_with_old_tasks(s: Session) -> Session:
    """A legacy client, of a target with the tasks of its revision."""
    client = s.another(capabilities={**CAPABLE, "tasks": {}})
    for side in SIDES:
        told_of = (await client.capabilities(side)).get("tasks") or {}
        if "tools" not in (told_of.get("requests") or {}):
            raise NotOffered("it does not declare the tasks of 2025-11-25")
    return client


async def begin_old(s: Session, server: str) -> str:
    outcome = await s.call_tool(server, "build", {"seconds": 0}, more={"task": {"ttl": 60_000}})
    task = outcome.result.get("task") or {}
    if not isinstance(task.get("taskId"), str):
        raise Failure("the call began no task", "a task", str(outcome.response)[:500])
    return str(task["taskId"])


@scenario("extensions:augmented:own", servers=PAIR, remembers=True)
async def augmented_own(s: Session) -> None:
    client = await client_with_old_tasks(s)
    tasks = {side: await begin_old(client, side) for side in SIDES}
    for side in SIDES:
        got = (await client.request(side, "tasks/get", {"taskId": tasks[side]})).result
        s.equal(got.get("taskId"), tasks[side], "the task has another id than it was asked for")
        result = (await client.request(side, "tasks/result", {"taskId": tasks[side]})).result
        s.equal(text_in({"result": result}), f"built by {side}", f"the task of {side} is another")


@scenario("extensions:augmented:status", servers=PAIR, clients=("sse", "http"), remembers=True)
async def augmented_status(s: Session) -> None:
    """Both begin a task; each is told of its own, or of none."""
    one, other = await client_with_old_tasks(s), await client_with_old_tasks(s)
    tasks = [await begin_old(client, "left") for client in (one, other)]
    for client, task in zip((one, other), tasks, strict=True):
        result = (await client.request("left", "tasks/result", {"taskId": task})).result
        s.equal(text_in({"result": result}), "built by left", "the result of the task is another")
    for client, task in zip((one, other), tasks, strict=True):
        # What was told before the answer to this is there by then.
        await client.call_tool("left", "refresh", {})
        heard = (await client.client("left")).notifications(STATUS)
        strange = [params["taskId"] for params in (note["params"] for note in heard) if params["taskId"] != task]
        s.equal(strange, [], "a client is told of a task that another began")


# --- Skills


async def skills_of(s: Session, server: str) -> list[Message]:
    """The list of skills that is had where a server is reached, all pages."""
    await offered(s, SKILLS, server)
    found: list[Message] = []
    cursor: Message = {}
    for _page in range(20):
        result = (await s.request(None if s.shared_endpoint else server, "skills/list", cursor)).result
        found += result["skills"]
        if result.get("nextCursor") is None:
            return found
        cursor = {"cursor": result["nextCursor"]}
    raise Failure("skills/list does not end")


async def every_skill(s: Session) -> list[tuple[str, Message]]:
    """All skills, with the side at which each is asked for."""
    sides = SIDES[:1] if s.shared_endpoint else SIDES
    return [(side, entry) for side in sides for entry in await skills_of(s, side)]


async def read(s: Session, server: str, uri: str) -> str:
    """The text at a URI as the client spells it."""
    return str((await contents_of(s, server, uri)).get("text"))


def owner(text: str) -> str:
    """Who wrote a file."""
    return next((side for side in SIDES if side in text), "nobody")


@scenario("extensions:skills:methods", servers=PAIR)
async def methods(s: Session) -> None:
    for side in SIDES:
        await skills_of(s, side)
    side, entry = (await every_skill(s))[0]
    got = (await s.request(side, "skills/get", {"uri": entry["uri"]})).response
    s.require("result" in got, "skills/get gives no result", actual=got)


@scenario("extensions:skills:legacy", servers=PAIR)
async def legacy_skills(s: Session) -> None:
    found = await every_skill(s)
    s.equal(len(found), 4, "there are more or fewer skills than the servers list")
    for side, entry in found:
        got = (await s.request(side, "skills/get", {"uri": entry["uri"]})).response.get("result") or {}
        s.equal(got.get("skill"), entry, "another skill was got than was listed")
        s.require(entry["frontmatter"]["name"] in await read(s, side, entry["uri"]), "another skill was read")


@scenario("extensions:skills:listed", servers=PAIR)
async def listed_skills(s: Session) -> None:
    found = sorted([entry["frontmatter"]["name"] for _, entry in await every_skill(s)])
    s.equal(found, ["care", "care", "packing", "packing"], "the skills that are listed are others")


@scenario("extensions:skills:apart", servers=PAIR)
async def apart(s: Session) -> None:
    packing = [(side, each["uri"]) for side, each in await every_skill(s) if each["frontmatter"]["name"] == "packing"]
    owners = [owner(await read(s, side, uri)) for side, uri in packing]
    s.equal(sorted(owners), list(SIDES), "the skills under the listed URIs are not one of each server")


@scenario("extensions:skills:digests", servers=PAIR)
async def digests(s: Session) -> None:
    for side, entry in await every_skill(s):
        for file in entry["resources"]:
            data = (await read(s, side, file["uri"])).encode()
            found = {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
            said = {key: file.get(key) for key in found}
            s.equal(found, said, f"what is read at {file['uri']} is not what the entry says")


@scenario("extensions:skills:name", servers=PAIR)
async def name_of_skill(s: Session) -> None:
    for _, entry in await every_skill(s):
        s.equal(entry["uri"].split("/")[-2:], [entry["frontmatter"]["name"], "SKILL.md"], "the URI ends otherwise")


@scenario("extensions:skills:within", servers=PAIR)
async def within(s: Session) -> None:
    for _, entry in await every_skill(s):
        folder = entry["uri"].removesuffix("SKILL.md")
        outside = [file["uri"] for file in entry["resources"] if not file["uri"].startswith(folder)]
        s.equal(outside, [], f"these files are not in {folder}")


@scenario("extensions:skills:frontmatter", servers=PAIR)
async def frontmatter(s: Session) -> None:
    for side, entry in await every_skill(s):
        lines = (await read(s, side, entry["uri"])).split("---\n")[1].splitlines()
        written = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        s.equal(entry["frontmatter"], written, "the frontmatter is not that of the file")


@scenario("extensions:skills:get", servers=PAIR)
async def get_skill(s: Session) -> None:
    for side, entry in await every_skill(s):
        got = (await s.request(side, "skills/get", {"uri": entry["uri"]})).response.get("result") or {}
        s.equal(got.get("skill"), entry, "what is got is not what is listed")


@scenario("extensions:skills:unlisted", servers=PAIR)
async def unlisted_skill(s: Session) -> None:
    for side in SIDES:
        await skills_of(s, side)  # where that is refused, so is all else of skills
        spellings = s.scheme.public_uris(side, f"skill://{side}/secret/SKILL.md")
        answers = [(await s.request(side, "skills/get", {"uri": uri})).response for uri in spellings]
        got = [answer["result"].get("skill") for answer in answers if "result" in answer]
        s.require(got, f"the unlisted skill of {side} cannot be got", actual=answers)
        for entry in got:
            text = await read(s, side, entry["uri"])
            s.equal(owner(text), side, "another skill was got")


@scenario("extensions:skills:unknown", servers=PAIR)
async def unknown_skill(s: Session) -> None:
    await skills_of(s, "left")
    for uri in ("skill://nobody/SKILL.md", "skill://packing/references/labels.md"):
        error = (await s.request("left", "skills/get", {"uri": uri})).error
        s.equal(error.get("code"), INVALID_PARAMS, "it is refused with another code")


@scenario("extensions:skills:hints", servers=PAIR)
async def hints(s: Session) -> None:
    side, entry = (await every_skill(s))[0]
    for method, params in (("skills/list", {}), ("skills/get", {"uri": entry["uri"]})):
        result = (await s.request(side, method, params)).response.get("result") or {}
        right = isinstance(result.get("ttlMs"), int) and result.get("cacheScope") in ("public", "private")
        s.require(right, f"{method} does not say how long its result holds and for whom", actual=result)


@scenario("extensions:skills:directory", servers=PAIR)
async def directory(s: Session) -> None:
    if not (await declared(s)).get(SKILLS, {}).get("directoryRead"):
        raise NotOffered("it does not declare that folders can be read")
    entries = {owner(await read(s, side, each["uri"])): each for side, each in await every_skill(s) if packing(each)}
    folder = entries["left"]["uri"].removesuffix("/SKILL.md")
    files = await children(s, f"{folder}/references")
    kinds = {uri.removeprefix(folder): kind for uri, kind in files.items()}
    wanted = {"/references/labels.md": "text/markdown", "/references/boxes": "inode/directory"}
    s.equal(kinds, wanted, "what is in the folder is something else")
    s.equal(owner(await read(s, "left", f"{folder}/references/labels.md")), "left", "another's file was read")
    below = await children(s, f"{folder}/references/boxes")
    s.equal(list(below), [f"{folder}/references/boxes/small.md"], "what is in the inner folder is something else")


def packing(entry: Message) -> bool:
    return bool(entry["frontmatter"]["name"] == "packing")


async def children(s: Session, folder: str) -> Mapping[str, Any]:
    """The MIME types of what is in a folder, by URI."""
    answer = (await s.request("left", "resources/directory/read", {"uri": folder})).response
    if "result" not in answer:
        raise Failure(f"the folder {folder} cannot be read", "a result", str(answer)[:500])
    return {each["uri"]: each.get("mimeType") for each in answer["result"]["resources"]}


@scenario("extensions:skills:replaced", servers=PAIR, proxy_only=True, own=True, needs=("admin", "shared endpoint"))
async def replaced(s: Session) -> None:
    """The first of the servers goes, whose skill has the URI as it is, if any has."""
    uris = {
        owner(await read(s, side, each["uri"])): each["uri"] for side, each in await every_skill(s) if packing(each)
    }
    response = await s.remove_server("left")
    s.require(not response.is_error, "the server cannot be removed", actual=response.text[:500])

    async def gone() -> bool:
        return len([each for _, each in await every_skill(s) if packing(each)]) == 1

    await s.until(gone, "the skill of a server that was removed is still listed")
    for method in ("skills/get", "resources/read"):
        answer = (await s.request("right", method, {"uri": uris["left"]})).response
        s.require("error" in answer, f"{method} of the skill that is gone gives another's", "an error", answer)


# --- Headers


@scenario("extensions:headers:unknown", servers=PAIR, clients=("http",), backends=("http",))
async def unknown_header(s: Session) -> None:
    client = await s.client("left")
    params = s.tool_params("left", "refresh", {})
    response = await (await client.request("tools/call", params, headers={"Mcp-Param-Tenant": "acme"})).response()
    s.require("result" in response, "a call with a header that no tool knows is refused", actual=response)
    (received,) = s.journal("left").received("tools/call")
    if received["era"] != "modern":
        raise NotApplicable("it speaks the legacy era to the server, which has no such headers")
    s.equal((received.get("headers") or {}).get("mcp-param-tenant"), "acme", "the header did not reach the server")


@scenario("extensions:headers:changed", servers=OF_ONE_ERA, backends=("http",), proxy_only=True, may_refuse=True)
async def changed_header(s: Session) -> None:
    """A modern client may be told, and then does what it is told; a legacy one knows of no such headers."""
    await bridged(s)
    await s.call_tool("left", "regulate", {})
    try:
        response = (await s.call_tool("left", "ship", {"region": "eu"})).response
        if s.era == "modern" and (response.get("error") or {}).get("code") == HEADER_MISMATCH:
            await tool_of(s, "left", "ship")
            again = {"Mcp-Param-Region": "eu"}
            response = (await s.call_tool("left", "ship", {"region": "eu"}, headers=again)).response
        s.require("ship by left" in str(response), "the call was not made again with the header", actual=response)
    finally:
        await s.call_tool("left", "regulate", {})
