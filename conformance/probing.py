"""Whether a target asks another process of a server for each request of a client, as conforming ones may."""

from typing import Any

from .session import Session
from .verdict import Failure
from .wire import Message

WAIT = 5.0
"""Seconds for each call."""

CALLS = 3

HARMLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "asking": ("capabilities", {}),
    "changing": ("touch", {"uri": "changing://nothing"}),
    "slow": ("progress", {"steps": 0}),
    "stateful": ("whoami", {}),
    "workshop": ("refresh", {}),
}
"""By file of a server, a call that leaves nothing behind and is answered at once."""


async def apart(s: Session) -> str:
    """What the calls of one client meet at the first server, if each meets another process, or session, than the ones
    before; else nothing."""
    server = next(iter(s.world.backends))
    asked = s.world.backends[server].server
    tool, arguments = HARMLESS[asked.file or asked.name]
    client = s.another()
    journal = s.journal(server)
    journal.mark()
    try:
        for _ in range(CALLS):
            await client.call_tool(server, tool, arguments, wait=WAIT)
    except Failure:
        return ""
    finally:
        calls = [call for call in journal.received("tools/call") if call["params"].get("name") == tool]
        journal.mark()
        await client.leave()
    met = {_place(call) for call in calls}
    if len(met) < CALLS:
        return ""
    told = ", ".join(str(call["pid"]) for call in calls)
    return f"each call meets another process or session of '{server}' (processes {told}), which knows of none before"


def _place(call: Message) -> tuple[object, ...]:
    """Where a call was received: the process, and the session or connection within it."""
    return call["pid"], call.get("connection"), call.get("headers", {}).get("mcp-session-id")
