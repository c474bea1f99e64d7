"""Every kind of proxy: of one server, with servers that are registered over REST, with steps and secrets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.target import SHIPPED
from tests.support.processes import ROOT

TIMEOUT = 120
HERE = Path(__file__).parent


def run(target: Path, *only: str, **environ: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the harness on a target; returns what became of it, and the verdicts of what was played."""
    command = [sys.executable, "-m", "conformance", "run", f"--target={target}", f"--json={target.parent}"]
    done = subprocess.run(
        [*command, *(f"--only={glob}" for glob in only)],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    results = target.with_suffix(".json")
    entries: list[dict[str, Any]] = json.loads(results.read_text())["requirements"] if results.exists() else []
    return done, {entry["id"]: entry["verdict"] for entry in entries if entry["runs"]}


def single(folder: Path, words: str, more: str = "") -> Path:
    """A target file of a proxy of one server."""
    (folder / "single.toml").write_text(f"""
        [target]
        name = "single"
        patience = 3
        [launch]
        kind = "command"
        single = true
        command = ["$python", "{HERE / "one.py"}", "--port", "$port", {words}]
        cwd = "$folder"
        env = {{ PYTHONPATH = "{ROOT}" }}
        ready = "http://127.0.0.1:$port/healthz"
        [endpoints]
        http = "http://127.0.0.1:$port/mcp"
        [names]
        tool = "it::$name"
        prompt = "it::$name"
        {more}
    """)
    return folder / "single.toml"


@pytest.mark.parametrize("words", ['"$command", "$args"', '"--stdio", "$command $args"', '"$url"'])
def test_a_proxy_of_one_server_is_started_for_each(tmp_path: Path, words: str) -> None:
    done, verdicts = run(single(tmp_path, words), "tools:call:text", "naming:collision:routed")
    assert verdicts == {"tools:call:text": "pass", "naming:collision:routed": "pass"}, done.stdout
    assert done.returncode == 0


def test_a_server_that_does_not_start_keeps_no_other_from_it(tmp_path: Path) -> None:
    hindered = [f"isolation:backends:{what}" for what in ("start-failure", "hang-initialize", "crash-call")]
    done, verdicts = run(single(tmp_path, '"$command", "$args"'), *hindered)
    assert verdicts == dict.fromkeys(hindered, "pass"), done.stdout


def test_where_none_starts_its_last_words_are_told(tmp_path: Path) -> None:
    done, _ = run(single(tmp_path, '"--stdio", "true $command"'), "tools:call:text")
    assert done.returncode
    assert "the server has ended" in done.stdout


UNLUCKY = """
import pathlib, runpy, sys
seen = pathlib.Path(sys.argv[0] + ".port")
if not seen.exists():
    seen.write_text(sys.argv[-1])
    sys.exit("[Errno 98] address already in use")
assert sys.argv[-1] != seen.read_text()
runpy.run_module("multimcp", run_name="__main__", alter_sys=True)
"""


def test_one_whose_port_somebody_took_is_started_with_another(tmp_path: Path) -> None:
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    text = (SHIPPED / "multimcp-http.toml").read_text().replace('"-m", "multimcp"', '"$here/unlucky.py"')
    (tmp_path / "unlucky.toml").write_text(
        re.sub("(?m)^version = .*$", "", text).replace('"multimcp-http"', '"unlucky"')
    )
    done, verdicts = run(tmp_path / "unlucky.toml", "tools:call:text", PYTHONPATH=str(ROOT))
    assert verdicts == {"tools:call:text": "pass"}, done.stdout


# Multi-MCP, started without servers, as proxies are that are told of each over REST.
REST = """
    [target]
    name = "rest"
    patience = 3
    [launch]
    kind = "command"
    command = ["$python", "-m", "multimcp", "--transport", "http", "--config", "$folder/made.json", "--port", "$port"]
    before = [["$python", "-c", "open('$folder/made.json', 'w').write('{\\"mcpServers\\": {}}')"]]
    after = [["$python", "-c", "open('$folder/made.json').read()"]]
    ready = "http://127.0.0.1:$port/healthz"
    env = { MULTI_MCP_API_KEY = "$KEY" }
    [secrets]
    KEY = { command = ["$python", "-c", "print('not this'); print('made-at-start')"] }
    GIVEN = { env = "GIVEN_TO_REST" }
    LATE = { command = ["$python", "-c", "import os; print(os.environ['MULTI_MCP_API_KEY'], '$GIVEN')"] }
    [endpoints]
    http = "http://127.0.0.1:$port/mcp"
    headers = { Authorization = "Bearer $KEY", X-Late = "$LATE" }
    [names]
    tool = "$server::$name"
    prompt = "$server::$name"
    [backends]
    transports = ["http"]
    types = { http = "http" }
    [admin]
    registers = true
    add = "http://127.0.0.1:$port/mcp_servers"
    add_body = '{"mcpServers": {"$name": {"type": "$type", "url": $url}}}'
    id = "added.0"
    remove = "http://127.0.0.1:$port/mcp_servers/$id"
    headers = { Authorization = "Bearer $KEY" }
"""


def test_servers_are_registered_over_rest_with_what_steps_and_commands_give(tmp_path: Path) -> None:
    target = tmp_path / "rest.toml"
    target.write_text(REST)
    played = ["tools:call:text", "dynamic:remove:gone"]
    done, verdicts = run(target, *played, GIVEN_TO_REST="g")
    assert verdicts == dict.fromkeys(played, "pass"), done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("was", "then", "told"),
    [
        ("open('$folder/made.json').read()", "raise SystemExit('no such key')", "launch.after: the command"),
        ("print('not this'); print('made-at-start')", "", "secrets.KEY: its command prints nothing"),
        ("added.0", "added.name", "admin.id: the answer to the addition of a server has no 'added.name'"),
        ('"type": "$type", "url": $url', "", "the target does not take server 'everything' ([admin] add)"),
        ("GIVEN_TO_REST", "NOT_GIVEN", "secrets.GIVEN: there is no environment variable NOT_GIVEN; set it to"),
    ],
)
def test_what_goes_wrong_before_names_the_key(tmp_path: Path, was: str, then: str, told: str) -> None:
    target = tmp_path / "rest.toml"
    target.write_text(REST.replace(was, then))
    done, _ = run(target, "tools:call:text", GIVEN_TO_REST="g")
    assert done.returncode
    assert told in done.stdout + done.stderr


