"""The chain of proxies: a Multi-MCP that is behind itself is recognised and refused. Pure, but for the random id.

Rules:
- Each Multi-MCP has a random id, and hands the chain of ids that leads to a server on to it: in the environment of the
  processes that it starts, and with its greeting in `_meta` and, over streamable HTTP, in a header.
- A Multi-MCP that is greeted with a chain answers with the ids behind it, by their distance. From then on it is asked
  for its lists with the chain, too, and answers the same way: a loop that is closed later shows when its lists change.
- Refused are: our own id, in a chain or behind a server; a chain of `MAX`; a process that has the configuration file of
  one above it, which would start the same again.
- Other servers see no more of it than that variable and the greeting.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

VARIABLE = "MULTI_MCP_CHAIN"
HEADER = "Multi-MCP-Chain"
META_KEY = "multi-mcp/chain"

MAX = 8
"""How many Multi-MCPs may be in front of one."""

KNOWN = 100
"""How many ids are read, at most, of what another one says."""

BEHIND_ITSELF = "this Multi-MCP is behind itself: the server leads back to it; remove that server from a configuration"
TOO_LONG = f"{MAX} or more Multi-MCPs are in front of one another here; let clients connect to one further back"
SAME_FILE = (
    f"this Multi-MCP was started by one with the same configuration file, and would start the same again ({VARIABLE} "
    "says so); remove the server that starts it from the file, or give it another --config"
)


class Chain:
    """Where one Multi-MCP stands.

    Args:
        environ: the environment of the process, which says who started it.
        config: the configuration file.

    Attributes:
        id: its own.
        refusal: why it must not serve; None where it may.
    """

    def __init__(self, environ: Mapping[str, str], config: Path) -> None:
        self.id = token_hex(8)
        self._above = [entry for entry in environ.get(VARIABLE, "").split(",") if entry][:KNOWN]
        # What the file is called is nobody's business.
        self._own = f"{self.id}@{sha256(str(config.resolve()).encode()).hexdigest()[:16]}"
        self.refusal: str | None = None
        if self._own.partition("@")[2] in [entry.partition("@")[2] for entry in self._above]:
            self.refusal = SAME_FILE
        elif len(self._above) >= MAX:
            self.refusal = TOO_LONG

    def variable(self) -> dict[str, str]:
        """What is added to the environment of a process that it starts."""
        return {VARIABLE: ",".join([*self._above, self._own])}

    @property
    def ids(self) -> list[str]:
        """The ids that lead to its servers, its own last."""
        return [*(entry.partition("@")[0] for entry in self._above), self.id]

    def refuse(self, given: Sequence[str], behind: Mapping[str, int]) -> str | None:
        """Why it does not serve a Multi-MCP that greets it; None where it does.

        Args:
            given: the chain that the other one gives, its own id last.
            behind: what is behind this one.
        """
        if self.refusal:
            return self.refusal
        if self.id in given or (given and given[-1] in behind):
            return BEHIND_ITSELF
        return TOO_LONG if len(given) >= MAX else None

    def reject(self, behind: Mapping[str, int]) -> str | None:
        """Why it does not want a server that has these behind it; None where it does."""
        if self.id in behind:
            return BEHIND_ITSELF
        return TOO_LONG if behind and len(self.ids) + max(behind.values()) >= MAX else None


def read_chain(params: Mapping[str, Any] | None, header: str | None) -> list[str] | None:
    """The chain that a request gives, in `_meta` or a header; None if it gives none."""
    given = _said(params)
    if isinstance(given, list):
        return [str(entry) for entry in given[:KNOWN]]
    return header.split(",")[:KNOWN] if header else None


def read_behind(result: Mapping[str, Any]) -> dict[str, int] | None:
    """The ids behind a server by their distance from it (its own has 0), as its result says; None if it says nothing.

    What is no such table, or has more than `KNOWN` entries, says nothing either.
    """
    said = _said(result)
    if not isinstance(said, dict) or len(said) > KNOWN:
        return None
    return {str(key): steps for key, steps in said.items() if isinstance(steps, int) and 0 <= steps < KNOWN} or None


def is_refusal(data: object) -> bool:
    """Whether the data of an error says that a Multi-MCP refuses another one for its chain."""
    return isinstance(data, Mapping) and META_KEY in data


def behind(own: str, servers: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """What is behind a Multi-MCP of this id, itself included, that has these servers."""
    found = {own: 0}
    for server in servers:
        for key, steps in server.items():
            found[key] = max(found.get(key, 0), steps + 1)
    return dict(list(found.items())[:KNOWN])


def _said(message: Mapping[str, Any] | None) -> object:
    meta = (message or {}).get("_meta")
    return meta.get(META_KEY) if isinstance(meta, Mapping) else None
