"""`multi-mcp check`: read the configuration, connect to every server, tell how it went, and end.

Rules:
- The servers are started side by side, and nothing of them is left when it ends, however it ends.
- The result is on stdout, as a table or as JSON; progress is on stderr, if that is a terminal. No secret is in either.
- 0: all servers are ready (or disabled). 1: some server is not. 2: the configuration cannot be used. 128 and more: it
  was ended by a signal.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio

from multimcp.backends.backend import Backend
from multimcp.config import load
from multimcp.errors import ConfigError, printable
from multimcp.protocol.calls import Clients
from multimcp.protocol.chain import Chain
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.limits import read_number
from multimcp.protocol.offer import PROMPTS, RESOURCES, TOOLS

TIMEOUT = 30
"""Seconds a server has to get ready: enough to be started on a busy machine; who downloads it first gives it more."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_COLUMNS = {"server": "<", "transport": "<", "revision": "<", "tools": ">", "prompts": ">", "resources": ">"}
_COLUMNS |= {"seconds": ">", "error": "<"}
"""The columns of the table, and to which side each is set."""

Result = dict[str, Any]
"""How it went with one server: `tools` counts what its filter admits, `seconds` is the time until it was known."""


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
        return _complain(2, str(exc.at("multi-mcp: ")))
    chain = Chain(token_hex(8), environ, str(options.file.resolve()))
    if chain.refusal:  # a server of the file runs this command, which would go on for ever
        return _complain(2, f"multi-mcp: {chain.refusal}")
    progress = _show_progress if sys.stderr.isatty() else lambda text: None
    results, number = anyio.run(check, config.servers, options.timeout, progress, chain)
    if number is not None:
        return _complain(128 + number, f"multi-mcp: check was ended by {signal.Signals(number).name}")
    is_fine = all(result["state"] in ("ready", "disabled") for result in results.values())
    if options.json:
        told = {"file": str(options.file), "ok": is_fine, "warnings": config.warnings, "servers": results}
        _print(json.dumps(told, indent=2))
    else:
        for warning in config.warnings:
            _complain(0, f"multi-mcp: {options.file}: {warning}")
        _print(as_table(results))
    return 0 if is_fine else 1


async def check(
    servers: Mapping[str, ServerConfig], patience: float, progress: Callable[[str], None], chain: Chain
) -> tuple[dict[str, Result], int | None]:
    """Connect to all servers; when this returns nothing of them is left.

    Args:
        patience: seconds that each has.
        progress: is given a line whenever it is further; an empty one at the end.
        chain: leads to the servers.

    Returns:
        The results, and the signal that ended it before they were complete.
    """
    clients = Clients()
    backends = [Backend(name, config, lambda: None, clients, chain) for name, config in servers.items()]
    results: dict[str, Result] = {}
    told: list[int] = []
    begun = anyio.current_time()

    def tell() -> None:
        waiting = ", ".join(backend.name for backend in backends if backend.name not in results)
        progress(waiting and f"{len(results)} of {len(backends)} servers checked; waiting for {waiting}")

    async def wait(backend: Backend) -> None:
        with anyio.move_on_after(patience):
            await backend.settled()
        results[backend.name] = _result(backend, anyio.current_time() - begun, patience)
        tell()
        await backend.stop()  # else one that has failed would be started again

    def obey(number: int) -> None:
        told.append(number)
        checking.cancel()

    checking = anyio.CancelScope()
    for each in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(each, obey, each)
    async with anyio.create_task_group() as group:
        tell()
        for backend in backends:
            group.start_soon(backend.run)
        with checking:
            async with anyio.create_task_group() as waiting:
                for backend in backends:
                    waiting.start_soon(wait, backend)
        for backend in backends:
            group.start_soon(backend.stop)
    progress("")
    return {name: results[name] for name in servers if name in results}, next(iter(told), None)


def _result(backend: Backend, seconds: float, patience: float) -> Result:
    offer = next(iter(backend.offers.values()), None)
    state, error = backend.state, backend.error
    if state == "starting":
        error = f"was not ready within {patience:g} s; give it more with --timeout SECONDS{backend.last_words}"
    return {
        "state": "failed" if state == "starting" else state,
        "transport": backend.config.transport,
        "revision": offer.protocol_version if offer else None,
        "tools": sum(backend.config.tools.admits(tool.name) for tool in offer.entries(TOOLS)) if offer else 0,
        "prompts": len(offer.entries(PROMPTS)) if offer else 0,
        "resources": len(offer.entries(RESOURCES)) if offer else 0,
        "seconds": round(seconds, 2),
        "error": error,
        "stderr": backend.stderr.lines,
    }


def as_table(results: Mapping[str, Result]) -> str:
    """The results as text, a line for each server under a line of headings, and a line with the sum of it."""
    rows = [{column: column.upper() for column in _COLUMNS}]
    for name, result in results.items():
        state = result["state"]
        row = result | {"server": name, "revision": result["revision"] or "-", "seconds": f"{result['seconds']:.1f}"}
        row["error"] = printable(result["error"] or "")
        if state != "ready":
            row |= dict.fromkeys(("tools", "prompts", "resources"), "-")
        if state == "disabled":
            row |= {"seconds": "-", "error": state}
        rows.append({column: str(row[column]) for column in _COLUMNS})
    widths = {column: max(len(row[column]) for row in rows) for column in _COLUMNS}
    lines = ["  ".join(f"{row[name]:{side}{widths[name]}}" for name, side in _COLUMNS.items()).rstrip() for row in rows]
    states = [result["state"] for result in results.values() if result["state"] != "disabled"]
    told = f"{states.count('ready')} of {len(states)} servers are ready" if states else "there are no servers to check"
    return "\n".join([*lines, told])


def _complain(code: int, text: str) -> int:
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)
    return code


def checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """What reads an option's value, with its error as `argparse` shows it."""

    @wraps(read)
    def check(text: str) -> Any:
        try:
            return read(text)
        except ConfigError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from None

    return check


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
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=checked(partial(read_number, "SECONDS")), default=float(TIMEOUT), help=help
    )
    return parser
