"""``memplus train average``: the mean of a model and of what it became."""

from __future__ import annotations

from typing import Annotated

import typer

from memplus.cli.opening import load_model
from memplus.cli.options import AsJson, OutFolder
from memplus.cli.output import Output

__all__ = ["average"]


def average(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Two or more; everything but the weights is the last one's."
        ),
    ],
    *,
    out: OutFolder,
    as_json: AsJson = False,
) -> None:
    """Average the weights of models that were trained one from another.

    A stage that teaches one thing costs another; the mean with the stage before it keeps most of
    both. Nothing is trained. The rule for replaced spans is not averaged; fit it again.
    """
    from memplus.training.engine.saving import save_as_loaded
    from memplus.training.text.averaging import averaged

    output = Output(as_json=as_json)
    opened = [load_model(name, device=None, dtype="float32") for name in models]
    save_as_loaded(averaged(opened), out)
    output.result(
        {"models": models, "out": str(out)},
        show=lambda console: console.print(f"The averaged model is in {out}.", markup=False),
    )
