"""README.md and docs/: their fenced blocks, and the commands in them.

Rules:
- A test that runs a documented command gets it by `documented("its start")`, with a literal. So a command that changes
  in the documentation changes in the test, and tests/unit/test_documentation.py finds the commands that no test runs.
- `blocks` finds all blocks of a language; nothing is found by its place on a page.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, with the page and the line that it begins in."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The blocks of these languages, or of all, in the order of the pages."""
    return [
        Block(page, fence.string.count("\n", 0, fence.start()) + 1, fence[1], fence[2])
        for page in PAGES
        for fence in FENCED.finditer(page.read_text())
        if not languages or fence[1] in languages
    ]


def commands() -> list[str]:
    """The commands of the ```sh blocks, each on one line and once."""
    lines = (line for block in blocks("sh") for line in re.sub(r" *\\\n *", " ", block.text).splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def documented(start: str) -> str:
    """The command that is this one, or the only one that starts so."""
    known = commands()
    found = [command for command in known if command == start] or [each for each in known if each.startswith(start)]
    assert len(found) == 1, f"{len(found)} documented commands start with {start!r}"
    return found[0]


def example(start: str, language: str) -> str:
    """The text of the only block of this language that starts so."""
    found = [block.text for block in blocks(language) if block.text.startswith(start)]
    assert len(found) == 1, f"{len(found)} {language} blocks start with {start!r}"
    return found[0]
