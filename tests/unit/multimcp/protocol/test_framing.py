"""Bytes in, whole messages out, however they are torn; and what is too large."""

from typing import Any

import pytest

from multimcp.protocol.framing import Event, Events, Lines, Oversized, as_event, as_line
from multimcp.protocol.message import Salvaged


def torn(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_torn_anywhere(size: int) -> None:
    lines = Lines()
    data = b'{"a":"\xc3\xbc"}\n\n  \nnoise\r\nlast, but not ended'
    read = [line for piece in torn(data, size) for line in lines.feed(piece)]
    assert read == [b'{"a":"\xc3\xbc"}', b"", b"  ", b"noise\r"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_events_as_they_come(mark: str, last: str, end: str, size: int) -> None:
    text = f"{mark}data: 1\n\n: comment\n\n\n\nevent: odd\nid: 7\ndata:2\ndata: 3\n\nretry: 50\ndata: 4{last}"
    events = Events()
    read = [event for piece in torn(text.replace("\n", end).encode(), size) for event in events.feed(piece)]
    read += events.end()
    assert read == [Event("message", b"1", None), Event("odd", b"2\n3", "7"), Event("message", b"4", "7")]
    assert (events.end(), events.retry, events.last_id) == ([], 0.05, "7")


def test_what_a_stream_had_begun_is_not_gone_on_with_on_the_next() -> None:
    events = Events()
    assert not events.has_begun
    events.feed(b"id: 1\n\nid: 2\nevent: odd\ndata: half of")
    assert events.has_begun
    events.begin()
    assert not events.has_begun
    assert events.last_id == "1"  # else it would be resumed behind what never came
    assert events.feed(b"\xef\xbb\xbfdata: whole\n\n") == [Event("message", b"whole", "1")]


MESSAGE = b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize(
    ("left", "read", "last_id"),
    [
        (b"", [], "1"),
        (b"id: 2", [], "1"),
        (b"id: 2\n", [], "1"),
        (b"id: 2\ndata: " + MESSAGE[:20], [], "1"),
        (b"id: 2\ndata: " + MESSAGE[:20] + b"\n", [], "1"),
        (b"data: " + MESSAGE[:20] + b"\nid: 2", [], "1"),
        (b"id: 2\ndata: " + MESSAGE, [MESSAGE], "2"),
        (b"id: 2\ndata: " + MESSAGE + b"\n", [MESSAGE], "2"),
        (b"data: " + MESSAGE[:20], [MESSAGE[:20]], "1"),  # it cannot be resumed: what there is shows what it was
    ],
)
def test_of_what_a_stream_had_not_ended_only_what_is_whole_counts(left: bytes, read: list[bytes], last_id: str) -> None:
    events = Events()
    events.feed(b"id: 1\ndata: x\n\n" + left)
    assert events.last_id == "1"
    assert ([event.data for event in events.end()], events.last_id) == (read, last_id)


def test_an_id_counts_once_its_event_has_ended() -> None:
    events, seen = Events(), []
    for piece in torn(b"id: 1\ndata: x\n\nid: 2\n\ndata: y\nid: 3\n\n", 1):
        events.feed(piece)
        seen.append(events.last_id)
    assert [seen.index(each) for each in ("1", "2", "3")] == [14, 21, 36]


@pytest.mark.parametrize("size", [1, 5, 11, 500])
def test_an_answer_that_does_not_end_is_too_long_as_soon_as_it_is(size: int) -> None:
    lines, events = Lines(limit=2000), Events(limit=2000)
    long = b'{"id":1,' + b"x" * 3000
    for reader, before, after in ((lines, b"", b"\nz\n"), (events, b"data: ", b"\n\ndata: z\n\n")):
        large: Any
        [large] = [found for piece in torn(before + long, size) for found in reader.feed(piece)]
        found = large.data.salvage() if reader is events else large.salvage()
        assert found == Salvaged(1, True)
        rest: list[Any] = [found for piece in torn(long + after, size) for found in reader.feed(piece)]
        assert rest == ([b"z"] if reader is lines else [Event("message", b"z", None)])


@pytest.mark.parametrize("size", [1, 5, 11, 4000])
def test_a_line_that_is_too_long_is_not_kept(size: int) -> None:
    lines = Lines(limit=2000)
    long = b'{"no":1,' + b"x" * 3000 + b'"end"}'
    read = [line for piece in torn(long + b"\n" + b"y" * 2000 + b"\nz\n", size) for line in lines.feed(piece)]
    [large, *rest] = read
    assert isinstance(large, Oversized)
    assert large.size == len(long)
    assert large.head.startswith(b'{"no":1,')
    assert large.tail.endswith(b'"end"}')
    assert len(large.head) + len(large.tail) < 1500
    assert rest == [b"y" * 2000, b"z"]


@pytest.mark.parametrize(
    ("head", "tail", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{', b"}}", Salvaged(7, True)),
        (b'{"id":"a", "error":{', b"}}", Salvaged("a", True)),
        (b'{"result":{"t":"', b'"},"jsonrpc":"2.0","id":7}', Salvaged(7, True)),
        (b'{"result":{"t":"', b'"}, "id": 12 }\r', Salvaged(12, True)),
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{', b"}}", Salvaged(7, False, has_method=True)),
        (b'{"result":{"id":7,', b'"x":1}}', None),
        (b"noise", b"noise", None),
    ],
)
def test_the_id_of_what_is_too_large(head: bytes, tail: bytes, found: Salvaged | None) -> None:
    assert Oversized(head, tail, 10**9).salvage() == found


def test_writing() -> None:
    assert as_line(b'{"a":\r\n1}') == b'{"a":  1}\n'
    assert as_line(b'{"a":\r1}') == b'{"a": 1}\n'
    assert as_event(b'{"a":\n1}') == b'event: message\r\ndata: {"a": 1}\r\n\r\n'
    assert as_event(b"{}", "7") == b"event: message\r\nid: 7\r\ndata: {}\r\n\r\n"
    assert Events().feed(as_event(b"{}", "7")) == [Event("message", b"{}", "7")]


STREAM = (
    b": comment\n\nevent: endpoint\ndata: /messages\n\n"
    b"id: 1\ndata: one\n\ndata:two\ndata\ndata: lines\n\n"
    b"id\nretry: 1500\nretry: no\nodd: x\ndata: last\n\nevent: empty\n\ndata: not ended\n"
)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_events_torn_anywhere(end: bytes, size: int) -> None:
    events = Events()
    data = STREAM.replace(b"\n", end)
    read = [event for piece in torn(data, size) for event in events.feed(piece)]
    assert read == [
        Event("endpoint", b"/messages", None),
        Event("message", b"one", "1"),
        Event("message", b"two\n\nlines", "1"),
        Event("message", b"last", ""),
    ]
    assert (events.last_id, events.retry) == ("", 1.5)


@pytest.mark.parametrize("size", [1, 7, 4000])
@pytest.mark.parametrize("parts", [1, 50])
def test_an_event_that_is_too_large_is_not_kept(parts: int, size: int) -> None:
    events = Events(limit=1000)
    line = b"data: " + b"x" * (2500 // parts) + b"\n"
    data = b'data: {"id":1,' + line[6:] + line * parts + b"\n" + b"data: next\n\n"
    read = [event for piece in torn(data, size) for event in events.feed(piece)]
    assert isinstance(read[0].data, Oversized)
    assert read[1:] == [Event("message", b"next", None)]


def test_an_event_of_just_the_limit() -> None:
    [event] = Events(limit=10).feed(b"data: 123\ndata: 567890\n\n")
    assert event.data == b"123\n567890"


def test_an_event_that_is_larger_by_its_line_feed() -> None:
    [event] = Events(limit=10).feed(b"data: 123\ndata: 5678901\n\n")
    assert event.data == Oversized(b"123\n5678901", b"123\n5678901", 11)
