"""A process of the proxy that tells what it holds: the soak and the fuzzers look for what is not given back."""

import asyncio
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, descendants

BOUNDS = {"memory": 3.0, "descriptors": 15, "processes": 0, "tasks": 3, "objects": 300}
"""What may be more at the end than after the warm-up; memory in MB."""

FAULTY = re.compile(r"^(Traceback|\w+(Error|Exception)\b)|fault of Multi-MCP|was never|xception calling", re.MULTILINE)
"""What no log of ours has; a server may say what it likes."""

IDLE_TIMEOUT = 30.0


async def listening_port(log: Path) -> int:
    """The port that a process says in its log that it listens on."""
    while True:
        _, found, rest = log.read_text().partition("listening on http://127.0.0.1:")
        if found and "\n" in rest:
            return int(rest.split()[0])
        await asyncio.sleep(0.05)


class Proxy:
    """A process of the proxy, and what it holds."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, probe: str) -> None:
        self.name = name
        self.process = process
        self.port = 0
        self._probe = probe
        self.samples: list[dict[str, float]] = []
        self.looks: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, name: str, config: Path, folder: Path, *args: str, first: str = "pass") -> "Proxy":
        """Start it; `first` is code that is run in it before."""
        probe = str(folder / f"{name}.probe")
        first = (
            f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from tests.support import probe; probe.start({probe!r}); "
            f"from multimcp.backends import http; http.LINGER = 1; {first}; "
            "from multimcp.serving.cli import main; raise SystemExit(main())"
        )
        log = (folder / f"{name}.log").open("wb")
        options = ["--config", str(config), "--log-level", "WARNING", *args]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", first, *options, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=log, limit=1 << 24,
        )  # fmt: skip
        log.close()
        return cls(name, process, probe)

    async def look(self) -> dict[str, Any]:
        """What the probe says."""
        reader, writer = await asyncio.open_unix_connection(self._probe)
        found: dict[str, Any] = json.loads(await reader.read())
        writer.close()
        return found

    async def idle(self) -> dict[str, Any]:
        """Wait until it does nothing any more: what the probe says is the same twice; return that."""
        deadline, before = time.monotonic() + IDLE_TIMEOUT, await self.look()
        while True:
            await asyncio.sleep(0.1)
            found = await self.look()
            if (found["tasks"], found["objects"]) == (before["tasks"], before["objects"]):
                return found
            if time.monotonic() > deadline:
                return found
            before = found

    async def sample(self) -> None:
        found, pid = await self.idle(), self.process.pid
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        self.samples.append(
            {
                "memory": round(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 2),
                "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
                "processes": len(descendants(pid)),
                "tasks": found["tasks"],
                "objects": found["objects"],
            }
        )
        self.looks.append(found)

    def growth(self) -> dict[str, float]:
        """What is more at the end than after the warm-up: medians of a few rounds."""
        warm = len(self.samples) // 4
        width = max(1, len(self.samples) // 8)

        def median(samples: list[dict[str, float]], what: str) -> float:
            return statistics.median(sample[what] for sample in samples)

        first, last = self.samples[warm : warm + width], self.samples[-width:]
        return {what: round(median(last, what) - median(first, what), 2) for what in BOUNDS}

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
