"""Launchers: how a target is started. One module each; a new kind is a module here and a name in `GROUNDS`."""

from . import command, direct, docker, in_process, kubernetes, url
from .base import Ground, LaunchError, Open, Running, Site, here

__all__ = ["GROUNDS", "Ground", "LaunchError", "Running", "Site"]

GROUNDS: dict[str, Open] = {
    "direct": here(direct.launch),
    "in_process": here(in_process.launch),
    "command": here(command.launch),
    "docker": docker.ground,
    "kubernetes": kubernetes.ground,
    "url": here(url.launch),
}
