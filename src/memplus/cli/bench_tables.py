"""Benchmarks on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from memplus.evaluation.benchmark import Benchmark

__all__ = ["show_benchmark", "show_list"]


def show_benchmark(console: Console, found: Benchmark, folder: Path) -> None:
    """The figures of one benchmark, and what each system cost."""
    from memplus.evaluation.benchmark_tables import cost_rows, figure_tables

    unable = {one.title: one.unable for one in found.results if one.unable}
    console.print(f"{found.task}: {found.title}. Columns: {found.axis}.", markup=False)
    for title, rows in [*figure_tables(found), ("cost", cost_rows(found))]:
        table = Table(title=title, box=SIMPLE)
        # A long name is broken sooner than a figure is cut.
        table.add_column(rows[0][0], overflow="fold")
        for name in rows[0][1:]:
            table.add_column(name, justify="right", overflow="fold")
        for row in rows[1:]:
            if row[0] not in unable:
                table.add_row(*row)
        console.print(table)
    for system, reason in unable.items():
        console.print(f"{system}: {reason}", markup=False)
    console.print(f"All answers: {folder}", markup=False)


def show_list(
    console: Console, systems: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> None:
    """Systems and tasks, what each needs and whether it is there."""
    console.print("Systems", style="bold")
    for one in systems:
        options = f" [{', '.join(one['options'])}]" if one["options"] else ""
        missing = f" -- missing: {one['missing']}" if one["missing"] else ""
        console.print(f"  {one['name']}: {one['title']}{options}{missing}", markup=False)
    console.print("Benchmarks", style="bold")
    for one in tasks:
        console.print(
            f"  {one['name']}: {one['title']} [{', '.join(one['options'])}]", markup=False
        )
        for need in one["needs"]:
            absent = "MISSING" if need["required"] else "not there, and can be done without"
            state = "present" if need["there"] else absent
            console.print(
                f"      {need['path']} ({need['what']}, {need['licence']}): {state}", markup=False
            )
