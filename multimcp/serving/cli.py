"""The command line: options, their twins in the environment, and the exit codes.

Rules:
- Every option `--a-b` is also `MULTI_MCP_A_B` in the environment; the command line wins. The API key is there only.
- `check` as the first argument is another command (`check.main`), with options of its own.
- 0: ended as told. 1: the address cannot be bound. 2: an option or the configuration cannot be used.
- Everything for people goes to stderr, a line per event; stdout carries MCP and nothing else.
"""

import argparse
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from multimcp import __version__
from multimcp.errors import ConfigError, ListenError, printable
from multimcp.protocol.catalog import Names
from multimcp.protocol.limits import BOUNDS, Limits, read_number, shown
from multimcp.protocol.names import SPELLINGS

from . import check, log
from .app import Settings, serve
from .guard import Access, Keys, Prefix, allowed_host, allowed_origin, network, root_path
from .reload import ConfigFile


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the proxy, or a check of its servers; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["check"]:
        return check.main(words[1:], environ)
    parser = _parser(environ)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        files = [word for word in unknown if word.endswith(".json") or Path(word).is_file()]
        hint = f"; did you mean --config {files[0]}?" if files else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if not options.separator:  # argparse makes nothing of `--separator=--`, too
        parser.error("argument --separator: cannot be empty (to have '--', set MULTI_MCP_SEPARATOR)")
    log.set_up(options.log_level)
    try:
        file = ConfigFile(options.config, environ)
        if options.persist:
            file.check_writable()
        keys = Keys({} if options.transport == "stdio" else environ)
    except ConfigError as exc:
        for problem in exc.at("multi-mcp: ").problems:
            print(printable(problem), file=sys.stderr)
        return 2
    prefix = Prefix(options.root_path, options.forwarded_allow_ips)
    settings = Settings(
        transport=options.transport,
        access=Access(options.host, keys, options.allowed_host, options.allowed_origin, prefix, options.admin),
        port=options.port,
        names=Names(options.separator, options.namespace, options.names),
        startup_timeout=options.startup_timeout,
        watch=not options.no_watch,
        persist=options.persist,
        limits=Limits(**{bound.name: vars(options)[_attribute(name)] for name, bound in BOUNDS.items()}),
    )
    try:
        anyio.run(serve, settings, file, backend_options={"use_uvloop": sys.platform != "win32"})
    except ListenError as exc:
        print(f"multi-mcp: {exc}", file=sys.stderr)
        return 1
    _leave_behind()
    gc.freeze()  # what thousands of clients leave would be looked through at the end, for seconds
    return 0


def _leave_behind() -> None:
    """End at once where a thread waits for a file that does not come: Python would wait for it."""
    deadline = time.monotonic() + _LAST_FILES
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                sys.stderr.close()
                os._exit(0)


_LAST_FILES = 0.5
"""Seconds in which files are still read and written at the end."""

_Reads = Callable[[str], Any]


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multi-mcp",
        description="One MCP server in front of many. `multi-mcp check [FILE]` connects to every server once and tells "
        "how it went.",
        epilog="Every option can also be set in the environment: --log-level as MULTI_MCP_LOG_LEVEL, and so on. "
        "Only there: MULTI_MCP_API_KEY, or MULTI_MCP_API_KEY_FILE, has the keys that clients over HTTP must send.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"multi-mcp {__version__}")

    def add(
        to: argparse._ActionsContainer, name: str, default: str, reads: _Reads, help: str, unit: str | None
    ) -> None:
        # A default given as text is checked like an argument, and so is what stands in the environment.
        default = environ.get(_variable(name)) or default
        to.add_argument(f"--{name}", metavar=unit, default=default, type=check.checked(reads), help=help)

    for name, default, reads, text in _OPTIONS:
        add(parser, name, default, reads, text, None)
    for name, text in _FLAGS.items():
        # In the environment anything but nothing and these words switches it on.
        is_set = environ.get(_variable(name), "").lower() not in ("", "0", "false", "no", "off")
        parser.add_argument(f"--{name}", action="store_true", default=is_set, help=text)
    bounds = parser.add_argument_group("bounds", "so that no client and no server can cost the others too much")
    for name, bound in BOUNDS.items():
        unit = bound.metadata["unit"]
        add(bounds, name, shown(bound), partial(read_number, unit), bound.metadata["text"], unit)
    return parser


def _variable(option: str) -> str:
    return f"MULTI_MCP_{_attribute(option).upper()}"


def _attribute(option: str) -> str:
    return option.replace("-", "_")


def _one_of(*choices: str) -> _Reads:
    def choose(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ConfigError(f"'{text}' is not one of {', '.join(choices)}")

    return choose


def _each(read: _Reads) -> _Reads:
    return lambda text: frozenset(read(part.strip()) for part in text.split(",") if part.strip())


_HOW = "how clients connect: stdio, or sse or http, which are the same server with /sse and /mcp on one port"
_WHO = "reverse proxies whose X-Forwarded-Prefix says that path, comma separated addresses or networks"
_NAMES = "llm has names that LLM APIs take, server__tool; /mcp?names= and /sse?names= say it for one client"
_ADMIN = "servers that may be added and removed over HTTP: all, those that have a url, or none, and none are shown"
_OPTIONS: tuple[tuple[str, str, _Reads, str], ...] = (
    ("transport", "stdio", _one_of("stdio", "sse", "http"), _HOW),
    ("config", "./mcp.json", Path, "the file with the mcpServers"),
    ("host", "127.0.0.1", lambda text: text.strip("[]"), "address to listen on; :: is all, of IPv4, too"),
    ("port", "8080", int, "port to listen on; 0 takes a free one and says which"),
    ("allowed-host", "", _each(allowed_host), "further names of this proxy, comma separated; * for any"),
    ("allowed-origin", "", _each(allowed_origin), "origins of further web pages that are let in; * for any"),
    ("admin", "all", _one_of("off", "remote-only", "all"), _ADMIN),
    ("root-path", "", root_path, "path below which a reverse proxy has this one, as in /tools"),
    ("forwarded-allow-ips", "127.0.0.1,::1", _each(network), _WHO),
    ("log-level", "INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "what to log on stderr, and above"),
    ("separator", "::", str, "between a server's name and a tool's"),
    ("namespace", "always", _one_of("always", "never"), "whether tools and prompts carry their server's name"),
    ("names", "plain", _one_of(*SPELLINGS), _NAMES),
    (
        "startup-timeout",
        "10",
        partial(read_number, "SECONDS"),
        "seconds that a server added over HTTP has to get ready",
    ),
)
"""Name, default, what reads it, help."""

_FLAGS = {
    "no-watch": "do not follow the configuration file when it changes; SIGHUP still reads it again",
    "persist": "write what is added and removed over HTTP to the configuration file",
}
