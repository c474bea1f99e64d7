"""Scenarios of the area lifecycle."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio

from conformance.case import Transport
from conformance.client import BATCHES, ENVELOPE, EXIT_WAIT
from conformance.fixtures import Journal, Server
from conformance.requirements.model import LEGACY, MODERN, REVISIONS
from conformance.session import DECLARED_SINCE, ListKind, Session, declares
from conformance.verdict import Failure, NotApplicable, NotOffered
from conformance.wire import Message

from .processes import kill, processes, require_gone
from .registry import scenario
from .watching import watching

LEGACY_REVISIONS = [revision for revision in REVISIONS if revision != MODERN]
CAPABILITIES = ("tools", "prompts", "resources", "completions")
INSTRUCTIONS = "A server to try an MCP client or proxy with: it has one of everything."
"""Those of `everything`."""


async def hello(s: Session) -> Message:
    """The answer to `initialize` when the backends are up, where a client can come that late: over stdio it cannot."""
    if s.case.client == "stdio":
        return (await s.client("everything")).hello
    await s.list("tools", "everything")
    return (await s.another().client("everything")).hello


async def discovered(s: Session) -> Message:
    """The answer to `server/discover` when the backends are up."""
    await s.list("tools", "everything")
    return (await s.request("everything", "server/discover")).result


async def require_capabilities(s: Session, answer: Message) -> None:
    """What works is declared. That what is declared works is for the requirements on it to say."""
    undeclared = [name for name in CAPABILITIES if not declares(answer.get("capabilities") or {}, name)]
    known = [name for name in undeclared if s.revision >= DECLARED_SINCE.get(name, "")]
    s.equal([name for name in known if await works(s, name)], [], "these work, and are not declared")
    if len(undeclared) == len(CAPABILITIES):
        raise NotOffered("it declares and has nothing")


async def works(s: Session, capability: str) -> bool:
    """Whether something can be had of a capability."""
    if capability == "completions":
        ref = {"type": "ref/prompt", "name": s.scheme.public("prompt", "everything", "test_prompt_with_arguments")}
        params = {"ref": ref, "argument": {"name": "arg1", "value": "par"}}
        result = (await s.request("everything", "completion/complete", params)).response.get("result") or {}
        return bool((result.get("completion") or {}).get("values"))
    result = (await s.request("everything", f"{capability}/list")).response.get("result") or {}
    return bool(result.get(capability))


def require_instructions(s: Session, answer: Message) -> None:
    said = answer.get("instructions")
    s.require(INSTRUCTIONS in (said or ""), "the instructions of a backend do not reach the client", INSTRUCTIONS, said)


@scenario("lifecycle:initialize:revisions")
async def revisions(s: Session) -> None:
    """A revision that it ever answers with it supports, and so has to answer with it whenever it is asked for it.

    Over stdio every client has a process of its own, so there the newest and the oldest stand for all.
    """
    answers = {LEGACY: str((await s.client()).hello.get("protocolVersion"))}
    asked = [revision for revision in LEGACY_REVISIONS if revision != LEGACY]
    for revision in asked[: 1 if s.case.client == "stdio" else None]:
        answers[revision] = await answer(s, revision)
    s.require(set(answers.values()) <= {*LEGACY_REVISIONS}, "a revision is answered that is none", "", answers)
    for supported in sorted({*answers.values()}):
        found = answers.get(supported) or await answer(s, supported)
        s.equal(found, supported, f"a client of {supported} got another revision, which it supports by its answers")


async def answer(s: Session, revision: str) -> str:
    """The revision that another client gets that asks for this one."""
    return str((await s.another(revision=revision).client()).hello.get("protocolVersion"))


@scenario("lifecycle:initialize:unknown")
async def unknown_revision(s: Session) -> None:
    client = await s.another(revision="1999-12-31").client()
    answered = client.hello.get("protocolVersion")
    what = "an unknown revision was not answered with one of the handshake"
    s.require(answered in LEGACY_REVISIONS, what, " or ".join(LEGACY_REVISIONS), answered)


@scenario("lifecycle:initialize:server-info")
async def server_info(s: Session) -> None:
    info = (await s.client("everything")).hello.get("serverInfo") or {}
    for key in ("name", "version"):
        s.require(info.get(key), f"serverInfo has no {key}", actual=info)


@scenario("lifecycle:initialize:capabilities")
async def initialize_capabilities(s: Session) -> None:
    await require_capabilities(s, await hello(s))


@scenario("lifecycle:capabilities:backed", servers=("slow", "stateful"), proxy_only=True)
async def backed(s: Session) -> None:
    """What the proxy has of its own counts as well."""
    declared = await s.capabilities("slow")
    lists: dict[str, tuple[ListKind, ...]] = {"prompts": ("prompts",), "resources": ("resources", "templates")}
    for capability, kinds in lists.items():
        there = capability not in declared or any([await s.merged(kind) for kind in kinds])
        s.require(there, f"{capability} are declared, and there are none", actual=declared)


@scenario("lifecycle:capabilities:used", servers=("asking", "changing"), proxy_only=True, needs=("shared endpoint",))
async def used_lists(s: Session) -> None:
    for method in ("prompts/list", "resources/list", "resources/templates/list"):
        await s.request("changing", method, {})
    asked_only(s, "asking", "initialize", "ping", "tools/")


@scenario("lifecycle:capabilities:used", servers=("slow", "stateful"), proxy_only=True, needs=("shared endpoint",))
async def used_levels(s: Session) -> None:
    await s.request("stateful", "logging/setLevel", {"level": "debug"})
    asked_only(s, "slow", "initialize", "ping", "tools/")


def asked_only(s: Session, server: str, *methods: str) -> None:
    """Of all that a server was asked in the legacy era, since it started, everything begins so."""
    received = [entry for entry in Journal(s.journal(server).path).entries if entry["at"] == "received"]
    asked = [entry["method"] for entry in received if entry["era"] == "legacy" and "id" in entry]
    undeclared = sorted({method for method in asked if not method.startswith(methods)})
    s.equal(undeclared, [], f"{server} has nothing but tools, and was asked for more")


@scenario("lifecycle:initialize:instructions", servers=("paginated", "everything"), clients=("sse", "http"))
async def initialize_instructions(s: Session) -> None:
    require_instructions(s, await hello(s))


@scenario("lifecycle:initialized:quiet")
async def quiet(s: Session) -> None:
    """A response to the notification would have come before the second that was asked for, and have no id."""
    client = await s.client("everything")
    await client.ask("ping")
    answered = [message.get("id") for message in client.inbox if "method" not in message]
    s.require(None not in answered[:2], "there is a response to a notification", actual=client.inbox[:3])


@scenario("lifecycle:ping:answered")
async def ping(s: Session) -> None:
    s.equal((await s.request("everything", "ping")).result, {}, "the result of ping is not empty")


@scenario("lifecycle:discover:revisions")
async def discover_revisions(s: Session) -> None:
    supported = (await discovered(s)).get("supportedVersions") or []
    s.require(MODERN in supported, "server/discover does not name the revision it was asked in", MODERN, supported)


@scenario("lifecycle:discover:capabilities")
async def discover_capabilities(s: Session) -> None:
    await require_capabilities(s, await discovered(s))


@scenario("lifecycle:discover:instructions", servers=("paginated", "everything"))
async def discover_instructions(s: Session) -> None:
    require_instructions(s, await discovered(s))


@scenario("lifecycle:envelope:unsupported")
async def unsupported(s: Session) -> None:
    outcome = await s.request("everything", "tools/list", {"_meta": {f"{ENVELOPE}protocolVersion": "2099-12-31"}})
    s.equal(outcome.error.get("code"), -32022, "an unknown revision got another error")
    supported = (outcome.error.get("data") or {}).get("supported") or []
    s.require(MODERN in supported, "the error does not name the revisions that are supported", MODERN, supported)


@scenario("lifecycle:envelope:missing")
async def missing(s: Session) -> None:
    client = await s.client("everything")
    envelope = client.envelope()
    del envelope[f"{ENVELOPE}clientCapabilities"]
    call = await client.request("tools/list", {"_meta": envelope}, bare=True)
    error = (await call.response()).get("error") or {}
    s.equal(error.get("code"), -32602, "a request without clientCapabilities was not refused as malformed")
    if s.case.client == "http":
        s.equal(call.status, 400, "the refusal has another HTTP status")


@scenario("lifecycle:envelope:stateless")
async def stateless(s: Session) -> None:
    outcome = await s.another().call_tool("everything", "test_simple_text", {})
    s.saw("content", outcome.result.get("content"))


@scenario("lifecycle:method:unknown")
async def unknown_method(s: Session) -> None:
    outcome = await s.request("everything", "no/such/method", {})
    s.equal(outcome.error.get("code"), -32601, "an unknown method got another error")


@scenario("lifecycle:eras:side-by-side", clients=("http",))
async def side_by_side(s: Session) -> None:
    sessions = {"modern": s, "legacy": s.another(era="legacy")}
    calls = {era: await session.start("mirror", "echo", {"era": era}) for era, session in sessions.items()}
    for era, session in sessions.items():
        outcome = await session.outcome(calls[era], "mirror")
        structured = outcome.result.get("structuredContent") or {}
        s.equal((structured.get("params") or {}).get("arguments"), {"era": era}, f"the {era} client was not served")


@scenario("lifecycle:batch:received", proxy_only=True)
async def batch(s: Session) -> None:
    """A proxy that answers with another revision has not agreed to take batches."""
    other = s.another(revision=BATCHES)
    client = await other.client("everything")
    if client.hello.get("protocolVersion") != BATCHES:
        raise NotApplicable(f"it does not agree on {BATCHES}")
    asked: list[Message] = [{"jsonrpc": "2.0", "id": f"batch-{n}", "method": "ping"} for n in range(2)]
    call = await client.throw([asked[0], {"jsonrpc": "2.0", "method": "notifications/odd"}, asked[1]])
    await client.answered(call, times=2)
    ids = sorted(str(message.get("id")) for message in call.before if "method" not in message)
    s.equal(ids, ["batch-0", "batch-1"], "the requests of a batch are not each answered")


@scenario("lifecycle:start:empty", servers=(), proxy_only=True, own=True, needs=("start", "shared endpoint"))
async def empty(s: Session) -> None:
    """The start and the greeting are what is looked at; a list may be empty, or not offered at all."""
    client = await s.client()
    if s.era == "modern":
        await client.ask("server/discover")
    response = (await s.request(None, "tools/list")).response
    s.require("result" in response or "error" in response, "a client is not answered", "a response", response)


NETWORK: tuple[Transport, ...] = ("sse", "http")
STUBBORN = Server("stubborn", file="silent", args=("--stay",))
"""It goes on when its stdin is closed, and ends on SIGTERM."""
GRACE = 10.0
"""Seconds after which whoever sent SIGTERM kills."""


async def told_to_end(s: Session) -> bool:
    """Send the target SIGTERM while clients are connected; whether it ends in time."""
    process = s.world.running.process
    assert process is not None
    s.run.wire.add("target", "note", "is sent SIGTERM")
    process.terminate()
    with anyio.move_on_after(GRACE * s.stage.target.patience):
        await process.wait()
    return process.returncode is not None


@asynccontextmanager
async def connected(s: Session) -> AsyncGenerator[None, None]:
    """Two clients are there, each with a stream open, if the target offers one."""
    async with AsyncExitStack() as streams:
        for client in (s, s.another()):
            await client.call_tool("stubborn", "hello", {})
            if s.era == "modern":
                with suppress(Failure):
                    await streams.enter_async_context(watching(client, "stubborn", "tools"))
        yield


@scenario(
    "lifecycle:signal:term",
    servers=(STUBBORN, "stateful"),
    clients=NETWORK,
    proxy_only=True,
    own=True,
    needs=("process",),
)
async def ends_with_clients(s: Session) -> None:
    async with connected(s):
        ended = await told_to_end(s)
        after = f"{GRACE * s.stage.target.patience:g} s after SIGTERM"
        s.require(ended, f"with clients connected, it has not ended {after}")


@scenario(
    "lifecycle:signal:reaped",
    servers=(STUBBORN, "stateful"),
    clients=NETWORK,
    backends=("stdio",),
    proxy_only=True,
    own=True,
    needs=("process",),
)
async def reaped_with_clients(s: Session) -> None:
    """A proxy that waits for its clients to leave has its way; one that does not end then, either, is killed."""
    await s.call_tool("stateful", "recall", {"key": "any"})
    process = s.world.running.process
    assert process is not None
    async with connected(s):
        pids = processes(s.journal("stubborn"), s.journal("stateful"))
        ended = await told_to_end(s)
    if not ended:
        await s.end()
        await s.leave()
        with anyio.move_on_after(EXIT_WAIT * s.stage.target.patience):
            await process.wait()
    how = "has ended on SIGTERM"
    if process.returncode is None:
        how = "did not end on SIGTERM, nor when its clients left, and was killed"
        kill({process.pid})
        await process.wait()
    await require_gone(s, pids, f"the proxy {how}, and processes of its backends are left")
