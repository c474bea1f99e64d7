"""Servers as they are: what a proxy, being their client, gets along with.

Most of it is no server's right, and so a convention: but it is what servers do, and the user of a proxy hears from it,
not from the server, that something is wrong.
"""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import OLDEST, RESPONSES, RESPONSES_EARLIER

FIRST = "2025-03-26"
"""The first revision with streamable HTTP."""
TRANSPORTS = "basic/transports"
STREAMABLE = "basic/transports/streamable-http"
MET = "No revision says what a client does then. "

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "servers:redirect:followed",
        "A backend that redirects to another path of its own origin, with 307 or 308, can be used.",
        "convention",
        MET + "Web frameworks redirect `/mcp` to `/mcp/` by themselves, and both statuses ask that the same request be "
        "sent again.",
    ),
    Requirement(
        "servers:redirect:elsewhere",
        "The session id that a backend gave is not sent to another origin to which that backend redirects.",
        "MUST",
        Spec(
            LEGACY,
            f"{TRANSPORTS}#session-management",
            "The client MUST handle the session ID in a secure manner, see Session Hijacking mitigations for more "
            "details.",
        ),
        since=LEGACY,
        until=LEGACY,
    ),
    Requirement(
        "servers:status:unknown-method",
        (
            "The error that a modern backend sends with status 404 for a method it does not have is that "
            "request's error: its other requests are answered."
        ),
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#protocol-version-header",
            "If the server does not implement the requested RPC method, it MUST respond with `404 Not Found` and a "
            "JSON-RPC error with code `-32601` (`Method not found`).",
        ),
        since=MODERN,
    ),
    Requirement(
        "servers:status:error",
        "A JSON-RPC error that a backend sends with an HTTP status of 400 or more reaches the client as that error.",
        "convention",
        MET + "Many servers give their errors the status that web pages have for it, and the body says what is wrong.",
        since=FIRST,
    ),
    Requirement(
        "servers:session:lost",
        "A backend that has forgotten its sessions, and answers 404, is greeted again and can be used.",
        "MUST",
        Spec(
            LEGACY,
            f"{TRANSPORTS}#session-management",
            "When a client receives HTTP 404 in response to a request containing an `MCP-Session-Id`, it MUST start a "
            "new session by sending a new `InitializeRequest` without a session ID attached.",
        ),
        since=FIRST,
        until=LEGACY,
        earlier=(
            Spec(
                "2025-06-18",
                "basic/transports#session-management",
                "When a client receives HTTP 404 in response to a request containing an `Mcp-Session-Id`, it "
                "MUST start a new session by sending a new `InitializeRequest` without a session ID attached.",
                since="2025-03-26",
            ),
        ),
    ),
    Requirement(
        "servers:listening:refused",
        "A backend that answers a GET with 405 can be used.",
        "MUST",
        Spec(
            LEGACY,
            f"{TRANSPORTS}#listening-for-messages-from-the-server",
            "The server MUST either return `Content-Type: text/event-stream` in response to this HTTP GET, or else "
            "return HTTP 405 Method Not Allowed, indicating that the server does not offer an SSE stream at this "
            "endpoint.",
            since="2025-03-26",
        ),
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "servers:listening:refused-otherwise",
        "A backend that answers a GET with 400, 404 or 501 can be used.",
        "convention",
        "No such server keeps to the specification, which asks for 405. Yet all that it wants to say is that it has no "
        "stream, and its answers come without one.",
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "servers:listening:again",
        "When the stream on which a backend tells of changes has ended, later changes reach the client as before.",
        "convention",
        "A server may end it at any time, and no revision asks that a client open it again. Load balancers end it "
        "every few minutes, and a client that does not come back is never told of anything more.",
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "servers:listening:missed",
        "A change while there was no stream to tell of it shows in the list once there is one again.",
        "convention",
        MET + "The notification is lost, and a proxy that has kept the list shows the old one for good.",
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "servers:connection:again",
        "A backend over SSE whose connection has ended can be used again without anybody restarting the proxy.",
        "convention",
        "No revision asks for it over SSE. But connections over a network end, and the server is still there.",
        until=LEGACY,
    ),
    Requirement(
        "servers:stream:spelled",
        "A backend's messages are read however the event stream is written: with CRLF or CR, comments, ids, several "
        "lines of data, a byte order mark, in pieces or at once.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#sending-messages",
            "If the body is a JSON-RPC request, the server MUST return either `Content-Type: application/json` (a "
            "single JSON object) or `Content-Type: text/event-stream` (an SSE response stream). The client MUST "
            "support both.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/transports#sending-messages-to-the-server",
                "The client MUST support both these cases.",
                since="2025-03-26",
            ),
            Spec(
                "2024-11-05",
                "basic/transports#http-with-sse",
                "Server messages are sent as SSE `message` events, with the message content encoded as JSON "
                "in the event data.",
            ),
        ),
    ),
    Requirement(
        "servers:stream:lines",
        "A backend's lines on stdout are read in pieces and at once, and whatever characters are in them.",
        "MUST",
        Spec(
            MODERN,
            "basic/transports/stdio",
            "Messages are delimited by newlines, and MUST NOT contain embedded newlines.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "servers:batch:taken",
        "The messages in a batch that a backend of revision 2025-03-26 sends reach whom they are for.",
        "MUST",
        Spec(
            FIRST,
            "basic/index#batching",
            "MCP implementations MAY support sending JSON-RPC batches, but MUST support receiving JSON-RPC batches.",
        ),
        since=FIRST,
        until=FIRST,
    ),
    Requirement(
        "servers:list:failed-once",
        "The tools of a backend that could not list them when it was first asked are offered in the end.",
        "convention",
        MET + "A server that waits for its database fails at the start and never again, and would be without tools "
        "until the proxy is restarted.",
    ),
    Requirement(
        "servers:list:unusable",
        "Entries of a backend's list that are no tools, for want of a name or a schema, cost none of the other tools.",
        "convention",
        MET + "One careless entry should not cost the user what is listed beside it.",
    ),
    Requirement(
        "servers:list:schema",
        "Each tool that is listed has an input schema, whatever the backend lists.",
        "convention",
        (
            "A tool without an input schema breaks the rules of the server that lists it. But some "
            "clients refuse a whole list for one bad entry, and behind a proxy that costs the tools of "
            "every server."
        ),
        earlier=(
            Spec(
                "2025-06-18",
                "server/tools#tool",
                "`inputSchema`: JSON Schema defining expected parameters",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "servers:question:early",
        "A backend that asks for the roots as soon as it may gets an answer, a result or an error.",
        "SHOULD",
        RESPONSES,
        earlier=RESPONSES_EARLIER,
        until=LEGACY,
    ),
    Requirement(
        "servers:question:ping",
        "A backend that pings as soon as it may gets an empty result.",
        "MUST",
        Spec(
            LEGACY,
            "basic/utilities/ping#behavior-requirements",
            "The receiver MUST respond promptly with an empty response:",
            since=OLDEST,
        ),
        until=LEGACY,
    ),
    Requirement(
        "servers:question:undeclared",
        "A backend that asks for roots, a form and a completion as soon as it is greeted, whatever the client "
        "declared, gets an answer to each, and serves.",
        "SHOULD",
        RESPONSES,
        earlier=RESPONSES_EARLIER,
        until=LEGACY,
    ),
    Requirement(
        "servers:environment:configured",
        "A backend over stdio has the environment variables that its configuration sets.",
        "convention",
        "No revision knows of the configuration. The `env` of `mcpServers` is where servers find their keys.",
    ),
    Requirement(
        "servers:environment:private",
        "A variable of the proxy's environment that no configuration names does not reach a backend over stdio.",
        "convention",
        "No revision says what a server's process inherits. The official SDKs hand on a short list of variables, PATH "
        "among them: a proxy has the keys of all its servers and its own, and a server needs to see none but its own.",
    ),
    Requirement(
        "servers:headers:configured",
        "Requests to a backend at a URL have the HTTP headers that its configuration sets, and of those no client's "
        "own.",
        "convention",
        "No revision knows of the configuration. The `headers` of `mcpServers` are where the keys of such servers are.",
    ),
    Requirement(
        "servers:stderr:flood",
        "A backend that writes much to its stderr is not stopped by it.",
        "convention",
        "A server may log there, and a client may ignore it. But a pipe that nobody reads fills up, and then the "
        "server waits for ever in the middle of a call.",
    ),
)
