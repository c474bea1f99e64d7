"""The examples are configurations that load, without a warning."""

from pathlib import Path

import pytest

from multimcp.config import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [ROOT / "mcp.json", ROOT / "examples" / "add_server.json"]
EXAMPLES += sorted((ROOT / "examples" / "config").glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example(path: Path) -> None:
    needed = ("HOME", "ISSUES_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN", "BRAVE_API_KEY")
    config = load(path, dict.fromkeys(needed, "/some/text"))
    assert config.servers
    assert config.warnings == ()
