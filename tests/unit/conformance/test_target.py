"""Target files: what is read, and how a wrong one is told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance.client import Url
from conformance.config import config_files
from conformance.naming import Scheme
from conformance.tables import CONTAINER, IMAGE, Names
from conformance.target import (
    ITS_OWN,
    STRANGERS,
    Target,
    TargetError,
    load,
    names,
    placeholders,
    strangers,
)
from tests.support.documentation import example

MINIMAL = """
[target]
name = "t"
[launch]
kind = "command"
command = ["p", "--config", "$config"]
[endpoints]
http = "http://127.0.0.1:$port/mcp"
"""


SINGLE = MINIMAL.replace('"$config"', "%s").replace("command =", "single = true\ncommand =")

REST = (
    MINIMAL
    + """
[admin]
add = "http://h/$name"
remove = "http://h/$id"
"""
)


CONTAINED = """
[target]
name = "t"
[launch]
kind = "docker"
image = "i"
port = 80
[config]
file = "/etc/p/c.json"
[endpoints]
http = "http://$host:$port/mcp"
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


EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "targets").glob("*.toml"))


@pytest.mark.parametrize("name", strangers())
def test_a_stranger_says_how_it_is_installed_and_pinned(name: str) -> None:
    head = (STRANGERS / f"{name}.toml").read_text().partition("[target]")[0]
    stranger = load(name)
    assert stranger.launch.command
    installed = re.findall(r"^#   (.+)$", head, re.MULTILINE)
    folder, version = stranger.launch.command[0].partition("/")[0], stranger.target.version
    assert any(folder in line for line in installed)
    assert isinstance(version, str)
    assert any(re.search(rf"(?:==|@| ){re.escape(version)}$", line) for line in installed)


