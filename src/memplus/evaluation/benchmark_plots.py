"""Pictures of benchmarks: quality against length, against bytes and against seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from memplus.errors import ConfigError
from memplus.evaluation.benchmark import Benchmark
from memplus.evaluation.benchmark_tables import names_of
from memplus.evaluation.engine.figures import Figure
from memplus.outputs import save_picture

__all__ = ["draw_benchmarks"]

_MARKERS = "os^Dvphx*P<>"

Style = dict[str, Any]
"""Of what is drawn of one system."""


def draw_benchmarks(found: Sequence[Benchmark], path: Path, measure: str | None = None) -> None:
    """Saves three pictures side by side for each benchmark.

    All kinds of its questions count alike: a point is the mean over the kinds, but for those that
    repeat the questions of others.

    Args:
        found: at least one.
        path: where to; see ``save_picture``.
        measure: which figures; None: the first measure of each.

    Raises:
        ConfigError: one has no figure of that measure, or the suffix names no format.
        StorageError: the picture cannot be written there.
    """
    picture = Picture(figsize=(15, 4.5 * len(found)), layout="constrained")
    grid = picture.subplots(len(found), 3, squeeze=False)
    systems = dict.fromkeys(result.system for one in found for result in one.results)
    styles = {name: _style(index) for index, name in enumerate(systems)}
    for axes, one, name in zip(grid, found, names_of(found), strict=True):
        _draw(axes, one, measure, styles)
        axes[0].set_title(f"{name}, {one.model}")
    save_picture(picture, path)


def _style(index: int) -> Style:
    """The same of a system in all pictures; no two of the first sixty are alike."""
    return {"marker": _MARKERS[index % len(_MARKERS)], "color": f"C{index % 10}"}


def _apart(figures: Sequence[Figure]) -> list[Figure]:
    """Those that share no question; measures that all kinds repeat stay."""
    apart = [one for one in figures if not one.repeats]
    measures = {one.measure for one in apart}
    return [*apart, *(one for one in figures if one.repeats and one.measure not in measures)]


def _draw(
    axes: Sequence[Axes], found: Benchmark, measure: str | None, styles: Mapping[str, Style]
) -> None:
    results = [(one, _apart(one.figures)) for one in found.results if one.figures]
    known = list(dict.fromkeys(figure.measure for _, apart in results for figure in apart))
    if not known:
        raise ConfigError("run", value=found.task, reason="it has no figures")
    chosen = measure or known[0]
    if chosen not in known:
        reason = f"{found.task} has {', '.join(known)}"
        raise ConfigError("measure", value=measure, reason=reason)
    for one, apart in results:
        own = [figure for figure in apart if figure.measure == chosen]
        by_length: dict[int | None, list[float]] = defaultdict(list)
        for figure in own:
            by_length[figure.wanted].append(figure.value)
        style = styles[one.system]
        places = sorted(at for at in by_length if at is not None)
        means = [fmean(by_length[at]) for at in places]
        if places:
            axes[0].plot([max(1, at) for at in places], means, **style)
        elif by_length:
            level = fmean(by_length[None])
            axes[0].axhline(level, color=style["color"], linestyle=":")
        if own:
            value = fmean(figure.value for figure in own)
            axes[1].plot(max(1, one.state_bytes), value, linestyle="", **style)
            seconds = fmean(figure.seconds for figure in own)
            axes[2].plot(max(1e-4, seconds), value, label=one.title, linestyle="", **style)
    labels = (found.axis, "bytes of state", "seconds per question")
    for axis, label in zip(axes, labels, strict=True):
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.set_ylabel(chosen)
        axis.grid(visible=True, alpha=0.3)
    # Beside the pictures: of many systems it would hide what it explains.
    axes[-1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
