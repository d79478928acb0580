"""Results of benchmarks as text: systems below each other, lengths side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memplus.errors.base import storage_errors
from memplus.evaluation.benchmark import Benchmark, SystemResult
from memplus.evaluation.engine.figures import Figure
from memplus.evaluation.engine.results import SUMMARY
from memplus.fields import checked
from memplus.files import locked
from memplus.outputs import put_text

__all__ = [
    "cost_rows",
    "figure_tables",
    "markdown",
    "names_of",
    "overview_rows",
    "put_table",
    "shown",
    "table_lines",
]

Rows = list[list[str]]


def figure_tables(found: Benchmark) -> list[tuple[str, Rows]]:
    """A title and rows for every measure and kind: systems below each other, lengths side by side.

    Systems that keep nothing are asked once; what they answer stands under every length.
    """
    systems = [one for one in found.results if one.figures]
    places: dict[tuple[str, str], dict[int | None, int]] = {}
    for one in systems:
        for figure in one.figures:
            counts = places.setdefault((figure.measure, figure.kind), {})
            counts[figure.wanted] = max(figure.asked, counts.get(figure.wanted, 0))
    tables = []
    measures = list(dict.fromkeys(measure for measure, _ in places))
    for (measure, kind), counts in sorted(
        places.items(), key=lambda one: measures.index(one[0][0])
    ):
        known = sorted(at for at in counts if at is not None)
        lengths: list[int | None] = [*known] if known else [None]
        head = ["system", *(f"{_length(at)}n {counts[at]}" for at in lengths)]
        rows = [
            [one.title, *(shown(_figure(one, kind, measure, at)) for at in lengths)]
            for one in systems
        ]
        tables.append((f"{kind}: {measure}", [head, *rows]))
    return tables


def names_of(found: Sequence[Benchmark]) -> list[str]:
    """What each benchmark is called: its task, and of a task at a further size what it changes."""
    first: dict[str, Mapping[str, Any]] = {}
    names = []
    for one in found:
        options = json.loads(json.dumps(one.run.get("options", {})))
        usual = first.setdefault(one.task, options)
        changed = [
            f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in options.items()
            if usual.get(name) != value
        ]
        names.append(f"{one.task} ({'; '.join(changed)})" if changed else one.task)
    return names


def _length(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}, "


def overview_rows(found: Sequence[Benchmark]) -> Rows:
    """A head, and each system with one figure of every benchmark."""
    results = [{one.system: one for one in benchmark.results} for benchmark in found]
    titles = {one.system: one.title for benchmark in found for one in benchmark.results}
    measures = [
        next((one.headline.measure for one in benchmark.results if one.headline), "")
        for benchmark in found
    ]
    head = [f"{name}: {what}" for name, what in zip(names_of(found), measures, strict=True)]
    rows = [
        [title, *(_headline(of_task.get(system)) for of_task in results)]
        for system, title in titles.items()
    ]
    return [["system", *head], *rows]


def _headline(result: SystemResult | None) -> str:
    if result is None:
        return ""
    return "cannot be asked" if result.unable else shown(result.headline)


def cost_rows(found: Benchmark) -> Rows:
    """A head, and what each system costs: its state as it was asked at each length, which shows
    whether it grows, and at its largest; bytes, seconds, failures."""
    lengths = sorted({at for one in found.results for at in _state_at(one) if at is not None})
    lengths = lengths if len(lengths) > 1 else []
    at_lengths = [f"MB at {at:,}" for at in lengths]
    costs = ["bytes a token", "s to write 1000", "s a question", "on", "failures"]
    head = ["system", *at_lengths, "most MB", *costs]
    rows = [head]
    for one in found.results:
        if one.unable:
            rows.append([one.title, one.unable, *[""] * (len(head) - 2)])
            continue
        written = one.tokens_written
        asked = sum(figure.asked for figure in _timed(one))
        spent = sum(figure.asked * figure.seconds for figure in _timed(one))
        rows.append(
            [
                one.title,
                *(_megabytes(_state_at(one), at) for at in lengths),
                f"{one.state_bytes / 1e6:.2f}",
                f"{one.bytes_per_token:,.0f}",
                f"{1000 * one.seconds_writing / written:.2f}" if written else "",
                f"{spent / asked:.2f}" if asked else "",
                ", ".join(one.devices),
                str(one.errors),
            ]
        )
    return rows


def _state_at(result: SystemResult) -> dict[int | None, float]:
    """Bytes of the state at each length, the mean over questions."""
    asked: dict[int | None, int] = {}
    held: dict[int | None, float] = {}
    for one in _timed(result):
        asked[one.wanted] = asked.get(one.wanted, 0) + one.asked
        held[one.wanted] = held.get(one.wanted, 0.0) + one.asked * one.bytes
    return {at: held[at] / count for at, count in asked.items() if count}


def _megabytes(held: Mapping[int | None, float], at: int) -> str:
    found = held.get(at, held.get(None))
    return "" if found is None else f"{found / 1e6:.2f}"


def markdown(found: Sequence[Benchmark]) -> str:
    """All tables of several benchmarks."""
    parts = []
    for name, one in zip(names_of(found), found, strict=True):
        lines = [
            f"## {name}: {one.title}",
            "",
            f"Model {one.model}. Columns: {one.axis}; n: questions. Shares in %, 95% intervals.",
            "",
            *(
                line
                for title, rows in figure_tables(one)
                for line in (f"**{title}**", "", *table_lines(rows), "")
            ),
            "**cost**",
            "",
            *table_lines(cost_rows(one)),
            "",
        ]
        lines += [
            f"{result.title}: {result.errors} failures, the first one: {result.first_error}"
            for result in one.results
            if result.errors
        ]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def put_table(folder: Path) -> None:
    """Leave the tables of a benchmark's run in its folder, as table.md.

    Another command may have summed up the same run since; the tables are of what stands there now.

    Raises:
        StorageError: the disk refused.
    """
    file = folder / SUMMARY
    with locked(file, wait=None), storage_errors(file):
        found = checked(Benchmark, json.loads(file.read_text(encoding="utf-8")))
        put_text(folder / "table.md", markdown([found]))


def shown(figure: Figure | None) -> str:
    """A value with its interval: shares in percent, other measures as they are."""
    if figure is None:
        return ""
    scale, digits = (1, 2) if figure.value > 1 or figure.measure == "perplexity" else (100, 0)
    value, low, high = (
        f"{scale * one:.{digits}f}" for one in (figure.value, figure.low, figure.high)
    )
    # Of a single window of text no interval is known.
    alone = figure.asked == 1 and figure.low == figure.high
    return value if alone else f"{value} ({low}-{high})"


def _figure(result: SystemResult, kind: str, measure: str, wanted: int | None) -> Figure | None:
    """The one there is; of a system that keeps nothing the one for all lengths."""
    own = [one for one in result.figures if (one.kind, one.measure) == (kind, measure)]
    exact = next((one for one in own if one.wanted == wanted), None)
    return exact or next((one for one in own if one.wanted is None), None)


def _timed(result: SystemResult) -> list[Figure]:
    """Figures of one measure for each kind and length: every question once."""
    seen: dict[tuple[str, int | None], Figure] = {}
    for one in result.figures:
        if not one.repeats:
            seen.setdefault((one.kind, one.wanted), one)
    return list(seen.values())


def table_lines(rows: Rows) -> list[str]:
    """Rows as a table of Markdown; the first one is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
