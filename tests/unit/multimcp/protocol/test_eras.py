"""What one hop rewrites; the tables are compared with the SDK's."""

import json
from typing import Any, get_args

import mcp_types
import pytest
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared import inbound
from mcp_types import methods, version
from msgspec import Raw

from multimcp.errors import Fault
from multimcp.protocol import eras, message
from multimcp.protocol.eras import (
    check_envelope,
    check_param_headers,
    decode_header,
    encode_header,
    end_to_end,
    error_to_client,
    headers_for,
    is_wanted,
    param_headers,
    passed_on,
    to_backend,
    to_client,
)
from multimcp.protocol.extensions import SKILLS
from multimcp.protocol.message import Message, error_of, opened, pack

K = "io.modelcontextprotocol/"


def plain(fields: Any) -> Any:
    return json.loads(bytes(pack(fields)))


# The SDK's tables


def test_the_revisions() -> None:
    # The first is what servers of 2024 say; the SDK for TypeScript speaks it, too.
    assert ("2024-10-07", *version.HANDSHAKE_PROTOCOL_VERSIONS) == eras.LEGACY_VERSIONS
    assert tuple(version.MODERN_PROTOCOL_VERSIONS) == eras.MODERN_VERSIONS
    assert eras.LATEST_LEGACY == version.LATEST_HANDSHAKE_VERSION


def test_the_methods_of_each_era() -> None:
    known = {
        era: {method for method, spoken in methods.CLIENT_REQUESTS if spoken in versions}
        for era, versions in (("legacy", eras.LEGACY_VERSIONS), ("modern", eras.MODERN_VERSIONS))
    }
    assert known["legacy"] - known["modern"] == eras.ONLY_LEGACY
    assert known["modern"] - known["legacy"] == eras.ONLY_MODERN
    for versions in (eras.LEGACY_VERSIONS,):  # there are the same in each
        for spoken in versions[1:]:
            assert {method for method, other in methods.CLIENT_REQUESTS if other == spoken} == known["legacy"]
    assert eras.CACHEABLE - SKILLS.cacheable == methods.CACHEABLE_METHODS  # the SDK knows no extension
    assert eras.NAMED == inbound.NAME_BEARING_METHODS


def test_the_words() -> None:
    assert eras.VERSION_KEY == mcp_types.PROTOCOL_VERSION_META_KEY
    assert eras.CLIENT_KEY == mcp_types.CLIENT_INFO_META_KEY
    assert eras.CAPABILITIES_KEY == mcp_types.CLIENT_CAPABILITIES_META_KEY
    assert eras.LEVEL_KEY == mcp_types.LOG_LEVEL_META_KEY
    assert eras.SERVER_KEY == mcp_types.SERVER_INFO_META_KEY
    assert eras.SUBSCRIPTION_KEY == SUBSCRIPTION_ID_META_KEY
    assert get_args(mcp_types.LoggingLevel) == eras.LEVELS
    assert eras.HTTP_STATUS == inbound.ERROR_CODE_HTTP_STATUS


def test_the_codes() -> None:
    other = {
        "MISSING_CLIENT_CAPABILITY": "MISSING_REQUIRED_CLIENT_CAPABILITY",
        "UNSUPPORTED_VERSION": "UNSUPPORTED_PROTOCOL_VERSION",
    }
    ours = {name: code for name, code in vars(message).items() if name.isupper() and isinstance(code, int) and code < 0}
    ours.pop("RESOURCE_NOT_FOUND")  # legacy only, and not in the SDK
    assert len(ours) > 5
    assert ours == {name: getattr(mcp_types, other.get(name, name)) for name in ours}


def test_the_headers() -> None:
    sent = {name.lower() for name in eras.headers_for("tools/call", {"name": Raw(b'"t"')}, {})}
    standard = {inbound.MCP_METHOD_HEADER, inbound.MCP_NAME_HEADER, inbound.MCP_PROTOCOL_VERSION_HEADER}
    assert sent == standard


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel", "tools/call", "tasks/result"])
def test_the_header_that_names_what_a_request_is_about(method: str) -> None:
    named = {"name": "näme", "taskId": "tösk", "uri": "u"}
    expected = {"tools/call": encode_header("näme"), "tasks/result": None}.get(method, encode_header("tösk"))
    assert headers_for(method, opened(pack(named)), {}).get("Mcp-Name") == expected


