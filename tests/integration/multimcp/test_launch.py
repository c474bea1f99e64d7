"""What a server's process gets of the proxy's environment, and which Python it is started with."""

import os
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process, fixture, proxy, write_config

NETWORK = {
    "HTTPS_PROXY": "http://proxy.example:3128",
    "no_proxy": "localhost",
    "NODE_EXTRA_CA_CERTS": "/etc/ca.pem",
    "UV_INDEX_URL": "https://mirror.example/simple",
    "npm_config_registry": "https://mirror.example",
    "TZ": "CET",
    "LC_TIME": "C",
}


def test_servers_get_what_the_network_needs(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    server = {"command": "sh", "args": ["-c", f"env > {seen}; exit 1"], "env": {"TZ": "UTC"}}
    secret = {"MULTI_MCP_API_KEY": "sesame", "GITHUB_TOKEN": "sesame", "PYTHONPATH": "/sesame"}
    with proxy(tmp_path, {"env": server}, env={**NETWORK, **secret}) as running:
        running.expect("env: failed")
    variables = dict(line.split("=", 1) for line in seen.read_text().splitlines())
    assert {name: variables.get(name) for name in NETWORK} == {**NETWORK, "TZ": "UTC"}
    assert "sesame" not in str(variables)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment of its own that has what ours has, so that the proxy runs in it."""
    venv.create(tmp_path / "venv", symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    Path(paths["purelib"], "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return tmp_path / "venv"


@contextmanager
def proxy_in(environment: Path, config: Path, **env: str) -> Iterator[Process]:
    """A proxy in a virtual environment that is not activated, started by its full path."""
    command = [str(environment / "bin" / "python"), str(ROOT / "main.py"), "--config", str(config)]
    options = ["--transport", "http", "--port", "0"]
    process = Process(*command, *options, env={"HOME": os.environ["HOME"], **env})
    try:
        yield process
    finally:
        process.popen.terminate()
        process.kill()


def other_python(folder: Path) -> Path:
    """A folder with a `python` in which nothing is installed."""
    folder.mkdir()
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    script.chmod(0o755)
    return folder


def test_python_in_an_environment_that_is_not_activated(tmp_path: Path, environment: Path) -> None:
    """As it is in `mcp.json`, whatever `python` is on PATH, or none."""
    server = {**fixture("calculator"), "command": "python"}
    config = write_config(tmp_path / "mcp.json", {"calculator": server})
    other = other_python(tmp_path / "other")
    for path in (f"{other}:/usr/bin:/bin", str(tmp_path)):
        with proxy_in(environment, config, PATH=path) as running:
            running.expect("calculator: ready")


@pytest.mark.parametrize("who", ["user", "server"])
def test_another_python_that_is_meant(tmp_path: Path, environment: Path, who: str) -> None:
    """The user has activated another environment, or has given the server a PATH of its own."""
    seen = tmp_path / "seen"
    script = f"import sys; open({str(seen)!r}, 'w').write(str(sys.flags.isolated))"
    path = f"{other_python(tmp_path / 'other')}:/usr/bin:/bin"
    server = {"command": "python", "args": ["-c", script], "env": {"PATH": path} if who == "server" else {}}
    env = {"PATH": path, "VIRTUAL_ENV": str(tmp_path)} if who == "user" else {"PATH": "/usr/bin:/bin"}
    with proxy_in(environment, write_config(tmp_path / "mcp.json", {"a": server}), **env) as running:
        running.expect("a: failed")
    assert seen.read_text() == "1"
