"""The configuration file of a running proxy: followed when it changes, and written back.

Rules:
- A file that cannot be used is reported, once, and changes nothing.
- It is replaced as a whole (rename), never written into: whoever reads it sees the old one or the new one.
- It is looked at when its folder changes, which is also how a ConfigMap is swapped, and every few seconds besides:
  some file systems announce nothing.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from watchfiles import awatch

from multimcp.backends.registry import Registry
from multimcp.config import LARGEST, load, read_file
from multimcp.errors import ConfigError, NameInUseError, describe
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.document import edit

logger = logging.getLogger(__name__)

WRITABLE = "mount its folder writable, or start without --persist"

LOCKED = 3.0
"""Seconds to wait for another process that is writing the file."""

_AGAIN = 0.05

LOOK = 5.0
"""Seconds between two looks when nothing is announced."""


class ConfigFile:
    """The configuration file at `path`, with `${VAR}` filled from `environ`.

    `servers` are those that it had to begin with; what it has later, `follow` hands on.

    Raises:
        ConfigError: the operator's: it cannot be used to begin with.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self._environ = environ
        self._told: Collection[str] = ()
        self.servers = self._load()

    def _load(self) -> Mapping[str, ServerConfig]:
        config = load(self.path, self._environ)
        for warning in config.warnings:
            if warning not in self._told:
                logger.warning("%s: %s", self.path, warning)
        self._told = config.warnings
        return config.servers

    async def follow(self, registry: Registry) -> None:
        """Read it again, and have `registry` follow what changed.

        Raises:
            ConfigError: the operator's: it cannot be used; nothing has changed then.
        """
        servers = await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
        # In order: of two servers that collide the first one wins.
        if list(servers.items()) != list(registry.written.items()):
            logger.info("%s: changed", self.path)
            registry.configure(servers)

    def check_writable(self) -> None:
        """Raises:
        ConfigError: the operator's: the file cannot be written, or not back as it is.
        """
        self._edited({}, ())
        if not os.access(self.path.resolve().parent, os.W_OK):
            raise ConfigError(f"{self.path}: cannot be written; {WRITABLE}")

    async def write(self, put: Mapping[str, Any], drop: Collection[str] = ()) -> None:
        """Set and leave out servers in the file. Several processes may do so.

        Args:
            put: entries as they are to be written, by server.
            drop: names of servers.

        Raises:
            ConfigError: the operator's: the file cannot be used, or not be written.
            NameInUseError: the caller's: the file has another server of that name.
        """
        try:
            await anyio.to_thread.run_sync(self._replace, put, drop)
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"{self.path}: cannot be written ({reason}); {WRITABLE}") from None

    def _replace(self, put: Mapping[str, Any], drop: Collection[str]) -> None:
        path = self.path.resolve()  # a link stays a link
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            self._lock(folder)
            text = self._edited(put, drop)
            new, name = tempfile.mkstemp(prefix=".mcp-", dir=path.parent)
            try:
                with open(new, "w", encoding="utf-8") as file:
                    file.write(text)
                    there = path.stat()
                    with suppress(PermissionError):  # only root can give a file away
                        os.fchown(new, there.st_uid, there.st_gid)
                    os.fchmod(new, there.st_mode)
                    file.flush()
                    os.fsync(new)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        """Keep others from writing; whoever can read the folder can hold this lock for as long as they like."""
        deadline = time.monotonic() + LOCKED
        while True:
            try:
                return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    problem = f"{self.path}: another process has locked its folder for {LOCKED:g} s"
                    raise ConfigError(f"{problem}; end that process, or try again") from None
                time.sleep(_AGAIN)

    def _edited(self, put: Mapping[str, Any], drop: Collection[str]) -> str:
        try:
            text = edit(read_file(self.path), put, drop, self.path.suffix)
            if len(text.encode()) > LARGEST:
                raise ConfigError(f"would have more than {LARGEST:,} bytes; remove servers first")
            return text
        except ConfigError as exc:
            raise exc.at(f"{self.path}: ") from None
        except NameInUseError as exc:
            raise NameInUseError(f"{self.path}: {exc}") from None


Look = Callable[[], Coroutine[Any, Any, None]]


def reported(look: Look) -> Look:
    """`look`, with what it says is wrong with a file logged, once for as long as it stays wrong, and not raised.

    It is done once at a time; of those that wait meanwhile, one is enough.
    """
    told, turn = "", anyio.Lock()

    async def look_and_report() -> None:
        if not turn.statistics().tasks_waiting:
            async with turn:
                await report()

    async def report() -> None:
        nonlocal told
        try:
            await look()
            told = ""
        except Exception as exc:
            if str(exc) != told:
                told = str(exc)
                if isinstance(exc, ConfigError):
                    for problem in exc.problems:
                        logger.error("%s; until then all stays as it is", problem)
                else:
                    logger.exception("a change could not be followed; this is a fault of Multi-MCP")

    return look_and_report


async def watch(paths: Iterable[Path], look: Look) -> None:
    """Call `look` whenever a file may have changed, until cancelled.

    Args:
        paths: the files; it is their folders that are watched.
        look: must not raise.
    """
    stop = anyio.Event()

    async def stop_with_us() -> None:
        # watchfiles waits in a thread, which a cancellation does not reach.
        try:
            await anyio.sleep_forever()
        finally:
            stop.set()

    async with anyio.create_task_group() as group:
        group.start_soon(stop_with_us)
        try:
            folders = {path.absolute().parent for path in paths}
            async for _ in awatch(
                *folders,
                watch_filter=None,
                stop_event=stop,
                rust_timeout=int(LOOK * 1000),
                yield_on_timeout=True,
                recursive=False,
            ):
                await look()
        except (OSError, RuntimeError) as exc:
            logger.warning("changes of the configuration go unnoticed (%s); send SIGHUP after one", describe(exc))
        group.cancel_scope.cancel()
