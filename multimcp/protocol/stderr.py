"""What the processes of one server say on stderr: shown line by line, and the last lines kept. Pure.

Rules:
- Nothing of it is trusted: secrets are blanked, control characters are escaped, a line has a bound, and so has what is
  kept and how much is shown in a second. The process is never made to wait: whoever reads for it always reads on.
- A process that starts as the last one did says the same; until it is ready, what was shown before is not shown again.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable

from multimcp.errors import printable

from .limits import Allowance, Rate

LONGEST = 1000
"""Characters of a line that are shown."""

KEPT_LINES = 20
KEPT_CHARACTERS = 4096
"""How much of the last lines is kept for whoever asks."""

BURST = 100
RATE = 20
"""Lines of a server that are shown at once, and per second after that."""

_READ = 8 * LONGEST
"""Bytes of a line that are read; the rest is skipped, so that a line without an end costs no more than this."""

_TAKEN = BURST + KEPT_LINES
"""Lines that are taken of what is read at once: so many may be shown, and so many kept."""

_REMEMBERED = 1000
"""Different lines that are remembered as shown."""

_LINE_END = re.compile(rb"[\r\n]+")

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Colors, cursor movements and titles (ECMA-48)."""

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""What differs between two runs that say the same: times, process ids, addresses."""

_BESIDE_THE_POINT = re.compile(
    r"\s|[\W_]*$|Traceback \(most recent|During handling of|The above exception|Node\.js v"
    r"|npm (?:error|ERR!) A complete"
)
"""Lines around an error that do not say what it is: indented ones, and those that every error has."""

_LAST_WORDS = 400
"""Characters that a failure quotes."""


class Stderr:
    """The stderr of a server.

    Args:
        redact: blanks the server's secrets in a text.
        show: is given each line that is to be shown.
        clock: seconds.
    """

    def __init__(self, redact: Callable[[str], str], show: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._redact = redact
        self._show = show
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._is_over = False
        self._shown: set[str] = set()
        self._allowance = Allowance(Rate(BURST, RATE, 1, 1), clock())
        self._left_out = 0

    def process(self) -> "ProcessStderr":
        """The stderr of a process that is being started."""
        return ProcessStderr(self, frozenset(self._shown))

    @property
    def lines(self) -> list[str]:
        """The last lines of all processes; of those that never got ready, of the last one only."""
        return self.cleaned(self._lines)

    def forget(self) -> None:
        """From here on lines are shown that have been shown before."""
        self._shown.clear()

    def cleaned(self, lines: Iterable[str]) -> list[str]:
        """Lines as they may be shown; of too many the last."""
        kept: list[str] = []
        left = KEPT_CHARACTERS
        for line in reversed([self._clean(line) for line in lines]):
            if (left := left - len(line)) < 0:
                break
            kept.append(line)
        return kept[::-1]

    def note(self, line: str, known: frozenset[str]) -> None:
        """Keep a line, and show it unless it is `known`."""
        if self._is_over:
            self._lines.clear()
            self._is_over = False
        self._lines.append(line)
        alike = _NUMBER.sub("0", line)
        if alike in known:
            return
        if len(self._shown) < _REMEMBERED:
            self._shown.add(alike)
        if not self._allowance.take(self._clock(), 0):
            self._left_out += 1
            return
        self.tell_left_out()
        self._show(self._clean(line))

    def skip(self, lines: int) -> None:
        """Count lines that were not looked at as left out."""
        self._left_out += lines

    def end_attempt(self) -> None:
        """A process has ended that never got ready; the next one says it all again."""
        self._is_over = True

    def tell_left_out(self) -> None:
        """Show how many lines were too many to be shown, if any."""
        if self._left_out:
            self._show(f"({self._left_out} lines left out: more than {RATE} a second)")
            self._left_out = 0

    def _clean(self, line: str) -> str:
        text = printable(self._redact(_TERMINAL.sub("", line)).replace("\t", "    "))
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


class ProcessStderr:
    """The stderr of one process, as it is read."""

    def __init__(self, server: Stderr, known: frozenset[str]) -> None:
        self._server = server
        self._known = known
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = b""
        self._is_ready = False

    def feed(self, chunk: bytes) -> None:
        """Take what was read."""
        # A line that is drawn over and over ends with a carriage return each time.
        lines = _LINE_END.split(chunk)
        lines[0] = self._partial + lines[0]
        self._partial = lines.pop()[:_READ]
        if len(lines) > _TAKEN:  # to look at the others, too, would block the loop, and they would not be shown
            self._take(lines[:BURST])
            self._server.skip(len(lines) - _TAKEN)
            lines = lines[-KEPT_LINES:]
        self._take(lines)

    def end(self) -> None:
        """Nothing more comes."""
        self._take([self._partial])
        self._server.tell_left_out()
        if not self._is_ready:
            self._server.end_attempt()

    def is_ready(self) -> None:
        """The server has started well: what comes now is news, even if another process has said the same."""
        self._known = frozenset()
        self._is_ready = True

    @property
    def last_words(self) -> str:
        """What the process said last, in one line; empty if it said nothing."""
        return last_words(self._server.cleaned(self._lines))

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            if text := line[:_READ].decode(errors="replace").rstrip():
                self._lines.append(text)
                self._server.note(text, self._known)


def last_words(lines: list[str]) -> str:
    """Of the last lines of a process those that say why it ended, in one line of bounded length."""
    telling = [line for line in lines if not _BESIDE_THE_POINT.match(line)] or [line.strip() for line in lines]
    text = " | ".join(telling[-2:])
    return text if len(text) <= _LAST_WORDS else text[: _LAST_WORDS - 1] + "…"
