"""The requirements: the model checks itself, and the list keeps its own rules."""

import re
from collections import Counter

import pytest

from conformance.requirements import MODULES, REQUIREMENTS, by_id
from conformance.requirements.model import LEGACY, MODERN, Era, Extension, Level, Requirement, Spec

AREAS = [
    "lifecycle",
    "tools",
    "prompts",
    "resources",
    "completion",
    "pagination",
    "naming",
    "errors",
    "transparency",
    "payload",
    "progress",
    "cancellation",
    "logging",
    "changes",
    "subscriptions",
    "sampling",
    "elicitation",
    "roots",
    "questions",
    "mrtr",
    "bridge",
    "isolation",
    "servers",
    "dynamic",
    "http",
    "sse",
    "stdio",
    "extensions",
]
QUOTE = Spec(LEGACY, "server/tools#tool", "A sentence.")


def requirement(
    id: str = "tools:call:text",
    text: str = "It arrives.",
    level: Level = "MUST",
    source: Spec | str = QUOTE,
    since: str = "2024-11-05",
    until: str = MODERN,
) -> Requirement:
    return Requirement(id, text, level, source, since, until)


@pytest.mark.parametrize("id", ["tools:call", "tools:call:text:more", "Tools:call:text", "tools:call:", "my-tools:a:b"])
def test_an_id_has_three_parts(id: str) -> None:
    with pytest.raises(ValueError, match="area:feature:variant"):
        requirement(id=id)


@pytest.mark.parametrize("text", ["", "it arrives.", "It arrives", "It\narrives."])
def test_a_text_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="one sentence"):
        requirement(text=text)


def test_only_a_convention_gives_a_reason() -> None:
    assert requirement(level="convention", source="It is wise.").source == "It is wise."
    with pytest.raises(ValueError, match="any other level a Spec"):
        requirement(level="SHOULD", source="It is wise.")
    with pytest.raises(ValueError, match="a convention gives a reason"):
        requirement(level="convention")


def test_a_quote_is_from_a_revision() -> None:
    with pytest.raises(ValueError, match="no revision 2025-01-01"):
        requirement(source=Spec("2025-01-01", "server/tools#tool", "A sentence."))


@pytest.mark.parametrize(("since", "until"), [("1999-01-01", MODERN), (LEGACY, "2099-01-01"), (MODERN, LEGACY)])
def test_a_window_goes_from_revision_to_revision(since: str, until: str) -> None:
    with pytest.raises(ValueError, match="in this order"):
        requirement(since=since, until=until)


@pytest.mark.parametrize(
    ("since", "until", "eras"),
    [
        ("2024-11-05", MODERN, ("legacy", "modern")),
        ("2024-11-05", "2025-03-26", ("legacy",)),
        (LEGACY, LEGACY, ("legacy",)),
        (LEGACY, MODERN, ("legacy", "modern")),
        (MODERN, MODERN, ("modern",)),
    ],
)
def test_eras_follow_from_the_window(since: str, until: str, eras: tuple[Era, ...]) -> None:
    assert requirement(since=since, until=until).eras == eras


def test_area_and_url() -> None:
    assert requirement().area == "tools"
    assert QUOTE.url == "https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool"


def test_an_id_is_given_once() -> None:
    assert by_id([requirement()]) == {"tools:call:text": requirement()}
    with pytest.raises(ValueError, match="tools:call:text: two requirements"):
        by_id([requirement(), requirement()])


def test_every_requirement_is_under_its_id() -> None:
    assert len(REQUIREMENTS) == sum(len(module.REQUIREMENTS) for module in MODULES)
    assert sum(not listed.unchecked for listed in REQUIREMENTS.values()) >= 80
    assert all(id == listed.id for id, listed in REQUIREMENTS.items())


def test_every_area_is_there_and_together() -> None:
    checked = Counter(listed.area for listed in REQUIREMENTS.values() if not listed.unchecked)
    assert sorted(checked) == sorted(AREAS)
    for module in MODULES:
        assert module.REQUIREMENTS, module.__name__


def test_no_two_texts_are_the_same() -> None:
    texts = Counter(f"{listed.text} {listed.eras}" for listed in REQUIREMENTS.values())
    assert max(texts.values()) == 1


@pytest.mark.parametrize("listed", REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_the_source_bears_the_level(listed: Requirement) -> None:
    """A quote's own word is the level; one without such a word says what something is, which is a MUST."""
    if isinstance(listed.source, str):
        assert re.fullmatch(r"[A-Z`].{40,}\.", listed.source)
        return
    words = {word.upper() for word in re.findall(r"\b(MUST|SHOULD|MAY|should)\b", listed.source.quote)}
    assert listed.level in (words or {"MUST"})
    if isinstance(listed.source, Extension):
        assert re.fullmatch(r"[a-z]+\.mdx?#[a-z0-9-]+", listed.source.page)
        return
    assert listed.since <= listed.source.revision <= listed.until
    assert re.fullmatch(r"[a-z][a-z/-]+(#[a-z0-9%-]+)?", listed.source.page)


@pytest.mark.parametrize("listed", REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_what_is_not_checked_says_why(listed: Requirement) -> None:
    assert not listed.unchecked or re.fullmatch(r"[A-Z].{20,}\.", listed.unchecked)
