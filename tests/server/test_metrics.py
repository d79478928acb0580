from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.server.serving import Served, serving
from tests.server.speaking import ask, write

from memplus.errors import StorageError
from memplus.mplus.model import MPlus
from memplus.server.metrics import Metrics

NAMES = {
    "requests": {"route", "status"},
    "request_seconds": {"route"},
    "time_to_first_token_seconds": set(),
    "inter_token_seconds": set(),
    "queue_seconds": set(),
    "requests_running": set(),
    "requests_waiting": set(),
    "prompt_tokens": set(),
    "generation_tokens": set(),
    "written_tokens": set(),
    "write_seconds": set(),
    "commit_seconds": set(),
    "memories_open": set(),
    "memory_opens": {"kind"},
    "memory_busy": set(),
    "resident_bytes": set(),
    "store_bytes": set(),
    "forgotten_writes": set(),
    "errors": {"code"},
}
"""Every figure, and its labels."""


def scraped(served: Served) -> dict[str, Metric]:
    with served.client() as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {one.name: one for one in text_string_to_metric_families(answer.text)}


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """A figure; of a histogram, how many were counted."""
    found = [
        sample.value
        for family in metrics.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


@pytest.fixture
def served(tmp_path: Path, nano: MPlus) -> Iterator[Served]:
    with serving(tmp_path, nano, keys=True) as running:
        yield running


def test_every_figure_is_there_and_grows_with_what_happens(served: Served) -> None:
    with served.client(served.key("acme")) as client:
        write(client, "secret-memory", flush=True)
        ask(client, "secret-memory")
        client.get("/v1/memories/none")
        client.post("/v1/memories/secret-memory/forget", json={"write": 1})
    with served.client("wrong") as client:
        assert client.get("/v1/memories").status_code == 401
    found = scraped(served)
    for name, labels in NAMES.items():
        family = found[f"memplus_{name}"]
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels, name
    ask_route = "/v1/memories/{memory}/ask"
    assert value(found, "memplus_requests_total", route=ask_route, status="200") == 1
    assert value(found, "memplus_request_seconds_count", route=ask_route) == 1
    assert value(found, "memplus_time_to_first_token_seconds_count") == 1
    assert value(found, "memplus_queue_seconds_count") == 1
    assert value(found, "memplus_write_seconds_count") == 1
    assert value(found, "memplus_commit_seconds_count") == 1
    assert value(found, "memplus_written_tokens_total") == 13
    assert value(found, "memplus_prompt_tokens_total") == 16
    assert value(found, "memplus_forgotten_writes_total") == 1
    assert value(found, "memplus_errors_total", code="memory_not_found") == 1
    assert value(found, "memplus_errors_total", code="invalid_api_key") == 1
    assert value(found, "memplus_memories_open") == 1
    assert value(found, "memplus_memory_opens_total", kind="write") == 1
    assert value(found, "memplus_resident_bytes") > 100_000
    assert value(found, "memplus_store_bytes") > 100_000
    assert value(found, "memplus_requests_running") == 0


def test_no_memory_user_or_key_is_in_what_is_scraped(served: Served) -> None:
    key = served.key("secret-tenant")
    with served.client(key) as client:
        write(client, "secret-memory", source="secret-source")
        client.get("/v1/memories/secret-memory")
        client.get("/secret-path/secret-memory")
        client.request("SECRET", "/v1/memories")
    with served.client() as client:
        text = client.get("/metrics").text
    assert not re.search("secret", text, re.IGNORECASE)
    for one in served.services.keys.all():
        assert one.id not in text
        assert one.prefix not in text
    assert key not in text


def test_a_busy_memory_is_counted_apart() -> None:
    metrics = Metrics()
    for code in ("memory_busy", "invalid"):
        metrics.answered("/x", 409, 0.1, code)
    assert metrics.registry.get_sample_value("memplus_memory_busy_total") == 1


def test_two_servers_of_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.forgotten(2)
    assert b"memplus_forgotten_writes_total 2.0" in first.text()
    assert b"memplus_forgotten_writes_total 0.0" in second.text()


def test_a_damaged_memory_hides_no_figure(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served:
        with served.client() as client:
            write(client, "whole")
            (whole,) = tmp_path.glob("memories/*/manifest")
            write(client, "damaged")
        (damaged,) = set(tmp_path.glob("memories/*/manifest")) - {whole}
        damaged.write_bytes(damaged.read_bytes()[:-9])
        assert value(scraped(served), "memplus_store_bytes") == served.services.store.size("whole")


def test_figures_are_told_while_the_disk_refuses(served: Served) -> None:
    def names() -> list[str]:
        raise StorageError("store", reason="gone")

    served.services.store.names = names  # type: ignore[method-assign]
    assert math.isnan(value(scraped(served), "memplus_store_bytes"))
