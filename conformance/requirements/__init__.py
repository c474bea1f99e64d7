"""What a proxy must, should or may do: every requirement, by id.

How a level is given:
- A proxy is a server to its clients and a client to its backends, and owes what both owe.
- A sentence with MUST, SHALL or REQUIRED is a MUST, and nothing else is one. A sentence with SHOULD is a SHOULD; so is
  one that only says what a message or a field is: whoever means something else by it is not understood. A sentence with
  MAY is a MAY.
- Where no sentence says it, it is a `convention`, whatever its use.
- A revision is held to its own words: see `Requirement.said`. `release` has the version of the set, and what changed.
"""

from collections.abc import Iterable

from . import (
    admin,
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
    admin,
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
