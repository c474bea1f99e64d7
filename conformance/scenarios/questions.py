"""Scenarios of the areas sampling, elicitation, roots and questions.

`asking` answers with what it got: `structuredContent` is {"answer": ...} or {"error": ...}, as it was received.
"""

from typing import Any

from conformance.client import ENVELOPE, Answer
from conformance.session import Outcome, Session, declares
from conformance.verdict import Failure, NotApplicable, NotOffered
from conformance.wire import Message

from .registry import scenario

SERVERS = ("asking", "changing")

COMPLETION: Message = {
    "role": "assistant",
    "content": {
        "type": "text",
        "text": "Paris \u2603 \U0001f5fc",
        "annotations": {"audience": ["user"], "priority": 0.9},
        "vendorField": {"kept": [1, None]},
    },
    "model": "vendor/model-1",
    "stopReason": "vendorStop",
    "vendorField": 1e-7,
    "_meta": {"vendor.example/answer": "completion"},
}
FORM: Message = {
    "action": "accept",
    "content": {"name": "Zoë", "age": 36, "tags": ["a", "b"], "sure": False},
    "vendorField": {"kept": None},
    "_meta": {"vendor.example/answer": "form"},
}
VENDOR = frozenset({"vendorField", "vendorHint", "x-vendor-layout", "_meta"})
"""What no revision knows, in what `asking` asks and in what is answered here."""

ROOTS: Message = {
    "roots": [
        {"uri": "file:///home/ada/project%20one", "name": "One \u2603", "vendorField": {"kept": None}},
        {"uri": "file:///srv/two", "_meta": {"vendor.example/root": 2}},
    ],
    "vendorField": True,
}


async def ask(s: Session, tool: str, answer: Message, **options: Any) -> Outcome:
    """Call a tool that asks, and answer whatever it asks; `answer` is a result, or `{"error": …}`."""
    outcome = answer if "error" in answer else {"result": answer}
    methods = ("sampling/createMessage", "elicitation/create", "roots/list")
    return await s.call_tool(
        "asking", tool, {}, answers={method: lambda params: outcome for method in methods}, **options
    )


def received(outcome: Outcome) -> Any:
    """What the backend got for an answer."""
    return outcome.result.get("structuredContent")


def known(value: Any) -> Any:
    """A question or an answer without what is a vendor's own, which has a requirement of its own."""
    if isinstance(value, dict):
        return {key: known(part) for key, part in value.items() if key not in VENDOR}
    return [known(part) for part in value] if isinstance(value, list) else value


async def declared(s: Session, capability: str, server: str = "asking") -> None:
    """See that a server is told that it may ask, by a client that declares it.

    Raises:
        NotOffered: it is not, and a proxy need not tell it.
    """
    seen = received(await s.call_tool(server, "capabilities", {}))
    s.journal(server).mark()
    if not declares((seen or {}).get("capabilities") or {}, capability):
        raise NotOffered(f"it does not declare {capability} to servers")


@scenario("sampling:request:whole", servers=SERVERS, remembers=True)
async def sampling(s: Session) -> None:
    await declared(s, "sampling")
    s.saw("questions", known((await ask(s, "sample", COMPLETION)).questions))


@scenario("sampling:answer:whole", servers=SERVERS, remembers=True)
async def completion(s: Session) -> None:
    await declared(s, "sampling")
    s.saw("the backend received", known(received(await ask(s, "sample", COMPLETION))))


@scenario("sampling:answer:error", servers=SERVERS, remembers=True)
async def rejected(s: Session) -> None:
    await declared(s, "sampling")
    answer = received(await ask(s, "sample", {"error": {"code": -1, "message": "User rejected sampling request"}}))
    s.saw("the backend received", ((answer or {}).get("error") or {}).get("code"))


@scenario("sampling:capability:absent", servers=SERVERS)
async def sampling_absent(s: Session) -> None:
    await refused(s, {"elicitation": {"form": {}, "url": {}}, "roots": {}}, "sample", COMPLETION)


async def refused(s: Session, capabilities: Message, tool: str, answer: Message) -> None:
    """A client with these capabilities is not asked, and the call ends all the same.

    What others are asked, by way of a proxy that declares it, this one could be asked as well.
    """
    await declared(s, {"sample": "sampling", "elicit": "elicitation", "elicit_url": "elicitation.url"}[tool])
    if s.era == "legacy":
        outcome = await ask(s.another(capabilities=capabilities), tool, answer)
    else:
        outcome = await ask(s, tool, answer, meta={f"{ENVELOPE}clientCapabilities": capabilities})
    s.equal(outcome.questions, [], "a question came to a client that did not declare that it can answer it")


@scenario("elicitation:form:whole", servers=SERVERS, remembers=True)
async def form(s: Session) -> None:
    await declared(s, "elicitation")
    outcome = await ask(s, "elicit", FORM)
    s.saw("questions", known(outcome.questions))
    s.saw("the backend received", known(received(outcome)))


@scenario("elicitation:form:decline", servers=SERVERS, remembers=True)
async def decline(s: Session) -> None:
    await chosen(s, "decline")


