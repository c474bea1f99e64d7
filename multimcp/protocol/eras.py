"""All that one hop rewrites, on one page: the envelope of requests and results, `_meta`, and the `Mcp-*` headers.

Rules:
- Hop-by-hop: request ids, progress tokens, the `_meta` keys in `HOP_BY_HOP`, `Mcp-*` headers, cursors; where the two
  sides speak different eras also `resultType`, `ttlMs`, `cacheScope` and a legacy client's log level.
- End-to-end: everything else, `traceparent`, `tracestate` and `baggage` in `_meta` included.
- The tables are the specification's; a test compares them with the SDK's.

Spec: https://modelcontextprotocol.io/specification/2026-07-28/basic/index#meta
"""

import base64
import binascii
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Raw

from multimcp.errors import Fault

from .extensions import EXTENSIONS
from .message import (
    EMPTY,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
    Era,
    ErrorObject,
    Fields,
    Id,
    Message,
    fields,
    pack,
    text,
    value,
)

LEGACY_VERSIONS: Final = ("2024-10-07", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS: Final = ("2026-07-28",)
LATEST_LEGACY: Final = LEGACY_VERSIONS[-1]
LATEST_MODERN: Final = MODERN_VERSIONS[-1]

ONLY_LEGACY: Final = frozenset(
    {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
ONLY_MODERN: Final = frozenset({"server/discover", "subscriptions/listen"})
_OF_SERVERS: Final = frozenset({"sampling/createMessage", "elicitation/create", "roots/list", ""})
UNKNOWN_IN: Final[Mapping[Era, frozenset[str]]] = {
    "legacy": ONLY_MODERN | _OF_SERVERS,
    "modern": ONLY_LEGACY | _OF_SERVERS | {"tasks/result", "tasks/list"},
}
"""The requests of MCP that a client cannot make in an era."""

CACHEABLE: Final = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
).union(*(extension.cacheable for extension in EXTENSIONS.values()))
"""The methods whose results say in the modern era how long they hold and for whom."""

NAMED: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The methods of MCP whose `Mcp-Name` header repeats a parameter, and which."""

MIRRORED: Final[Mapping[str, str]] = {**NAMED, **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")}
"""The same, with those of extensions (ext-tasks, streamable HTTP: routing headers)."""

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""The levels of log messages, from the most verbose to the most severe."""

_KEY = "io.modelcontextprotocol/"
VERSION_KEY: Final = _KEY + "protocolVersion"
CLIENT_KEY: Final = _KEY + "clientInfo"
CAPABILITIES_KEY: Final = _KEY + "clientCapabilities"
LEVEL_KEY: Final = _KEY + "logLevel"
SERVER_KEY: Final = _KEY + "serverInfo"
SUBSCRIPTION_KEY: Final = _KEY + "subscriptionId"
TOKEN_KEY: Final = "progressToken"

GREETINGS: Final = frozenset({"initialize", "server/discover"})
"""The methods with which a client introduces itself."""

CHAIN_KEY: Final = "multi-mcp/chain"
"""What Multi-MCPs say to one another of who is in front of, and behind them."""

HOP_BY_HOP: Final = frozenset(
    {TOKEN_KEY, VERSION_KEY, CLIENT_KEY, CAPABILITIES_KEY, SERVER_KEY, SUBSCRIPTION_KEY, CHAIN_KEY}
)
"""Keys of `_meta` that speak of one hop, not of the message."""

MODERN_ERRORS: Final = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION})
"""Errors that only a server of the modern era gives."""

HTTP_STATUS: Final[Mapping[int, int]] = {
    METHOD_NOT_FOUND: 404,
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, *MODERN_ERRORS), 400),
}
"""The status of an error in the modern era; all others are 200, and so are all in the legacy era."""

_SPELLED: Final[Mapping[tuple[int, Era, Era], int]] = {
    (RESOURCE_NOT_FOUND, "legacy", "modern"): INVALID_PARAMS,
    (HEADER_MISMATCH, "modern", "legacy"): INTERNAL_ERROR,
}
"""(error code, era in which it was given, the client's era) -> the code that the client knows for it."""

_COMPLETE = Raw(b'"complete"')
_INPUT_REQUIRED = Raw(b'"input_required"')
_ZERO = Raw(b"0")
_PRIVATE = Raw(b'"private"')
_LATEST_MODERN = pack(LATEST_MODERN)


