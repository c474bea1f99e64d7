"""Sentences of the specification that several areas quote, and what earlier revisions say instead."""

from .model import LEGACY, MODERN, REVISIONS, Spec

OLDEST = REVISIONS[0]

JSON_RPC = Spec(
    MODERN,
    "basic/index#messages",
    "All messages between MCP clients and servers MUST follow the JSON-RPC 2.0 specification.",
    since=OLDEST,
)


def now(kind: str) -> Spec:
    """What a list has, of tools, prompts or resources."""
    return Spec(
        MODERN,
        f"server/{kind}#capabilities",
        f"Servers that declare the `{kind}` capability MUST respond to `{kind}/list` requests with the set of {kind} "
        "currently available to the requesting client.",
    )


def listed(kind: str) -> Spec:
    """The same, before there was a sentence with MUST for it."""
    all_that = "prompts and prompt templates" if kind == "prompts" else kind
    return Spec(
        LEGACY,
        f"schema#list{kind}request",
        f"Sent from the client to request a list of {all_that} the server has.",
        since=OLDEST,
    )


TOOLS_NOW = now("tools")
TOOLS_LISTED = (listed("tools"),)

SHUTDOWN = Spec(
    MODERN,
    "basic/transports/stdio#shutdown",
    "The client SHOULD initiate shutdown by: Closing the input stream to the child process (the server). Waiting for "
    "the server to exit. If the server does not exit within a reasonable time, forcibly terminating the process using "
    "the mechanism appropriate for the operating system.",
)
SHUTDOWN_LEGACY = Spec(
    LEGACY,
    "basic/lifecycle#stdio",
    "Sending `SIGKILL` if the server does not exit within a reasonable time after `SIGTERM`",
    since=OLDEST,
)

TOOLS_CHANGED = Spec(
    MODERN,
    "server/tools#list-changed-notification",
    "When the list of available tools changes, servers that declared the `listChanged` capability SHOULD send a "
    "notification to clients that have opened a `subscriptions/listen` stream with `toolsListChanged: true`:",
)
TOOLS_CHANGED_LEGACY = Spec(
    LEGACY,
    "server/tools#list-changed-notification",
    "When the list of available tools changes, servers that declared the `listChanged` capability SHOULD send a "
    "notification:",
    since=OLDEST,
)

RESPONSES = Spec(
    LEGACY,
    "basic/index#responses",
    "Responses are sent in reply to requests, containing either the result or error of the operation.",
)
RESPONSES_EARLIER = (
    Spec(
        "2025-06-18",
        "basic/index#responses",
        "Responses are sent in reply to requests, containing the result or error of the operation.",
        since="2025-03-26",
    ),
    Spec(OLDEST, "basic/messages#responses", "Responses are sent in reply to requests."),
)

SAME_ID = Spec(
    MODERN,
    "basic/index#result-responses",
    "Result responses MUST include the same ID as the request they correspond to.",
    since=LEGACY,
)
SAME_ID_EARLIER = (
    Spec(
        "2025-06-18",
        "basic/index#responses",
        "Responses MUST include the same ID as the request they correspond to.",
        since="2025-03-26",
    ),
    Spec(OLDEST, "basic/messages#responses", "Responses MUST include the same ID as the request they correspond to."),
)

NEGOTIATED_ONLY = Spec(
    LEGACY,
    "basic/lifecycle#operation",
    "Both parties MUST: Respect the negotiated protocol version "
    "Only use capabilities that were successfully negotiated",
    since="2025-06-18",
)
