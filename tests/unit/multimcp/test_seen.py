"""What a client is told of changed lists: what came after the lists that it has, and nothing else."""

from typing import Any

import pytest

from multimcp.protocol.message import pack
from multimcp.protocol.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Kind, Listing
from multimcp.protocol.seen import Seen

NONE: dict[Kind, Listing] = {}


def lists(**names: str) -> dict[Kind, Listing]:
    kinds = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": TEMPLATES}
    return {kinds[key]: Listing((Entry(name, pack(name)),)) for key, name in names.items()}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], set()),
        ([("now", lists(tools="a"))], {"tools"}),
        ([("now", lists(tools="a")), ("list", TOOLS)], set()),
        ([("list", TOOLS), ("now", lists(tools="a"))], {"tools"}),
        # Both lists of resources are one capability; who has one of them has to read the other.
        ([("list", RESOURCES), ("now", lists(templates="a"))], {"resources"}),
        # For how long a list may be kept is no news.
        ([("list", TOOLS), ("now", {TOOLS: Listing(ttl_ms=1000)})], set()),
        # A first list brings the client up to date; what it never asked for is told of from then on.
        ([("now", lists(tools="a", prompts="b")), ("list", TOOLS)], set()),
        ([("list", TOOLS), ("now", lists(prompts="b"))], {"prompts"}),
        ([("list", TOOLS), ("now", lists(prompts="b")), ("list", TOOLS)], {"prompts"}),
        # What was told is not told again; what changes again is.
        ([("now", lists(tools="a")), ("tell",)], set()),
        ([("now", lists(tools="a")), ("tell",), ("now", NONE)], {"tools"}),
        ([("now", lists(tools="a")), ("now", NONE)], set()),
        # A server's own word.
        ([("hear", "tools")], {"tools"}),
        ([("hear", "tools"), ("tell",)], set()),
        ([("hear", "tools"), ("list", TOOLS)], set()),
        ([("list", TOOLS), ("hear", "tools")], {"tools"}),
        ([("hear", "prompts"), ("list", TOOLS)], {"prompts"}),
        ([("hear", "resources"), ("list", RESOURCES)], set()),
        ([("list", TEMPLATES), ("hear", "resources"), ("list", RESOURCES)], {"resources"}),
    ],
)
def test_what_is_told(steps: list[tuple[Any, ...]], told: set[str]) -> None:
    current, version = NONE, 1
    seen = Seen(current, version)
    assert not seen.is_settled
    for name, *rest in steps:
        match name:
            case "now":
                current, version = rest[0], version + 1
            case "list":
                seen.hand_out(rest[0], current, version)
            case "hear":
                version += 1
                seen.hear(rest[0], version)
            case "tell":
                seen.news(current, version)
    assert seen.is_settled == any(name == "list" for name, *_ in steps)
    assert seen.news(current, version) == told
