"""``memplus demo``: a long text read into memory, and what is left of the notes in it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from memplus.cli.bench import open_bench
from memplus.cli.options import AsJson, Device, Dtype, Model, Seed
from memplus.cli.output import Output
from memplus.cli.place import require_folder
from memplus.data.documents import read_document

if TYPE_CHECKING:
    from memplus.evaluation.engine.summary import Cell
    from memplus.evaluation.tasks.demonstration import Demonstration

__all__ = ["demo"]


def demo(
    *,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="A UTF-8 text to read instead of Python's documentation."),
    ] = None,
    notes: Annotated[
        int, typer.Option("--notes", min=3, help="How many notes are told in it.")
    ] = 20,
    picture: Annotated[
        Path, typer.Option("--picture", help="Where the curve is drawn (PNG).")
    ] = Path("memplus-demo.png"),
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Read a long text with notes told in it, ask for them later and later, draw what was kept.

    The same memory answers twice: with its long-term memory (M+) and without it (MemoryLLM).
    """
    from memplus.evaluation.engine.curves import draw_retention
    from memplus.evaluation.tasks.demonstration import (
        DISTANCES,
        demonstrate,
        language_documentation,
    )
    from memplus.evaluation.tasks.retention import NOTE, RetentionSizes

    out = Output(as_json=as_json)
    require_folder(picture)
    if text is None:
        source, content = "Python's documentation", language_documentation()
    else:
        document = read_document(text)
        source, content = document.source, document.text
    bench = open_bench(None, model, device=device, dtype=dtype)
    sizes = RetentionSizes(notes, DISTANCES)
    with out.progress() as report:
        shown = demonstrate(bench, content, sizes, seed=seed, report=report)
    title = f"{shown.notes} notes in {shown.tokens:,} tokens of {source}"
    draw_retention(shown.cells, bench.systems, kind=NOTE, title=title, path=picture)
    titles = {system.name: system.title for system in bench.systems}
    data = asdict(shown) | {"source": source, "picture": str(picture), "accuracy": shown.accuracy}
    out.result(data, show=lambda console: _show(console, shown, titles, (title, picture)))


def _show(
    console: Console, shown: Demonstration, titles: dict[str, str], named: tuple[str, Path]
) -> None:
    from memplus.evaluation.tasks.retention import NOTE

    title, picture = named
    by_place = {(one.kind, one.system, one.wanted): one for one in shown.cells}
    table = Table(title=title)
    for name in ("tokens since the note", "asked", *titles.values()):
        table.add_column(name, justify="right")
    for wanted in sorted({one.wanted for one in shown.cells if one.wanted is not None}):
        # What keeps nothing was asked once, whatever the distance.
        found = [
            by_place.get((NOTE, name, wanted)) or by_place.get((NOTE, name, None))
            for name in titles
        ]
        table.add_row(f"{wanted:,}", str(shown.notes), *(_percent(one) for one in found))
    table.add_row("all", "", *(f"{100 * shown.accuracy.get(name, 0):.0f}%" for name in titles))
    console.print(table)
    console.print(_outside(shown))
    for one in shown.shown:
        verdict = "right" if one.right else f"wrong, it is {one.right_answer}"
        quote = " ".join(one.quote.split())
        console.print(
            f"\n{one.question}\n  {one.said}   ({verdict}; told {one.distance:,} tokens before)\n"
            f"  attended most ({100 * one.share:.0f}%): “{quote}”",
            markup=False,
        )
    first = next(iter(titles))
    untold = [one for one in shown.cells if one.kind != NOTE and one.system == first]
    asked, right = sum(one.asked for one in untold), sum(one.right for one in untold)
    console.print(
        f"\n{100 * shown.note_first:.0f}% of the right answers after all of it attended most to "
        f"the note itself.\nAsked for what was never told, it said so {right} of {asked} times.\n"
        f"Read in {shown.write_seconds:.0f} s; the memory takes {shown.memory_bytes / 1e6:.0f} MB. "
        f"Picture: {picture}",
        markup=False,
    )


def _outside(shown: Demonstration) -> Table:
    """What was kept of people with other names, beside the same number of usual notes."""
    from memplus.evaluation.tasks.note_layouts import ALONE
    from memplus.evaluation.tasks.outside_names import ONE_ATTRIBUTE, OUTSIDE

    labels = {
        ALONE: "names of the training's generator",
        OUTSIDE: "names from many countries",
        ONE_ATTRIBUTE: "such names, all of one attribute, side by side",
    }
    distances = list(dict.fromkeys(cell.wanted for cell in shown.outside))
    table = Table(title="Notes about people with other names")
    table.add_column("tokens since the note")
    for wanted in distances:
        table.add_column(f"{wanted:,}", justify="right")
    for kind, label in labels.items():
        cells = [cell for cell in shown.outside if cell.kind == kind]
        table.add_row(label, *(_percent(cell) for cell in cells))
    return table


def _percent(cell: Cell | None) -> str:
    return "" if cell is None else f"{100 * cell.accuracy:.0f}%"
