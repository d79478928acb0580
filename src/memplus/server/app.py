"""The application: routes, one error body, request ids, bounds."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

import memplus
from memplus.errors import MemplusError
from memplus.server import traces
from memplus.server.bounds import CODE, BoundsMiddleware
from memplus.server.faults import Fault, RequestFault, fault_of
from memplus.server.hosts import HostsMiddleware
from memplus.server.mcp import McpEndpoint
from memplus.server.routes import ROUTERS
from memplus.server.services import Services
from memplus.server.traces import TracesMiddleware
from memplus.server.values import ValuesMiddleware

__all__ = ["create_app"]

_LOG = logging.getLogger("memplus.server")
_KIND = re.compile(r"(?:str|int|float|bool|dict|list|constrained-\w+)(?:\[.*\])?")


def create_app(services: Services) -> FastAPI:
    """The server as an ASGI application; its lifespan loads and closes the services."""

    endpoint = McpEndpoint(services)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with services.running(), endpoint.manager.run():
            yield

    app = FastAPI(
        title="memplus",
        version=memplus.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(Route("/mcp", endpoint, methods=["POST"]))
    settings = services.settings
    app.add_middleware(ValuesMiddleware, most=settings.body_values)
    app.add_middleware(HostsMiddleware, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(BoundsMiddleware, services=services)
    if settings.traces:
        app.add_middleware(TracesMiddleware, tracer=traces.new_tracer())
    app.add_exception_handler(RequestFault, _failed)
    app.add_exception_handler(MemplusError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


async def _failed(request: Request, error: Exception) -> JSONResponse:
    fault = fault_of(error)
    request.scope[CODE] = fault.code
    if fault.status >= 500 and not isinstance(error, RequestFault):
        _LOG.error("request %s failed", _id_of(request), exc_info=error)
    answer = _answer(fault)
    if fault.code == "internal_error":  # the framework closes the connection; say so before
        answer.headers["Connection"] = "close"
    return answer


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """What the framework found wrong with a request; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    request.scope[CODE] = "invalid"
    first = error.errors()[0]
    # Bytes are what came without the header: nobody has looked at what they hold.
    if isinstance(error.body, bytes | str | list) and first["type"] != "json_invalid":
        wanted = "Send the body as a JSON object, with `Content-Type: application/json`."
        return _answer(RequestFault.invalid(wanted).fault)
    param = ".".join(_place(first["loc"], error.body)) or None
    return _answer(RequestFault.invalid(f"{param or 'The body'}: {first['msg']}.", param).fault)


def _place(loc: Sequence[str | int], sent: Any) -> list[str]:
    """Where a fault is in what was sent, as whoever sent it knows the place.

    Beside names of fields and places in lists, a fault's ``loc`` has the kinds that a field may be
    of ("stop", "str"), and where a body is no JSON, a number of characters.
    """
    if loc[0] != "body":
        return [str(part) for part in loc[1:]]
    found: list[str] = []
    for part in loc[1:]:
        inside = isinstance(sent, list) if isinstance(part, int) else isinstance(sent, dict)
        kind = isinstance(part, str) and bool(found) and _KIND.fullmatch(part) is not None
        if inside and not (kind and part not in sent):
            found.append(str(part))
            sent = sent[part] if isinstance(part, int) else sent.get(part)
        elif not found and isinstance(part, str):  # of a form
            found.append(part)
    return found


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """The framework's own refusals: an unknown path, a method that a route does not have."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RequestFault):  # while it read the body
        return await _failed(request, error.__cause__)
    kinds = {404: ("not_found_error", "unknown_path"), 405: ("invalid_request_error", "method")}
    kind, code = kinds.get(error.status_code, ("invalid_request_error", "invalid"))
    request.scope[CODE] = code
    answer = _answer(Fault(error.status_code, kind, f"{error.detail}.", code))
    answer.headers.update(error.headers or {})
    return answer


def _answer(fault: Fault) -> JSONResponse:
    return JSONResponse(fault.body, fault.status, headers=fault.headers)


def _id_of(request: Request) -> str:
    return str(request.scope.get("request_id", ""))
