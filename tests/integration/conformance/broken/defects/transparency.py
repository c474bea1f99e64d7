"""What a proxy has to pass on as it is: proxies that break what is required of them."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from tests.integration.conformance.broken.breaking import (
    blocks,
    deeply,
    in_params,
    in_result,
    keep,
    rewrite,
    without_empty,
)
from tests.integration.conformance.broken.mux import ENVELOPE, Message, as_object, objects


@in_result("transparency:meta:result", "tools/call", symptom='+ "vendor.example/key": null')
def loses_meta_of_results(result: Message) -> None:
    """The server's _meta is lost."""
    meta = as_object(result.pop("_meta", None))
    if any(key.startswith(ENVELOPE) for key in meta):
        result["_meta"] = {key: meta[key] for key in meta if key.startswith(ENVELOPE)}


def drop_meta(params: Message, dropped: Callable[[str], bool]) -> None:
    """Keys of a request's _meta are lost, and so is what is left of it when it is empty."""
    if "_meta" in params:
        params["_meta"] = {key: value for key, value in params["_meta"].items() if not dropped(key)}
        if not params["_meta"]:
            del params["_meta"]


TRACE = ("traceparent", "tracestate", "baggage")


@in_params(
    "transparency:meta:request", "tools/call", symptom="the vendor's _meta of tools/call reached the backend changed"
)
def loses_unknown_meta(params: Message) -> None:
    """Keys in _meta that the protocol does not know do not reach the server."""
    drop_meta(params, lambda key: not key.startswith(ENVELOPE) and key not in ("progressToken", *TRACE))


@in_params("transparency:meta:trace", "tools/call", symptom="the trace of tools/call is lost")
def loses_the_trace(params: Message) -> None:
    """The trace context does not reach the server."""
    drop_meta(params, lambda key: key in TRACE)


RESULT = ("content", "structuredContent", "isError", "_meta", "resultType", "inputRequests", "requestState")


@in_result("transparency:fields:result", "tools/call", symptom='+ "tools/call": null')
def loses_unknown_fields_of_results(result: Message) -> None:
    """Unknown fields of a result are lost."""
    keep(result, *RESULT)


@in_params(
    "transparency:fields:request", "tools/call", symptom="the vendor's params of tools/call reached the backend changed"
)
def loses_unknown_params(params: Message) -> None:
    """Unknown fields of the params do not reach the server."""
    keep(params, "name", "arguments", "_meta", "inputResponses", "requestState")


KNOWN_CONTENT = ("text", "image", "audio", "resource", "resource_link")


@in_result("transparency:content:unknown", "tools/call", symptom="content of an unknown type arrived changed")
def loses_unknown_content(result: Message) -> None:
    """Content of an unknown type is lost."""
    if isinstance(result.get("content"), list):
        result["content"] = [block for block in result["content"] if block.get("type") in KNOWN_CONTENT]


@in_result("transparency:content:annotations", "tools/call", symptom="annotations arrived changed")
def loses_annotations(result: Message) -> None:
    """Content loses its annotations."""
    for block in objects(result.get("content")):
        block.pop("annotations", None)


@in_result("transparency:structured:exact", "tools/call", symptom="structured content arrived changed")
def loses_what_is_empty(result: Message) -> None:
    """Structured content loses what is empty."""
    if isinstance(structured := result.get("structuredContent"), dict):
        result["structuredContent"] = deeply(structured, without_empty)


@in_result("transparency:payload:large-result", "tools/call", symptom="a large result arrived changed")
def cuts_results(result: Message) -> None:
    """Texts are cut off at 1 MB."""
    for block in blocks(result, "text"):
        block["text"] = block["text"][:1_000_000]


@in_params("transparency:payload:large-argument", "tools/call", symptom="a large argument reached the backend changed")
def cuts_arguments(params: Message) -> None:
    """Texts in arguments are cut off at 1 MB."""
    rewrite(params, lambda value: value[:1_000_000] if isinstance(value, str) else value)


@in_result("transparency:text:unicode", "tools/call", symptom="the text arrived changed")
def normalises_text(result: Message) -> None:
    """Texts are normalised, and have no characters beyond the basic plane."""

    def basic(value: Any) -> Any:
        return (
            re.sub(r"[^\0-\uffff]", "\ufffd", unicodedata.normalize("NFC", value)) if isinstance(value, str) else value
        )

    rewrite(result, basic)


@in_result("transparency:json:deep", "tools/call", symptom="deep JSON came back changed")
def cuts_what_lies_deep(result: Message) -> None:
    """Whatever lies deeper than 32 levels is lost."""

    def cut(value: Any, level: int) -> Any:
        if isinstance(value, dict):
            return {key: cut(part, level - 1) for key, part in value.items()} if level else None
        if isinstance(value, list):
            return [cut(part, level - 1) for part in value] if level else None
        return value

    result.update(cut(result, 32))


@in_result("transparency:numbers:integers", "tools/call", symptom="an integer came back changed")
def rounds_integers(result: Message) -> None:
    """Integers have the precision of floats."""
    rewrite(result, lambda value: int(float(value)) if type(value) is int else value)


@in_result("transparency:numbers:floats", "tools/call", symptom="a floating-point number came back changed")
def rounds_floats(result: Message) -> None:
    """Floats have six digits."""
    rewrite(result, lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)


@in_result("transparency:null:kept", "tools/call", symptom="an explicit null came back changed")
def loses_nulls(result: Message) -> None:
    """Nulls are lost."""

    def without_null(value: Any) -> Any:
        return {key: part for key, part in value.items() if part is not None} if isinstance(value, dict) else value

    rewrite(result, without_null)
