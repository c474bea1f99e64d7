"""What a server's process gets of our environment, and which program it is."""

import errno
import os
from pathlib import Path

import pytest

from multimcp.backends.launch import (
    at_home,
    check_words,
    environment,
    located,
    program,
    python_of,
    secrets,
    unstartable,
)
from multimcp.errors import BackendError

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [("~", "/h"), ("~/a b", "/h/a b"), ("~me/a", "~me/a"), ("a/~/b", "a/~/b"), ("--x=~/a", "--x=~/a"), ("", "")],
)
def test_what_is_at_home(text: str, expected: str) -> None:
    assert at_home(text, "/h") == expected
    assert at_home(text, "") == text


@pytest.mark.parametrize(("command", "expected"), [("npx", "npx"), ("/bin/x", "/bin/x")])
def test_a_name_is_looked_up_on_path(command: str, expected: str) -> None:
    assert located(command) == expected


@pytest.mark.parametrize("command", ["./x", "../x", "bin/x"])
def test_a_path_begins_where_we_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(command) == os.path.normpath(tmp_path / command)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "'{0}/file' cannot be run (Permission denied); make it executable"),
        (errno.ENOEXEC, "'{0}/file' cannot be run (Exec format error); name the program that runs it"),
        (errno.ENOTDIR, "a part of its path is a file, not a folder"),
        (errno.ELOOP, "its links lead in a circle"),
        (errno.ENAMETOOLONG, "its name is too long"),
        (errno.E2BIG, '(Argument list too long); its "args" and "env" are too long'),
        (errno.EMFILE, "(Too many open files); let Multi-MCP have more"),
        (errno.EAGAIN, "let this user have more processes"),
        (errno.EIO, "'{0}/file' cannot be run (Input/output error); see to that first"),
    ],
)
def test_every_error_of_the_system_names_the_file_and_the_remedy(number: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert words.format(tmp_path) in unstartable(OSError(number, ""), str(tmp_path / "file"), None, "")


def test_what_is_said_of_a_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exc = FileNotFoundError(errno.ENOENT, "")
    (tmp_path / "here").write_text("#!/no/such/program")
    (tmp_path / "here").chmod(0o755)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "run").write_text("")
    assert unstartable(exc, "npx", None, "/none") == "'npx' was not found on PATH; install it, or give its full path"
    assert "'/no/such' was not found; check the path" in unstartable(exc, "/no/such", None, "")
    for command, path in ((str(tmp_path / "here"), ""), ("here", str(tmp_path))):
        assert f"'{tmp_path}/here' cannot be run, as the program that its first line" in unstartable(
            exc, command, None, path
        )
    beside = unstartable(exc, located("./run"), str(tmp_path / "sub"), "")
    hint = f"check the path, which begins where Multi-MCP runs: there is '{tmp_path}/sub/run'"
    assert beside == f"'{tmp_path}/run' was not found; {hint}"
    assert unstartable(exc, str(tmp_path), None, "").startswith(f"'{tmp_path}' was not found")
    denied = PermissionError(errno.EACCES, "")
    assert unstartable(denied, str(tmp_path), None, "") == f"'{tmp_path}' is a folder; name the program in it"


def test_what_is_said_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exc = OSError(errno.ENOENT, "")
    (tmp_path / "file").write_text("")
    assert unstartable(exc, "x", "/no/such", "") == (
        "the folder '/no/such' (its \"cwd\") does not exist; create it, or correct the path"
    )
    assert "is a file, not a folder" in unstartable(exc, "x", str(tmp_path / "file"), "")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be entered (Permission denied)" in unstartable(exc, "x", str(tmp_path), "")


def test_a_word_that_would_be_cut_short_is_none() -> None:
    check_words(["a", ""])
    with pytest.raises(BackendError, match="NUL character"):
        check_words(["a", "b\0c"])
