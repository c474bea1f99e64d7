"""The files of other clients, played through real processes: who is started, with what, and what is sent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import RAW, TIMEOUT, Proxy, RawClient, raw_http

SECRET = "sesame-open-up"


def files(url: str, count: Path) -> dict[str, str]:
    """What three clients have: a local server that is called as a variable says, a remote one, and one that is off."""
    python, server = json.dumps(sys.executable), json.dumps(str(RAW))
    named = json.dumps(f'exec "$0" "$1" name=$AS count={count}.on')
    off = json.dumps([str(RAW), f"count={count}"])
    return {
        "mcp.json": f"""{{ // as VS Code has it
          "servers": {{
            "local": {{"type": "stdio", "command": "sh", "args": ["-c", {named}, {python}, {server}],
                      "env": {{"AS": "${{env:DEMO_NAME}}"}},}},
            "remote": {{"type": "http", "url": "{url}/mcp",
                       "headers": {{"Authorization": "Bearer ${{env:DEMO_KEY}}"}}}},
            "off": {{"command": {python}, "args": {off}, "disabled": true}},
          }},
        }}""",
        "opencode.jsonc": f"""{{
          "mcp": {{
            "local": {{"type": "local", "command": ["sh", "-c", {named}, {python}, {server}],
                      "environment": {{"AS": "{{env:DEMO_NAME}}"}}}},
            "remote": {{"type": "remote", "url": "{url}/mcp",
                       "headers": {{"Authorization": "Bearer {{env:DEMO_KEY}}"}}}},
            /* not today */
            "off": {{"type": "local", "command": [{python}, {", ".join(json.dumps(each) for each in json.loads(off))}],
                    "enabled": false}},
          }}
        }}""",
        "config.toml": f"""
[mcp_servers.local]
command = "sh"
args = ["-c", {named}, {python}, {server}]
env = {{ AS = "${{DEMO_NAME}}" }}

[mcp_servers.remote]
url = "{url}/mcp"
bearer_token_env_var = "DEMO_KEY"

[mcp_servers.off]
command = {python}
args = {off}
enabled = false
""",
    }


@pytest.mark.parametrize("name", ["mcp.json", "opencode.jsonc", "config.toml"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_file_means_what_it_means_to_its_client(name: str, era: str, tmp_path: Path) -> None:
    count = tmp_path / "count"
    with raw_http("modern", "headers") as url:
        path = tmp_path / name
        path.write_text(files(url, count)[name])
        process = Proxy(path, "--transport", "http", "--port", "0", env={"DEMO_NAME": "lea", "DEMO_KEY": SECRET})
        try:
            running = process.listening().wait_ready()
            status = running.status()
            assert {name: each["state"] for name, each in status.items()} == {
                "local": "ready",
                "remote": "ready",
                "off": "disabled",
            }
            assert status["local"]["serverInfo"]["name"] == "lea"
            with RawClient(running.url, era) as client:
                result: Any = client.call("tools/call", {"name": "remote::echo", "arguments": {}})
            assert json.loads(result["content"][0]["text"])["authorization"] == f"Bearer {SECRET}"
            running.stop()
            assert SECRET not in running.stderr
            assert Path(f"{count}.on").exists()
            assert not count.exists()
        finally:
            process.kill()


def test_what_cannot_be_is_said_over_stdio_without_a_word_on_stdout(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(f'{{"servers": {{\n  "a": {{"command": "x", "env": {{"K": "${{input:{SECRET}}}"}}}}}}}}')
    process = Proxy(path)
    assert process.wait(TIMEOUT) == 2
    assert process.stderr.splitlines() == [
        f"multi-mcp: {path}: servers.a.env.K: what begins with ${{input: is filled by another client only; "
        "write ${NAME}, and set NAME (line 2, column 33)"
    ]


def test_what_is_posted_may_be_in_another_clients_form_and_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {}}')
    process = Proxy(path, "--transport", "http", "--port", "0", "--persist", env={"DEMO_NAME": "lea"})
    entry = {"type": "local", "command": [sys.executable, str(RAW), "name={env:DEMO_NAME}"], "enabled": True}
    try:
        running = process.listening()
        body = f"// of opencode\n{json.dumps({'mcp': {'a': entry}})}"
        answer = running.http("POST", "/mcp_servers", content=body)
        assert (answer.status_code, answer.json()["added"]) == (200, ["a"])
        assert running.status()["a"]["serverInfo"]["name"] == "lea"
        assert json.loads(path.read_text()) == {"mcpServers": {"a": entry}}
        refused = running.http(
            "POST", "/mcp_servers", content='{"servers": {"b": {"sandbox": {"a": 1}, "url": "http://h"}}}'
        )
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("the body: servers.b.sandbox: ")
        assert list(running.status()) == ["a"]
    finally:
        process.kill()
