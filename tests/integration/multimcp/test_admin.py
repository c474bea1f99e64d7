"""The admin API: what it answers, what it refuses, and that adding and removing leaves nothing behind."""

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import mcp_types as types
import pytest

from multimcp import __version__
from multimcp.serving.admin import OFF, REMOTE_ONLY
from tests.support.processes import TIMEOUT, RawClient, descendants, fixture, proxy, raw, raw_http, run, until, within

SECRET = "s3cr3t-t0ken"


def test_adding_and_removing(shared: Any) -> None:
    answer = shared.add(a=raw(), b=raw("exit:start"), off=raw(disabled=True))
    assert answer.status_code == 207
    body = answer.json()
    assert body["message"].startswith("2 of 3 servers added, in this process only")
    assert body["added"] == ["a", "off"]
    assert list(body["failed"]) == ["b"]
    servers = shared.http("GET", "/mcp_servers").json()
    assert servers["active_servers"] == ["a"]
    assert servers["servers"]["off"]["state"] == "disabled"
    since = servers["servers"]["a"].pop("since")
    assert since.endswith("+00:00")
    assert servers["servers"]["a"] == {
        "state": "ready",
        "transport": "stdio",
        "era": "legacy",
        "protocolVersion": "2025-11-25",
        "serverInfo": {"name": "raw", "version": "1"},
        "tools": 1,
        "prompts": 1,
        "resources": 1,
        "error": None,
        "stderr": [],
    }
    assert shared.http("GET", "/mcp_tools").json() == {
        "tools": {"a": ["echo"], "off": []},
        "names": {"a": ["a::echo"], "off": []},
    }
    for name in ("a", "off"):
        answer = shared.remove(name)
        assert answer.status_code == 200
        assert answer.json()["message"].startswith(f"server '{name}' removed, in this process only")
    answer = shared.remove("a")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no server 'a'"})
    assert shared.http("GET", "/mcp_servers").json() == {"active_servers": [], "servers": {}}


@pytest.mark.parametrize(
    ("servers", "status"),
    [
        ({}, 200),
        ({"a": raw()}, 200),
        ({"off": raw(disabled=True)}, 200),
        ({"a": raw(), "b": raw("exit:start")}, 207),
        ({"b": raw("exit:start")}, 502),
        ({"b": raw("exit:start"), "c": {"url": "http://127.0.0.1:1/mcp"}}, 502),
    ],
)
def test_the_status_says_whether_servers_were_added(shared: Any, servers: dict[str, Any], status: int) -> None:
    """`curl --fail` looks at nothing else."""
    answer = shared.add(**servers)
    body = answer.json()
    assert answer.status_code == status
    assert body["message"].startswith(f"{len(body['added'])} of {len(servers)} servers added")
    assert {*body["added"], *body["failed"]} == set(servers)


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_the_page_for_people(shared: Any) -> None:
    name = "<i>a"
    shared.add(**{name: raw()})
    page = shared.http("GET", "/", headers={"Accept": BROWSER})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "&lt;i&gt;a" in page.text
    assert name not in page.text
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = shared.http("GET", "/", headers=headers)
        told = answer.json()
        assert (answer.status_code, told["name"], told["version"]) == (200, "multi-mcp", __version__)
        assert told["servers"] == {name: "ready"}
        assert "/mcp_servers" in told["endpoints"]
    for path in told["endpoints"]:  # each of them is there
        assert shared.http("PUT", path).status_code == 405, path
    assert shared.http("POST", "/").status_code == 405
    assert shared.http("GET", "/", headers={"Accept": BROWSER, "Host": "evil.example"}).status_code == 421


def test_an_odd_name(shared: Any) -> None:
    name = "a/b c::ü"
    assert shared.add(**{name: raw()}).json()["added"] == [name]
    assert shared.http("GET", "/mcp_tools").json()["names"] == {name: [f"{name}::echo"]}
    with RawClient(shared.url, "legacy") as client:
        assert client.call("tools/call", {"name": f"{name}::echo"})
        read = client.call("resources/read", {"uri": "raw://a%2Fb%20c%3A%3A%C3%BC/one"})
        # Answered under the URI that was asked for, though nobody lists it.
        assert read["contents"] == [{"uri": "raw://a%2Fb%20c%3A%3A%C3%BC/one", "text": "raw: raw://one"}]
    assert shared.remove("a%2Fb%20c%3A%3A%C3%BC").status_code == 200
    assert shared.status() == {}


