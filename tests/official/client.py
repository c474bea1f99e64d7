"""The client that the official client suite judges: Multi-MCP, with somebody in front of it who uses it.

    python -m tests.official.client URL

The suite starts this command with the URL of a server of its own, and judges what that server sees: so what it judges
is our side toward servers. Here is what makes the proxy speak: a client over stdio, in the era of the revision, that
lists what the server has and uses all of it once, as a person would who tries out a server.

Rules:
- Nothing is asserted of what comes back: the suite judges. Only the proxy itself must start, answer and end well.
- One message at a time, as JSON and without the SDK, which would hide what the suite wants to see cross.
- Whatever the suite's own time limit ends, ends the proxy, too: its stdin is closed then.

The suite says in the environment what it plays: MCP_CONFORMANCE_SCENARIO, MCP_CONFORMANCE_PROTOCOL_VERSION, and in
MCP_CONFORMANCE_CONTEXT, as JSON, which calls it wants.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tests.support.processes import MAIN, TIMEOUT, write_config

JSON = dict[str, Any]
MODERN = "2026-07-28"
INFO = {"name": "official-suite-user", "version": "1"}
ABLE: JSON = {"elicitation": {"form": {}}}
SAMPLES = {"number": 2, "integer": 3, "boolean": True, "array": [], "object": {}}


def sample(schema: Mapping[str, Any]) -> JSON:
    """Arguments that a schema with plain properties takes."""
    properties = schema.get("properties", {})
    return {name: SAMPLES.get(property.get("type"), "text") for name, property in properties.items()}


def defaults(schema: Mapping[str, Any]) -> JSON:
    """What somebody answers who accepts a form as it is."""
    properties = schema.get("properties", {})
    return {name: property["default"] for name, property in properties.items() if "default" in property}


def accept(question: Mapping[str, Any]) -> JSON:
    """The answer to a question of the server, which is a form or a page."""
    return {"action": "accept", "content": defaults(question.get("params", {}).get("requestedSchema", {}))}


class User:
    """Speaks to the proxy over its standard streams."""

    def __init__(self, to: IO[bytes], from_: IO[bytes], version: str) -> None:
        self._to = to
        self._from = from_
        self._version = version
        self._id = 0

    def ask(self, method: str, **params: Any) -> JSON:
        """Send a request; returns the result, which is empty if it is an error. Questions meanwhile are answered."""
        self._id += 1
        if self._version == MODERN:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": INFO,
                "io.modelcontextprotocol/clientCapabilities": ABLE,
            }
        self._write({"id": self._id, "method": method, "params": params})
        while line := self._from.readline():
            message = json.loads(line)
            if message.get("method") == "elicitation/create":
                self._write({"id": message["id"], "result": accept(message)})
            elif message.get("id") == self._id and "method" not in message:
                print(method, params.get("name", ""), line.decode()[:1000].rstrip(), file=sys.stderr)
                return dict(message.get("result", {}))
        raise SystemExit(f"the proxy ended and had not answered {method}")

    def greet(self) -> JSON:
        """Make the first request of the era; returns what the server can do."""
        if self._version == MODERN:
            return dict(self.ask("server/discover").get("capabilities", {}))
        hello = self.ask("initialize", protocolVersion=self._version, capabilities=ABLE, clientInfo=INFO)
        self._write({"method": "notifications/initialized"})
        return dict(hello.get("capabilities", {}))

    def _write(self, message: JSON) -> None:
        self._to.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._to.flush()


def calls(tools: list[JSON], scenario: str, context: Mapping[str, Any]) -> Iterator[JSON]:
    """The calls that a scenario wants: those it names, else one of each tool."""
    if "toolCalls" in context:
        yield from context["toolCalls"]
        return
    for tool in tools:
        arguments = sample(tool["inputSchema"])
        if scenario == "json-schema-2020-12-preservation" and "schema" in arguments:  # wants back what it listed
            arguments["schema"] = next(other["inputSchema"] for other in tools if other is not tool)
        yield {"name": tool["name"], "arguments": arguments}


def use(user: User, scenario: str, context: Mapping[str, Any]) -> None:
    """Use all that the server has, once; then answer what it asked in its results, when it has been asked for more."""
    able = user.greet()
    asked = []
    for call in calls(user.ask("tools/list").get("tools", []), scenario, context):
        result = user.ask("tools/call", **call)
        if result.get("resultType") == "input_required":
            answers = {name: accept(question) for name, question in result["inputRequests"].items()}
            state = {"requestState": result["requestState"]} if "requestState" in result else {}
            asked.append({**call, "inputResponses": answers, **state})
    for call in asked:
        user.ask("tools/call", **call)
    if "resources" in able:
        for resource in user.ask("resources/list").get("resources", []):
            user.ask("resources/read", uri=resource["uri"])
    if "prompts" in able:
        for prompt in user.ask("prompts/list").get("prompts", []):
            arguments = {argument["name"]: "text" for argument in prompt.get("arguments", [])}
            user.ask("prompts/get", name=prompt["name"], arguments=arguments)


def main() -> int:
    scenario, version = os.environ["MCP_CONFORMANCE_SCENARIO"], os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder, "mcp.json"), {"suite": {"url": sys.argv[1]}})
        options = ["--transport", "stdio", "--namespace", "never", "--config", str(config)]
        with subprocess.Popen(
            [sys.executable, str(MAIN), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as proxy:
            assert proxy.stdin is not None
            assert proxy.stdout is not None
            use(User(proxy.stdin, proxy.stdout, version), scenario, context)
            proxy.stdin.close()
            return proxy.wait(TIMEOUT)


if __name__ == "__main__":
    sys.exit(main())
