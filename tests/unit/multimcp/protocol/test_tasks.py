"""A task's public id says its server, and where messages name a task."""

import json
from typing import Any

import pytest

from multimcp.protocol.eras import decode_header, encode_header
from multimcp.protocol.message import opened, pack
from multimcp.protocol.tasks import able, own_related, own_task, public_task, task_of, to_client, to_server

RELATED = "io.modelcontextprotocol/related-task"

SERVERS = ["a", "a:b", "a::b", "a%3Ab", ":", "%", "", "a/b", "Ä ö", "x" * 300, "a\n", "=?base64?YQ==?="]
TASKS = [
    "1",
    "",
    ":",
    "::",
    "a::1",
    "%3A",
    "786512e2-9e0d-44bd-8f29-789f320fe840",
    " x ",
    "ä\n",
    "=?base64?MQ==?=",
    "\u2028",
]


@pytest.mark.parametrize("key", [b"", b"key"])
@pytest.mark.parametrize("server", SERVERS)
def test_every_id_leads_back_and_no_two_are_the_same(server: str, key: bytes) -> None:
    public = {public_task(server, task, key): task for task in TASKS}
    assert len(public) == len(TASKS)
    assert not public.keys() & {public_task(other, task, key) for other in SERVERS if other != server for task in TASKS}
    for spelled, task in public.items():
        assert own_task(spelled, key) == (server, task)
        assert decode_header(encode_header(spelled)) == spelled  # as `Mcp-Name` has it


def test_an_id_of_a_megabyte() -> None:
    assert own_task(public_task("a", "x" * 2**20)) == ("a", "x" * 2**20)
    assert own_task("x" * 2**20) is None


@pytest.mark.parametrize(
    "public", ["", "1", "a", "a:", "a:1", "%61::1", "a%3a::1", "ä::1", "a b::1", "%zz::1", "%ff::1", "a:x:1"]
)
def test_what_is_no_id_of_ours(public: str) -> None:
    assert own_task(public) is None


def test_the_ids_of_one_key_mean_nothing_under_another() -> None:
    keys = [b"", b"key", b"other"]
    ids = {public_task("a", "1", key) for key in keys}
    assert len(ids) == len(keys)
    assert [own_task(public_task("a", "1", one), two) is not None for one in keys for two in keys] == [
        one == two for one in keys for two in keys
    ]
    assert not any(b"key" in spelled.encode() or b"other" in spelled.encode() for spelled in ids)


@pytest.mark.parametrize(
    ("method", "params", "task"),
    [
        ("notifications/tasks/status", {"taskId": "1"}, "1"),
        ("notifications/tasks", {"taskId": "1", "_meta": {RELATED: {"taskId": "2"}}}, "1"),
        ("notifications/tasks", {"taskId": 1}, None),
        ("notifications/message", {"_meta": {RELATED: {"taskId": "2"}}}, "2"),
        ("notifications/message", {"taskId": "1"}, None),
        ("notifications/message", {"_meta": {RELATED: "2"}}, None),
        ("notifications/message", {"_meta": None}, None),
        ("elicitation/create", {}, None),
    ],
)
def test_what_task_a_message_is_about(method: str, params: Any, task: str | None) -> None:
    assert task_of(method, opened(pack(params))) == task


def test_both_ways() -> None:
    said = {"taskId": "1", "n": 1.0, "_meta": {"v/x": 1, RELATED: {"taskId": "2", "v/y": 2}}}
    known = {"taskId": "a::1", "n": 1.0, "_meta": {"v/x": 1, RELATED: {"taskId": "a::2", "v/y": 2}}}
    assert json.loads(bytes(to_client(pack(said), "a", b""))) == known
    assert json.loads(bytes(to_server(pack(known), "a", b""))) == {**said, "taskId": "a::1"}  # which is found otherwise
    assert json.loads(bytes(to_server(pack(known), "b", b""))) == known  # of another server
    assert json.loads(bytes(pack(own_related(opened(pack(known["_meta"])), "a", b"")))) == said["_meta"]


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ([], {}),
        ([{}], {}),
        ([{"tasks": None}, {"tasks": []}, {"tasks": {"list": True, "requests": 1, "v/x": {}}}], {}),
        ([{"tasks": {"list": {"v/x": 1}}}, {"tasks": {"cancel": {}}}], {"list": {}, "cancel": {}}),
        (
            [{"tasks": {"requests": {"tools": {"call": {}}}}}, {"tasks": {"requests": {"prompts": {"get": {}}}}}],
            {"requests": {"tools": {"call": {}}}},
        ),
    ],
)
def test_what_servers_declare_together(declared: list[Any], shown: Any) -> None:
    assert able(opened(pack(each)) for each in declared) == shown
