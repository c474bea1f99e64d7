"""The files of other clients: each form that one of them writes is read as that client means it, or refused.

A row is a file as somebody has it, made small. Mistakes name the place in the file's own words, with line and column.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from multimcp.config import load
from multimcp.errors import ConfigError
from multimcp.protocol.config import Config, ServerConfig

ENVIRON = {"HOME": "/home/ada", "DEMO_TOKEN": "t0ken", "DEMO_REGION": "north"}
HERE = os.getcwd()
ANY = ["*"]


def read(tmp_path: Path, text: str, name: str = "mcp.json") -> Config:
    path = tmp_path / name
    path.write_text(text)
    return load(path, ENVIRON)


def mistake(tmp_path: Path, text: str, name: str = "mcp.json") -> str:
    """What is said of a file, without its path."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, name)
    assert len(caught.value.problems) == 1
    return str(caught.value).removeprefix(f"{tmp_path / name}: ")


def shown(server: ServerConfig) -> dict[str, Any]:
    """What of a server is not as it is without settings."""
    names = ("command", "args", "env", "cwd", "url", "headers", "type", "timeout", "startup_timeout", "disabled")
    plain = ServerConfig()
    found = {name: value for name in names if (value := getattr(server, name)) != getattr(plain, name)}
    if (server.tools.include, server.tools.exclude) != (ANY, []):
        found["tools"] = (server.tools.include, server.tools.exclude)
    return found


URL = "https://docs.example/mcp"

ENTRIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # (the client, an entry of its file, what it means); no warnings
    ("Claude Desktop", {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}}, {"args": ["-y", "x"]}),
    ("Claude Code", {"type": "http", "url": URL, "headers": {"A": "${NO:-n}"}}, {"headers": {"A": "n"}}),
    ("Cursor", {"command": "x", "args": ["${workspaceFolder}/a"]}, {"args": [f"{HERE}/a"]}),
    ("Cursor", {"command": "x", "cwd": "${userHome}${pathSeparator}a${/}b"}, {"cwd": "/home/ada/a/b"}),
    ("Cursor", {"command": "x", "args": ["${workspaceFolderBasename}"]}, {"args": [os.path.basename(HERE)]}),
    ("Cursor", {"url": URL, "transport": "sse"}, {"url": URL, "type": "sse"}),
    ("Claude Code", {"command": "${CLAUDE_PROJECT_DIR}/x"}, {"command": f"{HERE}/x"}),
    ("Windsurf", {"serverUrl": URL, "headers": {"A": "b"}}, {"url": URL, "headers": {"A": "b"}}),
    ("Windsurf", {"serverUrl": URL, "headers": {"A": "Bearer ${env:DEMO_TOKEN}"}}, {"headers": {"A": "Bearer t0ken"}}),
    ("VS Code", {"command": "x", "gallery": "https://g.example", "version": "1"}, {"command": "x"}),
    ("VS Code", {"command": "x", "sandboxEnabled": False}, {"command": "x"}),
    (
        "VS Code",
        {"command": "x", "env": {"N": 80, "F": 1.5, "B": False}},
        {"env": {"N": "80", "F": "1.5", "B": "false"}},
    ),
    ("many", {"command": "x", "args": ["-p", 80, True]}, {"args": ["-p", "80", "true"]}),
    ("many", {"url": URL, "headers": {"X-Depth": 3}}, {"headers": {"X-Depth": "3"}}),
    ("many", {"command": "", "url": URL, "type": "HTTP"}, {"url": URL, "type": "http"}),
    ("many", {"command": "x", "url": "", "env": None, "headers": None}, {"command": "x"}),
    ("Gemini", {"httpUrl": URL, "trust": True}, {"url": URL, "type": "http"}),
    ("Gemini", {"httpUrl": "https://docs.example/sse"}, {"url": "https://docs.example/sse", "type": "http"}),
    ("Gemini", {"url": URL, "httpUrl": URL}, {"url": URL, "type": "http"}),
    ("Gemini", {"command": "x", "includeTools": ["a", "b"], "excludeTools": ["b"]}, {"tools": (["a", "b"], ["b"])}),
    ("Gemini", {"command": "x", "args": ["-c", "echo $HOME $(date)"]}, {"args": ["-c", "echo $HOME $(date)"]}),
    (
        "Cline",
        {"url": URL, "type": "streamableHttp", "autoApprove": [], "timeout": 60},
        {"type": "http", "timeout": 60},
    ),
    ("Cline", {"command": "x", "transportType": "stdio"}, {"command": "x", "type": "stdio"}),
    ("Roo", {"command": "x", "alwaysAllow": ["a"], "disabledTools": ["b"]}, {"tools": (ANY, ["b"])}),
    ("Roo", {"command": "x", "timeout": 3600}, {"timeout": 3600}),
    ("Kiro", {"command": "x", "disabledTools": []}, {"command": "x"}),
    ("Copilot", {"type": "local", "command": "x", "tools": ["*"]}, {"command": "x", "type": "stdio"}),
    ("Copilot", {"command": "x", "tools": ["get", "find"]}, {"tools": (["get", "find"], [])}),
    ("mcphub", {"command": "x", "options": {"timeout": 5000}}, {"timeout": 5}),
    ("mcphub", {"command": "x", "tools": {"get": {"enabled": True, "description": "d"}}}, {"command": "x"}),
    ("mcphub.nvim", {"command": "x", "disabled_tools": ["a"]}, {"tools": (ANY, ["a"])}),
    (
        "1mcp",
        {"command": "x", "tags": ["a"], "env": ["A=b=c", "DEMO_REGION", "NO"]},
        {"env": {"A": "b=c", "DEMO_REGION": "north"}},
    ),
    ("1mcp", {"command": "x", "connectionTimeout": 5000, "requestTimeout": 9000}, {"timeout": 9, "startup_timeout": 5}),
    ("TBXark", {"url": URL, "transportType": "streamable-http", "options": {"logEnabled": True}}, {"type": "http"}),
    ("TBXark", {"command": "x", "options": {"toolFilter": {"mode": "block", "list": ["a"]}}}, {"tools": (ANY, ["a"])}),
    ("TBXark", {"command": "x", "options": {"toolFilter": {"mode": "allow", "list": ["a"]}}}, {"tools": (["a"], [])}),
    ("LibreChat", {"command": "x", "initTimeout": 20000}, {"startup_timeout": 20}),
    (
        "Goose",
        {"command": "x", "envs": {"A": "b"}, "available_tools": ["a"]},
        {"env": {"A": "b"}, "tools": (["a"], [])},
    ),
    (
        "Codex",
        {"command": "x", "env_vars": ["DEMO_REGION", "NO"], "env": {"A": "b"}},
        {"env": {"A": "b", "DEMO_REGION": "north"}},
    ),
    (
        "Codex",
        {"command": "x", "startup_timeout_sec": 20, "tool_timeout_sec": 20000},
        {"timeout": 20000, "startup_timeout": 20},
    ),
    ("Codex", {"command": "x", "startup_timeout_ms": 20000}, {"startup_timeout": 20}),
    ("Codex", {"url": URL, "bearer_token_env_var": "DEMO_TOKEN"}, {"headers": {"Authorization": "Bearer t0ken"}}),
    (
        "Codex",
        {"url": URL, "http_headers": {"A": "b"}, "env_http_headers": {"C": "DEMO_TOKEN"}},
        {"headers": {"A": "b", "C": "t0ken"}},
    ),
    (
        "Codex",
        {"command": "x", "enabled_tools": ["a"], "tools": {"a": {"approval_mode": "approve"}}},
        {"tools": (["a"], [])},
    ),
    (
        "opencode",
        {"type": "local", "command": ["x", "-y"], "environment": {"A": "{env:DEMO_REGION}"}},
        {"args": ["-y"], "env": {"A": "north"}},
    ),
    ("opencode", {"type": "remote", "url": URL, "enabled": True}, {"url": URL}),
    ("opencode", {"command": ["x", 1], "args": ["z"]}, {"command": "x", "args": ["1", "z"]}),
    ("Zed", {"source": "custom", "command": "x", "settings": {}}, {"command": "x"}),
    (
        "Zed",
        {"command": {"path": "x", "args": ["a"], "env": {"A": "b"}}},
        {"command": "x", "args": ["a"], "env": {"A": "b"}},
    ),
    (
        "Cherry Studio",
        {"isActive": True, "name": "n", "type": "streamableHttp", "baseUrl": URL},
        {"url": URL, "type": "http"},
    ),
    ("AnythingLLM", {"command": "x", "anythingllm": {"autoStart": True}}, {"command": "x"}),
    ("comments", {"command": "x", "$comment": "a", "_note": "b", "//": "c", "description": "d"}, {"command": "x"}),
    ("many", {"command": "x", "enabledTools": ["a"], "disallowedTools": ["b"]}, {"tools": (["a"], ["b"])}),
    ("many", {"command": "x", "include_tools": ["a"], "exclude_tools": ["b"]}, {"tools": (["a"], ["b"])}),
    ("many", {"command": "x", "allowedTools": ["a"], "allowed_tools": ["a"]}, {"tools": (["a"], [])}),
    ("ours", {"command": "x", "tools": {"include": ["a"], "exclude": None, "_why": "c"}}, {"tools": (["a"], [])}),
    (
        "Codex",
        {"command": "x", "env": {"DEMO_REGION": "own"}, "env_vars": ["DEMO_REGION"]},
        {"env": {"DEMO_REGION": "own"}},
    ),
    ("agreeing", {"type": "http", "transport": "streamable-http", "url": URL}, {"url": URL, "type": "http"}),
]


