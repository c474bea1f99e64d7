"""Prompts: the list, and getting one."""

from .model import LEGACY, MODERN, Requirement, Spec

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "prompts:list:whole",
        "The list has every prompt of every backend, its title, description, arguments and icons as the backend "
        "sent them.",
        "MUST",
        Spec(
            MODERN,
            "server/prompts#capabilities",
            "Servers that declare the `prompts` capability MUST respond to `prompts/list` requests with the set of "
            "prompts currently available to the requesting client.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "schema#listpromptsrequest",
                "Sent from the client to request a list of prompts and prompt templates the server has.",
                since="2024-11-05",
            ),
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:simple",
        "A prompt without arguments arrives with its description and messages.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#getpromptrequest",
            "Used by the client to get a prompt provided by the server.",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:arguments",
        "The arguments of a prompt reach the backend as the client sent them.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#getpromptrequestparams-arguments",
            "Arguments to use for templating the prompt.",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:embedded",
        "A resource embedded in a prompt's message reaches the client with its URI, type and contents.",
        "MUST",
        Spec(
            MODERN,
            "server/prompts#embedded-resources",
            "Resources can contain either text or binary (blob) data and MUST include: A valid resource URI "
            "The appropriate MIME type Either text content or base64-encoded blob data",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:image",
        "An image in a prompt's message reaches the client, its data and type unchanged.",
        "MUST",
        Spec(
            MODERN,
            "server/prompts#image-content",
            "The image data MUST be base64-encoded and include a valid MIME type.",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:unknown",
        "A prompt that nobody offers gets the error `-32602`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/prompts#error-handling",
            "Servers SHOULD return standard JSON-RPC errors for common failure cases: "
            "Invalid prompt name: `-32602` (Invalid params)",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
    Requirement(
        "prompts:get:missing-argument",
        "A prompt asked for without a required argument gets the error `-32602`.",
        "SHOULD",
        Spec(
            MODERN,
            "server/prompts#error-handling",
            "Servers SHOULD return standard JSON-RPC errors for common failure cases: "
            "Invalid prompt name: `-32602` (Invalid params) Missing required arguments: `-32602` (Invalid params)",
            since="2024-11-05",
        ),
        offers="prompts",
    ),
)
