"""What is pinned, and where: requirements.txt for running, and in requirements/ what is added to that. And what is said
of installing."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

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


def project(file: str = "pyproject.toml") -> dict[str, Any]:
    return tomllib.loads((ROOT / file).read_text())


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
    wanted = {"requirements.txt": project()["project"]["dependencies"]}
    asked_for = (ROOT / "requirements/langgraph.in").read_text().splitlines()
    wanted["requirements/langgraph.txt"] = [line for line in asked_for if not line.startswith("#")]
    for name, group in project()["dependency-groups"].items():
        wanted[f"requirements/{name}.txt"] = [each for each in group if isinstance(each, str)]
    assert set(wanted) == set(lock.FILES)
    for file, asked in wanted.items():
        pinned = {normal(line) for line in lock.chain(ROOT / file)}
        assert {normal(each) for each in asked} <= pinned, file


def test_the_harness_asks_for_what_is_pinned_for_testing_it(lock: ModuleType) -> None:
    """And for the versions that the proxy's pyproject.toml asks for, where both name a package."""
    harness = project("conformance/pyproject.toml")["project"]
    asked = {*harness["dependencies"], *harness["optional-dependencies"]["docker"]}
    assert {normal(each) for each in asked} <= {normal(line) for line in lock.chain(ROOT / lock.DEV)}
    here = {*project()["project"]["dependencies"], *project()["dependency-groups"]["dev"]}
    shared = {normal(each) for each in asked} & {normal(each) for each in here}
    assert {each for each in asked if normal(each) in shared} <= here


def test_uv_run_installs_what_running_needs() -> None:
    """`uv run main.py` goes by main.py, and would bring the group dev if nothing were written there."""
    (block,) = re.findall(r"^# /// script\n((?:#.*\n)+?)# ///$", (ROOT / "main.py").read_text(), re.MULTILINE)
    script = tomllib.loads(re.sub(r"^# ?", "", block, flags=re.MULTILINE))
    assert script == {key: project()["project"][key] for key in ("requires-python", "dependencies")}


@pytest.mark.parametrize("file", ["pyproject.toml", "conformance/pyproject.toml"])
def test_every_dependency_has_its_reason_beside_it(file: str) -> None:
    blocks = re.findall(
        r"^(?:dependencies|[a-z-]+) = \[\n(.*?)^\]", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL
    )
    lines = [line for block in blocks for line in block.splitlines() if re.match(r'  "[a-z0-9-]+(\[|>=|==|;)', line)]
    assert len(lines) > 10
    assert [line for line in lines if not re.search(r'",\s+# \w', line)] == []


# On the package index, "multi-mcp" is another's project. From here it is installed by path: `pip install .`.
INSTALLS = re.compile(
    r"""\b(?: pip3?\ install | pipx\ \w+ | uv\ (?: add | tool\ \w+ | pip\ install | run\ --with ) | uvx )\b
        (?: (?! --from [\s",]+ [./~$] ) [^\n`] )*?     # the same command, and not from a path
        (?<! [\w/.-] ) multi[-_]mcp (?! [\w/.-] )""",
    re.VERBOSE,
)
SHOWN = ("*.md", "*.json", "*.py", "*.sh", "*.toml", "*.yaml", "Makefile", "Dockerfile")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pip install multi-mcp", True),
        ("pip install 'multi-mcp[conformance]'", True),
        ("python -m pip install -U multi_mcp==0.1.0", True),
        ("pipx run multi-mcp --help", True),
        ("uvx multi-mcp", True),
        ("uv tool install multi-mcp", True),
        ("uvx --from multi-mcp multi-mcp", True),
        ('{"command": "uvx", "args": ["multi-mcp"]}', True),
        ("pip install .", False),
        ("pip install ./multi-mcp", False),
        ("pip install multi-mcp-0.1.0.whl", False),
        ("uvx --from . multi-mcp", False),
        ('{"command": "uvx", "args": ["--from", "/path/to/multi-mcp", "multi-mcp"]}', False),
        ("`pip install .` installs `multi-mcp`", False),
        ("kind load docker-image multi-mcp", False),
    ],
)
def test_an_install_from_an_index_is_recognised(line: str, found: bool) -> None:
    assert bool(INSTALLS.search(line)) is found


def test_nothing_tells_users_to_install_another_project_of_our_name() -> None:
    folders = (
        "multimcp",
        "conformance",
        "docs",
        "examples",
        "fixtures",
        "docker",
        "k8s",
        "requirements",
        "msc",
        "assets",
    )
    shown = [path for pattern in SHOWN for path in ROOT.glob(pattern)]
    shown += [path for folder in folders for pattern in SHOWN for path in (ROOT / folder).rglob(pattern)]
    assert len(shown) > 50
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}" for path in shown for hit in INSTALLS.finditer(path.read_text())
    ]
    assert found == []


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
