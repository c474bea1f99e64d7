"""Launchers: how a target is started. One module each; a new kind is a module here and a name in `GROUNDS`.

`launching` adds what is the same for every kind: steps, secrets, registration (`prepared`), a start for each server
(`single`).
"""

from conformance.target import Target

from . import command, direct, docker, in_process, kubernetes, prepared, single, url
from .base import Ground, Launch, LaunchError, Open, Running, Site, here

__all__ = ["GROUNDS", "Ground", "LaunchError", "Running", "Site", "launching"]

GROUNDS: dict[str, Open] = {
    "direct": here(direct.launch),
    "in_process": here(in_process.launch),
    "command": here(command.launch),
    "docker": docker.ground,
    "kubernetes": kubernetes.ground,
    "url": here(url.launch),
}


def launching(ground: Ground, target: Target) -> Launch:
    """How a target is started on its ground."""
    launch = prepared.prepared(ground.launch)
    return single.each(launch) if target.launch.single else launch
