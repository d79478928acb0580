"""The evaluations that the command line offers, from their sizes to their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import memplus
from memplus.data.outside import Statement
from memplus.data.questions import QuestionSet
from memplus.data.stream import Texts
from memplus.data.word_search import installed
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.results import Evaluation, Results, evaluate
from memplus.evaluation.engine.run import Report
from memplus.evaluation.probes.bm25 import Found, Spans, found_by_words
from memplus.evaluation.tasks.held_out import HeldOut, Part
from memplus.evaluation.tasks.note_layouts import ALONE, layouts_plan
from memplus.evaluation.tasks.ordinary_statements import STATEMENT, statement_judge, statement_plans
from memplus.evaluation.tasks.outside_names import Names, outside_plan
from memplus.evaluation.tasks.passages import PROTOCOL, QUESTION, passage_plans
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan
from memplus.evaluation.tasks.told import TOLD, Telling, alone_plans, told_plan
from memplus.systems.protocol import Retrieves

__all__ = [
    "Streams",
    "Tellings",
    "evaluate_alone",
    "evaluate_confidence",
    "evaluate_layouts",
    "evaluate_names",
    "evaluate_questions",
    "evaluate_retention",
    "evaluate_statements",
    "evaluate_told",
    "search_by_words",
]


@dataclass(frozen=True, slots=True)
class Streams:
    """How much is asked, how often, and where the results go."""

    sizes: RetentionSizes
    seeds: int
    """Streams, with the seeds 0, 1, ..."""
    folder: Path


@dataclass(frozen=True, slots=True)
class Tellings:
    """How much of what is held out is told, how often, and where the results go."""

    held_out: HeldOut
    items: int
    """Of each kind per seed."""
    seeds: int
    """Streams, with seeds that follow each other."""
    folder: Path
    part: Part = "figures"
    first_seed: int = 0

    def deals(self) -> list[tuple[int, Telling]]:
        """Seeds, and what is told in the stream of each."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return [(seed, self.held_out.deal(self.items, seed, self.part)) for seed in seeds]

    @property
    def settings(self) -> dict[str, Any]:
        """All that the deals follow from, as JSON values."""
        distances = {one.kind: one.distances for one in self.held_out.items}
        return {
            "memplus": memplus.__version__,
            "held_out": self.held_out.sha256,
            "distances": distances,
            "items": self.items,
            "seeds": self.seeds,
            "first_seed": self.first_seed,
            "part": self.part,
        }


_MakePlan = Callable[[Texts, int, RetentionSizes, int], Plan]


def evaluate_retention(
    bench: Bench, texts: Sequence[str], streams: Streams, report: Report
) -> Results:
    """Notes in running text, after growing distances."""
    return _on_texts(bench, texts, streams, report, ("retention", NOTE, retention_plan, {}))


def evaluate_layouts(
    bench: Bench, texts: Sequence[str], streams: Streams, report: Report
) -> Results:
    """Notes in paragraphs, across chunk borders, corrected later, with one first name."""
    return _on_texts(bench, texts, streams, report, ("notes", ALONE, layouts_plan, {}))


def evaluate_names(
    bench: Bench, texts: Sequence[str], streams: Streams, names: Names, report: Report
) -> Results:
    """Notes about people whose names no generator made, and many notes of one attribute."""

    def make(known: Texts, chunk: int, sizes: RetentionSizes, seed: int) -> Plan:
        return outside_plan(known, chunk, sizes, seed, names)

    settings = {"names": _digest(names.people), "one_attribute": names.one_attribute}
    return _on_texts(bench, texts, streams, report, ("names", ALONE, make, settings))


def evaluate_statements(
    bench: Bench,
    statements: Sequence[Statement],
    folder: Path,
    min_confidence: float | None,
    report: Report,
) -> Results:
    """Ordinary statements, each in a session of its own, asked for at once.

    Args:
        bench: what is evaluated.
        statements: what is told.
        folder: of the results.
        min_confidence: below which systems that know how sure they are decline; None: their own.
        report: called with (what, done, total).
    """
    told = _digest([json.dumps(asdict(one), sort_keys=True) for one in statements])
    settings = {"memplus": memplus.__version__, "statements": told}
    judge = statement_judge(min_confidence)
    plans = statement_plans(statements, bench.reference, seed=0)
    evaluation = Evaluation("statements", STATEMENT, settings, judge, folder)
    return evaluate(bench.systems, plans, evaluation, report)


