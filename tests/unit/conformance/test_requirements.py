"""The requirements: the model checks itself, and the list keeps its own rules."""

import re
from collections import Counter

import pytest

from conformance.requirements import MODULES, REQUIREMENTS, by_id
from conformance.requirements.model import LEGACY, MODERN, Era, Extension, Level, Requirement, Spec, level_of

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
    "admin",
    "http",
    "sse",
    "stdio",
    "extensions",
]
QUOTE = Spec(MODERN, "server/tools#tool", "A sentence, which MUST be.", since="2024-11-05")


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
        requirement(source=Spec("2025-01-01", "server/tools#tool", "It MUST be."))


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
    assert QUOTE.url == "https://modelcontextprotocol.io/specification/2026-07-28/server/tools#tool"


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


@pytest.mark.parametrize(
    ("quote", "level"),
    [
        ("The receiver MUST NOT send a response.", "MUST"),
        ("`ttlMs` and `cacheScope` are REQUIRED", "MUST"),
        ("A server SHALL answer.", "MUST"),
        ("It MAY support sending, but MUST support receiving.", "MUST"),
        ("Proxies MAY meet collisions and SHOULD prefix names.", "SHOULD"),
        ("Prefixes are RECOMMENDED.", "SHOULD"),
        ("The server should send all logs at this level.", "SHOULD"),
        ("The text of the item.", "SHOULD"),
        ("What the client must fulfill.", "SHOULD"),
        ("A server MAY serve both eras.", "MAY"),
    ],
)
def test_the_words_of_a_sentence_are_its_level(quote: str, level: Level) -> None:
    assert level_of(quote) == level


@pytest.mark.parametrize(
    ("level", "quote"), [("MUST", "The text of the item."), ("SHOULD", "It MUST arrive."), ("MAY", "It SHOULD arrive.")]
)
def test_a_level_is_that_of_its_quote(level: Level, quote: str) -> None:
    with pytest.raises(ValueError, match=f"it is a {level}, but by the words of its quote"):
        requirement(level=level, source=Spec(MODERN, "server/tools#tool", quote, since="2024-11-05"))


def test_every_revision_of_the_window_is_quoted() -> None:
    quote = Spec(MODERN, "server/tools#tool", "It MUST arrive.", since=LEGACY)
    with pytest.raises(ValueError, match="nothing is quoted from 2025-06-18"):
        Requirement("tools:call:text", "It arrives.", "MUST", quote, since="2025-06-18")


@pytest.mark.parametrize(
    ("revision", "level", "url"),
    [
        (MODERN, "MUST", "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/progress#flow"),
        (LEGACY, "MUST", "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress"),
        ("2025-06-18", "SHOULD", "https://modelcontextprotocol.io/specification/2025-06-18/server/tools#tool"),
        ("2025-03-26", "SHOULD", "https://modelcontextprotocol.io/specification/2025-03-26/server/tools#tool"),
        (
            "2024-11-05",
            "SHOULD",
            "https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2024-11-05/schema.ts",
        ),
    ],
)
def test_a_revision_is_held_to_its_own_words(revision: str, level: Level, url: str) -> None:
    made = Requirement(
        "tools:call:text",
        "It arrives.",
        "MUST",
        Spec(MODERN, "basic/patterns/progress#flow", "It MUST arrive.", since=LEGACY),
        earlier=(
            Spec("2025-06-18", "server/tools#tool", "It SHOULD arrive.", since="2025-03-26"),
            Spec("2024-11-05", "schema#tool", "What arrives."),
        ),
    )
    said = made.said(revision)
    assert isinstance(said, Spec)
    assert (said.revision, said.url, made.level_in(revision)) == (revision, url, level)


@pytest.mark.parametrize("listed", REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_reasons_and_pages_are_well_formed(listed: Requirement) -> None:
    if isinstance(listed.source, str):
        assert re.fullmatch(r"[A-Z`].{40,}\.", listed.source)
        return
    for quote in (listed.source, *listed.earlier):
        form = r"[a-z]+\.mdx?#[a-z0-9-]+" if isinstance(quote, Extension) else r"[a-z][a-z/-]+(#[a-z0-9%-]+)?"
        assert re.fullmatch(form, quote.page)


CAPABILITIES = {"logging", "completions", "prompts", "resources", "resources.subscribe"} | {
    f"{kind}.listChanged" for kind in ("tools", "prompts", "resources")
}


def test_what_is_offered_is_a_capability_of_servers() -> None:
    """Extensions are looked at by their own scenarios, and so is what a proxy declares to servers."""
    assert {listed.offers for listed in REQUIREMENTS.values()} == CAPABILITIES | {""}


@pytest.mark.parametrize("listed", REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_what_is_not_checked_says_why(listed: Requirement) -> None:
    assert not listed.unchecked or re.fullmatch(r"[A-Z].{20,}\.", listed.unchecked)
