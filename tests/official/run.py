"""The official conformance suite: for servers, directly and through Multi-MCP, and for clients, on Multi-MCP.

    python -m tests.official.run

There is no official suite for proxies. What there is, is for servers and for clients, and a proxy is both.

- As a server: a proxy with one server behind it, which is not told from that server, passes whatever the server passes.
  So the suite is run, for each revision of the specification that it has a set of requirements for, on
  fixtures/servers/everything.py over streamable HTTP, and on the proxy in front of that server, started by the proxy
  over stdio and reached by it over streamable HTTP.
- As a client: for each client scenario of the revision the suite starts a server of its own and judges what the proxy
  sends to it; client.py is in front of the proxy and uses it.

Rules:
- What is required must pass directly; what passes directly must pass through the proxy, required or not, check by
  check. The exceptions stand in results.py, which judges.
- As a client, every scenario must pass, required or not, but those of OAuth, which is not built.
- All that was started is ended, however this ends; the proxy must end as told and leave nothing behind.
- The suite's own results and output stay in build/official.

Exit codes: 0 all of it holds, 1 it does not, 2 it is not known: the suite or a server could not be run.
"""

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.npm import node
from tests.official.results import (
    EXTENSIONS,
    Check,
    Listed,
    Miss,
    Run,
    Unreadable,
    failing,
    judge,
    lost,
    parse_list,
    passes,
    read_client_run,
    read_run,
    read_scenario,
    unmet,
    unmet_by,
)
from tests.support.processes import fixture, proxy, server_process

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "official"
REVISIONS = ("2025-11-25", "2026-07-28")
DIRECT = "directly"
AS_CLIENT = "proxy as client"
CLIENT = shlex.join([sys.executable, "-m", "tests.official.client"])
AT_ONCE = 2  # each client scenario waits for its processes more than it computes
SCENARIO_TIMEOUT = 15  # seconds; none takes more than one
CLIENT_TIMEOUT = 60  # seconds; the proxy is started in it
SUITE_TIMEOUT = 300


def suite(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the suite's command to its end."""
    command = [*node.command("conformance"), *args]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SUITE_TIMEOUT)
    except subprocess.TimeoutExpired as late:
        raise Unreadable(f"`conformance {' '.join(args)}` took more than {SUITE_TIMEOUT} s") from late
    if done.returncode not in (0, 1):
        raise Unreadable(f"`conformance {' '.join(args)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def play(url: str, revision: str, listed: Listed, way: str) -> Run:
    """Run all scenarios of a revision on the server at this URL."""
    folder = RESULTS / revision / way.replace(" ", "-")
    folder.mkdir(parents=True)
    args = ["--url", url, "--requirements", revision, "--timeout", str(SCENARIO_TIMEOUT * 1000), "-o", str(folder)]
    done = suite("server", *args)
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return {**read_run(folder, done.returncode, listed), **play_extensions(url, revision, folder)}


def play_extensions(url: str, revision: str, folder: Path) -> Run:
    """Run the scenarios that are in no list of a revision."""
    run = {}
    for scenario in EXTENSIONS.get(revision, ()):
        args = ["--url", url, "--scenario", scenario, "--spec-version", revision, "--force"]
        done = suite("server", *args, "--timeout", str(SCENARIO_TIMEOUT * 1000), "-o", str(folder / scenario))
        (folder / scenario / "output.txt").write_text(done.stdout + done.stderr)
        run[scenario] = read_scenario(folder / scenario, scenario)
    return run


def play_client(revision: str, listed: Listed) -> Run:
    """Play all client scenarios of a revision with the proxy as the client."""

    def one(scenario: str) -> list[Check]:
        folder = RESULTS / revision / AS_CLIENT.replace(" ", "-") / scenario
        folder.mkdir(parents=True)
        args = ["--command", CLIENT, "--scenario", scenario, "--spec-version", revision]
        done = suite("client", *args, "--timeout", str(CLIENT_TIMEOUT * 1000), "-o", str(folder))
        (folder / "output.txt").write_text(done.stdout + done.stderr)
        return read_client_run(folder, done.returncode, scenario)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(listed.clients, pool.map(one, listed.clients), strict=True))


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """The URL of each way to the everything-server."""
    with (
        tempfile.TemporaryDirectory() as stdio_folder,
        tempfile.TemporaryDirectory() as http_folder,
        server_process("everything", "http") as direct,
        proxy(Path(stdio_folder), {"everything": fixture("everything")}, "--namespace", "never") as stdio,
        proxy(Path(http_folder), {"everything": {"url": direct}}, "--namespace", "never") as http,
    ):
        yield {
            DIRECT: direct,
            "proxy to stdio": stdio.wait_ready().url + "/mcp",
            "proxy to http": http.wait_ready().url + "/mcp",
        }


def show(way: str, run: Run, parts: Sequence[Sequence[str]], missed: list[Miss]) -> None:
    """One line of figures, with what passes of each part; then what does not pass, under its scenario."""
    figures = (f"{len(scenarios) - len(failing(run, scenarios))}/{len(scenarios)}" for scenarios in parts)
    required, unscored = (*figures, "")[:2]
    checks = sum(check.status == "SUCCESS" for checks in run.values() for check in checks)
    print(f"{way:16} {required:>9} {unscored:>11} {checks:>7} {sum(not one.allowed for one in missed):>7}", flush=True)
    for scenario in dict.fromkeys(one.scenario for one in missed):
        print(f"  {scenario}{'' if passes(run[scenario]) else ': fails'}")
        for _, check, allowed in (one for one in missed if one.scenario == scenario):
            print(f"    {check.status}: {check.name}{', which need not pass through a proxy' if allowed else ''}")
            if check.message:
                print(f"      {check.message}")


def compare(urls: dict[str, str], revision: str) -> list[Miss]:
    """Play a revision every way, and show it; returns all that does not pass."""
    listing = suite("list", "--requirements", revision)
    listed = parse_list(listing.stdout + listing.stderr)
    print(f"{revision:16} {'required':>9} {'not scored':>11} {'checks':>7} {'wrong':>7}")
    runs = {way: play(url, revision, listed, way) for way, url in urls.items()}
    listed = listed._replace(unscored=[*listed.unscored, *EXTENSIONS.get(revision, ())])
    missed = []
    for way, run in runs.items():
        found = unmet(run, listed) if way == DIRECT else lost(runs[DIRECT], run)
        show(way, run, [listed.required, listed.unscored], found)
        missed += found
    run = play_client(revision, listed)
    found = [miss for scenario, checks in run.items() for miss in unmet_by(scenario, checks)]
    show(AS_CLIENT, run, [listed.clients], found)
    return missed + found


def main() -> int:
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        node.install()
        shutil.rmtree(RESULTS, ignore_errors=True)
        with servers() as urls:
            missed = [one for revision in REVISIONS for one in compare(urls, revision)]
    except (Unreadable, node.NodeError, AssertionError) as error:  # `support` asserts what its processes do
        print(error, file=sys.stderr)
        return 2
    faults = judge(missed)
    verdict = "; ".join(faults) or "all that must pass passes"
    print(f"{verdict} ({time.monotonic() - begun:.0f} s, results in {RESULTS})")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
