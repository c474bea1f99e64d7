"""How the process of a server is started: its environment, its program, its folder; and why it cannot be.

Rules:
- Of our environment a server gets what every program needs (the SDK's list: PATH, HOME, ...) and what the table below
  names, so that it gets through a company's proxy and speaks the user's language. It gets nothing else of ours: keys
  that the proxy has are no business of a server. Its own `env` wins over both.
- A `command` with a slash in it and `cwd` are paths from where the proxy runs, whatever `cwd` is; another `command` is
  looked up on PATH. `args` are the program's own business. In all three a `~` at the front is the user's home, as in a
  shell, which is where people copy them from.
- `python` means our own Python where the user has not said which one he means: the one that can run the demo servers.
"""

import errno
import os
import re
import shutil
from collections.abc import Mapping, Sequence

from multimcp.errors import BackendError
from multimcp.protocol.secrets import SECRET_NAME, url_passwords

DEFAULT_INHERITED_ENV_VARS = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What every program needs, as the SDK's client has it."""

_INHERITED = re.compile(
    "|".join(
        (
            # The way to the network, and whom to trust there. The first four are read in either case.
            r"(?i:HTTP_PROXY|HTTPS_PROXY|ALL_PROXY|NO_PROXY)",
            r"SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS",
            # Where `uvx`, `npx` and `pip` get packages. npm reads its variables in either case.
            r"UV_.+|PIP_.+|(?i:npm_config_.+)",
            # The user's time zone, language and folders.
            r"TZ|LANG|LC_.+|TMPDIR|XDG_.+",
        )
    )
)

_PYTHONS = ("python", "python3")


def environment(ours: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server.

    Args:
        ours: the environment of the proxy.
        own: the server's `env`.
    """
    # A function that a shell has exported starts with "()", and is not handed on: it would be run by the next shell.
    inherited = {
        name: value
        for name, value in ours.items()
        if (name in DEFAULT_INHERITED_ENV_VARS or _INHERITED.fullmatch(name)) and not value.startswith("()")
    }
    return inherited | dict(own)


def secrets(ours: Mapping[str, str]) -> tuple[str, ...]:
    """What of our environment nobody is to see: what servers inherit of passwords and keys, and our own keys."""
    found = []
    for name, value in ours.items():
        if _INHERITED.fullmatch(name):
            if SECRET_NAME.search(name):
                found.append(value)
            found += url_passwords(value)
        elif name == "MULTI_MCP_API_KEY":
            found += value.split(",")
    return tuple(found)


def program(command: str, own: Mapping[str, str], ours: Mapping[str, str], python: str, *, in_venv: bool) -> str:
    """The program to start for `command`: itself, or our own Python for a plain `python` or `python3`.

    That is so where there is no such program on PATH, and where we run in a virtual environment that is not activated.
    Who has activated another one, or sets PATH or VIRTUAL_ENV for the server, means the Python there.

    Args:
        own: the server's `env`.
        ours: the environment of the proxy.
        python: our own Python.
        in_venv: whether that is one of a virtual environment.
    """
    if command not in _PYTHONS or own.keys() & {"PATH", "VIRTUAL_ENV"} or not python:
        return command
    another = "VIRTUAL_ENV" in ours or ours.get("CONDA_DEFAULT_ENV", "base") != "base"
    is_missing = shutil.which(command, path=ours.get("PATH")) is None
    return python if is_missing or (in_venv and not another) else command


def python_of(started: str, env: Mapping[str, str]) -> str | None:
    """The path of the Python that was `started` with this environment; None if it is no Python."""
    if not re.fullmatch(r"python[0-9.]*", os.path.basename(started)):
        return None
    return shutil.which(started, path=env.get("PATH")) or started


def at_home(text: str, home: str) -> str:
    """`text` with the user's home for a `~` at its front."""
    return home + text[1:] if home and (text == "~" or text.startswith("~/")) else text


def located(command: str) -> str:
    """Where the program of this `command` is, if that has a slash in it."""
    return os.path.abspath(command) if os.sep in command else command


_NOT_THERE = {
    errno.EACCES: "make it executable, or name the program that runs it",
    errno.EPERM: "let this user run it",
    errno.ENOEXEC: 'name the program that runs it as "command", and this one in "args"',
    errno.ENOTDIR: "a part of its path is a file, not a folder; correct the path",
    errno.ELOOP: "its links lead in a circle; correct them",
    errno.ENAMETOOLONG: "its name is too long; correct it",
    errno.E2BIG: 'its "args" and "env" are too long; hand them over in a file',
    errno.ETXTBSY: "it is being written; try again when that is over",
    errno.EMFILE: "let Multi-MCP have more open files (ulimit -n)",
    errno.ENFILE: "the system has too many open files; close some",
    errno.EAGAIN: "let this user have more processes (ulimit -u)",
    errno.ENOMEM: "there is not enough memory; end something else",
}


def check_words(words: Sequence[str]) -> None:
    """Check what is handed over to a process.

    Raises:
        BackendError: the operator's: the system would cut a word short.
    """
    if any("\0" in word for word in words):
        raise BackendError('there is a NUL character in its "command", "args", "cwd" or "env"; take it out')


def unstartable(exc: OSError, command: str, cwd: str | None, path: str | None) -> str:
    """Why a process could not be started, with the remedy.

    Args:
        command: the program, as it is `located`.
        cwd: where it was to run.
        path: the PATH on which it was looked up.
    """
    if cwd is not None and not os.path.isdir(cwd):
        problem = "is a file, not a folder" if os.path.exists(cwd) else "does not exist; create it, or correct the path"
        return f"the folder '{cwd}' (its \"cwd\") {problem}"
    if cwd is not None and not os.access(cwd, os.X_OK):
        return f"the folder '{cwd}' (its \"cwd\") cannot be entered (Permission denied); let this user enter it"
    if exc.errno == errno.ENOENT:
        return _not_found(command, cwd, path)
    if os.path.isdir(command):
        return f"'{command}' is a folder; name the program in it"
    remedy = _NOT_THERE.get(exc.errno or 0, "see to that first")
    return f"'{command}' cannot be run ({os.strerror(exc.errno) if exc.errno else exc}); {remedy}"


def _not_found(command: str, cwd: str | None, path: str | None) -> str:
    found = command if os.sep in command else shutil.which(command, path=path)
    if found and os.path.isfile(found):
        return (
            f"'{found}' cannot be run, as the program that its first line names (or the loader that it needs) was not "
            'found; correct that line, or name the program that runs it as "command"'
        )
    if os.sep not in command:
        return f"'{command}' was not found on PATH; install it, or give its full path"
    said = f"'{command}' was not found; check the path"
    beside = os.path.join(cwd, os.path.relpath(command)) if cwd is not None else ""
    if cwd is not None and os.path.isfile(beside):
        said += f", which begins where Multi-MCP runs: there is '{os.path.normpath(beside)}'"
    return said
