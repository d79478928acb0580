"""``memplus demo``: a long text read into memory, and what is left of the notes in it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from memplus.cli.loading import load_model, require_folder
from memplus.cli.options import AsJson, Device, Dtype, Model, Seed
from memplus.cli.output import Output
from memplus.documents import read_document

if TYPE_CHECKING:
    from memplus.evaluation.demo import Demonstration

__all__ = ["demo"]


def demo(
    *,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="A UTF-8 text to read instead of Python's documentation."),
    ] = None,
    notes: Annotated[
        int, typer.Option("--notes", min=3, help="How many notes are planted in it.")
    ] = 100,
    picture: Annotated[
        Path, typer.Option("--picture", help="Where the curve is drawn (PNG).")
    ] = Path("memplus-demo.png"),
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Read a long text with notes planted in it, ask for each note, and draw what was kept.

    The same memory answers twice: with its long-term store (M+) and without it (MemoryLLM).
    """
    from memplus.evaluation.demo import demonstrate, language_documentation
    from memplus.evaluation.plot import draw_recall

    out = Output(as_json=as_json)
    require_folder(picture)
    if text is None:
        source, content = "python-documentation", language_documentation()
    else:
        document = read_document(text)
        source, content = document.source, document.text
    loaded = load_model(model, device=device, dtype=dtype)
    with out.progress() as report:
        shown = demonstrate(loaded, content, notes=notes, seed=seed, report=report, source=source)
    title = f"{shown.notes} notes in {shown.tokens:,} tokens of {source}"
    draw_recall(shown.curves, title=title, path=picture)
    data = asdict(shown) | {
        "source": source,
        "picture": str(picture),
        "accuracy": {name: shown.accuracy(name) for name in shown.curves},
    }
    out.result(data, show=lambda console: _show(console, shown, title, picture))


def _show(console: Console, shown: Demonstration, title: str, picture: Path) -> None:
    table = Table(title=title)
    table.add_column("tokens since the note", justify="right")
    table.add_column("asked", justify="right")
    for name in shown.curves:
        table.add_column(name, justify="right")
    for row in zip(*shown.curves.values(), strict=True):
        if row[0].asked:
            percents = [f"{100 * one.right / one.asked:.0f}%" for one in row]
            table.add_row(f"{row[0].low:,} to {row[0].high:,}", str(row[0].asked), *percents)
    totals = [f"{100 * shown.accuracy(name):.0f}%" for name in shown.curves]
    table.add_row("all", str(shown.notes), *totals)
    console.print(table)
    for one in shown.shown:
        verdict = "right" if one.right else f"wrong, it is {one.right_answer}"
        quote = " ".join(one.quote.split())
        console.print(
            f"\n{one.question}\n  {one.said}   ({verdict}; told {one.distance:,} tokens before)\n"
            f"  attended most ({100 * one.share:.0f}%): “{quote}”",
            markup=False,
        )
    console.print(
        f"\n{100 * shown.note_first:.0f}% of the right answers attended most to the note itself.",
        markup=False,
    )
    console.print(
        f"Read in {shown.write_seconds:.0f} s, asked in {shown.ask_seconds:.0f} s; the memory "
        f"takes {shown.memory_bytes / 1e6:.0f} MB. Picture: {picture}",
        markup=False,
    )
