"""The configuration file: read, and handed to `protocol.config`; and what the machine says to what is in it."""

import os
import re
import shutil
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from .errors import ConfigError, unreadable
from .protocol.config import Config, Machine, parse
from .protocol.document import Document, decode

CREATE = 'create it ({"mcpServers": {}} is enough) or name another (--config FILE, or check FILE)'

LARGEST = 4 * 1024 * 1024
"""Bytes of a configuration at most: it is text that somebody wrote."""

_LARGEST_ENV_FILE = 1024 * 1024

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*"""
    r"""(?:"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\Z)|'([^']*)(?:'|\Z)|([^\r\n]*))""",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"(?:^|[ \t])#.*")


def read_file(path: str | os.PathLike[str], largest: int = LARGEST, errors: str = "strict") -> str:
    """The text of a file, which is UTF-8. What is no file (a pipe, a device) is not waited for.

    Args:
        largest: bytes that it may have.
        errors: what to do with what is no UTF-8, as `bytes.decode` has it.

    Raises:
        ConfigError: the operator's: it is no file, or too large.
        OSError, UnicodeDecodeError: the operator's.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise ConfigError("is not a file but a pipe or a device; name a file")
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ConfigError(f"has more than {largest:,} bytes, and is not read; make it smaller")
    return StringIO(data.decode("utf-8-sig", errors), newline=None).read()


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and parse the file at `path`.

    Raises:
        ConfigError: the operator's; each mistake starts with the path.
    """
    try:
        return understand(decode(read_file(path), path.suffix), environ)
    except OSError as exc:
        raise ConfigError(f"{path}: {unreadable(exc, CREATE)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except ConfigError as exc:
        raise exc.at(f"{path}: ") from None


def understand(document: Document, environ: Mapping[str, str]) -> Config:
    """The servers of a document on this machine.

    Raises:
        ConfigError: the operator's.
    """
    return parse(document, Machine(dict(environ), _places(environ), is_program, variables))


def _places(environ: Mapping[str, str]) -> dict[str, str]:
    """What editors fill in: the folder they have open is the one that we are run in."""
    try:
        here = os.getcwd()
    except OSError:  # it is gone
        here = os.curdir
    folders = dict.fromkeys(("workspaceFolder", "workspaceRoot", "cwd", "CLAUDE_PROJECT_DIR"), here)
    separators = dict.fromkeys(("pathSeparator", "/"), os.sep)
    home = environ.get("HOME") or os.path.expanduser("~")
    return {**folders, **separators, "workspaceFolderBasename": os.path.basename(here), "userHome": home}


def variables(path: str) -> Mapping[str, str]:
    """What an `envFile` says.

    Raises:
        ConfigError: the operator's: it cannot be read.
    """
    try:
        text = read_file(os.path.expanduser(path), _LARGEST_ENV_FILE)
    except OSError as exc:
        raise ConfigError(unreadable(exc, 'create it, or write its variables under "env"')) from None
    except ValueError:
        raise ConfigError("is not UTF-8 text; save it as UTF-8") from None
    return {name: _value(*values) for name, *values in _LINE.findall(text)}


def _value(double: str, single: str, plain: str) -> str:
    if double:
        return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), double)
    return single or _COMMENT.sub("", plain).strip()


def is_program(command: str) -> bool:
    """Whether `command`, which has blanks in it, is the path of a program, and not a program with its arguments.

    It is also where the folder of that program is not there (yet): its server fails alone when it is started.
    """
    command = os.path.expanduser(command)
    if shutil.which(command) or os.path.exists(command):
        return True
    first = command.split()[0]
    return os.sep in first and not os.path.isfile(first)
