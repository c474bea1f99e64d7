"""Sentences of the specification that several areas quote, and what earlier revisions say instead."""

from .model import LEGACY, MODERN, REVISIONS, Spec

OLDEST = REVISIONS[0]

JSON_RPC = Spec(
    MODERN,
    "basic/index#messages",
    "All messages between MCP clients and servers MUST follow the JSON-RPC 2.0 specification.",
    since=OLDEST,
)

TOOLS_NOW = Spec(
    MODERN,
    "server/tools#capabilities",
    "Servers that declare the `tools` capability MUST respond to `tools/list` requests with the set of tools currently "
    "available to the requesting client.",
)
TOOLS_LISTED = (
    Spec(
        LEGACY,
        "schema#listtoolsrequest",
        "Sent from the client to request a list of tools the server has.",
        since=OLDEST,
    ),
)
"""Before there was a sentence with MUST for it."""

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
