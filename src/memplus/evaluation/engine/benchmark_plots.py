"""Pictures of benchmarks: quality against length, against bytes and against seconds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memplus.errors import ConfigError, NotFoundError
from memplus.outputs import save_picture

__all__ = ["draw_benchmarks"]

_MARKERS = "os^Dvphx*P<>"


def draw_benchmarks(runs: Sequence[Path], path: Path, measure: str | None = None) -> None:
    """Saves three pictures side by side for each run.

    All kinds of questions of a run count alike: a point is the mean over its kinds.

    Args:
        runs: folders with a summary.json.
        path: where to; see ``save_picture``.
        measure: which figures; None: the first measure of each run.

    Raises:
        NotFoundError: a folder holds no summary.
        ConfigError: a run has no figure of that measure, or the suffix names no format.
        StorageError: the picture cannot be written there.
    """
    summaries = [_summary(run) for run in runs]
    figure = Figure(figsize=(15, 4.5 * len(runs)), layout="constrained")
    grid = figure.subplots(len(runs), 3, squeeze=False)
    for axes, summary in zip(grid, summaries, strict=True):
        _draw(axes, summary, measure)
    save_picture(figure, path)


def _summary(run: Path) -> dict[str, Any]:
    file = run / "summary.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(file, note="; it is written when a benchmark ends") from error
    except (OSError, ValueError) as error:
        raise ConfigError("run", value=str(run), reason="its summary cannot be read") from error
    if "results" not in found or "axis" not in found:
        raise ConfigError("run", value=str(run), reason="it is no run of `memplus bench`")
    return found


def _draw(axes: Sequence[Axes], summary: dict[str, Any], measure: str | None) -> None:
    results = [one for one in summary["results"] if one["figures"]]
    known = list(dict.fromkeys(fig["measure"] for one in results for fig in one["figures"]))
    chosen = measure or (known[0] if known else "")
    if chosen not in known:
        reason = f"{summary['task']} has {', '.join(known) or 'no figures'}"
        raise ConfigError("measure", value=measure, reason=reason)
    for index, one in enumerate(results):
        own = [fig for fig in one["figures"] if fig["measure"] == chosen]
        by_length: dict[int | None, list[float]] = defaultdict(list)
        for fig in own:
            by_length[fig["wanted"]].append(fig["value"])
        style: dict[str, Any] = {
            "marker": _MARKERS[index % len(_MARKERS)],
            "color": f"C{index % 10}",
        }
        places = sorted(at for at in by_length if at is not None)
        means = [fmean(by_length[at]) for at in places]
        if places:
            axes[0].plot([max(1, at) for at in places], means, label=one["title"], **style)
        elif by_length:
            axes[0].axhline(
                fmean(by_length[None]), color=style["color"], linestyle=":", label=one["title"]
            )
        if own:
            value = fmean(fig["value"] for fig in own)
            axes[1].plot(max(1, one["state_bytes"]), value, label=one["title"], **style)
            seconds = fmean(fig["seconds"] for fig in own)
            axes[2].plot(max(1e-4, seconds), value, label=one["title"], **style)
    labels = (summary["axis"], "bytes of the state", "seconds a question")
    for one, label in zip(axes, labels, strict=True):
        one.set_xscale("log")
        one.set_xlabel(label)
        one.set_ylabel(chosen)
        one.grid(visible=True, alpha=0.3)
    axes[0].set_title(f"{summary['task']}, {summary['model']}")
    axes[0].legend(fontsize="small")