@pytest.mark.parametrize(("client", "entry", "meant"), ENTRIES)
def test_an_entry_is_read_as_its_client_means_it(
    client: str, entry: dict[str, Any], meant: dict[str, Any], tmp_path: Path
) -> None:
    config = read(tmp_path, json.dumps({"mcpServers": {"w": entry}}))
    found = shown(config.servers["w"])
    assert {key: found.get(key) for key in meant} == meant
    assert config.warnings == ()
    assert config.servers["w"].unset is None


OFF: list[dict[str, Any]] = [
    {"disabled": True},
    {"enabled": False},
    {"isActive": False},
    {"options": {"disabled": True}},
    {"anythingllm": {"autoStart": False}},
    {"disabled": False, "enabled": False},
]


@pytest.mark.parametrize("switch", OFF)
@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"command": ""},
        {"command": "${NO}", "args": 5, "headersHelper": "x", "timeout": 120000, "odd": 1},
        {"url": "${input:x}", "serverUrl": "http://other", "env": {"A": None}, "tools": 5, "envFile": "/no/.env"},
    ],
)
def test_what_is_off_is_neither_filled_nor_checked(switch: Any, rest: Any, tmp_path: Path) -> None:
    config = read(tmp_path, json.dumps({"mcpServers": {"w": {**rest, **switch}}}))
    assert config.servers["w"].disabled
    assert config.servers["w"].unset is None
    assert config.warnings == ()


ROOTS: list[tuple[str, dict[str, Any]]] = [
    ("mcpServers", {"mcpServers": {"w": {"command": "x"}}}),
    ("servers", {"servers": {"w": {"command": "x"}}, "inputs": [{"id": "a"}]}),
    ("context_servers", {"context_servers": {"w": {"command": "x"}}}),
    ("mcp_servers", {"mcp_servers": {"w": {"command": "x"}}}),
    ("mcp", {"mcp": {"w": {"command": ["x"]}}, "$schema": "https://s.example"}),
    ("mcp.servers", {"mcp": {"servers": {"w": {"command": "x"}}, "inputs": []}}),
    ("mcpServers", {"servers": {}, "mcpServers": {"w": {"command": "x"}}}),
    ("mcp_servers", {"mcp": {"excluded": ["a"]}, "mcp_servers": {"w": {"command": "x"}}}),
]


@pytest.mark.parametrize(("root", "data"), ROOTS)
def test_the_servers_are_found_under_the_root_of_each_client(root: str, data: Any, tmp_path: Path) -> None:
    assert list(read(tmp_path, json.dumps(data)).servers) == ["w"]
    text = json.dumps(data).replace('"w": {', '"w": {"cwd": 5, ')
    assert mistake(tmp_path, text).startswith(f"{root}.w.cwd: expected a string")


def test_a_server_may_be_called_like_a_setting(tmp_path: Path) -> None:
    for name in ("servers", "allowed"):
        assert list(read(tmp_path, f'{{"mcp": {{"{name}": {{"command": ["x"]}}}}}}').servers) == [name]


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"w": {"command": "x"}}', '{"source": {"path": "x.py"}}', '{"mcpServers": [{"name": "w"}]}', ""],
)
def test_a_file_without_servers_says_where_they_are_looked_for(text: str, tmp_path: Path) -> None:
    said = mistake(tmp_path, text)
    for root in ("mcpServers", "servers", "context_servers", "mcp_servers", "mcp"):
        assert f'"{root}"' in said


