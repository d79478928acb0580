"""Figures for Prometheus of all replicas, each under the label ``replica``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

__all__ = ["joined"]


class _Joined(Collector):
    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        """All families, with the samples of every replica."""
        found: dict[str, Metric] = {}
        for replica, text in self._texts.items():
            for one in text_string_to_metric_families(text):
                family = found.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    family.add_sample(
                        sample.name, {**sample.labels, "replica": replica}, sample.value
                    )
        return found.values()


def joined(texts: Mapping[str, str]) -> bytes:
    """What several processes tell, by their names, as one text of Prometheus's own format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Joined(texts))
    return generate_latest(registry)
