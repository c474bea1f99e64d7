"""The example for LangGraph as its user runs it: a clean clone, and the documented commands.

The model is tests/support/llm.py, which refuses what the real APIs refuse, and calls tools of two servers.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.checkout import environment
from tests.e2e.test_new_user import SETUP, clone
from tests.support import llm
from tests.support.documentation import documented
from tests.support.processes import ROOT, Process

__all__ = ["clone"]  # a fixture

EXAMPLE = "examples/connect_langgraph_client.py"
COMMANDS = (
    documented("python3 -m venv .venv-langgraph"),
    documented(".venv-langgraph/bin/pip install"),
    documented("cp .env.example .env"),
)
ASK = documented(".venv-langgraph/bin/python examples/connect_langgraph_client.py")
PLAN: llm.Plan = [("add", {"a": 2, "b": 3}), ("get_weather", {"place": "Paris"})]


def run(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], cwd=clone, env=environment(), capture_output=True, text=True, timeout=SETUP, check=False
    )


@pytest.fixture(scope="module")
def installed(clone: Path) -> Path:
    """The clone, with an environment for the example and its .env as it is shipped."""
    for command in COMMANDS:
        done = run(clone, command)
        assert done.returncode == 0, done.stdout + done.stderr
    return clone


@pytest.fixture(scope="module")
def url(clone: Path) -> Iterator[str]:
    """Multi-MCP as `make run` starts it, but for the port and the environment, which is this one."""
    command = [sys.executable, "main.py", "--transport", "sse", "--port", "0"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = Process(*command, cwd=clone, env={**os.environ, "PATH": path})
    try:
        yield process.expect(r"listening on (http://\S+)").group(1)
    finally:
        process.popen.terminate()
        process.kill()


def fill_in(clone: Path, **values: str) -> None:
    """As a user does with an editor."""
    file = clone / ".env"
    text = file.read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1
    file.write_text(text)


@pytest.mark.parametrize("endpoint", ["/sse", "/mcp", "/mcp?names=llm"])
def test_tools_of_two_servers_answer_a_question(installed: Path, url: str, endpoint: str) -> None:
    with llm.serve(PLAN) as (base_url, requests):
        key = {"MODEL_NAME": "test-model", "BASE_URL": base_url, "OPENAI_API_KEY": llm.KEY}
        fill_in(installed, MULTI_MCP_URL=url + endpoint, **key)
        done = run(installed, ASK)
    assert done.returncode == 0, done.stderr
    (question,) = re.findall(r'"(.+)"', ASK)
    assert {request["model"] for request in requests} == {"test-model"}
    assert {request["messages"][0]["content"] for request in requests} == {question}
    added, weather = [message["content"] for message in requests[-1]["messages"] if message["role"] == "tool"]
    assert [block["text"] for block in added] == ["5"]
    assert json.loads(weather[0]["text"])["place"] == "Paris"
    assert "The tools say: " in done.stdout


def test_a_proxy_that_is_not_there_is_named(installed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    fill_in(installed, MULTI_MCP_URL=f"http://{address}/sse", MODEL_NAME="m", BASE_URL="http://x", OPENAI_API_KEY="k")
    done = run(installed, ASK)
    assert done.returncode == 1
    assert done.stderr.startswith(f"http://{address}/sse?names=llm: no tools from there (")
    assert done.stderr.endswith("); is Multi-MCP running? `make run` starts it\n")
    assert done.stderr.count("\n") == 1


def test_what_is_not_filled_in_is_named(installed: Path) -> None:
    fill_in(installed, OPENAI_API_KEY="", MODEL_NAME="")
    done = run(installed, ASK)
    assert done.returncode == 1
    assert done.stderr == "MODEL_NAME, OPENAI_API_KEY: not set; copy .env.example to .env and fill it in\n"


def test_the_example_says_how_it_is_run() -> None:
    head = (ROOT / EXAMPLE).read_text().split('"""')[1]
    assert [command for command in (*COMMANDS, "make run", ASK) if f"\n    {command}" not in head] == []


def test_the_defaults() -> None:
    """Those of .env.example are those of the example."""
    values = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert values.keys() == {"MODEL_NAME", "BASE_URL", "OPENAI_API_KEY", "MULTI_MCP_URL"}
    assert f'"{values["MULTI_MCP_URL"]}"' in (ROOT / EXAMPLE).read_text()
    assert values["MULTI_MCP_URL"] == "http://127.0.0.1:8080/sse"


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("calculator__add", None),
        (
            "calculator::add",
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            "a" * 65,
            "Invalid 'tools[0].function.name': string too long. "
            "Expected a string with maximum length 64, but got a string with length 65 instead.",
        ),
    ],
)
def test_the_model_is_as_strict_as_the_real_ones(name: str, refused: str | None) -> None:
    request = {"tools": [{"type": "function", "function": {"name": name}}], "messages": []}
    if refused is None:
        llm.check(request)
        return
    with pytest.raises(llm.Refusal) as caught:
        llm.check(request)
    assert caught.value.body["error"]["message"] == refused
