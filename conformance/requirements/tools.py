"""Tools: the list, and what a call carries there and back."""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import SAME_ID, SAME_ID_EARLIER, TOOLS_LISTED, TOOLS_NOW

CONTENT = Spec(
    MODERN,
    "schema#calltoolresult-content",
    "A list of content objects that represent the unstructured result of the tool call.",
    since="2025-06-18",
)
SET = Spec(
    MODERN,
    "server/tools#capabilities",
    "This set MAY be empty and MAY change over time (see [List Changed Notification](#list-changed-notification)), but "
    "MUST NOT vary per-connection or as a side effect of other requests on the connection.",
)

CALL_EARLIER = (
    Spec(
        "2025-06-18",
        "schema#calltoolrequest",
        "Used by the client to invoke a tool provided by the server.",
        since="2024-11-05",
    ),
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "tools:list:whole",
        "The list has every tool of every backend, its description, title, annotations and icons as the backend "
        "sent them.",
        "MUST",
        TOOLS_NOW,
        earlier=TOOLS_LISTED,
    ),
    Requirement(
        "tools:list:schema",
        "The input and output schemas of a tool arrive as its backend wrote them, `$defs`, `$ref`, `oneOf`, `$schema` "
        "and `additionalProperties` included.",
        "SHOULD",
        Spec(
            MODERN, "server/tools#tool", "`inputSchema`: JSON Schema defining expected parameters", since="2024-11-05"
        ),
    ),
    Requirement(
        "tools:list:deterministic",
        "The list of tools has the same order each time while nothing changes.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#capabilities",
            "Servers SHOULD return tools in a deterministic order (i.e., the same ordering across requests when the "
            "underlying set of tools has not changed).",
        ),
        since=MODERN,
    ),
    Requirement(
        "tools:list:calls",
        "The list of tools is the same before and after calls: it has no placeholders that calls replace.",
        "MUST",
        SET,
        since=MODERN,
    ),
    Requirement(
        "tools:list:connections",
        "The list of tools is the same on every connection with the same authorization, whatever was asked on it.",
        "MUST",
        SET,
        since=MODERN,
    ),
    Requirement(
        "tools:list:settled",
        "Neither a call nor another connection changes the list of tools.",
        "convention",
        "Revision 2026-07-28 made it a rule. Before it, too, a model can choose only from what is listed, and most "
        "clients list once: what shows after the first call comes too late for them.",
        until=LEGACY,
    ),
    Requirement(
        "tools:call:text",
        "The text that a tool returns reaches the client.",
        "SHOULD",
        CONTENT,
        earlier=(
            Spec("2025-03-26", "schema#calltoolresult", "The server's response to a tool call.", since="2024-11-05"),
        ),
    ),
    Requirement(
        "tools:call:image",
        "The image that a tool returns reaches the client, its data and type unchanged.",
        "SHOULD",
        CONTENT,
        earlier=(
            Spec("2025-03-26", "schema#calltoolresult", "The server's response to a tool call.", since="2024-11-05"),
        ),
    ),
    Requirement(
        "tools:call:audio",
        "The audio that a tool returns reaches the client, its data and type unchanged.",
        "SHOULD",
        CONTENT,
        since="2025-03-26",
        earlier=(
            Spec("2025-03-26", "schema#calltoolresult", "The server's response to a tool call.", since="2024-11-05"),
        ),
    ),
    Requirement(
        "tools:call:embedded",
        "A resource embedded in a tool's result reaches the client with its contents.",
        "SHOULD",
        CONTENT,
        earlier=(
            Spec("2025-03-26", "schema#calltoolresult", "The server's response to a tool call.", since="2024-11-05"),
        ),
    ),
    Requirement(
        "tools:call:links",
        "The resource links that a tool returns reach the client.",
        "SHOULD",
        CONTENT,
        since="2025-06-18",
    ),
    Requirement(
        "tools:call:mixed",
        "Content of several types in one result reaches the client whole and in order.",
        "SHOULD",
        CONTENT,
        earlier=(
            Spec("2025-03-26", "schema#calltoolresult", "The server's response to a tool call.", since="2024-11-05"),
        ),
    ),
    Requirement(
        "tools:call:structured",
        "The structured content that a tool returns reaches the client beside its content.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#calltoolresult-structuredcontent",
            "An optional JSON value that represents the structured result of the tool call.",
        ),
        since="2025-06-18",
        earlier=(
            Spec(
                LEGACY,
                "schema#calltoolresult-structuredcontent",
                "An optional JSON object that represents the structured result of the tool call.",
                since="2025-06-18",
            ),
        ),
    ),
    Requirement(
        "tools:call:arguments",
        "The arguments of a call reach the backend as the client sent them.",
        "SHOULD",
        Spec(MODERN, "schema#calltoolrequestparams-arguments", "Arguments to use for the tool call.", since=LEGACY),
        earlier=CALL_EARLIER,
    ),
    Requirement(
        "tools:call:no-arguments",
        "A call without `arguments`, which the schema leaves optional, reaches the backend.",
        "SHOULD",
        Spec(
            MODERN, "schema#calltoolrequestparams-arguments", "Arguments to use for the tool call.", since="2025-11-25"
        ),
        earlier=CALL_EARLIER,
    ),
    Requirement(
        "tools:call:error-result",
        "A tool's own error stays a result with `isError` and does not become a protocol error.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#calltoolresult-iserror",
            "Any errors that originate from the tool SHOULD be reported inside the result object, with `isError` set "
            "to true, not as an MCP protocol-level error response.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "tools:call:unknown",
        "A call of a tool that nobody offers gets a protocol error, to a modern client `-32602`.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#invalidparamserror",
            "In MCP, this error is returned in various contexts when request parameters fail validation: "
            "Tools: Unknown tool name or invalid tool arguments",
        ),
        earlier=(
            Spec(
                LEGACY,
                "schema#calltoolresult-iserror",
                "However, any errors in finding the tool, an error indicating that the server does not "
                "support tool calls, or any other exceptional conditions, should be reported as an MCP error "
                "response.",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "tools:call:concurrent",
        "Two calls in flight at once on one connection each get their own result.",
        "MUST",
        SAME_ID,
        earlier=SAME_ID_EARLIER,
    ),
    Requirement(
        "tools:call:unlisted-first",
        "A tool can be called by a client that never listed the tools.",
        "convention",
        "No legacy revision makes the list a condition of the call, and clients keep lists from earlier sessions. "
        "The modern revision says it outright: see lifecycle:envelope:stateless.",
        until=LEGACY,
    ),
    Requirement(
        "tools:tasks:augmented",
        "Where the tools of a backend run as tasks, the proxy declares `tasks` and hands the tasks on.",
        "MUST",
        Spec(
            "2025-11-25",
            "basic/utilities/tasks#capabilities",
            "Servers and clients that support task-augmented requests MUST declare a `tasks` capability during "
            "initialization.",
        ),
        since="2025-11-25",
        until="2025-11-25",
        unchecked="Tasks were experimental in this one revision; in the next they are an extension of another shape.",
    ),
    Requirement(
        "tools:output:validated",
        "A structured result that does not match the tool's output schema is noticed.",
        "SHOULD",
        Spec(
            MODERN,
            "server/tools#output-schema",
            "Clients SHOULD validate structured results against this schema.",
            since="2025-06-18",
        ),
        since="2025-06-18",
        unchecked="It is for the client at the end: a proxy that refuses results hides from it what the tool said.",
    ),
    Requirement(
        "tools:calls:limited",
        "The rate of tool calls is limited.",
        "MUST",
        Spec(
            MODERN,
            "server/tools#security-considerations",
            "Servers MUST: Validate all tool inputs Implement proper access controls Rate limit tool invocations",
            since="2024-11-05",
        ),
        unchecked="No revision names a rate, and the backend that does the work limits it as well.",
    ),
    Requirement(
        "tools:icons:safe",
        "The icons of a backend are fetched and shown with care, if at all.",
        "MUST",
        Spec(
            MODERN,
            "basic/index#icons",
            "Consumers of icon metadata MUST take appropriate security precautions when handling icons to prevent "
            "compromise:",
            since=LEGACY,
        ),
        since="2025-11-25",
        unchecked="A proxy passes icons on; whoever fetches and shows them is the client.",
    ),
)
