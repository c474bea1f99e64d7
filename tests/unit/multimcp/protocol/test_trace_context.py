"""OpenTelemetry's trace context (`traceparent`, `tracestate`, `baggage` in `_meta`) crosses as it came.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/index#meta
"""

import json
from typing import Any

import pytest

from multimcp.protocol.message import read
from tests.support.fakes import World

TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=a:1,other=b",
    "baggage": "user=Am\u00e9lie,key=%20v;p=1",
}

ERAS = ("legacy", "modern")
BOTH = pytest.mark.parametrize(
    ("client", "backend"), [(a, b) for a in ("legacy", "modern") for b in ("legacy", "modern")]
)


def traced(message: Any, *path: str) -> dict[str, Any]:
    for step in (*path, "_meta"):
        message = message[step]
    return {name: message.get(name) for name in TRACE}


def world(client: str, backend: str) -> tuple[World, Any, Any, int]:
    world = World(backend)
    session, _ = world.session(sampling={}) if client == "legacy" else (None, [])
    _, port, number = world.send(session, name="t", meta={**TRACE, "progressToken": 1})
    return world, session, port, number


@BOTH
def test_toward_the_server(client: str, backend: str) -> None:
    there, _, _, _ = world(client, backend)
    [sent] = there.wire.take()
    assert traced(sent, "params") == TRACE


@BOTH
def test_toward_the_client(client: str, backend: str) -> None:
    there, _, port, number = world(client, backend)
    there.hear({"method": "notifications/progress", "params": {"progressToken": number, "progress": 1, "_meta": TRACE}})
    there.hear({"id": number, "result": {"content": [], "_meta": TRACE}})
    assert traced(port.got[0], "params") == TRACE
    assert traced(port.got[1], "result") == TRACE


def test_with_a_question_and_a_notification() -> None:
    there, session, port, _ = world("legacy", "legacy")
    there.wire.take()
    there.hear({"id": 9, "method": "sampling/createMessage", "params": {"messages": [], "_meta": TRACE}})
    there.hear({"method": "notifications/message", "params": {"level": "error", "data": 1, "_meta": TRACE}})
    assert [traced(each, "params") for each in port.got] == [TRACE, TRACE]
    answer = {"jsonrpc": "2.0", "id": port.got[0]["id"], "result": {"_meta": TRACE}}
    session.answer(read(json.dumps(answer).encode()))
    [sent] = there.wire.take()
    assert traced(sent, "result") == TRACE
