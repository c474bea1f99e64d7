"""Our stderr: everything for people goes there, and nobody waits for whoever reads it.

Rules:
- A thread writes. What it has not written yet is bounded; what comes beyond is left out, and counted in a line of its
  own once there is room again.
- A line is there before the answer that it explains: `write` gives the thread a moment, unless that is stuck already.
- At the end of the process it has `LAST` seconds for the rest.
"""

import atexit
import io
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from multimcp.errors import printable

WAITING = 1024 * 1024
"""Characters that wait to be written at most."""

PROMPT = 0.1
"""Seconds that `write` waits for the thread at most; where nobody reads, once."""

LONGEST = 10_000
"""Characters of a line."""

LAST = 1.0
"""Seconds in which what waits is still written at the end."""


class Stderr(io.TextIOBase):
    """A text stream that never blocks: a thread writes to the descriptor `fd` what it is given."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        lock = threading.Lock()
        self._news = threading.Condition(lock)
        self._written = threading.Condition(lock)
        self._is_stuck = False
        self._waiting: list[str] = []
        self._size = 0
        self._left_out = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._fd

    def write(self, text: str) -> int:
        """Take some text, or leave it out."""
        with self._news:
            if self._size + len(text) > WAITING:
                self._left_out += text.count("\n")
            else:
                self._waiting.append(text)
                self._size += len(text)
                self._news.notify()
                self._is_stuck = self._is_stuck or not self._written.wait(PROMPT)
        return len(text)

    def close(self) -> None:
        """Nothing comes any more; waits for the rest to be written, `LAST` seconds at most."""
        with self._news:
            self._is_over = True
            self._news.notify()
        self._thread.join(LAST)

    def _run(self) -> None:
        while text := self._next():
            data = memoryview(text.encode(errors="backslashreplace"))
            with suppress(OSError):  # whoever read it is gone
                while data:
                    try:
                        data = data[os.write(self._fd, data) :]
                    except BlockingIOError:  # it is one with a stream that somebody made non-blocking
                        select.select((), (self._fd,), ())

    def _next(self) -> str:
        """What is to be written next; empty at the end."""
        with self._news:
            if not self._waiting:
                self._is_stuck = False
                self._written.notify_all()
            self._news.wait_for(lambda: self._waiting or self._left_out or self._is_over)
            text, self._waiting, self._size = "".join(self._waiting), [], 0
            if self._left_out:
                text += f"multi-mcp: {self._left_out} lines left out: nobody read stderr\n"
                self._left_out = 0
            return text


class Lines(logging.Formatter):
    """One line per event, whatever is in it; below it, indented, the lines of a traceback, without secrets."""

    blank: Callable[[str], str] = staticmethod(str)
    """Blanks secrets; set once it is known what they are."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record), LONGEST)

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {printable(line)}" for line in map(self.blank, lines))


def set_up(level: str) -> None:
    """Have our own lines, from this level on, on stderr. Others' logs are not shown: they may hold secrets."""
    if sys.stderr is None:  # closed by who started us: what is opened next would be taken for it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = Stderr()
    atexit.register(sys.stderr.close)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    ours = logging.getLogger("multimcp")
    ours.addHandler(handler)
    ours.setLevel(level)
    ours.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
