"""The table of bounds in docs/operations.md: each option and each constant is in it, with the value that it has."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, NamedTuple

import pytest

from multimcp.backends.connection import GREETING, LIST_TIMEOUT
from multimcp.backends.direct import HEAD
from multimcp.backends.http import RETRY_BOUNDS
from multimcp.backends.web import COOKIES, COOKIES_SIZE, HOPS, POSTS, SENDERS
from multimcp.protocol import stderr
from multimcp.protocol.bridge import ROUNDS, WAITING, WAITING_SIZE
from multimcp.protocol.calls import EARLY, LONGEST, LONGEST_TASK, TASKS, TASKS_OF_ONE
from multimcp.protocol.extensions import MOST, SETTINGS
from multimcp.protocol.framing import NAME
from multimcp.protocol.lifecycle import BACKOFF
from multimcp.protocol.limits import BOUNDS, DEFAULT, LIST_LINES, UNASKED
from multimcp.protocol.link import ID, QUESTIONS, STRANGE, STRANGE_SIZE
from multimcp.protocol.lists import CURSOR, ENTRIES, ENTRY, LIST, MAX_PAGES
from multimcp.protocol.message import BATCH, BATCH_BYTES
from multimcp.protocol.peer import AWAY
from multimcp.protocol.routing import LINKS, LINKS_SIZE
from multimcp.protocol.stderr import BURST, RATE
from multimcp.proxy import LINES
from multimcp.serving import log
from tests.support.documentation import ROOT

FIXED: Final[Mapping[str, Iterable[float]]] = {
    "Tasks of 2025-11-25": [TASKS, TASKS_OF_ONE, LONGEST_TASK],
    "Messages of a batch": [BATCH, BATCH_BYTES],
    "The answers to a batch": [],
    "What a server writes that is no MCP": [],
    "Lines of the log a second": [1, LINES],
    "Extensions": [MOST, SETTINGS],
    "URIs that one server": [LINKS, LINKS_SIZE],
    "Redirects": [HOPS],
    "Messages of a server that nobody asked for": [
        *(UNASKED.at_once, UNASKED.each_second, UNASKED.bytes_at_once, UNASKED.bytes_each_second)
    ],
    "Questions of a server": [QUESTIONS, ID, ROUNDS],
    "Answers of a server under ids": [STRANGE, STRANGE_SIZE],
    "The head of a response": [HEAD],
    "The id or the name of an event": [NAME],
    "Notifications and answers to a server over HTTP": [POSTS, SENDERS],
    "Cookies of a server": [COOKIES, COOKIES_SIZE],
    "What a server says of itself": [GREETING],
    "The entries of a list": [ENTRIES, LIST, ENTRY],
    "Pages of a list": [MAX_PAGES, CURSOR, LIST_TIMEOUT],
    "Notifications that wait": [AWAY, WAITING, WAITING_SIZE],
    "URLs that a client is sent to": [EARLY, LONGEST],
    "Lines of a server on stderr": [BURST, RATE, stderr.LONGEST],
    "Lines of the log on what servers list": [LIST_LINES.at_once, LIST_LINES.each_second, log.LONGEST],
    "Seconds before a stream": RETRY_BOUNDS,
    "Restarts": BACKOFF,
}
"""The values of the bounds that are no options, in the order of their cell, by how their row begins."""

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Row(NamedTuple):
    bound: str
    default: str
    option: str
    happens: str

    @property
    def numbers(self) -> list[float]:
        """The values in the cell of the default, in bytes and seconds."""
        found = re.findall(r"(\d[\d,]*(?:\.\d+)?)(?: ?([KMG]iB))?", self.default)
        return [float(number.replace(",", "")) * UNITS[unit] for number, unit in found]


@cache
def table() -> tuple[Row, ...]:
    text = (ROOT / "docs" / "operations.md").read_text()
    lines = text.partition("\n## Bounds\n")[2].partition("\n##")[0].splitlines()
    rows = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines if line.startswith("|")]
    assert rows[0] == Row("bound", "default", "option", "what happens")
    return tuple(rows[2:])


def test_each_row_has_the_values_of_the_code() -> None:
    options = {}
    for name, bound in BOUNDS.items():
        cell = f"`--{name} {bound.metadata['unit']}`, `MULTI_MCP_{name.upper().replace('-', '_')}`"
        options[cell] = [float(getattr(DEFAULT, bound.name))]
    for row in table():
        if row.option:
            assert options.pop(row.option) == row.numbers, row
        else:
            values = next((values for start, values in FIXED.items() if row.bound.startswith(start)), None)
            assert values is not None, f"no values for {row.bound!r}"
            assert list(values) == row.numbers, row
    assert options == {}


@pytest.mark.parametrize("start", FIXED)
def test_each_value_has_its_row(start: str) -> None:
    assert len([row for row in table() if row.bound.startswith(start)]) == 1
