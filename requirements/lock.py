"""Pins the dependencies: `make lock`. A pin stays until pyproject.toml forbids it, or its lines are deleted.

Rules:
- requirements.txt is what running needs, and stands in the root, where users install from it. All others are here.
- A file that adds to another installs that one first (`-r`), keeps to its pins, and repeats none of them.
- Each pin has its hashes, and holds on every platform and every Python that pyproject.toml allows.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = "requirements.txt"
DEV = "requirements/dev.txt"
FILES = {  # what uv is to resolve, and the file that this one adds to
    RUN: (["pyproject.toml"], None),
    DEV: (["--group=dev"], RUN),
    "requirements/fastmcp.txt": (["--group=fastmcp"], DEV),
    "requirements/kubernetes.txt": (["--group=kubernetes"], DEV),
    # Not a group of pyproject.toml: uv resolves all groups as one, and langchain-mcp-adapters needs mcp 1.
    "requirements/langgraph.txt": (["requirements/langgraph.in"], None),
    "requirements/image.txt": (["--group=image"], None),
    "requirements/node.txt": (["--group=node"], None),
}


def main() -> None:
    """Write each file of FILES."""
    for file, (what, below) in FILES.items():
        command = ["uv", "pip", "compile", "-q", "--universal", "--python-version=3.11", "--generate-hashes", *what]
        command += [f"--output-file={file}", *([f"--constraints={below}"] if below else [])]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}, check=True)
        if below:
            path, first = ROOT / file, ROOT / below
            relative = os.path.relpath(first, path.parent)
            path.write_text(f"-r {relative}\n{''.join(beyond(path, chain(first)))}")


def chain(path: Path) -> set[str]:
    """The first lines of all pins of a file, and of those that it adds to: name, version, marker."""
    found = set()
    for line in path.read_text().splitlines(keepends=True):
        if line.startswith("-r "):
            found |= chain(path.parent / line.removeprefix("-r ").strip())
        elif "==" in line:
            found.add(line)
    return found


def beyond(path: Path, below: set[str]) -> list[str]:
    """The lines of a file without the pins that stand below already: each a line, and indented ones after it."""
    kept, lines = True, []
    for line in path.read_text().splitlines(keepends=True):
        if not line.startswith(" "):
            kept = line not in below
        if kept:
            lines.append(line)
    return lines


if __name__ == "__main__":
    main()
