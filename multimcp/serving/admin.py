"""The admin API: which servers are there, adding and removing them, which tools they have, health; and the page at `/`.

Rules:
- Adding a server runs a command. Where others can connect without a key it is therefore not to be had (`writable`).
- No secret (`env`, `headers`, the user or query of a URL) is in an answer.
- An error is `{"error": text}`; nothing is changed then.
- An answer says how far a change reaches: this process, or the configuration file.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from multimcp import __version__
from multimcp.backends.backend import Backend
from multimcp.backends.registry import Registry
from multimcp.config import is_program
from multimcp.errors import ConfigError, NameInUseError, UnknownServerError
from multimcp.protocol.config import decode, entries_of, parse
from multimcp.protocol.message import encode
from multimcp.protocol.names import read_spelling, unknown_spelling
from multimcp.protocol.offer import PROMPTS, RESOURCES, TOOLS

from . import page
from .guard import REMEDY, content_type, error_response
from .reload import ConfigFile

READ_ONLY = (
    "adding and removing servers is refused where others can connect without an API key: it would let them run "
    f"commands; {REMEDY}"
)


HERE_ONLY = "in this process only: the configuration file and other replicas do not change"


def routes(registry: Registry, keep: ConfigFile | None, *, writable: bool) -> list[Route]:
    """The routes of the admin API over `registry`.

    Args:
        keep: the file to which is written what is added and removed.
        writable: whether adding and removing is allowed.
    """
    reach = f"and in {keep.path}" if keep else HERE_ONLY

    def writing(endpoint: Callable[[Request], Awaitable[JSONResponse]]) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def guarded(request: Request) -> JSONResponse:
            return await endpoint(request) if writable else error_response(403, READ_ONLY)

        return guarded

    async def front_page(request: Request) -> Response:
        servers = {name: _status(backend) for name, backend in registry.backends.items()}
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(page.render(__version__, servers), headers=page.HEADERS)
        states = {name: status["state"] for name, status in servers.items()}
        body = {"name": "multi-mcp", "version": __version__, "endpoints": page.ENDPOINTS, "servers": states}
        return JSONResponse(body, headers={"Vary": "Accept"})

    async def list_servers(request: Request) -> Response:
        backends = registry.backends
        active = [name for name, backend in backends.items() if backend.state == "ready"]
        servers = {name: _status(backend) for name, backend in backends.items()}
        # Not JSONResponse: a server may call itself NaN.
        return Response(encode({"active_servers": active, "servers": servers}), media_type="application/json")

    async def add_servers(request: Request) -> JSONResponse:
        # A browser asks first before it sends JSON for a web page, and is not answered.
        if "origin" in request.headers and content_type(request.headers) != "application/json":
            return error_response(415, "the body of a web page's request must be application/json")
        try:
            data = decode(await request.body())
            config = parse(data, os.environ, is_program)
        except ConfigError as exc:
            return error_response(400, str(exc.at("the body: ")))
        try:
            failed = await registry.add_and_wait(config.servers)
        except NameInUseError as exc:
            return error_response(409, str(exc))
        added = [name for name in config.servers if name not in failed]
        backends = [registry.backends[name] for name in added]
        if keep:
            try:
                await keep.write({name: entry for name, entry in entries_of(data).items() if name in added})
            except (ConfigError, NameInUseError) as exc:
                await registry.take_back(backends)
                return error_response(409 if isinstance(exc, NameInUseError) else 500, str(exc))
            registry.note_written({name: config.servers[name] for name in added})
        message = f"{len(added)} of {len(config.servers)} servers added" + (f", {reach}" if added else "")
        warnings = {"warnings": config.warnings} if config.warnings else {}
        status = 200 if not failed else 207 if added else 502
        reasons = {name: failure.reason for name, failure in failed.items()}
        said = {name: failure.stderr for name, failure in failed.items() if failure.stderr}
        more = warnings | ({"stderr": said} if said else {})
        return JSONResponse({"message": message, "added": added, "failed": reasons, **more}, status)

    async def remove_server(request: Request) -> JSONResponse:
        name = request.path_params["name"]
        try:
            backend = registry.find(name)
            if keep:
                await keep.write({}, [name])
                registry.note_written({}, [name])
        except UnknownServerError as exc:
            return error_response(404, str(exc))
        except ConfigError as exc:
            return error_response(500, str(exc))
        await registry.remove(backend)
        return JSONResponse({"message": f"server '{name}' removed, {reach}"})

    async def list_tools(request: Request) -> JSONResponse:
        asked = request.query_params.get("names")
        spelling = registry.spelling if asked is None else read_spelling(asked)
        if spelling is None:
            return error_response(400, unknown_spelling(str(asked)))
        tools: dict[str, list[str]] = {name: [] for name in registry.backends}
        names: dict[str, list[str]] = {name: [] for name in registry.backends}
        for public, route in registry.catalog("legacy", None, spelling).routes[TOOLS].items():
            tools[route.server].append(route.name)
            names[route.server].append(public)
        return JSONResponse({"tools": tools, "names": names})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readiness(request: Request) -> JSONResponse:
        if registry.is_starting:
            return JSONResponse({"status": "starting"}, status_code=503)
        return JSONResponse({"status": "ready"})

    return [
        Route("/", front_page, methods=["GET"]),
        Route("/mcp_servers", list_servers, methods=["GET"]),
        Route("/mcp_servers", writing(add_servers), methods=["POST"]),
        # A server may be called `a/b`.
        Route("/mcp_servers/{name:path}", writing(remove_server), methods=["DELETE"]),
        Route("/mcp_tools", list_tools, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", readiness, methods=["GET"]),
    ]


def _status(backend: Backend) -> dict[str, Any]:
    offers = backend.offers
    offer = next(iter(offers.values()), None)
    counts = {kind.key: len(offer.entries(kind)) if offer else 0 for kind in (TOOLS, PROMPTS, RESOURCES)}
    return {
        "state": backend.state,
        "transport": backend.config.transport,
        "era": next(iter(offers), None),
        "protocolVersion": offer.protocol_version if offer else None,
        "serverInfo": offer.server_info if offer else None,
        **counts,
        "error": backend.error,
        "stderr": backend.stderr.lines,
        "since": backend.since.isoformat(timespec="seconds"),
    }
