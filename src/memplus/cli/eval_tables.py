"""Figures of evaluations as tables on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from memplus.evaluation.engine.results import Results
    from memplus.evaluation.engine.summary import Cell, Threshold
    from memplus.evaluation.probes.perplexity import Perplexities

__all__ = ["show_perplexity", "show_results", "show_statements", "show_trade_off"]


def show_results(console: Console, results: Results, out: Path) -> None:
    """The figures of a run, a table for every kind of question."""
    for kind in dict.fromkeys(cell.kind for cell in results.cells):
        _show_kind(console, results, kind)
    for cell in results.near:
        console.print(
            f"{cell.kind}, {results.titles[cell.system]}, up to 1,000 tokens: "
            f"{_percent(cell.accuracy)} of {cell.asked} right, {_percent(cell.declined)} declined"
            + (f", {_percent(cell.outdated)} the older value" if cell.outdated else ""),
            markup=False,
        )
    if results.text_read > 1:
        times = f"{results.text_read:.1f}"
        console.print(f"The texts are short: one stream read them {times} times.", markup=False)
    speed = results.writing["tokens_per_second"]
    written = f"Written at {speed:,.0f} tokens per second. " if speed else ""
    console.print(f"{written}All results: {out}", markup=False)


def _show_kind(console: Console, results: Results, kind: str) -> None:
    """A row per distance, a column per system; recall, seconds and bytes are the first one's."""
    cells = [cell for cell in results.cells if cell.kind == kind]
    asked = [cell for cell in cells if cell.wanted is not None]
    by_place = {(cell.system, cell.wanted): cell for cell in asked}
    systems = [name for name in results.titles if any(cell.system == name for cell in asked)]
    if systems:
        table = Table(title=kind, box=SIMPLE)
        titles = [f"{results.titles[name]} %" for name in systems]
        for name in ("tokens", "asked", *titles, "recall %", "s", "MB"):
            table.add_column(name, justify="right", no_wrap=True)
        for distance in sorted({cell.wanted for cell in asked if cell.wanted is not None}):
            row = [by_place[name, distance] for name in systems]
            shares = [_share(cell) for cell in row]
            table.add_row(f"{distance:,}", str(row[0].asked), *shares, *_costs(row[0]))
        console.print(table)
    for cell in cells:
        if cell.wanted is None:
            right = f"{_percent(cell.accuracy)} of {cell.asked} right"
            console.print(f"{results.titles[cell.system]}: {right}", markup=False)


def _costs(cell: Cell) -> tuple[str, str, str]:
    found = cell.recall.get("value")
    recall = "" if found is None else f"{100 * found['mean']:.1f}"
    return recall, f"{cell.seconds:.2f}", f"{cell.bytes / 1e6:.0f}"


def _share(cell: Cell) -> str:
    """The share of right answers and its interval, in percent."""
    low, high = cell.interval
    return f"{100 * cell.accuracy:.1f} ({100 * low:.0f}-{100 * high:.0f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def show_statements(console: Console, results: Results, out: Path) -> None:
    """Ordinary statements: how many answers are right, declined and wrong."""
    table = Table("", "told", "right", "declined", "wrong")
    for cell in results.cells:
        declined = round(cell.asked * cell.declined)
        counts = (cell.asked, cell.right, declined, cell.asked - cell.right - declined)
        table.add_row(results.titles[cell.system], *map(str, counts))
    console.print(table)
    console.print(f"All answers: {out / 'answers.jsonl'}", markup=False)


def show_perplexity(console: Console, found: Perplexities) -> None:
    """Perplexities, each beside the last one."""
    last = list(found.titles.values())[-1]
    table = Table("", "perplexity", f"over {last}", "95%")
    for name, value in found.perplexity.items():
        ratio, low, high = found.over_last[name]
        table.add_row(found.titles[name], f"{value:.2f}", f"{ratio:.4f}", f"{low:.4f}-{high:.4f}")
    console.print(table)
    console.print(
        f"{found.predicted:,} tokens predicted, {found.tokens_read:,} read beforehand.",
        markup=False,
    )


def show_trade_off(console: Console, found: list[Threshold], chosen: Threshold, plot: Path) -> None:
    """Every fifth threshold, the chosen one, and where the picture lies."""
    table = Table("min confidence", "right", "wrong of answered", "declined", "wrongly declined")
    for one in found[::5]:
        shares = (one.right, one.wrong, one.declined, one.wrongly_declined)
        table.add_row(f"{one.min_confidence:.2f}", *(_percent(share) for share in shares))
    console.print(table)
    console.print(
        f"min_confidence {chosen.min_confidence:.4g} declines {_percent(chosen.declined)} of what "
        f"was never told and {_percent(chosen.wrongly_declined)} of what was.",
        markup=False,
    )
    console.print(f"Picture: {plot}", markup=False)
