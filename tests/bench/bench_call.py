"""What a tools/call costs through the proxy, as a ratio to a direct call of the same server, in one run.

    python tests/bench/bench_call.py [--rounds N] [--calls N]

For each pair (client over streamable HTTP, legacy and modern; backend over stdio and HTTP) rounds of direct and
proxied calls take turns, so that whatever else the machine does hits both. Printed are medians over the rounds:
milliseconds a call takes, and CPU milliseconds a call costs the proxy and the directly called server (user and
system time of the process, from /proc).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.processes import SERVERS, Process, RawClient, fixture, proxy

TICK = 1000 / os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """CPU time a process has used, in milliseconds (in steps of a clock tick)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def measure(call: Callable[[], object], pid: int, calls: int) -> tuple[float, float]:
    """(milliseconds, CPU milliseconds of `pid`) per call."""
    begun, used = time.perf_counter(), cpu(pid)
    for _ in range(calls):
        call()
    return (time.perf_counter() - begun) * 1000 / calls, (cpu(pid) - used) / calls


def caller(client: RawClient, name: str) -> Callable[[], object]:
    return lambda: client.call("tools/call", {"name": name, "arguments": {"a": 10, "b": 5}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    with ExitStack() as stack:
        command = [sys.executable, str(SERVERS / "calculator.py"), "--transport", "http", "--port", "0"]
        server = Process(*command)
        stack.callback(server.kill)
        url = server.expect(r"listening on (http://\S+)").group(1)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {"stdio": fixture("calculator"), "http": {"url": url}}
        running = stack.enter_context(proxy(folder, servers)).wait_ready()
        columns = f"{'ms':>6} {'direct':>7} {'ratio':>6}"
        print(f"{'client':8} {'backend':8} {columns}   CPU{columns[3:]}")
        for era in ("legacy", "modern"):
            direct = stack.enter_context(RawClient(url.removesuffix("/mcp"), era))
            through = stack.enter_context(RawClient(running.url, era))
            for backend in servers:
                pairs = [
                    (caller(through, f"{backend}::add"), running.popen.pid),
                    (caller(direct, "add"), server.popen.pid),
                ]
                samples: list[list[tuple[float, float]]] = [[], []]
                for number in range(options.rounds + 1):
                    for sample, (call, pid) in zip(samples, pairs, strict=True):
                        result = measure(call, pid, options.calls)
                        if number:  # the first round warms up
                            sample.append(result)
                (wall, used), (wall_direct, used_direct) = (
                    [statistics.median(column) for column in zip(*sample, strict=True)] for sample in samples
                )
                print(
                    f"{era:8} {backend:8} {wall:6.2f} {wall_direct:7.2f} {wall / wall_direct:6.2f}"
                    f"   {used:6.2f} {used_direct:7.2f} {used / used_direct:6.2f}"
                )


if __name__ == "__main__":
    main()
