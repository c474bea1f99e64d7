"""The command line: options, their twins in the environment, and the exit codes.

Rules:
- Every option `--a-b` is also `MULTI_MCP_A_B` in the environment; the command line wins.
- 0: ended as told. 1: the address cannot be bound. 2: an option or the configuration cannot be used.
- Everything for people goes to stderr, a line per event; stdout carries MCP and nothing else.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from . import __version__
from .app import Settings, serve
from .catalog import Names
from .config import load
from .errors import ConfigError, ListenError

logger = logging.getLogger("multimcp")

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the proxy; returns the exit code."""
    options = _parser().parse_args([*_from_environment(environ), *(sys.argv[1:] if argv is None else argv)])
    _set_up_logging(options.log_level)
    try:
        config = load(options.config, environ)
    except ConfigError as exc:
        print(f"multi-mcp: {exc}", file=sys.stderr)
        return 2
    for warning in config.warnings:
        logger.warning("%s: %s", options.config, warning)
    settings = Settings(
        transport=options.transport,
        host=options.host,
        port=options.port,
        names=Names(options.separator, options.namespace),
        startup_timeout=options.startup_timeout,
    )
    try:
        anyio.run(serve, settings, config.servers, backend_options={"use_uvloop": sys.platform != "win32"})
    except ListenError as exc:
        print(f"multi-mcp: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multi-mcp",
        description="One MCP server in front of many.",
        epilog="Every option can also be set in the environment: --log-level as MULTI_MCP_LOG_LEVEL, and so on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"multi-mcp {__version__}")
    parser.add_argument(
        "--transport",
        choices=("stdio", "sse", "http"),
        default="stdio",
        help="how clients connect; sse and http are the same server, with /sse and /mcp on one port",
    )
    parser.add_argument("--config", type=Path, default=Path("./mcp.json"), help="the file with the mcpServers")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one and says which")
    parser.add_argument("--log-level", type=str.upper, choices=_LEVELS, default="INFO", help="what to log on stderr")
    parser.add_argument("--separator", default="::", help="between a server's name and a tool's")
    parser.add_argument(
        "--namespace",
        choices=("always", "never"),
        default="always",
        help="whether tools and prompts carry their server's name",
    )
    parser.add_argument(
        "--startup-timeout",
        type=_seconds,
        default=10.0,
        help="seconds in which the first lists wait for servers, and which a server added later has to get ready",
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _from_environment(environ: Mapping[str, str]) -> list[str]:
    """The environment's settings as arguments, so that both are checked alike."""
    names = ("transport", "config", "host", "port", "log-level", "separator", "namespace", "startup-timeout")
    variables = {name: f"MULTI_MCP_{name.upper().replace('-', '_')}" for name in names}
    return [f"--{name}={environ[variable]}" for name, variable in variables.items() if environ.get(variable)]


def _set_up_logging(level: str) -> None:
    """Our own lines, to stderr. The libraries' logs are not shown: they are many, and may hold secrets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
