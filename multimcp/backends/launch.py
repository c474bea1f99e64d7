"""How the process of a server is started: its environment and its program. Pure.

Rules:
- Of our environment a server gets what every program needs (the SDK's list: PATH, HOME, ...) and what the table below
  names, so that it gets through a company's proxy and speaks the user's language. It gets nothing else of ours: keys
  that the proxy has are no business of a server. Its own `env` wins over both.
- `python` means our own Python where the user has not said which one he means: the one that can run the demo servers.
"""

import os
import re
import shutil
from collections.abc import Mapping

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
    """What servers inherit of our environment and nobody else is to see: passwords of proxies, keys of registries."""
    found = []
    for name, value in ours.items():
        if _INHERITED.fullmatch(name):
            if SECRET_NAME.search(name):
                found.append(value)
            found += url_passwords(value)
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
