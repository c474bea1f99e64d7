"""Multi-MCP: one MCP server in front of many.

A client connects once, over stdio, SSE or streamable HTTP, and gets the tools, prompts and resources of every
backend under names that never collide. Data flows one way, and a module imports only from those above it:

    errors      what can go wrong, and whose fault it is
    config      mcpServers JSON -> frozen models; parsing is pure, reading a file is apart
    launch      the environment and the program of a server's process; pure
    naming      public name <-> (server, name); pure
    chain       the proxies in front of this one and behind it, so that none is behind itself; pure
    offer       what one backend offers in one era: pure data, and how its lists are read
    seen        which lists a client has been given, so that it is told of what came since; pure
    streams     MCP messages on a stream of texts
    stderr      what a backend's processes say on stderr: shown, and the last lines kept; pure
    stdio       a backend's process and its standard streams, and our own stdin
    remote      HTTP toward a backend, and the SSE transport over it
    calls       a client's request in flight, and what comes back to the client meanwhile
    bridge      questions carried between the eras
    relay       backend -> client what belongs to no call: who is connected, and what they are told
    connection  one MCP connection to a backend: raw requests, and what the backend sends
    backend     one backend: its connections by era and client, and what it offers
    catalog     what all backends offer, under public names; pure data
    registry    the backends by name: adding, removing, waiting for them
    reload      the configuration file: followed when it changes, and written back
    proxy       client -> backend: find the route, rename, forward, rename back
    guard       who is let in over HTTP: Host, Origin and the API key
    transports  the HTTP endpoints in front of the proxy
    page        the page at /, for people; pure
    admin       /mcp_servers, /mcp_tools, health
    check       `multi-mcp check`: connect to every server once, and tell how it went
    app         the one place where the parts are put together; cli reads the options beside it

    client ─► transports ─► proxy ──route by catalog──► backend ─► MCP server
           ◄─ transports ◄─ relay ◄──────────────────── backend ◄─
    mcp.json ─► config ─► registry ─► catalog           admin ─► registry

The proxy understands the envelope and the fields it routes by, and nothing else: params and results cross as the
plain dicts they arrived as. Two *eras* of MCP are spoken on each side: legacy (the `initialize` handshake, revisions
up to 2025-11-25) and modern (every request carries its own envelope, 2026-07-28).
"""

__version__ = "0.1.0"
