"""A short run of the fuzzers at each door, the same inputs each time; `tox -e fuzz` is the long one. And what
they find."""

import pytest

from tests.fuzz import doors, run
from tests.fuzz.doors import DOORS
from tests.fuzz.run import fuzz

INPUTS = 160


@pytest.mark.parametrize("door", DOORS)
def test_what_is_broken_harms_nobody(door: str) -> None:
    line, problem = fuzz(door, INPUTS, begin=15, smaller=False)
    assert not problem, f"{line}\n{problem}"


FAULTS = {
    "HTTP status 500": "from multimcp.clients import http; take = http.read_post; "
    "http.read_post = lambda head, body: 1 / (b'vendor' not in body) and take(head, body)",
    "the log says": "import logging; from multimcp.clients import http; take = http.read_post; "
    "http.read_post = lambda *a: (logging.getLogger('multimcp').error('this is a fault of Multi-MCP'), take(*a))[1]",
    "takes more than": "import asyncio; from multimcp.clients import http; reply = http.reply; "
    "http.reply = lambda send, status, *a: asyncio.sleep(60) if status == 400 else reply(send, status, *a); "
    "http.refuse = lambda send, refused: asyncio.sleep(60)",
    "a call that is right is answered": "from multimcp.protocol.outbox import Response; "
    "Response.document = lambda self, era: (200, b'{}')",
    "grew": "from multimcp.protocol import calls; init, kept = calls.Call.__init__, []; "
    "calls.Call.__init__ = lambda self, *a, **k: (kept.append(self), init(self, *a, **k))[1]",
}
"""What the fuzzers say, and the code that makes a proxy of which they have to say it."""


@pytest.mark.parametrize("said", FAULTS)
def test_what_does_harm_is_found(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "BATCH_BOUND", 3.0)
    monkeypatch.setattr(run, "PATIENCE", 1)
    _, problem = fuzz("legacy", 640 if said == "grew" else INPUTS, 15, FAULTS[said], smaller=False)
    assert said in problem
