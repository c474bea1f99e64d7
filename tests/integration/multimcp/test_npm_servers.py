"""The reference servers of npm behind the proxy, all at once: what each offers and does directly, it does through it.

Rules:
- One script is played twice: to each server directly, in a process of its own, and to all of them through one proxy.
  What they answer, what they send meanwhile and what they ask is recorded raw, and has to be the same, names aside.
- Nothing that is offered is left out: a tool, prompt or template that the script does not use fails a test.
- What differs from run to run is made equal by `normal` or left out by `counts`; they say what it is, and why.
- The client can sample, elicit and has roots, because these servers offer more to a client that can.
"""

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.stdio import get_default_environment
from mcp_types import METHOD_NOT_FOUND

from conformance.client import Client, Command, connect, greet
from conformance.verdict import Failure
from tests.npm import node
from tests.support.processes import ROOT, TIMEOUT, alive, descendants, until, write_config

Message = dict[str, Any]

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
PARTS = [
    ("everything", "logging/setLevel"),
    ("everything", "resources/subscribe"),
    ("everything", "tools/call"),
    ("everything", "tasks/get"),
    ("everything", "tasks/result"),
    ("everything", "tasks/cancel"),
    ("everything", "prompts/get"),
    ("everything", "resources/read"),
    ("everything", "completion/complete"),
    ("everything", "resources/unsubscribe"),
    ("files", "tools/call"),
    ("memory", "resources/subscribe"),
    ("memory", "tools/call"),
    ("memory", "resources/read"),
    ("memory", "resources/unsubscribe"),
]
"""Of the script: what is asked of which server."""

SENT = [
    "notifications/message",
    "notifications/progress",
    "notifications/resources/updated",
    "notifications/tasks/status",
    "sampling/createMessage",
    "elicitation/create",
]
"""What the servers send meanwhile, beside changes of their lists."""

CAPABILITIES = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}

LONGEST = 120.0
"""Seconds in which the whole script has to be played; it takes three."""

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC")
FILES = {
    "notes.txt": b"one\ntwo\nthree \xe2\x98\x83\n",
    "pixel.png": PNG,
    "sub/data.json": b'{"a": 1}\n',
    "sub/some.bin": bytes(range(256)),
}
FILE_TIME = 1_700_000_000
ADA = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
ENGINE = {"name": "Engine", "entityType": "machine", "observations": []}
USES = {"from": "Ada", "to": "Engine", "relationType": "writes for"}
FEATURES = "demo://resource/static/document/features.md"
GRAPH = "memory://knowledge-graph"


@dataclass(frozen=True)
class Script:
    """A server, and what is asked of it, in order. Names are its own."""

    program: str
    calls: list[tuple[str, Message]]
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    tasks: tuple[tuple[str, Message], ...] = ()
    """Calls of tools that answer later. The first is waited for, the others are cancelled."""
    subscribed: tuple[str, ...] = ()
    prompts: tuple[tuple[str, Message], ...] = ()
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """URIs to be read, by the template that they are made from. What is listed is read anyway."""
    completions: tuple[tuple[Message, str, str, Message], ...] = ()
    """What refers to, the argument, what of it is written already, the arguments before it."""

    @property
    def config(self) -> dict[str, Any]:
        """As an entry of `mcpServers`."""
        executable, *program = node.command(self.program)
        return {"command": executable, "args": [*program, *self.args], "env": self.env}

    @property
    def command(self) -> Command:
        """With the environment that MCP clients start servers in: a few harmless variables and those of the entry."""
        return with_only(self.env, *node.command(self.program), *self.args)


def with_only(env: Mapping[str, str], *program: str) -> Command:
    """The command that runs a program with these variables, what every program needs, and no other."""
    # Without a locale Python gives itself one, and the proxy that to its servers.
    env = {**get_default_environment(), "LC_ALL": "C.UTF-8", **env}
    return Command(("env", "-i", *(f"{key}={value}" for key, value in env.items()), *program))


