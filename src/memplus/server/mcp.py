"""Tools over the Model Context Protocol: over HTTP with the keys of all other routes, and over
standard input and output for one user of this machine.

Every call stands for itself: no session is kept, in the revision that has none and in those before.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import mcp_types as types
from fastapi.security.utils import get_authorization_scheme_param
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

import memplus
from memplus.server.asking import admitted
from memplus.server.bounds import PRINCIPAL, ROUTE
from memplus.server.faults import Fault, RequestFault, fault_of
from memplus.server.naming import told
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.server.tools import SEARCH_AND_FETCH, TOOLS, Caller, Tool
from memplus.server.traces import TOOL

__all__ = ["McpEndpoint", "over_stdio", "tool_server"]

_LOG = logging.getLogger("memplus.server")
_INSTRUCTIONS = (
    "A long memory for facts, preferences and decisions. A memory is a whole container of texts; a "
    "write is one text put into it. Search or ask before answering from what was said earlier; add "
    "what should last. Nothing is written unless add_memory is called."
)
_NO_CHECKS = TransportSecuritySettings(enable_dns_rebinding_protection=False)
_NEXT = {
    "memory_not_found": "Call list_memories to see which there are, or add_memory to make one.",
    "source_not_found": "Call get_memory to see which sources the memory has.",
    "empty_text": "Give at least one visible character.",
    "memory_busy": "Call the tool again in a few seconds.",
    "overloaded": "Call the tool again in a few seconds.",
    "loading": "Call the tool again in a few seconds.",
    "draining": "Call the tool again in a minute.",
    "memory_full": "Forget what is no longer needed, or add to another memory.",
    "too_many_memories": "Add to a memory that is there; list_memories tells which.",
    "context_length_exceeded": "Ask with fewer words.",
    "forbidden": "Ask the user for a key that may do this.",
    "model_mismatch": "Use another memory; list_memories tells which there are.",
    "memory_corrupt": "Tell the user; nothing else can be done from here.",
    "storage_error": "Tell the user; nothing else can be done from here.",
    "internal_error": "Call the tool again once; if it fails again, tell the user.",
}
_ELSE = "Change the arguments and call the tool again."


class _Tools:
    """Answers what is asked of the tools.

    Args:
        services: of the server.
        local: who calls where no request says so, as over standard input.
        memory: meant where neither the call nor the key says which.
    """

    def __init__(self, services: Services, local: Principal | None, memory: str) -> None:
        more = SEARCH_AND_FETCH if services.settings.search_and_fetch else ()
        self._tools = {tool.name: tool for tool in (*TOOLS, *more)}
        self._services = services
        self._local = local
        self._memory = memory

    async def listed(self, context: object, params: object) -> types.ListToolsResult:
        """All of them; they are few."""
        return types.ListToolsResult(tools=[_declared(tool) for tool in self._tools.values()])

    async def called(
        self, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """What a tool gives, or what went wrong and what to do next."""
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r}.")
        if isinstance(context.request, Request):
            context.request.scope[TOOL] = tool.name
        try:
            given = tool.takes.model_validate(params.arguments or {})
            if self._local is not None:  # whoever started this waits for it anyway
                await self._services.loaded()
            result = await tool.call(self._caller(context.request), given)
        except ValidationError as error:
            return _failure(_misread(tool, error))
        except Exception as error:
            fault = fault_of(error)
            if fault.code == "internal_error":
                _LOG.error("tool %s failed", tool.name, exc_info=error)
            self._services.metrics.failed(fault.code)
            return _failure(_explained(fault))
        return _success(result)

    def _caller(self, request: object) -> Caller:
        if isinstance(request, Request):
            who = request.scope[PRINCIPAL]
            memory = told(request.headers, "x-memory-id")
            return Caller(self._services, who, memory or self._memory)
        if self._local is None:
            raise RuntimeError("a call came without a request")
        return Caller(self._services, self._local, self._memory)


def tool_server(
    services: Services, *, local: Principal | None = None, memory: str = ""
) -> Server[dict[str, Any]]:
    """A server of the protocol with the tools on it; see ``_Tools``."""
    tools = _Tools(services, local, memory)
    return Server(
        "memplus",
        title="memplus",
        version=memplus.__version__,
        description="A long memory for language models.",
        instructions=_INSTRUCTIONS,
        on_list_tools=tools.listed,
        on_call_tool=tools.called,
    )


def _declared(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.takes.model_json_schema(),
        output_schema=tool.gives.model_json_schema(mode="serialization"),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.repeatable,
            open_world_hint=False,
        ),
    )


def _success(result: BaseModel) -> types.CallToolResult:
    text = types.TextContent(type="text", text=result.model_dump_json(exclude_none=True))
    return types.CallToolResult(content=[text], structured_content=result.model_dump(mode="json"))


def _failure(message: str) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=message)], is_error=True
    )


def _misread(tool: Tool, error: ValidationError) -> str:
    """What is wrong with arguments; what was sent is not repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    names = ", ".join(tool.takes.model_json_schema()["properties"])
    what = f"{place}: {first['msg']}" if place else str(first["msg"])
    return f"The arguments do not fit: {what}. {tool.name} takes {names}."


