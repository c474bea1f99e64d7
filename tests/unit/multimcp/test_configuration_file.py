"""The configuration file where the machine says no: what no test can arrange for real."""

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from multimcp.errors import ConfigError, NameInUseError
from multimcp.protocol.document import edit
from multimcp.serving import reload
from multimcp.serving.reload import ConfigFile, reported, watch


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}')
    return ConfigFile(tmp_path / "mcp.json", {})


async def test_a_file_that_cannot_be_replaced(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*names: Any) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))  # what a single file mounted into a container says

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(
        ConfigError, match=r"mcp\.json: cannot be written \(Device or resource busy\); mount its folder"
    ):
        await file.write({"a": {}})
    assert os.listdir(file.path.parent) == ["mcp.json"]
    assert file.path.read_text() == '{"mcpServers": {}}'


async def test_a_file_that_is_gone(file: ConfigFile) -> None:
    file.path.unlink()
    with pytest.raises(ConfigError, match=r"mcp\.json: cannot be written \(No such file"):
        await file.write({"a": {}})
    assert os.listdir(file.path.parent) == []


async def test_a_file_that_is_not_text(file: ConfigFile) -> None:
    file.path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"mcp\.json: cannot be written \(it is not UTF-8 text\)"):
        await file.write({"a": {}})
    assert file.path.read_bytes() == b"\xff"


def test_a_folder_that_is_read_only(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.check_writable()
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == file.path.parent and mode == os.W_OK))
    with pytest.raises(ConfigError, match=r"mcp\.json: cannot be written; .*without --persist"):
        file.check_writable()


async def test_a_folder_that_cannot_be_watched(
    file: ConfigFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def awatch(*paths: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")
        yield

    monkeypatch.setattr(reload, "awatch", awatch)
    with caplog.at_level(logging.WARNING, "multimcp.serving.reload"), anyio.fail_after(20):
        await watch([file.path], anyio.lowlevel.checkpoint)  # ends, and the proxy goes on
    assert "OS file watch limit reached" in caplog.text
    assert "SIGHUP" in caplog.text


async def test_it_is_looked_at_even_when_nothing_is_announced(
    file: ConfigFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reload, "LOOK", 0.05)
    (tmp_path / "elsewhere").mkdir()

    class Seen(Exception):
        pass

    async def look() -> None:
        raise Seen

    with pytest.raises(ExceptionGroup) as caught, anyio.fail_after(20):
        await watch([tmp_path / "elsewhere" / "mcp.json"], look)
    assert caught.group_contains(Seen)


async def test_a_file_that_says_the_same_changes_nothing(file: ConfigFile) -> None:
    """It is looked at every few seconds."""
    followed: list[Any] = []

    class Registry:
        written: dict[str, Any] = {}  # noqa: RUF012

        def configure(self, servers: Any) -> None:
            followed.append(servers)
            self.written = servers

    registry: Any = Registry()
    file.path.write_text('{  "mcpServers": {}  }')
    await file.follow(registry)
    assert followed == []
    file.path.write_text('{"mcpServers": {"a": {"command": "a"}}}')
    await file.follow(registry)
    await file.follow(registry)
    assert [list(servers) for servers in followed] == [["a"]]


async def test_what_is_wrong_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    problems = iter(["a", "a", "b", "", "b", "b"])

    async def look() -> None:
        if problem := next(problems):
            raise ConfigError(problem)

    looking = reported(look)
    for _ in range(6):
        await looking()
    assert [record.message[0] for record in caplog.records] == ["a", "b", "b"]


async def test_a_fault_of_ours_is_reported_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> None:
        raise KeyError("x")

    await reported(look)()
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_the_file_stays_its_owners(file: ConfigFile) -> None:
    os.chown(file.path, 1234, 4321)
    file.path.chmod(0o600)
    await file.write({"a": {"command": "a"}})
    there = file.path.stat()
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (1234, 4321, 0o600)


async def test_an_entry_that_somebody_else_wrote_is_not_overwritten(file: ConfigFile) -> None:
    await file.write({"a": {"command": "a"}})
    before = file.path.read_text()
    await file.write({"a": {"command": "a"}})
    with pytest.raises(NameInUseError, match=r"mcp\.json: 'a' is there already, as another server"):
        await file.write({"a": {"command": "other"}, "b": {"command": "b"}})
    assert file.path.read_text() == before


def test_editing_keeps_what_else_is_written() -> None:
    text = json.dumps({"b": 1, "mcpServers": {"x": {"command": "${A}"}, "y": {"odd": [1]}}, "a": {"ü": None}})
    assert json.loads(edit(text, {"z": {"url": "${U:-u}"}}, ["y", "none"])) == {
        "b": 1,
        "mcpServers": {"x": {"command": "${A}"}, "z": {"url": "${U:-u}"}},
        "a": {"ü": None},
    }
    assert "ü" in edit(text, {}, [])
    again = edit(text, {"x": {"command": "${A}"}}, [])
    assert again.index('"x"') < again.index('"y"')
    assert json.loads(edit('{"mcpServers": {}}', {"a": {"command": ["x"], "enabled": True}}, [])) == {
        "mcpServers": {"a": {"command": ["x"], "enabled": True}}
    }
    for broken in ("[]", '{"mcpServers": []}', "{"):
        with pytest.raises(ConfigError):
            edit(broken, {}, [])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mcp.json", '{"mcpServers": {}} // mine', "has comments, or commas before a bracket, which would be lost"),
        ("mcp.json", '{"mcpServers": {},}', "has comments, or commas before a bracket, which would be lost"),
        ("mcp.json", '{"servers": {}}', "is another client's file"),
        ("mcp.json", '{"mcp": {"servers": {}}}', "is another client's file"),
        ("mcp.toml", "[mcpServers]", "is another client's file"),
        ("mcp.json", '{"n": 1e400, "mcpServers": {}}', "has numbers that would be written in another way"),
        (
            "mcp.json",
            '{"n": 0.1000000000000000055, "mcpServers": {}}',
            "has numbers that would be written in another way",
        ),
    ],
)
async def test_a_file_that_cannot_be_written_back_as_it_is(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    file = ConfigFile(path, {})
    for fails in (file.check_writable, lambda: edit(text, {"a": {"command": "a"}}, [], path.suffix)):
        with pytest.raises(ConfigError, match=said) as caught:
            fails()
        assert str(caught.value).endswith("or start without --persist")
    with pytest.raises(ConfigError, match=said):
        await file.write({"a": {"command": "a"}})
    assert path.read_text() == text
