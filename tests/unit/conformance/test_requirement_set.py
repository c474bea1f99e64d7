"""The requirement set has a version, and tells of every change since it was released."""

import json
from pathlib import Path

import pytest

from conformance.requirements import release
from conformance.requirements.release import Shapes

BEFORE: Shapes = {
    "a:kept:is": {"level": "MUST", "text": "It is."},
    "a:weaker:is": {"level": "MUST", "text": "It is."},
    "a:other:is": {"level": "MUST", "text": "It is."},
    "a:gone:is": {"level": "MUST", "text": "It is."},
}
AFTER: Shapes = {
    "a:kept:is": {"level": "MUST", "text": "It is."},
    "a:weaker:is": {"level": "SHOULD", "text": "It is."},
    "a:other:is": {"level": "MUST", "text": "It is another."},
    "a:new:is": {"level": "MUST", "text": "It is."},
}


def test_what_differs() -> None:
    assert release.differences(BEFORE, AFTER) == {
        "added": {"a:new:is"},
        "dropped": {"a:gone:is"},
        "level": {"a:weaker:is"},
        "text": {"a:other:is"},
    }


@pytest.mark.parametrize("kind", release.KINDS)
def test_every_change_since_the_last_release_is_told(kind: str) -> None:
    """If this fails: say what you changed, and why, in a file of your own in `conformance/requirements/unreleased`."""
    changed = release.differences(release.released()["requirements"], release.current())[kind]
    told = [id for change in release.unreleased() for id in change.ids[kind]]
    assert sorted(changed - {*told}) == [], f"these are not told of under '{kind}'"
    assert sorted({*told} - changed) == [], f"these are told of under '{kind}', and are not so"
    assert len(told) == len({*told})


@pytest.mark.parametrize(
    "text", ['[[change]]\nadded = ["a:b:c"]', '[[change]]\nwhy = "x"', '[[change]]\nwhy = "x"\nlevels = ["a:b:c"]']
)
def test_a_change_gives_its_reason_and_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(release, "UNRELEASED", tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=r"mine\.toml: a change is `why`"):
        release.unreleased()


def test_a_release_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELEASED", "CHANGES"):
        monkeypatch.setattr(release, name, tmp_path / getattr(release, name).name)
    monkeypatch.setattr(release, "UNRELEASED", tmp_path)
    monkeypatch.setattr(release, "current", lambda: AFTER)
    release.RELEASED.write_text(json.dumps({"version": "3", "requirements": BEFORE}))
    release.CHANGES.write_text("# Versions\n\nWhat changed.\n\n## 3 (2026-01-01)\n\n- Before.\n")
    (tmp_path / "mine.toml").write_text('[[change]]\nwhy = "It is so."\nadded = ["a:new:is"]\ndropped = ["a:gone:is"]')
    release.version.cache_clear()
    assert release.version() == "4.dev"
    assert release.release() == "4"
    release.version.cache_clear()
    assert release.version() == "4"
    release.version.cache_clear()
    assert release.released() == {"version": "4", "requirements": AFTER}
    assert release.unreleased() == []
    told = release.CHANGES.read_text()
    assert "- It is so.\n  - added: `a:new:is`\n  - dropped: `a:gone:is`\n\n## 3 (2026-01-01)" in told
    assert told.startswith("# Versions\n\nWhat changed.\n\n## 4 (")
