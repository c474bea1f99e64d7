"""The headers that repeat what a request says: sent to servers as they ask for it, and those of clients passed on.

Spec: 2026-07-28, streamable HTTP: custom headers from tool parameters
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import RawClient, raw, raw_http, whole_lines

REGION = {"region": "eu", "odd": "ü"}


def heard(log: Path) -> list[str]:
    """The methods of what a server got after it was greeted and had listed its tools."""
    methods = [json.loads(line)["method"] for line in whole_lines(log)]
    return [method for method in methods if method in ("tools/call", "tools/list")][1:]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_call_that_is_refused_for_its_headers_is_made_once_more_with_those_wanted_now(
    shared: Any, tmp_path: Path, era: str
) -> None:
    log = tmp_path / "log"
    with raw_http("modern-only", "mirrors", f"log={log}") as url, RawClient(shared.url, era) as client:
        shared.add(m={"url": url + "/mcp"})
        call = {"name": "m::echo", "arguments": REGION}
        said = json.loads(client.call("tools/call", call)["content"][0]["text"])
        assert said["mcp-param-region"] == "eu"
        assert heard(log) == ["tools/call", "tools/list", "tools/call"]
        client.extra = {"Mcp-Param-Region": "eu"}
        assert client.call("tools/call", call)
        assert heard(log)[3:] == ["tools/call"]  # what was read is used
        listed = client.call("tools/list")["tools"]
        assert [tool["inputSchema"].get("properties") for tool in listed if tool["name"] == "m::echo"] != [None]


@pytest.mark.parametrize(("era", "code"), [("legacy", -32603), ("modern", -32020)])
def test_a_call_whose_headers_are_right_by_the_list_is_not_made_again(
    shared: Any, tmp_path: Path, era: str, code: int
) -> None:
    log = tmp_path / "log"
    with raw_http("modern-only", "mirrors=never", f"log={log}") as url, RawClient(shared.url, era) as client:
        shared.add(m={"url": url + "/mcp"})
        error = client.error("tools/call", {"name": "m::echo", "arguments": REGION})
        assert (error["code"], error["message"]) == (code, "Mcp-Param-Region does not match")
        assert error["data"] == {"kept": [1]}
        assert heard(log) == ["tools/call", "tools/list"]


def test_headers_that_nobody_here_knows_go_on(shared: Any) -> None:
    with raw_http("modern", "headers") as url, RawClient(shared.url, "modern") as client:
        shared.add(h={"url": url + "/mcp", "headers": {"Mcp-Param-Fixed": "ours"}})
        client.extra = {
            "Mcp-Param-Region": "eu", "mcp-param-Tenant": "=?base64?w7w=?=", "Mcp-Param-Fixed": "theirs",
            "X-Api-Key": "for the proxy",
        }  # fmt: skip
        got = json.loads(
            client.call("tools/call", {"name": "h::echo", "arguments": {"region": "eu"}})["content"][0]["text"]
        )
        mine = {name: text for name, text in got.items() if name.startswith("mcp-param-")}
        assert mine == {
            "mcp-param-region": "eu", "mcp-param-tenant": "=?base64?w7w=?=", "mcp-param-fixed": "ours"
        }  # fmt: skip
        assert "x-api-key" not in got


def test_a_server_over_stdio_has_no_headers(shared: Any) -> None:
    with RawClient(shared.url, "modern") as client:
        shared.add(s=raw("modern", "headers"))
        client.extra = {"Mcp-Param-Region": "eu", "Mcp-Param-Tenant": "acme"}
        assert client.call("tools/call", {"name": "s::echo", "arguments": {"region": "eu"}})["content"]
