"""Pictures of a run: what it lost and what its retriever found, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memplus.errors import NotARunError
from memplus.outputs import save_picture
from memplus.training.engine.metrics import METRICS, read_metrics

__all__ = ["draw_run"]


def draw_run(folder: Path, picture: Path) -> None:
    """Draw losses by task, and recall by layer beside chance where the run has a long-term memory.

    Args:
        folder: of the run.
        picture: a PNG, or what its suffix says.

    Raises:
        NotARunError: the folder holds no figures.
        ConfigError: the suffix names no format of pictures.
        NotFoundError, StorageError: the picture cannot be written.
    """
    lines = read_metrics(folder)
    if not lines:
        raise NotARunError(folder, reason=f"its {METRICS} has no line of figures")
    from matplotlib.figure import Figure

    names = sorted({name for line in lines for name in line})
    losses = [name for name in names if name.partition(".")[0] in ("loss", "language", "repeat")]
    recalls = [name for name in names if name.partition(".")[0] in ("recall", "right")]
    figure = Figure(figsize=(8, 8 if recalls else 4.5), layout="constrained")
    axes = figure.subplots(2 if recalls else 1, 1, sharex=True, squeeze=False)[:, 0]
    for name in losses:
        axes[0].plot(*_curve(lines, name), label=name.removeprefix("loss."))
    axes[0].set_ylabel("loss")
    if recalls:
        for name in recalls:
            layer = name.partition(".")[2]
            axes[1].plot(*_curve(lines, name), label=f"layer {layer}" if layer else name)
        if "chance.0" in names:
            axes[1].plot(*_curve(lines, "chance.0"), color="black", linestyle="--", label="chance")
        axes[1].set_ylabel("share of the right rows retrieved")
        axes[1].set_ylim(-0.03, 1.03)
    axes[-1].set_xlabel("step")
    for one in axes:
        one.grid(visible=True, alpha=0.3)
        one.legend(fontsize="small", ncols=2)
    save_picture(figure, picture)


def _curve(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    there = [line for line in lines if name in line]
    return [line["step"] for line in there], [line[name] for line in there]
