"""The configuration file: read, and handed to `protocol.config`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError, unreadable
from .protocol.config import Config, decode, parse

CREATE = 'create it ({"mcpServers": {}} is enough) or name another (--config FILE, or check FILE)'


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and parse the file at `path`.

    Raises:
        ConfigError: the operator's; each mistake starts with the path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{path}: {unreadable(exc, CREATE)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    try:
        return parse(decode(text), environ, is_program)
    except ConfigError as exc:
        raise exc.at(f"{path}: ") from None


def is_program(command: str, cwd: str | None) -> bool:
    """Whether `command`, which has blanks in it, is the path of a program, and not a program with its arguments.

    It is also where the folder of that program is not there (yet): its server fails alone when it is started.
    """
    if shutil.which(command) or os.path.exists(os.path.join(cwd or "", command)):
        return True
    first = command.split()[0]
    return os.sep in first and not os.path.isfile(os.path.join(cwd or "", first))
