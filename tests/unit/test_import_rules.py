"""Who may import whom: data flows one way, imports point up the list in `multimcp/__init__.py`."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import conformance
import multimcp

PACKAGE = Path(multimcp.__file__).parent
ORDER = re.findall(r"^ {4,6}((?:\w+\.)?\w+) {2,}\S", multimcp.__doc__ or "", re.MULTILINE)
"""The modules in reading order, as the page lists them."""

IMPURE = {
    *("asyncio", "anyio", "time", "socket", "select", "ssl", "os", "io", "pathlib", "shutil", "tempfile", "subprocess"),
    *("signal", "threading", "random", "secrets", "logging", "aiohttp", "starlette", "uvicorn"),
}
"""What `protocol/` must not import: an event loop, a clock, a socket, a file, a process, chance."""

BUDGET = 10_645
"""Lines of code of the package at most. The design asks for about 4,000; lower this with every step toward them."""

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
    path = MODULES[module]
    # `.secrets` is a module of ours.
    assert not {name.split(".")[0] for name in imports(path) if not name.startswith(".")} & IMPURE
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input"}


def lines_of_code(path: Path) -> int:
    """Lines that are neither blank nor only a comment or a docstring."""
    source = path.read_text(encoding="utf-8")
    told = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    docstrings = {line for node in told for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in layout]
    return len({line for token in tokens for line in range(token.start[0], token.end[0] + 1)} - docstrings)


def test_the_package_keeps_its_size_and_the_share_that_is_pure() -> None:
    sizes = {path: lines_of_code(path) for path in PACKAGE.rglob("*.py")}
    whole = sum(sizes.values())
    pure = sum(size for path, size in sizes.items() if path.parent.name == "protocol")
    assert whole <= BUDGET
    assert pure >= 0.4 * whole


def test_counting_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        '"""Two\nlines."""\n\nx = (\n    1,  # one\n)\n# no\ndef f():\n    "Said."\n    return """a\n\nb"""\n'
    )
    assert lines_of_code(file) == 7


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
