from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.trace import StatusCode
from tests.server.calling import call, over_http, refusal
from tests.server.serving import Served, serving

from memplus.errors import ConfigError, LibraryMissingError
from memplus.mplus.model import MPlus
from memplus.server import traces

CANARY = "canary"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans(SpanProcessor):
    """Those that have ended, in order."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: object, parent_context: object = None) -> None:
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def traced(
    tmp_path: Path, nano: MPlus, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    provider = TracerProvider()
    provider.add_span_processor(spans)
    monkeypatch.setattr(traces, "new_tracer", lambda: provider.get_tracer("memplus"))
    with serving(tmp_path, nano, keys=True, traces=True) as served:
        yield served


def taken(spans: Spans) -> list[ReadableSpan]:
    end = time.monotonic() + 30
    while len(spans.ended) < spans.started:  # a client has its answer before the span ends
        assert time.monotonic() < end
        time.sleep(0.01)
    return spans.ended


def test_each_request_is_a_span_by_the_name_of_what_it_does(traced: Served, spans: Spans) -> None:
    said = {"model": "nano", "messages": [{"role": "user", "content": "The gate is red."}]}
    asked: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", "/v1/memories", {"id": "ann"}, "create_memory"),
        ("POST", "/v1/memories/ann/writes", {"text": "The gate is red."}, "update_memory"),
        ("POST", "/v1/memories/ann/search", {"query": "gate"}, "search_memory"),
        ("POST", "/v1/memories/ann/ask", {"question": "What is red?"}, "chat"),
        ("POST", "/v1/chat/completions", said | {"user": "ann"}, "chat"),
        ("POST", "/v1/chat/completions", said | {"user": "ann", "stream": True}, "chat"),
        ("POST", "/v1/memories/ann/forget", {"match": "gate"}, "delete_memory"),
        ("DELETE", "/v1/memories/ann", {}, "delete_memory"),
        ("GET", "/v1/memories", {}, "GET /v1/memories"),
        ("GET", "/v1/memories/ann", {}, "GET /v1/memories/{memory}"),
        ("GET", "/nowhere", {}, "GET -"),
    ]
    with traced.client(traced.key()) as client:
        for method, path, body, _ in asked:
            client.request(method, path, json=body or None, headers={"traceparent": PARENT})
    found = taken(spans)
    assert [one.name for one in found] == [name for *_, name in asked]
    for one, (method, *_, name) in zip(found, asked, strict=True):
        attributes = dict(one.attributes or {})
        assert attributes["http.request.method"] == method
        assert attributes.get("gen_ai.operation.name", name) == name
        assert one.parent is not None
        assert f"{one.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert [dict(one.attributes or {}).get("error.type") for one in found[-2:]] == [
        "memory_not_found",
        "unknown_path",
    ]


def test_tools_are_named_and_what_a_client_calls_a_tool_is_not_repeated(
    traced: Served, spans: Spans
) -> None:
    async def run() -> None:
        async with over_http(traced.url, traced.key()) as client:
            await call(client, "add_memory", text="The gate is red.", memory="ann")
            await call(client, "list_memories")
            await refusal(client, "ask_memory", question="What?", memory=CANARY)

    asyncio.run(run())
    names = [one.name for one in taken(spans)]
    assert [one for one in names if one != "POST /mcp"] == [
        "update_memory",
        "list_memories",
        "chat",
    ]


def test_no_text_no_name_and_no_key_is_in_a_span(traced: Served, spans: Spans) -> None:
    key = traced.key(CANARY)
    body = {"text": CANARY, "source": CANARY, "question": CANARY, "query": CANARY, "match": CANARY}
    body |= {"model": CANARY, "id": CANARY, "messages": [{"role": "user", "content": CANARY}]}
    headers = dict.fromkeys(("X-Memory-Id", "x-request-id", "tracestate", "baggage"), CANARY)
    with traced.client(key) as client:
        paths = [*client.get("/openapi.json").json()["paths"], "/mcp", "/", f"/{CANARY}"]
        for path in paths:
            url = re.sub(r"\{\w+\}", CANARY, path) + f"?after={CANARY}"
            for method in ("GET", "POST", "DELETE", CANARY.upper()):
                client.request(method, url, json=body, headers=headers | {"traceparent": PARENT})
        client.get(f"/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
    found = taken(spans)
    assert len(paths) > 25
    assert len(found) >= 3 * len(paths)  # some servers read no method that they do not know
    told = "".join(one.to_json() for one in found).casefold()
    assert CANARY not in told
    assert key.casefold() not in told
    assert all(one.events == () for one in found)


def test_a_failure_of_the_server_is_one_of_the_span(
    traced: Served, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(traced.services.store, "names", fail)
    with traced.client(traced.key()) as client:
        assert client.get("/v1/memories").status_code == 500
    (span,) = taken(spans)
    assert span.status.status_code is StatusCode.ERROR
    assert CANARY not in span.to_json()


def test_without_being_asked_for_there_are_none(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(traces, "new_tracer", never)
    with serving(tmp_path, nano) as served, served.client() as client:
        assert client.get("/v1/memories").status_code == 200


def test_the_environment_says_where_spans_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[ReadableSpan] = []
    monkeypatch.setattr(ConsoleSpanExporter, "export", lambda _, spans: sent.extend(spans))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with traces.new_tracer().start_as_current_span("seen") as span:
        provider: Any = span._span_processor  # type: ignore[attr-defined]
    provider.force_flush()
    provider.shutdown()
    (told,) = sent
    assert (told.name, told.resource.attributes["service.name"]) == ("seen", "memplus")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    traces.new_tracer()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nobodys")
    with pytest.raises(LibraryMissingError, match="nobodys") as missing:
        traces.new_tracer()
    assert "memplus[otel]" in str(missing.value.hint)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console,otlp")
    with pytest.raises(ConfigError):
        traces.new_tracer()


def test_spans_are_sent_to_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with traces.new_tracer().start_as_current_span("seen") as span:
            provider: Any = span._span_processor  # type: ignore[attr-defined]
        provider.force_flush()
        provider.shutdown()
        server.shutdown()
        thread.join()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert b"seen" in body
