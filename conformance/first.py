"""The first look at a target: whether it is ready as MCP has it, and whether its names are those that its file tells.

Rules:
- Ready means that a list is answered, and has something of every server in it. A connection that fails is tried again.
  When the time is over, the run goes on, and says so.
- Where nothing that is listed has a name that the target file tells, the file is wrong, or the target offers nothing:
  no requirement could be judged. That is said once, and nothing is played.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

import anyio

from .client import shown
from .naming import Kind
from .session import KINDS, LISTS, ListKind, Session
from .verdict import Failure, HarnessError, NotApplicable, first_of

LOOK = 0.05
"""Seconds between two looks at what is offered."""

SETTLE_WAIT = 5.0
"""Seconds in which the servers of a world have to be offered before the first scenario begins, if they are at all."""

NAMES_SHOWN = 10


class WrongNames(HarnessError):
    """The target file's: none of the names that it tells is in a list. The text shows both, and says what to do."""


async def settle(session: Session, servers: Sequence[str]) -> str:
    """Wait until the tools of these servers are listed, one after the other; returns what is to be told if not all are.

    What it means when one does not come is for the scenarios to say.
    """
    missing, why = list(servers), ""
    bound = SETTLE_WAIT * session.stage.target.patience
    with anyio.move_on_after(bound):
        while missing:
            try:
                if await session.list("tools", missing[0]):
                    missing.pop(0)
                    continue
                why = "it is answered without them"
            except Failure as exc:
                why = str(exc)
                await session.leave()
            except BaseExceptionGroup as group:  # a connection that fails to open says so in a group
                failures, others = group.split(Failure)
                if others or failures is None:
                    raise
                why = str(first_of(failures, Failure))
                await session.leave()
            await anyio.sleep(LOOK)
    if not missing:
        return ""
    return f"no tools of {', '.join(missing)} are listed within {bound:g} s ({why or 'there is no answer'})"


async def look_at_names(session: Session) -> None:
    """See that some of what the target lists has a name that its file tells.

    Raises:
        WrongNames: none has.
    """
    for kind in ("tools", "prompts"):
        try:
            listed = await _listed(session, kind)
        except Failure:
            continue  # it may have none, or be slow: that is for the scenarios to say
        expected = await _expected(session, KINDS[kind])
        if kind == "prompts" and not listed:
            continue
        if not set(expected) & set(listed):
            raise WrongNames(_told(KINDS[kind], kind, expected, listed))


async def _expected(session: Session, kind: Kind) -> list[str]:
    """The names that the target should give to what is behind it."""
    expected = []
    for server, backend in session.world.backends.items():
        for name in (await session.offered(backend.server)).get(kind, {}):
            with suppress(NotApplicable):
                expected.append(session.scheme.public(kind, server, name))
    return expected


async def _listed(session: Session, kind: ListKind) -> list[str]:
    names = []
    for server in [None] if session.shared_endpoint else session.world.backends:
        names += [str(entry.get(LISTS[kind][2])) for entry in await session.merged(kind, server)]
    return names


def _told(kind: Kind, plural: str, expected: Iterable[str], listed: Sequence[str]) -> str:
    if not listed:
        return (
            f"{plural}/list gives no {plural} at all: does the target connect to the servers of its configuration? "
            f"Expected were {_some(expected)}"
        )
    return (
        f"none of the {plural} in the target's list has a name that [names] tells. Listed are {_some(listed)}; "
        f"expected were {_some(expected)}. Mend names.{kind} (with lower, replace and cut for what the target does to "
        "names), or look them up: by_description = true"
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(map(shown, names[:NAMES_SHOWN])) + more if names else "none"
