"""Pictures of results, by the canvas-free half of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memplus.config import MemoryConfig
from memplus.errors.base import storage_error
from memplus.evaluation.engine.run import LONG_TERM, SHORT_TERM, WITHOUT
from memplus.evaluation.engine.summary import Cell, survival
from memplus.evaluation.probes.confidence import Threshold

__all__ = ["draw_retention", "draw_trade_off"]

_STYLES = {LONG_TERM: ("o", "C0"), SHORT_TERM: ("s", "C1"), WITHOUT: ("", "C2")}
_POINTS = 400


def draw_retention(
    cells: Sequence[Cell], config: MemoryConfig, *, kind: str, title: str, path: Path
) -> None:
    """Saves accuracy over tokens since the note, a line per method, as the papers draw it.

    A band spans the seeds. The dashed line is the chance that a row survives random dropping.

    Args:
        cells: of a run.
        config: of its model's memory.
        kind: the questions to draw.
        title: above the picture.
        path: where to; the suffix says in which format.

    Raises:
        NotFoundError, StorageError: the picture cannot be written there.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    shown = [cell for cell in cells if cell.kind == kind]
    for method in (LONG_TERM, SHORT_TERM):
        _curve(axes, method, [cell for cell in shown if cell.method == method])
    for cell in shown:
        if cell.method == WITHOUT:
            label = f"{WITHOUT} ({100 * cell.accuracy:.1f}%)"
            axes.axhline(100 * cell.accuracy, color="C2", linestyle=":", label=label)
    asked = [max(1.0, cell.distance) for cell in shown if cell.wanted is not None]
    first, last = min(asked, default=1.0), max([*asked, 2.0 * config.chunk_tokens])
    places = [first * (last / first) ** (i / _POINTS) for i in range(_POINTS + 1)]
    chances = [100 * survival(config, place) for place in places]
    axes.plot(places, chances, color="0.4", linestyle="--", label="random dropping, (1 - K/N)^w")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda tokens, _: _short(tokens))
    axes.set_ylim(-3, 103)
    axes.set_xlabel("tokens written since the note")
    axes.set_ylabel("right answers, %")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    _save(figure, path)


def draw_trade_off(thresholds: Sequence[Threshold], *, title: str, path: Path) -> None:
    """Saves what each ``min_confidence`` gains and costs.

    Args:
        thresholds: rising.
        title: above the picture.
        path: where to; the suffix says in which format.

    Raises:
        NotFoundError, StorageError: the picture cannot be written there.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    places = [one.min_confidence for one in thresholds]
    lines = {
        "right, of questions whose answer was told": [one.right for one in thresholds],
        "declined, of questions whose answer was never told": [one.declined for one in thresholds],
        "wrong, of the answers given": [one.wrong for one in thresholds],
    }
    for label, shares in lines.items():
        axes.plot(places, [100 * share for share in shares], label=label)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("min_confidence")
    axes.set_ylabel("%")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise storage_error(path, error) from error


def _curve(axes: Axes, method: str, cells: Sequence[Cell]) -> None:
    if not cells:
        return
    marker, colour = _STYLES[method]
    # On a logarithmic axis right after the note is one token after it.
    places = [max(1.0, cell.distance) for cell in cells]
    axes.plot(places, [100 * one.accuracy for one in cells], marker, ls="-", c=colour, label=method)
    low = [100 * min(one.by_seed.values()) for one in cells]
    high = [100 * max(one.by_seed.values()) for one in cells]
    axes.fill_between(places, low, high, color=colour, alpha=0.2)


def _short(tokens: float) -> str:
    """A number of tokens as people write it: 500, 16k, 1M."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if tokens >= size:
            return f"{tokens / size:g}{unit}"
    return f"{tokens:g}"
