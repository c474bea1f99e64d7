"""Extensions: Apps, Tasks, Skills, and those that nobody knows, in front of several servers.

Whether a proxy supports an extension is its own affair. What it does not declare is not asked of it; that it declares
what its servers have is a convention.
"""

from .model import LEGACY, MODERN, Extension, Requirement, Spec

VERSIONING = "basic/versioning#extension-negotiation"
STREAMABLE = "basic/transports/streamable-http"
UNSAID = "No revision knows of several servers behind one. "
OFFERED = "No revision asks it of whoever stands between. "


def apps(section: str, quote: str) -> Extension:
    return Extension("2026-01-26", f"apps.mdx#{section}", quote, repository="ext-apps")


def tasks(section: str, quote: str) -> Extension:
    return Extension("draft", f"tasks.md#{section}", quote, repository="ext-tasks")


def skills(section: str, quote: str) -> Extension:
    return Extension("stable", f"skills.mdx#{section}", quote, repository="ext-skills")


PAGE = apps("behavior", "Resource MUST exist on the server")
UNKNOWN_TASK = "protocol-errors"

DECLARING = (
    Requirement(
        "extensions:declared:union",
        "Each extension that a server declares is declared to clients.",
        "convention",
        UNSAID + "A client that is not told of an extension does not use it, as it would directly.",
    ),
    Requirement(
        "extensions:declared:settings",
        "The settings of an extension are those that its servers declare, put together.",
        "convention",
        UNSAID + "A client does not ask for what a setting does not promise, such as reading folders of skills.",
    ),
    Requirement(
        "extensions:declared:of-clients",
        "A call reaches the server with the extensions that the client declared in it, whatever their names.",
        "convention",
        OFFERED + "The server would do without what its client can do.",
        since=MODERN,
    ),
    Requirement(
        "extensions:unknown:method",
        "A request of an extension that nobody knows reaches the server that declares it.",
        "convention",
        UNSAID + "Extensions are made every month, and a proxy that lets only known ones pass is in the way of all "
        "others.",
    ),
)

APPS = (
    Requirement(
        "extensions:apps:tool-meta",
        "What a tool says of its page is listed as its server says it, but for the page's URI.",
        "SHOULD",
        apps("resource-discovery", "Tools are associated with UI resources through the `_meta.ui` field:"),
    ),
    Requirement(
        "extensions:apps:page",
        "The page that a tool names is read from the server of the tool.",
        "MUST",
        PAGE,
    ),
    Requirement(
        "extensions:apps:page-unlisted",
        "The page that a tool names is read from the server of the tool though no list has it.",
        "MUST",
        PAGE,
    ),
    Requirement(
        "extensions:apps:page-collision",
        "Two tools of two servers that name one URI have each the page of its own server.",
        "SHOULD",
        apps("resource-discovery", "URI of UI resource for rendering tool results"),
    ),
    Requirement(
        "extensions:apps:deprecated-key",
        "A page that a tool names under `ui/resourceUri` is read from the server of the tool.",
        "convention",
        "The key is deprecated, and the specification says no more of it. But servers have it, and hosts look there.",
    ),
    Requirement(
        "extensions:apps:page-uri",
        "The contents of a page have the URI under which it was asked for.",
        "SHOULD",
        apps("ui-resource-format", "Matching UI resource URI"),
    ),
    Requirement(
        "extensions:apps:page-type",
        "A page arrives with its MIME type.",
        "MUST",
        apps(
            "content-requirements",
            "`mimeType` MUST be `text/html;profile=mcp-app` (other types reserved for future extensions)",
        ),
    ),
    Requirement(
        "extensions:apps:page-meta",
        "A page arrives with what its server says of it for the host.",
        "SHOULD",
        apps("ui-resource-format", "Servers declare which external origins their UI needs to access."),
    ),
    Requirement(
        "extensions:apps:shown",
        "The page of a tool that its server shows to clients with Apps is shown to such a client.",
        "convention",
        OFFERED + "Servers should ask for the extension before they name pages, and directly they would name them.",
    ),
    Requirement(
        "extensions:apps:own-tool",
        "A tool that one server alone has can be called by the name that the server gives it.",
        "convention",
        UNSAID + "The page of an app calls its server's tools, and knows them by no other name.",
    ),
    Requirement(
        "extensions:apps:own-tool-ambiguous",
        "A call by a name that two servers have for a tool, and the proxy for none, is answered with an error.",
        "convention",
        UNSAID + "A guess would call a tool that nobody meant.",
    ),
)

