"""Pictures of results. The only file that imports matplotlib, and only its canvas-free half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from memplus.errors import StorageError
from memplus.evaluation.recall import Bin

__all__ = ["draw_recall"]

_MARKERS = "os^D"


def draw_recall(curves: Mapping[str, Sequence[Bin]], *, title: str, path: Path) -> None:
    """Saves accuracy over distance, one line per curve, as a PNG (or what the suffix says).

    Raises:
        StorageError: the picture cannot be written there.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, bins), marker in zip(curves.items(), _MARKERS, strict=False):
        shown = [one for one in bins if one.accuracy is not None]
        middles = [(one.low * one.high) ** 0.5 if one.low else one.high / 2 for one in shown]
        percent = [100 * (one.accuracy or 0) for one in shown]
        axes.plot(middles, percent, marker=marker, label=name)
    axes.set_xscale("log")
    axes.set_ylim(-3, 103)
    axes.set_xlabel("tokens read since the fact was told")
    axes.set_ylabel("right answers, %")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise StorageError(path, reason=error.strerror or str(error)) from error