def named(folder: Path, style: str, names: str) -> Path:
    """A target file of a proxy that names things in this style; URIs get a prefix that is no URI."""
    (folder / "named.toml").write_text(f"""
        [target]
        name = "named"
        patience = 3
        [launch]
        kind = "command"
        command = ["$python", "{HERE / "named.py"}", "{style}", "$config"]
        [endpoints]
        stdio = true
        [backends]
        transports = ["stdio"]
        [names]
        resource = "$server|$uri"
        {names}
    """)
    return folder / "named.toml"


BOTH = "tool = '{0}'\nprompt = '{0}'\n"
SLUG = BOTH.format("$server-$name") + "lower = true\ncut = 48\nreplace = {'[^a-z0-9]+' = '-'}"
COLLIDING = "naming:collision:*"


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("slug", SLUG),
        ("slug", "by_description = true"),
        ("hashed", "by_description = true"),
        ("none", "tool = '${server}__$name'\nprompt = '$name'"),
    ],
)
def test_names_are_told_or_looked_up(tmp_path: Path, style: str, names: str) -> None:
    played = ["tools:list:whole", "prompts:list:whole", "tools:call:text", "resources:read:*"]
    played += {
        "slug": ["changes:list:fresh", COLLIDING],
        "hashed": ["changes:list:fresh", COLLIDING],
        "none": ["changes:list:fresh"],
    }[style]
    done, verdicts = run(named(tmp_path, style, names), *played)
    assert verdicts
    assert set(verdicts.values()) == {"pass"}, done.stdout


@pytest.mark.parametrize(
    ("style", "names", "told"),
    [
        ("slug", BOTH.format("${server}__$name"), "Listed are everything-test-simple-text"),
        ("slug", BOTH.format("${server}__$name"), "expected were everything__"),
        ("none", "tool = '${server}__$name'\nprompt = '${server}__$name'", "none of the prompts in the target's list"),
    ],
)
def test_where_no_name_is_found_nothing_is_played(tmp_path: Path, style: str, names: str, told: str) -> None:
    done, verdicts = run(named(tmp_path, style, names), "tools:*", "prompts:*")
    assert done.returncode == 2
    assert not verdicts
    assert done.stdout.count("that [names] tells") == 1
    assert told in done.stdout
