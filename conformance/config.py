"""What is written for a target: its configuration file, and others beside it. Pure."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from .filling import fill, fill_deep, of_server
from .target import Target


def config_files(target: Target, servers: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> dict[str, str]:
    """The texts of the files, by name.

    Args:
        servers: by name, each as in `mcpServers`.
        values: of the placeholders of launching.
    """
    config = target.config
    told = {name: _told(target, name, server, values) for name, server in servers.items()}
    lists = {
        name: config.separator.join(fill(pattern, one) for one in told.values())
        for name, pattern in config.lists.items()
    }
    lists["servers"] = config.separator.join(
        fill(config.server["stdio" if "command" in server else server["type"]], told[name])
        for name, server in servers.items()
        if config.server
    )
    given = {**values, **lists}
    if config.template is None:
        text = json.dumps({**fill_deep(config.extra, values), "mcpServers": servers}, indent=2)
    else:
        text = fill(config.template, given)
    more = {name: fill(template, given) for name, template in config.files.items()}
    return {PurePosixPath(values["config"]).name: text, **more}


def _told(target: Target, name: str, server: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """The values of the placeholders in the pattern of a server: its name and type as they are, the others as JSON."""
    told = of_server(name, server, target.backends.types)
    return {**values, **{key: value if key in ("name", "type") else json.dumps(value) for key, value in told.items()}}
