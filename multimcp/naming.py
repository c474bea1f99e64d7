"""Names: public name <-> (server, name). Pure.

Rules:
- Tools and prompts: `server::name`; with namespace "never" just `name`.
- Resource URIs keep their spelling; one that another server has already becomes `scheme://server/rest`, and
  `scheme:rest` becomes `scheme:server/rest`. The server's name is percent-encoded, so a legal URI stays legal, and
  the mapping is reversible.
- A name that is taken all the same (servers `a` with `b::c` and `a::b` with `c`) gets its server's name once more.
- Nothing is routed by splitting a tool's or prompt's name: a tool may itself be called `a::b`. Look it up.
"""

import re
from typing import Literal
from urllib.parse import quote, unquote

Namespace = Literal["always", "never"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(//)?")


def public_name(server: str, name: str, separator: str) -> str:
    """The name under which the proxy offers a tool or prompt of `server`."""
    return f"{server}{separator}{name}"


def qualify(server: str, uri: str) -> str:
    """`uri` (or URI template) of `server`, spelled so that it says which server is meant."""
    scheme = _scheme(uri)
    return f"{scheme}{quote(server, safe='')}/{uri[len(scheme) :]}"


def unqualify(uri: str) -> tuple[str, str] | None:
    """(server, original URI) that `qualify` would have made `uri` of, or None when there is no such pair.

    Any URI with an authority reads like one; whether that server exists is for the caller to say.
    """
    scheme = _scheme(uri)
    server, slash, rest = uri[len(scheme) :].partition("/")
    if not scheme or not server or not slash:
        return None
    return unquote(server), scheme + rest


def shorten(uri: str, by: int) -> str:
    """`uri` without the `by` characters that qualifying has put behind its scheme."""
    scheme = _scheme(uri)
    return scheme + uri[len(scheme) + by :]


def _scheme(uri: str) -> str:
    match = _SCHEME.match(uri)
    return match.group() if match else ""
