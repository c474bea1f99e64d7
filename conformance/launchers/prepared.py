"""What a target needs besides its start: steps before and after, secrets, servers that are registered.

Rules:
- First come the steps before, then the target, then the steps after. A secret that a command prints is fetched before
  all of them if the launch uses it, else when it is needed: after them.
- A step that fails is a target that does not start.
"""

import os
import subprocess
from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import IO

import anyio

from conformance.admin import Admin
from conformance.client import Command, end_process, start_process
from conformance.filling import fill_words, used
from conformance.target import Target
from conformance.verdict import Failure

from .base import Launch, LaunchError, Running, Site, served

STEPS = "steps.log"
"""Collects what the steps write, in the target's folder."""

WORDS = 2000
"""Characters of a log that are told."""


def prepared(launch: Launch) -> Launch:
    """A launch with all that its target file asks for besides."""

    @asynccontextmanager
    async def launch_prepared(site: Site) -> AsyncGenerator[Running, None]:
        target = site.target
        early = _early(target)
        site = await _with_secrets(site, early)
        for step in target.launch.before:
            await _step(site, "launch.before", step)
        async with launch(site) as running:
            for step in target.launch.after:
                await _step(running.site, "launch.after", step)
            site = await _with_secrets(running.site, target.secrets.keys() - early)
            if target.is_proxy:
                running = replace(served(site, running.alive, running.log), process=running.process)
            if target.admin is None:
                yield running
                return
            async with _registered(site, Admin(target, site.values)) as admin:
                yield replace(running, admin=admin)

    return launch_prepared


@asynccontextmanager
async def _registered(site: Site, admin: Admin) -> AsyncGenerator[Admin, None]:
    """The API of a target, to which its servers are added, if that is how it gets them."""
    if not site.target.registers:
        yield admin
        return
    added: list[str] = []
    try:
        for name, backend in site.backends.items():
            response = await admin.add(name, backend.entry)
            if response.is_error:
                came = f"HTTP {response.status_code}: {response.text}"
                raise LaunchError(f"the target does not take server '{name}' ([admin] add)", "HTTP 200", came)
            added.append(name)
        yield admin
    finally:
        if site.target.launch.kind == "url":  # another target ends, and its servers with it
            with anyio.CancelScope(shield=True):
                for name in added:
                    with suppress(Failure):
                        await admin.remove(name)


def _early(target: Target) -> set[str]:
    """The secrets that are needed before the target starts."""
    wanted = used([*target.launch.texts, *target.config.texts])
    for name, secret in reversed(target.secrets.items()):  # a secret may use those above it
        if name in wanted:
            wanted |= used(secret.command or ())
    return wanted & target.secrets.keys()


async def _with_secrets(site: Site, names: Set[str]) -> Site:
    """The place with the values of some secrets."""
    for name, secret in site.target.secrets.items():
        if name not in names:
            continue
        if secret.env is not None:
            value = os.environ[secret.env]  # it is there: `check_environment`
        else:
            value = await _printed(site, name, secret.command or ())
        site = site.at(**{name: value})
    return site


async def _printed(site: Site, name: str, words: Sequence[str]) -> str:
    """The last line that a command prints."""
    file = site.folder / "printed"
    with file.open("wb") as output:
        await _run(site, f"secrets.{name}", words, output)
    lines = file.read_text(errors="replace").strip().splitlines()
    file.unlink()
    if not lines:
        raise LaunchError(f"secrets.{name}: its command prints nothing: the secret is the last line that it prints")
    return lines[-1].strip()


async def _step(site: Site, key: str, words: Sequence[str]) -> None:
    with (site.folder / STEPS).open("ab") as output:
        await _run(site, key, words, output)


async def _run(site: Site, key: str, words: Sequence[str], output: IO[bytes]) -> None:
    target = site.target
    argv = fill_words(words, site.values)
    environ = target.environment(site.values) if used(target.launch.env.values()) <= site.values.keys() else {}
    with (site.folder / STEPS).open("ab") as log:
        process = await start_process(
            Command(tuple(argv), environ, target.folder(site.values)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
        )
    try:
        with anyio.move_on_after(target.launch.startup):
            await process.wait()
        code = process.returncode
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            await end_process(process)
    if code != 0:
        how = f"ended with exit code {code}" if code is not None else f"did not end within {target.launch.startup:g} s"
        raise LaunchError(
            f"{key}: the command {argv[0]} {how}",
            "exit code 0",
            f"its last words: {(site.folder / STEPS).read_text(errors='replace')[-WORDS:] or 'none'}",
        )