def test_lists_of_servers_beside_them_switch_some_off(tmp_path: Path) -> None:
    """Gemini CLI has two pairs of such lists."""
    servers = {name: {"command": name} for name in "abc"}
    for beside in (
        {"mcp": {"allowed": ["a", "b"], "excluded": ["b"]}},
        {"allowMCPServers": ["a", "b"], "excludeMCPServers": ["b"]},
    ):
        config = read(tmp_path, json.dumps({**beside, "mcpServers": servers}))
        assert [server.disabled for server in config.servers.values()] == [False, True, True]
    said = mistake(tmp_path, json.dumps({"mcpServers": servers, "mcp": {"excluded": "b"}}))
    assert said.startswith("mcp.excluded: expected a list of names of servers (line 1, column ")


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    # (an entry, the place of the mistake, what the message says)
    ({"url": URL, "headersHelper": "x"}, ".headersHelper", '"headers"'),
    ({"command": "x", "sandboxEnabled": True}, ".sandboxEnabled", "take this out"),
    ({"command": "x", "sandbox": {"network": []}}, ".sandbox", "take this out"),
    ({"command": "x", "tools": {"rm": {"enabled": False}}}, ".tools.rm", '"exclude"'),
    ({"command": "x", "tools": {"includes": ["a"]}}, ".tools.includes", '"include"'),
    (
        {"command": "x", "tools": {"get": {"name": "fetch", "enabled": True, "arguments": {}}}},
        ".tools.get",
        '"exclude"',
    ),
    ({"command": "x", "prompts": {"ask": {"enabled": False}}}, ".prompts.ask", "tools only"),
    ({"command": "x", "disabled_prompts": ["a"]}, ".disabled_prompts", "tools only"),
    ({"command": "x", "disabledResources": ["a"]}, ".disabledResources", "tools only"),
    ({"command": "x", "include_tags": ["a"]}, ".include_tags", '"include"'),
    ({"command": "x", "exclude_tags": ["a"]}, ".exclude_tags", '"exclude"'),
    ({"command": "x", "options": {"authTokens": ["s3same"]}}, ".options.authTokens", "MULTI_MCP_API_KEY"),
    ({"command": "x", "options": {"userFilter": {"mode": "allow"}}}, ".options.userFilter", "MULTI_MCP_API_KEY"),
    ({"command": "x", "options": {"toolFilter": ["a"]}}, ".options.toolFilter", '"mode": "allow"'),
    ({"command": "x", "env": {"K": "${input:s3same}"}}, ".env.K", "${NAME}"),
    ({"command": "x", "env": {"K": "${user_config.s3same}"}}, ".env.K", "${NAME}"),
    ({"url": URL, "headers": {"K": "Bearer ${cmd:s3same}"}}, ".headers.K", "${NAME}"),
    ({"url": URL, "headers": {"K": "Bearer {file:~/s3same}"}}, ".headers.K", "${NAME}"),
    ({"command": "x", "args": ["a", "${command:s3same}"]}, ".args[1]", "${NAME}"),
    ({"command": ["x", "${command:s3same}"], "args": []}, ".command[1]", "${NAME}"),
    ({"command": ["x"], "environment": {"K": "${input:s3same}"}}, ".environment.K", "${NAME}"),
    ({"command": [[]]}, ".command[0]", "expected a string"),
    ({"command": []}, ".command", "is empty"),
    ({"command": {"args": ["s3same"]}}, ".command", "is empty"),
    ({"command": {"path": "x", "args": [None]}}, ".command.args[0]", "expected a string"),
    ({"serverUrl": "s3same"}, ".serverUrl", "https://example.com/mcp"),
    ({"command": "x", "environment": {"K": []}}, ".environment.K", "expected a string"),
    ({"command": "x", "disabledTools": "a"}, ".disabledTools", "expected a list of strings"),
    ({"command": "x", "tools": ["a", 1]}, ".tools[1]", "expected a string"),
    ({"url": URL, "transport": "websocket"}, ".transport", '"stdio", "sse", "http"'),
    ({"command": "x", "type": "remote"}, ".type", '"stdio", "sse", "http"'),
    ({"url": URL, "type": "openapi"}, ".type", '"stdio", "sse", "http"'),
    ({"url": URL, "serverUrl": "https://s3same.example"}, ".serverUrl", 'else than "url"; take one of them out'),
    ({"url": URL, "type": "sse", "transport": "http"}, ".transport", 'else than "type"; take one of them out'),
    ({"command": "x", "includeTools": ["a"], "tools": ["s3same"]}, ".includeTools", 'else than "tools"'),
    ({"command": "x", "env": {"A": "b"}, "environment": {"A": "s3same"}}, ".environment", 'else than "env"'),
    ({"command": "x", "timeout": 5, "requestTimeout": 6000}, ".requestTimeout", 'else than "timeout"'),
    ({"command": "x", "timeout": -1}, ".timeout", "a number of seconds above 0"),
    ({"command": "x", "enabled": "no"}, ".enabled", "true or false"),
    ({"command": "x", "disabled": "{{ off }}"}, ".disabled", "true or false"),
    ({"command": "x", "env": [5]}, ".env[0]", "expected the name of an environment variable"),
    ({"command": "x", "env_vars": ["a b"]}, ".env_vars[0]", "expected the name of an environment variable"),
    (
        {"url": URL, "bearer_token_env_var": "Bearer s3same"},
        ".bearer_token_env_var",
        "the name of an environment variable",
    ),
    ({"url": URL, "env_http_headers": {"K": "s3 same"}}, ".env_http_headers.K", "the name of an environment variable"),
    ({"url": URL, "env_http_headers": ["K"]}, ".env_http_headers", "expected an object"),
    ({"command": "npx -y x"}, ".command", '"args": ["x.py"]'),
    ({"command": "x", "args": "-y x"}, ".args", "expected a list of strings"),
    ({"command": "x", "envFile": "/no/such/.env"}, ".envFile", 'create it, or write its variables under "env"'),
    ({"command": "x", "envFile": "${input:s3same}"}, ".envFile", "${NAME}"),
    ({"command": "x", "envFile": 5}, ".envFile", "expected a string"),
    ({"link": URL}, "", 'did you mean "url" where it says "link"?'),
    ({"cmd": "x"}, "", 'did you mean "command" where it says "cmd"?'),
    ({}, "", "neither is there"),
    ({"command": "x", "serverUrl": URL}, "", "not both"),
]


