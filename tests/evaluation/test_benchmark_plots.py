"""Pictures of benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.test_benchmark_tables import FOUND

from memplus.errors import ConfigError
from memplus.evaluation.benchmark_plots import draw_benchmarks


@pytest.mark.long
def test_a_picture_is_drawn_of_several_benchmarks(tmp_path: Path) -> None:
    draw_benchmarks([FOUND], tmp_path / "one.png")
    draw_benchmarks([FOUND, replace(FOUND, task="sort")], tmp_path / "two.png", "perplexity")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG")
    assert two.startswith(b"\x89PNG")
    assert one != two
    with pytest.raises(ConfigError, match="retention has right, perplexity"):
        draw_benchmarks([FOUND], tmp_path / "three.png", "recall")
    with pytest.raises(ConfigError, match="it has no figures"):
        draw_benchmarks([replace(FOUND, results=())], tmp_path / "three.png")
