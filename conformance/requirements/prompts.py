"""Prompts: the list, and getting one."""

from .model import MODERN, Requirement, Spec

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
    ),
    Requirement(
        "prompts:get:simple",
        "A prompt without arguments arrives with its description and messages.",
        "MUST",
        Spec(MODERN, "schema#getpromptrequest", "Used by the client to get a prompt provided by the server."),
    ),
    Requirement(
        "prompts:get:arguments",
        "The arguments of a prompt reach the backend as the client sent them.",
        "MUST",
        Spec(MODERN, "schema#getpromptrequestparams-arguments", "Arguments to use for templating the prompt."),
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
        ),
    ),
    Requirement(
        "prompts:get:image",
        "An image in a prompt's message reaches the client, its data and type unchanged.",
        "MUST",
        Spec(
            MODERN,
            "server/prompts#image-content",
            "The image data MUST be base64-encoded and include a valid MIME type.",
        ),
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
        ),
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
        ),
    ),
)
