"""The pytest side: one target a run, a test for every scenario and case, goldens through syrupy.

Rules:
- Goldens are recorded from `direct` and from nothing else: `--snapshot-update` with any other target is refused.
- A scenario has one golden for all of its cases: what a client sees depends neither on its era nor on its transport.
- The first pass is a test for each run. The second one, of what failed, comes when all tests are over.
- What a run came to is decided in `grading`, and that decides the exit code; pytest's own outcome of a test is the same
  verdict without the baseline.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from . import __version__, baseline, grading
from .course import Course
from .normalize import known_in
from .report.terminal import SIGNS, Tree
from .requirements.model import LEGACY, MODERN
from .runner import Played, Player
from .scenarios import Scenario, load_all
from .session import diff
from .stage import open_stage
from .target import Target, TargetError, find, load
from .verdict import HarnessError, LeftOut, Missing, RunResult, Verdict

GOLDENS = Path(__file__).parent / "suite" / "goldens"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--target", required=False, help="a shipped target's name, or a target file")
    group.addoption("--matrix", choices=("default", "full"), default="default", help="which cases are played")
    group.addoption("--only", action="append", default=[], help="glob of requirement ids; several add up")
    group.addoption("--all-levels", action="store_true", help="MAY and conventions count as nonconformance, too")
    group.addoption("--seconds", type=float, help="how long all of it may take")
    group.addoption("--baseline", type=Path, help="instead of the target's own")
    group.addoption("--tell-all", action="store_true", help="a line for every requirement, every failure whole")
    group.addoption("--results", type=Path, help="file for the results")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--target")
    if name is None:
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        target = load(name)
        target.check_environment(os.environ)
        given = config.getoption("--baseline")
        if given is not None and not given.exists():
            raise baseline.BaselineError(f"{given}: there is no such baseline")
        known = baseline.load(given or baseline.beside(find(name).resolve(), target.name))
        required = target.launch.kind in grading.required(os.environ)
    except (TargetError, baseline.BaselineError, grading.RequireError) as exc:
        raise pytest.UsageError(str(exc)) from None
    if config.option.update_snapshots and target.is_proxy:
        raise pytest.UsageError("goldens are recorded from the target 'direct' only: --snapshot-update is refused")
    globs = config.getoption("--only")
    scenarios = [scenario for scenario in load_all().values() if grading.selects(globs, scenario.requirement.id)]
    if not scenarios:
        raise pytest.UsageError(f"no requirement is called {' or '.join(globs)}; `list` shows them")
    conformance = Conformance(config, target, scenarios, known, required)
    config.pluginmanager.register(conformance, "conformance-run")


def _end(number: int, frame: object) -> None:
    """End as pytest does after Ctrl-C, so that what was started is stopped; once, for Ctrl-C reaches all processes of a
    terminal, and the command line passes on what reaches it alone."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: None)  # SIG_IGN would complain of one that is under way
    raise KeyboardInterrupt


VERSION_WAIT = 30.0
"""Seconds in which a target has to tell its version."""