@pytest.mark.parametrize(("entry", "place", "remedy"), MISTAKES)
@pytest.mark.parametrize("root", ["mcpServers", "servers"])
def test_what_cannot_be_is_refused_with_place_and_remedy(
    root: str, entry: dict[str, Any], place: str, remedy: str, tmp_path: Path
) -> None:
    said = mistake(tmp_path, json.dumps({root: {"w": entry}}))
    assert said.startswith(f"{root}.w{place}: ")
    assert remedy in said
    assert said.endswith(")")
    assert " (line 1, column " in said
    assert "s3same" not in said


WARNINGS: list[tuple[dict[str, Any], str]] = [
    ({"command": "x", "timeout": 10000}, '.timeout: is taken for milliseconds, 10 s; write "timeout": 10'),
    ({"command": "x", "timeout": 120500.0}, '.timeout: is taken for milliseconds, 120.5 s; write "timeout": 120.5'),
    ({"command": "x", "startupTimeout": 60000}, '.startupTimeout: is taken for milliseconds, 60 s; write "startupTi'),
    ({"url": URL, "headers": {"A": "Bearer $DEMO_TOKEN"}}, ".headers.A: is passed on as it is written; for an env"),
    ({"url": URL, "http_headers": {"A": "{{USER}}"}}, ".http_headers.A: is passed on as it is written; for an env"),
    ({"command": "x", "env": {"A": "$(date)"}}, ".env.A: is passed on as it is written; for an environment variable"),
    ({"command": "x", "env": {"K": None}}, ".env.K: is null, and is not set, as in VS Code; to take it from the env"),
    ({"command": "x", "colour": 1}, ": unknown key 'colour' is ignored"),
]


@pytest.mark.parametrize(("entry", "text"), WARNINGS)
def test_what_may_be_meant_otherwise_is_a_warning(entry: dict[str, Any], text: str, tmp_path: Path) -> None:
    (warning,) = read(tmp_path, json.dumps({"servers": {"w": entry}})).warnings
    assert warning.startswith(f"servers.w{text}")
    assert " (line 1, column " in warning


