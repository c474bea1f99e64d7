"""Who is let in over HTTP: reading the keys, the allowed hosts and origins, and the verdict on a request."""

import json
import logging
import secrets
from pathlib import Path
from typing import Any

import pytest

from multimcp.errors import ConfigError
from multimcp.serving.guard import (
    Access,
    Guard,
    Keys,
    Prefix,
    allowed_host,
    allowed_origin,
    is_loopback,
    network,
    root_path,
)

KEY = "MULTI_MCP_API_KEY"
KEY_FILE = "MULTI_MCP_API_KEY_FILE"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("one", ["one"]),
        ("one,two", ["one", "two"]),
        (" one ,\ttwo\n", ["one", "two"]),
        (",one,,two,", ["one", "two"]),
        ("!#$%&'*+-./:;<=>?@[]^_`{|}~\"\\", ["!#$%&'*+-./:;<=>?@[]^_`{|}~\"\\"]),
    ],
)
def test_keys(tmp_path: Path, text: str, good: list[str]) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8-sig")
    for keys in (Keys({KEY: text}), Keys({KEY_FILE: str(file)})):
        assert keys
        assert all(keys.have(key.encode()) for key in good)
        for bad in (b"", b" ", b",", b"on", b"onee", b"ONE", text.encode() + b"x", "ö".encode(), b"\xff"):
            assert not keys.have(bad)


@pytest.mark.parametrize("environ", [{}, {KEY: ""}, {KEY_FILE: ""}, {KEY: "", KEY_FILE: ""}])
def test_no_keys(environ: dict[str, str]) -> None:
    keys = Keys(environ)
    assert not keys
    assert not keys.have(b"")
    assert keys.file is None
    keys.read()
    assert not keys


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no key in it; write one there, or several with commas between them"),
        (" , \n", "has no key in it"),
        ("s3cret\ns3cret", "key 1 has characters that cannot be sent; use printable ASCII without spaces"),
        ("s3cret,s3cr\u00e9t", "key 2 has characters"),
        ("s3cret s3cret", "key 1 has characters"),
        ("s3cret\x7f", "key 1 has characters"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        Keys({KEY_FILE: str(file)})
    assert str(error.value).startswith(f"{KEY_FILE} ({file}): {problem}")
    assert "s3cr" not in str(error.value)
    if text:  # without any, the variable counts as not set
        with pytest.raises(ConfigError) as error:
            Keys({KEY: text})
        assert str(error.value).startswith(f"{KEY}: {problem}")
        assert "s3cr" not in str(error.value)


@pytest.mark.parametrize("content", ["s3cret".encode("utf-16"), "s3cr\u00e9t".encode("latin-1")])
def test_a_key_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="key 1 has characters that cannot be sent"):
        Keys({KEY_FILE: str(file)})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "(No such file or directory); correct the path, or create it"),
        ("", "(Is a directory); it is a folder; name a file in it"),
    ],
)
def test_a_key_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        Keys({KEY_FILE: str(tmp_path / name)})
    assert str(error.value) == f"{KEY_FILE} ({tmp_path / name}): cannot be read {reason}"


def test_both_at_once_is_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{KEY} and {KEY_FILE} are both set; unset one"):
        Keys({KEY: "one", KEY_FILE: str(tmp_path / "missing")})


def test_keys_are_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "key"
    file.write_text("old")
    keys = Keys({KEY_FILE: str(file)})
    assert keys.file == file
    file.write_text("old,new")
    assert not keys.have(b"new")
    keys.read()
    assert keys.have(b"old")
    assert keys.have(b"new")
    file.write_text("new")
    keys.read()
    assert not keys.have(b"old")
    assert keys.have(b"new")
    for spoil in (lambda: file.write_text(""), lambda: file.write_text("a b"), file.unlink):
        spoil()
        with pytest.raises(ConfigError):
            keys.read()
        assert keys.have(b"new"), "the keys were not kept"
    file.write_text("newest")
    keys.read()
    assert keys.have(b"newest")
    assert not keys.have(b"new")
    keys.read()
    assert caplog.messages == [f"{KEY_FILE} ({file}): changed"] * 3


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append({one, other})
        return secrets.compare_digest(one, other)

    monkeypatch.setattr("multimcp.serving.guard.compare_digest", compare)
    assert Keys({KEY: "a,b,c"}).have(b"a")
    assert compared == [{b"a"}, {b"a", b"b"}, {b"a", b"c"}]


