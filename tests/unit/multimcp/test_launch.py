"""What a server's process gets of our environment, and which program it is."""

from pathlib import Path

import pytest

from multimcp.backends.launch import environment, program, python_of, secrets

INHERITED = [
    *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("UV_INDEX_URL", "UV_CACHE_DIR", "npm_config_registry", "NPM_CONFIG_CACHE", "PIP_INDEX_URL"),
    *("TZ", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
]
OURS = [
    *("MULTI_MCP_API_KEY", "GITHUB_PERSONAL_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "SSH_AUTH_SOCK"),
    *("PYTHONPATH", "LD_PRELOAD", "NODE_OPTIONS", "VIRTUAL_ENV", "DISPLAY", "PWD", "LANGUAGE", "LANGCHAIN_API_KEY"),
    *("MY_HTTP_PROXY", "HTTP_PROXY_PASSWORD", "UV", "UV_", "PIP_", "PIPX_HOME", "npm_token", "ssl_cert_file", "tz"),
    *("TZDIR", "XDG", "LC_", "uv_index_url", "TMP"),
]


@pytest.mark.parametrize("name", INHERITED)
def test_what_a_server_inherits(name: str) -> None:
    assert environment({name: "x"}, {}) == {name: "x"}


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_alone(name: str) -> None:
    assert environment({name: "x"}, {}) == {}


def test_its_own_environment_wins() -> None:
    assert environment({"TZ": "UTC", "LANG": "C"}, {"TZ": "CET", "SECRET": "x"}) == {
        "TZ": "CET",
        "LANG": "C",
        "SECRET": "x",
    }


def test_a_function_of_a_shell_is_not_handed_on() -> None:
    assert environment({"HOME": "() { :; }"}, {}) == {}


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("HTTPS_PROXY", "http://me:p%40ss@proxy:3128", {"p%40ss", "p@ss"}),
        ("HTTP_PROXY", "http://me:p[s@s@proxy:3128", {"p[s@s"}),
        ("UV_INDEX_URL", "https://a.example/simple", set()),
        ("PIP_EXTRA_INDEX_URL", "https://u:one1@a.example/x https://u:two2@b.example/x", {"one1", "two2"}),
        ("UV_PUBLISH_TOKEN", "sesame", {"sesame"}),
        ("npm_config__authToken", "sesame", {"sesame"}),
        ("OPENAI_API_KEY", "sesame", set()),  # which no server gets
    ],
)
def test_what_is_secret_of_what_is_inherited(name: str, value: str, found: set[str]) -> None:
    assert set(secrets({name: value})) == found


HERE = "/venv/bin/python"


@pytest.mark.parametrize(
    ("command", "own", "ours", "in_venv", "is_ours"),
    [
        ("python", {}, {}, True, True),
        ("python3", {}, {}, True, True),
        ("python", {"A": "b"}, {}, True, True),
        ("python", {}, {"CONDA_DEFAULT_ENV": "base"}, True, True),
        ("python", {}, {}, False, False),
        ("python", {}, {"VIRTUAL_ENV": "/another"}, True, False),
        ("python", {}, {"CONDA_DEFAULT_ENV": "work"}, True, False),
        ("python", {"PATH": "/x"}, {}, True, False),
        ("python", {"VIRTUAL_ENV": "/x"}, {}, True, False),
        ("python3.11", {}, {}, True, False),
        ("/usr/bin/python", {}, {}, True, False),
        ("./python", {}, {}, True, False),
        ("npx", {}, {}, True, False),
        # There is no python on this PATH, only a python3.
        ("python", {}, {"PATH": "{empty}"}, False, True),
        ("python", {}, {"PATH": "{empty}", "VIRTUAL_ENV": "/another"}, True, True),
        ("python", {"PATH": "/x"}, {"PATH": "{empty}"}, False, False),
        ("npx", {}, {"PATH": "{empty}"}, False, False),
    ],
)
def test_which_python(
    tmp_path: Path, command: str, own: dict[str, str], ours: dict[str, str], in_venv: bool, is_ours: bool
) -> None:
    for folder, names in (("full", ["python", "python3"]), ("empty", [])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch(0o755)
    path = str(tmp_path / ("empty" if "PATH" in ours else "full"))
    started = program(command, own, {**ours, "PATH": path}, HERE, in_venv=in_venv)
    assert started == (HERE if is_ours else command)


def test_which_python_was_run(tmp_path: Path) -> None:
    (tmp_path / "python3.12").touch(0o755)
    assert python_of("python3.12", {"PATH": str(tmp_path)}) == str(tmp_path / "python3.12")
    assert python_of("/venv/bin/python", {}) == "/venv/bin/python"
    assert python_of("npx", {}) is None
    assert python_of("/usr/bin/pythonista", {}) is None
