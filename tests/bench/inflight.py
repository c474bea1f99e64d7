"""Many requests in flight at once: legacy, SSE and modern ones, each of a client of its own, and what each costs.

    python -m tests.bench.inflight [--each N]

All are held by one server until the last one has come, then answered. Every one must get its own answer. Memory is the
growth of the proxy's resident memory, by request: a connection, a session where there is one, and a call.

Exit status: 0 where every request was answered as it has to be; else 1.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.support.processes import PATIENT, Proxy, write_config

SERVER = """
import json, sys
held = []
def answer(number, text):
    print(json.dumps({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}]}}))
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        continue
    elif method == "initialize":
        hello = {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "held", "version": "0"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {**hello, "capabilities": {"tools": {}}}}))
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("hold", "count", "release")]
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}}))
    elif method == "tools/call" and params["name"] == "hold":
        held.append((message["id"], params["arguments"]["text"]))
    elif method == "tools/call":
        answer(message["id"], str(len(held)))
        if params["name"] == "release":
            for each in held:
                answer(*each)
            held.clear()
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}))
    sys.stdout.flush()
"""

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "inflight", "version": "0"}}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "inflight", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
WAIT = 120.0
AT_ONCE = 200
"""Clients that connect at the same time."""

Hold = Callable[["Wire", str], Awaitable[None]]


class Wire:
    """One connection of a client."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.got = b""

    async def open(self) -> "Wire":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    def post(self, path: str, message: dict[str, Any], **headers: str) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def until(self, pattern: bytes) -> re.Match[bytes]:
        """Read until this came."""
        async with asyncio.timeout(WAIT):
            while (found := re.search(pattern, self.got)) is None:
                piece = await self.reader.read(1 << 16)
                if not piece:
                    raise ConnectionError(f"closed behind {self.got[-300:]!r}")
                self.got += piece
        self.got = self.got[found.end() :]
        return found


def call(text: str, **more: Any) -> dict[str, Any]:
    return {"id": 2, "method": "tools/call", "params": {"name": "held::hold", "arguments": {"text": text}, **more}}


async def legacy(wire: Wire, text: str) -> None:
    wire.post("/mcp", {"id": 1, "method": "initialize", "params": HELLO})
    session = (await wire.until(rb"(?i)mcp-session-id: (\S+)"))[1].decode()
    await wire.until(rb'"id":1')
    wire.post("/mcp", {"method": "notifications/initialized"}, Mcp_Session_Id=session)
    await wire.until(rb"HTTP/1.1 202")
    wire.post("/mcp", call(text), Mcp_Session_Id=session)


async def sse(wire: Wire, text: str) -> None:
    wire.writer.write(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
    path = (await wire.until(rb"data: (\S+)\r\n"))[1].decode()
    other = await Wire(wire._port).open()
    for message in ({"id": 1, "method": "initialize", "params": HELLO}, {"method": "notifications/initialized"}):
        other.post(path, message)
        await other.until(rb"Accepted")
    await wire.until(rb'"id":1')
    other.post(path, call(text), Connection="close")
    await other.until(rb"Accepted")
    other.writer.close()


async def modern(wire: Wire, text: str) -> None:
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "held::hold"}
    wire.post("/mcp", call(text, _meta=ENVELOPE), **headers)


def resident(pid: int) -> int:
    """Kilobytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def held(port: int, tool: str) -> int:
    """How many requests the server holds; it is asked by `tool`."""
    wire = await Wire(port).open()
    message = call("", _meta=ENVELOPE)
    message["params"]["name"] = f"held::{tool}"
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": f"held::{tool}"}
    wire.post("/mcp", message, **headers)
    count = int((await wire.until(rb'"text":"? ?"?(\d+)"'))[1])
    wire.writer.close()
    return count


async def many(each: int, running: Proxy) -> dict[str, float]:
    """Have so many requests of each kind in flight, and answered; returns the kilobytes that one costs, by kind."""
    port, cost = int(running.url.rpartition(":")[2]), {}
    wires: list[tuple[Wire, str]] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def begin(hold: Hold, text: str) -> None:
        async with room:
            wire = await Wire(port).open()
            await hold(wire, text)
        wires.append((wire, text))

    await held(port, "count")
    for hold in (legacy, sse, modern):
        before = resident(running.popen.pid)
        await asyncio.gather(*(begin(hold, f"{hold.__name__}-{number}") for number in range(each)))
        async with asyncio.timeout(WAIT):
            while await held(port, "count") < len(wires):
                await asyncio.sleep(0.1)
        cost[hold.__name__] = (resident(running.popen.pid) - before) / each
    assert await held(port, "release") == 3 * each
    await asyncio.gather(*(wire.until(rb'"text": ?"%b"' % text.encode()) for wire, text in wires))
    for wire, _ in wires:
        wire.writer.close()
    return cost


def play(each: int, folder: Path) -> dict[str, float]:
    """The same with a proxy of its own, which must end as it has to."""
    config = write_config(folder / "mcp.json", {"held": {"command": sys.executable, "args": ["-c", SERVER]}})
    running = Proxy(config, "--transport", "http", "--port", "0", "--log-level", "WARNING", first=PATIENT)
    try:
        running.listening().wait_ready()
        cost = asyncio.run(many(each, running))
        running.stop()
        assert [line for line in running.lines if "listening" not in line] == []
        return cost
    finally:
        running.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=2000)
    each = parser.parse_args().each
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cost = play(each, Path(folder))
    print(
        f"{each} each of legacy, SSE and modern requests in flight, all answered, in {time.monotonic() - begun:.1f} s"
    )
    for kind, size in cost.items():
        print(f"{kind}: {size:.1f} kB each")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
