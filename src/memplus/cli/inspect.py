"""``memplus inspect``: what a saved memory holds, and what a question would retrieve."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memplus.cli.flags import ModelFlags, OutputFlags, PlaceFlags, with_groups

if TYPE_CHECKING:
    from memplus.mplus.evidence import Retrieved
    from memplus.sessions.inspection import Contents, Reach

__all__ = ["inspect"]

_SHOWN = 10
_WIDTH = 40


@with_groups
def inspect(
    *,
    place: PlaceFlags,
    question: Annotated[
        str | None, typer.Option("--question", help="Show what this question would retrieve.")
    ] = None,
    chosen: ModelFlags,
    shown: OutputFlags,
) -> None:
    """Show the size, ages and sources of a memory, and what a question would retrieve."""
    from memplus.sessions.inspection import bytes_per_token, contents, reach

    out = shown.open()
    model = chosen.load()
    with place.reading(model) as opened:
        held = contents(opened)
        each = bytes_per_token(model, opened.rows)
        found = model.retrieve(opened, question) if question is not None else None
        reached = None if found is None else reach(opened, found)
    data = {**place.place.data, **asdict(held), "bytes_per_token": each}
    if found is not None and reached is not None:
        data |= {"retrieved": [asdict(one) for one in found], "reach": asdict(reached)}

    def show(console: Console) -> None:
        _show(console, held, each)
        if found is not None and reached is not None:
            _show_reach(console, found, reached)

    out.result(data, show=show)


def _show(console: Console, held: Contents, each: float) -> None:
    waiting = f" and {held.waiting} not yet compressed" if held.waiting else ""
    size = f"{held.bytes / 1e6:.1f} MB"
    if held.max_bytes is not None:
        size += f" of at most {held.max_bytes / 1e6:.1f} MB"
    console.print(
        f"{held.tokens:,} tokens in {held.writes:,} writes{waiting}; {size}, "
        f"and {each / 1000:.1f} KB for each further token",
        markup=False,
    )
    console.print(
        f"rows per layer: {held.short_term_rows:,} short-term, {held.long_term_rows:,} long-term",
        markup=False,
    )
    if held.ages:
        ages = ", ".join(f"{name} {age:,}" for name, age in held.ages.items())
        console.print(f"ages of short-term rows: {ages}", markup=False)
    table = Table("source", "writes", "tokens", "as text", "short-term rows", "long-term rows")
    for one in held.sources:
        row = (one.writes, one.tokens, one.waiting, one.short_term, one.long_term)
        table.add_row(one.source or "(unnamed)", *(f"{number:,}" for number in row))
    console.print(table)


def _show_reach(console: Console, found: list[Retrieved], reached: Reach) -> None:
    if not found:
        console.print("Nothing is retrieved from the long-term memory.", markup=False)
        return
    retrieved = Table("retrieved from", "tokens", "rows", "best score")
    for call in found[:_SHOWN]:
        name = call.source or ("(unnamed)" if call.write_id else "rows that came with the model")
        span = f"{call.start:,} to {call.start + call.tokens:,}"
        retrieved.add_row(name, span, str(call.rows), f"{call.score:.3f}")
    console.print(retrieved)
    ages = [(_age(bound), rows) for bound, rows in reached.ages]
    console.print(_bars("tokens written since", ages))
    sources = [(name or "(unnamed)", rows) for name, rows in reached.sources[:_SHOWN]]
    console.print(_bars("source", sources))


def _age(bound: int | None) -> str:
    return "more" if bound is None else f"up to {bound:,}"


def _bars(title: str, counts: list[tuple[str, int]]) -> Table:
    """A bar of rows beside each name."""
    most = max((rows for _, rows in counts), default=0)
    table = Table(title, "rows", "", box=None)
    for name, rows in counts:
        bar = Bar(size=max(1, most), begin=0, end=rows, width=_WIDTH)
        table.add_row(Text(name), f"{rows:,}", bar)
    return table
