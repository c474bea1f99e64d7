"""What clients send that is no message, or an odd one: every request that has an id is answered, over every transport.

Over HTTP what is wrong is 400 with a JSON-RPC error. Over stdio and SSE, where the answers come on a stream, so many
are waited for, and then that of a request that is in order: nothing stands between them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.processes import PATIENT, TIMEOUT, Process, Proxy, program, proxy, raw, write_config

HELLO = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "odd", "version": "0"}}
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": HELLO}).encode()
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
PING = b'{"jsonrpc":"2.0","id":"last","method":"ping"}'
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "odd", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

Exchange = Callable[..., tuple[int, list[Any]]]
"""Sends bytes, for which `count` answers come; returns the status, which is 0 over stdio, and the answers."""


def asked(number: str, method: str = "ping", params: str = "{}", more: str = "") -> bytes:
    return f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}{more}}}'.encode()


def deep(depth: int) -> bytes:
    return asked("2", params='{"x":' + "[" * depth + "]" * depth + "}")


WRONG: dict[str, tuple[bytes, Any, int, str]] = {
    "params: []": (asked("2", "tools/list", "[]"), 2, -32602, "params"),
    "params: 7": (asked('"q"', "tools/list", "7"), "q", -32602, "params"),
    "params: text": (asked("2", "tools/call", '"x"'), 2, -32602, "params"),
    "_meta: 7": (asked("2", params='{"_meta":7}'), 2, -32602, "_meta"),
    "id: null": (asked("null"), None, -32600, "id"),
    "id: true": (asked("true"), None, -32600, "id"),
    "id: []": (asked("[]"), None, -32600, "id"),
    "id: no number": (asked("1e400"), None, -32600, "id"),
    "id: no text": (asked('"a\\ud800"'), "a\ud800", -32700, "surrogate"),
    "no jsonrpc": (b'{"id":2,"method":"ping"}', 2, -32600, "jsonrpc"),
    "jsonrpc: 1.0": (b'{"jsonrpc":"1.0","id":2,"method":"ping"}', 2, -32600, "jsonrpc"),
    "jsonrpc: a number": (b'{"jsonrpc":2.0,"id":2,"method":"ping"}', 2, -32600, "jsonrpc"),
    "method: 7": (b'{"jsonrpc":"2.0","id":2,"method":7}', 2, -32600, "method"),
    "method: null": (b'{"jsonrpc":"2.0","id":2,"method":null}', 2, -32600, "neither"),
    "no method": (b'{"jsonrpc":"2.0","id":2}', 2, -32600, "neither a request nor an answer"),
    "no UTF-8": (b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"x":"\xff"}}', 2, -32700, "utf-8"),
    "a lone surrogate": (asked("2", params='{"x":"\\ud800"}'), 2, -32700, "surrogate"),
    "a raw surrogate": (b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"x":"\xed\xa0\x80"}}', 2, -32700, "utf-8"),
    "NaN": (asked("2", params='{"x":NaN}'), 2, -32700, "byte"),
    "NUL": (asked("2", params='{"x":"\0"}'), 2, -32700, "byte"),
    "NUL behind it": (asked("2") + b"\0", 2, -32700, "trailing"),
    "a comma too many": (b'{"jsonrpc":"2.0","id":2,"method":"ping",}', 2, -32700, "comma"),
    "cut": (b'{"jsonrpc":"2.0","id":2,"method":"pi', 2, -32700, "truncated"),
    "too deep": (deep(100_000), 2, -32700, "recursion"),
    "an empty batch": (b"[]", None, -32600, "batch"),
    "rubbish": (b"rubbish", None, -32700, "byte"),
    "a number": (b"7", None, -32600, "object"),
}
"""What is sent, and the id, code and a word of the error."""

TAKEN: dict[str, tuple[bytes, Any, int | None]] = {
    "params: null": (asked("2", params="null"), 2, None),
    "id: 3.0": (asked("3.0"), 3.0, None),
    "id: 1.5": (asked("1.5"), 1.5, None),
    "id: empty": (asked('""'), "", None),
    "id: huge": (asked("9" * 30), int("9" * 30), None),
    "id: negative": (asked("-1"), -1, None),
    "a result, too": (asked("2", more=',"result":{}'), 2, None),
    "nulls for nothing": (asked("2", more=',"result":null,"error":null'), 2, None),
    "byte order mark": (b"\xef\xbb\xbf" + asked("2"), 2, None),
    "CRLF": (asked("2") + b"\r", 2, None),
    "an unknown method": (asked("2", "x/y"), 2, -32601),
    "no name": (asked("2", ""), 2, -32601),
    "a notification with id": (asked("2", "notifications/initialized"), 2, -32601),
    "a method of clients": (asked("2", "sampling/createMessage"), 2, -32601),
    "no tool": (asked("2", "tools/call"), 2, -32602),
    "a tool called 7": (asked("2", "tools/call", '{"name":7}'), 2, -32602),
}
"""What is sent, its id, and the code of an error."""


def until_last(count: int, read: Callable[[], str], ask_last: Callable[[], object]) -> list[Any]:
    answers = [json.loads(read()) for _ in range(count)]
    ask_last()
    assert json.loads(read()) == {"jsonrpc": "2.0", "id": "last", "result": {}}
    return answers


@contextmanager
def over_stdio(config: Path) -> Iterator[Exchange]:
    command = [sys.executable, *program(PATIENT), "--config", str(config)]
    process = Process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        stdin, stdout = process.popen.stdin, process.popen.stdout
        assert stdin is not None
        assert stdout is not None

        def exchange(data: bytes, count: int = 1) -> tuple[int, list[Any]]:
            os.write(stdin.fileno(), data + b"\n")
            return 0, until_last(count, lambda: stdout.readline(), lambda: os.write(stdin.fileno(), PING + b"\n"))

        exchange(INITIALIZE + b"\n" + INITIALIZED)
        yield exchange
        stdin.close()
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()


@contextmanager
def over_sse(running: Proxy) -> Iterator[Exchange]:
    with httpx2.Client(timeout=TIMEOUT, trust_env=False) as http, http.stream("GET", running.url + "/sse") as stream:
        events = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
        url = running.url + next(events)

        def exchange(data: bytes, count: int = 1) -> tuple[int, list[Any]]:
            response = http.post(url, content=data, headers=JSON)
            if response.status_code == 400:
                return 400, [response.json()]
            return response.status_code, until_last(
                count, lambda: next(events), lambda: http.post(url, content=PING, headers=JSON)
            )

        exchange(INITIALIZE)
        exchange(INITIALIZED, 0)
        yield exchange


@contextmanager
def over_http(running: Proxy) -> Iterator[Exchange]:
    with httpx2.Client(timeout=TIMEOUT, trust_env=False, headers=JSON) as http:

        def exchange(data: bytes, count: int = 1) -> tuple[int, list[Any]]:
            response = http.post(running.url + "/mcp", content=data)
            if session := response.headers.get("mcp-session-id"):
                http.headers["Mcp-Session-Id"] = session
            if not response.content:
                return response.status_code, []
            found = response.json()
            return response.status_code, found if isinstance(found, list) else [found]

        exchange(INITIALIZE)
        exchange(INITIALIZED)
        yield exchange


@contextmanager
def over_modern_http(running: Proxy) -> Iterator[Exchange]:
    with httpx2.Client(timeout=TIMEOUT, trust_env=False, headers=JSON) as http:

        def exchange(data: bytes, count: int = 1) -> tuple[int, list[Any]]:
            meta = f'"params":{{"_meta":{json.dumps(MODERN)}'.encode()
            data = data.replace(b'"params":{}', meta + b"}").replace(b'"params":{"x"', meta + b',"x"')
            data = data.replace(b'"params":{"name"', meta + b',"name"')
            headers = {"MCP-Protocol-Version": "2026-07-28"}
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                method = json.loads(data.lstrip(b"\xef\xbb\xbf"))["method"]
                headers |= {"Mcp-Method": method} if isinstance(method, str) else {}
            response = http.post(running.url + "/mcp", content=data, headers=headers)
            return response.status_code, [response.json()] if response.content else []

        yield exchange


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("odd"), {"raw": raw("modern")}) as started:
        yield started.wait_ready()


@pytest.fixture(scope="module", params=["stdio", "sse", "http", "modern"])
def path(request: pytest.FixtureRequest, running: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    config = write_config(tmp_path_factory.mktemp("odd") / "mcp.json", {"raw": raw("modern")})
    over = {"stdio": over_stdio, "sse": over_sse, "http": over_http, "modern": over_modern_http}[request.param]
    with over(config if request.param == "stdio" else running) as exchange:  # type: ignore[operator]
        yield request.param, exchange


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_answered(path: tuple[str, Exchange], case: str) -> None:
    data, number, code, word = WRONG[case]
    transport, exchange = path
    if transport == "modern" and case in ("_meta: 7", "an empty batch"):
        code, word = (-32602, "_meta") if case == "_meta: 7" else (-32600, "array")
    status, [error] = exchange(data)
    assert status == {"stdio": 0, "sse": 400 if number is None and case != "id: no number" else 202}.get(transport, 400)
    assert (error["id"], error["error"]["code"]) == (number, code)
    assert word in error["error"]["message"]


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_odd_is_answered(path: tuple[str, Exchange], case: str) -> None:
    data, number, code = TAKEN[case]
    transport, exchange = path
    if transport == "modern":
        data = data.replace(b'"ping"', b'"tools/list"').replace(b'"params":null', b'"params":{}')
        if b'"name":7' in data:
            code = -32020  # its header is missing
    _, [answer] = exchange(data)
    assert answer["id"] == number
    assert answer.get("error", {}).get("code") == code


def test_nothing_is_answered_to_what_asks_nothing(path: tuple[str, Exchange]) -> None:
    transport, exchange = path
    null = b'{"jsonrpc":"2.0","id":null,"method":"notifications/x"}'
    for data in (b'{"jsonrpc":"2.0","method":"x"}', null, b'{"jsonrpc":"2.0","id":77,"result":{}}'):
        if transport != "modern" or b"method" in data:
            assert exchange(data, 0) == (0 if transport == "stdio" else 202, [])


def test_batches_are_answered(path: tuple[str, Exchange]) -> None:
    transport, exchange = path
    parts = [asked("2"), INITIALIZED, b"7", b"[" + asked("3") + b"]", asked("4", "tools/list"), asked("5", "x/y")]
    status, answers = exchange(b"[" + b",".join(parts) + b"]\r", 5)
    if transport == "modern":
        assert (status, answers[0]["error"]["code"]) == (400, -32600)
        return
    assert status == {"stdio": 0, "sse": 202, "http": 200}[transport]
    assert sorted(str(each["id"]) for each in answers) == ["2", "4", "5", "None", "None"]
    assert exchange(b"[" + INITIALIZED + b"]", 0) == (0 if transport == "stdio" else 202, [])


def test_a_batch_must_not_greet(path: tuple[str, Exchange]) -> None:
    transport, exchange = path
    if transport == "http":
        _, [refused, answer] = exchange(b"[" + INITIALIZE + b"," + asked("2") + b"]")
        assert (refused["id"], refused["error"]["code"], answer["id"]) == ("hello", -32600, 2)


@pytest.mark.parametrize("end", [b"\n", b""])
def test_requests_piped_in_are_all_answered(tmp_path: Path, end: bytes) -> None:
    """All at once, and so before their server is up."""
    config = write_config(tmp_path / "mcp.json", {"slow": raw("slow:initialize=1")})
    calls = [asked(str(number), "tools/call", '{"name":"slow::echo"}') for number in range(5)]
    piped = b"\n".join([INITIALIZE, INITIALIZED, *calls, PING]) + end
    command = [sys.executable, *program(), "--config", str(config)]
    done = subprocess.run(command, input=piped, capture_output=True, timeout=TIMEOUT, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {answer["id"] for answer in answers if "result" in answer} == {"hello", *range(5), "last"}
