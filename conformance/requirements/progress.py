"""Progress of a call."""

from .model import LEGACY, MODERN, Requirement, Spec

TOKENS = Spec(
    MODERN,
    "basic/patterns/progress#behavior-requirements",
    "Progress notifications MUST only reference tokens that: Were provided in an active request "
    "Are associated with an in-progress operation",
    since="2024-11-05",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "progress:token:own",
        "Progress reaches the client under the token that it gave, a string or an integer, as it gave it.",
        "MUST",
        TOKENS,
    ),
    Requirement(
        "progress:updates:order",
        "Progress reaches the client in the order in which the backend sent it.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/progress#progress-flow",
            "The `progress` value MUST increase with each notification, even if the total is unknown.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "progress:updates:late",
        "No progress of a call reaches the client after its result.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/progress#implementation-notes",
            "Progress notifications MUST stop after completion",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "progress:updates:fields",
        "An update reaches the client with the progress, total and message that the backend sent.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#progressnotificationparams-message",
            "An optional message describing the current progress.",
            since="2025-03-26",
        ),
        since="2025-03-26",
    ),
    Requirement(
        "progress:updates:apart",
        "The progress of two calls at once does not mix.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#progressnotificationparams-progresstoken",
            "The progress token which was given in the initial request, used to associate this notification with the "
            "request that is proceeding.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "progress:updates:unasked",
        "A call without a progress token gets no progress.",
        "MUST",
        TOKENS,
    ),
    Requirement(
        "progress:updates:all",
        "Of many calls, one after the other and at once, every update arrives, in order and before the result where "
        "one stream carries them.",
        "convention",
        "The specification lets a server send as few updates as it likes, so that no sentence is broken by one that is "
        "lost. But which ones are lost by chance no client can foresee: the last one often says that it is done.",
    ),
    Requirement(
        "progress:client:astray",
        "Progress that a client reports of no request of a backend reaches no backend.",
        "MUST",
        Spec(
            LEGACY,
            "basic/utilities/progress#behavior-requirements",
            "Progress notifications MUST only reference tokens that: Were provided in an active request "
            "Are associated with an in-progress operation",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
)
