"""The table in docs/extensions.md is that of the code: the requests of extensions, where they go, what is renamed."""

from collections.abc import Iterator, Mapping

from multimcp.protocol.extensions import APPS, EACH, EXTENSIONS, PAGE, RELATED_KEY, SKILL, TASKS, Mark, Shape
from tests.support.documentation import ROOT

GOES = {
    "uri": "the server of its `uri`",
    "task": "the server of its `taskId`",
    "merged": "all that have it; their lists become one",
}

IN_ANY: Mapping[str, Shape | Mark] = {APPS.id: PAGE["_meta"], TASKS.id: {RELATED_KEY: {"taskId": Mark.TASK}}}
"""What stands in the `_meta` of tools and of any answer. It is in the shapes of most requests, too: not told again."""

MADE: Mapping[str, Shape] = {"skills/list": {"skills": {EACH: SKILL}}}
"""What is not forwarded, but made of what servers list."""


def marks(shape: Shape | Mark, path: str = "") -> Iterator[str]:
    """Where a URI or an id stands, as `skill.resources[].uri`; a key with a slash in brackets."""
    if isinstance(shape, Mark):
        yield f"`{path.removeprefix('.')}`"
        return
    for key, inner in ((key, inner) for key, inner in shape.items() if key != "_meta"):
        step = "[]" if key == EACH else f'["{key}"]' if "/" in key else f".{key}"
        yield from marks(inner, path + step)


def rows() -> dict[tuple[str, str, str], list[str]]:
    """The requests by (extension, where they go, what is renamed in their answer)."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for extension in EXTENSIONS.values():
        if extension.id in IN_ANY:
            found[f"`{extension.id}`", "", ", ".join(marks(IN_ANY[extension.id], "_meta"))] = ["any"]
        for method, way in extension.ways.items():
            shape = MADE.get(method) or extension.results.get(method, {})
            key = f"`{extension.id}`", GOES[way], ", ".join(marks(shape))
            found.setdefault(key, []).append(f"`{method}`")
    return found


def test_the_table_is_that_of_the_code() -> None:
    lines = (ROOT / "docs" / "extensions.md").read_text().splitlines()
    start = lines.index("| extension | request | goes to | URIs and ids in its answer |") + 2
    table = [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[start : lines.index("", start)]
    ]
    assert table == [(name, ", ".join(methods), goes, renamed) for (name, goes, renamed), methods in rows().items()]
