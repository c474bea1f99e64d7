"""Secrets are blanked however they are quoted, and nothing else is."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from multimcp.config import understand
from multimcp.protocol.config import ServerConfig
from multimcp.protocol.document import Document
from multimcp.protocol.secrets import blanker, named

SECRETS = (
    'p@ss/w"örd + \\n 1',
    "hunter2",
    "s3cr3t-t0ken",
    "two\nlines, of a key\n",
    "C:\\new\\table",
    "%41%2Fb~c",
    "😀 smile",
)


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


QUOTED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON that is not ASCII": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "JSON with escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "Python": repr,
    "Python in ASCII": ascii,
    "Python's bytes": lambda secret: repr(secret.encode()),
    "on one line": lambda secret: " ".join(secret.split()),
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "in lower case": lambda secret: (
        quote(secret, safe="").replace("%C3", "%c3").replace("%F0", "%f0").replace("%2F", "%2f")
    ),
    "in part": quote,
    "all of it": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "as in a form": quote_plus,
    "base64": b64,
    "without padding": lambda secret: b64(secret).rstrip("="),
    "for URLs": lambda secret: urlsafe_b64encode(secret.encode()).decode(),
    "in base64 of more, 1": lambda secret: b64(f"x:{secret}"),
    "in base64 of more, 2": lambda secret: b64(f"yx:{secret}:more"),
    "in base64 of more, 3": lambda secret: b64(f"zyx:{secret}{secret}"),
    "in base64, percent-encoded": lambda secret: quote(b64(f"me:{secret}"), safe=""),
}


@pytest.mark.parametrize("how", QUOTED)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_blanked_however_it_is_quoted(how: str, secret: str) -> None:
    quoted = QUOTED[how](secret.strip() if how != "as it is" else secret)
    shown = blanker([secret])(f"before {quoted} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "***" in shown
    for part in (secret.strip(), quoted.strip("\"'b\\="), secret.strip()[2:]):
        assert part not in shown


def test_what_stands_around_it_stays() -> None:
    blank = blanker(["p@ss wörd"])
    assert blank("%41 p%40ss%20w%C3%B6rd!%42 \\n") == "%41 ***!%42 \\n"
    assert blank("100% of \\x and 50%20off, \\u00e9") == "100% of \\x and 50%20off, \\u00e9"


@pytest.mark.parametrize(
    "value", ["", "1", "a", "on", "true", "FALSE", "8080", "65535", "localhost", "info", "application/json"]
)
def test_what_is_in_every_text_is_no_secret(value: str) -> None:
    text = f"1 a on true false FALSE 8080 65535 localhost info application/json {value}"
    assert blanker([value], [value])(text) == text


def test_a_short_setting_is_blanked_as_a_word_only() -> None:
    assert blanker([], ["read"])("read, 'read' and /read/ but ready, already and bread") == (
        "***, '***' and /***/ but ready, already and bread"
    )
    assert blanker(["read"])("ready") == "***y"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--api-key", "abcd"], {"abcd"}),
        (["--api-key=abcd", "x"], {"abcd"}),
        (["-H", "Authorization: Bearer abcd"], {"abcd"}),
        (["--header", "X-Api-Key:abcd"], {"abcd"}),
        (["https://h/mcp?a=b&access_token=abcd#c"], {"abcd"}),
        (["https://joe:abcd@h/"], {"abcd"}),
        (["https://abcd@h/"], {"abcd"}),
        (["--root", "/srv", "--port=80"], set()),
    ],
)
def test_what_stands_under_a_secrets_name(words: list[str], found: set[str]) -> None:
    assert set(named(words)) == found


def one(server: Any, **environ: str) -> ServerConfig:
    return understand(Document({"mcpServers": {"w": server}}), environ).servers["w"]


@pytest.mark.parametrize(
    "server",
    [
        {"command": "${V}"},
        {"command": "x", "args": ["--a=${V}"]},
        {"command": "x", "args": ["${env:V}", "{env:V}"]},
        {"command": "x", "args": ["${V:-other}"]},
        {"command": "x", "args": ["${UNSET:-val-ue}"]},
        {"command": "x", "cwd": "/${V}"},
        {"url": "http://h/${V}/mcp"},
        {"url": "http://h/mcp", "headers": {"X": "a ${V}"}},
        {"url": "http://h/mcp?x=${V}"},
        {"url": "http://${V}/mcp"},
        {"command": "x", "env": {"A": "${V}"}},
    ],
)
@pytest.mark.parametrize("only_sure", [False, True])
def test_what_is_filled_in_anywhere_is_secret(server: Any, only_sure: bool) -> None:
    assert one(server, V="val-ue").blanker(only_sure=only_sure)("of val-ue it") == "of *** it"


def test_a_folder_is_no_secret() -> None:
    server = one({"command": "${userHome}/x", "args": ["${workspaceFolder}"]}, HOME="/home/me")
    assert server.blanker()("/home/me/x") == "/home/me/x"


def test_it_takes_time_in_proportion() -> None:
    blank = blanker([f"secret-{number}" for number in range(100)])
    for piece in ("\\", "%", "%25", "%2525", "\\u00", "\\\\x4", "://", "key=", "%41", "secret-"):
        blank(piece * 20_000)
        list(named([piece * 20_000]))