def scripts(folder: Path) -> dict[str, Script]:
    """The servers behind the proxy, in the order of its configuration."""

    def file(name: str) -> str:
        return str(folder / "files" / name)

    text_template, blob_template = (f"demo://resource/dynamic/{kind}/{{resourceId}}" for kind in ("text", "blob"))
    squeezed = {"data": "data:text/plain;base64,aGVsbG8gaGVsbG8gaGVsbG8=", "name": "hello.gz"}
    return {
        "everything": Script(
            "mcp-server-everything",
            env={"GREETING": "hello \u2603"},
            subscribed=(FEATURES,),
            calls=[
                ("echo", {"message": "h\u00e9llo \u2603"}),
                ("echo", {}),
                *(("get-annotated-message", {"messageType": kind}) for kind in ("error", "success")),
                ("get-annotated-message", {"messageType": "debug", "includeImage": True}),
                ("get-env", {}),
                ("get-resource-links", {"count": 4}),
                ("get-resource-reference", {"resourceType": "Text", "resourceId": 7}),
                ("get-resource-reference", {"resourceType": "Blob", "resourceId": 8}),
                ("get-resource-reference", {"resourceId": -1}),
                ("get-structured-content", {"location": "Chicago"}),
                ("get-structured-content", {"location": "Atlantis"}),
                ("get-sum", {"a": 10, "b": 5.5}),
                ("get-tiny-image", {}),
                ("gzip-file-as-resource", {**squeezed, "outputType": "resource"}),
                ("gzip-file-as-resource", {**squeezed, "name": "link.gz", "outputType": "resourceLink"}),
                ("gzip-file-as-resource", {**squeezed, "data": "ftp://127.0.0.1/"}),
                ("toggle-simulated-logging", {}),
                ("toggle-simulated-logging", {}),
                ("toggle-subscriber-updates", {}),
                ("toggle-subscriber-updates", {}),
                ("trigger-long-running-operation", {"duration": 0.15, "steps": 3}),
                ("get-roots-list", {}),
                ("trigger-sampling-request", {"prompt": "What is 6 by 7?", "maxTokens": 5}),
                ("trigger-elicitation-request", {}),
                ("trigger-url-elicitation", {"url": "https://example.com/form", "elicitationId": "e1"}),
                ("trigger-url-elicitation", {"url": "https://example.com/form", "errorPath": True}),
                ("simulate-research-query", {"topic": "python"}),
            ],
            tasks=(
                ("simulate-research-query", {"topic": "python", "ambiguous": True}),
                ("simulate-research-query", {"topic": "bees"}),
            ),
            prompts=(
                ("simple-prompt", {}),
                ("args-prompt", {"city": "Z\u00fcrich"}),
                ("args-prompt", {"city": "Springfield", "state": "Oregon"}),
                ("args-prompt", {}),
                ("completable-prompt", {"department": "Sales", "name": "Eve"}),
                ("resource-prompt", {"resourceType": "Text", "resourceId": "3"}),
                ("resource-prompt", {"resourceType": "Blob", "resourceId": "4"}),
                ("resource-prompt", {"resourceType": "Sound", "resourceId": "4"}),
            ),
            templates={
                text_template: ("demo://resource/dynamic/text/1", "demo://resource/dynamic/text/none"),
                blob_template: ("demo://resource/dynamic/blob/2",),
            },
            completions=(
                (prompt("completable-prompt"), "department", "S", {}),
                (prompt("completable-prompt"), "name", "", {"department": "Sales"}),
                (prompt("completable-prompt"), "name", "", {}),
                (prompt("resource-prompt"), "resourceType", "T", {}),
                (prompt("resource-prompt"), "resourceId", "12", {}),
                (prompt("args-prompt"), "city", "Z", {}),
                (template(text_template), "resourceId", "5", {}),
                (template(blob_template), "resourceId", "x", {}),
            ),
        ),
        "files": Script(
            "mcp-server-filesystem",
            args=(file(""),),
            calls=[
                ("list_allowed_directories", {}),
                ("read_file", {"path": file("notes.txt")}),
                ("read_file", {"path": str(folder / "mcp.json")}),
                ("read_text_file", {"path": file("notes.txt"), "head": 1}),
                ("read_text_file", {"path": file("notes.txt"), "tail": 1}),
                ("read_text_file", {"path": file("nothing.txt")}),
                ("read_media_file", {"path": file("pixel.png")}),
                ("read_media_file", {"path": file("sub/some.bin")}),
                ("read_multiple_files", {"paths": [file("sub/data.json"), file("nothing.txt")]}),
                ("get_file_info", {"path": file("notes.txt")}),
                ("create_directory", {"path": file("new/deep")}),
                ("write_file", {"path": file("new/hello.txt"), "content": "hello\nworld\n"}),
                (
                    "edit_file",
                    {
                        "path": file("new/hello.txt"),
                        "edits": [{"oldText": "world", "newText": "\u2603"}],
                        "dryRun": True,
                    },
                ),
                ("edit_file", {"path": file("new/hello.txt"), "edits": [{"oldText": "world", "newText": "moon"}]}),
                ("edit_file", {"path": file("new/hello.txt"), "edits": [{"oldText": "world", "newText": "sun"}]}),
                ("move_file", {"source": file("new/hello.txt"), "destination": file("sub/hello.txt")}),
                ("list_directory", {"path": file("sub")}),
                ("list_directory_with_sizes", {"path": file("sub"), "sortBy": "size"}),
                ("directory_tree", {"path": file(""), "excludePatterns": ["*.bin"]}),
                ("search_files", {"path": file(""), "pattern": "**/*.txt"}),
            ],
        ),
        "memory": Script(
            "mcp-server-memory",
            env={"MEMORY_FILE_PATH": str(folder / "memory.jsonl")},
            subscribed=(GRAPH,),
            calls=[
                ("read_graph", {}),
                ("create_entities", {"entities": [ADA, ENGINE]}),
                ("create_relations", {"relations": [USES]}),
                ("add_observations", {"observations": [{"entityName": "Engine", "contents": ["never built", "big"]}]}),
                ("add_observations", {"observations": [{"entityName": "Nobody", "contents": ["unknown"]}]}),
                ("search_nodes", {"query": "program"}),
                ("open_nodes", {"names": ["Engine"]}),
                ("delete_observations", {"deletions": [{"entityName": "Engine", "observations": ["big"]}]}),
                ("delete_relations", {"relations": [USES]}),
                ("delete_entities", {"entityNames": ["Ada"]}),
                ("delete_entities", {"entityNames": "Ada"}),
                ("read_graph", {}),
            ],
        ),
    }


