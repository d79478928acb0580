"""Spans of OpenTelemetry, where they are asked for: one for each request, named as generative
systems name them, and with nothing in it that anybody said or that anything is called.

The instrumentations that there are write the path of a request into its span, and with it the name
of a memory. This one knows a route by its placeholders alone.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.propagate import extract
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import memplus
from memplus.errors import ConfigError, LibraryMissingError
from memplus.server.bounds import CODE, ROUTE

__all__ = ["TOOL", "TracesMiddleware", "new_tracer"]

TOOL = "memplus.tool"
"""Where a request's scope holds the name of the tool that it called."""
_MEMORY = "/v1/memories/{memory}"
_OPERATIONS = {
    "POST /v1/chat/completions": "chat",
    "POST /v1/responses": "chat",
    "POST /v1/completions": "text_completion",
    "POST /v1/memories": "create_memory",
    "POST /v1/memories:import": "create_memory",
    f"POST {_MEMORY}/fork": "create_memory",
    f"POST {_MEMORY}/writes": "update_memory",
    f"POST {_MEMORY}/files": "update_memory",
    f"POST {_MEMORY}/rollback": "update_memory",
    f"POST {_MEMORY}/ask": "chat",
    f"POST {_MEMORY}/search": "search_memory",
    f"POST {_MEMORY}/forget": "delete_memory",
    f"DELETE {_MEMORY}": "delete_memory",
    "add_memory": "update_memory",
    "search_memories": "search_memory",
    "search": "search_memory",
    "ask_memory": "chat",
    "forget": "delete_memory",
}
"""A route or a tool -> ``gen_ai.operation.name``."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_EXPORTERS = {"otlp": "otlp_proto_http"}


def new_tracer() -> trace.Tracer:
    """Makes spans and sends them where the variables ``OTEL_*`` of the environment say.

    Raises:
        LibraryMissingError: the SDK, or the exporter that they name, is not installed.
        ConfigError: they name several exporters.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise LibraryMissingError("opentelemetry-sdk", extra="otel") from error
    name = os.environ.get("OTEL_TRACES_EXPORTER", "") or "otlp"
    if "," in name:
        raise ConfigError("OTEL_TRACES_EXPORTER", value=name, reason="name one exporter")
    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "memplus"}))
    provider = TracerProvider(resource=resource)
    if name != "none":
        kind = _EXPORTERS.get(name, name)
        found = entry_points(group="opentelemetry_traces_exporter", name=kind)
        if not found:
            raise LibraryMissingError(f"the exporter {name!r} of OpenTelemetry", extra="otel")
        provider.add_span_processor(BatchSpanProcessor(next(iter(found)).load()()))
    return provider.get_tracer("memplus", memplus.__version__)


class TracesMiddleware:
    """A span around each request, of which the caller's trace is the parent.

    Args:
        app: is traced.
        tracer: makes the spans.
    """

    def __init__(self, app: ASGIApp, tracer: trace.Tracer) -> None:
        self.app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        parent = extract({"traceparent": given}) if given else None
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        about = {"gen_ai.provider.name": "memplus"}
        span = self._tracer.start_span("request", parent, trace.SpanKind.SERVER, about)
        try:
            await self.app(scope, receive, noting)
        finally:
            _describe(span, scope, status)
            span.end()


def _describe(span: trace.Span, scope: Scope, status: int) -> None:
    route = str(scope.get(ROUTE) or getattr(scope.get("route"), "path", "-"))
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    name = str(scope.get(TOOL) or f"{method} {route}")
    operation = _OPERATIONS.get(name, "")
    span.update_name(operation or name)
    span.set_attribute("http.request.method", method)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if operation:
        span.set_attribute("gen_ai.operation.name", operation)
    if scope.get(TOOL):
        span.set_attribute("gen_ai.tool.name", name)
    if scope.get(CODE):
        span.set_attribute("error.type", scope[CODE])
    if status >= 500 or not status:
        span.set_status(trace.StatusCode.ERROR)
