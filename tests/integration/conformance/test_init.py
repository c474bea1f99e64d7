"""`init` at a terminal: what it asks, what it finds out by trying, and what it says of what does not work."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance import cli, target
from conformance.init import ask, render

HERE = Path(__file__).parent
MUX = f"$python {HERE / 'named.py'} slug $config"


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs it at a terminal with these answers; returns what it says."""

    def run(code: int, *answers: str) -> str:
        left: Iterator[str] = iter(answers)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(HERE.parents[2]))
        monkeypatch.setattr("builtins.input", lambda question: next(left))
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        assert cli.main(["init", "mine.toml"]) == code
        told = capsys.readouterr()
        return told.out + told.err

    return run


def test_what_it_finds_out_stands_in_the_file(init: Callable[..., str]) -> None:
    said = init(0, "mine", MUX, "stdio", "stdio")
    assert "tools: everything-test-simple-text" in said
    assert "Next: python -m conformance run --target mine.toml" in said
    made = target.load("mine.toml")
    assert (made.names.tool, made.names.replace) == ("${server}-$name", {"_": "-"})
    assert made.eras == ("legacy", "modern")
    assert made.transports == ("stdio",)


def test_a_proxy_that_does_not_start_is_told_with_its_last_words(init: Callable[..., str]) -> None:
    said = init(1, "", "$python -c 'raise SystemExit(\"no licence\")' $config", "", "")
    assert "It does not work yet: the target ended while starting" in said
    assert "no licence" in said
    assert target.load("mine.toml").name == "my-proxy"


def test_an_answer_that_cannot_be_is_told_with_its_key(init: Callable[..., str]) -> None:
    assert "$prt is no placeholder here" in init(2, "", "p $config $prt", "", "")
    assert not Path("mine.toml").exists()


def test_a_command_line_that_does_not_end_is_told(init: Callable[..., str]) -> None:
    assert "no target file is written: No closing quotation" in init(2, "", "p 'x")


@pytest.mark.parametrize(
    ("answers", "tables"),
    [
        ([""] * 4, {"target", "launch", "endpoints", "backends"}),
        (["", "p --stdio '$command $args' $port", "http://h/sse"], {"target", "launch", "endpoints"}),
        (["", "p $port", "", "", "", "", "", "http"], {"target", "launch", "endpoints", "backends", "admin"}),
    ],
)
def test_every_answer_makes_a_target(tmp_path: Path, answers: list[str], tables: set[str]) -> None:
    left = iter(answers)
    data = ask(lambda question: next(left))
    assert data.keys() == tables
    (tmp_path / "t.toml").write_text(render(data))
    made = target.load(str(tmp_path / "t.toml"))
    assert made.launch.single == ("backends" not in tables)
    assert made.registers == ("admin" in tables)
