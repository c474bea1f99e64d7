"""mcpServers JSON -> models: what is accepted, what is inferred, and how a mistake is named."""

import errno
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from multimcp.config import load, understand, variables
from multimcp.errors import ConfigError
from multimcp.protocol.config import Config, ServerConfig, ToolFilter
from multimcp.protocol.document import Document, decode

DEEP = 900 if sys.version_info < (3, 12) else 1_200
"""Levels of nesting that the JSON parser reads, and that are too many for Python to go through."""


def parse(data: Any, environ: dict[str, str]) -> Config:
    return understand(Document(data), environ)


def one(server: Any, **environ: str) -> ServerConfig:
    return parse({"mcpServers": {"w": server}}, environ).servers["w"]


def test_a_stdio_server() -> None:
    raw = {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}, "cwd": "/tmp", "timeout": 3, "disabled": False}
    server = one(raw)
    assert (server.command, server.args, server.env, server.cwd) == ("npx", ["-y", "x"], {"A": "b"}, "/tmp")
    assert (server.timeout, server.disabled, server.transport) == (3.0, False, "stdio")


def test_how_long_a_start_may_take() -> None:
    assert one({"command": "x"}).startup_timeout is None
    assert one({"command": "x", "startupTimeout": 0.5}).startup_timeout == 0.5


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
        ([], 'mcpServers.w: expected an object, as in {"command": "npx"'),
        (None, "mcpServers.w: expected an object"),
        ({}, 'mcpServers.w: give either "command" (a server to start) or "url" (a running one): neither is there'),
        ({"command": "x", "url": "http://h"}, "mcpServers.w: give either"),
        ({"command": "  "}, "mcpServers.w.command: is empty"),
        ({"command": "x", "args": "a b"}, 'mcpServers.w.args: expected a list of strings, as in ["x.py"]'),
        ({"command": 1}, "mcpServers.w.command: expected a string, the program alone, as in"),
        ({"command": "x", "args": ["a", []]}, "mcpServers.w.args[1]: expected a string, as in "),
        ({"command": "x", "env": {"PORT": {}}}, "mcpServers.w.env.PORT: expected a string, as in "),
        ({"command": "x", "env": "A=b"}, 'mcpServers.w.env: expected an object of strings, as in {"PORT": "8080"}'),
        ({"command": "x", "cwd": 1}, "mcpServers.w.cwd: expected a string, the path of a folder"),
        ({"url": 1}, "mcpServers.w.url: expected a string, as in "),
        ({"url": "http://h", "headers": {"X": []}}, "mcpServers.w.headers.X: expected a string, as in "),
        ({"command": "x", "disabled": "yes"}, "mcpServers.w.disabled: expected true or false, without quotes"),
        ({"command": "x", "timeout": "5"}, "mcpServers.w.timeout: expected a number of seconds above 0"),
        ({"command": "x", "timeout": True}, "mcpServers.w.timeout: expected a number of seconds above 0"),
        ({"command": "x", "timeout": 0}, "mcpServers.w.timeout: expected a number of seconds above 0"),
        ({"command": "x", "timeout": "${T}"}, "mcpServers.w.timeout: expected a number of seconds above 0"),
        ({"command": "x", "startupTimeout": -1}, "mcpServers.w.startupTimeout: expected a number of seconds above 0"),
        ({"command": "x", "scope": "all"}, 'mcpServers.w.scope: expected one of "shared", "session"'),
        ({"command": "x", "tools": {"include": "*"}}, "mcpServers.w.tools.include: expected a list of strings, as in"),
        ({"command": "x", "tools": "*"}, "mcpServers.w.tools: expected an object, as in"),
        ({"command": "x", "tools": {"exclude": [1]}}, "mcpServers.w.tools.exclude[0]: expected a string, as in"),
        ({"command": "x", "args": ["${T}", None]}, "mcpServers.w.args[1]: expected a string"),
        ({"url": "h${T}", "headers": {"A": "${T}", "B": "\n"}}, "mcpServers.w.headers.B: cannot be sent"),
        ({"url": "h/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h/\r\nA: b"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h/\x00"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h\u202e/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "ftp://h/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://:80/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h:x/mcp"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://[::1"}, "mcpServers.w.url: is not an http:// or https:// URL"),
        ({"url": "http://h", "type": "stdio"}, 'mcpServers.w.type: "stdio" needs "command"'),
        ({"command": "x", "type": "sse"}, 'mcpServers.w.type: "sse" needs "url"'),
        ({"command": "x", "type": "ws"}, 'mcpServers.w.type: expected one of "stdio", "sse", "http"'),
    ],
)
def test_a_mistake_names_its_place(server: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one(server)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("data", [[], None, "x", {}, {"mcpServers": []}, {"servers": []}])
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


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (
            {"command": "x", "args": ["a", "${NOPE}"]},
            "the environment variable NOPE (args[1]) is not set; set it before Multi-MCP starts, or write "
            "${NOPE:-default}",
        ),
        (
            {"command": "${P} x", "env": {"A": "${NOPE}", "B": "x${NOPE}"}},
            "the environment variables P (command) and NOPE (env.A, env.B) are not set; set them before Multi-MCP "
            "starts, or write ${NAME:-default}",
        ),
        (
            {"url": "${BASE}/mcp", "type": "${BASE}", "headers": {"X": "${BASE}\n"}},
            "the environment variable BASE (url, type, headers.X) is not set; set it before Multi-MCP starts, or "
            "write ${BASE:-default}",
        ),
    ],
)
def test_a_variable_that_is_not_set_fails_its_server_alone(server: Any, reason: str) -> None:
    servers = parse({"mcpServers": {"w": server, "fine": {"command": "x"}}}, {}).servers
    assert {name: server.unset for name, server in servers.items()} == {"w": reason, "fine": None}
    assert servers["w"].transport == ("http" if "url" in server else "stdio")


