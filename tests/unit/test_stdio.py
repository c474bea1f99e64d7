"""Messages on a byte stream: lines torn anywhere, rubbish between them, an end in the middle of one."""

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, JSONRPCError, JSONRPCNotification, JSONRPCRequest

from multimcp.stdio import MessageWriter, read_lines
from multimcp.streams import MessageReader

FIRST = b'{"jsonrpc":"2.0","method":"a","params":{"x":"\xc3\xbc\\n"}}\n'
SECOND = b'{"jsonrpc":"2.0","id":"1","method":"b"}\n'


async def read(*chunks: bytes) -> tuple[list[str], list[str]]:
    """The methods of the messages in these chunks, and the noise."""
    send, receive = anyio.create_memory_object_stream[bytes](1000)
    noise: list[str] = []
    with send, receive:
        for chunk in chunks:
            send.send_nowait(chunk)
        send.close()
        methods = [item.message.method async for item in MessageReader(read_lines(receive), noise.append)]
    return methods, noise


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_lines_torn_anywhere(size: int) -> None:
    data = FIRST + SECOND * 2
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert await read(*chunks) == (["a", "b", "b"], [])


async def test_rubbish_is_handed_over_and_skipped() -> None:
    rubbish = b"Loading...\n\n  \n{}\n[1]\n\xff\xfe\nnull\n"
    assert await read(rubbish, FIRST, b'{"jsonrpc":"1.0"}\n', SECOND) == (
        ["a", "b"],
        ["Loading...", "{}", "[1]", "\ufffd\ufffd", "null", '{"jsonrpc":"1.0"}'],
    )


async def test_half_a_message_at_the_end_is_none() -> None:
    assert await read(FIRST, SECOND[:-1]) == (["a"], [])


async def test_receive_tells_the_end() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive:
        reader = MessageReader(read_lines(receive), print)
        send.send_nowait(FIRST)
        item = await reader.receive()
        assert isinstance(item, SessionMessage)
        assert item.message == JSONRPCNotification(jsonrpc="2.0", method="a", params={"x": "ü\n"})
        send.close()
        with pytest.raises(anyio.EndOfStream):
            await reader.receive()


@pytest.mark.parametrize(
    "answer",
    [
        b'{"jsonrpc":"2.0","id":7,"result":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
        b'{"jsonrpc":"2.0","id":7,"result":{"text":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":7,"result":null}',
        b'{"jsonrpc":"2.0","id":7,"result":[1]}',
        b'{"jsonrpc":"2.0","id":7,"error":"no"}',
        b'{"jsonrpc":"2.0","id":"7","result":{"latin 1":"\xfc"}}',
        b'{"jsonrpc":"2.0","id":7,"result":[' + b"1" * 5000 + b"]}",
    ],
)
async def test_an_answer_that_cannot_be_read_fails_its_request(answer: bytes) -> None:
    """Otherwise whoever asked would wait for ever."""
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive:
        send.send_nowait(answer + b"\n")
        item = await MessageReader(read_lines(receive), pytest.fail).receive()
        assert isinstance(item, SessionMessage)
        assert isinstance(item.message, JSONRPCError)
        assert (item.message.id, item.message.error.code) == ("7", PARSE_ERROR)  # the dispatcher takes it for 7


@pytest.mark.parametrize("line", [b'{"jsonrpc":"2.0","id":null,"result":[]}', b'{"id":[],"error":1}', b"[" * 100_000])
async def test_an_answer_to_nobody_is_noise(line: bytes) -> None:
    assert await read(line + b"\n") == ([], [line.decode()])


async def test_a_message_is_one_line() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive:
        writer = MessageWriter(send)
        await writer.send(SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=1, method="m", params={"t": "a\nb\u2028"})))
        assert await receive.receive() == (
            '{"jsonrpc":"2.0","id":1,"method":"m","params":{"t":"a\\nb\u2028"}}\n'.encode()
        )
