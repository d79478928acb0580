from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from memplus.server.metrics import Metrics
from memplus.server.ray.figures import joined


def test_each_replica_tells_its_own_figures_under_its_name() -> None:
    one, other = Metrics(), Metrics()
    one.answered("/v1/models", 200, 0.2, "")
    one.answered("/v1/models", 200, 0.2, "")
    other.answered("/v1/models", 200, 0.1, "")
    text = joined({"host-1": one.text().decode(), "host-2": other.text().decode()}).decode()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    counted = {
        sample.labels["replica"]: sample.value
        for sample in families["memplus_requests"].samples
        if sample.name == "memplus_requests_total"
    }
    assert counted == {"host-1": 2, "host-2": 1}
    assert families["memplus_request_seconds"].type == "histogram"
    assert text.count("# HELP memplus_requests_total") == 1
    assert joined({}) == b""
