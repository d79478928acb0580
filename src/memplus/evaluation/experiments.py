"""The evaluations that the command line offers, from their sizes to their results.

Shapes: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import memplus
from memplus.data.stream import Texts
from memplus.evaluation.engine.results import Evaluation, Results, encode_with, evaluate
from memplus.evaluation.engine.run import Judging, Report
from memplus.evaluation.tasks.note_layouts import ALONE, layouts_plan
from memplus.evaluation.tasks.passages import PROTOCOL, QUESTION, QuestionSet, passage_plans
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["Streams", "evaluate_layouts", "evaluate_questions", "evaluate_retention"]


@dataclass(frozen=True, slots=True)
class Streams:
    """How much is asked, how often, and where the results go."""

    sizes: RetentionSizes
    seeds: int
    """Streams, with the seeds 0, 1, ..."""
    folder: Path


def evaluate_retention(
    model: MPlus, texts: Sequence[str], streams: Streams, report: Report
) -> Results:
    """Notes in running text, after growing distances."""
    return _on_texts(model, texts, streams, report, layouts=False)


def evaluate_layouts(
    model: MPlus, texts: Sequence[str], streams: Streams, report: Report
) -> Results:
    """Notes in paragraphs, across chunk borders, corrected later, with one first name."""
    return _on_texts(model, texts, streams, report, layouts=True)


def _on_texts(
    model: MPlus, texts: Sequence[str], streams: Streams, report: Report, *, layouts: bool
) -> Results:
    known = Texts.of(texts, encode_with(model))
    chunk = model.memory_config.chunk_tokens
    make = layouts_plan if layouts else retention_plan
    plans = [make(known, chunk, streams.sizes, seed) for seed in range(streams.seeds)]
    evaluation = Evaluation(
        name="notes" if layouts else "retention",
        kind=ALONE if layouts else NOTE,
        settings=_settings(streams) | {"texts": known.sha256, "text_tokens": known.tokens},
        judging=Judging(),
        folder=streams.folder,
    )
    return evaluate(model, plans, evaluation, report)


def evaluate_questions(
    model: MPlus, questions: QuestionSet, streams: Streams, report: Report
) -> Results:
    """A question set with passages, by the papers' protocol."""
    plans = [
        plan
        for seed in range(streams.seeds)
        for plan in passage_plans(questions, model.encode, streams.sizes, seed)
    ]
    settings = {"questions": questions.sha256, "longest_answer": questions.longest_answer}
    evaluation = Evaluation(
        "questions", QUESTION, _settings(streams) | settings, PROTOCOL, streams.folder
    )
    return evaluate(model, plans, evaluation, report)


def _settings(streams: Streams) -> dict[str, object]:
    return {"memplus": memplus.__version__, "seeds": streams.seeds, **asdict(streams.sizes)}
