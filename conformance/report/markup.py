"""HTML that cannot be injected into: text is escaped when it becomes part of an element, always and once.

A plain string is text from somewhere, whoever made it. Only what is `Html` is not escaped.
"""

import re
from collections.abc import Iterable
from html import escape

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_VOID = frozenset({"meta", "link", "input", "use"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Html:
    """Escaped text. What can't be seen, or would reorder its surroundings, is spelled out (`\\u202e`)."""
    return Html(escape(_INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)))


def join(parts: Iterable[str]) -> Html:
    """Elements and texts, one after another."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def el(tag: str, *children: str, **attributes: str | None) -> Html:
    """An element.

    Args:
        tag: its name.
        children: elements and texts.
        attributes: `_` stands for `-`, and one at the end is dropped (`class_`). One that is None is left out.
    """
    head = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{head}>" if tag != "use" else f"<{tag}{head}/>")
    return Html(f"<{tag}{head}>{join(children)}</{tag}>")
