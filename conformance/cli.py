"""The command line: list, run, report, init.

Rules:
- A target is run in a process of its own, and one after the other: none can harm the next.
- Exit codes: 0 conforms or baselined, 1 a nonconformance or a stale baseline entry, 2 a fault of the harness or the
  configuration. Of several targets the worst counts.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path

from . import __version__, init, target
from .grading import selects
from .report import badge, html, junit, scoreboard
from .report.results import Results, ResultsError, merge, read
from .report.summary import WRONG
from .requirements import REQUIREMENTS
from .requirements.model import Spec
from .scenarios import load_all

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `list | head`: who reads it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (target.TargetError, ResultsError) as exc:
        print(f"mcp-proxy-conformance: {exc}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-proxy-conformance", description="Proves an MCP proxy.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"mcp-proxy-conformance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="list|run|report|scoreboard|init")

    listing = commands.add_parser("list", help="show the requirements and the shipped targets")
    listing.add_argument("--only", action="append", default=[], metavar="GLOB", help="of requirement ids")
    listing.set_defaults(command=_list)

    run = commands.add_parser("run", help="run targets and grade them")
    run.add_argument(
        "--target", action="append", default=[], metavar="NAME|FILE", help="shipped, or a target file; several add up"
    )
    run.add_argument("--only", action="append", default=[], metavar="GLOB", help="of requirement ids; several add up")
    run.add_argument(
        "--only-failed", type=Path, metavar="RESULTS", help="only what failed in earlier results, a file or a folder"
    )
    run.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="what one target may take; what is not played says so"
    )
    run.add_argument("--full", action="store_true", help="every client with every backend transport")
    run.add_argument("--strict", action="store_true", help="MAY and conventions count as nonconformance, too")
    run.add_argument("--baseline", metavar="FILE", help="instead of the target's own")
    run.add_argument("--verbose", action="store_true", help="a line for every requirement, and every failure whole")
    run.add_argument("--snapshot-update", action="store_true", help="record goldens; with the target 'direct' only")
    _outputs(run)
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="make reports of the results of one run or of many")
    report.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="files, or folders of them")
    _outputs(report)
    report.set_defaults(command=_report)

    scores = commands.add_parser("scoreboard", help="make the scoreboard: one page of many proxies, with their logs")
    scores.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="files, or folders of them")
    scores.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for index.html, logs, results")
    scores.set_defaults(command=_scoreboard)

    begin = commands.add_parser(
        "init", help="ask, try out, write a target file, or try out one; without a terminal, one to fill in"
    )
    begin.add_argument("file", nargs="?", type=Path, default=Path("target.toml"))
    begin.set_defaults(command=_init)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < inf:
        raise ValueError
    return seconds


def _outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write the results there, a file for each target")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    parser.add_argument("--badge", type=Path, metavar="FILE", help="write one target's badge, as shields.io reads it")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page, requirements by targets")


def _list(options: argparse.Namespace) -> int:
    load_all()
    for requirement in REQUIREMENTS.values():
        if not selects(options.only, requirement.id):
            continue
        window = f"{requirement.since} to {requirement.until}"
        print(f"{requirement.id}  {requirement.level}  {window}\n    {requirement.text}")
        source = requirement.source
        print(f"    {source.url if isinstance(source, Spec) else 'convention: ' + source}")
        if requirement.unchecked:
            print(f"    not checked: {requirement.unchecked}")
    print(f"\nTargets: {', '.join(target.names())}")
    print(f"Proxies by others, each file says how it is installed: {', '.join(target.strangers())}")
    return 0


def _run(options: argparse.Namespace) -> int:
    _make_folders(options)
    names = options.target or ["multimcp"]
    if options.badge and len(names) > 1:
        raise target.TargetError(f"{options.badge}: a badge is of one target; name one, or use `report` on its results")
    for name in names:
        target.load(name)  # so that a mistake in the last one is told before the first one is run
    only = {name: _selected(options, name) for name in names}
    arguments = ["--matrix=full"] if options.full else []
    arguments += [f"--seconds={options.timeout}"] if options.timeout else []
    arguments += ["--all-levels"] if options.strict else []
    arguments += [f"--baseline={options.baseline}"] if options.baseline else []
    arguments += ["--snapshot-update"] if options.snapshot_update else []
    arguments += ["--tell-all"] if options.verbose else []
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        files = [Path(folder) / f"{number}.json" for number in range(len(names))]
        codes = [
            0 if only[name] == [] else _run_one(name, file, [*arguments, *_only(only[name])])
            for name, file in zip(names, files, strict=True)
        ]
        _write(options, [read(file) for file in files if file.exists()])
    return max(codes)


def _selected(options: argparse.Namespace, name: str) -> list[str] | None:
    """The ids, or globs of ids, that are to be played of a target; None for all. None of an empty list."""
    if not options.only_failed:
        return options.only or None
    called = target.load(name).name
    earlier = next((one for one in merge(_read_all([options.only_failed])) if one.target.name == called), None)
    if earlier is None:
        raise ResultsError(f"{options.only_failed}: there are no results of {called}; run it once with --json FOLDER")
    failed = [outcome.id for outcome in earlier.requirements if outcome.verdict in WRONG]
    known = [each for each in failed if each in REQUIREMENTS]
    chosen = [each for each in known if selects(options.only, each)]
    if not chosen:
        print(f"{called}: nothing of what is selected failed in {options.only_failed}", file=sys.stderr)
    return chosen


def _only(globs: Sequence[str] | None) -> list[str]:
    return [f"--only={glob}" for glob in globs or ()]


def _files(path: Path) -> list[Path]:
    return sorted([*path.glob("*.json"), *path.glob("*.json.gz")]) if path.is_dir() else [path]


def _read_all(paths: Iterable[Path]) -> list[Results]:
    """The results in files, and in folders of them."""
    return [read(file) for path in paths for file in _files(path)]


def suite_command(name: str, results: Path, arguments: Sequence[str]) -> list[str]:
    """The command that runs the suite on one target and writes its results. Other plugins of pytest have to stay out:
    `PYTEST_DISABLE_PLUGIN_AUTOLOAD` is to be set."""
    suite = HERE / "suite"
    command = [sys.executable, "-m", "pytest", "-c", str(suite / "pytest.ini"), f"--rootdir={suite}"]
    command += ["-p", "syrupy", "-p", "conformance.plugin", f"--target={name}", f"--results={results}"]
    return [*command, *arguments, str(suite)]


def _run_one(name: str, results: Path, arguments: Sequence[str]) -> int:
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(suite_command(name, results, arguments), env=environ) as suite:
        # It stops what it started; this waits for that.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda number, frame: suite.terminate())
        code = suite.wait()
    # Whatever else pytest says (interrupted, usage) is no verdict.
    return code if code in (0, 1) and results.exists() else 2


def _report(options: argparse.Namespace) -> int:
    _make_folders(options)
    _write(options, merge(_read_all(options.results)))
    return 0


def _scoreboard(options: argparse.Namespace) -> int:
    results = scoreboard.latest(_read_all(options.results))
    if not results:
        raise ResultsError(f"there are no results in {', '.join(map(str, options.results))}")
    scoreboard.write(results, options.out)
    for one in results:
        print(f"{one.target.name}: {scoreboard.unjudged(one) or 'judged'}")
    return 0


def _make_folders(options: argparse.Namespace) -> None:
    """Before anything is run, so that a mistake shows at once."""
    files = [file.parent for file in (options.junit, options.html, options.badge) if file]
    for path in [*files, *([options.json] if options.json else [])]:
        path.mkdir(parents=True, exist_ok=True)


def _write(options: argparse.Namespace, results: Sequence[Results]) -> None:
    if options.json:
        for one in results:
            (options.json / f"{one.target.name}.json").write_text(one.model_dump_json(indent=1), encoding="utf-8")
    if options.junit:
        options.junit.write_text(junit.render(results), encoding="utf-8")
    if options.badge and results:
        if len(results) > 1:
            raise ResultsError(f"{options.badge}: a badge is of one target, and these are {len(results)}")
        options.badge.write_text(badge.render(results[0]), encoding="utf-8")
    if options.html:
        options.html.write_text(html.render(results), encoding="utf-8")


def _init(options: argparse.Namespace) -> int:
    if options.file.exists():
        return init.look_again(options.file, print)
    if sys.stdin.isatty():
        return init.run(options.file, input, print)
    options.file.write_text((HERE / "template.toml").read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{options.file}: fill it in, then: python -m conformance run --target {options.file}")
    return 0


if importlib.util.find_spec("syrupy") is None:  # pragma: no cover
    sys.exit("mcp-proxy-conformance: syrupy is not installed; in a checkout, pip install ./conformance brings it")
