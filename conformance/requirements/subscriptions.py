"""Updates of single resources: `resources/subscribe` in legacy, `subscriptions/listen` in modern."""

from .model import LEGACY, MODERN, Requirement, Spec

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "subscriptions:capability:declared",
        "The proxy declares `subscribe` when updates of a backend's resources can be had.",
        "convention",
        "A client that is not told that it may subscribe does not, as it would directly.",
    ),
    Requirement(
        "subscriptions:update:arrives",
        "An update of a resource reaches the client that subscribed to it.",
        "MUST",
        Spec(
            LEGACY,
            "server/resources#subscriptions",
            "Clients can subscribe to specific resources and receive notifications when they change:",
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
        ),
        until=LEGACY,
    ),
    Requirement(
        "subscriptions:unsubscribe:stops",
        "After `resources/unsubscribe` no update of the resource reaches the client.",
        "MUST",
        Spec(
            LEGACY,
            "schema#unsubscriberequest",
            "Sent from the client to request cancellation of resources/updated notifications from the server.",
        ),
        until=LEGACY,
    ),
    Requirement(
        "subscriptions:listen:update",
        "An update of a resource reaches the clients that listen for its URI, and no others.",
        "MUST",
        Spec(
            MODERN,
            "schema#resourceupdatednotification",
            "This is only sent for resources the client opted in to via the `resourceSubscriptions` field of a "
            "subscriptions/listen request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "subscriptions:update:uri",
        "An update names the resource by the URI under which the client knows it.",
        "MUST",
        Spec(
            MODERN,
            "schema#resourceupdatednotificationparams-uri",
            "The URI of the resource that has been updated.",
        ),
    ),
)