def find_version(target: Target) -> tuple[str, str]:
    """The version of a target: as its file says, or as the command there prints it, the number alone if there is one.
    With it, why it is not known, if so."""
    if isinstance(target.version, str):
        return target.version, ""
    try:
        done = subprocess.run(
            target.version, stdin=subprocess.DEVNULL, capture_output=True, timeout=VERSION_WAIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return "", f"target.version: {exc}"
    lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").split("\n")
    said = next((line.strip() for line in lines if line.strip()), "")
    if done.returncode or not said:
        return (
            "",
            f"target.version: {target.version[0]} ended with {done.returncode}: {said[:200] or 'it printed nothing'}",
        )
    number = re.search(r"\d+\.\d[\w.+-]*", said)
    return number[0] if number else said[:80], ""


class Golden(JSONSnapshotExtension):
    """One file for every scenario."""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(GOLDENS)

    @classmethod
    def discovery_dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(GOLDENS)

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return str(index)

    def serialize(self, data: Any, **options: Any) -> str:
        # Keys in order, since JSON objects have none; 1.0 as 1, since JSON has one kind of numbers: what becomes of the
        # spelling of numbers has requirements of its own (`payload:*`).
        return json.dumps(_plain(data), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


DIFFERS = "what the client saw differs from a direct connection"


class Goldens:
    """Compares transcripts with the goldens in `folder`, or records them.

    Args:
        folder: the goldens, `scenario.json`.
        recording: whether the first case of each scenario writes its golden. The other cases of the same run have to
            see the same, else they fail instead of writing theirs over it.
    """

    def __init__(self, folder: Path, recording: bool) -> None:
        self._folder = folder
        self._recording = recording
        self._recorded: dict[str, list[Any]] = {}

    def again(self, played: Played, name: str) -> None:
        """As `compare`, for what is played once more: nothing is recorded, and syrupy has seen the golden already."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            return
        golden = path.read_text(encoding="utf-8")
        if played.result.revision and played.result.revision < LEGACY:
            self._compare_older(played, golden)
        elif golden != Golden().serialize(played.transcript):
            self._fail(played, DIFFERS, golden)

    def compare(self, played: Played, name: str, snapshot: SnapshotAssertion) -> None:
        """Turn the result of a run into a failure if its transcript is not the golden `name`."""
        result, path = played.result, self._folder / f"{name}.json"
        if self._recording and name in self._recorded:
            if played.transcript != self._recorded[name]:
                golden = Golden().serialize(self._recorded[name])
                self._fail(played, "what the client saw differs from what was recorded in another case", golden)
            return
        if self._recording:
            self._recorded[name] = played.transcript
            if not played.transcript:
                return
        elif not path.exists():
            if played.transcript:
                result.verdict, result.message = Verdict.HARNESS_ERROR, f"there is no golden {name}; record it"
            return
        if result.revision and result.revision < LEGACY:
            self._compare_older(played, path.read_text(encoding="utf-8"))
        elif snapshot(name=name, extension_class=Golden) != played.transcript:
            self._fail(played, DIFFERS, path.read_text(encoding="utf-8"))

    def _compare_older(self, played: Played, golden: str) -> None:
        """What is newer than the revision that was spoken is left out of both."""
        revision = played.result.revision
        expected = Golden().serialize(known_in(json.loads(golden), revision))
        actual = Golden().serialize(known_in(played.transcript, revision))
        if expected != actual:
            message = f"what the client saw differs from a direct connection, by what {revision} knows"
            self._fail(played, message, expected)

    def _fail(self, played: Played, message: str, expected: str) -> None:
        result, actual = (
            played.result,
            Golden().serialize(known_in(played.transcript, played.result.revision or MODERN)),
        )
        result.verdict, result.message = Verdict.FAIL, message
        result.expected, result.actual, result.diff = expected, actual, diff(expected, actual)


class Conformance:
    """One target's run."""

    def __init__(
        self,
        config: pytest.Config,
        target: Target,
        scenarios: list[Scenario],
        known: dict[str, baseline.Known],
        required: bool,
    ) -> None:
        self.target = target
        self._required = required
        self._config = config
        self._strict = bool(config.getoption("--all-levels"))
        self._matrix: Literal["default", "full"] = config.getoption("--matrix")
        self._known = known
        self.runs, self._left_out = grading.plan(target, scenarios, self._matrix == "full", config.getoption("--only"))
        if config.getoption("--only"):
            selected = {scenario.requirement.id for scenario in scenarios}
            self._known = {name: entry for name, entry in known.items() if name in selected}
        self._course: Course | None = None
        self._seconds: float | None = config.getoption("--seconds")
        self._unplayed = grading.UNPLAYED
        self._skipped = ""
        self._faulty = False
        self._others_failed = False
        self._deselected = 0
        self._interrupted = False
        self._goldens = Goldens(GOLDENS, config.option.update_snapshots)
        self._started = datetime.now(UTC).replace(microsecond=0)
        self._begun = time.monotonic()
        self._version, unknown = find_version(target)
        self._tree = Tree(target, len(self.runs), verbose=config.getoption("--tell-all"))

        if unknown:
            self._tree.say(unknown)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected += sum("::test_scenario[" in item.nodeid for item in items)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "scenario" in metafunc.fixturenames:
            ids = [f"{scenario.requirement.id}/{scenario.name}/{case}" for scenario, case in self.runs]
            metafunc.parametrize(("scenario", "case"), self.runs, ids=ids)

    def course(self, player: Player) -> Course:
        """Its runs, to be played by `player`."""
        self._course = Course(player, self.runs, self._seconds)
        return self._course

    def check(self, scenario: Scenario, played: Played, snapshot: SnapshotAssertion) -> RunResult:
        """Compare the transcript of a run with its golden; returns the run's result."""
        result = played.result
        if result.verdict == Verdict.PASS and not scenario.proxy_only:
            self._goldens.compare(played, scenario.name, snapshot)
        self._tree.ran(scenario.requirement, result, self._known.get(scenario.requirement.id))
        return result

    def check_again(self, scenario: Scenario, played: Played) -> RunResult:
        """As `check`, for a run of the second pass."""
        if played.result.verdict == Verdict.PASS and not scenario.proxy_only:
            self._goldens.again(played, scenario.name)
        return played.result

    @property
    def recording(self) -> bool:
        """Whether goldens are written: then nothing is judged."""
        return bool(self._config.option.update_snapshots)

    def play_again(self, portal: BlockingPortal, course: Course) -> None:
        """Play again what failed, unless nothing is judged, or somebody has had enough."""
        if not self.recording and not self._interrupted:
            if failed := sum(result.verdict == Verdict.FAIL and not result.again for result in course.results):
                self._tree.say(f"{failed} runs failed, and are played again in fresh worlds")
            portal.call(course.second, self.check_again, self.told)

    def pytest_keyboard_interrupt(self) -> None:
        self._interrupted = True

    def told(self, result: RunResult) -> None:
        """Say what came of a failure that was played again."""
        self._tree.say(f"  {SIGNS[result.verdict]} {result.requirement}  {result.case}: {result.message}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        try:
            yield
        except KeyboardInterrupt:  # in the second pass
            self._faulty = True
        broken = session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        played, ended = (self._course.results, self._course.ended) if self._course else ([], None)
        spared = self._course.spared if self._course else 0
        whole = len(played) + spared + self._deselected >= len(self.runs) or ended or self._skipped
        results = grading.results(
            self.target,
            played if self.recording else grading.confirmed(played),
            self._left_out,
            self._known,
            strict=self._strict,
            matrix=self._matrix,
            started=self._started,
            seconds=time.monotonic() - self._begun,
            version=__version__,
            of_target=self._version,
            unplayed=self._unplayed,
            skipped=self._skipped,
            faulty=broken or self._faulty or not whole,
            ended=ended,
        )
        self._tree.finish(results)
        if path := self._config.getoption("--results"):
            path.write_text(json.dumps(results.model_dump(mode="json"), indent=1, ensure_ascii=False), encoding="utf-8")
        session.exitstatus = max(results.exit, int(self._others_failed))

    def give_up(self, problem: HarnessError | Missing) -> None:
        """End the run before it has begun. What cannot be run on this machine is skipped, unless it is required."""
        if isinstance(problem, Missing):
            self._skipped = str(problem)
            told = f"skipped: it lacks {problem}"
            if self._required:
                told += f" ({grading.REQUIRE} names {self.target.launch.kind}, so this is an error)"
        else:
            told = str(problem)
        skipped = bool(self._skipped) and not self._required
        verdict = Verdict.NOT_CHECKED if skipped else Verdict.HARNESS_ERROR
        self._unplayed = LeftOut(verdict, f"the target was not run: {told}")
        self._tree.say(f"{self.target.name}: {told}")
        pytest.exit(told, returncode=pytest.ExitCode.OK if skipped else pytest.ExitCode.INTERRUPTED)

    def say(self, text: str) -> None:
        """Tell something of the target as a whole."""
        self._tree.say(f"{self.target.name}: {text}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self._tree.say(str(excrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tree.say(report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A verdict is told by the tree; anything else that fails is a fault of the harness, also when all is over.
        if report.failed and "::test_scenario[" not in report.nodeid:
            self._others_failed = True  # a test of whoever runs the suite beside their own
        elif report.failed and (report.when != "call" or not dict(report.user_properties).get("verdict")):
            self._faulty = True
            self._tree.say(report.longreprtext)


@pytest.fixture(scope="session")
def conformance(pytestconfig: pytest.Config) -> Conformance:
    """The run that the tests belong to."""
    run = pytestconfig.pluginmanager.getplugin("conformance-run")
    assert isinstance(run, Conformance)
    return run


@pytest.fixture(scope="session")
def course(conformance: Conformance) -> Generator[tuple[BlockingPortal, Course], None, None]:
    """Plays scenarios, all in one event loop."""
    problem: HarnessError | Missing | None = None
    with (
        tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as folder,
        start_blocking_portal() as portal,
        ExitStack() as opened,
    ):
        try:
            stage = opened.enter_context(
                portal.wrap_async_context_manager(open_stage(conformance.target, Path(folder)))
            )
            player = Player(stage)
            opened.callback(portal.call, player.stop)  # else it goes on when the run is interrupted
            course = conformance.course(player)
            portal.call(course.begin)
            if player.remark:
                conformance.say(player.remark)
        except (HarnessError, Missing) as exc:
            problem = exc
        else:
            yield portal, course
            conformance.play_again(portal, course)
    if problem:
        conformance.give_up(problem)
