"""Names: public name <-> (server, name). Pure.

Rules:
- Tools and prompts: `server::name`; with namespace "never" just `name`.
- Resource URIs keep their spelling; one that another server has already becomes `scheme://server/rest`, and
  `scheme:rest` becomes `scheme:server/rest`. The server's name is percent-encoded, so the result is always legal,
  and the mapping is reversible.
- Nothing is routed by splitting a tool's or prompt's name: a tool may itself be called `a::b`. Look it up.
"""

import re
from typing import Literal
from urllib.parse import quote, unquote

Namespace = Literal["always", "never"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(//)?")


def public_name(server: str, name: str, *, separator: str = "::", namespace: Namespace = "always") -> str:
    """The name under which the proxy offers a tool or prompt of `server`."""
    return name if namespace == "never" else f"{server}{separator}{name}"


def qualify(server: str, uri: str) -> str:
    """`uri` (or URI template) of `server`, spelled so that it says which server is meant.

    A string without a scheme is no URI; it is left alone and cannot be qualified.
    """
    match = _SCHEME.match(uri)
    if match is None:
        return uri
    return f"{match.group()}{quote(server, safe='')}/{uri[match.end() :]}"


def unqualify(uri: str) -> tuple[str, str] | None:
    """(server, original URI) that `qualify` would have made `uri` of, or None when there is no such pair.

    Any URI with an authority reads like one; whether that server exists is for the caller to say.
    """
    match = _SCHEME.match(uri)
    if match is None:
        return None
    server, slash, rest = uri[match.end() :].partition("/")
    if not server or not slash:
        return None
    return unquote(server), match.group() + rest