def is_wanted(level: str | None, at_least: str | None) -> bool:
    """Whether a log message of this level is one of those `at_least` so severe. An unknown level always is."""
    if level not in LEVELS or at_least not in LEVELS:
        return True
    return LEVELS.index(level) >= LEVELS.index(at_least)


# Requests, from a client to a backend


def end_to_end(params: Fields) -> Fields:
    """`params` without what speaks of one hop only."""
    if "_meta" not in params:
        return params
    meta = {name: item for name, item in fields(params["_meta"]).items() if name not in HOP_BY_HOP}
    return _with_meta(dict(params), meta)


def to_backend(
    params: Fields,
    meta: Fields,
    era: Era,
    number: Id = 0,
    client: Raw = EMPTY,
    capabilities: Raw = EMPTY,
    *,
    level: str | None = None,
    own: Fields | None = None,
) -> Fields:
    """A request's params as a backend gets them.

    Args:
        params: as the client sent them, without `_meta`, under the backend's own names.
        meta: their `_meta`.
        era: the backend's.
        number: the request's id there, which is its progress token, too.
        client: how the proxy introduces itself.
        capabilities: what the client can do.
        level: from which level on a legacy client wants log messages, if it has said.
        own: what is added to `_meta` for this hop.
    """
    if era == "legacy" and not meta and not own:
        return params
    sent = {name: item for name, item in meta.items() if name not in HOP_BY_HOP} | (own or {})
    if TOKEN_KEY in meta:
        sent[TOKEN_KEY] = pack(number)
    if era == "modern":
        sent[VERSION_KEY], sent[CLIENT_KEY], sent[CAPABILITIES_KEY] = _LATEST_MODERN, client, capabilities
        if level is not None:
            sent.setdefault(LEVEL_KEY, pack(level))
    else:
        sent.pop(LEVEL_KEY, None)
    return {**params, "_meta": pack(sent)} if sent else params


def _with_meta(params: Fields, meta: Fields) -> Fields:
    params["_meta"] = pack(meta)
    if not meta:
        del params["_meta"]
    return params


# Results, from a backend to a client


def to_client(
    method: str,
    result: Raw,
    spoken: Era,
    era: Era,
    server: Raw,
    check_questions: Callable[[Fields], None] = lambda questions: None,
) -> Raw:
    """A result that was given in the era `spoken`, in the envelope of the client's `era`; `server` is who we are.

    Raises:
        Fault: the backend's: it began a task, though nobody has declared that; or what `check_questions` raises of what
            it asks of a modern client.
    """
    if spoken == era == "legacy":
        return result
    opened = fields(result)
    meta = fields(opened.get("_meta"))
    if era == "modern":
        kind = opened.setdefault("resultType", _COMPLETE)
        if method in CACHEABLE and kind == _COMPLETE:  # nothing is known of how long it holds or whom it is for
            opened.setdefault("ttlMs", _ZERO)
            opened.setdefault("cacheScope", _PRIVATE)
        elif kind == _INPUT_REQUIRED:
            check_questions(fields(opened.get("inputRequests")))
        meta[SERVER_KEY] = server
    else:
        if text(opened.pop("resultType", None)) == "task":
            raise Fault(INTERNAL_ERROR, f"The server began a task for {method}, which the client cannot read")
        if method in CACHEABLE:
            opened.pop("ttlMs", None)
            opened.pop("cacheScope", None)
        meta.pop(SERVER_KEY, None)
    return pack(_with_meta(opened, meta))


def error_to_client(answer: Message, error: ErrorObject, spoken: Era, era: Era) -> Message:
    """An error that was given in the era `spoken`, as the client's `era` spells it.

    "Resource not found" is -32002 up to 2025-11-25, -32602 since (spec, resources). What is wrong with headers is a
    matter between us and a modern server: a legacy client has sent none.
    """
    if (code := _SPELLED.get((error.code, spoken, era))) is not None:
        return Message("2.0", error=pack({**fields(answer.error), "code": code}))
    return answer


def http_status(code: int | None) -> int:
    """The HTTP status of a modern answer with this error code, or with a result (None)."""
    return 200 if code is None else HTTP_STATUS.get(code, 200)


# The modern envelope, and the headers that repeat it


