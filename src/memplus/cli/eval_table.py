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

Items = Annotated[
    int, typer.Option("--items", min=1, help="Passages and statements of each kind per seed.")
]


def table(
    texts: TextFiles = None,
    *,
    squad: Squad = None,
    nq: Nq = None,
    items: Items = 100,
    distances: Annotated[
        str, typer.Option("--distances", help="Tokens between what is told and its questions.")
    ] = "0,16k,160k",
    corrected: Annotated[
        str, typer.Option("--corrected", help="The same for corrected statements.")
    ] = "1k,16k",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Streams: seeds 0, 1, ...")] = 1,
    windows: Annotated[
        int,
        typer.Option(
            "--windows",
            min=0,
            help="Texts of 256 tokens to predict once the longest distance is written; 0: none.",
        ),
    ] = 64,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="Count less confident answers as declined; the model's own threshold by default.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the results; what is there is not run again.")
    ] = Path("runs/table"),
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Measure held-out passages, statements and corrections, told alone and in a stream.

    Beside M+ stand the same weights with the text in the prompt, with the short-term memory alone
    and without memory. OUT gets table.md, summary.json, and a folder with every answer for each
    part.
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
        console.print("BM25 is left out: pip install 'memplus[bm25]' brings it.", markup=False)
    console.print(f"The table is {out / 'table.md'}; all answers lie in {out}.", markup=False)
