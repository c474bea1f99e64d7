"""Options, their twins in the environment, and what a wrong one is answered with."""

import argparse
import os
import re
import socket
from pathlib import Path

import pytest

from tests.support.processes import ROOT, RawClient, proxy, raw, run, stdio_client, until, write_config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["mcp.json: cannot be read (No such file or directory)", "create it", "--config"]),
        ("{\n  oops", ["mcp.json: is not valid JSON at line 2, column 3", "correct it"]),
        ("[]", ["mcp.json: ", '"mcpServers"']),
        (
            '{"mcpServers": {"w": {"command": "x", "args": ["a", null]}}}',
            ["mcpServers.w.args[1]: ", "expected a string"],
        ),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, content: str | None, words: list[str]) -> None:
    if content is not None:
        (tmp_path / "mcp.json").write_text(content)
    done = run(cwd=tmp_path)  # ./mcp.json is the default
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    servers = {"a": {"comand": "npx"}, "b": {"command": "python x.py"}, "c": {"command": "x", "args": "s3cret"}}
    write_config(tmp_path / "mcp.json", servers)
    done = run("--config", "mcp.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        'multi-mcp: mcp.json: mcpServers.a: give either "command" (a server to start) or "url" (a running one): '
        'neither is there; did you mean "command" where it says "comand"? (line 1, column 17)',
        "multi-mcp: mcp.json: mcpServers.b.command: has blanks in it; give the program alone, and its arguments apart, "
        'as in "command": "python", "args": ["x.py"] (line 1, column 47)',
        'multi-mcp: mcp.json: mcpServers.c.args: expected a list of strings, as in ["x.py"] (line 1, column 96)',
    ]


UNSET = "the environment variable NO_SUCH_KEY (env.K) is not set; set it before Multi-MCP starts, or write "


def test_a_variable_that_is_not_set_fails_its_server_alone(tmp_path: Path) -> None:
    reason = UNSET + "${NO_SUCH_KEY:-default}"
    count = tmp_path / "count"
    unset = raw(f"count={count}", env={"K": "${NO_SUCH_KEY}"})
    with proxy(tmp_path, {"unset": unset, "fine": raw()}) as running:
        running.wait_ready()
        running.expect(re.escape(f"WARNING unset: failed: {reason}; not tried until its configuration changes"))
        status = running.status()
        assert (status["unset"]["state"], status["unset"]["error"]) == ("failed", reason)
        assert (status["fine"]["state"], status["fine"]["error"]) == ("ready", None)
        # Nothing of it is waited for, and a client is promised nothing in its name.
        with RawClient(running.url, "legacy") as client:
            assert [tool["name"] for tool in client.call("tools/list")["tools"]] == ["fine::echo"]
        # What is posted fails the same way, and nothing is left of it.
        posted = running.add(another=unset, good=raw()).json()
        assert (posted["added"], posted["failed"]) == (["good"], {"another": reason})
        # A file that is edited: mistakes of form change nothing and are told all; a value that is there starts it.
        write_config(tmp_path / "mcp.json", {"unset": {"comand": "x"}, "fine": {"command": "a b"}})
        running.expect(r"ERROR .*mcpServers\.unset: give .* did you mean .*; until then all stays as it is")
        running.expect(r"ERROR .*mcpServers\.fine\.command: has blanks in it; .*; until then all stays as it is")
        assert running.status()["fine"]["state"] == "ready"
        assert not count.exists()
        write_config(tmp_path / "mcp.json", {"unset": {**unset, "env": {"K": "v"}}, "fine": raw()})
        running.expect("unset: ready")
        # And back.
        write_config(tmp_path / "mcp.json", {"unset": unset, "fine": raw()})
        until(lambda: running.status()["unset"]["state"] == "failed")
        assert "fine" in running.http("GET", "/mcp_tools").json()["tools"]
        assert running.http("GET", "/mcp_tools").json()["tools"]["unset"] == []


async def test_a_variable_that_is_not_set_over_stdio(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mcp.json", {"unset": raw(env={"K": "${NO_SUCH_KEY}"}), "fine": raw()})
    async with stdio_client(config) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["fine::echo"]


def test_all_mistakes_of_what_is_posted(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:
        answer = running.add(a={"comand": "s3cret"}, b={"command": "x", "args": "s3cret"}, c=raw())
        assert answer.status_code == 400
        first, second = answer.json()["error"].splitlines()
        assert first.startswith("the body: mcpServers.a: give either")
        assert second == 'the body: mcpServers.b.args: expected a list of strings, as in ["x.py"] (line 1, column 59)'
        assert running.status() == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_this_user_cannot_read(tmp_path: Path) -> None:
    write_config(tmp_path / "mcp.json", {}).chmod(0)
    done = run(cwd=tmp_path)
    assert done.returncode == 2
    assert "mcp.json: cannot be read (Permission denied); let this user read it" in done.stderr


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        f"multi-mcp: {tmp_path}: cannot be read (Is a directory); it is a folder; name a file in it\n"
    )


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (["--transport", "pigeon"], {}, "argument --transport: 'pigeon' is not one of stdio, sse, http"),
        (["--port", "x"], {}, "argument --port: invalid int value: 'x'"),
        (["--startup-timeout", "-1"], {}, "'-1' is not a number of seconds above 0"),
        (["--max-message", "64M"], {}, "'64M' is not a size, as in 64MiB or 65536, above 0"),
        ([], {"MULTI_MCP_MAX_SESSIONS": "0"}, "'0' is not a whole number above 0"),
        (["--startup-timeout", "soon"], {}, "'soon' is not a number of seconds above 0"),
        (["--separator", ""], {}, "argument --separator: cannot be empty"),
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
    done = run(*args, cwd=ROOT, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_separator_that_not_every_python_reads() -> None:
    """The argparse of older ones makes nothing of `--separator=--`; then the error says what does it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--separator")
    done = run("--separator=--")
    if parser.parse_args(["--separator=--"]).separator == "--":
        assert done.returncode == 0, done.stderr
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert "set MULTI_MCP_SEPARATOR" in done.stderr


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
    with proxy(tmp_path, {"a": raw(colour="blue", autoApprove=["x"])}) as running:
        running.expect(r"WARNING .*mcp.json: mcpServers.a: unknown key 'colour' is ignored")
