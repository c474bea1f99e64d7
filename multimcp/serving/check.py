"""`multi-mcp check`: read the configuration, connect to every server, tell how it went, and end.

Rules:
- The servers are started side by side, and nothing of them is left when it ends, however it ends.
- The result is on stdout, as a table or as JSON; progress is on stderr, if that is a terminal. No secret is in either.
- 0: all servers are ready (or disabled). 1: some server is not. 2: the configuration cannot be used. 128 and more: it
  was ended by a signal.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

import anyio

from multimcp.backends.backend import Backend
from multimcp.config import load
from multimcp.errors import ConfigError, printable
from multimcp.protocol.calls import Clients
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import Config, ServerConfig
from multimcp.protocol.offer import PROMPTS, RESOURCES, TOOLS

TIMEOUT = 30
"""Seconds a server has to get ready: enough to be started on a busy machine; who downloads it first gives it more."""

LOOK = 0.2
"""Seconds between two looks at how far it is."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_COLUMNS = ("server", "transport", "revision", "tools", "prompts", "resources", "seconds", "error")


@dataclass(frozen=True)
class Result:
    """How it went with one server: `tools` counts what its filter admits, `seconds` is the time until it was known."""

    state: str
    transport: str
    revision: str | None
    tools: int
    prompts: int
    resources: int
    seconds: float
    error: str | None
    stderr: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        """Whether the server can be used, or is not to be."""
        return self.state in ("ready", "disabled")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check the servers of a file; returns the exit code."""
    options = _parser(environ).parse_args(argv)
    # What the parts log is in the result.
    logging.getLogger("multimcp").addHandler(logging.NullHandler())
    logging.getLogger("multimcp").propagate = False
    try:
        config = load(options.file, environ)
    except ConfigError as exc:
        if options.json:
            _print(json.dumps({"file": str(options.file), "ok": False, "errors": exc.problems}, indent=2))
        print(exc.at("multi-mcp: "), file=sys.stderr)
        return 2
    chain = Chain(token_hex(8), environ, str(options.file.resolve()))
    if chain.refusal:  # a server of the file runs this command, which would go on for ever
        print(f"multi-mcp: {chain.refusal}", file=sys.stderr)
        return 2
    progress = _show_progress if sys.stderr.isatty() else lambda text: None
    results, number = anyio.run(_check_until_told, config, options.timeout, progress, chain)
    if number is not None:
        print(f"multi-mcp: check was ended by {signal.Signals(number).name}", file=sys.stderr)
        return 128 + number
    if options.json:
        _print(as_json(str(options.file), config, results))
    else:
        for warning in config.warnings:
            print(f"multi-mcp: {options.file}: {warning}", file=sys.stderr)
        _print(as_table(results))
    return 0 if all(result.is_fine for result in results.values()) else 1


async def check(
    servers: Mapping[str, ServerConfig], patience: float, progress: Callable[[str], None], chain: Chain
) -> dict[str, Result]:
    """Connect to all servers; when this returns, or is cancelled, nothing of them is left.

    Args:
        patience: seconds that each has.
        progress: is given a line now and then on how far it is; an empty one at the end.
        chain: leads to the servers.
    """
    clients = Clients()
    backends = [Backend(name, config, lambda: None, clients, chain) for name, config in servers.items()]
    results: dict[str, Result] = {}
    begun = anyio.current_time()

    async def wait(backend: Backend) -> None:
        with anyio.move_on_after(patience):
            await backend.settled()
        results[backend.name] = _result(backend, anyio.current_time() - begun, patience)
        await backend.stop()  # else one that has failed would be started again

    async def tell() -> None:
        while len(results) < len(backends):
            waiting = ", ".join(backend.name for backend in backends if backend.name not in results)
            progress(f"{len(results)} of {len(backends)} servers checked; waiting for {waiting}")
            await anyio.sleep(LOOK)

    try:
        async with anyio.create_task_group() as group:
            for backend in backends:
                group.start_soon(backend.run)
            try:
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(tell)
                    for backend in backends:
                        waiting.start_soon(wait, backend)
            finally:
                with anyio.CancelScope(shield=True):
                    async with anyio.create_task_group() as stopping:
                        for backend in backends:
                            stopping.start_soon(backend.stop)
    finally:
        progress("")
    return {name: results[name] for name in servers}


async def _check_until_told(
    config: Config, patience: float, progress: Callable[[str], None], chain: Chain
) -> tuple[dict[str, Result], int | None]:
    """The results, and the signal that ended it before they were complete."""
    results: dict[str, Result] = {}
    told: int | None = None

    async def obey() -> None:
        nonlocal told
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            is_listening.set()
            async for number in signals:
                if told is None:
                    told = number
                    checking.cancel()

    is_listening = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(obey)
        await is_listening.wait()
        with anyio.CancelScope() as checking:
            results = await check(config.servers, patience, progress, chain)
        group.cancel_scope.cancel()
    return results, told


def _result(backend: Backend, seconds: float, patience: float) -> Result:
    offer = next(iter(backend.offers.values()), None)
    error = backend.error
    if backend.state == "starting":
        error = f"was not ready within {patience:g} s; give it more with --timeout SECONDS{backend.last_words}"
    return Result(
        state="failed" if backend.state == "starting" else backend.state,
        transport=backend.config.transport,
        revision=offer.protocol_version if offer else None,
        tools=sum(backend.config.tools.admits(tool.name) for tool in offer.entries(TOOLS)) if offer else 0,
        prompts=len(offer.entries(PROMPTS)) if offer else 0,
        resources=len(offer.entries(RESOURCES)) if offer else 0,
        seconds=round(seconds, 2),
        error=error,
        stderr=tuple(backend.stderr.lines),
    )


def as_table(results: Mapping[str, Result]) -> str:
    """The results as text, a line for each server under a line of headings, and a line with the sum of it."""
    rows = [tuple(heading.upper() for heading in _COLUMNS)]
    for name, result in results.items():
        counts = (result.tools, result.prompts, result.resources)
        told = [str(count) for count in counts] if result.state == "ready" else ["-"] * 3
        error = result.error or ("disabled" if result.state == "disabled" else "")
        seconds = "-" if result.state == "disabled" else f"{result.seconds:.1f}"
        rows.append((name, result.transport, result.revision or "-", *told, seconds, printable(error)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    numbers = range(3, 7)
    lines = [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    wanted = [result for result in results.values() if result.state != "disabled"]
    ready = sum(result.is_fine for result in wanted)
    lines.append(f"{ready} of {len(wanted)} servers are ready" if wanted else "there are no servers to check")
    return "\n".join(lines)


def as_json(file: str, config: Config, results: Mapping[str, Result]) -> str:
    """The results as JSON text."""
    servers = {name: asdict(result) for name, result in results.items()}
    is_fine = all(result.is_fine for result in results.values())
    return json.dumps({"file": file, "ok": is_fine, "warnings": config.warnings, "servers": servers}, indent=2)


def _print(text: str) -> None:
    """Print the result; whoever reads it may have seen enough (`check --json | head -1`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_progress(text: str) -> None:
    width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
    print(f"\r\x1b[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multi-mcp check",
        description="Connect to every server of a configuration file, and tell how it went. The exit code is 0 if all "
        "servers are ready, 1 if some are not, 2 if the file cannot be used.",
        allow_abbrev=False,
    )
    default = Path(environ.get("MULTI_MCP_CONFIG") or "./mcp.json")
    help = "the file with the mcpServers (default: MULTI_MCP_CONFIG, or ./mcp.json)"
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=default, help=help)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    help = f"how long each server has to get ready (default: {TIMEOUT})"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=float(TIMEOUT), help=help)
    return parser


def seconds(text: str) -> float:
    """The value of an option that is a number of seconds.

    Raises:
        argparse.ArgumentTypeError: the operator's: it is none above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return value
