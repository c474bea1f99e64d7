"""A short run of both soaks; `tox -e soak` is the long one."""

from pathlib import Path

import pytest

from tests.soak.run import main


@pytest.mark.parametrize("what", [["--minutes", "0.2"], ["--calls", "600", "--adds", "8", "--rounds", "1"]])
def test_running_proxies_bear_what_servers_and_clients_do(what: list[str], tmp_path: Path) -> None:
    assert main([*what, "--json", str(tmp_path / "soak.json")]) == 0
