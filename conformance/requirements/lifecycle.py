"""Handshake, discovery, the modern envelope, and the two eras side by side."""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import JSON_RPC, NEGOTIATED_ONLY, SHUTDOWN, SHUTDOWN_LEGACY

NEGOTIATION = "basic/lifecycle#version-negotiation"
INSTRUCTIONS = (
    "Instructions are optional for a server. But they tell a model how to use the tools it is offered: "
    "a proxy that keeps them to itself makes its backends worse than they are directly."
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "lifecycle:initialize:revisions",
        "An `initialize` with a legacy revision that the proxy supports is answered with that revision.",
        "MUST",
        Spec(
            LEGACY,
            NEGOTIATION,
            "If the server supports the requested protocol version, it MUST respond with the same version.",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:initialize:unknown",
        "An `initialize` with a revision that the proxy does not know is answered with one that it supports.",
        "MUST",
        Spec(
            LEGACY,
            NEGOTIATION,
            "Otherwise, the server MUST respond with another protocol version it supports.",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:initialize:server-info",
        "The answer to `initialize` names the server and its version.",
        "MUST",
        Spec(
            LEGACY,
            "basic/lifecycle#initialization",
            "The server MUST respond with its own capabilities and information:",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:initialize:capabilities",
        "The answer to `initialize` declares what works of tools, prompts, resources and completions.",
        "MUST",
        Spec(
            LEGACY,
            "server/tools#capabilities",
            "Servers that support tools MUST declare the `tools` capability:",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:capabilities:backed",
        "The proxy declares neither prompts nor resources when there are none.",
        "convention",
        "No sentence forbids it. But clients ask for what is declared each time they connect, and show their users a "
        "menu with nothing in it; directly they would not.",
    ),
    Requirement(
        "lifecycle:capabilities:used",
        "A backend is asked for nothing that it did not declare.",
        "MUST",
        NEGOTIATED_ONLY,
        until=LEGACY,
        earlier=(
            Spec(
                "2025-03-26",
                "basic/lifecycle#operation",
                "Both parties SHOULD: Respect the negotiated protocol version "
                "Only use capabilities that were successfully negotiated",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "lifecycle:initialize:instructions",
        "The instructions of the backends reach the client in the answer to `initialize`.",
        "convention",
        INSTRUCTIONS,
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:initialized:quiet",
        "The notification `notifications/initialized` gets no response.",
        "MUST",
        Spec(LEGACY, "basic/index#notifications", "The receiver MUST NOT send a response.", since="2025-03-26"),
        until=LEGACY,
        earlier=(Spec("2024-11-05", "basic/messages#notifications", "They do not expect a response."),),
    ),
    Requirement(
        "lifecycle:ping:answered",
        "A `ping` is answered promptly with an empty result.",
        "MUST",
        Spec(
            LEGACY,
            "basic/utilities/ping#behavior-requirements",
            "The receiver MUST respond promptly with an empty response:",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "lifecycle:discover:revisions",
        "`server/discover` is answered with the revisions that the proxy supports.",
        "MUST",
        Spec(
            MODERN,
            "basic/versioning#protocol-version-negotiation",
            "Servers MUST implement `server/discover`.",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:discover:capabilities",
        "`server/discover` declares what works of tools, prompts, resources and completions.",
        "MUST",
        Spec(
            MODERN,
            "server/prompts#capabilities",
            "Servers that support prompts MUST declare the `prompts` capability in their `DiscoverResult`:",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:discover:instructions",
        "The instructions of the backends reach the client in the answer to `server/discover`.",
        "convention",
        INSTRUCTIONS,
        since=MODERN,
    ),
    Requirement(
        "lifecycle:envelope:unsupported",
        "A request of a revision that the proxy does not implement gets UnsupportedProtocolVersion (`-32022`) with "
        "the revisions that it does.",
        "MUST",
        Spec(
            MODERN,
            "basic/versioning#protocol-version-negotiation",
            "If the server does not implement the requested version (whether the version is unknown to the server, "
            "or is a known version the server has chosen not to support), it MUST respond with an "
            "`UnsupportedProtocolVersionError` listing the versions it does support:",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:envelope:missing",
        "A request whose `_meta` lacks a required field is refused with `-32602`, over HTTP with status 400.",
        "MUST",
        Spec(
            MODERN,
            "basic/index#meta",
            "A request missing any required field is malformed; the server MUST reject it with JSON-RPC error code "
            "`-32602` (Invalid params).",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:envelope:stateless",
        "A tool call works as the very first message of a connection.",
        "MUST",
        Spec(
            MODERN,
            "basic/index#statelessness",
            "Servers MUST NOT rely on prior requests over the same connection to establish context "
            "(e.g., capabilities, protocol version, client identity).",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:method:unknown",
        "A request of an unknown method gets the error `-32601`.",
        "MUST",
        JSON_RPC,
    ),
    Requirement(
        "lifecycle:eras:side-by-side",
        "A legacy and a modern client are served at once on the same endpoint.",
        "MAY",
        Spec(
            MODERN,
            "basic/versioning#compatibility-matrix",
            "A dual-era server MAY serve both eras concurrently on the same endpoint or process.",
        ),
        since=MODERN,
    ),
    Requirement(
        "lifecycle:batch:received",
        "Each request in a batch is answered, for a client that agreed on revision 2025-03-26.",
        "MUST",
        Spec(
            "2025-03-26",
            "basic/index#batching",
            "MCP implementations MAY support sending JSON-RPC batches, but MUST support receiving JSON-RPC batches.",
        ),
        since="2025-03-26",
        until="2025-03-26",
    ),
    Requirement(
        "lifecycle:extensions:negotiated",
        "An extension that only the client or only a backend supports, such as tasks or apps, is left out or refused "
        "with an error.",
        "MUST",
        Spec(
            MODERN,
            "basic/versioning#extension-negotiation",
            "If one party supports an extension but the other does not, the supporting party MUST either revert to "
            "core protocol behavior or reject the request with an appropriate error.",
        ),
        since=MODERN,
        unchecked="Each extension says itself how it falls back; the harness keeps to the core protocol.",
    ),
    Requirement(
        "lifecycle:start:empty",
        "A proxy that has no backends starts, and answers its clients.",
        "convention",
        "No revision knows of backends. Whoever adds servers at run time begins with none, and a client that starts "
        "the proxy can show its user an empty list, but not why there is no proxy.",
    ),
    Requirement(
        "lifecycle:signal:term",
        "The proxy ends on SIGTERM while clients are connected over SSE or HTTP.",
        "convention",
        "No revision says how a server over HTTP is ended. Whoever runs it sends SIGTERM, and most kill it some ten "
        "seconds later: a proxy that waits for streams that never end is always killed, and cannot end its backends.",
    ),
    Requirement(
        "lifecycle:signal:reaped",
        "When the proxy has ended on SIGTERM while clients were connected over SSE or HTTP, none of its backends' "
        "processes is left.",
        "SHOULD",
        SHUTDOWN,
        earlier=(SHUTDOWN_LEGACY,),
    ),
)
