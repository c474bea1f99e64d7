"""What servers may cost us: over a bound the one message fails, the log names it, and others notice nothing."""

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Proxy, RawClient, proxy, raw, raw_http, until

LIMIT = 200_000


def say(client: RawClient, name: str, **arguments: Any) -> dict[str, Any]:
    return client.exchange("tools/call", {"name": name, "arguments": arguments})


def warned(proxy: Proxy, server: str, words: str) -> list[str]:
    return [line for line in proxy.lines if f"{server}: " in line and words in line]


@pytest.mark.parametrize("path", ["stdio", "mcp", "sse"])
def test_an_answer_that_is_too_large(tmp_path: Path, path: str) -> None:
    with raw_http(f"big={LIMIT}") as url:
        big = raw(f"big={LIMIT}") if path == "stdio" else {"url": f"{url}/{path}"}
        with proxy(tmp_path, {"big": big, "small": raw()}, "--max-message", str(LIMIT)) as here:
            here.wait_ready()
            with RawClient(here.url, "legacy") as client:
                error = say(client, "big::echo")["error"]
                assert error["code"] == -32700
                until(lambda: warned(here, "big", "--max-message"))
                assert say(client, "small::echo")["result"]["content"]
                assert client.call("prompts/get", {"name": "big::greet"})  # the connection goes on
            assert len(warned(here, "big", "--max-message")) == 1
            assert here.status()["big"]["state"] == "ready"


@contextmanager
def answering(encoding: str, body: bytes) -> Iterator[str]:
    """A legacy server whose answers to calls have this content encoding, and all have this `body` in them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(405, b"")

        def do_DELETE(self) -> None:
            self.reply(405, b"")

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            results = {
                "initialize": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "packed", "version": "1"},
                },
                "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
            }
            if "id" not in message:
                return self.reply(202, b"")
            if message["method"] == "tools/call":
                text = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"x":"%s"}}' % (message["id"], body)
                if "odd" in message["params"]["arguments"]:
                    return self.reply(200, text, encoding)
                packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
                return self.reply(200, packed, encoding)
            answer: dict[str, Any] = {"error": {"code": -32601, "message": "what?"}}
            if message["method"] in results:
                answer = {"result": results[message["method"]]}
            return self.reply(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode())

        def reply(self, status: int, body: bytes, encoding: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if encoding:
                self.send_header("Content-Encoding", encoding)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mcp"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answers(tmp_path: Path, encoding: str) -> None:
    with (
        answering(encoding, b"y") as fine,
        answering(encoding, b"y" * 100 * LIMIT) as bomb,
        proxy(tmp_path, {"fine": {"url": fine}, "bomb": {"url": bomb}}, "--max-message", str(LIMIT)) as here,
    ):
        here.wait_ready()
        with RawClient(here.url, "legacy") as client:
            assert say(client, "fine::echo")["result"]["x"] == "y"
            assert say(client, "bomb::echo")["error"]["code"] == -32700
            until(lambda: warned(here, "bomb", "--max-message"))
            assert "error" in say(client, "fine::echo", odd=True)  # not compressed, whatever its header says
            assert say(client, "fine::echo")["result"]["x"] == "y"


@pytest.mark.parametrize("path", ["stdio", "mcp", "sse"])
def test_calls_in_flight(tmp_path: Path, path: str) -> None:
    log = tmp_path / "log"
    behaviours = ("slow:prompts/get=3", f"log={log}")
    with raw_http(*behaviours) as url:
        slow = raw(*behaviours) if path == "stdio" else {"url": f"{url}/{path}"}
        with proxy(tmp_path, {"slow": slow, "other": raw()}, "--max-server-calls", "1") as here:
            here.wait_ready()
            with RawClient(here.url, "legacy") as client, RawClient(here.url, "legacy") as second:
                assert say(second, "slow::echo")["result"]["content"]
                answers: list[Any] = []
                waiting = threading.Thread(
                    target=lambda: answers.append(client.exchange("prompts/get", {"name": "slow::greet"}))
                )
                waiting.start()
                until(lambda: "prompts/get" in log.read_text())
                assert "1 calls in flight already" in say(second, "slow::echo")["error"]["message"]
                assert say(second, "other::echo")["result"]["content"]
                waiting.join(20)
                assert answers[0]["result"]["messages"]
                assert say(second, "slow::echo")["result"]["content"]
            assert len(warned(here, "slow", "--max-server-calls")) == 1


@pytest.mark.parametrize("path", ["stdio", "mcp", "sse"])
def test_a_server_that_does_not_read(tmp_path: Path, path: str) -> None:
    with raw_http("deaf=500000") as url:
        deaf = raw("deaf:tools/call", timeout=2) if path == "stdio" else {"url": f"{url}/{path}", "timeout": 2}
        with proxy(tmp_path, {"deaf": deaf, "other": raw()}, "--max-unread", "1000000") as here:
            here.wait_ready()
            with RawClient(here.url, "legacy") as client, RawClient(here.url, "legacy") as other:
                say(client, "deaf::echo")
                errors: list[str] = []
                threads = [threading.Thread(target=lambda: errors.append(large_call(here))) for _ in range(4)]
                for thread in threads:
                    thread.start()
                until(lambda: warned(here, "deaf", "--max-unread"))
                assert say(other, "other::echo")["result"]["content"]
                for thread in threads:
                    thread.join(20)
                assert any("does not read" in error for error in errors)
                assert any("did not answer" in error for error in errors)
                # What was given up leaves: there is room again, and the next one is waited for.
                until(lambda: "did not answer" in large_call(here))


def large_call(here: Proxy) -> str:
    """What goes wrong with a request of 600 kB to `deaf`."""
    with RawClient(here.url, "legacy") as client:
        answer = client.exchange("prompts/get", {"name": "deaf::greet", "arguments": {"x": "x" * 600_000}})
        return str(answer["error"]["message"])
