"""What crosses the proxy crosses as it was sent; what belongs to one hop does not cross."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.processes import TIMEOUT, Proxy, RawClient

ERAS = ("legacy", "modern")
META = "io.modelcontextprotocol/"


@pytest.fixture(params=ERAS)
def client(one_raw: Proxy, request: pytest.FixtureRequest) -> Any:
    with RawClient(one_raw.url, request.param) as client:
        yield client


def test_results_keep_unknown_fields_and_types(client: RawClient) -> None:
    result = client.call("tools/call", {"name": "raw::echo", "arguments": {"odd": True}})
    assert result["content"][1] == {"type": "vendor/hologram", "depth": 3, "nested": {"uri": "raw://kept"}}
    assert result["vendorField"] == {"deep": [{"a": None}]}
    assert result["structuredContent"] == {"big": 2**60, "exact": 0.1, "text": "ÄÖ€😀\u2028"}
    meta: dict[str, Any] = {"vendor.example/mark": [1, 2.5, "three"]}
    if client.era == "modern":
        assert result["resultType"] == "complete"
        meta[META + "serverInfo"] = result["_meta"][META + "serverInfo"]
        assert meta[META + "serverInfo"]["name"] == "multi-mcp"
    else:
        assert "resultType" not in result
        assert "ttlMs" not in result
    assert result["_meta"] == meta


def test_params_keep_unknown_fields_and_meta(client: RawClient) -> None:
    sent = {
        "arguments": {"n": 2**60, "x": [1.5, None, {"ü": "\u2028"}]},
        "vendorParam": {"k": [True]},
        "_meta": {"vendor.example/trace": {"a": 1}, "progressToken": "mine"},
    }
    result = client.call("tools/call", {"name": "raw::echo", **sent})
    got = json.loads(result["content"][0]["text"])
    assert got["era"] == client.era
    params = got["params"]
    assert (params["name"], params["arguments"], params["vendorParam"]) == (
        "echo",
        sent["arguments"],
        sent["vendorParam"],
    )
    meta = params["_meta"]
    assert meta.pop("vendor.example/trace") == {"a": 1}
    if client.era == "modern":
        assert meta.pop(META + "clientInfo")["name"] == "multi-mcp"
        assert meta.pop(META + "protocolVersion") == "2026-07-28"
        assert meta.pop(META + "clientCapabilities") == {}
    # Two clients may have the same progress token.
    assert meta.pop("progressToken") != "mine"
    assert meta == {}


def test_list_entries_keep_unknown_fields(client: RawClient) -> None:
    tools = client.call("tools/list")["tools"]
    assert [(tool["name"], tool["vendorKey"]) for tool in tools] == [("raw::echo", {"x": [1]})]
    prompts = client.call("prompts/list")
    assert prompts["prompts"] == [{"name": "raw::greet", "vendor": 1}]
    hints = {key: prompts[key] for key in ("ttlMs", "cacheScope") if key in prompts}
    # A legacy connection gave no hints, until the modern one was opened by a modern client's call.
    expected = (
        [{}]
        if client.era == "legacy"
        else [
            {"ttlMs": 0, "cacheScope": "private"},
            {"ttlMs": 7000, "cacheScope": "public"},
        ]
    )
    assert hints in expected


def test_a_modern_call_makes_modern_lists(one_raw: Proxy) -> None:
    with RawClient(one_raw.url, "modern") as modern, RawClient(one_raw.url, "legacy") as legacy:
        modern.call("tools/call", {"name": "raw::echo"})
        page = modern.call("tools/list")
        assert page["tools"][0]["description"] == "modern"
        assert (page["ttlMs"], page["cacheScope"]) == (7000, "public")
        assert legacy.call("tools/list")["tools"][0]["description"] == "legacy"


def test_lists_are_the_same_bytes_each_time(client: RawClient) -> None:
    first, second = (json.dumps(client.call("tools/list")) for _ in range(2))
    assert first == second


def test_prompts_resources_and_completion(client: RawClient) -> None:
    prompt = client.call("prompts/get", {"name": "raw::greet"})
    assert prompt["description"] == "raw"
    assert prompt["messages"][0]["content"]["resource"] == {"uri": "raw://one", "text": "1"}
    read = client.call("resources/read", {"uri": "raw://item/7"})
    assert read["contents"] == [{"uri": "raw://item/7", "text": "raw: raw://item/7"}]
    if client.era == "modern":
        # the backend's own hints
        assert (read["ttlMs"], read["cacheScope"]) == (7000, "public")
    for ref, own in (
        ({"type": "ref/prompt", "name": "raw::greet", "v": 1}, {"type": "ref/prompt", "name": "greet", "v": 1}),
        ({"type": "ref/resource", "uri": "raw://item/{id}"}, {"type": "ref/resource", "uri": "raw://item/{id}"}),
    ):
        done = client.call("completion/complete", {"ref": ref, "argument": {"name": "a", "value": ""}})
        assert done["completion"]["values"][0] == "raw"
        assert json.loads(done["completion"]["values"][1]) == own


def test_the_introduction_says_the_truth(client: RawClient) -> None:
    changing = {"listChanged": True}
    assert client.hello["capabilities"] == {
        "tools": changing,
        "prompts": changing,
        "resources": changing,
        "completions": {},
    }
    assert client.hello["instructions"] == "# raw\n\nI am raw."
    if client.era == "legacy":
        assert client.hello["protocolVersion"] == "2025-11-25"
        assert client.hello["serverInfo"]["name"] == "multi-mcp"
    else:
        assert client.hello["supportedVersions"] == ["2026-07-28"]
        assert client.hello["_meta"][META + "serverInfo"]["name"] == "multi-mcp"
        assert {"resultType", "ttlMs", "cacheScope"} <= client.hello.keys()


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("tools/call", {"name": "nobody::has"}, -32602, "Unknown tool: nobody::has"),
        ("tools/call", {"name": "ech"}, -32602, "Unknown tool: ech"),
        ("tools/call", {}, -32602, "name must be a string"),
        ("prompts/get", {"name": "raw::nothing"}, -32602, "Unknown prompt: raw::nothing"),
        ("tools/list", {"cursor": "made up"}, -32602, "cursor"),
        ("completion/complete", {"argument": {}}, -32602, "ref"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}}, -32602, "Unknown prompt"),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}, -32602, "name must be a string"),
        ("vendor/unknown", {}, -32601, "no vendor/unknown"),
    ],
)
def test_wrong_requests_get_the_protocols_errors(
    client: RawClient, method: str, params: dict[str, Any], code: int, words: str
) -> None:
    error = client.error(method, params)
    assert error["code"] == code
    assert words in error["message"]


def test_a_request_before_initialize_is_refused(one_raw: Proxy) -> None:
    """Over SSE: streamable HTTP itself wants a session first."""
    with httpx2.Client(timeout=TIMEOUT, trust_env=False) as http, http.stream("GET", one_raw.url + "/sse") as stream:
        events = stream.iter_lines()
        endpoint = one_raw.url + next(line for line in events if line.startswith("data: "))[6:]
        http.post(endpoint, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        answer = json.loads(next(line for line in events if line.startswith("data: "))[6:])
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)
    assert "before initialize" in answer["error"]["message"]


def test_ping_is_answered(one_raw: Proxy) -> None:
    with RawClient(one_raw.url, "legacy") as client:
        assert client.call("ping") == {}


def test_the_event_stream_is_opened_by_get(one_raw: Proxy) -> None:
    assert one_raw.http("POST", "/sse").status_code == 405
