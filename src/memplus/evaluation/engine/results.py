"""A whole evaluation: plans run into a folder, and what the folder holds at the end.

``answers.jsonl`` has a line per answer, ``summary.json`` the figures, ``curve.png`` the picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.run import Recorder, Report, run_plans
from memplus.evaluation.engine.runfile import RunFile, alone_in
from memplus.evaluation.engine.summary import Cell, cells_of, pooled
from memplus.outputs import put_text
from memplus.systems.protocol import Predicts, System

__all__ = ["SUMMARY", "Evaluation", "Results", "evaluate", "results_of", "write_summary"]

SUMMARY = "summary.json"
"""The file of a run's figures, in its folder."""

_NEAR = 1000
"""Tokens within which a note counts as just told."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is evaluated, and where to."""

    name: str
    """"retention", "notes", "questions", ..."""
    kind: str
    """The questions that the curve shows."""
    settings: Mapping[str, Any]
    """Everything, beside the systems, that the plans follow from; JSON values."""
    judge: Judge
    folder: Path


@dataclass(frozen=True, slots=True)
class Results:
    """The figures of a run."""

    titles: dict[str, str]
    """System -> what people call it, in the order in which they were asked."""
    cells: list[Cell]
    near: list[Cell]
    """All answers within 1000 tokens, by kind and system."""
    writing: dict[str, float]
    survival: dict[int, float]
    """Distance -> chance that something is still kept, where a system knows it."""
    text_read: float = 0.0
    """How often the longest stream read the texts: above 1, text was repeated; 0: no texts."""
    lines: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """What they were made of, as it is recorded."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "systems": self.titles,
            "cells": [asdict(cell) | {"accuracy": cell.accuracy} for cell in self.cells],
            "within_1k": [asdict(cell) | {"accuracy": cell.accuracy} for cell in self.near],
            "writing": self.writing,
            "text_read": self.text_read,
            "survival_by_chance": {str(at): chance for at, chance in self.survival.items()},
        }


def evaluate(
    systems: Sequence[System], plans: Sequence[Plan], evaluation: Evaluation, report: Report
) -> Results:
    """Run plans into a folder, or resume them there; write the summary and the picture.

    Args:
        systems: what is evaluated, side by side.
        plans: what to write and ask.
        evaluation: what that is, and the folder.
        report: called with (what, done, total).

    Raises:
        RunMismatchError: the folder holds another run.
        UsageError: another command is running into it.
        StorageError: the disk refused.
    """
    from memplus.evaluation.engine.curves import draw_retention

    identity = {
        "evaluation": evaluation.name,
        "systems": {system.name: dict(system.identity) for system in systems},
        "judge": asdict(evaluation.judge),
        **evaluation.settings,
    }
    with alone_in(evaluation.folder):
        answers = RunFile(evaluation.folder / "answers.jsonl", identity)
        # Whatever order they are named in now: answers follow each other as the file begins.
        order = list(answers.identity["systems"])
        systems = sorted(systems, key=lambda one: order.index(one.name))
        run_plans(systems, plans, evaluation.judge, answers, report)
    results = results_of(systems, answers, evaluation.settings.get("text_tokens", 0))
    model = ", ".join(dict.fromkeys(system.model for system in systems))
    write_summary(evaluation.folder, {"model": model, "run": identity, **results.to_dict()})
    asked = max(cell.asked for cell in results.cells)
    draw_retention(
        results.cells,
        systems,
        kind=evaluation.kind,
        title=f"{model}: {asked} questions at each distance",
        path=evaluation.folder / "curve.png",
    )
    return results


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Leave figures in a folder, as summary.json.

    Raises:
        StorageError: the disk refused.
    """
    put_text(folder / SUMMARY, json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def results_of(systems: Sequence[System], answers: Recorder, text_tokens: int = 0) -> Results:
    """The figures of what is recorded, of streams over texts of so many tokens."""
    lines = answers.lines
    cells = cells_of(lines)
    pairs = dict.fromkeys((cell.kind, cell.system) for cell in cells if cell.wanted is not None)
    near = [pooled(lines, kind=kind, system=name, within=_NEAR) for kind, name in pairs]
    ends = [line for line in lines if line["key"] == "end"]
    seconds = sum(line["write_seconds"] for line in ends)
    tokens = sum(line["tokens"] for line in ends)
    longest = max((line["tokens"] for line in ends), default=0)
    theory = next((system for system in systems if isinstance(system, Predicts)), None)
    wanted = sorted({cell.wanted for cell in cells if cell.wanted})
    return Results(
        titles={system.name: system.title for system in systems},
        cells=cells,
        near=[cell for cell in near if cell is not None],
        writing={
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds if seconds else 0.0,
            "largest_memory_bytes": max((line["bytes"] for line in ends), default=0),
        },
        survival={at: theory.survival(at) for at in wanted if theory is not None},
        text_read=longest / text_tokens if text_tokens else 0.0,
        lines=lines,
    )
