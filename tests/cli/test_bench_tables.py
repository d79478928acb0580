"""Benchmarks on a terminal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console
from tests.evaluation.test_benchmark_tables import FOUND

from memplus.cli.bench_tables import show_benchmark, show_list


def test_figures_and_costs_are_shown() -> None:
    out = StringIO()
    show_benchmark(Console(file=out, width=100), FOUND, Path("runs/x"))
    assert "50 (40-60)" in out.getvalue()
    assert "it gives no likelihoods" in out.getvalue()


def test_what_is_missing_is_shown() -> None:
    out = StringIO()
    system = {"name": "bm25", "title": "BM25", "options": ["k"], "missing": "bm25s"}
    need = {"path": "data/x", "what": "a set", "licence": "MIT", "required": True, "there": False}
    use = need | {"path": "data/y", "required": False}
    task = {"name": "sort", "title": "order", "options": [], "needs": [need, use]}
    show_list(Console(file=out, width=100), [system], [task])
    assert "bm25: BM25 [k] -- missing: bm25s" in out.getvalue()
    assert "data/x (a set, MIT): MISSING" in out.getvalue()
    assert "data/y (a set, MIT): not there, and can be done without" in out.getvalue()
