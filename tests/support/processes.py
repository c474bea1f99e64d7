"""Real processes for the integration tests: starting them, waiting for what they say, and that nothing is left.

Every wait is bounded and waits for an event. Every proxy that is stopped is checked: exit code 0 and no descendant
process left. How long something takes says as much of the machine as of the proxy: what is to be quick is tried a few
times (`quick`), all else has `TIMEOUT`.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.stdio import stdio_client as stdio_transport

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ROOT / "fixtures" / "servers"
RAW = Path(__file__).with_name("raw_server.py")
MAIN = ROOT / "main.py"
TIMEOUT = 60.0


def run(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the proxy, or one of its commands, to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def raw(*behaviours: str, **more: Any) -> dict[str, Any]:
    """The configuration of a `raw_server.py` over stdio."""
    return {"command": sys.executable, "args": [str(RAW), *behaviours], **more}


def fixture(name: str, **more: Any) -> dict[str, Any]:
    """The configuration of a server in fixtures/servers over stdio."""
    return {"command": sys.executable, "args": [str(SERVERS / f"{name}.py")], **more}


def descendants(pid: int) -> set[int]:
    """The pids of all that `pid` started, directly or not, and that are still running."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {pid}


def commands(pids: set[int]) -> dict[int, str]:
    """The command lines of those of the processes that are still there."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return found


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(condition: Callable[[], Any], timeout: float = TIMEOUT, what: str = "") -> Any:
    """The first true value of `condition`, which nothing announces: it is looked at until the time is over."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)
    return value


def whole_lines(file: Path) -> list[str]:
    """The lines of a file that others write, none if it is not there; not the last one if that is still on its way."""
    text = file.read_text() if file.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def quick(bound: float, attempt: Callable[[], float]) -> None:
    """Check that `attempt`, which returns the seconds that count of it, takes less than `bound`, at best."""
    took: list[float] = []
    while not took or min(took) >= bound:
        assert len(took) < 4, f"took {took} s, not {bound} s"
        took.append(attempt())