@pytest.mark.parametrize("name", [*names(), *strangers(), *map(str, EXAMPLES)])
def test_the_shipped_ones_and_the_examples_are_right(name: str) -> None:
    assert EXAMPLES
    assert load(name).name == Path(name).stem


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        (MINIMAL.replace("command =", "comand ="), "launch.comand", "there is no such key"),
        (MINIMAL.replace('"command"', '"podman"'), "launch.kind", "'command', 'docker', 'kubernetes' or 'url'"),
        (MINIMAL.replace('command = ["p", "--config", "$config"]', ""), "launch", "needs 'command'"),
        (
            MINIMAL.replace("$config", "$confg"),
            "launch.command",
            "$confg is no placeholder here; there are $host, $port",
        ),
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
        (MINIMAL + '[names]\nreplace = {"[" = "-"}', "names.replace", "is no regular expression: unterminated"),
        (MINIMAL + "[names]\ncut = 0", "names.cut", "greater than or equal to 1"),
        (CONTAINED.replace('image = "i"\n', ""), "launch", "kind 'docker' needs 'image'"),
        (CONTAINED.replace("port = 80\n", ""), "launch", "kind 'docker' needs 'port'"),
        (CONTAINED.replace("port = 80\n", "port = 0\n"), "launch.port", "greater than or equal to 1"),
        (
            CONTAINED.replace('kind = "docker"', 'kind = "kubernetes"\ncwd = "/"'),
            "launch",
            "'cwd' is not for kind 'kube",
        ),
        (CONTAINED.replace('file = "/etc/p/c.json"', 'file = "c.json"'), "", "needs config.file, an absolute path"),
        (CONTAINED.replace('file = "/etc/p/c.json"', 'file = "/c.json"'), "", "in a folder that is mounted there"),
        (
            CONTAINED + '[backends]\ntransports = ["stdio"]',
            "",
            "launch.python has to name a Python that is in the image",
        ),
        (
            MINIMAL.replace("command =", 'image = "i"\ncommand ='),
            "launch",
            "'image' is for the kinds docker and kubernetes",
        ),
        (MINIMAL.replace('"$config"', '"$url"'), "launch", "$url is of one server: with single = true the target is"),
        (
            MINIMAL.replace("[endpoints]", 'after = [["x", "$server"]]\n[endpoints]'),
            "launch",
            "$server is of one server",
        ),
        (SINGLE % '"$port"', "", "nothing under [launch] says which server: put $command and $args, $url or $config"),
        (SINGLE % '"$url"' + '[backends]\ntransports = ["stdio"]', "", "backends.transports has stdio, but nothing"),
        (SINGLE % '"$url"' + '[admin]\nadd = "a"\nremove = "b"', "", "[admin] is not for single = true"),
        (REST.replace('"http://h/$name"', '"http://h/$nam"'), "admin.add", "$nam is no placeholder here"),
        (REST, "admin", "$id needs 'id': where it stands in the answer"),
        (REST.replace("/$name", "/$id"), "admin", "$id is known when a server was added"),
        (REST + 'id = ""', "admin.id", "at least 1 character"),
        (REST + 'id = "id"\nheaders = {A = "$TOKEN"}', "admin.headers.A", "$TOKEN is no placeholder here"),
        (MINIMAL + "[secrets.TOKEN]", "secrets.TOKEN", "needs either 'env'"),
        (MINIMAL + '[secrets]\nTOKEN = {env = "A", command = ["b"]}', "secrets.TOKEN", "needs either 'env'"),
        (MINIMAL + '[secrets]\nport = {env = "A"}', "", "$port is a placeholder already"),
        (MINIMAL + "secrets = 5", "endpoints.secrets", "no such key"),
        ("secrets = 5" + MINIMAL, "secrets", "valid dictionary"),
        (MINIMAL + '[config]\nextra = {port = ["$prt"]}', "config.extra", "$prt is no placeholder here"),
        (MINIMAL + '[config]\nfiles = {"mcp.json" = ""}', "config", "is the configuration file itself"),
        (MINIMAL + '[config]\nfiles = {"a/b" = ""}', "config.files", "pattern"),
        (MINIMAL + '[config]\nlists = {servers = ""}', "", "$servers is a placeholder already"),
        (MINIMAL + '[config]\ntemplate = ""\n[config.server]\nsse = ""\nstdio = ""', "", "config.server lacks a patt"),
        (
            MINIMAL.replace("http =", "stdio = true\nx =").replace('x = "http://127.0.0.1:$port/mcp"', "")
            + '[admin]\nadd = "a"\nremove = "b"\nregisters = true',
            "",
            "admin.registers is not for endpoints.stdio",
        ),
        (
            MINIMAL.replace('"command"', '"url"').replace("command =", "single = true\ncommand ="),
            "launch",
            "'single' is not for kind 'url'",
        ),
        (MINIMAL.replace("command =", "hardened = false\ncommand ="), "launch", "'hardened' is for the kinds docker"),
        (
            MINIMAL.replace("[endpoints]", "[endpoints]\nheaders = {A = '$b'}"),
            "endpoints.headers.A",
            "$b is no placeholder",
        ),
    ],
)
def test_a_wrong_one_names_the_key_and_the_remedy(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    said = problem(tmp_path, text)
    assert key in said
    assert remedy in said


def test_the_documented_containers_are_right(tmp_path: Path) -> None:
    lines = example("[launch]", "toml")
    for kind in ("docker", "kubernetes"):
        read = target(tmp_path, '[target]\nname = "t"\n' + lines.replace('"docker" ', f'"{kind}"'))
        assert (read.launch.kind, read.launch.port, read.transports) == (kind, 8080, ("sse", "http"))


def test_one_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(TargetError, match=r"no target 'nothing'.*multimcp"):
        load("nothing")


def test_the_template_of_init_is_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    assert cli.main(["init", str(file)]) == 0
    assert load(str(file)).name == "my-proxy"
    assert "python -m conformance run --target" in capsys.readouterr().out


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


def test_every_line_for_a_proxy_of_one_server_is_right_too(tmp_path: Path) -> None:
    assert cli.main(["init", str(tmp_path / "mine.toml")]) == 0
    text = (tmp_path / "mine.toml").read_text()
    lines = re.findall("^# : (command = .*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        single = re.sub("^command = .*$", f"single = true\n{line}", text, flags=re.MULTILINE)
        assert target(tmp_path, single).transports in [("stdio",), ("sse", "http")]


# The alternative of a target in a container.
CONTAINER_ONLY = "# | "


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_every_line_for_containers_is_right_too(tmp_path: Path, kind: str) -> None:
    assert cli.main(["init", str(tmp_path / "mine.toml")]) == 0
    text = (tmp_path / "mine.toml").read_text().replace('kind = "command"', f'kind = "{kind}"')
    assert set(re.findall(r"^# \| (\w+) = ", text, re.MULTILINE)) == CONTAINER
    text = re.sub(OPTIONAL, "", text.replace(CONTAINER_ONLY, ""), flags=re.MULTILINE)
    text = (
        text.replace('cwd = "$here"', "")
        .replace("stdio = true", "")
        .replace('file = "mcp.json"', 'file = "/etc/my-proxy/mcp.json"')
    )
    (tmp_path / "contained.toml").write_text(text)
    contained = load(str(tmp_path / "contained.toml")).launch
    assert contained.in_container
    assert contained.model_fields_set >= CONTAINER
    defaults = {"hardened": False, "fixtures": IMAGE}
    assert {key: getattr(contained, key) for key in defaults} == defaults


def test_what_is_written_for_the_target(tmp_path: Path) -> None:
    servers: dict[str, dict[str, Any]] = {
        "a": {"command": "c", "args": ["x y"]},
        "b": {"type": "http", "url": "http://u/mcp"},
    }
    plain = target(tmp_path, MINIMAL + '[config]\nextra = {port = "$port", deep = {list = ["$port"]}}')
    values = placeholders(7, tmp_path / "c", plain)
    assert json.loads(config_files(plain, servers, values)["c"]) == {
        "mcpServers": servers,
        "port": "7",
        "deep": {"list": ["7"]},
    }
    pattern = '[config]\ntemplate = "port: $port\\n$servers"\n[config.server]\nstdio = "- $name $command $args $env"\n'
    pattern = '[backends]\ntransports = ["stdio", "http"]\n' + pattern
    templated = target(tmp_path, MINIMAL + pattern + 'http = "- $name $url"')
    text = config_files(templated, servers, values)["c"]
    assert text == 'port: 7\n- a "c" ["x y"] {}\n- b "http://u/mcp"'


def test_what_is_written_beside_it(tmp_path: Path) -> None:
    servers: dict[str, dict[str, Any]] = {"a": {"type": "sse", "url": "u"}, "b": {"type": "http", "url": "v"}}
    listed = """
[backends]
types = {http = "STREAMABLE"}
[config]
template = "$servers; $policy"
separator = ","
lists.policy = "$name may $type"
files = {"p.yaml" = "[$policy] $folder", "s" = "$servers"}
[config.server]
stdio = "-"
sse = "$name=$url"
http = "$name:$url"
"""
    beside = target(tmp_path, MINIMAL + listed)
    values = placeholders(7, tmp_path / "c", beside)
    assert config_files(beside, servers, values) == {
        "c": 'a="u",b:"v"; a may sse,b may STREAMABLE',
        "p.yaml": f"[a may sse,b may STREAMABLE] {tmp_path}",
        "s": 'a="u",b:"v"',
    }


@pytest.mark.parametrize(
    ("words", "transports"),
    [
        ('"$config"', ("stdio", "sse", "http")),
        ('"$command", "$args"', ("stdio",)),
        ('"${command} $args"', ("stdio",)),
        ('"$url"', ("sse", "http")),
        ('"$type", "$command", "$args", "$url"', ("stdio", "sse", "http")),
    ],
)
def test_what_a_target_of_one_server_is_told_says_what_it_can_be_in_front_of(
    tmp_path: Path, words: str, transports: tuple[str, ...]
) -> None:
    one = target(tmp_path, SINGLE % words)
    assert one.transports == transports
    assert not one.shared_endpoint


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


def test_a_target_in_a_container_is_given_what_is_in_there(tmp_path: Path) -> None:
    plain = target(tmp_path, CONTAINED)
    assert plain.transports == ("sse", "http")
    keys = 'port = 80\npython = "py"\n'
    keys += 'command = ["$python", "$here"]\nargs = ["-c", "$config"]\nenv = {AT = "$host:$port"}\n'
    full = target(tmp_path, CONTAINED.replace("port = 80\n", keys))
    assert full.transports == ("stdio", "sse", "http")
    values = {**placeholders(7, Path("/etc/p/c.json"), full), "host": "10.0.0.1"}
    assert full.argv(values) == ["py", str(tmp_path)]
    assert full.args(values) == ["-c", "/etc/p/c.json"]
    assert full.environment(values) == {**ITS_OWN, "AT": "10.0.0.1:7"}


def test_every_request_has_the_headers_of_the_endpoints(tmp_path: Path) -> None:
    keyed = target(tmp_path, MINIMAL + 'headers = {Authorization = "Bearer $port"}')
    endpoint = keyed.endpoint("http", "", placeholders(7, tmp_path / "c", keyed))
    assert endpoint == Url("http://127.0.0.1:7/mcp", {"Authorization": "Bearer 7"})
