"""Target files: what is read, and how a wrong one is told."""

import json
import re
from pathlib import Path

import pytest

from conformance import cli
from conformance.naming import Scheme
from conformance.target import Names, Target, TargetError, load, names, placeholders, write_config

MINIMAL = """
[target]
name = "t"
[launch]
kind = "command"
command = ["p", "--config", "$config"]
[endpoints]
http = "http://127.0.0.1:$port/mcp"
"""


def target(tmp_path: Path, text: str) -> Target:
    file = tmp_path / "t.toml"
    file.write_text(text)
    return load(str(file))


def problem(tmp_path: Path, text: str) -> str:
    with pytest.raises(TargetError) as caught:
        target(tmp_path, text)
    assert str(tmp_path / "t.toml") in str(caught.value)
    return str(caught.value)


EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "targets").glob("*.toml"))


@pytest.mark.parametrize("name", [*names(), *map(str, EXAMPLES)])
def test_the_shipped_ones_and_the_examples_are_right(name: str) -> None:
    assert EXAMPLES
    assert load(name).name == Path(name).stem


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        (MINIMAL.replace("command =", "comand ="), "launch.comand", "there is no such key"),
        (MINIMAL.replace('"command"', '"docker"'), "launch.kind", "'direct', 'in_process', 'command' or 'url'"),
        (MINIMAL.replace('command = ["p", "--config", "$config"]', ""), "launch", "needs 'command'"),
        (MINIMAL.replace("$config", "$confg"), "launch.command", "$confg is no placeholder here; there are $port"),
        (MINIMAL.replace("$config", "$ 5"), "launch.command", "$$"),
        (MINIMAL.replace("http =", "https ="), "endpoints.https", "there is no such key"),
        (MINIMAL.replace("[endpoints]", "[x]"), "x", "there is no such key"),
        (MINIMAL.partition("[endpoints]")[0], "", "[endpoints] needs at least one"),
        (MINIMAL.replace('"t"', '"a b"'), "target.name", "pattern"),
        (MINIMAL.replace('kind = "command"', 'kind = "url"'), "", "needs [admin]"),
        (MINIMAL.replace('"command"', '"in_process"') + "\n[launch.x]", "launch.x", "no such key"),
        (MINIMAL + '[unsupported]\n"nothing:*" = "why"', "unsupported", "no requirement is called 'nothing:*'"),
        (MINIMAL + '[unsupported]\n"tools:*" = ""', "unsupported.tools:*", "at least 1 character"),
        (MINIMAL.replace('"t"', '"t"\neras = ["old"]'), "target.eras.0", "'legacy' or 'modern'"),
        (MINIMAL + 'here = "x"', "endpoints.here", "no such key"),
        ('here = "x"' + MINIMAL, "here", "no such key"),
        (MINIMAL + "[", "", "at end of document"),
        (MINIMAL + '[names]\ntool = "$nam"', "names.tool", "$nam is no placeholder here; there are $server, $name"),
    ],
)
def test_a_wrong_one_names_the_key_and_the_remedy(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    said = problem(tmp_path, text)
    assert key in said
    assert remedy in said


def test_one_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(TargetError, match=r"no target 'nothing'.*multimcp"):
        load("nothing")


def test_the_template_of_init_is_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    assert cli.main(["init", str(file)]) == 0
    assert load(str(file)).name == "my-proxy"
    assert "python -m conformance run --target" in capsys.readouterr().out
    assert cli.main(["init", str(file)]) == 2
    assert "there already" in capsys.readouterr().err


# What is commented out in the template and no prose: a table, a key, the lines of its template.
OPTIONAL = r'^# (?=\[|[\w."*:]+ = |port: |targets:|\$servers)'


def test_every_optional_line_of_the_template_is_right_too(tmp_path: Path) -> None:
    assert cli.main(["init", str(tmp_path / "mine.toml")]) == 0
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "all.toml").write_text(re.sub(OPTIONAL, "", text, flags=re.MULTILINE))
    full = load(str(tmp_path / "all.toml"))
    assert full.admin is not None
    assert full.config.server["http"]
    assert full.unsupported


def test_what_is_written_for_the_target(tmp_path: Path) -> None:
    servers = {"a": {"command": "c", "args": ["x y"]}, "b": {"type": "http", "url": "http://u/mcp"}}
    plain = target(tmp_path, MINIMAL + '[config]\nextra = {port = "$port", deep = {list = ["$port"]}}')
    values = placeholders(7, tmp_path / "c", plain)
    assert json.loads(write_config(plain, servers, values)) == {
        "mcpServers": servers,
        "port": "7",
        "deep": {"list": ["7"]},
    }
    pattern = '[config]\ntemplate = "port: $port\\n$servers"\n[config.server]\nstdio = "- $name $command $args $env"\n'
    templated = target(tmp_path, MINIMAL + pattern + 'http = "- $name $url"')
    assert write_config(templated, servers, values) == 'port: 7\n- a "c" ["x y"] {}\n- b "http://u/mcp"'
    lacking = target(tmp_path, MINIMAL + pattern)
    with pytest.raises(TargetError, match=r"config\.server lacks a pattern for http"):
        write_config(lacking, servers, values)


def test_endpoints_of_a_server_each(tmp_path: Path) -> None:
    assert target(tmp_path, MINIMAL).shared_endpoint
    assert not target(tmp_path, MINIMAL.replace("/mcp", "/$server/mcp")).shared_endpoint


@pytest.mark.parametrize("tool", ["$server::$name", "${server}_$name", "$name@$server", "$$$server.$name", "$name"])
def test_names_go_there_and_back(tool: str) -> None:
    scheme = Scheme(Names(tool=tool))
    for name in ("add", "a::b", "a_b", "ä b\n"):
        assert scheme.own("tool", "calc", scheme.public("tool", "calc", name)) == name
    if "server" in tool:
        assert scheme.own("tool", "calc", scheme.public("tool", "other", "add")) is None


@pytest.mark.parametrize("uri", ["notes://inbox", "test://a/{id}/b", "https://h/p?q=1#f"])
def test_uris_go_there_and_back(uri: str) -> None:
    for declared in (
        Names(),
        Names(resource="$scheme://$server/$rest"),
        Names(resource="$server+$uri"),
        Names(collision="$scheme://$server/$rest"),
    ):
        scheme = Scheme(declared)
        for public in scheme.public_uris("home", uri):
            assert scheme.own_uri("home", public) == uri
    assert Scheme(Names(resource="$server+$uri")).own_uri("home", "x://y") == "x://y"