TASKS = (
    Requirement(
        "extensions:tasks:created",
        "A client that declares Tasks gets the task that a server begins for its call.",
        "MUST",
        tasks(
            "polymorphic-results",
            'Servers MUST set `resultType` to `"task"` when returning a `CreateTaskResult` so that clients can '
            "distinguish it from a standard result.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:result",
        "`tasks/get` brings the result of a task that has ended, under the id that the client was given.",
        "MUST",
        tasks(
            "response",
            "If the status is `completed`, the server MUST return a `Task` object with status `completed` and a "
            "`result` field containing the final result of the task.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:own",
        "Two tasks of two servers are told apart, though the servers gave them the same id.",
        "SHOULD",
        tasks("tasks", "Each task is uniquely identifiable by a server-generated task ID."),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:input",
        "What a task asks of its user reaches the client.",
        "MUST",
        tasks(
            "response",
            "The `inputRequests` field MUST contain all outstanding requests from the server to the client that need "
            "to be fulfilled before the task can proceed.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:update",
        "The answers to what a task asks reach its server, and are acknowledged.",
        "MUST",
        tasks("response-1", "On success, the server MUST acknowledge the request with an empty result."),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:cancel",
        "The request to cancel a task reaches the server of that task, and is acknowledged.",
        "MUST",
        tasks("response-2", "On success, the server MUST acknowledge the request with an empty result."),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:unknown",
        "`tasks/get` for a task that nobody knows is refused with -32602.",
        "MUST",
        tasks(UNKNOWN_TASK, "Servers MUST return this error for `tasks/get`."),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:unknown-otherwise",
        "`tasks/update` and `tasks/cancel` for a task that nobody knows are refused with -32602.",
        "SHOULD",
        tasks(UNKNOWN_TASK, "Servers SHOULD return this error for `tasks/update` and `tasks/cancel`."),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:undeclared-call",
        "A client that does not declare Tasks gets a result and no task, whatever others declare.",
        "MUST",
        tasks(
            "capability-negotiation",
            "A server MUST NOT return `CreateTaskResult` to a client that did not include the extension capability on "
            "its request, regardless of prior declarations.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:legacy-client",
        "A legacy client gets no task of 2026-07-28, though it declares Tasks and the server is modern.",
        "MUST",
        tasks(
            "capability-negotiation",
            "A server MUST NOT return `CreateTaskResult` to a client that did not include the extension capability on "
            "its request, regardless of prior declarations.",
        ),
        until=LEGACY,
    ),
    Requirement(
        "extensions:tasks:required",
        "The error of a tool that needs Tasks reaches a client without, and says what is missing.",
        "MUST",
        tasks(
            "capability-negotiation",
            "If a server is unable to service a request to a client that does not declare this extension capability "
            "without returning `CreateTaskResult`, the server MUST return an error with the code `-32021` (Missing "
            "Required Client Capability), indicating the required extension in the error response:",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:undeclared-methods",
        "`tasks/get`, `tasks/update` and `tasks/cancel` of a client that does not declare Tasks are refused with "
        "-32021.",
        "MUST",
        tasks(
            UNKNOWN_TASK,
            "Servers MUST return this error for non-declaring clients issuing `tasks/get`, `tasks/update`, and "
            "`tasks/cancel` requests.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:undeclared-listen",
        "A client that does not declare Tasks, and wants to be told of tasks, is refused with -32021.",
        "MUST",
        tasks(
            UNKNOWN_TASK,
            "Servers MUST return this error for non-declaring clients requesting task notifications on "
            "`subscriptions/listen`.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:acknowledged",
        "The tasks that a listening client is promised to be told of are named by the ids that it asked for.",
        "SHOULD",
        tasks(
            "task-status-notifications",
            "In its acknowledgement notification, the server includes the list of task IDs it has agreed to send task "
            "status notifications for, if any:",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:told",
        "A client that listens for a task is told when it ends, if the server of the task tells.",
        "convention",
        OFFERED + "Servers may tell, and a client that is not told asks again and again.",
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:told-whole",
        "What a client is told of a task is the task as `tasks/get` would give it.",
        "SHOULD",
        tasks(
            "task-status-notifications",
            "Each notification carries a complete `DetailedTask` for the current status, identical to what `tasks/get` "
            "would have returned at that moment.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:told-only",
        "A client is told of no task but those for which it listens.",
        "MUST",
        Spec(
            MODERN,
            "basic/patterns/subscriptions#opening-a-stream",
            "The server MUST NOT send notification types the client has not explicitly requested.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:name-sent",
        "A server over streamable HTTP gets the task's id in `Mcp-Name`.",
        "MUST",
        tasks(
            "streamable-http-routing-headers",
            "When `tasks/get`, `tasks/update`, or `tasks/cancel` is sent over the Streamable HTTP transport, the "
            "client MUST set the `Mcp-Name` header to the value of `params.taskId`.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:tasks:name-checked",
        "A request about a task whose `Mcp-Name` is another task's is refused with 400 and -32020.",
        "MUST",
        Spec(
            MODERN,
            f"{STREAMABLE}#server-validation",
            "Servers that process the request body MUST reject requests where the values specified in the headers do "
            "not match the corresponding values in the request body.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:augmented:own",
        "A task of 2025-11-25 is asked for at the server that began it.",
        "MUST",
        Spec(
            LEGACY,
            "basic/utilities/tasks#result-retrieval",
            "When a receiver receives a `tasks/result` request for a task in a terminal status (`completed`, `failed`, "
            "or `cancelled`), it MUST return the final result of the underlying request, whether that is a successful "
            "result or a JSON-RPC error.",
        ),
        since=LEGACY,
        until=LEGACY,
    ),
    Requirement(
        "extensions:augmented:status",
        "A client is told of no task of 2025-11-25 that another began.",
        "convention",
        "The revision says only that whoever began a task is told of it. Another client is not concerned, and what it "
        "is told may be a secret.",
        since=LEGACY,
        until=LEGACY,
    ),
)

SKILLS = (
    Requirement(
        "extensions:skills:methods",
        "Skills can be listed and got where they are declared.",
        "MUST",
        skills(
            "capability-negotiation",
            "A server that declares this extension MUST implement [`skills/list`](#listing-skills) and "
            "[`skills/get`](#getting-a-skill).",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:legacy",
        "Where skills are declared to a legacy client, it can list, get and read them, too.",
        "convention",
        "The extension is specified for 2026-07-28. But it only adds methods, and servers offer them to anybody.",
        until=LEGACY,
    ),
    Requirement(
        "extensions:skills:listed",
        "Each skill that a server lists is listed, all pages together.",
        "convention",
        "A listing may always be partial. But directly the client would be told of the skill.",
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:apart",
        "Two skills of two servers under one URI are listed under two.",
        "SHOULD",
        skills(
            "skill-uris",
            "Two connected servers can both serve `skill://refunds/SKILL.md`, and those are two unrelated skills.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:digests",
        "What is read at each URI that a skill's entry names is what the entry says, in digest and size.",
        "SHOULD",
        skills(
            "integrity-and-verification",
            "Each `SkillResource` in a skill's `resources` carries the digest of the file at its `uri`.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:name",
        "The last folder in the URI of a skill is its name.",
        "MUST",
        skills(
            "frontmatter",
            "The final `<skill-path>` segment of the entry's `uri` MUST equal `frontmatter.name`, per "
            "[Resource Mapping](#resource-mapping).",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:within",
        "Each URI that a skill's entry names is of its SKILL.md or in its folder.",
        "MUST",
        skills("resources", "Each `uri` MUST be the skill's `SKILL.md` or a file within the skill's directory."),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:frontmatter",
        "The frontmatter in a skill's entry is that of its SKILL.md.",
        "MUST",
        skills(
            "frontmatter",
            "The `frontmatter` object MUST be identical in content to the frontmatter of the `SKILL.md` it describes.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:get",
        "`skills/get` gives for each listed URI the entry that is listed.",
        "SHOULD",
        skills(
            "response-1",
            "The `skill` object is a `Skill` entry, identical in shape and meaning to an entry of `skills/list`, under "
            "the same rules.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:unlisted",
        "A skill that no list names can be got.",
        "MUST",
        skills(
            "response-1",
            "A server MUST answer for every skill it serves, whether or not that skill appears in its `skills/list` "
            "result.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:unknown",
        "`skills/get` for a URI that is no skill's is refused with -32602.",
        "MUST",
        skills(
            "response-1",
            "If the URI does not identify a skill the server serves, the server MUST return error `-32602` (Invalid "
            "params), the same code `resources/read` uses for unknown resources.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:hints",
        "The list of skills, and an entry that is got, say how long they hold and for whom.",
        "MUST",
        skills("response", "`ListSkillsResult` extends `CacheableResult`, so `ttlMs` and `cacheScope` are REQUIRED"),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:directory",
        "Where it is declared that folders can be read, the folder of a skill can be, and what is in it.",
        "MUST",
        skills(
            "reading-directories",
            "A server that declares `directoryRead` MUST support the method for every directory within the skill "
            "namespaces it serves as individual files.",
        ),
        since=MODERN,
    ),
    Requirement(
        "extensions:skills:replaced",
        "When a server is removed, the URI of its skill does not become another server's.",
        "MUST",
        skills(
            "names",
            "An MCP-served skill MUST NOT silently shadow, or be silently substituted for, a same-named skill from any "
            "other origin, whether another server or the host's own filesystem skills.",
        ),
        since=MODERN,
    ),
)

HEADERS = (
    Requirement(
        "extensions:headers:unknown",
        "A header `Mcp-Param-*` that no tool knows reaches a server over streamable HTTP.",
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
        "extensions:headers:changed",
        "A call that lacks a header which its tool has begun to want is made all the same.",
        "SHOULD",
        Spec(
            MODERN,
            f"{STREAMABLE}#client-behavior",
            "If the server rejects a request with a `HeaderMismatch` error because required `Mcp-Param-*` headers are "
            "missing or do not match the body, the client SHOULD call `tools/list` to check for changes to the tool's "
            "`inputSchema`, then retry the original request with the appropriate headers.",
        ),
        since=MODERN,
    ),
)

REQUIREMENTS: tuple[Requirement, ...] = (*DECLARING, *APPS, *TASKS, *SKILLS, *HEADERS)
