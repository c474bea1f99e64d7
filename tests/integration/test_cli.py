"""Options, their twins in the environment, and what a wrong one is answered with."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, TIMEOUT, proxy, raw, write_config


def run(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["mcp.json: cannot be read (No such file or directory)", "create it", "--config"]),
        ("{\n  oops", ["mcp.json: is not valid JSON at line 2, column 3", "correct it"]),
        ("[]", ["mcp.json: ", '"mcpServers"']),
        ('{"mcpServers": {"w": {"command": "x", "args": ["a", 7]}}}', ["mcpServers.w.args[1]: ", "valid string"]),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, content: str | None, words: list[str]) -> None:
    if content is not None:
        (tmp_path / "mcp.json").write_text(content)
    done = run(cwd=tmp_path)  # ./mcp.json is the default
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (["--transport", "pigeon"], {}, "argument --transport: 'pigeon' is not one of stdio, sse, http"),
        (["--port", "x"], {}, "argument --port: invalid int value: 'x'"),
        (["--startup-timeout", "-1"], {}, "'-1' is not a number of seconds above 0"),
        (["--startup-timeout", "soon"], {}, "'soon' is not a number of seconds above 0"),
        (["--separator", ""], {}, "argument --separator: cannot be empty"),
        (["--separator=--"], {}, "set MULTI_MCP_SEPARATOR"),
        (
            ["--allowed-host", "a.example,http://b.example/mcp"],
            {},
            "argument --allowed-host: 'http://b.example/mcp' is not",
        ),
        (["--allowed-origin", "app.example.com"], {}, "argument --allowed-origin: 'app.example.com' is not an origin"),
        ([], {"MULTI_MCP_ALLOWED_HOST": "a:1"}, "argument --allowed-host: 'a:1' is not a host"),
        ([], {"MULTI_MCP_ALLOWED_ORIGIN": "null"}, "argument --allowed-origin: 'null' is not an origin"),
        ([], {"MULTI_MCP_TRANSPORT": "pigeon"}, "argument --transport: 'pigeon' is not one of stdio, sse, http"),
        ([], {"MULTI_MCP_PORT": "x"}, "argument --port: invalid int value: 'x'"),
        ([], {"MULTI_MCP_NAMESPACE": "x"}, "argument --namespace: 'x' is not one of always, never"),
    ],
)
def test_a_wrong_option(args: list[str], env: dict[str, str], words: str) -> None:
    done = run(*args, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"MULTI_MCP_API_KEY": "s3cret", "MULTI_MCP_API_KEY_FILE": "key"}, "are both set; unset one"),
        ({"MULTI_MCP_API_KEY": "s3cret one"}, "MULTI_MCP_API_KEY: key 1 has characters that cannot be sent; use"),
        ({"MULTI_MCP_API_KEY": ","}, "MULTI_MCP_API_KEY: has no key in it; write one there"),
        ({"MULTI_MCP_API_KEY_FILE": "key"}, "MULTI_MCP_API_KEY_FILE (key): has no key in it; write one there"),
        ({"MULTI_MCP_API_KEY_FILE": "gone"}, "(gone): cannot be read (No such file or directory); correct the path"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, env: dict[str, str], words: str) -> None:
    """Nothing is served then: who names a key wants no open port."""
    write_config(tmp_path / "mcp.json", {})
    (tmp_path / "key").write_text("\n")
    done = run("--transport", "http", "--port", "0", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("multi-mcp: MULTI_MCP_API_KEY")
    assert words in line
    assert "s3cret" not in line


def test_help_and_version() -> None:
    done = run("--help")
    assert done.returncode == 0
    options = ["transport", "config", "host", "port", "allowed-host", "allowed-origin", "log-level", "separator"]
    for option in [*options, "namespace", "startup-timeout", "no-watch", "persist"]:
        assert f"--{option} " in done.stdout
    # A key on the command line would be read by every user of the machine.
    assert "MULTI_MCP_API_KEY_FILE" in done.stdout
    assert "--api-key" not in done.stdout
    assert run("--version").stdout.startswith("multi-mcp ")


def test_a_busy_port(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--transport", "sse", "--config", str(config), "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line == (
        f"multi-mcp: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --host, --port"
    )


@pytest.mark.parametrize(("host", "port"), [("no-such-host.invalid", "0"), ("127.0.0.1", "70000")])
def test_an_impossible_address(tmp_path: Path, host: str, port: str) -> None:
    config = write_config(tmp_path / "mcp.json", {})
    done = run("--transport", "http", "--config", str(config), "--host", host, "--port", port)
    assert done.returncode == 1
    assert f"cannot listen on {host}:{port}" in done.stderr


def test_the_environment_sets_what_the_command_line_does_not(tmp_path: Path) -> None:
    env = {"MULTI_MCP_LOG_LEVEL": "error", "MULTI_MCP_HOST": "no-such-host.invalid", "MULTI_MCP_SEPARATOR": "--"}
    with proxy(tmp_path, {"a": raw(), "broken": raw("exit:start")}, "--host", "localhost", env=env) as running:
        running.wait_ready()
        assert running.http("GET", "/mcp_tools").json()["names"]["a"] == ["a--echo"]
    # The port is said whatever the log level; the broken server's failure is a warning.
    assert [line for line in running.lines if "raw_server" not in line] == [running.lines[0]]


def test_warnings_of_the_configuration_are_logged(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw(autoApprove=["x"])}) as running:
        running.expect(r"WARNING .*mcp.json: mcpServers.a: unknown key 'autoApprove' is ignored")