class Process:
    """A child process whose stderr is collected line by line."""

    def __init__(self, *command: str, **options: Any) -> None:
        self.popen = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=options.pop("cwd", ROOT), **options
        )
        self.lines: list[str] = []
        self.begun = time.monotonic()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as stderr:
            for line in stderr:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def expect(self, pattern: str, timeout: float = TIMEOUT) -> re.Match[str]:
        """The first line of stderr that matches, now or later."""
        regex, seen = re.compile(pattern), 0
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if match := regex.search(line):
                        return match
                seen = len(self.lines)
                left = deadline - time.monotonic()
                ended = self.popen.poll() is not None and not self._reader.is_alive()
                if left <= 0 or ended:
                    raise AssertionError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
                self._news.wait(min(left, 0.5))

    @property
    def stderr(self) -> str:
        return "\n".join(self.lines)

    def wait(self, timeout: float) -> int:
        code = self.popen.wait(timeout)
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """End it at once. Not after SIGTERM: that would be in the middle of what it does last, as writing a file."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class Proxy(Process):
    """Multi-MCP as a process of its own, over HTTP on a free port; `first` is code to be run before it starts."""

    def __init__(
        self, config: Path, *args: str, env: dict[str, str] | None = None, first: str = "", **options: Any
    ) -> None:
        command = [sys.executable, *program(first), "--config", str(config), *args]
        super().__init__(*command, env={**os.environ, **(env or {})}, **options)
        self.url = ""
        self._http = httpx2.Client(timeout=TIMEOUT, trust_env=False)

    def kill(self) -> None:
        """End it and what it started, of which it can end nothing any more."""
        self._http.close()
        family = descendants(self.popen.pid) if self.popen.poll() is None else set()
        super().kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def listening(self) -> "Proxy":
        self.url = self.expect(r"listening on (http://\S+)").group(1)
        return self

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End the proxy as an operator does; it must obey, and leave nothing behind. Returns the seconds it took."""
        family = descendants(self.popen.pid)
        begun = time.monotonic()
        self.popen.send_signal(number)
        code = self.wait(TIMEOUT)
        took = time.monotonic() - begun
        left = {pid for pid in family if alive(pid)}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert code == 0, self.stderr
        assert not left, f"left processes behind: {left}"
        ours = [line for line in self.lines if ": stderr: " not in line]  # a server may say what it likes
        assert "Traceback" not in str(ours), self.stderr
        return took

    # What follows is the admin API, as any HTTP client uses it.

    def http(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self._http.request(method, self.url + path, **options)

    def status(self) -> dict[str, Any]:
        servers: dict[str, Any] = self.http("GET", "/mcp_servers").json()["servers"]
        return servers

    def add(self, **servers: dict[str, Any]) -> httpx2.Response:
        return self.http("POST", "/mcp_servers", json={"mcpServers": servers})

    def remove(self, name: str) -> httpx2.Response:
        return self.http("DELETE", f"/mcp_servers/{name}")

    def wait_ready(self) -> "Proxy":
        until(lambda: self.http("GET", "/readyz").status_code == 200, what="/readyz")
        return self

    # And what follows, clients of the SDK.

    def client(self, transport: str = "http", mode: str = "auto", query: str = "", **options: Any) -> Client:
        options.setdefault("read_timeout_seconds", TIMEOUT)
        if transport == "sse":
            return Client(sse_client(f"{self.url}/sse{query}"), mode=mode, **options)
        return Client(f"{self.url}/mcp{query}", mode=mode, **options)


PATIENT = (
    "from multimcp.backends import registry; from multimcp.protocol import waiting; "
    "waiting.CLIENT_WAIT = registry.START_WAIT = 30"
)
"""Code to be run before a proxy starts: its lists wait longer for servers, on machines that are busy."""


def write_config(path: Path, servers: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@contextmanager
def proxy(tmp_path: Path, servers: dict[str, Any], *args: str, **options: Any) -> Iterator[Proxy]:
    """A proxy over HTTP in front of these servers. Leaving the block ends it as `Proxy.stop` demands.

    Servers have longer to start than they have by default (`first` is `PATIENT`), on machines that are busy.
    """
    options.setdefault("first", PATIENT)
    config = write_config(tmp_path / "mcp.json", servers)
    started = ["--transport", "http", "--port", "0", "--startup-timeout", "30"]
    process = Proxy(config, *started, *args, **options)
    try:
        yield process.listening()
        if process.popen.poll() is None:
            process.stop()
    finally:
        process.kill()


def program(first: str = "") -> list[str]:
    """The proxy for Python to run; `first` is code to be run before it starts."""
    return ["-c", f"{first}; from multimcp.serving.cli import main; raise SystemExit(main())"] if first else [str(MAIN)]


def stdio_client(
    config: Path, *args: str, mode: str = "auto", first: str = PATIENT, errlog: TextIO = sys.stderr, **options: Any
) -> Client:
    """A client that starts the proxy over stdio, as desktop clients do; `first` is that of `proxy`."""
    main = program(first)
    options.setdefault("read_timeout_seconds", TIMEOUT)
    command = StdioServerParameters(
        command=sys.executable,
        args=[*main, "--transport", "stdio", "--config", str(config), *args],
        env=dict(os.environ),
        cwd=ROOT,
    )
    return Client(stdio_transport(command, errlog=errlog), mode=mode, **options)


@contextmanager
def server_process(name: str, transport: str, port: int = 0, *args: str) -> Iterator[str]:
    """A server of fixtures/servers over HTTP; yields its URL."""
    options = ["--transport", transport, "--port", str(port), *args]
    process = Process(sys.executable, str(SERVERS / f"{name}.py"), *options)
    try:
        yield process.expect(r"listening on (http://\S+)").group(1)
    finally:
        process.kill()


@contextmanager
def raw_http(*behaviours: str) -> Iterator[str]:
    """A `raw_server.py` over HTTP; yields its URL, to which /mcp or /sse is added."""
    process = Process(sys.executable, str(RAW), "http", *behaviours)
    try:
        yield process.expect(r"listening on (http://\S+)").group(1)
    finally:
        process.kill()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """A bound on what is in the block."""
    async with asyncio.timeout(seconds):
        yield


def text(result: Any) -> str:
    """The text of a tool's result."""
    return str(result.content[0].text)


class RawClient:
    """A client over streamable HTTP that shows the wire: dicts in, dicts out.

    `headers` go with every request, `query` (with its question mark) with every one of a modern client, and with the
    `initialize` of a legacy one.
    """

    def __init__(
        self,
        url: str,
        era: str,
        headers: dict[str, str] | None = None,
        query: str = "",
        version: str = "2025-11-25",
    ) -> None:
        self.era = era
        self.version = version
        self.capabilities: dict[str, Any] = {}
        self._url = f"{url}/mcp{query}"
        self._http = httpx2.Client(timeout=TIMEOUT, trust_env=False)
        self._headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        self._headers |= headers or {}
        self._id = 0
        self.hello: dict[str, Any] = {}
        self.extra: dict[str, str] = {}

    def __enter__(self) -> "RawClient":
        if self.era == "legacy":
            params = {
                "protocolVersion": self.version,
                "capabilities": self.capabilities,
                "clientInfo": {"name": "raw", "version": "0"},
            }
            self.hello = self.call("initialize", params)
            self._headers["MCP-Protocol-Version"] = self.version
            self._url = self._url.partition("?")[0]
            self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        else:
            self.hello = self.call("server/discover", {})
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def post(self, message: dict[str, Any], headers: dict[str, str] | None = None) -> httpx2.Response:
        body = json.dumps(message)  # which escapes what is not ASCII, lone surrogates too
        response = self._http.post(self._url, content=body, headers=self._headers | (headers or {}))
        if session := response.headers.get("mcp-session-id"):
            self._headers["Mcp-Session-Id"] = session
        return response

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """What an HTTP client is to send with a request: its `json` and `headers`."""
        self._id += 1
        headers = {}
        if self.era == "modern":
            envelope = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            params = {**params, "_meta": {**params.get("_meta", {}), **envelope}}
            headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
            if isinstance(name := params.get("name") or params.get("uri"), str):
                headers["Mcp-Name"] = name
            headers |= self.extra
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        return {"json": message, "headers": self._headers | headers}

    def exchange(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the whole response message."""
        request = self.request(method, params)
        response = self.post(request["json"], request["headers"])
        body = response.text
        if response.headers["content-type"].startswith("text/event-stream"):
            body = next(line[6:] for line in body.split("\n") if line.startswith("data: {") and '"id"' in line)
        answer: dict[str, Any] = json.loads(body)
        return answer

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return its result."""
        message = self.exchange(method, params or {})
        assert "result" in message, message
        result: dict[str, Any] = message["result"]
        return result

    def error(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its error."""
        message = self.exchange(method, params)
        assert "error" in message, message
        error: dict[str, Any] = message["error"]
        return error
