"""README.md and docs/: every block can be used, every command is run by a test, every option is there, links resolve.

What the commands and client snippets do is seen where they run: tests/e2e, and test_documented_clients.py in
tests/integration/multimcp.
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from multimcp.config import understand
from multimcp.protocol.document import Document
from multimcp.protocol.limits import BOUNDS
from tests.support.documentation import PAGES, ROOT, Block, blocks, commands, documented, example

CONFORMANCE = ROOT / "docs" / "conformance.md"

NOT_RUN = {
    "claude mcp ": "Claude Code; docs/clients.md says with which version it was tried",
    "npx -y mcp-remote ": "downloads; docs/clients.md says with which version it was tried",
    "kind ": "needs an image of a node, and rights, that a machine without a registry lacks",
    "make test": ".ci/run runs it",
    "uv run tox -e conformance": "`make test` runs this environment",
    "uv run tox -e bench": "measures; issue by issue, and not in CI",
    "uv run tox -e fuzz": "takes long; test_fuzz has a short run",
    "uv run tox -e scoreboard": "takes long, and needs the proxies installed; test_scoreboard makes the page",
    "uv run tox -e soak": "takes long; test_soak has a short run",
}
"""How commands start that no test runs, and why; a list to keep short."""


def ids(block: Block) -> str:
    return str(block)


# Blocks


def test_every_block_has_a_language_that_is_checked() -> None:
    """Output of commands and messages are `text`."""
    checked = {"sh", "json", "toml", "yaml", "python", "js", "text"}
    assert [str(block) for block in blocks() if block.language not in checked] == []


@pytest.mark.parametrize("block", blocks("json"), ids=ids)
def test_json(block: Block) -> None:
    """`mcpServers` load without a warning, in this proxy as in a client; VS Code's `servers` have what it wants."""
    value = json.loads(block.text)
    if "mcpServers" in value:
        names = re.findall(r"\$\{(?:env:)?(\w+)\}", block.text)
        assert understand(Document(value), dict.fromkeys(names, "value")).warnings == ()
    if "servers" in value:
        assert vs_code_faults(value) == []


def vs_code_faults(value: dict[str, Any]) -> list[str]:
    """By https://code.visualstudio.com/docs/copilot/reference/mcp-configuration."""
    needs = {"stdio": {"command"}, "http": {"url"}, "sse": {"url"}}
    faults = [f"unknown: {key}" for key in value.keys() - {"servers", "inputs"}]
    for name, server in value["servers"].items():
        missing = needs.get(server.get("type"), {"a known type"}) - server.keys()
        faults += [f"{name}: {key} is missing" for key in missing]
    asked = {entry["id"] for entry in value.get("inputs", [])}
    used = set(re.findall(r"\$\{input:([\w-]+)\}", json.dumps(value)))
    return faults + [f"input: {name}" for name in asked ^ used]


def test_what_vs_code_would_not_take() -> None:
    server = {"type": "http", "url": "http://127.0.0.1"}
    assert vs_code_faults({"servers": {"a": server}}) == []
    assert vs_code_faults({"servers": {"a": {"url": "http://127.0.0.1"}}}) == ["a: a known type is missing"]
    assert vs_code_faults({"servers": {"a": {**server, "headers": {"K": "${input:k}"}}}}) == ["input: k"]


@pytest.mark.parametrize("block", blocks("toml"), ids=ids)
def test_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids)
def test_yaml(block: Block) -> None:
    yaml = pytest.importorskip("yaml", reason="not installed: see requirements/kubernetes.txt")
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=ids)
def test_python(block: Block) -> None:
    """Top-level `await` is not for files. Those that need no more than the MCP SDK are run, too."""
    compile(block.text, str(block), "exec")


# Commands