def prompt(name: str) -> Message:
    return {"type": "ref/prompt", "name": name}


def template(uri: str) -> Message:
    return {"type": "ref/resource", "uri": uri}


def lay_out(folder: Path) -> None:
    """The files as they were before the servers wrote any; in an order, since some file systems list by age."""
    (folder / "memory.jsonl").unlink(missing_ok=True)
    shutil.rmtree(folder / "files", ignore_errors=True)
    for name, content in FILES.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (FILE_TIME, FILE_TIME))


# The client


def elicit(params: Message) -> Message:
    if params.get("mode") == "url":
        return {"result": {"action": "accept"}}
    return {"result": {"action": "accept", "content": {"name": "Ada", "check": True, "integer": 7}}}


def answers(folder: Path) -> dict[str, Callable[[Any], Message]]:
    """How the client answers, which is the same each time."""
    said = {"role": "assistant", "content": {"type": "text", "text": "42"}, "model": "a model", "stopReason": "endTurn"}
    # The folder that the file server has been given, because it takes the roots for its own as soon as it knows them.
    roots = [{"uri": (folder / "files").as_uri(), "name": "the files"}]
    return {
        "sampling/createMessage": lambda params: {"result": said},
        "elicitation/create": elicit,
        "roots/list": lambda params: {"result": {"roots": roots}},
    }


# What differs from run to run

RANDOM_LOG = re.compile(r"^(Debug|Info|Notice|Warning|Error|Critical|Alert|Emergency)[- ]level[- ]message$")


def normal(value: Any) -> Any:
    """A value of a message, without what is different each time."""
    match value:
        case {"level": str(), "data": str(data), **others} if RANDOM_LOG.match(data):
            # toggle-simulated-logging draws one of eight messages.
            return {**others, "level": "any", "data": "any"}
        case {"blob": str(blob), **others} if b"created at" in base64.b64decode(blob):
            return {**others, "text of the blob": normal(base64.b64decode(blob).decode())}
        case dict():
            return {key: normal(item) for key, item in value.items()}
        case list():
            return [normal(item) for item in value]
        case str():
            # The dynamic resources of the server "everything" tell the time of day,
            value = re.sub(r"created at \d+:\d+:\d+( [AP]M)?", "created at (a time)", value)
            # get_file_info when the file was laid out and read,
            value = re.sub(r"^(created|accessed): .*$", r"\1: (a time)", value, flags=re.MULTILINE)
            # and a task when it began and changed.
            value = re.sub(r"^\d+-\d+-\d+T\d+:\d+:\d+\.\d+Z$", "(a time)", value)
            # Tasks and trigger-url-elicitation make up ids; that of a task says its server to clients of the proxy.
            return re.sub(r"^(everything::)?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$", "(an id)", value)
    return value


