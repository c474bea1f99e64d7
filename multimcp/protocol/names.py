"""Names: public name <-> (server, name). Pure.

Rules:
- Tools and prompts: `server::name`; with namespace "never" just `name`.
- Resource URIs keep their spelling; one that another server has already becomes `scheme://server/rest`, and
  `scheme:rest` becomes `scheme:server/rest`. The server's name is percent-encoded, so a legal URI stays legal, and
  the mapping is reversible.
- A name that is taken all the same (servers `a` with `b::c` and `a::b` with `c`) gets its server's name once more.
- Nothing is routed by splitting a tool's or prompt's name: a tool may itself be called `a::b`. Look it up.
- In the spelling "llm" tools and prompts have names that LLM APIs take: `server__name`, or just `name` with namespace
  "never". A name that had to be altered for that, or that another server could have as well, ends in a hash of server
  and name: so it depends on no other server, and is the same in every process.
- What a server itself calls a tool is understood, as the page of an app knows no other name; but never where it reads
  like the public name of another server's.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import count
from typing import Final, Literal, get_args
from urllib.parse import quote, unquote

Namespace = Literal["always", "never"]

Spelling = Literal["plain", "llm"]
"""How tools and prompts are named: as the operator configured it, or as LLM APIs take it."""

SPELLINGS: Final[tuple[Spelling, ...]] = get_args(Spelling)

LLM_NAMES: Final = "[a-zA-Z0-9_-]{1,64}"
"""The names that the LLM APIs take for tools (OpenAI, Anthropic and Bedrock)."""

_LONGEST = 64
_LEGAL = re.compile(LLM_NAMES)
_ILLEGAL = re.compile("[^a-zA-Z0-9_-]")
_LLM_SEPARATOR = "__"
_DIGITS = 8
"""Hexadecimal digits of a hash in a name: of 1,000 names that begin alike, two are the same in one of 8,000 cases."""

DEPTH: Final = 64
LONGEST_DIRECTORY: Final = 8192
"""How many directories around a URI are looked at, from the outermost on, and how many characters they may have."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(//)?")


def public_name(server: str, name: str, separator: str) -> str:
    """The name under which the proxy offers a tool or prompt of `server`."""
    return f"{server}{separator}{name}"


def read_spelling(text: str | None) -> Spelling | None:
    """The spelling of this name, if there is one."""
    return next((spelling for spelling in SPELLINGS if spelling == text), None)


def unknown_spelling(text: str) -> str:
    """What to tell who asks for a spelling that there is not."""
    return f"names={text[:40]!r} is not one of {', '.join(SPELLINGS)}; correct the query of the URL, or leave it out"


def is_legal(name: str) -> bool:
    """Whether LLM APIs take a tool of this name."""
    return _LEGAL.fullmatch(name) is not None


def llm_names(server: str, name: str, namespace: Namespace) -> Iterator[str]:
    """The legal names of a tool or prompt of `server`, without end and the best first.

    The first one is taken by no other server, unless a hash comes twice; then the next will do.
    """
    full = name
    may_be_anothers = False
    if namespace == "always":
        full = f"{server}{_LLM_SEPARATOR}{name}"
        # `a` with `b__c` and `a__b` with `c`; `a` with `_c` and `a_` with `c`. In all other names the first separator
        # is the one between server and name.
        may_be_anothers = _LLM_SEPARATOR in f"{server}_"
    if is_legal(full) and not may_be_anothers:
        yield full
    kept = _replaced(full)[: _LONGEST - _DIGITS - 1]
    for attempt in count():
        # As JSON, in which nothing else looks the same, and any string can be encoded.
        told_apart = json.dumps([server, name, attempt] if attempt else [server, name])
        yield f"{kept}_{sha256(told_apart.encode()).hexdigest()[:_DIGITS]}"


def spellings(server: str, name: str, separator: str, shown: Iterable[str]) -> set[str]:
    """What a client may call a tool or prompt of `server`.

    That is what it is `shown` as, to this client or another; each separator between server and name; and what clients
    make of all these when they replace each character that LLM APIs refuse.
    """
    full = {*shown, *(public_name(server, name, each) for each in (separator, "::", _LLM_SEPARATOR))}
    return full | {_replaced(each) for each in full}


def reads_like_anothers(name: str, server: str, servers: Iterable[str], separator: str) -> bool:
    """Whether a name that a tool of `server` has there reads like a public name of another of these servers' tools.

    One that has a separator of two characters in it may have been that of a server which is gone.
    """
    plain = _replaced(name)
    others = (_replaced(public_name(other, "", separator)) for other in servers if other != server)
    return _LLM_SEPARATOR in plain or any(plain.startswith(other) for other in others)


def _replaced(name: str) -> str:
    return _ILLEGAL.sub("_", name)


def qualify(server: str, uri: str) -> str:
    """`uri` (or URI template) of `server`, spelled so that it says which server is meant."""
    scheme = _scheme(uri)
    return f"{scheme}{_quoted(server)}/{uri[len(scheme) :]}"


@lru_cache
def _quoted(server: str) -> str:
    return quote(server, safe="")


def unqualify(uri: str) -> tuple[str, str] | None:
    """(server, original URI) that `qualify` would have made `uri` of, or None when there is no such pair.

    Any URI with an authority reads like one; whether that server exists is for the caller to say.
    """
    scheme = _scheme(uri)
    server, slash, rest = uri[len(scheme) :].partition("/")
    if not scheme or not server or not slash:
        return None
    return unquote(server), scheme + rest


def holds_qualified(directory: str, owner: str, servers: Collection[str]) -> bool:
    """Whether a directory of `owner`, as that spells it, would hold all qualified URIs of one of these servers: it is
    called as another one is, or as its owner and nothing else."""
    first, *inner = directory[len(_scheme(directory)) :].split("/")
    return unquote(first) in servers and (unquote(first) != owner or {*inner} <= {first})


def shorten(uri: str, by: int) -> str:
    """`uri` without the `by` characters that qualifying has put behind its scheme."""
    scheme = _scheme(uri)
    return scheme + uri[len(scheme) + by :]


def alike(asked: str, name: str, other: str) -> str:
    """`other` as it is spelled by whoever has `asked` for `name`: with its server's name, or as the server does."""
    scheme, own = _scheme(name), _scheme(other)
    added = asked[len(scheme) : len(asked) - len(name) + len(scheme)]
    return f"{own}{added}{other[len(own) :]}"


def directories(uri: str) -> Iterator[str]:
    """Where a URI could be in: itself, then the directories around it, the innermost first. At most `DEPTH` of them,
    and none with a longer name than `LONGEST_DIRECTORY`, as each is looked up."""
    yield uri
    ends: list[int] = []
    end = len(_scheme(uri))
    while len(ends) < DEPTH and (end := uri.find("/", end, LONGEST_DIRECTORY)) >= 0:
        ends.append(end)
        end += 1
    for end in reversed(ends):
        yield uri[:end]


def _scheme(uri: str) -> str:
    match = _SCHEME.match(uri)
    return match.group() if match else ""
