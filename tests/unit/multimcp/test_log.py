"""Our stderr: nobody waits for whoever reads it, and what is left out is counted. Pipe and thread are real."""

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from multimcp.serving import log
from multimcp.serving.log import Stderr

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds one page."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    yield reads, writes
    for fd in (reads, writes):
        with suppress(OSError):
            os.close(fd)


def read_all(reads: int) -> str:
    return b"".join(iter(lambda: os.read(reads, 1 << 16), b"")).decode()


def read_until(reads: int, pattern: str) -> str:
    text = ""
    while not re.search(pattern, text):
        text += os.read(reads, 1 << 16).decode()
    return text


def test_all_that_is_read_comes_in_order(pipe: tuple[int, int]) -> None:
    stream = Stderr(pipe[1])
    print("one", "two", file=stream, flush=True)
    stream.write("\udc00\n")
    assert read_until(pipe[0], "udc00") == "one two\n\\udc00\n"
    assert stream.fileno() == pipe[1]
    stream.close()


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\x00", "\x85", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066", "\ud800"]
)
def test_an_event_is_one_line_whatever_is_in_it(character: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.Lines, "blank", lambda self, text: text.replace("sesame", "***"))
    name, told = f"a{character}ERROR forged", None
    try:
        raise ValueError(f"{name} sesame")
    except ValueError:
        told = sys.exc_info()
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s: failed", (name,), told)
    head, *below = log.Lines("%(levelname)s %(message)s").format(record).split("\n")
    assert head == f"INFO a{ascii(character)[1:-1]}ERROR forged: failed"
    assert [line for line in below if not line.startswith("    ")] == []
    assert below[-1].endswith("ERROR forged ***")
    assert character not in "".join([head, *below])


def test_a_line_is_there_when_it_has_been_written(pipe: tuple[int, int]) -> None:
    stream = Stderr(pipe[1])
    os.set_blocking(pipe[0], False)
    for number in range(20):
        stream.write(f"{number}\n")
        assert os.read(pipe[0], 4096) == f"{number}\n".encode()
    stream.close()


def test_what_nobody_reads_is_left_out_and_counted(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "WAITING", 50 * len(LINE))
    stream = Stderr(pipe[1])
    for _ in range(1000):
        stream.write(LINE)
    text = read_until(pipe[0], "left out")
    shown, left_out = text.count(LINE), re.search(r"multi-mcp: (\d+) lines left out: nobody read stderr\n$", text)
    assert left_out is not None
    assert shown + int(left_out[1]) == 1000
    assert 50 <= shown <= 150
    stream.write("again\n")
    assert read_until(pipe[0], "again") == "again\n"
    stream.close()


def test_the_end_does_not_wait_for_a_reader(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LAST", 0.01)
    stream = Stderr(os.dup(pipe[1]))  # its thread lives on, until nobody can read: not with a number that is used anew
    stream.write(100 * LINE)
    stream.close()
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        os.write(pipe[1], b"y")
    assert b"y" not in os.read(pipe[0], 4096)


def test_the_end_waits_for_what_is_on_its_way(pipe: tuple[int, int]) -> None:
    stream = Stderr(pipe[1])
    stream.write(30 * LINE)
    stream.close()
    os.close(pipe[1])
    assert read_all(pipe[0]) == 30 * LINE


def test_a_reader_that_is_gone_harms_nobody(pipe: tuple[int, int]) -> None:
    stream = Stderr(pipe[1])
    os.close(pipe[0])
    stream.write(LINE)
    stream.write(LINE)
    stream.close()


def test_a_stream_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    stream = Stderr(pipe[1])
    for _ in range(500):
        stream.write(LINE)
    stream.write("end")
    assert read_until(pipe[0], "end$") == LINE * 500 + "end"
    stream.close()
