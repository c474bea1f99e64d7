"""What waits for a client, what is kept for one that resumes, and whether an answer is a document or a stream."""

import gc
import json
import weakref
from functools import partial

import pytest

from multimcp.errors import Fault
from multimcp.protocol.framing import Events
from multimcp.protocol.message import Era, Message, failed, notification, pack, succeeded
from multimcp.protocol.outbox import Batch, Outbox, Replay, Response, place


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
    ("era", "answer", "status"),
    [
        ("modern", failed(Fault(-32601, "no")), 404),
        ("modern", failed(Fault(-32602, "no")), 400),
        ("modern", failed(Fault(-32603, "no")), 200),
        ("legacy", failed(Fault(-32601, "no")), 200),
        ("modern", succeeded(), 200),
        ("modern", Message("2.0", error=pack("no")), 200),  # crosses as it is, though it is no error that MCP knows
    ],
)
def test_the_status_of_an_answer(era: Era, answer: Message, status: int) -> None:
    response = Response(1, 1000, Replay(1000))
    response.done(answer)
    assert response.document(era)[0] == status


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
    response.sent()
    response.forget()
    assert not response.resume(0)


def events(data: bytes) -> list[tuple[str | None, object]]:
    """The number of each event, and what it says."""
    found = Events().feed(data)
    return [(event.id, json.loads(event.data)) for event in found if isinstance(event.data, bytes) and event.data]


ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {}}
ONE = {"jsonrpc": "2.0", "method": "one"}


@pytest.mark.parametrize("is_resumable", [False, True])
@pytest.mark.parametrize("begins", ["before", "between", "after"])
@pytest.mark.parametrize("tells", [False, True])
def test_a_stream_has_each_message_once_and_the_answer_last(is_resumable: bool, begins: str, tells: bool) -> None:
    response = Response(1, 1000, Replay(1000), (lambda: "s") if is_resumable else None)
    sent = response.begin() if begins == "before" else b""
    if tells:
        response.tell(notification("one"))
    if begins == "between":
        sent += response.begin()
    response.done(succeeded())
    if begins == "after":
        sent += response.begin()
    sent += response.outbox.take()
    said = [ONE, ANSWER] if tells else [ANSWER]
    assert events(sent) == [(f"s-{n}" if is_resumable else None, each) for n, each in enumerate(said, 1)]
    assert response.outbox.is_over
    if is_resumable:
        response.sent()
        again = response.resume(0)
        assert events(again.take()) == [(f"s-{n}", each) for n, each in enumerate(said, 1)]
        assert again.is_over


def test_a_stream_that_is_resumed_during_its_call_goes_on() -> None:
    response = Response(1, 1000, Replay(1000), lambda: "s")
    response.begin()
    response.tell(notification("one"))
    rest = response.resume(1)
    assert not rest.is_over
    response.done(succeeded())
    assert events(rest.take()) == [("s-2", ANSWER)]
    assert rest.is_over


def test_a_stream_whose_call_was_given_up_meanwhile_ends_when_it_is_resumed() -> None:
    response = Response(1, 1000, Replay(1000), lambda: "s")
    response.begin()
    response.tell(notification("one"))
    response.break_off()
    response.done(None)
    rest = response.resume(0)
    assert events(rest.take()) == [("s-1", ONE)]
    assert rest.is_over


@pytest.mark.parametrize("is_batch", [False, True])
@pytest.mark.parametrize("size", [10, 1000])
def test_an_answer_that_was_never_sent_comes_also_if_others_have_driven_it_out(is_batch: bool, size: int) -> None:
    """Or if it alone is larger than all that is kept; who has it already does not get it again."""
    replay, answer = Replay(500), {**ANSWER, "result": {"x": "x" * size}}
    batch = Batch(1, 5000, replay, lambda: "s")
    response = batch if is_batch else Response(1, 5000, replay, lambda: "s")
    response.begin()
    response.tell(notification("one"))
    response.break_off()
    (partial(batch.close, 1) if is_batch else response.done)(succeeded(pack(answer["result"])))
    for number in range(10):
        replay.add("another", number, b"x" * 90)
    for _ in range(2):  # the first one may have broken off as well
        assert [said for _, said in events(response.resume(1).take())] == [[answer] if is_batch else answer]
        assert response.outbox.is_over
        replay.forget("s", 9)
    response.sent()
    assert not response.resume(1)  # that is as long as it is held


def test_an_answer_that_has_arrived_is_not_sent_again() -> None:
    response = Response(1, 1000, Replay(10), lambda: "s")
    response.begin()
    response.done(succeeded())
    assert not response.resume(1)


@pytest.mark.parametrize("is_broken", [False, True])
def test_nothing_is_kept_of_a_stream_that_never_began_and_whose_client_is_gone(is_broken: bool) -> None:
    told: list[int] = []
    replay = Replay(1000)
    response = Response(1, 250, replay, lambda: "s")
    response.overflowed = lambda: told.append(1)
    response.tell(notification("one"))
    if is_broken:
        response.break_off()
    response.drop()
    for _ in range(3):
        response.tell(b"x" * 200)
    response.break_off()
    response.done(succeeded())
    assert replay.after("s", 0, 9) == []
    assert not response.outbox
    assert told == []


def test_a_client_that_does_not_read_its_stream_is_told_of_to_whoever_asks() -> None:
    told: list[int] = []
    response = Response(1, 250, Replay(1000))
    response.tell(b"x" * 200)
    response.tell(b"x" * 200)  # nobody asks
    response.resume(0)
    response.overflowed = lambda: told.append(1)
    for _ in range(3):
        response.tell(b"x" * 200)
    assert told == [1]
    response.resume(0)
    response.sent()  # what comes now is for nobody
    response.tell(b"x" * 200)
    response.tell(b"x" * 200)
    assert told == [1]


def test_an_answer_leaves_nothing_for_the_garbage_collector() -> None:
    response = Response(1, 250, Replay(1000))
    response.overflowed = partial(print, response)  # as its call does, which knows where its answer goes
    response.done(succeeded())
    gone = weakref.ref(response)
    gc.disable()
    try:
        del response
        assert gone() is None
    finally:
        gc.enable()