def counts(message: Message) -> bool:
    """Whether a message of a server, other than a response, belongs to what is compared."""
    if message.get("method") == "notifications/message":
        # One of the servers writes to its log how many roots it was told of.
        return not str(message["params"]["data"]).startswith("Roots updated")
    # Two servers ask for the roots once for each connection, when they want to. What they do with the answer counts.
    return message.get("method") not in (None, "roots/list")


# Recording


@dataclass
class Step:
    """One request: the response, and what else came since it was sent."""

    answer: Message
    others: list[Message]
    """Notifications and questions in their order, without their ids, which are each connection's own."""
    list_changes: set[str]
    """Apart, because a proxy announces a change when it has looked at the lists, and many changes as one."""


Key = tuple[str, str, str]
"""Server, method, and which of its requests."""


@dataclass
class Recording:
    """What was offered, by client, at the beginning and at the end, and all that was said in between."""

    hello: dict[str, Message] = field(default_factory=dict)
    begin: dict[str, dict[str, list[Message]]] = field(default_factory=dict)
    end: dict[str, dict[str, list[Message]]] = field(default_factory=dict)
    steps: dict[Key, Step] = field(default_factory=dict)
    discover: dict[str, Message] = field(default_factory=dict)


class Player:
    """Plays the scripts.

    Args:
        clients: by server; through a proxy it is the same one for all.
        expected: what the servers do directly; nothing if this is what is to be found out.
        public: the name under which a tool or prompt of a server is offered.
    """

    def __init__(
        self, clients: Mapping[str, Client], expected: Recording | None, public: Callable[[str, str], str]
    ) -> None:
        self._clients = clients
        self._expected = expected
        self._public = public
        self.recording = Recording()

    async def play(self, wanted: Mapping[str, Script]) -> Recording:
        recorded = self.recording
        recorded.hello = {client.channel: client.hello for client in self._clients.values()}
        recorded.begin = {client.channel: await lists(client) for client in self._clients.values()}
        for server, script in wanted.items():
            await self._play(server, script)
        recorded.end = {client.channel: await lists(client) for client in self._clients.values()}
        return recorded

    async def _play(self, server: str, script: Script) -> None:
        if server == "everything":
            await self._step(server, "logging/setLevel", {"level": "error"})
        for uri in script.subscribed:
            await self._step(server, "resources/subscribe", {"uri": uri})  # which "everything" logs, at level info
        if server == "everything":
            await self._step(server, "logging/setLevel", {"level": "debug"})
        for tool, arguments in script.calls:
            await self._step(server, "tools/call", {"name": self._public(server, tool), "arguments": arguments}, tool)
        for index, (tool, arguments) in enumerate(script.tasks):
            params = {"name": self._public(server, tool), "arguments": arguments, "task": {"ttl": 60_000}}
            answer = await self._step(server, "tools/call", params, f"{tool}, as a task")
            task = {"taskId": answer.get("result", {}).get("task", {}).get("taskId", "unknown")}
            await self._step(server, "tasks/get", task)
            await self._step(server, "tasks/cancel" if index else "tasks/result", task)
        for name, arguments in script.prompts:
            await self._step(server, "prompts/get", {"name": self._public(server, name), "arguments": arguments}, name)
        for uri in [*await self._listed(server), *(uri for uris in script.templates.values() for uri in uris)]:
            await self._step(server, "resources/read", {"uri": uri}, uri)
        for ref, argument, value, before in script.completions:
            called = {**ref, "name": self._public(server, ref["name"])} if "name" in ref else ref
            params = {"ref": called, "argument": {"name": argument, "value": value}, "context": {"arguments": before}}
            await self._step(server, "completion/complete", params, f"{ref.get('name', ref.get('uri'))} {argument}")
        for uri in script.subscribed:
            await self._step(server, "resources/unsubscribe", {"uri": uri})

    async def _listed(self, server: str) -> list[str]:
        """The URIs that the server lists now: directly, because a proxy may be wrong about that."""
        if self._expected is not None:
            return [resource["uri"] for resource in self._expected.end[server]["resources/list"]]
        listed = (await lists(self._clients[server]))["resources/list"]
        return [resource["uri"] for resource in listed]

    async def _step(self, server: str, method: str, params: Message, about: str = "") -> Message:
        steps, client = self.recording.steps, self._clients[server]
        earlier = sum(key[:2] == (server, method) for key in steps)
        key = (server, method, f"{earlier + 1}. {about}")
        begun = len(client.inbox)
        token = {"_meta": {"progressToken": " ".join(key)}} if method == "tools/call" else {}
        answer: Message
        try:
            answer = await (await client.request(method, {**params, **token})).response()
        except Failure as failure:
            answer = {"none": failure.message}
        if self._expected is None:
            await client.ask("ping")  # what the server sent of its own is there when this is answered
        else:
            await self._wait(client, begun, self._expected.steps[key])
        sent = [message for message in client.inbox[begun:] if counts(message)]
        changes = {message["method"] for message in sent if message["method"].endswith("/list_changed")}
        steps[key] = Step(
            normal({part: value for part, value in answer.items() if part not in ("jsonrpc", "id")}),
            [bare(message) for message in sent if message["method"] not in changes],
            changes,
        )
        return answer

    async def _wait(self, client: Client, begun: int, step: Step) -> None:
        """Until as much came as came directly, or it will not come any more."""

        def enough(_: Message) -> bool:
            come = [message["method"] for message in client.inbox[begun:] if counts(message)]
            others = [method for method in come if not method.endswith("/list_changed")]
            return len(others) >= len(step.others) and step.list_changes <= set(come)

        if step.others or step.list_changes:
            with suppress(Failure):  # which the comparison will tell
                await client.wait(enough, "what comes directly", begun)


