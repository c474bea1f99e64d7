"""The commands that the README tells its readers to run."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def commands(section: str = "") -> list[str]:
    """The lines of the ```sh blocks, in order; of one section (`## Docker` is `Docker`), or of all."""
    text = README.read_text()
    if section:
        (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line]