def test_a_server_with_another_variable_that_is_not_set_has_changed() -> None:
    assert one({"command": "x", "env": {"K": "${A}"}}) != one({"command": "x", "env": {"K": "${B}"}})
    assert one({"command": "x", "env": {"K": "${A}"}}) == one({"command": "x", "env": {"K": "${A}"}})
    assert one({"command": "x", "_unset": "x", "unset": "y"}).unset is None


def test_a_variable_of_an_unknown_key_is_not_wanted() -> None:
    assert one({"command": "x", "description": "costs ${AMOUNT}"}).unset is None


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    servers = {
        "a": {"comand": "x", "args": "s3same"},
        "b": {"command": "s3same x.py", "env": {"N": [], "M": None}},
        "\n": {},
        "fine": {"command": "x"},
        "c": {"url": "s3same", "type": "stdio"},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    places = [
        "mcpServers.a.args: ",
        "mcpServers.a: ",
        "mcpServers.b.env.M: ",
        "mcpServers.b.env.N: ",
        "mcpServers.b.command: ",
        "mcpServers: '\\n' cannot",
        "mcpServers.c.url: ",
        "mcpServers.c.type: ",
    ]
    assert len(caught.value.problems) == len(places)
    for problem, place in zip(caught.value.problems, places, strict=True):
        assert problem.startswith(f"{path}: {place}")
        assert "s3same" not in problem
    assert str(caught.value) == "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("comand", "command"),
        ("commands", "command"),
        ("Command", "command"),
        ("cmd", "command"),
    ],
)
def test_a_word_close_to_a_known_key(key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one({"autoApprove": [], key: "x"})
    assert str(caught.value) == (
        'mcpServers.w: give either "command" (a server to start) or "url" (a running one): neither is there; '
        f'did you mean "{meant}" where it says "{key}"?'
    )


@pytest.mark.parametrize("key", ["server", "mcpServer", "mcpservers", "MCP_SERVERS"])
def test_other_words_for_the_servers(key: str) -> None:
    with pytest.raises(ConfigError, match=f'did you mean "mcpServers" where it says "{key}"'):
        parse({"inputs": [], key: {}}, {})


@pytest.mark.parametrize("command", ["python x.py", "npx -y some-server", " uvx  x", "my tool/run", "/bin/sh x"])
def test_a_command_with_its_arguments_in_it(command: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one({"command": command})
    assert str(caught.value) == (
        "mcpServers.w.command: has blanks in it; give the program alone, and its arguments apart, as in "
        '"command": "python", "args": ["x.py"]'
    )


def test_a_program_with_blanks_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my tools"
    folder.mkdir()
    (folder / "run it").touch(0o755)
    assert one({"command": str(folder / "run it")}).command
    monkeypatch.chdir(tmp_path)
    assert one({"command": "my tools/run it", "cwd": "/"}).command
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one({"command": "~/my tools/run it"}).command
    assert one({"command": "/not mounted yet/run"}).command  # fails alone


def test_a_disabled_server_needs_no_variables() -> None:
    assert one({"command": "${NOPE}", "disabled": True}).disabled


def test_unknown_keys_are_warnings() -> None:
    config = parse(
        {"theme": "x", "mcpServers": {"w": {"command": "x", "watch": [], "arg": [], "options": {"retry": 1}}}},
        {},
    )
    assert config.warnings == (
        "unknown key 'theme' is ignored",
        "mcpServers.w: unknown key 'watch' is ignored",
        "mcpServers.w: unknown key 'arg' is ignored; did you mean \"args\"?",
        "mcpServers.w.options: unknown key 'retry' is ignored",
    )


def test_unknown_keys_are_no_change() -> None:
    known = {"command": "x", "tools": {"include": ["a"]}}
    assert one({**known, "autoApprove": [], "watch": 1}) == one(known)


def test_all_mistakes_of_an_entry_are_told_at_once() -> None:
    """A wrong type hides nothing else, and is taken for nothing else."""
    entry = {"command": "npx -y x", "args": 3, "timeout": "x", "headers": {"A b": "x", "C": "x\ny"}, "type": "http"}
    with pytest.raises(ConfigError) as caught:
        one(entry)
    places = {problem.partition(": ")[0] for problem in caught.value.problems}
    keys = ["command", "args", "timeout", "headers.A b", "headers.C", "type"]
    assert places == {f"mcpServers.w.{key}" for key in keys}
    with pytest.raises(ConfigError) as caught:
        one({"comand": "x", "args": 3})
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError) as caught:
        one({"command": [1], "type": "stdio"})
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError) as caught:
        one({"url": 1, "type": "sse", "headers": {"Authorization": {}}})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b" \n", 'mcp.json: is empty; {"mcpServers": {}} is enough'),
        (b'{"mcpServers": {"a": {"args": ["x",, 1]}}}', "line 1, column 36: Expecting value; take out one comma"),
        (b"{'mcpServers': {}}", "; write double quotes, JSON has no others"),
        (b'{"mcpServers": {}', "mcp.json: is not valid JSON at line 1, column 18: Expecting ',' delimiter; correct it"),
        (
            b'{"mcpServers": {}, # all\n}',
            "column 20: Expecting property name enclosed in double quotes; write // before",
        ),
        (b'{"mcpServers": {} /* all\n}', "line 1, column 19: Expecting ',' delimiter; end the comment with */"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b'{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "the key 'a' comes twice"),
        (b"[" * 100_000, "mcp.json: is nested too deeply"),
        (
            b'{"mcpServers": {"a": {"command": "x", "args": ' + b"[" * DEEP + b"]" * DEEP + b"}}}",
            "is nested too deeply",
        ),
        (b'{"mcpServers": {"a": 1}}', "mcp.json: mcpServers.a: expected an object"),
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


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOENT, 'create it ({"mcpServers": {}} is enough) or name another (--config FILE, or check FILE)'),
        (errno.EACCES, "let this user read it, and enter the folders above it"),
        (errno.EISDIR, "it is a folder; name a file in it"),
        (errno.ENOTDIR, "a part of its path is a file, not a folder; correct the path"),
        (errno.ELOOP, "its links lead in a circle; correct them"),
        (errno.EIO, "see to that first"),
    ],
)
def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ConfigError) as caught:
        load(Path("mcp.json"), {})
    monkeypatch.undo()
    assert str(caught.value) == f"mcp.json: cannot be read ({os.strerror(code)}); {words}"


