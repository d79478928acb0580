"""Ordinary things that people tell an assistant, each with questions, to train on and to hold out.

Beside them corrections: something told, what the same person says later that changes it, and a
question whose right answer is the later value.

Written by hand, a file a topic: no statement comes from a template, each question is answered by
its own statement alone, and the first of its answers stands there literally. The probe of
``memplus eval statements`` (``facts.BUNDLED_STATEMENTS``) shares none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memplus.data.json_lines import read_records, texts
from memplus.errors import UsageError

__all__ = [
    "HELD_OUT_TOPICS",
    "Correction",
    "Statement",
    "StatementQuestion",
    "read_corrections",
    "read_statements",
    "statement_topics",
]

_FACTS = Path(__file__).parents[1] / "assets" / "facts"
_TOLD = _FACTS / "told"
_CORRECTIONS = _FACTS / "corrections.jsonl"

HELD_OUT_TOPICS = ("community", "cooking_recipes", "garden_outdoors", "pets")
"""Topics that no training reads, of statements and corrections; about a fifth of all statements.

The rule: whole topics, chosen before any training and never by a result, so that what is measured
on them is about things of another kind than those trained on. A new topic joins when it is added
or never.
"""


@dataclass(frozen=True, slots=True)
class StatementQuestion:
    """A question about a statement, as somebody might ask it long after."""

    question: str
    answers: tuple[str, ...]
    """Any of them, somewhere in an answer, is right; the first stands in the statement."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that somebody tells, in one to three sentences, and what to ask about it."""

    text: str
    topic: str
    questions: tuple[StatementQuestion, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """Something that somebody tells, and what the same person says later that changes it."""

    text: str
    later: str
    """Names what it changes, so that it is understood far from ``text``."""
    topic: str
    question: str
    answers: tuple[str, ...]
    """The later value in any of these forms is right; the first stands in ``later``, none in
    ``text``."""
    outdated: tuple[str, ...]
    """The earlier value in any of these forms is wrong; the first stands in ``text``."""


def statement_topics() -> tuple[str, ...]:
    """The topics there are, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in _TOLD.glob("*.jsonl")))


def read_statements(topics: Iterable[str] | None = None) -> list[Statement]:
    """The bundled statements of some topics, in the order given.

    Args:
        topics: of ``statement_topics``; None: all of them. To train: those that are not in
            ``HELD_OUT_TOPICS``.

    Raises:
        UsageError: no topic has such a name.
    """
    return [one for topic in _chosen(topics) for one in _statements_of(topic)]


def read_corrections(topics: Iterable[str] | None = None) -> list[Correction]:
    """The bundled corrections of some topics, in the order given.

    Args:
        topics: of ``statement_topics``; None: all of them. To train: those that are not in
            ``HELD_OUT_TOPICS``.

    Raises:
        UsageError: no topic has such a name.
    """
    chosen = _chosen(topics)
    found = read_records(_CORRECTIONS, _correction, holds="a statement and its correction")
    return [one for topic in chosen for one in found if one.topic == topic]


def _chosen(topics: Iterable[str] | None) -> tuple[str, ...]:
    known = statement_topics()
    chosen = known if topics is None else tuple(topics)
    for topic in chosen:
        if topic not in known:
            raise UsageError(f"No topic is called {topic!r}. There are: {', '.join(known)}.")
    return chosen


def _statements_of(topic: str) -> list[Statement]:
    def parse(line: Any) -> Statement:
        asked = [(one["question"], one["answers"]) for one in line["questions"]]
        (text, *_) = texts([line["text"], *(question for question, _ in asked)])
        questions = tuple(StatementQuestion(question, texts(found)) for question, found in asked)
        return Statement(text, topic, questions)

    return read_records(_TOLD / f"{topic}.jsonl", parse, holds="text and questions")


def _correction(line: Any) -> Correction:
    told = texts([line[key] for key in ("text", "later", "topic", "question")])
    text, later, topic, question = told
    return Correction(text, later, topic, question, texts(line["answers"]), texts(line["outdated"]))
