"""Every quote stands in the page that it names, of every revision that it is said to be of.

Needs the specification's sources: a checkout of github.com/modelcontextprotocol/modelcontextprotocol, whose folder is
in `MCP_SPECIFICATION`, and, for extensions, checkouts beside it. What is not there is skipped.
"""

import html
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from conformance.requirements import REQUIREMENTS
from conformance.requirements.model import REVISIONS, Extension, Spec

FOLDER = os.environ.get("MCP_SPECIFICATION")


def plain(text: str) -> str:
    """Markdown as its reader sees it: no tags, no markup, one blank between words."""
    text = re.sub(r"</?[A-Za-z][^<>]*>", "", html.unescape(text))
    text = re.sub(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"\{@link\s+(?:[^|}]*\|)?\s*([^}]*)\}", r"\1", text)
    text = re.sub(r"[`\\]|\*\*|^\s*/?\*+/?(?!\w)", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<!\w)[_*]|[_*](?!\w)", "", text)
    text = re.sub(r"^(?:\s*(?:[-*>]|\d+\.)\s+)+", "", text, flags=re.MULTILINE)
    return " ".join(text.split())


@cache
def page(spec: Spec) -> str | None:
    """A page as plain text; None where its source is not there."""
    folder, path = Path(FOLDER or ""), spec.page.partition("#")[0]
    if isinstance(spec, Extension):
        file = folder.parent / spec.repository / "specification" / spec.revision / path
    elif path == "schema" and "schema.ts" in spec.url:
        file = folder / "schema" / spec.revision / "schema.ts"
    else:
        file = folder / "docs" / "specification" / spec.revision / f"{path}.mdx"
    if isinstance(spec, Extension) and not file.parents[2].exists():
        return None
    return plain(file.read_text(encoding="utf-8"))


def quotes() -> Iterator[tuple[str, Spec]]:
    """Every quote in every revision that has it, and whose requirement."""
    for requirement in REQUIREMENTS.values():
        for source in (requirement.source, *requirement.earlier):
            if isinstance(source, Extension):
                yield requirement.id, source
            elif isinstance(source, Spec):
                for revision in REVISIONS:
                    if source.oldest <= revision <= source.revision:
                        yield requirement.id, source.of(revision)


@pytest.mark.parametrize(
    ("id", "spec"),
    [pytest.param(*each, id=f"{each[0]}/{each[1].revision}") for each in quotes()] if FOLDER else [],
)
def test_a_quote_stands_in_its_page(id: str, spec: Spec) -> None:
    text = page(spec)
    if text is None:
        pytest.skip(f"the source of {spec.edition} is not there")
    assert plain(spec.quote) in text, f"{id}: {spec.url} does not say: {spec.quote}"


@pytest.mark.parametrize(
    ("markdown", "read"),
    [
        ("The server **MUST** answer with `202 Accepted`.", "The server MUST answer with 202 Accepted."),
        ("1. Servers **SHOULD**:\n   - Stop\n   - Free _all_", "Servers SHOULD: Stop Free all"),
        (" * The tool's\n * name, see {@link Tool | tools}.", "The tool's name, see tools."),
        ("A [link](/to/a#page) &amp; <b>bold</b>", "A link & bold"),
    ],
)
def test_how_a_page_is_read(markdown: str, read: str) -> None:
    assert plain(markdown) == read