def bare(message: Message) -> Message:
    rest: Message = normal({part: value for part, value in message.items() if part not in ("jsonrpc", "id")})
    return rest


async def lists(client: Client) -> dict[str, list[Message]]:
    """All that is offered, every page of it; nothing where the server has no such list."""
    found: dict[str, list[Message]] = {}
    for method, key in LISTS.items():
        found[method], cursor = [], None
        while True:
            response = await (await client.request(method, {"cursor": cursor} if cursor else {})).response()
            if "error" in response:
                assert response["error"]["code"] == METHOD_NOT_FOUND, response
                break
            found[method] += response["result"][key]
            if not (cursor := response["result"].get("nextCursor")):
                break
    return found


async def record_directly(folder: Path, wanted: Mapping[str, Script]) -> Recording:
    async with AsyncExitStack() as stack:
        clients = {}
        for name, script in wanted.items():
            connection = connect(
                script.command, "stdio", "legacy", channel=name, capabilities=CAPABILITIES, answers=answers(folder)
            )
            clients[name] = await stack.enter_async_context(connection)
        with anyio.fail_after(LONGEST):
            recording = await Player(clients, None, lambda server, name: name).play(wanted)
        for name, script in wanted.items():
            client = await stack.enter_async_context(connect(script.command, "stdio", "modern"))
            recording.discover[name] = await (await client.request("server/discover")).response()
        return recording


async def record_through_proxy(
    folder: Path, wanted: Mapping[str, Script], scope: str, expected: Recording
) -> Recording:
    servers = {name: {**script.config, "scope": scope} for name, script in wanted.items()}
    config, log = write_config(folder / "mcp.json", servers), folder / f"{scope}.log"
    # Without what it would hand on to the servers, besides: proxies, certificates, settings of package managers.
    measured = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}
    arguments = ("--transport", "stdio", "--config", str(config))
    command = with_only(measured, sys.executable, str(ROOT / "main.py"), *arguments)
    options: dict[str, Any] = {
        "capabilities": CAPABILITIES,
        "answers": answers(folder),
        "stderr": log,
    }
    async with connect(command, "stdio", "legacy", handshake=False, channel="proxy", **options) as client:
        with anyio.fail_after(LONGEST):
            # A client that is greeted earlier is not told the instructions of servers that are still starting.
            while log.read_text().count(": ready (stdio") < len(wanted):
                await anyio.sleep(0.01)
            await greet(client)
            player = Player(dict.fromkeys(wanted, client), expected, lambda server, name: f"{server}::{name}")
            recording = await player.play(wanted)
        assert client.process is not None
        family = {client.process.pid, *descendants(client.process.pid)}
    until(lambda: not any(alive(pid) for pid in family), TIMEOUT, "the end of the proxy and of its servers")
    assert "Traceback" not in log.read_text(), log.read_text()
    return recording


# Comparing

Played = tuple[dict[str, Script], Recording, Recording]


@pytest.fixture(scope="module")
def directly(npm: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Script], Recording]:
    """The folder in which all is played, the scripts, and what was recorded without the proxy."""
    folder = tmp_path_factory.mktemp("npm")
    wanted = scripts(folder)
    lay_out(folder)
    return folder, wanted, anyio.run(record_directly, folder, wanted)


