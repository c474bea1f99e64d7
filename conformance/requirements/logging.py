"""Log messages of the backends. Deprecated in 2026-07-28, but still part of it."""

from .model import LEGACY, MODERN, Requirement, Spec

PER_REQUEST = "server/utilities/logging#per-request-log-level"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "logging:capability:declared",
        "The proxy declares `logging` when log messages of a backend arrive.",
        "MUST",
        Spec(
            MODERN,
            "server/utilities/logging#capabilities",
            "Servers that emit log message notifications MUST declare the `logging` capability:",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "logging:message:whole",
        "A log message reaches the client with the level, logger and data that the backend sent.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#loggingmessagenotificationparams-data",
            "The data to be logged, such as a string message or an object. Any JSON serializable type is allowed here.",
            since="2024-11-05",
        ),
        offers="logging",
    ),
    Requirement(
        "logging:message:order",
        "The log messages of a call reach the client in order and before its result.",
        "MUST",
        Spec(
            MODERN,
            PER_REQUEST,
            "`notifications/message` is request-scoped: the server MUST NOT deliver it on a `subscriptions/listen` "
            "stream or on any stream other than the one carrying the response to the request that set the log level.",
        ),
        since=MODERN,
        offers="logging",
    ),
    Requirement(
        "logging:level:set",
        "After `logging/setLevel` messages at that level and above arrive, and none below it.",
        "SHOULD",
        Spec(
            LEGACY,
            "schema#setlevelrequestparams-level",
            "The server should send all logs at this level and higher (i.e., more severe) to the client as "
            "notifications/message.",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="logging",
    ),
    Requirement(
        "logging:level:request",
        "A request that asks for a level gets messages at that level and above, and none below it.",
        "SHOULD",
        Spec(MODERN, "basic/index#meta", "Minimum log level the server should emit for this request"),
        since=MODERN,
        offers="logging",
    ),
    Requirement(
        "logging:level:none",
        "A request that asks for no level gets no log message.",
        "MUST",
        Spec(
            MODERN,
            PER_REQUEST,
            "The server MUST NOT emit `notifications/message` for a request that does not include this field.",
        ),
        since=MODERN,
        offers="logging",
    ),
    Requirement(
        "logging:level:each-client",
        "Each client has its own level.",
        "convention",
        "The level is set in a client's own session, and directly connected it could not reach another's. "
        "That the proxy shares a backend between them is not the clients' affair.",
        until=LEGACY,
        offers="logging",
    ),
    Requirement(
        "logging:level:invalid",
        "A level that does not exist gets the error `-32602`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/utilities/logging#error-handling",
            "If the `io.modelcontextprotocol/logLevel` value carried in a request's `_meta` is not a recognized log "
            "level, the server SHOULD reject that request with a standard JSON-RPC error: "
            "Invalid log level: `-32602` (Invalid params)",
        ),
        earlier=(
            Spec(
                LEGACY,
                "server/utilities/logging#error-handling",
                "Servers SHOULD return standard JSON-RPC errors for common failure cases: Invalid log level: "
                "`-32602` (Invalid params)",
                since="2024-11-05",
            ),
        ),
        offers="logging",
    ),
)
