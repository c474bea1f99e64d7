"""What waits for a client, what is kept for one that resumes, and whether an answer is a document or a stream."""

import json

import pytest

from multimcp.errors import Fault
from multimcp.protocol.message import failed, notification, pack, succeeded
from multimcp.protocol.outbox import Outbox, Replay, Response, place


def test_no_more_than_so_much_waits_for_a_client() -> None:
    told: list[int] = []
    outbox = Outbox(500, lambda: told.append(1))
    outbox.put(b"x" * 1000)  # one message of any size
    assert told == []
    for _ in range(3):
        outbox.put(b"y")
    assert told == [1]
    outbox.end(b"last")
    assert outbox.take() == b"x" * 1000 + b"last"
    few = Outbox(300)  # small ones cost more than their bytes
    for letter in (b"a", b"b", b"c"):
        few.put(letter)
    assert few.take() == b"ab"
    assert few.take() == b""


def test_news_wake_the_reader() -> None:
    outbox, news = Outbox(500), []
    outbox.on_news = lambda: news.append(1)
    outbox.put(b"a")
    outbox.end()
    outbox.end()
    outbox.put(b"too late")
    assert len(news) == 2
    assert outbox.take() == b"a"


def test_the_last_events_are_kept() -> None:
    replay = Replay(350)
    for number in (1, 2, 3):
        replay.add("s", number, b"%d" % number)
    assert replay.after("s", 0, 3) == [b"1", b"2", b"3"]
    assert replay.after("s", 2, 3) == [b"3"]
    assert replay.after("t", 0, 3) == []
    replay.add("t", 1, b"t")  # the oldest of all streams goes
    assert replay.after("s", 0, 3) == [b"2", b"3"]
    replay.forget("s", 3)
    assert replay.after("s", 0, 3) == []
    replay.add("t", 2, b"u")
    replay.add("t", 3, b"v")  # what was forgotten takes no room
    assert replay.after("t", 0, 3) == [b"t", b"u", b"v"]


@pytest.mark.parametrize(
    ("text", "found"), [("a-1", ("a", 1)), ("a-b-12", ("a-b", 12)), ("", ("", 0)), ("a-", ("", 0)), ("a-x", ("", 0))]
)
def test_the_place_that_an_id_says(text: str, found: tuple[str, int]) -> None:
    assert place(text) == found


@pytest.mark.parametrize("prefers_stream", [False, True])
@pytest.mark.parametrize(
    ("does", "is_document"),
    [
        ("answers", True),
        ("tells and answers", False),
        ("tells", False),
        ("gives up", True),
        ("breaks off", False),
    ],
)
def test_an_answer_is_one_document_unless_something_comes_before_it(
    does: str, is_document: bool, prefers_stream: bool
) -> None:
    response = Response(1, 1000, Replay(1000), lambda: "s")
    if "tells" in does:
        response.tell(notification("one"))
    if "answers" in does:
        response.done(succeeded())
    if does == "gives up":
        response.done(None)
    if does == "breaks off":
        response.break_off()
    expected = is_document and (does == "gives up" or not prefers_stream)
    assert response.is_document(prefers_stream) is expected


@pytest.mark.parametrize(
    ("era", "code", "status"), [("modern", -32601, 404), ("modern", -32603, 200), ("legacy", -32601, 200)]
)
def test_the_status_of_an_error(era: object, code: int, status: int) -> None:
    response = Response(1, 1000, Replay(1000))
    response.done(failed(Fault(code, "no")))
    assert response.document(era)[0] == status  # type: ignore[arg-type]


def test_a_request_that_was_given_up_is_answered_all_the_same() -> None:
    response = Response("x", 1000, Replay(1000))
    response.done(None)
    status, body = response.document("legacy")
    assert status == 200
    assert json.loads(body)["error"] == {"code": -32600, "message": "Request cancelled"}


def test_what_cannot_be_resumed_is_not_broken_off() -> None:
    response = Response(1, 1000, Replay(1000))
    response.break_off()
    assert not response.is_broken
    assert not response.outbox.is_over
    assert response.begin() == b""


def test_a_stream_is_resumed_behind_the_event_that_came_last() -> None:
    response = Response(1, 1000, Replay(10_000), lambda: "s")
    assert response.begin() == b"id: s-0\r\nretry: 1000\r\ndata: \r\n\r\n"
    response.tell(notification("one"))
    response.break_off()
    response.tell(notification("two"))
    response.done(succeeded(pack({})))
    rest = response.resume(1)
    data = rest.take()
    assert rest.is_over
    assert data.count(b"data: ") == 2
    assert b"id: s-2\r\n" in data
    assert b"two" in data
    assert b'"result"' in data
    response.forget()
    assert not response.resume(0)