def test_what_else_is_in_the_file_is_one_warning(tmp_path: Path) -> None:
    beside = {f"setting{i}": i for i in range(8)}
    config = read(tmp_path, json.dumps({"$schema": "s", "_a": 1, **beside, "mcpServers": {}}))
    assert config.warnings == (
        "unknown keys 'setting0', 'setting1', 'setting2', 'setting3', 'setting4' and 3 more are ignored "
        "(line 1, column 27)",
    )


@pytest.mark.parametrize("root", ["mcpServers", "mcp_servers"])
def test_null_has_two_meanings(root: str, tmp_path: Path) -> None:
    said = mistake(tmp_path, json.dumps({root: {"w": {"command": "x", "env": {"K": None}}}}))
    assert said.startswith(f"{root}.w.env.K: is null, not a string, which clients take for two things;")


def test_credentials_by_name_fail_their_server_alone(tmp_path: Path) -> None:
    server = read(tmp_path, json.dumps({"mcpServers": {"w": {"url": URL, "bearer_token_env_var": "NO"}}})).servers["w"]
    assert server.unset
    assert "variable NO (bearer_token_env_var) is not set" in server.unset


def test_an_env_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "demo.env").write_text(
        '\ufeff# of the demo\nPLAIN=a b # said\nexport HASH=a#b\n\nDOUBLE="x\\ny \\"z\\" # w"\nSINGLE=\'${HOME} \\n\'\n'
        'EMPTY=\nLINES="1\n2"\n not a variable\nBOTH=file\n',
        encoding="utf-8",
    )
    entry = {"command": "x", "envFile": f"{tmp_path}/demo.env", "env": {"BOTH": "own"}}
    config = read(tmp_path, json.dumps({"servers": {"w": entry}}))
    assert config.servers["w"].env == {
        "PLAIN": "a b",
        "HASH": "a#b",
        "DOUBLE": 'x\ny "z" # w',
        "SINGLE": "${HOME} \\n",
        "EMPTY": "",
        "LINES": "1\n2",
        "BOTH": "own",
    }
    assert config.servers["w"].blanker()("1\n2 x\ny") == "1\n2 x\ny"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("content", "remedy"), [(b"\xff", "save it as UTF-8"), (b"a" * (1024 * 1024 + 1), "make it smaller")]
)
def test_an_env_file_that_cannot_be_used(content: bytes, remedy: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    entry = {"command": "x", "envFile": str(tmp_path / ".env")}
    said = mistake(tmp_path, json.dumps({"servers": {"w": entry}}))
    assert said.startswith("servers.w.envFile: ")
    assert remedy in said


COMMENTED = """// all of "us"
{
  /* the root
     of VS Code */ "servers": {
    "w": {"command": "x", "args": ["// a, ]", "/* b */", "\\",}",],}, // "c"
    "v": {"url": "http://v.example//mcp", "timeout": -1,},
  },
}
"""


def test_comments_and_trailing_commas_move_no_place(tmp_path: Path) -> None:
    assert mistake(tmp_path, COMMENTED).endswith("as in 30 (line 6, column 43)")
    config = read(tmp_path, COMMENTED.replace("-1", "1"))
    assert config.servers["w"].args == ["// a, ]", "/* b */", '",}']
    assert config.servers["v"].url == "http://v.example//mcp"
    assert "is not valid JSON at line 6, column 18: " in mistake(tmp_path, COMMENTED.replace('"http:', "http:"))
    crlf = COMMENTED.replace("\n", "\r\n")
    assert mistake(tmp_path, crlf).endswith("(line 6, column 43)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"mcpServers": {}} /* all', "at line 1, column 20: Extra data; end the comment with */"),
        ('{"mcpServers": {} # all\n}', "at line 1, column 19: Expecting ',' delimiter; write // before a comment"),
        ('{"mcpServers": {},,}', "column 20: Expecting property name enclosed in double quotes; take out one comma"),
        ("{'mcpServers': {}}", "write double quotes, JSON has no others"),
        (
            '{"mcpServers": {"a": {},\n  "b": {},\n "a": {}}}',
            "'a' comes twice in one object, at line 1, column 17 and at ",
        ),
        (
            '{"servers": {"a": {"env": {"B": "", "B": ""}}}}',
            "'B' comes twice in one object, at line 1, column 28 and at ",
        ),
    ],
)
def test_json_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    assert said in mistake(tmp_path, text)


