"""Streamable HTTP, and the older HTTP with SSE."""

from .model import LEGACY, MODERN, Requirement, Spec

FIRST = "2025-03-26"
"""The first revision with streamable HTTP."""
SESSIONS = "basic/transports#session-management"
STREAMABLE = "basic/transports/streamable-http"
GONE = Spec(
    LEGACY,
    SESSIONS,
    "The server MAY terminate the session at any time, after which it MUST respond to requests containing that session "
    "ID with HTTP 404 Not Found.",
    since="2025-03-26",
)
MISMATCH = Spec(
    MODERN,
    f"{STREAMABLE}#server-validation",
    "Servers that process the request body MUST reject requests where the values specified in the headers do not match "
    "the corresponding values in the request body.",
)
FORBIDDEN = "If the `Origin` header is present and invalid, servers MUST respond with HTTP 403 Forbidden."
VALIDATED = Spec(
    LEGACY,
    "basic/transports#security-warning",
    "Servers MUST validate the `Origin` header on all incoming connections to prevent DNS rebinding attacks",
    since="2024-11-05",
)
REBINDING = (
    "The specification has servers look at `Origin` against DNS rebinding. But to the browser a page whose name was "
    "rebound has the proxy's origin, and it sends none with a GET: `Host` alone still tells."
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "http:accept:both",
        "A request is answered as JSON or as an event stream, for a client that accepts both.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#sending-messages",
            "If the body is a JSON-RPC request, the server MUST return either `Content-Type: application/json` (a "
            "single JSON object) or `Content-Type: text/event-stream` (an SSE response stream).",
        ),
        since=FIRST,
        earlier=(
            Spec(
                LEGACY,
                "basic/transports#sending-messages-to-the-server",
                "If the input is a JSON-RPC request, the server MUST either return `Content-Type: "
                "text/event-stream`, to initiate an SSE stream, or `Content-Type: application/json`, to "
                "return one JSON object.",
                since="2025-06-18",
            ),
            Spec(
                "2025-03-26",
                "basic/transports#sending-messages-to-the-server",
                "If the input contains any number of JSON-RPC requests, the server MUST either return "
                "`Content-Type: text/event-stream`, to initiate an SSE stream, or `Content-Type: "
                "application/json`, to return one JSON object.",
            ),
        ),
    ),
    Requirement(
        "http:accept:any",
        "A client that accepts anything (`*/*`) is answered.",
        "convention",
        "The specification has clients name both types. To HTTP `*/*` names them, too, and many libraries send it "
        "unless told otherwise.",
        since=FIRST,
    ),
    Requirement(
        "http:accept:one",
        "A client that accepts only one of JSON and event streams is answered with that, or refused with status 406.",
        "convention",
        "The specification has clients name both types, so a server may refuse such a client. But one that is sent "
        "what it cannot read learns nothing from it.",
        since=FIRST,
    ),
    Requirement(
        "http:path:slash",
        "The endpoint is found with and without a slash at its end.",
        "convention",
        "To HTTP these are two resources. To the people who write them into configuration files they are one, and the "
        "error they get for it, 404, says that there is no such server.",
        since=FIRST,
    ),
    Requirement(
        "http:notification:accepted",
        "An accepted notification is answered with status 202 and no body.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#sending-messages",
            "If the server accepts it, the server MUST return HTTP status code `202 Accepted` with no body.",
        ),
        since=FIRST,
        earlier=(
            Spec(
                LEGACY,
                "basic/transports#sending-messages-to-the-server",
                "If the server accepts the input, the server MUST return HTTP status code 202 Accepted with no body.",
                since="2025-03-26",
            ),
        ),
    ),
    Requirement(
        "http:body:invalid",
        "A body that is not JSON is refused with an HTTP error status.",
        "MUST",
        Spec(
            MODERN,
            "basic/transports/streamable-http#sending-messages",
            "If the server cannot accept it, it MUST return an HTTP error status code (e.g., `400 Bad Request`).",
        ),
        since=FIRST,
        earlier=(
            Spec(
                LEGACY,
                "basic/transports#sending-messages-to-the-server",
                "If the server cannot accept the input, it MUST return an HTTP error status code (e.g., 400 "
                "Bad Request).",
                since="2025-03-26",
            ),
        ),
    ),
    Requirement(
        "http:origin:forged",
        "A request with a foreign `Origin` is refused with status 403.",
        "MUST",
        Spec(MODERN, f"{STREAMABLE}#security-%26-endpoint", FORBIDDEN, since=LEGACY),
        since=FIRST,
        earlier=(VALIDATED,),
    ),
    Requirement(
        "http:origin:verbs",
        "A GET and a DELETE with a foreign `Origin` are refused with status 403, or with 405 where there are none.",
        "MUST",
        Spec(LEGACY, "basic/transports#security-warning", FORBIDDEN),
        since=FIRST,
        until=LEGACY,
        earlier=(VALIDATED,),
    ),
    Requirement(
        "http:origin:rebound",
        "A page whose name was rebound to the proxy's address, so that `Origin` and `Host` agree, is refused.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#security-%26-endpoint",
            "Servers MUST validate the `Origin` header on all incoming connections to prevent DNS rebinding attacks.",
        ),
        since=FIRST,
        earlier=(VALIDATED,),
    ),
    Requirement(
        "http:host:foreign",
        "A request whose `Host` names somebody else is refused where only programs of this machine are to connect.",
        "convention",
        REBINDING,
        since=FIRST,
    ),
    Requirement(
        "http:session:unknown",
        "Where sessions have ids, a request with one that the proxy does not know is answered with status 404.",
        "convention",
        "The specification asks for 404 only where the session was one of this server. To a server "
        "that was restarted such a session is unknown, too, and only 404 tells its client to begin "
        "anew.",
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "http:session:deleted",
        "A session that its client deleted, if the proxy lets it, is answered with status 404 from then on.",
        "MUST",
        GONE,
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "http:session:header-missing",
        "Where a session is required, a request without its id is answered with status 400.",
        "SHOULD",
        Spec(
            LEGACY,
            SESSIONS,
            "Servers that require a session ID SHOULD respond to requests without an `MCP-Session-Id` header (other "
            "than initialization) with HTTP 400 Bad Request.",
        ),
        since=FIRST,
        until=LEGACY,
        earlier=(
            Spec(
                "2025-06-18",
                "basic/transports#session-management",
                "Servers that require a session ID SHOULD respond to requests without an `Mcp-Session-Id` "
                "header (other than initialization) with HTTP 400 Bad Request.",
                since="2025-03-26",
            ),
        ),
    ),
    Requirement(
        "http:version:unsupported",
        "A request whose `MCP-Protocol-Version` the proxy does not support is answered with status 400.",
        "MUST",
        Spec(
            LEGACY,
            "basic/transports#protocol-version-header",
            "If the server receives a request with an invalid or unsupported `MCP-Protocol-Version`, it MUST respond "
            "with `400 Bad Request`.",
            since="2025-06-18",
        ),
        since="2025-06-18",
        until=LEGACY,
    ),
    Requirement(
        "http:get:stream-or-refused",
        "A GET is answered with an event stream or with status 405.",
        "MUST",
        Spec(
            LEGACY,
            "basic/transports#listening-for-messages-from-the-server",
            "The server MUST either return `Content-Type: text/event-stream` in response to this HTTP GET, or else "
            "return HTTP 405 Method Not Allowed, indicating that the server does not offer an SSE stream at this "
            "endpoint.",
            since="2025-03-26",
        ),
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "http:get:second",
        "When a session has two listening streams, a notification is sent on one of them; or one of them is refused.",
        "MUST",
        Spec(
            LEGACY,
            "basic/transports#multiple-connections",
            "The server MUST send each of its JSON-RPC messages on only one of the connected streams; that is, it MUST "
            "NOT broadcast the same message across multiple streams.",
            since="2025-03-26",
        ),
        since=FIRST,
        until=LEGACY,
    ),
    Requirement(
        "http:method-header:missing",
        "A request without `Mcp-Method` is refused with status 400 and the error `-32020`.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#server-validation",
            "When rejecting a request due to header validation failure, servers MUST return HTTP status "
            "`400 Bad Request` and MUST include a JSON-RPC error response using the following error code:",
        ),
        since=MODERN,
    ),
    Requirement(
        "http:method-header:mismatch",
        "A request whose `Mcp-Method` is not its method is refused with status 400 and the error `-32020`.",
        "MUST",
        MISMATCH,
        since=MODERN,
    ),
    Requirement(
        "http:name-header:mismatch",
        "A request whose `Mcp-Name` is not the name or URI in its body is refused with status 400 and the error "
        "`-32020`.",
        "MUST",
        MISMATCH,
        since=MODERN,
    ),
    Requirement(
        "http:param-header:mirrored",
        "The `Mcp-Param` headers that a tool asks for are checked against the arguments and sent on to a backend over "
        "HTTP, also for a renamed tool.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#custom-headers-from-tool-parameters",
            "When a server's tool definition includes `x-mcp-header` annotations, conforming clients MUST mirror the "
            "designated parameter values into HTTP headers.",
        ),
        since=MODERN,
    ),
    Requirement(
        "http:param-header:unknown",
        "A call with an `Mcp-Param` header that its tool does not ask for is made all the same.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#server-behavior-for-custom-headers",
            "Intermediate servers that do not recognize an `Mcp-Param-{Name}` header MUST forward it and otherwise "
            "ignore it, as required by the [HTTP Semantics RFC][http-semantics].",
        ),
        since=MODERN,
    ),
    Requirement(
        "http:disconnect:serves-on",
        "A client that disconnects during a call harms no other client.",
        "convention",
        "Every revision lets clients disconnect at any time, and none says that others must not suffer from it. "
        "They came to different connections, and on the same server they would not.",
    ),
    Requirement(
        "http:stream:resumed",
        "A client that comes back with `Last-Event-ID` gets the messages that it missed.",
        "MAY",
        Spec(
            LEGACY,
            "basic/transports#resumability-and-redelivery",
            "The server MAY use this header to replay messages that would have been sent after the last event ID, on "
            "the stream that was disconnected, and to resume the stream from that point.",
            since="2025-03-26",
        ),
        since=FIRST,
        until=LEGACY,
        unchecked="It is optional, and the modern revision took it away.",
    ),
    Requirement(
        "http:address:local",
        "A proxy that runs locally listens only on the loopback address, unless told otherwise.",
        "SHOULD",
        Spec(
            MODERN,
            f"{STREAMABLE}#security-%26-endpoint",
            "When running locally, servers SHOULD bind only to localhost (127.0.0.1) rather than all network "
            "interfaces (0.0.0.0).",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/transports#security-warning",
                "When running locally, servers SHOULD bind only to localhost (127.0.0.1) rather than all "
                "network interfaces (0.0.0.0)",
                since="2024-11-05",
            ),
        ),
        unchecked="The target file says on which address the proxy is started, so the harness would check itself.",
    ),
    Requirement(
        "http:authorization:required",
        "A client without a valid token is refused and pointed to the authorization server.",
        "SHOULD",
        Spec(
            MODERN,
            "basic/index#auth",
            "Implementations using an HTTP-based transport SHOULD conform to this specification, whereas "
            "implementations using STDIO transport SHOULD NOT follow this specification, and instead retrieve "
            "credentials from the environment.",
            since="2025-03-26",
        ),
        since=FIRST,
        unchecked="OAuth needs an authorization server beside the fixtures; TLS and tokens are left to the deployment.",
    ),
    Requirement(
        "http:authorization:passthrough",
        "The client's access token is not handed on to the backends.",
        "MUST",
        Spec(
            MODERN,
            "basic/authorization/security-considerations#access-token-privilege-restriction",
            "The MCP server MUST NOT pass through the token it received from the MCP client.",
            since="2025-06-18",
        ),
        since="2025-06-18",
    ),
    Requirement(
        "sse:endpoint:event",
        "The first event of an SSE connection names the endpoint to post to.",
        "MUST",
        Spec(
            "2024-11-05",
            "basic/transports#http-with-sse",
            "When a client connects, the server MUST send an `endpoint` event containing a URI for the client to use "
            "for sending messages.",
        ),
        until="2024-11-05",
    ),
    Requirement(
        "sse:post:accepted",
        "A message posted to that endpoint is answered with status 202.",
        "convention",
        "The revision that defined this transport names no status. The SDKs answer 202, as streamable HTTP has to, "
        "and clients rely on it.",
        until=LEGACY,
    ),
    Requirement(
        "sse:origin:forged",
        "An SSE connection with a foreign `Origin` is refused.",
        "MUST",
        VALIDATED,
        until=LEGACY,
    ),
    Requirement(
        "sse:origin:messages",
        "A message posted with a foreign `Origin` is refused, also for a connection that is open.",
        "MUST",
        VALIDATED,
        until=LEGACY,
    ),
    Requirement(
        "sse:origin:rebound",
        "A message posted by a page whose name was rebound to the proxy's address, so that `Origin` and `Host` agree, "
        "is refused.",
        "MUST",
        VALIDATED,
        until=LEGACY,
    ),
    Requirement(
        "sse:host:foreign",
        "A connection or a posted message whose `Host` names somebody else is refused where only programs of this "
        "machine are to connect.",
        "convention",
        REBINDING,
        until=LEGACY,
    ),
)