def evaluate_confidence(
    bench: Bench,
    texts: Sequence[str],
    sizes: RetentionSizes,
    seed: int,
    folder: Path,
    report: Report,
) -> Results:
    """Notes as in ``evaluate_retention``, of one seed, with the confidence of every answer.

    Args:
        bench: systems that know how sure they are.
        texts: what the notes are told in.
        sizes: how much.
        seed: of the stream.
        folder: of the results.
        report: called with (what, done, total).
    """
    known = Texts.of(texts, bench.reference)
    settings = {"memplus": memplus.__version__, "seed": seed, **asdict(sizes)}
    settings |= {"texts": known.sha256, "text_tokens": known.tokens}
    judge = Judge(explained=True, judges_withheld=True)
    plan = retention_plan(known, bench.chunk, sizes, seed)
    evaluation = Evaluation("confidence", NOTE, settings, judge, folder)
    return evaluate(bench.systems, [plan], evaluation, report)


def evaluate_told(
    bench: Bench, texts: Sequence[str], tellings: Tellings, report: Report
) -> Results:
    """Held-out passages, statements and corrections told in one stream per seed.

    Args:
        bench: what is evaluated.
        texts: what they are told in.
        tellings: what is told.
        report: called with (what, done, total).
    """
    known = Texts.of(texts, bench.reference)
    deals = tellings.deals()
    plans = [told_plan(known, bench.chunk, deal, seed) for seed, deal in deals]
    settings = {"texts": known.sha256, "text_tokens": known.tokens, **tellings.settings}
    kind = deals[0][1].items[0].kind
    evaluation = Evaluation("told", kind, settings, TOLD, tellings.folder)
    return evaluate(bench.systems, plans, evaluation, report)


def search_by_words(bench: Bench, texts: Sequence[str], tellings: Tellings) -> list[Found]:
    """What BM25 finds in the streams of ``evaluate_told``, cut as the first system cuts them.

    Returns:
        Nothing where that system retrieves nothing, or bm25s is not installed.
    """
    system = bench.systems[0]
    if not (isinstance(system, Retrieves) and system.spans_retrieved and installed()):
        return []
    spans = Spans(system.span_tokens, system.spans_retrieved)
    known = Texts.of(texts, bench.reference)
    plans = [told_plan(known, bench.chunk, deal, seed) for seed, deal in tellings.deals()]
    return [one for plan in plans for one in found_by_words(plan, bench.reference, spans)]


def evaluate_alone(bench: Bench, tellings: Tellings, report: Report) -> Results:
    """The items of ``evaluate_told``, each told to a session of its own and asked at once."""
    deals = tellings.deals()
    plans = [
        plan for seed, deal in deals for plan in alone_plans(deal.items, bench.reference, seed)
    ]
    kind = deals[0][1].items[0].kind
    evaluation = Evaluation("alone", kind, tellings.settings, TOLD, tellings.folder)
    return evaluate(bench.systems, plans, evaluation, report)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _on_texts(
    bench: Bench,
    texts: Sequence[str],
    streams: Streams,
    report: Report,
    task: tuple[str, str, _MakePlan, dict[str, Any]],
) -> Results:
    """Run a task (name, kind of the curve, plan maker, settings) over streams of some texts."""
    name, kind, make, settings = task
    known = Texts.of(texts, bench.reference)
    plans = [make(known, bench.chunk, streams.sizes, seed) for seed in range(streams.seeds)]
    settings = {"texts": known.sha256, "text_tokens": known.tokens, **settings}
    evaluation = Evaluation(name, kind, _settings(streams) | settings, Judge(), streams.folder)
    return evaluate(bench.systems, plans, evaluation, report)


def evaluate_questions(
    bench: Bench, questions: QuestionSet, streams: Streams, report: Report
) -> Results:
    """A question set with passages, by the papers' protocol."""
    plans = [
        plan
        for seed in range(streams.seeds)
        for plan in passage_plans(questions, bench.reference, streams.sizes, seed)
    ]
    settings = {"questions": questions.sha256, "longest_answer": questions.longest_answer}
    evaluation = Evaluation(
        "questions", QUESTION, _settings(streams) | settings, PROTOCOL, streams.folder
    )
    return evaluate(bench.systems, plans, evaluation, report)


def _settings(streams: Streams) -> dict[str, object]:
    return {"memplus": memplus.__version__, "seeds": streams.seeds, **asdict(streams.sizes)}
