"""Builds the harness with the fixture servers in it. They live in ../fixtures/servers; an unpacked sdist has them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Hook(BuildHookInterface):
    """Called by hatchling, in the folder of this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the fixture servers to what is built."""
        if not Path(self.root, "servers").is_dir():
            build_data["force_include"]["../fixtures/servers"] = "servers"
