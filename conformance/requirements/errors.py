"""Errors stay what they were."""

from .model import LEGACY, MODERN, Requirement, Spec

SILENT = "No revision says what becomes of an error on its way through a proxy. "

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "errors:protocol:whole",
        "A protocol error of a tool call keeps its code, message and data.",
        "convention",
        SILENT + "The message is for the user and the data for the program: both belong to the backend that sent them.",
    ),
    Requirement(
        "errors:protocol:codes",
        "An error code of a backend's own, outside the reserved range, reaches the client.",
        "SHOULD",
        Spec(MODERN, "schema#error-code", "The error type that occurred.", since="2024-11-05"),
    ),
    Requirement(
        "errors:prompt:whole",
        "A protocol error of a prompt keeps its code, message and data.",
        "convention",
        SILENT + "A prompt that fails differs from a tool in nothing that would excuse another error.",
        offers="prompts",
    ),
    Requirement(
        "errors:resource:whole",
        "A protocol error of a resource keeps its code, message and data, save that `-32002` is `-32602` for a modern "
        "client.",
        "convention",
        SILENT + "The data names the URI that was not found. Only the code `-32002` may not reach a modern client.",
        offers="resources",
    ),
    Requirement(
        "errors:params:invalid",
        "A tool call without a name gets an error, to a modern client `-32602`, and the connection goes on.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#invalidparamserror",
            "A JSON-RPC error indicating that the method parameters are invalid or malformed.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "server/tools#error-handling",
                "Protocol Errors: Standard JSON-RPC errors for issues like: Unknown tools Malformed requests "
                "(requests that fail to satisfy CallToolRequest schema)",
            ),
            Spec(
                "2025-06-18",
                "server/tools#error-handling",
                "Protocol Errors: Standard JSON-RPC errors for issues like: Unknown tools Invalid arguments",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "errors:request:params",
        "A request whose params are no object is answered, and the connection goes on.",
        "MUST",
        Spec(
            MODERN,
            "basic/index#messages",
            "All messages between MCP clients and servers MUST follow the JSON-RPC 2.0 specification.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "errors:request:id",
        "A request whose id is none that MCP knows (null, true, 1.5) is answered, and the connection goes on.",
        "convention",
        "JSON-RPC answers every request that has an id, even one that is null, and MCP does not say what becomes of "
        "those that it forbids. Whoever sent it waits, and learns from an error what is wrong.",
    ),
)
