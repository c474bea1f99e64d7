"""Calls that are given up."""

from .model import LEGACY, MODERN, Requirement, Spec

BEHAVIOUR = "basic/patterns/cancellation#behavior-requirements"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "cancellation:notification:reaches",
        "A cancelled call is cancelled at its backend.",
        "SHOULD",
        Spec(
            MODERN,
            BEHAVIOUR,
            "Servers receiving cancellation notifications SHOULD: Stop processing the cancelled request",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/utilities/cancellation#behavior-requirements",
                "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "cancellation:notification:id",
        "The cancellation reaches the backend under the id that the backend knows the call by.",
        "MUST",
        Spec(
            MODERN,
            BEHAVIOUR,
            "Cancellation notifications MUST only reference requests that: Were previously issued by the client "
            "Are believed to still be in-progress",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/utilities/cancellation#behavior-requirements",
                "Cancellation notifications MUST only reference requests that: Were previously issued in the "
                "same direction Are believed to still be in-progress",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "cancellation:response:dropped",
        "A cancelled call gets no response, even when its backend answers late.",
        "SHOULD",
        Spec(
            MODERN,
            BEHAVIOUR,
            "Servers receiving cancellation notifications SHOULD: Stop processing the cancelled request "
            "Free associated resources Not send a response for the cancelled request",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/utilities/cancellation#behavior-requirements",
                "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request Free "
                "associated resources Not send a response for the cancelled request",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "cancellation:stream:closed",
        "A client that closes the response stream of a call over HTTP cancels it at the backend.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/cancellation#transport-specific-cancellation",
            "The server MUST treat a client disconnect as cancellation of that request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "cancellation:client:vanished",
        "The calls of a client whose connection or session has ended are cancelled at their backends.",
        "convention",
        "Nobody is left to take the answer, and the backend works for nothing. Over legacy streamable HTTP only a "
        "deleted session is such an end: there a disconnection SHOULD NOT be taken for a cancellation. A modern client "
        "that leaves closes its response streams, which has a requirement of its own.",
        until=LEGACY,
    ),
    Requirement(
        "cancellation:unknown:ignored",
        "A cancellation of an unknown request is ignored.",
        "SHOULD",
        Spec(
            MODERN,
            "basic/patterns/cancellation#error-handling",
            "Invalid cancellation notifications SHOULD be ignored: Unknown request IDs",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "cancellation:others:unharmed",
        "A cancellation ends no other call.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#cancellednotificationparams-requestid",
            "The ID of the request to cancel.",
            since="2024-11-05",
        ),
    ),
)
