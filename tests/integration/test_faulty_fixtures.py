"""The fixture servers of the harness keep what they promise, to raw clients of both eras, over each transport.

What they promise is in their docstrings. Over SSE and streamable HTTP one process of each serves all tests.
"""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

import anyio
import pytest
from support import SERVERS, TIMEOUT, Process

from conformance.client import Call, Client, Command, Url, connect
from conformance.fixtures import Journal
from conformance.verdict import Failure

Message = dict[str, Any]

MISSING_CAPABILITY = -32021
EVERYTHING_ABLE = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}, "vendor": {"kept": None}}
FORM = {"action": "accept", "content": {"name": "Ada"}, "vendorField": None}
SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "Paris", "vendorField": 1}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///a", "vendorField": 1}]}
ANSWERS = {"elicitation/create": FORM, "sampling/createMessage": SAMPLED, "roots/list": ROOTS}


def command(name: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-W", "error", str(SERVERS / f"{name}.py"), *args)


@dataclass
class Network:
    """Servers over SSE and HTTP, started when they are first asked for."""

    folder: Path
    stack: ExitStack
    running: dict[tuple[str, ...], tuple[str, Path]] = field(default_factory=dict)

    def find(self, name: str, *args: str) -> tuple[str, Path]:
        """Its URL without a path, and its journal."""
        key = (name, *args)
        if key not in self.running:
            journal = self.folder / str(len(self.running))
            process = Process(*command(name, "--transport", "http", "--port", "0", "--journal", str(journal), *args))
            self.stack.callback(process.kill)
            self.stack.callback(process.popen.terminate)
            self.running[key] = process.expect(r"listening on (http://[^/]+)").group(1), journal
        return self.running[key]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(tmp_path_factory.mktemp("network"), stack)


@dataclass
class Case:
    """A way to connect: transport and era."""

    transport: Any
    era: Any
    network: Network
    folder: Path

    @asynccontextmanager
    async def connect(self, name: str, *args: str, **options: Any) -> AsyncIterator[tuple[Client, Journal]]:
        endpoint: Command | Url
        if self.transport == "stdio":
            path = self.folder / "journal"
            endpoint = Command(command(name, "--journal", str(path), *args))
        else:
            url, path = self.network.find(name, *args)
            endpoint = Url(url + {"sse": "/sse", "http": "/mcp"}[self.transport])
        journal = Journal(path)
        journal.mark()
        async with connect(endpoint, self.transport, self.era, **options) as client:
            yield client, journal


NETWORK = ["sse-legacy", "sse-modern", "http-legacy", "http-modern"]
over_the_network = pytest.mark.parametrize("case", NETWORK, indirect=True)
"""Enough for what stdio shares with SSE: each process over stdio costs a second."""


@pytest.fixture(params=["stdio-legacy", "stdio-modern", *NETWORK])
def case(request: pytest.FixtureRequest, network: Network, tmp_path: Path) -> Case:
    transport, era = request.param.split("-")
    return Case(transport, era, network, tmp_path)


async def begin(client: Client, tool: str, meta: Message | None = None, **arguments: Any) -> Call:
    more = {"_meta": meta} if meta else {}
    return await client.request("tools/call", {"name": tool, "arguments": arguments, **more})


async def call(client: Client, tool: str, **arguments: Any) -> Message:
    """The whole response."""
    return await (await begin(client, tool, **arguments)).response()


def text(response: Message) -> str:
    return str(response["result"]["content"][0]["text"])


async def received(journal: Journal, method: str) -> Message:
    """The journal's entry of a message; the wait has room for the start of a process."""
    return await journal.wait(lambda entry: entry.get("method") == method, method, wait=TIMEOUT)


async def ended(journal: Journal, at: str, tool: str) -> Message:
    return await journal.wait(lambda entry: entry["at"] == at and entry["tool"] == tool, f"{tool} {at}", wait=TIMEOUT)


# The journal, and what all have in common


async def test_the_journal_tells_what_was_on_the_wire(case: Case) -> None:
    async with case.connect("silent") as (client, journal):
        waiting = await begin(client, "ignore", {"vendor.example/key": None}, deep=[1, None])
        seen = await received(journal, "tools/call")
        assert (seen["id"], seen["era"]) == (waiting.id, case.era)
        assert seen["params"]["arguments"] == {"deep": [1, None]}
        assert seen["params"]["_meta"]["vendor.example/key"] is None
        if case.transport == "http" and case.era == "modern":
            await waiting.hang_up()
        else:
            await waiting.cancel()
            cancel = await received(journal, "notifications/cancelled")
            assert cancel["params"]["requestId"] == seen["id"]
            assert "id" not in cancel
        cancelled = await ended(journal, "cancelled", "ignore")
        assert cancelled["arguments"] == {"deep": [1, None]}
        assert text(await call(client, "hello")) == "hello"
        await ended(journal, "finished", "hello")
        assert not waiting.lost or case.transport == "http"


async def test_a_call_whose_client_vanishes_is_cancelled(case: Case) -> None:
    if (case.transport, case.era) == ("http", "legacy"):
        pytest.skip("a legacy session outlives its streams")
    async with case.connect("silent") as (client, journal):
        await begin(client, "ignore", label="vanish")
        await received(journal, "tools/call")
    await ended(journal, "cancelled", "ignore")


async def test_legacy_only(case: Case) -> None:
    async with case.connect("silent", "--era", "legacy") as (client, _):
        if case.era == "legacy":
            assert text(await call(client, "hello")) == "hello"
            return
        discover = await client.request("server/discover")
        if case.transport == "http":
            with pytest.raises(Failure, match=r"HTTP 400: .*-32000"):
                await discover.response()
        else:
            assert (await discover.response())["error"]["code"] == -32601


async def test_modern_only(case: Case) -> None:
    async with case.connect("silent", "--era", "modern", handshake=False) as (client, _):
        if case.era == "modern":
            assert text(await call(client, "hello")) == "hello"
            return
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        error = (await (await client.request("initialize", params)).response())["error"]
        assert error["code"] == -32022
        assert error["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        assert (await (await client.request("tools/list")).response())["error"]["code"] == -32602


# slow


@over_the_network
async def test_slow_calls_wait_for_each_other(case: Case) -> None:
    label = f"{case.transport}-{case.era}"
    async with case.connect("slow") as (client, _):
        releasing = await begin(client, "release", label=label)
        waiting = await begin(client, "wait", label=label)
        assert text(await waiting.response()) == label
        assert text(await releasing.response()) == f"{label} released"
        one, other = [await begin(client, "rendezvous", room=label, size=2, say=say) for say in ("one", "other")]
        assert text(await one.response()) == "one"
        assert text(await other.response()) == "other"


@over_the_network
async def test_slow_progress(case: Case) -> None:
    async with case.connect("slow") as (client, _):
        told = await begin(client, "progress", {"progressToken": "token"}, steps=3)
        assert text(await told.response()) == "3 steps"
        seen = [message["params"] for message in told.before if message["method"] == "notifications/progress"]
        assert [{"progress": step, "total": 3, "message": f"step {step}"} for step in (1, 2, 3)] == [
            {key: params[key] for key in ("progress", "total", "message")} for params in seen
        ]
        assert {params["progressToken"] for params in seen} == {"token"}


async def test_slow_answers_late(case: Case) -> None:
    label = f"late-{case.transport}-{case.era}"
    async with case.connect("slow") as (client, journal):
        late = await begin(client, "late", label=label)
        await received(journal, "tools/call")
        if case.transport == "http":
            await (late.hang_up() if case.era == "modern" else late.cancel())
        else:
            await late.cancel()
        await ended(journal, "cancelled", "late")
        await call(client, "release", label=label)
        if case.transport != "http":
            assert text(await late.response()) == label


async def test_slow_reads_late(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    endpoint = Command(command("slow", "--journal", str(path), "--delay", "1"))
    async with connect(endpoint, "stdio", "legacy", handshake=False) as client:
        initialize = await client.request("initialize", {})
        await Journal(path).wait(lambda entry: entry["at"] == "started", "the start", wait=TIMEOUT)
        assert not Journal(path).received("initialize")
        await initialize.response()


# asking


async def outcome(client: Client, tool: str, **arguments: Any) -> Message:
    """The response after all questions are answered: live ones by the client, those of results here."""
    params: Message = {"name": tool, "arguments": arguments}
    while True:
        response = await (await client.request("tools/call", params)).response()
        result = response.get("result", {})
        if result.get("resultType") != "input_required":
            return response
        answers = {key: ANSWERS[question["method"]] for key, question in result["inputRequests"].items()}
        params |= {"inputResponses": answers, "requestState": result["requestState"]}


LIVE = {method: lambda params, answer=answer: {"result": answer} for method, answer in ANSWERS.items()}


async def test_asking_gets_answers_as_they_are(case: Case) -> None:
    async with case.connect("asking", capabilities=EVERYTHING_ABLE, answers=LIVE) as (client, _):
        for tool, answer in {"sample": SAMPLED, "elicit": FORM, "elicit_url": FORM, "roots": ROOTS}.items():
            assert (await outcome(client, tool))["result"]["structuredContent"] == {"answer": answer}
        both = {"elicit": {"answer": FORM}, "sample": {"answer": SAMPLED}}
        assert (await outcome(client, "several"))["result"]["structuredContent"] == {"answers": both}
        rounds = (await outcome(client, "rounds", n=3))["result"]["structuredContent"]
        assert rounds == {"answers": [{"answer": FORM}] * 3}
        seen = (await outcome(client, "capabilities"))["result"]["structuredContent"]
        assert seen == {"capabilities": EVERYTHING_ABLE}


@over_the_network
async def test_asking_respects_what_the_client_can(case: Case) -> None:
    async with case.connect("asking", capabilities={"elicitation": {}}, answers=LIVE) as (client, _):
        assert (await outcome(client, "elicit"))["result"]["structuredContent"] == {"answer": FORM}
        for tool, needed, code in (
            ("sample", {"sampling": {}}, -32601),
            ("roots", {"roots": {}}, -32601),
            ("elicit_url", {"elicitation": {"url": {}}}, -32602),
        ):
            response = await outcome(client, tool)
            if case.era == "modern":
                assert response["error"]["code"] == MISSING_CAPABILITY
                assert response["error"]["data"] == {"requiredCapabilities": needed}
            else:
                assert response["result"]["isError"] is True
                assert response["result"]["structuredContent"]["error"]["code"] == code


@over_the_network
async def test_asking_gets_refusals_as_they_are(case: Case) -> None:
    if case.era == "modern":
        pytest.skip("a modern client refuses by not trying again")
    refusal = {"code": -1, "message": "no", "data": {"why": None}}
    answers = {"sampling/createMessage": lambda params: {"error": refusal}}
    async with case.connect("asking", capabilities=EVERYTHING_ABLE, answers=answers) as (client, _):
        result = (await outcome(client, "sample"))["result"]
        assert (result["structuredContent"], result["isError"]) == ({"error": refusal}, True)


@over_the_network
async def test_asking_wants_its_state_back(case: Case) -> None:
    if case.era == "legacy":
        pytest.skip("only results have a state")
    async with case.connect("asking", capabilities=EVERYTHING_ABLE) as (client, _):
        retry = {"name": "elicit", "inputResponses": {"elicit": FORM}, "requestState": "forged"}
        error = (await (await client.request("tools/call", retry)).response())["error"]
        assert (error["code"], error["data"]) == (-32602, {"received": "forged"})


# malformed


@over_the_network
async def test_malformed_answers_what_it_is_told(case: Case) -> None:
    complete = {"resultType": "complete"} if case.era == "modern" else {}
    async with case.connect("malformed") as (client, _):
        odd = {"content": [{"type": "vendor/x", "n": None}], "isError": None, "numbers": [2**53 + 1, 5e-324]}
        assert (await call(client, "result", result=odd))["result"] == complete | odd
        for error in ({"code": -31999, "message": "m", "data": {"x": None}}, {"code": 7, "message": "m"}):
            assert (await call(client, "error", error=error))["error"] == error
        params = {"name": "echo", "vendorField": None, "_meta": {"vendor.example/key": None}}
        echoed = (await client.ask("tools/call", params))["structuredContent"]["params"]
        assert (echoed["vendorField"], echoed["_meta"]["vendor.example/key"]) == (None, None)
        assert "arguments" not in echoed
        assert len(text(await call(client, "big", size=1_500_003))) == 1_500_003
        for tool in ("with::colons", "with__underscores", "vendor"):
            assert text(await call(client, tool)) == tool


async def test_malformed_breaks_the_protocol(case: Case) -> None:
    async with case.connect("malformed") as (client, _):
        assert (await call(client, "list_result"))["result"] == []
        assert text(await call(client, "stranger")) == "stranger"
        strangers = [message for message in client.inbox if message.get("id") == "nobody-asked"]
        assert len(strangers) == (case.transport != "http")
        assert text(await call(client, "garbage")) == "garbage"
        assert len(client.strays) == (5 if case.transport == "stdio" else 0)
        assert text(await call(client, "vendor")) == "vendor"


@over_the_network
async def test_malformed_lists(case: Case) -> None:
    async with case.connect("malformed") as (client, _):
        for method, key in (
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ):
            result = await client.ask(method)
            assert result["vendorField"] == result[key][-1]["vendorField"] == {"kept": [None, 1, "x"]}
            assert result[key][-1]["icons"]
        messages = (await client.ask("prompts/get", {"name": "vendor", "arguments": {"topic": "hologram"}}))["messages"]
        assert messages[1]["content"]["type"] == "vendor/hologram"
        contents = (await client.ask("resources/read", {"uri": "malformed://vendor/hologram"}))["contents"]
        assert contents[1]["hologram"]["voxels"]
        missing = await (await client.request("resources/read", {"uri": "malformed://no"})).response()
        assert missing["error"]["code"] == (-32602 if case.era == "modern" else -32002)


# changing


async def test_changing_says_what_changed(case: Case) -> None:
    name = f"{case.transport}-{case.era}"
    async with case.connect("changing") as (client, _):
        if case.era == "modern":
            wanted = {"toolsListChanged": True, "resourceSubscriptions": ["changing://a"]}
            await client.request("subscriptions/listen", {"notifications": wanted})
            await client.wait(lambda m: "acknowledged" in m.get("method", ""), "the acknowledgment", wait=TIMEOUT)
        else:
            await client.ask("resources/subscribe", {"uri": "changing://a"})
        for kind in ("prompts", "resources", "templates", "tools"):
            assert name in text(await call(client, "change", kind=kind, name=name))
        await call(client, "touch", uri="changing://b")
        await call(client, "touch", uri="changing://a")
        await client.wait(lambda m: m.get("params", {}).get("uri") == "changing://a", "the update")
        said = [m["method"].removeprefix("notifications/") for m in client.inbox if "id" not in m][-6:]
        changes = ["prompts/list_changed", "resources/list_changed", "resources/list_changed", "tools/list_changed"]
        assert said[-5:] == [*changes, "resources/updated"] or case.era == "modern"
        assert said[-2:] == ["tools/list_changed", "resources/updated"]
        assert text(await call(client, name)) == name
        assert [p["name"] for p in (await client.ask("prompts/list"))["prompts"]] == ["fixed", name]
        assert [r["name"] for r in (await client.ask("resources/list"))["resources"]] == ["a", "b", name]
        await client.ask("resources/read", {"uri": f"changing://{name}/1"})
        for kind in ("prompts", "resources", "templates", "tools"):
            assert name not in text(await call(client, "change", kind=kind, name=name))


@over_the_network
async def test_changing_quietly(case: Case) -> None:
    async with case.connect("changing", "--quiet") as (client, _):
        hello = client.hello if case.era == "legacy" else await client.ask("server/discover")
        assert not any(hello["capabilities"][kind]["listChanged"] for kind in ("tools", "prompts", "resources"))
        await call(client, "change", kind="tools", name="quiet")
        assert "quiet" in [tool["name"] for tool in (await client.ask("tools/list"))["tools"]]
        await call(client, "change", kind="tools", name="quiet")
        assert not [message for message in client.inbox if "method" in message]


# stateful


@over_the_network
async def test_stateful_remembers_as_long_as_the_connection(case: Case) -> None:
    async with case.connect("stateful", capabilities=EVERYTHING_ABLE) as (client, _):
        await call(client, "remember", key="k", value="v")
        value = (await call(client, "recall", key="k"))["result"]["structuredContent"]["value"]
        assert value == ("v" if case.era == "legacy" else None)
        who = (await call(client, "whoami"))["result"]["structuredContent"]
        assert who["clientInfo"]["name"] == "mcp-proxy-conformance"
        assert who["capabilities"] == EVERYTHING_ABLE
    async with case.connect("stateful") as (client, _):
        assert (await call(client, "recall", key="k"))["result"]["structuredContent"] == {"value": None}


async def test_stateful_logs_at_the_level_asked_for(case: Case) -> None:
    meta = {"io.modelcontextprotocol/logLevel": "warning"} if case.era == "modern" else None
    async with case.connect("stateful") as (client, _):
        if case.era == "legacy":
            await client.ask("logging/setLevel", {"level": "warning"})
        heard = await begin(client, "log", meta, level="error", data={"deep": None}, logger="here")
        await heard.response()
        [message] = [message for message in heard.before if message["method"] == "notifications/message"]
        assert message["params"] == {"level": "error", "data": {"deep": None}, "logger": "here"}
        unheard = await begin(client, "log_many", meta, n=2)
        await unheard.response()
        assert unheard.before == []
        if case.era == "modern":
            bad = await begin(client, "whoami", {"io.modelcontextprotocol/logLevel": "loud"})
        else:
            bad = await client.request("logging/setLevel", {"level": "loud"})
        assert (await bad.response())["error"]["code"] == -32602


# paginated


async def test_paginated_lists_have_pages(case: Case) -> None:
    async with case.connect("paginated") as (client, _):
        for method, key in (
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ):
            sizes, names, params = list[int](), set[str](), dict[str, Any]()
            while True:
                page = await client.ask(method, params)
                sizes.append(len(page[key]))
                names |= {item["name"] for item in page[key]}
                if "nextCursor" not in page:
                    break
                params = {"cursor": page["nextCursor"]}
            assert (sizes, len(names)) == ([10, 10, 5], 25)
            error = (await (await client.request(method, {"cursor": "unknown"})).response())["error"]
            assert error["code"] == -32602
        assert text(await call(client, "tool-25")) == "tool-25"
        assert (await call(client, "tool-26"))["error"]["code"] == -32602
        assert (await client.ask("resources/read", {"uri": "paginated://07/x"}))["contents"]


@pytest.mark.parametrize(("pages", "distinct"), [("loop", 3), ("endless", 6)])
async def test_paginated_without_end(pages: str, distinct: int) -> None:
    async with connect(Command(command("paginated", "--pages", pages)), "stdio", "legacy") as client:
        seen, params = set[str](), dict[str, Any]()
        for _ in range(6):
            page = await client.ask("tools/list", params)
            seen.add(page["tools"][0]["name"])
            params = {"cursor": page["nextCursor"]}
        assert len(seen) == distinct


# crashing, silent


@over_the_network
async def test_the_journal_tells_which_requests_were_authorized(case: Case) -> None:
    async with case.connect("silent", headers={"Authorization": "Bearer mine"}) as (client, journal):
        assert text(await call(client, "hello")) == "hello"
        seen = [(entry["request"], entry["authorization"]) for entry in journal.entries if entry["at"] == "authorized"]
    requests = {"sse": {"GET /sse", "POST /messages/"}, "http": {"POST /mcp"}}[case.transport]
    more = {"GET /mcp"} if (case.transport, case.era) == ("http", "legacy") else set[str]()
    assert set(seen) == {(request, "Bearer mine") for request in requests | more}
    async with case.connect("silent") as (client, journal):
        assert text(await call(client, "hello")) == "hello"
        assert not [entry for entry in journal.entries if entry["at"] == "authorized"]


async def test_crashing_in_a_call(tmp_path: Path) -> None:
    async with connect(Command(command("crashing")), "stdio", "modern") as client:
        assert client.process
        assert text(await call(client, "pid")) == str(client.process.pid)
        await begin(client, "crash")
        with anyio.fail_after(TIMEOUT):
            assert await client.process.wait() == 7


def test_crashing_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    crashed = run(
        command("crashing", "--at", "start", "--journal", str(path)),
        stdin=DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert (crashed.returncode, crashed.stdout) == (3, b"")
    assert crashed.stderr == b"crashing at the start, as told\n"
    assert [entry["at"] for entry in Journal(path).entries] == ["started"]


async def test_silent_on_methods_reads_on(case: Case) -> None:
    opening = "initialize" if case.era == "legacy" else "server/discover"
    args = ("--on", "initialize", "--on", "server/discover", "--on", "tools/list")
    async with case.connect("silent", *args, handshake=False) as (client, journal):
        unanswered = [await client.request(method, {}) for method in (opening, "tools/list")]
        await received(journal, "tools/list")
        if case.era == "modern":
            assert text(await call(client, "hello")) == "hello"
            assert not any(request.done for request in unanswered)
        assert not unanswered[0].done


def test_the_end_of_stdin_ends_a_silent_server() -> None:
    line = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", '
    line += b'"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
    ended = run(command("silent", "--on", "initialize"), input=line, capture_output=True, timeout=TIMEOUT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
