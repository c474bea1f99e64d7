"""The errors of Multi-MCP, and whose fault each is.

    MultiMCPError
    ├── ConfigError        the operator's (or the admin caller's): a configuration that cannot be used
    ├── NameInUseError     the admin caller's: a server of that name is there already
    ├── UnknownServerError the admin caller's: there is no server of that name
    ├── AmbiguousNameError the client's: a name that could mean several tools or prompts
    ├── ListenError        the operator's: the address cannot be listened on
    └── BackendError       the backend's: it cannot be started or reached, or broke the protocol
        └── ChainError     the operator's: it is a Multi-MCP in front of this one, too

    Fault                  a JSON-RPC error: what the sender of a request gets instead of a result

A backend's own JSON-RPC error crosses the proxy with code, message and data as they were.
"""

import errno
import sys
from typing import Any

from msgspec import UNSET


class MultiMCPError(Exception):
    """Base of all errors that Multi-MCP raises itself; the text is for the person who has to act."""


class ConfigError(MultiMCPError):
    """A configuration that cannot be used.

    `problems` are all that is wrong with it, a line each, with the place (`mcpServers.weather.args[1]`) and the remedy.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def at(self, place: str) -> "ConfigError":
        """The same, with each problem put behind `place`."""
        return type(self)(*(f"{place}{problem}" for problem in self.problems))


class NameInUseError(MultiMCPError):
    """A server is to be added under a name that another one has."""


class UnknownServerError(MultiMCPError):
    """A server is named that is not there."""


class AmbiguousNameError(MultiMCPError):
    """A client uses a name that several tools or prompts could have; the text has those they do have."""


class ListenError(MultiMCPError):
    """The address to serve on cannot be bound."""


class BackendError(MultiMCPError):
    """A backend cannot be started or reached, or answers with something that is not MCP."""


class ChainError(BackendError):
    """A backend leads back to this Multi-MCP, or the chain of them is too long."""


class Fault(Exception):
    """A JSON-RPC error. `data` is plain data or `Raw`; `UNSET` is none."""

    def __init__(self, code: int, message: str, data: Any = UNSET) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data


_UNREADABLE = {
    errno.EACCES: "let this user read it, and enter the folders above it",
    errno.EPERM: "let this user read it",
    errno.EISDIR: "it is a folder; name a file in it",
    errno.ENOTDIR: "a part of its path is a file, not a folder; correct the path",
    errno.ELOOP: "its links lead in a circle; correct them",
    errno.ENAMETOOLONG: "its path is too long; correct it",
}


def unreadable(exc: OSError, where_missing: str) -> str:
    """What to say of a file that the system does not let us read, with the remedy.

    Args:
        where_missing: the remedy if there is no such file.
    """
    remedy = where_missing if exc.errno == errno.ENOENT else _UNREADABLE.get(exc.errno or 0, "see to that first")
    return f"cannot be read ({exc.strerror}); {remedy}"


def unwrap(exc: BaseException) -> BaseException:
    """The error inside nested exception groups; the first one where there are several.

    Task groups wrap what their tasks raise. That is undone here and nowhere else.
    """
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


_READ = 8000
"""Characters of an error that are looked at: more than are shown in the end, when secrets are blanked."""


def describe(exc: BaseException) -> str:
    """One line for an operator on what went wrong, without the exception's class where its text says enough."""
    exc = unwrap(exc)
    if isinstance(exc, Fault):
        return f"answered with error {exc.code}: {exc.message[:_READ]}"
    text = " ".join(str(exc)[:_READ].split())
    if isinstance(exc, MultiMCPError | OSError) and text:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def printable(text: object, limit: int = sys.maxsize) -> str:
    """Foreign text on one line: control characters are escaped, and it has about `limit` characters at most."""
    text = str(text)
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    return shown if len(text) <= limit >= len(shown) else f"{shown[:limit]}..."


def backend_failure(server: str, reason: str, code: int = -32603) -> Fault:
    """The protocol error a client gets when the backend, not the client, is at fault."""
    return Fault(code, f"MCP server '{server}': {reason}", {"server": server})
