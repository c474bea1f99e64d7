"""No client feels another, and no backend takes another down."""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import SAME_ID, SAME_ID_EARLIER

CONCERNS = "No revision knows of several backends behind one server. "
ANSWERED = Spec(
    MODERN,
    "basic/index#error-responses",
    "Error responses are sent when the operation fails or encounters an error.",
    since="2025-11-25",
)
TIMEOUTS = Spec(
    MODERN,
    "basic/patterns/cancellation#timeouts",
    "Implementations SHOULD establish timeouts for all sent requests, to prevent hung connections and resource "
    "exhaustion.",
)

TIMEOUTS_EARLIER = (
    Spec(
        LEGACY,
        "basic/lifecycle#timeouts",
        "Implementations SHOULD establish timeouts for all sent requests, to prevent hung connections "
        "and resource exhaustion.",
        since="2025-03-26",
    ),
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "isolation:clients:same-ids",
        "Two clients that use the same request ids at the same time each get their own answers.",
        "MUST",
        Spec(
            MODERN,
            "basic/index#requests",
            "The request ID MUST NOT match the ID of any other request the sender has issued and not yet received a "
            "response for.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/index#requests",
                "The request ID MUST NOT have been previously used by the requestor within the same session.",
                since="2025-03-26",
            ),
            Spec(
                "2024-11-05",
                "basic/messages#requests",
                "The request ID MUST NOT have been previously used by the requestor within the same session.",
            ),
        ),
    ),
    Requirement(
        "isolation:clients:results",
        "A result reaches only the client whose request it answers.",
        "MUST",
        SAME_ID,
        earlier=SAME_ID_EARLIER,
    ),
    Requirement(
        "isolation:clients:progress",
        "Progress reaches only the client whose call it belongs to, also when two clients use the same token.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/progress#behavior-requirements",
            "Progress notifications MUST only reference tokens that: Were provided in an active request",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "isolation:backends:crash-call",
        "A call in flight at a backend that dies gets an error.",
        "SHOULD",
        ANSWERED,
        earlier=(
            Spec(
                "2025-06-18",
                "basic/index#responses",
                "Responses are sent in reply to requests, containing the result or error of the operation.",
                since="2025-03-26",
            ),
            Spec("2024-11-05", "basic/messages#responses", "Responses are sent in reply to requests."),
        ),
    ),
    Requirement(
        "isolation:backends:crash-others",
        "When a backend dies, calls of the others go on.",
        "convention",
        CONCERNS + "A client connected to each directly would not feel it, and has done nothing to feel it here.",
    ),
    Requirement(
        "isolation:backends:crash-recovers",
        "A backend that died answers again without anybody restarting the proxy.",
        "SHOULD",
        Spec(
            MODERN,
            "basic/transports/stdio#unexpected-termination",
            "If the server process exits unexpectedly, the client SHOULD restart it.",
        ),
        since=MODERN,
    ),
    Requirement(
        "isolation:backends:crash-restarts",
        "A backend over stdio that died serves legacy clients again without anybody restarting the proxy: in their "
        "session, or in a new one where that has ended.",
        "convention",
        "Before 2026-07-28 no revision says what a client does when a server's process exits. The clients of a proxy "
        "cannot start it again, and a session that fails every call for ever does not tell them to begin another.",
        until=LEGACY,
    ),
    Requirement(
        "isolation:calls:behind-own",
        "While a call is not answered, later calls of the same client are, at the same backend and at others.",
        "convention",
        "No revision says that requests wait for one another, nor that they must not. A client connected to each "
        "server directly would not wait, and a long call would make all others long.",
    ),
    Requirement(
        "isolation:calls:behind-others",
        "While a call is not answered, calls of other clients are, at the same backend and at others.",
        "convention",
        "No revision knows of several clients of one backend. One user's long call must not be felt by the others.",
    ),
    Requirement(
        "isolation:backends:start-failure",
        "When a backend cannot start, the others are served.",
        "convention",
        CONCERNS + "One wrong line of configuration should not cost the user every other server.",
    ),
    Requirement(
        "isolation:backends:slow-start",
        "While a backend is slow to start, the others are served.",
        "convention",
        CONCERNS + "Servers that install themselves at start take minutes; clients give up after seconds.",
    ),
    Requirement(
        "isolation:backends:hang-call",
        "While a backend does not answer a call, the others answer theirs.",
        "convention",
        CONCERNS + "A call that waits must hold up nothing but itself.",
    ),
    Requirement(
        "isolation:backends:notices",
        "A backend that tells that its lists have changed goes on answering, whether or not clients are told.",
        "convention",
        "No revision says what a client does with a notification that it has no use for. A client connected directly "
        "that has none goes on calling.",
    ),
    Requirement(
        "isolation:backends:hang-list",
        "A backend that never answers a list request does not keep the tools of the others from being listed.",
        "SHOULD",
        TIMEOUTS,
        since="2025-03-26",
        earlier=TIMEOUTS_EARLIER,
    ),
    Requirement(
        "isolation:backends:hang-initialize",
        "A backend that never answers `initialize` does not keep the others from being served.",
        "SHOULD",
        TIMEOUTS,
        since="2025-03-26",
        earlier=TIMEOUTS_EARLIER,
    ),
    Requirement(
        "isolation:backends:garbage",
        "Lines on a backend's stdout that are no messages harm no call.",
        "convention",
        "A server may not write them, and no revision says what a client does with them. Servers that print are "
        "common, and the answer is on the next line.",
    ),
    Requirement(
        "isolation:backends:malformed-result",
        "A result that is no object becomes an error of that call, and the connection goes on.",
        "convention",
        "No revision says what a client does with a result that it cannot read. A caller that is "
        "handed it, or nothing at all, cannot tell that the server is at fault.",
    ),
    Requirement(
        "isolation:backends:respelled-id",
        'An answer of a backend that spells its id otherwise, as `"7"` or `7.0` for `7`, reaches the client.',
        "convention",
        "To JSON `7.0` and `7` are one number, and some servers make a string of every id. Against the letter of "
        "JSON-RPC a client can still tell what is meant, and its user waits for the answer.",
    ),
    Requirement(
        "isolation:backends:wrong-answer",
        "An answer of a backend that is no JSON-RPC response becomes an error for that call alone, at once.",
        "convention",
        "No revision says what a client does with an answer that is no response. Its user waits for "
        "one, and learns from an error that none will come.",
    ),
    Requirement(
        "isolation:backends:stranger-id",
        "An answer of a backend that nobody asked for is ignored.",
        "convention",
        "No revision says what a client does with it, save for answers to cancelled requests. It belongs to no client, "
        "so it must reach none, and the answers that are waited for still come.",
    ),
    Requirement(
        "isolation:cache:private",
        "A result that a backend marked private is never served to another user from a cache.",
        "MUST",
        Spec(
            MODERN,
            "server/utilities/caching#cache-scope-field",
            "Caches MUST NOT be shared across authorization contexts (e.g. a different access token requires a "
            "different cache).",
        ),
        since=MODERN,
        unchecked="The harness has no users yet: every client comes without authorization.",
    ),
)