def check_envelope(method: str, params: Fields, meta: Fields | None, headers: Mapping[bytes, bytes] | None) -> None:
    """Check what a modern request says of itself.

    Args:
        method: of the request.
        params: of the request, without `_meta`.
        meta: their `_meta`; None where there is none.
        headers: of the HTTP request, with lower-case names; None over stdio.

    Raises:
        Fault: the client's: what is missing, does not match or is not supported.
    """
    if meta is None:
        raise Fault(
            INVALID_PARAMS, f"params._meta must be an object with the required '{VERSION_KEY}' and '{CAPABILITIES_KEY}'"
        )
    if missing := [name for name in (VERSION_KEY, CAPABILITIES_KEY) if name not in meta]:
        raise Fault(INVALID_PARAMS, f"params._meta lacks what a request must carry: {', '.join(missing)}")
    version = meta[VERSION_KEY]
    if headers is not None:
        _check_headers(method, params, version, headers)
    if version != _LATEST_MODERN:
        spelled = text(version)
        if spelled is None:
            raise Fault(INVALID_PARAMS, f"params._meta: '{VERSION_KEY}' must be a string")
        if spelled not in MODERN_VERSIONS:
            raise unsupported(spelled)


def _check_headers(method: str, params: Fields, version: Raw, headers: Mapping[bytes, bytes]) -> None:
    given = headers.get(b"mcp-protocol-version")
    expected = LATEST_MODERN if version == _LATEST_MODERN else text(version)
    if given is None or given.decode("latin-1") != expected:
        raise Fault(HEADER_MISMATCH, "The Mcp-Protocol-Version header does not match the version in params._meta")
    if headers.get(b"mcp-method", b"").decode("latin-1") != method:
        raise Fault(HEADER_MISMATCH, "The Mcp-Method header does not match the request's method")
    name = MIRRORED.get(method)
    if name is not None and (expected := value(params.get(name))) is not None:
        mirrored = headers.get(b"mcp-name")
        if mirrored is None or decode_header(mirrored.decode("latin-1")) != expected:
            raise Fault(HEADER_MISMATCH, f"The Mcp-Name header does not match the request's '{name}'")


def unsupported(version: str) -> Fault:
    """The error for a revision that is not spoken here."""
    data = {"supported": list(MODERN_VERSIONS), "requested": version}
    return Fault(UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def headers_for(method: str, params: Fields, annotated: Mapping[str, "ParamHeaders"]) -> dict[str, str]:
    """What a modern request says in its headers; `annotated` are the headers that tools ask for."""
    headers = {"MCP-Protocol-Version": LATEST_MODERN, "Mcp-Method": encode_header(method)}
    if (field := MIRRORED.get(method)) is not None and (name := text(params.get(field))) is not None:
        headers["Mcp-Name"] = encode_header(name)
    return headers | param_headers_for(params, annotated) if method == "tools/call" and annotated else headers


def param_headers_for(params: Fields, annotated: Mapping[str, "ParamHeaders"]) -> dict[str, str]:
    """The headers in which a call repeats arguments, as its tool asks for it."""
    headers = {}
    for path, (token, _) in annotated.get(text(params.get("name")) or "", {}).items():
        if (rendered := _rendered(_at(value(params.get("arguments"), sys.maxsize), path))) is not None:
            headers[f"Mcp-Param-{token}"] = encode_header(rendered)
    return headers


def passed_on(given: Mapping[bytes, bytes], *ours: Iterable[str]) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a client that nobody here knows: they must go on (spec, streamable HTTP).

    `given` are all its headers, with lower-case names; `ours` the names of those that a request has already.
    """
    unknown = {name.decode("latin-1"): text for name, text in given.items() if name.startswith(_PARAM)}
    if unknown:
        for name in {name.lower() for names in ours for name in names} & unknown.keys():
            del unknown[name]
    return {name: text.decode("latin-1") for name, text in unknown.items()}


# Headers that repeat arguments (`x-mcp-header` in a tool's input schema)

ParamHeaders = Mapping[tuple[str, ...], tuple[str, str]]
"""Path of an argument -> (what its header is called behind `Mcp-Param-`, the argument's type)."""

_ANNOTATION = "x-mcp-header"
_PARAM = b"mcp-param-"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(r"[\x20-\x7E]*")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")
_DECIMAL = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_ONE = frozenset(
    {
        *("items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties"),
        *("not", "if", "then", "else", "contentSchema"),
    }
)
_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_BY_NAME = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})


