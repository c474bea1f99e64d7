"""What passes through unchanged, though the proxy need not understand it."""

from .model import LEGACY, MODERN, Requirement, Spec

SILENT = "No revision says what a proxy passes on. "
VALUE = Spec(
    MODERN,
    "server/tools#structured-content",
    "This can be any JSON value (object, array, string, number, boolean, or null) that conforms to the tool's "
    "`outputSchema` if one is defined.",
)

VALUE_EARLIER = (
    Spec(
        LEGACY,
        "server/tools#structured-content",
        "Structured content is returned as a JSON object in the `structuredContent` field of a result.",
        since="2025-06-18",
    ),
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "transparency:meta:result",
        "A vendor's `_meta` in a result reaches the client.",
        "convention",
        SILENT + "`_meta` is there for what client and server arrange between them, and the proxy is neither.",
    ),
    Requirement(
        "transparency:meta:request",
        "A vendor's `_meta` in a request reaches the backend.",
        "convention",
        SILENT + "`_meta` is there for what client and server arrange between them, and the proxy is neither.",
    ),
    Requirement(
        "transparency:meta:trace",
        "The trace context in `_meta` (`traceparent`, `tracestate`, `baggage`) reaches the backend.",
        "convention",
        "The specification reserves these keys for propagation but obliges nobody to propagate. "
        "A trace that ends at the proxy shows nothing of the call.",
    ),
    Requirement(
        "transparency:fields:result",
        "Fields of a result that no revision knows reach the client.",
        "convention",
        SILENT + "Results are open by schema, so vendors and later revisions add fields; dropping them delays every "
        "one of them by a release of the proxy.",
    ),
    Requirement(
        "transparency:fields:request",
        "Parameters of a request that no revision knows reach the backend.",
        "convention",
        SILENT + "Parameters are open by schema, so vendors and later revisions add some; dropping them delays every "
        "one of them by a release of the proxy.",
    ),
    Requirement(
        "transparency:content:unknown",
        "Content of an unknown type reaches the client.",
        "convention",
        SILENT + "Audio and resource links were unknown types once; a client that knows the next one must not wait "
        "for the proxy to learn it.",
    ),
    Requirement(
        "transparency:content:annotations",
        "The annotations of content reach the client.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#tool-result",
            "All content types (text, image, audio, resource links, and embedded resources) support optional "
            "annotations that provide metadata about audience, priority, and modification times.",
            since="2025-06-18",
        ),
        earlier=(
            Spec(
                "2025-03-26",
                "schema#annotations",
                "The client can use annotations to inform how objects are used or displayed",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "transparency:structured:exact",
        "Structured content arrives exactly, whatever JSON it is.",
        "SHOULD",
        VALUE,
        since="2025-06-18",
        earlier=VALUE_EARLIER,
    ),
    Requirement(
        "transparency:payload:large-result",
        "A result of 1.5 MB arrives whole.",
        "convention",
        "No revision limits the size of a message. A screenshot in base64 is that large.",
    ),
    Requirement(
        "transparency:payload:large-argument",
        "An argument of 1.5 MB reaches the backend whole.",
        "convention",
        "No revision limits the size of a message. A file handed to a tool is that large.",
    ),
    Requirement(
        "transparency:text:unicode",
        "Text of every script arrives exactly, both ways: astral and combining characters, U+2028, an escaped NUL.",
        "MUST",
        Spec(MODERN, "basic/transports/index#messages", "JSON-RPC messages MUST be UTF-8 encoded.", since="2025-03-26"),
        since="2025-03-26",
    ),
    Requirement(
        "transparency:json:deep",
        "JSON nested 60 levels deep arrives exactly, both ways.",
        "convention",
        "No revision limits the depth of arguments and results. Sixty levels are less than any JSON parser's limit "
        "and more than any schema written by hand.",
        since="2025-06-18",
    ),
    Requirement(
        "transparency:numbers:integers",
        "Integers of 64 bits arrive exactly, both ways.",
        "convention",
        "JSON promises exact integers only up to 2**53, and no revision promises more. But ids and counters are "
        "larger, and a rounded id is another record.",
        since="2025-06-18",
    ),
    Requirement(
        "transparency:numbers:floats",
        "Floating-point numbers of double precision arrive exactly, both ways.",
        "SHOULD",
        VALUE,
        since="2025-06-18",
        earlier=VALUE_EARLIER,
    ),
    Requirement(
        "transparency:null:kept",
        "An explicit null in arguments and results stays a null and does not vanish.",
        "SHOULD",
        VALUE,
        since="2025-06-18",
        earlier=VALUE_EARLIER,
    ),
)
