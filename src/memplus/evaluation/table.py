"""Everything that a model with a memory is to show, measured in one folder.

Three parts, each resumed by itself: held-out items told alone and asked at once, the same items
told in streams and asked after growing distances, and perplexity. ``rows`` makes a table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import memplus
from memplus.data.stream import Texts
from memplus.errors.base import storage_error
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.results import write_summary
from memplus.evaluation.engine.run import Report
from memplus.evaluation.engine.runfile import RunFile, alone_in
from memplus.evaluation.experiments import (
    Tellings,
    evaluate_alone,
    evaluate_told,
    search_by_words,
)
from memplus.evaluation.probes.perplexity import (
    Perplexities,
    Windows,
    measure_perplexity,
    require_text,
)
from memplus.evaluation.rows import BM25, Lines, Row, goals_of, markdown, rows_of
from memplus.systems.protocol import Explains, Follows, Scores, System

__all__ = ["Predicted", "Table", "evaluate_table"]

_SEED = 0


@dataclass(frozen=True, slots=True)
class Predicted:
    """What perplexity is measured on."""

    tokens: int
    """Written before."""
    windows: Windows


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, and whose figures they hold."""

    model: str
    rows: list[Row]
    titles: dict[str, str]
    """System -> what people call it, in the order of the columns."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "model": self.model,
            "systems": self.titles,
            "rows": [asdict(row) for row in self.rows],
        }


def evaluate_table(
    bench: Bench,
    texts: Sequence[str],
    tellings: Tellings,
    predicted: Predicted | None,
    min_confidence: float | None,
    report: Report,
) -> Table:
    """Run what is not yet known of the table, and write summary.json and table.md.

    Args:
        bench: those of its systems that know how sure they are read the streams; a system that can
            follow another is not told anything alone, since that other one answers the same there.
        texts: what is told in them, and predicted.
        tellings: what is told, and the folder; its parts get folders in it.
        predicted: None: perplexity is not measured.
        min_confidence: below which an answer counts as declined; None: the system's own.
        report: called with (what, done, total).

    Raises:
        ConfigError: the texts are too short.
        RunMismatchError: the folder holds another run.
        StorageError: the disk refused.
    """
    known = Texts.of(texts, bench.reference)
    if predicted is not None:
        require_text(known, predicted.tokens, predicted.windows)
    folder = tellings.folder
    streamed = [one for one in bench.systems if issubclass(one.sessions, Explains)]
    names = {one.name for one in streamed}
    by_itself = [
        one for one in bench.systems if not (isinstance(one, Follows) and one.leader in names)
    ]
    part = replace(tellings, folder=folder / "alone")
    alone = evaluate_alone(Bench(by_itself, bench.reference), part, report)
    part = replace(tellings, folder=folder / "told")
    told = evaluate_told(Bench(streamed, bench.reference), texts, part, report)
    perplexity = None
    if predicted is not None:
        wanted = [one for one in by_itself if one in streamed or not one.remembers]
        scoring = [one for one in wanted if issubclass(one.sessions, Scores)]
        perplexity = _perplexities(scoring, known, predicted, folder, report)
    declined = _declines(bench.systems[0], min_confidence)
    by_words = search_by_words(Bench(streamed, bench.reference), texts, part)
    goals = goals_of(bench.systems[0].model)
    rows = rows_of(Lines(alone.lines, told.lines, perplexity, by_words, declined, goals))
    titles = {one.name: one.title for one in bench.systems} | ({BM25: "BM25"} if by_words else {})
    table = Table(bench.systems[0].model, rows, titles)
    _write(folder, table, min_confidence)
    return table


def _perplexities(
    systems: Sequence[System], texts: Texts, predicted: Predicted, folder: Path, report: Report
) -> Perplexities:
    """As recorded in the folder, measured where it is not."""
    identity = {
        "evaluation": "perplexity",
        "memplus": memplus.__version__,
        "systems": {system.name: dict(system.identity) for system in systems},
        "texts": texts.sha256,
        **asdict(predicted),
    }
    with alone_in(folder):
        known = RunFile(folder / "perplexity.jsonl", identity)
        if not known.lines:
            found = measure_perplexity(
                systems,
                texts,
                tokens=predicted.tokens,
                windows=predicted.windows,
                seed=_SEED,
                report=report,
            )
            known.append(asdict(found))
    return Perplexities(**known.lines[0])


def _declines(system: System, min_confidence: float | None) -> Callable[[Mapping[str, Any]], bool]:
    def declined(line: Mapping[str, Any]) -> bool:
        if min_confidence is None or "confidence" not in line:
            return bool(line["declined"])
        return system.declines(line["said"]) or line["confidence"] < min_confidence

    return declined


def _write(folder: Path, table: Table, min_confidence: float | None) -> None:
    write_summary(folder, {**table.to_dict(), "min_confidence": min_confidence})
    text = f"# {table.model}\n\n{markdown(table.rows, table.titles)}"
    try:
        (folder / "table.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise storage_error(folder, error) from error
