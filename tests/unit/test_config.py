"""mcpServers JSON -> models: what is accepted, what is inferred, and how a mistake is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from multimcp.config import ServerConfig, ToolFilter, load, parse
from multimcp.errors import ConfigError


def one(server: Any, **environ: str) -> ServerConfig:
    return parse({"mcpServers": {"w": server}}, environ).servers["w"]


def test_a_stdio_server() -> None:
    raw = {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}, "cwd": "/tmp", "timeout": 3, "disabled": False}
    server = one(raw)
    assert (server.command, server.args, server.env, server.cwd) == ("npx", ["-y", "x"], {"A": "b"}, "/tmp")
    assert (server.timeout, server.disabled, server.transport) == (3.0, False, "stdio")


@pytest.mark.parametrize(
    ("server", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"url": "http://h/mcp"}, "http"),
        ({"url": "http://h"}, "http"),
        ({"url": "http://h/sse"}, "sse"),
        ({"url": "http://h/a/sse/?k=v"}, "sse"),
        ({"url": "http://h/mcp?x=/sse"}, "http"),
        ({"url": "http://h/sse", "type": "http"}, "http"),
        ({"url": "http://h/x", "type": "sse"}, "sse"),
        ({"url": "http://h/x", "type": "streamable-http"}, "http"),
        ({"url": "http://h/x", "type": "streamableHttp"}, "http"),
        ({"command": "x", "type": "stdio"}, "stdio"),
    ],
)
def test_the_transport(server: dict[str, Any], transport: str) -> None:
    assert one(server).transport == transport


def test_the_order_is_kept() -> None:
    names = ["b", "a", "c"]
    assert list(parse({"mcpServers": {name: {"command": "x"} for name in names}}, {}).servers) == names


def test_no_servers() -> None:
    assert parse({"mcpServers": {}}, {}).servers == {}


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ([], "mcpServers.w: input should be an object"),
        (None, "mcpServers.w: input should be an object"),
        ({}, 'mcpServers.w: give either "command" (a server to start) or "url" (a running one): neither is there'),
        ({"command": "x", "url": "http://h"}, "mcpServers.w: give either"),
        ({"command": ["x"]}, "mcpServers.w.command: input should be a valid string"),
        ({"command": "  "}, "mcpServers.w.command: is empty"),
        ({"command": "x", "args": "a b"}, "mcpServers.w.args: input should be a valid list"),
        ({"command": "x", "args": ["a", 1]}, "mcpServers.w.args[1]: input should be a valid string"),
        ({"command": "x", "env": {"PORT": 80}}, "mcpServers.w.env.PORT: input should be a valid string"),
        ({"command": "x", "env": []}, "mcpServers.w.env: input should be an object"),
        ({"command": "x", "disabled": "yes"}, "mcpServers.w.disabled: input should be a valid boolean"),
        ({"command": "x", "timeout": "5"}, "mcpServers.w.timeout: input should be a valid number"),
        ({"command": "x", "timeout": True}, "mcpServers.w.timeout: input should be a valid number"),
        ({"command": "x", "timeout": 0}, "mcpServers.w.timeout: input should be greater than 0"),
        ({"command": "x", "tools": {"include": "*"}}, "mcpServers.w.tools.include: input should be a valid list"),
        ({"command": "x", "tools": []}, "mcpServers.w.tools: input should be an object"),
        ({"url": "h/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "ftp://h/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://:80/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h:x/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://[::1"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h", "type": "stdio"}, 'mcpServers.w.type: "stdio" needs "command"'),
        ({"command": "x", "type": "sse"}, 'mcpServers.w.type: "sse" needs "url"'),
        ({"command": "x", "type": "ws"}, "mcpServers.w.type: input should be 'stdio', 'sse' or 'http'"),
    ],
)
def test_a_mistake_names_its_place(server: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one(server)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("data", [[], None, "x", {}, {"mcpServers": []}, {"servers": {}}])
def test_not_a_configuration(data: Any) -> None:
    with pytest.raises(ConfigError, match="mcpServers"):
        parse(data, {})


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "a\x00", "\u2028"])
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be a server's name; use printable characters") as caught:
        parse({"mcpServers": {name: {"command": "x"}}}, {})
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


@pytest.mark.parametrize("value", ["sesame\n", " sesame", "sés", "a\rb", "a\x00"])
def test_a_header_that_cannot_be_sent(value: str) -> None:
    """The libraries' own message would quote it."""
    with pytest.raises(ConfigError) as caught:
        one({"url": "http://h", "headers": {"Authorization": value}})
    assert str(caught.value).startswith("mcpServers.w.headers.Authorization: cannot be sent; take out")
    assert value not in str(caught.value)


