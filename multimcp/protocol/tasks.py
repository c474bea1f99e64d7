"""Tasks: a task's public id <-> (server, its own id), and where messages name a task. Pure.

Rules:
- A task is `server:holder:id`, whatever the namespace and however many servers there are: so any process knows whose it
  is, also after a restart and after servers came and went, and two servers' tasks never have one id. The server's name
  is percent-encoded, and so ends at the first colon.
- `holder` is empty, or stands for the API key of the client: under another key the id means nothing. It guards no more
  than the server's own id does: who knows that one may make the public one of it. Servers must make them hard to guess.
- Only what the protocol has for a task's id is changed, found by the shape of the message.

Spec: ext-tasks; 2025-11-25, basic/utilities/tasks
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from hashlib import pbkdf2_hmac
from typing import Any, Final
from urllib.parse import quote, unquote

from msgspec import Raw

from .extensions import RELATED, RELATED_KEY, TASK, Mark, Shape, both, respelled
from .message import Fields, fields, pack, text, value

STATUS: Final = "notifications/tasks/status"
"""Of revision 2025-11-25: to whoever has begun the task."""

NEWS: Final = "notifications/tasks"
"""Of the extension: on `subscriptions/listen`."""


OVER: Final = frozenset({"completed", "failed", "cancelled"})
"""The statuses after which nothing more becomes of a task."""


_ABLE: Final[Mapping[str, Any]] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}


def able(capabilities: Iterable[Fields]) -> dict[str, Any]:
    """What servers with these capabilities declare together of tasks of 2025-11-25, as far as it is relayed."""
    return reduce(both, (_common(_ABLE, value(each.get("tasks"))) for each in capabilities), {})


def _common(known: Mapping[str, Any], found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        return {}
    return {key: _common(inner, found[key]) for key, inner in known.items() if isinstance(found.get(key), dict)}


def public_task(server: str, task: str, key: bytes = b"") -> str:
    """The id under which clients with this API key know a task of `server`, which calls it `task`."""
    return f"{quote(server, safe='')}:{_holder(key)}:{task}"


def own_task(public: str, key: bytes = b"") -> tuple[str, str] | None:
    """(server, its id of the task) that `public_task` has made `public` of, for clients with this API key; or None."""
    quoted, _, rest = public.partition(":")
    holder, colon, task = rest.partition(":")
    server = unquote(quoted)
    return (server, task) if colon and quote(server, safe="") == quoted and holder == _holder(key) else None


@lru_cache(maxsize=1000)
def _holder(key: bytes) -> str:
    """What stands for an API key, and does not tell it."""
    return pbkdf2_hmac("sha256", key, b"multi-mcp task", 10_000, 8).hex() if key else ""


def task_of(method: str, params: Fields) -> str | None:
    """The task that a message of a server is about, if it says so."""
    if method in (STATUS, NEWS):
        return text(params.get("taskId"))
    return text(fields(fields(params.get("_meta")).get(RELATED_KEY)).get("taskId")) if "_meta" in params else None


def to_client(params: Raw, server: str, key: bytes, shape: Shape = TASK) -> Raw:
    """What a server says, under the ids that a client with this API key knows."""
    return respelled(params, shape, lambda mark, task: public_task(server, task, key)) or params


def to_server(message: Raw, server: str, key: bytes) -> Raw:
    """What a client with this API key says, under the ids that the server knows."""

    def own(mark: Mark, public: str) -> str:
        found = own_task(public, key)
        return found[1] if found is not None and found[0] == server else public

    return respelled(message, RELATED, own) or message


def own_related(meta: Fields, server: str, key: bytes) -> Fields:
    """The `_meta` of a client's request, where it says what task that belongs to, as `to_server`."""
    return fields(fields(to_server(pack({"_meta": meta}), server, key))["_meta"])
