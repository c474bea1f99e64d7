"""What is pinned, and where: requirements.txt for running, and in requirements/ what is added to that."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "requirements/lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(file: Path) -> list[str]:
    """The packages that a requirements file pins itself."""
    return re.findall(r"^([a-z0-9][a-z0-9.-]*)==", file.read_text(), re.MULTILINE)


def normal(requirement: str) -> str:
    """The package that a requirement is about."""
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirements_file_is_made_by_make_lock(lock: ModuleType) -> None:
    there = {str(file.relative_to(ROOT)) for file in (ROOT / "requirements").glob("*.txt")} | {
        file.name for file in ROOT.glob("requirements*.txt")
    }
    assert there == set(lock.FILES)


def test_a_file_repeats_no_pin_of_those_that_it_adds_to(lock: ModuleType) -> None:
    for file, (_, below) in lock.FILES.items():
        lines = (ROOT / file).read_text().splitlines(keepends=True)
        first = [line for line in lines if line.startswith("-r ")]
        if below:
            assert [(ROOT / file).parent.joinpath(line[3:].strip()).resolve() for line in first] == [ROOT / below]
            assert lock.chain(ROOT / below).isdisjoint(lines), file
        else:
            assert first == []


def test_all_that_pyproject_asks_for_is_pinned(lock: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {"requirements.txt": project["project"]["dependencies"]}
    asked_for = (ROOT / "requirements/langgraph.in").read_text().splitlines()
    wanted["requirements/langgraph.txt"] = [line for line in asked_for if not line.startswith("#")]
    for name, group in project["dependency-groups"].items():
        wanted[f"requirements/{name}.txt"] = [each for each in group if isinstance(each, str)]
    assert set(wanted) == set(lock.FILES)
    for file, asked in wanted.items():
        pinned = {normal(line) for line in lock.chain(ROOT / file)}
        assert {normal(each) for each in asked} <= pinned, file


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    blocks = re.findall(r"^(?:dependencies|[a-z-]+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r'  "[a-z0-9-]+(\[|>=|==|;)', line)]
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r'",\s+# \w', line)] == []


def test_the_files_that_the_project_names_are_there() -> None:
    for name in ("Makefile", "tox.ini", ".dockerignore", "Dockerfile", "README.md", ".ci/run"):
        for file in re.findall(r"(?<![\w/])requirements[-\w/]*\.txt", (ROOT / name).read_text()):
            assert (ROOT / file).exists(), f"{name}: {file}"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("below==1.0 \\\n", False),
        ("below==2.0 \\\n", True),
        ("below==1.0 ; python_full_version < '3.12' \\\n", True),
        ("other==1.0 \\\n", True),
        ("# a comment\n", True),
    ],
)
def test_only_the_very_same_pin_is_left_out(lock: ModuleType, tmp_path: Path, line: str, kept: bool) -> None:
    """One for other platforms or Pythons says more than the one below."""
    more = ["    --hash=sha256:00\n", "    # via mcp\n"]
    file = tmp_path / "more.txt"
    file.write_text("".join([line, *more, "last==1.0\n"]))
    expected = [line, *more] if kept else []
    assert lock.beyond(file, {"below==1.0 \\\n"}) == [*expected, "last==1.0\n"]