def test_variables_are_filled_everywhere() -> None:
    server = one(
        {
            "url": "http://${HOST}/${PATH_:-mcp}",
            "headers": {"Authorization": "Bearer ${TOKEN}", "X": "$TOKEN ${} ${1}"},
            "tools": {"include": ["${HOST}*"]},
        },
        HOST="h",
        TOKEN="t${HOST}",
    )
    assert server.url == "http://h/mcp"
    # What was filled in is not filled again, and what is no variable is left alone.
    assert server.headers == {"Authorization": "Bearer t${HOST}", "X": "$TOKEN ${} ${1}"}
    assert server.tools.include == ["h*"]


@pytest.mark.parametrize(
    ("text", "environ", "value"),
    [
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "v"}, "v"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("${A}${A}", {"A": "v"}, "vv"),
        ("${A:-http://x:1/y-z}", {}, "http://x:1/y-z"),
    ],
)
def test_a_variable(text: str, environ: dict[str, str], value: str) -> None:
    assert one({"command": "x", "args": [text]}, **environ).args == [value]


def test_a_missing_variable_names_itself_its_server_and_its_field() -> None:
    with pytest.raises(ConfigError) as caught:
        one({"command": "x", "args": ["a", "${NOPE}"]})
    assert str(caught.value) == (
        "mcpServers.w.args[1]: the environment variable NOPE is not set; set it, or write ${NOPE:-default}"
    )


def test_a_disabled_server_needs_no_variables() -> None:
    assert one({"command": "${NOPE}", "disabled": True}).disabled


def test_unknown_keys_are_warnings() -> None:
    config = parse({"inputs": [], "mcpServers": {"w": {"command": "x", "autoApprove": [], "tools": {"only": 1}}}}, {})
    assert config.warnings == (
        "unknown key 'inputs' is ignored",
        "mcpServers.w: unknown key 'autoApprove' is ignored",
        "mcpServers.w.tools: unknown key 'only' is ignored",
    )


def test_unknown_keys_are_no_change() -> None:
    known = {"command": "x", "tools": {"include": ["a"]}}
    assert one({**known, "autoApprove": [], "tools": {"include": ["a"], "only": 1}}) == one(known)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"mcpServers": {}', "mcp.json: is not valid JSON at line 1, column 18: Expecting ',' delimiter; correct it"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b'{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "the key 'a' comes twice"),
        (b"[" * 100_000, "mcp.json: is nested too deeply"),
        (b'{"mcpServers": {"a": {"command": "x", "y": ' + b"[" * 900 + b"]" * 900 + b"}}}", "is nested too deeply"),
        (b'{"mcpServers": {"a": 1}}', "mcp.json: mcpServers.a: input should be an object"),
        (b'{"timeout": ' + b"1" * 5000 + b"}", "mcp.json: has a number of more digits than can be read"),
        (b'{"mcpServers": {"a": "\\ud83d"}}', r"mcp.json: has '\ud83d' in a string, half of a character; complete it"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); create it"):
        load(tmp_path / "mcp.json", {})
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path, {})


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {}}), encoding="utf-8-sig")
    assert load(path, {}).servers == {}


def test_secrets_are_blanked() -> None:
    server = one({"url": "https://me:pass@h/sse?key=sesame", "headers": {"Authorization": "Bearer abcdef", "X": "on"}})
    text = "https://me:pass@h/sse?key=sesame said: on abcdef, Bearer abcdef, sesame, pass"
    assert server.redact(text) == "https://h/sse said: on ***, ***, sesame, ***"
    assert one({"command": "x", "env": {"A": "sesame", "B": "1"}}).redact("1 sesame") == "1 ***"


def test_a_secret_is_blanked_however_it_is_quoted() -> None:
    server = one({"command": "x", "env": {"KEY": "-----BEGIN-----\nabc  def\n", "BASIC": "Basic dXNlcg=="}})
    quotes = "-----BEGIN-----\nabc  def|-----BEGIN----- abc def|dXNlcg=="
    assert server.redact(quotes) == "***|***|***"


def test_user_and_password_are_blanked_as_they_are_sent() -> None:
    server = one({"url": "http://us%40er:p%40ss@h/mcp"})
    assert server.redact("Basic dXNAZXI6cEBzcw==|us@er|p@ss|us%40er") == "Basic ***|***|***|***"
    assert one({"url": "http://h/mcp"}).redact("Og==") == "Og=="


def test_the_longest_secret_is_blanked_first() -> None:
    assert one({"command": "x", "env": {"A": "secret", "B": "secretary"}}).redact("secretary") == "***"


@pytest.mark.parametrize(
    ("include", "exclude", "admitted"),
    [
        (["*"], [], ["read", "read_all", "write"]),
        (["read*"], [], ["read", "read_all"]),
        (["*"], ["*_all"], ["read", "write"]),
        (["read*"], ["read"], ["read_all"]),
        ([], [], []),
    ],
)
def test_tool_filters(include: list[str], exclude: list[str], admitted: list[str]) -> None:
    tools = ToolFilter(include=include, exclude=exclude)
    assert [name for name in ("read", "read_all", "write") if tools.admits(name)] == admitted