def run_by_tests() -> set[str]:
    """What tests ask `documented` for, by a literal."""
    found = set()
    for path in [*ROOT.glob("tests/e2e/**/*.py"), *ROOT.glob("tests/integration/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "documented":
                text = getattr(node.args[0], "value", None)
                assert isinstance(text, str), f"{path}: documented() wants a literal"
                found.add(documented(text))
    return found


def test_every_command_is_run_by_a_test() -> None:
    run = run_by_tests()
    assert [command for command in commands() if command not in run and not command.startswith(tuple(NOT_RUN))] == []


def test_what_no_test_runs_is_documented() -> None:
    known = commands()
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in known)] == []
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_documented() -> None:
    assert documented("make run") == "make run"
    for start in ("curl ", "no such command"):
        with pytest.raises(AssertionError, match="documented commands start with"):
            documented(start)
    with pytest.raises(AssertionError, match="toml blocks start with"):
        example("", "toml")


# Options and variables

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(r"MULTI_MCP_[A-Z_]+[A-Z]")


@cache
def options(*program: str) -> frozenset[str]:
    """What the program's --help knows."""
    done = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(OPTION.findall(done.stdout))


def ours() -> frozenset[str]:
    return options("main.py") | options("main.py", "check")


def variables() -> set[str]:
    """One for each option but those that only print, and what the code and the examples name."""
    sources = [*ROOT.glob("multimcp/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("*.sh")]
    named = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    twins = {name[2:].upper().replace("-", "_") for name in options("main.py") - {"--help", "--version"}}
    return named - {"MULTI_MCP_A_B"} | {f"MULTI_MCP_{name}" for name in twins}


def test_every_option_and_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    bounds = {f"--{option}" for option in BOUNDS}  # which are in one table with all others: see test_bounds.py
    assert ours() - set(OPTION.findall(text)) - bounds == set()
    everywhere = "".join(page.read_text() for page in PAGES)
    assert variables() - set(VARIABLE.findall(everywhere)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_option_or_variable_that_does_not_exist(page: Path) -> None:
    """In what is written as code outside of blocks, where it is ours; what stands in blocks is run."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    known = ours()
    if page == CONFORMANCE:
        known |= options("-m", "conformance", "run") | {"--snapshot-update", "--target"}
        known |= options("-m", "pytest", "-p", "conformance.plugin")
    written = {option for code in re.findall(r"`(--[^`]+)`", text) for option in OPTION.findall(code)}
    assert written - known == OTHERS.get(page.name, set())
    assert set(VARIABLE.findall(page.read_text())) - variables() == set()


OTHERS = {"clients.md": {"--from", "--header"}}
"""Options of other programs, by page."""


# Links


def anchors(page: Path) -> list[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCES.sub("", page.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_heading_comes_once(page: Path) -> None:
    """Two of the same are two who wrote the same part."""
    assert [anchor for anchor, times in Counter(anchors(page)).items() if times > 1] == []


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCES.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# The README


def test_the_picture_can_be_read_in_light_and_dark() -> None:
    """What has a color has one in either scheme, and what is drawn has a class with one."""
    assert "](assets/multi-mcp-diagram.svg)" in (ROOT / "README.md").read_text()
    picture = ElementTree.parse(ROOT / "assets/multi-mcp-diagram.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert picture.findtext(f"{space}title")
    style = picture.findtext(f"{space}style") or ""
    light, dark = (set(re.findall(r"\.([a-z]+)", part)) for part in style.split("@media (prefers-color-scheme: dark)"))
    assert light == dark == {element.get("class") for element in picture.iter()} - {None}
    assert not [
        element.tag for kind in ("rect", "text") for element in picture.iter(space + kind) if not element.get("class")
    ]


def test_the_readme_is_short_and_leads_everywhere() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 150
    led = set(links(readme))
    assert [page.name for page in PAGES if page != readme and f"docs/{page.name}" not in led] == []


# The changelog


def test_the_changelog_has_each_heading_once() -> None:
    """Rebases leave a second `### Changed` behind."""
    _, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert [re.findall(r"^\[(.+?)\]", version) for version in versions] == [["Unreleased"], ["0.1.0"]]
    for version in versions:
        headings = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert headings == [name for name in ("Added", "Changed", "Removed", "Fixed") if name in headings]
