"""Pictures of benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from tests.evaluation.test_benchmark_tables import FOUND, figure

from memplus.errors import ConfigError
from memplus.evaluation import benchmark_plots
from memplus.evaluation.benchmark_plots import draw_benchmarks


def test_a_point_is_the_mean_over_kinds_that_share_no_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [replace(figure(value), kind=str(value)) for value in (0.2, 0.4)]
    again = replace(figure(0.9), kind="all", repeats=True)
    other = replace(again, measure="over all")
    system = replace(FOUND.results[0], figures=(*kinds, again, other))
    found = replace(FOUND, results=(system,))
    drawn: list[float] = []

    class Axis(MagicMock):
        def plot(self, places: object, values: float | list[float], **style: object) -> None:
            drawn.extend(values if isinstance(values, list) else [values])

    class Picture(MagicMock):
        def subplots(self, rows: int, columns: int, **_: object) -> list[list[Axis]]:
            return [[Axis() for _ in range(columns)] for _ in range(rows)]

    monkeypatch.setattr(benchmark_plots, "Picture", Picture)
    monkeypatch.setattr(benchmark_plots, "save_picture", lambda *_: None)
    draw_benchmarks([found], tmp_path / "one.png")
    assert drawn == pytest.approx([0.3, 0.3, 0.3])
    drawn.clear()
    draw_benchmarks([found], tmp_path / "one.png", "over all")
    assert drawn == pytest.approx([0.9, 0.9, 0.9])


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
