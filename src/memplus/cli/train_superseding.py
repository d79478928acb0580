"""``memplus train superseding``: fit which spans a later one replaces, to a finished model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.evaluated import check_folder, read_texts
from memplus.cli.opening import load_model
from memplus.cli.options import AsJson, Device, Dtype, Model, OutFolder, Seed
from memplus.cli.output import Output

if TYPE_CHECKING:
    from rich.console import Console

    from memplus.training.superseding.runs import Fitted

__all__ = ["superseding"]


def superseding(
    *,
    out: OutFolder,
    texts: Annotated[
        list[Path] | None,
        typer.Option(
            "--texts",
            help="Prose in which things are told; may be repeated. Default: Python's own "
            "documentation.",
        ),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", min=1, help="Number of memories to tell things to.")
    ] = 5,
    items: Annotated[
        int,
        typer.Option(
            "--items",
            min=1,
            help="Maximum corrections, statements, generated facts and passages told to each.",
        ),
    ] = 40,
    passages: Annotated[
        list[Path] | None,
        typer.Option(
            "--passages",
            help="SQuAD, Natural Questions or FairytaleQA file, whose passages are told too; may "
            "be repeated. Without any, the rule also hides parts of longer passages.",
        ),
    ] = None,
    distances: Annotated[
        str,
        typer.Option("--distances", help="Tokens read between telling and asking."),
    ] = "0,1k,4k",
    model: Model = "smollm2",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Fit the rule that decides which spans a later one replaces, and save the model with it.

    Corrections, statements, generated facts and passages are told in running text and asked about,
    none of which figures are about. OUT is the model as it was loaded, plus the rule.
    """
    from memplus.evaluation.tasks.retention import parse_distances
    from memplus.training.engine.saving import save_as_loaded
    from memplus.training.superseding.runs import Telling, fit_superseding

    output = Output(as_json=as_json)
    telling = Telling(streams, items, parse_distances(distances), seed, (*(passages or ()),))
    given = read_texts(texts)
    check_folder(out)  # telling and fitting take long, and what they give must not be lost
    opened = load_model(model, device=device, dtype=dtype)
    with output.progress() as report:
        fitted = fit_superseding(opened, given, telling, report)
    save_as_loaded(fitted.model, out)
    data = {"model": str(out), **fitted.to_dict()}
    output.result(data, show=lambda console: _show(console, fitted, out))


def _show(console: Console, fitted: Fitted, out: Path) -> None:
    from rich.table import Table

    table = Table("pairs of spans", "corrected", "others", "AUC", "found", "mistaken")
    rows = {
        "fitted to": fitted.fitted,
        "cross-validated": fitted.cross_validated,
        "held-out topics": fitted.held_out,
    }
    for name, one in rows.items():
        if one is None:  # too few pairs
            table.add_row(name, *["-"] * 5)
            continue
        others = one.pairs - one.replaced
        cells = [f"{one.replaced}", f"{others}"]
        cells += ["-" if one.area is None else f"{one.area:.3f}"]
        cells += ["-" if part is None else f"{part:.1%}" for part in (one.found, one.mistaken)]
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"The model is in {out}.", markup=False)