def param_headers(schema: Raw | None) -> ParamHeaders:
    """The headers that a tool's input schema asks for.

    Raises:
        ValueError: the server's: an annotation that the specification does not allow; its text says which.
    """
    if schema is None or _ANNOTATION.encode() not in bytes(schema):
        return {}
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for path, position in _positions(value(schema)):
        if _ANNOTATION not in position:
            continue
        token, kind = position[_ANNOTATION], position.get("type")
        if not path:
            raise ValueError(f"{_ANNOTATION} stands where only a chain of properties may lead")
        where = ".".join(path)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ValueError(f"property '{where}': {_ANNOTATION} is not a header's name (RFC 9110 token)")
        if kind not in ("string", "integer", "boolean"):
            raise ValueError(f"property '{where}': {_ANNOTATION} is for integers, strings and booleans only")
        if token.lower() in {other.lower() for other, _ in found.values()}:
            raise ValueError(f"property '{where}': {_ANNOTATION} '{token}' comes twice")
        found[path] = token, kind
    return found


def _positions(root: Any) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Each place of a JSON Schema where a schema stands, and the properties that lead there; None: others do, too."""
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        for keyword, inner in node.items():
            if keyword == "properties" and isinstance(inner, dict):
                stack += [((*path, name) if path is not None else None, sub) for name, sub in inner.items()]
            elif keyword in _ONE:
                stack.append((None, inner))
            elif keyword in _SEVERAL and isinstance(inner, list):
                stack += [(None, sub) for sub in inner]
            elif keyword in _BY_NAME and isinstance(inner, dict):
                stack += [(None, sub) for sub in inner.values()]


def check_param_headers(annotated: ParamHeaders, arguments: Any, headers: Mapping[bytes, bytes]) -> None:
    """Check the headers of a call against its arguments.

    Raises:
        Fault: the client's: they do not agree.
    """
    for path, (token, kind) in annotated.items():
        given = headers.get(f"mcp-param-{token}".lower().encode())
        argument = _at(arguments, path)
        rendered = _rendered(argument)
        name = f"The Mcp-Param-{token} header"
        if rendered is None:
            if given is not None:
                raise Fault(HEADER_MISMATCH, f"{name} is there, but the argument '{'.'.join(path)}' is not")
            continue
        if given is None:
            raise Fault(HEADER_MISMATCH, f"{name} is missing, but the argument '{'.'.join(path)}' is there")
        decoded = decode_header(given.decode("latin-1"))
        if decoded is None or not (decoded == rendered or _is_same_integer(kind, argument, decoded)):
            raise Fault(HEADER_MISMATCH, f"{name} does not match the argument '{'.'.join(path)}'")


def _is_same_integer(kind: str, argument: Any, decoded: str) -> bool:
    number = _DECIMAL.fullmatch(decoded)
    if kind != "integer" or number is None or isinstance(argument, bool) or not isinstance(argument, int | float):
        return False
    return len(decoded) < 4000 and int(number[1]) == argument


def _at(arguments: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        arguments = arguments.get(step) if isinstance(arguments, dict) else None
    return arguments


def _rendered(argument: Any) -> str | None:
    """An argument as a header has it; None for what cannot be one."""
    if isinstance(argument, bool):
        return "true" if argument else "false"
    if not isinstance(argument, str | int | float):
        return None
    try:
        return str(argument)
    except ValueError:  # an integer of more digits than Python spells
        return None


def encode_header(plain: str) -> str:
    """A text as a header's value: as it is where that survives HTTP, else in base64 (spec, streamable HTTP)."""
    if _PLAIN.fullmatch(plain) and plain == plain.strip() and not _ENCODED.fullmatch(plain):
        return plain
    return f"=?base64?{base64.b64encode(plain.encode()).decode()}?="


def decode_header(header: str) -> str | None:
    """The text that a header's value stands for; None where it is in base64 that is not valid."""
    encoded = _ENCODED.fullmatch(header)
    if encoded is None:
        return header
    try:
        decoded = base64.b64decode(encoded[1], validate=True)
        return decoded.decode() if base64.b64encode(decoded).decode() == encoded[1] else None
    except (binascii.Error, UnicodeError):
        return None
