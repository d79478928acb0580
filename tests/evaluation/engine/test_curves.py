from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.systems.conftest import SHARED

from memplus.errors import NotFoundError
from memplus.evaluation.engine.curves import draw_retention
from memplus.evaluation.engine.summary import Cell, wilson
from memplus.systems.mplus import MPlusSystem
from memplus.systems.registry import make_systems, usual_systems

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SYSTEMS = usual_systems(SHARED)
LONG_TERM, SHORT_TERM, WITHOUT = "mplus", "memoryllm", "nothing"


def cell(system: str, wanted: int | None, right: int, kind: str = "note") -> Cell:
    seeds = {0: right / 10, 1: right / 20}
    return Cell(
        kind,
        system,
        wanted,
        float(wanted or 0),
        10,
        right,
        wilson(right, 10),
        seeds,
        0,
        0,
        (0, 0, 0),
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
    draw_retention(cells, SYSTEMS, kind="note", title="what was kept", path=path)
    return path.read_bytes()


def test_draws_a_png_and_other_figures_make_another(tmp_path: Path) -> None:
    first = draw(tmp_path / "a.png")
    assert first.startswith(PNG_MAGIC)
    assert draw(tmp_path / "b.png", CELLS[:-2]) != first
    assert draw(tmp_path / "c.png", CELLS[1:]) != first


def test_lines_are_the_systems_and_random_dropping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **named: figures.append(figure))
    draw_retention(CELLS, SYSTEMS, kind="note", title="", path=tmp_path / "a.png")
    axes = figures[0].axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines["M+"].get_xdata()) == [1, 1000, 160_000]
    assert list(lines["M+"].get_ydata()) == [100, 90, 80]
    assert list(lines["MemoryLLM"].get_ydata()) == [90, 10]
    (dropping,) = (line for name, line in lines.items() if "dropping" in name)
    for at, chance in zip(dropping.get_xdata(), dropping.get_ydata(), strict=True):
        assert chance == pytest.approx(100 * MPlusSystem(SHARED).survival(float(at)))
    assert axes.get_xscale() == "log"
    assert any(name.startswith("no memory") for name in lines)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no folder .*absent"):
        draw_retention(
            CELLS, SYSTEMS, kind="note", title="", path=tmp_path / "absent" / "curve.png"
        )


def test_systems_without_a_theory_have_no_curve_of_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **named: figures.append(figure))
    nothing = make_systems(["nothing"], SHARED)
    draw_retention(CELLS, nothing, kind="note", title="", path=tmp_path / "a.png")
    assert [str(line.get_label()) for line in figures[0].axes[0].lines] == ["no memory (0.0%)"]
