from pathlib import Path

import pytest
from matplotlib.figure import Figure

from memplus import MemoryConfig
from memplus.errors import NotFoundError
from memplus.evaluation.engine.curves import draw_retention
from memplus.evaluation.engine.run import LONG_TERM, SHORT_TERM, WITHOUT
from memplus.evaluation.engine.summary import Cell, survival, wilson

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
CONFIG = MemoryConfig(
    short_term_tokens=256, retrieved_tokens=64, tokens_per_write=64, chunk_tokens=64
)


def cell(method: str, wanted: int | None, right: int, kind: str = "note") -> Cell:
    seeds = {0: right / 10, 1: right / 20}
    return Cell(
        kind,
        method,
        wanted,
        float(wanted or 0),
        10,
        right,
        wilson(right, 10),
        seeds,
        0,
        0,
        0.1,
        5,
        {},
    )


CELLS = [
    cell(LONG_TERM, 0, 10),
    cell(LONG_TERM, 1000, 9),
    cell(LONG_TERM, 160_000, 8),
    cell(SHORT_TERM, 0, 9),
    cell(SHORT_TERM, 1000, 1),
    cell(WITHOUT, None, 0),
    cell(LONG_TERM, 1000, 3, kind="other"),
]


def draw(path: Path, cells: list[Cell] = CELLS) -> bytes:
    draw_retention(cells, CONFIG, kind="note", title="what was kept", path=path)
    return path.read_bytes()


def test_draws_a_png_and_other_figures_make_another(tmp_path: Path) -> None:
    first = draw(tmp_path / "a.png")
    assert first.startswith(PNG_MAGIC)
    assert draw(tmp_path / "b.png", CELLS[:-2]) != first
    assert draw(tmp_path / "c.png", CELLS[1:]) != first


def test_lines_are_the_methods_and_random_dropping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **named: figures.append(figure))
    draw_retention(CELLS, CONFIG, kind="note", title="", path=tmp_path / "a.png")
    axes = figures[0].axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines[LONG_TERM].get_xdata()) == [1, 1000, 160_000]
    assert list(lines[LONG_TERM].get_ydata()) == [100, 90, 80]
    assert list(lines[SHORT_TERM].get_ydata()) == [90, 10]
    (dropping,) = (line for name, line in lines.items() if "dropping" in name)
    for at, chance in zip(dropping.get_xdata(), dropping.get_ydata(), strict=True):
        assert chance == pytest.approx(100 * survival(CONFIG, float(at)))
    assert axes.get_xscale() == "log"
    assert any(name.startswith(WITHOUT) for name in lines)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no folder .*absent"):
        draw_retention(CELLS, CONFIG, kind="note", title="", path=tmp_path / "absent" / "curve.png")