def test_keys_do_not_show() -> None:
    keys = Keys({KEY: "s3cret"})
    access = Access("0.0.0.0", keys)
    assert "s3cret" not in f"{keys} {keys!r} {access} {access!r}"


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert not Access(host).is_open


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "example.com", "127.example.com", "127.0.0.1.nip.io"]
)
def test_an_address_that_others_reach(host: str) -> None:
    assert not is_loopback(host)
    assert Access(host).is_open
    assert not Access(host, Keys({KEY: "one"})).is_open


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("*", "*"),
        ("proxy.example.com", "proxy.example.com"),
        ("Multi-MCP.default.svc", "multi-mcp.default.svc"),
        ("my_service", "my_service"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_an_allowed_host(text: str, host: str) -> None:
    assert allowed_host(text) == host


@pytest.mark.parametrize(
    "text", ["http://a.example", "a.example/mcp", "a.example:8080", "a b", "*.example", "ü.example", "a@b", "", "[x]:1"]
)
def test_a_host_that_cannot_be_one(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        allowed_host(text)
    assert str(error.value) == (
        f"'{text}' is not a host; write its name or address alone, as in proxy.example.com, or * for any"
    )


@pytest.mark.parametrize(
    "text", ["*", "https://app.example.com", "http://a.example:8080", "vscode-webview://abc", "http://[::2]:1"]
)
def test_an_allowed_origin(text: str) -> None:
    assert allowed_origin(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/app",
        "https://me@app.example.com",
        "https://*.example.com",
        "https://app.example.com:99999",
        "https://app.example.com:x",
        "http://[::1",
        "null",
        "https://",
        "",
    ],
)
def test_an_origin_that_cannot_be_one(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        allowed_origin(text)
    assert str(error.value) == (
        f"'{text}' is not an origin; write it as browsers send it, as in https://app.example.com, or * for any"
    )


async def exchange(
    access: Access, path: str = "/mcp", *, kind: str = "http", method: str = "GET", **headers: str
) -> list[Any]:
    """The ASGI messages that a guarded application answers a request with; status 200 is its own."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "headers": raw} | ({"method": method} if kind == "http" else {})
    await Guard(app, access)(scope, None, send)  # type: ignore[arg-type]
    return sent


async def answer(*args: Any, **options: Any) -> tuple[int, Any]:
    """The status and the headers that a guarded application answers with."""
    start = (await exchange(*args, **options))[0]
    return start["status"], dict(start["headers"])


PUBLIC = Access("0.0.0.0")
NAMED = Access("Proxy.Example")
ALLOWING = Access(hosts=frozenset({"svc", "2001:db8::1"}), origins=frozenset({"https://app.example"}))
ANY = Access("0.0.0.0", hosts=frozenset("*"), origins=frozenset("*"))


@pytest.mark.parametrize(
    ("access", "host", "good"),
    [
        (Access(), "localhost:1", True),
        (Access(), "LOCALHOST", True),
        (Access(), "127.0.0.1", True),
        (Access("127.0.0.2"), "127.0.0.2:8080", True),
        (Access(), "[::1]:8080", True),
        (Access(), "127.0.0.1.evil.example", False),
        (Access(), "evil.example", False),
        (Access(), "10.0.0.1:8080", False),
        (Access(), "svc", False),
        (Access(), "", False),
        (Access(), None, False),
        (PUBLIC, "localhost", True),
        (PUBLIC, "10.0.0.1:8080", True),
        (PUBLIC, "[2001:db8::1]:30080", True),
        (PUBLIC, "proxy.example", False),
        (PUBLIC, "2130706433", False),
        (PUBLIC, "10.0.0.1.evil.example", False),
        (PUBLIC, None, False),
        (NAMED, "pROXY.example:8080", True),
        (NAMED, "10.0.0.1", True),
        (NAMED, "other.example", False),
        (ALLOWING, "SVC:8080", True),
        (ALLOWING, "[2001:db8::1]", True),
        (ALLOWING, "a.svc", False),
        (ALLOWING, "10.0.0.1", False),
        (ALLOWING, "app.example", False),
        (ANY, "evil.example", True),
        (ANY, None, True),
    ],
)
async def test_hosts(access: Access, host: str | None, good: bool) -> None:
    headers = {} if host is None else {"host": host}
    assert (await answer(access, **headers))[0] == (200 if good else 421)


@pytest.mark.parametrize(
    ("access", "origin", "good"),
    [
        (Access(), "http://localhost:3000", True),
        (Access(), "https://[::1]", True),
        (Access(), "http://evil.example", False),
        (Access(), "null", False),
        (Access(), "", False),
        (Access(), "http://[::1", False),
        (Access(), "http://localhost:3000.evil.example", False),
        (PUBLIC, "http://10.0.0.1:8080", False),
        (PUBLIC, "http://localhost", True),
        (NAMED, "http://proxy.example:8080", True),
        (ALLOWING, "https://app.example", True),
        (ALLOWING, "https://app.example:443", True),
        (ALLOWING, "https://APP.example", True),
        (ALLOWING, "http://app.example", False),
        (ALLOWING, "https://app.example:8443", False),
        (ALLOWING, "https://a.app.example", False),
        (ALLOWING, "http://svc", False),
        (ANY, "http://evil.example", True),
        (ANY, "null", True),
    ],
)
async def test_origins(access: Access, origin: str, good: bool) -> None:
    assert (await answer(access, host="localhost", origin=origin))[0] == (200 if good else 403)


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, False),
        ({"authorization": "Bearer one"}, True),
        ({"authorization": "bearer  two "}, True),
        ({"x_api_key": "two"}, True),
        ({"authorization": "Basic eDp5", "x_api_key": "one"}, True),
        ({"authorization": "Bearer one", "x_api_key": "stale"}, True),
        ({"authorization": "Bearer three"}, False),
        ({"authorization": "Bearer"}, False),
        ({"authorization": "one"}, False),
        ({"authorization": "Basic one"}, False),
        ({"authorization": "Bearer one,two"}, False),
        ({"x_api_key": ""}, False),
        ({"x_api_key": "one,two"}, False),
        ({"x_api_key": "Bearer one"}, False),
        ({"x_api_key": "\xf6ne"}, False),
        ({"api_key": "one"}, False),
    ],
)
async def test_the_key(headers: dict[str, str], good: bool) -> None:
    access = Access(keys=Keys({KEY: "one,two"}))
    for path in ("/mcp", "/sse", "/messages/", "/nowhere", "/", "/healthz/", "/healthz/x", "//healthz", "/readyz%20"):
        for kind in ("http", "websocket"):
            status, got = await answer(access, path, kind=kind, host="localhost", **headers)
            assert (status, got.get(b"www-authenticate")) == ((200, None) if good else (401, b"Bearer"))
    for path in ("/healthz", "/readyz"):
        assert (await answer(access, path, host="localhost", **headers))[0] == 200


REFUSALS: list[tuple[int, dict[str, str], str]] = [
    (421, {"host": "evil.example"}, "the Host header does not name this proxy; "),
    (403, {"host": "localhost", "origin": "http://evil.example"}, "the Origin header names a foreign web page; "),
    (401, {"host": "localhost"}, "an API key of this proxy is required; send it as 'Authorization: Bearer KEY' or "),
]


@pytest.mark.parametrize(("status", "headers", "words"), REFUSALS)
@pytest.mark.parametrize(
    ("method", "path", "content_type", "is_rpc"),
    [
        ("POST", "/mcp", "application/json", True),
        ("POST", "/mcp", "Application/JSON; charset=utf-8", True),
        ("POST", "/messages/", "application/json", True),
        ("POST", "/messages", "application/json", True),
        ("POST", "/sse", "application/json", True),  # a client of streamable HTTP that was given the wrong URL
        ("POST", "/mcp", "text/plain", False),
        ("POST", "/mcp", None, False),
        ("GET", "/mcp", None, False),
        ("GET", "/mcp", "application/json", False),
        ("DELETE", "/mcp", "application/json", False),
        ("GET", "/sse", None, False),
        ("POST", "/mcp_servers", "application/json", False),
        ("POST", "/mcp/x", "application/json", False),
        ("POST", "/", "application/json", False),
    ],
)
async def test_a_refusal_is_told_in_the_clients_own_form(
    status: int, headers: dict[str, str], words: str, method: str, path: str, content_type: str | None, is_rpc: bool
) -> None:
    """SDKs show their users the message of a JSON-RPC error, and of another body at most that there was one."""
    kind = {"content_type": content_type} if content_type else {}
    start, body = await exchange(Access(keys=Keys({KEY: "one"})), path, method=method, **kind, **headers)
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (status, b"application/json")
    told = json.loads(body["body"])
    if is_rpc:
        message = told["error"].pop("message")
        assert told == {"jsonrpc": "2.0", "id": None, "error": {"code": -32600}}
    else:
        message = told.pop("error")
        assert told == {}
    assert message.startswith(words)


@pytest.mark.parametrize(
    "path", ["/.well-known/oauth-protected-resource/mcp", "/.well-known/", "/mcp/.well-known/openid-configuration"]
)
async def test_without_a_key_there_is_nothing_well_known(path: str) -> None:
    """Else OAuth clients take the 401 there for the answer of an authorization server."""
    access = Access(keys=Keys({KEY: "one"}))
    for method in ("GET", "POST"):
        start, body = await exchange(access, path, method=method, host="localhost")
        assert start["status"] == 404
        assert json.loads(body["body"]) == {
            "error": "there is no OAuth here: an API key of this proxy is required; send it as "
            "'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
        }
    assert (await answer(access, path, host="localhost", x_api_key="one"))[0] == 200
    assert (await answer(Access(), path, host="localhost"))[0] == 200
    assert (await answer(access, path, host="evil.example"))[0] == 421
    assert (await answer(access, path, host="localhost", origin="http://evil.example"))[0] == 403


ASKED = "content-type, authorization, mcp-protocol-version, mcp-session-id, last-event-id, mcp-method, mcp-param-x"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/sse", "/messages"])
@pytest.mark.parametrize(
    ("access", "origin", "shown"),
    [
        (ALLOWING, "https://app.example", b"https://app.example"),
        (ALLOWING, "HTTPS://App.Example:443", b"HTTPS://App.Example:443"),
        (ALLOWING, "http://app.example", None),
        (ALLOWING, "http://localhost:6274", None),
        (Access(keys=Keys({KEY: "one"}), origins=frozenset({"https://app.example"})), "https://app.example",
         b"https://app.example"),
        (ANY, "https://any.example", b"*"),
        (Access(), "http://localhost:6274", None),
    ],
)  # fmt: skip
async def test_a_page_asks_before_it_sends(access: Access, path: str, origin: str, shown: bytes | None) -> None:
    asked = {"access_control_request_method": "DELETE", "access_control_request_headers": ASKED}
    status, headers = await answer(access, path, method="OPTIONS", host="localhost", origin=origin, **asked)
    assert headers.get(b"access-control-allow-origin") == shown
    if shown is not None:
        assert (status, headers[b"access-control-allow-headers"].decode()) == (200, ASKED)
        assert headers[b"access-control-allow-methods"] == b"GET, POST, DELETE"


@pytest.mark.parametrize(
    ("path", "host", "status", "shown"),
    [
        ("/mcp", "localhost", 200, b"https://app.example"),
        ("/mcp", "evil.example", 421, b"https://app.example"),
        ("/mcp_servers", "localhost", 200, None),
    ],
)
async def test_what_a_page_may_read(path: str, host: str, status: int, shown: bytes | None) -> None:
    found, headers = await answer(ALLOWING, path, host=host, origin="https://app.example")
    assert (found, headers.get(b"access-control-allow-origin")) == (status, shown)
    assert headers.get(b"access-control-expose-headers") == (b"Mcp-Session-Id" if shown else None)


async def test_a_good_key_does_not_let_a_web_page_in() -> None:
    access = Access(keys=Keys({KEY: "one"}))
    for path in ("/mcp", "/healthz"):
        assert (await answer(access, path, host="evil.example", x_api_key="one"))[0] == 421
        assert (await answer(access, path, host="localhost", origin="http://evil.example", x_api_key="one"))[0] == 403


def placed(prefix: Prefix, path: str, root: str = "", client: str | None = "127.0.0.1", **headers: str) -> Any:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    peer = (client, 1) if client else None
    return prefix.placed({"type": "http", "path": path, "root_path": root, "headers": raw, "client": peer})


@pytest.mark.parametrize(
    ("given", "root", "path", "shown"),
    [
        ("", "", "/mcp", ""),
        ("/a/b", "", "/mcp", "/a/b"),
        ("/a/b", "", "/a/b/mcp", "/a/b"),
        ("/a/b", "", "/a/b", "/a/b"),
        ("/a/b", "", "/a/bc", "/a/b"),
        ("", "/mounted", "/mounted/mcp", "/mounted"),
        ("/mcp", "", "/mcp", "/mcp"),
        ("/mcp", "", "/mcp/", "/mcp"),
        ("/mcp", "", "/mcp/mcp", "/mcp"),
    ],
)
def test_requests_below_a_path(given: str, root: str, path: str, shown: str) -> None:
    found = placed(Prefix(given), path, root)
    assert found["root_path"] == shown
    assert found["path"] == {"/a/b/mcp": "/mcp", "/a/b": "/", "/mounted/mcp": "/mcp", "/mcp/mcp": "/mcp"}.get(
        path, path
    )


@pytest.mark.parametrize(
    ("client", "forwarded", "shown"),
    [
        ("127.0.0.1", "/x", "/x"),
        ("::ffff:127.0.0.1", "/x/", "/x"),
        ("10.1.2.3", "x/y", "/x/y"),
        ("::1", "/x, /y", "/x/y"),
        ("127.0.0.1", "", "/root"),
        ("127.0.0.1", "//evil.example", "/root"),
        ("127.0.0.1", "https://evil.example", "/root"),
        ("127.0.0.1", "/x?y", "/root"),
        ("127.0.0.1", "/x y", "/root"),
        ("192.0.2.7", "/x", "/root"),
        ("testclient", "/x", "/root"),
        (None, "/x", "/root"),
    ],
)
def test_who_may_say_where_we_are(client: str | None, forwarded: str, shown: str) -> None:
    prefix = Prefix("/root", [network(text) for text in ("127.0.0.1", "::1", "10.0.0.0/8")])
    for path in ("/sse", "/sse/", "/"):
        assert placed(prefix, path, client=client, x_forwarded_prefix=forwarded)["root_path"] == shown


@pytest.mark.parametrize(
    ("text", "path"), [("", ""), ("/", ""), ("a", "/a"), ("/a/b/", "/a/b"), ("/a-b.~1", "/a-b.~1")]
)
def test_paths_that_can_be_put_before_ours(text: str, path: str) -> None:
    assert root_path(text) == path


@pytest.mark.parametrize("text", ["//a", "/a//b", "/a b", "https://a/b", "/a?b", "/a#b", "/é", "/a\nb", "a\\b"])
def test_paths_that_cannot(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        root_path(text)


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", "*", ""])
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="neither an address nor a network"):
        network(text)
