"""Launchers: how a target is started. One module each; a new kind is a module here and a name in `LAUNCHERS`."""

from . import command, direct, in_process, url
from .base import Launch, LaunchError, Running, Site

__all__ = ["LAUNCHERS", "Launch", "LaunchError", "Running", "Site"]

LAUNCHERS: dict[str, Launch] = {
    "direct": direct.launch,
    "in_process": in_process.launch,
    "command": command.launch,
    "url": url.launch,
}
