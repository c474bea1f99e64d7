"""The benchmark runs: every figure is there, whatever it is. Nothing is timed here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench import inflight
from tests.support.processes import ROOT, TIMEOUT


def test_the_benchmark_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--ours", "--brief", "--to", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "performance.json").read_text())
    cells = {"1 x 20", "8 x 20", "1 x 100000"}
    assert len(results["calls"]) == 4
    for column in results["calls"].values():
        assert {name: set(found) for name, found in column.items()} == {"direct": cells, "Multi-MCP": cells}
        assert all(found[cell]["calls"] for found in column.values() for cell in cells)
    assert results["lists"]["10"].keys() == {"direct", "Multi-MCP"}
    assert all(results["many"][number]["Multi-MCP"]["calls"] for number in ("1", "2"))
    assert results["starts"]["30"]["Multi-MCP"]["listens_s"] > 0
    assert "| Multi-MCP |" in (tmp_path / "performance.md").read_text()
    assert "Multi-MCP" in (tmp_path / "performance.svg").read_text()


def test_many_requests_in_flight(tmp_path: Path) -> None:
    """Of clients of all kinds, each with a connection of its own; what they cost is for a longer run to say."""
    assert inflight.play(60, tmp_path).keys() == {"legacy", "sse", "modern"}