@pytest.mark.parametrize("kind", ["a pipe", "a device", "an endless file", "a large file"])
def test_what_has_no_end_is_not_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 4 * 1024 * 1024 + 1 if kind == "a large file" else 2**40)
    with pytest.raises(ConfigError, match=r"is not a file but a pipe or a device|has more than 4,194,304 bytes"):
        load(path, {})
    with pytest.raises(ConfigError, match=r"is not a file but a pipe or a device|has more than 1,048,576 bytes"):
        variables(str(path))


LINEAR = {
    "dotted keys": (".".join("a" * 500_000) + " = 1", ".toml"),
    "dotted keys in quotes": ('"a".' * 200_000 + "b = 1", ".toml"),
    "words": ("a" * 1_000_000 + " = 1", ".toml"),
    "tables": ("".join(f"[mcpServers.k{n}]\n" for n in range(20_000)), ".toml"),
    "nested tables": ("[mcpServers]\nx=" + "{a=" * 300_000, ".toml"),
    "keys": ('{"mcpServers": {' + ",".join(f'"k{n}": {{"command": "x"}}' for n in range(20_000)) + "}}", ""),
    "variables": (json.dumps({"mcpServers": {"x": {"command": "${A:-" * 200_000}}}), ""),
    "closed variables": (json.dumps({"mcpServers": {"x": {"command": "${A:-" * 200_000 + "}"}}}), ""),
    "nesting": ('{"mcpServers": ' + '{"a": [' * 200_000, ""),
    "comments": ("/* */ // \n" * 100_000 + '{"mcpServers": {}}', ""),
    "open comments": ("/*" * 500_000, ""),
    "commas": ('{"mcpServers": [' + ", " * 500_000, ""),
    "escapes": ('{"mcpServers": "' + "\\" * 1_000_000, ""),
    "digits": ('{"mcpServers": {"x": {"timeout": ' + "1" * 100_000 + "}}}", ""),
    "digits in TOML": ("[mcpServers.x]\ntimeout = " + "1" * 100_000, ".toml"),
    "an exponent": ('{"mcpServers": {"x": {"command": "x", "timeout": 1e' + "9" * 100_000 + "}}}", ""),
    "lines": ("\n" * 1_000_000, ""),
    "braces": ("{" * 100 + "}" * 1_000_000, ""),
    "unknown keys": (
        json.dumps({"mcpServers": {"x": {"command": "x"} | {f"commando{n}": 1 for n in range(20_000)}}}),
        "",
    ),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_a_configuration_takes_time_in_proportion_to_its_size(kind: str) -> None:
    """A square would take minutes."""
    text, suffix = LINEAR[kind]
    begun = time.process_time()
    with suppress(ConfigError):
        understand(decode(text, suffix), {})
    assert time.process_time() - begun < 8


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {}}), encoding="utf-8-sig")
    assert load(path, {}).servers == {}


