"""Pages: those of the backends, and the proxy's own."""

from .model import LEGACY, MODERN, Requirement, Spec

PAGES = Spec(
    MODERN,
    "server/utilities/pagination#implementation-guidelines",
    "Clients SHOULD: Treat a missing `nextCursor` as the end of results Support both paginated and non-paginated flows",
    since="2024-11-05",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "pagination:backend:tools",
        "The tools on every page of a backend's list are offered.",
        "SHOULD",
        PAGES,
    ),
    Requirement(
        "pagination:backend:prompts",
        "The prompts on every page of a backend's list are offered.",
        "SHOULD",
        PAGES,
        offers="prompts",
    ),
    Requirement(
        "pagination:backend:resources",
        "The resources on every page of a backend's list are offered.",
        "SHOULD",
        PAGES,
        offers="resources",
    ),
    Requirement(
        "pagination:backend:templates",
        "The resource templates on every page of a backend's list are offered.",
        "SHOULD",
        PAGES,
        offers="resources",
    ),
    Requirement(
        "pagination:cursor:invalid",
        "A cursor that the proxy never gave out gets the error `-32602`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/utilities/pagination#error-handling",
            "Invalid cursors SHOULD result in an error with code -32602 (Invalid params).",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "pagination:backend:loop",
        "A backend whose pages never end does not keep the tools of the others from being listed.",
        "convention",
        "No revision says what a client does when a cursor comes round again. A proxy that follows it for ever takes "
        "every other backend down with it.",
    ),
    Requirement(
        "pagination:backend:same-cursor",
        "The tools of a backend that gives the same cursor again and again are offered, as far as it listed them.",
        "convention",
        "Such a backend has no further page and says it badly. What it did list can be called all the same.",
    ),
    Requirement(
        "pagination:backend:empty-cursor",
        "The tools behind a cursor that is an empty string are offered.",
        "MUST",
        Spec(
            MODERN,
            "server/utilities/pagination#implementation-guidelines",
            "Don't make any determination based on cursor value other than whether a non-null value was provided (e.g. "
            "an empty string is a valid cursor and thus MUST NOT be treated as the end of results)",
        ),
        earlier=(
            Spec(
                LEGACY,
                "server/utilities/pagination#implementation-guidelines",
                "Clients SHOULD: Treat a missing `nextCursor` as the end of results",
                since="2024-11-05",
            ),
        ),
    ),
)
