"""``memplus plot``: the curves of a training run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memplus.cli.options import AsJson
from memplus.cli.output import Output

__all__ = ["plot"]


def plot(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Picture file. Default: RUN/curves.png.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plot a training run's losses and its retriever's recall against chance."""
    from memplus.training.engine.learning_curves import draw_run

    picture = out or run / "curves.png"
    draw_run(run, picture)
    Output(as_json=as_json).result(
        {"picture": str(picture)},
        show=lambda console: console.print(f"The curves are in {picture}.", markup=False),
    )