def test_a_name_in_use_changes_nothing(shared: Any) -> None:
    shared.add(a=raw())
    answer = shared.add(new=raw(), a=raw())
    assert answer.status_code == 409
    assert "in use: a" in answer.json()["error"]
    assert list(shared.status()) == ["a"]
    shared.remove("a")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the body: is empty"),
        ("{", "the body: is not valid JSON at line 1, column 2"),
        ("\xff", "the body: is not UTF-8"),
        ("[" * 100_000, "the body: is nested too deeply"),
        ('{"mcpServers": {"\\u0007": {"command": "x"}}}', "cannot be a server's name"),
        ('{"mcpServers": {"\\ud800": {"command": "x"}}}', "in a string, half of a character"),
        ('{"mcpServers": {"x": {"command": "a"}, "x": {"command": "b"}}}', "the key 'x' comes twice"),
        ("[]", "mcpServers"),
        ('{"agents": {}}', "mcpServers"),
        ('{"mcpServers": {"x": []}}', "mcpServers.x: expected an object"),
        ('{"mcpServers": {"x": {"command": 1}}}', "mcpServers.x.command: expected a string"),
        ('{"mcpServers": {"x": {"command": "a", "args": ["b", null]}}}', "mcpServers.x.args[1]: "),
        ('{"mcpServers": {"x": {}}}', 'give either "command"'),
    ],
)
def test_a_body_that_is_not_that(shared: Any, body: str, words: str) -> None:
    answer = shared.http("POST", "/mcp_servers", content=body.encode("latin-1"))
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert shared.status() == {}


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_without_end(shared: Any, is_chunked: bool) -> None:
    parts = [b'{"mcpServers": {"x": {"command": "', *[b"y" * 2**20] * 5, b'"}}}']
    answer = shared.http("POST", "/mcp_servers", content=iter(parts) if is_chunked else b"".join(parts))
    assert answer.status_code == 413
    assert answer.json() == {"error": "the body is too large, 4,194,304 bytes are taken"}


def test_an_unknown_key_is_said(shared: Any) -> None:
    (warning,) = shared.add(a=raw(colour="blue")).json()["warnings"]
    assert warning.startswith("mcpServers.a: unknown key 'colour' is ignored (line 1, column ")
    shared.remove("a")


def test_a_server_that_hangs_is_not_kept(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, "--startup-timeout", "3.5") as running:
        body = running.add(hanging=raw("hang:initialize"), fine=raw()).json()
        assert body["added"] == ["fine"], body
        assert body["failed"] == {"hanging": "was not ready within 3.5 s (--startup-timeout)"}
        assert list(running.status()) == ["fine"]


def test_health(shared: Any) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = shared.http("GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8080"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000.evil.example"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost"}, 200),
    ],
)
def test_a_web_page_cannot_use_the_proxy(shared: Any, headers: dict[str, str], status: int) -> None:
    assert shared.http("GET", "/mcp_servers", headers=headers).status_code == status
    assert shared.http("POST", "/mcp_servers", headers=headers, json={"mcpServers": {}}).status_code == status
    if "Origin" in headers and status == 200:
        # Text is what a page may send without the browser asking first.
        plain = {**headers, "Content-Type": "text/plain"}
        assert shared.http("POST", "/mcp_servers", headers=plain, content='{"mcpServers": {}}').status_code == 415
        spelled = {**headers, "Content-Type": "Application/JSON; charset=utf-8"}
        assert shared.http("POST", "/mcp_servers", headers=spelled, content='{"mcpServers": {}}').status_code == 200
    if status != 200:
        for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"), ("DELETE", "/mcp_servers/x")):
            assert shared.http(method, path, headers=headers).status_code == status


