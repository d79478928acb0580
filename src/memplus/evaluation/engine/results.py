"""A whole evaluation: plans run into a folder, and what the folder holds at the end.

``answers.jsonl`` has a line per answer, ``summary.json`` the figures, ``curve.png`` the picture.

Shapes: none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memplus.data.stream import Encode
from memplus.errors.base import storage_error
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import Judging, Recorder, Report, run_plans
from memplus.evaluation.engine.runfile import RunFile
from memplus.evaluation.engine.summary import Cell, cells_of, pooled, survival

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["Evaluation", "Results", "encode_with", "evaluate"]

_NEAR = 1000
"""Tokens within which a note counts as just told."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is evaluated, and where to."""

    name: str
    """"retention", "notes" or "questions"."""
    kind: str
    """The questions that the curve shows."""
    settings: Mapping[str, Any]
    """Everything, beside the model, that the plans follow from; JSON values."""
    judging: Judging
    folder: Path


@dataclass(frozen=True, slots=True)
class Results:
    """The figures of a run."""

    cells: list[Cell]
    near: list[Cell]
    """All answers within 1000 tokens, by kind and method."""
    writing: dict[str, float]
    survival: dict[int, float]
    """Distance -> chance that a row is still in the short-term pool."""
    text_read: float = 0.0
    """How often the longest stream read the texts: above 1, text was repeated; 0: no texts."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "cells": [asdict(cell) | {"accuracy": cell.accuracy} for cell in self.cells],
            "within_1k": [asdict(cell) | {"accuracy": cell.accuracy} for cell in self.near],
            "writing": self.writing,
            "text_read": self.text_read,
            "survival_by_chance": {str(at): chance for at, chance in self.survival.items()},
        }


def encode_with(model: MPlus) -> Encode:
    """The model's tokenizer for many texts at once.

    Raises:
        TokenizerMissingError: it has none.
    """
    tokenizer = model.tokenizer

    def encode(texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    return encode


def evaluate(
    model: MPlus, plans: Sequence[Plan], evaluation: Evaluation, report: Report
) -> Results:
    """Run plans into a folder, or go on with them; write the summary and the picture.

    Args:
        model: as loaded.
        plans: what to write and ask.
        evaluation: what that is, and the folder.
        report: called with (what, done, total).

    Raises:
        RunMismatchError: the folder holds another run.
        StorageError: the disk refused.
    """
    from memplus.evaluation.engine.curves import draw_retention

    identity = {
        "evaluation": evaluation.name,
        "model": model.fingerprint,
        "prompt": asdict(model.prompt),
        "judging": asdict(evaluation.judging),
        **evaluation.settings,
    }
    answers = RunFile(evaluation.folder / "answers.jsonl", identity)
    run_plans(model, plans, evaluation.judging, answers, report)
    results = results_of(model, answers, evaluation.settings.get("text_tokens", 0))
    summary = {"model": model.name, "run": identity, **results.to_dict()}
    try:
        text = json.dumps(summary, ensure_ascii=False, indent=2) + "\n"
        (evaluation.folder / "summary.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise storage_error(evaluation.folder, error) from error
    asked = max(cell.asked for cell in results.cells)
    draw_retention(
        results.cells,
        model.memory_config,
        kind=evaluation.kind,
        title=f"{model.name}: {asked} questions at each distance",
        path=evaluation.folder / "curve.png",
    )
    return results


def results_of(model: MPlus, answers: Recorder, text_tokens: int = 0) -> Results:
    """The figures of what is recorded, of streams over texts of so many tokens."""
    config, lines = model.memory_config, answers.lines
    cells = cells_of(lines, config)
    pairs = dict.fromkeys((cell.kind, cell.method) for cell in cells if cell.wanted is not None)
    near = [pooled(lines, config, kind=kind, method=m, within=_NEAR) for kind, m in pairs]
    ends = [line for line in lines if line["key"] == "end"]
    seconds = sum(line["write_seconds"] for line in ends)
    tokens = sum(line["tokens"] for line in ends)
    longest = max((line["tokens"] for line in ends), default=0)
    return Results(
        cells=cells,
        near=[cell for cell in near if cell is not None],
        writing={
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds if seconds else 0.0,
            "largest_memory_bytes": max((line["bytes"] for line in ends), default=0),
        },
        survival={at: survival(config, at) for at in sorted({c.wanted for c in cells if c.wanted})},
        text_read=longest / text_tokens if text_tokens else 0.0,
    )
