"""Who may import whom: data flows one way, imports point up the list."""

import ast
import re
from pathlib import Path

import conformance
import multimcp

# design: a module imports only from those above it. What may not be imported by whom, beyond that:
CORE = (
    "errors",
    "config",
    "launch",
    "naming",
    "offer",
    "streams",
    "stderr",
    "stdio",
    "remote",
    "backend",
    "catalog",
    "relay",
    "registry",
    "guard",
)


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
    for file in Path(multimcp.__file__).parent.glob("*.py"):
        assert not {name for name in imports(file) if re.match(r"(conformance|fixtures|tests)\b", name)}, file


def test_what_knows_all_parts_is_imported_by_none_of_them() -> None:
    for name in CORE:
        above = imports(Path(multimcp.__file__).with_name(f"{name}.py"))
        assert not above & {".app", ".cli", ".admin", ".transports", ".proxy"}, name
