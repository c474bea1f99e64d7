"""Backends over HTTP: large messages, refused ones, broken responses, headers; and what each costs the others."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    RawClient,
    raw,
    raw_http,
    until,
    whole_lines,
)

MEGABYTE = 1024 * 1024


def say(client: RawClient, name: str, **arguments: Any) -> dict[str, Any]:
    return client.exchange("tools/call", {"name": name, "arguments": arguments})


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("path", ["mcp", "sse"])
def test_large_messages_both_ways(shared: Any, path: str, era: str) -> None:
    with raw_http("modern", f"big={3 * MEGABYTE}") as url, RawClient(shared.url, era) as client:
        shared.add(big={"url": f"{url}/{path}"})
        content = say(client, "big::echo", text="y" * 6 * MEGABYTE)["result"]["content"][0]["text"]
        seen = json.loads(content.rstrip("x"))
        assert (seen["era"], len(seen["params"]["arguments"]["text"])) == (era, 6 * MEGABYTE)
        assert len(content) > 9 * MEGABYTE


@pytest.mark.parametrize("path", ["mcp", "sse"])
@pytest.mark.parametrize("status", [413, 500, 307])
def test_a_refused_message_fails_its_request_and_nothing_else(shared: Any, path: str, status: int) -> None:
    with raw_http(f"status:tools/call={status}") as url, RawClient(shared.url, "legacy") as client:
        shared.add(picky={"url": f"{url}/{path}"})
        for _ in range(2):
            error = say(client, "picky::echo")["error"]
            if path == "sse":
                assert f"did not take the request: HTTP {status}" in error["message"]
            assert client.call("prompts/get", {"name": "picky::greet"})
        assert shared.status()["picky"]["state"] == "ready"


def test_a_response_that_breaks_off_fails_its_request_and_nothing_else(shared: Any) -> None:
    with (
        raw_http("cut:tools/call", "slow:prompts/get=0.5") as url,
        RawClient(shared.url, "legacy") as client,
        RawClient(shared.url, "legacy") as other,
    ):
        shared.add(cut={"url": f"{url}/mcp"})
        answers: list[Any] = []
        slow = threading.Thread(target=lambda: answers.append(other.exchange("prompts/get", {"name": "cut::greet"})))
        slow.start()
        assert say(client, "cut::echo")["error"]["code"] == -32700
        assert say(client, "cut::echo", whole=True)["result"]["content"]
        slow.join(10)
        assert "result" in answers[0]
        assert shared.status()["cut"]["state"] == "ready"


def test_a_request_without_any_response_fails_alone(shared: Any) -> None:
    with (
        raw_http("drop:tools/call", "drop:notifications/cancelled", "slow:prompts/get=0.5") as url,
        RawClient(shared.url, "legacy") as client,
        RawClient(shared.url, "legacy") as other,
    ):
        shared.add(drop={"url": f"{url}/mcp", "timeout": 20})
        answers: list[Any] = []
        slow = threading.Thread(target=lambda: answers.append(other.exchange("prompts/get", {"name": "drop::greet"})))
        slow.start()
        error = say(client, "drop::echo")["error"]
        assert (error["code"], "could not be sent" in error["message"]) == (-32603, True)
        slow.join(10)
        assert "result" in answers[0]
        assert shared.status()["drop"]["state"] == "ready"


def test_a_connection_is_not_kept_until_the_server_closes_it(shared: Any, tmp_path: Path) -> None:
    """Most servers do after five seconds; a request that is on its way then is lost."""
    log = tmp_path / "log"
    with raw_http("closing", f"log={log}") as url, RawClient(shared.url, "legacy") as client:
        shared.add(closing={"url": f"{url}/mcp"})
        assert client.call("tools/call", {"name": "closing::echo"})["content"]
        # After each message a connection waits for the next one.
        until(lambda: (lines := whole_lines(log)).count("waited") == len(lines) / 2)
        assert client.call("tools/call", {"name": "closing::echo"})["content"]


def test_a_notification_that_is_never_acknowledged_holds_nobody_up_for_long(shared: Any) -> None:
    with raw_http("slow:tools/call=20", "hang:notifications/cancelled") as url:
        shared.add(busy={"url": f"{url}/mcp", "timeout": 0.3})
        with RawClient(shared.url, "legacy") as client:
            assert "did not answer tools/call within 0.3 s" in say(client, "busy::echo")["error"]["message"]
        shared.remove("busy")
        shared.add(busy={"url": f"{url}/mcp"})
        with RawClient(shared.url, "legacy") as client:
            assert client.call("prompts/get", {"name": "busy::greet"})


@pytest.mark.parametrize("path", ["mcp", "sse"])
def test_a_load_balancer_that_goes_by_a_cookie(shared: Any, path: str) -> None:
    with raw_http("sticky") as url, RawClient(shared.url, "legacy") as client:
        assert shared.add(sticky={"url": f"{url}/{path}"}).json()["added"] == ["sticky"]
        assert say(client, "sticky::echo")["result"]


def test_a_stream_that_is_not_ended_after_its_answer(shared: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with raw_http("keeps:tools/call", f"log={log}") as url, RawClient(shared.url, "legacy") as client:
        shared.add(keeping={"url": f"{url}/mcp"})
        for _ in range(3):
            assert say(client, "keeping::echo")["result"]
        until(lambda: whole_lines(log).count("left") == 3)


def test_a_lost_session_is_replaced(shared: Any) -> None:
    """Whatever error stands in the 404 (spec 2025-11-25, transports, session management)."""
    with raw_http("forgets") as url, RawClient(shared.url, "legacy") as client:
        shared.add(forgetful={"url": f"{url}/mcp"})
        assert say(client, "forgetful::echo")["result"]["content"]  # waits for the new session


@pytest.mark.parametrize("path", ["mcp", "sse", "stdio"])
def test_what_cannot_be_sent_fails_its_request_and_nothing_else(shared: Any, path: str) -> None:
    with raw_http("modern") as url, RawClient(shared.url, "modern") as client:
        shared.add(fine=raw("modern") if path == "stdio" else {"url": f"{url}/{path}"})
        error = say(client, "fine::echo", odd="\ud83d")["error"]
        assert (error["code"], "no lone surrogates" in error["message"]) == (-32700, True)
        assert say(client, "fine::echo")["result"]["content"]
        assert shared.status()["fine"]["state"] == "ready"


def test_an_era_that_cannot_be_asked_for_costs_once(shared: Any) -> None:
    with raw_http("drop:server/discover") as url, RawClient(shared.url, "modern") as client:
        shared.add(old={"url": f"{url}/mcp"})
        for _ in range(3):
            assert json.loads(say(client, "old::echo")["result"]["content"][0]["text"])["era"] == "legacy"


@pytest.mark.parametrize(("status", "words"), [(401, "HTTP 401 Unauthorized"), (404, "HTTP 404"), (599, "HTTP 599")])
@pytest.mark.parametrize("path", ["mcp", "sse"])
def test_a_server_that_wants_none_of_us(shared: Any, path: str, status: int, words: str) -> None:
    with raw_http(f"status:initialize={status}", f"status:server/discover={status}") as url:
        reason = shared.add(closed={"url": f"{url}/{path}"}).json()["failed"]["closed"]
    assert words in reason
    assert url in reason


def test_what_is_no_sse_server(shared: Any) -> None:
    with raw_http() as url:
        reason = shared.add(odd={"url": f"{url}/elsewhere/sse"}).json()["failed"]["odd"]
        assert f"{url}/elsewhere/sse answered HTTP 405" in reason
        reason = shared.add(odd={"url": f"{url}/mcp", "type": "sse"}).json()["failed"]["odd"]
        assert f"{url}/mcp answered HTTP 405" in reason
        assert 'use "type": "http"' in reason
    with raw_http("status:server/discover=405", "status:initialize=405") as url:
        reason = shared.add(odd={"url": f"{url}/mcp", "type": "http"}).json()["failed"]["odd"]
        assert 'use "type": "sse"' in reason


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_headers_toward_a_modern_server(shared: Any, era: str) -> None:
    """They name what the backend knows, not what the client said (spec 2026-07-28, streamable HTTP)."""
    with raw_http("modern-only", "headers", "odd-headers") as url, RawClient(shared.url, era) as client:
        shared.add(new={"url": f"{url}/mcp"})
        if era == "modern":  # which mirrors the argument to the proxy, too
            client.extra = {"Mcp-Param-Region": "=?base64?csOpZ2lvbg==?="}
        result = client.call("tools/call", {"name": "new::echo", "arguments": {"region": "région"}})
        seen = json.loads(result["content"][0]["text"])
        assert seen == {
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "echo",
            "mcp-param-region": "=?base64?csOpZ2lvbg==?=",
        }
        # A tool whose annotations are not valid must not be offered.
        assert [tool["name"] for tool in client.call("tools/list")["tools"]] == ["new::echo"]
        assert "'wrong' is left out" in shared.status()["new"]["error"]
        if era == "modern":
            client.extra = {}
            error = client.error("tools/call", {"name": "new::echo", "arguments": {"region": "x"}})
            assert error["code"] == -32020  # the argument is not mirrored, and the proxy is a server that checks


def test_a_modern_only_server_over_http(shared: Any) -> None:
    """Whatever it refuses `initialize` with, also with the code that the SDK uses for a lost connection."""
    with raw_http("modern-only", "error:initialize=-32000") as url:
        assert shared.add(new={"url": f"{url}/mcp"}).json()["failed"] == {}
        assert shared.status()["new"]["protocolVersion"] == "2026-07-28"
