"""Updates of single resources: `resources/subscribe` in legacy, `subscriptions/listen` in modern."""

from .model import LEGACY, MODERN, Requirement, Spec

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "subscriptions:capability:declared",
        "The proxy declares `subscribe` when it notifies updates of single resources.",
        "SHOULD",
        Spec(
            MODERN,
            "server/resources#capabilities",
            "`subscribe` : whether the server supports resource-specific update notifications",
        ),
        earlier=(
            Spec(
                LEGACY,
                "server/resources#capabilities",
                "`subscribe`: whether the client can subscribe to be notified of changes to individual resources.",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "subscriptions:update:arrives",
        "An update of a resource reaches the client that subscribed to it.",
        "SHOULD",
        Spec(
            LEGACY,
            "server/resources#subscriptions",
            "Clients can subscribe to specific resources and receive notifications when they change:",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="resources.subscribe",
    ),
    Requirement(
        "subscriptions:uri:unknown",
        "A subscription to a URI that nobody has gets an error, and no empty success.",
        "SHOULD",
        Spec(
            LEGACY,
            "server/resources#error-handling",
            "Servers SHOULD return standard JSON-RPC errors for common failure cases:",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "subscriptions:update:subscriber-only",
        "An update of a resource reaches no client that did not subscribe to it.",
        "SHOULD",
        Spec(
            LEGACY,
            "schema#resourceupdatednotification",
            "This should only be sent if the client previously sent a resources/subscribe request.",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="resources.subscribe",
    ),
    Requirement(
        "subscriptions:unsubscribe:stops",
        "After `resources/unsubscribe` no update of the resource reaches the client.",
        "SHOULD",
        Spec(
            LEGACY,
            "schema#unsubscriberequest",
            "Sent from the client to request cancellation of resources/updated notifications from the server.",
            since="2024-11-05",
        ),
        until=LEGACY,
        offers="resources.subscribe",
    ),
    Requirement(
        "subscriptions:listen:update",
        "An update of a resource reaches the clients that listen for its URI, and no others.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#resourceupdatednotification",
            "This is only sent for resources the client opted in to via the `resourceSubscriptions` field of a "
            "subscriptions/listen request.",
        ),
        since=MODERN,
        offers="resources.subscribe",
    ),
    Requirement(
        "subscriptions:update:uri",
        "An update names the resource by the URI under which the client knows it.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#resourceupdatednotificationparams-uri",
            "The URI of the resource that has been updated.",
            since="2024-11-05",
        ),
        offers="resources.subscribe",
    ),
)
