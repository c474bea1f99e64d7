"""The page at `/`, for a person who opens the proxy's address in a browser. Pure: values in, text out.

Rules:
- It says nothing that the admin API does not say.
- It has no scripts and loads nothing, and whatever a server says of itself is escaped: `HEADERS` has the browser hold
  it to that.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Any

ENDPOINTS = {
    "/mcp": "MCP over streamable HTTP",
    "/sse": "MCP over SSE",
    "/mcp_servers": "the servers and their state; POST adds some, DELETE removes one",
    "/mcp_tools": "the tools of each server",
    "/healthz": "whether this process runs",
    "/readyz": "whether the servers had their time to start",
}
"""What is served, and what for; a browser can show all but the first two."""

_FOR_CLIENTS = {"/mcp", "/sse"}
_COUNTS = ("tools", "prompts", "resources")
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-weight: normal; opacity: 0.6; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid #8884; }
.count { text-align: right; }
.error { min-width: 16rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.ready { color: #18794e; }
.failed { color: #d13415; }
@media (prefers-color-scheme: dark) { .ready { color: #3dd68c; } .failed { color: #ff977d; } }
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
"""The HTTP headers that the page is sent with."""


def render(
    version: str,
    servers: Mapping[str, Mapping[str, Any]],
    root: str = "",
    endpoints: Mapping[str, str] = ENDPOINTS,
) -> str:
    """The page as HTML.

    Args:
        version: of Multi-MCP.
        servers: by name, what `GET /mcp_servers` says of each.
        root: what a reverse proxy puts before our paths.
        endpoints: those of `ENDPOINTS` that are there.
    """
    listed = "".join(_endpoint(escape(root) + path, text, path in _FOR_CLIENTS) for path, text in endpoints.items())
    rows = "".join(_server(name, status) for name, status in servers.items())
    none = "None yet: write some into the configuration file, or POST them to /mcp_servers."
    none = none if "/mcp_servers" in endpoints else "Not shown: the admin API is off (--admin)."
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Multi-MCP</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Multi-MCP <small>{escape(version)}</small></h1>
<p>One MCP server in front of many. Give a client the address of this page with <code>/mcp</code> after it, or
<code>/sse</code> if that is what it speaks.</p>
<h2>Servers</h2>
<div class="wide">
<table>
<tr><th>name<th>state<th>transport<th>tools<th>prompts<th>resources<th>error</tr>
{rows or f'<tr><td colspan="7">{none}</tr>'}
</table>
</div>
<h2>Endpoints</h2>
<table>
{listed}
</table>
<h2>Documentation</h2>
<p><code>README.md</code> and <code>docs/</code> of Multi-MCP: clients, configuration, the admin API, security. What MCP
is: <a href="https://modelcontextprotocol.io/">modelcontextprotocol.io</a></p>
</body>
</html>
"""


def _endpoint(path: str, text: str, is_for_clients: bool) -> str:
    code = f"<code>{path}</code>"
    shown = code if is_for_clients else f'<a href="{path}">{code}</a>'
    return f"<tr><td>{shown}<td>{escape(text)}</tr>\n"


def _server(name: str, status: Mapping[str, Any]) -> str:
    state = escape(status["state"])
    counts = "".join(f'<td class="count">{status[key]}' for key in _COUNTS)
    return (
        f'<tr><td>{escape(name)}<td class="{state}">{state}<td>{escape(status["transport"])}{counts}'
        f'<td class="error">{escape(status["error"] or "")}</tr>\n'
    )
