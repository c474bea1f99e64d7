"""An ASGI application of this very process: `module:factory`, called with the path of the configuration file.

It is served by uvicorn in a thread with an event loop of its own, so that a target that blocks its loop does not block
the harness.
"""

import importlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvicorn

from conformance.verdict import HarnessError

from .base import LaunchError, Running, Site, ready, served

STOP_WAIT = 10.0
"""Seconds the application has to end."""


@asynccontextmanager
async def launch(site: Site) -> AsyncGenerator[Running, None]:
    site.write_files(Path(site.values["folder"]))
    os.environ.update(site.target.environment(site.values))
    application = _application(site)
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=int(site.values["port"]),
        log_config=None,
        access_log=False,
        lifespan="on",
        loop="asyncio",  # of uvloop's loops in one process no two can start a program at once
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as exc:  # SystemExit, too: what uvicorn does when an application does not start
            failed.append(exc)

    async def alive() -> bool:
        return thread.is_alive()

    async def words() -> str:
        return "; ".join(f"{type(exc).__name__}: {exc}" for exc in failed)

    thread = threading.Thread(target=run, name=f"target {site.target.name}", daemon=True)
    thread.start()
    try:
        await ready(site, alive, words)
        yield served(site, alive, words)
    finally:
        server.should_exit = True
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(thread.join, STOP_WAIT)


def _application(site: Site) -> Any:
    try:
        return _factory(site)(site.values["config"])
    except (Exception, SystemExit) as exc:
        if isinstance(exc, HarnessError):
            raise
        said = f"its last words: {type(exc).__name__}: {exc}"
        raise LaunchError("the target ended while starting", "a target that is ready", said) from exc


def _factory(site: Site) -> Callable[[str], Any]:
    assert site.target.launch.factory is not None
    module, _, name = site.target.launch.factory.partition(":")
    try:
        factory: Callable[[str], Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        # The target file's or the installation's: there is no target to judge.
        raise HarnessError(f"launch.factory: {exc}; it has to be importable from where the harness runs") from None
    return factory