@pytest.fixture(scope="module", params=["shared", "session"])
def played(directly: tuple[Path, dict[str, Script], Recording], request: pytest.FixtureRequest) -> Played:
    """The scripts, and what was recorded directly and through the proxy, with either scope of connections."""
    folder, wanted, direct = directly
    lay_out(folder)
    return wanted, direct, anyio.run(record_through_proxy, folder, wanted, request.param, direct)


def qualified(played: Played, moment: str, method: str) -> list[Message]:
    """What the servers list directly, under the names that the proxy has to give it."""
    wanted, direct, _ = played
    found = []
    for server in wanted:
        for entry in getattr(direct, moment)[server][method]:
            named = method in ("tools/list", "prompts/list")
            found.append({**entry, "name": f"{server}::{entry['name']}"} if named else entry)
    return found


@pytest.mark.parametrize("method", LISTS)
def test_lists(played: Played, method: str) -> None:
    check_lists(played, "begin", method)


def test_lists_at_the_end(played: Played) -> None:
    """One of the servers offers resources now that it did not have at the beginning."""
    for method in LISTS:
        check_lists(played, "end", method)
    assert qualified(played, "end", "resources/list") != qualified(played, "begin", "resources/list")


def check_lists(played: Played, moment: str, method: str) -> None:
    expected, got = qualified(played, moment, method), getattr(played[2], moment)["proxy"][method]
    assert expected
    assert [entry["name"] for entry in got] == [entry["name"] for entry in expected]
    assert got == expected


def test_greeting(played: Played) -> None:
    wanted, direct, proxied = played
    hello = proxied.hello["proxy"]
    said = [f"# {server}\n\n{text}" for server in wanted if (text := direct.hello[server].get("instructions"))]
    assert said
    assert hello["instructions"] == "\n\n".join(said)
    able = {
        (capability, detail)
        for server in wanted
        for capability, details in direct.hello[server]["capabilities"].items()
        for detail in details or [""]
    }
    assert able <= {(key, detail) for key, details in hello["capabilities"].items() for detail in ["", *details]}


@pytest.mark.parametrize(("server", "method"), PARTS)
def test_answers(played: Played, server: str, method: str) -> None:
    compare(played, lambda key, step: without_chain(step.answer) if key[:2] == (server, method) else None)


@pytest.mark.parametrize("method", SENT)
def test_messages_meanwhile(played: Played, method: str) -> None:
    compare(played, lambda _, step: [message for message in step.others if message["method"] == method])


def test_list_changes(played: Played) -> None:
    _, direct, proxied = played
    changes = {key: step.list_changes for key, step in direct.steps.items() if step.list_changes}
    assert {method for methods in changes.values() for method in methods} == {"notifications/resources/list_changed"}
    assert {key: proxied.steps[key].list_changes & methods for key, methods in changes.items()} == changes


def without_chain(answer: Any) -> Any:
    """An answer without the chain of proxies that leads to a server, which `get-env` shows."""
    return json.loads(re.sub(r',\\n  \\"MULTI_MCP_CHAIN\\": \\"[^"\\]+\\"', "", json.dumps(answer)))


def compare(played: Played, part: Callable[[Key, Step], Any]) -> None:
    """That a part of each step, if any, is there and is the same."""
    _, direct, proxied = played
    expected, got = ({key: part(key, step) for key, step in r.steps.items()} for r in (direct, proxied))
    assert any(expected.values())
    wrong = {" ".join(k): {"directly": v, "proxied": got[k]} for k, v in expected.items() if got[k] != v}
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


def test_nothing_is_left_out(played: Played) -> None:
    """What is offered directly is in the script, and what the servers send is compared."""
    wanted, direct, _ = played
    for server, script in wanted.items():
        offered = direct.end[server]
        assert {tool for tool, _ in script.calls} == {tool["name"] for tool in offered["tools/list"]}
        assert {name for name, _ in script.prompts} == {prompt["name"] for prompt in offered["prompts/list"]}
        assert set(script.templates) == {entry["uriTemplate"] for entry in offered["resources/templates/list"]}
    assert {key[:2] for key in direct.steps} == set(PARTS)
    assert {message["method"] for step in direct.steps.values() for message in step.others} == set(SENT)


def test_none_speaks_the_modern_era(played: Played) -> None:
    """When this fails, the script has to be played in that era, too."""
    wanted, direct, _ = played
    errors = {server: response.get("error", {}).get("code") for server, response in direct.discover.items()}
    assert errors == dict.fromkeys(wanted, METHOD_NOT_FOUND)
