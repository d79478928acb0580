"""Question sets with their passages, by the papers' protocol for real backbones.

For every question a memory of its own: its passage first, then unrelated passages, each written
by itself, and the question after growing distances. Only questions with a short answer are taken
(SQuAD: at most 3 tokens, Natural Questions: at most 4), 10 tokens are generated, and the answer
has to stand somewhere in them (2502.00592, section 4; 2402.04624, section 4.4).

Shapes: none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from memplus.data.documents import read_bytes
from memplus.data.stream import Told
from memplus.errors import ConfigError, QuestionSetError
from memplus.evaluation.engine.judging import contains
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.run import Judging
from memplus.evaluation.tasks.retention import RetentionSizes

__all__ = ["PROTOCOL", "Asked", "QuestionSet", "passage_plans", "read_questions"]

PROTOCOL = Judging(exact=False, max_new_tokens=10)
_PASSAGE, _OTHERS = "passage", "other passages"
QUESTION = "question"

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, its answers, and the passage that holds them."""

    question: str
    answers: tuple[str, ...]
    passage: str
    topic: str
    """Passages of other topics are unrelated to it."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a file, and the papers' limit to their answers."""

    questions: list[Asked]
    longest_answer: int
    """In tokens."""
    sha256: str
    """Of the file."""

    def short(self, encode: Encode) -> QuestionSet:
        """Those with an answer short enough; of their answers, the short ones.

        Raises:
            ConfigError: there are none.
        """
        kept = []
        for one in self.questions:
            answers = [a for a in one.answers if len(encode(f" {a}")) <= self.longest_answer]
            if answers:
                kept.append(replace(one, answers=tuple(answers)))
        if not kept:
            reason = "no question has an answer of so few tokens"
            raise ConfigError("longest_answer", value=self.longest_answer, reason=reason)
        return replace(self, questions=kept)


def read_questions(path: Path, longest_answer: int | None = None) -> QuestionSet:
    """Questions of a SQuAD file (JSON) or a Natural Questions file (JSON lines); also gzipped.

    Args:
        path: the file.
        longest_answer: tokens of an answer; None: 3 for SQuAD, 4 for Natural Questions.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        QuestionSetError: it is neither.
    """
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8")
        if ".jsonl" not in path.suffixes:
            return QuestionSet(list(_squad(json.loads(text))), longest_answer or 3, sha256)
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return QuestionSet([_natural(line) for line in lines], longest_answer or 4, sha256)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise QuestionSetError(path) from error


def _squad(data: Any) -> Iterator[Asked]:
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(str(one["text"]) for one in asked["answers"]))
                if answers and not asked.get("is_impossible"):
                    yield Asked(asked["question"], answers, paragraph["context"], article["title"])


def _natural(line: Any) -> Asked:
    passage = line["ctxs"][0]
    answers = tuple(str(one) for one in line["answers"])
    return Asked(line["question"], answers, passage["text"], passage["title"])


def passage_plans(
    questions: QuestionSet, encode: Encode, sizes: RetentionSizes, seed: int
) -> list[Plan]:
    """One plan per question; ``sizes.notes`` questions drawn at random, all where there are fewer.

    A question is asked after the first passage with which its distance has been written. A
    passage that holds one of its answers is not unrelated to it, whatever its topic.

    Raises:
        ConfigError: no question is short enough, or none has unrelated passages.
    """
    random = Random(seed)
    short = questions.short(encode).questions
    asked = random.sample(short, min(sizes.notes, len(short)))
    topics = {one.passage: one.topic for one in questions.questions}
    passages = [(text, topic, encode(text)) for text, topic in topics.items()]
    plans = []
    for index, one in enumerate(asked):
        others = [
            ids
            for text, topic, ids in random.sample(passages, len(passages))
            if topic != one.topic and not any(contains(text, answer) for answer in one.answers)
        ]
        if not others:
            raise ConfigError("questions", value=one.question, reason="no passage is unrelated")
        name = f"seed {seed}, question {index}"
        steps = _steps(one, encode(one.passage), others, sizes.distances)
        once = Question(QUESTION, QUESTION, one.question, one.answers)
        plans.append(Plan(name, seed, tuple(steps), (once,)))
    return plans


def _steps(
    one: Asked, passage: list[int], others: Sequence[list[int]], distances: Sequence[int]
) -> Iterator[Step]:
    told = Told(_PASSAGE, 0, len(passage))
    written, ids, source, turn = 0, passage, _PASSAGE, 0
    left = list(distances)
    while True:
        questions = []
        while left and left[0] <= written:
            key = f"{QUESTION}/{left[0]}"
            questions.append(
                Question(key, QUESTION, one.question, one.answers, left.pop(0), written, told)
            )
        yield Step(ids, source, tuple(questions), flush=True)
        if not left:
            return
        ids, source = others[turn % len(others)], _OTHERS
        turn += 1
        written += len(ids)
