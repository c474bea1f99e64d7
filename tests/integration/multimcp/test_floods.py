"""What a hostile server can send without end: it harms itself, and nobody else. A test for each row of
docs/operations.md that is about servers; tests/support/hostile.py has the floods."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import hostile
from tests.support.flood import push, told
from tests.support.processes import Process, Proxy, RawClient, proxy, raw, until

HOSTILE = str(Path(hostile.__file__))
TRANSPORTS = ("stdio", "http")


def over_stdio(*options: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [HOSTILE, "stdio", *options], **more}


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = Process(sys.executable, HOSTILE, "http")
    yield server.expect(r"listening on (http://\S+)")[1]
    server.kill()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, web: str) -> Iterator[Proxy]:
    """A proxy in front of a hostile server over each transport, and of one that means well."""
    servers = {
        "stdio": over_stdio(timeout=30),
        "http": {"url": f"{web}/mcp", "timeout": 30},
        "sse": {"url": f"{web}/sse", "type": "sse", "timeout": 30},
        "ok": raw("modern"),
    }
    bounds = ("--max-message=1MiB", "--max-unread=4MiB")
    with proxy(tmp_path_factory.mktemp("floods"), servers, *bounds) as running:
        yield running.wait_ready()


def call(here: Proxy, server: str, tool: str) -> dict[str, Any]:
    """What a client gets that sets off a flood."""
    client = RawClient(here.url, "legacy")
    client.capabilities = {"sampling": {}, "elicitation": {"url": {}}, "roots": {}}
    with client:
        params = {"name": f"{server}::{tool}", "arguments": {}, "_meta": {"progressToken": 1}}
        return client.exchange("tools/call", params)


def flood(here: Proxy, server: str, tool: str) -> None:
    call(here, server, tool)
    until(lambda: here.status()[server]["state"] == "ready")


@pytest.mark.parametrize("server", TRANSPORTS)
def test_a_message_without_end(here: Proxy, server: str) -> None:
    push("A message", here, partial(flood, here, server, "line"), f"{server}: sent a message of .*--max-message")


@pytest.mark.parametrize(
    ("server", "what"), [("stdio", "noise"), ("http", "noise"), ("http", "blank"), ("stdio", "batch")]
)
def test_what_is_no_message(here: Proxy, server: str, what: str) -> None:
    line = f"{server}: sends what is not MCP" if what == "noise" else None
    push("What a server writes that is no MCP", here, partial(flood, here, server, what), line)


@pytest.mark.parametrize(
    ("server", "what"),
    [
        ("stdio", "logs"),
        ("http", "large logs"),
        ("stdio", "progress"),
        ("http", "changes"),
        ("stdio", "updates"),
        ("http", "pings"),
    ],
)
def test_what_nobody_asked_for(here: Proxy, server: str, what: str) -> None:
    push("Messages of a server that nobody asked for", here, partial(flood, here, server, what), None)
    assert len(told(here, f"{server}: (sends more than|does not take|asks more than) ")) <= 3


@pytest.mark.parametrize(
    ("server", "what"),
    [("http", "questions"), ("http", "large ids"), ("http", "elicitations")],
)
def test_questions(here: Proxy, server: str, what: str) -> None:
    push("Questions of a server", here, partial(flood, here, server, what), None)
    assert len(told(here, f"{server}: (sends more than|does not take|asks more than) ")) <= 3


def test_answers_that_belong_to_nothing(here: Proxy) -> None:
    line = "stdio: answered under an id that is none of ours"
    push("Answers of a server under ids", here, partial(flood, here, "stdio", "strange errors"), line)


@pytest.mark.parametrize("what", ["gzip", "deflate", "br", "gzip twice", "transfer gzip", "document", "small chunks"])
def test_a_document_without_end(here: Proxy, what: str) -> None:
    # One line a minute for this bound, so it may be that of a line or an event that came before.
    line = "http: (sent a message of|answered .* with more than)" if what in ("gzip", "deflate", "document") else None
    push("A message", here, partial(flood, here, "http", what), line)


@pytest.mark.parametrize(
    "what", ["status", "header", "headers", "interim", "extension", "trailer", "trailers", "location", "redirects"]
)
def test_what_is_no_body(here: Proxy, what: str) -> None:
    push("The head of a response", here, partial(flood, here, "http", what), None)
    message = call(here, "http", what)["error"]["message"]
    assert "could not be sent" not in message or what in ("location", "redirects")


def test_a_document_that_says_it_is_too_large(here: Proxy) -> None:
    assert "with more than 1,048,576 bytes" in call(here, "http", "declared")["error"]["message"]


@pytest.mark.parametrize("what", ["event lines", "event name", "comments"])
def test_parts_of_events(here: Proxy, what: str) -> None:
    push("The id or the name of an event", here, partial(flood, here, "http", what), None)


def test_stderr(here: Proxy) -> None:
    push("Lines of a server on stderr", here, partial(flood, here, "stdio", "stderr"), None)
    until(lambda: told(here, r"stdio: stderr: \(.*lines left out"))
    assert len(told(here, "stdio: stderr: ")) < 1000


@pytest.mark.parametrize("what", [each for each in hostile.GREETINGS if each])
def test_a_greeting_without_end(tmp_path: Path, what: str) -> None:
    with proxy(tmp_path, {"ok": raw("modern")}) as here:
        here.wait_ready()
        big = over_stdio(f"greeting={what}")
        line = "big: failed: introduces itself with .* bytes, and may with 1,048,576"
        push("What a server says of itself", here, partial(here.add, big=big), line)


LISTS = {
    "many": r"tools/list: of more than 20,000 entries or 16,777,216 bytes the rest is left out",
    "large": r"tools/list: an entry of .* bytes is left out",
    "pages": r"tools/list: of more than 20,000 entries or 16,777,216 bytes the rest is left out",
    "cursors": r"tools/list: its pages never end",
    "names": r"tools/list: an entry of .* bytes is left out",
    "schema": r"tools/list: an entry of .* bytes is left out",
    "bad": r"tools/list: and 19,9.. more problems",
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_without_end(tmp_path: Path, what: str) -> None:
    with proxy(tmp_path, {"ok": raw("modern")}) as here:
        here.wait_ready()
        big = over_stdio(f"list={what}")

        def add() -> None:
            here.add(big=big)
            until(lambda: told(here, LISTS[what]), what=LISTS[what])
            here.remove("big")

        push("The entries of a list", here, add, None, memory=300)
        assert len(told(here, "big: ")) < 110
        assert max(map(len, here.lines)) < 1500


def test_cookies(tmp_path: Path) -> None:
    server = Process(sys.executable, HOSTILE, "http", "cookies=1")
    url = server.expect(r"listening on (http://\S+)")[1]
    with proxy(tmp_path, {"h": {"url": f"{url}/mcp"}, "ok": raw("modern")}) as here:
        here.wait_ready()
        push("Cookies of a server", here, partial(flood, here, "h", "links"), None)
        assert "result" in call(here, "h", "links")
    server.kill()


def test_an_endpoint_without_end(tmp_path: Path) -> None:
    server = Process(sys.executable, HOSTILE, "http", "endpoint=900000")
    url = server.expect(r"listening on (http://\S+)")[1]
    with proxy(tmp_path, {"h": {"url": f"{url}/sse"}, "ok": raw("modern")}) as here:
        state = partial(until, lambda: here.status()["h"]["state"] == "failed")
        push("The id or the name of an event", here, state, "h: failed: .* names no endpoint of its own")
    server.kill()
