"""``memplus demo``: a long text read into memory, and what is left of what was told in it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from memplus.cli.evaluated import open_shared, read_texts
from memplus.cli.options import AsJson, Device, Dtype, Model, Seed
from memplus.cli.output import Output
from memplus.cli.place import require_folder
from memplus.data.documents import source_of

if TYPE_CHECKING:
    from memplus.data.stream import Texts
    from memplus.evaluation.engine.summary import Cell
    from memplus.evaluation.tasks.demonstration import Demonstration
    from memplus.evaluation.tasks.demonstration_plans import ToTell
    from memplus.mplus.model import MPlus

__all__ = ["demo"]

Told = Literal["notes", "statements"]

_KNOWS_NOTES = "nano"
"""The model that understands notes and nothing else."""


def demo(
    *,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            "--text", help="Texts to read instead of Python's documentation; may be repeated."
        ),
    ] = None,
    tell: Annotated[
        Told | None,
        typer.Option(
            "--tell",
            help="What the text tells: notes of the nano's kind, or ordinary statements. Default: "
            "notes for the nano, statements for other models.",
        ),
    ] = None,
    notes: Annotated[
        int | None,
        typer.Option(
            "--notes",
            min=3,
            help="How many to tell (at most 100 notes). Default: 20 notes or 30 statements.",
        ),
    ] = None,
    picture: Annotated[Path, typer.Option("--picture", help="Picture file for the curve.")] = Path(
        "memplus-demo.png"
    ),
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Read a long text with notes or statements in it, and ask about them at growing distances.

    Draws the share of right answers as a curve. The same memory answers with its long-term part
    (M+) and without it (MemoryLLM).
    """
    from memplus.data.stream import Texts
    from memplus.evaluation.engine.bench import Bench
    from memplus.evaluation.engine.curves import draw_retention
    from memplus.evaluation.tasks.demonstration import demonstrate
    from memplus.outputs import picture_format
    from memplus.systems.registry import usual_systems

    out = Output(as_json=as_json)
    require_folder(picture)
    picture_format(picture)  # or it would be refused when all is asked
    source = ", ".join(source_of(path) for path in text) if text else "Python's documentation"
    given = read_texts(text)
    shared = open_shared(model, device=device, dtype=dtype)
    bench = Bench(usual_systems(shared), shared.reference)
    texts = Texts.of(given, bench.reference)
    chosen = tell or ("notes" if bench.systems[0].model == _KNOWS_NOTES else "statements")
    telling = _to_tell(chosen, notes, (texts, bench.chunk, seed))
    out.note(_sizes(telling, shared.mplus, source))
    with out.progress() as report:
        shown = demonstrate(bench, texts, telling, report)
    title = f"{shown.told} {shown.kind}s in {shown.tokens:,} tokens of {source}"
    draw_retention(shown.cells, bench.systems, kind=shown.kind, title=title, path=picture)
    titles = {system.name: system.title for system in bench.systems}
    data = asdict(shown) | {"source": source, "picture": str(picture), "accuracy": shown.accuracy}
    out.result(data, show=lambda console: _show(console, shown, titles, (title, picture)))


def _to_tell(chosen: Told, count: int | None, planned: tuple[Texts, int, int]) -> ToTell:
    """What is told: of which kind, how much, and the texts, chunk and seed of its plan."""
    from memplus.evaluation.tasks import demonstration_plans as plans

    sizes, make = plans.STATEMENT_SIZES, plans.statements_to_tell
    if chosen == "notes":
        sizes, make = plans.NOTE_SIZES, plans.notes_to_tell
    texts, chunk, seed = planned
    return make(texts, chunk, sizes if count is None else replace(sizes, notes=count), seed)


def _sizes(telling: ToTell, model: MPlus, source: str) -> str:
    """What will be read and asked, and what the memory will take."""
    from memplus.sessions.inspection import bytes_per_token

    tokens, distances = telling.plan.tokens, telling.distances
    size = tokens * bytes_per_token(model)
    takes = f" Its long-term memory will take about {size / 1e6:,.0f} MB." if size else ""
    asked = len(list(telling.plan.questions))
    return (
        f"{model.name} is told {telling.count} {telling.kind}s in {tokens:,} tokens of {source} "
        f"and asked {asked} questions, {distances[0]:,} to {distances[-1]:,} tokens later.{takes}"
    )


def _show(
    console: Console, shown: Demonstration, titles: dict[str, str], named: tuple[str, Path]
) -> None:
    title, picture = named
    console.print(_curve(shown, titles, title))
    if shown.outside:
        console.print(_outside(shown))
    for one in shown.shown:
        verdict = "right" if one.right else f"wrong, it is {one.right_answer}"
        quote = " ".join(one.quote.split())
        console.print(
            f"\n{one.question}\n  {one.said}   ({verdict}; told {one.distance:,} tokens earlier)\n"
            f"  attended most ({100 * one.share:.0f}%): “{quote}”",
            markup=False,
        )
    first = next(iter(titles))
    untold = [one for one in shown.cells if one.kind != shown.kind and one.system == first]
    asked, right = sum(one.asked for one in untold), sum(one.right for one in untold)
    console.print(
        f"\nOf the right answers after the whole text, {100 * shown.told_first:.0f}% attended most "
        f"to the {shown.kind} itself.\nAsked about what was never told, it said so {right} of "
        f"{asked} times.\nRead in {shown.write_seconds:.0f} s; the memory takes "
        f"{shown.memory_bytes / 1e6:.0f} MB. Picture: {picture}",
        markup=False,
    )


def _curve(shown: Demonstration, titles: dict[str, str], title: str) -> Table:
    """The share of right answers, a row per distance, a column per system."""
    by_place = {(one.kind, one.system, one.wanted): one for one in shown.cells}
    table = Table(title=title)
    for name in (f"tokens since the {shown.kind}", "asked", *titles.values()):
        table.add_column(name, justify="right")
    asked = {one.wanted for one in shown.cells if one.wanted is not None}
    for wanted in sorted(asked):
        # What keeps nothing was asked once, whatever the distance.
        found = [
            by_place.get((shown.kind, name, wanted)) or by_place.get((shown.kind, name, None))
            for name in titles
        ]
        table.add_row(f"{wanted:,}", str(shown.told), *(_percent(one) for one in found))
    table.add_row("all", "", *(f"{100 * shown.accuracy.get(name, 0):.0f}%" for name in titles))
    return table


def _outside(shown: Demonstration) -> Table:
    """What was kept of people with other names, beside the same number of usual notes."""
    from memplus.evaluation.tasks.note_layouts import ALONE
    from memplus.evaluation.tasks.outside_names import ONE_ATTRIBUTE, OUTSIDE

    labels = {
        ALONE: "names from the training's generator",
        OUTSIDE: "names from many countries",
        ONE_ATTRIBUTE: "such names, all with one attribute, side by side",
    }
    distances = list(dict.fromkeys(cell.wanted for cell in shown.outside))
    table = Table(title="Notes by kind of name")
    table.add_column("tokens since the note")
    for wanted in distances:
        table.add_column(f"{wanted:,}", justify="right")
    for kind, label in labels.items():
        cells = [cell for cell in shown.outside if cell.kind == kind]
        table.add_row(label, *(_percent(cell) for cell in cells))
    return table


def _percent(cell: Cell | None) -> str:
    return "" if cell is None else f"{100 * cell.accuracy:.0f}%"
