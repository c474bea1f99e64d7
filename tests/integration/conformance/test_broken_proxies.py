"""Every check is seen to fail: for each requirement a proxy that breaks it, run as anyone's target is run.

The correct proxies that the broken ones are made of pass everything, so that each fails for its one defect. It is run
on the one requirement that it breaks, and has to fail it with the words that tell of the defect.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance import forks as forking
from conformance import target
from conformance.cli import suite_command
from conformance.fixtures import SERVERS, SHARED_FORKS
from conformance.requirements import REQUIREMENTS
from tests.integration.conformance.broken import breaking, broken_http, defects
from tests.support.processes import until

HERE = Path(__file__).with_name("broken")
ROOT = Path(__file__).parents[3]
TIMEOUT = 600  # the slowest one takes 280 s: the harness waits for a list that never gets longer
AT_ONCE = 6  # most of the time goes by in waiting for what a broken proxy does not do
MUXES = ("mux", "mux-sse", "mux-http", "mux-web")
SHARED = (
    *(
        "tools:call:*",
        "progress:*",
        "cancellation:*",
        "logging:*",
        "changes:*",
        "subscriptions:*",
        "isolation:clients:*",
    ),
    *("sampling:*", "elicitation:*", "roots:*", "mrtr:*", "bridge:*", "extensions:tasks:*", "extensions:augmented:*"),
)
"""What is about several calls, which one process of a server need not see all of."""
ODD: dict[str, tuple[str, ...]] = {"mux-each-session": SHARED, "mux-each-request": SHARED, "mux-strict": ()}
"""Proxies that are odd and conform, and what is played in front of them."""
BROKEN: dict[str, breaking.Defect | broken_http.Defect] = {**defects.DEFECTS, **broken_http.DEFECTS}
CHECKED = [requirement for requirement in REQUIREMENTS.values() if not requirement.unchecked]


@dataclass(frozen=True)
class Run:
    """What became of a run of the harness: its exit code, its results, and what it printed."""

    code: int
    results: dict[str, Any]
    told: str

    @property
    def verdicts(self) -> dict[str, str]:
        return {entry["id"]: entry["verdict"] for entry in self.results["requirements"]}


def broken_target(requirement: str) -> str:
    """The target file of the proxy that breaks a requirement."""
    if requirement in defects.DEFECTS:
        over = defects.DEFECTS[requirement].over
        text = (HERE / ("mux.toml" if over == "stdio" else f"mux-{over}.toml")).read_text()
        return text.replace('"$config"', f'"$config", "--defect", "{requirement}"').replace("$here", str(HERE))
    text = (target.SHIPPED / "multimcp.toml").read_text()
    factory = requirement.replace(":", "_").replace("-", "_")
    text = text.replace("multimcp.app:application", f"{broken_http.__name__}:{factory}")
    return f'{text}\n[backends]\ntransports = ["{broken_http.DEFECTS[requirement].over}"]\n'


def modest_target(name: str) -> str:
    """The target file of a proxy that offers little, to legacy clients."""
    text = (HERE / "mux.toml").read_text().replace("$here", str(HERE))
    text = text.replace('"$config"', f'"$config", "--modest", "{name}"')
    return text.replace("[target]\n", '[target]\neras = ["legacy"]\n')


class Harness:
    """Runs the harness, a few at once."""

    def __init__(self, folder: Path, forks: Path) -> None:
        self._folder = folder
        self._environ = {
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(ROOT),
            SHARED_FORKS: str(forks),
        }
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._runs: dict[str, Future[Run]] = {}

    def begin(self, name: str, file: Path, *only: str) -> None:
        self._runs[name] = self._pool.submit(self._run, name, file, only)

    def outcome(self, name: str) -> Run:
        return self._runs[name].result(2 * TIMEOUT)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, name: str, file: Path, only: tuple[str, ...]) -> Run:
        results = self._folder / f"{name.replace(':', '-')}.json"
        command = suite_command(str(file), results, ["--all-levels", *(f"--only={glob}" for glob in only)])
        done = subprocess.run(
            command, cwd=ROOT, env=self._environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert results.exists(), done.stdout + done.stderr
        return Run(done.returncode, json.loads(results.read_text()), done.stdout + done.stderr)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("broken")
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    forks = folder / "forks"
    forker = subprocess.Popen(
        [sys.executable, forking.__file__, "serve", str(forks), str(SERVERS)], stdin=subprocess.PIPE
    )
    harness = Harness(folder, forks)
    try:
        until(forks.exists)
        for params in wanted:
            if name := params.get("correct"):
                harness.begin(name, HERE / f"{name}.toml", *ODD.get(name, ()))
            if name := params.get("modest"):
                file = folder / f"{name}.toml"
                file.write_text(modest_target(name))
                harness.begin(name, file, *LITTLE[name])
            if name := params.get("requirement"):
                file = folder / f"{name.replace(':', '-')}.toml"
                file.write_text(broken_target(name))
                harness.begin(name, file, name)
        yield harness
    finally:
        harness.close()
        forker.communicate()


def test_there_is_a_broken_proxy_for_every_requirement_that_is_checked() -> None:
    assert BROKEN.keys() == {requirement.id for requirement in CHECKED}
    assert not defects.DEFECTS.keys() & broken_http.DEFECTS.keys()


@pytest.mark.parametrize("correct", [*MUXES, *ODD])
def test_the_correct_proxy_passes_everything(harness: Harness, correct: str) -> None:
    run = harness.outcome(correct)
    assert run.code == 0, run.told
    assert set(run.verdicts.values()) <= {"pass", "not offered", "not applicable", "not supported", "not checked"}
    assert "pass" in run.verdicts.values()


LITTLE: dict[str, tuple[str, ...]] = {
    "oldest": (
        "lifecycle:initialize:*",
        "tools:list:*",
        "tools:call:*",
        "resources:list:*",
        "completion:*",
        "elicitation:*",
    ),
    "modest": (
        "lifecycle:initialize:*",
        "logging:*",
        "completion:*",
        "subscriptions:*",
        "changes:tools:*",
        "sampling:*",
    ),
}
"""What proxies that offer little are asked all the same."""


@pytest.mark.parametrize(
    ("modest", "verdicts"),
    [
        (
            "oldest",
            {
                "lifecycle:initialize:revisions": "pass",
                "lifecycle:initialize:capabilities": "pass",
                "tools:list:whole": "pass",
                "tools:list:schema": "pass",
                "tools:call:text": "pass",
                "tools:call:audio": "not applicable",
                "tools:call:links": "not applicable",
                "tools:call:structured": "not applicable",
                "resources:list:whole": "pass",
                "completion:prompt:values": "not offered",
                "completion:context:arguments": "not applicable",
                "elicitation:form:decline": "not applicable",
            },
        ),
        (
            "modest",
            {
                "lifecycle:initialize:capabilities": "pass",
                "logging:capability:declared": "not offered",
                "logging:message:whole": "not offered",
                "logging:level:set": "not offered",
                "completion:prompt:values": "not offered",
                "subscriptions:capability:declared": "not offered",
                "subscriptions:update:arrives": "not offered",
                "changes:tools:notified": "not offered",
                "sampling:request:whole": "not offered",
                "sampling:capability:absent": "not offered",
            },
        ),
    ],
)
def test_a_proxy_that_offers_little_is_accused_of_nothing(
    harness: Harness, modest: str, verdicts: dict[str, str]
) -> None:
    run = harness.outcome(modest)
    assert run.code == 0, run.told
    assert verdicts.items() <= run.verdicts.items(), run.told
    quoted = {entry["id"]: entry["source"].get("revision") for entry in run.results["requirements"]}
    assert quoted["lifecycle:initialize:revisions"] == ("2024-11-05" if modest == "oldest" else "2025-11-25")


@pytest.mark.parametrize("requirement", sorted(BROKEN))
def test_a_broken_proxy_is_caught(harness: Harness, requirement: str) -> None:
    run = harness.outcome(requirement)
    assert run.verdicts[requirement] == "fail", run.told
    assert run.code == 1, run.told
    (entry,) = [entry for entry in run.results["requirements"] if entry["id"] == requirement]
    said = [
        " ".join(f"{each['message']} {each['expected']} {each['actual']} {each['diff']}".split())
        for each in entry["runs"]
        if each["verdict"] == "fail"
    ]
    symptom = " ".join(BROKEN[requirement].symptom.split())
    assert symptom
    assert any(symptom in text for text in said), "\n".join(said)
