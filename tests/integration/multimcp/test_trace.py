"""The trace context in `_meta` crosses as it came, in each direction and between the eras, whatever is installed.

The proxy runs with OpenTelemetry set up, as an operator's start script or an agent does that: whoever sends a message
with it there would write its own context into the message, or make one where there is none.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/index#meta
"""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.ends import FORM, form, peer, stage
from tests.support.processes import PATIENT, TIMEOUT, Proxy, proxy, within

TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=a:1,other=b",
    "baggage": "user=Am\u00e9lie,key=%20v;p=1",
}
ODD = {"traceparent": ["not", 1.0], "tracestate": None, "baggage": {"a": ""}}

INSTALLED = f"""
{PATIENT}
from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator
class Ours(TextMapPropagator):
    fields = {set(TRACE)}
    def extract(self, carrier, context=None, getter=None):
        return context
    def inject(self, carrier, context=None, setter=None):
        for name in self.fields:
            setter.set(carrier, name, "ours")
propagate.set_global_textmap(Ours())
propagate.inject(carrier := {{}})
assert carrier["baggage"] == "ours"
"""

BOTH = pytest.mark.parametrize(
    ("era", "spoken"), [(era, spoken) for era in ("legacy", "modern") for spoken in ("legacy", "modern-only")]
)


@pytest.fixture(scope="module")
def instrumented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("trace"), {}, first=INSTALLED.strip()) as running:
        yield running


@pytest.fixture
def traced(instrumented: Proxy) -> Iterator[Proxy]:
    yield instrumented
    for name in instrumented.status():
        instrumented.http("DELETE", f"/mcp_servers/{quote(name, safe='')}")


def trace(message: Any, part: str) -> dict[str, Any]:
    meta = message.get(part, message).get("_meta", {})
    return {name: meta[name] for name in TRACE if name in meta}


@BOTH
async def test_with_a_call_and_its_result(traced: Proxy, era: str, spoken: str) -> None:
    async with within(TIMEOUT), stage() as here, peer(traced.url, era) as one:
        behaviours = ["modern-only"] if spoken == "modern-only" else []
        assert (await asyncio.to_thread(traced.add, s=here.puppet(*behaviours))).is_success
        for context in (TRACE, ODD, {}):
            call = one.send(
                "tools/call", {"name": "s::echo", "arguments": {}, "_meta": {"progressToken": 1, **context}}
            )
            heard = await here.called()
            assert trace(heard.message, "params") == context
            token = heard.message["params"]["_meta"]["progressToken"]
            progress = {"progressToken": token, "progress": 1, "_meta": context}
            heard.say(method="notifications/progress", params=progress)
            heard.finish(_meta=context, **({"resultType": "complete"} if behaviours else {}))
            assert trace(await call.told("notifications/progress"), "params") == context
            assert trace(await call.result(), "result") == context


async def test_with_a_question_its_answer_and_what_belongs_to_no_call(traced: Proxy) -> None:
    able: dict[str, Any] = {"elicitation": {"form": {}}}
    async with within(TIMEOUT), stage() as here, peer(traced.url, "legacy", **able) as one:
        assert (await asyncio.to_thread(traced.add, s=here.puppet('able={"tools": {}, "logging": {}}'))).is_success
        stream = await one.listen()
        for context in (TRACE, {}):
            call = one.call("s::echo")
            heard = await here.called()
            heard.ask("q", "elicitation/create", **FORM, _meta=context)
            question = await call.question()
            assert trace(question, "params") == context
            await one.answer(question, {**form("me"), "_meta": context})
            assert trace(await here.answer("q"), "result") == context
            heard.finish()
            await call.result()
            heard.say(method="notifications/message", params={"level": "error", "data": 1, "_meta": context})
            assert trace(await stream.told("notifications/message"), "params") == context
            await one.notify("notifications/roots/list_changed", _meta=context)
            assert trace((await here.told("notifications/roots/list_changed")).message, "params") == context


@pytest.mark.parametrize("spoken", ["legacy", "modern-only"])
async def test_with_an_update_of_a_resource(traced: Proxy, spoken: str) -> None:
    able = 'able={"tools": {}, "resources": {"subscribe": true}}'
    async with within(TIMEOUT), stage() as here, peer(traced.url, "legacy") as one, peer(traced.url, "modern") as other:
        how = [spoken, "play:subscriptions/listen"] if spoken == "modern-only" else ["play:resources/subscribe"]
        assert (await asyncio.to_thread(traced.add, s=here.puppet(able, *how))).is_success
        stream, wanted = await one.listen(), {"notifications": {"resourceSubscriptions": ["raw://one"]}}
        pending = one.send("resources/subscribe", {"uri": "raw://one"})
        heard = await here.told(how[-1].removeprefix("play:"))
        number = {"io.modelcontextprotocol/subscriptionId": heard.message["id"]} if len(how) == 2 else {}
        if number:
            heard.say(method="notifications/subscriptions/acknowledged", params={**wanted, "_meta": number})
        else:
            heard.say(id=heard.message["id"], result={})
        await pending.result()
        listening = other.send("subscriptions/listen", wanted)
        await listening.told("notifications/subscriptions/acknowledged")
        for context in (TRACE, {}):
            update = {"uri": "raw://one", "_meta": {**number, **context}}
            heard.say(method="notifications/resources/updated", params=update)
            for each in (stream, listening):
                assert trace(await each.told("notifications/resources/updated"), "params") == context
