"""Multi-MCP: one MCP server in front of many.

A client connects once, over stdio, SSE or streamable HTTP, and gets the tools, prompts and resources of every
backend under names that never collide. Read the modules in this order; each imports only from those above it:

    errors                  what can go wrong, and whose fault it is

    protocol/             pure: bytes and values in, bytes and values out; no event loop, clock, socket or file
      protocol.limits       how much is too much: the bounds on what clients and servers may cost us
      protocol.pool         what many hold together, bounded: whoever holds most has to let go
      protocol.message      one JSON-RPC message: the envelope is read, the payload stays the bytes that came
      protocol.framing      lines and server-sent events: pieces in, whole messages out, bounded in size
      protocol.secrets      which values of a server's settings are secrets, and how they are blanked
      protocol.document     the text of a configuration: JSON or TOML -> plain data, and where in it what stands
      protocol.foreign      what other clients write into a server's entry -> our words
      protocol.config       servers as they are written -> frozen models
      protocol.extensions   what extends MCP, one table each; who is told of which
      protocol.tasks        a task's public id <-> (server, its id), and where messages name a task
      protocol.eras         ALL that one hop rewrites, on one page: ids, tokens, _meta, headers, envelopes
      protocol.names        public name <-> (server, name)
      protocol.templates    URI templates, read backwards
      protocol.offer        what one backend says of itself and lists
      protocol.entries        what an entry of a list may look like, so that no client refuses the list
      protocol.lists          the lists of one connection: put together from pages, and when they are read again
      protocol.chain        the proxies in front of this one and behind it, so that none is behind itself
      protocol.seen         which lists a client has been given, so that it is told of what came since
      protocol.catalog      what all offer together, each list encoded once; introduction
      protocol.routing      a message of a client -> which backend, and its name there; URIs on their way back
      protocol.calls        who asked, what is in flight; questions, and who may be asked
      protocol.admission    a request at the door: who sends it, and whether it is taken at all
      protocol.outbox       what waits for a client, what is kept for one that resumes, and its answer over HTTP
      protocol.http         the heads of HTTP requests, and why one is refused
      protocol.peer         a client, on one stream of messages or as a session over HTTP
      protocol.watching     who watches which resource, and what is subscribed to for that
      protocol.link         one connection to a backend: what is in flight on it, and whom its messages concern
      protocol.bridge       questions carried between the eras
      protocol.roster         a backend's connections: which one serves whom, and which is to be opened
      protocol.waiting        how long a client waits for backends
      protocol.lifecycle    a backend's states as a table
      protocol.greeting     how a server is greeted: what is tried after what, what is asked, what a failure means
      protocol.target       where a server's URL leads, by which way, and where a redirect may lead
      protocol.stderr       what a backend's processes say on stderr: shown, and the last lines kept

    config                  the configuration file, read

    backends/             toward servers
      backends.launch       the environment and the program of a server's process
      backends.wire         what all transports toward servers have in common
      backends.stdio        a process and its standard streams
      backends.direct       HTTP to a server that is reached directly, where each call comes by
      backends.web          what both transports over HTTP have in common
      backends.http         streamable HTTP
      backends.sse          the older HTTP with SSE
      backends.connection   opening, greeting, listing: a connection is born greeted
      backends.backend      one backend: its connections by era and client, kept up
      backends.registry     the backends by name: adding, removing, waiting for them

    proxy                   client -> backend: find the route, rename, forward, rename back

    clients/              toward clients
      clients.connection    one connection over HTTP, bounded in bytes, time and number
      clients.asgi          what the HTTP endpoints have in common
      clients.http          streamable HTTP, both eras
      clients.sse           the older HTTP with SSE
      clients.stdio         our own standard streams

    serving/              what is around the proxy
      serving.log           our stderr: a thread writes, and nobody waits for whoever reads
      serving.guard         who is let in over HTTP: Host, Origin and the API key
      serving.reload        the configuration file: followed when it changes, and written back
      serving.page          the page at /, for people
      serving.admin         /mcp_servers, /mcp_tools, health
      serving.app           the one place where the parts are put together
      serving.check         `multi-mcp check`: connect to every server once, and tell how it went
      serving.cli           the options

    client ─► clients/ ─► proxy ─ routing, eras ─► backends/ ─► server
           ◄─ clients/ ◄────── calls, link ◄────── backends/ ◄─
    mcp.json ─► config ─► registry ─► catalog       admin ─► registry

Down goes one function call after another, with no task between reading a request and writing it to its backend. Up, a
link takes each message in the order of the wire and hands it to the one call, session or listener that it belongs to;
what belongs to no call goes up as an event. Two *eras* of MCP are spoken on each side: legacy (the `initialize`
handshake, revisions up to 2025-11-25) and modern (every request carries its own envelope, 2026-07-28).
"""

__version__ = "0.1.0"
