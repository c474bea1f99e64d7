"""One JSON-RPC message: what is one, and that its payload stays the bytes that came."""

import json

import pytest
from msgspec import UNSET, Raw

from multimcp.errors import Fault
from multimcp.protocol.message import (
    BATCH,
    BATCH_BYTES,
    Message,
    Salvaged,
    answer,
    batch,
    error_of,
    failed,
    fields,
    key,
    notification,
    number_of,
    opened,
    pack,
    read,
    request,
    result_of,
    salvage,
    string,
    succeeded,
    text,
    value,
)

PAYLOADS = [
    '{"n": 123456789012345678901234567890}',
    '{"n": 1.0, "m": 1, "e": 1e400, "z": -0.0}',
    '{"b": 1, "a": 2, "b": 3}',
    '{"t": "\\u00e9\\u2028\\/ é"}',
    '{ "spaced" :\t[ 1 , 2 ]\n}',
    '{"deep": ' + "[" * 900 + "]" * 900 + "}",
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
@pytest.mark.parametrize("part", ["params", "result", "error"])
def test_a_payload_stays_the_bytes_that_came(part: str, payload: str) -> None:
    head = '"method": "m"' if part == "params" else '"id": 1'
    message = read(f'{{"jsonrpc": "2.0", {head}, "{part}": {payload}}}'.encode())
    kept = getattr(message, part)
    assert bytes(kept).decode() == payload
    sent = notification("m", kept) if part == "params" else answer(1, message)
    assert payload.encode() in sent


@pytest.mark.parametrize("params", [*PAYLOADS, "null", "[1]", '"x"', "{}"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_params_are_the_same_whether_read_opens_them_or_not(params: str, mark: str) -> None:
    def of(*, opens: bool) -> str:
        try:
            found = opened(
                read(f'{mark}{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}'.encode(), opens=opens).params
            )
        except Fault as fault:
            return fault.message
        return str({name: bytes(raw) for name, raw in found.items()})

    assert of(opens=True) == of(opens=False)


@pytest.mark.parametrize(
    ("text", "is_answer", "is_request"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"m"}', False, True),
        ('{"jsonrpc":"2.0","method":"m","params":{}}', False, False),
        ('{"jsonrpc":"2.0","id":"a","result":null}', True, False),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', True, False),
        ('{"jsonrpc":"2.0","id":1,"method":"m","vendor":1}', False, True),
        ('{"jsonrpc":"2.0","id":1,"method":"m","params":null,"result":null,"error":null}', False, True),
        ('{"jsonrpc":"2.0","id":1,"method":null,"result":{},"error": null }', True, False),
        ('{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":"x","data":null}}', True, False),
        ('{"jsonrpc":"2.0","id":null,"method":"notifications/progress","params":{"x":null}}', False, False),
        ('\ufeff{"jsonrpc":"2.0","id":null,"method":null,"error":{"code":1,"message":"x"}}', True, False),
    ],
)
def test_what_is_a_message(text: str, is_answer: bool, is_request: bool) -> None:
    message = read(text.encode())
    assert (message.is_answer, message.is_request) == (is_answer, is_request)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", -32700),
        (b"nonsense", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":"\xff"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":"\\ud800"}}', -32700),
        (b"[" * 100_000, -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"id":1,"method":"m"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"m"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', -32600),
        (b'{"jsonrpc":"2.0","id":[],"method":"m"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":null,"result":null,"error":null}', -32600),
        (b'{"jsonrpc":null,"id":1,"method":"m"}', -32600),
    ],
)
def test_what_is_none(data: bytes, code: int) -> None:
    with pytest.raises(Fault) as fault:
        read(data)
    assert fault.value.code == code


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"t":"\\ud800"}}', Salvaged(7, True)),
        (b'{"jsonrpc":"2.0","id":"7","result":{"t":"\xff"}}', Salvaged("7", True)),
        (b'{"id":7,"method":"m"}', Salvaged(7, False, has_method=True)),
        (b'{"id":7,"result":[' + b"1" * 5000 + b"]}", Salvaged(7, True)),
        (b'{"id":7,"method":"m","result":1}', Salvaged(7, False, has_method=True)),
        (b'{"id":7}', Salvaged(7, False)),
        (b'\xef\xbb\xbf {"id":7,"method":"m\0"} \0', Salvaged(7, False, has_method=True)),
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":' + b"[" * 100_000, Salvaged(7, False, has_method=True)),
        (b'{"params":{"x":' + b"[" * 9000 + b"]" * 9000 + b'},"id":7,"jsonrpc":"2.0"}', Salvaged(7, True)),
        (b'{"id":7,"method":"m",}', Salvaged(7, False, has_method=True)),
        (b'{"id":"a\\ud800","method":"m"}', Salvaged("a\ud800", False, has_method=True)),
        (b'sent {"id":7,"method":"m"}', None),
        (b'{"id":true,"result":1}', None),
        (b'{"id":null,"result":1}', None),
        (b'{"id":[],"error":1}', None),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b"Loading...", None),
    ],
)
def test_the_id_of_what_cannot_be_read(data: bytes, found: Salvaged | None) -> None:
    assert salvage(data) == found


