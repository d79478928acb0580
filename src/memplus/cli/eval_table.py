"""``memplus eval table``: everything that a model with a memory is to show, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from memplus.cli.evaluated import TextFiles, open_table_bench, read_texts
from memplus.cli.held_out import Nq, Squad, held_out_pool
from memplus.cli.options import AsJson, Device, Dtype, Model
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.evaluation.table import Predicted, Table

__all__ = ["table"]

Items = Annotated[int, typer.Option("--items", min=1, help="Items of each kind per seed.")]


def table(
    texts: TextFiles = None,
    *,
    squad: Squad = None,
    nq: Nq = None,
    items: Items = 100,
    distances: Annotated[
        str, typer.Option("--distances", help="Tokens between an item and its questions.")
    ] = "0,16k,160k",
    corrected: Annotated[
        str, typer.Option("--corrected", help="The same, for corrected statements.")
    ] = "1k,16k",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of streams, with seeds 0, 1, ...")
    ] = 1,
    windows: Annotated[
        int,
        typer.Option(
            "--windows",
            min=0,
            help="Windows of 256 tokens to predict after the longest distance; 0: none.",
        ),
    ] = 64,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="Count less confident answers as declined. Default: the model's own threshold.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Output folder; an existing run is resumed.")
    ] = Path("runs/table"),
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Ask about held-out passages, statements and corrections, told alone and in a stream.

    Compares M+ with the same weights given the text in the prompt, the short-term memory alone, or
    no memory. Writes table.md, summary.json and, for each part, a folder with all answers to OUT.
    """
    from memplus.evaluation.experiments import Tellings
    from memplus.evaluation.table import evaluate_table
    from memplus.evaluation.tasks.retention import parse_distances

    output = Output(as_json=as_json)
    asked = parse_distances(distances)
    pool = held_out_pool(squad, nq, asked, parse_distances(corrected))
    given = read_texts(texts)
    tellings = Tellings(pool, items, seeds, out)
    bench = open_table_bench(model, device=device, dtype=dtype)
    predicted = _predicted(windows, asked[-1])
    with output.progress() as report:
        found = evaluate_table(bench, given, tellings, predicted, min_confidence, report)
    data = {"folder": str(out), **found.to_dict()}
    output.result(data, show=lambda console: _show(console, found, out))


def _predicted(windows: int, tokens: int) -> Predicted | None:
    from memplus.evaluation.probes.perplexity import Windows
    from memplus.evaluation.table import Predicted

    return Predicted(tokens, Windows(windows)) if windows else None


def _show(console: Console, found: Table, out: Path) -> None:
    """A measure a line, its figures below it: the table is too wide for most terminals."""
    from memplus.data.word_search import installed
    from memplus.evaluation.rows import shown

    for row in found.rows:
        console.print(row.measure, markup=False, style="bold", soft_wrap=True)
        figures = [
            f"{title}: {shown(row, name)}"
            for name, title in found.titles.items()
            if name in row.figures
        ]
        if row.reached is not None:
            figures.append(f"{row.goal}: {'reached' if row.reached else 'not reached'}")
        for figure in figures:
            console.print(f"    {figure}", markup=False, soft_wrap=True)
    if not installed():
        console.print(
            "BM25 is left out: install it with pip install 'memplus[bm25]'.", markup=False
        )
    console.print(f"Table: {out / 'table.md'}; all answers: {out}", markup=False)
