"""What a call costs through Multi-MCP and through other proxies, compared with a direct one: `tox -e bench`.

Writes performance.json, performance.md and performance.svg to build/bench, or with `--to docs` where the page is kept.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from . import measure, report
from .peers import DIRECT, FOLDER, OTHERS, OURS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=FOLDER, help="where the results go; default: build/bench")
    parser.add_argument("--ours", action="store_true", help="leave the other proxies out")
    parser.add_argument("--brief", action="store_true", help="one short round of everything, which measures nothing")
    options = parser.parse_args()
    peers = [DIRECT, OURS] if options.ours else [DIRECT, OURS, *OTHERS]
    plan = measure.Plan()
    if options.brief:
        plan = measure.Plan(
            1, 0.0, sessions=(1, 8), sizes=(20, 100_000), tools=(10,), servers=(1, 2), starts=1, calm=0.0
        )
    for peer in peers:
        peer.install()
    results = {"machine": report.machine(), "versions": {peer.name: peer.version for peer in peers}}
    results["calls"] = _timed("calls", lambda: uvloop.run(measure.calls(peers, plan)))
    results["lists"] = _timed("lists", lambda: uvloop.run(measure.lists(peers, plan)))
    several = [peer for peer in peers if peer is not DIRECT]
    results["many"] = _timed("many servers", lambda: uvloop.run(measure.many(several, plan)))
    results["starts"] = _timed("starts", lambda: measure.starts(several, plan))
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(options.to, results, peers)
    print((options.to / "performance.md").read_text())


def _timed(what: str, work: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()
