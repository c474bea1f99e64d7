"""What fails while others have the machine is run again, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BESIDE, Times

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
from pathlib import Path
import tests.conftest
from tests.conftest import pytest_collection_modifyitems, pytest_runtest_logstart
tests.conftest.STAT = Path("stat")
tests.conftest.PRESSURE = Path("pressure")
tests.conftest.DELAY = 0.0
"""

TEST = """
from pathlib import Path
tries = 0

def test_that_takes_time():
    global tries
    tries += 1
    # What was used and taken until now, from the start of the machine.
    Path("stat").write_text(f"cpu  {{100 * tries}} 0 0 0 0 0 0 {{{stolen} * tries}} 0 0")
    assert tries > {failing}, "too late"
"""


@pytest.mark.parametrize(
    ("failing", "stolen", "code", "said"),
    [
        (0, 1000, 0, "1 passed in"),
        (1, 1000, 0, "1 passed, 1 rerun in"),
        (3, 1000, 0, "1 passed, 3 rerun in"),
        (4, 1000, 1, "1 failed, 3 rerun in"),
        (1, 12, 0, "1 passed, 1 rerun in"),
        (1, 11, 1, "1 failed in"),
        (1, 0, 1, "1 failed in"),
    ],
)
def test_what_is_run_again(tmp_path: Path, failing: int, stolen: int, code: int, said: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST.format(failing=failing, stolen=stolen))
    (tmp_path / "stat").write_text("cpu  0 0 0 0 0 0 0 0 0 0")
    command = [sys.executable, "-m", "pytest", "--rootdir", ".", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


def test_what_the_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, pressure = tmp_path / "stat", tmp_path / "pressure"
    monkeypatch.setattr("tests.conftest.STAT", stat)
    monkeypatch.setattr("tests.conftest.PRESSURE", pressure)
    monkeypatch.setattr("time.monotonic", lambda: 7.0)
    assert Times.now() == Times(at=7.0)  # where it tells nothing
    assert not Times().starved(Times.now())
    stat.write_text("cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    pressure.write_text("some avg10=3.42 avg60=1 avg300=2 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=9\n")
    assert Times.now() == Times(used=1 + 2 + 4 + 32 + 64, stolen=128, waited=2.5, at=7.0)


@pytest.mark.parametrize(("waited", "beside", "starved"), [(6.0, True, True), (6.0, False, False), (5.0, True, False)])
def test_who_waits_beside_others(waited: float, beside: bool, starved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BESIDE, raising=False)
    if beside:
        monkeypatch.setenv(BESIDE, "1")
    assert Times(waited=1.0, at=10.0).starved(Times(waited=1.0 + waited, at=20.0)) == starved
