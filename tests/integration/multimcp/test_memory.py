"""The memory of one message is used again for the next, instead of being fetched from the system each time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, TIMEOUT

PROGRAM = """
import asyncio, resource, sys
from multimcp.app import application

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        blocks = [bytes(range(250)) * 800 for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

async def main() -> None:
    async def receive():
        await stop.wait() if told else told.append(1)
        return {"type": "lifespan.startup" if not stop.is_set() else "lifespan.shutdown"}

    async def send(event):
        if event["type"] == "lifespan.startup.complete":
            print(faults())
            stop.set()

    stop, told = asyncio.Event(), []
    await application(sys.argv[1])({"type": "lifespan"}, receive, send)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how glibc's malloc behaves")
def test_large_blocks_are_used_again(tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text('{"mcpServers": {}}')
    command = [sys.executable, "-c", PROGRAM, str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    pages = 100 * 3 * 200_000 // 4096
    assert int(done.stdout) < pages / 10, "page faults of 100 times three blocks of 200 kB"
