"""The examples are configurations that load, without a warning."""

import json
import re
from pathlib import Path

import pytest

from multimcp.config import load, parse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [ROOT / "mcp.json", ROOT / "examples" / "add_server.json"]
EXAMPLES += sorted((ROOT / "examples" / "config").glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example(path: Path) -> None:
    needed = ("HOME", "ISSUES_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN", "BRAVE_API_KEY")
    config = load(path, dict.fromkeys(needed, "/some/text"))
    assert config.servers
    assert config.warnings == ()


def test_the_readmes_json() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert parse(json.loads(block), {}).warnings == ()
