"""Goldens: one for each scenario, and a client of either era and over any transport has to see it."""

from pathlib import Path
from typing import Any

import pytest

from conformance.case import Case
from conformance.normalize import known_in
from conformance.plugin import Golden, Goldens
from conformance.requirements.model import LEGACY, MODERN, Era
from conformance.runner import Played
from conformance.verdict import RunResult, Verdict


class Folder(Goldens):
    """Goldens in a folder of the test."""

    def __init__(self, folder: Path, recording: bool = False) -> None:
        super().__init__(folder, recording)
        self.folder = folder
        self.recording = recording

    def play(self, era: Era, transcript: list[Any], revision: str = "") -> RunResult:
        """The result of a run in which the client saw this."""
        result = RunResult("a:b:c", "a.b", Case("http", era, "stdio"), Verdict.PASS, 0.0, revision)
        self.compare(Played(result, transcript), "a.b", self)  # type: ignore[arg-type]  # as far as it is used
        return result

    def __call__(self, *, name: str, extension_class: type[Golden]) -> Any:
        """The snapshot, as syrupy compares it: a golden that is recorded is equal to whatever it is recorded from."""
        file, recording = self.folder / f"{name}.json", self.recording

        class Snapshot:
            def __eq__(self, other: object) -> bool:
                if recording:
                    file.write_text(extension_class().serialize(other))
                return file.read_text() == extension_class().serialize(other)

        return Snapshot()


@pytest.fixture
def recorded(tmp_path: Path) -> Folder:
    """A golden that a legacy client recorded."""
    assert Folder(tmp_path, recording=True).play("legacy", [1]).verdict == Verdict.PASS
    return Folder(tmp_path)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_both_eras_are_compared_with_the_same_golden(recorded: Folder, era: Era) -> None:
    assert recorded.play(era, [1]).verdict == Verdict.PASS
    wrong = recorded.play(era, [2])
    assert (wrong.verdict, wrong.message) == (Verdict.FAIL, "what the client saw differs from a direct connection")
    assert (wrong.expected, wrong.actual) == ("[\n  1\n]\n", "[\n  2\n]\n")
    assert recorded.play(era, []).verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [(1.0, Verdict.PASS), ({"a": [1.0]}, Verdict.FAIL), (True, Verdict.FAIL), ("1", Verdict.FAIL), (1.5, Verdict.FAIL)],
)
def test_one_is_one_however_it_is_spelled(recorded: Folder, seen: Any, verdict: Verdict) -> None:
    assert recorded.play("modern", [seen]).verdict == verdict


@pytest.mark.parametrize(("first", "second"), [([1], [2]), ([1], []), ([], [1])])
def test_eras_that_see_something_else_cannot_be_recorded(tmp_path: Path, first: list[int], second: list[int]) -> None:
    goldens = Folder(tmp_path, recording=True)
    assert goldens.play("legacy", first).verdict == Verdict.PASS
    wrong = goldens.play("modern", second)
    assert wrong.verdict == Verdict.FAIL
    assert wrong.message == "what the client saw differs from what was recorded in another case"
    assert [file.read_text() for file in tmp_path.iterdir()] == ([Golden().serialize(first)] if first else [])
    assert goldens.play("modern", first).verdict == Verdict.PASS


def test_a_golden_that_is_not_there(tmp_path: Path) -> None:
    goldens = Folder(tmp_path)
    assert goldens.play("legacy", []).verdict == Verdict.PASS
    missing = goldens.play("legacy", [1])
    assert (missing.verdict, missing.message) == (Verdict.HARNESS_ERROR, "there is no golden a.b; record it")


TOOL = {
    "name": "a",
    "description": "b",
    "title": "c",
    "annotations": {"title": "d", "readOnlyHint": True},
    "icons": [{"src": "e"}],
}


@pytest.mark.parametrize(
    ("revision", "known"),
    [
        ("2024-11-05", ["name", "description"]),
        ("2025-03-26", ["name", "description", "annotations"]),
        ("2025-06-18", ["name", "description", "annotations", "title"]),
        (LEGACY, list(TOOL)),
        (MODERN, list(TOOL)),
    ],
)
def test_what_is_newer_than_the_revision_is_not_compared(tmp_path: Path, revision: str, known: list[str]) -> None:
    assert Folder(tmp_path, recording=True).play("legacy", [TOOL]).verdict == Verdict.PASS
    seen = {key: value for key, value in TOOL.items() if key in known}
    assert Folder(tmp_path).play("legacy", [seen], revision).verdict == Verdict.PASS
    for lost in known:
        less = {key: value for key, value in seen.items() if key != lost}
        assert Folder(tmp_path).play("legacy", [less], revision).verdict == Verdict.FAIL, lost


def test_annotations_of_content_are_as_old_as_content() -> None:
    content = {"type": "text", "annotations": {"priority": 1, "lastModified": "then"}}
    assert known_in([content], "2024-11-05") == [{"type": "text", "annotations": {"priority": 1}}]