CODEX = """
model = "m"

[mcp_servers.docs]
url = "https://docs.example/mcp"
bearer_token_env_var = "DEMO_TOKEN"
http_headers = { X-Team = "core" }

[mcp_servers.local]
command = "uv"
args = ["run", "x"]
env_vars = ["DEMO_REGION"]
enabled_tools = ["a"]
startup_timeout_sec = 20.5

[mcp_servers.local.env]
LEVEL = "info"

[mcp_servers.local.tools.a]
approval_mode = "approve"

[mcp_servers.off]
enabled = false
"""


def test_toml_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, CODEX, "config.toml")
    assert {name: shown(server) for name, server in config.servers.items()} == {
        "docs": {"url": URL, "headers": {"X-Team": "core", "Authorization": "Bearer t0ken"}},
        "local": {
            "command": "uv",
            "args": ["run", "x"],
            "env": {"LEVEL": "info", "DEMO_REGION": "north"},
            "startup_timeout": 20.5,
            "tools": (["a"], []),
        },
        "off": {"disabled": True},
    }
    assert config.warnings == ("unknown key 'model' is ignored",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.toml", "[mcp_servers.a\n", "is not valid TOML: "),
        ("config.toml", '[mcp_servers.a]\ncommand = "x"\n[mcp_servers.a]\n', "is not valid TOML: "),
        ("config.toml", "[mcp_servers.a]\ncommand = 2020-01-01\n", "mcp_servers.a.command: expected a string"),
        ("config.toml", "[a]\n", '"mcp_servers"'),
        ("config.toml", "a = " + "[" * 5000, "is nested too deeply"),
        ("config", CODEX, 'is TOML, which is read from a file whose name ends in ".toml"'),
        ("mcp.json", "# c\n\n[[a]]\n", "is TOML, "),
        ("mcp.yaml", "mcpServers:\n  a:\n    command: x\n", "is YAML, which is not read; write the servers as JSON"),
        ("mcp.yml", "- name: a\n", "is YAML, "),
        ("mcp.json", "# c\nmcpServers:\n  a: {}\n", "is YAML, "),
        ("mcp.json", "---\na: b\n", "is YAML, "),
    ],
)
def test_other_syntaxes(name: str, text: str, said: str, tmp_path: Path) -> None:
    assert said in mistake(tmp_path, text, name)


def test_json_is_yaml_too(tmp_path: Path) -> None:
    assert list(read(tmp_path, '{"mcpServers": {"a": {"command": "x"}}}', "mcp.yaml").servers) == ["a"]


def test_no_more_mistakes_and_warnings_than_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, json.dumps({"mcpServers": {str(i): i for i in range(250)}}))
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].endswith(": and 150 more mistakes")
    entry = {"command": "x", **{f"odd{i}": i for i in range(50)}}
    warnings = read(tmp_path, json.dumps({"mcpServers": {"w": entry}})).warnings
    assert len(warnings) == 21
    assert warnings[-1].startswith("mcpServers.w: 30 more unknown keys are ignored (line 1, column ")


KEYS = ",".join(f'"k{i}": 1' for i in range(20_000))


@pytest.mark.parametrize(
    "text",
    [
        f'{{"mcpServers": {{{KEYS}, "k19999": 1}}}}',
        f'{{"mcpServers": {{"w": {{"command": "x", {KEYS}}}}}}}',
        f'{{"mcpServers": {{"w": {{"command": "x", "env": {{{KEYS}}}}}}}}}',
        f'{{"mcpServers": {{"w": {{"command": "x", "tools": {{{KEYS}}}}}}}}}',
        f"{{{KEYS}}}",
        *(
            json.dumps({"mcpServers": {"w": {"url": piece * (1_000_000 // len(piece)), "type": "sse"}}})
            for piece in ("${A:-", "${env:", "${A.b", "{file:", "{env:A", "$(", "//", "/*", '"', "\\")
        ),
        *(
            piece * (1_000_000 // len(piece))
            for piece in ("/*", "/*/", '"', '"\\', ",", "[", '{"a":', "a: b\n", "[a]\n")
        ),
    ],
    ids=lambda text: f"{text[:60]}...",
)
def test_it_takes_time_in_proportion_to_the_text(text: str, tmp_path: Path) -> None:
    """What grows with the square of it takes minutes here."""
    (tmp_path / "mcp.json").write_text(text)
    begun = time.process_time()
    with contextlib.suppress(ConfigError):
        load(tmp_path / "mcp.json", ENVIRON)
    assert time.process_time() - begun < 20
