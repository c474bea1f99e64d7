"""Completion of the arguments of prompts and templates."""

from .model import MODERN, Requirement, Spec

VALUES = Spec(
    MODERN,
    "server/utilities/completion#completion-results",
    "Servers return an array of completion values ranked by relevance",
    since="2024-11-05",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "completion:prompt:values",
        "An argument of a prompt is completed by the prompt's own backend, its values in order with `total` and "
        "`hasMore`.",
        "SHOULD",
        VALUES,
        offers="completions",
    ),
    Requirement(
        "completion:template:values",
        "An argument of a resource template is completed by the template's own backend, its values in order with "
        "`total` and `hasMore`.",
        "SHOULD",
        VALUES,
        offers="completions",
    ),
    Requirement(
        "completion:context:arguments",
        "The arguments resolved so far reach the backend in `context`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/utilities/completion#completerequest",
            "`arguments`: A mapping of already-resolved argument names to their values.",
            since="2025-06-18",
        ),
        since="2025-06-18",
        offers="completions",
    ),
)
