"""What a server says on stderr: which lines are shown, what is kept of them, and what it costs at most."""

import pytest

from multimcp.protocol import stderr
from multimcp.protocol.stderr import BURST, KEPT_CHARACTERS, KEPT_LINES, LONGEST, RATE, Stderr, last_words


class Shown:
    """A server's stderr whose clock is ours, with the lines that were shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.stderr = Stderr(lambda text: text.replace("sesame", "***"), self.lines.append, lambda: self.now)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_torn_anywhere(size: int) -> None:
    shown = Shown()
    process = shown.stderr.process()
    data = "one\n\n  two ü\r\nthree\rfour\n \nfive".encode()
    for i in range(0, len(data), size):
        process.feed(data[i : i + size])
    assert shown.lines == ["one", "  two ü", "three", "four"]
    process.end()
    assert shown.lines[4:] == ["five"]
    assert shown.stderr.lines == shown.lines


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"key sesame", "key ***"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x", "red x"),
        (b"a\tb\x00c\x7f\x1b", "a    b\\x00c\\x7f\\x1b"),
        ("a\u202eb\u2028c\u0085".encode(), "a\\u202eb\\u2028c"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"s\x1b[1mesame", "***"),
    ],
)
def test_a_line_is_cleaned(line: bytes, seen: str) -> None:
    shown = Shown()
    shown.stderr.process().feed(line + b"\n")
    assert shown.lines == shown.stderr.lines == [seen]


def test_a_line_without_an_end_is_bounded() -> None:
    shown = Shown()
    process = shown.stderr.process()
    for _ in range(1000):
        process.feed(b"x" * 65536)
        assert len(process._partial) <= stderr._READ
    process.feed(b"\nnext\n")
    assert shown.lines == ["x" * (LONGEST - 1) + "…", "next"]


def test_what_is_kept_is_bounded() -> None:
    shown = Shown()
    process = shown.stderr.process()
    process.feed(b"".join(b"%d\n" % i for i in range(1000)))
    assert shown.stderr.lines == [str(i) for i in range(1000 - KEPT_LINES, 1000)]
    process.feed((b"x" * LONGEST + b"\n") * KEPT_LINES)
    assert shown.stderr.lines == ["x" * LONGEST] * (KEPT_CHARACTERS // LONGEST)


def test_what_is_shown_in_a_second_is_bounded() -> None:
    shown = Shown()
    process = shown.stderr.process()
    process.feed(b"x\n" * 1000)
    assert shown.lines == ["x"] * BURST
    shown.now = 1.0
    process.feed(b"y\n")
    left_out = f"({1000 - BURST} lines left out: more than {RATE:g} a second)"
    assert shown.lines[BURST:] == [left_out, "y"]
    process.feed(b"z\n" * 1000)
    process.end()
    assert shown.lines[BURST + 2 :] == ["z"] * int(RATE - 1) + [
        f"({1001 - RATE:g} lines left out: more than 20 a second)"
    ]


def test_a_flood_of_lines_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    note = Stderr.note

    def look(stderr: Stderr, line: str, known: frozenset[str]) -> None:
        looked_at.append(line)
        note(stderr, line, known)

    monkeypatch.setattr(Stderr, "note", look)
    shown = Shown()
    process = shown.stderr.process()
    process.feed(b"".join(b"%d\n" % i for i in range(10_000)))
    process.end()
    last = [str(i) for i in range(10_000 - KEPT_LINES, 10_000)]
    assert looked_at == [str(i) for i in range(BURST)] + last
    assert shown.stderr.lines == last
    left_out = f"({10_000 - BURST} lines left out: more than {RATE:g} a second)"
    assert shown.lines == [str(i) for i in range(BURST)] + [left_out]


def test_a_start_like_the_last_one_is_shown_once() -> None:
    shown = Shown()
    for pid in range(3):
        process = shown.stderr.process()
        process.feed(b"pid %d at 0x%x\nboom\n" % (pid, pid))
        process.end()
    assert shown.lines == ["pid 0 at 0x0", "boom"]
    assert shown.stderr.lines == ["pid 2 at 0x2", "boom"]
    process = shown.stderr.process()
    process.feed(b"boom\nsomething else\n")
    assert shown.lines[2:] == ["something else"]
    # A process that is ready has news, and so has one after a long time.
    process.is_ready()
    process.feed(b"boom\n")
    shown.stderr.forget()
    shown.stderr.process().feed(b"boom\nboom\n")
    assert shown.lines[3:] == ["boom"] * 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["one", "two", "three"], "two | three"),
        (
            ["Traceback (most recent call last):", '  File "x.py", line 1', "    import y", "ModuleNotFoundError: y"],
            "ModuleNotFoundError: y",
        ),
        (
            [
                "node:internal:1",
                "  throw err;",
                "  ^",
                "Error: Cannot find module '/x'",
                "    at a",
                "}",
                "Node.js v20",
            ],
            "node:internal:1 | Error: Cannot find module '/x'",
        ),
        (
            ["npm error code E404", "npm error 404 Not Found", "npm error A complete log of this run is in x"],
            "npm error code E404 | npm error 404 Not Found",
        ),
        (["  only", "  indented"], "only | indented"),
        (["x" * 1000], "x" * 399 + "…"),
    ],
)
def test_last_words(lines: list[str], words: str) -> None:
    assert last_words(lines) == words
