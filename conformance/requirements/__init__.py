"""What a proxy must, should or may do: every requirement, by id.

How a level is given:
- A proxy is a server to its clients and a client to its backends, and owes what both owe.
- A sentence with MUST, SHOULD or MAY gives its own level; "should" in small letters, as in the schema's comments, is
  a SHOULD.
- A sentence without such a word that says what a message or a field is, is a MUST: whoever means something else by it
  does not speak the protocol.
- Where no sentence says it, it is a `convention`, whatever its use.
- The window has the revisions for which the level is true. Where later revisions only spell out what earlier ones
  imply, it begins with the earliest, and the quote is from the latest.
"""

from collections.abc import Iterable

from . import (
    cancellation,
    changes,
    completion,
    dynamic,
    errors,
    extensions,
    http,
    isolation,
    lifecycle,
    logging,
    mrtr,
    naming,
    pagination,
    payload,
    progress,
    prompts,
    questions,
    resources,
    servers,
    stdio,
    subscriptions,
    tools,
    transparency,
)
from .model import Requirement

__all__ = ["MODULES", "REQUIREMENTS", "by_id"]

MODULES = (
    lifecycle,
    tools,
    prompts,
    resources,
    completion,
    pagination,
    naming,
    errors,
    transparency,
    payload,
    progress,
    cancellation,
    logging,
    changes,
    subscriptions,
    questions,
    mrtr,
    isolation,
    servers,
    dynamic,
    http,
    stdio,
    extensions,
)
"""In the order in which reports show them."""


def by_id(requirements: Iterable[Requirement]) -> dict[str, Requirement]:
    """The requirements under their ids, in the order given.

    Raises:
        ValueError: the author's: two requirements share an id.
    """
    found: dict[str, Requirement] = {}
    for requirement in requirements:
        if requirement.id in found:
            raise ValueError(f"{requirement.id}: two requirements have this id")
        found[requirement.id] = requirement
    return found


REQUIREMENTS: dict[str, Requirement] = by_id(requirement for module in MODULES for requirement in module.REQUIREMENTS)
