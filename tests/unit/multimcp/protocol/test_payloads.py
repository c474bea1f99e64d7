"""What is not routed by crosses as it was written, on each way through a hop."""

import sys
from collections.abc import Iterator

import pytest
from msgspec import Raw

from multimcp.errors import Fault
from multimcp.protocol import message
from multimcp.protocol.eras import end_to_end, to_backend, to_client
from multimcp.protocol.message import Era
from multimcp.serving.app import NESTING

PAYLOADS = [
    b"[9007199254740993, -9223372036854775808, 123456789012345678901234567890]",
    b"[1.0, 1, -0, -0.0, 1E2, 1e+2]",
    b"[1e400, -1e400, 1e-400, 3.14159265358979323846264338327950288]",
    b'{"zebra":1,"10":2,"9":3}',
    b'{"role":"user","role":"admin"}',
    rb'"\u00e9\/\ud83e\udded\u0000"',
    '"é🧭\u2028"'.encode(),
    b'{"a":[' * 500 + b"1" + b"]}" * 500,
    b'"' + b"x" * 1_000_000 + b'"',
]
NAMES = ["integers", "kinds", "beyond-double", "order", "duplicate", "escapes", "unicode", "deep", "large"]
each_payload = pytest.mark.parametrize("payload", PAYLOADS, ids=NAMES)
each_way = pytest.mark.parametrize(
    ("spoken", "era"), [("legacy", "legacy"), ("legacy", "modern"), ("modern", "legacy"), ("modern", "modern")]
)


@pytest.fixture(autouse=True)
def _nesting() -> Iterator[None]:
    """As deep as the proxy lets its parser go."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(NESTING)
    yield
    sys.setrecursionlimit(before)


@each_payload
def test_params_cross(payload: bytes) -> None:
    read = message.read(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"n","exact":' + payload + b"}}")
    params = end_to_end(message.opened(read.params))
    for era in ("legacy", "modern"):
        sent = message.request(7, "m", to_backend(params, {}, era, number=7))
        assert b'"exact":' + payload in sent


@each_payload
def test_meta_crosses(payload: bytes) -> None:
    meta = message.opened(Raw(b'{"progressToken":1,"vendor":' + payload + b"}"))
    for era in ("legacy", "modern"):
        sent = message.request(7, "m", to_backend({}, meta, era, number=7))
        assert b'"vendor":' + payload in sent


@each_payload
@each_way
def test_results_cross(payload: bytes, spoken: Era, era: Era) -> None:
    answer = message.read(b'{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","exact":' + payload + b"}}")
    result = to_client("tools/call", message.result_of(answer), spoken, era, Raw(b'{"name":"s","version":"1"}'))
    assert b'"exact":' + payload in message.answer(1, message.succeeded(result))


@each_payload
def test_errors_cross(payload: bytes) -> None:
    answer = message.read(b'{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"m","data":' + payload + b"}}")
    assert b'"data":' + payload in message.answer(1, answer)
    with pytest.raises(Fault) as caught:
        message.result_of(answer)
    assert b'"data":' + payload in message.answer(1, message.failed(caught.value))


@each_payload
def test_notifications_cross(payload: bytes) -> None:
    told = message.read(b'{"jsonrpc":"2.0","method":"m","params":{"data":' + payload + b"}}")
    assert b'"data":' + payload in message.notification("m", end_to_end(message.opened(told.params)))
