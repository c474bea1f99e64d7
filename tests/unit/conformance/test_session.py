"""What a target lists is read whatever it lists."""

import pytest

from conformance.session import named


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ([{"name": "a"}, {"name": "b", "title": "B"}], ["a", "b"]),
        ([None, {"name": "a"}], ["a"]),
        (["a", 1, ["name"], {"name": "a"}], ["a"]),
        ([{"title": "no name"}, {"name": None}, {"name": 7}, {"name": "a"}], ["a"]),
        ([], []),
    ],
)
def test_an_entry_that_cannot_be_read_hides_none_of_the_others(entries: list[object], kept: list[str]) -> None:
    assert [entry["name"] for entry in named(entries, "name")] == kept