def test_an_address_that_others_reach_is_read_only(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw()}, "--host", "0.0.0.0") as running:
        assert running.url.startswith("http://0.0.0.0:")
        running.wait_ready()
        for answer in (running.add(b=raw()), running.remove("a")):
            assert answer.status_code == 403
            assert "set MULTI_MCP_API_KEY or MULTI_MCP_API_KEY_FILE" in answer.json()["error"]
            assert "bind to 127.0.0.1 (--host)" in answer.json()["error"]
        assert list(running.status()) == ["a"]
        with RawClient(running.url, "legacy") as client:
            assert client.call("tools/list")["tools"]


def test_ipv6(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, "--host", "::1") as running:
        assert running.url.startswith("http://[::1]:")
        assert running.add(a=raw()).json()["added"] == ["a"]


def test_no_secret_is_in_an_answer_or_a_log(tmp_path: Path) -> None:
    """Not even where the failure of a server quotes it."""
    servers = {
        "env": raw("exit:start", env={"API_KEY": SECRET}),
        "said": raw("noise", f"name={SECRET}", env={"API_KEY": "Welcome to"}),
        "headers": {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}},
        "query": {"url": f"http://user:{SECRET}@127.0.0.1:1/sse?key={SECRET}"},
        "filled": {"command": "${HIDDEN_COMMAND}", "env": {"X": "${HIDDEN_COMMAND}"}},
        "keyed": raw("keyed", "name=${HIDDEN}"),
    }
    variables = {"HIDDEN_COMMAND": f"/no/{SECRET}", "HIDDEN": SECRET}
    with proxy(tmp_path, servers, "--log-level", "DEBUG", env=variables) as running:
        running.wait_ready()
        answers = [running.http("GET", "/mcp_servers").text]
        for name in ("env", "headers", "query"):
            running.remove(name)
            answers.append(running.add(**{name: servers[name]}).text)
        assert "http://127.0.0.1:1/sse cannot be reached" in answers[0]
        running.expect(r"said: sends what is not MCP.*'\*\*\* the server!'")
        shown = "\n".join([*answers, running.stderr]).replace(f'"name":"{SECRET}"', "")  # serverInfo is the server's
        assert SECRET not in shown


SPELLED = "import base64, json, os, sys, urllib.parse as u; s = os.environ['VALUE']; "
SPELLED += "words = [s, repr(s), json.dumps(s), u.quote(s, safe=''), base64.b64encode(('me:' + s).encode()).decode()]; "
SPELLED += "sys.stderr.write(chr(10).join(words) + chr(10)); sys.stderr.flush(); "
SPELLED += "os.write(2, s[:7].encode()); import time; time.sleep(0.2); os.write(2, (s[7:] + chr(10)).encode()); "
SPELLED += "sys.stdout.write('oops ' + s + chr(10)); sys.stdout.flush(); sys.exit(3)"
FILLED = 'p@ss/w"ord-12 3'


def test_no_value_that_was_filled_in_shows_anywhere(tmp_path: Path) -> None:
    """Wherever it stands in the settings, and whatever quotes it: we, the system, the server, an HTTP library."""
    servers: dict[str, Any] = {
        "command": {"command": "/no/${FILLED}"},
        "folder": {"command": "sh", "cwd": "/no/${FILLED}"},
        "argument": {"command": sys.executable, "args": ["${FILLED}/x.py"]},
        "says": {"command": sys.executable, "args": ["-c", SPELLED], "env": {"VALUE": "${FILLED}"}},
        "greets": raw("error:initialize", "says:initialize=${FILLED}"),
        "calls-itself": raw("name=${FILLED}", "tool=${FILLED}"),
        "path": {"url": "http://127.0.0.1:1/${FILLED}/mcp"},
        "query": {"url": "http://127.0.0.1:1/sse?a=${FILLED}"},
        "user": {"url": "http://me:${QUOTED}@127.0.0.1:1/mcp"},
        "header": {"url": "http://127.0.0.1:1/mcp", "headers": {"X": "a ${FILLED}"}},
        "name": {"url": "http://${NAME}.invalid/mcp"},
    }
    variables = {"FILLED": FILLED, "QUOTED": quote(FILLED, safe=""), "NAME": "a-secret-host"}
    with proxy(tmp_path, servers, "--log-level", "DEBUG", "--separator", "_", env=variables) as running:
        for name in servers.keys() - {"calls-itself"}:
            running.expect(f" {name}: failed: ")
        running.wait_ready()
        shown = [running.http("GET", path, headers={"Accept": accept}).text for path, accept in PAGES]
        shown += [running.stderr, *(running.add(**{f"new-{name}": server}).text for name, server in servers.items())]
    for options in ((), ("--json",)):
        checked = run("check", *options, str(tmp_path / "mcp.json"), cwd=tmp_path, **variables)
        shown += [checked.stdout, checked.stderr]
    for text in shown:
        for secret in (FILLED, "ss/w", "ord-12", "ss%2Fw", "bWU6cEBzcy93", "a-secret-host"):
            assert secret not in text, text[max(0, text.find(secret) - 300) : text.find(secret) + 100]


