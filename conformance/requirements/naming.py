"""Names of many servers in one list."""

from .model import LEGACY, MODERN, Requirement, Spec

AGGREGATION = "The specification speaks of tools only, but the collision is the same: "

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "naming:collision:listed",
        "Two tools of the same name at two backends are both offered, under different names.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#tool-names",
            "Clients or proxies that aggregate tools from multiple servers MAY encounter naming collisions (for "
            "example, two servers each exposing a `search` tool) and SHOULD implement a disambiguation strategy such "
            "as prefixing tool names with a server identifier.",
        ),
        earlier=(Spec(LEGACY, "server/tools#tool", "`name`: Unique identifier for the tool", since="2024-11-05"),),
    ),
    Requirement(
        "naming:collision:routed",
        "A call of one of two tools of the same name reaches the backend that it was listed for.",
        "SHOULD",
        Spec(MODERN, "server/tools#tool", "`name`: Unique identifier for the tool", since="2024-11-05"),
    ),
    Requirement(
        "naming:collision:prompts",
        "Two prompts of the same name at two backends are both offered, and each is got from its own backend.",
        "convention",
        AGGREGATION + "a prompt that is hidden by another server's of the same name is lost.",
        offers="prompts",
    ),
    Requirement(
        "naming:collision:resources",
        "A URI that two backends offer can be read at both.",
        "convention",
        AGGREGATION + "a resource that is hidden by another server's of the same URI is lost.",
        offers="resources",
    ),
    Requirement(
        "naming:unique:names",
        "No name and no URI is twice in a list.",
        "SHOULD",
        Spec(MODERN, "server/tools#tool-names", "Tool names SHOULD be unique within a server.", since=LEGACY),
        earlier=(
            Spec("2025-06-18", "server/tools#tool", "`name`: Unique identifier for the tool", since="2024-11-05"),
        ),
    ),
    Requirement(
        "naming:separator:inside",
        "A tool whose own name contains what the proxy puts between server and tool can be called.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#calltoolrequest",
            "Used by the client to invoke a tool provided by the server.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "naming:charset:legal",
        "The tool names that the proxy makes from legal ones have 1 to 128 characters, all of them letters, digits, "
        "`_`, `-` or `.`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#tool-names",
            "The following SHOULD be the only allowed characters: uppercase and lowercase ASCII letters (A-Z, a-z), "
            "digits (0-9), underscore (_), hyphen (-), and dot (.)",
            since=LEGACY,
        ),
        since=LEGACY,
    ),
    Requirement(
        "naming:links:rewritten",
        "A link in a result to a resource that the proxy renamed can be read as it stands in the result.",
        "convention",
        "No revision knows of renamed resources. A link that a client cannot follow, or that leads to another "
        "server's resource, is worse than none.",
        since="2025-06-18",
        offers="resources",
    ),
)
