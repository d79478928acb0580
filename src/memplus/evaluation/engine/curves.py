"""Pictures of results, by the canvas-free half of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memplus.evaluation.engine.summary import Cell, Threshold
from memplus.outputs import save_picture
from memplus.systems.protocol import Predicts, System

__all__ = ["draw_retention", "draw_trade_off"]

_MARKERS = "os^Dvphx"
_POINTS = 400


def draw_retention(
    cells: Sequence[Cell], systems: Sequence[System], *, kind: str, title: str, path: Path
) -> None:
    """Saves accuracy over tokens since the note, a line per system, as the papers draw it.

    A band spans the seeds. The dashed line is the chance that something survives random dropping,
    where a system knows it.

    Args:
        cells: of a run.
        systems: of that run.
        kind: the questions to draw.
        title: above the picture.
        path: where to; the suffix says in which format.

    Raises:
        NotFoundError, StorageError: the picture cannot be written there.
    """
    figure, axes = _canvas()
    shown = [cell for cell in cells if cell.kind == kind]
    for index, system in enumerate(systems):
        own = [cell for cell in shown if cell.system == system.name]
        _curve(axes, index, system.title, [cell for cell in own if cell.wanted is not None])
        for cell in own:
            if cell.wanted is None:
                label = f"{system.title} ({100 * cell.accuracy:.1f}%)"
                axes.axhline(100 * cell.accuracy, color=f"C{index}", linestyle=":", label=label)
    theory = next((system for system in systems if isinstance(system, Predicts)), None)
    if theory is not None:
        asked = [max(1.0, cell.distance) for cell in shown if cell.wanted is not None]
        first = min(asked, default=1.0)
        last = max([*asked, 2.0 * max(system.chunk_tokens for system in systems)])
        places = [first * (last / first) ** (i / _POINTS) for i in range(_POINTS + 1)]
        chances = [100 * theory.survival(place) for place in places]
        label = "random dropping, (1 - K/N)^w"
        axes.plot(places, chances, color="0.4", linestyle="--", label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda tokens, _: _short(tokens))
    _finish(figure, axes, ("tokens written since the note", "right answers, %"), title, path)


def draw_trade_off(thresholds: Sequence[Threshold], *, title: str, path: Path) -> None:
    """Saves what each ``min_confidence`` gains and costs.

    Args:
        thresholds: rising.
        title: above the picture.
        path: where to; the suffix says in which format.

    Raises:
        NotFoundError, StorageError: the picture cannot be written there.
    """
    figure, axes = _canvas()
    places = [one.min_confidence for one in thresholds]
    lines = {
        "right, of questions whose answer was told": [one.right for one in thresholds],
        "declined, of questions whose answer was never told": [one.declined for one in thresholds],
        "wrong, of the answers given": [one.wrong for one in thresholds],
    }
    for label, shares in lines.items():
        axes.plot(places, [100 * share for share in shares], label=label)
    _finish(figure, axes, ("min_confidence", "%"), title, path)


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, labels: tuple[str, str], title: str, path: Path) -> None:
    """Name the axes of a picture of shares in percent, and save it."""
    axes.set_ylim(-3, 103)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    save_picture(figure, path)


def _curve(axes: Axes, index: int, title: str, cells: Sequence[Cell]) -> None:
    if not cells:
        return
    marker, colour = _MARKERS[index % len(_MARKERS)], f"C{index}"
    # On a logarithmic axis right after the note is one token after it.
    places = [max(1.0, cell.distance) for cell in cells]
    axes.plot(places, [100 * one.accuracy for one in cells], marker, ls="-", c=colour, label=title)
    low = [100 * min(one.by_seed.values()) for one in cells]
    high = [100 * max(one.by_seed.values()) for one in cells]
    axes.fill_between(places, low, high, color=colour, alpha=0.2)


def _short(tokens: float) -> str:
    """A number of tokens as people write it: 500, 16k, 1M."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if tokens >= size:
            return f"{tokens / size:g}{unit}"
    return f"{tokens:g}"