def test_an_id_that_is_no_text_is_answered_as_it_came() -> None:
    found = salvage(b'{"id":"a\\ud800","method":"m"}')
    assert found is not None
    assert answer(found.id, succeeded()) == b'{"jsonrpc":"2.0","id":"a\\ud800","result":{}}'


def test_what_stays_of_a_message_with_nulls_is_as_it_came() -> None:
    message = read(b'{"jsonrpc":"2.0","id":1,"result":{"n": 1.0, "n": null},"error":null}')
    assert isinstance(message.result, Raw)
    assert bytes(message.result) == b'{"n": 1.0, "n": null}'


def test_byte_order_marks_are_skipped() -> None:
    assert read(b"\xef\xbb\xbf" * 50_000 + b'{"jsonrpc":"2.0","id":1,"method":"m"}').id == 1


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"[1, {}]", 2), (b"\xef\xbb\xbf\n [[1]]", 1), (b'{"a": [1]}', 0), (b"[1", 0), (b"", 0), (b"[" * 100_000, 0)],
)
def test_batches(data: bytes, count: int) -> None:
    assert len(batch(data)) == count


@pytest.mark.parametrize("data", [b"[]", b"[" + b"7," * BATCH + b"7]", b"[" + b" " * BATCH_BYTES + b"7]"])
def test_batches_are_bounded(data: bytes) -> None:
    with pytest.raises(Fault, match="A batch has 1 to 1,000 messages"):
        batch(data)


@pytest.mark.parametrize(
    ("spelled", "same"),
    [
        *((7, 7), (7.0, 7), ("7", 7), ("07", 7), ("a", "a"), ("", ""), ("٣", "٣"), (7.5, 7.5)),
        ("9" * 5000, "9" * 5000),
        *((None, None), (True, None), ({}, None), ([7], None)),  # no ids, though a message may have them where one is
    ],
)
def test_ids_are_compared_whatever_their_spelling(spelled: object, same: object) -> None:
    assert key(spelled) == same


@pytest.mark.parametrize(
    ("spelled", "number"),
    [(7, 7), (7.0, 7), ("7", 7), (7.5, None), ("a", None), (float("inf"), None), (True, None), (None, None)],
)
def test_which_of_our_numbers_an_id_was(spelled: object, number: int | None) -> None:
    assert number_of(spelled) == number


@pytest.mark.parametrize("number", ["1", '"a"', "7.0", "123456789012345678901234567890"])
def test_an_id_keeps_its_spelling(number: str) -> None:
    message = read(f'{{"jsonrpc":"2.0","id":{number},"method":"m"}}'.encode())
    assert f'"id":{number}'.encode() in answer(message.id, failed(Fault(1, "x")))  # type: ignore[arg-type]


def test_opening() -> None:
    assert opened(Raw(b'{"a": 1, "b": {"c": [1.0]}}')) == {"a": Raw(b"1"), "b": Raw(b'{"c": [1.0]}')}
    assert opened(UNSET) == opened(None) == opened(Raw(b"null")) == {}
    with pytest.raises(Fault, match="_meta must be an object") as fault:
        opened(Raw(b"[1]"), "_meta")
    assert fault.value.code == -32602
    assert fields(Raw(b"[1]")) == {}


def test_values() -> None:
    assert (value(Raw(b'[1, "a"]')), value(None), value(UNSET), value(Raw(b"{"))) == ([1, "a"], None, None, None)
    assert (text(Raw(b'"a"')), text(Raw(b"1")), text(None)) == ("a", None, None)
    assert string({"a": Raw(b'"x"')}, "a") == "x"
    for params in ({}, {"a": Raw(b"1")}):
        with pytest.raises(Fault, match="a must be a string"):
            string(params, "a")


def test_writing() -> None:
    assert json.loads(request(1, "m")) == {"jsonrpc": "2.0", "id": 1, "method": "m"}
    assert json.loads(request("a", "m", {"x": Raw(b"[1]")}))["params"] == {"x": [1]}
    assert json.loads(notification("m", {})) == {"jsonrpc": "2.0", "method": "m"}
    assert json.loads(answer(None, failed(Fault(1, "x")))) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": 1, "message": "x"},
    }
    assert json.loads(answer(1, failed(Fault(1, "x", None))))["error"] == {"code": 1, "message": "x", "data": None}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Message("2.0", id=1, error=pack({"code": 5, "message": "m", "data": [1]})), 5),
        (Message("2.0", id=1, error=pack({"x": 1})), -32603),
        (Message("2.0", id=1, error=pack("no")), -32603),
        (Message("2.0", id=1, result=pack([1])), -32603),
        (Message("2.0", id=1, result=pack(None)), -32603),
    ],
)
def test_the_result_of_an_answer_or_its_error(message: Message, code: int) -> None:
    with pytest.raises(Fault) as fault:
        result_of(message)
    assert fault.value.code == code


def test_results() -> None:
    assert result_of(Message("2.0", id=1, result=Raw(b"{}"))) == Raw(b"{}")
    assert error_of(Message("2.0", id=1, result=Raw(b"{}"))) is None
