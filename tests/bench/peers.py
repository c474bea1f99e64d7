"""What is measured: the server called directly, Multi-MCP, and other proxies; how each is installed and started.

Rules:
- Each peer is installed on its own in build/bench, at the version that stands here, and started as its README says.
- What a peer does not do is left out of its `backends` and `most_sessions`, and shown as "not offered".
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.npm import node

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"
SERVERS = Path(__file__).with_name("servers")
ECHO = [sys.executable, str(SERVERS / "echo.py")]
MINIMAL = [sys.executable, "-I", "-S", str(SERVERS / "minimal.py")]
START_TIMEOUT = 60.0

Backend = Literal["stdio", "http"]
Servers = Mapping[str, dict[str, Any]]
"""Entries of `mcpServers`, by name."""


@dataclass(frozen=True)
class Peer:
    """A proxy, or the server itself.

    Attributes:
        name: in the results.
        version: what is installed; empty for what is in this checkout.
        install: makes it be there.
        command: starts it on a port, in front of these servers; the path of its endpoint is `/mcp`.
        backends: over which transports its servers can be reached behind an HTTP endpoint.
        most_servers: how many servers it can be in front of.
        most_sessions: with how many sessions it is measured.
    """

    name: str
    version: str
    install: Callable[[], None]
    command: Callable[[int, Servers], Sequence[str]]
    backends: tuple[Backend, ...] = ("stdio",)
    most_servers: int = 1
    most_sessions: int = 256


def _nothing() -> None:
    """It is here."""


def _from_pypi(package: str, version: str) -> Callable[[], None]:
    def install() -> None:
        folder = FOLDER / package
        if _is_installed(folder, version):
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        command = ["uv", "pip", "install", "-q", "--python", str(folder / "bin" / "python"), f"{package}=={version}"]
        subprocess.run(command, check=True)
        (folder / "version").write_text(version)

    return install


def _from_npm(package: str, version: str) -> Callable[[], None]:
    def install() -> None:
        folder = FOLDER / f"npm-{package}"
        if _is_installed(folder, version):
            return
        node.link()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        npm = [str(node.FOLDER / "bin" / name) for name in ("node", "npm")]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        command = [*npm, "install", *options, f"{package}@{version}"]
        subprocess.run(command, cwd=folder, env=node.environment(), check=True, stdout=subprocess.DEVNULL)
        (folder / "version").write_text(version)

    return install


def _is_installed(folder: Path, version: str) -> bool:
    stamp = folder / "version"
    return stamp.exists() and stamp.read_text() == version


def _npm_program(package: str) -> list[str]:
    return [str(node.FOLDER / "bin" / "node"), str(FOLDER / f"npm-{package}" / "node_modules" / ".bin" / package)]


def _config(name: str, servers: Servers) -> str:
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return str(path)


def _command_of(servers: Servers) -> list[str]:
    [server] = servers.values()
    return [server["command"], *server["args"]]


def _direct(port: int, servers: Servers) -> list[str]:
    return [*_command_of(servers), "--transport", "http", "--port", str(port)]


def _ours(port: int, servers: Servers) -> list[str]:
    config = _config("ours", servers)
    return [sys.executable, str(ROOT / "main.py"), "--transport", "http", "--port", str(port), "--config", config]


def _fastmcp(port: int, servers: Servers) -> list[str]:
    program = str(FOLDER / "fastmcp" / "bin" / "fastmcp")
    options = ["--transport", "http", "--port", str(port), "--path", "/mcp", "--no-banner"]
    return [program, "run", _config("fastmcp", servers), *options]


def _mcp_proxy(port: int, servers: Servers) -> list[str]:
    return [str(FOLDER / "mcp-proxy" / "bin" / "mcp-proxy"), "--port", str(port), "--", *_command_of(servers)]


def _supergateway(port: int, servers: Servers) -> list[str]:
    options = ["--outputTransport", "streamableHttp", "--stateful", "--port", str(port), "--logLevel", "none"]
    return [*_npm_program("supergateway"), "--stdio", " ".join(_command_of(servers)), *options]


def _npm_mcp_proxy(port: int, servers: Servers) -> list[str]:
    options = ["--port", str(port), "--server", "stream", "--host", "127.0.0.1"]
    return [*_npm_program("mcp-proxy"), *options, "--", *_command_of(servers)]


DIRECT = Peer("direct", "", _nothing, _direct, ("stdio", "http"))
OURS = Peer("Multi-MCP", "", _nothing, _ours, ("stdio", "http"), most_servers=100)
OTHERS = (
    Peer("fastmcp", "4.2.3", _from_pypi("fastmcp", "4.2.3"), _fastmcp, ("stdio", "http"), most_servers=10),
    Peer("mcp-proxy (PyPI)", "0.13.0", _from_pypi("mcp-proxy", "0.13.0"), _mcp_proxy),
    # It starts a process for each session: 256 of them do not fit.
    Peer("supergateway", "4.0.0", _from_npm("supergateway", "4.0.0"), _supergateway, most_sessions=32),
    Peer("mcp-proxy (npm)", "6.7.19", _from_npm("mcp-proxy", "6.7.19"), _npm_mcp_proxy),
)


class Running:
    """A peer that has been started, and what it costs.

    Attributes:
        url: of its endpoint.
        started: seconds until it took connections.
    """

    def __init__(self, peer: Peer, servers: Servers) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: it does not.
        """
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.peer = peer
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._log = FOLDER / f"{peer.name}.log"
        # A first start leaves bytecode for the next ones, as it does for users.
        env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command, silent = peer.command(port, servers), subprocess.DEVNULL
        begun = time.perf_counter()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=silent, stdout=log, stderr=log, env=env, start_new_session=True
            )
        while not _listens(port):
            if self.process.poll() is not None or time.perf_counter() - begun > START_TIMEOUT:
                self.stop()
                raise RuntimeError(f"{peer.name} does not start: {self._log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.005)
        self.started = time.perf_counter() - begun

    def stop(self) -> None:
        """End it, and all that it started."""
        tree = self.tree()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in tree - {self.process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)

    def tree(self) -> set[int]:
        """Its process, and all that this one has started, directly or not."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(fields[1])
        found = {self.process.pid}
        while grown := {child for child, parent in parents.items() if parent in found} - found:
            found |= grown
        return found

    def cpu(self) -> float:
        """Milliseconds of CPU time that its own process has used so far."""
        return cpu(self.process.pid)

    def memory(self) -> float:
        """Megabytes of memory that its own process has resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu(pid: int) -> float:
    """Milliseconds of CPU time that a process has used, to the nanosecond: its clock, by the number Linux gives it."""
    return time.clock_gettime((~pid << 3) | 2) * 1000


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
