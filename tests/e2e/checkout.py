"""The files of this checkout as others get them, and an environment in which nothing is set up yet."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("HOME", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT")


def environment(**more: str) -> dict[str, str]:
    """As good as empty: no virtual environment, no tool of ours on PATH but make, git and Python."""
    base = os.path.dirname(os.path.realpath(sys.executable))
    path = os.pathsep.join([base, "/usr/local/bin", "/usr/bin", "/bin"])
    kept = {key: value for key, value in os.environ.items() if key in KEPT or key.startswith(("PIP_", "UV_"))}
    # pip trusts the system's certificates, uv only when told.
    return {**kept, "PATH": path, "UV_SYSTEM_CERTS": "1", **more}


def files() -> list[str]:
    """The paths of what is committed and of what could be: nothing that git ignores.

    An unpacked sdist is no repository: there it is all of it, as if nothing were committed yet."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", f"--git-dir={folder}", f"--work-tree={ROOT}"]
        subprocess.run([*git, "init", "-q"], check=True)
        listed = subprocess.check_output(
            [*git, "ls-files", "-z", "--others", "--exclude-standard"], cwd=ROOT, text=True
        )
    return listed.split("\0")[:-1]


def copy(target: Path) -> Path:
    """A clone of this checkout, with what is not committed yet."""
    for name in files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    subprocess.run(["git", "add", "--all"], cwd=target, check=True)
    return target
