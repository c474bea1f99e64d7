"""Multi-round-trip requests, and the bridge between the eras."""

from .model import LEGACY, MODERN, Requirement, Spec

UNBRIDGED = (
    "By the specification's compatibility matrix a client and a server of different eras fail. "
    "A proxy speaks to both, and so can do what neither can alone: "
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "mrtr:result:whole",
        "An `input_required` result reaches the client with its questions as the backend asked them.",
        "SHOULD",
        Spec(
            MODERN,
            "basic/patterns/mrtr#inputrequiredresult",
            "`inputRequests` (optional): An `InputRequests` map of server-initiated requests that the client must "
            "fulfill.",
        ),
        since=MODERN,
    ),
    Requirement(
        "mrtr:state:opaque",
        "The `requestState` of a backend comes back to it exactly.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/mrtr#client-requirements-basic-workflow",
            "If an `InputRequiredResult` contains the `requestState` field, the client MUST echo back the exact value "
            "of that field when retrying the original request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "mrtr:retry:answers",
        "The `inputResponses` of a retry reach the backend exactly, under the keys that it gave.",
        "SHOULD",
        Spec(
            MODERN,
            "basic/patterns/mrtr#inputresponses",
            "Keys correspond to the keys in the `InputRequests` map; values are the client's result for each request",
        ),
        since=MODERN,
    ),
    Requirement(
        "mrtr:questions:several",
        "Several questions in one result reach the client, and their answers the backend under its own keys.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/mrtr#server-requirements-basic-workflow",
            "`inputRequests` keys are server assigned identifiers and MUST be unique within the scope of the request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "mrtr:rounds:several",
        "A backend that asks again on each retry reaches the client each time, with the new question and the new "
        "state.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/mrtr#client-requirements-basic-workflow",
            "If a client receives an `InputRequiredResult` that contains the `inputRequests` field, the client MUST "
            "construct the requested inputs before retrying the original request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "bridge:modern-client:question",
        "A legacy backend's question to a modern client becomes an `input_required` result, and the retry answers it.",
        "convention",
        UNBRIDGED + "the backend's tool works for the client though the two have no way of asking in common.",
        since=MODERN,
    ),
    Requirement(
        "bridge:legacy-client:question",
        "A modern backend's `input_required` result becomes a live request to a legacy client, and the call goes on "
        "with its answer.",
        "convention",
        UNBRIDGED + "the backend's tool works for the client though the two have no way of asking in common.",
        until=LEGACY,
    ),
    Requirement(
        "bridge:modern-client:call",
        "A modern client can list and call the tools of a legacy backend.",
        "convention",
        UNBRIDGED + "nobody has to wait until every server has moved on.",
        since=MODERN,
    ),
    Requirement(
        "bridge:legacy-client:call",
        "A legacy client can list and call the tools of a modern backend.",
        "convention",
        UNBRIDGED + "nobody has to wait until every client has moved on.",
        until=LEGACY,
    ),
)
