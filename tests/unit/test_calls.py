"""A call in flight: what its client is told and asked. No process, no network."""

from typing import Any

import anyio
import pytest
from mcp import MCPError

from multimcp import calls
from multimcp.calls import LEVELS, Call, Client, Outbox, check


class Channel:
    """Where a client's messages go; it reads while `open` is set."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.open = anyio.Event()
        self.open.set()

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        await self.open.wait()
        self.got.append((method, params))

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        return {"asked": method}


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "code"),
    [
        ({}, "sampling/createMessage", {}, -32601),
        ({"sampling": None}, "sampling/createMessage", {}, -32601),
        ({"sampling": {}}, "sampling/createMessage", {}, None),
        ({"sampling": {}}, "sampling/createMessage", {"tools": []}, -32602),
        ({"sampling": {}}, "sampling/createMessage", {"toolChoice": {}}, -32602),
        ({"sampling": {"tools": {}}}, "sampling/createMessage", {"tools": []}, None),
        ({"elicitation": {}}, "elicitation/create", {}, None),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}, -32602),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "url"}, None),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "form"}, -32602),
        ({"elicitation": {"form": {}}}, "elicitation/create", None, None),
        ({"roots": {}}, "roots/list", None, None),
        ({"roots": {}}, "elicitation/create", None, -32601),
        ({"roots": {}}, "vendor/ask", None, -32601),
    ],
)
def test_a_client_is_asked_only_what_it_can_answer(
    capabilities: dict[str, Any], method: str, params: dict[str, Any] | None, code: int | None
) -> None:
    if code is None:
        check(capabilities, method, params)
        return
    with pytest.raises(MCPError) as refused:
        check(capabilities, method, params)
    assert refused.value.error.code == code


@pytest.mark.parametrize(
    ("asked", "wanted"), [(None, []), ("error", list(LEVELS[4:])), ("debug", list(LEVELS)), ("loud", [])]
)
def test_a_modern_request_gets_the_levels_it_asks_for(asked: str | None, wanted: list[str]) -> None:
    client = Client("modern", {}, Channel(), level=asked)
    assert [level for level in (*LEVELS, "loud", None, 3) if client.wants(level)] == wanted


async def test_messages_wait_for_a_client_that_does_not_read_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "BACKLOG", 3)
    channel = Channel()
    channel.open = anyio.Event()
    outbox = Outbox(channel)
    async with anyio.create_task_group() as tasks:
        outbox.put("0", {}, tasks)
        await anyio.wait_all_tasks_blocked()  # it is being written
        for number in range(1, 6):
            outbox.put(str(number), {}, tasks)
        assert channel.got == []
        assert [record.message for record in caplog.records] == [
            "a client does not read: what is sent to it is dropped from here on"
        ]
        channel.open.set()
        await outbox.drain()
        assert [method for method, _ in channel.got] == ["0", "1", "2", "3"]
        outbox.put("6", {}, tasks)
    assert channel.got[-1] == ("6", {})


async def test_progress_comes_under_the_token_of_the_client_or_not_at_all() -> None:
    for token, expected in ((0, [("notifications/progress", {"progressToken": 0, "progress": 1})]), (None, [])):
        channel = Channel()
        call = Call(Client("legacy", {}, channel, token=token))
        async with anyio.create_task_group() as tasks:
            call.tell("notifications/progress", {"progressToken": call.id, "progress": 1}, tasks)
        assert channel.got == expected


async def test_the_time_in_which_a_person_is_asked_does_not_count() -> None:
    call = Call(Client("legacy", {}, Channel()))
    with anyio.fail_after(10) as call.clock:
        deadline = call.clock.deadline
        with call.asking(), call.asking():
            assert call.clock.deadline == float("inf")
            await anyio.lowlevel.checkpoint()
        assert call.clock.deadline > deadline
        assert call.clock.deadline == pytest.approx(deadline, abs=1)
