"""What a fixture server writes while it is read: a line that is on its way is no line yet."""

import json
from pathlib import Path

import anyio

from conformance.fixtures import Journal, _address

ONE, TWO, THREE = ({"at": "received", "method": method} for method in ("one", "two", "three"))


def lines(*entries: dict[str, str]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_entries_since_the_mark(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.mark()
    assert journal.entries == []
    append(journal.path, lines(ONE, TWO))
    assert journal.entries == [ONE, TWO]
    assert journal.received("two") == [TWO]
    journal.mark()
    journal.mark()
    assert journal.entries == []
    append(journal.path, lines(THREE))
    assert journal.entries == [THREE]


def test_a_mark_while_a_line_is_written(tmp_path: Path) -> None:
    """The mark is before that line, wherever in it the writer is."""
    for cut in range(len(lines(TWO))):
        journal = Journal(tmp_path / str(cut))
        append(journal.path, lines(ONE) + lines(TWO)[:cut])
        journal.mark()
        assert journal.entries == []
        append(journal.path, lines(TWO)[cut:] + lines(THREE))
        assert journal.entries == [TWO, THREE]


async def test_an_address_that_is_half_written(tmp_path: Path) -> None:
    """A port that lacks digits is a port, too."""
    log = tmp_path / "log"
    whole = "INFO listening on http://127.0.0.1:8080/mcp\n"
    found: list[str] = []

    async def read() -> None:
        found.append(await _address(log, lambda: False))

    with anyio.fail_after(10):
        for cut in range(len(whole) - len("/mcp\n") + 1):
            log.write_text(whole[:cut])
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                log.write_text(whole)
    assert found == ["http://127.0.0.1:8080"] * len(found)


def test_what_it_sent_is_apart_from_what_it_received(tmp_path: Path) -> None:
    """A scenario that asks what a server was asked is not told of what it sent."""
    journal = Journal(tmp_path / "journal")
    sent, answered = ({"at": at, "message": {"method": "one"}} for at in ("sent", "answered"))
    journal.path.write_text("".join(json.dumps(entry) + "\n" for entry in (ONE, sent, answered, TWO)))
    assert journal.entries == [ONE, TWO]
    assert journal.everything == [ONE, sent, answered, TWO]