@scenario("elicitation:form:cancel", servers=SERVERS, remembers=True)
async def cancel(s: Session) -> None:
    await chosen(s, "cancel")


async def chosen(s: Session, action: str) -> None:
    """The user's choice reaches the backend, of a form that every revision with forms knows."""
    await declared(s, "elicitation")
    answers: dict[str, Answer] = {"elicitation/create": lambda params: {"result": {"action": action}}}
    outcome = await s.call_tool("asking", "rounds", {"n": 1}, answers=answers)
    s.saw("the backend received", received(outcome))


@scenario("elicitation:url:whole", servers=SERVERS, remembers=True)
async def url(s: Session) -> None:
    await declared(s, "elicitation.url")
    questions = known((await ask(s, "elicit_url", {"action": "accept"})).questions)
    for question in questions:
        identified = question["params"].pop("elicitationId", None) is not None
        s.require(identified or s.era == "modern", "the question has no elicitationId")  # which 2026-07-28 took away
    s.saw("questions", questions)


@scenario("elicitation:capability:absent", servers=SERVERS)
async def elicitation_absent(s: Session) -> None:
    await refused(s, {"sampling": {}, "roots": {}}, "elicit", FORM)


@scenario("elicitation:capability:absent", servers=SERVERS, clients=("sse", "http"))
async def mode_absent(s: Session) -> None:
    await refused(s, {"elicitation": {"form": {}}}, "elicit_url", {"action": "accept"})


@scenario("roots:list:whole", servers=SERVERS, remembers=True)
async def roots(s: Session) -> None:
    await declared(s, "roots")
    s.saw("the backend received", known(received(await ask(s, "roots", ROOTS))))


@scenario("roots:changed:reaches", servers=SERVERS, remembers=True)
async def roots_changed(s: Session) -> None:
    await declared(s, "roots.listChanged")  # there is a connection to the backend
    method = "notifications/roots/list_changed"
    await (await s.client("asking")).notify(method)
    await s.call_tool("asking", "capabilities", {})  # sent later, so that the other should be there at about this time
    entry = await s.journal("asking").wait(lambda entry: entry.get("method") == method, method, wait=1.0)
    s.saw("the backend received", entry["method"])


@scenario("questions:client:right", servers=SERVERS, clients=("sse", "http"), remembers=True)
async def right_client(s: Session) -> None:
    other = s.another()
    clients = {"the first": s, "the second": other}
    for client in clients.values():
        await declared(client, "elicitation")  # both have been served before anybody is asked
    for name, asked in clients.items():
        [bystander] = [client for client in clients.values() if client is not asked]
        since = len((await bystander.client("asking")).inbox)
        outcome = await ask(asked, "elicit", FORM)
        inbox = (await bystander.client("asking")).inbox[since:]
        strange = [message["method"] for message in inbox if "method" in message and "id" in message]
        s.equal(strange, [], f"a client without a call in flight was asked for {name}")
        if not outcome.questions:
            raise NotApplicable(f"{name} was not asked: see elicitation:form:whole")


UNABLE: Message = {}
"""What a client declares that can answer nothing."""
INSISTED = ("sample", "elicit", "roots")


@scenario("questions:undeclared:answered", servers=SERVERS, proxy_only=True)
async def undeclared(s: Session) -> None:
    """The client answers what reaches it with an error; the proxy may answer by itself, whatever it is."""
    unable = s.another(capabilities=UNABLE)
    for question in INSISTED:
        try:
            outcome = await unable.call_tool("asking", "insist", {"question": question})
            s.require(outcome.response, "the call is not answered")
            for client in (unable, s):
                await client.call_tool("asking", "capabilities", {})
        except Failure as failure:
            what = f"a server asked what the client did not declare ({question}), and was not answered"
            raise Failure(what, "an answer, the call's result, and further calls", failure.message) from None


@scenario("questions:undeclared:kept", servers=SERVERS, proxy_only=True)
async def undeclared_kept(s: Session) -> None:
    for question in INSISTED:
        meta = {f"{ENVELOPE}clientCapabilities": UNABLE}
        response = (await s.call_tool("asking", "insist", {"question": question}, meta=meta)).response
        asked = (response.get("result") or {}).get("inputRequests")
        s.require(not asked, f"the client is asked what it did not declare ({question})", "an error", asked)


@scenario("questions:client:capabilities", servers=SERVERS)
async def capabilities(s: Session) -> None:
    mine: Message = {"elicitation": {"form": {}}}
    outcome = await s.call_tool("asking", "capabilities", {}, meta={f"{ENVELOPE}clientCapabilities": mine})
    if any(call["era"] == "legacy" for call in s.journal("asking").received("tools/call")):
        raise NotApplicable("it speaks the legacy era to the server, where calls declare nothing")
    s.saw("the backend sees", received(outcome))


@scenario("questions:fields:vendor", servers=SERVERS)
async def vendor_fields(s: Session) -> None:
    await declared(s, "sampling")
    outcome = await ask(s, "sample", COMPLETION)
    s.saw("questions", outcome.questions)
    s.saw("the backend received", received(outcome))
