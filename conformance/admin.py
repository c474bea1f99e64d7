"""Adding and removing backends at run time, over the target's own HTTP API as its file describes it."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from .client import ANSWER_WAIT, http_client
from .target import Target, fill
from .verdict import Failure


async def add(target: Target, values: Mapping[str, str], name: str, entry: Mapping[str, Any]) -> httpx2.Response:
    """Add a backend; returns the response, whatever its status.

    Args:
        values: of the placeholders of launching.
        name, entry: as in `mcpServers`.

    Raises:
        Failure: the target does not answer.
    """
    assert target.admin is not None
    given = {**values, "server": name}
    body = fill(target.admin.add_body, {**given, "entry": json.dumps(entry)})
    return await _request(target, values, target.admin.add_method, fill(target.admin.add, given), body)


async def remove(target: Target, values: Mapping[str, str], name: str) -> httpx2.Response:
    """Remove a backend; otherwise as `add`."""
    assert target.admin is not None
    return await _request(
        target, values, target.admin.remove_method, fill(target.admin.remove, {**values, "server": name}), None
    )


async def _request(
    target: Target, values: Mapping[str, str], method: str, url: str, body: str | None
) -> httpx2.Response:
    assert target.admin is not None
    headers = {"Content-Type": "application/json"} if body is not None else {}
    headers |= {name: fill(value, values) for name, value in target.admin.headers.items()}
    async with http_client(timeout=ANSWER_WAIT * target.patience) as http:
        try:
            return await http.request(method, url, content=body, headers=headers)
        except httpx2.TransportError as exc:
            raise Failure(f"{method} {url} was not answered ({type(exc).__name__})") from None
