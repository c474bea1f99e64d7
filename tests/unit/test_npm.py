"""The pinned npm packages: exact versions, hashes, and no address of a registry."""

import json
import re

from tests.npm.node import HERE

LOCK = json.loads((HERE / "package-lock.json").read_text())
PACKAGE = json.loads((HERE / "package.json").read_text())


def test_versions_are_exact_and_locked() -> None:
    for name, version in PACKAGE["dependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+\.\d+)?", version), (name, version)
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version
    assert LOCK["packages"][""]["dependencies"] == PACKAGE["dependencies"]


def test_each_package_has_a_hash_and_no_address() -> None:
    packages = {path: package for path, package in LOCK["packages"].items() if path}
    assert packages
    assert not [path for path, package in packages.items() if "resolved" in package]
    assert not [path for path, package in packages.items() if not package.get("integrity", "").startswith("sha512-")]