@pytest.mark.parametrize(
    ("given", "ours", "passed"),
    [
        ({}, (), {}),
        ({"mcp-name": "t", "authorization": "secret"}, (), {}),
        ({"mcp-param-a": "1", "mcp-param-b": "ü"}, (), {"mcp-param-a": "1", "mcp-param-b": "ü"}),
        ({"mcp-param-a": "1", "mcp-param-b": "2"}, (["Mcp-Param-A"], ["x"]), {"mcp-param-b": "2"}),
        ({"mcp-param-a": "1", "mcp-param-b": "2"}, (["x"], ["mcp-PARAM-b", "Mcp-Param-a"]), {}),
    ],
)
def test_headers_that_go_on(given: dict[str, str], ours: Any, passed: dict[str, str]) -> None:
    assert passed_on({name.encode(): text.encode("latin-1") for name, text in given.items()}, *ours) == passed


# Requests


@pytest.mark.parametrize(
    ("era", "meta", "sent"),
    [
        ("legacy", {}, None),
        ("legacy", {"progressToken": "mine", "v/x": [1.5]}, {"progressToken": 9, "v/x": [1.5]}),
        ("legacy", {K + "logLevel": "info", K + "clientInfo": {}, K + "protocolVersion": "2026-07-28"}, None),
        (
            "modern",
            {K + "logLevel": "error", K + "clientInfo": {"name": "client"}, "progressToken": 1},
            {K + "logLevel": "error", "progressToken": 9},
        ),
        ("modern", {}, {K + "logLevel": "debug"}),
        ("modern", {"traceparent": "00-a-b-01", "tracestate": "x=1", "baggage": "y=2"}, {
            "traceparent": "00-a-b-01", "tracestate": "x=1", "baggage": "y=2", K + "logLevel": "debug",
        }),
        ("legacy", {"traceparent": "00-a-b-01"}, {"traceparent": "00-a-b-01"}),
    ],
)  # fmt: skip
def test_the_meta_of_a_request(era: Any, meta: dict[str, Any], sent: dict[str, Any] | None) -> None:
    params = opened(pack({"name": "t", "arguments": {"n": 1}}))
    got = plain(
        to_backend(
            params,
            opened(pack(meta)),
            era,
            number=9,
            client=pack({"name": "proxy"}),
            capabilities=pack({"roots": {}}),
            level="debug",
        )
    )
    assert (got.pop("name"), got.pop("arguments")) == ("t", {"n": 1})
    if era == "modern":
        assert got["_meta"].pop(K + "protocolVersion") == "2026-07-28"
        assert got["_meta"].pop(K + "clientInfo") == {"name": "proxy"}
        assert got["_meta"].pop(K + "clientCapabilities") == {"roots": {}}
    assert got.get("_meta") == sent


def test_end_to_end() -> None:
    untouched = opened(pack({"a": 1, "_meta": {"v/x": 1, "progressToken": 1, K + "subscriptionId": 2}}))
    assert plain(end_to_end(untouched)) == {"a": 1, "_meta": {"v/x": 1}}
    assert plain(end_to_end(opened(pack({"_meta": {"progressToken": 1}})))) == {}
    assert plain(end_to_end(opened(pack({"_meta": {"multi-mcp/chain": {"a": 0}}})))) == {}
    assert plain(end_to_end(opened(pack({"a": 1})))) == {"a": 1}


# Results


