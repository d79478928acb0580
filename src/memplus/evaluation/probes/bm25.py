"""BM25 over the text of a stream, cut as a memory keeps it: what words alone find.

The same tokens in the same spans, as many of them retrieved, asked with the same questions. It
needs the library bm25s (``pip install "memplus[bm25]"``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memplus.data.stream import Reference
from memplus.data.word_search import WordSearch, best_of, words_of
from memplus.evaluation.engine.plan import Plan, Question

__all__ = ["Found", "Spans", "found_by_words"]


@dataclass(frozen=True, slots=True)
class Spans:
    """How a text is cut, and how much of it a question may have."""

    tokens: int
    """Of each span."""
    retrieved: int
    """Spans for each question."""


@dataclass(frozen=True, slots=True)
class Found:
    """One question at the longest distance of its kind."""

    kind: str
    wanted: int
    found: bool
    """Whether a span that holds some of what states the answer was retrieved."""


def found_by_words(plan: Plan, reference: Reference, spans: Spans) -> list[Found]:
    """Rank the spans that had been read when each question was asked.

    Word statistics are those of the whole stream, which is little more than what was read by then.

    Args:
        plan: one stream.
        reference: counts its tokens.
        spans: how it is cut.
    """
    texts = list(_spans_of(plan, reference, spans.tokens))
    asked = list(_asked_last(plan))
    if not (texts and asked):
        return []
    ranking = WordSearch(words_of(texts))
    words = words_of([question.text for _, question in asked])
    found = []
    for (written, question), terms in zip(asked, words, strict=True):
        scores = ranking.scores(terms)[: written // spans.tokens]
        assert question.told is not None
        assert question.wanted is not None
        first, end = question.told.stated
        right = range(first // spans.tokens, (end - 1) // spans.tokens + 1)
        hit = any(one in right for one in best_of(scores, spans.retrieved))
        found.append(Found(question.kind, question.wanted, hit))
    return found


def _spans_of(plan: Plan, reference: Reference, size: int) -> Iterator[str]:
    """The text of the plan, so many tokens at a time; what fills no span is left out."""
    waiting: list[str] = []
    for step in plan.steps:
        for piece, ends in zip(step.pieces, reference(list(step.pieces)), strict=True):
            starts = [0, *ends[:-1]]
            for start, end in zip(starts, ends, strict=True):
                waiting.append(piece[start:end])
                if len(waiting) == size:
                    yield "".join(waiting)
                    waiting = []


def _asked_last(plan: Plan) -> Iterator[tuple[int, Question]]:
    """Tokens written before, and the questions about what was told, at their longest distance."""
    longest: dict[str, int] = {}
    for question in plan.questions:
        if question.told is not None and question.wanted is not None:
            longest[question.kind] = max(question.wanted, longest.get(question.kind, 0))
    written = 0
    for step in plan.steps:
        written += step.tokens
        for question in step.questions:
            if question.told is not None and question.wanted == longest[question.kind]:
                yield written, question
