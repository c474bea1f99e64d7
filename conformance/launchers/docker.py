"""A container of a Docker engine on this machine, by way of testcontainers: where its reaper can be had, even what a
harness that was killed has left is removed.

The folder of the configuration is mounted, read-only. The port is published on 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync as in_thread

from conformance.fixtures import Forks
from conformance.tables import IMAGE
from conformance.target import Target
from conformance.verdict import HarnessError, Missing

from .base import Ground, LaunchError, Running, Site, ready, served
from .containers import LABEL, elsewhere, forking_begun, forking_command, share

if TYPE_CHECKING:
    from docker.models.containers import Container

LOG_LINES = 100

HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "exec"},
}


@asynccontextmanager
async def ground(target: Target, folder: Path) -> AsyncGenerator[Ground, None]:
    """As `Open`; missing may be testcontainers, an engine on this machine, or an image."""
    with closing(await in_thread(_Engine, target.name)) as engine:
        for image in dict.fromkeys((target.launch.fixtures, str(target.launch.image))):
            await in_thread(engine.provide, image)
        forks = share(folder, target)
        try:
            async with engine.run(target.launch.fixtures, fixtures_options(forks)) as fixtures:
                await forking_begun(forks, target.launch.fixtures, fixtures.alive, fixtures.log)
                yield Ground(replace(forks, address=fixtures.address), partial(_launch, engine, forks))
        except Refused as exc:
            if "bind source path does not exist" in str(exc):
                raise elsewhere(forks.folder) from None
            raise HarnessError(f"Docker does not start the fixture servers: {exc}") from None


@asynccontextmanager
async def _launch(engine: _Engine, forks: Forks, site: Site) -> AsyncGenerator[Running, None]:
    folder = site.folder / "config"
    site.write_files(folder)
    folder.chmod(0o755)  # whoever the container runs as, it can read
    for file in folder.iterdir():
        file.chmod(0o644)
    try:
        async with engine.run(str(site.target.launch.image), target_options(site, folder, forks)) as container:
            await ready(site, container.alive, container.log)
            yield served(site, container.alive, container.log)
    except Refused as exc:
        raise LaunchError("Docker does not start the target's container", "a container that runs", str(exc)) from None


def fixtures_options(forks: Forks) -> dict[str, Any]:
    """Options of the container that forks fixture servers, as docker-py has them."""
    return {
        "entrypoint": forking_command(forks),
        "stdin_open": True,
        "mounts": [_mount(forks.folder, forks.folder, read_only=False)],
        "cap_drop": HARDENED["cap_drop"],
        "security_opt": HARDENED["security_opt"],
        "healthcheck": {"test": ["NONE"]},  # the image's own would look for the proxy
    }


def target_options(site: Site, config: Path, forks: Forks) -> dict[str, Any]:
    """Options of a target's container, as docker-py has them; `config` is the folder with its configuration."""
    target, values = site.target, site.values
    mounts = [_mount(config, PurePosixPath(values["config"]).parent)]
    if "stdio" in target.transports:
        mounts.append(_mount(forks.folder, forks.folder))
    options: dict[str, Any] = {
        "environment": target.environment(values),
        "ports": {f"{target.launch.port}/tcp": ("127.0.0.1", int(values["port"]))},
        "mounts": mounts,
    }
    if target.launch.command:
        options["entrypoint"] = target.argv(values)
    if target.launch.args:
        options["command"] = target.args(values)
    return options | (HARDENED if target.launch.hardened else {})


def _mount(source: Path, to: Path | PurePosixPath, read_only: bool = True) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": str(to), "ReadOnly": read_only}


class Refused(Exception):
    """The engine does not do what it is asked to; the text says why."""


class _Engine:
    """The Docker engine. What is no coroutine blocks.

    Raises:
        Missing: there is none.
    """

    def __init__(self, target: str) -> None:
        try:
            from docker import errors
            from testcontainers.core.config import testcontainers_config
            from testcontainers.core.container import Reaper
            from testcontainers.core.docker_client import DockerClient
        except ImportError:
            raise Missing("the Python package testcontainers; pip install testcontainers") from None
        self._labels = {LABEL: target}
        self._error = errors.APIError
        self._not_found = errors.NotFound
        try:
            self._docker = DockerClient()
            self._docker.client.ping()
        except errors.DockerException as exc:
            raise Missing(
                f"a Docker engine ({exc}); install Docker and start it, and unless it is where it always is, let "
                "DOCKER_HOST say where"
            ) from None
        if not testcontainers_config.ryuk_disabled:
            try:
                Reaper.get_instance()
            except Exception as exc:
                self.close()
                raise Missing(
                    f"the reaper of testcontainers ({exc}); TESTCONTAINERS_RYUK_DISABLED=true does without it"
                ) from None

    def close(self) -> None:
        self._docker.client.close()

    def provide(self, image: str) -> None:
        """Pull an image, unless it is there or is to be made here.

        Raises:
            Missing: it cannot be had.
        """
        try:
            self._docker.client.images.get(image)
        except self._not_found:
            if image == IMAGE:
                raise Missing(f"the image '{IMAGE}'; build it with `make docker-build`") from None
            try:
                self._docker.client.images.pull(image)
            except self._error as exc:
                raise Missing(f"the image '{image}' ({exc.explanation}); build it or pull it") from None

    @asynccontextmanager
    async def run(self, image: str, options: dict[str, Any]) -> AsyncGenerator[_Contained, None]:
        """A container that runs; it is removed when the block is left.

        Raises:
            Refused: it does not start.
        """
        try:
            container = await in_thread(partial(self._docker.create, image, labels=self._labels, **options))
        except self._error as exc:
            raise Refused(exc.explanation) from None
        try:
            try:
                await in_thread(container.start)
                await in_thread(container.reload)
            except self._error as exc:
                raise Refused(exc.explanation) from None
            yield _Contained(container, self._not_found)
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(self._remove, container)

    def _remove(self, container: Container) -> None:
        try:
            container.remove(v=True, force=True)
        except self._error as exc:
            # Gone, or about to be: both are as well.
            if exc.status_code not in (404, 409):
                raise


class _Contained:
    """A container that was started."""

    def __init__(self, container: Container, not_found: type[Exception]) -> None:
        self._container = container
        self._not_found = not_found

    @property
    def address(self) -> str:
        """Where other containers reach it."""
        networks = self._container.attrs["NetworkSettings"]["Networks"]
        return next(str(network["IPAddress"]) for network in networks.values() if network["IPAddress"])

    async def alive(self) -> bool:
        try:
            await in_thread(self._container.reload)
        except self._not_found:
            return False
        return bool(self._container.status == "running")

    async def log(self) -> str:
        try:
            return str((await in_thread(partial(self._container.logs, tail=LOG_LINES))).decode(errors="replace"))
        except self._not_found:
            return ""