@pytest.mark.parametrize(
    ("method", "spoken", "era", "result", "got"),
    [
        ("tools/call", "legacy", "legacy", {"_meta": {"a": 1}}, {"_meta": {"a": 1}}),
        ("tools/call", "legacy", "modern", {"x": 1}, {"x": 1, "resultType": "complete"}),
        ("tools/call", "modern", "modern", {"resultType": "input_required"}, {"resultType": "input_required"}),
        ("resources/read", "legacy", "modern", {}, {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
        (
            "resources/read",
            "modern",
            "modern",
            {"resultType": "complete", "ttlMs": 7, "cacheScope": "public"},
            {"resultType": "complete", "ttlMs": 7, "cacheScope": "public"},
        ),
        ("resources/read", "modern", "legacy", {"resultType": "complete", "ttlMs": 7, "cacheScope": "public"}, {}),
        ("tools/call", "modern", "legacy", {"resultType": "complete", "ttlMs": 7}, {"ttlMs": 7}),
        (
            "tools/call",
            "modern",
            "legacy",
            {"_meta": {K + "serverInfo": {"name": "it"}, "a": 1}},
            {"_meta": {"a": 1}},
        ),
        ("tools/call", "modern", "legacy", {"_meta": {K + "serverInfo": {"name": "it"}}}, {}),
        ("tools/call", "modern", "modern", {"resultType": "complete", "_meta": {"a": 1}}, {
            "resultType": "complete", "_meta": {"a": 1},
        }),
    ],
)  # fmt: skip
def test_the_envelope_of_a_result(method: str, spoken: Any, era: Any, result: Any, got: Any) -> None:
    adapted = json.loads(bytes(to_client(method, pack(result), spoken, era, pack({"name": "proxy"}))))
    if era == "modern":
        assert adapted["_meta"].pop(K + "serverInfo") == {"name": "proxy"}
        adapted = {name: item for name, item in adapted.items() if (name, item) != ("_meta", {})}
    assert adapted == got


def test_a_legacy_result_for_a_legacy_client_is_not_looked_at() -> None:
    odd = Raw(b'{ "n": 1e400, "n": 1.0 }')
    assert to_client("tools/call", odd, "legacy", "legacy", pack({})) is odd


@pytest.mark.parametrize(
    ("spoken", "era", "code", "got"),
    [
        ("legacy", "modern", -32002, -32602),
        ("legacy", "legacy", -32002, -32002),
        ("modern", "legacy", -32602, -32602),
        ("legacy", "modern", -32000, -32000),
        ("modern", "legacy", -32020, -32603),
        ("modern", "modern", -32020, -32020),
        ("legacy", "legacy", -32020, -32020),  # free for servers up to 2025-11-25
        ("modern", "legacy", -32021, -32021),
    ],
)
def test_an_error_is_spelled_as_the_client_knows_it(spoken: Any, era: Any, code: int, got: int) -> None:
    answer = Message("2.0", error=pack({"code": code, "message": "m", "data": {"uri": "x"}}))
    error = error_of(answer)
    assert error is not None
    adapted = error_to_client(answer, error, spoken, era)
    assert json.loads(bytes(adapted.error)) == {"code": got, "message": "m", "data": {"uri": "x"}}  # type: ignore[arg-type]


# The modern envelope

GOOD: dict[str, Any] = {K + "protocolVersion": "2026-07-28", K + "clientCapabilities": {}}
SENT = {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call", b"mcp-name": b"t"}


@pytest.mark.parametrize(
    ("meta", "headers", "code"),
    [
        (GOOD, SENT, None),
        (GOOD, None, None),
        (GOOD, {**SENT, b"mcp-name": b"=?base64?dA==?="}, None),
        (None, SENT, -32602),
        ({}, SENT, -32602),
        ({K + "protocolVersion": "2026-07-28"}, SENT, -32602),
        ({K + "clientCapabilities": {}}, SENT, -32602),
        (GOOD, {**SENT, b"mcp-protocol-version": b"2027-01-01"}, -32020),
        (GOOD, {**SENT, b"mcp-method": b"tools/list"}, -32020),
        (GOOD, {name: it for name, it in SENT.items() if name != b"mcp-method"}, -32020),
        (GOOD, {**SENT, b"mcp-name": b"u"}, -32020),
        (GOOD, {**SENT, b"mcp-name": b"=?base64?dB==?="}, -32020),
        (GOOD, {name: it for name, it in SENT.items() if name != b"mcp-name"}, -32020),
        ({**GOOD, K + "protocolVersion": "2027-01-01"}, {**SENT, b"mcp-protocol-version": b"2027-01-01"}, -32022),
        ({**GOOD, K + "protocolVersion": "2027-01-01"}, SENT, -32020),
        ({**GOOD, K + "protocolVersion": "2027-01-01"}, None, -32022),
        ({**GOOD, K + "protocolVersion": 7}, None, -32602),
    ],
)
def test_the_envelope_of_a_request(meta: Any, headers: Any, code: int | None) -> None:
    params = {"name": "t", "arguments": {}}
    body = {"method": "tools/call", "params": {**params, **({"_meta": meta} if meta is not None else {})}}
    known = {name.decode(): it.decode() for name, it in headers.items()} if headers is not None else None
    theirs = inbound.classify_inbound_request(body, headers=known)
    assert getattr(theirs, "code", None) == code  # the SDK judges the same
    opened_meta = opened(pack(meta)) if meta is not None else None
    if code is None:
        check_envelope("tools/call", opened(pack(params)), opened_meta, headers)
        return
    with pytest.raises(Fault) as fault:
        check_envelope("tools/call", opened(pack(params)), opened_meta, headers)
    assert fault.value.code == code
    if code == -32022:
        assert fault.value.data == theirs.data  # type: ignore[union-attr]


# Headers

TEXTS = ["plain", "", " edge ", "ü", "a\nb", "=?base64?eA==?=", "x" * 100, "~!@#"]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_in_headers_and_back(text: str) -> None:
    assert encode_header(text) == inbound.encode_header_value(text)
    assert decode_header(encode_header(text)) == text


@pytest.mark.parametrize("header", ["=?base64?eA?=", "=?base64?eB==?=", "=?base64?/w==?=", "=?base64?*?=", "plain"])
def test_headers_that_are_not_valid(header: str) -> None:
    assert decode_header(header) == inbound.decode_header_value(header)


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


SCHEMAS = [
    schema(a={"type": "string", "x-mcp-header": "A"}, b={"type": "integer", "x-mcp-header": "b"}),
    schema(deep=schema(c={"type": "boolean", "x-mcp-header": "C-c"})),
    schema(a={"type": "number", "x-mcp-header": "A"}),
    schema(a={"type": ["string"], "x-mcp-header": "A"}),
    schema(a={"x-mcp-header": "A"}),
    schema(a={"type": "string", "x-mcp-header": "no token"}),
    schema(a={"type": "string", "x-mcp-header": ""}),
    schema(a={"type": "string", "x-mcp-header": 7}),
    schema(a={"type": "string", "x-mcp-header": "A"}, b={"type": "string", "x-mcp-header": "a"}),
    {"x-mcp-header": "A"},
    schema(a={"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
    {"anyOf": [schema(a={"type": "string", "x-mcp-header": "A"})]},
    {"$defs": {"x": {"type": "string", "x-mcp-header": "A"}}},
    schema(a={"type": "string", "default": {"x-mcp-header": "A"}}),
    schema(),
]


@pytest.mark.parametrize("tool_schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_annotations(tool_schema: Any) -> None:
    if inbound.find_invalid_x_mcp_header(tool_schema) is not None:
        with pytest.raises(ValueError, match="x-mcp-header"):
            param_headers(pack(tool_schema))
    else:
        found = {path: token for path, (token, _) in param_headers(pack(tool_schema)).items()}
        assert found == inbound.x_mcp_header_map(tool_schema)


ARGUMENTS: list[dict[str, Any]] = [
    {"a": "x", "b": 7},
    {"a": "é", "b": 7.0},
    {"a": None},
    {"b": True, "a": True},
    {"a": ["list"]},
    {},
]
MIRRORED: list[dict[str, str]] = [
    {"mcp-param-a": "x", "mcp-param-b": "7"},
    {"mcp-param-a": "x", "mcp-param-b": "7.0"},
    {"mcp-param-a": "=?base64?w6k=?=", "mcp-param-b": "7"},
    {"mcp-param-a": "=?base64?*?=", "mcp-param-b": "7"},
    {"mcp-param-a": "true", "mcp-param-b": "true"},
    {},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("mirrored", MIRRORED, ids=str)
def test_mirrored_arguments(arguments: dict[str, Any], mirrored: dict[str, str]) -> None:
    annotated = param_headers(pack(SCHEMAS[0]))
    theirs = inbound.validate_mcp_param_headers(SCHEMAS[0], arguments, mirrored)
    headers = {name.encode(): it.encode() for name, it in mirrored.items()}
    if theirs is None:
        check_param_headers(annotated, arguments, headers)
    else:
        with pytest.raises(Fault) as fault:
            check_param_headers(annotated, arguments, headers)
        assert fault.value.code == theirs.code
    sent = headers_for("tools/call", opened(pack({"name": "t", "arguments": arguments})), {"t": annotated})
    expected = inbound.mcp_param_headers(inbound.x_mcp_header_map(SCHEMAS[0]), arguments)
    assert sent == {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "t", **expected}


@pytest.mark.parametrize(
    ("level", "at_least", "wanted"),
    [
        ("info", None, True),
        ("info", "info", True),
        ("debug", "info", False),
        ("emergency", "info", True),
        ("loud", "error", True),
        (None, "error", True),
        ("info", "loud", True),
    ],
)
def test_levels(level: str | None, at_least: str | None, wanted: bool) -> None:
    assert is_wanted(level, at_least) is wanted
