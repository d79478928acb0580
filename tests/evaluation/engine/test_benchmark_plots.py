"""Pictures of benchmarks from the summaries of their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluation.test_benchmark_tables import FOUND

from memplus.errors import ConfigError, NotFoundError
from memplus.evaluation.engine.benchmark_plots import draw_benchmarks


def test_a_picture_is_drawn_of_several_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(FOUND.to_dict()))
    runs = [tmp_path / "a", tmp_path / "b"]
    draw_benchmarks(runs[:1], tmp_path / "one.png")
    draw_benchmarks(runs, tmp_path / "two.png", "perplexity")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG")
    assert two.startswith(b"\x89PNG")
    assert one != two
    with pytest.raises(ConfigError, match="retention has right, perplexity"):
        draw_benchmarks(runs, tmp_path / "three.png", "recall")


def test_what_is_no_run_of_a_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        draw_benchmarks([tmp_path], tmp_path / "x.png")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match="no run of"):
        draw_benchmarks([tmp_path], tmp_path / "x.png")
