"""Questions of a backend to its user: sampling, elicitation, roots.

A live request in legacy, part of an `input_required` result in modern. Sampling and roots are deprecated in 2026-07-28,
but still part of it.
"""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import NEGOTIATED_ONLY, RESPONSES, RESPONSES_EARLIER

ANSWERS = Spec(
    MODERN,
    "basic/patterns/mrtr#inputresponses",
    "Keys correspond to the keys in the `InputRequests` map; values are the client's result for each request",
)
UNDECLARED = Spec(
    MODERN,
    "basic/patterns/mrtr#server-requirements-basic-workflow",
    "Servers MUST NOT send an `inputRequests` that the client has not declared support for in its capabilities.",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "sampling:request:whole",
        "A backend's sampling request reaches the client with every parameter that MCP knows as it was sent.",
        "SHOULD",
        Spec(
            MODERN,
            "client/sampling#creating-messages",
            "To request a language model generation during the processing of a client request, servers send an "
            "`InputRequiredResult` containing a `sampling/createMessage` request:",
        ),
        earlier=(
            Spec(
                LEGACY,
                "client/sampling#creating-messages",
                "To request a language model generation, servers send a `sampling/createMessage` request:",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "sampling:answer:whole",
        "The client's answer to a sampling request reaches the backend with all that MCP knows as it was given.",
        "SHOULD",
        ANSWERS,
        earlier=(
            Spec(
                LEGACY,
                "schema#createmessageresult",
                "The client's response to a sampling/createMessage request from the server.",
            ),
            Spec(
                "2025-06-18",
                "schema#createmessageresult",
                "The client's response to a sampling/create_message request from the server.",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "sampling:answer:error",
        "The client's error in answer to a sampling request reaches the backend with its code.",
        "SHOULD",
        Spec(
            LEGACY,
            "client/sampling#error-handling",
            "Clients SHOULD return errors for common failure cases: User rejected sampling request: `-1`",
        ),
        until=LEGACY,
        earlier=(
            Spec(
                "2025-06-18",
                "client/sampling#error-handling",
                "Clients SHOULD return errors for common failure cases:",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "sampling:capability:absent",
        "A client that declared no sampling gets no sampling request, and its call is answered.",
        "MUST",
        UNDECLARED,
        since="2025-06-18",
        earlier=(NEGOTIATED_ONLY,),
    ),
    Requirement(
        "elicitation:form:whole",
        "A backend's form reaches the client, message and schema as they were sent, and the content of the answer "
        "reaches the backend.",
        "SHOULD",
        Spec(
            MODERN,
            "client/elicitation#requested-schema",
            "The `requestedSchema` parameter allows servers to define the structure of the expected response using a "
            "restricted subset of JSON Schema.",
            since=LEGACY,
        ),
        since=LEGACY,
    ),
    Requirement(
        "elicitation:form:decline",
        "A declined form reaches the backend as declined.",
        "SHOULD",
        Spec(
            MODERN,
            "client/elicitation#response-actions",
            'Decline (`action: "decline"`): User explicitly declined the request',
            since="2025-06-18",
        ),
        since="2025-06-18",
    ),
    Requirement(
        "elicitation:form:cancel",
        "A form that the user dismissed reaches the backend as cancelled.",
        "SHOULD",
        Spec(
            MODERN,
            "client/elicitation#response-actions",
            'Cancel (`action: "cancel"`): User dismissed without making an explicit choice',
            since="2025-06-18",
        ),
        since="2025-06-18",
    ),
    Requirement(
        "elicitation:url:whole",
        "A backend's request to open a URL reaches the client with its mode, message and URL.",
        "MUST",
        Spec(
            MODERN,
            "client/elicitation#url-mode-elicitation-requests",
            'URL mode elicitation requests MUST specify `mode: "url"`, a `message`, and include these additional '
            "parameters:",
            since=LEGACY,
        ),
        since="2025-11-25",
    ),
    Requirement(
        "elicitation:capability:absent",
        "A client that declared no elicitation, or not the mode, gets no such request, and its call is answered.",
        "MUST",
        Spec(
            MODERN,
            "client/elicitation#capabilities",
            "Servers MUST NOT send elicitation requests with modes that are not supported by the client.",
            since=LEGACY,
        ),
        since="2025-06-18",
        earlier=(NEGOTIATED_ONLY,),
    ),
    Requirement(
        "elicitation:url:completed",
        "The notification that a URL elicitation is complete reaches the client that was asked, and no other.",
        "MUST",
        Spec(
            LEGACY,
            "client/elicitation#completion-notifications-for-url-mode-elicitation",
            "MUST only send the notification to the client that initiated the elicitation request.",
        ),
        since="2025-11-25",
        until="2025-11-25",
        unchecked="One revision only had this notification; the next one took it away.",
    ),
    Requirement(
        "roots:list:whole",
        "A backend that asks for roots gets those of the client, as the client gave them.",
        "SHOULD",
        ANSWERS,
        earlier=(
            Spec(
                LEGACY,
                "schema#listrootsresult",
                "This result contains an array of Root objects, each representing a root directory or file "
                "that the server can operate on.",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "roots:changed:reaches",
        "A client's notification that its roots changed reaches the backends.",
        "MUST",
        Spec(
            LEGACY,
            "client/roots#root-list-changes",
            "When roots change, clients that support `listChanged` MUST send a notification:",
            since="2024-11-05",
        ),
        until=LEGACY,
    ),
    Requirement(
        "questions:client:right",
        "With two clients connected, a question reaches only the one whose call is in flight.",
        "MUST",
        Spec(
            MODERN,
            "client/elicitation#security-considerations",
            "Servers MUST bind elicitation requests to the client and user identity",
            since=LEGACY,
        ),
        since="2025-11-25",
    ),
    Requirement(
        "questions:undeclared:answered",
        "A backend that asks during a call what the client did not declare gets an answer, the call ends, and both the "
        "session and the backend go on.",
        "SHOULD",
        RESPONSES,
        earlier=RESPONSES_EARLIER,
        until=LEGACY,
    ),
    Requirement(
        "questions:undeclared:kept",
        "A result in which a backend asks what the client did not declare does not reach the client.",
        "MUST",
        UNDECLARED,
        since=MODERN,
    ),
    Requirement(
        "questions:client:capabilities",
        "A backend sees the capabilities that the client declared for the request, and none that the proxy invented.",
        "SHOULD",
        Spec(
            MODERN,
            "schema#requestmetaobject-iomodelcontextprotocolclientcapabilities",
            "The client's capabilities for this specific request.",
        ),
        since=MODERN,
    ),
    Requirement(
        "questions:fields:vendor",
        "Fields and `_meta` that no revision knows reach the client in a question, and the backend in its answer.",
        "convention",
        "No revision says what a proxy passes on. Questions and answers are open by schema, so vendors and later "
        "revisions add fields; dropping them delays every one of them by a release of the proxy.",
    ),
)
