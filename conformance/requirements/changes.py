"""Lists that change, and who is told: everybody in legacy, whoever listens in modern."""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import TOOLS_CHANGED, TOOLS_CHANGED_LEGACY, TOOLS_LISTED, TOOLS_NOW

LISTENERS = Spec(
    MODERN,
    "server/tools#list-changed-notification",
    "When the list of available tools changes, servers that declared the `listChanged` capability SHOULD send a "
    "notification to clients that have opened a `subscriptions/listen` stream with `toolsListChanged: true`:",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "changes:tools:notified",
        "A change of a backend's tools is notified to the client.",
        "SHOULD",
        TOOLS_CHANGED_LEGACY,
        until=LEGACY,
        offers="tools.listChanged",
    ),
    Requirement(
        "changes:prompts:notified",
        "A change of a backend's prompts is notified to the client.",
        "SHOULD",
        Spec(
            LEGACY,
            "server/prompts#list-changed-notification",
            "When the list of available prompts changes, servers that declared the `listChanged` capability SHOULD "
            "send a notification:",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="prompts.listChanged",
    ),
    Requirement(
        "changes:resources:notified",
        "A change of a backend's resources is notified to the client.",
        "SHOULD",
        Spec(
            LEGACY,
            "server/resources#list-changed-notification",
            "When the list of available resources changes, servers that declared the `listChanged` capability SHOULD "
            "send a notification:",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="resources.listChanged",
    ),
    Requirement(
        "changes:list:fresh",
        "A list read after the notification shows the change.",
        "MUST",
        TOOLS_NOW,
        earlier=TOOLS_LISTED,
        offers="tools.listChanged",
    ),
    Requirement(
        "changes:capability:declared",
        "The proxy declares `listChanged` for the lists whose changes it notifies.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#capabilities",
            "`listChanged` indicates whether the server will emit notifications when the list of "
            "available tools changes.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "changes:clients:each",
        "A change is notified to every connected client, in modern to every one that listens.",
        "SHOULD",
        TOOLS_CHANGED,
        earlier=(TOOLS_CHANGED_LEGACY,),
        offers="tools.listChanged",
    ),
    Requirement(
        "changes:listen:tools",
        "A change of a backend's tools is notified to a client that listens for it.",
        "SHOULD",
        TOOLS_CHANGED,
        since=MODERN,
        offers="tools.listChanged",
    ),
    Requirement(
        "changes:listen:prompts",
        "A change of a backend's prompts is notified to a client that listens for it.",
        "SHOULD",
        Spec(
            MODERN,
            "server/prompts#list-changed-notification",
            "When the list of available prompts changes, servers that declared the `listChanged` capability SHOULD "
            "send a notification to clients that have opened a `subscriptions/listen` stream with "
            "`promptsListChanged: true`:",
        ),
        since=MODERN,
        offers="prompts.listChanged",
    ),
    Requirement(
        "changes:listen:resources",
        "A change of a backend's resources is notified to a client that listens for it.",
        "SHOULD",
        Spec(
            MODERN,
            "server/resources#list-changed-notification",
            "When the list of available resources changes, servers that declared the `listChanged` capability SHOULD "
            "send a notification:",
            since="2024-11-05",
        ),
        since=MODERN,
        offers="resources.listChanged",
    ),
    Requirement(
        "changes:listen:acknowledged",
        "The first message on a listening stream acknowledges it, with its subscription id and what will be notified.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/subscriptions#acknowledgment",
            "The server MUST send `notifications/subscriptions/acknowledged` as the first message carrying the "
            "subscription's ID in `_meta` under `io.modelcontextprotocol/subscriptionId`, and MUST NOT send any "
            "notification on the subscription before it.",
        ),
        since=MODERN,
    ),
    Requirement(
        "changes:listen:filtered",
        "A listening client is told only of what it asked for.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/subscriptions#opening-a-stream",
            "The server MUST NOT send notification types the client has not explicitly requested.",
        ),
        since=MODERN,
        offers="prompts.listChanged",
    ),
    Requirement(
        "changes:backend:quiet",
        "A change of a backend that declares no `listChanged` shows in the list in the end.",
        "convention",
        "A client connected directly sees it in the next list it asks for. A proxy that caches lists for good would "
        "hide it until it is restarted.",
    ),
)
