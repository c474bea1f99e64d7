"""Secrets stay where they are: `[redacted]` takes their place in wire logs, messages and launch commands.

Rules:
- What stands under a secret's name is replaced whole: in JSON, in headers, environment variables and query
  parameters, and as `name: value` in a text.
- In a text also what follows `Bearer`, and user and password of a URL.
- Tokens that are no secrets stay: progress tokens and those of pagination. So do booleans, null, and the schema of a
  property that has a secret's name.
- Redacting twice changes nothing more.
- Half a surrogate pair, which a stranger may well send and no file can hold, is spelled out.
"""

import re
from typing import Any

REDACTED = "[redacted]"
DEEPEST = 100
"""Levels of nesting that are kept. Strangers may send more than the stack can take."""

_NAME = r"""
    (?! [\w.-]* (?: progress|page|pagination|next|previous|continuation|cursor ) [_.-]? token )
    [\w.-]*?
    (?: authorization|(?:api|access|private|secret)[_.\ -]?key|token|password|passwd|passphrase|secrets?|cookies?
      | credentials?|session[_.\ -]?id )
"""
_NO_ID = r"(?! (?<=\w:) [\w-]+ :\S )"
"""Not in a name made of parts, such as a requirement's id."""
_SECRET_NAME = re.compile(_NAME, re.VERBOSE | re.IGNORECASE)
# None of its repeats is possessive: Python 3.11.2 may lose a group then.
_NAMED = re.compile(
    rf"""
    ( (?<![\w.-]) (?<!progress\ ) (?<!pagination\ ) {_NO_ID} {_NAME} \\*["']? [ \t]* [:=] (?![:=]) [ \t]* )
    (?: (?P<quote> \\*["'] ) [^\\"']* (?: (?! (?P=quote) ) (?: \\. | . ) [^\\"']* )*
        (?P<closing> (?P=quote) )?   # none where it was cut
      | \[ [^\]]* \]?
      | (?! (?: true|false|null|none ) \b ) [^\s{{}}\[\],;&"'<>\\] [^\s{{}}\],;&"'<>\\]*
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    rf"""( \b {_NO_ID} (?: authorization|cookie ) [ \t]* : (?!:) [ \t]* ) [^\s"'\\\[{{] [^\r\n"'\\]*""",
    re.VERBOSE | re.IGNORECASE,
)
_BEARER = re.compile(
    r"(\bbearer[ \t]+)(?!(?:realm|scope|error|error_description|error_uri|resource_metadata)=)[\w.~+/=-]+",
    re.IGNORECASE,
)
_USER_AND_PASSWORD = re.compile(
    r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://)[^\s/?#:\"'<>]*+:[^\s/?#\"'<>]*@", re.IGNORECASE
)
_HINTS = (
    "authorization",
    "key",
    "token",
    "passw",
    "passphrase",
    "secret",
    "cookie",
    "credential",
    "session",
    "bearer",
    "@",
)
"""A text with none of these has no secret that could be told; most have none, and looking closely is dear."""
_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def redact(value: Any) -> Any:
    """A copy of a JSON value without its secrets; what is nested deeper than `DEEPEST` levels is left out."""
    return _redact(value, DEEPEST)


def legible(text: str) -> str:
    """The text, with halves of surrogate pairs spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _redact(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return _redact_text(legible(value))
    if not isinstance(value, dict | list | tuple):
        return value
    if levels == 0:
        return f"[deeper than {DEEPEST} levels]"
    if isinstance(value, dict):
        return {legible(str(key)): _redact_under(str(key), inner, levels - 1) for key, inner in value.items()}
    return [_redact(inner, levels - 1) for inner in value]


def _redact_under(key: str, value: Any, levels: int) -> Any:
    if key in _SCHEMAS_BY_NAME and isinstance(value, dict) and all(isinstance(s, dict | bool) for s in value.values()):
        return {legible(name): _redact(schema, levels) for name, schema in value.items()}
    if _SECRET_NAME.fullmatch(key) and not isinstance(value, bool | None):
        return REDACTED
    return _redact(value, levels)


def _redact_text(text: str) -> str:
    folded = text.lower()
    if not any(hint in folded for hint in _HINTS):
        return text
    text = _USER_AND_PASSWORD.sub(rf"\1{REDACTED}@", text)
    text = _HEADER.sub(rf"\1{REDACTED}", text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _NAMED.sub(rf"\1\g<quote>{REDACTED}\g<closing>", text)
