"""Resources and their templates: the lists, and reading."""

from .model import LEGACY, MODERN, Requirement, Spec

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "resources:list:whole",
        "The list has every resource of every backend, its name, description, type and annotations as the backend "
        "sent them.",
        "MUST",
        Spec(
            MODERN,
            "server/resources#capabilities",
            "Servers that declare the `resources` capability MUST respond to `resources/list` requests with the set "
            "of resources currently available to the requesting client.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "schema#listresourcesrequest",
                "Sent from the client to request a list of resources the server has.",
                since="2024-11-05",
            ),
        ),
        offers="resources",
    ),
    Requirement(
        "resources:read:text",
        "The text of a resource arrives as its backend sent it, with its URI and type.",
        "SHOULD",
        Spec(MODERN, "schema#textresourcecontents-text", "The text of the item.", since="2024-11-05"),
        offers="resources",
    ),
    Requirement(
        "resources:read:binary",
        "The binary data of a resource arrives as its backend sent it, with its URI and type.",
        "MUST",
        Spec(
            MODERN,
            "server/resources#security-considerations",
            "Binary data MUST be properly encoded",
            since="2024-11-05",
        ),
        offers="resources",
    ),
    Requirement(
        "resources:read:template",
        "A URI made from a template of a backend is read at that backend.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#resourcetemplate-uritemplate",
            "A URI template (according to RFC 6570) that can be used to construct resource URIs.",
            since="2024-11-05",
        ),
        offers="resources",
    ),
    Requirement(
        "resources:read:unknown",
        "A read of a URI that nobody knows gets the error `-32602`.",
        "MUST",
        Spec(
            MODERN,
            "server/resources#error-handling",
            "If the requested resource does not exist, servers MUST return a JSON-RPC error with code `-32602` "
            "(Invalid Params).",
        ),
        since=MODERN,
        offers="resources",
    ),
    Requirement(
        "resources:templates:whole",
        "The list of templates has every one of every backend, as the backend sent it.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#listresourcetemplatesrequest",
            "Sent from the client to request a list of resource templates the server has.",
            since="2024-11-05",
        ),
        offers="resources",
    ),
    Requirement(
        "resources:links:readable",
        "A resource link in a tool's result can be read through the proxy.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#resource-links",
            "In this case, the tool will return a URI that can be subscribed to or fetched by the client:",
            since="2025-06-18",
        ),
        since="2025-06-18",
        offers="resources",
    ),
)