def _explained(fault: Fault) -> str:
    message = fault.message
    if fault.code == "memory_not_found":
        message = message.partition(" GET ")[0]
    if fault.code == "memory_not_said":
        return message
    return f"{message} {_NEXT.get(fault.code, _ELSE)}"


class McpEndpoint:
    """The tools as an ASGI application, to be reached by POST.

    ``manager.run()`` must be entered while it serves.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.manager = StreamableHTTPSessionManager(
            tool_server(services),
            stateless=True,
            security_settings=_NO_CHECKS,  # ``_check`` has made them
            max_request_body_size=services.settings.body_bytes,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One message."""
        scope[ROUTE] = "/mcp"
        given = Headers(scope=scope).get("authorization")
        scheme, key = get_authorization_scheme_param(given)
        key = key if scheme.lower() == "bearer" else ""
        await asyncio.to_thread(admitted, scope, self._services, key)
        await self._check(scope)
        await self.manager.handle_request(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        """What the manager would check first and refuse in plain text.

        Raises:
            RequestFault: a page of others asks, the server is not called so, or what comes is not
                called JSON.
        """
        called = Headers(scope=scope).get("host", "")
        checks = TransportSecurityMiddleware(_security(self._services.settings, called))
        refusal = await checks.validate_request(Request(scope), is_post=True)
        if refusal is None:
            return
        if refusal.status_code == HTTPStatus.BAD_REQUEST:
            message = "A message of the protocol is sent as application/json."
            raise RequestFault.invalid(message, "Content-Type", "content_type")
        if refusal.status_code != HTTPStatus.FORBIDDEN:
            raise RequestFault.wrong_host()
        message = "Pages of this origin may not call; whoever runs the server can allow it."
        fault = Fault(403, "permission_error", message, "origin_not_allowed", "Origin")
        raise RequestFault(fault)


def _security(settings: ServerSettings, called: str) -> TransportSecuritySettings:
    """Which ``Host`` and ``Origin`` headers are taken, whatever the port.

    Args:
        settings: of the server.
        called: the ``Host`` of the request. ``HostsMiddleware`` has let it pass, which knows names
            in capitals and patterns such as ``*.example``; the protocol's own check does not.
    """
    if "*" in settings.allowed_hosts:
        return _NO_CHECKS
    hosts = [*settings.allowed_hosts, called]
    own = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*own, *(f"{one}:*" for one in own), *settings.allowed_origins],
    )


async def over_stdio(services: Services, who: Principal, memory: str = "") -> None:
    """Serve the tools over standard input and output until the input ends.

    Args:
        services: not yet running.
        who: calls.
        memory: meant where a call does not say which.

    Raises:
        Exception: at the end, if no call could be answered because the model cannot be loaded.
    """
    server = tool_server(services, local=who, memory=memory)
    async with services.running(), stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
    if services.failure is not None:
        raise services.failure
