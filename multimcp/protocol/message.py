"""One JSON-RPC message. The envelope is read; the payload stays the bytes that came.

Rules:
- `params`, `result` and `error` are `Raw`: nobody looks into them unless they are routed by or rewritten. So numbers,
  escapes, the order of keys and unknown fields cross because nobody touches them.
- What is not UTF-8, not JSON, or not a JSON-RPC 2.0 message is a `Fault`; `salvage` finds the id it has to be answered
  under, so that nobody waits for ever: also in JSON that is broken or nested too deep, if it stands at one of its ends.
- A batch (2025-03-26) is taken apart, a byte order mark skipped, and a null where nothing should be taken for nothing.
- An id keeps the spelling its sender gave it. Ids are compared by `key`, for which 7, 7.0 and "7" are one number.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from multimcp.errors import Fault

Era = Literal["legacy", "modern"]
"""Revisions up to 2025-11-25 (the `initialize` handshake), or 2026-07-28 (each request carries its own envelope)."""

Id = int | float | str
Fields = dict[str, Raw]
"""An object, opened one level deep."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REQUEST_TIMEOUT: Final = -32001
RESOURCE_NOT_FOUND: Final = -32002
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
URL_ELICITATION_REQUIRED: Final = -32042

EMPTY: Final = Raw(b"{}")
BATCH: Final = 1000
"""How many messages a batch may have, and how many bytes that of a client."""
BATCH_BYTES: Final = 4 * 1024 * 1024
SMALL: Final = 1024 * 1024
"""Bytes of what is read as plain data, unless more is asked for."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_NULL = Raw(b"null")
_BRACE = ord("{")
_SHOWN = 200
_END = 512
_HEAD_ID = re.compile(
    rb'(?:data:)?\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(?:(\d{1,18})|"([^"\\]{1,200})")'
)
_TAIL_ID = re.compile(
    rb'[}\]"\w]\s*,\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(?:(\d{1,18})|"([^"\\]{1,200})")'
    rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$'
)


class Message(msgspec.Struct, gc=False):
    """A request (`method`, `id`), a notification (`method`), or an answer (`id` and `result` or `error`)."""

    jsonrpc: Literal["2.0"] | UnsetType = UNSET
    id: int | float | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self.method is UNSET

    @property
    def is_request(self) -> bool:
        """Whether it wants to be answered."""
        return self.method is not UNSET and self.id is not UNSET


class _Opened(Message, gc=False):
    params: Fields | UnsetType | None = UNSET  # type: ignore[assignment]


class ErrorObject(msgspec.Struct):
    """The `error` of an answer."""

    code: int
    message: str
    data: Raw | UnsetType = UNSET


class Salvaged(NamedTuple):
    """What can be told of a message that cannot be read."""

    id: Id
    is_answer: bool
    """Whether it has a result or an error, and no method."""
    has_method: bool = False


_message = msgspec.json.Decoder(Message)
_open_message: msgspec.json.Decoder[Message] = msgspec.json.Decoder(_Opened)
_batch = msgspec.json.Decoder(list[Raw])
_fields = msgspec.json.Decoder(Fields)
_error = msgspec.json.Decoder(ErrorObject)
_text = msgspec.json.Decoder(str)
encode = msgspec.json.Encoder().encode


def read(data: bytes, *, opens: bool = False) -> Message:
    """Read one message; if it `opens`, so that `opened` finds the params opened already: in one go over the bytes.

    Raises:
        Fault: the sender's: it is no JSON (`PARSE_ERROR`), or no message (`INVALID_REQUEST`).
    """
    try:
        return _read(data, _open_message if opens else _message)
    except Fault:
        if (meant := _meant(data)) is None:
            raise
        return _read(meant, _message)


def _read(data: bytes, decoder: msgspec.json.Decoder[Message]) -> Message:
    try:
        if not data.isascii():
            data.decode()  # msgspec does not look into what stays raw
        message = decoder.decode(data)
    except msgspec.ValidationError as exc:
        if decoder is not _message:  # it may be the params only
            return _read(data, _message)
        raise Fault(INVALID_REQUEST, f"Not a JSON-RPC message: {exc}") from None
    except (ValueError, RecursionError) as exc:
        raise Fault(PARSE_ERROR, f"Parse error: {exc}; JSON in UTF-8 is taken, no lone surrogates and no NaN") from None
    if message.jsonrpc is UNSET:
        raise Fault(INVALID_REQUEST, 'Not a JSON-RPC message: "jsonrpc" must be "2.0"')
    if message.method is UNSET:
        if (message.result is UNSET) == (message.error is UNSET) or message.id is UNSET:
            raise Fault(INVALID_REQUEST, "Not a JSON-RPC message: neither a request nor an answer")
    elif message.id is None:
        raise Fault(INVALID_REQUEST, "Not a JSON-RPC message: a request's id cannot be null")
    return message


def _meant(data: bytes) -> bytes | None:
    """A message without a byte order mark, and without the nulls that some writers have for what is not there."""
    try:
        members = _fields.decode(data.lstrip(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None
    absent = {"method", "result", "error"}
    if bytes(members.get("method", b"")).startswith(b'"notifications/'):
        absent.add("id")
    kept = {name: raw for name, raw in members.items() if raw != _NULL or name not in absent}
    return encode(kept) if len(kept) < len(members) or data.startswith(BYTE_ORDER_MARK) else None


def batch(data: bytes, most: int = BATCH_BYTES) -> list[bytes]:
    """The messages of a batch of `most` bytes at most; none where `data` is something else, readable or not.

    Raises:
        Fault: the sender's: it is empty, or there are too many.
    """
    data = data.lstrip(BYTE_ORDER_MARK + _SPACE)
    if not data.startswith(b"["):
        return []
    try:
        messages = _batch.decode(data) if len(data) <= most else []
    except (ValueError, RecursionError):
        return []
    if not 0 < len(messages) <= BATCH:
        raise Fault(INVALID_REQUEST, f"A batch has 1 to {BATCH:,} messages, and {most:,} bytes at most")
    return [bytes(message) for message in messages]


def salvage(data: bytes) -> Salvaged | None:
    """The id of a message that `read` refuses, and whether it answers a request; None where that cannot be told."""
    data = data.lstrip(BYTE_ORDER_MARK + _SPACE)
    if not data.startswith(b"{"):  # as a line of a log, which may quote a message
        return None
    try:
        message, _ = _lenient.raw_decode(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return salvage_ends(data[:_END], data[-_END:])
    number = message.get("id")
    if not isinstance(number, int | float | str) or isinstance(number, bool):
        return None
    has_method = "method" in message
    return Salvaged(number, not has_method and bool({"result", "error"} & message.keys()), has_method)


def salvage_ends(head: bytes, tail: bytes) -> Salvaged | None:
    """The same for one that is known by its ends only: where the id stands at one of them, as writers do it."""
    found = _HEAD_ID.match(head) or _TAIL_ID.search(tail)
    if found is None:
        return None
    number: Id = int(found[1]) if found[1] else found[2].decode(errors="replace")
    has_method = b'"method"' in head + tail
    return Salvaged(number, not has_method, has_method)


def mended(data: bytes) -> Message | None:
    """A message whose text is not all Unicode, or not escaped, with other characters for that; None for any other."""
    try:
        whole = json.loads(data.decode(errors="replace"), strict=False)
        return read(json.dumps(whole, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError, Fault):
        return None


def _bounded(digits: str) -> int:
    """Python refuses to read numbers of more than 4,300 digits; here only the id matters."""
    return int(digits[:40])


_lenient = json.JSONDecoder(strict=False, parse_int=_bounded)
"""Takes control characters in strings, and what is no JSON behind a message."""


def key(number: object) -> Id | None:
    """The same for all spellings of one id: 7, 7.0 and "7"; None for what is no id but stands where one should."""
    if isinstance(number, str):
        return int(number) if len(number) < _SHOWN and number.isdecimal() and number.isascii() else number
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None


def number_of(spelled: object) -> int | None:
    """The number that an id of ours was, however the other side spells it; None for one that is not ours."""
    found = spelled if type(spelled) is int else key(spelled)
    if isinstance(found, float):
        return int(found) if found.is_integer() else None
    return found if isinstance(found, int) else None


def opened(raw: Raw | Fields | UnsetType | None, what: str = "params") -> Fields:
    """An object, one level deep; what is not there, or null, is empty.

    Raises:
        Fault: the sender's: `what` is no object.
    """
    if isinstance(raw, dict):
        return raw
    if raw is UNSET or raw is None or raw == _NULL:
        return {}
    try:
        return _fields.decode(raw)
    except (ValueError, RecursionError):
        raise Fault(INVALID_PARAMS, f"{what} must be an object") from None


def fields(raw: Raw | UnsetType | None) -> Fields:
    """An object, one level deep; empty where it is none."""
    try:
        return opened(raw)
    except Fault:
        return {}


def value(raw: Raw | UnsetType | None, most: int = SMALL) -> Any:
    """What `raw` says, as plain data; None where it says nothing that can be read, or has more than `most` bytes.

    As plain data it takes up to 30 times as much memory.
    """
    if raw is UNSET or raw is None or memoryview(raw).nbytes > most:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


def text(raw: Raw | UnsetType | None) -> str | None:
    """The string that `raw` is, if it is one."""
    try:
        return _text.decode(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def string(params: Mapping[str, Raw], name: str) -> str:
    """A parameter that must be a string.

    Raises:
        Fault: the sender's: it is none.
    """
    found = text(params.get(name))
    if found is None:
        raise Fault(INVALID_PARAMS, f"{name} must be a string")
    return found


def pack(data: Any) -> Raw:
    """Plain data as `Raw`."""
    return Raw(encode(data))


def is_object(raw: Raw) -> bool:
    """Whether it is an object, judged by its first character: it is valid JSON already."""
    return memoryview(raw)[0] == _BRACE


def request(number: Id, method: str, params: Fields | UnsetType = UNSET) -> bytes:
    """The bytes of a request."""
    return encode(Message("2.0", number, method, params))  # type: ignore[arg-type] # fields are encoded as well


def notification(method: str, params: Fields | Raw | UnsetType = UNSET) -> bytes:
    """The bytes of a notification; empty params are left out."""
    return encode(Message("2.0", UNSET, method, params or UNSET))  # type: ignore[arg-type] # as above


def answer(number: Id | None, message: Message) -> bytes:
    """The bytes of an answer with what `message` has for result or error."""
    try:
        return encode(Message("2.0", number, result=message.result, error=message.error))
    except UnicodeEncodeError:  # a lone surrogate in the id, which `salvage` has found: as it came, escaped
        escaped = Raw(json.dumps(number).encode())
        return encode(Message("2.0", escaped, result=message.result, error=message.error))  # type: ignore[arg-type]


def succeeded(result: Raw = EMPTY) -> Message:
    """An answer with a result."""
    return Message("2.0", result=result)


def failed(fault: Fault) -> Message:
    """An answer with an error."""
    error = {"code": fault.code, "message": fault.message}
    return Message("2.0", error=pack(error if fault.data is UNSET else {**error, "data": fault.data}))


def error_of(message: Message) -> ErrorObject | None:
    """The error of an answer; None where it has a result.

    Raises:
        Fault: the sender's: its error is not one.
    """
    if message.error is UNSET:
        return None
    try:
        return _error.decode(message.error)
    except (ValueError, RecursionError):
        raise Fault(INTERNAL_ERROR, "The server's answer is not one that MCP allows") from None


def result_of(message: Message) -> Raw:
    """The result of an answer.

    Raises:
        Fault: the error that the other side answered with; or its answer is not one.
    """
    if message.result is not UNSET:
        if is_object(message.result):
            return message.result
        raise Fault(INTERNAL_ERROR, "The server's result is not an object")
    error = error_of(message)
    assert error is not None
    raise Fault(error.code, error.message, error.data)