PAGES = (("/", "text/html"), ("/", "*/*"), ("/mcp_servers", "*/*"), ("/mcp_tools", "*/*"))


def test_a_backend_gets_the_safe_environment_and_its_own(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    command = {"command": "sh", "args": ["-c", f"env > {environment}; exit 1"], "env": {"MINE": "${OURS:-}-x"}}
    with proxy(tmp_path, {"env": command}, env={"OURS": "filled", "AWS_SECRET_ACCESS_KEY": SECRET}) as running:
        running.expect("env: failed")
    variables = dict(line.split("=", 1) for line in environment.read_text().splitlines() if "=" in line)
    assert variables["MINE"] == "filled-x"
    assert variables["PATH"] == os.environ["PATH"]
    assert not {"OURS", "AWS_SECRET_ACCESS_KEY"} & variables.keys()


async def test_clients_hear_of_added_and_removed_servers(shared: Any) -> None:
    """Legacy clients by notification, modern ones on the stream they asked for; what changed, and only that."""
    heard: dict[str, list[str]] = {"legacy": [], "modern": []}
    news = anyio.Event()

    def listener(name: str) -> Any:
        async def hear(message: Any) -> None:
            nonlocal news
            heard[name].append(type(message).__name__)
            news.set()
            news = anyio.Event()

        return hear

    async def wait_for(count: int) -> None:
        while any(len(messages) < count for messages in heard.values()):
            await news.wait()

    every = {types.ToolListChangedNotification, types.PromptListChangedNotification}
    kinds = sorted(kind.__name__ for kind in every | {types.ResourceListChangedNotification})
    legacy = shared.client("sse", "legacy", message_handler=listener("legacy"))
    modern = shared.client("http", "auto", message_handler=listener("modern"))
    async with within(TIMEOUT), legacy, modern:
        wanted = {"tools_list_changed": True, "prompts_list_changed": True, "resources_list_changed": True}
        async with modern.listen(**wanted):
            await anyio.to_thread.run_sync(lambda: shared.add(a=raw()))
            await wait_for(3)
            assert {name: sorted(messages) for name, messages in heard.items()} == dict.fromkeys(heard, kinds)
            for messages in heard.values():
                messages.clear()
            await anyio.to_thread.run_sync(lambda: shared.remove("a"))
            await wait_for(3)
            assert {name: sorted(messages) for name, messages in heard.items()} == dict.fromkeys(heard, kinds)


async def test_clients_hear_of_a_servers_own_changes(shared: Any) -> None:
    shared.add(a=raw("changes"))
    heard: list[str] = []
    news = anyio.Event()

    async def hear(message: Any) -> None:
        heard.append(type(message).__name__)
        news.set()

    async with within(TIMEOUT), shared.client("sse", "legacy", message_handler=hear) as client:
        # Else the SDK would list the tools between the call and its result: nothing would be left to be told.
        await client.list_tools()
        await client.call_tool("a::echo", {})
        await news.wait()
        # The lists are read first, then the client is told, of what changed only.
        assert [tool.name for tool in (await client.list_tools()).tools] == ["a::echo", "a::another"]
        assert heard == ["ToolListChangedNotification"]


def test_a_client_that_says_it_is_initialized_twice_hears_once(shared: Any) -> None:
    with RawClient(shared.url, "legacy") as client:
        for _ in range(3):
            client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        headers = {**client._headers, "Accept": "text/event-stream"}
        with (
            httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
            http.stream("GET", shared.url + "/mcp", headers=headers) as stream,
        ):
            shared.add(a=raw())
            events = (line for line in stream.iter_lines() if line.startswith("data: {"))
            heard = {json.loads(next(events)[6:])["method"] for _ in range(3)}
    assert heard == {f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")}


def test_a_subscription_to_resources_is_not_acknowledged(shared: Any) -> None:
    """It is not relayed yet, and the acknowledgment says so (spec 2026-07-28, subscriptions)."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["raw://one"]}
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {"_meta": envelope, "notifications": wanted},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    with (
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as http,
        http.stream("POST", shared.url + "/mcp", json=message, headers=headers) as stream,
    ):
        acknowledged = json.loads(next(line for line in stream.iter_lines() if line.startswith("data: "))[6:])
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}


@pytest.mark.parametrize("kind", ["stdio", "sse", "http"])
def test_a_hundred_adds_and_removes_leave_nothing(tmp_path: Path, calculators: dict[str, Any], kind: str) -> None:
    """No process and no file descriptor; with a client connected that hears of each."""
    server = raw("modern") if kind == "stdio" else calculators[kind]
    with proxy(tmp_path, {"stays": raw()}, "--log-level", "ERROR") as running:
        running.wait_ready()

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{running.popen.pid}/fd"))

        def cycle() -> None:
            answer = running.add(x=server).json()
            assert answer["added"] == ["x"], answer
            tool, arguments = ("x::echo", {}) if kind == "stdio" else ("x::add", {"a": 1, "b": 2})
            # The modern client has it started, or connected to, once more.
            assert modern.call("tools/call", {"name": tool, "arguments": arguments})
            assert running.remove("x").status_code == 200

        with RawClient(running.url, "modern") as modern, RawClient(running.url, "legacy"):
            cycle()  # what is opened once and kept (the event loop's own) is not counted
            before = descriptors()
            for number in range(100):
                cycle()
                if number == 0 or number == 99:
                    assert len(descendants(running.popen.pid)) == 1
            # Connections that the test's own HTTP client has just closed may be noticed a moment later.
            until(lambda: descriptors() <= before, 5, f"{descriptors()} descriptors, {before} before")
        assert running.lines == [running.lines[0]]


def test_two_at_once_cannot_have_one_name(tmp_path: Path) -> None:
    with proxy(tmp_path, {}) as running:

        async def both() -> list[int]:
            codes: list[int] = []

            async def post() -> None:
                answer = await anyio.to_thread.run_sync(lambda: running.add(x=raw("slow:initialize=0.3")))
                codes.append(answer.status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(post)
                group.start_soon(post)
            return sorted(codes)

        assert anyio.run(both) == [200, 409]
        assert len(descendants(running.popen.pid)) == 1


def test_removing_while_starting(tmp_path: Path) -> None:
    with proxy(tmp_path, {"slow": raw("hang:initialize"), "demo": fixture("calculator")}) as running:
        assert running.remove("slow").status_code == 200
        assert running.remove("demo").status_code == 200
        assert descendants(running.popen.pid) == set()


# --admin


ADMIN_ROUTES = (("GET", "/mcp_servers"), ("POST", "/mcp_servers"), ("DELETE", "/mcp_servers/a"), ("GET", "/mcp_tools"))


def test_the_admin_api_can_be_off(tmp_path: Path) -> None:
    with proxy(tmp_path, {"a": raw("exit:start")}, env={"MULTI_MCP_ADMIN": "OFF"}) as running:
        running.expect("a: failed")
        for method, path in ADMIN_ROUTES:
            answer = running.http(method, path, json={"mcpServers": {"b": raw()}} if method == "POST" else None)
            assert (answer.status_code, answer.json()) == (404, {"error": OFF}), path
        told = running.http("GET", "/").json()
        assert (told["servers"], [path for path in told["endpoints"] if "_" in path]) == ({}, [])
        page = running.http("GET", "/", headers={"Accept": BROWSER}).text
        assert "/mcp_servers" not in page
        assert "exit" not in page
        assert running.http("GET", "/readyz").status_code == 200
        with RawClient(running.url, "legacy") as client:
            assert client.call("tools/list") == {"tools": []}


BEYOND_REMOTE: list[tuple[str, Any]] = [
    ("mcpServers.x.command", raw()),
    ("mcpServers.x.command", raw(disabled=True)),
    ("mcpServers.x.command[0]", {"command": ["sh", "-c", "true"]}),
    ("mcpServers.x.command.path", {"command": {"path": "sh", "args": ["-c", "true"]}}),
    ("mcpServers.x.command", {"url": "http://127.0.0.1:1/mcp", "command": "sh"}),
    ("mcpServers.x.command", {"url": "http://127.0.0.1:1/mcp", "type": "stdio", "command": "sh"}),
    ("mcpServers.x.envFile", {"url": "http://127.0.0.1:1/mcp", "envFile": "/etc/passwd"}),
    ("mcpServers.x.url", {"url": "unix:///run/docker.sock:/mcp"}),
    ("mcpServers.x.serverUrl", {"serverUrl": "file:///etc/passwd"}),
    ("mcpServers.x.url", {"url": "http://127.0.0.1:1/${HIDDEN}"}),
    ("mcpServers.x.url", {"url": "http://127.0.0.1:1/${env:HIDDEN}", "enabled": False}),
    ("mcpServers.x.headers.A", {"url": "http://127.0.0.1:1/mcp", "headers": {"A": "${HIDDEN:-b}"}}),
    ("mcpServers.x.http_headers.A", {"url": "http://127.0.0.1:1/mcp", "http_headers": {"A": "{env:HIDDEN}"}}),
    ("mcpServers.x.bearer_token_env_var", {"url": "http://127.0.0.1:1/mcp", "bearer_token_env_var": "HIDDEN"}),
    ("mcpServers.x.env_http_headers.A", {"url": "http://127.0.0.1:1/mcp", "env_http_headers": {"A": "HIDDEN"}}),
]


def test_adding_can_be_confined_to_servers_that_run_elsewhere(tmp_path: Path) -> None:
    """Also what is off, or in another client's words; and what would come of it when a file with it is read again."""
    options = ("--admin", "remote-only", "--persist")
    with raw_http() as url, proxy(tmp_path, {"a": raw()}, *options, env={"HIDDEN": SECRET}) as running:
        running.wait_ready()
        file = (tmp_path / "mcp.json").read_text()
        for place, server in BEYOND_REMOTE:
            answer = running.add(x=server)
            assert answer.status_code == 403, server
            assert answer.json()["error"].startswith(f"{place}: is refused by --admin remote-only"), server
        assert (list(running.status()), (tmp_path / "mcp.json").read_text()) == (["a"], file)
        answer = running.remove("a")
        assert (answer.status_code, answer.json()) == (403, {"error": REMOTE_ONLY})
        assert running.add(b={"url": f"{url}/mcp"}).json()["added"] == ["b"]
        assert running.remove("b").status_code == 200


def test_the_log_says_who_added_and_removed_what(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, env={"MULTI_MCP_API_KEY": "first-key,second-key"}) as running:
        running._http.headers["X-API-Key"] = "second-key"
        running.add(a=raw(), b=raw("exit:start"))
        running.remove("a")
        running.expect(r" INFO admin API: 127\.0\.0\.1 \(API key 2\) added a; failed: b$")
        running.expect(r" INFO admin API: 127\.0\.0\.1 \(API key 2\) removed a$")
        assert "second-key" not in running.stderr


def test_variables_of_a_request_are_filled_from_the_proxys_environment(tmp_path: Path) -> None:
    with proxy(tmp_path, {}, env={"HIDDEN": "a"}) as running:
        assert running.add(x=raw("name=${HIDDEN}")).json()["added"] == ["x"]
        assert running.status()["x"]["serverInfo"]["name"] in ("a", "***")


def test_what_the_file_would_not_take_is_not_written_to_it(tmp_path: Path) -> None:
    """`null` is nothing in a file of VS Code, and a mistake in ours, which would make the whole file useless."""
    with proxy(tmp_path, {}, "--persist") as running:
        answer = running.http("POST", "/mcp_servers", json={"servers": {"x": raw(env={"A": None})}})
        assert answer.status_code == 400
        assert "x" not in running.status()
