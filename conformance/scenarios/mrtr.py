"""Scenarios of the areas mrtr and bridge."""

from typing import Any

from conformance.client import Answer
from conformance.fixtures import Server
from conformance.session import Outcome, Session
from conformance.wire import Message

from .changes import OLD_AND_QUIET
from .questions import COMPLETION, FORM, SERVERS, declared, known, received
from .registry import scenario

NEW = Server("new", file="asking", era="modern")

ANSWERS: dict[str, Answer] = {
    "elicitation/create": lambda params: {"result": FORM},
    "sampling/createMessage": lambda params: {"result": COMPLETION},
}


@scenario("mrtr:result:whole", servers=SERVERS)
async def whole(s: Session) -> None:
    """Keys and state are for who made the result, which a proxy may be: they need not be the backend's."""
    await declared(s, "sampling")
    result = (await s.call_tool("asking", "sample", {})).result
    s.saw("result type", result.get("resultType"))
    s.saw("questions", known(list((result.get("inputRequests") or {}).values())))


@scenario("mrtr:state:opaque", servers=SERVERS)
async def state(s: Session) -> None:
    await declared(s, "elicitation")
    await s.call_tool("asking", "elicit", {}, answers=ANSWERS)
    s.saw("the backend received", [params.get("requestState") for params in calls(s)])


@scenario("mrtr:retry:answers", servers=SERVERS)
async def answers(s: Session) -> None:
    await declared(s, "sampling")
    await s.call_tool("asking", "sample", {}, answers=ANSWERS)
    s.saw("the backend received", known([params.get("inputResponses") for params in calls(s)]))


def calls(s: Session) -> list[Any]:
    """The params of the calls that reached the backend."""
    return [entry["params"] for entry in s.journal("asking").received("tools/call")]


@scenario("mrtr:questions:several", servers=SERVERS)
async def several(s: Session) -> None:
    """The keys are for who made the result, which a proxy may be: they need not be the backend's."""
    await declared(s, "sampling")
    await declared(s, "elicitation")
    asked: Message = (await s.call_tool("asking", "several", {})).result.get("inputRequests") or {}
    s.saw("questions", sorted(str(question.get("method")) for question in asked.values()))
    s.saw("the backend received", known(received(await s.call_tool("asking", "several", {}, answers=ANSWERS))))


@scenario("mrtr:rounds:several", servers=SERVERS)
async def rounds(s: Session) -> None:
    def answer(params: Any) -> Message:
        return {"result": {"action": "accept", "content": {"answer": f"to {params['message']}"}}}

    await declared(s, "elicitation")
    outcome = await s.call_tool("asking", "rounds", {"n": 3}, answers={"elicitation/create": answer})
    s.saw("questions", [question["params"]["message"] for question in outcome.questions])
    s.saw("the backend received", received(outcome))


@scenario("bridge:modern-client:question", servers=OLD_AND_QUIET, proxy_only=True, remembers=True)
async def old_asks(s: Session) -> None:
    await bridged_question(s, "old")


@scenario("bridge:legacy-client:question", servers=(NEW,), proxy_only=True, backends=("stdio", "http"), remembers=True)
async def new_asks(s: Session) -> None:
    await bridged_question(s, "new")


async def bridged_question(s: Session, server: str) -> None:
    await declared(s, "elicitation", server)
    outcome = await s.call_tool(server, "elicit", {}, answers=ANSWERS)
    s.equal(asked_for(outcome), ["elicitation/create"], "the question did not reach the client once")
    s.equal(known(received(outcome)), {"answer": known(FORM)}, "the answer did not reach the backend as it was given")


def asked_for(outcome: Outcome) -> list[Any]:
    return [question["method"] for question in outcome.questions]


@scenario("bridge:modern-client:call", servers=OLD_AND_QUIET, proxy_only=True)
async def call_old(s: Session) -> None:
    await bridged_call(s, "old")


@scenario("bridge:legacy-client:call", servers=(NEW,), proxy_only=True, backends=("stdio", "http"))
async def call_new(s: Session) -> None:
    await bridged_call(s, "new")


async def bridged_call(s: Session, server: str) -> None:
    names = [tool["name"] for tool in await s.list("tools", server)]
    s.require("capabilities" in names, f"the tools of the server of the other era are not listed: {names}")
    result = (await s.call_tool(server, "capabilities", {})).result
    s.require(isinstance(received_capabilities(result), dict), "the call was not answered by the backend", "", result)


def received_capabilities(result: Message) -> Any:
    return (result.get("structuredContent") or {}).get("capabilities")
