"""Production mode, as its user starts it: `./start-server.sh` in an empty environment, with npm's real servers.

Rules:
- The script runs in a folder that has of the checkout what it uses, and from elsewhere. Its environment has HOME, PATH
  and LANG, and what the test says.
- No network: npm is told that it is offline, the keys are dummies, and the packages are those of tests/npm, which npx
  finds beside the script if they are of the versions in examples/config/production.json.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from multimcp.config import load
from multimcp.protocol.config import Config
from tests.npm import node
from tests.support.processes import ROOT, TIMEOUT, Process, alive, descendants, within

KEYS = {"GITHUB_PERSONAL_ACCESS_TOKEN": "dummy-github-token", "BRAVE_API_KEY": "dummy-brave-key"}
SERVERS = {
    "github": "mcp-server-github",
    "brave-search": "brave-search-mcp-server",
    "context7": "context7-mcp",
}


def production(**env: str) -> Config:
    return load(ROOT / "examples" / "config" / "production.json", KEYS | env)


@pytest.fixture
def checkout(npm: None, tmp_path: Path) -> Path:
    """What the script uses of a checkout, set up."""
    made = tmp_path / "multi-mcp"
    (made / "examples" / "config").mkdir(parents=True)
    for name in ("start-server.sh", "main.py", "examples/config/production.json"):
        shutil.copy2(ROOT / name, made / name)
    (made / "multimcp").symlink_to(ROOT / "multimcp")
    (made / ".venv").symlink_to(sys.prefix)
    (made / "node_modules").symlink_to(node.FOLDER / "node_modules")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".npmrc").write_text("offline=true\n")
    return made


def environment(checkout: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(node.FOLDER / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
    return {"HOME": str(checkout.parent / "home"), "PATH": path, "LANG": "C.UTF-8", **more}


@contextmanager
def started(checkout: Path, *options: str, **env: str) -> Iterator[Process]:
    """The script, called from another folder. When the block is left a signal ends all that it started."""
    command = [str(checkout / "start-server.sh"), "--port", "0", "--startup-timeout", "60", *options]
    process = Process(*command, cwd=checkout.parent, env=environment(checkout, **env))
    family: set[int] = set()
    try:
        yield process
        family = descendants(process.popen.pid)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(TIMEOUT) == 0, process.stderr
        assert not [pid for pid in family if alive(pid)]
    finally:
        for pid in family | descendants(process.popen.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()


async def tools(client: Client) -> list[dict[str, Any]]:
    async with within(TIMEOUT), client:
        listed = await client.list_tools()
        assert listed.next_cursor is None
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools]


async def test_the_three_servers_offer_what_they_offer_directly(checkout: Path) -> None:
    with started(checkout, **KEYS) as process:
        url = process.expect(r"listening on (http://\S+)").group(1)
        for server in SERVERS:
            process.expect(rf"{server}.*: ready \(stdio")
        proxied = await tools(Client(url + "/mcp"))
        assert "is not set" not in process.stderr
        assert not [key for key in KEYS.values() if key in process.stderr]
    expected = []
    for server, entry in production().servers.items():
        executable, *program = node.command(SERVERS[server])
        options = [*program, *entry.args[2:]]
        direct = await tools(Client(StdioServerParameters(command=executable, args=options, env=entry.env)))
        assert direct
        expected += [{**tool, "name": f"{server}::{tool['name']}"} for tool in direct]
    assert proxied == expected


def test_the_versions_are_those_that_are_tested() -> None:
    locked = {name: f"{name}@{version}" for name, version in node.dependencies().items()}
    for entry in production().servers.values():
        assert (entry.command, entry.args[0]) == ("npx", "-y")
        name = entry.args[1].rpartition("@")[0]
        assert entry.args[1] == locked[name]


@pytest.mark.parametrize("missing", [{}, {"BRAVE_API_KEY": ""}])
async def test_a_server_whose_key_is_missing_is_not_served_and_the_others_are(
    checkout: Path, missing: dict[str, str]
) -> None:
    key = "GITHUB_PERSONAL_ACCESS_TOKEN"
    with started(checkout, **{key: KEYS[key]}, **missing) as process:
        url = process.expect(r"listening on (http://\S+)").group(1)
        said = process.stderr.partition("listening on")[0]
        assert "BRAVE_API_KEY is not set; the servers in msc/mcp.json that need it are not served" in said
        assert "GITHUB_PERSONAL_ACCESS_TOKEN is not set" not in said
        process.expect(r"brave-search: failed: .*BRAVE_API_KEY\) is not set")
        for server in ("github", "context7"):
            process.expect(rf"{server}.*: ready \(stdio")
        served = {tool["name"].partition("::")[0] for tool in await tools(Client(url + "/mcp"))}
        assert served == {"github", "context7"}


def test_without_npx_nothing_starts(checkout: Path) -> None:
    env = environment(checkout, PATH=str(only(checkout.parent / "bin", "dirname", "mkdir", "cp", "grep")))
    done = subprocess.run(
        [str(checkout / "start-server.sh")], env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "start-server.sh: npx is not on PATH, and msc/mcp.json starts servers with it; install Node.js 20.18 or newer"
    )


def only(folder: Path, *names: str) -> Path:
    """A folder with these programs and no others."""
    folder.mkdir()
    for name in names:
        program = shutil.which(name)
        assert program
        (folder / name).symlink_to(program)
    return folder


def test_the_operators_file_and_options_count(checkout: Path) -> None:
    """The file is made once, and what stands in it is served; the log level and the key are passed on."""
    (checkout / "msc").mkdir()
    entry = {"command": "${NOT_SET:-true}", "disabled": True}
    (checkout / "msc" / "mcp.json").write_text(json.dumps({"mcpServers": {"a": entry}}))
    path = str(only(checkout.parent / "bin", "dirname", "grep", "tr", "sort"))  # no npx, which nothing needs
    with started(checkout, "--log-level", "DEBUG", PATH=path, MULTI_MCP_API_KEY="k") as process:
        url = process.expect(r"listening on (http://\S+)").group(1)
        with httpx2.Client(trust_env=False, timeout=TIMEOUT) as http:
            assert http.get(url + "/mcp_servers").status_code == 401
            status = http.get(url + "/mcp_servers", headers={"X-API-Key": "k"}).json()["servers"]
        assert {name: entry["state"] for name, entry in status.items()} == {"a": "disabled"}
        assert "is not set" not in process.stderr
        assert "made msc/mcp.json" not in process.stderr
