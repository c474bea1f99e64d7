"""Adding and removing backends at run time, over the target's own HTTP API as its file describes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from .client import ANSWER_WAIT, http_client
from .filling import fill, fill_json, of_server
from .target import Target
from .verdict import Failure, Silence


@dataclass(frozen=True)
class Order:
    """A request to the API, as it is written."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: str | None


class Admin:
    """The API of a target that runs.

    Args:
        values: of the placeholders of launching.
    """

    def __init__(self, target: Target, values: Mapping[str, str]) -> None:
        assert target.admin is not None
        self._target = target
        self._admin = target.admin
        self._values = values
        self._added: dict[str, dict[str, Any]] = {}

    async def add(self, name: str, entry: Mapping[str, Any]) -> httpx2.Response:
        """Add a backend; returns the response, whatever its status.

        Args:
            name, entry: as in `mcpServers`.

        Raises:
            Silence: the target does not answer.
            Failure: its answer lacks what `admin.id` names.
        """
        response = await self._send(self.addition(name, entry))
        if response.is_success:
            told = self._told(name, entry)
            self._added[name] = told
            if self._admin.id is not None:
                told["id"] = found(response.text, self._admin.id)
        return response

    async def remove(self, name: str) -> httpx2.Response:
        """Remove a backend; returns the response, whatever its status. One that was never added here is asked for by
        its name.

        Raises:
            Silence: the target does not answer.
        """
        order = self.removal(name)
        self._added.pop(name, None)
        return await self._send(order)

    def addition(self, name: str, entry: Mapping[str, Any]) -> Order:
        """What adds a backend; otherwise as `add`."""
        return self._order(self._admin.add_method, self._admin.add, self._admin.add_body, self._told(name, entry))

    def removal(self, name: str) -> Order:
        """What removes a backend; otherwise as `remove`."""
        told = {**of_server(name, {}, {}), "entry": {}, "id": name, **self._added.get(name, {})}
        return self._order(self._admin.remove_method, self._admin.remove, self._admin.remove_body, told)

    def _told(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {**of_server(name, entry, self._target.backends.types), "entry": entry}

    def _order(self, method: str, url: str, body: str | None, told: Mapping[str, Any]) -> Order:
        quoted = {key: quote(value if isinstance(value, str) else "", safe="") for key, value in told.items()}
        url = fill(url, {**self._values, **quoted})
        content = fill_json(body, {**self._values, **told}) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {name: fill(value, self._values) for name, value in self._admin.headers.items()}
        return Order(method, url, headers, content)

    async def _send(self, order: Order) -> httpx2.Response:
        async with http_client(timeout=ANSWER_WAIT * self._target.patience) as http:
            try:
                return await http.request(order.method, order.url, content=order.content, headers=order.headers)
            except httpx2.TransportError as exc:
                said = f"{order.method} {order.url} was not answered ({type(exc).__name__})"
                raise Silence(said, cause="the admin API does not answer") from None


def found(text: str, path: str) -> str:
    """What stands in a JSON document under keys, or numbers of places, that dots separate.

    Raises:
        Failure: it does not stand there.
    """
    try:
        value = json.loads(text)
        for key in path.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (ValueError, LookupError, TypeError):
        value = None
    if value is None:
        raise Failure(
            f"admin.id: the answer to the addition of a server has no '{path}'", "a JSON document that has it", text
        )
    return str(value)
