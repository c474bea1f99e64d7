"""The admin API: which servers are there, adding and removing them, which tools they have, health; and the page at `/`.

Rules:
- Adding a server runs a command. Where others can connect without a key, adding and removing are refused; `--admin`
  confines both to servers that run elsewhere, or switches all but health off.
- One log line says who added or removed what.
- No secret (`env`, `headers`, the user or query of a URL) is in an answer.
- An error is `{"error": text}`; nothing is changed then. `ERRORS` has the status of each.
- An answer says how far a change reaches: this process, or the configuration file.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from multimcp import __version__
from multimcp.backends.backend import Backend
from multimcp.backends.registry import Registry
from multimcp.config import LARGEST, understand
from multimcp.errors import ConfigError, MultiMCPError, NameInUseError, UnknownServerError, printable
from multimcp.protocol.config import Config, beyond_remote
from multimcp.protocol.document import Document, decode
from multimcp.protocol.message import encode
from multimcp.protocol.names import read_spelling, unknown_spelling
from multimcp.protocol.offer import PROMPTS, RESOURCES, TOOLS

from . import page
from .guard import REMEDY, Access, content_type, error_response
from .reload import ConfigFile

logger = logging.getLogger(__name__)

READ_ONLY = (
    "adding and removing servers is refused where others can connect without an API key: it would let them run "
    f"commands; {REMEDY}"
)

OFF = "the admin API is off (--admin, MULTI_MCP_ADMIN)"
REMOTE_ONLY = "removing a server that has a command is refused (--admin remote-only)"

HERE_ONLY = "in this process only: the configuration file and other replicas do not change"


class Admin:
    """The endpoints of the admin API over `registry`.

    Args:
        keep: the file to which added and removed servers are written.
        access: who may do what.
    """

    def __init__(self, registry: Registry, keep: ConfigFile | None, access: Access) -> None:
        self._registry = registry
        self._keep = keep
        self._access = access
        self._is_off = access.admin == "off"
        self._reach = f"and in {keep.path}" if keep else HERE_ONLY

    def routes(self) -> list[Route]:
        """Where each endpoint is served."""
        endpoints = (
            ("GET", "/mcp_servers", self._list_servers),
            ("POST", "/mcp_servers", self._add_servers),
            ("DELETE", "/mcp_servers/{name:path}", self._remove_server),  # a server may be called `a/b`
            ("GET", "/mcp_tools", self._list_tools),
        )
        return [
            Route("/", self._front_page, methods=["GET"]),
            *(Route(path, _off if self._is_off else does, methods=[method]) for method, path, does in endpoints),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._readiness, methods=["GET"]),
        ]

    async def _front_page(self, request: Request) -> Response:
        backends = {} if self._is_off else self._registry.backends
        servers = {name: _status(backend) for name, backend in backends.items()}
        endpoints = {path: text for path, text in page.ENDPOINTS.items() if not (self._is_off and "_" in path)}
        if "text/html" in request.headers.get("accept", ""):
            shown = page.render(__version__, servers, request.scope.get("root_path", ""), endpoints)
            return HTMLResponse(shown, headers=page.HEADERS)
        states = {name: status["state"] for name, status in servers.items()}
        body = {"name": "multi-mcp", "version": __version__, "endpoints": endpoints, "servers": states}
        return JSONResponse(body, headers={"Vary": "Accept"})

    async def _list_servers(self, request: Request) -> Response:
        servers = {name: _status(backend) for name, backend in self._registry.backends.items()}
        active = [name for name, status in servers.items() if status["state"] == "ready"]
        # Not JSONResponse: a server may call itself NaN.
        return Response(encode({"active_servers": active, "servers": servers}), media_type="application/json")

    async def _add_servers(self, request: Request) -> Response:
        self._check_writable()
        entries, config = await self._configuration(request)
        failed = await self._registry.add_and_wait(config.servers)
        added = [name for name in config.servers if name not in failed]
        if self._keep:
            backends = [self._registry.backends[name] for name in added]
            try:
                await self._keep.write({name: entries[name] for name in added})
            except MultiMCPError:
                await self._registry.take_back(backends)
                raise
            self._registry.note_written({name: config.servers[name] for name in added})
        self._log(request, f"added {', '.join(added) or 'nothing'}{'; failed: ' if failed else ''}{', '.join(failed)}")
        body = {
            "message": f"{len(added)} of {len(config.servers)} servers added" + (f", {self._reach}" if added else ""),
            "added": added,
            "failed": {name: failure.reason for name, failure in failed.items()},
        }
        stderr = {name: failure.stderr for name, failure in failed.items() if failure.stderr}
        details = {key: value for key, value in (("warnings", config.warnings), ("stderr", stderr)) if value}
        return JSONResponse(body | details, 200 if not failed else 207 if added else 502)

    async def _configuration(self, request: Request) -> tuple[dict[str, Any], Config]:
        """The servers in the body of a request: as they are written there, and as models.

        Raises:
            HTTPException: the caller's: it is none, or not allowed.
        """
        # A browser asks first before it sends JSON for a web page, and is not answered.
        if "origin" in request.headers and content_type(request.headers) != "application/json":
            raise HTTPException(415, "the body of a web page's request must be application/json")
        try:
            return await anyio.to_thread.run_sync(self._read, await _body(request))
        except ConfigError as exc:
            raise HTTPException(400, str(exc.at("the body: "))) from None

    def _read(self, body: bytes) -> tuple[dict[str, Any], Config]:
        document = decode(body)
        if self._access.admin == "remote-only" and (problems := beyond_remote(document)):
            raise HTTPException(403, "\n".join(problems))
        config = understand(document, os.environ)
        if self._keep:  # in whose words it will be read again
            understand(Document({"mcpServers": document.entries}), os.environ)
        return document.entries, config

    async def _remove_server(self, request: Request) -> Response:
        self._check_writable()
        name = request.path_params["name"]
        backend = self._registry.find(name)
        if self._access.admin == "remote-only" and backend.config.command is not None:
            raise HTTPException(403, REMOTE_ONLY)
        if self._keep:
            await self._keep.write({}, [name])
            self._registry.note_written({}, [name])
        await self._registry.remove(backend)
        self._log(request, f"removed {name}")
        return JSONResponse({"message": f"server '{name}' removed, {self._reach}"})

    def _check_writable(self) -> None:
        if self._access.is_open:
            raise HTTPException(403, READ_ONLY)

    def _log(self, request: Request, did: str) -> None:
        logger.info("admin API: %s %s", self._access.who(request.scope), printable(did, 1000))

    async def _list_tools(self, request: Request) -> Response:
        asked = request.query_params.get("names")
        spelling = self._registry.spelling if asked is None else read_spelling(asked)
        if spelling is None:
            raise HTTPException(400, unknown_spelling(str(asked)))
        tools: dict[str, list[str]] = {name: [] for name in self._registry.backends}
        names: dict[str, list[str]] = {name: [] for name in self._registry.backends}
        for public, route in self._registry.catalog("legacy", None, spelling).routes[TOOLS].items():
            blank = self._registry.backends[route.server].blank
            tools[route.server].append(blank(route.name))
            names[route.server].append(blank(public))
        return JSONResponse({"tools": tools, "names": names})

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readiness(self, request: Request) -> Response:
        if self._registry.is_starting:
            return JSONResponse({"status": "starting"}, status_code=503)
        return JSONResponse({"status": "ready"})


async def _off(request: Request) -> Response:
    raise HTTPException(404, OFF)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise HTTPException(413, f"the body is too large, {LARGEST:,} bytes are taken")
    return b"".join(parts)


def _status(backend: Backend) -> dict[str, Any]:
    offers = backend.offers
    offer = next(iter(offers.values()), None)
    counts = {kind.key: len(offer.entries(kind)) if offer else 0 for kind in (TOOLS, PROMPTS, RESOURCES)}
    return {
        "state": backend.state,
        "transport": backend.config.transport,
        "era": next(iter(offers), None),
        "protocolVersion": offer.protocol_version if offer else None,
        "serverInfo": _each(offer.server_info, backend.blank) if offer else None,
        **counts,
        "error": backend.error,
        "stderr": backend.stderr.lines,
        "since": backend.since.isoformat(timespec="seconds"),
    }


def _each(value: Any, do: Callable[[str], str], levels: int = 8) -> Any:
    """A JSON value with something done to each of its texts and keys; what is nested deeper is left out."""
    match value:
        case str():
            return do(value)
        case dict() | list() if not levels:
            return None
        case dict():
            return {do(key): _each(item, do, levels - 1) for key, item in value.items()}
        case list():
            return [_each(item, do, levels - 1) for item in value]
    return value


_STATUS: dict[type[Exception], int] = {UnknownServerError: 404, NameInUseError: 409, ConfigError: 500}
"""The HTTP status of our own errors. A `ConfigError` is one of the file to which changes are written."""


async def _error(request: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException):
        return error_response(exc.status_code, exc.detail, exc.headers)
    if isinstance(exc, ClientDisconnect):
        return error_response(400, "the request broke off")
    if (status := _STATUS.get(type(exc))) is not None:
        return error_response(status, str(exc))
    return error_response(500, "Multi-MCP failed; its log says how")


ERRORS: dict[Any, ExceptionHandler] = dict.fromkeys((*_STATUS, HTTPException, ClientDisconnect, Exception), _error)
"""For Starlette: how each error is answered."""
