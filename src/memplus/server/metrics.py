"""Figures for Prometheus. No memory, user or key is ever in a label.

Each application has a registry of its own, so that several live in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE", "Metrics", "Seldom"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SELDOM_SECONDS = 60.0
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Seldom:
    """A figure that takes long to look up, looked up once a minute at most.

    Args:
        now: looks it up.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._value = 0.0

    def __call__(self) -> float:
        """The figure, at most a minute old."""
        if time.monotonic() >= self._until:
            self._value = self._now()
            self._until = time.monotonic() + _SELDOM_SECONDS
        return self._value


class Metrics:
    """What a server counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "From a request's arrival to the end of its answer.", "route"
        )
        self.errors = self._counter("errors", "Requests refused or failed, by error code.", "code")
        self.first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "From a question to its answer's first token."
        )
        self.inter_token_seconds = self._histogram(
            "inter_token_seconds", "Between two pieces of an answer.", buckets=_TOKEN_SECONDS
        )
        self.queue_seconds = self._histogram(
            "queue_seconds", "That a question waited for a place among those that run."
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of questions.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens of answers.")
        self.written_tokens = self._counter("written_tokens", "Tokens written into memories.")
        self.write_seconds = self._histogram(
            "write_seconds", "From a text's arrival at the model to its end."
        )
        self.commit_seconds = self._histogram("commit_seconds", "Until a write was on the disk.")
        self.memory_opens = self._counter(
            "memory_opens", "Memories opened, for reading or writing.", "kind"
        )
        self.memory_busy = self._counter("memory_busy", "Refusals since a memory was busy.")
        self.forgotten_writes = self._counter("forgotten_writes", "Writes forgotten on request.")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"memplus_{name}", what, labels, registry=self.registry)

    def _histogram(
        self, name: str, what: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"memplus_{name}", what, labels, registry=self.registry, buckets=buckets)

    def gauge(self, name: str, what: str, now: Callable[[], float]) -> None:
        """Add a figure that is looked up when it is asked for."""
        Gauge(f"memplus_{name}", what, registry=self.registry).set_function(now)

    # What happens -------------------------------------------------------------------------------

    def answered(self, route: str, status: int, seconds: float, code: str = "") -> None:
        """A request was answered.

        Args:
            route: the path as it is declared, so never a name in it.
            status: of HTTP.
            seconds: it took.
            code: of the error that it ended with; empty: none.
        """
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)
        if code:
            self.failed(code)

    def failed(self, code: str) -> None:
        """A request or a tool ended with an error."""
        self.errors.labels(code).inc()
        if code == "memory_busy":
            self.memory_busy.inc()

    def forgotten(self, writes: int) -> None:
        """Writes were forgotten on request."""
        self.forgotten_writes.inc(writes)

    def text(self) -> bytes:
        """All figures in the text format."""
        return generate_latest(self.registry)