def test_secrets_are_blanked() -> None:
    server = one({"url": "https://me:pass@h/sse?key=sesame", "headers": {"Authorization": "Bearer abcdef", "X": "on"}})
    text = "https://me:pass@h/sse?key=sesame said: on abcdef, Bearer abcdef, sesame, pass"
    assert server.blanker()(text) == "https://h/sse said: on ***, ***, ***, ***"
    assert server.blanker()("https://h/sse?key=sesame is gone") == "https://h/sse is gone"
    assert one({"url": "https://h/mcp?user=me.too&apiKey=a%20key"}).blanker()("me.too: 'a key'") == "me.too: '***'"
    assert one({"command": "x", "env": {"A": "sesame", "B": "1"}}).blanker()("1 sesame") == "1 ***"


def test_a_secret_is_blanked_however_it_is_quoted() -> None:
    server = one({"command": "x", "env": {"KEY": "-----BEGIN-----\nabc  def\n", "BASIC": "Basic dXNlcg=="}})
    quotes = "-----BEGIN-----\nabc  def|-----BEGIN----- abc def|dXNlcg=="
    assert server.blanker()(quotes) == "***|***|***"


def test_a_secret_that_was_filled_in_is_blanked_wherever_it_stands() -> None:
    server = one({"command": "x", "args": ["--key=${API_KEY}", "${HOME}"]}, API_KEY="sesame", HOME="/home/me")
    assert server.blanker()("sesame of /home/me") == "*** of ***"


@pytest.mark.parametrize(
    "settings", [{"args": ["--db", "${DB}"]}, {"args": ["--db=${DB}/x?y"]}, {"env": {"DB": "${DB}"}}]
)
def test_the_password_of_a_url_is_blanked_wherever_it_stands(settings: dict[str, Any]) -> None:
    server = one({"command": "x", **settings}, DB="postgresql+psycopg://joe:hunt%5Ber[2@db.example:5432/joe")
    shown = server.blanker()("joe at db.example with hunt%5Ber[2, or hunt[er[2; postgres://joe:hunt%5Ber[2@db.example")
    assert shown == "joe at db.example with ***, or ***; postgres://joe:***@db.example"


def test_each_line_of_a_secret_is_blanked() -> None:
    server = one({"command": "x", "env": {"KEY": "-----BEGIN KEY-----\nMIIEvQIBADAN\nend"}})
    assert server.blanker()("a MIIEvQIBADAN b -----BEGIN KEY----- end") == "a *** b *** end"
    assert server.blanker()(json.dumps({"KEY": server.env["KEY"]})) == '{"KEY": "***"}'


def test_user_and_password_are_blanked_as_they_are_sent() -> None:
    server = one({"url": "http://us%40er:p%40ss@h/mcp"})
    assert server.blanker()("Basic dXNAZXI6cEBzcw==|us@er|p@ss|us%40er") == "Basic ***|***|***|***"
    assert one({"url": "http://h/mcp"}).blanker()("Og==") == "Og=="


def test_the_longest_secret_is_blanked_first() -> None:
    assert one({"command": "x", "env": {"A": "secret", "B": "secretary"}}).blanker()("secretary") == "***"


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
