"""Who may import whom: data flows one way, imports point up the list in `multimcp/__init__.py`."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
import multimcp

PACKAGE = Path(multimcp.__file__).parent
ORDER = re.findall(r"^ {4,6}((?:\w+\.)?\w+) {2,}\S", multimcp.__doc__ or "", re.MULTILINE)
"""The modules in reading order, as the page lists them."""

IMPURE = {"asyncio", "anyio", "time", "socket", "select", "os", "io", "pathlib", "subprocess", "threading", "logging"}
PUBLIC = {"app", "__main__"}
"""What only starts others."""


def imports(path: Path) -> set[str]:
    """What a file imports, absolute names and relative ones with their dots."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    """A module as the page names it: `protocol.message`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, as the page names them."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    for name in imports(path):
        if name.startswith("multimcp."):
            found.add(name.removeprefix("multimcp."))
        elif name.startswith("."):
            dots = len(name) - len(name.lstrip("."))
            found.add(".".join([*folder[: len(folder) - dots + 1], name.lstrip(".")]))
    return {module for module in MODULES if module in found or any(each.startswith(f"{module}.") for each in found)}


def test_the_page_lists_every_module() -> None:
    assert set(ORDER) == MODULES.keys() - PUBLIC
    assert len(ORDER) == len(set(ORDER)) > 20


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_those_above_it(module: str) -> None:
    assert imported(MODULES[module]) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", [module for module in ORDER if module.startswith("protocol.")])
def test_protocol_is_pure(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & IMPURE


def test_the_proxy_comes_up_without_the_sdk() -> None:
    code = "import sys, multimcp.app, multimcp.serving.cli; print([m for m in sys.modules if m.startswith('mcp')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_harness_never_imports_the_proxy() -> None:
    files = list(Path(conformance.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        assert not {name for name in imports(file) if re.match(r"multimcp\b", name)}, file


def test_the_fixture_servers_import_neither() -> None:
    files = list((Path(__file__).parents[2] / "fixtures" / "servers").glob("*.py"))
    assert len(files) > 5
    for file in files:
        assert not {name for name in imports(file) if re.match(r"(multimcp|conformance)\b", name)}, file


def test_the_proxy_imports_neither_harness_nor_fixtures() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert not {name for name in imports(file) if re.match(r"(conformance|fixtures|tests)\b", name)}, file
