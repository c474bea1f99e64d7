"""The chain of proxies: a Multi-MCP that is behind itself is recognised and refused.

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

from msgspec import Raw

from .eras import CHAIN_KEY
from .message import pack

VARIABLE = "MULTI_MCP_CHAIN"
HEADER = "Multi-MCP-Chain"

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
        own: its id, a random one.
        environ: the environment of the process, which says who started it.
        config: the path of the configuration file, without links in it.

    Attributes:
        id: its own.
        refusal: why it must not serve; None where it may.
    """

    def __init__(self, own: str, environ: Mapping[str, str], config: str) -> None:
        self.id = own
        self._above = [entry for entry in environ.get(VARIABLE, "").split(",") if entry][:KNOWN]
        # What the file is called is nobody's business.
        self._own = f"{self.id}@{sha256(config.encode()).hexdigest()[:16]}"
        self.refusal: str | None = None
        if self._own.partition("@")[2] in [entry.partition("@")[2] for entry in self._above]:
            self.refusal = SAME_FILE
        elif len(self._above) >= MAX:
            self.refusal = TOO_LONG

    def variable(self) -> dict[str, str]:
        """What is added to the environment of a process that it starts."""
        return {VARIABLE: ",".join([*self._above, self._own])}

    @property
    def meta(self) -> dict[str, Raw]:
        """What is said of it in the `_meta` of a request."""
        return {CHAIN_KEY: pack(self.ids)}

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


def read_chain(said: object, header: str | None) -> list[str] | None:
    """The chain that a request gives, in `_meta` (where it has `said` this) or a header; None if it gives none."""
    if isinstance(said, list):
        return [str(entry) for entry in said[:KNOWN]]
    return header.split(",")[:KNOWN] if header else None


def read_behind(said: object) -> dict[str, int] | None:
    """The ids behind a server by their distance from it (its own has 0), as `_meta` says; None if it says nothing.

    What is no such table, or has more than `KNOWN` entries, says nothing either.
    """
    if not isinstance(said, dict) or len(said) > KNOWN:
        return None
    return {str(key): steps for key, steps in said.items() if isinstance(steps, int) and 0 <= steps < KNOWN} or None


def is_refusal(data: object) -> bool:
    """Whether the data of an error says that a Multi-MCP refuses another one for its chain."""
    return isinstance(data, Mapping) and CHAIN_KEY in data


def behind(own: str, servers: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """What is behind a Multi-MCP of this id, itself included, that has these servers."""
    found = {own: 0}
    for server in servers:
        for key, steps in server.items():
            found[key] = max(found.get(key, 0), steps + 1)
    return dict(list(found.items())[:KNOWN])
