"""``memplus train finish``: how a trained model reads, and what its memories begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memplus.cli.evaluated import check_folder, read_texts
from memplus.cli.opening import load_model
from memplus.cli.options import AsJson, OutFolder
from memplus.cli.output import Output

__all__ = ["finish"]


def finish(
    model: Annotated[str, typer.Argument(help="A trained model: a folder, or a name.")],
    *,
    out: OutFolder,
    retrieved_tokens: Annotated[
        int | None,
        typer.Option(
            "--retrieved-tokens",
            min=0,
            help="Long-term rows that a read retrieves; 0: none, as MemoryLLM.",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows", help="How new memories keep long-term rows: `exact`, `int8`, `int4`, `int2`."
        ),
    ] = None,
    neighbours: Annotated[
        bool | None,
        typer.Option(
            "--neighbours/--no-neighbours",
            help="Also read the better neighbour of the best span.",
        ),
    ] = None,
    sharpens: Annotated[
        bool | None,
        typer.Option("--sharpens/--no-sharpens", help="Sharpen the matches of spans."),
    ] = None,
    opening: Annotated[
        Path | None,
        typer.Option(
            "--opening",
            help="File with a short text that answers no question; every new memory begins with "
            "the rows that it leaves.",
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Save in bfloat16, whatever it was saved in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set how a trained model reads and what its memories begin with.

    Nothing is trained. What is not given stays as it is.
    """
    import torch

    from memplus.training.engine.saving import save_as_loaded
    from memplus.training.text.finishing import Finish, finished

    output = Output(as_json=as_json)
    text = None if opening is None else "\n".join(read_texts([opening]))
    check_folder(out)
    opened = load_model(model, device=None, dtype="float32")
    made = finished(opened, Finish(retrieved_tokens, rows, neighbours, sharpens, text))
    save_as_loaded(made, out, torch.bfloat16 if half else None)
    output.result(
        {"model": model, "out": str(out)},
        show=lambda console: console.print(f"The finished model is in {out}.", markup=False),
    )
