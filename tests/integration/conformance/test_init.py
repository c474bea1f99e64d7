"""`init` at a terminal: what it asks, what it finds out by trying, and what it says of what does not work."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance import cli, target
from conformance.init import ask, render

HERE = Path(__file__).parent
MUX = f"$python {HERE / 'named.py'} slug $config"


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs it at a terminal with these answers; returns what it says."""

    def run(code: int, *answers: str) -> str:
        left: Iterator[str] = iter(answers)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(HERE.parents[2]))
        monkeypatch.setattr("builtins.input", lambda question: next(left))
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        assert cli.main(["init", "mine.toml"]) == code
        told = capsys.readouterr()
        return told.out + told.err

    return run


def test_what_it_finds_out_stands_in_the_file(init: Callable[..., str]) -> None:
    said = init(0, "mine", MUX, "stdio", "stdio")
    assert "tools: everything-test-simple-text" in said
    assert "Next: python -m conformance run --target mine.toml" in said
    made = target.load("mine.toml")
    assert (made.names.tool, made.names.replace) == ("${server}-$name", {"_": "-"})
    assert made.eras == ("legacy", "modern")
    assert made.transports == ("stdio",)


def test_a_proxy_that_does_not_start_is_told_with_its_last_words(init: Callable[..., str]) -> None:
    said = init(1, "", "$python -c 'raise SystemExit(\"no licence\")' $config", "", "")
    assert "It does not work yet: the target ended while starting" in said
    assert "the target ended while starting. Look at [launch]" in said
    assert "on stderr:\n  no licence\n" in said
    assert said.count("no licence") == 1
    assert target.load("mine.toml").name == "my-proxy"
    assert "# startup = " in Path("mine.toml").read_text()


# Multi-MCP, which is told of its servers over REST; a header has to have its key.
KEYED = (
    """sh -c 'echo "{\\"mcpServers\\": {}}" > $folder/m.json; MULTI_MCP_API_KEY=k exec $python -m multimcp """
    """--transport http --config $folder/m.json --port $port'"""
)
API = ("http://127.0.0.1:$port/mcp_servers", '{"mcpServers": {"$name": {"type": "$type", "url": $url}}}', "added.0")


def test_a_token_that_is_missing_is_told_and_the_file_is_tried_out_again(init: Callable[..., str]) -> None:
    said = init(1, "", KEYED, "", *API, "", "", "http", "")
    assert "It does not work yet: the target does not take server" in said
    assert "HTTP 401" in said
    assert "headers under [endpoints] and [admin]" in said
    assert "The last that it wrote on stderr:" in said
    text = Path("mine.toml").read_text()
    with_key = re.sub(r"(?m)^\[(endpoints|admin)]$", r'\g<0>\nheaders = { Authorization = "Bearer $TOKEN" }', text)
    with_key = with_key.replace("[target]", "secrets.TOKEN.command = ['echo', 'k']\n[target]")
    Path("mine.toml").write_text(with_key)
    said = init(1)
    assert "mine.toml is there already" in said
    assert 'Change in mine.toml: [names] prompt = "${server}::$name", tool = "${server}::$name"' in said
    assert Path("mine.toml").read_text() == with_key


def test_a_client_that_is_refused_is_told_so(init: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.first.SETTLE_WAIT", 0.5)
    refuses = (
        "import http.server as h, sys\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    do_GET = do_POST = lambda self: self.send_error(403)\n"
        '    log_message = lambda self, *said: print("a key, please", file=sys.stderr, flush=True)\n'
        'h.ThreadingHTTPServer(("127.0.0.1", $port), H).serve_forever()'
    )
    said = init(1, "", f"$python -c '{refuses}' $config", "", "")
    assert "HTTP 403" in said
    assert "headers under [endpoints];" in said
    assert "it goes on" not in said
    assert "\n  a key, please\n" in said


def test_an_answer_that_cannot_be_is_told_with_its_key(init: Callable[..., str]) -> None:
    assert "$prt is no placeholder here" in init(2, "", "p $config $prt", "", "")
    assert not Path("mine.toml").exists()


def test_a_command_line_that_does_not_end_is_told(init: Callable[..., str]) -> None:
    assert "no target file is written: No closing quotation" in init(2, "", "p 'x")


@pytest.mark.parametrize(
    ("answers", "tables"),
    [
        ([""] * 4, {"target", "launch", "endpoints", "backends"}),
        (["", "p --stdio '$command $args' $port", "http://h/sse"], {"target", "launch", "endpoints"}),
        (["", "p $port", "", "", "", "", "", "", "http"], {"target", "launch", "endpoints", "backends", "admin"}),
    ],
)
def test_every_answer_makes_a_target(tmp_path: Path, answers: list[str], tables: set[str]) -> None:
    left = iter(answers)
    data = ask(lambda question: next(left))
    assert data.keys() == tables
    (tmp_path / "t.toml").write_text(render(data))
    made = target.load(str(tmp_path / "t.toml"))
    assert made.launch.single == ("backends" not in tables)
    assert made.registers == ("admin" in tables)
